"""Uploaded pictures: what is read of them, and as what.

Files of strangers: the formats are listed, sizes are looked at before pixels are decoded, and what is kept is a PNG
written anew.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass

import numpy as np
import PIL.Image
import PIL.ImageOps

from results.dashboard.errors import ApiError

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")
COMPRESSION = 1  # of 9: a PNG of 4 megapixels takes 0.2 s instead of 1.5 s, and is read on the same machine
_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX")
# What Pillow raises for broken files.
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, struct.error, MemoryError)


@dataclass(frozen=True)
class Picture:
    """An encoded picture.

    Attributes:
        notes: What reading it changed.
    """

    png: bytes
    width: int
    height: int
    notes: tuple[str, ...] = ()


def encoded(pixels: np.ndarray, notes: tuple[str, ...] = ()) -> Picture:
    """(H, W, 3) uint8 pixels as a PNG."""
    target = io.BytesIO()
    PIL.Image.fromarray(pixels).save(target, "PNG", compress_level=COMPRESSION)
    return Picture(target.getvalue(), pixels.shape[1], pixels.shape[0], notes)


def decode(content: bytes, *, pixels: int) -> Picture:
    """An uploaded file as 8-bit RGB, upright; of several pictures the first.

    Args:
        pixels: The most that it may have.

    Raises: ApiError: if it is no picture of a known format, is broken or too large, or stores what 8-bit RGB isn't
        made from without choices of the user's (CMYK, floating point).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # the limit below is tighter
            picture = PIL.Image.open(io.BytesIO(content), formats=FORMATS)
        if picture.width * picture.height > pixels:
            raise _too_many(f"{picture.width}x{picture.height}", pixels)
        deep = ";16" in str(
            picture.tile
        )  # Pillow gives the upper 8 of a channel's 16 bits, its mode being plain RGB
        frames = getattr(picture, "n_frames", 1)
        picture.load()
        rgb, notes = _to_rgb(picture)
    except ApiError:
        raise
    except PIL.UnidentifiedImageError:
        raise ApiError(
            415,
            "not_a_picture",
            f"expected a picture ({', '.join(FORMATS)}), got another kind of file; save it as PNG",
        ) from None
    except PIL.Image.DecompressionBombError:
        raise _too_many("many more", pixels) from None
    except _BROKEN as error:
        raise ApiError(
            422, "broken_picture", f"the picture can't be read ({error}); save it again, or send another"
        ) from error
    if deep or picture.mode.startswith("I;16"):
        notes.append("16 bits a channel reduced to 8")
    if frames > 1 and picture.format != "MPO":  # a camera's MPO holds the photograph and its previews
        notes.append(f"the first of {frames} pictures")
    return encoded(rgb, tuple(notes))


def _to_rgb(picture: PIL.Image.Image) -> tuple[np.ndarray, list[str]]:
    """(H, W, 3) uint8, and what was changed."""
    notes = []
    upright = PIL.ImageOps.exif_transpose(picture)
    if picture.getexif().get(0x0112, 1) != 1:
        notes.append("turned upright, as its EXIF data say")
    if upright.mode.startswith("I;16"):  # grey; converting it clips instead of scaling
        grey = ((np.asarray(upright).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2), notes
    if upright.mode not in _MODES:
        raise ApiError(
            422,
            "unsupported_picture",
            f"expected RGB or greyscale of 8 or 16 bits, got mode {upright.mode}; convert it to RGB",
        )
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        notes.append("transparency dropped")
    return np.array(upright.convert("RGB")), notes


def _too_many(got: str, pixels: int) -> ApiError:
    return ApiError(
        413,
        "too_many_pixels",
        f"expected a picture of at most {pixels:,} pixels, got {got}; crop it or make it smaller",
        details={"pixels": pixels},
    )

"""Reads pictures with all that their files say of them, and writes restored ones that still say it.

Kept: 8 or 16 bits a channel, greyscale, alpha, the colour profile, EXIF, XMP and the resolution. A palette becomes the
colours that it stands for. A picture that is to be turned when it is shown (EXIF's orientation) is turned, and says so
no longer. EXIF's preview is left out, and in a TIFF all of EXIF but its texts. What can't be kept is refused: CMYK,
floating point, several frames.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageFile
import PIL.PngImagePlugin
from PIL.Image import Exif

from evaluators.data.images import SUFFIXES, ImageError, orientations

FORMATS = {"png": ".png", "tiff": ".tif", "webp": ".webp", "jpeg": ".jpg"}
_READ = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # others may start programs or unpack to anything
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, struct.error)
_ORIENTATION, _EXIF_IFD, _EXIF_WIDTH, _EXIF_HEIGHT = 274, 34665, 40962, 40963
_TIFF_XMP, _TIFF_ICC, _BITS, _PHOTOMETRIC, _DESCRIPTION, _PLANES, _EXTRA = 700, 34675, 258, 262, 270, 284, 338
_LAYOUTS = ('{"shape"', "ImageJ=")  # descriptions of a file's arrays, which those of its output aren't
# Of EXIF's first directory what describes the picture; the rest says how its file is laid out.
_DESCRIPTIVE = (270, 271, 272, 305, 306, 315, 316, 18246, 33432, _EXIF_IFD, 34853, *range(40091, 40096))
_TURNS = {
    2: 4,
    3: 2,
    4: 6,
    5: 5,
    6: 3,
    7: 7,
    8: 1,
}  # EXIF's orientation to which of ``orientations`` is upright
_LARGEST_SIDE = {"jpeg": 65535, "webp": 16383}
_SAVED_AS: dict[str, dict[str, Any]] = {
    "png": {},
    "webp": {"lossless": True, "exact": True},
    "jpeg": {"quality": 95, "subsampling": 0},
}
_ROWS = 256  # of a 16-bit PNG, compressed at a time
_EIGHT_BIT = {"1": "L", "L": "L", "LA": "LA", "P": "RGB", "PA": "RGBA", "RGB": "RGB", "RGBA": "RGBA"}


@dataclass(frozen=True)
class Embedded:
    """What a picture's file says beside its pixels."""

    profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture, upright.

    Attributes:
        pixels: (H, W) greyscale or (H, W, C), uint8 or uint16; packed RAW is (H, W, 4) of any type.
        alpha: (H, W) of the same type; None where the picture is opaque.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    embedded: Embedded = field(default=Embedded())


def size_of(path: Path) -> int:
    """Pixels by the file's header; 0 where it can't be read."""
    try:
        with PIL.Image.open(path, formats=_READ) as picture:
            return picture.width * picture.height
    except (*_BROKEN, PIL.Image.DecompressionBombError):
        return 0


def read_picture(path: Path) -> Picture:
    """The picture in a file.

    Raises: ImageError: if the file is missing, broken or no picture, or holds what isn't kept.
    """
    try:
        with PIL.Image.open(path, formats=_READ) as picture:
            _check(picture, path)
            # First, because reading EXIF may read the pixels, which ends what is known of their storage.
            channels = _deep_channels(picture) if _is_deep(picture) else _channels(picture)
            orientation = picture.getexif().get(_ORIENTATION, 1)
            if orientation in _TURNS and picture.format != "TIFF":  # Pillow turns TIFFs itself
                channels = [np.ascontiguousarray(orientations(c)[_TURNS[orientation]]) for c in channels]
            embedded = _embedded(picture)
    except ImageError:
        raise
    except PIL.UnidentifiedImageError:
        known = " ".join(suffix[1:] for suffix in SUFFIXES)
        raise ImageError(
            f"{path}: expected a picture ({known}), got another kind of file, or floating point"
        ) from None
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(f"{path}: too large ({error}); cut it into smaller pictures") from error
    except _BROKEN as error:
        raise ImageError(f"{path}: can't be read ({error}); replace the file") from error
    alpha = channels.pop() if len(channels) in (2, 4) else None
    if alpha is not None and (alpha == np.iinfo(alpha.dtype).max).all() and picture.mode == "P":
        alpha = None
    return Picture(channels[0] if len(channels) == 1 else np.stack(channels, axis=-1), alpha, embedded)


def _check(picture: PIL.Image.Image, path: Path) -> None:
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":  # a camera's MPO holds the photograph and its previews
        raise ImageError(f"{path}: expected one picture, got {frames} frames; save the one that you want")
    if _is_deep(picture):
        tags = _tiff_tags(picture)
        if tags.get(_PLANES) == 2 or tags.get(_EXTRA) == (1,):
            what = "a plane for each channel" if tags.get(_PLANES) == 2 else "colours multiplied by alpha"
            raise ImageError(f"{path}: a 16-bit TIFF with {what} can't be read; save it without")
        if picture.mode not in ("I;16", "I;16B", "RGB", "RGBA") or "transparency" in picture.info:
            raise ImageError(
                f"{path}: expected 16-bit greyscale, RGB or RGBA, got {picture.mode} {_storage(picture)}; convert it"
            )
    elif picture.mode not in _EIGHT_BIT:
        advice = " by its colour profile" if picture.mode == "CMYK" else ""
        raise ImageError(
            f"{path}: expected greyscale, RGB or a palette, of 8 or 16 bits, got {picture.mode}; "
            f"convert it to RGB{advice}"
        )


def _storage(picture: PIL.Image.Image) -> str:
    """Pillow's raw mode, e.g. ``RGB;16B`` for a 16-bit PNG, whose ``mode`` is plain ``RGB``."""
    tile = getattr(picture, "tile", None)
    if not tile:
        return ""
    args = tile[0][3]
    return str(args[0] if isinstance(args, tuple) and args else args)


def _tiff_tags(picture: PIL.Image.Image) -> Mapping[int, Any]:
    return getattr(picture, "tag_v2", {})


def _is_deep(picture: PIL.Image.Image) -> bool:
    storage = _storage(picture)
    if 16 in _tiff_tags(picture).get(_BITS, ()):  # Pillow says 8 of those with a plane for each channel
        return True
    return ";16" in storage and not storage.startswith("BGR;")  # a BMP's BGR;16 has 16 bits a pixel


def _channels(picture: PIL.Image.Image) -> list[np.ndarray]:
    mode = _EIGHT_BIT[picture.mode]
    if picture.has_transparency_data:
        mode = "LA" if mode in ("L", "LA") else "RGBA"
    return [np.asarray(channel) for channel in picture.convert(mode).split()]


def _deep_channels(picture: PIL.ImageFile.ImageFile) -> list[np.ndarray]:
    """All 16 bits, of which Pillow gives the upper 8 where there is more than one channel.

    It takes the upper byte of each pair; told that the pairs are in the other order it takes the lower one.
    """
    storage = _storage(picture)
    if picture.mode.startswith("I;16"):
        grey = np.asarray(picture).astype(np.uint16)
        return [~grey if _tiff_tags(picture).get(_PHOTOMETRIC) == 0 else grey]  # 0: white is 0
    if storage == "LA;16B":  # as long as four channels of 8 bits
        upper, lower, alpha_upper, alpha_lower = _loaded_as(picture, "RGBA")
        return [_joined(upper, lower), _joined(alpha_upper, alpha_lower)]
    other = storage.replace(";16B", ";16L") if ";16B" in storage else storage[: storage.index(";16")] + ";16B"
    halves = zip(_loaded_as(picture, storage), _loaded_as(picture, other), strict=True)
    return [_joined(upper, lower) for upper, lower in halves]


def _loaded_as(picture: PIL.ImageFile.ImageFile, storage: str) -> list[np.ndarray]:
    """The channels of the picture's file, read by this raw mode."""
    with PIL.Image.open(picture.filename, formats=_READ) as again:
        again.tile = [_read_as(tile, storage) for tile in again.tile]
        return [np.asarray(channel) for channel in again.split()]


def _read_as(tile: PIL.ImageFile._Tile, storage: str) -> PIL.ImageFile._Tile:
    return tile._replace(args=(storage, *tile.args[1:]) if isinstance(tile.args, tuple) else storage)


def _joined(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    return upper.astype(np.uint16) << 8 | lower


def _embedded(picture: PIL.Image.Image) -> Embedded:
    exif, xmp, dpi = picture.getexif(), picture.info.get("xmp"), picture.info.get("dpi")
    if isinstance(xmp, bytes):
        xmp = re.sub(rb'(tiff:Orientation(?:=["\']|>))[0-9]', rb"\g<1>1", xmp)
    for tag in set(exif) - set(_DESCRIPTIVE):
        del exif[tag]
    if str(exif.get(_DESCRIPTION, "")).startswith(_LAYOUTS):
        del exif[_DESCRIPTION]
    return Embedded(
        picture.info.get("icc_profile"),
        exif.tobytes() if exif else None,
        xmp if isinstance(xmp, bytes) else None,
        (float(dpi[0]), float(dpi[1])) if dpi else None,
    )


def resize_alpha(alpha: np.ndarray, height: int, width: int) -> np.ndarray:
    """Alpha of another size, bicubic: a network trained on photographs knows nothing of it."""
    if alpha.shape == (height, width):
        return alpha
    image = PIL.Image.fromarray(alpha.astype(np.float32))
    resized = np.asarray(image.resize((width, height), PIL.Image.Resampling.BICUBIC))
    return resized.round().clip(0, np.iinfo(alpha.dtype).max).astype(alpha.dtype)


def check_format(picture: Picture, form: str) -> None:
    """Nothing, if a picture like this can be written in a format without loss of depth or alpha.

    Raises: ImageError: else.
    """
    if form in ("jpeg", "webp") and picture.pixels.dtype != np.uint8:
        raise ImageError(f"has 16 bits a channel, {form} holds 8: use --format png or tiff")
    if form == "jpeg" and picture.alpha is not None:
        raise ImageError("has an alpha channel, which jpeg can't hold: use --format png, tiff or webp")


def write_picture(picture: Picture, path: Path, form: str) -> None:
    """Write a picture whole or not at all: PNG, TIFF and WebP without loss, JPEG at quality 95.

    Raises:
        ImageError: as ``check_format``, and for sides that the format can't have.
        OSError: where it can't be written.
    """
    check_format(picture, form)
    height, width = picture.pixels.shape[:2]
    if max(height, width) > _LARGEST_SIDE.get(form, 2**31):
        raise ImageError(
            f"{width}x{height} is more than {form} can hold ({_LARGEST_SIDE[form]}): use --format png"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    picture = replace(picture, embedded=_of_size(picture.embedded, height, width))
    colour = picture.pixels.ndim == 3 or picture.alpha is not None
    try:
        if form == "tiff":
            _write_tiff(picture, partial)
        elif picture.pixels.dtype == np.uint16 and form == "png" and colour:
            _write_deep_png(picture, partial)
        else:
            image = PIL.Image.fromarray(_interleaved(picture))
            image.save(partial, format=form.upper(), **_options(picture.embedded, form))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _of_size(embedded: Embedded, height: int, width: int) -> Embedded:
    """The same with this size where EXIF states one."""
    if embedded.exif is None:
        return embedded
    exif = Exif()
    exif.load(embedded.exif)
    if _EXIF_IFD not in exif:  # reading what isn't there would make it
        return embedded
    details = exif.get_ifd(_EXIF_IFD)
    for tag, side in ((_EXIF_WIDTH, width), (_EXIF_HEIGHT, height)):
        if tag in details:
            details[tag] = side
    return replace(embedded, exif=exif.tobytes())


def _interleaved(picture: Picture) -> np.ndarray:
    if picture.alpha is None:
        return picture.pixels
    return np.dstack((picture.pixels, picture.alpha))


def _options(embedded: Embedded, form: str) -> dict[str, Any]:
    """Of Pillow's ``save``."""
    found = dict(_SAVED_AS[form])
    if embedded.profile:
        found["icc_profile"] = embedded.profile
    if embedded.dpi:
        found["dpi"] = embedded.dpi
    if embedded.exif:
        found["exif"] = embedded.exif
    if embedded.xmp and form == "png":
        found["pnginfo"] = PIL.PngImagePlugin.PngInfo()
        found["pnginfo"].add_itxt("XML:com.adobe.xmp", embedded.xmp.decode(errors="replace"))
    elif embedded.xmp:
        found["xmp"] = embedded.xmp
    return found


def _write_deep_png(picture: Picture, path: Path) -> None:
    """16 bits a channel, which Pillow can't write in colour."""
    pixels = _interleaved(picture)
    height, width = pixels.shape[:2]
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[pixels.shape[2]]
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.write(_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)))
        for chunk in _ancillary(picture.embedded):
            file.write(chunk)
        packer = zlib.compressobj(6)
        for start in range(0, height, _ROWS):
            file.write(_chunk(b"IDAT", packer.compress(_filtered(pixels[start : start + _ROWS]))))
        file.write(_chunk(b"IDAT", packer.flush()))
        file.write(_chunk(b"IEND", b""))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _filtered(rows: np.ndarray) -> bytes:
    """PNG's filter 1: each byte less that of the pixel on its left."""
    data = rows.astype(">u2").reshape(len(rows), -1).view(np.uint8)
    step = 2 * rows.shape[2]
    found = np.ones((len(rows), data.shape[1] + 1), np.uint8)  # the filter's number comes first
    found[:, 1 : step + 1] = data[:, :step]
    found[:, step + 1 :] = data[:, step:] - data[:, :-step]
    return found.tobytes()


def _ancillary(embedded: Embedded) -> Iterator[bytes]:
    """The chunks that Pillow writes for what a file says beside its pixels."""
    buffer = BytesIO()
    PIL.Image.new("L", (1, 1)).save(buffer, "PNG", **_options(embedded, "png"))
    content, at = buffer.getvalue(), 8
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        if content[at + 4 : at + 8] not in (b"IHDR", b"IDAT", b"IEND"):
            yield content[at : at + 12 + length]
        at += 12 + length


def _write_tiff(picture: Picture, path: Path) -> None:
    """Of EXIF only its first directory's texts: neither writer can compress a TIFF and give it more directories."""
    import tifffile

    embedded, pixels = picture.embedded, _interleaved(picture)
    tags: list[tuple[Any, ...]] = []
    if embedded.profile:
        tags.append((_TIFF_ICC, 7, len(embedded.profile), embedded.profile, True))
    if embedded.xmp:
        tags.append((_TIFF_XMP, 1, len(embedded.xmp), embedded.xmp, True))
    exif = Exif()
    exif.load(embedded.exif or b"")
    tags += [(tag, 2, 0, text, True) for tag, text in exif.items() if isinstance(text, str)]
    tifffile.imwrite(
        path,
        pixels,
        photometric="minisblack" if picture.pixels.ndim == 2 else "rgb",
        planarconfig="contig" if pixels.ndim == 3 else None,
        extrasamples=None if picture.alpha is None else ["unassalpha"],
        compression="zlib",
        resolution=embedded.dpi,
        resolutionunit="inch" if embedded.dpi else None,
        software=False,
        metadata=None,
        extratags=tags,
    )

"""Reading images and identifying them by content.

A picture is (H, W, 3) uint8 RGB; what networks take may have other channels (packed RAW, several exposures), and
be uint16 (of 65535) or float32. Only conversions that keep every value are done, and each is noted;
what would lose something (16 bits, transparency, CMYK, further pages) is refused, because a number
measured on silently changed pixels isn't comparable. Stored pixels are kept: EXIF orientation and
colour profiles aren't applied.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFile

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

# Opening by these only: Pillow knows formats that start other programs (EPS) or unpack to anything.
_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))
_NAMED = 10  # files named in one message before it goes on with a count
# What Pillow raises for broken files, found by corrupting files of each format.
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, struct.error)


class ImageError(ValueError):
    """An image file or folder that can't be used; the message names it and says what to do."""


@dataclass(frozen=True, eq=False)
class Image:
    """One image: its file name and (H, W, C) pixels, uint8, uint16 or finite float32.

    Attributes:
        cropped_from: ``content_digest`` of the picture as it was read, where the pixels are a part of it.
        made_by: How the pixels were made from the target's, such as ``noise of sigma 25``; "" where they were read.

    Raises:
        ValueError: if the pixels have another shape or type.
    """

    name: str
    pixels: np.ndarray
    cropped_from: str | None = None
    made_by: str = ""

    def __post_init__(self) -> None:
        check_pixels(self.pixels, self.name)

    @cached_property
    def digest(self) -> str:
        """``content_digest`` of the pixels."""
        return content_digest(self.pixels)

    @property
    def source(self) -> str:
        """``content_digest`` of the picture as it was read, before any crop.

        A crop keeps the top left, so that crops of a picture and of its mirror image differ, and only their
        sources tell that they are the same.
        """
        return self.cropped_from or self.digest

    def cropped(self, height: int, width: int) -> Image:
        """The top left of at most this size, with this image's source; itself if that is all of it."""
        if self.pixels.shape[0] <= height and self.pixels.shape[1] <= width:
            return self
        return Image(
            self.name, np.ascontiguousarray(self.pixels[:height, :width]), self.source, made_by=self.made_by
        )


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Named images in a fixed order; ``notes`` tells what reading them changed or left out."""

    name: str
    images: tuple[Image, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """Per image ``content_digest``, in the order of the images."""
        return tuple(image.digest for image in self.images)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Per image the ``content_digest`` of the picture as it was read, before any crop."""
        return tuple(image.source for image in self.images)

    @cached_property
    def digest(self) -> str:
        """First 12 hex digits of a SHA-256 over the sorted content digests: names and order don't count."""
        return hashlib.sha256("\n".join(sorted(self.digests)).encode()).hexdigest()[:12]

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Image]:
        return iter(self.images)


def check_pixels(pixels: np.ndarray, name: str) -> None:
    """Raise ValueError unless this is a non-empty (H, W, C) array of uint8, uint16 or finite float32."""
    if pixels.ndim != 3 or pixels.dtype not in _TYPES or not pixels.size:
        raise ValueError(
            f"{name}: expected (H, W, C) pixels of uint8, uint16 or float32, got {pixels.shape} {pixels.dtype}"
        )
    if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
        bad = int((~np.isfinite(pixels)).sum())
        raise ValueError(
            f"{name}: expected finite values, got {bad} NaN or infinite; mend or remove the image"
        )


def check_rgb(pixels: np.ndarray, name: str) -> None:
    """Raise ValueError unless this is a non-empty (H, W, 3) uint8 array."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"{name}: expected (H, W, 3) uint8 pixels, got {pixels.shape} {pixels.dtype}")


def viewable(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 for the eye from (H, W, C) pixels of any type: RGB of 8 bits is itself.

    Others: the first three channels (of one, grey), divided by their 99.5th percentile, gamma 1/2.2.
    """
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return pixels
    shown = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)
    white = float(np.percentile(shown, 99.5)) or 1.0
    return (np.clip(shown / white, 0, 1) ** (1 / 2.2) * 255).round().astype(np.uint8)


def orientations(pixels: np.ndarray) -> tuple[np.ndarray, ...]:
    """The 8 flips and rotations of an (H, W, ...) array, as views; the first is the array itself."""
    flipped = pixels[:, ::-1]
    return tuple(np.rot90(side, turns) for side in (pixels, flipped) for turns in range(4))


def content_digest(pixels: np.ndarray) -> str:
    """SHA-256 (hex) of shape and bytes, the same for all 8 flips and rotations of an image.

    Hashes the orientation whose shape and bytes come first in order, so that large images are hashed
    once; the first row nearly always decides which.
    """
    views = orientations(pixels)
    keys = [(view.shape, view[0].tobytes()) for view in views]
    first = min(keys)
    content = min(view.tobytes() for view, key in zip(views, keys, strict=True) if key == first)
    return hashlib.sha256(f"{first[0]} {pixels.dtype}\n".encode() + content).hexdigest()


def read_image(path: str | Path) -> tuple[np.ndarray, str | None]:
    """Read one file as a C-contiguous (H, W, 3) uint8 array.

    Returns:
        The pixels, and a short text of the lossless conversion done (greyscale, palette or 1 bit to
        RGB; an opaque alpha channel dropped) or None.

    Raises:
        ImageError: if the file is missing, broken or no image, or if 8-bit RGB can't hold what it stores.
    """
    try:
        with PIL.Image.open(path, formats=_FORMATS) as picture:
            _check_storage(picture, path)
            picture.load()
            return _to_rgb(picture, path)
    except ImageError:
        raise
    except PIL.UnidentifiedImageError:
        raise ImageError(
            f"{path}: expected an image ({_suffixes()}), got another kind of file; remove it"
        ) from None
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(f"{path}: too large ({error}); cut it into smaller images") from error
    except _BROKEN as error:
        raise ImageError(f"{path}: can't be read ({error}); replace or remove the file") from error


def _check_storage(picture: PIL.ImageFile.ImageFile, path: str | Path) -> None:
    """Refuse what ``load`` would reduce to 8 bits or to the first page without a word."""
    if picture.mode not in ("1", "L", "P", "RGB", "LA", "PA", "RGBA") or _is_deep(picture):
        stored = f"mode {picture.mode}, stored as {_storage(picture) or 'unknown'}"
        raise ImageError(f"{path}: expected 8-bit RGB or greyscale, got {stored}; convert it to 8-bit RGB")
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":  # a camera's MPO holds the photograph and its previews
        raise ImageError(f"{path}: expected one picture, got {frames} frames; save the one you want")


def _storage(picture: PIL.ImageFile.ImageFile) -> str:
    """Pillow's raw mode, e.g. ``RGB;16B`` for a 16-bit PNG, whose ``mode`` is plain ``RGB``."""
    if not picture.tile:
        return ""
    codec, args = picture.tile[0][0], picture.tile[0][3]
    if codec in ("ppm", "ppm_plain") and isinstance(args, tuple) and len(args) > 1:
        return f"{args[0]};{int(args[1]).bit_length()}"  # the second is the largest value
    return str(args[0] if isinstance(args, tuple) and args else args)


def _is_deep(picture: PIL.ImageFile.ImageFile) -> bool:
    """Whether a channel is stored in more than 8 bits (a BMP's ``BGR;16`` has 16 bits per pixel)."""
    storage = _storage(picture)
    depth = re.search(r";(\d+)", storage)
    return depth is not None and int(depth[1]) > 8 and not storage.startswith("BGR;")


def _to_rgb(picture: PIL.Image.Image, path: str | Path) -> tuple[np.ndarray, str | None]:
    kinds = {"1": "1-bit", "L": "greyscale", "LA": "greyscale", "P": "palette", "PA": "palette"}
    done = [f"{kinds[picture.mode]} converted to RGB"] if picture.mode in kinds else []
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        lowest = int(np.asarray(picture.getchannel("A")).min())
        if lowest < 255:
            raise ImageError(
                f"{path}: expected an opaque image, got an alpha channel down to {lowest} of 255; "
                "flatten it onto a background"
            )
        done.append("opaque alpha dropped")
    return np.array(picture.convert("RGB")), ", ".join(done) or None


def read_folder(
    folder: str | Path,
    *,
    name: str | None = None,
    minimum: tuple[int, int] = (1, 1),
    skip_bad: bool = False,
) -> ImageSet:
    """Read every image of a folder, sorted by file name; subfolders and hidden files are ignored.

    Args:
        folder: Where the images are.
        name: Name of the set; the folder's by default.
        minimum: Smallest (height, width) in pixels.
        skip_bad: Leave out files that can't be used, naming them in ``notes``, instead of raising.

    Raises:
        ImageError: if the folder is missing or holds no image, or naming all files that can't be used.
    """
    folder = Path(folder)
    return read_files(
        {file: file.name for file in image_files(folder)},
        name=name or folder.resolve().name,
        where=str(folder),
        minimum=minimum,
        skip_bad=skip_bad,
    )


def read_files(
    names: Mapping[Path, str],
    *,
    name: str,
    where: str,
    minimum: tuple[int, int] = (1, 1),
    skip_bad: bool = False,
) -> ImageSet:
    """As ``read_folder`` for files that are known.

    Args:
        names: What each file's image is called, in the order that the set is to have.
        where: The folder, for messages.
    """
    images, conversions, problems = _read_all(names, minimum, names)
    notes = as_notes(conversions) + note_left_out(problems, len(images), where, skip_bad)
    return ImageSet(name, tuple(images.values()), notes)


def has_images(folder: Path) -> bool:
    """Whether a folder holds image files itself, not in its subfolders; False where there is no such folder."""
    return folder.is_dir() and any(_is_image(entry) for entry in folder.iterdir())


def read_pairs(
    hr_folder: str | Path,
    lr_folder: str | Path,
    *,
    scale: int,
    name: str | None = None,
    minimum: tuple[int, int] = (1, 1),
    skip_bad: bool = False,
) -> tuple[ImageSet, ImageSet]:
    """Read HR images and their LR versions, in the same order.

    Files are matched by name without suffix; an LR name may end in ``x4`` or ``_x4`` (the scale). An HR
    image that is larger than LR times the scale by less than ``scale`` pixels is cropped, top left kept,
    as the published LR images were made. ``minimum`` is the smallest (height, width) of an LR image. With
    ``skip_bad``, a pair with a file that can't be used is left out.

    Raises:
        ImageError: as ``read_folder``; naming all files without a partner; naming all pairs whose sizes
            don't fit.
    """
    hr_folder, lr_folder = Path(hr_folder), Path(lr_folder)
    pairs = match_files(image_files(hr_folder), image_files(lr_folder), scale)
    return read_file_pairs(
        pairs,
        {file: file.name for pair in pairs.items() for file in pair},
        scale=scale,
        name=name or hr_folder.resolve().name,
        where=f"{hr_folder}, {lr_folder}",
        minimum=minimum,
        skip_bad=skip_bad,
    )


def read_file_pairs(
    pairs: Mapping[Path, Path],
    names: Mapping[Path, str],
    *,
    scale: int,
    name: str,
    where: str,
    minimum: tuple[int, int] = (1, 1),
    skip_bad: bool = False,
) -> tuple[ImageSet, ImageSet]:
    """As ``read_pairs`` for files that are known: the input's file per target's file.

    Args:
        pairs: In the order that the sets are to have.
        names: What each file's image is called.
        where: The folders, for messages.
    """
    hr, hr_conversions, hr_problems = _read_all(pairs.keys(), (1, 1), names)
    lr, lr_conversions, lr_problems = _read_all(pairs.values(), minimum, names)
    good = {high: low for high, low in pairs.items() if high in hr and low in lr}
    left_out = note_left_out(hr_problems + lr_problems, len(good), where, skip_bad)
    cropped, misfits, crops = [], [], []
    for high, low in good.items():
        image, (height, width) = hr[high], (side * scale for side in lr[low].pixels.shape[:2])
        excess = image.pixels.shape[0] - height, image.pixels.shape[1] - width
        if not all(0 <= more < scale for more in excess):
            misfits.append(f"{high} {_size(image.pixels)} against {low} {_size(lr[low].pixels)}")
        if any(excess):
            crops.append((image.name, f"HR cropped to a multiple of {scale}"))
        cropped.append(image.cropped(height, width))
    if misfits:
        wanted, check = "inputs of their targets' size", ""
        if scale > 1:
            wanted, check = f"HR images {scale} times as large as their LR images", "the scale and "
        raise ImageError(f"expected {wanted}, got {name_some(misfits)}; check {check}which folder is which")
    return (
        ImageSet(name, tuple(cropped), as_notes(hr_conversions + crops) + left_out),
        ImageSet(f"{name} LR x{scale}", tuple(lr[low] for low in good.values()), as_notes(lr_conversions)),
    )


def image_files(folder: Path) -> list[Path]:
    if not folder.exists():
        raise ImageError(f"{folder}: no such folder; expected a folder of images ({_suffixes()})")
    if not folder.is_dir():
        raise ImageError(f"{folder}: expected a folder of images, got a file; name the folder it is in")
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise ImageError(f"{folder}: the folder can't be listed ({error}); check its permissions") from error
    entries = [entry for entry in entries if not entry.is_dir()]
    files = [entry for entry in entries if _is_image(entry)]
    if not files:
        raise ImageError(
            f"{folder}: no image in this folder; expected {_suffixes()}, got {len(entries)} other files "
            "(subfolders aren't searched)"
        )
    return files


def _is_image(entry: Path) -> bool:
    return entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".") and not entry.is_dir()


def _read_all(
    files: Iterable[Path], minimum: tuple[int, int], names: Mapping[Path, str] | None = None
) -> tuple[dict[Path, Image], list[tuple[str, str]], list[str]]:
    """The usable images, the (name, conversion) pairs, and what is wrong with the rest."""
    images, conversions, problems = {}, [], []
    for file in files:
        name = names[file] if names else file.name
        try:
            pixels, conversion = read_image(file)
        except ImageError as error:
            problems.append(str(error))
            continue
        if pixels.shape[0] < minimum[0] or pixels.shape[1] < minimum[1]:
            least = f"{minimum[1]}x{minimum[0]}"
            problems.append(f"{file}: expected at least {least} pixels, got {_size(pixels)}")
            continue
        images[file] = Image(name, pixels)
        if conversion:
            conversions.append((name, conversion))
    return images, conversions, problems


def note_left_out(problems: Sequence[str], good: int, where: str, skip_bad: bool) -> tuple[str, ...]:
    """Notes on the files left out, or ImageError where that isn't wanted or leaves nothing."""
    if not problems:
        return ()
    listed = f"{len(problems)} unusable image files: {name_some(problems)}"
    if not skip_bad:
        raise ImageError(f"{where}: {listed}. Mend them, or leave them out with `--skip-bad-images`")
    if not good:
        raise ImageError(f"{where}: no usable image is left after skipping {listed}")
    return (f"left out {listed}",)


def match_files(hr_files: Sequence[Path], lr_files: Sequence[Path], scale: int) -> dict[Path, Path]:
    """LR file per HR file."""
    by_stem: dict[str, Path] = {}
    for file in hr_files:
        if file.stem in by_stem:
            raise ImageError(f"{by_stem[file.stem]} and {file}: expected one HR image per name; rename one")
        by_stem[file.stem] = file
    pairs: dict[Path, Path] = {}
    lonely = []
    for low in lr_files:
        high = by_stem.get(low.stem) or by_stem.get(re.sub(rf"_?[xX]{scale}$", "", low.stem))
        if high is None:
            lonely.append(str(low))
        elif high in pairs:
            raise ImageError(f"{pairs[high]} and {low}: both are LR of {high}; remove one")
        else:
            pairs[high] = low
    lonely += [str(high) for high in hr_files if high not in pairs]
    if lonely:
        wanted = "an input of the same name for each target"
        if scale > 1:
            wanted = f"an LR image (same name, or with x{scale} or _x{scale} at its end) for each HR image"
        raise ImageError(
            f"expected {wanted}, got {len(lonely)} without a partner: {name_some(lonely)}; add what is missing, or "
            "check which folder is which"
        )
    return {high: pairs[high] for high in hr_files}


def as_notes(events: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """One line per kind of event, with the files it happened to."""
    grouped: dict[str, list[str]] = {}
    for file, event in events:
        grouped.setdefault(event, []).append(file)
    return tuple(f"{event}: {len(files)} ({name_some(files, ', ')})" for event, files in grouped.items())


def name_some(texts: Sequence[str], separator: str = "; ") -> str:
    rest = len(texts) - _NAMED
    return separator.join(texts[:_NAMED]) + (f"{separator}and {rest} more" if rest > 0 else "")


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _suffixes() -> str:
    return " ".join(suffix[1:] for suffix in SUFFIXES)

"""Reads HDR scenes: exposures with their reference, or HDR images alone.

* NTIRE's layout: for each scene ``NAME_short.png``, ``NAME_medium.png``, ``NAME_long.png``, ``NAME_exposures.npy``
  (three EVs), ``NAME_gt.png`` (16 bits) and ``NAME_alignratio.npy`` (what the 16-bit numbers are divided by), or
  the same in a folder ``NAME`` without the prefix, where frames may be called 0, 1 and 2. A reference may instead be
  ``gt.hdr``, ``gt.exr`` or ``gt.npy``: light, in which 1.0 is what just saturates the medium exposure.
  Scenes may be in a folder of their split, such as ``train``.
* HDR images (.hdr, .exr, .npy of (H, W, 3) float) of light in any unit, without exposures: these are simulated.
* The same with a second folder of exposures: for each image ``NAME_short.png`` and so on or a folder ``NAME``, and
  light as for ``gt.hdr``; or ``NAME.npy``, a finished input as simulation gives it.

A frame is gamma-coded by 2.24. All images are read at once and an input takes 72 bytes a pixel: cut large frames
(1060x1900 takes 138 MiB) into patches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import PIL.Image

from evaluators.data.images import (
    Image,
    ImageError,
    ImageSet,
    content_digest,
    name_some,
    note_left_out,
    read_image,
)
from evaluators.data.pairs import PairSet
from evaluators.hdr.coding import CHANNELS, FRAMES, GAMMA, full_scale, medium, stack, to_coded, to_light
from evaluators.hdr.exposures import EVS, exposed, simulate
from evaluators.hdr.radiance import decode_radiance

LIGHT_SUFFIXES = (".exr", ".hdr", ".npy")
_NUMBERS = ("exposures", "alignratio")
_ROLES = (*FRAMES, "gt", *_NUMBERS)
_IN_NAME = re.compile(rf"(.+)_({'|'.join(_ROLES)})")
_WANTED = (
    "NAME_short, NAME_medium and NAME_long with NAME_exposures.npy, the same in a folder NAME, or NAME.npy"
)
_SPLITS = {"train": ("train",), "validation": ("valid", "val"), "test": ("test",)}
_WELL_EXPOSED = (0.1, 0.9)
_MOST_APART = 2.0  # factor between a reference's light and the medium exposure's; NTIRE's agree within 1 %
_LEAST_PIXELS = 100

Files = Mapping[str, Path]
Read = Callable[[], tuple[Image, Image]]


def read_pairs(
    targets: Path, inputs: Path | None, *, minimum: int, skip_bad: bool, split: str = "train"
) -> PairSet:
    """Inputs (H, W, 18) and targets (H, W, 3), coded as ``evaluators.hdr.coding`` says.

    Args:
        minimum: Smallest height and width.
        skip_bad: Leave out what can't be used, naming it in ``notes``, instead of raising.
        split: Which of a data set's folders, where it has one for each.

    Raises: ImageError: naming all that can't be used, or what has no partner.
    """
    folder = targets if inputs else _of_split(targets, split)
    if inputs is not None:
        todo = _with_exposures(_lights(folder), inputs)
    elif scenes := _scenes(folder):
        todo = {name: _scene_reader(folder / name, name, files) for name, files in scenes.items()}
    else:
        todo = {file.name: _simulation(file) for file in _lights(folder).values()}
    read, problems = [], []
    for each in todo.values():
        try:
            read.append(_large_enough(each(), folder, minimum))
        except ImageError as error:
            problems.append(str(error))
    notes = note_left_out(problems, len(read), str(folder), skip_bad)
    taken, wanted = (tuple(images) for images in zip(*read, strict=True))
    name = targets.resolve().name
    return PairSet(ImageSet(f"{name} exposures", taken), ImageSet(name, wanted, notes), 1)


def read_light(path: Path) -> np.ndarray:
    """(H, W, 3) float32 of linear light from .hdr, .exr or .npy.

    Raises: ImageError: for a file that can't be read, or has NaN, infinite, negative or no light.
    """
    reader = {".hdr": _hdr, ".exr": _exr, ".npy": _npy}.get(path.suffix.lower())
    if reader is None:
        raise ImageError(f"{path}: expected light as {' '.join(LIGHT_SUFFIXES)}, got another kind of file")
    pixels = reader(path)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size or pixels.dtype.kind != "f":
        raise ImageError(
            f"{path}: expected (H, W, 3) floating-point light, got {pixels.shape} {pixels.dtype}; convert it"
        )
    with np.errstate(over="ignore"):
        light = np.ascontiguousarray(pixels, dtype=np.float32)
    odd, negative = int((~np.isfinite(light)).sum()), int((light < 0).sum())
    if odd or negative:
        raise ImageError(
            f"{path}: expected finite light of 0 or more, got {odd} NaN or infinite and {negative} negative values of "
            f"{light.size}; set them to 0 or leave the image out"
        )
    if not light.any():
        raise ImageError(f"{path}: expected light, got zeros only; leave the image out")
    return light


def read_deep_png(path: Path) -> np.ndarray:
    """(H, W, 3) uint16 from an RGB PNG of 16 bits a channel.

    Raises: ImageError: if it is another kind of file.
    """
    # Pillow has no picture of 3x16 bits. It decodes one all the same, and keeps the byte that we name.
    high, low = (_decoded(path, layout) for layout in ("RGB;16B", "RGB;16L"))
    return high.astype(np.uint16) << 8 | low


def _decoded(path: Path, layout: str) -> np.ndarray:
    try:
        with PIL.Image.open(path, formats=("PNG",)) as picture:
            if not picture.tile or picture.tile[0].args != "RGB;16B":
                raise ImageError(
                    f"{path}: expected a PNG of RGB with 16 bits a channel, got mode {picture.mode}; convert it"
                )
            picture.tile = [picture.tile[0]._replace(args=layout)]
            return np.asarray(picture)
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(f"{path}: too large ({error}); cut it into smaller images") from error
    except (OSError, SyntaxError) as error:
        raise ImageError(f"{path}: can't be read ({error}); replace or remove the file") from error


def _hdr(path: Path) -> np.ndarray:
    try:
        return decode_radiance(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: can't be read ({error}); replace or remove the file") from error


def _exr(path: Path) -> np.ndarray:
    try:
        import OpenEXR
    except ImportError:
        raise ImageError(
            f"{path}: reading .exr needs OpenEXR: pip install OpenEXR (or pixelfront[hdr])"
        ) from None
    try:
        with OpenEXR.File(str(path)) as file:
            parts, channels = len(file.parts), {name: c.pixels for name, c in file.channels().items()}
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        raise ImageError(f"{path}: can't be read ({error}); replace or remove the file") from error
    if parts > 1 or channels.keys() not in ({"RGB"}, {"RGBA"}):
        raise ImageError(
            f"{path}: expected one part with channels R, G and B, got {parts} with {', '.join(channels)}; convert it"
        )
    ((name, pixels),) = channels.items()
    if name == "RGBA" and not (pixels[..., 3] == 1).all():
        raise ImageError(f"{path}: expected an opaque image, got alpha below 1; flatten it")
    return pixels[..., :3]


def _npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ImageError(
            f"{path}: can't be read ({error}); expected an array written by numpy.save"
        ) from error


def has_split(folder: Path, split: str) -> bool:
    """Whether the folder holds one for the split."""
    return _of_split(folder, split) != folder


def _of_split(folder: Path, split: str) -> Path:
    """The split's folder within; the folder itself if it has none."""
    within = (folder / word for word in _SPLITS[split])
    return next((place for place in within if place.is_dir()), folder)


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise ImageError(f"{folder}: no such folder; expected a folder of HDR images or scenes, got {found}")
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _lights(folder: Path) -> dict[str, Path]:
    """HDR images by their name without suffix."""
    found: dict[str, Path] = {}
    for file in _entries(folder):
        if file.suffix.lower() not in LIGHT_SUFFIXES or file.is_dir() or file.stem in _NUMBERS:
            continue
        if file.stem in found:
            raise ImageError(f"{found[file.stem]} and {file}: expected one image per name; rename one")
        found[file.stem] = file
    if not found:
        raise ImageError(
            f"{folder}: no image in this folder; expected HDR images ({' '.join(LIGHT_SUFFIXES)}) or scenes of "
            "NAME_short.png, NAME_medium.png, NAME_long.png, NAME_exposures.npy, NAME_gt.png and NAME_alignratio.npy, "
            "or of these in a folder NAME each"
        )
    return found


def _scenes(folder: Path) -> dict[str, dict[str, Path]]:
    """Scene name to role (a frame's is its name or its number) to file."""
    found: dict[str, dict[str, Path]] = {}
    for entry in _entries(folder):
        if entry.is_dir():
            for file in _entries(entry):
                if file.stem in _ROLES or file.stem.isdecimal():
                    _add(found, entry.name, file.stem, file)
        elif match := _IN_NAME.fullmatch(entry.stem):
            _add(found, match[1], match[2], entry)
    return found


def _add(scenes: dict[str, dict[str, Path]], name: str, role: str, file: Path) -> None:
    files = scenes.setdefault(name, {})
    if role.isdecimal() and int(role) < len(FRAMES):
        role = FRAMES[int(role)]
    if role in files:
        raise ImageError(f"{files[role]} and {file}: both are '{role}' of {name}; remove one")
    files[role] = file


def _with_exposures(lights: Mapping[str, Path], folder: Path) -> dict[str, Read]:
    """How to read each HDR image with its exposures from another folder.

    Raises: ImageError: naming what has no partner.
    """
    stacks = _scenes(folder)
    ready = {
        f.stem: f
        for f in _entries(folder)
        if f.suffix.lower() == ".npy" and not f.is_dir() and not _IN_NAME.fullmatch(f.stem)
    }
    if both := sorted(stacks.keys() & ready.keys()):
        raise ImageError(
            f"{folder}: expected one input each, got .npy and frames of {name_some(both)}; remove one"
        )
    given = stacks.keys() | ready.keys()
    if not given:
        raise ImageError(f"{folder}: no image in this folder; expected for each HDR image {_WANTED}")
    if lonely := sorted(lights.keys() ^ given):
        raise ImageError(
            f"{folder}: expected for each HDR image {_WANTED}, got {len(lonely)} without a partner: {name_some(lonely)}"
        )
    return {
        name: _ready_reader(light, ready[name])
        if name in ready
        else _scene_reader(folder / name, light.name, {**stacks[name], "gt": light})
        for name, light in lights.items()
    }


def _simulation(file: Path) -> Read:
    def read() -> tuple[Image, Image]:
        light = read_light(file)
        return simulate(file.name, exposed(light), content_digest(light))

    return read


def _ready_reader(file: Path, input_file: Path) -> Read:
    def read() -> tuple[Image, Image]:
        light, pixels = read_light(file), _npy(input_file)
        if pixels.dtype != np.float32 or pixels.ndim != 3 or pixels.shape[2] != CHANNELS:
            raise ImageError(
                f"{input_file}: expected (H, W, {CHANNELS}) float32 as simulation gives it, got {pixels.shape} "
                f"{pixels.dtype}; give frames instead"
            )
        _check_sizes(input_file, [pixels, light])
        try:
            source = Image(file.name, np.ascontiguousarray(pixels))
        except ValueError as error:
            raise ImageError(f"{input_file}: {error}") from error
        coded = to_coded(exposed(light), full_scale(EVS))
        return source, Image(file.name, coded, cropped_from=content_digest(light))

    return read


def _scene_reader(where: Path, name: str, files: Files) -> Read:
    def read() -> tuple[Image, Image]:
        frames = [_frame(path) for path in _frame_files(where, files)]
        evs = _exposures(where, files)
        reference = _reference(where, files, full_scale(evs))
        _check_sizes(where, [*frames, reference])
        pixels = stack(frames, evs)
        _check_brightness(where, frames[1], to_light(medium(pixels)), to_light(reference))
        return Image(name, pixels), Image(name, reference)

    return read


def _frame_files(where: Path, files: Files) -> list[Path]:
    frames = sorted(role for role in files if role in FRAMES or role.isdecimal())
    if set(frames) != set(FRAMES):
        raise ImageError(
            f"{where}: expected {len(FRAMES)} frames ({', '.join(FRAMES)}, or 0, 1, 2), got {len(frames)}: "
            f"{', '.join(files[role].name for role in frames) or 'none'}; add or remove some"
        )
    return [files[role] for role in FRAMES]


def _frame(path: Path) -> np.ndarray:
    """(H, W, 3) float32 in [0, 1] from an image of 8 bits, or a PNG of 16."""
    try:
        with PIL.Image.open(path, formats=("PNG",)) as picture:
            deep = bool(picture.tile) and picture.tile[0].args == "RGB;16B"
    except (OSError, SyntaxError):
        deep = False  # no PNG, or a broken file, which read_image reports
    if deep:
        return read_deep_png(path).astype(np.float32) / np.float32(65535)
    return read_image(path)[0].astype(np.float32) / np.float32(255)


def _exposures(where: Path, files: Files) -> tuple[float, ...]:
    if "exposures" not in files:
        raise ImageError(
            f"{where}: expected exposures.npy with the EVs of short, medium and long, got none; write it"
        )
    values = _numbers(files["exposures"])
    if values.shape != (len(FRAMES),):
        raise ImageError(
            f"{files['exposures']}: expected {len(FRAMES)} exposures in EV, got an array of shape {values.shape}"
        )
    if not np.isfinite(values).all() or not (np.diff(values) > 0).all():
        raise ImageError(
            f"{files['exposures']}: expected EVs that rise from short to long, got {values.tolist()}; put them in order"
        )
    return tuple(float(value) for value in values)


def _reference(where: Path, files: Files, full: float) -> np.ndarray:
    """Coded (H, W, 3) float32."""
    if "gt" not in files:
        raise ImageError(
            f"{where}: expected a reference (gt.png with alignratio.npy, gt.hdr, gt.exr or gt.npy), got none"
        )
    path = files["gt"]
    if path.suffix.lower() != ".png":
        return to_coded(read_light(path), full)
    if "alignratio" not in files:
        raise ImageError(f"{path}: expected alignratio.npy beside it, got none; add it")
    ratio = _numbers(files["alignratio"])
    if ratio.size != 1 or not np.isfinite(ratio).all() or ratio.item() <= 0:
        raise ImageError(f"{files['alignratio']}: expected one positive number, got {ratio.tolist()}")
    coded = read_deep_png(path) / (ratio.item() * full ** (1 / GAMMA))
    if not coded.any():
        raise ImageError(f"{path}: expected light, got zeros only; leave the scene out")
    return coded.astype(np.float32)


def _numbers(path: Path) -> np.ndarray:
    values = _npy(path)
    if values.dtype.kind not in "iuf":
        raise ImageError(f"{path}: expected numbers, got {values.dtype}")
    return values.astype(np.float64)


def _check_sizes(where: Path, images: Iterable[np.ndarray]) -> None:
    sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in images]
    if len(set(sizes)) > 1:
        raise ImageError(
            f"{where}: expected frames and reference of one size, got {', '.join(sizes)}; crop them alike"
        )


def _check_brightness(where: Path, frame: np.ndarray, shown: np.ndarray, light: np.ndarray) -> None:
    """Nothing, unless frame and reference are plainly not in the same unit.

    Args:
        frame: The medium exposure.
        shown: Its light, and ``light`` the reference's.
    """
    usable = (frame > _WELL_EXPOSED[0]) & (frame < _WELL_EXPOSED[1]) & (light > 0)
    if usable.sum() < _LEAST_PIXELS:
        return
    factor = float(np.median(light[usable] / shown[usable]))
    if not 1 / _MOST_APART <= factor <= _MOST_APART:
        raise ImageError(
            f"{where}: expected a reference in which 1.0 is the medium exposure's white, got one {factor:.3g} times as "
            "bright as the medium exposure; divide it by that, or check which frame is the medium one"
        )


def _large_enough(pair: tuple[Image, Image], folder: Path, minimum: int) -> tuple[Image, Image]:
    height, width = pair[0].pixels.shape[:2]
    if min(height, width) < minimum:
        raise ImageError(
            f"{folder / pair[0].name}: expected at least {minimum}x{minimum} pixels, got {width}x{height}"
        )
    return pair

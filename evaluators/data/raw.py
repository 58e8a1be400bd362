"""Bayer RAW: packing and demosaicing, reading files, and making RAW from photographs.

"Unprocessing Images for Learned Raw Denoising", Brooks et al., 2019, https://arxiv.org/abs/1811.11127; code:
https://github.com/timothybrooks/unprocessing (Apache-2.0; none of it is used).
Deviations: one camera, with one colour matrix, in one kind of daylight: brightness and white balance, which a network
can only guess, vary less than in the paper, so that scores tell networks apart by the rest. The noise is that of
daylight to dusk, the RAW is quantised to 12 bits above a black level, and highlights are clipped plainly.

Packed RAW is (h, w, 4): red, green of the red rows, green of the blue rows, blue, each at half the image's height and
width. Its values are linear, 0 at the black level and 1 at the white level; noise goes below 0.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from evaluators.data.images import ImageError

# Rows and columns to leave out at the top left until the pattern is red, green / green, blue.
OFFSETS = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}
CAMERA_SUFFIXES = (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2")
SUFFIXES = (".npy", ".png", *CAMERA_SUFFIXES)
SIDECAR = "raw.json"

# From the camera's colours to linear sRGB; of a made-up sensor, rows sum to 1 so that white stays white.
COLOUR_MATRIX = np.array([[1.72, -0.52, -0.20], [-0.28, 1.58, -0.30], [0.02, -0.54, 1.52]])
RED_GAINS, BLUE_GAINS = (2.0, 2.2), (1.6, 1.8)  # white balance, of one daylight
DAYLIGHT = (2.1, 1.7)  # the gains in the middle, for who doesn't know them
BRIGHTNESS = (0.8, 0.04)  # mean and deviation of what the camera multiplied by
SHOT_NOISE = (1e-4, 3e-3)  # variance per signal, log-uniform
READ_SLOPE, READ_OFFSET = (
    2.18,
    1.2,
)  # log of read variance against log of shot variance, as the paper measured
BLACK_LEVEL, WHITE_LEVEL = 256, 4095  # 12 bits


def pack(mosaic: np.ndarray) -> np.ndarray:
    """(H, W) red-green/green-blue mosaic, sides even, to (H/2, W/2, 4)."""
    return np.stack([mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 0::2], mosaic[1::2, 1::2]], axis=-1)


def unpack(packed: np.ndarray) -> np.ndarray:
    """Inverse of ``pack``."""
    mosaic = np.empty((packed.shape[0] * 2, packed.shape[1] * 2), packed.dtype)
    for channel, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        mosaic[row::2, column::2] = packed[..., channel]
    return mosaic


def demosaic(packed: np.ndarray) -> np.ndarray:
    """Bilinear: (h, w, 4) to (2h, 2w, 3) float32; a missing colour is the mean of its nearest samples."""
    # Both ways of going on beyond the edge keep the pattern; reflecting needs more than one cell.
    mode = "reflect" if min(packed.shape[:2]) > 1 else "wrap"
    mosaic = np.pad(unpack(packed.astype(np.float32)), 2, mode=mode)  # type: ignore[call-overload]
    planes = []
    for places in (((0, 0),), ((0, 1), (1, 0)), ((1, 1),)):
        known = np.zeros_like(mosaic)
        for row, column in places:
            known[row::2, column::2] = 1
        mean = _neighbours(mosaic * known) / _neighbours(known)
        planes.append(np.where(known[1:-1, 1:-1] == 1, mosaic[1:-1, 1:-1], mean))
    return np.stack(planes, axis=-1)[1:-1, 1:-1]


def _neighbours(plane: np.ndarray) -> np.ndarray:
    """Sum over 3x3 with weights 1 2 1 by 1 2 1, of all pixels but the border."""
    rows = plane[:-2] + 2 * plane[1:-1] + plane[2:]
    return rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]


@dataclass(frozen=True)
class Levels:
    """How a RAW's numbers are to be read: at which the sensor saw nothing and was full, and where red is."""

    black: float
    white: float
    pattern: str = "RGGB"

    def __post_init__(self) -> None:
        if not 0 <= self.black < self.white:
            raise ImageError(f"expected 0 <= black level < white level, got {self.black} and {self.white}")
        if self.pattern not in OFFSETS:
            raise ImageError(
                f"expected a Bayer pattern of 2x2 ({', '.join(OFFSETS)}), got '{self.pattern}'; "
                "convert the file to another, or leave it out"
            )

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """float32, 0 at the black level, 1 at the white level."""
        return ((values.astype(np.float32) - self.black) / (self.white - self.black)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Raw:
    """A RAW as it was read: packed, and how many rows and columns of its target are left out at the top left."""

    packed: np.ndarray
    offset: tuple[int, int]
    note: str = ""


def read_raw(path: Path, levels: Levels | None = None) -> Raw:
    """Read a mosaic (one-channel PNG, 2-D .npy), packed RAW ((h, w, 4) .npy), or a camera's file.

    A mosaic whose pattern doesn't start with red is cropped until it does, and an odd last row or column is left out.

    Args:
        levels: Of PNG and integer .npy. By default black is 0, white the end of the 10, 12, 14 or 16 bits that the
            file's largest value needs, and the pattern RGGB. Camera files know their own; float .npy is in [0, 1].

    Raises: ImageError: for anything else, saying what is expected.
    """
    if path.suffix.lower() in CAMERA_SUFFIXES:
        return _from_camera(path)
    values = _npy(path) if path.suffix.lower() == ".npy" else _png(path)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if (values.ndim != 2 and values.shape[2:] != (4,)) or values.size == 0:
        raise ImageError(
            f"{path}: expected a mosaic of (H, W) or packed RAW of (h, w, 4), got {values.shape}; repack it"
        )
    note = ""
    if values.dtype == np.float32:
        pattern = levels.pattern if levels else "RGGB"
    else:
        levels = levels or _assumed(int(values.max()))
        note = f"RAW read with black {levels.black:g}, white {levels.white:g}, {levels.pattern}"
        values, pattern = levels.scaled(values), levels.pattern
    if values.ndim == 3:
        return Raw(values, (0, 0), note)
    return _packed(values, pattern, path, note)


def _packed(mosaic: np.ndarray, pattern: str, path: Path, note: str) -> Raw:
    top, left = OFFSETS[pattern]
    mosaic = mosaic[top:, left:]
    mosaic = mosaic[: len(mosaic) // 2 * 2, : mosaic.shape[1] // 2 * 2]
    if not mosaic.size:
        raise ImageError(
            f"{path}: expected at least 2x2 pixels from the first red one on, got fewer; remove it"
        )
    return Raw(np.ascontiguousarray(pack(mosaic)), (top, left), note)


def _assumed(largest: int) -> Levels:
    bits = next((bits for bits in (10, 12, 14) if largest < 2**bits), 16)
    return Levels(0, 2**bits - 1)


def _npy(path: Path) -> np.ndarray:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ImageError(
            f"{path}: can't be read ({error}); expected an array written by numpy.save"
        ) from error
    if values.dtype not in (np.uint8, np.uint16, np.float32, np.float64):
        raise ImageError(f"{path}: expected uint8, uint16 or float numbers, got {values.dtype}; convert it")
    if values.dtype in (np.float32, np.float64):
        values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise ImageError(f"{path}: expected finite numbers, got NaN or infinite ones; mend or remove it")
    return values


def _png(path: Path) -> np.ndarray:
    try:
        with PIL.Image.open(path, formats=("PNG",)) as picture:
            if picture.mode not in ("L", "I", "I;16"):
                raise ImageError(
                    f"{path}: expected a mosaic in one channel of 8 or 16 bits, got mode {picture.mode}; a picture is "
                    "no RAW: was it given as the input instead of the target?"
                )
            return np.asarray(picture).astype(np.uint16)
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(f"{path}: too large ({error}); cut it into smaller images") from error
    except (OSError, SyntaxError) as error:
        raise ImageError(f"{path}: can't be read ({error}); expected a PNG") from error


def _from_camera(path: Path) -> Raw:
    try:
        import rawpy
    except ImportError:
        raise ImageError(
            f"{path}: reading a camera's RAW needs rawpy: pip install rawpy (or pixelfront[raw])"
        ) from None
    try:
        with rawpy.imread(str(path)) as file:
            pattern = _pattern(file, path)
            black = np.array(file.black_level_per_channel, np.float32)[file.raw_colors_visible]
            values = file.raw_image_visible.astype(np.float32)
            white = float(file.white_level)
    except rawpy.LibRawError as error:
        raise ImageError(f"{path}: can't be read ({error}); expected a camera's RAW") from error
    if not (white > black).all():
        raise ImageError(f"{path}: expected black level < white level, got {black.max():g} and {white:g}")
    return _packed((values - black) / (white - black), pattern, path, "")


def _pattern(file: Any, path: Path) -> str:
    """The colours of the 2x2 at the top left of the visible pixels, e.g. ``RGGB``.

    Raises: ImageError: for any other arrangement, such as X-Trans or a sensor without a mosaic.
    """
    wanted = f"expected a Bayer pattern of 2x2 ({', '.join(OFFSETS)})"
    if file.raw_pattern is None or file.raw_image_visible.ndim != 2:
        raise ImageError(f"{path}: {wanted}, got a file without a mosaic; leave it out")
    colours = np.array([chr(c) for c in file.color_desc])[file.raw_colors_visible[:12, :12]]
    found = "".join(colours[:2, :2].ravel())
    tiled = np.tile(colours[:2, :2], (6, 6))[: colours.shape[0], : colours.shape[1]]
    if found not in OFFSETS or not (colours == tiled).all():
        raise ImageError(f"{path}: {wanted}, got {file.raw_pattern.shape} starting {found}; leave it out")
    return found


def read_levels(folder: Path) -> Levels | None:
    """What a folder's ``raw.json`` says of its RAWs; None if there is none.

    It is an object of ``black_level``, ``white_level`` and ``pattern``.

    Raises: ImageError: if it holds something else.
    """
    path = folder / SIDECAR
    if not path.is_file():
        return None
    example = '{"black_level": 64, "white_level": 1023, "pattern": "RGGB"}'
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: expected JSON like {example}, got what can't be read ({error})") from error
    if not isinstance(data, dict) or data.keys() != {"black_level", "white_level", "pattern"}:
        raise ImageError(f"{path}: expected an object like {example}, got {json.dumps(data)[:80]}")
    black, white, pattern = data["black_level"], data["white_level"], data["pattern"]
    if not all(type(level) in (int, float) and math.isfinite(level) for level in (black, white)):
        raise ImageError(f"{path}: expected levels that are numbers, got {black!r} and {white!r}")
    try:
        return Levels(black, white, str(pattern))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def unprocess(pictures: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Packed RAW of which a camera could have made the pictures: (N, H, W, 3) uint8 to (N, H/2, W/2, 4) float32.

    The camera's tone curve, gamma, colour matrix and white balance are undone, the mosaic is taken, shot and read
    noise is added and the result quantised. Brightness, white balance and noise are drawn per picture. Sides are even.
    """
    linear = _linear(pictures.astype(np.float32) / 255)
    camera = linear @ np.linalg.inv(COLOUR_MATRIX).T.astype(np.float32)
    count = len(pictures)
    brightness = np.clip(random.normal(*BRIGHTNESS, count), 0.5, 1.0)
    red, blue = random.uniform(*RED_GAINS, count), random.uniform(*BLUE_GAINS, count)
    gains = np.stack([1 / red, np.ones(count), 1 / blue], axis=1) * brightness[:, None]
    camera *= gains[:, None, None].astype(np.float32)
    camera = np.clip(camera, 0, 1)
    packed = np.stack([pack(plane) for plane in _mosaics(camera)])
    shot = np.exp(random.uniform(math.log(SHOT_NOISE[0]), math.log(SHOT_NOISE[1]), count))
    read = np.exp(READ_SLOPE * np.log(shot) + READ_OFFSET)
    variance = packed * _each(shot) + _each(read)
    noisy = packed + np.sqrt(variance) * random.standard_normal(packed.shape, np.float32)
    span = WHITE_LEVEL - BLACK_LEVEL
    levels = np.clip(np.rint(noisy * span + BLACK_LEVEL), 0, WHITE_LEVEL)
    return ((levels - BLACK_LEVEL) / span).astype(np.float32)


def _each(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[:, None, None, None]


def _linear(display: np.ndarray) -> np.ndarray:
    """Undo the tone curve 3x^2 - 2x^3 and gamma 1/2.2."""
    untoned = 0.5 - np.sin(np.arcsin(np.clip(1 - 2 * display, -1, 1)) / 3)
    return np.maximum(untoned, 0) ** np.float32(2.2)


def _mosaics(camera: np.ndarray) -> np.ndarray:
    mosaics = camera[..., 1].copy()
    mosaics[:, 0::2, 0::2] = camera[:, 0::2, 0::2, 0]
    mosaics[:, 1::2, 1::2] = camera[:, 1::2, 1::2, 2]
    return mosaics


def develop(packed: np.ndarray) -> np.ndarray:
    """The trivial pipeline: bilinear demosaicing, daylight white balance, gamma 1/2.2: (2h, 2w, 3) uint8."""
    rgb = demosaic(packed) * np.array([DAYLIGHT[0], 1, DAYLIGHT[1]], np.float32)
    return np.rint(np.clip(rgb, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)

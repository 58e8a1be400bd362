"""Noise, motion blur and rain for clean pictures: pure functions of the pixels and a random generator.

Signal-dependent noise: Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data.
A. Foi, M. Trimeche, V. Katkovnik, K. Egiazarian, 2008. https://doi.org/10.1109/TIP.2008.2001399 (the model;
no original code used). Its levels: Unprocessing Images for Learned Raw Denoising. T. Brooks, B. Mildenhall,
T. Xue, J. Chen, D. Sharlet, J. T. Barron, 2019. https://arxiv.org/abs/1811.11127 (original code:
https://github.com/google-research/google-research/tree/master/unprocessing, Apache-2.0).
Deviations: the shot noise is Gaussian too; its levels start at 8e-4 instead of 1e-4, which 8 bits hardly show; of a
camera's processing only the gamma is undone, so that the noise isn't correlated between neighbours as it is after
demosaicking.

Motion blur: Modeling the Performance of Image Restoration from Motion Blur. G. Boracchi, A. Foi, 2012.
https://doi.org/10.1109/TIP.2012.2192126; as training data: DeblurGAN. O. Kupyn, V. Budzan, M. Mykhailych,
D. Mishkin, J. Matas, 2018. https://arxiv.org/abs/1711.07064 (original code:
https://github.com/KupynOrest/DeblurGAN, BSD). Light is averaged before the gamma, as in: Deep Multi-scale
Convolutional Neural Network for Dynamic Scene Deblurring. S. Nah, T. H. Kim, K. M. Lee, 2017.
https://arxiv.org/abs/1612.02177 (the GoPro set).
Deviations: our own random walk with inertia, a pull to the middle and sudden turns, scaled to a drawn extent;
one kernel for the whole picture.

Rain: Deep Joint Rain Detection and Removal from a Single Image. W. Yang, R. T. Tan, J. Feng, J. Liu, Z. Guo,
S. Yan, 2017. https://arxiv.org/abs/1609.07769 (Rain100L and Rain100H; their generator isn't published).
Deviations: our own streaks, fine far ones and coarse near ones of one direction; screen blend.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import fft, io, ndimage

from evaluators.data.images import ImageError

GAMMA = 2.2
SHOT = (8e-4, 1.2e-2)  # least and most, of a full scale of 1
READ = (2.18, 1.2, 0.26)  # log read = 2.18 log shot + 1.2, with a standard deviation of 0.26
KERNEL_SIDE = 25
EXTENTS = (4.0, 20.0)  # of a motion path, in pixels
ANGLE = 35.0  # most that rain leans, in degrees
_STEPS = 96  # of a motion path
_POINTS_PER_PIXEL = 1.5  # that a streak is drawn with


def to_8_bits(values: np.ndarray) -> np.ndarray:
    """uint8 from values in [0, 1]: clipped and rounded."""
    return (values.clip(0, 1) * 255).round().astype(np.uint8)


def gaussian_noise(pixels: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    """float32 of full scale 1 from uint8: with white Gaussian noise, neither clipped nor rounded.

    Args:
        sigma: Standard deviation, of a full scale of 255.
    """
    noise = random.standard_normal(pixels.shape, dtype=np.float32)
    noise *= sigma / 255
    noise += pixels.astype(np.float32) / 255
    return noise


def signal_noise(
    pixels: np.ndarray, shot: np.ndarray | float, read: np.ndarray | float, random: np.random.Generator
) -> np.ndarray:
    """uint8 with noise of variance ``shot * light + read``, where light is linear, in [0, 1].

    Args:
        pixels: uint8 of any shape that ``shot`` and ``read`` broadcast to.
    """
    light = _light(pixels)
    spread = np.sqrt(np.asarray(shot, np.float32) * light + np.asarray(read, np.float32))
    noisy = light + spread * random.standard_normal(pixels.shape, dtype=np.float32)
    return to_8_bits(noisy.clip(0, 1) ** np.float32(1 / GAMMA))


def noise_levels(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` pairs of shot and read noise as phone cameras have them."""
    least, most = SHOT
    shot = least * (most / least) ** random.random(count)
    slope, offset, spread = READ
    return shot, np.exp(slope * np.log(shot) + offset + spread * random.standard_normal(count))


def motion_kernels(random: np.random.Generator, count: int) -> np.ndarray:
    """(count, 25, 25) float32 kernels of sum 1: what a hand that shakes draws while the shutter is open."""
    paths = _paths(random, count)
    paths -= paths.mean(axis=1, keepdims=True)
    extent = np.linalg.norm(np.ptp(paths, axis=1), axis=1)
    wanted = random.uniform(*EXTENTS, count)
    paths *= (wanted / extent)[:, None, None]
    middle = KERNEL_SIDE // 2
    # A path may lie to one side of its mean; it then touches the kernel's edge.
    paths = (paths + middle).clip(0, KERNEL_SIDE - 1)
    kernels = _splat(
        np.repeat(np.arange(count), _STEPS),
        paths.reshape(-1, 2),
        np.ones(count * _STEPS),
        (count, KERNEL_SIDE, KERNEL_SIDE),
    )
    return kernels / kernels.sum(axis=(1, 2), keepdims=True)


def _paths(random: np.random.Generator, count: int) -> np.ndarray:
    """(count, steps, 2) walks."""
    angle = random.uniform(0, 2 * np.pi, count)
    speed = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    restless = random.uniform(0.02, 0.3, (count, 1))
    pull = random.uniform(0, 0.004, (count, 1))
    turns = random.random((_STEPS, count, 1)) < 0.015
    nudges = random.standard_normal((_STEPS, count, 2))
    place, path = np.zeros((count, 2)), []
    for turn, nudge in zip(turns, nudges, strict=True):
        speed = speed + restless * nudge - pull * place
        speed = np.where(turn, nudge - speed, speed)
        speed = speed / np.linalg.norm(speed, axis=1, keepdims=True).clip(0.2)
        place = place + speed
        path.append(place)
    return np.stack(path, axis=1)


def motion_blur(
    pixels: np.ndarray, kernels: np.ndarray, random: np.random.Generator, *, sigma: float
) -> np.ndarray:
    """uint8 (N, H, W, C): each picture's light convolved with its kernel, borders mirrored; then noise.

    Args:
        pixels: (N, H, W, C) uint8.
        kernels: (N, h, w), each of sum 1.
        sigma: Standard deviation of the white Gaussian noise that is added after the gamma, of 255.
    """
    blurred = convolve(_light(pixels), kernels).clip(0, 1) ** np.float32(1 / GAMMA)
    blurred += random.standard_normal(pixels.shape, dtype=np.float32) * np.float32(sigma / 255)
    return to_8_bits(blurred)


def convolve(values: np.ndarray, kernels: np.ndarray) -> np.ndarray:
    """(N, H, W, C) float32 convolved with (N, h, w) kernels; borders are mirrored (d c b a | a b c d)."""
    (height, width), (h, w) = values.shape[1:3], kernels.shape[1:]
    margins = (0, 0), (h // 2, h - 1 - h // 2), (w // 2, w - 1 - w // 2), (0, 0)
    # A kernel's middle is at (h // 2, w // 2): what a pixel gets comes from as far after it as before.
    padded = np.pad(values, (margins[0], margins[1][::-1], margins[2][::-1], margins[3]), mode="symmetric")
    size = [fft.next_fast_len(n, real=True) for n in padded.shape[1:3]]
    spectrum = fft.rfft2(padded, size, axes=(1, 2))
    spectrum *= fft.rfft2(kernels.astype(np.float32), size, axes=(1, 2))[..., None]
    full = fft.irfft2(spectrum, size, axes=(1, 2))
    return full[:, h - 1 : h - 1 + height, w - 1 : w - 1 + width]


def read_kernels(path: str | Path) -> tuple[np.ndarray, ...]:
    """The blur kernels of a ``.mat`` file, each 2-D float32 and divided by its sum.

    Takes every numeric matrix, stack of matrices along the third axis, and cell of matrices in the file.

    Raises: ImageError: if the file can't be read, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"{path}: no such file; expected a .mat file of blur kernels")
    try:
        variables = io.loadmat(path)
    except NotImplementedError:  # scipy reads all but MATLAB 7.3's, which are HDF5
        variables = _read_hdf5(path)
    except (ValueError, TypeError, OSError) as error:
        raise ImageError(f"{path}: expected a .mat file of blur kernels, can't be read ({error})") from error
    found = [m for name in sorted(variables) if name[0] not in "_#" for m in _matrices(variables[name])]
    kernels = [m.astype(np.float32) for m in found if m.dtype.kind in "fiu" and min(m.shape) > 1]
    if not kernels:
        raise ImageError(f"{path}: expected matrices that are blur kernels, got {', '.join(variables)}")
    for kernel in kernels:
        if not np.isfinite(kernel).all() or not kernel.sum() > 0:
            raise ImageError(
                f"{path}: expected kernels of finite values with a positive sum, got {kernel.sum()}"
            )
    return tuple(kernel / kernel.sum() for kernel in kernels)


def _matrices(value: np.ndarray) -> list[np.ndarray]:
    if value.dtype == object:
        return [matrix for cell in value.ravel() for matrix in _matrices(np.asarray(cell))]
    if value.ndim == 3:
        return [value[..., i] for i in range(value.shape[2])]
    return [value] if value.ndim == 2 else []


def _read_hdf5(path: Path) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError:
        raise ImageError(
            f"{path}: saved by MATLAB 7.3 as HDF5; expected MATLAB 5 to 7. Install h5py to read it (`pip install "
            "h5py`), or save it again in MATLAB with `save -v7`"
        ) from None
    with h5py.File(path) as file:
        return {name: _dataset(file, file[name]) for name in file if isinstance(file[name], h5py.Dataset)}


def _dataset(file: dict, data: np.ndarray) -> np.ndarray:
    """A variable's value; HDF5 keeps matrices transposed, and cells as references."""
    value = np.asarray(data[()])
    if value.dtype != object:
        return value.T
    cells = np.empty(value.size, object)
    for i, reference in enumerate(value.ravel()):
        cells[i] = np.asarray(file[reference][()]).T
    return cells


def rain(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """uint8 (N, H, W, 3) behind rain streaks: each picture's own direction, density and length."""
    streaks = rain_streaks(random, *pixels.shape[:3])[..., None]
    return to_8_bits(1 - (1 - pixels.astype(np.float32) / 255) * (1 - streaks))


def rain_streaks(random: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """(count, height, width) float32 opacities in [0, 0.9]."""
    angle = np.radians(random.uniform(-ANGLE, ANGLE, count))
    heaviness = random.uniform(0.35, 1.0, count)
    length = random.uniform(20, 40, count)
    size = (count, height, width)
    far = _layer(random, size, angle, length * 0.6, heaviness * 1.4e-2, 0.4, random.uniform(0.45, 0.6))
    near = _layer(random, size, angle, length * 1.6, heaviness * 1.2e-3, 0.9, random.uniform(0.5, 0.8))
    return (1 - (1 - far) * (1 - near)).clip(0, 0.9)


def _layer(
    random: np.random.Generator,
    size: tuple[int, int, int],
    angle: np.ndarray,
    length: np.ndarray,
    density: np.ndarray,
    opacity: float,
    blur: float,
) -> np.ndarray:
    """Streaks of one distance.

    Args:
        angle: Per picture, from the vertical, in radians.
        length: Per picture, of a middling streak, in pixels.
        density: Per picture, streaks a pixel.
        opacity: Of the most opaque streaks.
        blur: Standard deviation of a streak's profile, in pixels.
    """
    count, height, width = size
    margin = int(length.max())  # streaks that reach in from outside
    area = (height + 2 * margin) * (width + 2 * margin)
    owner = np.repeat(np.arange(count), random.poisson(density * area))
    n = len(owner)
    middle = random.random((n, 2)) * (height + 2 * margin, width + 2 * margin) - margin
    lean = angle[owner] + np.radians(1.5) * random.standard_normal(n)
    long = length[owner] * random.uniform(0.5, 1.5, n)
    opaque = opacity * random.beta(1.5, 2.5, n)
    points = max(2, int(_POINTS_PER_PIXEL * 1.5 * margin))
    along = np.linspace(-0.5, 0.5, points)
    fade = np.cos(np.pi * along) ** 0.6  # soft ends
    steps = along * long[:, None]
    places = np.stack(
        [middle[:, :1] + steps * np.cos(lean)[:, None], middle[:, 1:] + steps * np.sin(lean)[:, None]],
        axis=-1,
    )
    # Each point carries its share of the streak's length, and the blur spreads it across.
    weights = opaque[:, None] * fade * (long / points)[:, None] * (np.sqrt(2 * np.pi) * max(blur, 0.4))
    streaks = _splat(np.repeat(owner, points), places.reshape(-1, 2), weights.ravel(), size)
    return np.clip(ndimage.gaussian_filter(streaks, (0, blur, blur), mode="nearest"), 0, 0.9)


def _splat(
    owner: np.ndarray, places: np.ndarray, weights: np.ndarray, size: tuple[int, int, int]
) -> np.ndarray:
    """Points drawn between the four nearest pixels; what lies outside is left out.

    Args:
        owner: (n,) which of the pictures a point is in.
        places: (n, 2) row and column.
        size: (pictures, height, width).
    """
    count, height, width = size
    corner = np.floor(places).astype(np.int64)
    part = places - corner
    canvas = np.zeros(count * height * width)
    for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = corner[:, 0] + down, corner[:, 1] + across
        share = np.abs(1 - down - part[:, 0]) * np.abs(1 - across - part[:, 1]) * weights
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        index = (owner[inside] * height + row[inside]) * width + column[inside]
        canvas += np.bincount(index, share[inside], minlength=canvas.size)
    return canvas.reshape(size).astype(np.float32)


@lru_cache(maxsize=1)
def _light_of_8_bits() -> np.ndarray:
    table: np.ndarray = ((np.arange(256) / 255) ** GAMMA).astype(np.float32)
    return table


def _light(pixels: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] of uint8 pixels."""
    return _light_of_8_bits()[pixels]

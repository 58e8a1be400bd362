"""PSNR and SSIM of 8-bit images, under the protocol of the super-resolution papers.

Images are clamped, rounded uint8 RGB, (H, W, 3). ``y`` is MATLAB's luma of BT.601, kept in floating point
(rounding it too lowers PSNR by 0.01 dB). ``border`` pixels are cropped from every side before scoring.

Image quality assessment: from error visibility to structural similarity. Z. Wang, A. C. Bovik,
H. R. Sheikh, E. P. Simoncelli, 2004. https://doi.org/10.1109/TIP.2003.819861 (scikit-image's, with the
paper's 11x11 Gaussian window of sigma 1.5, averaged where the window fits.)
Our deviation: ``rgb`` averages the SSIM of the three channels, which the paper doesn't define.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluators.data.images import ImageSet, check_rgb
from spaces.measurement import Colour, Measurement, Protocol

_COLOURS: tuple[Colour, ...] = ("rgb", "y")
_UNITS = {"psnr": "dB", "ssim": "1"}
_WINDOW = 11  # side of SSIM's window


def luma(pixels: np.ndarray) -> np.ndarray:
    """BT.601 luma of (H, W, 3) uint8 RGB: (H, W) float64 in [16, 235], not rounded."""
    return 16 + pixels @ np.array([65.481, 128.553, 24.966]) / 255


def psnr(output: np.ndarray, target: np.ndarray, *, border: int, colour: Colour) -> float:
    """Peak signal-to-noise ratio in dB, peak 255; higher is better.

    Args:
        output, target: (H, W, 3) uint8.
        border: Pixels cropped per side before scoring; super-resolution uses its scale.
        colour: ``rgb``: the mean squared error is over the three channels; ``y``: over the luma.

    Returns: +inf where the images are identical.

    Raises:
        ValueError: if the images aren't uint8 RGB of one size, or the crop leaves nothing.
    """
    first, second = _planes(output, target, border, colour)
    error = float(np.mean((first - second) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")


def ssim(output: np.ndarray, target: np.ndarray, *, border: int, colour: Colour) -> float:
    """Structural similarity, at most 1; higher is better. Arguments as for ``psnr``.

    Raises:
        ValueError: as ``psnr``, and if less than 11x11 pixels are left after the crop.
    """
    # Here, so that PSNR and the command line don't wait 0.3 s for it.
    from skimage.metrics import structural_similarity

    first, second = _planes(output, target, border, colour)
    height, width = first.shape[:2]
    if min(height, width) < _WINDOW:
        raise ValueError(
            f"SSIM: expected at least {_WINDOW}x{_WINDOW} pixels after cropping {border} per side, "
            f"got {width}x{height}"
        )
    return float(
        structural_similarity(
            first,
            second,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=2 if colour == "rgb" else None,
        )
    )


_METRICS = {"psnr": psnr, "ssim": ssim}


def per_image(
    outputs: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    *,
    border: int,
    data: ImageSet,
    ssim: bool = True,
) -> dict[str, dict[str, float]]:
    """Image name to its ``psnr_rgb``, ``psnr_y``, ``ssim_rgb`` and ``ssim_y``.

    Args:
        outputs, targets: One (H, W, 3) uint8 array per image of ``data``, in its order.
        border: Pixels cropped per side.
        data: The set whose name, digest and file names the numbers are given under.
        ssim: SSIM takes 20 times as long as PSNR; False leaves it out.

    Raises:
        ValueError: if the numbers of images differ or are 0, two have one name, or (naming the image) as
            ``psnr`` and ``ssim``.
    """
    names = [image.name for image in data]
    if not len(outputs) == len(targets) == len(names) > 0:
        raise ValueError(
            f"{data.name}: expected as many outputs and targets as images ({len(names)}, at least 1), "
            f"got {len(outputs)} and {len(targets)}"
        )
    if len(set(names)) < len(names):
        raise ValueError(f"{data.name}: expected a name for each image, got {sorted(names)}")
    metrics = {name: metric for name, metric in _METRICS.items() if ssim or name != "ssim"}
    scores: dict[str, dict[str, float]] = {}
    for name, output, target in zip(names, outputs, targets, strict=True):
        try:
            scores[name] = {
                f"{metric}_{colour}": score(output, target, border=border, colour=colour)
                for metric, score in metrics.items()
                for colour in _COLOURS
            }
        except ValueError as error:
            raise ValueError(f"{name} of {data.name}: {error}") from error
    return scores


def measure(
    outputs: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    *,
    border: int,
    data: ImageSet,
    ssim: bool = True,
) -> tuple[Measurement, ...]:
    """The means over the images of what ``per_image`` gives, with unit and protocol; the same arguments.

    One identical pair makes the mean PSNR +inf.
    """
    scores = per_image(outputs, targets, border=border, data=data, ssim=ssim)
    return summarise(scores, border=border, data=data)


def summarise(scores: dict[str, dict[str, float]], *, border: int, data: ImageSet) -> tuple[Measurement, ...]:
    """The means of a ``per_image`` result, for whoever needs both without scoring twice."""
    measurements = []
    for name in next(iter(scores.values())):
        metric, _, colour = name.partition("_")
        mean = float(np.mean([score[name] for score in scores.values()]))
        protocol = Protocol("y" if colour == "y" else "rgb", border, data.name, data.digest)
        measurements.append(Measurement(name, mean, _UNITS[metric], "max", str(protocol)))
    return tuple(measurements)


def _planes(
    output: np.ndarray, target: np.ndarray, border: int, colour: Colour
) -> tuple[np.ndarray, np.ndarray]:
    """Both images cropped, as float64: (H, W, 3) for rgb, (H, W) for y."""
    check_rgb(output, "output")
    check_rgb(target, "target")
    if output.shape != target.shape:
        raise ValueError(f"expected an output of the target's shape {target.shape}, got {output.shape}")
    height, width = target.shape[:2]
    if border < 0 or 2 * border >= min(height, width):
        raise ValueError(
            f"cropping {border} pixels per side of {width}x{height} leaves nothing; use a smaller border"
        )
    if colour not in _COLOURS:
        raise ValueError(f"expected colour {' or '.join(_COLOURS)}, got {colour!r}")
    inner = slice(border, height - border), slice(border, width - border)
    if colour == "y":
        return luma(output[inner]), luma(target[inner])
    return output[inner].astype(np.float64), target[inner].astype(np.float64)

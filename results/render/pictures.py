"""Side-by-side pictures of what a network does, as PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

CROP = 160
ERROR_RANGE = 64  # of 255; larger differences look the same


def busiest_crop(pixels: np.ndarray, side: int = CROP) -> tuple[int, int, int]:
    """(top, left, side) of the square with the most detail: the largest sum of absolute gradients.

    Chosen from the original alone, so that no method's result decides what is shown.

    Args:
        pixels: (H, W, 3) uint8; the side shrinks to what fits.
    """
    height, width = pixels.shape[:2]
    side = min(side, height, width)
    grey = pixels.astype(np.float64).mean(axis=2)
    detail = np.zeros_like(grey)
    detail[1:] += np.abs(np.diff(grey, axis=0))
    detail[:, 1:] += np.abs(np.diff(grey, axis=1))
    sums = np.pad(detail, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    boxes = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(int(boxes.argmax()), boxes.shape)
    return int(top), int(left), side


def save_comparison(
    path: Path, original: np.ndarray, outputs: dict[str, np.ndarray], *, title: str, caption: str
) -> Path:
    """The whole original, then the same crop of every output, of the original, and the last output's error.

    Args:
        original: (H, W, 3) uint8.
        outputs: Caption to (H, W, 3) uint8, the trivial method first and the network last.
        caption: Says the protocol.
    """
    top, left, side = busiest_crop(original)
    window = np.s_[top : top + side, left : left + side]
    figure = Figure(figsize=(3.1 * (len(outputs) + 3), 3.9), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(outputs) + 3)
    _show(axes[0], original, "whole picture")
    axes[0].add_patch(Rectangle((left, top), side, side, fill=False, edgecolor="#E69F00", linewidth=2))
    for axis, (name, pixels) in zip(axes[1:], outputs.items(), strict=False):
        _show(axis, pixels[window], name)
    _show(axes[-2], original[window], "original")
    error = np.abs(list(outputs.values())[-1].astype(int) - original.astype(int)).mean(axis=2)[window]
    _show(axes[-1], error, f"error of {next(reversed(outputs)).splitlines()[0]}")
    figure.suptitle(title, fontsize=12, x=0.01, ha="left", weight="bold")
    figure.text(
        0.01,
        0.02,
        f"{caption}. Crop: most detail in the original. Error map: mean of channels, "
        f"black 0 to white {ERROR_RANGE} of 255.",
        fontsize=8,
        color="#555555",
    )
    figure.subplots_adjust(left=0.01, right=0.99, top=0.84, bottom=0.08, wspace=0.04)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _show(axis: Axes, pixels: np.ndarray, title: str) -> None:
    if pixels.ndim == 2:
        axis.imshow(pixels, cmap="magma", vmin=0, vmax=ERROR_RANGE, interpolation="nearest")
    else:
        axis.imshow(pixels, interpolation="nearest")
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()

"""Deblurring of camera shake: GoPro, REDS and other given pairs, or pictures blurred here.

The blur and its sources are in ``evaluators.degradations.corruptions``. Deviations: GoPro and REDS average the frames
of a video, where things move each on their own; ours moves the whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluators.degradations.corruptions import motion_blur, motion_kernels
from evaluators.tasks import register
from evaluators.tasks.synthetic import SyntheticTask
from spaces.task import DEBLUR

SIGMA = 2.0  # of the noise after the blur, of 255


class Deblur(SyntheticTask):
    """Undo motion blur whose kernel isn't known.

    Args:
        kernels: 2-D kernels of sum 1 to choose from (``evaluators.degradations.corruptions.read_kernels``); without
            any, every picture gets a random one.
        kernels_name: What the protocol calls them.
    """

    interface = DEBLUR
    objectives = ("psnr_rgb", "psnr_y")

    def __init__(self, kernels: Sequence[np.ndarray] = (), kernels_name: str = "given"):
        self._kernels = _stack(kernels) if kernels else None
        kind = (
            f"{len(kernels)} {kernels_name} kernels" if kernels else "random motion kernels of 4 to 20 pixels"
        )
        self.made_by = f"blur by {kind} and noise of sigma {SIGMA:g}, 8-bit"

    def degrade(self, pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """uint8; each picture by its own kernel."""
        if self._kernels is None:
            kernels = motion_kernels(random, len(pixels))
        else:
            kernels = self._kernels[random.integers(len(self._kernels), size=len(pixels))]
        return motion_blur(pixels, kernels, random, sigma=SIGMA)


def _stack(kernels: Sequence[np.ndarray]) -> np.ndarray:
    """(n, side, side): all padded around their middles to the largest, to an odd side."""
    side = max(max(kernel.shape) for kernel in kernels) | 1
    stack = np.zeros((len(kernels), side, side), np.float32)
    for place, kernel in zip(stack, kernels, strict=True):
        top, left = (side // 2 - length // 2 for length in kernel.shape)
        place[top : top + kernel.shape[0], left : left + kernel.shape[1]] = kernel
    return stack


register(Deblur())

"""Deraining: Rain13K and other given pairs, or pictures with streaks drawn here.

Scored as Rain13K's test sets are, on the luma first: Multi-Stage Progressive Image Restoration. S. W. Zamir, A. Arora,
S. Khan, M. Hayat, F. S. Khan, M.-H. Yang, L. Shao, 2021. https://arxiv.org/abs/2102.02808. The streaks and their
sources are in ``evaluators.degradations.corruptions``. Deviations: the streaks are ours, not Rain100's.
"""

from __future__ import annotations

import numpy as np

from evaluators.degradations.corruptions import rain
from evaluators.tasks import register
from evaluators.tasks.synthetic import SyntheticTask
from spaces.task import DERAIN


class Derain(SyntheticTask):
    """Remove rain streaks."""

    interface = DERAIN
    objectives = ("psnr_y", "psnr_rgb")
    made_by = "rain streaks leaning up to 35 degrees, 8-bit"

    def degrade(self, pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """uint8; each picture behind its own rain."""
        return rain(pixels, random)


register(Derain())

"""Denoising: of white Gaussian noise, and of noise that depends on the signal as a camera's does.

White Gaussian noise under the protocol of the CBSD68 tables (FFDNet: Toward a Fast and Flexible Solution for
CNN-based Image Denoising. K. Zhang, W. Zuo, L. Zhang, 2018. https://arxiv.org/abs/1710.04026): the noisy input is
neither clipped nor rounded; the output is both.
Deviations: the noise of a test picture is drawn from its content, not from one seed for the set.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evaluators.degradations.corruptions import READ, SHOT, gaussian_noise, noise_levels, signal_noise
from evaluators.tasks import register
from evaluators.tasks.synthetic import SyntheticTask
from spaces.task import DENOISE, DENOISE_SIGNAL


class Denoise(SyntheticTask):
    """Remove white Gaussian noise, or what noise given pairs have.

    Args:
        sigma: Standard deviation, of a full scale of 255.
        name: The task's.
    """

    objectives = ("psnr_rgb", "psnr_y")

    def __init__(self, sigma: float, name: str):
        self.interface = replace(DENOISE, name=name)
        self.sigma = sigma
        self.made_by = f"white Gaussian noise of sigma {sigma:g}, neither clipped nor rounded"

    def degrade(self, pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """float32 of full scale 1."""
        return gaussian_noise(pixels, self.sigma, random)


class DenoiseSignal(SyntheticTask):
    """Remove shot and read noise of a level that differs from picture to picture, or what noise given pairs have."""

    interface = DENOISE_SIGNAL
    objectives = ("psnr_rgb", "psnr_y")
    made_by = f"shot noise {SHOT[0]:g} to {SHOT[1]:g} and its read noise ({', '.join(map(str, READ))}), 8-bit"

    def degrade(self, pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """uint8, as a camera's files are."""
        shot, read = noise_levels(random, len(pixels))
        return signal_noise(pixels, shot[:, None, None, None], read[:, None, None, None], random)


register(Denoise(25, DENOISE.name))
register(Denoise(15, "denoise-s15"))
register(Denoise(50, "denoise-s50"))
register(DenoiseSignal())

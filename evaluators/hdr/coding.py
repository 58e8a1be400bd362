"""The HDR challenge's domain and metrics: exposures as one input, tone mapping, PSNR-mu.

"NTIRE 2022 Challenge on High Dynamic Range Imaging: Methods and Results", Pérez-Pellitero et al., 2022,
https://arxiv.org/abs/2205.12633; the metrics are those of its scoring program (of 2021 and 2022, no licence given;
not copied). Deviations: images are scored in float32, not rounded to the submission's 16 bits, and divided by
``full_scale``, which changes no score because every metric divides by a level of the reference.

**Light** is linear, and 1.0 is the light that just saturates the medium exposure. **Coded** values are what networks
take and give: (light / full_scale)^(1/2.24), so that 1.0 is four times the light that saturates the short exposure,
16 times the medium's where exposures are 2 EV apart. Highlights beyond what the short exposure shows have that much
room below a sigmoid's end; a reference may exceed 1, as a few pixels of NTIRE's do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

GAMMA = 2.24
MU = 5000.0
PERCENTILE = 99.0
HEADROOM_EV = 2.0
FRAMES = ("short", "medium", "long")
CHANNELS = 18


def full_scale(evs: Sequence[float]) -> float:
    """The light of a coded 1.0.

    Args:
        evs: Exposures of the short, medium and long frame in EV, in any common offset.
    """
    return 2.0 ** (evs[1] - evs[0] + HEADROOM_EV)


def to_coded(light: np.ndarray, full: float) -> np.ndarray:
    """Coded float32 of light, which isn't negative."""
    return ((light / full) ** (1 / GAMMA)).astype(np.float32)


def to_light(coded: np.ndarray) -> np.ndarray:
    """Linear float64, of ``full_scale``; what is below 0 is 0."""
    return np.maximum(coded, 0).astype(np.float64) ** GAMMA


def stack(frames: Sequence[np.ndarray], evs: Sequence[float]) -> np.ndarray:
    """A network's input: (H, W, 18) float32 of short, medium and long, each as it was taken, then mapped.

    Mapped is NTIRE's ((frame^2.24) * 2^(-ev))^(1/2.24) with ev relative to the medium frame, divided by
    full_scale^(1/2.24): what the frame tells of the target.

    Args:
        frames: Three (H, W, 3) in [0, 1], gamma-coded by 2.24.
        evs: Their exposures in EV.
    """
    parts = []
    for frame, ev in zip(frames, evs, strict=True):
        taken = frame.astype(np.float32)
        parts += [taken, taken * np.float32((2.0 ** (evs[1] - ev) / full_scale(evs)) ** (1 / GAMMA))]
    return np.concatenate(parts, axis=2)


def medium(pixels: np.ndarray) -> np.ndarray:
    """The mapped medium exposure of a ``stack``: (H, W, 3), equal to the target where nothing moved or clipped."""
    return np.ascontiguousarray(pixels[..., 9:12])


def tone_mapped(light: np.ndarray, norm: float) -> np.ndarray:
    """log(1 + 5000 t) / log(1 + 5000) of t = tanh(light / norm): in [0, 1]."""
    return np.log1p(MU * np.tanh(light / norm)) / np.log1p(MU)


def reference_level(light: np.ndarray) -> float:
    """The 99th percentile over all pixels and channels, which scores are relative to.

    Raises: ValueError: if it is 0.
    """
    norm = float(np.percentile(light, PERCENTILE))
    if norm <= 0:
        raise ValueError(
            "expected a reference with light in it, got one whose 99th percentile is 0; remove the image"
        )
    return norm


def psnr_mu(output: np.ndarray, target: np.ndarray) -> float:
    """The challenge's PSNR-mu in dB, peak 1, of coded (H, W, 3); higher is better, +inf if identical."""
    result, reference = to_light(output), to_light(target)
    norm = reference_level(reference)
    return _psnr(tone_mapped(result, norm), tone_mapped(reference, norm))


def psnr_linear(output: np.ndarray, target: np.ndarray) -> float:
    """PSNR in dB of light over the reference's 99th percentile, which is the peak; of coded (H, W, 3)."""
    result, reference = to_light(output), to_light(target)
    norm = reference_level(reference)
    return _psnr(result / norm, reference / norm)


def psnr_coded(output: np.ndarray, target: np.ndarray) -> float:
    """The challenge's plain PSNR in dB: of coded (H, W, 3), the peak being the reference's largest value.

    Raises: ValueError: if the reference is black.
    """
    reference_level(to_light(target))
    peak = float(target.max())
    return _psnr(np.maximum(output, 0).astype(np.float64) / peak, target.astype(np.float64) / peak)


def picture(coded: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 for the eye: tone mapped as by PSNR-mu, relative to the image's own 99th percentile."""
    light = to_light(coded)
    norm = float(np.percentile(light, PERCENTILE)) or 1.0
    return (tone_mapped(light, norm) * 255).round().astype(np.uint8)


def _psnr(output: np.ndarray, target: np.ndarray) -> float:
    if output.shape != target.shape:
        raise ValueError(f"expected an output of the target's shape {target.shape}, got {output.shape}")
    error = float(np.mean((output - target) ** 2))
    return -10 * float(np.log10(error)) if error else float("inf")

"""Upsamplers: modules from (N, width, H, W) to (N, out_channels, scale*H, scale*W).

A file here registers its classes; nothing else is edited. An upsampler's constructor is
``__init__(self, width, out_channels, scale, *, activation="paper", ...)``.
"""

from __future__ import annotations

from torch import nn

from spaces.registry import Registry

UPSAMPLERS: Registry[nn.Module] = Registry("upsampler", __name__)


_STAGES = {1: (), 2: (2,), 3: (3,), 4: (2, 2), 6: (3, 2), 8: (2, 2, 2)}
SCALES = tuple(_STAGES)


def stages(scale: int) -> tuple[int, ...]:
    """Factors that multi-step upsamplers go through: their product is the scale.

    Raises: ValueError: for a scale other than 1, 2, 3, 4, 6, 8.
    """
    if scale not in _STAGES:
        raise ValueError(f"an upsampler's scale is 1, 2, 3, 4, 6 or 8, got {scale}")
    return _STAGES[scale]

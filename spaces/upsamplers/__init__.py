"""Upsamplers: modules from (N, width, H, W) to (N, out_channels, scale*H, scale*W).

A file here registers its classes; nothing else is edited. An upsampler's constructor is
``__init__(self, width, out_channels, scale, *, activation="paper", ...)``.
"""

from __future__ import annotations

from torch import nn

from spaces.registry import Registry

UPSAMPLERS: Registry[nn.Module] = Registry("upsampler", __name__)


def stages(scale: int) -> tuple[int, ...]:
    """Factors that multi-step upsamplers go through: x4 in two steps of 2, the others in one.

    Raises: ValueError: for a scale other than 1, 2, 3, 4.
    """
    found = {1: (), 2: (2,), 3: (3,), 4: (2, 2)}.get(scale)
    if found is None:
        raise ValueError(f"an upsampler's scale is 1, 2, 3 or 4, got {scale}")
    return found

"""Resamplers: what goes from one level of a U-Net to the next, halving or doubling height and width.

A file here registers its classes; nothing else is edited. A constructor is
``__init__(self, in_channels, out_channels, *, ...)``; keyword-only parameters are options that an architecture
may set. ``DOWNS`` take (N, in_channels, H, W) with even H and W and give (N, out_channels, H/2, W/2), ``UPS``
give (N, out_channels, 2H, 2W).
"""

from __future__ import annotations

from torch import nn

from spaces.registry import Registry
from spaces.sizes import SizeRequirements

DOWNS: Registry[nn.Module] = Registry("down-sampler of levels", __name__)
UPS: Registry[nn.Module] = Registry("up-sampler of levels", __name__)
EVEN = SizeRequirements(minimum=2, multiple_of=2)  # of what a down-sampler takes

"""Blocks: modules that take and give (N, width, H, W).

A file here registers its classes; nothing else is edited. A block's constructor is
``__init__(self, width, *, activation="paper", ...)``; further keyword-only parameters are options that an
architecture may set. A block that can't take every size states ``size_requirements``.
"""

from __future__ import annotations

from torch import nn

from spaces.registry import Registry

BLOCKS: Registry[nn.Module] = Registry("block", __name__)

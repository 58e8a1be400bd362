"""Grouped unit of team UESTC-MediaLab, third in AIM 2020.

"AIM 2020 Challenge on Efficient Super-Resolution: Methods and Results", Zhang et al., 2020,
https://arxiv.org/abs/2009.06943; from the text: no code is public, and the published figures (0.461 M parameters,
30.06 G, 219.61 M activations, 57 convolutions) can't be reproduced from it.

Deviations: the team puts the unit in place of IMDN's convolutions, at a depth and width that aren't stated; here it
is a block of a chain. Groups (2), the single slope of the PReLU and the start of both skip weights at 1 are our
choices. A width that isn't a multiple of the groups is padded with zero channels, so that costs grow with the width.
The kernel-basis convolution is an option, because it only matters in training.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation
from spaces.layers.convolutions import make_convolution


@BLOCKS.add("uestc")
class Uestc(nn.Module):
    """Grouped 3x3 that doubles the channels, PReLU, 1x1, and learned skip weights (UESTC-MediaLab; from the text).

    Args:
        groups: Of the 3x3 convolution; at most the width counts.
        convolution: ``plain``, ``acb`` or ``basis`` (the team's); once merged, they cost the same.
    """

    def __init__(self, width: int, *, activation: str = "paper", groups: int = 2, convolution: str = "plain"):
        super().__init__()
        groups = min(groups, width)
        padded = -(-width // groups) * groups
        self.grouped = make_convolution(convolution, padded, 2 * padded, groups=groups)
        self.act = make_activation(activation, paper="prelu")
        self.fuse = nn.Conv2d(2 * padded, width, 1)
        self.skip_weight = nn.Parameter(torch.ones(1))
        self.unit_weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        surplus = cast(nn.Conv2d, self.grouped).in_channels - x.shape[1]
        wide = functional.pad(x, (0, 0, 0, 0, 0, surplus)) if surplus else x
        return self.skip_weight * x + self.unit_weight * self.fuse(self.act(self.grouped(wide)))

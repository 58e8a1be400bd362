"""Edge-enhanced feature distillation block (EFDB), the cell of EFDN.

"Edge-enhanced Feature Distillation Network for Efficient Super-Resolution", Wang, CVPR Workshops 2022,
https://arxiv.org/abs/2204.08759; original code https://github.com/icandle/EFDN (MIT), whose submodule names are kept.
Baseline of NTIRE 2025's challenge on efficient super-resolution.

Deviations: none in the deployed form; ``convolution=edbb`` trains the 3x3 convolutions as the paper does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import PAPER
from spaces.layers.activations import activation as make_activation
from spaces.layers.attention import ESA
from spaces.layers.convolutions import make_convolution


class _Activated(nn.Module):
    """A convolution and its activation, a slope per channel in the paper."""

    def __init__(self, conv: nn.Module, width: int, activation: str):
        super().__init__()
        self.conv = conv
        self.act = nn.PReLU(width) if activation == PAPER else make_activation(activation, paper="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x))


@BLOCKS.add("efdb")
class EFDB(nn.Module):
    """A 1x1 and two 3x3 convolutions, distilled before and after each, fused, ESA and a skip (EFDN).

    Args:
        distilled: Channels of each of the four distilled maps; 0 for width // 2.
        attention: Channels inside ESA; 0 for width // 4.
        convolution: Form that the 3x3 convolutions train in; once merged, all cost the same.
    """

    def __init__(
        self,
        width: int,
        *,
        activation: str = "paper",
        distilled: int = 0,
        attention: int = 0,
        convolution: str = "plain",
    ):
        super().__init__()
        distilled = distilled or width // 2
        self.conv1 = _Activated(nn.Conv2d(width, width, 1), width, activation)
        self.conv2 = _Activated(make_convolution(convolution, width, width), width, activation)
        self.conv3 = _Activated(make_convolution(convolution, width, width), width, activation)
        self.branch = nn.ModuleList(nn.Conv2d(width, distilled, 1) for _ in range(4))
        self.fuse = nn.Conv2d(4 * distilled, width, 1)
        self.att = ESA(width, attention or width // 4)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in (self.conv1, self.conv2, self.conv3):
            maps.append(layer(maps[-1]))
        distilled = [branch(features) for branch, features in zip(self.branch, maps, strict=True)]
        return x + self.att(self.fuse(torch.cat(distilled, dim=1)))

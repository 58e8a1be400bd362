"""Half instance normalisation block.

"HINet: Half Instance Normalization Network for Image Restoration", Chen et al., CVPR Workshops 2021,
https://arxiv.org/abs/2105.06086; original code https://github.com/megvii-model/HINet (MIT).

Deviations: in a chain the block keeps its width, where HINet's encoder changes it; an odd width normalises
the smaller half. Statistics are those of the whole input, so a tile and the whole image differ slightly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spaces.activations import activation as make_activation
from spaces.blocks import BLOCKS
from spaces.sizes import SizeRequirements


class HalfInstanceNorm(nn.Module):
    """Instance normalisation (affine, no running statistics) of the first half of the channels."""

    size_requirements = SizeRequirements(minimum=2)  # one pixel has no variance; torch raises

    def __init__(self, width: int):
        super().__init__()
        self.normalised = width // 2
        self.norm = nn.InstanceNorm2d(self.normalised, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.norm(x[:, : self.normalised]), x[:, self.normalised :]), dim=1)


@BLOCKS.add("hin")
class HIN(nn.Module):
    """3x3 convolution, half instance normalisation, 3x3 convolution, plus a 1x1 of the input (HINet)."""

    def __init__(self, width: int, *, activation: str = "paper"):
        super().__init__()
        self.conv_1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm = HalfInstanceNorm(width)
        self.relu_1 = make_activation(activation, paper="lrelu0.2")
        self.conv_2 = nn.Conv2d(width, width, 3, padding=1)
        self.relu_2 = make_activation(activation, paper="lrelu0.2")
        self.identity = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu_1(self.norm(self.conv_1(x)))
        return self.relu_2(self.conv_2(out)) + self.identity(x)

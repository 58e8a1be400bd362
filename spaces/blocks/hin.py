"""Half instance normalisation block.

"HINet: Half Instance Normalization Network for Image Restoration", Chen et al., CVPR Workshops 2021,
https://arxiv.org/abs/2105.06086; original code https://github.com/megvii-model/HINet (MIT).

Deviations: none in a U-Net whose blocks change the channels (``spaces.topologies.unet``); elsewhere the block keeps its
width. An odd width normalises the smaller half. Statistics are those of the whole input, so a tile and the whole
image differ slightly. HINet adds CSFF's features to the block's output; here the network does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation
from spaces.sizes import SizeRequirements


class HalfInstanceNorm(nn.Module):
    """Instance normalisation (affine, no running statistics) of the first half of the channels."""

    size_requirements = SizeRequirements(minimum=2)  # one pixel has no variance; torch raises

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.InstanceNorm2d(width // 2, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        normalised = self.norm.num_features
        return torch.cat((self.norm(x[:, :normalised]), x[:, normalised:]), dim=1)


class _TwoConvolutions(nn.Module):
    """What HINet's blocks share: two 3x3 convolutions with a norm between, plus a 1x1 of the input.

    Args:
        in_channels: Channels of the input; the width by default.
    """

    def __init__(self, width: int, in_channels: int | None, activation: str, norm: nn.Module):
        super().__init__()
        in_channels = in_channels or width
        self.conv_1 = nn.Conv2d(in_channels, width, 3, padding=1)
        self.norm = norm
        self.relu_1 = make_activation(activation, paper="lrelu0.2")
        self.conv_2 = nn.Conv2d(width, width, 3, padding=1)
        self.relu_2 = make_activation(activation, paper="lrelu0.2")
        self.identity = nn.Conv2d(in_channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu_1(self.norm(self.conv_1(x)))
        return self.relu_2(self.conv_2(out)) + self.identity(x)


@BLOCKS.add("hin")
class HIN(_TwoConvolutions):
    """3x3 convolution, half instance normalisation, 3x3 convolution, plus a 1x1 of the input (HINet)."""

    def __init__(self, width: int, in_channels: int | None = None, *, activation: str = "paper"):
        super().__init__(width, in_channels, activation, HalfInstanceNorm(width))


@BLOCKS.add("double_conv")
class DoubleConvolution(_TwoConvolutions):
    """Two 3x3 convolutions with activations, plus a 1x1 of the input (HINet's decoder)."""

    def __init__(self, width: int, in_channels: int | None = None, *, activation: str = "paper"):
        super().__init__(width, in_channels, activation, nn.Identity())

"""Attention modules that blocks share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.sizes import SizeRequirements

ESA_MINIMUM_SIZE = 15  # 15 -> 7 by the strided convolution, which the 7x7 pooling just covers


def convolution3x3(in_channels: int, out_channels: int) -> nn.Module:
    """A plain 3x3 convolution that keeps the size."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


class ESA(nn.Module):
    """Enhanced spatial attention: (N, width, H, W) times a gate that sees a wide neighbourhood.

    "Residual Feature Aggregation Network for Image Super-Resolution", Liu et al., CVPR 2020, in the form of
    RFDN (https://github.com/njulj/RFDN, MIT). Names of submodules are RFDN's. Deviations: none.

    Args:
        inner: Channels of the attention branch; RFDN uses width // 4.
        convolution: Makes a size-keeping 3x3 convolution of the low-resolution branch.
    """

    size_requirements = SizeRequirements(minimum=ESA_MINIMUM_SIZE)

    def __init__(self, width: int, inner: int, convolution: Callable[[int, int], nn.Module] = convolution3x3):
        super().__init__()
        self.conv1 = nn.Conv2d(width, inner, 1)
        self.conv_f = nn.Conv2d(inner, inner, 1)
        self.conv_max = convolution(inner, inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=2)
        self.conv3 = convolution(inner, inner)
        self.conv3_ = convolution(inner, inner)
        self.conv4 = nn.Conv2d(inner, width, 1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.conv1(x)
        low = functional.max_pool2d(self.conv2(reduced), kernel_size=7, stride=3)
        low = self.conv3_(self.relu(self.conv3(self.relu(self.conv_max(low)))))
        wide = functional.interpolate(low, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.conv4(wide + self.conv_f(reduced)))


class PixelAttention(nn.Module):
    """x times the sigmoid of its own 1x1 convolution: a gate per channel and pixel.

    "Efficient Image Super-Resolution Using Pixel Attention", Zhao et al., 2020,
    https://arxiv.org/abs/2010.01073; original code https://github.com/zhaohengyuan1/PAN (no licence file).
    Deviations: none.
    """

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(x))

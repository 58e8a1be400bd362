"""Self-calibrated block with pixel attention (SC-PA).

"Efficient Image Super-Resolution Using Pixel Attention", Zhao et al., 2020,
https://arxiv.org/abs/2010.01073; original code https://github.com/zhaohengyuan1/PAN (no licence file), whose
submodule names are kept.

Deviations: an odd width is halved downwards.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation


class _GatedConvolution(nn.Module):
    """Two 3x3 convolutions; a gate per channel and pixel, made from the input, acts on the first one's output."""

    def __init__(self, width: int):
        super().__init__()
        self.k2 = nn.Conv2d(width, width, 1)
        self.k3 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.k4 = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.k4(self.k3(x) * torch.sigmoid(self.k2(x)))


@BLOCKS.add("scpa")
class SCPA(nn.Module):
    """Two branches of half the width, one with pixel attention, fused by a 1x1 convolution, with a skip (PAN)."""

    def __init__(self, width: int, *, activation: str = "paper"):
        super().__init__()
        half = width // 2
        self.conv1_a = nn.Conv2d(width, half, 1, bias=False)
        self.conv1_b = nn.Conv2d(width, half, 1, bias=False)
        self.k1 = nn.Sequential(nn.Conv2d(half, half, 3, padding=1, bias=False))
        self.PAConv = _GatedConvolution(half)
        self.conv3 = nn.Conv2d(2 * half, width, 1, bias=False)
        self.act = make_activation(activation, paper="lrelu0.2")

    def forward(self, x: Tensor) -> Tensor:
        a = self.act(self.k1(self.act(self.conv1_a(x))))
        b = self.act(self.PAConv(self.act(self.conv1_b(x))))
        return self.conv3(torch.cat((a, b), dim=1)) + x

"""Nonlinear-activation-free block (NAFBlock), the cell of NAFNet.

"Simple Baselines for Image Restoration", Chen et al., ECCV 2022, https://arxiv.org/abs/2204.04676; original code
https://github.com/megvii-research/NAFNet (MIT), whose submodule names are kept.

Deviations: a named ``activation`` is applied to the first half of each gate, as in a gated linear unit. The attention
pools over the whole image; the paper's networks for GoPro pool over windows of 1.5 times the training patch when they
are evaluated (TLC, https://arxiv.org/abs/2112.04491).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import PAPER
from spaces.layers.activations import activation as make_activation
from spaces.layers.norms import ChannelNorm


class SimpleGate(nn.Module):
    """The product of both halves of the channels: (N, 2 * C, H, W) to (N, C, H, W).

    Args:
        activation: Applied to the first half; none in the paper.
    """

    def __init__(self, activation: str):
        super().__init__()
        self.act = nn.Identity() if activation == PAPER else make_activation(activation, paper="relu")

    def forward(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, dim=1)
        return self.act(value) * gate


@BLOCKS.add("nafblock")
class NAFBlock(nn.Module):
    """Layer norm, gated depthwise convolution with channel attention; layer norm, gated 1x1s (NAFNet).

    Args:
        expansion: Channels of the depthwise convolution, in widths; an even number, as the gate halves them.
        feedforward: Channels between the last two convolutions, in widths; even as well.
    """

    def __init__(self, width: int, *, activation: str = "paper", expansion: int = 2, feedforward: int = 2):
        super().__init__()
        for name, times in (("expansion", expansion), ("feedforward", feedforward)):
            if times % 2:
                raise ValueError(
                    f"'{name}' of 'nafblock' is even, as the gate halves the channels, got {times}"
                )
        inner, outer = expansion * width, feedforward * width
        self.norm1 = ChannelNorm(width, flat=True)
        self.conv1 = nn.Conv2d(width, inner, 1)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.gate1 = SimpleGate(activation)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.sca = nn.Conv2d(inner // 2, inner // 2, 1)
        self.conv3 = nn.Conv2d(inner // 2, width, 1)
        self.beta = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.norm2 = ChannelNorm(width, flat=True)
        self.conv4 = nn.Conv2d(width, outer, 1)
        self.gate2 = SimpleGate(activation)
        self.conv5 = nn.Conv2d(outer // 2, width, 1)
        self.gamma = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.gate1(self.conv2(self.conv1(self.norm1(x))))
        mixed = mixed * self.sca(self.pool(mixed))
        x = x + self.beta * self.conv3(mixed)
        return x + self.gamma * self.conv5(self.gate2(self.conv4(self.norm2(x))))

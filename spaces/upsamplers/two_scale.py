"""MAFFSRN's tail: a 3x3 and a 5x5 sub-pixel convolution, weighed and added.

"Ultra Lightweight Image Super-Resolution with Multi-Attention Layers", Muqeet et al., 2020,
https://arxiv.org/abs/2008.12912; original code https://github.com/AbdulMoqeet/MAFFSRN (no licence file).

Deviations: none; both convolutions are weight-normalised and both learned weights start at 0.5.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spaces.layers.weight_norm import WeightNormConv2d
from spaces.upsamplers import UPSAMPLERS, stages


@UPSAMPLERS.add("pixelshuffle_two_scale")
class PixelShuffleTwoScale(nn.Module):
    """A 3x3 and a 5x5 convolution, each with a learned weight and a pixel shuffle, added (MAFFSRN)."""

    last = ("conv3", "conv5")  # both make the output

    def __init__(self, width: int, out_channels: int, scale: int, *, activation: str = "paper"):
        super().__init__()
        stages(scale)
        self.conv3 = WeightNormConv2d(width, out_channels * scale**2, 3)
        self.conv5 = WeightNormConv2d(width, out_channels * scale**2, 5)
        self.scale3 = nn.Parameter(torch.full((1,), 0.5))
        self.scale5 = nn.Parameter(torch.full((1,), 0.5))
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.scale3 * self.conv3(x) + self.scale5 * self.conv5(x))

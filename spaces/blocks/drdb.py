"""Dilated residual dense block (DRDB) of AHDRNet.

"Attention-Guided Network for Ghost-Free High Dynamic Range Imaging", Yan et al., CVPR 2019,
https://arxiv.org/abs/1904.10293; original code https://github.com/qingsenyangit/AHDRNet (no licence file), whose
submodule names are kept.

Deviations: none. The ReLU is called as a function, as in the original, because the challenges'
counting rule charges activation modules only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation_function

DILATION = 2


class _DenseLayer(nn.Module):
    """A dilated 3x3 convolution and an activation, concatenated to the input."""

    def __init__(self, in_channels: int, growth: int, activation: str):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, growth, 3, padding=DILATION, dilation=DILATION)
        self._activation = activation_function(activation, paper="relu")

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self._activation(self.conv(x))), dim=1)


@BLOCKS.add("drdb")
class DRDB(nn.Module):
    """Densely connected dilated 3x3 convolutions, a 1x1 convolution, added to the input (AHDRNet).

    Args:
        growth: Channels that each dense layer adds.
        layers: Dense layers.
    """

    def __init__(self, width: int, *, activation: str = "paper", growth: int = 32, layers: int = 6):
        super().__init__()
        wide = range(width, width + growth * layers, growth)
        self.dense_layers = nn.Sequential(*(_DenseLayer(w, growth, activation) for w in wide))
        self.conv_1x1 = nn.Conv2d(width + growth * layers, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_1x1(self.dense_layers(x))

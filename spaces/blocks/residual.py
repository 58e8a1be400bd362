"""Residual block without normalisation, as in MSRResNet, the baseline of AIM 2020.

"AIM 2019 Challenge on Constrained Super-Resolution", Zhang et al., 2019, https://arxiv.org/abs/1911.01249;
original code https://github.com/znsc/MSRResNet (no licence file).

Deviations: none. The ReLU is called as a function, as in the original, because the challenges'
counting rule charges activation modules only.
"""

from __future__ import annotations

from torch import Tensor, nn

from spaces.activations import activation_function
from spaces.blocks import BLOCKS


@BLOCKS.add("residual")
class Residual(nn.Module):
    """Two 3x3 convolutions with an activation between, added to the input (MSRResNet)."""

    def __init__(self, width: int, *, activation: str = "paper"):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self._activation = activation_function(activation, paper="relu")

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self._activation(self.conv1(x)))

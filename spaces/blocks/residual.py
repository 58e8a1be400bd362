"""Residual block without normalisation, as in MSRResNet, the baseline of AIM 2020.

"AIM 2019 Challenge on Constrained Super-Resolution", Zhang et al., 2019, https://arxiv.org/abs/1911.01249;
original code https://github.com/znsc/MSRResNet (no licence file).

Deviations: none by default; other convolutions and a gate before the sum, as in RCAN
(https://arxiv.org/abs/1807.02758), are choices of ours. The ReLU is called as a function, as in the original,
because the challenges' counting rule charges activation modules only.
"""

from __future__ import annotations

from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation_function
from spaces.layers.attention import optional_attention
from spaces.layers.convolutions import make_convolution


@BLOCKS.add("residual")
class Residual(nn.Module):
    """Two 3x3 convolutions with an activation between, added to the input (MSRResNet).

    Args:
        convolution: ``plain``, ``acb`` or ``basis``; once merged, they cost the same.
        attention: A gate on what is added, or ``none``.
    """

    def __init__(
        self, width: int, *, activation: str = "paper", convolution: str = "plain", attention: str = "none"
    ):
        super().__init__()
        self.conv1 = make_convolution(convolution, width, width)
        self.conv2 = make_convolution(convolution, width, width)
        self.attention = optional_attention(attention, width)
        self._activation = activation_function(activation, paper="relu")

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.conv2(self._activation(self.conv1(x))))

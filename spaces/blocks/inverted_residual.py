"""Inverted residual of MobileNetV3: expand, convolve per channel, gate, project.

"Searching for MobileNetV3", Howard et al., ICCV 2019, https://arxiv.org/abs/1905.02244; original code
https://github.com/tensorflow/models (Apache-2.0). In super-resolution: team SAMSUNG_TOR_AIC of AIM 2020
(https://arxiv.org/abs/2009.06943), whose modified version was not published.

Deviations: no batch normalisation, so convolutions have biases; stride 1 and one width, so there is always a
skip; any of our gates may stand for squeeze and excitation.
"""

from __future__ import annotations

from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation
from spaces.layers.attention import optional_attention
from spaces.layers.convolutions import plain_convolution


@BLOCKS.add("inverted_residual")
class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, squeeze and excitation, linear 1x1 projection (MobileNetV3).

    Args:
        expansion: Expanded over outer channels.
        kernel: Side of the depthwise kernel, odd; MobileNetV3 has 3 and 5.
        attention: The gate on the expanded channels, or ``none``.

    Raises: ValueError: for an even kernel or an unknown attention.
    """

    def __init__(
        self,
        width: int,
        *,
        activation: str = "paper",
        expansion: int = 4,
        kernel: int = 3,
        attention: str = "se",
    ):
        super().__init__()
        expanded = expansion * width
        self.expand = nn.Conv2d(width, expanded, 1)
        self.act1 = make_activation(activation, paper="hswish")
        self.depthwise = plain_convolution(expanded, expanded, kernel, groups=expanded)
        self.act2 = make_activation(activation, paper="hswish")
        self.attention = optional_attention(attention, expanded)
        self.project = nn.Conv2d(expanded, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        expanded = self.act2(self.depthwise(self.act1(self.expand(x))))
        return x + self.project(self.attention(expanded))

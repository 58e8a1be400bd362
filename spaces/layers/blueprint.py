"""Blueprint-separable convolutions: a 1x1 convolution, then a depthwise one.

"Rethinking Depthwise Separable Convolutions: How Intra-Kernel Correlations Lead to Improved MobileNets", Haase and
Amthor, CVPR 2020, https://arxiv.org/abs/2003.13549, in the unconstrained form (BSConv-U) as BSRN uses it
(https://github.com/xiaom233/BSRN, MIT), whose submodule names are kept. Deviations: as in BSRN, no normalisation.
"""

from __future__ import annotations

from torch import Tensor, nn


class BlueprintConv2d(nn.Module):
    """A 1x1 and then a depthwise 3x3 convolution.

    Args:
        stride, padding: Of the depthwise convolution.
        pointwise_bias: The 1x1 convolution has a bias too.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        padding: int = 1,
        pointwise_bias: bool = False,
    ):
        super().__init__()
        self.pw = nn.Conv2d(in_channels, out_channels, 1, bias=pointwise_bias)
        self.dw = nn.Conv2d(
            out_channels, out_channels, 3, stride=stride, padding=padding, groups=out_channels
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.dw(self.pw(x))

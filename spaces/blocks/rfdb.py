"""Residual feature distillation block (RFDB) with ESA, and its efficient form.

"Residual Feature Distillation Network for Lightweight Image Super-Resolution", Liu et al., 2020,
https://arxiv.org/abs/2009.11551; original code https://github.com/njulj/RFDN (MIT), whose submodule names
are kept.
Deviations: none; like the original code, and unlike the paper's figure, there is no skip around the block.

Efficient RFDB: "NTIRE 2022 Challenge on High Dynamic Range Imaging: Methods and Results" (Pérez-Pellitero et
al., 2022, https://arxiv.org/abs/2205.12633), entry of team ALONG: every 3x3 becomes a depthwise 3x3 and a
1x1 convolution, and SiLU replaces LeakyReLU. No code was published. Our reading: depthwise first, without an
activation between; the 3x3 convolutions of ESA's low-resolution branch are separated too, its strided one
is not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation
from spaces.layers.attention import ESA, convolution3x3


def separable3x3(in_channels: int, out_channels: int) -> nn.Module:
    """A depthwise 3x3 and a 1x1 convolution."""
    depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels)
    return nn.Sequential(depthwise, nn.Conv2d(in_channels, out_channels, 1))


class _Distillation(nn.Module):
    """Three distil/refine steps, a last distilled map, fusion and ESA."""

    def __init__(
        self,
        width: int,
        distilled: int,
        attention: int,
        act: nn.Module,
        conv: Callable[[int, int], nn.Module],
        skips: bool = True,
    ):
        super().__init__()
        distilled = distilled or width // 2
        self.c1_d = nn.Conv2d(width, distilled, 1)
        self.c1_r = conv(width, width)
        self.c2_d = nn.Conv2d(width, distilled, 1)
        self.c2_r = conv(width, width)
        self.c3_d = nn.Conv2d(width, distilled, 1)
        self.c3_r = conv(width, width)
        self.c4 = conv(width, distilled)
        self.c5 = nn.Conv2d(4 * distilled, width, 1)
        self.act = act
        self.esa = ESA(width, attention or width // 4, conv)
        self._skips = skips

    def forward(self, x: Tensor) -> Tensor:
        distilled = []
        for distil, refine in ((self.c1_d, self.c1_r), (self.c2_d, self.c2_r), (self.c3_d, self.c3_r)):
            distilled.append(self.act(distil(x)))
            x = self.act(refine(x) + x if self._skips else refine(x))
        distilled.append(self.act(self.c4(x)))
        return self.esa(self.c5(torch.cat(distilled, dim=1)))


@BLOCKS.add("rfdb")
class RFDB(_Distillation):
    """Residual feature distillation block with ESA (RFDN).

    Args:
        distilled: Channels of each distilled map; 0 for width // 2.
        attention: Channels inside ESA; 0 for width // 4.
        skips: The refining convolutions have a skip each; a trained kernel can take it up, as in team MegSR's
            pruned RFDN (NTIRE 2022), at the same cost.
    """

    def __init__(
        self,
        width: int,
        *,
        activation: str = "paper",
        distilled: int = 0,
        attention: int = 0,
        skips: bool = True,
    ):
        act = make_activation(activation, paper="lrelu0.05")
        super().__init__(width, distilled, attention, act, convolution3x3, skips)


@BLOCKS.add("efficient_rfdb")
class EfficientRFDB(_Distillation):
    """RFDB with depthwise-separable convolutions and SiLU (NTIRE 2022 HDR winner).

    Args:
        distilled: Channels of each distilled map; 0 for width // 2.
        attention: Channels inside ESA; 0 for width // 4.
    """

    def __init__(self, width: int, *, activation: str = "paper", distilled: int = 0, attention: int = 0):
        act = make_activation(activation, paper="silu")
        super().__init__(width, distilled, attention, act, separable3x3)

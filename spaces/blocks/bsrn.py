"""Efficient separable distillation block (ESDB).

"Blueprint Separable Residual Network for Efficient Image Super-Resolution", Li et al., CVPR Workshops 2022,
https://arxiv.org/abs/2205.05996; original code https://github.com/xiaom233/BSRN (MIT), whose submodule names are
kept.

Deviations: in BSRN-S the 1x1 convolutions are convolutions, not linear layers on permuted maps: the same function.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation
from spaces.layers.attention import CCA, ESA
from spaces.layers.blueprint import BlueprintConv2d


class BlueprintESA(ESA):
    """ESA with GELU and blueprint-separable convolutions (in BSRN-S the strided one is plain)."""

    def __init__(self, width: int, inner: int, activation: str, small: bool):
        super().__init__(width, inner, partial(BlueprintConv2d, pointwise_bias=small))
        if not small:
            self.add_module("conv2", BlueprintConv2d(inner, inner, stride=2, padding=0))
        self.add_module("relu", make_activation(activation, paper="gelu"))


class ChannelWeights(nn.Module):
    """A learned weight per channel, (1, width), then a 1x1 convolution."""

    def __init__(self, width: int):
        super().__init__()
        self.cw = nn.Parameter(torch.empty(1, width))
        nn.init.normal_(self.cw, mean=1.0, std=0.2)
        self.conv_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(x * self.cw[..., None, None])


@BLOCKS.add("esdb", small=False)
@BLOCKS.add("esdb_small", small=True)
class ESDB(nn.Module):
    """Residual feature distillation by blueprint-separable convolutions, ESA and a channel gate (BSRN).

    Args:
        small: As in BSRN-S: a learned weight per channel and a 1x1 convolution instead of CCA, a bias after
            every 1x1 convolution, and a plain strided convolution in ESA.
        distilled: Channels of each distilled map; 0 for width // 2.
        attention: Channels inside ESA; 0 for width // 4.
    """

    def __init__(
        self,
        width: int,
        *,
        activation: str = "paper",
        small: bool = False,
        distilled: int = 0,
        attention: int = 0,
    ):
        super().__init__()
        conv = partial(BlueprintConv2d, pointwise_bias=small)
        distilled = distilled or width // 2
        self.c1_d = nn.Conv2d(width, distilled, 1)
        self.c1_r = conv(width, width)
        self.c2_d = nn.Conv2d(width, distilled, 1)
        self.c2_r = conv(width, width)
        self.c3_d = nn.Conv2d(width, distilled, 1)
        self.c3_r = conv(width, width)
        self.c4 = conv(width, distilled)
        self.act = make_activation(activation, paper="gelu")
        self.c5 = nn.Conv2d(4 * distilled, width, 1)
        self.esa = BlueprintESA(width, attention or width // 4, activation, small)
        self.cca = ChannelWeights(width) if small else CCA(width)

    def forward(self, x: Tensor) -> Tensor:
        distilled, features = [], x
        for distil, refine in ((self.c1_d, self.c1_r), (self.c2_d, self.c2_r), (self.c3_d, self.c3_r)):
            distilled.append(self.act(distil(features)))
            features = self.act(refine(features) + features)
        distilled.append(self.act(self.c4(features)))
        return self.cca(self.esa(self.c5(torch.cat(distilled, dim=1)))) + x

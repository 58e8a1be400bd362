"""IdleBlock: part of the channels passes untouched, the rest goes through an inverted residual.

"Hybrid Composition with IdleBlock: More Efficient Networks for Image Recognition", Xu et al., 2019,
https://arxiv.org/abs/1911.08609; no code was published. The multi-scale form is team ZJUESR2020's of AIM 2020
(https://arxiv.org/abs/2009.06943), known only as "parallel depthwise kernels of several sizes".

The left form puts the processed channels first, the right form the idle ones, so that an alternation of
both reaches every channel.
As in the paper, the two halves exchange nothing (its "hybrid composition" mixes them in the ordinary blocks
between): in a chain of these blocks alone they meet only in the fusion, the trunk's convolution and the
upsampler. An odd width shares its middle channel.

Deviations: no batch normalisation; the active branch has a skip (without it deep chains of these
blocks hardly train); ``idle`` and ``idle_multiscale`` are a left and a right form in a row, because a single
one leaves half of its input unseen. Our reading of the multi-scale form: the expanded channels are split
into groups, one depthwise kernel size each.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation


class _DepthwiseMix(nn.Module):
    """Depthwise convolutions of several kernel sizes, each on its share of the channels."""

    def __init__(self, width: int, kernels: tuple[int, ...]):
        super().__init__()
        share, rest = divmod(width, len(kernels))
        shares = [share + (i < rest) for i in range(len(kernels))]
        self.convs = nn.ModuleList(
            nn.Conv2d(n, n, k, padding=k // 2, groups=n) for n, k in zip(shares, kernels, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = torch.split(x, [cast(nn.Conv2d, conv).in_channels for conv in self.convs], dim=1)
        return torch.cat([conv(m) for conv, m in zip(self.convs, maps, strict=True)], dim=1)


class _Half(nn.Module):
    """One L- or R-IdleBlock."""

    def __init__(self, width: int, left: bool, expansion: int, kernels: tuple[int, ...], activation: str):
        super().__init__()
        self.left = left
        active = width - width // 2
        expanded = expansion * active
        self.expand = nn.Conv2d(active, expanded, 1)
        self.act1 = make_activation(activation, paper="relu")
        self.depthwise = _DepthwiseMix(expanded, kernels)
        self.act2 = make_activation(activation, paper="relu")
        self.squeeze = nn.Conv2d(expanded, active, 1)

    def forward(self, x: Tensor) -> Tensor:
        share = self.expand.in_channels
        idle = x.shape[1] - share
        if self.left:
            active, kept = x[:, :share], x[:, share:]
        else:
            kept, active = x[:, :idle], x[:, idle:]
        active = active + self.squeeze(self.act2(self.depthwise(self.act1(self.expand(active)))))
        return torch.cat((active, kept) if self.left else (kept, active), dim=1)


@BLOCKS.add("idle", side="both", kernels=(3,))
@BLOCKS.add("idle_left", side="left", kernels=(3,))
@BLOCKS.add("idle_right", side="right", kernels=(3,))
@BLOCKS.add("idle_multiscale", side="both", kernels=(3, 5, 7))
class Idle(nn.Module):
    """Half of the channels pass untouched, half go through an inverted residual (IdleBlock).

    Args:
        side: ``left``, ``right``, or ``both``: a left and a right form in a row.
        kernels: Depthwise kernel sizes, each on its share of the expanded channels.
        expansion: Expanded over active channels.
    """

    def __init__(
        self,
        width: int,
        *,
        activation: str = "paper",
        side: str = "both",
        kernels: tuple[int, ...] = (3,),
        expansion: int = 3,
    ):
        super().__init__()
        if side not in ("left", "right", "both"):
            raise ValueError(f"'side' is left, right or both, got '{side}'")
        sides = ("left", "right") if side == "both" else (side,)
        self.halves = nn.Sequential(
            *(_Half(width, s == "left", expansion, kernels, activation) for s in sides)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.halves(x)

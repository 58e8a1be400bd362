"""Lattice block: two butterflies whose weights each image's channel statistics decide.

"LatticeNet: Towards Lightweight Image Super-resolution with Lattice Block", Luo et al., ECCV 2020,
https://www.ecva.net/papers/eccv_2020/papers_ECCV/html/4035_ECCV_2020_paper.php; team HaiYun of AIM 2020; original
code https://github.com/ymff0592/super-resolution (no licence file).

Deviations: at least 4 channels inside the coefficients' gates, where width // 16 would be fewer, and their biases
start at 0.5 (with torch's start, all 4 are dead in one gate of sixteen); of a single pixel the standard deviation
is taken as 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation

REDUCTION = 16


def _gate(width: int) -> nn.Module:
    inner = max(4, width // REDUCTION)
    reduce = nn.Conv2d(width, inner, 1)
    with torch.no_grad():
        reduce.bias.fill_(0.5)  # type: ignore[union-attr]
    return nn.Sequential(reduce, nn.ReLU(), nn.Conv2d(inner, width, 1), nn.Sigmoid())


class CombinationCoefficient(nn.Module):
    """A weight per channel in (0, 1) from (N, width, H, W): (N, width, 1, 1).

    The mean of two gates, one on the channels' means and one on their standard deviations.
    """

    def __init__(self, width: int):
        super().__init__()
        self.of_mean = _gate(width)
        self.of_deviation = _gate(width)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.shape[-2] * x.shape[-1]
        # The sample's deviation; the tiny summand leaves it 0, not NaN, for a single pixel.
        sample = (pixels / (pixels - 1 + 1e-12)) ** 0.5
        deviation = torch.std(x, dim=(2, 3), correction=0, keepdim=True) * sample
        return (self.of_mean(x.mean((2, 3), keepdim=True)) + self.of_deviation(deviation)) / 2


@BLOCKS.add("lattice")
class Lattice(nn.Module):
    """Two butterflies of a three-convolution branch with the input, then a 1x1 convolution (LatticeNet).

    Args:
        inner: Channels inside the branches; 0 for 3/4 of the width.
    """

    def __init__(self, width: int, *, activation: str = "paper", inner: int = 0):
        super().__init__()
        inner = inner or max(1, 3 * width // 4)
        self.branch1 = _branch(width, inner, activation)
        self.branch1_weight = CombinationCoefficient(width)
        self.input_weight = CombinationCoefficient(width)
        self.branch2 = _branch(width, inner, activation)
        self.lower_weight = CombinationCoefficient(width)
        self.branch2_weight = CombinationCoefficient(width)
        self.compress = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.branch1(x)
        upper = x + self.branch1_weight(first) * first
        lower = first + self.input_weight(x) * x
        second = self.branch2(upper)
        above = second + self.lower_weight(lower) * lower
        below = lower + self.branch2_weight(second) * second
        return self.compress(torch.cat((above, below), dim=1))


def _branch(width: int, inner: int, activation: str) -> nn.Module:
    layers: list[nn.Module] = []
    for ins, outs in ((width, inner), (inner, inner), (inner, width)):
        layers.append(nn.Conv2d(ins, outs, 3, padding=1))
        layers.append(make_activation(activation, paper="lrelu0.05"))
    return nn.Sequential(*layers)

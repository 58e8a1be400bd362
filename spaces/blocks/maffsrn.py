"""Feature fusion group (FFG) of multi-attention blocks (MAB).

"Ultra Lightweight Image Super-Resolution with Multi-Attention Layers", Muqeet et al., 2020,
https://arxiv.org/abs/2008.12912; team MLVC of AIM 2020; original code https://github.com/AbdulMoqeet/MAFFSRN (no
licence file).

Deviations: none. As in the original code, and unlike ESA, the low-resolution branch of the spatial gate adds a plain
and a dilated convolution, is enlarged by nearest neighbour, and has a ReLU before the sigmoid.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation
from spaces.layers.attention import CEA
from spaces.layers.weight_norm import WeightNormConv2d
from spaces.sizes import SizeRequirements

MINIMUM_SIZE = 13  # 13 -> 7 by the strided convolution, which the 7x7 pooling just covers


class _SpatialGate(nn.Module):
    """x times a gate that sees a wide neighbourhood, from a quarter of the channels."""

    size_requirements = SizeRequirements(minimum=MINIMUM_SIZE)

    def __init__(self, width: int, activation: str):
        super().__init__()
        inner = max(1, width // 4)
        self.reduce = nn.Conv2d(width, inner, 1)
        self.stride = nn.Conv2d(inner, inner, 3, stride=2, padding=1)
        self.plain = nn.Conv2d(inner, inner, 3, padding=1)
        self.dilated = nn.Conv2d(inner, inner, 3, padding=2, dilation=2)
        self.plain_act = make_activation(activation, paper="lrelu0.05")
        self.dilated_act = make_activation(activation, paper="lrelu0.05")
        self.increase = nn.Conv2d(inner, width, 1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.reduce(x)
        low = functional.max_pool2d(self.stride(reduced), kernel_size=7, stride=3)
        low = self.dilated_act(self.dilated(low)) + self.plain_act(self.plain(low))
        wide = functional.interpolate(low, size=x.shape[-2:], mode="nearest")
        return x * torch.sigmoid(self.relu(self.increase(wide + reduced)))


class MAB(nn.Module):
    """Two 3x3 convolutions, then a spatial gate and CEA, both decided by the convolutions' output."""

    def __init__(self, width: int, activation: str):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.act = make_activation(activation, paper="lrelu0.05")
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.spatial = _SpatialGate(width, activation)
        self.cea = CEA(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.act(self.conv1(x)))
        return self.spatial(x) * self.cea.gate(x)


def _interleave(first: Tensor, second: Tensor) -> Tensor:
    """The channels of two maps in turn: a channel shuffle of their concatenation in 2 groups."""
    return torch.stack((first, second), dim=2).flatten(1, 2)


@BLOCKS.add("ffg")
class FFG(nn.Module):
    """Four blocks with two gates each, fused step by step and added to the input, both scaled (MAFFSRN)."""

    def __init__(self, width: int, *, activation: str = "paper"):
        super().__init__()
        self.blocks = nn.ModuleList(MAB(width, activation) for _ in range(4))
        self.fusions = nn.ModuleList(WeightNormConv2d(2 * width, width, 1) for _ in range(3))
        self.fused_scale = nn.Parameter(torch.ones(1))
        self.input_scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        first, second, third, fourth = self.blocks
        x0 = first(x)
        x1 = second(x0) + x0
        x2 = third(x1) + x1
        x3 = fourth(x2)
        fused = x0
        for fusion, features in zip(self.fusions, (x1, x2, x3), strict=True):
            fused = fusion(_interleave(fused, features))
        return self.fused_scale * fused + self.input_scale * x

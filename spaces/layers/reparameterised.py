"""Convolutions that train as several layers and are deployed as one, from networks for super-resolution.

``conv3xc``: "Swift Parameter-free Attention Network for Efficient Super-Resolution", Wan et al., CVPR Workshops 2024,
https://arxiv.org/abs/2311.12770; original code https://github.com/hongyuanyu/SPAN (Apache-2.0).

``ecb``: "Edge-oriented Convolution Block for Real-time Super Resolution on Mobile Devices", Zhang et al., ACM MM 2021;
original code https://github.com/xindongzhang/ECBSR (Apache-2.0).

``edbb``: "Edge-enhanced Feature Distillation Network for Efficient Super-Resolution", Wang, CVPR Workshops 2022,
https://arxiv.org/abs/2204.08759; original code https://github.com/icandle/EFDN (MIT).

``repvgg``: "RepVGG: Making VGG-style ConvNets Great Again", Ding et al., CVPR 2021, https://arxiv.org/abs/2101.03697;
original code https://github.com/DingXiaoH/RepVGG (MIT).

Deviations: kernels are merged before the convolution instead of adding up outputs after it, the same function and
gradient for one convolution's work; the first bias of an edge branch, which every edge filter sums to 0, is left out;
``repvgg`` has no batch normalisation, as is usual in super-resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.layers.mergeable import MergeableConvolution

GAIN = 2  # of conv3xc and of ecb's wide branch, as published
_SMALL = 1e-3  # what an edge filter's strength starts around
_EDGES = {
    "sobel_x": ((1, 0, -1), (2, 0, -2), (1, 0, -1)),
    "sobel_y": ((1, 2, 1), (0, 0, 0), (-1, -2, -1)),
    "laplacian": ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
}


def _compose(second: Tensor, first: Tensor) -> Tensor:
    """The kernel of two convolutions in a row, at least one of them 1x1; groups are told from the shapes.

    Args:
        second: (out, middle / groups, k, k).
        first: (middle, in / groups, l, l).

    Returns: (out, in / groups, max(k, l), max(k, l)).
    """
    groups = first.shape[0] // second.shape[1]
    if groups == 1:
        return (second.permute(2, 3, 0, 1) @ first.permute(2, 3, 0, 1)).permute(2, 3, 0, 1)
    after, before = (t.unflatten(0, (groups, -1)).permute(3, 4, 0, 1, 2) for t in (second, first))
    return (after @ before).permute(2, 3, 4, 0, 1).flatten(0, 1)


def _passed(second: Tensor, bias: Tensor) -> Tensor:
    """A first convolution's bias behind a second one, whose input is padded with it: (out,)."""
    return _compose(second.sum((2, 3), keepdim=True), bias.reshape(-1, 1, 1, 1)).flatten()


def _eye(rows: int, columns: int) -> Tensor:
    """1x1 kernels that copy channel after channel: (rows, columns, 1, 1)."""
    copies = -(-rows // columns)
    return torch.eye(columns).repeat(copies, 1)[:rows].reshape(rows, columns, 1, 1)


def _centred(pointwise: Tensor, kernel: int) -> Tensor:
    """A 1x1 kernel in the middle of a larger one."""
    return functional.pad(pointwise, [kernel // 2] * 4)


def _pointwise(in_channels: int, out_channels: int, groups: int, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 1, groups=groups, bias=bias)


class Conv3XC(MergeableConvolution):
    """A 1x1, a larger and a 1x1 convolution in a row, through more channels, beside a 1x1 one (SPAN)."""

    unprunable = ("conv1", "conv2")  # inner channels, which the merged kernel doesn't have

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, *, groups: int = 1, bias: bool = True
    ):
        super().__init__(in_channels, out_channels, kernel, groups=groups, bias=bias)
        wide_in, wide_out = GAIN * in_channels, GAIN * out_channels
        self.conv1 = _pointwise(in_channels, wide_in, groups, bias)
        self.conv2 = nn.Conv2d(wide_in, wide_out, kernel, groups=groups, bias=bias)
        self.conv3 = _pointwise(wide_out, out_channels, groups, bias)
        self.skip = _pointwise(in_channels, out_channels, groups, bias)

    @property
    def form(self) -> str:
        return "conv3xc"

    def merged_tensors(self) -> tuple[Tensor, Tensor | None]:
        first, second, third = (layer.weight for layer in (self.conv1, self.conv2, self.conv3))
        weight = _compose(third, _compose(second, first)) + _centred(self.skip.weight, self.kernel)
        biases = [layer.bias for layer in (self.conv1, self.conv2, self.conv3, self.skip)]
        if biases[0] is None or biases[1] is None or biases[2] is None or biases[3] is None:
            return weight, None
        inner = _passed(second, biases[0]) + biases[1]
        return weight, _passed(third, inner) + biases[2] + biases[3]

    @torch.no_grad()
    def take(self, weight: Tensor, bias: Tensor | None) -> None:
        """As the base says; the inner channels hold the kernel twice and the second copy starts without effect."""
        for parameter in self.parameters():
            parameter.zero_()
        ins, outs = self.in_channels // self.groups, self.out_channels // self.groups
        self.conv1.weight.copy_(_eye(GAIN * self.in_channels, ins))
        for group, kernels in enumerate(weight.split(outs)):
            for copy in range(GAIN):
                row = (group * GAIN + copy) * outs
                self.conv2.weight[row : row + outs, copy * ins : (copy + 1) * ins] = kernels
        self.conv3.weight[:, :outs] = _eye(self.out_channels, outs)
        if self.conv3.bias is not None and bias is not None:
            self.conv3.bias.copy_(bias)


class _Edge(nn.Module):
    """A 1x1 convolution and a fixed edge filter with a learned strength per channel."""

    mask: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel: int, groups: int, bias: bool, edge: str):
        super().__init__()
        self._edge, self._kernel = edge, kernel
        self.conv = _pointwise(in_channels, out_channels, groups, False)
        self.scale = nn.Parameter(_SMALL * torch.randn(out_channels, 1, 1, 1))
        self.bias = nn.Parameter(_SMALL * torch.randn(out_channels)) if bias else None
        self.register_buffer("mask", self._filter(out_channels))

    def _filter(self, channels: int) -> Tensor:
        filters = torch.tensor(_EDGES[self._edge], dtype=torch.float).expand(channels, 1, 3, 3)
        return functional.pad(filters, [self._kernel // 2 - 1] * 4).contiguous()

    def merged_weight(self) -> Tensor:
        return self.scale * self.mask * self.conv.weight

    def take_nothing(self) -> None:
        """Start without effect."""
        self.conv.weight.copy_(_eye(*self.conv.weight.shape[:2]))
        self.mask.copy_(self._filter(len(self.mask)))


class _Identity(MergeableConvolution):
    """The part that forms with an identity branch share; it is there where input and output have equal channels."""

    identity: Tensor | None

    def _add_identity(self, wanted: bool = True) -> None:
        same = wanted and self.in_channels == self.out_channels
        self.register_buffer("identity", self._copies() if same else None)

    def _copies(self) -> Tensor:
        return _eye(self.out_channels, self.in_channels // self.groups)

    def _take_identity(self, weight: Tensor) -> Tensor:
        """What is left for the other branches of a kernel."""
        if self.identity is None:
            return weight
        self.identity.copy_(self._copies())
        return weight - _centred(self.identity, self.kernel)


class EdgeConvolution(_Identity):
    """A plain convolution beside three of 1x1 and fixed edge filters, and other branches; all are added up.

    Args:
        gain: Channels over ``out_channels`` inside a branch of a 1x1 and a larger convolution; 0 for no such branch.
        pointwise: A branch of a 1x1 convolution.
        identity: A branch that copies the input, where it has as many channels as the output.

    Raises: ValueError: for a kernel of 1, or an even one.
    """

    unprunable = ("expand",)  # inner channels, which the merged kernel doesn't have
    name: str

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        groups: int,
        bias: bool,
        gain: int,
        pointwise: bool,
        identity: bool,
    ):
        super().__init__(in_channels, out_channels, kernel, groups=groups, bias=bias)
        if kernel < 3:
            raise ValueError(f"an edge filter is 3x3: expected a kernel of at least 3, got {kernel}")
        self.square = nn.Conv2d(in_channels, out_channels, kernel, groups=groups, bias=bias)
        self.edges = nn.ModuleDict(
            {edge: _Edge(in_channels, out_channels, kernel, groups, bias, edge) for edge in _EDGES}
        )
        self.pointwise = _pointwise(in_channels, out_channels, groups, bias) if pointwise else None
        self.expand = _pointwise(in_channels, gain * out_channels, groups, bias) if gain else None
        self.reduce = (
            nn.Conv2d(gain * out_channels, out_channels, kernel, groups=groups, bias=bias) if gain else None
        )
        self._add_identity(identity)

    @property
    def form(self) -> str:
        return self.name

    def merged_tensors(self) -> tuple[Tensor, Tensor | None]:
        weight, bias = self.square.weight, self.square.bias
        for edge in self.edges.values():
            assert isinstance(edge, _Edge)
            weight = weight + edge.merged_weight()
            bias = bias if bias is None or edge.bias is None else bias + edge.bias
        if self.pointwise is not None:
            weight = weight + _centred(self.pointwise.weight, self.kernel)
            bias = bias if bias is None or self.pointwise.bias is None else bias + self.pointwise.bias
        if self.expand is not None and self.reduce is not None:
            weight = weight + _compose(self.reduce.weight, self.expand.weight)
            if bias is not None and self.expand.bias is not None and self.reduce.bias is not None:
                bias = bias + _passed(self.reduce.weight, self.expand.bias) + self.reduce.bias
        if self.identity is not None:
            weight = weight + _centred(self.identity, self.kernel)
        return weight, bias

    @torch.no_grad()
    def take(self, weight: Tensor, bias: Tensor | None) -> None:
        for parameter in self.parameters():
            parameter.zero_()
        for edge in self.edges.values():
            assert isinstance(edge, _Edge)
            edge.take_nothing()
        if self.expand is not None:
            self.expand.weight.copy_(_eye(*self.expand.weight.shape[:2]))
        self.square.weight.copy_(self._take_identity(weight))
        if self.square.bias is not None and bias is not None:
            self.square.bias.copy_(bias)


class ECB(EdgeConvolution):
    """Edge-oriented convolution block: plain, wide and three edge branches (ECBSR)."""

    name = "ecb"

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, *, groups: int = 1, bias: bool = True
    ):
        super().__init__(
            in_channels, out_channels, kernel, groups, bias, gain=GAIN, pointwise=False, identity=False
        )


class EDBB(EdgeConvolution):
    """Edge-enhanced diverse branch block: plain, 1x1, three edge branches and the identity (EFDN)."""

    name = "edbb"

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, *, groups: int = 1, bias: bool = True
    ):
        super().__init__(
            in_channels, out_channels, kernel, groups, bias, gain=0, pointwise=True, identity=True
        )


class RepVGGConvolution(_Identity):
    """A plain and a 1x1 convolution and the identity, added up (RepVGG)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, *, groups: int = 1, bias: bool = True
    ):
        super().__init__(in_channels, out_channels, kernel, groups=groups, bias=bias)
        self.square = nn.Conv2d(in_channels, out_channels, kernel, groups=groups, bias=bias)
        self.pointwise = _pointwise(in_channels, out_channels, groups, bias)
        self._add_identity()

    @property
    def form(self) -> str:
        return "repvgg"

    def merged_tensors(self) -> tuple[Tensor, Tensor | None]:
        weight = self.square.weight + _centred(self.pointwise.weight, self.kernel)
        if self.identity is not None:
            weight = weight + _centred(self.identity, self.kernel)
        if self.square.bias is None or self.pointwise.bias is None:
            return weight, None
        return weight, self.square.bias + self.pointwise.bias

    @torch.no_grad()
    def take(self, weight: Tensor, bias: Tensor | None) -> None:
        for parameter in self.parameters():
            parameter.zero_()
        self.square.weight.copy_(self._take_identity(weight))
        if self.square.bias is not None and bias is not None:
            self.square.bias.copy_(bias)

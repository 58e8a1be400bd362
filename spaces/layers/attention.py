"""Attention modules that blocks share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.registry import UnknownNameError
from spaces.sizes import SizeRequirements

ESA_MINIMUM_SIZE = 15  # 15 -> 7 by the strided convolution, which the 7x7 pooling just covers


def convolution3x3(in_channels: int, out_channels: int) -> nn.Module:
    """A plain 3x3 convolution that keeps the size."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


class ESA(nn.Module):
    """Enhanced spatial attention: (N, width, H, W) times a gate that sees a wide neighbourhood.

    "Residual Feature Aggregation Network for Image Super-Resolution", Liu et al., CVPR 2020, in the form of
    RFDN (https://github.com/njulj/RFDN, MIT). Names of submodules are RFDN's. Deviations: none.

    Args:
        inner: Channels of the attention branch; RFDN uses width // 4.
        convolution: Makes a size-keeping 3x3 convolution of the low-resolution branch.
    """

    size_requirements = SizeRequirements(minimum=ESA_MINIMUM_SIZE)

    def __init__(self, width: int, inner: int, convolution: Callable[[int, int], nn.Module] = convolution3x3):
        super().__init__()
        self.conv1 = nn.Conv2d(width, inner, 1)
        self.conv_f = nn.Conv2d(inner, inner, 1)
        self.conv_max = convolution(inner, inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=2)
        self.conv3 = convolution(inner, inner)
        self.conv3_ = convolution(inner, inner)
        self.conv4 = nn.Conv2d(inner, width, 1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.conv1(x)
        low = functional.max_pool2d(self.conv2(reduced), kernel_size=7, stride=3)
        low = self.conv3_(self.relu(self.conv3(self.relu(self.conv_max(low)))))
        wide = functional.interpolate(low, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.conv4(wide + self.conv_f(reduced)))


class ReducedESA(nn.Module):
    """ESA without its pooled branch's first and last convolutions and activations.

    "Residual Local Feature Network for Efficient Super-Resolution", Kong et al., 2022,
    https://arxiv.org/abs/2205.07514; original code https://github.com/bytedance/RLFN (Apache-2.0), whose
    submodule names are kept. Deviations: none.

    Args:
        inner: Channels of the attention branch; RLFN uses 16 at all widths.
    """

    size_requirements = SizeRequirements(minimum=ESA_MINIMUM_SIZE)

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, inner, 1)
        self.conv_f = nn.Conv2d(inner, inner, 1)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=2)
        self.conv3 = convolution3x3(inner, inner)
        self.conv4 = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.conv1(x)
        low = self.conv3(functional.max_pool2d(self.conv2(reduced), kernel_size=7, stride=3))
        wide = functional.interpolate(low, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.conv4(wide + self.conv_f(reduced)))


class CCA(nn.Module):
    """Contrast-aware channel attention: a gate per channel from its mean plus its standard deviation.

    "Lightweight Image Super-Resolution with Information Multi-distillation Network", Hui et al., ACM MM 2019,
    https://arxiv.org/abs/1909.11856; original code https://github.com/Zheng222/IMDN (no licence file), whose
    submodule names are kept. Deviations: at least 4 channels inside, where width // 16 would be fewer; the
    standard deviation is at least 1e-6, so that a constant map has a finite gradient.
    """

    def __init__(self, width: int):
        super().__init__()
        inner = max(4, width // 16)
        self.conv_du = nn.Sequential(
            nn.Conv2d(width, inner, 1), nn.ReLU(), nn.Conv2d(inner, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        variance = (x - mean).square().mean((2, 3), keepdim=True)
        return x * self.conv_du(variance.clamp_min(1e-12).sqrt() + mean)


class PixelAttention(nn.Module):
    """x times the sigmoid of its own 1x1 convolution: a gate per channel and pixel.

    "Efficient Image Super-Resolution Using Pixel Attention", Zhao et al., 2020,
    https://arxiv.org/abs/2010.01073; original code https://github.com/zhaohengyuan1/PAN (no licence file).
    Deviations: none.
    """

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(x))


class CEA(nn.Module):
    """Cost-efficient attention: x times the sigmoid of its own 1x1 and depthwise 5x5 convolution.

    "Ultra Lightweight Image Super-Resolution with Multi-Attention Layers", Muqeet et al., 2020,
    https://arxiv.org/abs/2008.12912; original code https://github.com/AbdulMoqeet/MAFFSRN (no licence file).
    Deviations: none.
    """

    def __init__(self, width: int):
        super().__init__()
        self.pointwise = nn.Conv2d(width, width, 1)
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)

    def gate(self, x: Tensor) -> Tensor:
        """What multiplies ``x``, in (0, 1)."""
        return torch.sigmoid(self.depthwise(self.pointwise(x)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class SE(nn.Module):
    """Squeeze and excitation: (N, width, H, W) times a gate per channel, from the channels' means.

    In the form of MobileNetV3: "Searching for MobileNetV3", Howard et al., ICCV 2019,
    https://arxiv.org/abs/1905.02244; original code https://github.com/tensorflow/models (Apache-2.0). The
    hidden width is a quarter, rounded to a multiple of 8 (at least 8); the gate is a hard sigmoid.
    Deviations: none.
    """

    def __init__(self, width: int):
        super().__init__()
        inner = _multiple_of_8(width / 4)
        self.reduce = nn.Conv2d(width, inner, 1)
        self.relu = nn.ReLU()
        self.expand = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return x * functional.hardsigmoid(self.expand(self.relu(self.reduce(mean))))


def _multiple_of_8(width: float) -> int:
    """The nearest multiple of 8 that isn't more than a tenth below, as MobileNets round widths."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8


# Called late, so that the order of the classes in this file doesn't matter.
_GATES: dict[str, Callable[[int], nn.Module]] = {
    "esa": lambda width: ESA(width, max(1, width // 4)),
    "cca": lambda width: CCA(width),
    "cea": lambda width: CEA(width),
    "pixel": lambda width: PixelAttention(width),
    "se": lambda width: SE(width),
}
ATTENTION_NAMES = tuple(_GATES)


def make_attention(name: str, width: int) -> nn.Module:
    """A new gate, (N, width, H, W) to the same; ``esa`` needs maps of at least 15x15, and says so.

    Args:
        name: One of ``ATTENTION_NAMES``.

    Raises: UnknownNameError: for another name.
    """
    if name not in _GATES:
        raise UnknownNameError("attention", name, list(_GATES))
    return _GATES[name](width)


def optional_attention(name: str, width: int) -> nn.Module:
    """As ``make_attention``; ``none`` passes its input.

    Raises: UnknownNameError: for another name.
    """
    if name not in ("none", *_GATES):
        raise UnknownNameError("attention", name, ["none", *_GATES])
    return nn.Identity() if name == "none" else make_attention(name, width)

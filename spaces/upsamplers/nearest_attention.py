"""U-PA: nearest-neighbour up-sampling with convolutions and pixel attention.

"Efficient Image Super-Resolution Using Pixel Attention", Zhao et al., 2020,
https://arxiv.org/abs/2010.01073; original code https://github.com/zhaohengyuan1/PAN (no licence file).

Deviations: the inner width is 3/5 of the trunk's (PAN: 24 of 40) unless it is given.
"""

from __future__ import annotations

from torch import Tensor, nn

from spaces.layers.activations import activation as make_activation
from spaces.layers.attention import PixelAttention
from spaces.upsamplers import UPSAMPLERS, stages


class _Stage(nn.Module):
    def __init__(self, in_channels: int, width: int, factor: int, activation: str):
        super().__init__()
        self.enlarge = nn.Upsample(scale_factor=float(factor), mode="nearest")
        self.upconv = nn.Conv2d(in_channels, width, 3, padding=1)
        self.att = PixelAttention(width)
        self.act1 = make_activation(activation, paper="lrelu0.2")
        self.hr_conv = nn.Conv2d(width, width, 3, padding=1)
        self.act2 = make_activation(activation, paper="lrelu0.2")

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.att(self.upconv(self.enlarge(x))))
        return self.act2(self.hr_conv(x))


@UPSAMPLERS.add("nearest_attention")
class NearestAttention(nn.Module):
    """Steps of nearest up-sampling, convolution, pixel attention and convolution (PAN's U-PA).

    Args:
        inner: Channels of the steps; 0 for 3/5 of the width.
    """

    def __init__(
        self, width: int, out_channels: int, scale: int, *, activation: str = "paper", inner: int = 0
    ):
        super().__init__()
        inner = inner or max(1, 3 * width // 5)
        steps: list[nn.Module] = []
        channels = width
        for factor in stages(scale):
            steps.append(_Stage(channels, inner, factor, activation))
            channels = inner
        self.steps = nn.Sequential(*steps)
        self.conv_last = nn.Conv2d(channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_last(self.steps(x))

"""Sub-pixel convolution, in one step or in steps.

"Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
Network", Shi et al., CVPR 2016, https://arxiv.org/abs/1609.05158. One step as in RFDN, two steps as in
MSRResNet (AIM 2020 baseline, https://github.com/znsc/MSRResNet). A second 3x3 convolution before the shuffle as
in LatticeNet (https://github.com/ymff0592/super-resolution); a depthwise and a 1x1 convolution as in SPANV2
(https://github.com/Amazingren/NTIRE2026_ESR, MIT).

Deviations: at scales 2 and 3 the stepwise form has a single step.
"""

from __future__ import annotations

from torch import Tensor, nn

from spaces.layers.activations import activation as make_activation
from spaces.upsamplers import UPSAMPLERS, stages


@UPSAMPLERS.add("pixelshuffle")
class PixelShuffle(nn.Module):
    """One 3x3 convolution to scale^2 times the output's channels, then pixel shuffle.

    Args:
        convolutions: 3x3 convolutions before the shuffle; all but the last keep the width, without activations.
        separable: The last one is a depthwise 3x3 and a 1x1 convolution instead (SPANV2).
        bias: The convolutions have biases.
    """

    def __init__(
        self,
        width: int,
        out_channels: int,
        scale: int,
        *,
        activation: str = "paper",
        convolutions: int = 1,
        separable: bool = False,
        bias: bool = True,
    ):
        super().__init__()
        stages(scale)
        before = [nn.Conv2d(width, width, 3, padding=1, bias=bias) for _ in range(convolutions - 1)]
        if separable:
            before.append(nn.Conv2d(width, width, 3, padding=1, groups=width, bias=bias))
        side = 1 if separable else 3
        self.before = nn.Sequential(*before)
        self.conv = nn.Conv2d(width, out_channels * scale**2, side, padding=side // 2, bias=bias)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.conv(self.before(x)))


@UPSAMPLERS.add("pixelshuffle_steps")
class PixelShuffleSteps(nn.Module):
    """Steps of 3x3 convolution, pixel shuffle and LeakyReLU, then two 3x3 convolutions (MSRResNet)."""

    def __init__(self, width: int, out_channels: int, scale: int, *, activation: str = "paper"):
        super().__init__()
        layers: list[nn.Module] = []
        for factor in stages(scale):
            layers.append(nn.Conv2d(width, width * factor**2, 3, padding=1))
            layers.append(nn.PixelShuffle(factor))
            layers.append(make_activation(activation, paper="lrelu0.1"))
        self.steps = nn.Sequential(*layers)
        self.hr_conv = nn.Conv2d(width, width, 3, padding=1)
        self.act = make_activation(activation, paper="lrelu0.1")
        self.conv_last = nn.Conv2d(width, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_last(self.act(self.hr_conv(self.steps(x))))

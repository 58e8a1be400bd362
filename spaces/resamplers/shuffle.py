"""Resampling by moving pixels to channels and back, with 1x1 convolutions.

"Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
Network", Shi et al., CVPR 2016, https://arxiv.org/abs/1609.05158, whose shuffle is used in both directions.

Deviations: the convolution is 1x1, on the smaller maps both ways: the cheapest resampling that is learned.
"""

from __future__ import annotations

from torch import Tensor, nn

from spaces.resamplers import DOWNS, EVEN, UPS


@DOWNS.add("unshuffle")
class Unshuffle(nn.Module):
    """Each 2x2 cell becomes channels, then a 1x1 convolution."""

    size_requirements = EVEN

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(2)
        self.conv = nn.Conv2d(4 * in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.unshuffle(x))


@UPS.add("pixelshuffle")
class Shuffle(nn.Module):
    """A 1x1 convolution, then four channels become each 2x2 cell; without ``bias`` it is NAFNet's."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4 * out_channels, 1, bias=bias)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.conv(x))

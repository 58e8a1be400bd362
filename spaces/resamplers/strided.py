"""Learned resampling in one convolution: strided down, transposed up.

As in "HINet: Half Instance Normalization Network for Image Restoration", Chen et al., CVPR Workshops 2021,
https://arxiv.org/abs/2105.06086; original code https://github.com/megvii-model/HINet (MIT).

The 2x2 convolution is that of "Simple Baselines for Image Restoration", Chen et al., ECCV 2022,
https://arxiv.org/abs/2204.04676.

Deviations: none; where the blocks keep their width, the channels may change here.
"""

from __future__ import annotations

from torch import Tensor, nn

from spaces.resamplers import DOWNS, EVEN, UPS


@DOWNS.add("strided")
class Strided(nn.Module):
    """One 4x4 convolution of stride 2 without bias (HINet)."""

    size_requirements = EVEN

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


@DOWNS.add("strided_2x2")
class Strided2x2(nn.Module):
    """One 2x2 convolution of stride 2 (NAFNet)."""

    size_requirements = EVEN

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


@UPS.add("transposed")
class Transposed(nn.Module):
    """One 2x2 transposed convolution of stride 2 (U-Net, HINet)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.deconv(x)

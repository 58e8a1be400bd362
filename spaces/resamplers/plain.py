"""Resampling without weights, and a convolution for the channels.

Max pooling as in "U-Net: Convolutional Networks for Biomedical Image Segmentation", Ronneberger et al., 2015,
https://arxiv.org/abs/1505.04597; nearest-neighbour enlargement and a convolution in place of a transposed one as
in "Deconvolution and Checkerboard Artifacts", Odena et al., 2016, https://distill.pub/2016/deconv-checkerboard/.

Deviations: a 1x1 convolution follows the pooling, because a level's blocks may keep their width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from spaces.resamplers import DOWNS, EVEN, UPS


@DOWNS.add("maxpool")
class MaxPool(nn.Module):
    """The largest of each 2x2 cell, then a 1x1 convolution (U-Net)."""

    size_requirements = EVEN

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.max_pool2d(x, 2))


@UPS.add("nearest")
class Nearest(nn.Module):
    """Each pixel repeated 2x2, then a 3x3 convolution: free of checkerboard patterns."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))

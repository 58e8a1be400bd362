"""Resampling by the Haar wavelet: nothing is lost on the way down.

"Multi-level Wavelet-CNN for Image Restoration", Liu et al., CVPR Workshops 2018,
https://arxiv.org/abs/1805.07071; MetaISP (IJCAI 2024) joins the transform to a 3x3 convolution, too.

Deviations: MetaISP's text doesn't say on which side of the transform its convolution is; here it is on the
smaller maps on both ways, so that it sees all bands and costs a quarter.
"""

from __future__ import annotations

from torch import Tensor, nn

from spaces.layers.haar import dwt, iwt
from spaces.resamplers import DOWNS, EVEN, UPS


@DOWNS.add("haar")
class HaarDown(nn.Module):
    """Haar transform, then a 3x3 convolution of the four bands (MWCNN, MetaISP)."""

    size_requirements = EVEN

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(4 * in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(dwt(x))


@UPS.add("haar")
class HaarUp(nn.Module):
    """A 3x3 convolution to four bands, then the inverse Haar transform (MWCNN, MetaISP)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4 * out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return iwt(self.conv(x))

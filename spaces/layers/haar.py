"""The Haar wavelet transform of maps, which halves their size, and its inverse.

"Multi-level Wavelet-CNN for Image Restoration", Liu et al., CVPR Workshops 2018,
https://arxiv.org/abs/1805.07071; code of its second version https://github.com/lpj-github-io/MWCNNv2.

Deviations: none in what is computed; pixel (un)shuffle and sums take the place of strided assignments, so
that both directions export and run on any device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def dwt(x: Tensor) -> Tensor:
    """The orthonormal Haar transform of (N, C, H, W) as (N, 4C, H/2, W/2), for even H and W.

    Channels are grouped by band: C of the average, then C each of the differences of columns, of rows, and of
    both (LL, HL, LH, HH).
    """
    cells = functional.pixel_unshuffle(x, 2).unflatten(1, (x.shape[1], 4)) / 2
    a, c, b, d = cells.unbind(2)  # even row: a, c; odd row: b, d
    return torch.cat((a + b + c + d, c + d - a - b, b + d - a - c, a + d - b - c), dim=1)


def iwt(x: Tensor) -> Tensor:
    """Inverse of ``dwt``: (N, 4C, H, W) as (N, C, 2H, 2W)."""
    ll, hl, lh, hh = (x / 2).chunk(4, dim=1)
    a, b = ll - hl - lh + hh, ll - hl + lh - hh
    c, d = ll + hl - lh - hh, ll + hl + lh + hh
    return functional.pixel_shuffle(torch.stack((a, c, b, d), dim=2).flatten(1, 2), 2)

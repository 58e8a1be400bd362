"""Normalisation layers that torch has in another layout."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPSILON = 1e-6


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel of (N, width, H, W), affine.

    Args:
        flat: Scale and shift have the shape (width,), as in NAFNet's checkpoints, else (width, 1, 1).
    """

    def __init__(self, width: int, *, flat: bool = False):
        super().__init__()
        shape = (width,) if flat else (width, 1, 1)
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape as ``x``."""
        centred = x - x.mean(dim=1, keepdim=True)
        variance = centred.square().mean(dim=1, keepdim=True)
        weight, bias = self.weight.reshape(-1, 1, 1), self.bias.reshape(-1, 1, 1)
        return centred * torch.rsqrt(variance + EPSILON) * weight + bias

"""Convolutions whose weights are a direction times a length per output channel.

"Weight Normalization: A Simple Reparameterization to Accelerate Training of Deep Neural Networks", Salimans and
Kingma, 2016, https://arxiv.org/abs/1602.07868. Deviations: none; as in torch's own form, the length starts as the
norm of the initial weight, so the convolution starts as the plain one. Both are stored and counted.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class WeightNormConv2d(nn.Conv2d):
    """A size-keeping convolution of odd kernel with ``weight_g`` (out, 1, 1, 1) and ``weight_v`` (out, in, k, k)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int):
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2)
        direction = self.weight
        del self.weight
        self.weight_g = nn.Parameter(_length(direction.detach()))
        self.weight_v = direction

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight_v * (self.weight_g / _length(self.weight_v))
        return functional.conv2d(x, weight, self.bias, padding=self.padding)


def _length(weight: Tensor) -> Tensor:
    # Sparse training brings channels to zero; clamped before the root, whose slope at 0 is infinite.
    return weight.square().sum((1, 2, 3), keepdim=True).clamp_min(1e-24).sqrt()

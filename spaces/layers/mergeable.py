"""The base of convolutions that train in a richer form and are deployed as one plain convolution."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional


class MergeableConvolution(nn.Module):
    """A size-keeping convolution (N, in_channels, H, W) to (N, out_channels, H, W) with a single-kernel form.

    Args:
        kernel: Side of the kernel in pixels, odd.
        groups, bias: As of ``nn.Conv2d``.

    Raises: ValueError: for an even kernel.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, *, groups: int = 1, bias: bool = True
    ):
        super().__init__()
        check_odd(kernel)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel, self.groups, self.biased = kernel, groups, bias

    @property
    @abstractmethod
    def form(self) -> str:
        """As ``convert`` takes it."""

    @abstractmethod
    def merged_tensors(self) -> tuple[Tensor, Tensor | None]:
        """The one kernel (out_channels, in_channels / groups, kernel, kernel) and bias (out_channels,)."""

    @abstractmethod
    def take(self, weight: Tensor, bias: Tensor | None) -> None:
        """Become what a plain convolution with this kernel and bias is; the rest of the form starts at 0."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.merged_tensors()
        return functional.conv2d(x, weight, bias, padding=self.kernel // 2, groups=self.groups)

    @torch.no_grad()
    def merged(self) -> nn.Conv2d:
        """A plain convolution that does what this one does in evaluation mode; also on the meta device."""
        weight, bias = self.merged_tensors()
        plain = nn.utils.skip_init(
            nn.Conv2d,
            self.in_channels,
            self.out_channels,
            self.kernel,
            padding=self.kernel // 2,
            groups=self.groups,
            bias=bias is not None,
            device=weight.device,
            dtype=weight.dtype,
        )
        plain.weight.copy_(weight)
        if bias is not None:
            plain.bias.copy_(bias)
        plain.requires_grad_(any(p.requires_grad for p in self.parameters()))
        return plain.train(self.training)


def check_odd(kernel: int) -> None:
    """Nothing, if a kernel of this side keeps the size.

    Raises: ValueError: else.
    """
    if kernel % 2 == 0:
        raise ValueError(f"expected an odd kernel, which keeps the size, got {kernel}")

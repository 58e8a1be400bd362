"""Swift parameter-free attention block (SPAB) and its form of 2026.

"Swift Parameter-free Attention Network for Efficient Super-Resolution", Wan et al., CVPR Workshops 2024,
https://arxiv.org/abs/2311.12770; original code https://github.com/hongyuanyu/SPAN (Apache-2.0), and
https://github.com/Amazingren/NTIRE2026_ESR (MIT) for SPANV2, whose gate is a learned 1x1 convolution.

Deviations: none; the 3x3 convolutions are plain unless a training form is asked for (the original trains with
``conv3xc`` and publishes the merged kernels).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation
from spaces.layers.convolutions import make_convolution


class _AttendedConvolutions(nn.Module):
    """3x3 convolutions with activations between; what they make is added to the input and gates the sum."""

    has_inner = True  # ``forward`` hands it out

    def __init__(self, width: int, convolutions: int, bias: bool, form: str, act: nn.Module):
        super().__init__()
        layers = (make_convolution(form, width, width, bias=bias) for _ in range(convolutions))
        self.convs = nn.ModuleList(layers)
        self.act = act

    def gate(self, features: Tensor) -> Tensor:
        """What multiplies the sum."""
        raise NotImplementedError

    def forward(self, x: Tensor, inner: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """(N, width, H, W) to the same; with ``inner`` also the first convolution's activated output."""
        first, *others = self.convs
        features = hidden = self.act(first(x)) if others else first(x)
        for number, convolution in enumerate(others, 2):
            features = convolution(features)
            if number < len(self.convs):
                features = self.act(features)
        out = (features + x) * self.gate(features)
        return (out, hidden) if inner else out


@BLOCKS.add("spab")
class SPAB(_AttendedConvolutions):
    """Three 3x3 convolutions, added to the input and gated by themselves without parameters (SPAN).

    Args:
        convolutions: How many; team ERRN's network of NTIRE 2026 has four.
        convolution: Form that they train in; once merged, all cost the same.
    """

    def __init__(
        self, width: int, *, activation: str = "paper", convolutions: int = 3, convolution: str = "plain"
    ):
        act = make_activation(activation, paper="silu")
        super().__init__(width, convolutions, True, convolution, act)

    def gate(self, features: Tensor) -> Tensor:
        return torch.sigmoid(features) - 0.5


@BLOCKS.add("spab_guided")
class GuidedSPAB(_AttendedConvolutions):
    """Three 3x3 convolutions without biases, added to the input and gated by a 1x1 convolution (SPANV2).

    Args:
        convolutions: How many.
        convolution: Form that they train in; once merged, all cost the same.
    """

    def __init__(
        self, width: int, *, activation: str = "paper", convolutions: int = 3, convolution: str = "plain"
    ):
        act = make_activation(activation, paper="relu")
        super().__init__(width, convolutions, False, convolution, act)
        self.guidance = nn.Conv2d(width, width, 1)

    def gate(self, features: Tensor) -> Tensor:
        return self.guidance(features)

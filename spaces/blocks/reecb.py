"""Residual block of convolutions with an activation after each, the last one included (REECB).

"The Tenth NTIRE 2025 Efficient Super-Resolution Challenge Report", Ren et al., 2025,
https://arxiv.org/abs/2504.10686, teams ShannonLab (TSR) and 58 (TSSR); original code
https://github.com/Amazingren/NTIRE2025_ESR (MIT).

Deviations: none in the deployed form, which is all that is published; other convolutions to train with are choices
of ours.
"""

from __future__ import annotations

from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation
from spaces.layers.convolutions import make_convolution


@BLOCKS.add("reecb")
class REECB(nn.Module):
    """3x3 convolutions with an activation after each, added to the input (TSR).

    Args:
        convolutions: How many.
        convolution: Form that they train in; once merged, all cost the same.
    """

    def __init__(
        self, width: int, *, activation: str = "paper", convolutions: int = 4, convolution: str = "plain"
    ):
        super().__init__()
        self.convs = nn.ModuleList(make_convolution(convolution, width, width) for _ in range(convolutions))
        self.act = make_activation(activation, paper="silu")

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for convolution in self.convs:
            features = self.act(convolution(features))
        return x + features

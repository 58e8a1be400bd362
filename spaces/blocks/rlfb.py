"""Residual local feature block (RLFB).

"Residual Local Feature Network for Efficient Super-Resolution", Kong et al., 2022,
https://arxiv.org/abs/2205.07514; original code https://github.com/bytedance/RLFN (Apache-2.0), whose
submodule names are kept. Won the main track of NTIRE 2022's challenge on efficient super-resolution.

Deviations: none. The pruned form of the challenge has other widths inside a block than outside.
"""

from __future__ import annotations

from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation
from spaces.layers.attention import ReducedESA


@BLOCKS.add("rlfb")
class RLFB(nn.Module):
    """Three 3x3 convolutions with a skip, a 1x1 convolution and a reduced ESA (RLFN).

    Args:
        middle: Channels between the 3x3 convolutions; 0 for the width.
        attention: Channels inside the reduced ESA.
        bias: The convolutions outside the attention have biases; DIPNet's slim form has none.
    """

    def __init__(
        self,
        width: int,
        *,
        activation: str = "paper",
        middle: int = 0,
        attention: int = 16,
        bias: bool = True,
    ):
        super().__init__()
        middle = middle or width
        self.c1_r = nn.Conv2d(width, middle, 3, padding=1, bias=bias)
        self.c2_r = nn.Conv2d(middle, middle, 3, padding=1, bias=bias)
        self.c3_r = nn.Conv2d(middle, width, 3, padding=1, bias=bias)
        self.c5 = nn.Conv2d(width, width, 1, bias=bias)
        self.act = make_activation(activation, paper="lrelu0.05")
        self.esa = ReducedESA(width, attention)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for convolution in (self.c1_r, self.c2_r, self.c3_r):
            features = self.act(convolution(features))
        return self.esa(self.c5(features + x))

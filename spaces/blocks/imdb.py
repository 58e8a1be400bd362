"""Information multi-distillation block (IMDB), with and without contrast-aware channel attention.

"Lightweight Image Super-Resolution with Information Multi-distillation Network", Hui et al., ACM MM 2019,
https://arxiv.org/abs/1909.11856; original code https://github.com/Zheng222/IMDN (no licence file), whose
submodule names are kept. Without attention: the form of IMDN's entry to AIM 2019,
https://github.com/cszn/KAIR (MIT), and of FIMDN (AIM 2020, team AiriA_CG), which trains it with asymmetric
convolutions.

Deviations: a quarter of the channels is distilled, rounded down, unless their number is given.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation
from spaces.layers.attention import CCA
from spaces.layers.convolutions import make_convolution
from spaces.registry import UnknownNameError

_ATTENTIONS: dict[str, type[nn.Module] | None] = {"cca": CCA, "none": None}


@BLOCKS.add("imdb")
class IMDB(nn.Module):
    """Four convolutions that each split some channels off, then attention and fusion, with a skip (IMDN).

    Args:
        attention: ``cca``, or ``none`` as in IMDN's AIM 2019 entry.
        distilled: Channels that each step splits off, fewer than the width; 0 for width // 4.
        convolution: Of the 3x3 layers, by its name in ``spaces.layers.convolutions``.
    """

    def __init__(
        self,
        width: int,
        *,
        activation: str = "paper",
        attention: str = "cca",
        distilled: int = 0,
        convolution: str = "plain",
    ):
        super().__init__()
        distilled = distilled or width // 4
        if distilled >= width:
            raise ValueError(
                f"option 'distilled' of 'imdb' is less than the width, got {distilled} at a width of {width}"
            )
        if attention not in _ATTENTIONS:
            raise UnknownNameError("attention of 'imdb'", attention, list(_ATTENTIONS))
        remaining = width - distilled
        self.c1 = make_convolution(convolution, width, width)
        self.c2 = make_convolution(convolution, remaining, width)
        self.c3 = make_convolution(convolution, remaining, width)
        self.c4 = make_convolution(convolution, remaining, distilled)
        self.act = make_activation(activation, paper="lrelu0.05")
        gate = _ATTENTIONS[attention]
        self.cca = nn.Identity() if gate is None else gate(4 * distilled)
        self.c5 = nn.Conv2d(4 * distilled, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        distilled, rest = [], x
        for convolution, following in ((self.c1, self.c2), (self.c2, self.c3), (self.c3, self.c4)):
            features = self.act(convolution(rest))
            goes_on = cast(nn.Conv2d, following).in_channels
            split, rest = torch.split(features, [features.shape[1] - goes_on, goes_on], dim=1)
            distilled.append(split)
        distilled.append(self.c4(rest))
        return self.c5(self.cca(torch.cat(distilled, dim=1))) + x

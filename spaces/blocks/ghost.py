"""Ghost block: half of the features from a convolution, half from a cheap depthwise one.

"GhostNet: More Features from Cheap Operations", Han et al., CVPR 2020, https://arxiv.org/abs/1911.11907;
original code https://github.com/huawei-noah/ghostnet (Apache-2.0). In super-resolution: team 404NotFound of
AIM 2020 (https://arxiv.org/abs/2009.06943), residual blocks of ghost convolutions with 1x3 and 3x1 kernels.

Deviations: no batch normalisation (it hurts restoration); the block is residual, two ghost modules with
an activation between; primary convolutions are 3x3 (``ghost``) or 1x3 then 3x1 (``ghost_1x3``), where
GhostNet's are 1x1; an odd width copies the smaller half; the second module is linear, so that the sum can
take both signs. 404NotFound's wiring was not published; theirs may differ.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation


class GhostModule(nn.Module):
    """(N, width, H, W) to the same: a primary convolution and a depthwise 3x3 of its output, concatenated."""

    def __init__(self, width: int, kernel: tuple[int, int], act: nn.Module):
        super().__init__()
        copies = width // 2
        primary = width - copies
        self.primary = nn.Conv2d(width, primary, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
        self.cheap = nn.Conv2d(copies, copies, 3, padding=1, groups=copies)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        primary = self.act(self.primary(x))
        return torch.cat((primary, self.act(self.cheap(primary[:, : self.cheap.in_channels]))), dim=1)


@BLOCKS.add("ghost", asymmetric=False)
@BLOCKS.add("ghost_1x3", asymmetric=True)
class Ghost(nn.Module):
    """Two ghost modules added to the input; with 1x3 and 3x1 primary kernels as ghost_1x3.

    Args:
        asymmetric: The primary kernels are 1x3 and 3x1 instead of 3x3 and 3x3.
    """

    def __init__(self, width: int, *, activation: str = "paper", asymmetric: bool = False):
        super().__init__()
        kernels = ((1, 3), (3, 1)) if asymmetric else ((3, 3), (3, 3))
        self.ghost1 = GhostModule(width, kernels[0], make_activation(activation, paper="relu"))
        self.ghost2 = GhostModule(width, kernels[1], nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.ghost2(self.ghost1(x))

"""One block applied several times in a row with the same weights.

"Image Super-Resolution via Deep Recursive Residual Network" (DRRN), Tai et al., CVPR 2017,
https://openaccess.thecvf.com/content_cvpr_2017/html/Tai_Image_Super-Resolution_via_CVPR_2017_paper.html; original
code https://github.com/tyshiwo/DRRN_CVPR17 (no licence file). Before it DRCN (https://arxiv.org/abs/1511.04491). In
AIM 2020: team InnoPeak_SR (https://arxiv.org/abs/2009.06943), whose wiring was not published.

Deviations: any block may be repeated, and its own skip is the only one: DRRN adds the first input again at each
repetition. No batch normalisation. Each application is charged to MACs and activations, parameters once.
"""

from __future__ import annotations

from torch import Tensor, nn

from spaces.blocks import BLOCKS


@BLOCKS.add("recursive")
class Recursive(nn.Module):
    """One block, applied several times with shared weights (DRRN).

    Args:
        block: The block that is repeated, with its default options; not ``recursive``.
        times: How often it is applied.

    Raises:
        UnknownNameError: for an unknown block.
        ValueError: for a recursive block.
    """

    def __init__(self, width: int, *, activation: str = "paper", block: str = "residual", times: int = 3):
        super().__init__()
        entry = BLOCKS[block]
        if entry.target is Recursive:
            raise ValueError(
                f"'block' of a recursive block is another kind, got '{block}': raise 'times' instead"
            )
        self.block = entry.create(width, activation=activation)
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = self.block(x)
        return x

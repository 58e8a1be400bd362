"""Transposed convolution to the output, as in FSRCNN.

"Accelerating the Super-Resolution Convolutional Neural Network", Dong et al., ECCV 2016,
https://arxiv.org/abs/1608.00367: a single 9x9 transposed convolution whose stride is the scale.

Deviations: none.
"""

from __future__ import annotations

from torch import Tensor, nn

from spaces.upsamplers import UPSAMPLERS, stages

KERNEL = 9


@UPSAMPLERS.add("transposed")
class Transposed(nn.Module):
    """One 9x9 transposed convolution whose stride is the scale (FSRCNN)."""

    def __init__(self, width: int, out_channels: int, scale: int, *, activation: str = "paper"):
        super().__init__()
        stages(scale)
        self.deconv = nn.ConvTranspose2d(
            width, out_channels, KERNEL, stride=scale, padding=KERNEL // 2, output_padding=scale - 1
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.deconv(x)

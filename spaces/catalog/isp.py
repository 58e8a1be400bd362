"""U-Nets from packed RAW to sRGB of twice the size."""

from __future__ import annotations

from functools import partial

from spaces.catalog import NamedSpace, register
from spaces.catalog.unet import unet_space

ISP_BLOCKS = ("mccb_mscb", "mccb", "mscb", "hin", "double_conv", "residual", "ghost", "idle")

register(
    NamedSpace(
        "isp",
        "U-Nets of MetaISP's pairs, its single blocks and cheaper ones, for RAW to sRGB",
        ("isp",),
        partial(
            unet_space,
            blocks=ISP_BLOCKS,
            depths=(1, 2),
            stages=(1,),
            upsamplers=("pixelshuffle", "nearest_attention", "transposed"),
        ),
    )
)

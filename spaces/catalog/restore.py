"""Chains for tasks whose output is as large as the input: the trunk may work at a half of the size.

A quarter (``unshuffles``) takes patches of 60 pixels where a block has ESA, which needs 15.
"""

from __future__ import annotations

from functools import partial

from spaces.catalog import NamedSpace, register
from spaces.catalog.sr import CARD_BLOCKS
from spaces.space import chain_space

register(
    NamedSpace(
        "restore",
        "chains on a pixel-unshuffled input, for denoising, deblurring and deraining",
        ("denoise", "denoise-s15", "denoise-s50", "denoise-signal", "deblur", "derain"),
        partial(
            chain_space,
            blocks=CARD_BLOCKS,
            upsamplers=("pixelshuffle", "transposed"),
            image_skips=("nearest", "none"),
            unshuffles=(1, 2),
        ),
    )
)

"""Chains for super-resolution, and for other tasks that one resolution suits."""

from __future__ import annotations

from functools import partial

from spaces.blocks import BLOCKS
from spaces.catalog import NamedSpace, register
from spaces.layers.attention import ATTENTION_NAMES
from spaces.space import chain_space

CARD_BLOCKS = ("rfdb", "efficient_rfdb", "hin", "mccb", "mscb", "idle", "ghost")
# Beside every registered kind: asymmetric convolutions (FIMDN), kernel bases (UESTC-MediaLab), other shared blocks.
VARIANTS = (
    "imdb(convolution=acb)",
    "residual(convolution=acb)",
    "residual(convolution=basis)",
    "uestc(convolution=basis)",
    "recursive(block=rfdb,times=2)",
    "recursive(block=scpa,times=4)",
)
TASKS = ("sr-x4", "sr-x3", "sr-x2")

register(
    NamedSpace(
        "sr-card",
        "chains of the blocks that the project is known for",
        TASKS,
        partial(chain_space, blocks=CARD_BLOCKS),
    ),
    NamedSpace(
        "sr-all",
        "chains of every registered block, with several activations, gates and forms of convolution",
        TASKS,
        partial(
            chain_space,
            blocks=(*BLOCKS, *VARIANTS),
            activations=("paper", "relu", "silu", "gelu"),
            attentions=("paper", *ATTENTION_NAMES),
            convolutions=("plain", "acb", "basis", "blueprint"),
        ),
    ),
)

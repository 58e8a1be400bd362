"""Chains for super-resolution, and for other tasks that one resolution suits."""

from __future__ import annotations

from functools import partial

from spaces.blocks import BLOCKS
from spaces.catalog import NamedSpace, register
from spaces.space import chain_space

CARD_BLOCKS = ("rfdb", "efficient_rfdb", "hin", "mccb", "mscb", "idle", "ghost")
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
        "chains of every registered block, with several activations",
        TASKS,
        partial(chain_space, blocks=tuple(BLOCKS), activations=("paper", "relu", "silu", "gelu")),
    ),
)

"""The chain topology: head, a chain of blocks, fusion, feature skip, upsampler, image skip.

Torch-free: the description and its decoding from genes. ``spaces.chain_network`` builds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from spaces.architecture import Architecture, Block, Leaf

FUSIONS = ("plain", "concat")
IMAGE_SKIPS = ("none", "nearest", "bilinear")
MINIMUM_WIDTH, MAXIMUM_WIDTH = 4, 4096


@dataclass(frozen=True)
class Chain(Architecture):
    """A chain of blocks between a head and an upsampler.

    Attributes:
        width: Channels of the trunk, from 4 to 4096.
        blocks: The blocks in order, at least one.
        upsampler: How the trunk's features become the output.
        fusion: ``concat``: all blocks' outputs are concatenated and fused by a 1x1 convolution, as in
            RFDN; ``plain``: the last block's output goes on.
        feature_skip: A 3x3 convolution after the trunk, added to the head's features.
        image_skip: What is added to the output: ``none``, or the input enlarged by ``nearest`` or ``bilinear``.
        activation: ``paper``: each part uses its paper's; another name: all parts use that one.
        head_activation: An activation after the head's convolution, as in MSRResNet.
        value_range: The network works on values in [0, value_range]; inputs and outputs stay in [0, 1].
    """

    topology: ClassVar[str] = "chain"
    network_module: ClassVar[str] = "spaces.chain_network"

    width: int
    blocks: tuple[Block, ...]
    upsampler: Block = Block("pixelshuffle")
    fusion: str = "concat"
    feature_skip: bool = True
    image_skip: str = "none"
    activation: str = "paper"
    head_activation: bool = False
    value_range: int = 1

    def __post_init__(self) -> None:
        if self.width < MINIMUM_WIDTH:
            raise ValueError(f"'width' is at least {MINIMUM_WIDTH}, got {self.width}")
        if self.width > MAXIMUM_WIDTH:
            raise ValueError(f"'width' is at most {MAXIMUM_WIDTH}, got {self.width}")
        if not self.blocks:
            raise ValueError("'blocks' holds at least one block, got none")
        if self.value_range < 1:
            raise ValueError(f"'value_range' is at least 1, got {self.value_range}")
        for name, allowed in (("fusion", FUSIONS), ("image_skip", IMAGE_SKIPS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"'{name}' is one of {', '.join(allowed)}, got '{getattr(self, name)}'")

    @property
    def label(self) -> str:
        """A short human name: depth, width, kinds, upsampler, and what differs from the defaults.

        For example ``4x32 rfdb*3 ghost, pixelshuffle, plain, nearest skip``. It isn't unique: the order of
        the blocks, options of blocks and the value range are left out.
        """
        kinds = Counter(block.kind for block in self.blocks)
        counts = " ".join(kind if count == 1 else f"{kind}*{count}" for kind, count in kinds.items())
        unusual = (
            "" if self.fusion == "concat" else self.fusion,
            "" if self.feature_skip else "no feature skip",
            "" if self.image_skip == "none" else f"{self.image_skip} skip",
            "" if self.activation == "paper" else self.activation,
            "head activation" if self.head_activation else "",
        )
        said = [f"{len(self.blocks)}x{self.width} {counts}", self.upsampler.kind, *filter(None, unusual)]
        return ", ".join(said)


def decode(genes: Mapping[str, Leaf]) -> Chain:
    """The chain that the genes describe.

    Genes: ``depth``, ``width``, then either ``block`` (one kind for all positions) or ``block_0``,
    ``block_1``, ... (a kind per position; those at or beyond ``depth`` don't matter), and optionally any
    of ``upsampler``, ``fusion``, ``feature_skip``, ``image_skip``, ``activation``.
    """
    depth = genes["depth"]
    assert isinstance(depth, int)
    kinds = [genes["block"] if "block" in genes else genes[f"block_{i}"] for i in range(depth)]
    options = {n: genes[n] for n in ("fusion", "feature_skip", "image_skip", "activation") if n in genes}
    if "upsampler" in genes:
        options["upsampler"] = Block(str(genes["upsampler"]))  # type: ignore[assignment]
    return Chain(width=genes["width"], blocks=tuple(Block(str(k)) for k in kinds), **options)  # type: ignore[arg-type]

"""The HDR topology: three exposures aligned to the medium one, a trunk of blocks, fusion, reconstruction.

The layout of AHDRNet with what its published successors change as fields. Torch-free: the description and
its decoding from genes. ``spaces.topologies.hdr_network`` builds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from spaces.architecture import Architecture, Block, Leaf
from spaces.registry import UnknownNameError
from spaces.topologies.chain import MAXIMUM_WIDTH, MINIMUM_WIDTH

ALIGNMENTS = ("attention", "none")
CONVOLUTIONS = ("plain", "separable")
FUSIONS = ("concat", "plain")
RECONSTRUCTIONS = ("double", "single")
OUTPUTS = ("sigmoid", "relu", "linear")
MAXIMUM_UNSHUFFLE = 8


@dataclass(frozen=True)
class HdrFusion(Architecture):
    """A network that merges a short, a medium and a long exposure to one HDR image.

    Attributes:
        width: Channels of each frame's features and of the trunk, from 4 to 4096.
        blocks: The trunk's blocks in order, at least one.
        unshuffle: The input is rearranged to 1/unshuffle of its height and width, and the output back, from
            1 (not at all) to 8; input sizes are multiples of it.
        alignment: ``attention``: the short and the long frame's features are gated by what a pair of
            convolutions sees in them and the medium frame's, as in AHDRNet; ``none``: they are only concatenated.
        convolution: The 3x3 convolutions outside the blocks: ``plain``, or ``separable`` (depthwise 3x3, then
            1x1).
        fusion: ``concat``: all blocks' outputs are concatenated and fused by a 1x1 convolution; ``plain``: the
            last block's output goes on. A 3x3 convolution follows either.
        reference_skip: The medium frame's features are added after the fusion.
        reconstruction: ``double``: two 3x3 convolutions, as in AHDRNet; ``single``: one.
        output: What the network ends with: ``sigmoid``, ``relu`` or ``linear`` (nothing).
        image_skip: The medium exposure, mapped, is what the output starts from: the network's last features are
            added to it (for ``sigmoid``, to its logit).
        activation: ``paper``: each part uses its paper's; another name: all parts use that one.
    """

    topology: ClassVar[str] = "hdr"

    width: int
    blocks: tuple[Block, ...]
    unshuffle: int = 1
    alignment: str = "attention"
    convolution: str = "plain"
    fusion: str = "concat"
    reference_skip: bool = True
    reconstruction: str = "double"
    output: str = "sigmoid"
    image_skip: bool = False
    activation: str = "paper"

    def __post_init__(self) -> None:
        if not MINIMUM_WIDTH <= self.width <= MAXIMUM_WIDTH:
            raise ValueError(f"'width' is from {MINIMUM_WIDTH} to {MAXIMUM_WIDTH}, got {self.width}")
        if not self.blocks:
            raise ValueError("'blocks' holds at least one block, got none")
        if not 1 <= self.unshuffle <= MAXIMUM_UNSHUFFLE:
            raise ValueError(f"'unshuffle' is from 1 to {MAXIMUM_UNSHUFFLE}, got {self.unshuffle}")
        for name, known in NAMED_FIELDS.items():
            if getattr(self, name) not in known:
                raise UnknownNameError(name, getattr(self, name), list(known))

    @property
    def label(self) -> str:
        """A short human name: depth, width, kinds, and what differs from the defaults.

        For example ``8x40 efficient_rfdb*8, unshuffle 2, separable``. It isn't unique: the order of the blocks
        and their options are left out.
        """
        kinds = Counter(block.kind for block in self.blocks)
        counts = " ".join(kind if count == 1 else f"{kind}*{count}" for kind, count in kinds.items())
        unusual = (
            "" if self.unshuffle == 1 else f"unshuffle {self.unshuffle}",
            "" if self.alignment == "attention" else "no alignment",
            "" if self.convolution == "plain" else self.convolution,
            "" if self.fusion == "concat" else f"{self.fusion} fusion",
            "" if self.reference_skip else "no reference skip",
            "" if self.reconstruction == "double" else f"{self.reconstruction} reconstruction",
            "" if self.output == "sigmoid" else f"{self.output} output",
            "image skip" if self.image_skip else "",
            "" if self.activation == "paper" else self.activation,
        )
        return ", ".join([f"{len(self.blocks)}x{self.width} {counts}", *filter(None, unusual)])


NAMED_FIELDS = {
    "alignment": ALIGNMENTS,
    "convolution": CONVOLUTIONS,
    "fusion": FUSIONS,
    "reconstruction": RECONSTRUCTIONS,
    "output": OUTPUTS,
}
OPTIONAL_GENES = (*NAMED_FIELDS, "unshuffle", "reference_skip", "image_skip", "activation")


def decode(genes: Mapping[str, Leaf]) -> HdrFusion:
    """The network that the genes describe.

    Genes: ``depth``, ``width``, then either ``block`` (one kind for all positions) or ``block_0``,
    ``block_1``, ... (a kind per position; those at or beyond ``depth`` don't matter), and optionally any
    other field by its name.
    """
    depth = genes["depth"]
    assert isinstance(depth, int)
    kinds = [genes["block"] if "block" in genes else genes[f"block_{i}"] for i in range(depth)]
    given = {name: genes[name] for name in OPTIONAL_GENES if name in genes}
    return HdrFusion(width=genes["width"], blocks=tuple(Block.parse(str(k)) for k in kinds), **given)  # type: ignore[arg-type]

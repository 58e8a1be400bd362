"""The chain topology: head, a chain of blocks, fusion, feature skip, upsampler, image skip.

The trunk may run at a half or a quarter of the input's resolution: "FFDNet: Toward a Fast and Flexible Solution
for CNN-Based Image Denoising", Zhang et al., 2018, https://arxiv.org/abs/1710.04026.

Torch-free: the description and its decoding from genes. ``spaces.topologies.chain_network`` builds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

from spaces.architecture import Architecture, Block, Leaf
from spaces.registry import UnknownNameError

FUSIONS = ("plain", "concat", "backward", "pairs", "select", "stack")
TAPS = ("near", "head", "first", "last", "inner")
IMAGE_SKIPS = ("none", "nearest", "bilinear", "bicubic")
UNSHUFFLES = (1, 2, 4)
MINIMUM_WIDTH, MAXIMUM_WIDTH = 4, 4096


_ALLOWED: dict[str, tuple[Leaf, ...]] = {
    "fusion": FUSIONS,
    "image_skip": IMAGE_SKIPS,
    "unshuffle": UNSHUFFLES,
    "head_layers": (1, 2, 3),
    "trunk_kernel": (1, 3),
}


def _quoted(value: Leaf) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


@dataclass(frozen=True)
class Chain(Architecture):
    """A chain of blocks between a head and an upsampler.

    Attributes:
        width: Channels of the trunk, from 4 to 4096.
        blocks: The blocks in order, at least one.
        upsampler: How the trunk's features become the output.
        fusion: ``concat``: all blocks' outputs are concatenated and fused by a 1x1 convolution, as in
            RFDN; ``plain``: the last block's output goes on; ``backward``: from the last block to the first,
            half of the channels come from what is fused so far and half from the block before, each by a 1x1
            convolution, as in LatticeNet; ``pairs``: from the third on, a block takes the two outputs before it,
            fused by a 1x1 convolution, and so are the middle block's and the last one's after the trunk, as in EFDN;
            ``select``: the maps that ``taps`` names are concatenated and fused by a 1x1 convolution, as in SPAN;
            ``stack``: they are concatenated and the upsampler takes them all, as in SPANV2.
        feature_skip: A convolution after the trunk, added to the head's features; with ``select`` and ``stack`` its
            output is the map ``last`` and nothing is added.
        image_skip: What is added to the output: ``none``, or the input enlarged by ``nearest``, ``bilinear`` or
            ``bicubic`` (torch's, a = -0.75). Only for tasks with as many input as output channels.
        activation: ``paper``: each part uses its paper's; another name: all parts use that one.
        head_activation: An activation after the head's convolution, as in MSRResNet.
        value_range: The network works on values in [0, value_range]; inputs and outputs stay in [0, 1].
        attention: ``paper``: each block keeps its paper's; another name puts that gate after every block.
        unshuffle: 1, 2 or 4: the head takes the input's pixels in groups of unshuffle^2 as channels, the trunk
            runs at 1/unshuffle of the height and width, the upsampler enlarges by that much more, as in FFDNet.
        convolution: Form of the head's and the trunk's 3x3 convolutions: ``plain``; ``weight_norm`` as in
            MAFFSRN; ``blueprint``: 1x1 then depthwise, the head on four copies of the input, as in BSRN;
            ``blueprint_bias``: with a bias after the 1x1 too, as in BSRN-S; or a form of
            ``spaces.layers.convolutions``.
        head_layers: 3x3 convolutions in the head, 1 to 3; two, without an activation between, as in LatticeNet.
        trunk_convolution: The feature skip has its convolution; without it the trunk's output is added as it is.
        mean_shift: 1x1 convolutions on input and output that start by subtracting and adding back the mean
            colour of DIV2K, as in EDSR; for RGB only.
        head_between: An activation between the head's convolutions, as in SPANF, whose first block is such a head.
        trunk_kernel: Side of the feature skip's convolution, 3 or 1.
        bias: The head's, the feature skip's and the fusion's convolutions have biases.
        taps: Maps for ``select`` and ``stack``, in order: ``head``, ``first`` and ``last`` are the outputs of the head,
            the first and the last block; ``inner`` is the last block's first map inside, where its kind has one;
            ``near`` is a learned 3x3 convolution of each input channel on its own that starts by copying the pixel.
        tail_width: Channels that ``select`` gives the upsampler; 0 for the width.
        centred: The input is (image - mean colour of DIV2K) * value_range, without parameters, and the output is in
            [0, 1] as it is, as in SPAN; for RGB input only.
    """

    topology: ClassVar[str] = "chain"

    width: int
    blocks: tuple[Block, ...]
    upsampler: Block = Block("pixelshuffle")
    fusion: str = "concat"
    feature_skip: bool = True
    image_skip: str = "none"
    activation: str = "paper"
    head_activation: bool = False
    value_range: int = 1
    attention: str = "paper"
    unshuffle: int = 1
    convolution: str = "plain"
    head_layers: int = 1
    trunk_convolution: bool = True
    mean_shift: bool = False
    head_between: bool = False
    trunk_kernel: int = 3
    bias: bool = True
    taps: tuple[str, ...] = ("head", "first", "last")
    tail_width: int = 0
    centred: bool = False

    def __post_init__(self) -> None:
        if self.width < MINIMUM_WIDTH:
            raise ValueError(f"'width' is at least {MINIMUM_WIDTH}, got {self.width}")
        if self.width > MAXIMUM_WIDTH:
            raise ValueError(f"'width' is at most {MAXIMUM_WIDTH}, got {self.width}")
        if not self.blocks:
            raise ValueError("'blocks' holds at least one block, got none")
        if self.value_range < 1:
            raise ValueError(f"'value_range' is at least 1, got {self.value_range}")
        for name, allowed in _ALLOWED.items():
            if getattr(self, name) not in allowed:
                listed = ", ".join(map(str, allowed))
                raise ValueError(f"'{name}' is one of {listed}, got {_quoted(getattr(self, name))}")
        if not self.trunk_convolution and not self.feature_skip:
            raise ValueError(
                "'trunk_convolution' false needs 'feature_skip' true: the convolution is part of it"
            )
        self._check_taps()

    def _check_taps(self) -> None:
        for tap in self.taps:
            if tap not in TAPS:
                raise UnknownNameError("map in 'taps'", tap, list(TAPS))
        if not self.taps or len(set(self.taps)) != len(self.taps):
            raise ValueError(f"'taps' names at least one map, and none twice, got {list(self.taps)}")
        if not 0 <= self.tail_width <= MAXIMUM_WIDTH:
            raise ValueError(f"'tail_width' is from 0 to {MAXIMUM_WIDTH}, got {self.tail_width}")
        if self.tail_width and self.fusion != "select":
            raise ValueError(f"'tail_width' needs 'fusion' select, got '{self.fusion}'")
        if self.centred and self.mean_shift:
            raise ValueError("'centred' and 'mean_shift' exclude each other: both subtract the mean colour")

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
            "" if self.attention == "paper" else f"{self.attention} gates",
            "" if self.unshuffle == 1 else f"unshuffle {self.unshuffle}",
            "" if self.convolution == "plain" else self.convolution.replace("_", " "),
            ("", "double head", "triple head")[self.head_layers - 1],
            "activations in the head" if self.head_between else "",
            "" if self.taps == ("head", "first", "last") else f"takes {' '.join(self.taps)}",
            "" if self.trunk_convolution else "no trunk convolution",
            "mean shift" if self.mean_shift else "",
            "" if self.trunk_kernel == 3 else "1x1 trunk convolution",
            "" if self.bias else "no bias",
            f"tail {self.tail_width}" if self.tail_width else "",
            "centred" if self.centred else "",
        )
        said = [f"{len(self.blocks)}x{self.width} {counts}", self.upsampler.kind, *filter(None, unusual)]
        return ", ".join(said)


_WIRING = ("fusion", "feature_skip", "image_skip", "activation", "attention", "unshuffle", "convolution")


def decode(genes: Mapping[str, Leaf]) -> Chain:
    """The chain that the genes describe.

    Genes: ``depth``, ``width``, then either ``block`` (one kind for all positions) or ``block_0``,
    ``block_1``, ... (a kind per position; those at or beyond ``depth`` don't matter), and optionally any
    of ``upsampler``, ``fusion``, ``feature_skip``, ``image_skip``, ``activation``, ``attention``, ``unshuffle``,
    ``convolution``; what no gene says is as in the published network that ``base`` names, if there is one.
    """
    depth = genes["depth"]
    assert isinstance(depth, int)
    kinds = [genes["block"] if "block" in genes else genes[f"block_{i}"] for i in range(depth)]
    options = {name: genes[name] for name in _WIRING if name in genes}
    if "upsampler" in genes:
        options["upsampler"] = Block.parse(str(genes["upsampler"]))  # type: ignore[assignment]
    blocks = tuple(Block.parse(str(k)) for k in kinds)
    if "base" in genes:
        from spaces.baselines import baseline  # which describes its networks by this module

        start = baseline(str(genes["base"]))
        assert isinstance(start, Chain)
        return replace(start, width=genes["width"], blocks=blocks, **options)  # type: ignore[arg-type]
    return Chain(width=genes["width"], blocks=blocks, **options)  # type: ignore[arg-type]


def encode(chain: Chain, offered: Mapping[str, Sequence[Leaf]]) -> dict[str, Leaf]:
    """The genes of a chain, or of the one that a space has nearest to it.

    Blocks are the chain's; of width and depth it is the nearest value that is offered, and of the rest of the wiring
    the first one where the chain's own isn't. What no gene says is the space's.

    Args:
        offered: Values of each gene.

    Raises: ValueError: if a kind of block isn't offered.
    """
    sizes = {"width": chain.width, "depth": len(chain.blocks)}
    found: dict[str, Leaf] = {}
    for name, values in offered.items():
        if name in sizes:
            near = cast(Sequence[int], values)
            found[name] = min(near, key=lambda value: (abs(value - sizes[name]), value))
        elif name.startswith("block"):
            place = int(name.partition("_")[2] or 0)
            found[name] = str(chain.blocks[min(place, len(chain.blocks) - 1)])
            if found[name] not in values:
                raise ValueError(f"no block '{found[name]}' is offered, only {', '.join(map(str, values))}")
        elif name == "upsampler":
            kinds = {Block.parse(str(value)).kind: value for value in values}
            own = str(chain.upsampler)
            found[name] = own if own in values else kinds.get(chain.upsampler.kind, values[0])
        else:
            found[name] = next((value for value in values if value == getattr(chain, name, None)), values[0])
    return found

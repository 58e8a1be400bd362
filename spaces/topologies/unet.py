"""The U-Net topology: levels of blocks at halved sizes, skips between equal sizes, one or two stages.

Torch-free: the description and its decoding from genes. ``spaces.topologies.unet_network`` builds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from spaces.architecture import Architecture, Block, Leaf
from spaces.topologies.chain import MAXIMUM_WIDTH, MINIMUM_WIDTH

SKIPS = ("concat", "add")
ENTRIES = ("conv", "block")
MINIMUM_LEVELS, MAXIMUM_LEVELS = 2, 5
MAXIMUM_STAGES = 2
GROWTHS = ("constant", "last", "double")


@dataclass(frozen=True)
class UNet(Architecture):
    """One or two U-Nets of blocks; the second takes the first's features through SAM and CSFF, as in HINet.

    Attributes:
        widths: Channels of each level, from full size down, 2 to 5 levels; each from 4 to 4096.
        encoder: Blocks of each level on the way down, at least one; those of the last level are the bottom.
        decoder: Blocks of each level but the last on the way up, at least one, from full size down.
        down, up: How features get to the next level and back (``spaces.resamplers``).
        skip: The encoder's features join the decoder's by ``concat`` or ``add``.
        skip_conv: A 3x3 convolution on each skip, as in HINet.
        entry: What changes the channels: ``conv``, the resamplers and a 1x1 convolution after a
            concatenation; or ``block``, the first block of each level, as in HINet. ``hin`` and
            ``double_conv`` can.
        stages: 1, or 2: a first U-Net whose output is an image too. Two need a task of scale 1 with as many
            channels out as in.
        upsampler: How the features become the output.
        image_skip: The input (enlarged bilinearly if the scale isn't 1) is added to the output. It needs a
            task with as many channels out as in, or packed Bayer RAW in and RGB out: a learned colour matrix and
            gamma come before the adding then.
        activation: ``paper``: each block uses its paper's; another name: all blocks use that one.
    """

    topology: ClassVar[str] = "unet"

    widths: tuple[int, ...]
    encoder: tuple[tuple[Block, ...], ...]
    decoder: tuple[tuple[Block, ...], ...]
    down: Block = Block("strided")
    up: Block = Block("transposed")
    skip: str = "concat"
    skip_conv: bool = False
    entry: str = "conv"
    stages: int = 1
    upsampler: Block = Block("pixelshuffle")
    image_skip: bool = True
    activation: str = "paper"

    def __post_init__(self) -> None:
        levels = len(self.widths)
        if not MINIMUM_LEVELS <= levels <= MAXIMUM_LEVELS:
            raise ValueError(
                f"'widths' has {MINIMUM_LEVELS} to {MAXIMUM_LEVELS} levels, got {levels}: {list(self.widths)}"
            )
        for width in self.widths:
            if not MINIMUM_WIDTH <= width <= MAXIMUM_WIDTH:
                raise ValueError(f"a level's width is from {MINIMUM_WIDTH} to {MAXIMUM_WIDTH}, got {width}")
        for name, expected in (("encoder", levels), ("decoder", levels - 1)):
            found = getattr(self, name)
            if len(found) != expected or not all(found):
                raise ValueError(
                    f"'{name}' holds the blocks of {expected} levels ('widths' has {levels}), at least one each, "
                    f"got {[len(blocks) for blocks in found]}"
                )
        for name, allowed in (("skip", SKIPS), ("entry", ENTRIES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"'{name}' is one of {', '.join(allowed)}, got '{getattr(self, name)}'")
        if not 1 <= self.stages <= MAXIMUM_STAGES:
            raise ValueError(f"'stages' is from 1 to {MAXIMUM_STAGES}, got {self.stages}")

    @property
    def label(self) -> str:
        """A short human name: widths, kinds, resamplers, and what differs from the defaults.

        For example ``U-Net 16/32/64 hin*6 ghost*4, haar, add``. It isn't unique, as a chain's.
        """
        kinds = Counter(block.kind for level in (*self.encoder, *self.decoder) for block in level)
        counts = " ".join(kind if count == 1 else f"{kind}*{count}" for kind, count in kinds.items())
        resamplers = dict.fromkeys((self.down.kind, self.up.kind))
        unusual = (
            "" if self.skip == "concat" else self.skip,
            "" if self.stages == 1 else f"{self.stages} stages",
            "" if self.upsampler == UNet.upsampler else self.upsampler.kind,
            "" if self.image_skip else "no image skip",
            "" if self.activation == "paper" else self.activation,
        )
        widths = "/".join(map(str, self.widths))
        return ", ".join([f"U-Net {widths} {counts}", "-".join(resamplers), *filter(None, unusual)])


def level_widths(width: int, levels: int, growth: str) -> tuple[int, ...]:
    """Channels of each level: ``constant``, doubled at the ``last`` one only, or ``double`` at each."""
    if growth == "double":
        return tuple(width * 2**level for level in range(levels))
    last = 2 * width if growth == "last" else width
    return (width,) * (levels - 1) + (last,)


def decode(genes: Mapping[str, Leaf]) -> UNet:
    """The U-Net that the genes describe.

    Genes: ``levels``, ``depth`` (blocks of each level, on the way down and again on the way up), ``width`` (of
    full size) and ``growth`` (``level_widths``), then either ``block`` (one kind for all levels) or
    ``block_0``, ``block_1``, ... (a kind per level; those at or beyond ``levels`` don't matter), and optionally
    ``more_0``, ``more_1``, ... (blocks of a level on top of ``depth``), ``percent_1``, ``percent_2``, ... (a
    level's width in percent of what ``growth`` gives it), and any of ``down``, ``up``, ``upsampler``, ``skip``,
    ``stages``, ``image_skip``, ``activation``.
    """
    levels, depth, width = genes["levels"], genes["depth"], genes["width"]
    assert isinstance(levels, int)
    assert isinstance(depth, int)
    assert isinstance(width, int)
    kinds = [str(genes["block"] if "block" in genes else genes[f"block_{i}"]) for i in range(levels)]
    more = [int(genes.get(f"more_{i}", 0)) for i in range(levels)]  # type: ignore[arg-type]
    blocks = tuple((Block.parse(kind),) * (depth + extra) for kind, extra in zip(kinds, more, strict=True))
    options = {n: genes[n] for n in ("skip", "stages", "image_skip", "activation") if n in genes}
    parts = {n: Block.parse(str(genes[n])) for n in ("down", "up", "upsampler") if n in genes}
    percents = [int(genes.get(f"percent_{i}", 100)) for i in range(levels)]  # type: ignore[arg-type]
    plain = level_widths(width, levels, str(genes["growth"]))
    widths = tuple(
        max(MINIMUM_WIDTH, own * percent // 100) for own, percent in zip(plain, percents, strict=True)
    )
    return UNet(widths, encoder=blocks, decoder=blocks[:-1], **parts, **options)  # type: ignore[arg-type]

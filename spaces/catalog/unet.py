"""U-Nets for tasks whose output is as large as the input."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from spaces.blocks import BLOCKS
from spaces.catalog import NamedSpace, register
from spaces.layers.activations import activation as make_activation
from spaces.registry import UnknownNameError
from spaces.resamplers import DOWNS, UPS
from spaces.space import MAXIMUM_DEPTH, Choice, Space, kinds, ordered
from spaces.topologies.chain import MAXIMUM_WIDTH, MINIMUM_WIDTH
from spaces.topologies.unet import (
    GROWTHS,
    MAXIMUM_LEVELS,
    MAXIMUM_STAGES,
    MINIMUM_LEVELS,
    SKIPS,
    level_widths,
)
from spaces.upsamplers import UPSAMPLERS

# Those that work on few pixels, as the lowest levels of a training patch have.
UNET_BLOCKS = ("hin", "double_conv", "residual", "mccb_mscb", "ghost", "idle")
TASKS = ("denoise", "denoise-s15", "denoise-s50", "denoise-signal", "deblur", "derain")


def unet_space(
    name: str,
    *,
    blocks: Sequence[str],
    widths: Sequence[int] = tuple(range(8, 65, 4)),
    depths: Sequence[int] = (1, 2, 3, 4),
    more_blocks: Sequence[int] = (0, 1, 2),
    width_percents: Sequence[int] = (75, 100, 150),
    levels: Sequence[int] = (2, 3, 4),
    growths: Sequence[str] = GROWTHS,
    per_position: bool = True,
    downs: Sequence[str] = ("strided", "haar", "unshuffle", "maxpool"),
    ups: Sequence[str] = ("transposed", "haar", "pixelshuffle", "nearest"),
    skips: Sequence[str] = SKIPS,
    stages: Sequence[int] = (1, 2),
    upsamplers: Sequence[str] = ("pixelshuffle",),
    image_skip: bool = True,
    activations: Sequence[str] = ("paper",),
) -> Space:
    """A space of U-Nets.

    Args:
        blocks: Block kinds to choose from.
        widths: Of full size; ``growths`` say what the other levels have.
        depths: Blocks of each level, on the way down and again on the way up.
        more_blocks: What a level may have on top of that.
        width_percents: What a level below full size may have of the width that growth gives it.
        levels: Sizes that the network works at; each halves the one before.
        per_position: The kind is chosen for each level; otherwise one kind for all.
        image_skip: Of all networks: the input is added to the output.
        activations: ``paper`` leaves each block its own.

    Raises: ValueError: for an unknown name in a list, an empty list, or a number that is out of range.
    """
    blocks, upsamplers = kinds(BLOCKS, blocks), kinds(UPSAMPLERS, upsamplers)
    downs, ups = kinds(DOWNS, downs), kinds(UPS, ups)
    for act in activations:
        make_activation(act, paper="relu")
    for noun, names, known in (("skip", skips, SKIPS), ("growth", growths, GROWTHS)):
        for mode in names:
            if mode not in known:
                raise UnknownNameError(noun, mode, list(known))
    sizes = ordered("levels", levels, MINIMUM_LEVELS, MAXIMUM_LEVELS)
    # The widest level is what has to be possible.
    factor = max((level_widths(1, sizes.values[-1], growth)[-1] for growth in growths), default=1)  # type: ignore[arg-type]
    positions = [f"block_{i}" for i in range(sizes.values[-1])] if per_position else ["block"]  # type: ignore[arg-type]
    deepest = range(sizes.values[-1])  # type: ignore[arg-type]
    choices = [
        ordered("depth", depths, 1, MAXIMUM_DEPTH),
        ordered(
            "width", widths, MINIMUM_WIDTH, MAXIMUM_WIDTH * 100 // (factor * max(width_percents, default=100))
        ),
        sizes,
        Choice("growth", _once(growths)),
        *(Choice(position, blocks) for position in positions),
        *(ordered(f"more_{i}", more_blocks, 0, MAXIMUM_DEPTH) for i in deepest),
        *(ordered(f"percent_{i}", width_percents, 1, 1000) for i in deepest[1:]),
        Choice("down", downs),
        Choice("up", ups),
        Choice("skip", _once(skips)),
        ordered("stages", stages, 1, MAXIMUM_STAGES),
        Choice("upsampler", upsamplers),
        Choice("image_skip", (image_skip,)),
        Choice("activation", _once(activations)),
    ]
    return Space(name, tuple(choices), topology="unet")


def _once(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


register(
    NamedSpace(
        "nafnet",
        "NAFNets: blocks without activations, with most of them in one of the levels",
        TASKS,
        partial(
            unet_space,
            blocks=("nafblock",),
            depths=(1,),
            levels=(4, 5),
            growths=("double",),
            more_blocks=(0, 1, 3, 7, 13, 27),
            downs=("strided_2x2",),
            ups=("pixelshuffle(bias=false)",),
            skips=("add",),
            stages=(1,),
        ),
    ),
    NamedSpace(
        "unet",
        "U-Nets of one or two stages with a block kind per level",
        TASKS,
        partial(unet_space, blocks=UNET_BLOCKS),
    ),
)

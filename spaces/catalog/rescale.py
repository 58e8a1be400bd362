"""Rescalers: a learned down-scaling and a chain that undoes it."""

from __future__ import annotations

from collections.abc import Sequence

from spaces.catalog import NamedSpace, register
from spaces.catalog.sr import CARD_BLOCKS
from spaces.space import Space, chain_space, ordered
from spaces.topologies.chain import MAXIMUM_WIDTH, MINIMUM_WIDTH
from spaces.topologies.rescaler import MAXIMUM_BOUND

TASKS = ("rescale-x4", "rescale-x2")


def rescale_space(
    name: str,
    *,
    blocks: Sequence[str] = CARD_BLOCKS,
    widths: Sequence[int] = tuple(range(8, 65, 2)),
    depths: Sequence[int] = tuple(range(1, 9)),
    per_position: bool = True,
    upsamplers: Sequence[str] = ("pixelshuffle", "pixelshuffle_steps", "nearest_attention", "transposed"),
    fusions: Sequence[str] = ("plain", "concat"),
    feature_skips: Sequence[bool] = (True, False),
    image_skips: Sequence[str] = ("bicubic", "bilinear", "nearest"),
    activations: Sequence[str] = ("paper",),
    attentions: Sequence[str] = ("paper",),
    down_widths: Sequence[int] = (8, 16, 24, 32),
    bounds: Sequence[int] = (2, 4, 8, 16),
) -> Space:
    """A space of rescalers: the lists of ``chain_space`` for the way up, and two for the way down.

    Args:
        image_skips: Always one by default, so that training starts at the bicubic images.
        down_widths: Channels of the down-scaler, from 4 to 4096.
        bounds: How far the small image may be from the bicubic one, in levels of 255, from 1 to 255.

    Raises: ValueError: as ``chain_space``.
    """
    up = chain_space(
        name,
        blocks=blocks,
        widths=widths,
        depths=depths,
        per_position=per_position,
        upsamplers=upsamplers,
        fusions=fusions,
        feature_skips=feature_skips,
        image_skips=image_skips,
        activations=activations,
        attentions=attentions,
    )
    own = (
        ordered("down_width", down_widths, MINIMUM_WIDTH, MAXIMUM_WIDTH),
        ordered("bound", bounds, 1, MAXIMUM_BOUND),
    )
    return Space(name, (*up.choices, *own), topology="rescaler")


register(
    NamedSpace(
        "rescale",
        "learned down-scalers with chains that undo them; the small image stays near the bicubic one",
        TASKS,
        rescale_space,
    )
)

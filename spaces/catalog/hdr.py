"""Networks that merge three exposures to an HDR image, and the budgets of NTIRE 2022 HDR.

"NTIRE 2022 Challenge on High Dynamic Range Imaging: Methods and Results", Pérez-Pellitero et al., 2022,
https://arxiv.org/abs/2205.12633. Track 1 asked for the best image within 200 GMACs, track 2 for the fewest
GMACs at AHDRNet's quality; the winner used 198.47 and 74.02 GMACs of AHDRNet's 2916.92.
"""

from __future__ import annotations

from collections.abc import Sequence

from spaces.blocks import BLOCKS
from spaces.catalog import NamedSpace, register
from spaces.layers.activations import activation as make_activation
from spaces.registry import UnknownNameError
from spaces.space import MAXIMUM_DEPTH, Choice, Space, kinds, ordered
from spaces.topologies.chain import MAXIMUM_WIDTH, MINIMUM_WIDTH
from spaces.topologies.hdr import MAXIMUM_UNSHUFFLE, NAMED_FIELDS

# (least, most) GMACs at 18x1060x1900, counted by convention "bias" as the organisers did; the upper ends are
# what the winner's two networks cost.
BUDGETS = {"ntire22-hdr-1": (180.0, 198.47), "ntire22-hdr-2": (66.0, 74.02)}

HDR_BLOCKS = ("efficient_rfdb", "rfdb", "drdb", "residual", "mccb", "mscb", "ghost")


def hdr_space(
    name: str,
    *,
    blocks: Sequence[str] = HDR_BLOCKS,
    widths: Sequence[int] = tuple(range(8, 97)),
    depths: Sequence[int] = tuple(range(1, 17)),
    per_position: bool = True,
    unshuffles: Sequence[int] = (1, 2, 4),
    alignments: Sequence[str] = ("attention", "none"),
    convolutions: Sequence[str] = ("separable", "plain"),
    fusions: Sequence[str] = ("concat", "plain"),
    reference_skips: Sequence[bool] = (True, False),
    reconstructions: Sequence[str] = ("single", "double"),
    outputs: Sequence[str] = ("sigmoid",),
    image_skips: Sequence[bool] = (True,),
    activations: Sequence[str] = ("paper",),
) -> Space:
    """A space of networks of the HDR topology; the lists are values of ``spaces.topologies.hdr.HdrFusion``'s fields.

    Args:
        blocks: Block kinds to choose from.
        widths, depths, unshuffles: Sorted, and repeats dropped.
        per_position: The kind is chosen for each position; otherwise one kind for all.

    Raises: ValueError: for an unknown name in a list, an empty list, or a number out of range.
    """
    named = {
        "alignment": alignments,
        "convolution": convolutions,
        "fusion": fusions,
        "reconstruction": reconstructions,
        "output": outputs,
    }
    _check_names(activations, named)
    depth = ordered("depth", depths, 1, MAXIMUM_DEPTH)
    blocks = kinds(BLOCKS, blocks)
    positions = [f"block_{i}" for i in range(max(depths))] if per_position else ["block"]
    choices = [
        depth,
        ordered("width", widths, MINIMUM_WIDTH, MAXIMUM_WIDTH),
        *(Choice(position, blocks) for position in positions),
        ordered("unshuffle", unshuffles, 1, MAXIMUM_UNSHUFFLE),
        *(Choice(field, tuple(dict.fromkeys(values))) for field, values in named.items()),
        Choice("reference_skip", tuple(dict.fromkeys(reference_skips))),
        Choice("image_skip", tuple(dict.fromkeys(image_skips))),
        Choice("activation", tuple(dict.fromkeys(activations))),
    ]
    return Space(name, tuple(choices), topology="hdr")


def _check_names(activations: Sequence[str], named: dict[str, Sequence[str]]) -> None:
    for act in activations:
        make_activation(act, paper="relu")
    for field, values in named.items():
        for value in values:
            if value not in NAMED_FIELDS[field]:
                raise UnknownNameError(field, value, list(NAMED_FIELDS[field]))


register(
    NamedSpace(
        "hdr",
        "AHDRNet and its efficient successors, searchable; the NTIRE 2022 winner cost 198.47 GMACs (track 1, limit "
        "200) and 74.02 (track 2)",
        ("hdr",),
        hdr_space,
    ),
)

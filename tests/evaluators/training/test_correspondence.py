"""Which channels of a wide part a narrow one has: by hand, and as a masked wide network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from evaluators.channels.groups import Channels
from evaluators.supernet.network import Supernet
from evaluators.training.correspondence import NONE, Piece, completed, sources
from spaces.architecture import Block
from spaces.build import parts
from spaces.space import chain_space
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

X2 = super_resolution(2)


def piece(name: str, width: int, kind: str = "residual", depth: int = 2, **options: Any) -> Piece:
    chain = Chain(width, (Block(kind),) * depth, **options)
    return Piece(parts(chain, X2)[name], depth if name == "fusion" else 1)


def test_a_narrow_imdb_has_the_first_distilled_and_the_first_remaining_channels() -> None:
    found = sources(piece("blocks.0", 8, "imdb"), piece("blocks.0", 16, "imdb"))  # 2 and 4 are distilled
    outs, ins, *kernel = found["c1.weight"]
    assert outs.tolist() == [0, 1, 4, 5, 6, 7, 8, 9]
    assert ins.tolist() == list(range(8))  # the trunk's are the first
    assert [axis.tolist() for axis in kernel] == [[0, 1, 2], [0, 1, 2]]
    assert found["c5.weight"][1].tolist() == [0, 1, 4, 5, 8, 9, 12, 13]


def test_a_fusion_reads_the_first_channels_of_every_map() -> None:
    narrow, wide = piece("fusion", 4), piece("fusion", 10)
    assert sources(narrow, wide)["0.weight"][1].tolist() == [0, 1, 2, 3, 10, 11, 12, 13]
    assert sources(narrow, wide)["0.weight"][0].tolist() == [0, 1, 2, 3]


def test_fewer_maps_are_the_first_ones() -> None:
    few, many = piece("fusion", 6, depth=2), piece("fusion", 4, depth=3)
    assert sources(many, few)["0.weight"][1].tolist() == [0, 1, 2, 3, 6, 7, 8, 9, *[NONE] * 4]
    assert sources(few, many)["0.weight"][1].tolist() == [0, 1, 2, 3, NONE, NONE, 4, 5, 6, 7, NONE, NONE]


def test_a_pixel_shuffles_channels_go_together() -> None:
    narrow, wide = (piece("upsampler", w, upsampler=Block("pixelshuffle_steps")) for w in (4, 6))
    for name, axes in sources(narrow, wide).items():
        for axis in axes:
            assert NONE not in axis, name
            assert (np.diff(axis) > 0).all(), name


def test_the_odd_one_out_takes_what_is_left() -> None:
    found = sources(piece("blocks.0", 5, "ghost"), piece("blocks.0", 8, "ghost"))
    # 5: three primary channels, two of them copied; 8: four and four.
    assert found["ghost1.primary.weight"][0].tolist() == [0, 1, NONE]
    assert found["ghost2.primary.weight"][1].tolist() == [0, 1, NONE, 4, 5]
    assert completed(found["ghost2.primary.weight"][1], 8).tolist() == [0, 1, 2, 4, 5]


def test_other_kinds_have_in_common_what_has_the_same_name() -> None:
    found = sources(piece("blocks.0", 8, "rlfb"), piece("blocks.0", 8, "rfdb"))
    assert "c1_r.weight" in found
    assert "c1_d.weight" not in found


@pytest.mark.parametrize("kind", ["residual", "rlfb", "rfdb", "imdb", "inverted_residual", "scpa"])
@pytest.mark.parametrize("fusion", ["plain", "concat"])
def test_the_narrow_network_is_the_wide_one_without_the_other_channels(kind: str, fusion: str) -> None:
    """Two ways: extracted, and the whole with all other activations masked.

    Not so where a part's output is itself a concatenation: the trunk's first channels are then others' rest.
    """
    space = chain_space(
        "one", blocks=[kind], widths=[8, 12], depths=[2], fusions=[fusion], upsamplers=["pixelshuffle"]
    )
    torch.manual_seed(0)
    supernet = Supernet(space, X2)
    blocks = (Block(kind),) * 2
    narrow, wide = (Chain(w, blocks, fusion=fusion, feature_skip=True) for w in (8, 12))
    whole = supernet.extract(wide)
    channels = Channels.trace(whole, 3)
    kept = np.ones(channels.count, bool)
    places = channels.places()
    wanted = parts(wide, X2)
    for name, part in parts(narrow, X2).items():
        pieces = (Piece(p, 2 if name == "fusion" else 1) for p in (part, wanted[name]))
        for tensor, axes in sources(*pieces).items():
            for numbers, source in zip(places[f"{name}.{tensor}"], axes, strict=True):
                kept[np.delete(numbers, source)] = False
    image = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    masked = channels.masked(kept, image)
    with torch.no_grad():
        alone = supernet.extract(narrow).double()(image)
    torch.testing.assert_close(alone, masked, rtol=0, atol=1e-9)

"""Widths under a target: nearness, order, rounding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.channels.groups import Channels, Group
from evaluators.pruning.allocation import CLOSE, allocate
from spaces.architecture import Block
from spaces.build import build
from spaces.task import super_resolution
from spaces.topologies.chain import Chain


class Two:
    """Two groups of 6 and 4 channels that cost 5 and 3 each."""

    groups = (Group("a", np.arange(6), 1), Group("b", np.arange(6, 10), 1))

    @staticmethod
    def operations(widths: np.ndarray) -> np.ndarray:
        return widths @ np.array([5, 3])


def kept(scores: list[float], target: float, **options: bool) -> list[list[int]]:
    found = allocate(Two, np.array(scores, float), target, Two.operations, **options)  # type: ignore[arg-type]
    return [list(channels) for channels in found]


SCORES = [6, 1, 5, 2, 4, 3, 9, 8, 0.5, 7]


def test_the_least_important_go_first() -> None:
    assert kept(SCORES, 39) == [[0, 1, 2, 3, 4, 5], [6, 7, 9]]
    assert kept(SCORES, 34) == [[0, 2, 3, 4, 5], [6, 7, 9]]


def test_per_cost_the_dear_go_first() -> None:
    equal = [1.0] * 10
    cheap, dear = kept(equal, 32, per_cost=True)[::-1]
    assert (len(cheap), len(dear)) == (4, 4)


def test_a_group_keeps_one() -> None:
    assert kept([0.0] * 6 + [1.0] * 4, 17) == [[0], [6, 7, 8, 9]]


def test_below_the_least() -> None:
    with pytest.raises(ValueError, match=r"the network costs 8e-09 GMACs"):
        kept(SCORES, 7)


@given(
    ratio=st.floats(0.2, 0.97),
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["rfdb", "ghost", "hin", "imdb"]),
)
@settings(max_examples=30, deadline=None)
def test_within_half_a_percent_under_the_target(ratio: float, seed: int, kind: str) -> None:
    channels = traced(kind)
    operations: Callable[[np.ndarray], float] = channels.operations
    target = ratio * channels.operations(channels.widths)
    scores = np.random.default_rng(seed).random(channels.count)
    chosen = allocate(channels, scores, target, operations)
    found = operations(np.array([len(c) for c in chosen]))
    assert (1 - CLOSE) * target <= found <= target
    for group, channels_kept in zip(channels.groups, chosen, strict=True):
        left = np.setdiff1d(group.channels, channels_kept)
        assert len(channels_kept)
        assert not len(left) or scores[left].max() <= scores[channels_kept].min()


def traced(kind: str) -> Channels:
    torch.manual_seed(0)
    return Channels.trace(build(Chain(32, (Block(kind),) * 2), super_resolution(4)), 3)


@pytest.mark.parametrize("round_to", [4, 8])
def test_rounding(round_to: int) -> None:
    channels = traced("rfdb")
    target = 0.6 * channels.operations(channels.widths)
    scores = np.random.default_rng(0).random(channels.count)
    chosen = allocate(channels, scores, target, channels.operations, round_to=round_to)
    assert channels.operations(np.array([len(c) for c in chosen])) <= target
    for group, found in zip(channels.groups, chosen, strict=True):
        assert len(found) % round_to == 0 or len(found) == len(group) < round_to

"""Averages of flips, rotations and networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from evaluators.data.images import orientations
from evaluators.inference.ensemble import TURNS, average, restore_averaged, turned, turned_back
from evaluators.inference.restoration import quantise, restore
from evaluators.inference.tiling import Survey, Tiler
from spaces.architecture import Block
from spaces.build import build
from spaces.parts import Network
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (19, 24, 3), dtype=np.uint8)
NETWORK = Chain(width=8, blocks=(Block("ghost"),))


class Shifted(Network):
    """Turns nothing but moves everything one pixel to the right: what an ensemble evens out."""

    def __init__(self) -> None:
        super().__init__({})

    def forward(self, x: Tensor) -> Tensor:
        return torch.roll(x, 1, dims=3)


def small(seed: int) -> Network:
    torch.manual_seed(seed)
    return build(NETWORK, super_resolution(2)).eval()


def test_turns_are_the_eight_orientations_and_come_back() -> None:
    x = torch.from_numpy(PIXELS.copy()).permute(2, 0, 1)[None]
    found = {turned(x, t)[0].permute(1, 2, 0).numpy().tobytes() for t in range(TURNS)}
    assert found == {np.ascontiguousarray(view).tobytes() for view in orientations(PIXELS)}
    for turn in range(TURNS):
        assert torch.equal(turned_back(turned(x, turn), turn), x)


def test_an_ensemble_of_a_turned_image_is_the_turned_ensemble() -> None:
    x, network = torch.rand(1, 3, 19, 24), small(0)
    with torch.inference_mode():
        whole = average([network], x, scale=2, turns=8)
        alone = average([network], x, scale=2)
        for turn in range(TURNS):
            again = average([network], turned(x, turn), scale=2, turns=8)
            assert torch.allclose(turned_back(again, turn), whole, atol=1e-5)
    assert not torch.allclose(whole, alone, atol=1e-3)


def test_the_mean_is_taken_of_all_turns_before_rounding() -> None:
    x = torch.rand(1, 1, 5, 5)
    expected = (
        sum(torch.roll(x, shift, dims=axis) for axis in (2, 3) for shift in (1, -1)) / 4
    )  # each twice of eight
    found = average([Shifted()], x, scale=1, turns=8)
    assert torch.allclose(found, expected, atol=1e-6)


def test_several_networks_are_averaged() -> None:
    x, networks = torch.rand(1, 3, 16, 16), [small(1), small(2)]
    with torch.inference_mode():
        first, second = (average([network], x, scale=2) for network in networks)
        assert torch.allclose(average(networks, x, scale=2), (first + second) / 2)
        assert not torch.allclose(first, second, atol=1e-3)


def test_one_network_and_no_turn_is_plain_restoring() -> None:
    network = small(0)
    (plain,) = restore(network, [PIXELS], scale=2)
    (found,) = restore_averaged([network], [PIXELS], scale=2)
    assert np.array_equal(plain, found)
    (ensemble,) = restore_averaged([network], [PIXELS], scale=2, turns=8)
    assert ensemble.shape == plain.shape
    assert not np.array_equal(ensemble, plain)


def test_a_tasks_own_finish_is_used_on_the_mean() -> None:
    seen = []

    def finish(output: Tensor) -> np.ndarray:
        seen.append(output)
        return quantise(output)

    list(restore_averaged([small(0)], [PIXELS, PIXELS], scale=2, turns=8, finish=finish))
    assert [tuple(output.shape) for output in seen] == [(1, 3, 38, 48)] * 2


def test_refusals() -> None:
    x = torch.rand(1, 3, 8, 8)
    for networks, turns in (([], 1), ([small(0)], 0), ([small(0)], 9)):
        with pytest.raises(ValueError, match=f"got {len(networks)} and {turns}"):
            average(networks, x, scale=2, turns=turns)


def test_an_output_is_the_same_however_the_array_lies_in_memory() -> None:
    network = small(0)
    readonly = PIXELS.copy()
    readonly.flags.writeable = False
    first, second = restore_averaged([network], [PIXELS, readonly], scale=2, finish=lambda x: x.numpy())
    np.testing.assert_array_equal(first, second)
    (scored,) = restore(network, [PIXELS], scale=2, finish=lambda x: x.numpy())
    np.testing.assert_array_equal(first, scored)
    ((_, tiled),) = Tiler([network], [Survey(0, 1)]).outputs(PIXELS, None)
    np.testing.assert_array_equal(first, tiled.numpy())

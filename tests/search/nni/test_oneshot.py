"""Supernets that NNI trains, of our blocks on a real photograph."""

from __future__ import annotations

from random import Random

import pytest
import torch

from evaluators.tasks import get_task
from search.strategies.nni.oneshot import Chosen, Method, train_one_shot
from spaces.build import build
from spaces.space import Genotype, Space, chain_space
from spaces.topologies.chain import Chain
from tests.evaluators.small import TASK, pairs

KINDS = ("residual", "ghost", "rfdb")
SPACE = chain_space("kinds", blocks=KINDS, widths=(8,), depths=(1, 2))


def train(
    method: Method, *, seed: int = 0, steps: int = 20, space: Space = SPACE, fixed: Genotype | None = None
) -> Chosen:
    torch.set_num_threads(1)
    return train_one_shot(
        space,
        get_task(TASK),
        pairs(),
        pairs(),
        method=method,
        steps=steps,
        batch=4,
        patch=16,
        seed=seed,
        fixed=fixed,
    )


@pytest.mark.parametrize("method", ["darts", "random"])
def test_the_choice_is_an_architecture_that_builds_and_follows_from_the_seed(method: Method) -> None:
    before = torch.get_rng_state()
    found = train(method)
    assert torch.equal(before, torch.get_rng_state())
    assert isinstance(found.architecture, Chain)
    assert len(found.architecture.blocks) == 2
    assert {block.kind for block in found.architecture.blocks} <= set(KINDS)
    SPACE.check(found.genotype)
    network = build(found.architecture, get_task(TASK).interface)
    assert network(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 32, 32)
    assert train(method) == found
    assert train(method, seed=1).losses != found.losses


@pytest.mark.parametrize("method", ["darts", "random"])
def test_training_lowers_the_loss(method: Method) -> None:
    found = train(method, steps=150, fixed={**SPACE.sample(Random(0)), "depth": 1, "image_skip": "none"})
    assert len(found.architecture.blocks) == 1  # type: ignore[attr-defined]
    assert sum(found.losses[-20:]) < 0.7 * sum(found.losses[:20])


def test_a_space_with_one_kind_for_all_positions() -> None:
    choices = tuple(c for c in SPACE if not c.name.startswith("block_"))
    with pytest.raises(ValueError, match="take a space with a kind per position"):
        train("darts", space=Space("no kinds", choices))

"""Training a supernet: the sandwich, in-place distillation, going on exactly, and that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from evaluators.data.tensors import to_tensor
from evaluators.supernet.network import Supernet
from evaluators.supernet.training import Sandwich, SupernetTraining
from evaluators.training.recipe import Recipe, Stage
from evaluators.trial import score
from spaces.architecture import Block
from spaces.space import Space, chain_space
from spaces.topologies.chain import Chain
from tests.evaluators.small import TASK, pairs, recipe, source, task

SPACE = chain_space(
    "small",
    blocks=["residual", "imdb"],
    widths=[4, 6, 8],
    depths=[1, 2],
    upsamplers=["pixelshuffle"],
    fusions=["plain"],
    feature_skips=[True],
    image_skips=["nearest"],
)
FLAT = Chain(6, (Block("residual"),), fusion="plain", image_skip="nearest")


def training(
    how: Recipe, *, weights: int = 0, seed: int = 0, space: Space = SPACE, **more: Any
) -> SupernetTraining:
    torch.manual_seed(weights)
    net = Supernet(space, task().interface)
    return SupernetTraining(net, source(pairs()), how, seed=seed, **more)


def run(state: SupernetTraining, until: int) -> None:
    for _ in state.run(until):
        pass


def test_a_sandwich_has_the_largest_first_and_the_smallest_last() -> None:
    state = training(recipe(8), sandwich=Sandwich(random=3))
    assert state.paths(3) == training(recipe(8), sandwich=Sandwich(random=3)).paths(3)
    assert state.paths(3) != training(recipe(8), seed=1, sandwich=Sandwich(random=3)).paths(3)
    shapes = [[(p.width, len(p.blocks)) for p in state.paths(step)] for step in range(50)]  # type: ignore[attr-defined]
    assert {paths[0] for paths in shapes} == {(8, 2)}
    assert {paths[-1] for paths in shapes} == {(4, 1)}
    assert {shape for paths in shapes for shape in paths[1:-1]} == {(w, d) for w in (4, 6, 8) for d in (1, 2)}
    assert {len(paths) for paths in shapes} == {5}
    kinds = {block.kind for step in range(50) for block in state.paths(step)[0].blocks}  # type: ignore[attr-defined]
    assert kinds == {"residual", "imdb"}


@pytest.mark.parametrize("distil", [0.0, 0.4, 1.0])
def test_the_others_learn_from_the_target_and_the_largest(distil: float) -> None:
    state = training(recipe(5), sandwich=Sandwich(random=1, distil=distil))
    image, target = (
        to_tensor(side, torch.device("cpu"))
        for side in source(pairs()).batch(seed=0, step=0, batch=4, patch=16)
    )
    with torch.no_grad():
        largest, *others = (state.network.extract(path)(image) for path in state.paths(0))
    losses = [functional.l1_loss(largest, target)]
    losses += [
        distil * functional.l1_loss(y, largest) + (1 - distil) * functional.l1_loss(y, target) for y in others
    ]
    (told,) = state.run(1)
    assert told.loss == pytest.approx(float(sum(losses)) / 3, rel=1e-5)


def test_a_stopped_training_goes_on_with_the_same_bits() -> None:
    straight = training(recipe(6, 4))
    run(straight, 10)
    for stop in (1, 6, 7):
        state = training(recipe(6, 4))
        run(state, stop)
        saved = state.checkpoint()
        state = training(recipe(6, 4), weights=9)
        state.restore(saved)
        assert state.step == stop
        run(state, 10)
        for one, other in ((state.network, straight.network), (state.result(), straight.result())):
            for name, tensor in one.state_dict().items():
                assert torch.equal(tensor, other.state_dict()[name]), (stop, name)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"how": recipe(5)},
        {"sandwich": Sandwich(random=1)},
        {"space": chain_space("other", blocks=["residual"], widths=[4], depths=[1])},
    ],
)
def test_another_trainings_checkpoint_is_refused(other: dict[str, Any]) -> None:
    saved = training(recipe(4)).checkpoint()
    with pytest.raises(ValueError, match="expected a checkpoint of a supernet of the same space"):
        training(**({"how": recipe(4)} | other)).restore(saved)


@pytest.mark.parametrize("change", [{"distil": 0.5}, {"features": 0.1}, {"sparsity": 0.1}, {"form": "acb"}])
def test_recipes_with_more_than_a_loss_are_refused(change: dict[str, Any]) -> None:
    odd = Recipe((Stage(3, "l1", 1e-3), Stage(3, "l1", 1e-3, **change)))
    with pytest.raises(ValueError, match="stage 2 of the recipe has a teacher, sparsity or a form"):
        training(odd)


@pytest.mark.parametrize(("random", "distil", "message"), [(-1, 0.5, "at least 0"), (2, 1.5, "from 0 to 1")])
def test_a_sandwich_is_checked(random: int, distil: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sandwich(random, distil)


def test_all_sub_networks_learn() -> None:
    """Each beats the image skip alone after training, though few steps had it in them."""
    state = training(recipe(80))
    run(state, 80)
    chains = [
        FLAT,
        Chain(4, (Block("imdb"),), fusion="plain", image_skip="nearest"),
        Chain(8, (Block("imdb"), Block("residual")), fusion="plain", image_skip="nearest"),
    ]
    fresh = training(recipe(80))
    for chain in chains:
        before, after = (
            next(
                m.value
                for m in score(s.result().extract(chain), TASK, pairs(), ssim=False)
                if "psnr" in m.name
            )
            for s in (fresh, state)
        )
        assert after > before + 0.5, chain.label

"""Pareto evolution with exact costs: what it computes, and that it needs fewer trainings than chance."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
import pytest

from results.analysis.front import hypervolume
from search.loop.asktell import AskTell
from search.loop.question import Question
from search.outcomes import Values
from search.strategies import STRATEGIES, pareto
from search.strategies.pareto import expected_gains
from search.strategies.surrogate import Surrogate
from spaces.budget import Budget, Candidate
from spaces.catalog import named_space
from spaces.measurement import Direction
from spaces.space import Space
from spaces.task import Task
from tests.search.studies import BUDGET, problem, small_space

MAXIMA: tuple[Direction, Direction] = ("max", "max")


def test_expected_gains_are_the_mean_of_what_is_gained() -> None:
    """Against sampling: the closed form is a sum over the front's steps."""
    random = np.random.default_rng(0)
    front = np.array([[26.5, -0.4], [26.8, -1.5], [26.6, -2.0], [26.9, -4.0]])  # the third is dominated
    low = np.array([26.1, -8.0])
    mean = np.array([[26.4, -0.2], [26.75, -1.0], [26.95, -1.5], [26.8, -6.0], [27.2, -7.9], [26.9, -9.0]])
    spread = np.array([[0.1, 0.0], [0.05, 0.0], [0.2, 0.0], [0.1, 0.0], [0.01, 0.0], [0.3, 0.0]])
    found = expected_gains(front, mean, spread, low, 0)
    before = hypervolume(front, MAXIMA, low.tolist())
    for row, (middle, deviation) in enumerate(zip(mean, spread, strict=True)):
        draws = middle + deviation * random.standard_normal((4000, 1))
        gains = [hypervolume(np.vstack([front, draw]), MAXIMA, low.tolist()) - before for draw in draws]
        assert found[row] == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / 4000**0.5 + 1e-9)
    assert found[5] == 0  # beyond the reference


def quality(candidate: Candidate) -> float:
    """Saturates with the cost, depends on kinds, and is noisy: as trainings are."""
    noise = Random(candidate.architecture.digest).gauss(0, 0.03)
    blocks = getattr(candidate.architecture, "blocks", ())
    good = sum(block.kind == "residual" for block in blocks) / len(blocks)
    return 26 + candidate.gmacs**0.5 / 3 + 0.2 * good + noise


def answered(asktell: AskTell, trials: int) -> Iterator[Question]:
    """The questions of a search without early stopping."""
    for question in asktell.advance(trials):
        assert isinstance(question, Question)
        yield question


def reached(
    name: str,
    seed: int,
    trainings: int,
    space: Space,
    *,
    worst: tuple[float, ...] = (),
    trivial: float = 26.0,
    **options: Any,
) -> float:
    """Hypervolume after so many trainings; ``worst`` is what the strategy is told of what it is measured from."""
    strategy = STRATEGIES[name].create(problem(space, seed=seed, reference=worst), **options)
    points: list[Values] = []
    for question in answered(AskTell(strategy, window=4), trainings):
        if question.state == "running" and question.candidate:
            points.append((quality(question.candidate), question.candidate.gmacs))
            question.outcomes[0] = points[-1]
    return hypervolume(points, ("max", "min"), (trivial, BUDGET.max_gmacs))


def test_half_of_the_trainings_of_random_search_are_enough() -> None:
    space = small_space()
    ours = [reached("pareto", seed, 24, space) for seed in range(3)]
    random = [reached("random", seed, 48, space) for seed in range(3)]
    assert np.median(ours) > np.median(random)


def test_who_knows_the_trivial_method_spends_less_on_what_does_not_beat_it() -> None:
    """However cheap a network is, it adds nothing then."""
    trivial, space = 26.55, small_space()
    limits = (trivial, BUDGET.max_gmacs)
    told = [reached("pareto", seed, 24, space, trivial=trivial, worst=limits) for seed in range(4)]
    untold = [reached("pareto", seed, 24, space, trivial=trivial) for seed in range(4)]
    assert np.median(told) > 1.1 * np.median(untold)


def test_a_deep_space_changes_widths_as_often_as_blocks_and_blocks_at_all_positions_too() -> None:
    """Each of twenty positions is a choice: drawn from evenly, they would leave one change in twenty to the width."""
    space = named_space("sr-card", depths=tuple(range(2, 21)))
    strategy: Any = STRATEGIES["pareto"].create(problem(space, seed=1))
    random = Random(0)
    parent = space.sample(random) | {f"block_{place}": "rfdb" for place in range(20)}
    children = [strategy._child(random, [parent]) for _ in range(500)]
    for name in ("width", "depth", "upsampler"):
        assert np.mean([child[name] != parent[name] for child in children]) > 0.15
    kinds = [{child[f"block_{place}"] for place in range(20)} for child in children]
    assert sum(len(each) == 1 and each != {"rfdb"} for each in kinds) > 10
    assert sum(len(each) == 2 for each in kinds) > 50


@pytest.mark.parametrize("options", [{"exact": False}, {"surrogate": False}, {}])
def test_every_ingredient_can_be_left_out_and_who_knows_costs_asks_only_for_new_ones(
    options: dict[str, bool],
) -> None:
    strategy = STRATEGIES["pareto"].create(problem(seed=1), **options)
    states = []
    for question in answered(AskTell(strategy, window=4), 40):
        states.append(question.state)
        if question.candidate and question.state == "running":
            question.outcomes[0] = (quality(question.candidate), question.candidate.gmacs)
            if options != {"exact": False} and question.number > 3:
                assert question.candidate.genotype == question.genotype  # within the budget without a repair
    assert states.count("running") == 40
    if options != {"exact": False}:
        assert set(states) == {"running"}


@pytest.mark.parametrize("directions", [("max",), ("max", "min", "min"), ("max", "max", "min")])
def test_takes_other_numbers_of_objectives(directions: tuple[Direction, ...]) -> None:
    strategy = STRATEGIES["pareto"].create(problem(directions=directions, seed=1))
    found: list[Candidate] = []
    for question in answered(AskTell(strategy, window=2), 16):
        assert question.candidate is not None
        found.append(question.candidate)
        values = (quality(question.candidate), -float(question.cost.activations), question.candidate.gmacs)
        question.outcomes[0] = values if len(directions) == 3 else values[:1]
    if len(directions) == 1:
        assert np.mean([quality(c) for c in found[8:]]) > np.mean([quality(c) for c in found[:4]])


def test_asks_for_u_nets_too() -> None:
    space = named_space("unet")
    budget = Budget(Task("deblur", scale=1), 60.0)
    strategy = STRATEGIES["pareto"].create(problem(space, budget=budget, seed=1))
    asktell = AskTell(strategy, window=2)
    for question in answered(asktell, 6):
        assert question.candidate is not None
        question.outcomes[0] = (26 + question.candidate.gmacs / 100, question.candidate.gmacs)
    assert asktell.trials == 6


def test_a_question_takes_no_longer_once_hundreds_were_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What grows with the cube of the results is made from at most as many as say enough."""
    rows: list[int] = []

    class Counted(Surrogate):
        def __init__(self, inputs: Any, values: Any, **options: Any):
            rows.append(len(inputs))
            super().__init__(inputs, values, **options)

    monkeypatch.setattr(pareto, "Surrogate", Counted)
    strategy: Any = STRATEGIES["pareto"].create(problem(seed=1))
    random = Random(0)
    for number in range(4):
        strategy.ask(number)
    for number in range(4, 500):
        genotype = strategy.space.sample(random)
        strategy.restore(number, genotype)
        strategy.tell(number, (26 + random.random(), random.random()))
    rows.clear()
    for number in range(500, 503):
        strategy.ask(number)
    assert rows == [pareto.MOST] * 3

"""Pareto evolution with exact costs: what it computes, and that it needs fewer trainings than chance."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest

from results.analysis.front import hypervolume
from search.loop.asktell import Answer, AskTell
from search.strategies import STRATEGIES, pareto
from search.strategies.pareto import expected_gains
from search.strategies.surrogate import Surrogate
from spaces.budget import Budget, Candidate
from spaces.catalog import named_space
from spaces.measurement import Direction
from spaces.space import Space
from spaces.task import Task
from tests.search.studies import BUDGET, small_space

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
    strategy = STRATEGIES[name].create(space, directions=("max", "min"), seed=seed, **options)
    values: dict[int, tuple[tuple[float, float]]] = {}
    asktell = AskTell(strategy, BUDGET, window=4, worst=worst)
    for answer in asktell.advance(lambda q, rung: values.get(q), trainings):
        if isinstance(answer, Answer) and answer.outcome == "trial" and answer.candidate:
            values[answer.question] = ((quality(answer.candidate), answer.candidate.gmacs),)
    points: Sequence[tuple[float, float]] = [found for (found,) in values.values()]
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
    strategy: Any = STRATEGIES["pareto"].create(space, directions=("max", "min"), seed=1)
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
    strategy = STRATEGIES["pareto"].create(small_space(), directions=("max", "min"), seed=1, **options)
    values: dict[int, Any] = {}
    outcomes = []
    for answer in AskTell(strategy, BUDGET, window=4).advance(lambda q, rung: values.get(q), 40):
        assert isinstance(answer, Answer)
        outcomes.append(answer.outcome)
        if answer.candidate and answer.outcome == "trial":
            values[answer.question] = ((quality(answer.candidate), answer.candidate.gmacs),)
            if options != {"exact": False} and answer.question > 3:
                assert answer.candidate.genotype == answer.genotype  # within the budget without a repair
    assert outcomes.count("trial") == 40
    if options != {"exact": False}:
        assert set(outcomes) == {"trial"}


@pytest.mark.parametrize("directions", [("max",), ("max", "min", "min"), ("max", "max", "min")])
def test_takes_other_numbers_of_objectives(directions: tuple[Direction, ...]) -> None:
    strategy = STRATEGIES["pareto"].create(small_space(), directions=directions, seed=1)
    values: dict[int, Any] = {}
    found: list[Candidate] = []
    asktell = AskTell(
        strategy,
        BUDGET,
        window=2,
        exact=lambda c: (*(None for _ in directions[1:]), c.gmacs) if len(directions) > 1 else (None,),
    )
    for answer in asktell.advance(lambda q, rung: values.get(q), 16):
        assert isinstance(answer, Answer)
        assert answer.candidate is not None
        found.append(answer.candidate)
        told = (quality(answer.candidate), -float(answer.candidate.cost.activations), answer.candidate.gmacs)
        chosen = told if len(directions) == 3 else told[:1]
        values[answer.question] = (chosen,)
    if len(directions) == 1:
        assert np.mean([quality(c) for c in found[8:]]) > np.mean([quality(c) for c in found[:4]])


def test_asks_for_u_nets_too() -> None:
    space = named_space("unet")
    budget = Budget(Task("deblur", scale=1), 60.0)
    strategy = STRATEGIES["pareto"].create(space, directions=("max", "min"), seed=1)
    values: dict[int, Any] = {}
    for answer in AskTell(strategy, budget, window=2).advance(lambda q, rung: values.get(q), 6):
        assert isinstance(answer, Answer)
        assert answer.candidate is not None
        values[answer.question] = ((26 + answer.candidate.gmacs / 100, answer.candidate.gmacs),)
    assert len(values) == 6


def test_a_question_takes_no_longer_once_hundreds_were_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What grows with the cube of the results is made from at most as many as say enough."""
    rows: list[int] = []

    class Counted(Surrogate):
        def __init__(self, inputs: Any, values: Any, **options: Any):
            rows.append(len(inputs))
            super().__init__(inputs, values, **options)

    monkeypatch.setattr(pareto, "Surrogate", Counted)
    strategy: Any = STRATEGIES["pareto"].create(small_space(), directions=("max", "min"), seed=1)
    values: dict[int, Any] = {}
    asktell = AskTell(strategy, Budget(Task("sr-x4", scale=4), 2.0), window=4)
    random = Random(0)
    for _ in asktell.advance(lambda q, rung: values.get(q), 8):
        pass
    for number in range(asktell.questions, 500):
        genotype = strategy.space.sample(random)
        strategy.restore(number, genotype)
        strategy.tell(number, (26 + random.random(), random.random()))
    rows.clear()
    for number in range(500, 503):
        strategy.ask(number)
    assert rows == [pareto.MOST] * 3

"""One number of several objectives, and what NNI's strategies share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from search.strategies import ReplayError, Strategy
from search.strategies.nni.strategy import losses
from search.strategies.nni.tuners import TPE, Evolution, Grid
from spaces.measurement import Direction
from spaces.space import Space
from tests.search.studies import is_of, problem, small_space

BOTH: tuple[Direction, ...] = ("max", "min")


def test_losses_of_a_hand_made_front() -> None:
    values = [(30.0, 2.0), (28.0, 1.0), (28.0, 2.0)]
    assert losses(values, BOTH, (0.5, 0.5)) == pytest.approx([0.525, 0.525, 0.55])
    assert losses(values, BOTH, (1.0, 0.0)) == pytest.approx([0.0, 1.05, 1.05])


def test_equal_objectives_are_no_division_by_zero() -> None:
    assert losses([(30.0, 2.0), (30.0, 2.0)], BOTH, (0.3, 0.7)) == [0.0, 0.0]


@given(
    values=some.lists(some.tuples(some.floats(20, 40), some.floats(0, 9)), min_size=2, max_size=20),
    share=some.floats(0.01, 0.99),
)
def test_what_is_better_in_all_objectives_never_has_the_greater_loss(
    values: list[tuple[float, float]], share: float
) -> None:
    found = np.array(losses(values, BOTH, (share, 1 - share)))
    for (psnr, gmacs), loss in zip(values, found, strict=True):
        dominated = [other[0] <= psnr and other[1] >= gmacs for other in values]
        assert (found[dominated] >= loss - 1e-9).all()


def test_each_question_weighs_the_objectives_anew() -> None:
    strategy = TPE(problem())
    for number, values in enumerate([(30.0, 2.0), (28.0, 1.0)]):
        strategy.ask(number)
        strategy.tell(number, values)
    orders = {tuple(np.argsort(list(strategy.losses(number).values()))) for number in range(20)}
    assert orders == {(0, 1), (1, 0)}
    assert strategy.losses(5) == strategy.losses(5)


@pytest.mark.parametrize("kind", [TPE, Evolution])
@pytest.mark.parametrize("directions", [("max",), ("max", "min", "min")])
def test_any_number_of_objectives(kind: type[Strategy], directions: tuple[Direction, ...]) -> None:
    strategy = kind(problem(directions=directions))
    for number in range(30):
        depth = strategy.ask(number)["depth"]
        assert isinstance(depth, int)
        strategy.tell(number, (float(depth), 1.0, 2.0)[: len(directions)])
    assert is_of(strategy.space, strategy.ask(30))


def test_another_answer_on_record_is_refused() -> None:
    strategy = TPE(problem())
    other = TPE(problem(seed=1)).ask(0)
    with pytest.raises(ReplayError, match="question 0 was answered otherwise"):
        strategy.restore(0, other)


def test_a_space_of_one_genotype() -> None:
    one = Space("one", tuple(type(c)(c.name, c.values[:1], c.ordered) for c in small_space()))
    for kind in (TPE, Grid):
        strategy = kind(problem(one))
        assert [strategy.ask(number) for number in range(2)] == [one.sample(strategy.random(0))] * 2

"""NNI's tuners behind ask and tell."""

from __future__ import annotations

import random
from math import prod

import numpy as np
import pytest

from search.outcomes import Failure
from search.strategies import Strategy
from search.strategies.nni.strategy import POPULATION
from search.strategies.nni.tuners import TPE, Evolution, Grid, Random
from spaces.space import Space, chain_space
from tests.search.studies import is_of, problem

TINY = chain_space(
    "tiny", blocks=("ghost", "rfdb"), widths=(8, 12), depths=(1,), upsamplers=("pixelshuffle",)
)


def make(kind: type[Strategy], space: Space | None = None, seed: int = 0) -> Strategy:
    return kind(problem(space, seed=seed))


@pytest.mark.parametrize("kind", [Random, Grid])
def test_all_genotypes_once_and_then_known_ones(kind: type[Strategy]) -> None:
    size = prod(len(choice.values) for choice in TINY)
    strategy = make(kind, TINY)
    asked = [tuple(strategy.ask(number).values()) for number in range(size + 5)]
    assert len(set(asked[:size])) == size
    assert set(asked[size:]) <= set(asked[:size])


def test_the_grid_goes_in_an_order_of_the_seed() -> None:
    assert make(Grid, seed=0).ask(0) != make(Grid, seed=1).ask(0)


def test_tpe_never_repeats_itself_in_a_large_space() -> None:
    strategy = make(TPE)
    asked = []
    for number in range(60):
        genotype = strategy.ask(number)
        asked.append(tuple(genotype.values()))
        strategy.tell(number, (float(str(genotype["depth"])), 1.0))
    assert len(set(asked)) == 60


@pytest.mark.parametrize("kind", [TPE, Evolution])
def test_what_is_told_last_counts(kind: type[Strategy]) -> None:
    """A first guess that is taken back leaves no trace in later proposals."""
    straight, corrected = make(kind), make(kind)
    for number in range(40):
        assert straight.ask(number) == corrected.ask(number)
        value = (float(number % 7), float(number % 5))
        corrected.tell(number, (9.0, 0.0))
        corrected.tell(number, value)
        straight.tell(number, value)


@pytest.mark.parametrize("kind", [TPE, Evolution])
def test_failing_after_values_is_accepted(kind: type[Strategy]) -> None:
    strategy = make(kind)
    for number in range(POPULATION + 5):
        strategy.ask(number)
        strategy.tell(number, (1.0, 1.0))
        strategy.tell(number, Failure())
    assert is_of(strategy.space, strategy.ask(POPULATION + 5))


def test_evolution_with_more_running_than_its_population() -> None:
    strategy = make(Evolution)
    found = [strategy.ask(number) for number in range(3 * POPULATION)]
    assert all(is_of(strategy.space, genotype) for genotype in found)
    assert len({repr(genotype) for genotype in found}) > POPULATION


def test_evolution_leaves_global_random_numbers_alone() -> None:
    states = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    strategy = make(Evolution)
    for number in range(30):
        strategy.ask(number)
        strategy.tell(number, (1.0, float(number)))
    assert states == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index, union-attr]

"""Strategies of nni.nas through our engine."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from results.store.store import Store
from search.strategies import Strategy
from search.strategies.nni import nas, tuners
from search.strategies.nni.strategy import POPULATION
from spaces.budget import Budget
from spaces.space import Genotype
from tests.search.studies import BUDGET, TASK, InProcess, is_of, new_search, new_study, problem


def make(kind: type[Strategy], seed: int = 0, budget: Budget = BUDGET) -> Strategy:
    return kind(problem(seed=seed, budget=budget))


def asked(strategy: Strategy, questions: int) -> Iterator[Genotype]:
    """With three always running."""
    for number in range(questions):
        genotype = strategy.ask(number)
        yield genotype
        if number >= 3:
            strategy.tell(number - 3, (float(number % 7), float(number % 5)))


def test_tpe_is_the_same_by_the_engine_as_by_ask_and_tell() -> None:
    assert list(asked(make(nas.TPE), 50)) == list(asked(make(tuners.TPE), 50))


def test_evolution_with_more_running_than_its_population_and_none_told() -> None:
    strategy = make(nas.RegularizedEvolution)
    found = [strategy.ask(number) for number in range(2 * POPULATION)]
    assert all(is_of(strategy.space, genotype) for genotype in found)
    assert len({repr(genotype) for genotype in found}) > POPULATION


def test_children_are_of_those_told_best_last() -> None:
    """What was told first is taken back: parents are those that the last values say."""
    one, other = make(nas.RegularizedEvolution), make(nas.RegularizedEvolution)
    for number in range(40):
        assert one.ask(number) == other.ask(number)
        one.tell(number, (9.0, 0.0))
        for strategy in (one, other):
            strategy.tell(number, (float(number % 7), float(number % 5)))


def test_the_filter_asks_for_nothing_over_the_budget() -> None:
    budget = Budget(TASK, 0.5)
    strategy = make(nas.FilteredEvolution, budget=budget)
    found = list(asked(strategy, 40))
    assert all(budget.allows(strategy.space, genotype) for genotype in found)
    free = list(asked(make(nas.RegularizedEvolution), 40))
    assert not all(budget.allows(strategy.space, genotype) for genotype in free)


def test_a_budget_that_nothing_meets_as_it_is() -> None:
    strategy = make(nas.FilteredEvolution, budget=Budget(TASK, 1e-6))
    with pytest.raises(ValueError, match="1000 architectures in a row .* take 'nni-regularized-evolution'"):
        strategy.ask(0)


def test_threads_end_with_their_strategy() -> None:
    before = threading.active_count()
    for kind in (nas.Random, nas.TPE, nas.RegularizedEvolution, nas.FilteredEvolution):
        strategy = make(kind)
        list(asked(strategy, 20))
        assert threading.active_count() == before + 1
        threads = set(threading.enumerate())
        del strategy
        gc.collect()
        for thread in threads - {threading.current_thread()}:
            if thread.daemon:
                thread.join(5)
        assert threading.active_count() == before


@pytest.mark.parametrize("strategy", ["nni-tpe", "nni-filtered-evolution"])
def test_a_search_by_our_engine(strategy: str, tmp_path: Path) -> None:
    with Store.open(tmp_path / "db", create=True) as store:
        study = new_study(store)
        search = new_search(store, study, InProcess(), tmp_path, trials=12, strategy=strategy)
        assert search.run() == "trials"
        assert search.tally.complete == 12

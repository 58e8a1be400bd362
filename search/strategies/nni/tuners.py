"""NNI's tuners that work on today's Python: TPE, evolution, random and grid search."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import nni
import numpy as np
from nni.algorithms.hpo.evolution_tuner import EvolutionTuner
from nni.algorithms.hpo.gridsearch_tuner import GridSearchTuner
from nni.algorithms.hpo.random_tuner import RandomTuner
from nni.algorithms.hpo.tpe_tuner import TpeTuner
from nni.common.hpo_utils import Deduplicator, format_search_space

from search.outcomes import Failure, Outcome
from search.strategies import StrategyProblem
from search.strategies.nni.strategy import POPULATION, Indices, NNIStrategy, indices


def _choices(sizes: dict[str, int]) -> dict[str, Any]:
    """NNI's description of choices among so many values."""
    return {name: {"_type": "choice", "_value": list(range(size))} for name, size in sizes.items()}


class Random(NNIStrategy):
    """Uniform random search that never asks for a genotype twice."""

    learns = False

    def __init__(self, problem: StrategyProblem):
        super().__init__(problem)
        self._proposed = Deduplicator(format_search_space(_choices(self.sizes)))

    def propose(self, number: int) -> Mapping[str, float] | None:
        tuner = RandomTuner(seed=self.seed_of(number))
        tuner.update_search_space(_choices(self.sizes))
        tuner.dedup = self._proposed
        return _next(tuner, number)


class TPE(NNIStrategy):
    """Tree-structured Parzen estimator, one choice at a time."""

    def propose(self, number: int) -> Mapping[str, float]:
        return HistoryTPE(self, number).generate_parameters(number)


class HistoryTPE(TpeTuner):
    """A TPE tuner with a strategy's history as it is worth to question ``number``.

    Ordered choices are intervals to it: of categories it nearly always takes the likeliest (its 24 candidates see
    them all).

    Our deviation: where it repeats itself, one choice after another is drawn at random until the genotype is new. NNI
    would take the next of a grid from the space's corner.
    """

    def __init__(self, strategy: NNIStrategy, number: int):
        super().__init__("minimize", seed=strategy.seed_of(number))
        self._asked, self._sizes = strategy.asked, strategy.sizes
        self._number, self._random = number, strategy.random(f"instead of {number}")
        ordered = {choice.name for choice in strategy.space if choice.ordered}
        intervals = {
            n: {"_type": "uniform", "_value": [0, strategy.sizes[n]]} for n in strategy.sizes if n in ordered
        }
        self.update_search_space({**_choices(strategy.sizes), **intervals})
        known = strategy.losses(number)
        for question, found in strategy.asked.items():
            if isinstance(strategy.outcomes.get(question), Failure):
                continue
            # As if it had proposed it.
            self._running_params[question] = {(n,): i + 0.5 if n in ordered else i for n, i in found.items()}
            if question in known:
                super().receive_trial_result(question, None, known[question])

    def generate_parameters(self, parameter_id: int, **kwargs: Any) -> Indices:
        found = indices(super().generate_parameters(self._number), self._sizes)
        for name in self._random.sample(list(found), len(found)):
            if found not in self._asked.values():
                break
            found[name] = self._random.randrange(self._sizes[name])
        return found

    def receive_trial_result(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the next question's tuner has it from the strategy."""


def _next(tuner: Any, number: int) -> Mapping[str, float] | None:
    try:
        return tuner.generate_parameters(number)
    except nni.NoMoreTrialError:
        return None


class Grid(NNIStrategy):
    """Grid search, in an order of choices and values that the seed draws.

    Else a search that ends early would have seen one corner of the space, whatever the seed.
    """

    learns = False

    def __init__(self, problem: StrategyProblem):
        super().__init__(problem)
        shuffle = self.random("grid")
        names = shuffle.sample(list(self.sizes), len(self.sizes))
        self._values = {name: shuffle.sample(range(self.sizes[name]), self.sizes[name]) for name in names}
        self._tuner = GridSearchTuner()
        if names:
            self._tuner.update_search_space(_choices({name: self.sizes[name] for name in names}))

    def propose(self, number: int) -> Mapping[str, float] | None:
        found = _next(self._tuner, number)
        return (
            None
            if found is None
            else {name: values[int(found[name])] for name, values in self._values.items()}
        )


class Evolution(NNIStrategy):
    """Naive evolution (Real et al. 2017): of two members of the population the better one's mutant replaces the worse.

    Our deviations: NNI draws from Python's and NumPy's global generators, here from ones of the seed's; and where more
    is running than the population holds, a random individual is asked for instead of an error.
    """

    takes_back = False  # who failed after values has been in the population

    def __init__(self, problem: StrategyProblem):
        super().__init__(problem)
        self._tuner = EvolutionTuner("minimize", population_size=POPULATION)
        self._tuner.update_search_space(_choices(self.sizes))
        self._tuner.population = []
        with self._drawing("population"):
            for _ in range(POPULATION):
                self._tuner._random_generate_individual()

    @contextmanager
    def _drawing(self, purpose: object) -> Iterator[None]:
        """The tuner draws from the seed and the purpose; others' random numbers stay as they are."""
        seed = self.random(purpose).getrandbits(31)
        self._tuner.random_state = np.random.RandomState(seed)
        before = random.getstate()
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before)

    def propose(self, number: int) -> Mapping[str, float]:
        known = self.losses(number)
        population = self._tuner.population
        # An individual's ``info`` is its question; those without wait for their turn.
        population[:] = [one for one in population if one.info is None or one.info in known]
        for individual in population:
            individual.result = None if individual.info is None else -known[individual.info]
        with self._drawing(number):
            if not population:
                self._tuner._random_generate_individual()
            return self._tuner.generate_parameters(number)

    def tell(self, number: int, outcome: Outcome) -> None:
        super().tell(number, outcome)
        if number not in self._tuner.running_trials:  # told before
            return
        if isinstance(outcome, Failure):
            with self._drawing(f"instead of {number}"):
                self._tuner.trial_end(number, False)
        else:
            self._tuner.receive_trial_result(number, None, 0.0)  # its worth depends on who asks
            self._tuner.population[-1].info = number

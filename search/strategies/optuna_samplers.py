"""Optuna's samplers by ask and tell: random, TPE, NSGA-II, NSGA-III and Gaussian processes.

The only file that imports optuna. Its study lives in memory: the truth is in our store.
"""

from __future__ import annotations

import random
import warnings
from abc import abstractmethod
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from search.outcomes import Failure, Outcome
from search.strategies import STRATEGIES, ReplayError, Strategy, StrategyProblem
from spaces.architecture import Leaf
from spaces.space import Choice, Genotype

optuna.logging.set_verbosity(optuna.logging.WARNING)

# Optuna's own default of 50 would leave a search of some dozens of trials purely random.
POPULATION = 16


class _Given(BaseSampler):
    """Gives back parameters that are known already."""

    def __init__(self, parameters: dict[str, Any]):
        self._parameters = parameters

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        return self._parameters[param_name]


class _OptunaStrategy(Strategy):
    """One of Optuna's samplers, made anew for each question with a seed of (study seed, question)."""

    takes_given = True
    # NSGA samplers note on each trial which generation it is of, so a replay has to sample again.
    replays = False

    def __init__(self, problem: StrategyProblem):
        super().__init__(problem)
        self._distributions = {c.name: _distribution(c) for c in self.space if len(c.values) > 1}
        self._relative = dict(sorted(self._distributions.items()))  # the order that Optuna's samplers draw in
        self._trials: dict[int, optuna.Trial] = {}
        self._told: dict[int, FrozenTrial] = {}
        self._study = optuna.create_study(
            directions=["maximize" if d == "max" else "minimize" for d in self.directions],
            sampler=_Given({}),
            study_name="pixelfront",
        )

    @abstractmethod
    def sampler(self, seed: int) -> BaseSampler:
        """A new sampler."""

    def ask(self, number: int) -> dict[str, Leaf]:
        seed = random.Random(f"{self.seed} {number}").getrandbits(31)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = self.sampler(seed)
        # All trials have the same parameters; Optuna would find that out again from all of them, each time.
        sampler.infer_relative_search_space = lambda study, trial: self._relative  # type: ignore[method-assign]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            trial = self._ask(sampler, number)
        return {c.name: _value(c, trial.params.get(c.name)) for c in self.space}

    def restore(self, number: int, genotype: Genotype) -> None:
        if self.replays:
            if self.ask(number) != dict(genotype):
                raise ReplayError(
                    f"question {number} was answered otherwise before; was the study made with another optuna? "
                    "Start a new study."
                )
            return
        self._ask(_Given(self._parameters(genotype)), number)

    def give(self, number: int, genotype: Genotype) -> None:
        known = self._parameters(genotype)
        self._study.enqueue_trial({name: known[name] for name in self._distributions})
        self.ask(number)  # so that a sampler notes what it notes on its own

    def _parameters(self, genotype: Genotype) -> dict[str, int]:
        return {c.name: _parameter(c, genotype[c.name]) for c in self.space}

    def tell(self, number: int, outcome: Outcome) -> None:
        values = None if isinstance(outcome, Failure) else list(outcome)
        if (told := self._told.get(number)) is not None:
            # Optuna has no way to tell a trial again, and its study in memory keeps nothing derived from values; to
            # make the study anew would take longer with each trial.
            told.state = TrialState.FAIL if values is None else TrialState.COMPLETE
            told.values = values
            return
        trial = self._trials.pop(number)
        if values is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, values)
        self._told[number] = self._study.get_trials(deepcopy=False)[trial.number]

    def _ask(self, sampler: BaseSampler, number: int) -> optuna.Trial:
        self._study.sampler = sampler
        trial = self._study.ask(self._distributions)
        self._trials[number] = trial
        return trial


def _distribution(choice: Choice) -> BaseDistribution:
    # An ordered choice is searched by its index, so that neighbours are neighbours.
    if choice.ordered:
        return IntDistribution(0, len(choice.values) - 1)
    return CategoricalDistribution(list(range(len(choice.values))))


def _value(choice: Choice, parameter: int | None) -> Leaf:
    return choice.values[parameter or 0]


def _parameter(choice: Choice, value: Leaf) -> int:
    return choice.values.index(value)


@STRATEGIES.add("random")
class RandomStrategy(_OptunaStrategy):
    """Uniform random search."""

    learns = False

    def sampler(self, seed: int) -> BaseSampler:
        return optuna.samplers.RandomSampler(seed=seed)


@STRATEGIES.add("tpe")
class TPEStrategy(_OptunaStrategy):
    """Tree-structured Parzen estimator, multivariate, multi-objective."""

    def sampler(self, seed: int) -> BaseSampler:
        return optuna.samplers.TPESampler(seed=seed, multivariate=True)


@STRATEGIES.add("nsga2")
class NSGA2Strategy(_OptunaStrategy):
    """NSGA-II with a population of 16."""

    replays = True

    def sampler(self, seed: int) -> BaseSampler:
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION)


@STRATEGIES.add("nsga3")
class NSGA3Strategy(_OptunaStrategy):
    """NSGA-III with a population of 16."""

    replays = True

    def sampler(self, seed: int) -> BaseSampler:
        return optuna.samplers.NSGAIIISampler(seed=seed, population_size=POPULATION)


@STRATEGIES.add("gp")
class GPStrategy(_OptunaStrategy):
    """Gaussian processes with expected hypervolume improvement; a second or more a question."""

    fast = False

    def sampler(self, seed: int) -> BaseSampler:
        return optuna.samplers.GPSampler(seed=seed)

"""Strategies of ``nni.nas`` through an execution engine that hands their models to ask and tell.

An NNI strategy is a loop that submits models. It runs in a thread that goes on only while a question is open: what it
submits is the answer, trained by whatever trains the search's other trials (Ray), and its metric comes back as NNI's
events while the thread waits. So the order is that of the questions, and a seed means one sequence.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

from nni.mutable import Categorical, MutableDict
from nni.nas.execution import ExecutionEngine
from nni.nas.execution.event import FinalMetricEvent, TrainingEndEvent
from nni.nas.space import ExecutableModelSpace, ModelStatus

from search.outcomes import Failure, Outcome
from search.strategies import StrategyProblem
from search.strategies.nni.strategy import POPULATION, Indices, NNIStrategy, indices
from search.strategies.nni.tuners import HistoryTPE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it looks at all of torch.nn, and finds things that it doesn't know
    from nni.nas import strategy as nas
    from nni.nas.strategy import hpo
    from nni.nas.strategy.evolution import Individual
    from nni.nas.strategy.middleware import Chain, Filter

# NNI's TPE waits for a second after each model; our engine makes it wait for its turn.
hpo.time = SimpleNamespace(sleep=lambda seconds: None)

REFUSALS = 1000  # in a row by the filter: NNI's own default


class _Models(ExecutableModelSpace):
    """Genotypes, frozen without building anything."""

    def __init__(self, mutables: MutableDict, sample: Indices | None = None):
        super().__init__(ModelStatus.Initialized if sample is None else ModelStatus.Frozen)
        self.mutables = mutables
        self.sample = sample
        self.evaluator = None

    def freeze(self, sample: Mapping[str, float]) -> _Models:
        found = indices(sample, {name: len(choice.values) for name, choice in self.mutables.items()})
        self.validate(found)
        return _Models(self.mutables, found)

    def check_contains(self, sample: Indices) -> Any:
        return self.mutables.check_contains(sample)

    def leaf_mutables(self, is_leaf: Callable[[Any], bool]) -> Iterable[Any]:
        return self.mutables.leaf_mutables(is_leaf)


class Turns(ExecutionEngine):
    """An engine on which a strategy's thread waits for its turn: one model, then it waits again."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.Semaphore(0)
        self._waiting = threading.Semaphore(0)
        self._submitted: list[Any] = []
        self._error: BaseException | None = None
        self._open = True

    def start(self, run: Callable[[], None]) -> None:
        """Let ``run`` go on in a thread of its own until it waits for its turn."""
        threading.Thread(target=self._run, args=(run,), daemon=True).start()
        self._waiting.acquire()

    def next_model(self) -> Any:
        """The next model that is submitted; None if the strategy has ended.

        Raises: Exception: what it raised.
        """
        while not self._submitted and self._open:
            self._turn.release()
            self._waiting.acquire()
        if self._error is not None:
            raise self._error
        return self._submitted.pop() if self._submitted else None

    def close(self) -> None:
        """End the thread."""
        self._open = False
        self._turn.release()

    def _run(self, run: Callable[[], None]) -> None:
        try:
            run()
        except Exception as error:  # noqa: BLE001 (raised in the thread that asks)
            self._error = error
        self._open = False
        self._waiting.release()

    # What strategies call

    def submit_models(self, *models: Any) -> None:
        self._submitted += models

    def idle_worker_available(self) -> bool:
        self._waiting.release()
        self._turn.acquire()
        return self._open

    def budget_available(self) -> bool:
        return self._open

    def list_models(self, status: ModelStatus | None = None) -> Iterable[Any]:
        return []


class _NASStrategy(NNIStrategy):
    """A strategy of ``nni.nas``."""

    def __init__(self, problem: StrategyProblem):
        super().__init__(problem)
        self._models: dict[int, Any] = {}
        self._space = _Models(
            MutableDict({name: Categorical(range(size), label=name) for name, size in self.sizes.items()})
        )
        self._engine = Turns()
        self._algorithm = self.algorithm()
        weakref.finalize(self, self._engine.close)

    def algorithm(self) -> Any:
        """NNI's strategy."""
        raise NotImplementedError

    def prepare(self, number: int) -> None:
        """Tell the strategy what its history is worth to the question."""

    def propose(self, number: int) -> Mapping[str, float] | None:
        if number == 0:
            # Of what the thread holds nothing may hold this strategy, whose end is the thread's.
            self._engine.start(partial(self._algorithm, self._space, self._engine))
        self.prepare(number)
        model = self._engine.next_model()
        if model is None:
            return None
        self._models[number] = model
        return model.sample

    def tell(self, number: int, outcome: Outcome) -> None:
        super().tell(number, outcome)
        model = self._models.pop(number, None)
        if model is None:  # told before, or not NNI's
            return
        if not isinstance(outcome, Failure):
            self._engine.dispatch_model_event(FinalMetricEvent(model, 0.0))  # its worth depends on who asks
        status = ModelStatus.Failed if isinstance(outcome, Failure) else ModelStatus.Trained
        self._engine.dispatch_model_event(TrainingEndEvent(model, status))


class Random(_NASStrategy):
    """Uniform random search."""

    learns = False

    def algorithm(self) -> Any:
        return nas.Random(seed=self.seed_of(0))


class TPE(_NASStrategy):
    """The TPE tuner, as ``nni.nas`` wraps it."""

    def algorithm(self) -> Any:
        return nas.TPE()

    def prepare(self, number: int) -> None:
        self._algorithm.tuner = HistoryTPE(self, number)


class _Evolution(nas.RegularizedEvolution):
    """Asks for a random individual where all of the population is still running, instead of an error."""

    def new_individual(self) -> Any:
        return super().new_individual() if self._population else self.random()


class RegularizedEvolution(_NASStrategy):
    """Regularised evolution (Real et al. 2019): the best of four members has a child, and the oldest member goes."""

    def algorithm(self) -> Any:
        self._evolution = _Evolution(
            population_size=POPULATION, sample_size=POPULATION // 4, seed=self.seed_of(0)
        )
        return self._evolution

    def prepare(self, number: int) -> None:
        youngest = list(self.losses(number).items())[
            -POPULATION:
        ]  # in the order in which they were first told
        self._evolution._population = deque(Individual(self.asked[one], -loss) for one, loss in youngest)


class _Gate:
    """Whether a model's genotype is within the budget."""

    def __init__(self, problem: StrategyProblem):
        self._problem = problem
        self._refused = 0

    def __call__(self, model: Any) -> bool:
        """Whether the genotype is within the budget.

        Raises: ValueError: after very many in a row that aren't.
        """
        genotype = {c.name: c.values[model.sample.get(c.name, 0)] for c in self._problem.space}
        passes = self._problem.allows(genotype)
        self._refused = 0 if passes else self._refused + 1
        if self._refused == REFUSALS:
            raise ValueError(
                f"strategy 'nni-filtered-evolution': {REFUSALS} architectures in a row aren't within the budget: take "
                "'nni-regularized-evolution', which has them made narrower"
            )
        return passes


class _Filter(Filter):
    def wait_models(self, *models: Any) -> None:
        """Nothing: at its end NNI would go through models that the filter doesn't keep, with a warning."""


class FilteredEvolution(RegularizedEvolution):
    """Regularised evolution chained with NNI's ``Filter``: what is over the budget isn't asked for, nor repaired."""

    def algorithm(self) -> Any:
        gate = _Gate(self.problem)
        return Chain(super().algorithm(), _Filter(gate, patience=REFUSALS + 1, retain_history=False))

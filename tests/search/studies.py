"""Small studies for the search's tests: a real store and engine, evaluations that take no time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from random import Random
from typing import Any

from evaluators.training.recipe import two_stages
from evaluators.trial import Finished, Job, Paused, RungReached, evaluate
from results.store.schema import Study, Trial
from results.store.store import Store
from search.loop.asktell import AskTell, Judge
from search.loop.engine import Limits, Search
from search.loop.halving import Halving
from search.loop.inheritance import inheriting
from search.planning.plan import Ladder
from search.strategies import STRATEGIES, Strategy, StrategyProblem
from search.study.opening import Opened
from search.workers.pool import Ended, Taken
from spaces.architecture import Architecture
from spaces.budget import Budget, extreme
from spaces.build import cost
from spaces.measurement import Direction, Measurement
from spaces.objectives import Objective
from spaces.space import Genotype, Space, chain_space
from spaces.task import Task

TASK = Task("sr-x4", scale=4)
PROTOCOL = "Y, 8-bit, border 4, on test (0123456789ab)"
OBJECTIVE = ("psnr_y", PROTOCOL)
OBJECTIVES = (Objective("psnr", *OBJECTIVE), Objective("gmacs", "macs", "exact, 3x256x256"))
BUDGET = Budget(TASK, 2.0)


def small_space() -> Space:
    return chain_space(
        "small",
        blocks=("rfdb", "ghost", "residual"),
        widths=(8, 12, 16, 24),
        depths=(1, 2, 3),
        upsamplers=("pixelshuffle", "transposed"),
    )


def problem(
    space: Space | None = None,
    *,
    budget: Budget = BUDGET,
    directions: tuple[Direction, ...] = ("max", "min"),
    seed: int = 0,
    reference: tuple[float | None, ...] = (),
) -> StrategyProblem:
    """The problem of a small search, whose last objective of several is GMACs."""
    unknown = (None,) * (len(directions) - 1)
    return StrategyProblem(
        space or small_space(),
        budget,
        directions,
        seed,
        (lambda candidate: (*unknown, candidate.gmacs)) if unknown else None,
        reference,
    )


def is_of(space: Space, genotype: Genotype) -> bool:
    """Whether a genotype has a value that is offered for each choice, and nothing else."""
    return genotype.keys() == space.by_name.keys() and all(
        value in space.by_name[name].values for name, value in genotype.items()
    )


def psnr(architecture: str) -> Measurement:
    found = Architecture.from_json(architecture)
    value = 28 + 0.3 * cost(found, TASK).gmacs() + Random(found.digest).random()
    return Measurement("psnr_y", value, "dB", "max", PROTOCOL)


def instant(job: Job, data: Any = None) -> Iterator[Any]:
    """An evaluation without training; its score depends on the architecture alone."""
    scores = (psnr(job.architecture),)
    for rung in job.rungs:
        yield RungReached(rung, 0.1, 0.01 * rung, scores, b"state")
    yield Finished(1.0, scores, b"weights") if rung == job.recipe.steps else Paused()


LADDER = (2, 6, 18)


def learning(job: Job, data: Any = None) -> Iterator[Any]:
    """An evaluation along a learning curve of the architecture's own, from its checkpoint."""
    final, gain = psnr(job.architecture).value, 1 + Random(job.architecture).random()
    begun = 0 if job.checkpoint is None else int(job.checkpoint)
    scores = (Measurement("psnr_y", final, "dB", "max", PROTOCOL),)
    for rung in job.rungs:
        if rung > begun:
            scores = (Measurement("psnr_y", final - gain * (1 - rung / 18), "dB", "max", PROTOCOL),)
            yield RungReached(rung, 0.1, 0.01 * rung, scores, b"%d" % rung)
    yield Finished(0.2, scores, b"weights") if job.rungs[-1] == job.recipe.steps else Paused()


def job_of_ladder(trial: Trial, checkpoint: bytes | None, seconds: float) -> Job:
    return Job(trial.architecture, "sr-x4", two_stages(18), LADDER, trial.number, checkpoint=checkpoint)


class InProcess:
    """Runs evaluations in this process, finishing them in an order drawn at random."""

    def __init__(self, evaluate: Any = instant, *, capacity: int = 2, seed: int = 0):
        self._evaluate = evaluate
        self.capacity = capacity
        self._random = Random(seed)
        self._streams: dict[tuple[int, int], deque[Any]] = {}  # by when it was started, and its key
        self._begun: list[int] = []
        self.started: list[int] = []
        self.cancelled = False

    @property
    def free(self) -> int:
        return self.capacity - len(self._streams)

    def start(self, key: int, job: Job) -> None:
        self.started.append(key)
        self._streams[len(self.started), key] = deque([*self._evaluate(job), Ended()])
        self._begun.append(key)

    def events(self, timeout_s: float) -> Iterable[tuple[int, Any]]:
        while self._begun:
            yield self._begun.pop(0), Taken()
        chosen = self._random.choice(list(self._streams))
        event = self._streams[chosen].popleft()
        if not self._streams[chosen]:
            del self._streams[chosen]
        yield chosen[1], event

    def cancel(self, keys: Container[int]) -> None:
        self._streams.clear()
        self._begun.clear()
        self.cancelled = True


def with_pool(opened: Opened, work: Any = None, **options: Any) -> Opened:
    """The study with a pool in this process, which really trains unless told otherwise."""
    pool = InProcess(work or partial(evaluate, data=opened.bench.data), **options)
    return replace(opened, pool=lambda: pool)


def noting(opened: Opened) -> tuple[Opened, list[Job]]:
    """The study with a pool that trains, and the jobs that it is given."""
    jobs: list[Job] = []

    def noted(job: Job) -> Iterator[Any]:
        jobs.append(job)
        return evaluate(job, opened.bench.data)

    return with_pool(opened, noted), jobs


def new_study(store: Store, name: str = "test") -> Study:
    return store.create_study(
        name,
        task="sr-x4",
        strategy="tpe",
        seed=0,
        space_name="small",
        space_digest=small_space().digest,
        space={},
        data_digest="-",
        data={"objective": list(OBJECTIVE), "cost_input": "3x256x256"},
        config={"convention": "exact"},
        environment={},
    )


def job(trial: Trial, checkpoint: bytes | None, seconds: float) -> Job:
    return Job(trial.architecture, "sr-x4", two_stages(20), (10, 20), trial.number, checkpoint=checkpoint)


def new_search(
    store: Store,
    study: Study,
    pool: Any,
    folder: Path,
    *,
    trials: int = 12,
    seconds: float | None = None,
    strategy: str | Callable[[StrategyProblem], Strategy] = "tpe",
    seed: int = 0,
    window: int = 4,
    retries: int = 2,
    space: Space | None = None,
    observer: Any = None,
    eta: float | None = None,
    ordered: bool = True,
    steps: int | None = None,
    worker_hours: float | None = None,
    judge: Judge | None = None,
    inherit: bool = False,
    origin: dict[str, Any] | None = None,
    budget: Budget = BUDGET,
    ladder: Ladder | None = None,
    **options: Any,
) -> Search:
    """A search of the study, going on from whatever the store holds."""
    create = STRATEGIES[strategy].create if isinstance(strategy, str) else strategy
    asks = store.asks(study.id)
    asktell = AskTell(
        create(problem(space, budget=budget, seed=seed)),
        window=window,
        halving=_halving(eta, ladder),
        ordered=ordered,
        recorded=[ask.genotype for ask in asks],
        reports=[ask.told or () for ask in asks],
        judge=judge,
        inherit=inherit,
        cheapest=extreme(space or small_space(), budget, largest=False),
    )
    make = partial(job_of_rungs, ladder) if ladder else job if eta is None else job_of_ladder
    return Search(
        store,
        study.id,
        asktell,
        pool,
        inheriting(make, store, study.id, folder, LADDER) if inherit else make,
        task=TASK,
        objectives=OBJECTIVES,
        folder=folder,
        limits=Limits(trials, seconds, steps, worker_hours),
        retries=retries,
        observer=observer,
        origin=origin,
        ladder=ladder,
        **options,
    )


def _halving(eta: float | None, ladder: Ladder | None) -> Halving | None:
    if ladder is not None:
        return Halving(ladder.pauses, ladder.eta if ladder.eta > 1 else inf, ("max", "min"))
    return None if eta is None else Halving(LADDER, eta, ("max", "min"))


def job_of_rungs(ladder: Ladder, trial: Trial, checkpoint: bytes | None, seconds: float) -> Job:
    return Job(
        trial.architecture,
        "sr-x4",
        two_stages(ladder.steps),
        ladder.rungs,
        trial.number,
        checkpoint=checkpoint,
    )


def genotypes(store: Store, study: Study) -> list[Any]:
    return [ask.genotype for ask in store.asks(study.id)]

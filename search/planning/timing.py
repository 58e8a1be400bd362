"""Times the workers that are to train, before a search within a time: what the plan is made from."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean, harmonic_mean, median

from evaluators.measure.timing import NetworkTime, Timed, TimingJob
from evaluators.training.recipe import Recipe
from search.planning.pace import Clock, Pace, Sample, fit
from search.workers.pool import Ended, Lost, Pool, Raised
from search.workers.ray_workers import ClusterError
from spaces.architecture import Architecture
from spaces.budget import Budget, Candidate, extreme
from spaces.build import cost
from spaces.cost import Cost
from spaces.space import Space
from spaces.task import Task

SHARE_OF_TIME = 0.05
LONGEST_S = 20.0
LONGEST_WAIT_S = 300.0  # for a worker that says nothing, where no time is limited
MOST_WORKERS = 64  # that are timed at once
NETWORKS = 6
SAMPLES = 48


@dataclass(frozen=True)
class NodeTime:
    """One node's workers: their number, and typical seconds a step."""

    node: str
    workers: int
    step_s: float


@dataclass(frozen=True)
class Measured:
    """What the workers take.

    Attributes:
        up_s: Until a worker was up: its process, imports and data.
        memory_bytes: Peak memory of a worker.
        nodes: Empty on one machine.
    """

    pace: Pace
    up_s: float
    memory_bytes: int
    nodes: tuple[NodeTime, ...] = ()


class TimingError(ClusterError):
    """Workers couldn't be timed."""


def sample_costs(space: Space, budget: Budget, *, count: int = SAMPLES) -> tuple[Candidate, ...]:
    """Networks that the space offers within the budget: the cheapest, the dearest, and random ones."""
    random = Random(0)
    ends = [budget.fit(space, extreme(space, budget, largest=largest)) for largest in (False, True)]
    others = [budget.fit(space, space.sample(random)) for _ in range(count)]
    return tuple(candidate for candidate in (*ends, *others) if candidate is not None)


def to_time(candidates: Sequence[Candidate]) -> tuple[Architecture, ...]:
    """A few of them, from cheap to dear: enough to tell how seconds follow costs."""
    first, *others = candidates
    ranked = sorted(others, key=lambda candidate: candidate.cost.activations)
    count = min(NETWORKS - 1, len(ranked))
    picked = [ranked[round(i * (len(ranked) - 1) / max(1, count - 1))] for i in range(count)]
    # The dearest early: where time is short the ends say most.
    order = [first, *picked[-1:], *picked[: count // 2], *picked[count // 2 : -1]]
    return tuple(dict.fromkeys(candidate.architecture for candidate in order))


def limit_s(seconds: float | None) -> float:
    """How long the timing may take within so many seconds of a search."""
    return LONGEST_S if seconds is None else min(LONGEST_S, SHARE_OF_TIME * seconds)


def time_workers(
    pool: Pool,
    architectures: Sequence[Architecture],
    task: Task,
    recipe: Recipe,
    *,
    seconds: float | None = None,
    device: str = "cpu",
    threads: int = 1,
    clock: Clock = time.monotonic,
) -> Measured:
    """Time a few networks on all workers at once, as they will train.

    Args:
        seconds: That the search has; the timing takes a twentieth of it, at most.

    Raises: TimingError: if a worker fails or doesn't answer.
    """
    job = TimingJob(
        tuple(each.to_json() for each in architectures), task.name, recipe, limit_s(seconds), device, threads
    )
    workers = max(1, min(pool.capacity, MOST_WORKERS))
    began = clock()
    until = began + (LONGEST_WAIT_S if seconds is None else max(seconds, 1.0))
    waiting = set(range(-workers, 0))
    for key in waiting:
        pool.start(key, job)
    answers: list[tuple[str, Timed, float]] = []
    nodes: dict[int, str] = {}
    while waiting:
        if clock() > until:
            pool.cancel(waiting)
            raise TimingError(
                f"{len(waiting)} of {workers} workers didn't say within {until - began:.0f} s how fast they train: "
                "give a longer --time, fewer --workers, or leave out --time and give --trials"
            )
        for key, event in pool.events(0.2):
            if isinstance(event, Timed):
                answers.append((nodes.get(key, ""), event, clock() - began - event.seconds))
            elif isinstance(event, Raised | Lost):
                pool.cancel(waiting)
                raise TimingError(f"a worker that was to be timed failed: {event.reason}")
            elif isinstance(event, Ended):
                waiting.discard(key)
            elif (worker := getattr(event, "worker", None)) is not None:
                nodes[key] = worker
    if not answers:
        raise TimingError("no worker said how fast it trains")
    return _measured(answers, task)


def _measured(answers: Sequence[tuple[str, Timed, float]], task: Task) -> Measured:
    by_network: dict[str, list[NetworkTime]] = defaultdict(list)
    by_node: dict[str, list[float]] = defaultdict(list)
    for node, timed, _ in answers:
        by_node[node].append(fmean(network.step_s for network in timed.networks))
        for network in timed.networks:
            by_network[network.architecture].append(network)
    samples = [_sample(architecture, times, task) for architecture, times in by_network.items()]
    nodes = tuple(NodeTime(node, len(steps), fmean(steps)) for node, steps in sorted(by_node.items()) if node)
    memory = max(timed.memory_bytes for _, timed, _ in answers)
    return Measured(fit(samples), max(0.0, median(up for _, _, up in answers)), memory, nodes)


def _sample(architecture: str, times: Sequence[NetworkTime], task: Task) -> Sample:
    """What one network takes; of several workers the mean that gives their throughput."""
    return Sample(
        _cost(architecture, task),
        start_s=fmean(each.start_s for each in times),
        step_s=harmonic_mean([each.step_s for each in times]),
        score_s=fmean(each.score_s for each in times),
        ssim_s=fmean(each.ssim_s for each in times),
    )


def _cost(architecture: str, task: Task) -> Cost:
    return cost(Architecture.from_json(architecture), task)

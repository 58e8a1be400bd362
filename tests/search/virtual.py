"""A pool over virtual time: trainings of any pace, that take no time to test."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from evaluators.trial import Advanced, Finished, Job, Paused, RungReached
from search.planning.pace import Line, Pace, Sample, fit
from search.workers.pool import Ended, Lost, Taken
from spaces.architecture import Architecture
from spaces.build import cost
from spaces.cost import Cost
from spaces.measurement import Measurement
from tests.search.studies import PROTOCOL, TASK, psnr

REPORT_STEPS = 20


@dataclass
class VirtualClock:
    """Seconds that pass only when somebody waits."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Machine:
    """What things take, in virtual seconds.

    Attributes:
        step_s: Of a network's training step, by its cost.
        score_s: Of a scoring.
        start_s: Of a job, until its training begins.
        noise: Each step takes up to so many times as long, at random.
        slower_at, slower_by: From that moment on all takes so many times as long, until ``slower_until``.
        lost_at: Moments at which a worker is lost.
    """

    step_s: Callable[[Cost], float]
    score_s: float = 0.0
    start_s: float = 0.0
    noise: float = 1.0
    slower_at: float = float("inf")
    slower_by: float = 1.0
    slower_until: float = float("inf")
    lost_at: tuple[float, ...] = ()

    def takes(self, seconds: float, since: float) -> float:
        """How long work of so many seconds takes that begins at a moment."""
        if since >= self.slower_until:
            return seconds
        if since < self.slower_at:
            before = min(seconds, self.slower_at - since)
            return before + (self.takes(seconds - before, self.slower_at) if seconds > before else 0.0)
        slow = min(seconds * self.slower_by, self.slower_until - since)
        return slow + seconds - slow / self.slower_by


@dataclass
class _Run:
    key: int
    events: Iterator[tuple[float, Any]]
    at: float = 0.0
    event: Any = None


@dataclass
class VirtualPool:
    """Runs jobs over virtual time; their scores follow a learning curve of the architecture's own."""

    machine: Machine
    clock: VirtualClock
    capacity: int = 2
    seed: int = 0
    queue: int = 0  # jobs at hand for workers that are about to end
    deadline: float = float("inf")  # nobody needs to look before the next event or this
    cancelled: bool = False
    finished_at: list[float] = field(default_factory=list)
    _running: list[_Run] = field(default_factory=list)
    _waiting: list[tuple[int, Job]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)
        self._lost = sorted(self.machine.lost_at)

    @property
    def free(self) -> int:
        return self.capacity + self.queue - len(self._running) - len(self._waiting)

    def start(self, key: int, job: Job) -> None:
        self._waiting.append((key, job))
        self._fill()

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self.capacity:
            key, job = self._waiting.pop(0)
            run = _Run(key, self._events(job), at=self.clock.now)
            self._advance(run)
            self._running.append(run)

    def _advance(self, run: _Run) -> None:
        seconds, run.event = next(run.events)
        run.at += self.machine.takes(seconds, run.at)

    def _events(self, job: Job) -> Iterator[tuple[float, Any]]:
        machine, network = self.machine, cost(Architecture.from_json(job.architecture), TASK)
        yield 0.0, Taken()
        step = 0 if job.checkpoint is None else int(job.checkpoint)
        final, gain = psnr(job.architecture).value, 1 + Random(job.architecture).random()
        begin, scores = machine.start_s, ()
        for rung in job.rungs:
            while step < rung:
                some = min(REPORT_STEPS - step % REPORT_STEPS, rung - step)
                step += some
                spread = 1 + (machine.noise - 1) * self._random.random()
                yield begin + some * machine.step_s(network) * spread, Advanced(step, 0.1)
                begin = 0.0
            value = final - gain * (1 - rung / job.recipe.steps)
            scores = (Measurement("psnr_y", value, "dB", "max", PROTOCOL),)
            yield machine.score_s, RungReached(rung, 0.1, 0.01 * rung, scores, b"%d" % rung)
        done = job.rungs[-1] == job.recipe.steps
        yield 0.0, Finished(0.2, scores, b"weights") if done else Paused()
        yield 0.0, Ended()

    def events(self, timeout_s: float) -> Iterable[tuple[int, Any]]:
        until = self.clock.now + timeout_s
        self._fill()
        if not self._running:
            self.clock.now = until
            return
        run = min(self._running, key=lambda each: each.at)
        if timeout_s:
            until = max(until, min(run.at, self.deadline))
        if run.at > until:
            self.clock.now = until
            return
        self.clock.now = max(self.clock.now, run.at)
        if self._lost and self.clock.now >= self._lost[0]:
            self._lost.pop(0)
            self._running.remove(run)
            yield run.key, Lost("worker lost: killed")
            return
        event = run.event
        if isinstance(event, Finished):
            self.finished_at.append(self.clock.now)
        if isinstance(event, Ended):
            self._running.remove(run)
            self._fill()
        else:
            self._advance(run)
        yield run.key, event

    def cancel(self, keys: Container[int]) -> None:
        self._running.clear()
        self._waiting.clear()
        self.cancelled = True


def timed(machine: Machine, costs: Iterable[Cost]) -> Pace:
    """What timing these networks on the machine gives."""
    samples = [Sample(each, machine.start_s, machine.step_s(each), machine.score_s, 0.0) for each in costs]
    return fit(samples)


def by_gmacs(per_gmac: float, fixed: float = 0.0) -> Callable[[Cost], float]:
    """Seconds a step in proportion to GMACs."""
    return Line(fixed=fixed, per_gmac=per_gmac)

"""What still fits into a search's time: nothing is begun that can't be finished, and survivors keep what they need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from search.planning.pace import Clock, PaceMeter, makespan
from search.planning.plan import Ladder
from spaces.cost import Cost

SLACK = 1.05  # on all that is foreseen
SLACK_BEFORE_FRONT = (
    1.25  # as long as no network is complete: what has no front at its end isn't mended by one more
)
MEMORY = 0.1  # of the time: how far back the pace is looked at


@dataclass(frozen=True)
class Position:
    """Where a job stands that a worker has.

    Attributes:
        step: Of the last that it said, or where it starts.
        heard: When it last said anything; None while it waits for a worker.
        stepped: It has made a step since it started.
    """

    step: int
    heard: float | None
    stepped: bool


class Schedule:
    """Seconds of the jobs of a search, and whether more of them fit.

    Args:
        deadline: By ``clock``; infinite for none.
        worker_seconds: What workers may still spend in all, as of now; infinite for no limit.
        workers: That train at a time, as of now.
    """

    def __init__(
        self,
        meter: PaceMeter,
        ladder: Ladder,
        *,
        clock: Clock,
        workers: Callable[[], int],
        deadline: float = inf,
        worker_seconds: Callable[[], float] = lambda: inf,
    ):
        self.meter = meter
        self.ladder = ladder
        self._clock = clock
        self._workers = workers
        self._deadline = deadline
        self._worker_seconds = worker_seconds
        # What there was too little of when something last didn't fit.
        self.short: Literal["", "time", "worker_hours"] = ""

    def job_s(self, cost: Cost, start: int, end: int, trial: int | None = None) -> float:
        """Seconds of a job from one step to another, of a network of this cost or a trial that was observed."""
        steps, scorings = self.ladder.part(start, end)
        overhead = self.meter.overhead_s(cost, scorings, ssim=end == self.ladder.steps)
        return overhead + steps * self.meter.step_s(cost, trial)

    def left_s(self, cost: Cost, trial: int, position: Position, end: int) -> float:
        """Seconds until a job that a worker has, or will have, is done."""
        if position.heard is None:
            return self.job_s(cost, position.step, end, trial)
        silent = self._clock() - position.heard
        steps, scorings = self.ladder.part(position.step, end)
        overhead = self.meter.overhead_s(
            cost, scorings, ssim=end == self.ladder.steps, start=not position.stepped
        )
        step_s = self.meter.step_s(cost, trial)
        if position.stepped and steps:
            step_s = self.meter.silent(trial, cost, silent)
        return max(0.0, overhead + steps * step_s - silent)

    def fits(
        self, job: float, *, ahead: Sequence[float] = (), kept: Sequence[float] = (), slack: float = SLACK
    ) -> bool:
        """Whether a job of so many seconds can be done in time, after and beside others.

        Args:
            ahead: Seconds left of the jobs that are chosen.
            kept: Seconds of those that have to be possible still.
            slack: How many times as long all of it may take.
        """
        jobs = [*ahead, *kept, job]
        if self._clock() + slack * makespan(jobs, self._workers()) > self._deadline:
            self.short = "time"
            return False
        if slack * sum(jobs) > self._worker_seconds():
            self.short = "worker_hours"
            return False
        return True

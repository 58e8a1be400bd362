"""Keeps the stages after a search within the command's time: how long they may train, and how many networks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from statistics import median

from results.store.schema import Trial
from search.planning.pace import Pace, PaceMeter, makespan
from search.planning.plan import LEAST_STEPS, Ladder, rounded, whole_s
from search.study.opening import Opened
from spaces.architecture import Architecture
from spaces.build import cost
from spaces.cost import Cost

USED = 0.85  # of what is left
PRUNING = 0.4  # of it at most, where more than one network is pruned
RECENT = 8  # trials whose times tell how far the machine has drifted from its timing
MOST_TIMES = 10  # as long as a training of the search
FORWARD = 1 / 3  # of a training step, that a teacher's forward pass takes


@dataclass(frozen=True)
class Training:
    """A training that is to be planned: a network, and its teacher if it is trained with one."""

    student: Cost
    teacher: Cost | None = None


@dataclass
class StageTime:
    """What is left for the stages, in seconds.

    Attributes:
        ends: When they have to be done, by ``time.monotonic``; infinite without a limit.
        teaching: How many times the validation images' pixels teachers have to see, where their outputs are kept.
    """

    ends: float
    pace: Pace | None
    drift: float = 1.0
    workers: int = 1
    teaching: float | None = None
    _prunings: list[float] = field(default_factory=list)

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return isfinite(self.ends) and self.pace is not None

    def left(self) -> float:
        """Seconds."""
        return self.ends - time.monotonic()

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self.left() <= 0

    def meter(self) -> PaceMeter:
        """The pace, as far as it is known now."""
        return PaceMeter(self.pace, memory_s=max(1.0, self.left() / 10), drift=self.drift)

    def pruned(self, seconds: float) -> None:
        """Take note of what pruning one network took."""
        self._prunings.append(seconds)

    def may_prune(self, made: int) -> bool:
        """Whether another network may be pruned, beside those made, so that their training isn't starved."""
        if not self.limited or made == 0 or not self._prunings:
            return True
        spent = sum(self._prunings)
        return spent + median(self._prunings) <= PRUNING * (self.left() + spent)

    def seconds(self, task: Training, ladder: Ladder) -> float:
        """Of one training on one worker."""
        assert self.pace is not None
        own = whole_s(self.pace, task.student, ladder)
        if task.teacher is None:
            return self.drift * own
        if self.teaching is None:
            return self.drift * (own + FORWARD * ladder.steps * self.pace.step(task.teacher))
        return self.drift * (own + self.teaching * self.pace.scoring(task.teacher))

    def steps(self, tasks: Sequence[Training], ladder: Ladder, *, share: float = 1.0) -> int | None:
        """Steps that these trainings may take, all of them; None if there isn't the time for a short one.

        Args:
            ladder: Of a training of the search, which theirs is not much longer than.
            share: Of the time left.
        """
        low, high = 0, MOST_TIMES * ladder.steps
        while high - low > max(1, low // 50):
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._fit(tasks, middle, share) else (low, middle - 1)
        return None if low < LEAST_STEPS else rounded(low)

    def _fit(self, tasks: Sequence[Training], steps: int, share: float) -> bool:
        rungs = tuple(sorted({max(1, steps * k // 4) for k in range(1, 5)}))
        ladder = Ladder(rungs, (steps,))
        return (
            makespan([self.seconds(task, ladder) for task in tasks], self.workers)
            <= USED * share * self.left()
        )

    def fitting(self, tasks: Sequence[Training], ladder: Ladder) -> int:
        """How many of these trainings, from the first on, can be done in time."""
        if not self.limited:
            return len(tasks)
        count = 0
        while count < len(tasks) and (
            makespan([self.seconds(task, ladder) for task in tasks[: count + 1]], self.workers) <= self.left()
        ):
            count += 1
        return count


def stage_time(opened: Opened, *, teaching: float | None = None) -> StageTime:
    """What is left of the command's time before the hand-over."""
    kept = 0.0 if opened.plan is None else opened.plan.hand_over_s
    measured = opened.measured
    if measured is None or not isfinite(opened.ends):
        return StageTime(inf, None)
    if opened.plan is None:
        kept = 3 * measured.up_s
    return StageTime(
        opened.ends - kept,
        measured.pace,
        drift=_drift(opened, measured.pace),
        workers=max(1, opened.pool().capacity),
        teaching=teaching,
    )


def _drift(opened: Opened, pace: Pace) -> float:
    """How many times as long as foreseen the latest trials took."""
    bench = opened.bench
    rungs, ratios = bench.config.rungs, []
    ladder = Ladder(rungs, (rungs[-1],))
    done = opened.store.trials(opened.study.id, states=["complete"], stages=["search"])
    for trial in sorted(done, key=lambda each: each.finished_at or each.created_at)[-RECENT:]:
        expected = whole_s(pace, cost_of(trial, opened), ladder)
        if trial.seconds and expected > 0:
            ratios.append(trial.seconds / expected)
    return max(0.5, median(ratios)) if ratios else 1.0


def cost_of(trial: Trial, opened: Opened) -> Cost:
    """The cost of a trial's network."""
    return cost(Architecture.from_json(trial.architecture), opened.bench.task.interface)

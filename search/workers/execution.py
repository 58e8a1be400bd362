"""Runs recorded trials on workers to their end: rungs, checkpoints, weights and failures go on record.

The store's only writer meanwhile. Nothing here knows Ray, or where trials come from.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from evaluators.trial import Advanced, Failed, Finished, Job, Paused, RungReached
from results.store.schema import Artifact, Trial
from results.store.store import Store
from search.loop.inheritance import checkpoint_path, start_path
from search.planning.pace import Clock
from search.workers.pool import Ended, Lost, Pool, Raised, Taken
from spaces.cost import CONVENTIONS, Cost
from spaces.measurement import Measurement
from spaces.task import Task


@dataclass
class Running:
    """A trial that the pool has: where it stands.

    Attributes:
        key: Tells its events from others.
        since: When a worker began with it, by the execution's clock; None while it waits for one.
        heard: When it last said anything.
        begun: The step that this worker began at.
        stepped_s: Seconds of the steps that it has made since it began; None before the first.
    """

    key: int
    trial: Trial
    attempt: int
    steps: int
    step: int = 0
    loss: float | None = None
    since: float | None = None
    heard: float | None = None
    stepped_s: float | None = None
    begun: int = 0


@dataclass
class Tally:
    """What a run has done so far, for whoever shows it; the counts of questions and the steps are a search's.

    Attributes:
        paused: Trials that rest at a rung now.
        running: By their keys.
        steps: Training steps of all jobs chosen; those that a lost worker did in vain aren't in it.
        worker_seconds: That workers spent on trials that they no longer have.
        clock: What the times of those that run are by.
    """

    trials: int = 0
    complete: int = 0
    failed: int = 0
    paused: int = 0
    rejected: int = 0
    turned_away: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    repaired: int = 0
    retried: int = 0
    ask_seconds: float = 0.0
    steps: int = 0
    worker_seconds: float = 0.0
    running: dict[int, Running] = field(default_factory=dict)
    clock: Clock = time.monotonic

    def reject(self, by: str) -> None:
        """Count a candidate that was turned away for free: by the budget, or by who ``by`` names."""
        self.rejected += not by
        if by:
            self.turned_away[by] = self.turned_away.get(by, 0) + 1

    @property
    def worker_hours(self) -> float:
        """What all workers together have spent until now."""
        now = self.clock()
        running = sum(now - each.since for each in list(self.running.values()) if each.since is not None)
        return (self.worker_seconds + running) / 3600


class Observer(Protocol):
    """Told of what happens, to show it."""

    def changed(self, tally: Tally) -> None: ...
    def adopted(self, values: Sequence[float]) -> None: ...
    def paused(self, trial: Trial, values: Sequence[float], step: int) -> None: ...
    def finished(self, trial: Trial, values: Sequence[float] | None, reason: str | None) -> None: ...


class EvaluationError(RuntimeError):
    """Every evaluation raises: something is wrong with the installation or the input, not with the networks."""


# So many trials that raise before any succeeds end the run; they stay in the queue.
FAULTS = 3

Settled = Callable[[Trial, Sequence[Measurement] | None, str | None], None]


class Execution:
    """Trials on a pool of workers, from a queue.

    Args:
        job: Makes the job of a trial: (trial, checkpoint, seconds spent before it).
        folder: For checkpoints and weights.
        settled: Told of each trial that ended or paused: its last measurements, or None and the reason.
        retries: Times that a trial is tried again after its worker was lost.
        stepped: Told of steps that a trial made, and the seconds that they took.
        released: Told of a trial that its worker no longer has, and how long it had it.
        may_start: Asked before a trial is given to the pool; one that may not is taken out of the queue.
    """

    def __init__(
        self,
        store: Store,
        study_id: int,
        pool: Pool,
        job: Callable[[Trial, bytes | None, float], Job],
        *,
        folder: Path,
        settled: Settled,
        retries: int = 2,
        stepped: Callable[[Running, int, float], None] = lambda running, steps, seconds: None,
        released: Callable[[Running, float], None] = lambda running, seconds: None,
        may_start: Callable[[Trial], bool] = lambda trial: True,
        clock: Clock = time.monotonic,
    ):
        self._store = store
        self._study = study_id
        self._pool = pool
        self._job = job
        self._folder = folder
        self._settled = settled
        self._retries = retries
        self._stepped = stepped
        self._released = released
        self._may_start = may_start
        self._clock = clock
        self._first: deque[Trial] = deque()
        self._waiting: deque[Trial] = deque()
        self._attempts: dict[int, int] = {}
        self._starts = 0
        self._suspects: list[tuple[Running, str]] = []
        self.tally = Tally(clock=clock)
        for name in ("checkpoints", "weights"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def add(self, trial: Trial, *, first: bool = False) -> None:
        """Put a trial that hasn't ended in the queue; it goes on from its last rung.

        Args:
            trial: As it is on record now.
            first: Before all that aren't.
        """
        if trial.state == "running":  # its driver was killed
            self._store.requeue_trial(trial.id)
        (self._first if first else self._waiting).append(trial)

    def hold(self) -> list[Trial]:
        """Take what waits out of the queue; in the store it waits for a resume."""
        held = [*self._first, *self._waiting]
        self._first.clear()
        self._waiting.clear()
        return held

    def step_of(self, trial: Trial) -> int:
        """The step that a trial in the queue goes on from."""
        return self._checkpoint(trial)[2]

    @property
    def free(self) -> int:
        """Workers that have nothing to do and nothing at hand."""
        return max(0, self._pool.capacity - len(self.tally.running) - len(self._first) - len(self._waiting))

    @property
    def capacity(self) -> int:
        """Trials at a time."""
        return self._pool.capacity

    @property
    def idle(self) -> bool:
        """Whether no trial waits or runs."""
        return not self.tally.running and not self._waiting and not self._first

    def start(self) -> None:
        """Give free workers what waits."""
        while (self._first or self._waiting) and self._pool.free > 0:
            trial = (self._first or self._waiting).popleft()
            if self._may_start(trial):
                self._start(trial)

    def handle(self, timeout_s: float) -> None:
        """Record what has happened, waiting up to ``timeout_s`` for it; workers that it frees get what waits at once.

        Raises:
            StoreError: if the store can't be written.
            EvaluationError: if the first evaluations raise and none succeeds.
        """
        events = list(self._pool.events(timeout_s))
        self.start()  # before the events are put on record, which takes a while
        for key, event in events:
            # A settled trial's stream still says that it ended, maybe after the trial was started again.
            if (running := self.tally.running.get(key)) is not None:
                self._handle(running, event)
        self.start()

    def settle_suspects(self) -> bool:
        """Fail the trials that raised while no other had succeeded; False if there are none."""
        suspects, self._suspects = self._suspects, []
        for running, reason in suspects:
            running.since = self._clock()
            self.tally.running[running.key] = running
            self._fail(running, reason)
        return bool(suspects)

    def finish(self, trials: Iterable[Trial], observer: Observer, interrupted: Callable[[], bool]) -> bool:
        """Run these trials to their end; False if it was interrupted before.

        Raises: as ``handle``; the trials then wait in the store.
        """
        try:
            for trial in trials:
                self.add(trial)
            while not self.idle or self.settle_suspects():
                self.start()
                observer.changed(self.tally)
                if interrupted():
                    return False
                self.handle(timeout_s=0.2)
            return True
        finally:
            self.close()

    def close(self) -> None:
        """End what runs; trials that were cut off wait in the store."""
        self._pool.cancel(self.tally.running)
        for running in (*self.tally.running.values(), *(running for running, _ in self._suspects)):
            if running.since is not None:
                self.put_back(running.trial)
        self.tally.worker_seconds = self.tally.worker_hours * 3600
        self.tally.running.clear()
        self._suspects.clear()

    def put_back(self, trial: Trial) -> None:
        """A trial that was cut off waits again or, on the way from one rung to the next, rests as before.

        Args:
            trial: As it was on record before it was started.
        """
        if trial.state == "paused":
            self._store.pause_trial(trial.id)
            self.tally.paused += 1
        else:
            self._store.requeue_trial(trial.id)

    def _start(self, trial: Trial) -> None:
        attempt = self._attempts.get(trial.id, 0) + 1
        self._attempts[trial.id] = attempt
        checkpoint, seconds, step = self._checkpoint(trial)
        job = self._job(trial, checkpoint, seconds)
        self._starts += 1
        self._pool.start(self._starts, job)
        self.tally.running[self._starts] = Running(
            self._starts, trial, attempt, job.rungs[-1], step, begun=step
        )

    def _checkpoint(self, trial: Trial) -> tuple[bytes | None, float, int]:
        """The state at the last rung on record, the seconds spent until then, and its step."""
        rungs = self._store.rungs(self._study, trial_id=trial.id) if trial.attempts else ()
        for rung in reversed(rungs):
            path = self._checkpoint_path(trial, rung.step)
            if path.exists():
                return path.read_bytes(), rung.seconds, rung.step
        return None, 0.0, 0

    def _checkpoint_path(self, trial: Trial, step: int) -> Path:
        return checkpoint_path(self._folder, trial.number, step)

    def _drop_checkpoints(self, trial: Trial, *, but: Path | None = None) -> None:
        for path in (self._folder / "checkpoints").glob(f"{trial.number:05d}-*"):
            if path != but:
                path.unlink()

    def _handle(self, running: Running, event: Any) -> None:
        trial = running.trial
        if running.since is None:
            self._taken(running, event.worker if isinstance(event, Taken) else None)
        now, before = self._clock(), running.heard
        running.heard = now
        if isinstance(event, Advanced | RungReached):
            running.loss = event.loss
            if event.step > running.step and before is not None:
                self._stepped(running, event.step - running.step, now - before)
                running.stepped_s = (running.stepped_s or 0.0) + now - before
            running.step = event.step
        if isinstance(event, RungReached):
            # The checkpoint first: a rung on record has one.
            path = self._checkpoint_path(trial, event.step)
            write_atomically(path, event.checkpoint)
            if event.weights:
                write_atomically(start_path(self._folder, trial.number, event.step), event.weights)
            try:
                self._store.add_rung(trial.id, event.step, event.loss, event.seconds, event.measurements)
            except ValueError as error:  # a score that isn't finite
                self._fail(running, str(error))
                return
            self._drop_checkpoints(trial, but=path)
        elif isinstance(event, Paused):
            self._pause(running)
        elif isinstance(event, Finished):
            self._finish(running, event)
        elif isinstance(event, Failed):
            self._fail(running, event.reason)
        elif isinstance(event, Raised):
            self._raised(running, event.reason)
        elif isinstance(event, Lost):
            self._lost(running, event.reason)
        elif isinstance(event, Ended):
            self._fail(running, "the evaluation ended without a result")

    def _taken(self, running: Running, worker: str | None) -> None:
        self._store.start_trial(running.trial.id, worker)
        running.since = self._clock()
        self.tally.paused -= running.trial.state == "paused"

    def _pause(self, running: Running) -> None:
        trial = running.trial
        self._store.pause_trial(trial.id)
        self.tally.paused += 1
        del self._attempts[trial.id]
        self._release(running)
        # From the store: the rung may have been reached before a worker was lost.
        self._settled(trial, self._store.rungs(self._study, trial_id=trial.id)[-1].measurements, None)
        self.settle_suspects()

    def _finish(self, running: Running, event: Finished) -> None:
        weights = write_weights(self._folder, running.trial, event.weights)
        try:
            self._store.finish_trial(running.trial.id, event.measurements, [weights], seconds=event.seconds)
        except ValueError as error:  # a score that isn't finite
            (self._folder / weights.path).unlink()
            self._fail(running, str(error))
            return
        self.tally.complete += 1
        self._settle(running, event.measurements, None)
        self.settle_suspects()

    def _fail(self, running: Running, reason: str) -> None:
        self._store.fail_trial(running.trial.id, reason)
        self.tally.failed += 1
        self._settle(running, None, reason)

    def _raised(self, running: Running, reason: str) -> None:
        """A fault of one network's, once another has been evaluated; until then it may be everybody's."""
        if self.tally.complete or self.tally.paused:
            self._fail(running, reason)
            return
        self._release(running)
        self._suspects.append((running, reason))
        if len(self._suspects) >= FAULTS:
            raise EvaluationError(
                f"the first {FAULTS} evaluations failed, none succeeded: {reason}. Nothing is lost: mend the cause, "
                "then go on with --resume."
            )

    def _lost(self, running: Running, reason: str) -> None:
        if running.attempt > self._retries:
            self._fail(running, f"{reason} ({running.attempt} attempts)")
            return
        self.tally.retried += 1
        self._release(running)
        self.put_back(running.trial)
        self._first.appendleft(self._store.trial(self._study, running.trial.number))

    def _settle(
        self, running: Running, measurements: Sequence[Measurement] | None, reason: str | None
    ) -> None:
        self._release(running)
        self._drop_checkpoints(running.trial)
        self._settled(running.trial, measurements, reason)

    def _release(self, running: Running) -> None:
        """Its worker no longer has the trial."""
        del self.tally.running[running.key]
        assert running.since is not None
        seconds = self._clock() - running.since
        self.tally.worker_seconds += seconds
        self._released(running, seconds)


def cost_measurements(cost: Cost, task: Task) -> tuple[Measurement, ...]:
    """A cost as measurements: MACs by every convention, parameters, activations, convolutions."""
    at = "x".join(map(str, task.cost_input))
    macs = [Measurement("macs", cost.operations(c), "1", "min", f"{c}, {at}") for c in CONVENTIONS]
    return (
        *macs,
        Measurement("parameters", cost.parameters, "1", "min", "stored"),
        Measurement("activations", cost.activations, "1", "min", at),
        Measurement("convolutions", cost.convolutions, "1", "min", at),
    )


def write_weights(folder: Path, trial: Trial, content: bytes) -> Artifact:
    """Writes a trial's weights (safetensors) into its study's folder; what is to go on record of them."""
    name = f"weights/{trial.number:05d}-{trial.digest}.safetensors"
    write_atomically(folder / name, content)
    return Artifact("weights", name, hashlib.sha256(content).hexdigest(), len(content))


def write_atomically(path: Path, content: bytes) -> None:
    """The file holds all of the content or, if the process dies on the way, what it held before.

    Not synced to disk: a power cut may lose it, and the SHA-256 on record then tells.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(path.suffix + ".part")
    partial.write_bytes(content)
    os.replace(partial, path)

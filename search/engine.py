"""The search: asks a strategy, keeps to the budget, evaluates on workers, records everything.

The store is the only truth and this the only writer. Nothing here knows Ray or Optuna.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from evaluators.trial import Advanced, Failed, Finished, Job, RungReached
from results.schema import Artifact, Trial
from results.store import Store
from search.asktell import Answer, AskTell
from search.pool import Ended, Lost, Pool, Raised
from search.strategies import ReplayError
from spaces.cost import CONVENTIONS, Cost
from spaces.measurement import Measurement
from spaces.task import Task

Stop = Literal["trials", "time", "interrupted", "exhausted"]


@dataclass
class Running:
    """A trial that a worker has: where it stands."""

    trial: Trial
    attempt: int
    step: int = 0
    loss: float | None = None


@dataclass
class Tally:
    """What a search has done so far, for whoever shows it."""

    trials: int = 0
    complete: int = 0
    failed: int = 0
    rejected: int = 0
    duplicates: int = 0
    repaired: int = 0
    retried: int = 0
    ask_seconds: float = 0.0
    running: dict[int, Running] = field(default_factory=dict)


class Observer(Protocol):
    """Told of what happens, to show it."""

    def changed(self, tally: Tally) -> None: ...
    def adopted(self, values: Sequence[float]) -> None: ...
    def finished(self, trial: Trial, values: Sequence[float] | None, reason: str | None) -> None: ...


UNLIMITED = 1_000_000_000  # trials, where only the time is limited


@dataclass(frozen=True)
class Limits:
    """When a search ends: so many trials, or so many seconds from now, whichever is first."""

    trials: int
    seconds: float | None = None


class EvaluationError(RuntimeError):
    """Every evaluation raises: something is wrong with the installation or the input, not with the networks."""


# So many trials that raise before any succeeds end the search; they stay in the queue.
FAULTS = 3
LONGEST_ABSENCE_S = (
    0.5  # that a slow strategy may keep the driver from its workers, and Ctrl-C from the driver
)


class Search:
    """One run of a study, new or resumed.

    Args:
        asktell: Replays the study's questions first, if there are any.
        job: Makes the job of a trial: (trial, checkpoint, seconds spent before it).
        objective: Key (name, protocol) of the quality that the strategy maximises; the second objective is
            the cost in GMACs, minimised.
        folder: For checkpoints and weights.
        retries: Times that a trial is tried again after its worker was lost.
    """

    def __init__(
        self,
        store: Store,
        study_id: int,
        asktell: AskTell,
        pool: Pool,
        job: Callable[[Trial, bytes | None, float], Job],
        *,
        task: Task,
        objective: tuple[str, str],
        folder: Path,
        limits: Limits,
        retries: int = 2,
        observer: Observer | None = None,
    ):
        self._store = store
        self._study = study_id
        self._asktell = asktell
        self._pool = pool
        self._job = job
        self._task = task
        self._objective = objective
        self._folder = folder
        self._limits = limits
        self._retries = retries
        self._observer = observer
        self._values: dict[int, tuple[Sequence[float] | None]] = {}
        self._by_question: dict[int, Trial] = {}
        self._gmacs: dict[int, float] = {}
        self._waiting: deque[Trial] = deque()
        self._replayed = len(store.asks(study_id))
        self._known = {t.digest: t for t in store.trials(study_id, stages=["search"])}
        self._attempts: dict[int, int] = {}
        self._interrupted = False
        self._deadline: float | None = None
        self._suspects: list[tuple[Running, str]] = []
        self.tally = Tally()

    def interrupt(self) -> None:
        """End the run as soon as possible; trials that run go on from their last rung when resumed."""
        self._interrupted = True

    def run(self) -> Stop:
        """Search until a limit is reached; returns which.

        The pool is stopped in every case. Trials that were cut off wait in the store for a resume.

        Raises:
            StoreError: if the store can't be written.
            ReplayError: if a resumed study's questions would be answered otherwise now.
            EvaluationError: if the first evaluations raise and none succeeds; they wait for a resume.
        """
        if self._limits.seconds is not None:
            self._deadline = time.monotonic() + self._limits.seconds
        self._store.set_study_state(self._study, "running")
        done = False
        try:
            for folder in ("checkpoints", "weights"):
                (self._folder / folder).mkdir(parents=True, exist_ok=True)
            reason = self._loop()
            done = reason in ("trials", "exhausted")
            return reason
        finally:
            self._pool.stop()
            for running in (*self.tally.running.values(), *(running for running, _ in self._suspects)):
                self._store.requeue_trial(running.trial.id)
            self.tally.running.clear()
            self._store.set_study_state(self._study, "complete" if done else "paused")

    def _loop(self) -> Stop:
        while True:
            asked_all = self._ask_and_tell()
            while self._waiting and self._pool.free > 0:
                self._start(self._waiting.popleft())
            if self._observer:
                self._observer.changed(self.tally)
            if asked_all and not self.tally.running and not self._waiting:
                if not self._suspects:
                    return "exhausted" if self._asktell.exhausted else "trials"
                self._settle_suspects()
                continue
            if (stop := self._stop()) is not None:
                return stop
            for trial_id, event in self._pool.events(timeout_s=0.2 if asked_all else 0.0):
                # A settled trial's stream still says that it ended.
                if (running := self.tally.running.get(trial_id)) is not None:
                    self._handle(running, event)

    def _stop(self) -> Stop | None:
        if self._interrupted:
            return "interrupted"
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "time"
        return None

    # Asking and telling

    def _ask_and_tell(self) -> bool:
        """Ask and tell what can be now; False if it was left for a moment to look after the workers."""
        begun = started = time.perf_counter()
        for answer in self._asktell.advance(self._result, self._limits.trials):
            now = time.perf_counter()
            self.tally.ask_seconds += now - started
            self._record(answer)
            if self._stop() is not None or now - begun > LONGEST_ABSENCE_S:
                return False
            started = time.perf_counter()
        self.tally.ask_seconds += time.perf_counter() - started
        return True

    def _result(self, question: int) -> tuple[Sequence[float] | None] | None:
        return self._values.get(self._by_question[question].id)

    def _record(self, answer: Answer) -> None:
        """Put the answer on record (unless it is a replayed one) and a new trial in the queue."""
        is_new = answer.question >= self._replayed
        if answer.outcome == "rejected":
            self.tally.rejected += 1
            if is_new:
                reason = "no width of the space brings it within the budget"
                self._store.record_ask(
                    self._study, answer.question, answer.genotype, "rejected", reason=reason
                )
            return
        assert answer.candidate is not None
        self.tally.repaired += answer.candidate.repaired
        if answer.outcome == "duplicate":
            self.tally.duplicates += 1
            assert answer.first is not None
            if is_new:
                first = self._by_question[answer.first].id
                self._store.record_ask(
                    self._study, answer.question, answer.genotype, "duplicate", trial_id=first
                )
            return
        self.tally.trials += 1
        self._adopt(answer, is_new)

    def _adopt(self, answer: Answer, is_new: bool) -> None:
        """A new trial, or one of an earlier run: finished, or to be taken up where it stopped."""
        assert answer.candidate is not None
        architecture, cost = answer.candidate.architecture, answer.candidate.cost
        if is_new:
            trial = self._store.add_trial(
                self._study,
                ask_number=answer.question,
                genotype=answer.genotype,
                architecture_json=architecture.to_json(),
                digest=architecture.digest,
                measurements=cost_measurements(cost, self._task),
            )
        elif architecture.digest in self._known:
            trial = self._known[architecture.digest]
        else:
            raise ReplayError(
                f"question {answer.question} gave another architecture before than {architecture.label}: was the study "
                "made by another version of pixelfront? Resume it with that version, or start a new study."
            )
        self._by_question[answer.question] = trial
        self._gmacs[trial.id] = answer.candidate.gmacs
        if trial.state == "complete":
            self.tally.complete += 1
            values = self._objectives(trial.id, trial.measurements)
            self._values[trial.id] = (values,)
            if self._observer:
                self._observer.adopted(values)
        elif trial.state == "failed":
            self.tally.failed += 1
            self._values[trial.id] = (None,)
        else:
            if trial.state == "running":  # its driver was killed
                self._store.requeue_trial(trial.id)
            self._waiting.append(trial)

    def _objectives(self, trial_id: int, measurements: Sequence[Measurement]) -> tuple[float, float]:
        quality = next(m.value for m in measurements if m.key == self._objective)
        return quality, self._gmacs[trial_id]

    # Evaluating

    def _start(self, trial: Trial) -> None:
        attempt = self._attempts.get(trial.id, 0) + 1
        self._attempts[trial.id] = attempt
        self._store.start_trial(trial.id)
        checkpoint, seconds, step = self._checkpoint(trial)
        self._pool.start(trial.id, self._job(trial, checkpoint, seconds))
        self.tally.running[trial.id] = Running(trial, attempt, step)

    def _checkpoint(self, trial: Trial) -> tuple[bytes | None, float, int]:
        """The state at the last rung on record, the seconds spent until then, and its step."""
        rungs = self._store.rungs(self._study, trial_id=trial.id) if trial.attempts else ()
        for rung in reversed(rungs):
            path = self._checkpoint_path(trial, rung.step)
            if path.exists():
                return path.read_bytes(), rung.seconds, rung.step
        return None, 0.0, 0

    def _checkpoint_path(self, trial: Trial, step: int) -> Path:
        return self._folder / "checkpoints" / f"{trial.number:05d}-{step}.pt"

    def _drop_checkpoints(self, trial: Trial, *, but: Path | None = None) -> None:
        for path in (self._folder / "checkpoints").glob(f"{trial.number:05d}-*"):
            if path != but:
                path.unlink()

    def _handle(self, running: Running, event: Any) -> None:
        trial = running.trial
        if isinstance(event, Advanced):
            running.step, running.loss = event.step, event.loss
        elif isinstance(event, RungReached):
            running.step = event.step
            # The checkpoint first: a rung on record has one.
            path = self._checkpoint_path(trial, event.step)
            write_atomically(path, event.checkpoint)
            try:
                self._store.add_rung(trial.id, event.step, event.loss, event.seconds, event.measurements)
            except ValueError as error:  # a score that isn't finite
                self._fail(running, str(error))
                return
            self._drop_checkpoints(trial, but=path)
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

    def _finish(self, running: Running, event: Finished) -> None:
        trial = running.trial
        name = f"weights/{trial.number:05d}-{trial.digest}.safetensors"
        path = self._folder / name
        write_atomically(path, event.weights)
        digest = hashlib.sha256(event.weights).hexdigest()
        weights = Artifact("weights", name, digest, len(event.weights))
        try:
            values = self._objectives(trial.id, event.measurements)
            self._store.finish_trial(trial.id, event.measurements, [weights], seconds=event.seconds)
        except ValueError as error:  # a score that isn't finite
            path.unlink()
            self._fail(running, str(error))
            return
        self._settle(running, values, None)
        self._settle_suspects()

    def _fail(self, running: Running, reason: str) -> None:
        self._store.fail_trial(running.trial.id, reason)
        self._settle(running, None, reason)

    def _raised(self, running: Running, reason: str) -> None:
        """A fault of one network's, once another has been evaluated; until then it may be everybody's."""
        if self.tally.complete:
            self._fail(running, reason)
            return
        del self.tally.running[running.trial.id]
        self._suspects.append((running, reason))
        if len(self._suspects) >= FAULTS:
            raise EvaluationError(
                f"the first {FAULTS} evaluations failed, none succeeded: {reason}. Nothing is lost: mend the cause, "
                "then go on with --resume."
            )

    def _settle_suspects(self) -> None:
        for running, reason in self._suspects:
            self.tally.running[running.trial.id] = running
            self._fail(running, reason)
        self._suspects.clear()

    def _lost(self, running: Running, reason: str) -> None:
        if running.attempt > self._retries:
            self._fail(running, f"{reason} ({running.attempt} attempts)")
            return
        self.tally.retried += 1
        del self.tally.running[running.trial.id]
        self._store.requeue_trial(running.trial.id)
        self._waiting.appendleft(self._store.trial(self._study, running.trial.number))

    def _settle(self, running: Running, values: Sequence[float] | None, reason: str | None) -> None:
        del self.tally.running[running.trial.id]
        self._values[running.trial.id] = (values,)
        self._drop_checkpoints(running.trial)
        if values is None:
            self.tally.failed += 1
        else:
            self.tally.complete += 1
        if self._observer:
            self._observer.finished(running.trial, values, reason)


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


def write_atomically(path: Path, content: bytes) -> None:
    """The file holds all of the content or, if the process dies on the way, what it held before.

    Not synced to disk: a power cut may lose it, and the SHA-256 on record then tells.
    """
    partial = path.with_suffix(path.suffix + ".part")
    partial.write_bytes(content)
    os.replace(partial, path)

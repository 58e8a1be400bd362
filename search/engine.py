"""The search: asks a strategy, keeps to the budget, evaluates on workers, records everything.

The store is the only truth and this the only writer. Nothing here knows Ray or Optuna.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evaluators.trial import Job
from results.schema import Trial
from results.store import Store
from search.asktell import Answer, AskTell
from search.execution import Execution, Observer, cost_measurements
from search.pool import Pool
from search.strategies import ReplayError
from spaces.measurement import Measurement
from spaces.task import Task

Stop = Literal["trials", "time", "interrupted", "exhausted"]

UNLIMITED = 1_000_000_000  # trials, where only the time is limited
# That a slow strategy may keep the driver from its workers, and Ctrl-C from the driver.
LONGEST_ABSENCE_S = 0.5


@dataclass(frozen=True)
class Limits:
    """When a search ends: so many trials, or so many seconds from now, whichever is first."""

    trials: int
    seconds: float | None = None


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
        self._task = task
        self._objective = objective
        self._limits = limits
        self._observer = observer
        self._execution = Execution(
            store, study_id, pool, job, folder=folder, settled=self._settled, retries=retries
        )
        self.tally = self._execution.tally
        self._values: dict[int, tuple[Sequence[float] | None]] = {}
        self._by_question: dict[int, Trial] = {}
        self._gmacs: dict[int, float] = {}
        self._replayed = len(store.asks(study_id))
        self._known = {t.digest: t for t in store.trials(study_id, stages=["search"])}
        self._interrupted = False
        self._deadline: float | None = None

    def interrupt(self) -> None:
        """End the run as soon as possible; trials that run go on from their last rung when resumed."""
        self._interrupted = True

    def run(self) -> Stop:
        """Search until a limit is reached; returns which.

        Nothing runs on the pool afterwards. Trials that were cut off wait in the store for a resume.

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
            reason = self._loop()
            done = reason in ("trials", "exhausted")
            return reason
        finally:
            self._execution.close()
            self._store.set_study_state(self._study, "complete" if done else "paused")

    def _loop(self) -> Stop:
        while True:
            asked_all = self._ask_and_tell()
            self._execution.start()
            if self._observer:
                self._observer.changed(self.tally)
            if asked_all and self._execution.idle:
                if not self._execution.settle_suspects():
                    return "exhausted" if self._asktell.exhausted else "trials"
                continue
            if (stop := self._stop()) is not None:
                return stop
            self._execution.handle(timeout_s=0.2 if asked_all else 0.0)

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
            self._execution.add(trial)

    def _objectives(self, trial_id: int, measurements: Sequence[Measurement]) -> tuple[float, float]:
        quality = next(m.value for m in measurements if m.key == self._objective)
        return quality, self._gmacs[trial_id]

    def _settled(self, trial: Trial, measurements: Sequence[Measurement] | None, reason: str | None) -> None:
        values = None if measurements is None else self._objectives(trial.id, measurements)
        self._values[trial.id] = (values,)
        if self._observer:
            self._observer.finished(trial, values, reason)

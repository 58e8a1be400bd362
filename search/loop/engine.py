"""The search: asks a strategy, keeps to the budget, evaluates on workers, records everything.

The store is the only truth and this the only writer. Nothing here knows Ray or Optuna.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from evaluators.trial import Job
from results.analysis.repeats import is_repeat
from results.store.schema import Stop, Trial
from results.store.store import Store, StoreError
from search.loop.asktell import AskTell
from search.loop.inheritance import heir
from search.loop.question import Promotion, Question
from search.loop.schedule import MEMORY, SLACK, SLACK_BEFORE_FRONT, Position, Schedule
from search.outcomes import Failure, Outcome, Values
from search.planning.pace import Clock, Pace, PaceMeter
from search.planning.plan import Ladder
from search.strategies import ReplayError
from search.study.ending import state_after
from search.workers.execution import Execution, Observer, Running, cost_measurements
from search.workers.pool import Pool
from spaces.budget import Candidate
from spaces.cost import Cost
from spaces.measurement import Measurement
from spaces.objectives import Objective
from spaces.task import Task

UNLIMITED = 1_000_000_000  # trials, where only the time is limited
# That a slow strategy may keep the driver from its workers, and Ctrl-C from the driver.
LONGEST_ABSENCE_S = 0.5
RECENT = 32  # trials whose costs say what the next one may cost


@dataclass(frozen=True)
class Limits:
    """When a search ends, whichever is first.

    Attributes:
        trials: Architectures.
        seconds: From now.
        steps: Training steps, of all trials together.
        worker_hours: That workers spend on trials, all together, earlier runs of the study included.

    Nothing is begun that steps, seconds or hours aren't enough for, trained to its end (``search.loop.schedule``). How
    long that takes is foreseen from the pace, so that seconds and hours may still cut trials off, which go on from
    their last rungs when resumed.
    """

    trials: int
    seconds: float | None = None
    steps: int | None = None
    worker_hours: float | None = None


class Search:
    """One run of a study, new or resumed.

    Args:
        asktell: Replays the study's questions first, if there are any.
        job: Makes the job of a trial's whole training: (trial, checkpoint, seconds spent before it). Its rungs are at
            least those of the asktell's ladder, if that has several.
        objectives: What the strategy was told to go for, in its order.
        folder: For checkpoints and weights.
        retries: Times that a trial is tried again after its worker was lost.
        batches: Ask only while nothing runs, so that what the judge times isn't disturbed. The sequence is the same.
        origin: What goes on record as that of trials that don't start from another's tensors.
        pace: What training takes here, or how an earlier search's trials showed it; None to learn it from the first.
        ladder: Where a trial is scored and may pause; by default the asktell's rungs.
        clock: Seconds, from any beginning.

    With a limit on seconds or hours, a search has two parts. The first asks and promotes in its order until a job
    doesn't fit any more beside what survivors still need. The second takes trials that rest to their end, best first,
    as long as one fits.
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
        objectives: Sequence[Objective],
        folder: Path,
        limits: Limits,
        retries: int = 2,
        observer: Observer | None = None,
        batches: bool = False,
        origin: Mapping[str, Any] | None = None,
        pace: Pace | PaceMeter | None = None,
        ladder: Ladder | None = None,
        clock: Clock = time.monotonic,
    ):
        self._store = store
        self._study = study_id
        self._asktell = asktell
        self._task = task
        self._objectives = tuple(objectives)
        self._batches = batches
        self._origin = origin
        self._limits = limits
        self._observer = observer
        self._job = job
        self._clock = clock
        self._execution = Execution(
            store,
            study_id,
            pool,
            self._job_to_rung,
            folder=folder,
            settled=self._settled,
            retries=retries,
            stepped=self._stepped,
            released=self._released,
            may_start=self._may_start,
            clock=clock,
        )
        self.tally = self._execution.tally
        self._halving = asktell.halving
        self._pace = pace
        steps = self._halving.steps
        self._ladder = ladder or Ladder(steps, steps, self._halving.eta)
        self._schedule: Schedule | None = None  # where seconds or hours are limited
        self._finishing = False
        self._questions: dict[int, Question] = {}  # by their trials
        self._rung: dict[int, int] = {}  # that trials in the queue or on workers go to
        self._replayed = len(store.asks(study_id))
        self._scores: dict[tuple[int, int], tuple[Measurement, ...]] = {}
        if self._halving.top or limits.worker_hours is not None:
            self._read_rungs()
        searched = store.trials(study_id, stages=["search"])
        self._known = {trial.digest: trial for trial in searched if not is_repeat(trial)}
        self._interrupted = False
        self._stopped_by: Stop | None = None
        self._trained = False
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
            self._deadline = self._clock() + self._limits.seconds
        if self._limits.seconds is not None or self._limits.worker_hours is not None:
            self._schedule = self._new_schedule()
        self._store.set_study_state(self._study, "running")
        try:
            self._stopped_by = self._loop()
            return self._stopped_by
        finally:
            self._execution.close()
            state = state_after(self._stopped_by, self.tally)
            self._store.set_study_state(self._study, state, self._stopped_by)

    def _new_schedule(self) -> Schedule:
        hours = self._limits.worker_hours
        total = min(self._limits.seconds or inf, inf if hours is None else hours * 3600)
        memory_s = max(1e-9, MEMORY * total)
        return Schedule(
            replace(self._pace, memory_s=memory_s)
            if isinstance(self._pace, PaceMeter)
            else PaceMeter(self._pace, memory_s=memory_s),
            self._ladder,
            clock=self._clock,
            workers=lambda: self._execution.capacity,
            deadline=inf if self._deadline is None else self._deadline,
            worker_seconds=lambda: inf if hours is None else 3600 * (hours - self.tally.worker_hours),
        )

    @property
    def meter(self) -> PaceMeter | None:
        """The pace as the trials showed it, where a search is within a time."""
        return None if self._schedule is None else self._schedule.meter

    @property
    def ended_early(self) -> bool:
        """Whether it ended for want of time, but trained something, and a network such as the ones before fits now.

        So it is where what had slowed the machine down has passed. Another search of the same study, by this one's
        meter, then goes on as a resume would.
        """
        if self._stopped_by != "time" or not self._trained:
            return False
        assert self._schedule is not None
        costs = [question.cost for question in self._questions.values()]
        return self._schedule.fits(fmean(self._schedule.job_s(cost, 0, self._ladder.steps) for cost in costs))

    def _loop(self) -> Stop:
        while True:
            asked_all = self._ask_and_tell()
            whole = asked_all or not self._batches  # a batch begins when all of it was asked for
            if whole:
                self._execution.start()
            if self._asktell.cut:
                self._finish_some()
            if self._observer:
                self._observer.changed(self.tally)
            if asked_all and self._execution.idle:
                if not self._execution.settle_suspects():
                    return self._end()
                continue
            if (stop := self._stop()) is not None:
                return stop
            if whole:
                self._execution.handle(timeout_s=0.2 if asked_all else 0.0)

    def _stop(self) -> Stop | None:
        if self._interrupted:
            return "interrupted"
        if self._deadline is not None and self._clock() >= self._deadline:
            return "time"
        if self._limits.worker_hours is not None and self.tally.worker_hours >= self._limits.worker_hours:
            return "worker_hours"
        return None

    def _end(self) -> Stop:
        """Why there is nothing left to do."""
        if self._asktell.exhausted:
            return "exhausted"
        if self._asktell.cut:
            assert self._schedule is not None
            return self._schedule.short or "time"
        return "trials" if self._asktell.trials >= self._limits.trials else "steps"

    # What fits into the time

    def _affords(self, job: Question | Candidate, rung: int) -> bool:
        """Whether a trial may be taken to a rung, or a new network begun, beside all that is chosen and due."""
        schedule = self._schedule
        if schedule is None:
            return True
        if isinstance(job, Candidate):
            return self._fits_new(job.cost, self._ahead())
        rest = schedule.job_s(job.cost, self._ladder.pauses[rung - 1], self._ladder.steps, job.trial.id)
        return schedule.fits(rest, ahead=self._ahead(), slack=self._slack)

    def _may_start(self, trial: Trial) -> bool:
        """Whether a trial in the queue can still be taken to where it is to go.

        Where one can't, the order of telling is blocked, and only finishing is left.
        """
        schedule = self._schedule
        if schedule is None or not schedule.meter.known:
            return True
        ahead = [seconds for number, seconds in self._left() if number != trial.id and self._has(number)]
        cost, end = self._questions[trial.id].cost, self._ladder.pauses[self._rung[trial.id]]
        start = self._execution.step_of(trial)
        if start or self._finishing or self._rung[trial.id]:
            may = schedule.fits(schedule.job_s(cost, start, end, trial.id), ahead=ahead, slack=self._slack)
        else:
            may = self._fits_new(cost, ahead, arrived=True)
        if not may:
            self._asktell.cut = True
            del self._rung[trial.id]
        return may

    def _fits_new(self, cost: Cost, ahead: Sequence[float], *, arrived: bool = False) -> bool:
        """Whether a new network can be trained to its end, beside what survivors still need.

        Args:
            arrived: It is among those on their way to the first rung already.
        """
        schedule = self._schedule
        assert schedule is not None
        if not schedule.meter.known:
            return True
        arriving = [0] * (self._halving.top + 1)
        for rung in self._rung.values():
            arriving[rung] += 1
        arriving[0] += not arrived
        kept = self._survivors_s(self._halving.due(arriving), cost)
        # Of the survivors it may be one: the longest chain that there is then.
        whole = schedule.job_s(cost, 0, self._ladder.steps)
        slack = (
            self._slack if len(self._questions) > arrived else SLACK
        )  # beside the first there is no other to finish
        return schedule.fits(whole, ahead=ahead, kept=sorted(kept)[:-1], slack=slack)

    @property
    def _slack(self) -> float:
        """How many times as long as foreseen what is chosen may take; finishing, whatever just fits is tried."""
        return SLACK if self.tally.complete or self._finishing else SLACK_BEFORE_FRONT

    def _survivors_s(self, due: Sequence[int], new: Cost) -> list[float]:
        """Seconds of the promotions that are due from each rung; who will be promoted isn't known yet."""
        schedule = self._schedule
        assert schedule is not None
        costs = [*(question.cost for question in list(self._questions.values())[-RECENT:]), new]
        kept: list[float] = []
        for rung, count in enumerate(due):
            if count:
                start, end = self._ladder.pauses[rung : rung + 2]
                seconds = [schedule.job_s(cost, start, end) for cost in costs]
                kept += [(fmean(seconds) + max(seconds)) / 2] * count
        return kept

    def _ahead(self) -> list[float]:
        return [seconds for _, seconds in self._left()]

    def _left(self) -> Iterator[tuple[int, float]]:
        """(trial, seconds) of all jobs that are chosen and not done, those that wait included."""
        assert self._schedule is not None
        at = {each.trial.id: each for each in self.tally.running.values()}
        for trial, rung in self._rung.items():
            end, running = self._ladder.pauses[rung], at.get(trial)
            if running is None:
                start = self._ladder.pauses[rung - 1] if rung else 0
                yield trial, self._schedule.job_s(self._questions[trial].cost, start, end, trial)
            else:
                position = Position(running.step, running.heard, running.stepped_s is not None)
                yield trial, self._schedule.left_s(self._questions[trial].cost, trial, position, end)

    def _has(self, trial: int) -> bool:
        return any(each.trial.id == trial for each in self.tally.running.values())

    def _stepped(self, running: Running, steps: int, seconds: float) -> None:
        """A trial said where it stands."""
        self._trained = True
        question = self._questions.get(running.trial.id)
        if self._schedule is not None and question is not None:
            meter = self._schedule.meter
            start = meter.overhead_s(question.cost, 0) if running.stepped_s is None else 0.0
            if seconds > 2 * start:  # else it says more of starting than of training
                meter.observe(running.trial.id, question.cost, steps, seconds - start)

    def _released(self, running: Running, seconds: float) -> None:
        """A worker is done with a trial, or was lost."""
        question = self._questions.get(running.trial.id)
        if self._schedule is None or question is None or running.step < running.steps:
            return
        scorings = self._ladder.part(running.begun, running.steps)[1]
        ssim = int(running.steps == self._ladder.steps)
        self._schedule.meter.observe_overhead(
            question.cost, scorings, seconds - (running.stepped_s or 0.0), ssim=ssim
        )

    def _finish_some(self) -> None:
        """Take trials that rest to their end, as workers become free and as far as the time goes."""
        schedule = self._schedule
        if schedule is None or self._halving.top == 0 or self._stop() is not None:
            return
        if not self._finishing:
            self._finishing = True
            for trial in self._execution.hold():
                del self._rung[trial.id]
        self._asktell.finish()
        while self._execution.free:
            question = next(filter(self._fits_to_end, self._asktell.unfinished()), None)
            if question is None:
                return
            question.to_end = True
            self._take_to(question, self._halving.top)
            self._execution.start()

    def _fits_to_end(self, question: Question) -> bool:
        assert self._schedule is not None
        trial = question.trial
        if trial.id in self._rung or self._halving.top in question.outcomes:
            return False
        start = self._ladder.pauses[self._halving.rung_of(question.number)]
        seconds = self._schedule.job_s(question.cost, start, self._ladder.steps, trial.id)
        return self._schedule.fits(seconds, ahead=[s for number, s in self._left() if self._has(number)])

    # Asking and telling

    def _ask_and_tell(self) -> bool:
        """Ask and tell what can be now; False if it was left for a moment to look after the workers."""
        if self._batches and self.tally.running:
            return True
        begun, started = self._clock(), time.perf_counter()
        for job in self._asktell.advance(self._limits.trials, self._limits.steps, self._affords):
            now = time.perf_counter()
            self.tally.ask_seconds += now - started
            self.tally.steps = self._asktell.steps
            if isinstance(job, Promotion):
                self._take_to(job.question, job.rung)
            else:
                self._record(job)
            if not self._batches:  # the first need not wait for the whole window
                self._execution.start()
            if self._stop() is not None or self._clock() - begun > LONGEST_ABSENCE_S:
                return False
            started = time.perf_counter()
        self.tally.ask_seconds += time.perf_counter() - started
        return True

    def _record(self, question: Question) -> None:
        """Put the answer on record (unless it is a replayed one) and a new trial in the queue."""
        is_new = question.number >= self._replayed
        if question.state == "rejected":
            verdict = question.verdict
            self.tally.reject(verdict.by)
            if is_new:
                reason = verdict.reason or "no width of the space brings it within the budget"
                self._record_ask(question, "rejected", reason=reason)
            return
        assert question.candidate is not None
        self.tally.repaired += question.candidate.repaired
        if question.state == "duplicate":
            self.tally.duplicates += 1
            assert question.original is not None
            if is_new:
                self._record_ask(question, "duplicate", trial_id=question.original.trial.id)
            return
        self.tally.trials += 1
        self._adopt(question, is_new)

    def _record_ask(
        self, question: Question, outcome: Literal["rejected", "duplicate"], **facts: Any
    ) -> None:
        reports = self._reports_of(question)
        self._store.record_ask(
            self._study, question.number, question.genotype, outcome, told=reports, **facts
        )

    def _reports_of(self, question: Question) -> Sequence[tuple[int, int]] | None:
        """What goes on record of the order of reporting; nothing where that follows from the order of the jobs."""
        return None if self._asktell.ordered else question.reports

    def _adopt(self, question: Question, is_new: bool) -> None:
        """Take up a new trial, or one of an earlier run."""
        assert question.candidate is not None
        architecture = question.candidate.architecture
        if is_new:
            trial = self._store.add_trial(
                self._study,
                ask_number=question.number,
                genotype=question.genotype,
                told=self._reports_of(question),
                architecture_json=architecture.to_json(),
                digest=architecture.digest,
                origin=self._heritage(question),
                measurements=(*cost_measurements(question.cost, self._task), *question.verdict.measured),
            )
        elif architecture.digest in self._known:
            trial = self._known[architecture.digest]
        else:
            raise ReplayError(
                f"question {question.number} gave another architecture before than {architecture.label}: was the study "
                "made by another version of pixelfront? Resume it with that version, or start a new study."
            )
        question.trial = trial
        question.outcomes |= self._outcomes_on_record(trial)
        self._questions[trial.id] = question
        self.tally.complete += trial.state == "complete"
        self.tally.failed += trial.state == "failed"
        self.tally.paused += trial.state == "paused"
        if self._observer and trial.state == "complete":
            self._observer.adopted(self._objective_values(trial, trial.measurements))
        self._take_to(question, 0)

    def _outcomes_on_record(self, trial: Trial) -> dict[int, Outcome]:
        """By rung, what earlier runs of the study came to."""
        scores = {rung: self._scores.get((trial.id, rung)) for rung in range(self._halving.top + 1)}
        if trial.state == "complete":
            scores[self._halving.top] = trial.measurements
        return {
            rung: Failure() if score is None else self._objective_values(trial, score)
            for rung, score in scores.items()
            if score is not None or trial.state == "failed"
        }

    def _heritage(self, question: Question) -> dict[str, Any] | None:
        if question.parent is None:
            return None if self._origin is None else dict(self._origin)
        parent, rung = question.parent
        return heir(self._asktell.questions[parent].trial, self._halving.steps[rung])

    def _take_to(self, question: Question, rung: int) -> None:
        """Put the trial in the queue, to be trained to a rung, unless it was there in an earlier run."""
        if rung not in question.outcomes:
            trial = question.trial
            self._rung[trial.id] = rung
            # A front is there sooner if promotions don't wait behind new networks.
            self._execution.add(
                self._store.trial(self._study, trial.number) if rung else trial, first=bool(rung)
            )

    def _job_to_rung(self, trial: Trial, checkpoint: bytes | None, seconds: float) -> Job:
        """The job of a trial that ends at the rung that it is to be taken to."""
        job, rung = self._job(trial, checkpoint, seconds), self._rung[trial.id]
        if rung == self._halving.top:
            return job
        until = self._halving.steps[rung]
        return replace(job, rungs=tuple(step for step in job.rungs if step <= until))

    def _read_rungs(self) -> None:
        """What earlier runs of the study have come to: scores at rungs below the top, and the time that they took."""
        rungs = {step: rung for rung, step in enumerate(self._halving.steps[:-1])}
        spent: dict[int, float] = {}
        for each in self._store.rungs(self._study):
            spent[each.trial_id] = each.seconds
            if each.step in rungs:
                self._scores[each.trial_id, rungs[each.step]] = each.measurements
        self.tally.worker_seconds = sum(spent.values())
        if self._halving.top:
            # Their driver was killed; a trial of the ladder may not be chosen to go on again.
            for trial in self._store.trials(self._study, states=["running"], stages=["search"]):
                if trial.id in spent and not is_repeat(trial):
                    self._store.pause_trial(trial.id)

    def _objective_values(self, trial: Trial, measurements: Sequence[Measurement]) -> Values:
        known = (*measurements, *trial.measurements)
        values = tuple(each.find(known) for each in self._objectives)
        if missing := [o.name for o, value in zip(self._objectives, values, strict=True) if value is None]:
            raise StoreError(f"trial {trial.id} has no {', '.join(missing)} as the study measures it")
        return values  # type: ignore[return-value]

    def _at_rung(self, trial: Trial, rung: int) -> Outcome:
        """The outcome at a rung that the trial passed on its way to its end, or that it failed before."""
        for each in self._store.rungs(self._study, trial_id=trial.id):
            if each.step == self._halving.steps[rung]:
                return self._objective_values(trial, each.measurements)
        return Failure()

    def _settled(self, trial: Trial, measurements: Sequence[Measurement] | None, reason: str | None) -> None:
        question, rung = self._questions[trial.id], self._rung.pop(trial.id)
        values = None if measurements is None else self._objective_values(question.trial, measurements)
        question.outcomes[rung] = outcome = Failure() if values is None else values
        if question.to_end:
            for passed in range(self._halving.rung_of(question.number) + 1, rung + 1):
                reached = outcome if passed == rung else self._at_rung(question.trial, passed)
                self._halving.tell(question.number, reached)
        if self._observer is None:
            return
        if values is not None and rung < self._halving.top:
            self._observer.paused(trial, values, self._halving.steps[rung])
        else:
            self._observer.finished(trial, values, reason)

"""The order of asking and telling, independent of who finishes when.

A search is a sequence of jobs. A job either trains a new architecture to the first rung, or takes a trial that rests
at a rung to the next (`search.loop.halving`); without early stopping there is one rung, the whole training. With
ordered telling, a job is chosen when exactly the same results have been told, however many workers there are and
however fast: at most ``window`` jobs are chosen and not yet told, and results are told in the order of the jobs. A
seed then means one sequence of architectures, and of promotions. Otherwise results are told as they come, and each
question keeps which were told since the one before, so that a study of that kind, too, can be replayed.

Questions cost nothing when their answer is over the budget (rejected) or known already (duplicate); only
new architectures within the budget become trials.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from search.loop.halving import Halving
from search.loop.inheritance import Relatives
from search.loop.question import Promotion, Question, Report, Verdict
from search.outcomes import Failure, Outcome
from search.strategies import ReplayError, Strategy
from spaces.budget import Candidate
from spaces.measurement import Measurement
from spaces.space import Genotype

# So many questions in a row without a new architecture within the budget end the search.
BARREN_QUESTIONS = 500
# So many before there is any trial are answered with the cheapest network, if the strategy can be told of it.
BARREN_AT_FIRST = 50

Affords = Callable[[Question | Candidate, int], bool]
"""Whether a question's trial, or a new candidate, may still be taken to a rung, and its network then to the end."""
Judge = Callable[[int, Candidate], Verdict]
"""Of a question and its candidate, which fits the budget and isn't known; asked again where one comes again."""


def in_turn(*judges: Judge) -> Judge:
    """One judge of several: the first that turns a candidate away is the last that is asked."""

    def judge(question: int, candidate: Candidate) -> Verdict:
        measured: tuple[Measurement, ...] = ()
        for each in judges:
            verdict = each(question, candidate)
            if verdict.reason is not None:
                return verdict
            measured += verdict.measured
        return Verdict(measured=measured)

    return judge


class AskTell:
    """Asks and tells one strategy in the canonical order.

    Who runs the jobs puts the results into the ``outcomes`` of their questions, whenever they are there.

    Args:
        strategy: With its problem, whose budget answers are brought within.
        window: Jobs that may be chosen and not yet reported.
        halving: The ladder of rungs; by default one, whose steps count as 1.
        ordered: Report in the order of the jobs; else as results come.
        recorded: Genotypes of the questions that were asked before, in order: they are replayed.
        reports: For each of them what was reported before it, where results were reported as they came.
        judge: May turn new candidates away before training; by default all go on.
        inherit: New architectures start from the tensors of those most like them.
        first: Genotypes of the first questions; the strategy is asked after them.
        cheapest: Tried where a strategy long finds nothing within a budget that hardly any network meets.

    Attributes:
        questions: All so far, by their numbers.
        trials: How many of them became trials.
        steps: Training steps of the jobs chosen so far.
        barren: Questions since the last that became a trial.
        cut: Something wasn't affordable: nothing is chosen any more.
    """

    def __init__(
        self,
        strategy: Strategy,
        *,
        window: int,
        halving: Halving | None = None,
        ordered: bool = True,
        recorded: Iterable[Genotype] = (),
        reports: Iterable[Iterable[tuple[int, int]]] = (),
        judge: Judge | None = None,
        inherit: bool = False,
        first: Sequence[Genotype] = (),
        cheapest: Genotype | None = None,
    ):
        self._strategy = strategy
        self._space, self._budget = strategy.problem.space, strategy.problem.budget
        self._judge = judge or (lambda question, candidate: Verdict())
        self._relatives = Relatives() if inherit else None
        self._window = window
        self.halving = halving or Halving((1,), 2, strategy.directions)
        self.ordered = ordered
        self._first = tuple(first)
        self._cheapest = cheapest
        self._recorded = deque(recorded)
        self._recorded_reports = deque(reports)
        self.questions: dict[int, Question] = {}
        self._by_digest: dict[str, Question] = {}  # those that became trials
        self._jobs: list[Report] = []  # chosen and not reported, in order
        self._reports: list[Report] = []  # since the last question
        self._lessons = 0  # of the ladder's, when paused trials were last reported
        self._finishing = False
        self.cut = False
        self.trials = 0
        self.barren = 0
        self.steps = 0

    @property
    def exhausted(self) -> bool:
        """Whether the strategy has long found nothing new within the budget."""
        return self.barren >= BARREN_QUESTIONS

    def advance(
        self,
        trials: int,
        steps: int | None = None,
        affords: Affords = lambda job, rung: True,
    ) -> Iterator[Question | Promotion]:
        """Report and choose as far as it goes; yields each question once it is answered, and the promotions.

        Args:
            trials: Ask no more once there are so many.
            steps: Choose no job unless that many training steps are enough for it and to train its network to the end.
            affords: Nor unless this says so. Where it doesn't, nothing is chosen any more (`cut`): the jobs of a
                search are then the first of those that it would have chosen with more time. Replayed questions aren't
                asked about.
        """
        while not self._finishing:
            yield from self._choose(trials, steps, affords)
            job = self._finished()
            if job is None:
                return
            self._jobs.remove(job)
            self._report(job)

    def finish(self) -> None:
        """Choose nothing any more, and tell the ladder (not the strategy) the results that there are beyond the order.

        May be called again when there are more.
        """
        self.cut = self._finishing = True
        for job in [job for job in self._jobs if self._outcome(job) is not None]:
            self._jobs.remove(job)
            if self.halving.rung_of(job.question) < job.rung:  # else it was told beyond the order
                self.halving.tell(job.question, self.questions[job.question].outcomes[job.rung])

    def unfinished(self) -> list[Question]:
        """Questions whose trials rest below the top, those first whose end would add most to the front."""
        return [self.questions[n] for n in self.halving.unfinished(self._strategy.problem.reference)]

    def _outcome(self, job: Report) -> Outcome | None:
        return self.questions[job.question].outcomes.get(job.rung)

    def _finished(self) -> Report | None:
        """The job to be reported next."""
        candidates = self._jobs[:1] if self.ordered else self._jobs
        return next((job for job in candidates if self._outcome(job) is not None), None)

    def _choose(self, trials: int, steps: int | None, affords: Affords) -> Iterator[Question | Promotion]:
        if not self.ordered:
            yield from self._replay()

        def within_steps(rung: int) -> bool:
            below = self.halving.steps[rung - 1] if rung else 0
            return steps is None or self.steps + self.halving.steps[-1] - below <= steps

        def affordable(job: Question | Candidate, rung: int) -> bool:
            if not within_steps(rung):
                return False
            self.cut = self.cut or not (self._recorded or affords(job, rung))
            return not self.cut

        while len(self._jobs) < self._window and not self.cut:
            promoted = self.halving.next(lambda number, rung: affordable(self.questions[number], rung))
            if promoted is not None:
                job = Report(*promoted)
                self._jobs.append(job)
                yield self._promote(job)
            elif self.trials < trials and not self.exhausted and not self.cut and within_steps(0):
                if (question := self._ask(affordable)) is not None:
                    yield question
            elif self._jobs or self.halving.closed or self.cut:
                return
            else:
                self.halving.close()

    def _promote(self, job: Report) -> Promotion:
        self.steps += self.halving.cost(job.rung)
        question = self.questions[job.question]
        question.run_to(job.rung)
        return Promotion(question, job.rung)

    def _replay(self) -> Iterator[Question]:
        """The questions on record, with the results reported before each as they were.

        A promotion that wasn't reported before the last of them is chosen anew, from its checkpoint.
        """
        while self._recorded:
            for job in [Report(*pair) for pair in self._recorded_reports.popleft()]:
                if job.rung:
                    self._promote(job)
                else:
                    self._jobs.remove(job)
                self._report(job)
            if (question := self._ask(lambda job, rung: True)) is not None:
                yield question

    def _ask(self, affordable: Affords) -> Question | None:
        """The next question, answered; None if it would be a new trial that isn't affordable."""
        self._report_expected()
        number = len(self.questions)
        recorded = dict(self._recorded.popleft()) if self._recorded else None
        if number < len(self._first):
            genotype = dict(self._first[number])
            if recorded not in (None, genotype):
                raise ReplayError(
                    f"question {number}, a network that the search begins with, was another before: resume the study "
                    "with the version of pixelfront that made it, or start a new one."
                )
            self._strategy.give(number, genotype)
        elif self._is_lost() and recorded in (None, self._cheapest):
            assert self._cheapest is not None
            genotype = dict(self._cheapest)
            self._strategy.give(number, genotype)
        elif recorded is not None:
            genotype = recorded
            self._strategy.restore(number, genotype)
        else:
            genotype = self._strategy.ask(number)
        question = Question(number, genotype, tuple(self._reports))
        self.questions[number], self._reports = question, []
        allowed = affordable if recorded is None else lambda job, rung: True
        return question if self._place(question, allowed) else None

    def _is_lost(self) -> bool:
        """Whether the strategy has found nothing within the budget, and the cheapest network hasn't been tried."""
        return (
            self._cheapest is not None
            and self.trials == 0
            and self.barren == BARREN_AT_FIRST
            and self._strategy.takes_given
        )

    def _place(self, question: Question, affordable: Affords) -> bool:
        """Make of a new question what it is; False if it would be a new trial that isn't affordable."""
        question.candidate = candidate = self._budget.fit(self._space, question.genotype)
        if candidate is None:
            self._reject(question, Verdict(*self._budget.refusal(self._space, question.genotype)))
            return True
        digest = candidate.architecture.digest
        if (original := self._by_digest.get(digest)) is not None:
            self.barren += 1
            question.become("duplicate")
            question.original = original
            original.duplicates.append(question.number)
            if original.reported is not None:
                self._strategy.tell(question.number, original.reported)
            return True
        if not affordable(candidate, 0):
            return False
        verdict = self._judge(question.number, candidate)
        if verdict.reason is not None:
            self._reject(question, verdict)
            return True
        question.run_to(0)
        question.verdict = verdict
        self.barren = 0
        self.trials += 1
        self.steps += self.halving.cost(0)
        self._by_digest[digest] = question
        self._jobs.append(Report(question.number, 0))
        if self._relatives:
            question.parent = self._relatives.nearest(candidate.architecture)
        return True

    def _reject(self, question: Question, verdict: Verdict) -> None:
        self.barren += 1
        question.become("rejected")
        question.verdict = verdict
        self._strategy.tell(question.number, Failure())

    def _report(self, job: Report) -> None:
        """Tell the ladder and the strategy a result."""
        question = self.questions[job.question]
        outcome = question.outcomes[job.rung]
        self._reports.append(job)
        self.halving.tell(job.question, outcome)
        if isinstance(outcome, Failure):
            question.become("failed")
            self._tell(question, outcome)
            return
        question.become("paused" if job.rung < self.halving.top else "complete")
        if self._relatives and question.candidate:
            self._relatives.tell(job.question, question.candidate.architecture, job.rung)
        self._tell(question, self.halving.expected([job.question])[0])

    def _report_expected(self) -> None:
        """Tell the strategy what paused trials are expected to come to, where that has changed."""
        if self._lessons == self.halving.lessons:
            return
        self._lessons = self.halving.lessons
        for rung in range(self.halving.top):
            resting = self.halving.resting(rung)
            for number, expected in zip(resting, self.halving.expected(resting), strict=True):
                if self.questions[number].reported != expected:
                    self._tell(self.questions[number], expected)

    def _tell(self, question: Question, outcome: Outcome) -> None:
        question.reported = outcome
        for number in (question.number, *question.duplicates):
            self._strategy.tell(number, outcome)

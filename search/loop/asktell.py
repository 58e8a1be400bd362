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
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from search.loop.halving import Halving
from search.loop.inheritance import Relatives
from search.strategies import Prospect, ReplayError, Strategy
from spaces.architecture import Architecture, Leaf
from spaces.budget import Budget, Candidate
from spaces.measurement import Measurement
from spaces.space import Genotype

# So many questions in a row without a new architecture within the budget end the search.
BARREN_QUESTIONS = 500
# So many before there is any trial are answered with the cheapest network, if the strategy can be told of it.
BARREN_AT_FIRST = 50

Result = Callable[[int, int], tuple[Sequence[float] | None] | None]
"""For a question that became a trial, and a rung: its objective values there as (values,), (None,) if it failed, or
None if it isn't finished."""
Told = tuple[tuple[int, int], ...]
"""(question, rung) of results in the order of telling."""
Affords = Callable[[int | Candidate, int], bool]
"""Whether a question's trial, or a new candidate, may still be taken to a rung, and its network then to the end."""


@dataclass(frozen=True)
class Verdict:
    """What was found of a new candidate before any training.

    Attributes:
        by: Who turned it away, in a word, where somebody did.
        reason: Why; None for a candidate that goes on.
        measured: To be kept of one that goes on.
    """

    by: str = ""
    reason: str | None = None
    measured: tuple[Measurement, ...] = ()


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


@dataclass(frozen=True)
class Answer:
    """What became of a question; with outcome ``trial`` the job to take it to its first rung.

    Attributes:
        candidate: The architecture within the budget; None if there is none.
        verdict: What the judge found of it, where one was asked.
        first: Question whose trial has the same architecture, for a duplicate.
        told: What was told since the question before.
        parent: Question and rung of the trial whose tensors a new one starts from; None for random ones.
    """

    question: int
    genotype: dict[str, Leaf]
    outcome: Literal["trial", "duplicate", "rejected"]
    candidate: Candidate | None
    first: int | None = None
    told: Told = ()
    verdict: Verdict = Verdict()
    parent: tuple[int, int] | None = None


@dataclass(frozen=True)
class Promotion:
    """The job to take a question's trial from its rung to the next, ``rung``."""

    question: int
    rung: int


@dataclass
class _Trial:
    """A question that became a trial, and those of the same architecture; ``said`` is what the strategy knows of it."""

    question: int
    architecture: Architecture | None = None  # where others may inherit from it
    followers: list[int] = field(default_factory=list)
    said: tuple[Sequence[float] | None] | None = None


class AskTell:
    """Asks and tells one strategy in the canonical order.

    Args:
        window: Jobs that may be chosen and not yet told.
        halving: The ladder of rungs; by default one, whose steps count as 1.
        ordered: Tell in the order of the jobs; else as results come.
        recorded: Genotypes of the questions that were asked before, in order: they are replayed.
        told: For each of them what was told before it, where results were told as they came.
        judge: May turn new candidates away before training; by default all go on.
        exact: A candidate's objective values that are known before training, None for the others; by default that the
            second of two objectives is GMACs.
        inherit: New architectures start from the tensors of those most like them.
        first: Genotypes of the first questions; the strategy is asked after them.
        worst: What hypervolume is measured from, per objective; None, or nothing at all, where nothing says.
        cheapest: Tried where a strategy long finds nothing within a budget that hardly any network meets.
    """

    def __init__(
        self,
        strategy: Strategy,
        budget: Budget,
        *,
        window: int,
        halving: Halving | None = None,
        ordered: bool = True,
        recorded: Iterable[Genotype] = (),
        told: Iterable[Told] = (),
        judge: Judge | None = None,
        exact: Callable[[Candidate], tuple[float | None, ...]] | None = None,
        inherit: bool = False,
        first: Sequence[Genotype] = (),
        worst: Sequence[float | None] = (),
        cheapest: Genotype | None = None,
    ):
        self._strategy = strategy
        self._judge = judge or (lambda question, candidate: Verdict())
        self._budget = budget
        self._exact = exact or (lambda candidate: _usual(candidate, len(strategy.directions)))
        strategy.limit(partial(budget.allows, strategy.space))
        strategy.foresee(self._look)
        self.worst = tuple(worst) or (None,) * len(strategy.directions)
        strategy.measure_from(self.worst)
        self._relatives = Relatives() if inherit else None
        self._window = window
        self.halving = halving or Halving((1,), 2, strategy.directions)
        self.ordered = ordered
        self._first = tuple(first)
        self._cheapest = cheapest
        self._recorded = deque(recorded)
        self._told_before = deque(told)
        self._untold: deque[tuple[int, int]] = deque()
        self._trials: dict[int, _Trial] = {}
        self._by_digest: dict[str, _Trial] = {}
        self._resting: list[dict[int, None]] = [
            {} for _ in self.halving.steps
        ]  # by rung; dicts keep the order
        self._lessons = 0  # of the ladder's, when trials that rest were last told
        self._told_since: list[tuple[int, int]] = []
        self._finishing = False
        self.cut = False  # something wasn't affordable: nothing is chosen any more
        self.questions = 0
        self.trials = 0
        self.barren = 0
        self.steps = 0  # training steps of the jobs chosen so far

    @property
    def exhausted(self) -> bool:
        """Whether the strategy has long found nothing new within the budget."""
        return self.barren >= BARREN_QUESTIONS

    def advance(
        self,
        result: Result,
        limit: int,
        steps: int | None = None,
        affords: Affords = lambda job, rung: True,
    ) -> Iterator[Answer | Promotion]:
        """Tell and choose as far as it goes; yields the answer to each question, and the promotions.

        Args:
            limit: Ask no more once there are so many trials.
            steps: Choose no job unless that many training steps are enough for it and to train its network to the end.
            affords: Nor unless this says so. Where it doesn't, nothing is chosen any more (`cut`): what a search
                chooses is then a beginning of what it would have chosen with more time. Replayed questions aren't
                asked about.
        """
        while not self._finishing:
            yield from self._choose(result, limit, steps, affords)
            job = self._finished(result)
            if job is None:
                return
            self._untold.remove(job)
            self._tell(*job, result)

    def finish(self, result: Result) -> None:
        """Choose nothing any more, and tell the ladder (not the strategy) the results that there are beyond the order.

        May be called again when there are more.
        """
        self.cut = self._finishing = True
        for job in [job for job in self._untold if result(*job) is not None]:
            self._untold.remove(job)
            if self.halving.rung_of(job[0]) < job[1]:  # else it was told beyond the order
                self.halving.tell(job[0], result(*job)[0])  # type: ignore[index]

    def _finished(self, result: Result) -> tuple[int, int] | None:
        """The job to be told next."""
        candidates = list(self._untold)[:1] if self.ordered else self._untold
        return next((job for job in candidates if result(*job) is not None), None)

    def _choose(
        self, result: Result, limit: int, steps: int | None, affords: Affords
    ) -> Iterator[Answer | Promotion]:
        if not self.ordered:
            yield from self._replay(result)

        def within_steps(rung: int) -> bool:
            below = self.halving.steps[rung - 1] if rung else 0
            return steps is None or self.steps + self.halving.steps[-1] - below <= steps

        def affordable(job: int | Candidate, rung: int) -> bool:
            if not within_steps(rung):
                return False
            self.cut = self.cut or not (self._recorded or affords(job, rung))
            return not self.cut

        while len(self._untold) < self._window and not self.cut:
            if (promoted := self.halving.next(affordable)) is not None:
                self._untold.append(promoted)
                self.steps += self.halving.cost(promoted[1])
                yield Promotion(*promoted)
            elif self.trials < limit and not self.exhausted and not self.cut and within_steps(0):
                if (answer := self._ask(affordable)) is not None:
                    yield answer
            elif self._untold or self.halving.closed or self.cut:
                return
            else:
                self.halving.close()

    def _replay(self, result: Result) -> Iterator[Answer]:
        """The questions on record, with the results told before each as they were.

        A promotion that wasn't told before the last of them is chosen anew, from its checkpoint.
        """
        while self._recorded:
            for question, rung in self._told_before.popleft():
                if rung:
                    self.steps += self.halving.cost(rung)
                else:
                    self._untold.remove((question, rung))
                self._tell(question, rung, result)
            if (answer := self._ask(lambda job, rung: True)) is not None:
                yield answer

    def _ask(self, affordable: Affords) -> Answer | None:
        """The next question's answer; None if it would be a new trial that isn't affordable."""
        self._retell()
        question = self.questions
        self.questions += 1
        told, self._told_since = tuple(self._told_since), []
        recorded = dict(self._recorded.popleft()) if self._recorded else None
        allowed = affordable if recorded is None else lambda job, rung: True
        if question < len(self._first):
            genotype = dict(self._first[question])
            if recorded not in (None, genotype):
                raise ReplayError(
                    f"question {question}, a network that the search begins with, was another before: resume the study "
                    "with the version of pixelfront that made it, or start a new one."
                )
            self._strategy.give(question, genotype)
        elif self._is_lost() and recorded in (None, self._cheapest):
            assert self._cheapest is not None
            genotype = dict(self._cheapest)
            self._strategy.give(question, genotype)
        elif recorded is not None:
            genotype = recorded
            self._strategy.restore(question, genotype)
        else:
            genotype = self._strategy.ask(question)
        return self._place(question, genotype, told, allowed)

    def _is_lost(self) -> bool:
        """Whether the strategy has found nothing within the budget, and the cheapest network hasn't been tried."""
        return (
            self._cheapest is not None
            and self.trials == 0
            and self.barren == BARREN_AT_FIRST
            and type(self._strategy).give is not Strategy.give
        )

    def _look(self, genotype: Genotype) -> Prospect | None:
        candidate = self._budget.fit(self._strategy.space, genotype)
        if candidate is None:
            return None
        digest = candidate.architecture.digest
        return Prospect(digest, candidate.genotype, self._exact(candidate), candidate)

    def _place(
        self, question: int, genotype: dict[str, Leaf], told: Told, affordable: Affords
    ) -> Answer | None:
        candidate = self._budget.fit(self._strategy.space, genotype)
        if candidate is None:
            self.barren += 1
            self._strategy.tell(question, None)
            verdict = Verdict(*self._budget.refusal(self._strategy.space, genotype))
            return Answer(question, genotype, "rejected", None, told=told, verdict=verdict)
        known = self._by_digest.get(candidate.architecture.digest)
        if known is not None:
            self.barren += 1
            known.followers.append(question)
            if known.said is not None:
                self._strategy.tell(question, known.said[0])
            return Answer(question, genotype, "duplicate", candidate, known.question, told)
        if not affordable(candidate, 0):
            return None
        verdict = self._judge(question, candidate)
        if verdict.reason is not None:
            self.barren += 1
            self._strategy.tell(question, None)
            return Answer(question, genotype, "rejected", candidate, told=told, verdict=verdict)
        self.barren = 0
        self.trials += 1
        self.steps += self.halving.cost(0)
        trial = _Trial(question, candidate.architecture if self._relatives else None)
        self._trials[question] = self._by_digest[candidate.architecture.digest] = trial
        self._untold.append((question, 0))
        parent = self._relatives.nearest(candidate.architecture) if self._relatives else None
        return Answer(question, genotype, "trial", candidate, told=told, verdict=verdict, parent=parent)

    def _tell(self, question: int, rung: int, result: Result) -> None:
        found = result(question, rung)
        assert found is not None
        self._told_since.append((question, rung))
        self.halving.tell(question, found[0])
        if rung:
            del self._resting[rung - 1][question]
        if found[0] is None:
            self._say(question, None)
            return
        if rung < self.halving.top:
            self._resting[rung][question] = None
        if self._relatives and (architecture := self._trials[question].architecture):
            self._relatives.tell(question, architecture, rung)
        self._say(question, self.halving.expected([question])[0])

    def _retell(self) -> None:
        """Tell trials that rest what they are expected to come to, where that has changed."""
        if self._lessons == self.halving.lessons:
            return
        self._lessons = self.halving.lessons
        for resting in self._resting:
            for question, expected in zip(resting, self.halving.expected(tuple(resting)), strict=True):
                if self._trials[question].said != (expected,):
                    self._say(question, expected)

    def _say(self, question: int, values: Sequence[float] | None) -> None:
        trial = self._trials[question]
        trial.said = (values,)
        for each in (question, *trial.followers):
            self._strategy.tell(each, values)


def _usual(candidate: Candidate, objectives: int) -> tuple[float | None, ...]:
    return (None, candidate.gmacs) if objectives == 2 else (None,) * objectives

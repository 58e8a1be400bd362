"""A question to the strategy, and what has become of its answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from search.outcomes import Outcome
from spaces.architecture import Leaf
from spaces.budget import Candidate
from spaces.cost import Cost
from spaces.measurement import Measurement

if TYPE_CHECKING:
    from results.store.schema import Trial

State = Literal["asked", "rejected", "duplicate", "running", "paused", "complete", "failed"]
_NEXT: dict[State, tuple[State, ...]] = {
    "asked": ("rejected", "duplicate", "running"),
    "running": ("paused", "complete", "failed"),
    "paused": ("running",),
}


class Report(NamedTuple):
    """A result that was reported: of a question's trial at a rung."""

    question: int
    rung: int


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


@dataclass(eq=False)
class Question:
    """A question, its answer, and the trial that the answer became.

    It is ``asked``, then ``rejected`` (nothing within the budget, or turned away by a judge), a ``duplicate`` (of the
    architecture of an earlier question), or ``running`` as a trial. A trial that runs is ``paused`` once its result at
    a rung is reported, runs again when it is promoted, and ends ``complete`` or ``failed``. Results arrive in
    ``outcomes`` as training goes; states follow in the order of reporting.

    Attributes:
        reports: Results that were reported to the strategy since the question before.
        candidate: The architecture within the budget; None if there is none.
        verdict: The judge's, where one was asked.
        original: The first question with the same architecture, of a duplicate.
        parent: (question, rung) whose tensors the trial starts from; None for random ones.
        duplicates: Later questions with the same architecture.
        rung: Where the trial is trained to, or paused.
        outcomes: By rung, as far as they are known.
        reported: The outcome that the strategy was told last.
        trial: As it was on record when it was taken up.
        to_end: It is trained to its end beyond the order of the jobs.
    """

    number: int
    genotype: dict[str, Leaf]
    reports: tuple[Report, ...] = ()
    state: State = "asked"
    candidate: Candidate | None = None
    verdict: Verdict = Verdict()
    original: Question | None = None
    parent: tuple[int, int] | None = None
    duplicates: list[int] = field(default_factory=list)
    rung: int = 0
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    reported: Outcome | None = None
    trial: Trial = field(init=False, repr=False)
    to_end: bool = False

    def become(self, state: State) -> None:
        """Enter a state.

        Raises: ValueError: if it can't follow the present one.
        """
        if state not in _NEXT.get(self.state, ()):
            raise ValueError(f"question {self.number} is {self.state}: it can't become {state}")
        self.state = state

    def run_to(self, rung: int) -> None:
        """Be trained to a rung. Raises: ValueError: as ``become``."""
        self.become("running")
        self.rung = rung

    @property
    def cost(self) -> Cost:
        """Of the architecture within the budget."""
        assert self.candidate is not None
        return self.candidate.cost


@dataclass(frozen=True)
class Promotion:
    """The job to take a question's trial from its rung to the next, ``rung``."""

    question: Question
    rung: int

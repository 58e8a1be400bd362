"""The order of asking and telling, independent of who finishes when.

With ordered telling, question n is asked when exactly the same results have been told, however many
workers there are and however fast: at most ``window`` trials are asked and not yet told, and results are
told in the order of asking. A seed then means one sequence of architectures.

Questions cost nothing when their answer is over the budget (rejected) or known already (duplicate); only
new architectures within the budget become trials.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from search.strategies import Strategy
from spaces.architecture import Leaf
from spaces.budget import Budget, Candidate
from spaces.space import Genotype

# So many questions in a row without a new architecture within the budget end the search.
BARREN_QUESTIONS = 500


@dataclass(frozen=True)
class Answer:
    """What became of a question.

    Attributes:
        candidate: The architecture within the budget; None if there is none.
        first: Question whose trial has the same architecture, for a duplicate.
    """

    question: int
    genotype: dict[str, Leaf]
    outcome: Literal["trial", "duplicate", "rejected"]
    candidate: Candidate | None
    first: int | None = None


@dataclass
class _Pending:
    question: int
    followers: list[int] = field(default_factory=list)


class AskTell:
    """Asks and tells one strategy in the canonical order.

    Args:
        window: Trials that may be asked and not yet told.
        recorded: Genotypes of the questions that were asked before, in order: they are replayed.
    """

    def __init__(self, strategy: Strategy, budget: Budget, *, window: int, recorded: Iterable[Genotype] = ()):
        self._strategy = strategy
        self._budget = budget
        self._window = window
        self._recorded = deque(recorded)
        self._untold: deque[_Pending] = deque()
        self._by_digest: dict[str, _Pending] = {}
        self._values: dict[int, Sequence[float] | None] = {}
        self.questions = 0
        self.trials = 0
        self.barren = 0

    @property
    def exhausted(self) -> bool:
        """Whether the strategy has long found nothing new within the budget."""
        return self.barren >= BARREN_QUESTIONS

    def advance(
        self, result: Callable[[int], tuple[Sequence[float] | None] | None], limit: int
    ) -> Iterator[Answer]:
        """Tell and ask as far as it goes; yields the answer to each question.

        Args:
            result: For a question that became a trial: its objective values as (values,), (None,) if it
                failed, or None if it isn't finished.
            limit: Ask no more once there are so many trials.
        """
        while True:
            yield from self._ask(limit)
            if not self._untold:
                return
            finished = result(self._untold[0].question)
            if finished is None:
                return
            self._tell(self._untold.popleft(), finished[0])

    def _ask(self, limit: int) -> Iterator[Answer]:
        while len(self._untold) < self._window and self.trials < limit and not self.exhausted:
            question = self.questions
            self.questions += 1
            if self._recorded:
                genotype = dict(self._recorded.popleft())
                self._strategy.restore(question, genotype)
            else:
                genotype = self._strategy.ask(question)
            yield self._place(question, genotype)

    def _place(self, question: int, genotype: dict[str, Leaf]) -> Answer:
        candidate = self._budget.fit(self._strategy.space, genotype)
        if candidate is None:
            self.barren += 1
            self._strategy.tell(question, None)
            return Answer(question, genotype, "rejected", None)
        known = self._by_digest.get(candidate.architecture.digest)
        if known is not None:
            self.barren += 1
            if known.question in self._values:
                self._strategy.tell(question, self._values[known.question])
            else:
                known.followers.append(question)
            return Answer(question, genotype, "duplicate", candidate, known.question)
        self.barren = 0
        self.trials += 1
        pending = _Pending(question)
        self._by_digest[candidate.architecture.digest] = pending
        self._untold.append(pending)
        return Answer(question, genotype, "trial", candidate)

    def _tell(self, pending: _Pending, values: Sequence[float] | None) -> None:
        self._values[pending.question] = values
        for question in (pending.question, *pending.followers):
            self._strategy.tell(question, values)

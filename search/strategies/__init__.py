"""Strategies: what to try next, by ask and tell.

A file here registers its strategies; nothing else is edited. A strategy sees genotypes only. Whatever it
draws at random comes from (seed, number of the question), so its state is what it was asked and told: after
a crash it is rebuilt by replaying the store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from search.outcomes import Outcome
from spaces.architecture import Leaf
from spaces.budget import Budget, Candidate
from spaces.measurement import Direction
from spaces.registry import Registry
from spaces.space import Genotype, Space


class ReplayError(RuntimeError):
    """A study's recorded questions would be answered otherwise now: it can't be resumed."""


@dataclass(frozen=True)
class Prospect:
    """What is known of a genotype's architecture before any training.

    Attributes:
        digest: Tells architectures apart.
        candidate: The architecture within the budget, with its genes and costs.
        exact: Objective values; None where one has to be measured.
    """

    digest: str
    candidate: Candidate
    exact: tuple[float | None, ...]


@dataclass(frozen=True)
class StrategyProblem:
    """The problem that a strategy is made for: the best of a space's architectures within a budget.

    Attributes:
        space: Where genotypes are from.
        budget: Answers beyond it are made narrower where that brings them within it, else they fail.
        directions: One for each objective.
        seed: Equal seeds and equal histories give equal proposals.
        exact: A candidate's objective values that are known before training, None for the others; by default none is.
        reference: The point that the study measures hypervolume from, per objective: a limit, or the trivial method's
            value; what is worse adds nothing. None where there is none.
    """

    space: Space
    budget: Budget
    directions: tuple[Direction, ...]
    seed: int
    exact: Callable[[Candidate], tuple[float | None, ...]] | None = None
    reference: tuple[float | None, ...] = ()

    def allows(self, genotype: Genotype) -> bool:
        """Whether a genotype is within the budget as it is, without repair."""
        return self.budget.allows(self.space, genotype)

    def prospect(self, genotype: Genotype) -> Prospect | None:
        """What is known of a genotype before training; None for one that can't be brought within the budget."""
        candidate = self.budget.fit(self.space, genotype)
        if candidate is None:
            return None
        exact = (None,) * len(self.directions) if self.exact is None else self.exact(candidate)
        return Prospect(candidate.architecture.digest, candidate, exact)


class Strategy(ABC):
    """Proposes genotypes of a space and learns from their objective values.

    Attributes:
        learns: Whether proposals depend on what was told.
        fast: Whether an answer takes milliseconds; else a second or more.
        cost: Of what it proposes, as a share of what random networks cost.
        objectives: How many it can take.
        takes_given: Whether it can be told of networks that it didn't choose (``give``).
        takes_back: Whether values that are told again replace the first as if those had never been.
    """

    learns: ClassVar[bool] = True
    fast: ClassVar[bool] = True
    cost: ClassVar[float] = 1.0
    objectives: ClassVar[range] = range(1, 100)
    takes_given: ClassVar[bool] = False
    takes_back: ClassVar[bool] = True

    def __init__(self, problem: StrategyProblem):
        self.problem = problem
        self.space = problem.space
        self.directions = problem.directions
        self.seed = problem.seed

    @abstractmethod
    def ask(self, number: int) -> dict[str, Leaf]:
        """The genotype for question ``number``; questions are numbered 0, 1, 2, ... without gaps."""

    @abstractmethod
    def restore(self, number: int, genotype: Genotype) -> None:
        """Question ``number`` was answered with ``genotype`` before; as ``ask``, without the choice.

        Raises: ReplayError: if the strategy would answer otherwise now.
        """

    def give(self, number: int, genotype: Genotype) -> None:
        """Question ``number`` is answered with ``genotype``, which isn't this strategy's choice; in a replay again.

        Raises: ValueError: if it only knows of answers of its own.
        """
        raise ValueError("it only knows of answers of its own")

    @abstractmethod
    def tell(self, number: int, outcome: Outcome) -> None:
        """The outcome of the answer to question ``number``.

        Called for each question, in any order. With early stopping it is called again when more is known: a trial that
        rests at a rung is told with the values that are expected at its end, which then change; the last outcome
        counts, and a failure after values means that training failed later. A strategy that can't take values back may
        keep the first.
        """


STRATEGIES: Registry[Strategy] = Registry("strategy", __name__)


def check_strategy(name: str, objectives: int, *, given: bool = False) -> None:
    """Check that a strategy can be made.

    Args:
        objectives: Their number.
        given: It has to be told of networks that it didn't choose.

    Raises: ValueError: if there is none of that name, it can't take so many objectives or networks that it is given
        (names those that can), or isn't installed.
    """
    entry = STRATEGIES[name]
    if objectives not in _trait(name, "objectives"):
        can = [other for other in STRATEGIES if objectives in _trait(other, "objectives")]
        raise ValueError(
            f"strategy '{name}' can't take {objectives} objective{'s' * (objectives != 1)}: expected one of "
            f"{', '.join(can) or 'none'}, or other --objectives"
        )
    if given and not _trait(name, "takes_given"):
        can = [other for other in STRATEGIES if _trait(other, "takes_given")]
        raise ValueError(
            f"strategy '{name}' can't begin with networks that it didn't choose: expected one of {', '.join(can)}, or "
            "no 'first'"
        )
    if (load := getattr(entry.target, "load", None)) is not None:
        load()


def cost_of_proposals(name: str) -> float:
    """Cost of the strategy's networks as a share of random ones': for a plan."""
    return float(_trait(name, "cost"))


def _trait(name: str, trait: str) -> Any:
    # The classes of a library that may be missing aren't loaded to be listed: they have the defaults.
    return getattr(STRATEGIES[name].target, trait, getattr(Strategy, trait))

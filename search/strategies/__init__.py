"""Strategies: what to try next, by ask and tell.

A file here registers its strategies; nothing else is edited. A strategy sees genotypes only. Whatever it
draws at random comes from (seed, number of the question), so its state is what it was asked and told: after
a crash it is rebuilt by replaying the store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from spaces.architecture import Leaf
from spaces.budget import Candidate
from spaces.measurement import Direction
from spaces.registry import Registry
from spaces.space import Genotype, Space


class ReplayError(RuntimeError):
    """A study's recorded questions would be answered otherwise now: it can't be resumed."""


@dataclass(frozen=True)
class Prospect:
    """What is known of an architecture before any training.

    Attributes:
        digest: Tells architectures apart.
        genotype: Its genes, within the budget.
        exact: Objective values; None where one has to be measured.
    """

    digest: str
    genotype: Genotype
    exact: tuple[float | None, ...]
    candidate: Candidate | None = None


class Strategy(ABC):
    """Proposes genotypes of a space and learns from their objective values.

    Args:
        directions: One for each objective.
        seed: Equal seeds and equal histories give equal proposals.
    """

    learns: ClassVar[bool] = True  # whether proposals depend on what was told
    cost: ClassVar[float] = 1.0  # of what it proposes, as a share of what random networks cost
    objectives: ClassVar[range] = range(1, 100)  # how many it can take

    def __init__(self, space: Space, *, directions: Sequence[Direction], seed: int):
        self.space = space
        self.directions = tuple(directions)
        self.seed = seed

    def limit(self, within: Callable[[Genotype], bool]) -> None:  # noqa: B027
        """Said before the first question: which genotypes are within the budget without repair.

        Strategies that may ask beyond it, which is most of them, have no use for it.
        """

    def foresee(self, look: Callable[[Genotype], Prospect | None]) -> None:  # noqa: B027
        """Said before the first question: what is known of a genotype's architecture before any training.

        ``look`` gives None for one that can't be brought within the budget. Strategies that take costs as they are told
        have no use for it.
        """

    def measure_from(self, worst: Sequence[float | None]) -> None:  # noqa: B027
        """Said before the first question: what the study measures hypervolume from, per objective.

        That is a limit, or the trivial method's value: what is worse than it adds nothing. None where nothing says.
        """

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
    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """The objective values of the answer to question ``number``; None if it has none.

        Called for each question, in any order. With early stopping it is called again when more is known: a trial that
        rests at a rung is told with what it is expected to come to, which then changes; the last values count, and
        None after values means that it failed. A strategy that can't take values back may keep the first.
        """


STRATEGIES: Registry[Strategy] = Registry("strategy", __name__)


def create_strategy(name: str, space: Space, *, directions: Sequence[Direction], seed: int) -> Strategy:
    """The strategy of that name.

    Raises: ValueError: if there is none, it can't take so many objectives (names those that can), or isn't installed.
    """
    number = len(directions)
    if number not in _objectives_of(name):
        can = [each for each in STRATEGIES if number in _objectives_of(each)]
        raise ValueError(
            f"strategy '{name}' can't take {number} objective{'s' * (number != 1)}: expected one of "
            f"{', '.join(can) or 'none'}, or other --objectives"
        )
    return STRATEGIES[name].create(space, directions=directions, seed=seed)


def cost_of_proposals(name: str) -> float:
    """What the strategy's networks cost, as a share of random ones': for a plan."""
    return float(getattr(STRATEGIES[name].target, "cost", Strategy.cost))


def _objectives_of(name: str) -> range:
    # A function that makes strategies of a library that may be missing has no say in it.
    return getattr(STRATEGIES[name].target, "objectives", Strategy.objectives)

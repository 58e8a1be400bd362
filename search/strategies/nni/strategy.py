"""What NNI's algorithms share as strategies of ours: one number to minimise, made of several objectives.

NNI's algorithms take one metric. Ours is the augmented Chebyshev norm of ParEGO (J. Knowles, "ParEGO: A Hybrid
Algorithm with On-line Landscape Approximation for Expensive Multiobjective Optimization Problems", 2006,
https://doi.org/10.1109/TEVC.2005.851274) with weights drawn for each question: all that was told is worth a new loss at
each question, so that the questions together look for the whole front.

Our deviations: weights are uniform on the simplex, not on a lattice; objectives are brought to [0, 1] by what was
told so far, not by known bounds.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from random import Random

import numpy as np

from search.outcomes import Failure, Outcome, Values
from search.strategies import ReplayError, Strategy, StrategyProblem
from spaces.architecture import Leaf
from spaces.measurement import Direction
from spaces.space import Genotype

POPULATION = 16  # NNI's 32 and 100 would leave a search of some dozens of trials purely random
AUGMENTED = 0.05  # ParEGO's share of the sum
Indices = dict[str, int]  # of the values of choices that have more than one


def losses(
    values: Sequence[Sequence[float]], directions: Sequence[Direction], weights: Sequence[float]
) -> list[float]:
    """Augmented Chebyshev norm of each of (n, m) objective values; lower is better, 0 is best in all objectives."""
    signs = np.array([-1.0 if direction == "max" else 1.0 for direction in directions])
    costs = np.asarray(values, dtype=float).reshape(-1, len(signs)) * signs
    low, high = costs.min(axis=0), costs.max(axis=0)
    weighted = np.asarray(weights) * (costs - low) / np.where(high > low, high - low, 1.0)
    return (weighted.max(axis=1) + AUGMENTED * weighted.sum(axis=1)).tolist()


def indices(parameters: Mapping[str, float], sizes: Mapping[str, int]) -> Indices:
    """NNI's numbers from 0 to the size as indices."""
    return {name: min(int(parameters[name]), size - 1) for name, size in sizes.items()}


class NNIStrategy(Strategy):
    """An algorithm of NNI behind ask and tell.

    Attributes:
        sizes: How many values the choices with more than one have.
        asked: What was answered, by question.
        outcomes: By question.
    """

    def __init__(self, problem: StrategyProblem):
        super().__init__(problem)
        self.sizes = {choice.name: len(choice.values) for choice in self.space if len(choice.values) > 1}
        self.asked: dict[int, Indices] = {}
        self.outcomes: dict[int, Outcome] = {}

    @abstractmethod
    def propose(self, number: int) -> Mapping[str, float] | None:
        """An answer to a question, rounded down to indices; None if NNI has none left."""

    def ask(self, number: int) -> dict[str, Leaf]:
        found = self.propose(number) if self.sizes else {}
        if (
            found is None
        ):  # a known one ends the search in time: the engine counts questions that bring nothing new
            random = self.random(number)
            found = {name: random.randrange(size) for name, size in self.sizes.items()}
        self.asked[number] = indices(found, self.sizes)
        return {c.name: c.values[self.asked[number].get(c.name, 0)] for c in self.space}

    def restore(self, number: int, genotype: Genotype) -> None:
        if self.ask(number) != dict(genotype):
            raise ReplayError(
                f"question {number} was answered otherwise before; was the study made with another nni or numpy? "
                "Start a new study."
            )

    def tell(self, number: int, outcome: Outcome) -> None:
        self.outcomes[number] = outcome

    def losses(self, number: int) -> dict[int, float]:
        """What each question that has values is worth to question ``number``; lower is better."""
        values: dict[int, Values] = {
            question: outcome
            for question, outcome in self.outcomes.items()
            if not isinstance(outcome, Failure)
        }
        if not values:
            return {}
        random = self.random(f"weights of {number}")
        drawn = [
            random.expovariate(1.0) for _ in self.directions
        ]  # uniform on the simplex, once divided by the sum
        weights = [weight / sum(drawn) for weight in drawn]
        return dict(zip(values, losses(list(values.values()), self.directions, weights), strict=True))

    def random(self, purpose: object) -> Random:
        """Random numbers that depend on the seed and the purpose alone."""
        return Random(f"{self.seed} {purpose}")

    def seed_of(self, number: int) -> int:
        """A seed for question ``number``."""
        return self.random(number).getrandbits(31)

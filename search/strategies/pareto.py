"""Our own strategy: Pareto evolution that knows what costs are, and guesses the rest.

What an architecture costs is exact and free before any training; other strategies are told it as if it had been
measured, and have to learn it. Here a question is answered in three steps: children of the best so far, and some
strangers, make a pool, all of whose costs are looked up; Gaussian processes predict what has to be trained; asked for
is who is expected to add most hypervolume.

- Michael Emmerich, Nicola Beume and Boris Naujoks, "An EMO Algorithm Using the Hypervolume Measure as Selection
  Criterion", EMO 2005, https://doi.org/10.1007/978-3-540-31880-4_5: selection by the hypervolume that would be missed.
- Michael Emmerich, Andre Deutz and Jan Willem Klinkenberg, "Hypervolume-based expected improvement: Monotonicity
  properties and exact computation", CEC 2011, https://doi.org/10.1109/CEC.2011.5949880. No original code was used.

Our deviations: one exact objective makes the expected improvement a sum over the front's steps; trials that run count
with what is predicted of them, so that a window of questions spreads over the front; what is expected is what
would be *measured*, noise of the training included, as that is what a front is made of; hypervolume is measured from
where the study does, or from a corner below all that is known where that is nearer; kernels aren't chosen, their
predictions are weighed by how well they explain what was told.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import inf
from random import Random

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from results.analysis.front import hypervolume
from search.loop.halving import survivors
from search.outcomes import Failure, Outcome, Values
from search.strategies import STRATEGIES, Prospect, Strategy, StrategyProblem
from search.strategies.surrogate import Surrogate, features, matrix
from spaces.architecture import Leaf
from spaces.measurement import Direction
from spaces.space import Choice, Genotype, Space

PARENTS = 16
CHILDREN = 48  # of each question
# Each new kind at a new width costs some milliseconds to count, so that few are looked at of a large space.
STRANGERS = 12
TRIES = 8  # for each child that isn't known or over the budget
FEWEST = 4  # results, before anything is predicted from them
MOST = 100  # results that predictions are made from
CROSSED = 0.3
EVERYWHERE = 0.25  # of changes of a position's kind, at all positions that have that kind
BEYOND = 1.1  # a cost's limit counts as so much higher, so that what just fits it is worth something
SAMPLES = 16  # of predictions, where the expectation has no closed form
Array = NDArray[np.float64]
Key = tuple[Leaf, ...]  # a genotype's values


@STRATEGIES.add("pareto")
class ParetoEvolution(Strategy):
    """Pareto evolution with exact costs and a surrogate for the rest.

    Args:
        exact: Use the costs that are known before training; without, children are asked for as they come.
        surrogate: Predict what has to be trained from the architecture; without, from the costs alone.
    """

    cost = 0.6  # it looks for cheap networks, too: benchmarks/search/plans.py
    takes_given = True

    def __init__(self, problem: StrategyProblem, *, exact: bool = True, surrogate: bool = True):
        super().__init__(problem)
        self._signs = np.array([1.0 if direction == "max" else -1.0 for direction in self.directions])
        self._exact, self._surrogate = exact, surrogate
        self._allows = lru_cache(4096)(lambda key: problem.allows(self._genotype(key)))
        self._look = lru_cache(4096)(lambda key: problem.prospect(self._genotype(key)))
        reference = problem.reference or (None,) * len(self.directions)
        beyond = np.where(self._signs < 0, BEYOND, 1.0) * self._signs
        self._reference = np.array([np.nan if value is None else value for value in reference]) * beyond
        self._groups = _groups(self.space)
        self._asked: dict[int, Prospect] = {}
        self._numbers: dict[str, int] = {}  # of the first question with a digest
        self._outcomes: dict[int, Outcome] = {}

    def restore(self, number: int, genotype: Genotype) -> None:
        self._note(number, genotype)

    def give(self, number: int, genotype: Genotype) -> None:
        self._note(number, genotype)

    def tell(self, number: int, outcome: Outcome) -> None:
        self._outcomes[number] = outcome

    def ask(self, number: int) -> dict[str, Leaf]:
        random = Random(f"{self.seed} {number}")
        genotype = self._answer(random)
        self._note(number, genotype)
        return genotype

    # Children

    def _answer(self, random: Random) -> dict[str, Leaf]:
        known = self._known()
        parents = self._parents(known)
        if not self._exact:
            return self._child(random, parents) if len(known) >= PARENTS // 2 else self.space.sample(random)
        pool = self._pool(random, parents)
        if not pool:  # the search ends in time: the engine counts questions that bring nothing new
            return self.space.sample(random)
        return dict(pool[int(self._gains(pool, known, random).argmax())].candidate.genotype)

    def _pool(self, random: Random, parents: Sequence[Genotype]) -> list[Prospect]:
        """New architectures within the budget."""
        found: dict[str, Prospect] = {}

        def add(genotype: Genotype) -> bool:
            prospect = self._prospect(genotype)
            new = prospect is not None and prospect.digest not in self._numbers
            if prospect is not None and new:
                found[prospect.digest] = prospect
            return new

        for _ in range(STRANGERS if parents else CHILDREN):
            add(self.space.sample(random))
        for _ in range(CHILDREN if parents else 0):
            for _ in range(TRIES):
                child = self._child(random, parents)
                if self._allows(self._key(child)) and add(child):
                    break
        return list(found.values())

    def _child(self, random: Random, parents: Sequence[Genotype]) -> dict[str, Leaf]:
        """One parent's genes, or two parents' mixed, with one or a few changed."""
        child = dict(random.choice(parents))
        if random.random() < CROSSED:
            other = random.choice(parents)
            child = {name: random.choice((value, other[name])) for name, value in child.items()}
        while self._groups:
            group = random.choice(self._groups)
            choice = random.choice(group)
            value = child[choice.name]
            changed = _changed(choice, value, random)
            everywhere = len(group) > 1 and random.random() < EVERYWHERE
            for each in group if everywhere else (choice,):
                if child[each.name] == value and changed in each.values:
                    child[each.name] = changed
            if random.random() < 0.5:
                break
        return child

    def _parents(self, known: dict[int, Values]) -> list[Genotype]:
        """Genes of the best that were told."""
        numbers = list(known)
        kept = survivors(list(known.values()), self.directions, PARENTS)
        return [self._asked[numbers[row]].candidate.genotype for row in kept]

    # What is known of architectures

    def _note(self, number: int, genotype: Genotype) -> None:
        prospect = self._prospect(genotype)
        if prospect is not None:
            self._asked[number] = prospect
            self._numbers.setdefault(prospect.digest, number)

    def _prospect(self, genotype: Genotype) -> Prospect | None:
        return self._look(self._key(genotype))

    def _known(self) -> dict[int, Values]:
        """Objective values of what was told, by the first question of each architecture."""
        outcomes = ((number, self._outcomes.get(number, Failure())) for number in self._numbers.values())
        return {number: values for number, values in outcomes if not isinstance(values, Failure)}

    def _running(self) -> list[Prospect]:
        """What was asked for, and nothing told of."""
        return [self._asked[n] for n in self._numbers.values() if n not in self._outcomes]

    def _key(self, genotype: Genotype) -> Key:
        return tuple(genotype[name] for name in self.space.by_name)

    def _genotype(self, key: Key) -> dict[str, Leaf]:
        return dict(zip(self.space.by_name, key, strict=True))

    # Who is expected to add most

    def _gains(self, pool: Sequence[Prospect], known: dict[int, Values], random: Random) -> Array:
        """Hypervolume that each of the pool is expected to add, (p,); higher is better."""
        running = self._running()
        mean, spread = self._predicted([*pool, *running], known)
        told = np.array(list(known.values())).reshape(-1, len(self._signs)) * self._signs
        if len(known) < FEWEST:
            told = told[:0]
        front = np.concatenate([told, mean[len(pool) :]])
        mean, spread = mean[: len(pool)], spread[: len(pool)]
        low = np.fmax(
            _corner(np.concatenate([told, mean]) if not len(front) else front, mean), self._reference
        )
        if len(self._signs) == 1:
            return _improvement(mean[:, 0], spread[:, 0], front[:, 0].max(initial=low[0]))
        trained = np.flatnonzero(spread.any(axis=0))
        if len(self._signs) == 2 and len(trained) == 1:
            return expected_gains(front, mean, spread, low, int(trained[0]))
        return _sampled_gains(front, mean, spread, low, random)

    def _predicted(self, wanted: Sequence[Prospect], known: dict[int, Values]) -> tuple[Array, Array]:
        """Means and standard deviations, (p, m) each, all objectives to be maximised; exact ones have no deviation."""
        mean, spread = np.zeros((2, len(wanted), len(self._signs)))
        rows = [features(prospect.candidate) for prospect in wanted]
        numbers = self._telling(known)
        told = [features(self._asked[number].candidate) for number in numbers]
        inputs = matrix([*rows, *told])
        for objective, sign in enumerate(self._signs):
            if wanted[0].exact[objective] is not None:
                mean[:, objective] = [sign * (each.exact[objective] or 0.0) for each in wanted]
            elif len(known) < FEWEST:  # dearer is better, and slower
                prices = inputs[: len(rows), 0]
                mean[:, objective] = sign * (prices - prices.min()) / (np.ptp(prices) or 1.0)
                spread[:, objective] = 0.1
            else:
                values = [sign * known[number][objective] for number in numbers]
                shapes = {} if self._surrogate else {"shapes": (0.0,)}
                made = Surrogate(inputs[len(rows) :], values, **shapes)
                mean[:, objective], spread[:, objective] = made.predict(inputs[: len(rows)])
        return mean, spread

    def _telling(self, known: dict[int, Values]) -> list[int]:
        """Questions that predictions are made from: all, or the best and the latest."""
        numbers = list(known)
        if len(numbers) <= MOST:
            return numbers
        best = survivors(list(known.values()), self.directions, MOST // 2)
        kept = {numbers[row] for row in best}
        latest = [number for number in reversed(numbers) if number not in kept]
        return sorted(kept | set(latest[: MOST - len(kept)]))


def _groups(space: Space) -> list[list[Choice]]:
    """Choices that can change, those of all positions (``block_0``, ``block_1``, ...) together.

    So what there is one of, such as the width, is changed as often as any position's kind.
    """
    groups: dict[str, list[Choice]] = {}
    for choice in space:
        if len(choice.values) > 1:
            groups.setdefault(choice.name.rstrip("0123456789"), []).append(choice)
    return list(groups.values())


def _changed(choice: Choice, value: Leaf, random: Random) -> Leaf:
    """Another value; of an ordered choice one near by."""
    if not choice.ordered:
        return random.choice([other for other in choice.values if other != value])
    place, last = choice.values.index(value), len(choice.values) - 1
    reach = max(1, len(choice.values) // 4)
    return choice.values[
        random.choice([p for p in range(max(0, place - reach), min(last, place + reach) + 1) if p != place])
    ]


def _corner(front: Array, pool: Array) -> Array:
    """A corner to measure hypervolume from: as far below a front's worst as that is below its best."""
    worst, best = front.min(axis=0), front.max(axis=0)
    return np.minimum(worst - np.maximum(best - worst, 1e-9), pool.min(axis=0))


def _improvement(mean: Array, spread: Array, level: float | Array) -> Array:
    """Expected improvement of a normal prediction over a level."""
    deviation = np.maximum(spread, 1e-12)
    z = (mean - level) / deviation
    return (mean - level) * ndtr(z) + deviation * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def expected_gains(front: Array, mean: Array, spread: Array, low: Array, trained: int) -> Array:
    """Expected hypervolume improvement over two objectives, both maximised, of which one is exact; (p,).

    Args:
        front: (n, 2); dominated points change nothing.
        mean, spread: (p, 2).
        low: The reference.
        trained: Which objective isn't exact.
    """
    exact = 1 - trained
    order = np.argsort(-front[:, exact], kind="stable")
    steps = np.minimum(front[order, exact], np.inf)
    levels = np.maximum.accumulate(np.concatenate([low[trained : trained + 1], front[order, trained]]))
    uppers, lowers = np.concatenate([[inf], steps]), np.concatenate([steps, low[exact : exact + 1]])
    total = np.zeros(len(mean))
    for upper, lower, level in zip(uppers, lowers, levels, strict=True):
        width = np.maximum(0.0, np.minimum(mean[:, exact], upper) - np.maximum(lower, low[exact]))
        total += width * _improvement(mean[:, trained], spread[:, trained], level)
    return total


def _sampled_gains(front: Array, mean: Array, spread: Array, low: Array, random: Random) -> Array:
    """The same for any objectives, as a mean over samples."""
    directions: list[Direction] = ["max"] * len(low)
    corner = low.tolist()
    before = hypervolume(front, directions, corner)
    draws = np.random.default_rng(random.getrandbits(32)).standard_normal((SAMPLES, mean.shape[1]))
    return np.array(
        [
            np.mean(
                [
                    hypervolume(np.vstack([front, own + draw * deviation]), directions, corner) - before
                    for draw in draws
                ]
            )
            for own, deviation in zip(mean, spread, strict=True)
        ]
    )

"""Successive halving over several objectives: which trials go on to the next rung.

Liam Li, Kevin Jamieson, Afshin Rostamizadeh, Ekaterina Gonina, Jonathan Ben-tzur, Moritz Hardt, Benjamin Recht and
Ameet Talwalkar, "A System for Massively Parallel Hyperparameter Tuning" (ASHA), MLSys 2020,
https://arxiv.org/abs/1810.05934. No original code was used.

Our deviations:

- Several objectives. The best 1/eta of a rung are taken by non-dominated rank; of the rank that only a part of is
  wanted, those stay whose hypervolume is missed most, found by dropping the one that is missed least until enough are
  left (two equal ones would otherwise both count for nothing). The best in each objective stay in any case, so that no
  network is stopped because larger ones score higher: the cheapest one of a rung always goes on.
- A rung of eta trials lets at least one for each objective go on; at the end of a search any rung does, so that it
  never ends with all of its trials at rest.
- Decisions are a function of the results told and their order. Who tells them in the order of asking gets one sequence
  whatever the workers do (`search.asktell`).
- What a trial that rests at a rung would have come to is estimated, for the strategy, from those that went on.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import floor
from statistics import median

import numpy as np
from numpy.typing import ArrayLike, NDArray

from results.front import contributions, dominance_ranks
from spaces.measurement import Direction


def survivors(objectives: ArrayLike, directions: Sequence[Direction], count: int) -> list[int]:
    """The rows that are kept when only ``count`` may be, in their order.

    Args:
        objectives: (n, m), finite. Scaling or shifting a column changes nothing, but for rounding.

    Raises: ValueError: on NaN, infinite values, another shape or another direction.
    """
    points = np.asarray(objectives, dtype=float).reshape(-1, len(directions))
    ranks = dominance_ranks(points, directions)
    kept: list[int] = []
    for rank in range(int(ranks.max(initial=-1)) + 1):
        rows = np.flatnonzero(ranks == rank)
        room = count - len(kept)
        if len(rows) > room:
            rows = rows[_most_missed(points[rows], directions, room)]
        kept += rows.tolist()
        if len(kept) >= count:
            break
    return sorted(kept)


def _most_missed(points: NDArray[np.float64], directions: Sequence[Direction], count: int) -> list[int]:
    """``count`` rows of a front: the best in each objective, and those that add most hypervolume to the rest."""
    signs = np.array([1.0 if direction == "max" else -1.0 for direction in directions])
    low, high = points.min(axis=0), points.max(axis=0)
    # Higher is better, from 0 to 1: the front's own worst values are the reference.
    unit = (points - low) / np.where(high > low, high - low, 1.0) * signs + (signs < 0)
    ends = list(dict.fromkeys(unit.argmax(axis=0).tolist()))
    if count <= len(ends):
        return ends[:count]
    left = list(range(len(points)))
    maxima: list[Direction] = ["max"] * len(directions)
    while len(left) > count:
        missed = contributions(unit[left], maxima, [0.0] * len(directions))
        missed[[left.index(row) for row in ends]] = np.inf
        # The last of equal ones: the others were there first.
        del left[len(left) - 1 - int(missed[::-1].argmin())]
    return left


@dataclass
class _Rung:
    """What was told at a rung: trials in the order of telling, their values, and who went on from here.

    ``gains`` are of those that went on and were told above: per objective, sorted.
    """

    numbers: list[int] = field(default_factory=list)
    values: list[tuple[float, ...]] = field(default_factory=list)
    gone: set[int] = field(default_factory=set)
    gains: list[list[float]] = field(default_factory=list)
    waiting: list[int] | None = None


class Halving:
    """A ladder of rungs and what was told of it.

    Args:
        steps: Training steps at each rung, rising; the last is the whole training. One rung: nothing rests.
        eta: One in so many goes on from a rung.
        directions: Of the objectives.
    """

    def __init__(self, steps: Sequence[int], eta: float, directions: Sequence[Direction]):
        self.steps = tuple(steps)
        self.top = len(self.steps) - 1
        self._eta = eta
        self._directions = tuple(directions)
        self._rungs = [_Rung() for _ in self.steps]
        self._values: dict[int, list[tuple[float, ...]]] = {}
        self._gains: dict[int, tuple[float, ...]] = {}  # by rung, until another is told
        self.closed = False

    def cost(self, rung: int) -> int:
        """Steps from the rung below."""
        return self.steps[rung] - (self.steps[rung - 1] if rung else 0)

    def close(self) -> None:
        """No further trial comes to the first rung."""
        self.closed = True
        for rung in self._rungs:
            rung.waiting = None

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """A trial's objective values at its next rung; None where it failed on the way there."""
        told = self._values.setdefault(number, [])
        if values is None:
            if told:  # in a replay, nobody chose it
                self._rungs[len(told) - 1].gone.add(number)
                self._rungs[len(told) - 1].waiting = None
            return
        told.append(tuple(values))
        rung = self._rungs[len(told) - 1]
        rung.numbers.append(number)
        rung.values.append(told[-1])
        rung.waiting = None
        if len(told) > 1:
            below = self._rungs[len(told) - 2]
            below.gone.add(number)
            below.gains = below.gains or [[] for _ in values]
            for gains, now, before in zip(below.gains, told[-1], told[-2], strict=True):
                insort(gains, now - before)
            self._gains.clear()

    def next(self, allowed: Callable[[int], bool]) -> tuple[int, int] | None:
        """(trial, rung) of the next to go on, highest rung first; None if none may. It counts as gone.

        Args:
            allowed: Whether a trial may still be taken to this rung.
        """
        for to in range(self.top, 0, -1):
            rung = self._rungs[to - 1]
            if (waiting := self._waiting(rung)) and allowed(to):
                number = waiting.pop(0)
                rung.gone.add(number)
                return number, to
        return None

    def _waiting(self, rung: _Rung) -> list[int]:
        """Those that may go on and haven't yet."""
        if rung.waiting is None:
            share = floor(len(rung.numbers) / self._eta + 1e-9)
            least = len(self._directions) if share or self.closed else 0
            count = min(max(share, least), len(rung.numbers))
            rows = survivors(rung.values, self._directions, count) if count else []
            rung.waiting = [rung.numbers[row] for row in rows if rung.numbers[row] not in rung.gone]
        return rung.waiting

    def gains(self, rung: int) -> tuple[float, ...]:
        """What a trial at the rung may still gain until the top, per objective; empty where nothing is known.

        The sum over the rungs above of the median gain of those that went there.
        """
        if rung not in self._gains:  # asked for each trial that rests there
            known = [self._rungs[at].gains for at in range(rung, self.top) if self._rungs[at].gains]
            columns = zip(*known, strict=True)
            self._gains[rung] = tuple(sum(median(gains) for gains in column) for column in columns)
        return self._gains[rung]

    def rung_of(self, number: int) -> int:
        """The highest rung at which the trial was told; -1 for none."""
        return len(self._values.get(number, ())) - 1

    def expected(self, number: int) -> tuple[float, ...]:
        """What a trial comes to at the top: told there, or at its rung and what is gained from there.

        Raises: KeyError: if nothing was told of it.
        """
        if not self._values.get(number):
            raise KeyError(number)
        values = self._values[number][-1]
        gains = self.gains(self.rung_of(number))
        return tuple(a + b for a, b in zip(values, gains, strict=True)) if gains else values

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
  whatever the workers do (`search.loop.asktell`).
- What a trial that rests at a rung would have come to is estimated, for the strategy, from those most like it that went
  on: a small network gains less from further steps than a large one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor

import numpy as np
from numpy.typing import ArrayLike, NDArray

from results.analysis.front import contributions, dominance_ranks
from search.outcomes import Failure, Outcome, Values
from spaces.measurement import Direction

NEAREST = 5  # trials whose gains are expected of one like them
REMEMBERED = 64  # gains from a rung: the latest
RANKED = 32  # trials put into an order one by one at the end of a search
Floats = NDArray[np.float64]


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


def _most_missed(points: Floats, directions: Sequence[Direction], count: int) -> list[int]:
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
    """Results at a rung: trials in the order of telling, their values, and those that were promoted from here.

    ``gains`` are of the latest promoted ones with results above: values here, and what was gained from here.
    """

    numbers: list[int] = field(default_factory=list)
    values: list[Values] = field(default_factory=list)
    promoted: set[int] = field(default_factory=set)
    gains: deque[tuple[Values, Values]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
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
        self.eta = eta
        self._directions = tuple(directions)
        self._rungs = [_Rung() for _ in self.steps]
        self._values: dict[int, list[Values]] = {}
        self._failed: set[int] = set()
        self.closed = False
        self.lessons = 0  # gains told so far: expectations change with them

    def cost(self, rung: int) -> int:
        """Steps from the rung below."""
        return self.steps[rung] - (self.steps[rung - 1] if rung else 0)

    def close(self) -> None:
        """No further trial comes to the first rung."""
        self.closed = True
        for rung in self._rungs:
            rung.waiting = None

    def tell(self, number: int, outcome: Outcome) -> None:
        """A trial's objective values at its next rung, or that it failed on the way there."""
        told = self._values.setdefault(number, [])
        if isinstance(outcome, Failure):
            self._failed.add(number)
            if told:  # in a replay, nobody chose it
                self._rungs[len(told) - 1].promoted.add(number)
                self._rungs[len(told) - 1].waiting = None
            return
        told.append(outcome)
        rung = self._rungs[len(told) - 1]
        rung.numbers.append(number)
        rung.values.append(told[-1])
        rung.waiting = None
        if len(told) > 1:
            below = self._rungs[len(told) - 2]
            below.promoted.add(number)
            gained = tuple(now - before for now, before in zip(told[-1], told[-2], strict=True))
            below.gains.append((told[-2], gained))
            self.lessons += 1

    def next(self, allowed: Callable[[int, int], bool]) -> tuple[int, int] | None:
        """(trial, rung) of the next to go on, highest rung first; None if none may. It counts as promoted.

        Args:
            allowed: Whether a trial may still be taken to a rung.
        """
        for to in range(self.top, 0, -1):
            rung = self._rungs[to - 1]
            if (waiting := self._waiting(rung)) and allowed(waiting[0], to):
                number = waiting.pop(0)
                rung.promoted.add(number)
                return number, to
        return None

    def _waiting(self, rung: _Rung) -> list[int]:
        """Those that may go on and haven't yet."""
        if rung.waiting is None:
            share = floor(len(rung.numbers) / self.eta + 1e-9)
            least = len(self._directions) if share or self.closed else 0
            count = min(max(share, least), len(rung.numbers))
            rows = survivors(rung.values, self._directions, count) if count else []
            rung.waiting = [rung.numbers[row] for row in rows if rung.numbers[row] not in rung.promoted]
        return rung.waiting

    def due(self, arriving: Sequence[int]) -> list[int]:
        """How many trials are still to go on from each rung below the top, if no other comes to the first.

        One at least goes on from a rung where any arrives, so that some trial comes to its end.

        Args:
            arriving: Trials on their way to each rung.
        """
        due: list[int] = []
        for number, rung in enumerate(self._rungs[: self.top]):
            count = len(rung.numbers) + arriving[number] + (due[-1] if due else 0)
            share = floor(count / self.eta + 1e-9)
            wanted = min(count, max(share, len(self._directions)) if share else 1)
            due.append(max(0, wanted - len(rung.promoted)))
        return due

    def unfinished(self, worst: Sequence[float | None] = ()) -> list[int]:
        """Trials that were told below the top and haven't failed, those first whose end would add most to the front.

        That is judged by what they are expected to come to, beside the trials told at the top.

        Args:
            worst: Per objective; trials that aren't expected to be better than that in each come last.
        """
        numbers = [n for n, values in self._values.items() if values and n not in self._failed]
        expected = {number: self.expected([number])[0] for number in numbers}
        worth = [number for number in numbers if self._is_better(expected[number], worst)]
        order = self._ranked(worth, expected)
        order += self._ranked([number for number in numbers if number not in order], expected)
        return [number for number in order if self.rung_of(number) < self.top]

    def _is_better(self, values: Sequence[float], worst: Sequence[float | None]) -> bool:
        return all(
            bound is None or (value > bound if direction == "max" else value <= bound)
            for value, bound, direction in zip(values, worst, self._directions, strict=False)
        )

    def _ranked(self, numbers: Sequence[int], expected: Mapping[int, Values]) -> list[int]:
        """Those that would be kept if only one might be, then two, ..."""
        values = np.array([expected[number] for number in numbers])
        order: dict[int, None] = {}
        for count in range(1, min(len(numbers), RANKED) + 1):
            order |= dict.fromkeys(survivors(values, self._directions, count))
        return [numbers[row] for row in order | dict.fromkeys(range(len(numbers)))]

    def rung_of(self, number: int) -> int:
        """The highest rung at which the trial was told; -1 for none."""
        return len(self._values.get(number, ())) - 1

    def resting(self, rung: int) -> list[int]:
        """Trials whose latest result is at a rung, in the order of telling."""
        return [n for n in self._rungs[rung].numbers if self.rung_of(n) == rung and n not in self._failed]

    def expected(self, numbers: Sequence[int]) -> list[Values]:
        """What trials come to at the top: told there, or at their rung and what is gained from there.

        That is, over each rung above, the median gain of the few that went there and cost about the same. Costs are the
        objectives that training doesn't change; without one the median is over all that went.

        Args:
            numbers: Trials whose highest rung is the same, or of which each was told at the top.

        Raises: KeyError: if nothing was told of one.
        """
        for number in numbers:
            if not self._values.get(number):
                raise KeyError(number)
        found = np.array([self._values[number][-1] for number in numbers])
        for rung in self._rungs[self.rung_of(numbers[0]) : self.top] if len(numbers) else ():
            if rung.gains:
                found = found + _likely_gains(found, rung.gains)
        return [tuple(row) for row in found.tolist()]


def _likely_gains(values: Floats, gains: Sequence[tuple[Values, Values]]) -> Floats:
    """Median gains of those that are nearest in what training doesn't change, (n, m)."""
    before, gained = np.array([each for each, _ in gains]), np.array([each for _, each in gains])
    costs = np.flatnonzero(~gained.any(axis=0))
    nearest = min(NEAREST, len(gains)) if len(costs) else len(gains)
    both = np.concatenate([values, before])[:, costs]
    low, high = both.min(axis=0, initial=np.inf), both.max(axis=0, initial=-np.inf)
    scaled = np.where(
        low > 0, np.log(np.where(low > 0, both, 1.0)), (both - low) / np.where(high > low, high - low, 1.0)
    )
    away = np.abs(scaled[: len(values), None] - scaled[len(values) :]).sum(axis=2)
    return np.median(gained[np.argsort(away, axis=1, kind="stable")[:, :nearest]], axis=1)

"""Networks trained several times: how sure their means are, and which neighbours on a front can be told apart.

A repeat is the same training of the same architecture from another seed: a complete trial of its stage whose origin
differs in nothing but ``repeat``.

Of few trainings each, variances are estimated together: then all members are taken to vary alike, as the seed's effect
on networks of one space is about the same. Two trainings alone would give an interval of 9 standard deviations to
either side; four members of two each, pooled, give 2.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import sqrt
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from results.analysis.estimates import difference, mean_interval, quantile, welch
from results.store.schema import Trial

LEVEL = 0.05
FEW = 5  # trainings of any member, below which variances are pooled


@dataclass(frozen=True)
class Repeated:
    """A member's trainings.

    Attributes:
        low, high: 95 % interval of the mean; None where nothing tells how much it varies.
    """

    key: str
    values: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Neighbours:
    """Two members next to each other on the front, and the second's mean less the first's.

    Attributes:
        low, high: 95 % interval of this difference by itself; None where nothing tells.
        p: Two-sided, of no difference, by Holm's method over all neighbours; None where nothing tells.
        apart: Whether p is below 0.05.
    """

    first: str
    second: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    apart: bool


@dataclass(frozen=True)
class Comparison:
    """What repeats tell of a front.

    Attributes:
        method: In words, for a footnote.
        deviation: Pooled standard deviation of one training; None where each member has its own, or none is known.
    """

    members: tuple[Repeated, ...]
    neighbours: tuple[Neighbours, ...]
    method: str
    deviation: float | None = None


def trainings(trials: Iterable[Trial], key: tuple[str, str]) -> dict[int, tuple[Trial, ...]]:
    """Id of each complete trial that has the measurement to all its trainings, itself among them, by number.

    Args:
        key: (name, protocol) of the measurement.
    """
    groups: dict[tuple[str, ...], list[Trial]] = defaultdict(list)
    for trial in trials:
        if trial.state == "complete" and any(m.key == key for m in trial.measurements):
            origin = {name: value for name, value in (trial.origin or {}).items() if name != "repeat"}
            made = json.dumps([origin, trial.parent_id], sort_keys=True)
            groups[trial.stage, trial.digest, made].append(trial)
    return {trial.id: tuple(group) for group in groups.values() for trial in group}


def is_repeat(trial: Trial) -> bool:
    """Whether it is another training of a trial's architecture."""
    return "repeat" in (trial.origin or {})


def averaged(trials: Iterable[Trial], key: tuple[str, str]) -> list[Trial]:
    """The trials without repeats; what all trainings of one were measured by is their mean.

    So the trial that a front shows is the first training, with its own weights, and its numbers don't favour who was
    lucky once. What only some of the trainings were measured by, such as scores on test images, stays the first's.

    Args:
        key: (name, protocol) of the measurement that complete trainings have.
    """
    trials = tuple(trials)
    groups = trainings(trials, key)
    return [_mean_of(trial, groups.get(trial.id, ())) for trial in trials if not is_repeat(trial)]


def _mean_of(trial: Trial, group: Sequence[Trial]) -> Trial:
    if len(group) < 2:
        return trial
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for each in group:
        for measurement in each.measurements:
            values[measurement.key].append(measurement.value)
    means = {k: fmean(found) for k, found in values.items() if len(found) == len(group)}
    return replace(
        trial, measurements=tuple(replace(m, value=means.get(m.key, m.value)) for m in trial.measurements)
    )


def compare(members: Mapping[str, Sequence[float] | NDArray[np.float64]]) -> Comparison:
    """Means with 95 % intervals, and which neighbours differ by more than chance explains.

    Student's intervals and Welch's test where every member has at least 5 trainings; else both from the pooled
    variance, which also gives members that were trained once an interval.

    Args:
        members: Key to the values of its trainings, in the order of the front; values are finite.

    Raises: ValueError: for a member without values.
    """
    if empty := [key for key, values in members.items() if len(values) == 0]:
        raise ValueError(f"expected at least one training of each member, got none of {', '.join(empty)}")
    columns = {key: np.asarray(values, dtype=float) for key, values in members.items()}
    freedom = sum(len(values) - 1 for values in columns.values())
    if freedom == 0:
        found = tuple(Repeated(k, tuple(v.tolist()), float(v.mean()), None, None) for k, v in columns.items())
        return Comparison(found, _told(columns, None), "no member was trained more than once")
    if min(map(len, columns.values())) >= FEW:
        method = "Student's intervals of each member's own variance; neighbours by Welch's test"
        found = tuple(Repeated(k, tuple(v.tolist()), *mean_interval(v)) for k, v in columns.items())
        return Comparison(found, _told(columns, None), f"{method}, Holm over {len(columns) - 1}")
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in columns.values())
    pooled = _Pooled(sqrt(squares / freedom), freedom)
    method = (
        f"pooled standard deviation of one training {pooled.deviation:.4g} ({freedom} degrees of freedom, all members "
        f"taken to vary alike); neighbours by Student's test, Holm over {len(columns) - 1}"
    )
    found = tuple(Repeated(k, tuple(v.tolist()), *pooled.interval(v)) for k, v in columns.items())
    return Comparison(found, _told(columns, pooled), method, pooled.deviation)


@dataclass(frozen=True)
class _Pooled:
    """The standard deviation of one training, of any member."""

    deviation: float
    freedom: int

    def interval(self, values: NDArray[np.float64]) -> tuple[float, float, float]:
        """Mean, low and high."""
        mean, half = float(values.mean()), self._half(1 / len(values))
        return mean, mean - half, mean + half

    def difference(
        self, ours: NDArray[np.float64], others: NDArray[np.float64]
    ) -> tuple[float, float, float, float]:
        """Difference of the means, low, high and p."""
        share = 1 / len(ours) + 1 / len(others)
        effect, half = float(ours.mean() - others.mean()), self._half(share)
        return (
            effect,
            effect - half,
            effect + half,
            _two_sided(effect, self.deviation * sqrt(share), self.freedom),
        )

    def _half(self, share: float) -> float:
        return quantile(self.freedom) * self.deviation * sqrt(share)


def _told(columns: Mapping[str, NDArray[np.float64]], pooled: _Pooled | None) -> tuple[Neighbours, ...]:
    found: list[tuple[float, float | None, float | None, float | None]] = []
    for first, second in pairwise(columns.values()):
        if pooled is not None:
            found.append(pooled.difference(second, first))
        else:
            found.append((*difference(second, first), _welch(second, first)))
    adjusted = iter(holm([p for *_, p in found if p is not None]))
    made = []
    for (first_key, second_key), (effect, low, high, p) in zip(pairwise(columns), found, strict=True):
        shared = None if p is None else next(adjusted)
        apart = shared is not None and shared < LEVEL
        made.append(Neighbours(first_key, second_key, effect, low, high, shared, apart))
    return tuple(made)


def _welch(ours: NDArray[np.float64], others: NDArray[np.float64]) -> float | None:
    """p of Welch's test; None where either has fewer than two values."""
    if min(len(ours), len(others)) < 2:
        return None
    return _two_sided(float(ours.mean() - others.mean()), *welch(ours, others))


def _two_sided(effect: float, error: float, freedom: float) -> float:
    from scipy.special import stdtr  # 0.2 s to import

    if error == 0:
        return 1.0 if effect == 0 else 0.0
    return 2 * float(stdtr(freedom, -abs(effect) / error))


def holm(ps: Sequence[float]) -> list[float]:
    """The p values so raised that any below 0.05 is wrong in at most 5 % of all families: Holm (1979)."""
    raised, least = [0.0] * len(ps), 0.0
    for done, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = max(least, min(1.0, (len(ps) - done) * ps[index]))
        raised[index] = least
    return raised

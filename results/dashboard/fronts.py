"""Fronts over a study's columns: as `results.analysis.overview` defines them, for 100,000 trials in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results.analysis.front import Reference, hypervolume, nondominated
from results.analysis.overview import (
    GIGA,
    baseline_value,
    budget_of,
    cost_key,
    floor_of,
    limits_of,
    objectives_of,
)
from results.dashboard.columns import Column, Metric, Snapshot
from results.store.schema import Study
from spaces.measurement import Direction


@dataclass(frozen=True)
class ColumnFront:
    """The trials that no other beats on two axes.

    Attributes:
        numbers: Of the members, by rising x.
        considered: Complete trials that have both values and passed the filter.
        worthless: Of these, the ones that don't beat the trivial method.
        unmet: Of these, the ones beyond a hard limit of the study's, which are never members.
        hypervolume: None without a reference: only the study's own axes have one.
    """

    numbers: NDArray[np.int64]
    considered: int
    worthless: int
    unmet: int
    reference: Reference | None
    hypervolume: float | None


def front(
    study: Study, snapshot: Snapshot, x: Column, y: Column, chosen: NDArray[np.bool_] | None = None
) -> ColumnFront:
    """The front of the complete trials, as `results.analysis.front.front_of` defines it.

    Args:
        chosen: (n,) marks the trials that take part; None for all.
    """
    across, up = means(snapshot, x), means(snapshot, y)
    part = snapshot.complete & np.isfinite(across) & np.isfinite(up)
    if chosen is not None:
        part &= chosen
    numbers = np.flatnonzero(part)
    matrix = np.column_stack([across[numbers], up[numbers]])
    met = meets_limits(study, snapshot)[numbers]
    worthwhile = _worthwhile(study, (y.name, y.protocol), y.direction, matrix[:, 1])
    mask = _front_of(matrix, (x.direction, y.direction), met, worthwhile)
    members = numbers[mask]
    reference = corner(study, snapshot, x, y)
    volume = None
    if reference is not None:
        point = reference.cost, reference.quality
        volume = hypervolume(matrix[mask], (x.direction, y.direction), point) if len(numbers) else 0.0
    order = np.lexsort((members, across[members]))
    counts = int((~worthwhile).sum()), int((~met).sum())
    return ColumnFront(members[order], len(numbers), *counts, reference, volume)


def _front_of(
    matrix: NDArray[np.float64],
    directions: Sequence[Direction],
    met: NDArray[np.bool_],
    worthwhile: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Marks the rows that no other beats, as `results.analysis.front.front_of`."""
    mask = np.zeros(len(matrix), dtype=bool)
    mask[met] = nondominated(matrix[met], directions)
    return mask & worthwhile if (worthwhile & met).any() else mask


def meets_limits(study: Study, snapshot: Snapshot) -> NDArray[np.bool_]:
    """Marks the trials that keep to the study's hard limits; one that lacks a measurement doesn't."""
    mask = np.ones(len(snapshot), dtype=bool)
    for each, limit in limits_of(study):
        found = _means(snapshot, each.key) / each.kind.scale
        mask &= found >= limit.bound if each.direction == "max" else found <= limit.bound  # NaN is neither
    return mask


def values(snapshot: Snapshot, column: Column) -> NDArray[np.float64]:
    """The column's values by trial number, NaN where a trial lacks it."""
    return _values(snapshot, (column.name, column.protocol))


def _values(snapshot: Snapshot, metric: Metric) -> NDArray[np.float64]:
    missing = np.full(len(snapshot), np.nan)
    return snapshot.values.get(metric, missing)


def means(snapshot: Snapshot, column: Column) -> NDArray[np.float64]:
    """As ``values``, but of a trial that was repeated the mean of its trainings, and NaN for the repeats.

    So they take part in a front as one point, as in `results.analysis.overview`.
    """
    return _means(snapshot, (column.name, column.protocol))


def _means(snapshot: Snapshot, metric: Metric) -> NDArray[np.float64]:
    found, first = _values(snapshot, metric), snapshot.first
    repeats = first != np.arange(len(snapshot))
    if not repeats.any():
        return found
    known = snapshot.complete & np.isfinite(found)
    counts = np.bincount(first[known], minlength=len(snapshot))
    sums = np.bincount(first[known], found[known], minlength=len(snapshot))
    averaged = np.where((counts > 1) & known, sums / np.maximum(counts, 1), found)
    return np.where(repeats, np.nan, averaged)


def is_own(study: Study, x: Column, y: Column) -> bool:
    """Whether these are the axes that the study itself goes by."""
    return (x.name, x.protocol) == cost_key(study) and [y.name, y.protocol] == list(study.data["objective"])


def corner(study: Study, snapshot: Snapshot, x: Column, y: Column) -> Reference | None:
    """(budget, trivial baseline), what the hypervolume is measured from; None on other axes than the study's own."""
    if not is_own(study, x, y):
        return None
    label = study.data["baseline"]["name"]
    quality = baseline_value(study, *study.data["objective"])
    high = budget_of(study)[1]
    if high is not None:
        return Reference(high * GIGA, quality, f"the budget of {high:g} GMACs; {label}")
    costs = values(snapshot, x)[snapshot.complete]
    costs = costs[np.isfinite(costs)]
    if len(costs) == 0:
        return None
    return Reference(
        float(costs.max()), quality, f"the dearest trial, {costs.max() / GIGA:.4g} GMACs; {label}"
    )


def best(study: Study, snapshot: Snapshot, x: Column, y: Column) -> int | None:
    """Number of the trial that the study looked for, as `results.analysis.overview.Overview.best` finds it; None if
    none is.

    Args:
        x, y: The study's own axes.
    """
    if objectives_of(study):
        return _best_of_own(study, snapshot, x, y)
    members = front(study, snapshot, x, y).numbers
    limit, floor = budget_of(study)[1], floor_of(study)
    if limit is not None:
        members = members[values(snapshot, x)[members] / GIGA <= limit]
    if floor is not None:
        members = members[means(snapshot, y)[members] >= floor[1]][:1]
    return int(members[-1]) if len(members) else None


def _best_of_own(study: Study, snapshot: Snapshot, x: Column, y: Column) -> int | None:
    """As ``best``, of a study with other objectives: of their front that which is best in the first of them."""
    own = objectives_of(study)
    table = np.column_stack([_means(snapshot, each.key) for each in own])
    cost, quality = means(snapshot, x), means(snapshot, y)
    known = np.isfinite(table).all(axis=1) & np.isfinite(cost) & np.isfinite(quality)
    numbers = np.flatnonzero(snapshot.complete & known)
    met = meets_limits(study, snapshot)[numbers]
    worthwhile = _worthwhile(study, (y.name, y.protocol), y.direction, quality[numbers])
    members = numbers[_front_of(table[numbers], [each.direction for each in own], met, worthwhile)]
    if (limit := budget_of(study)[1]) is not None:
        members = members[cost[members] / GIGA <= limit]
    if not len(members):
        return None
    signs = [1.0 if each.direction == "min" else -1.0 for each in own]
    order = np.lexsort((members, cost[members], *(table[members] * signs).T[::-1]))
    return int(members[order[0]])


def _worthwhile(
    study: Study, metric: Metric, direction: Direction, qualities: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Marks what beats the trivial method; everything does where it wasn't measured so."""
    try:
        trivial = baseline_value(study, *metric)
    except KeyError:
        return np.ones(len(qualities), dtype=bool)
    return qualities > trivial if direction == "max" else qualities < trivial

"""Fronts over a study's columns: the same definitions as `results.overview`, for 100,000 trials in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results.dashboard.columns import Column, Snapshot
from results.front import Reference, hypervolume, nondominated
from results.overview import GIGA, baseline_value, budget_of, cost_key, floor_of
from results.schema import Study


@dataclass(frozen=True)
class ColumnFront:
    """The trials that no other beats on two axes.

    Attributes:
        numbers: Of the members, by rising x.
        considered: Complete trials that have both values and passed the filter.
        worthless: Of these, the ones that don't beat the trivial method.
        hypervolume: None without a reference: only the study's own axes have one.
    """

    numbers: NDArray[np.int64]
    considered: int
    worthless: int
    reference: Reference | None
    hypervolume: float | None


def front(
    study: Study, snapshot: Snapshot, x: Column, y: Column, chosen: NDArray[np.bool_] | None = None
) -> ColumnFront:
    """The front of the complete trials, as `results.front.front_of` defines it.

    Args:
        chosen: (n,) marks the trials that take part; None for all.
    """
    across, up = means(snapshot, x), means(snapshot, y)
    part = snapshot.complete & np.isfinite(across) & np.isfinite(up)
    if chosen is not None:
        part &= chosen
    numbers = np.flatnonzero(part)
    matrix = np.column_stack([across[numbers], up[numbers]])
    mask = nondominated(matrix, (x.direction, y.direction))
    worthwhile = _worthwhile(study, y, matrix[:, 1])
    if worthwhile.any():
        mask &= worthwhile
    members = numbers[mask]
    reference = corner(study, snapshot, x, y)
    volume = None
    if reference is not None:
        point = reference.cost, reference.quality
        volume = hypervolume(matrix[mask], (x.direction, y.direction), point) if len(numbers) else 0.0
    order = np.lexsort((members, across[members]))
    return ColumnFront(members[order], len(numbers), int((~worthwhile).sum()), reference, volume)


def values(snapshot: Snapshot, column: Column) -> NDArray[np.float64]:
    """The column's values by trial number, NaN where a trial lacks it."""
    missing = np.full(len(snapshot), np.nan)
    return snapshot.values.get((column.name, column.protocol), missing)


def means(snapshot: Snapshot, column: Column) -> NDArray[np.float64]:
    """As ``values``, but of a trial that was repeated the mean of its trainings, and NaN for the repeats.

    So they take part in a front as one point, as in `results.overview`.
    """
    found, first = values(snapshot, column), snapshot.first
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
    """Number of the trial that the study looked for, as `results.overview.Overview.best` finds it; None if none is.

    Args:
        x, y: The study's own axes.
    """
    members = front(study, snapshot, x, y).numbers
    limit, floor = budget_of(study)[1], floor_of(study)
    if limit is not None:
        members = members[values(snapshot, x)[members] / GIGA <= limit]
    if floor is not None:
        members = members[means(snapshot, y)[members] >= floor[1]][:1]
    return int(members[-1]) if len(members) else None


def _worthwhile(study: Study, y: Column, qualities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Marks what beats the trivial method; everything does where it wasn't measured so."""
    try:
        trivial = baseline_value(study, y.name, y.protocol)
    except KeyError:
        return np.ones(len(qualities), dtype=bool)
    return qualities > trivial if y.direction == "max" else qualities < trivial

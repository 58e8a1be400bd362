"""Pareto fronts and hypervolume over measurements that may be compared.

Objectives are (n, m) matrices with a direction per column. Reads trials as plain records: no database,
no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from spaces.measurement import Direction, Measurement
from spaces.objectives import Objective as Aim

Key = tuple[str, str | None]
"""(metric, protocol); protocol None means the only one that the trials have."""


class Candidate(Protocol):
    """What a front needs of a trial; `results.store.schema.Trial` is one."""

    @property
    def id(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def digest(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def measurements(self) -> Sequence[Measurement]: ...


@dataclass(frozen=True)
class Objective:
    """One axis: a metric under one protocol."""

    name: str
    protocol: str
    unit: str
    direction: Direction


@dataclass(frozen=True)
class Point:
    """A complete trial in objective space.

    Attributes:
        values: Of the study's own objectives, in their units, where they are others than cost and quality.
    """

    id: int
    number: int
    digest: str
    cost: float
    quality: float
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Reference:
    """The corner that hypervolume is measured from, in the objectives' own units.

    Attributes:
        meaning: Where it comes from, e.g. ``the budget; bicubic``.
        corner: In the study's own objectives, where they are others than cost and quality; None in the place of one
            takes the worst of the points there.
    """

    cost: float
    quality: float
    meaning: str
    corner: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Front:
    """The trials that no other beats.

    Attributes:
        members: Non-dominated points by rising cost; equal points are all members.
        points: All points that took part, in the trials' order.
        cost, quality: The axes; None where no complete trial has been measured.
        hypervolume: Area between front and reference, in cost unit x quality unit; None without one.
        worthless: Points that don't beat the trivial method; members only if all of them are.
        unmet: Points beyond a hard limit, which are never members.
    """

    members: tuple[Point, ...]
    points: tuple[Point, ...]
    cost: Objective | None
    quality: Objective | None
    reference: Reference | None
    hypervolume: float | None
    worthless: int = 0
    unmet: int = 0


def nondominated(objectives: ArrayLike, directions: Sequence[Direction]) -> NDArray[np.bool_]:
    """Marks the rows that no other row dominates: as good everywhere and better somewhere.

    Args:
        objectives: (n, m); n may be 0, values may be infinite.
        directions: m times ``min`` or ``max``.

    Returns: (n,); equal rows of the front are all marked.
    Raises: ValueError: on NaN, another shape or another direction.
    """
    points, maximise = _checked(objectives, directions)
    if len(points) == 0:
        return np.zeros(0, dtype=bool)
    return np.asarray(
        moocore.is_nondominated(_orders(points), maximise=maximise, keep_weakly=True), dtype=bool
    )


def hypervolume(objectives: ArrayLike, directions: Sequence[Direction], reference: Sequence[float]) -> float:
    """Volume dominated by the points and bounded by the reference; higher is better.

    Args:
        objectives: (n, m); n may be 0, which gives 0.0.
        reference: m values; a point that isn't better than it on every axis adds nothing.

    Raises: ValueError: on NaN or infinite values, another shape or another direction.
    """
    points, maximise, corner = _bounded(objectives, directions, reference)
    if len(points) == 0:
        return 0.0
    return float(moocore.hypervolume(points, ref=corner, maximise=maximise))


def dominance_ranks(objectives: ArrayLike, directions: Sequence[Direction]) -> NDArray[np.int64]:
    """Rank by non-dominated sorting: 0 for the front, 1 for the front of the rest, and so on; equal rows share one.

    Args:
        objectives: (n, m); n may be 0, values may be infinite.

    Returns: (n,).
    Raises: ValueError: as `nondominated`.
    """
    points, maximise = _checked(objectives, directions)
    if len(points) == 0:
        return np.zeros(0, dtype=np.int64)
    return np.asarray(moocore.pareto_rank(_orders(points), maximise=maximise), dtype=np.int64)


def contributions(
    objectives: ArrayLike, directions: Sequence[Direction], reference: Sequence[float]
) -> NDArray[np.float64]:
    """The hypervolume that would be lost with each row alone: 0 for dominated and for equal rows.

    Returns: (n,).
    Raises: ValueError: as `hypervolume`.
    """
    points, maximise, corner = _bounded(objectives, directions, reference)
    if len(points) == 0:
        return np.zeros(0)
    if points.shape[1] == 1:  # moocore wants two: the second is one that all share
        points, maximise = np.column_stack([points, np.ones(len(points))]), np.append(maximise, True)
        corner = np.append(corner, 0.0)
    return np.asarray(moocore.hv_contributions(points, ref=corner, maximise=maximise), dtype=np.float64)


def front_of(
    trials: Iterable[Candidate],
    *,
    cost: Key = ("macs", None),
    quality: Key = ("psnr_y", None),
    reference: Reference | None = None,
    trivial: float | None = None,
    objectives: Sequence[Aim] = (),
    feasible: Callable[[Candidate], bool] = lambda trial: True,
) -> Front:
    """The Pareto front of the complete trials that have both measurements, and those of the objectives.

    Args:
        objectives: What the front and its hypervolume are over; by default cost and quality.
        feasible: Whether a trial keeps to the hard limits.
        trivial: Quality of a method that costs nothing, such as bicubic interpolation. It dominates what isn't
            better, however cheap. Where no trial is better, all are members that no other trial beats.

    Raises: ValueError: if no complete trial has the metric under the protocol (with what they have), or
        no protocol was named and they have several: unlike protocols are never compared.
    """
    complete = [trial for trial in trials if trial.state == "complete"]
    if not complete:
        return Front((), (), None, None, reference, None if reference is None else 0.0)
    axes = _objective(complete, cost), _objective(complete, quality)
    points = _points(complete, *axes, objectives)
    rows = [point.values or (point.cost, point.quality) for point in points]
    directions = [each.direction for each in objectives or axes]
    matrix = np.array(rows, dtype=float).reshape(-1, len(directions))
    by_id = {trial.id: trial for trial in complete}
    met = np.array([feasible(by_id[point.id]) for point in points], dtype=bool)
    mask = np.zeros(len(points), dtype=bool)
    mask[met] = nondominated(matrix[met], directions)
    worthwhile = _better(np.array([point.quality for point in points]), trivial, axes[1].direction)
    if (worthwhile & met).any():
        mask &= worthwhile
    members = [point for point, kept in zip(points, mask, strict=True) if kept]
    members.sort(key=lambda point: (point.cost, point.number))
    volume = None if reference is None else _volume(matrix[met], directions, reference)
    counts = int((~worthwhile).sum()), int((~met).sum())
    return Front(tuple(members), points, *axes, reference, volume, *counts)


def _volume(points: NDArray[np.float64], directions: Sequence[Direction], reference: Reference) -> float:
    return hypervolume(points, directions, filled_corner(points, directions, reference))


def filled_corner(points: ArrayLike, directions: Sequence[Direction], reference: Reference) -> list[float]:
    """The reference in the points' objectives, with the worst of them where it says nothing."""
    matrix = np.asarray(points, dtype=float).reshape(-1, len(directions))
    corner: Sequence[float | None] = reference.corner or (reference.cost, reference.quality)
    if len(matrix) == 0:
        return [value or 0.0 for value in corner]
    worst = [
        column.max() if direction == "min" else column.min()
        for column, direction in zip(matrix.T, directions, strict=True)
    ]
    return [float(w if value is None else value) for value, w in zip(corner, worst, strict=True)]


def _better(qualities: NDArray[np.float64], trivial: float | None, direction: Direction) -> NDArray[np.bool_]:
    """Marks what beats the trivial method; everything does where there is none."""
    if trivial is None:
        return np.ones(len(qualities), dtype=bool)
    return qualities > trivial if direction == "max" else qualities < trivial


def _checked(
    objectives: ArrayLike, directions: Sequence[Direction]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    points = np.ascontiguousarray(objectives, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != len(directions) or not directions:
        raise ValueError(f"expected objectives of shape (n, {len(directions)}), got {points.shape}")
    if unknown := set(directions) - {"min", "max"}:
        raise ValueError(f"expected directions 'min' or 'max', got {sorted(unknown)}")
    if np.isnan(points).any():
        row = int(np.isnan(points).any(axis=1).argmax())
        raise ValueError(f"objectives of row {row} are NaN; a failed candidate has no place in a front")
    return points, np.array([direction == "max" for direction in directions])


def _bounded(
    objectives: ArrayLike, directions: Sequence[Direction], reference: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """As `_checked`, all finite, with the reference."""
    points, maximise = _checked(objectives, directions)
    corner = np.asarray(reference, dtype=float)
    if corner.shape != (points.shape[1],):
        raise ValueError(f"expected a reference of {points.shape[1]} values, got {corner.size}")
    if not (np.isfinite(points).all() and np.isfinite(corner).all()):
        raise ValueError("hypervolume needs finite objectives and a finite reference")
    return points, maximise, corner


def _orders(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Each value's place in its column's order, which is all that dominance asks for.

    Else moocore 0.3.2 crashes on infinities in three objectives and answers wrongly from four on.
    """
    return np.column_stack([np.unique(column, return_inverse=True)[1] for column in points.T])


def _objective(trials: Sequence[Candidate], key: Key) -> Objective:
    """The axis that the key names."""
    name, protocol = key
    measured = [each for trial in trials for each in trial.measurements]
    found = {
        Objective(each.name, each.protocol, each.unit, each.direction)
        for each in measured
        if each.name == name and protocol in (None, each.protocol)
    }
    if not found:
        known = sorted({f"{each.name} [{each.protocol}]" for each in measured})
        wanted = name if protocol is None else f"{name} [{protocol}]"
        raise ValueError(f"no complete trial has {wanted}; they have: {'; '.join(known) or 'nothing'}")
    if len(found) > 1:
        listing = "; ".join(sorted(f"{each.protocol} ({each.direction}, {each.unit})" for each in found))
        raise ValueError(
            f"{name} was measured in {len(found)} ways that can't be compared, name one: {listing}"
        )
    return found.pop()


def _points(
    trials: Sequence[Candidate], cost: Objective, quality: Objective, objectives: Sequence[Aim]
) -> tuple[Point, ...]:
    """The trials that have all of them."""
    points = []
    for trial in trials:
        values = {each.key: each.value for each in trial.measurements}
        pair = values.get((cost.name, cost.protocol)), values.get((quality.name, quality.protocol))
        own = tuple(v for each in objectives if (v := each.find(trial.measurements)) is not None)
        if pair[0] is not None and pair[1] is not None and len(own) == len(objectives):
            points.append(Point(trial.id, trial.number, trial.digest, pair[0], pair[1], own))
    return tuple(points)

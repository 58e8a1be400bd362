"""What the API says of a study, as plain values: a function a resource. `results.dashboard.api` has the addresses."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.analysis.overview import (
    budget_of,
    cost_key,
    floor_of,
    goal_text,
    limits_of,
    objectives_of,
    state_text,
)
from results.dashboard import fronts
from results.dashboard.columns import STAGES, STATES, Column, Snapshot, StudyColumns, columns_of
from results.dashboard.errors import ApiError
from results.dashboard.features import Features
from results.dashboard.published import stars
from results.durations import seconds
from results.store.connection import StoreError
from results.store.schema import Study
from results.store.store import Store
from spaces.objectives import DEFAULT

FIELDS = ("values", "features")  # of points: state, parent and measurements; what is known of architectures


class Studies:
    """The store's studies with their columns, which stay in memory. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._columns: dict[int, StudyColumns] = {}
        self._lock = threading.Lock()

    def columns(self, study: Study) -> StudyColumns:
        """The study's, read when they are first asked for."""
        with self._lock:
            return self._columns.setdefault(study.id, StudyColumns(self.store, study.id))

    def find(self, name: str) -> Opened:
        """The study of that name as it is now.

        Raises: UnknownStudy: if there is none.
        """
        study = self.store.study(name)
        return Opened(self.store, study, self.columns(study))

    def warm(self) -> None:
        """Reads the newest study's columns, which whoever opens the page next is likely to ask for."""
        with suppress(StoreError):  # which a request will say
            if records := self.store.study_records():
                self.columns(records[-1]).snapshot()

    def all(self) -> list[Opened]:
        """Every study, oldest first."""
        return [Opened(self.store, each, self.columns(each)) for each in self.store.study_records()]


@dataclass(frozen=True)
class Opened:
    """A study that a request is about."""

    store: Store
    study: Study
    columns: StudyColumns


class Axes:
    """A snapshot's columns by the keys that requests use."""

    def __init__(self, study: Study, snapshot: Snapshot) -> None:
        self.study = study
        self.columns = columns_of(study, snapshot)
        self._by_key = {column.key: column for column in self.columns}

    @property
    def cost(self) -> Column:
        """What the study's budget limits."""
        return self._of(*cost_key(self.study))

    @property
    def objective(self) -> Column:
        """The study's PSNR."""
        name, protocol = self.study.data["objective"]
        return self._of(name, protocol)

    @property
    def x(self) -> Column:
        """What a front is over where nothing else is said: the first cost or runtime that the study goes for."""
        return next((each for each in self._goals if each.kind != "quality"), self.cost)

    @property
    def y(self) -> Column:
        """As ``x``, the first quality."""
        return next((each for each in self._goals if each.kind == "quality"), self.objective)

    @property
    def _goals(self) -> list[Column]:
        known = {(each.name, each.protocol): each for each in self.columns}
        return [known[each.key] for each in objectives_of(self.study) if each.key in known]

    def _of(self, name: str, protocol: str) -> Column:
        return next(each for each in self.columns if (each.name, each.protocol) == (name, protocol))

    def find(self, key: str) -> Column:
        """The column of that key; a name alone is its first protocol.

        Raises: ApiError: if there is none.
        """
        found = self._by_key.get(key) or self._by_key.get(f"{key}@1")
        if found is None:
            known = ", ".join(self._by_key)
            raise ApiError(422, "unknown_metric", f"expected a metric of this study ({known}), got '{key}'")
        return found


def summary(opened: Opened) -> dict[str, Any]:
    """A line of the list of studies."""
    study, snapshot = opened.study, opened.columns.snapshot()
    axes = Axes(study, snapshot)
    states = counts(snapshot)["by_state"]
    y = axes.objective
    top = fronts.best(study, snapshot, axes.cost, y)
    found = None
    if top is not None:
        value = float(fronts.means(snapshot, y)[top])
        found = {"key": y.key, "value": value, "unit": y.unit, "trial": top}
    return {
        "name": study.name,
        "task": study.task,
        "strategy": study.strategy,
        "seed": study.seed,
        "space": study.space_name,
        **state_of(study, snapshot),
        "created_at": study.created_at,
        "finished_at": study.finished_at,
        "trials": len(snapshot),
        **{state: states.get(state, 0) for state in ("complete", "failed", "running", "paused")},
        "goal": goal_text(study),
        "best": found,
        "revision": snapshot.revision,
    }


def state_of(study: Study, snapshot: Snapshot) -> dict[str, Any]:
    """The study's state, why its last run ended, and both in words."""
    paused = int((snapshot.state == STATES.index("paused")).sum())
    return {"state": study.state, "stop": study.stop, "status": state_text(study, paused)}


def counts(snapshot: Snapshot) -> dict[str, dict[str, int]]:
    """How many trials there are by state and by stage; only those that occur."""
    return {
        "by_state": _tally(snapshot.state, STATES),
        "by_stage": _tally(snapshot.stage, STAGES),
    }


def _tally(indices: NDArray[np.int8], names: Iterable[str]) -> dict[str, int]:
    often = np.bincount(indices).tolist()
    return {name: n for name, n in zip(names, often, strict=False) if n}


def detail(opened: Opened) -> dict[str, Any]:
    """All that is known of a study but its trials."""
    study = opened.study
    asked, used = asks(opened.store, study.id), opened.store.spent(study.id)
    snapshot = opened.columns.snapshot()  # last, for another thread may be reading it
    axes = Axes(study, snapshot)
    low, high = budget_of(study)
    floor = floor_of(study)
    return {
        "name": study.name,
        "task": study.task,
        "strategy": study.strategy,
        "seed": study.seed,
        "space": {"name": study.space_name, "digest": study.space_digest, "choices": study.space},
        "data": study.data,
        "config": study.config,
        "environment": study.environment,
        **state_of(study, snapshot),
        "created_at": study.created_at,
        "finished_at": study.finished_at,
        "goal": goal_text(study),
        "budget": {"low": low, "high": high, "unit": "GMACs"},
        "floor": floor and {"name": floor[0], "value": floor[1]},
        "objective": axes.objective.key,
        "cost": axes.cost.key,
        "objectives": [each.name for each in objectives_of(study)] or list(DEFAULT),
        "axes": {"x": axes.x.key, "y": axes.y.key},
        "bounds": _bounds(axes),
        "baseline": _baseline(axes),
        "columns": [asdict(column) for column in axes.columns],
        "published": stars(study.task, axes.columns),
        "best": fronts.best(study, snapshot, axes.cost, axes.objective),
        "counts": counts(snapshot),
        "asks": asked,
        "spent": spent(used, snapshot),
        "limits": limits(study.config),
        "revision": snapshot.revision,
    }


def _bounds(axes: Axes) -> list[dict[str, Any]]:
    """The study's hard limits beside the budget, in their columns' units."""
    keys = {(column.name, column.protocol): column.key for column in axes.columns}
    return [
        {"key": keys.get(each.key), "value": limit.bound * each.kind.scale, "text": str(limit)}
        for each, limit in limits_of(axes.study)
    ]


def _baseline(axes: Axes) -> dict[str, Any]:
    """The trivial method with its measurements by column key."""
    recorded = axes.study.data["baseline"]
    keys = {(column.name, column.protocol): column.key for column in axes.columns}
    measured = [
        {**each, "key": keys.get((each["name"], each["protocol"]))} for each in recorded["measurements"]
    ]
    value = next((each["value"] for each in measured if each["key"] == axes.objective.key), None)
    return {"name": recorded["name"], "value": value, "measurements": measured}


def asks(store: Store, study_id: int) -> dict[str, Any]:
    """What became of the strategy's questions."""
    outcomes = store.count_asks(study_id)
    return {
        "trials": outcomes.get("trial", 0),
        "duplicates": outcomes.get("duplicate", 0),
        "rejected": outcomes.get("rejected", 0),
        "turned_away": store.count_turned_away(study_id) if "rejected" in outcomes else {},
    }


def spent(used: tuple[float, int], snapshot: Snapshot) -> dict[str, Any]:
    """Trials that ended, their training time and their steps; a failed trial's count too.

    Args:
        used: `results.store.store.Store.spent`.
    """
    ended = np.isin(snapshot.state, [STATES.index("complete"), STATES.index("failed")])
    return {"trials": int(ended.sum()), "seconds": used[0], "steps": used[1]}


def limits(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the configuration allows: trials, seconds, and steps per trial; None for no limit."""
    time = config.get("time")
    return {
        "trials": config.get("trials"),
        "seconds": None if time is None else seconds(time),
        "steps": config.get("training", {}).get("steps"),
    }


def points(
    opened: Opened, since: int | None, fields: Collection[str], *, most: int | None = None
) -> dict[str, Any] | None:
    """Trials as columns, all or those changed after a revision, by number; None if they are more than ``most``.

    Args:
        fields: Of ``FIELDS``.
    """
    snapshot, known = opened.columns.features() if "features" in fields else (opened.columns.snapshot(), None)
    rows: Any = slice(None)
    count = len(snapshot)
    if since is not None:
        rows = np.flatnonzero(snapshot.changed > since)
        count = len(rows)
    if most is not None and count > most:
        return None
    made: dict[str, Any] = {
        "revision": snapshot.revision,
        "since": since,
        "count": count,
        "number": np.arange(len(snapshot))[rows],
    }
    if "values" in fields:
        made |= _values(opened.study, snapshot, rows)
    return made if known is None else made | _features(known, rows, count)


def _values(study: Study, snapshot: Snapshot, rows: Any) -> dict[str, Any]:
    parent = snapshot.parent[rows]
    return {
        "states": STATES,
        "stages": STAGES,
        "parent": parent if (parent >= 0).all() else [n if n >= 0 else None for n in parent.tolist()],
        "state": snapshot.state[rows],
        "stage": snapshot.stage[rows],
        "values": {
            column.key: np.ascontiguousarray(fronts.values(snapshot, column)[rows])
            for column in columns_of(study, snapshot)
        },
    }


def _features(known: Features, rows: Any, count: int) -> dict[str, Any]:
    def taken(column: list[Any]) -> list[Any]:
        return column if isinstance(rows, slice) else [column[row] for row in rows.tolist()]

    return {
        "label": taken(known.label),
        "digest": taken(known.digest),
        "kinds": known.kinds,
        "uses": taken(known.uses),
        "depth": taken(known.depth),
        "width": taken(known.width),
        "upsamplers": known.upsamplers,
        "upsampler": taken(known.upsampler),
    }

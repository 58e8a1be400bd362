"""A study's trials as columns in memory, brought up to date by revision.

Row n of every column is trial n: numbers count from 0 without gaps. A snapshot never changes, so any number of threads
may read it; bringing it up to date makes another. Per trial a snapshot takes 8 bytes a metric and about 40 more; with
features about 400 (at 100,000 trials of 3 metrics 6 MB and 45 MB).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from results.analysis.overview import cost_key
from results.dashboard.features import Features, with_features
from results.store.changes import Changes
from results.store.schema import Stage, Study, TrialState
from results.store.store import Store
from spaces.measurement import Direction

STATES: tuple[str, ...] = get_args(TrialState)
STAGES: tuple[str, ...] = get_args(Stage)
COMPLETE = STATES.index("complete")
COSTS = ("macs", "parameters", "activations", "convolutions")
SHOWN = {  # how a metric's values are told: (label, divisor, unit)
    "macs": ("MACs", 1e9, "GMACs"),
    "parameters": ("Parameters", 1e3, "k"),
    "activations": ("Activations", 1e6, "M"),
    "convolutions": ("Convolutions", 1.0, ""),
    "latency_ms": ("Latency", 1.0, "ms"),
    "latency_iqr_ms": ("Latency, between quartiles", 1.0, "ms"),
    "peak_memory_bytes": ("Peak memory", 2.0**20, "MiB"),
}
RUNTIME = ("latency", "peak_memory", "runtime")

Metric = tuple[str, str]
"""(name, protocol)"""


@dataclass(frozen=True)
class Column:
    """A metric under one protocol, and how it is shown.

    Attributes:
        key: What requests call it: its name, with ``@N`` where the trials have it under several protocols.
        unit: Of ``value / scale``.
        kind: ``cost`` is known without training, ``runtime`` was measured on some device, ``quality`` is the rest.
        count: Trials that have it.
    """

    key: str
    name: str
    label: str
    unit: str
    direction: Direction
    protocol: str
    scale: float
    kind: str
    count: int


@dataclass(frozen=True)
class Snapshot:
    """All trials of a study as they were at a revision.

    Attributes:
        parent: Number of the trial that each was made from, -1 for none.
        state, stage: Indices into ``STATES`` and ``STAGES``.
        changed: The revision at which each was last written to.
        first: Number of the trial that each repeats; its own if it is no repeat.
        values: By (name, protocol), NaN where a trial lacks it.
        units: By (name, protocol): unit and direction.
    """

    revision: int = 0
    ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    parent: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    state: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    stage: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    changed: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    first: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    values: Mapping[Metric, NDArray[np.float64]] = field(default_factory=dict)
    units: Mapping[Metric, tuple[str, Direction]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Marks the complete trials."""
        return self.state == COMPLETE

    def number_of(self, ids: Sequence[int]) -> list[int]:
        """Numbers of the trials with these ids, of which all are in the snapshot."""
        return [int(number) for number in np.searchsorted(self.ids, ids)]


def updated(old: Snapshot, changes: Changes) -> Snapshot:
    """The snapshot with those trials added or replaced."""
    if not changes.rows:
        return replace(old, revision=changes.revision)
    number, ids, parent, stage, state, changed, first = (
        list(each) for each in zip(*changes.rows, strict=True)
    )
    size, rows = max(len(old), number[-1] + 1), np.asarray(number)

    def put(column: NDArray, new: Sequence[float]) -> NDArray:
        made = _grown(column, size, 0)
        made[rows] = new
        return made

    values, units = _values(old, changes, size, np.asarray(ids), rows)
    return Snapshot(
        revision=changes.revision,
        ids=put(old.ids, ids),
        parent=put(old.parent, [-1 if each is None else each for each in parent]),
        state=put(old.state, [STATES.index(each) for each in state]),
        stage=put(old.stage, [STAGES.index(each) for each in stage]),
        changed=put(old.changed, changed),
        first=put(old.first, first),
        values=values,
        units=units,
    )


def _values(
    old: Snapshot, changes: Changes, size: int, ids: NDArray[np.int64], numbers: NDArray[np.int64]
) -> tuple[dict[Metric, NDArray[np.float64]], dict[Metric, tuple[str, Direction]]]:
    units = dict(old.units)
    values = {metric: _grown(column, size, np.nan) for metric, column in old.values.items()}
    for (name, protocol, unit, direction), (owners, found) in changes.finals.items():
        metric = name, protocol
        units[metric] = unit, direction
        if metric not in values:
            values[metric] = np.full(size, np.nan)
        values[metric][numbers[np.searchsorted(ids, owners)]] = found
    return values, units


def _grown(column: NDArray, size: int, fill: float) -> NDArray:
    """A copy of that many rows."""
    made = np.full(size, fill, column.dtype)
    made[: len(column)] = column
    return made


def columns_of(study: Study, snapshot: Snapshot) -> list[Column]:
    """What the trials were measured by: costs, qualities, the rest; those that the study goes by come first.

    Where a name has several protocols they are ``name@1`` (the study's own, if it goes by one of them), ``name@2``, ...
    by protocol.
    """
    own = [cost_key(study), (study.data["objective"][0], study.data["objective"][1])]
    metrics = sorted(
        snapshot.values.keys() | own, key=lambda metric: (metric not in own, _rank(metric[0]), metric)
    )
    often, nth = Counter(name for name, _ in metrics), Counter[str]()
    # Before the first trial is complete, the trivial method has what the trials will be scored by.
    trivial = study.data["baseline"]["measurements"]
    early = {(each["name"], each["protocol"]): (each["unit"], each["direction"]) for each in trivial}
    units = early | dict(snapshot.units)
    made = []
    for metric in metrics:
        name, protocol = metric
        nth[name] += 1
        unit, direction = units.get(metric, ("1", "min" if name in COSTS else "max"))
        label, scale, shown = SHOWN.get(name, (_label(name), 1.0, "" if unit == "1" else unit))
        key = name if often[name] == 1 else f"{name}@{nth[name]}"
        count = int(np.isfinite(snapshot.values[metric]).sum()) if metric in snapshot.values else 0
        label = label if often[name] == 1 else f"{label}, {_distinction(protocol)}"
        made.append(Column(key, name, label, shown, direction, protocol, scale, _kind(name), count))
    order = ("cost", "quality", "runtime")
    return sorted(made, key=lambda column: order.index(column.kind))


def _rank(name: str) -> int:
    return COSTS.index(name) if name in COSTS else len(COSTS)


def _distinction(protocol: str) -> str:
    """What tells metrics of one name apart: the images, or how costs are counted."""
    images = protocol.partition(" on ")[2]
    return images.partition(" (")[0] or protocol.partition(",")[0]


def _label(name: str) -> str:
    """``psnr_y`` as ``PSNR (Y)``."""
    metric, _, colour = name.rpartition("_")
    if colour in ("y", "rgb"):
        return f"{metric.replace('_', ' ').upper()} ({colour.upper()})"
    return name.replace("_", " ")


def _kind(name: str) -> str:
    if name in COSTS:
        return "cost"
    return "runtime" if name.startswith(RUNTIME) else "quality"


@dataclass(frozen=True)
class Times:
    """When each trial ended (seconds of the epoch), and its last step; NaN where unknown."""

    revision: int = 0
    table: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))


class StudyColumns:
    """One study's columns, each kind read from the store when it is first asked for. Safe to share between threads."""

    def __init__(self, store: Store, study_id: int) -> None:
        self._store = store
        self._study_id = study_id
        self._lock = threading.Lock()
        self._snapshot = Snapshot()
        self._features = Features()
        self._times = Times()

    def snapshot(self) -> Snapshot:
        """As the store has them now."""
        with self._lock:
            return self._current()

    def features(self) -> tuple[Snapshot, Features]:
        """A snapshot, and what can be told of its architectures."""
        with self._lock:
            snapshot = self._current()
            if self._features.revision != snapshot.revision:
                found = self._store.changed_architectures(self._study_id, since=self._features.revision)
                self._features = with_features(self._features, found)
            return snapshot, self._features

    def times(self) -> tuple[Snapshot, Times]:
        """A snapshot, and when its trials ended."""
        with self._lock:
            snapshot = self._current()
            if self._times.revision != snapshot.revision:
                found = self._store.changed_times(self._study_id, since=self._times.revision)
                self._times = _with_times(self._times, found)
            return snapshot, self._times

    def _current(self) -> Snapshot:
        if self._snapshot.revision != self._store.revision(self._study_id):
            found = self._store.changed_values(self._study_id, since=self._snapshot.revision)
            self._snapshot = updated(self._snapshot, found)
        return self._snapshot


def _with_times(old: Times, changes: Changes) -> Times:
    if not changes.rows:
        return Times(changes.revision, old.table)
    size = max(len(old.table), changes.rows[-1][0] + 1)
    table = np.full((size, 2), np.nan)
    table[: len(old.table)] = old.table
    rows = [row[0] for row in changes.rows]
    table[rows] = np.array([row[1:] for row in changes.rows], dtype=float)  # None is NaN
    return Times(changes.revision, table)

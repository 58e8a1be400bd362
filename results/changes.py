"""What is new in a study since a revision, as plain rows: what keeps a reader's memory of it current.

Rows of trials as tuples, without the texts that most readers don't want: 100,000 trials in about a second.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, extract, func, select

from results.schema import MeasurementRow, RungRow, StudyRow, TrialRow
from spaces.measurement import Direction

Kind = tuple[str, str, str, Direction]
"""(name, protocol, unit, direction)"""


@dataclass(frozen=True)
class Changes:
    """Trials written to after a revision.

    Attributes:
        revision: The study's, to ask again with.
        rows: Of each, by number: what the function that gave this says.
        finals: All final measurements of these trials: ids and values by (name, protocol, unit, direction).
    """

    revision: int
    rows: Sequence[tuple[Any, ...]]
    finals: Mapping[Kind, tuple[NDArray[np.int64], NDArray[np.float64]]] = field(default_factory=dict)


def load_values(connection: Connection, study_id: int, since: int) -> Changes:
    """Rows of (number, id, parent's number, stage, state, revision), and final measurements."""
    parent = TrialRow.__table__.alias("parent")
    facts = (TrialRow.id, parent.c.number, TrialRow.stage, TrialRow.state, TrialRow.revision)
    chosen = _changed(study_id, since, TrialRow.number, *facts)
    chosen = chosen.outerjoin(parent, parent.c.id == TrialRow.parent_id)
    row = MeasurementRow
    owners = _changed(study_id, since, TrialRow.id).order_by(None)
    columns = (row.trial_id, row.value, row.name, row.protocol, row.unit, row.direction)
    # In no order: the table's own is read twice as fast.
    finals = select(*columns).where(row.step.is_(None), row.trial_id.in_(owners))
    trials, revision = list(_rows(connection, chosen)), _revision(connection, study_id)
    return Changes(revision, trials, _by_kind(_rows(connection, finals)))


def _by_kind(
    rows: Iterable[tuple[Any, ...]],
) -> dict[Kind, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Measurements as columns, row by row: a list of all rows would keep the garbage collector busy."""
    found: dict[Any, tuple[array[int], array[float]]] = defaultdict(lambda: (array("q"), array("d")))
    for owner, value, *kind in rows:
        owners, values = found[tuple(kind)]
        owners.append(owner)
        values.append(value)
    return {
        kind: (np.frombuffer(owners, np.int64), np.frombuffer(values))
        for kind, (owners, values) in found.items()
    }


def load_architectures(connection: Connection, study_id: int, since: int) -> Changes:
    """Rows of (number, digest, the architecture's JSON)."""
    chosen = _changed(study_id, since, TrialRow.number, TrialRow.digest, TrialRow.architecture)
    return Changes(_revision(connection, study_id), list(_rows(connection, chosen)))


def load_times(connection: Connection, study_id: int, since: int) -> Changes:
    """Rows of (number, when it ended in seconds of the epoch or None, its seconds or None, its last step or None)."""
    steps = select(func.max(RungRow.step)).where(RungRow.trial_id == TrialRow.id).scalar_subquery()
    ended = extract("epoch", TrialRow.finished_at)
    chosen = _changed(study_id, since, TrialRow.number, ended, TrialRow.seconds, steps)
    return Changes(_revision(connection, study_id), list(_rows(connection, chosen)))


def _changed(study_id: int, since: int, *columns: Any) -> Select:
    """Those columns of the trials written to after the revision, by number."""
    chosen = select(*columns).select_from(TrialRow).where(TrialRow.study_id == study_id)
    if since > 0:
        chosen = chosen.where(TrialRow.revision > since)
    return chosen.order_by(TrialRow.number)


def _revision(connection: Connection, study_id: int) -> int:
    return connection.scalar(select(StudyRow.revision).where(StudyRow.id == study_id)) or 0


def _rows(connection: Connection, chosen: Select) -> Iterable[tuple[Any, ...]]:
    # The driver's own tuples: SQLAlchemy's rows would cost as much again.
    cursor: Any = connection.execute(chosen).cursor
    return cursor

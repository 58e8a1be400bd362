"""What is new in a study since a revision, as plain rows: what keeps a reader's memory of it current.

Rows of trials as tuples, without the texts that most readers don't want: 100,000 trials in about a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Select, and_, case, extract, func, select

from results.store.schema import MeasurementRow, RungRow, StudyRow, TrialRow
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
    """Rows of (number, id, parent's number, stage, state, revision, first), and final measurements.

    ``first`` is the number of the trial that it repeats (`results.analysis.repeats`); its own if it is none.
    """
    parent = TrialRow.__table__.alias("parent")
    facts = (TrialRow.id, parent.c.number, TrialRow.stage, TrialRow.state, TrialRow.revision, _first())
    chosen = _changed(study_id, since, TrialRow.number, *facts)
    chosen = chosen.outerjoin(parent, parent.c.id == TrialRow.parent_id)
    trials, revision = list(_rows(connection, chosen)), _revision(connection, study_id)
    return Changes(
        revision, trials, _finals(connection, _changed(study_id, since, TrialRow.id).order_by(None))
    )


def _first() -> ColumnElement[int]:
    """Of a repeat the oldest trial of its architecture and stage."""
    first, row = TrialRow.__table__.alias("first"), TrialRow
    alike = (first.c.study_id == row.study_id, first.c.stage == row.stage, first.c.digest == row.digest)
    oldest = select(func.min(first.c.number)).where(*alike).scalar_subquery()
    return case((row.origin.contains('"repeat":'), oldest), else_=row.number)


def _finals(
    connection: Connection, owners: Select
) -> dict[Kind, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Final measurements of those trials.

    The database makes a row a trial of them: rows are what takes Python long.
    """
    row = MeasurementRow
    mine = row.step.is_(None) & row.trial_id.in_(owners)
    told = select(row.name, row.protocol, row.unit, row.direction).where(mine).distinct()
    kinds = cast(list[Kind], list(_rows(connection, told)))
    columns = [func.max(case((_is_of(kind), row.value))) for kind in kinds]
    found = select(row.trial_id, *columns).where(mine).group_by(row.trial_id)
    table = np.array(list(_rows(connection, found)), dtype=float).reshape(-1, 1 + len(kinds))  # None is NaN
    ids = table[:, 0].astype(np.int64)
    known = np.isfinite(table)
    return {kind: (ids[known[:, at]], table[known[:, at], at]) for at, kind in enumerate(kinds, 1)}


def _is_of(kind: Kind) -> ColumnElement[bool]:
    name, protocol, unit, direction = kind
    row = MeasurementRow
    return and_(row.name == name, row.protocol == protocol, row.unit == unit, row.direction == direction)


def load_architectures(connection: Connection, study_id: int, since: int) -> Changes:
    """Rows of (number, digest, the architecture's JSON)."""
    chosen = _changed(study_id, since, TrialRow.number, TrialRow.digest, TrialRow.architecture)
    return Changes(_revision(connection, study_id), list(_rows(connection, chosen)))


def load_times(connection: Connection, study_id: int, since: int) -> Changes:
    """Rows of (number, when it ended in seconds of the epoch or None, its last step or None)."""
    steps = select(func.max(RungRow.step)).where(RungRow.trial_id == TrialRow.id).scalar_subquery()
    ended = extract("epoch", TrialRow.finished_at)
    chosen = _changed(study_id, since, TrialRow.number, ended, steps)
    return Changes(_revision(connection, study_id), list(_rows(connection, chosen)))


def load_spent(connection: Connection, study_id: int) -> tuple[float, int]:
    """Training time in seconds and steps of all trials together, the failed and the paused ones' too."""
    columns = (func.max(RungRow.step).label("step"), func.max(RungRow.seconds).label("seconds"))
    last = select(RungRow.trial_id, *columns).group_by(RungRow.trial_id)
    mine = last.where(
        RungRow.trial_id.in_(select(TrialRow.id).where(TrialRow.study_id == study_id))
    ).subquery()
    spent = func.sum(func.coalesce(TrialRow.seconds, mine.c.seconds, 0.0)), func.sum(mine.c.step)
    trials = select(*spent).select_from(TrialRow).outerjoin(mine, mine.c.trial_id == TrialRow.id)
    seconds, steps = connection.execute(trials.where(TrialRow.study_id == study_id)).one()
    return seconds or 0.0, int(steps or 0)


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

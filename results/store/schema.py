"""What the store holds: its tables, and the frozen records read from them.

The ``...Row`` classes are the tables; no code outside the store and its migrations uses them.
The records (`Study`, `Trial`, ...) are plain values: they stay valid after the store is closed
and never change behind the reader's back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from spaces.measurement import Measurement

SCHEMA_VERSION = "0005"
"""Head of results/store/migrations/versions. A constant, so that opening a store needs no alembic."""

StudyState = Literal["running", "paused", "complete", "failed"]
Stop = Literal["trials", "steps", "time", "worker_hours", "interrupted", "exhausted"]
"""Why a search ended: the limit that was reached, Ctrl-C, or a strategy that has nothing new."""
TrialState = Literal["waiting", "running", "complete", "failed", "paused"]
"""``paused``: scored at a rung, and not (or not yet) among those that go on from there."""
Stage = Literal["published", "search", "prune", "finetune", "distil"]
"""``published``: given weights, the start of a lineage. ``finetune``: trained on without a teacher."""
Outcome = Literal["trial", "duplicate", "rejected"]


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite, which knows no zones, keeps it naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Converts to UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Gives SQLite's naive times their zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Declarative base of all tables; structures without fixed columns are JSON in text."""

    type_annotation_map = {datetime: UtcDateTime, float: Double}  # noqa: RUF012 - SQLAlchemy's own protocol


class StudyRow(Base):
    """One search and everything needed to refuse or repeat it.

    ``revision`` grows with every write to the study or to anything of it, so that a reader finds out with one row
    whether something is new.
    """

    __tablename__ = "studies"
    __table_args__ = (
        UniqueConstraint("name", name="uq_studies_name"),
        CheckConstraint("state IN ('running', 'paused', 'complete', 'failed')", name="ck_studies_state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    task: Mapped[str] = mapped_column(Text)
    strategy: Mapped[str] = mapped_column(Text)
    seed: Mapped[int] = mapped_column(BigInteger)
    space_name: Mapped[str] = mapped_column(Text)
    space_digest: Mapped[str] = mapped_column(String(64))
    space: Mapped[str] = mapped_column(Text)
    data_digest: Mapped[str] = mapped_column(String(64))
    data: Mapped[str] = mapped_column(Text)
    config: Mapped[str] = mapped_column(Text)
    environment: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    finished_at: Mapped[datetime | None]
    # With a default of the database's, as all columns that came later: an older pixelfront may be writing while this
    # one upgrades the store.
    revision: Mapped[int] = mapped_column(BigInteger, server_default="1")
    stop: Mapped[str | None] = mapped_column(String(16))


class TrialRow(Base):
    """One architecture at one stage; a study never has it there twice with the same origin.

    ``revision`` is the study's at the last write to the trial, its rungs, measurements or files.
    """

    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("study_id", "number", name="uq_trials_number"),
        UniqueConstraint("study_id", "stage", "digest", "variant", name="uq_trials_variant"),
        CheckConstraint(
            "state IN ('waiting', 'running', 'complete', 'failed', 'paused')", name="ck_trials_state"
        ),
        Index("ix_trials_parent", "parent_id"),
        Index("ix_trials_revision", "study_id", "revision"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", name="fk_trials_study"))
    number: Mapped[int]
    stage: Mapped[str] = mapped_column(String(16))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("trials.id", name="fk_trials_parent"))
    digest: Mapped[str] = mapped_column(String(64))
    architecture: Mapped[str] = mapped_column(Text)
    genotype: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int]
    worker: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    seconds: Mapped[float | None]
    origin: Mapped[str | None] = mapped_column(Text)
    variant: Mapped[str] = mapped_column(String(64), server_default="")
    revision: Mapped[int] = mapped_column(BigInteger, server_default="1")


class AskRow(Base):
    """One genotype a strategy proposed, trained or not; replaying them rebuilds the strategy."""

    __tablename__ = "asks"
    __table_args__ = (
        UniqueConstraint("study_id", "number", name="uq_asks_number"),
        CheckConstraint("outcome IN ('trial', 'duplicate', 'rejected')", name="ck_asks_outcome"),
        CheckConstraint("(outcome = 'rejected') = (trial_id IS NULL)", name="ck_asks_trial"),
        Index("ix_asks_trial", "trial_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", name="fk_asks_study"))
    number: Mapped[int]
    genotype: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(String(16))
    trial_id: Mapped[int | None] = mapped_column(ForeignKey("trials.id", name="fk_asks_trial"))
    reason: Mapped[str | None] = mapped_column(Text)
    told: Mapped[str | None] = mapped_column(Text)


class RungRow(Base):
    """One point of a learning curve."""

    __tablename__ = "rungs"
    __table_args__ = (UniqueConstraint("trial_id", "step", name="uq_rungs_step"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id", name="fk_rungs_trial"))
    step: Mapped[int] = mapped_column(BigInteger)
    attempt: Mapped[int]
    loss: Mapped[float]
    seconds: Mapped[float]


class MeasurementRow(Base):
    """A number with its protocol: of a rung, or (step is null) final.

    NULLs are distinct in a unique constraint, so the final ones have a partial index of their own.
    The composite foreign key ties the others to their rung; SQL does not check it where step is null.
    """

    __tablename__ = "measurements"
    __table_args__ = (
        ForeignKeyConstraint(
            ["trial_id", "step"],
            ["rungs.trial_id", "rungs.step"],
            name="fk_measurements_rung",
            ondelete="CASCADE",
        ),
        CheckConstraint("direction IN ('min', 'max')", name="ck_measurements_direction"),
        Index("uq_measurements_step", "trial_id", "step", "name", "protocol", unique=True),
        Index(
            "uq_measurements_final",
            "trial_id",
            "name",
            "protocol",
            unique=True,
            sqlite_where=text("step IS NULL"),
            postgresql_where=text("step IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id", name="fk_measurements_trial"))
    step: Mapped[int | None] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(Text)
    value: Mapped[float]
    unit: Mapped[str] = mapped_column(Text)
    direction: Mapped[str] = mapped_column(String(3))
    protocol: Mapped[str] = mapped_column(Text)


class ArtifactRow(Base):
    """A file that a trial left behind."""

    __tablename__ = "artifacts"
    __table_args__ = (Index("ix_artifacts_trial", "trial_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id", name="fk_artifacts_trial"))
    kind: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]


@dataclass(frozen=True)
class Study:
    """A search; ``space``, ``data``, ``config`` and ``environment`` are decoded JSON.

    Attributes:
        revision: As it was when this was read: how often the study had been written to.
        stop: Why its last run ended; None while one runs, and where none has said.
    """

    id: int
    name: str
    created_at: datetime
    task: str
    strategy: str
    seed: int
    space_name: str
    space_digest: str
    space: Any
    data_digest: str
    data: Any
    config: Any
    environment: Any
    state: StudyState
    finished_at: datetime | None
    revision: int = field(default=1, compare=False)
    stop: Stop | None = None


@dataclass(frozen=True)
class StudySummary:
    """A study with its counts.

    Attributes:
        trials: All trials, in every state and stage.
        complete, failed, paused: How many of them are so.
        best: Per (name, protocol) the best final value among complete trials, sorted by name; published networks
            are what a study starts from, not what came of it.
    """

    study: Study
    trials: int
    complete: int
    failed: int
    best: tuple[Measurement, ...]
    paused: int = 0


@dataclass(frozen=True)
class Trial:
    """One architecture at one stage of a study.

    Attributes:
        architecture: Canonical JSON text, as it was given.
        parent_id: The trial of the same study that it was made from.
        genotype: Decoded JSON; None where no strategy asked for it (any stage but search).
        attempts: How often it was started.
        seconds: Training time of this stage alone; None until it ends.
        origin: How it was made (criterion, target, recipe, teacher, ...), decoded; None where a strategy asked for it.
        variant: Tells trials of one architecture and stage apart, see `results.store.rows.variant_of`.
        measurements: The final ones, in the order of recording; costs are there from the beginning.
        revision: The study's at the last write to this trial.
    """

    id: int
    study_id: int
    number: int
    stage: Stage
    parent_id: int | None
    digest: str
    architecture: str
    genotype: Any
    state: TrialState
    reason: str | None
    attempts: int
    worker: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None
    origin: dict[str, Any] | None
    variant: str
    measurements: tuple[Measurement, ...]
    revision: int = field(default=1, compare=False)


@dataclass(frozen=True)
class Ask:
    """One question to the strategy; ``trial_id`` is None exactly where it was rejected.

    Attributes:
        told: Results, each (number of a question, rung), that the strategy was told since the question before; None
            where that follows from the order of the questions.
    """

    number: int
    genotype: Any
    outcome: Outcome
    trial_id: int | None
    reason: str | None
    told: tuple[tuple[int, int], ...] | None = None


def turned_away_by(reason: str | None) -> str:
    """Who turned a question away, after its reason: ``budget``, ``limit on latency``, ``filter naswot:0.5``."""
    found = re.match(
        r"--filter (?P<filter>[^ ]+): |(?P<limit>\w+) of .* is over the limit|(?P<failed>\w+) (was|can't)",
        reason or "",
    )
    if found is None:
        found = re.search(r"within (?P<limit>\w+)[<>]=", reason or "")
    if found is None:
        return "budget"
    named = {"filter": "filter {}", "limit": "limit on {}", "failed": "measuring of {}"}
    return next(named[name].format(said) for name, said in found.groupdict().items() if said)


def failure_kind(reason: str | None) -> str:
    """A failure's reason without its numbers: alike for those that differ in numbers alone."""
    return re.sub(r"\d+(\.\d+)?", "#", reason or "")


@dataclass(frozen=True)
class Rung:
    """One point of a learning curve; ``attempt`` counts from 1."""

    trial_id: int
    step: int
    attempt: int
    loss: float
    seconds: float
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True)
class Artifact:
    """A file of a trial: ``weights``, ``checkpoint``, ``onnx``, ...; ``bytes`` is its size."""

    kind: str
    path: str
    sha256: str
    bytes: int

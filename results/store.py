"""The results store: studies, trials, learning curves and artifacts in one SQL database.

SQLite by default, anything SQLAlchemy reaches by URL (PostgreSQL is tested). One process writes, the
driver; any number read meanwhile. Every write is one transaction: after a crash, a full disk or a kill
the store holds either all of it or nothing. On SQLite a committed write survives the end of the process;
a power cut may take the last ones (synchronous=NORMAL), never the database.
"""

from __future__ import annotations

import difflib
import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Select,
    case,
    create_engine,
    delete,
    event,
    func,
    insert,
    inspect,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from results import migrations
from results.schema import (
    SCHEMA_VERSION,
    Artifact,
    ArtifactRow,
    Ask,
    AskRow,
    Base,
    MeasurementRow,
    Rung,
    RungRow,
    Stage,
    Study,
    StudyRow,
    StudyState,
    StudySummary,
    Trial,
    TrialRow,
    TrialState,
)
from spaces.measurement import Measurement

JSON_COLUMNS = ("space", "data", "config", "environment")
ADVICE = (
    ("locked", "Another process is writing to it: wait until it is done or end it, then try again"),
    ("readonly", "Make the file and its folder writable, or name another store"),
    ("read-only", "Give the user write access, or name another store"),
    ("full", "Free some disk space and resume; what was stored before is intact"),
    ("no space", "Free some disk space and resume; what was stored before is intact"),
    ("disk i/o", "Check the disk and its quota, then resume; what was stored before is intact"),
    ("unable to open", "Check that the folder exists and that you may read and write it"),
    ("not a database", "Name another file; this one holds something else"),
    ("malformed", "The file is damaged: restore a copy, or salvage it with `sqlite3 FILE .recover`"),
    ("unique", "It is already recorded, and nothing is counted twice"),
    ("foreign key", "It refers to a study, trial or rung that is not in this store"),
    ("connect", "Check that the server runs and that host, port, user and password are right"),
)


class StoreError(RuntimeError):
    """The store can't do this: says where, why, and what to do. Nothing was changed."""


class UnknownStudy(ValueError):  # noqa: N818 - says what is wrong, like KeyError
    """No study has this name; names the nearest and lists what exists."""

    def __init__(self, name: str, known: Sequence[str], place: str) -> None:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        listing = f"It has: {', '.join(known)}." if known else "It has none yet."
        super().__init__(f"no study '{name}' in {place}{hint} {listing}")


class StudyExists(ValueError):  # noqa: N818
    """The name is taken."""

    def __init__(self, name: str, place: str) -> None:
        super().__init__(
            f"study '{name}' already exists in {place}: "
            "continue it with --resume, or name another with --study"
        )


class Store:
    """Studies and all that was found in them.

    Open with `Store.open`. Safe to share between threads that read. Times are UTC.
    """

    def __init__(self, engine: Engine, place: str) -> None:
        """Wraps an engine whose schema is current."""
        self.place = place
        self._engine = engine
        self._writer = engine.execution_options(begin="BEGIN IMMEDIATE")
        # Trials and their measurements are two selects: they must see one snapshot. SQLite's do anyway.
        sqlite = engine.dialect.name == "sqlite"
        self._reader = engine if sqlite else engine.execution_options(isolation_level="REPEATABLE READ")

    @classmethod
    def open(cls, url_or_path: str | Path, *, create: bool = True, timeout_s: float = 10.0) -> Self:
        """Opens a store, creating it and upgrading an older schema.

        Args:
            url_or_path: A SQLAlchemy URL, or the path of a SQLite file, whose folder is created.
            create: False for readers: a store that does not exist is an error.
            timeout_s: How long to wait for another writer's lock, or for the server.

        Raises: StoreError: if it can't be reached, doesn't exist (with ``create=False``), isn't ours,
            or was made by a newer pixelfront.
        """
        url = _url(url_or_path)
        place = _place(url)
        with _explained(place, "open the store"):
            _prepare_folder(url, place, create=create)
            engine = _engine(url, timeout_s, create=create)
            try:
                _migrate(engine, place, create=create)
            except BaseException:
                engine.dispose()
                raise
        return cls(engine, place)

    def close(self) -> None:
        """Closes every connection; the last one of a SQLite store folds the WAL into the file."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _write(self, action: str) -> Iterator[Connection]:
        """One transaction. Every write goes through here; any exception rolls it back."""
        with _explained(self.place, action), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with _explained(self.place, "read"), self._reader.connect() as connection:
            yield connection

    # Studies

    def create_study(
        self,
        name: str,
        *,
        task: str,
        strategy: str,
        seed: int,
        space_name: str,
        space_digest: str,
        space: Any,
        data_digest: str,
        data: Any,
        config: Any,
        environment: Any,
    ) -> Study:
        """A new study in state ``running``; the last four and ``space`` are anything JSON can hold.

        Raises: StudyExists: if the name is taken.
        """
        values: dict[str, Any] = {
            "name": name,
            "created_at": _now(),
            "task": task,
            "strategy": strategy,
            "seed": seed,
            "space_name": space_name,
            "space_digest": space_digest,
            "space": _json(space),
            "data_digest": data_digest,
            "data": _json(data),
            "config": _json(config),
            "environment": _json(environment),
            "state": "running",
            "finished_at": None,
        }
        with self._write(f"create study '{name}'") as connection:
            # Inside the write lock; a race on another database still meets the unique constraint.
            if connection.scalar(select(StudyRow.id).where(StudyRow.name == name)) is not None:
                raise StudyExists(name, self.place)
            connection.execute(insert(StudyRow).values(values))
        return self.study(name)

    def study(self, name: str) -> Study:
        """The study of this name.

        Raises: UnknownStudy: if there is none.
        """
        with self._read() as connection:
            row = connection.execute(select(StudyRow.__table__).where(StudyRow.name == name)).one_or_none()
            if row is None:
                known = connection.scalars(select(StudyRow.name).order_by(StudyRow.id)).all()
                raise UnknownStudy(name, known, self.place)
        return _study(row._mapping)

    def studies(self) -> tuple[StudySummary, ...]:
        """Every study with its counts, oldest first."""
        with self._read() as connection:
            rows = connection.execute(select(StudyRow.__table__).order_by(StudyRow.id)).all()
            counts = {(study, state): n for study, state, n in connection.execute(_counts())}
            best = defaultdict(list)
            for study, *values in connection.execute(_best()).all():
                best[study].append(Measurement(*values))
        return tuple(_summary(_study(row._mapping), counts, best) for row in rows)

    def set_study_state(self, study_id: int, state: StudyState) -> None:
        """Any state may follow any other; ``finished_at`` is kept for complete and failed only.

        Raises: StoreError: if there is no such study.
        """
        finished = _now() if state in ("complete", "failed") else None
        change = update(StudyRow).where(StudyRow.id == study_id).values(state=state, finished_at=finished)
        with self._write("set the study's state") as connection:
            if connection.execute(change).rowcount == 0:
                raise StoreError(f"{self.place}: no study has id {study_id}")

    def set_config(self, study_id: int, config: Any) -> None:
        """Replace the recorded configuration, when a study is resumed with other limits or workers."""
        change = update(StudyRow).where(StudyRow.id == study_id).values(config=_json(config))
        with self._write("set the study's configuration") as connection:
            if connection.execute(change).rowcount == 0:
                raise StoreError(f"{self.place}: no study has id {study_id}")

    # What the strategy proposed

    def record_ask(
        self,
        study_id: int,
        number: int,
        genotype: Any,
        outcome: Literal["duplicate", "rejected"],
        *,
        reason: str | None = None,
        trial_id: int | None = None,
    ) -> None:
        """Records a question that led to no new trial; `add_trial` records the others.

        Raises: ValueError: unless a duplicate names its trial, and a rejection its reason and no trial.
        """
        if (outcome == "duplicate") != (trial_id is not None) or (outcome == "rejected" and not reason):
            raise ValueError(
                f"ask {number}: a duplicate needs the trial_id it repeats, a rejection needs a reason and no "
                f"trial_id; got outcome={outcome!r}, trial_id={trial_id!r}, reason={reason!r}"
            )
        with self._write(f"record ask {number}") as connection:
            _insert_ask(connection, study_id, number, _json(genotype), outcome, trial_id, reason)

    def asks(self, study_id: int) -> tuple[Ask, ...]:
        """Every question of the study, by number."""
        columns = (AskRow.number, AskRow.genotype, AskRow.outcome, AskRow.trial_id, AskRow.reason)
        query = select(*columns).where(AskRow.study_id == study_id).order_by(AskRow.number)
        with self._read() as connection:
            return tuple(
                Ask(number, json.loads(genotype), outcome, trial_id, reason)  # type: ignore[arg-type]
                for number, genotype, outcome, trial_id, reason in connection.execute(query)
            )

    # Trials

    def add_trial(
        self,
        study_id: int,
        *,
        digest: str,
        architecture_json: str,
        stage: Stage = "search",
        ask_number: int | None = None,
        genotype: Any = None,
        parent_id: int | None = None,
        measurements: Sequence[Measurement] = (),
    ) -> Trial:
        """A new waiting trial with the next number, its costs and (if given) its ask, in one transaction.

        Raises:
            StoreError: if this stage of the study already has the architecture, or the number is asked.
            ValueError: if a measurement isn't finite.
        """
        _check(measurements)
        encoded = None if genotype is None else _json(genotype)
        if ask_number is not None and encoded is None:
            raise ValueError(f"ask {ask_number} comes without its genotype")
        row = _new_trial(study_id, stage, parent_id, digest, architecture_json, encoded)
        with self._write(f"add architecture {digest}") as connection:
            row["number"] = connection.scalar(_next_number(study_id))
            row["id"] = connection.execute(insert(TrialRow).values(row)).inserted_primary_key[0]  # type: ignore[index]
            _insert_measurements(connection, row["id"], None, measurements)
            if ask_number is not None and encoded is not None:
                _insert_ask(connection, study_id, ask_number, encoded, "trial", row["id"], None)
        return _trial(row, measurements)

    def start_trial(self, trial_id: int, worker: str | None = None) -> None:
        """From waiting to running; counts one more attempt.

        Raises: StoreError: from any other state.
        """
        values = {"worker": worker, "started_at": _now(), "attempts": TrialRow.attempts + 1}
        with self._write(f"start trial {trial_id}") as connection:
            self._move(connection, trial_id, ("waiting",), "running", values)

    def add_rung(
        self,
        trial_id: int,
        step: int,
        loss: float,
        seconds: float,
        measurements: Sequence[Measurement] = (),
    ) -> None:
        """One point of a running trial's learning curve; ``seconds`` counts from the start of training.

        A later attempt that repeats a step replaces what an earlier one recorded there.

        Raises:
            StoreError: if the trial isn't running, or this attempt has recorded the step already.
            ValueError: if the loss or a measurement isn't finite: such a trial has failed.
        """
        _check(measurements)
        if not math.isfinite(loss):
            raise ValueError(f"trial {trial_id}, step {step}: the loss is {loss}; record the trial as failed")
        state = select(TrialRow.state, TrialRow.attempts).where(TrialRow.id == trial_id)
        with self._write(f"add step {step} of trial {trial_id}") as connection:
            found = connection.execute(state).one_or_none()
            if found is None or found.state != "running":
                raise self._illegal(found and found.state, trial_id, ("running",), "given a rung")
            if found.attempts > 1:
                connection.execute(_older_rung(trial_id, step, found.attempts))
            values = {"trial_id": trial_id, "step": step, "attempt": found.attempts}
            connection.execute(insert(RungRow).values(values | {"loss": loss, "seconds": seconds}))
            _insert_measurements(connection, trial_id, step, measurements)

    def finish_trial(
        self,
        trial_id: int,
        measurements: Sequence[Measurement],
        artifacts: Sequence[Artifact] = (),
        *,
        seconds: float,
    ) -> None:
        """From running to complete, with the final measurements.

        Raises:
            StoreError: from any other state, or if a measurement is already there.
            ValueError: if a measurement isn't finite.
        """
        _check(measurements)
        values = {"finished_at": _now(), "seconds": seconds}
        with self._write(f"finish trial {trial_id}") as connection:
            self._move(connection, trial_id, ("running",), "complete", values)
            _insert_measurements(connection, trial_id, None, measurements)
            _insert_artifacts(connection, trial_id, artifacts)

    def add_measurements(self, trial_id: int, measurements: Sequence[Measurement]) -> None:
        """More final measurements of a complete trial, e.g. on another image set.

        Raises:
            StoreError: if the trial isn't complete, or a measurement is already there.
            ValueError: if a measurement isn't finite.
        """
        _check(measurements)
        with self._write(f"measure trial {trial_id}") as connection:
            state = connection.scalar(select(TrialRow.state).where(TrialRow.id == trial_id))
            if state != "complete":
                raise self._illegal(state, trial_id, ("complete",), "measured again")
            _insert_measurements(connection, trial_id, None, measurements)

    def fail_trial(self, trial_id: int, reason: str, *, seconds: float | None = None) -> None:
        """From waiting or running to failed, with the reason and no score.

        Raises: StoreError: from any other state. ValueError: without a reason.
        """
        if not reason.strip():
            raise ValueError(f"trial {trial_id}: a failure needs its reason")
        values = {"finished_at": _now(), "seconds": seconds, "reason": _storable(reason)}
        with self._write(f"record the failure of trial {trial_id}") as connection:
            self._move(connection, trial_id, ("waiting", "running"), "failed", values)

    def requeue_trial(self, trial_id: int) -> None:
        """From running back to waiting, when its worker is gone; its rungs stay.

        Raises: StoreError: from any other state.
        """
        with self._write(f"requeue trial {trial_id}") as connection:
            self._move(connection, trial_id, ("running",), "waiting", {"worker": None, "started_at": None})

    def _move(
        self,
        connection: Connection,
        trial_id: int,
        sources: tuple[TrialState, ...],
        target: TrialState,
        values: Mapping[str, Any],
    ) -> None:
        change = update(TrialRow).where(TrialRow.id == trial_id, TrialRow.state.in_(sources))
        if connection.execute(change.values({"state": target, **values})).rowcount == 0:
            state = connection.scalar(select(TrialRow.state).where(TrialRow.id == trial_id))
            raise self._illegal(state, trial_id, sources, f"set to {target}")

    def _illegal(
        self, state: str | None, trial_id: int, sources: Iterable[TrialState], verb: str
    ) -> StoreError:
        if state is None:
            return StoreError(f"{self.place}: no trial has id {trial_id}")
        return StoreError(
            f"{self.place}: trial {trial_id} is {state}; only a {' or '.join(sources)} one can be {verb}"
        )

    def trials(
        self,
        study_id: int,
        *,
        states: Iterable[TrialState] | None = None,
        stages: Iterable[Stage] | None = None,
        since_id: int | None = None,
        limit: int | None = None,
    ) -> tuple[Trial, ...]:
        """Trials with their final measurements, by number.

        Args:
            since_id: Only those with a greater id, i.e. added later; for paging, with ``limit``.
        """
        chosen = select(TrialRow.__table__).where(TrialRow.study_id == study_id).order_by(TrialRow.id)
        if states is not None:
            chosen = chosen.where(TrialRow.state.in_(tuple(states)))
        if stages is not None:
            chosen = chosen.where(TrialRow.stage.in_(tuple(stages)))
        if since_id is not None:
            chosen = chosen.where(TrialRow.id > since_id)
        return self._load(chosen if limit is None else chosen.limit(limit))

    def trial(self, study_id: int, number: int) -> Trial:
        """One trial by its number.

        Raises: ValueError: if the study has no such trial.
        """
        chosen = select(TrialRow.__table__).where(TrialRow.study_id == study_id, TrialRow.number == number)
        found = self._load(chosen)
        if not found:
            with self._read() as connection:
                count = connection.scalar(_next_number(study_id))
            listing = f"it has 0 to {count - 1}" if count else "it has none yet"
            raise ValueError(f"{self.place}: the study has no trial {number}; {listing}")
        return found[0]

    def trial_by_digest(self, study_id: int, stage: Stage, digest: str) -> Trial | None:
        """The trial of this architecture at this stage; None if there is none."""
        chosen = select(TrialRow.__table__).where(
            TrialRow.study_id == study_id, TrialRow.stage == stage, TrialRow.digest == digest
        )
        return next(iter(self._load(chosen)), None)

    def _load(self, chosen: Select) -> tuple[Trial, ...]:
        """Two selects whatever the number of trials; rows, not ORM objects (3x faster at 10,000)."""
        ids = chosen.with_only_columns(TrialRow.id)
        final = _measurements().where(MeasurementRow.step.is_(None), MeasurementRow.trial_id.in_(ids))
        with self._read() as connection:
            rows = connection.execute(chosen).all()
            found: dict[int, list[Measurement]] = defaultdict(list)
            for trial_id, _step, *values in connection.execute(final):
                found[trial_id].append(Measurement(*values))
        return tuple(_trial(row._mapping, found[row.id]) for row in rows)

    # Learning curves and files

    def rungs(self, study_id: int, *, trial_id: int | None = None) -> tuple[Rung, ...]:
        """Learning curves of a study, or of one of its trials, by trial and step."""
        columns = (RungRow.trial_id, RungRow.step, RungRow.attempt, RungRow.loss, RungRow.seconds)
        ids = select(TrialRow.id).where(TrialRow.study_id == study_id)
        if trial_id is not None:
            ids = ids.where(TrialRow.id == trial_id)
        chosen = select(*columns).where(RungRow.trial_id.in_(ids)).order_by(RungRow.trial_id, RungRow.step)
        at_step = _measurements().where(MeasurementRow.step.is_not(None), MeasurementRow.trial_id.in_(ids))
        with self._read() as connection:
            rows = connection.execute(chosen).all()
            found: dict[tuple[int, int], list[Measurement]] = defaultdict(list)
            for owner, step, *values in connection.execute(at_step):
                found[owner, step].append(Measurement(*values))
        return tuple(Rung(*row, measurements=tuple(found[row.trial_id, row.step])) for row in rows)

    def add_artifact(self, trial_id: int, artifact: Artifact) -> None:
        """Records a file of a trial in any state; the file itself is the caller's."""
        with self._write(f"add a {artifact.kind} of trial {trial_id}") as connection:
            _insert_artifacts(connection, trial_id, [artifact])

    def artifacts(self, trial_id: int, *, kind: str | None = None) -> tuple[Artifact, ...]:
        """Files of a trial, oldest first."""
        columns = (ArtifactRow.kind, ArtifactRow.path, ArtifactRow.sha256, ArtifactRow.bytes)
        query = select(*columns).where(ArtifactRow.trial_id == trial_id).order_by(ArtifactRow.id)
        if kind is not None:
            query = query.where(ArtifactRow.kind == kind)
        with self._read() as connection:
            return tuple(Artifact(*row) for row in connection.execute(query))


# Opening


def _url(url_or_path: str | Path) -> URL:
    if isinstance(url_or_path, Path) or "://" not in url_or_path:
        return URL.create("sqlite", database=str(Path(url_or_path).expanduser()))
    try:
        url = make_url(url_or_path)
    except (ArgumentError, ValueError):  # the latter for a port that is no number
        # The text may hold a password: it isn't repeated.
        raise StoreError(
            "the store's URL can't be read; write postgresql://USER@HOST/DATABASE or a path"
        ) from None
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _place(url: URL) -> str:
    """How messages name the store: the path of a file, else the URL without its password."""
    if url.get_backend_name() == "sqlite":
        return url.database or "the in-memory store"
    secret = [key for key in url.query if "password" in key.lower()]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


def _file(url: URL) -> Path | None:
    memory = url.database in (None, "", ":memory:") or str(url.database).startswith("file:")
    return None if url.get_backend_name() != "sqlite" or memory else Path(str(url.database))


def _prepare_folder(url: URL, place: str, *, create: bool) -> None:
    path = _file(url)
    if path is None:
        return
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.exists():
        raise StoreError(
            f"no results store at {place}: run a search first, or name the file of an existing one"
        )


def _engine(url: URL, timeout_s: float, *, create: bool) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, connect_args={"connect_timeout": max(1, round(timeout_s))})
    path = _file(url)
    if not create and path is not None and _archived(path):
        flags = {"mode": "ro", "immutable": "1", "uri": "true"}
        url = URL.create("sqlite", database=f"file:{quote(str(path.resolve()))}", query=flags)
    engine = create_engine(url, connect_args={"timeout": timeout_s})
    _configure_sqlite(engine)
    return engine


def _archived(path: Path) -> bool:
    """Whether nobody can be writing: SQLite reads a WAL database in a read-only folder only if told so."""
    effective = os.access in os.supports_effective_ids
    writable = os.access(path.parent, os.W_OK, effective_ids=effective)
    return not writable and not Path(f"{path}-wal").exists()


def _configure_sqlite(engine: Engine) -> None:
    """Pragmas, and transactions that begin where SQLAlchemy says so.

    Python's sqlite3 begins them late by default and so leaves DDL outside. Writers take the lock at
    once: a reader's transaction that turns into a writer's fails under WAL without waiting.
    """

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        for pragma in ("foreign_keys = ON", "synchronous = NORMAL"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        if statement := connection.get_execution_options().get("begin", "BEGIN"):
            connection.exec_driver_sql(statement)


def _migrate(engine: Engine, place: str, *, create: bool) -> None:
    with engine.connect() as connection:
        found = migrations.version(connection)
        tables = set(inspect(connection).get_table_names()) if found is None else set()
    if found == SCHEMA_VERSION:
        return
    if found is None and not create:
        raise StoreError(f"{place} holds no results store: run a search first, or name an existing one")
    if clash := sorted(tables & set(Base.metadata.tables)):
        raise StoreError(
            f"{place} belongs to another program (it has tables {', '.join(clash)}): name another store"
        )
    if found is not None and found not in migrations.known_versions():
        raise StoreError(
            f"{place} was made by a newer pixelfront (schema {found}, this one knows {SCHEMA_VERSION}): "
            "upgrade pixelfront, or name another store"
        )
    _upgrade(engine)


def _upgrade(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        # Kept in the file; can't be set inside a transaction.
        with engine.execution_options(begin=None).connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    with engine.execution_options(begin="BEGIN IMMEDIATE").begin() as connection:
        migrations.upgrade(connection)


# Errors


@contextmanager
def _explained(place: str, action: str) -> Iterator[None]:
    """Turns what the database, its driver or the file system raises into StoreError."""
    try:
        yield
    except DBAPIError as error:
        cause = " ".join(str(error.orig).split())
        raise StoreError(f"{place}: can't {action}: {cause}. {_advice(cause, error)}.") from error
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        fix = "install the driver (`pip install 'pixelfront[postgresql]'`) or name a SQLite file"
        raise StoreError(f"{place}: can't {action}: {error}; {fix}") from error
    except (SQLAlchemyError, OSError) as error:
        raise StoreError(f"{place}: can't {action}: {error}. {_advice(str(error), error)}.") from error


def _advice(cause: str, error: Exception) -> str:
    for sign, advice in ADVICE:
        if sign in cause.lower():
            return advice
    if isinstance(error, IntegrityError):
        return "The record contradicts what is stored"
    return "Check that it can be reached and that you may read and write it"


# Rows


def _now() -> datetime:
    return datetime.now(UTC)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _storable(message: str) -> str:
    """Without what SQL text can't hold: NUL (PostgreSQL) and lone surrogates (both)."""
    return message.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _check(measurements: Sequence[Measurement]) -> None:
    for measurement in measurements:
        if not math.isfinite(measurement.value):
            raise ValueError(
                f"{measurement.name} ({measurement.protocol}) is {measurement.value}: "
                "only finite numbers are stored; record the trial as failed"
            )


def _new_trial(
    study_id: int, stage: Stage, parent_id: int | None, digest: str, architecture: str, genotype: str | None
) -> dict[str, Any]:
    return {
        "study_id": study_id,
        "stage": stage,
        "parent_id": parent_id,
        "digest": digest,
        "architecture": architecture,
        "genotype": genotype,
        "state": "waiting",
        "reason": None,
        "attempts": 0,
        "worker": None,
        "created_at": _now(),
        "started_at": None,
        "finished_at": None,
        "seconds": None,
    }


def _insert_measurements(
    connection: Connection, trial_id: int, step: int | None, measurements: Sequence[Measurement]
) -> None:
    if measurements:
        rows = [{"trial_id": trial_id, "step": step, **vars(each)} for each in measurements]
        connection.execute(insert(MeasurementRow), rows)


def _insert_artifacts(connection: Connection, trial_id: int, artifacts: Sequence[Artifact]) -> None:
    if artifacts:
        now = _now()
        rows = [{"trial_id": trial_id, "created_at": now, **vars(each)} for each in artifacts]
        connection.execute(insert(ArtifactRow), rows)


def _insert_ask(
    connection: Connection,
    study_id: int,
    number: int,
    genotype: str,
    outcome: str,
    trial_id: int | None,
    reason: str | None,
) -> None:
    values = {"study_id": study_id, "number": number, "genotype": genotype, "outcome": outcome}
    connection.execute(insert(AskRow).values(values | {"trial_id": trial_id, "reason": reason}))


def _older_rung(trial_id: int, step: int, attempt: int) -> Any:
    return delete(RungRow).where(
        RungRow.trial_id == trial_id, RungRow.step == step, RungRow.attempt < attempt
    )


def _next_number(study_id: int) -> Select:
    return select(func.coalesce(func.max(TrialRow.number) + 1, 0)).where(TrialRow.study_id == study_id)


def _measurements() -> Select:
    """Columns in the order of Measurement's fields, after (trial_id, step)."""
    row = MeasurementRow
    columns = (row.trial_id, row.step, row.name, row.value, row.unit, row.direction, row.protocol)
    return select(*columns).order_by(row.id)


def _counts() -> Select:
    return select(TrialRow.study_id, TrialRow.state, func.count()).group_by(TrialRow.study_id, TrialRow.state)


def _best() -> Select:
    """Per study and key the best final value of complete trials, in the order of Measurement's fields."""
    row = MeasurementRow
    value = case((row.direction == "max", func.max(row.value)), else_=func.min(row.value))
    key = (TrialRow.study_id, row.name, row.unit, row.direction, row.protocol)
    return (
        select(TrialRow.study_id, row.name, value, row.unit, row.direction, row.protocol)
        .join(TrialRow, TrialRow.id == row.trial_id)
        .where(row.step.is_(None), TrialRow.state == "complete")
        .group_by(*key)
        .order_by(TrialRow.study_id, row.name, row.protocol)
    )


def _study(row: Mapping[Any, Any]) -> Study:
    return Study(**{**row, **{name: json.loads(row[name]) for name in JSON_COLUMNS}})


def _summary(
    study: Study, counts: Mapping[tuple[int, str], int], best: Mapping[int, Sequence[Measurement]]
) -> StudySummary:
    per_state = {state: n for (owner, state), n in counts.items() if owner == study.id}
    complete, failed = per_state.get("complete", 0), per_state.get("failed", 0)
    return StudySummary(study, sum(per_state.values()), complete, failed, tuple(best.get(study.id, ())))


def _trial(row: Mapping[Any, Any], measurements: Sequence[Measurement]) -> Trial:
    genotype = row["genotype"]
    decoded = None if genotype is None else json.loads(genotype)
    return Trial(**{**row, "genotype": decoded, "measurements": tuple(measurements)})

"""The results store: studies, trials, learning curves and artifacts in one SQL database.

SQLite by default, anything SQLAlchemy reaches by URL (PostgreSQL is tested). One process writes, the
driver; any number read meanwhile. Every write is one transaction: after a crash, a full disk or a kill
the store holds either all of it or nothing. On SQLite a committed write survives the end of the process;
a power cut may take the last ones (synchronous=NORMAL), never the database.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from sqlalchemy import Connection, Engine, Select, func, insert, select, update

from results.store import changes, rows
from results.store.changes import Changes
from results.store.connection import StoreError, StudyExists, UnknownStudy, connect, explained
from results.store.rows import check_finite, encode, now
from results.store.schema import (
    Artifact,
    Ask,
    AskRow,
    Rung,
    Stage,
    Stop,
    Study,
    StudyRow,
    StudyState,
    StudySummary,
    Trial,
    TrialRow,
    TrialState,
    turned_away_by,
)
from spaces.measurement import Measurement

__all__ = ["Store", "StoreError", "StudyExists", "UnknownStudy"]


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
    def open(
        cls,
        url_or_path: str | Path,
        *,
        create: bool = True,
        timeout_s: float = 10.0,
        read_only: bool = False,
    ) -> Self:
        """Opens a store, creating it and upgrading an older schema.

        Args:
            url_or_path: A SQLAlchemy URL, or the path of a SQLite file, whose folder is created.
            create: False for readers: a store that does not exist is an error.
            timeout_s: How long to wait for another writer's lock, or for the server.
            read_only: The database refuses every write through this store; for those that only look.

        Raises: StoreError: if it can't be reached, doesn't exist (with ``create=False``), isn't ours,
            or was made by a newer pixelfront.
        """
        return cls(*connect(url_or_path, create=create, timeout_s=timeout_s, read_only=read_only))

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
        with explained(self.place, action), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with explained(self.place, "read"), self._reader.connect() as connection:
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
        plain = {"name": name, "task": task, "strategy": strategy, "seed": seed, "space_name": space_name}
        digests = {"space_digest": space_digest, "data_digest": data_digest}
        decoded = {"space": space, "data": data, "config": config, "environment": environment}
        values = rows.new_study({**plain, **digests, **decoded})
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
        return rows.to_study(row._mapping)

    def studies(self) -> tuple[StudySummary, ...]:
        """Every study with its counts, oldest first."""
        with self._read() as connection:
            return rows.load_summaries(connection)

    def study_records(self) -> tuple[Study, ...]:
        """Every study without its counts, which take a look at all trials; oldest first."""
        with self._read() as connection:
            found = connection.execute(select(StudyRow.__table__).order_by(StudyRow.id)).all()
        return tuple(rows.to_study(row._mapping) for row in found)

    def revisions(self) -> dict[int, int]:
        """Revision of every study by its id, for who watches them."""
        with self._read() as connection:
            return {
                each.id: each.revision for each in connection.execute(select(StudyRow.id, StudyRow.revision))
            }

    def revision(self, study_id: int) -> int:
        """How often the study, or anything of it, has been written to: the same number means that nothing is new.

        Raises: StoreError: if there is no such study.
        """
        with self._read() as connection:
            found = connection.scalar(select(StudyRow.revision).where(StudyRow.id == study_id))
        if found is None:
            raise StoreError(f"{self.place}: no study has id {study_id}")
        return found

    def set_study_state(self, study_id: int, state: StudyState, stop: Stop | None = None) -> None:
        """Any state may follow any other; ``finished_at`` is kept for complete and failed only.

        Args:
            stop: Why its run ended.

        Raises: StoreError: if there is no such study.
        """
        finished = now() if state in ("complete", "failed") else None
        self._change_study(study_id, "state", {"state": state, "finished_at": finished, "stop": stop})

    def set_config(self, study_id: int, config: Any) -> None:
        """Replaces the recorded configuration, when a study is resumed with other limits or workers.

        Raises: StoreError: if there is no such study.
        """
        self._change_study(study_id, "configuration", {"config": encode(config)})

    def add_data(self, study_id: int, data: Mapping[str, Any]) -> Study:
        """Puts values into the study's ``data``, in place of those of the same names; the study with them.

        Raises: StoreError: if there is no such study.
        """
        with self._write("add to the study's data") as connection:
            row = connection.execute(
                select(StudyRow.name, StudyRow.data).where(StudyRow.id == study_id)
            ).first()
            if row is None:
                raise StoreError(f"{self.place}: no study has id {study_id}")
            merged = json.loads(row.data) | dict(data)
            connection.execute(update(StudyRow).where(StudyRow.id == study_id).values(data=encode(merged)))
            rows.count_write(connection, study_id)
        return self.study(row.name)

    def _change_study(self, study_id: int, what: str, values: Mapping[str, Any]) -> None:
        with self._write(f"set the study's {what}") as connection:
            change = update(StudyRow).where(StudyRow.id == study_id).values(values)
            if connection.execute(change).rowcount == 0:
                raise StoreError(f"{self.place}: no study has id {study_id}")
            rows.count_write(connection, study_id)

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
        told: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        """Records a question that led to no new trial; `add_trial` records the others.

        Args:
            told: See `results.store.schema.Ask`.

        Raises: ValueError: unless a duplicate names its trial, and a rejection its reason and no trial.
        """
        if (outcome == "duplicate") != (trial_id is not None) or (outcome == "rejected" and not reason):
            raise ValueError(
                f"ask {number}: a duplicate needs the trial_id it repeats, a rejection needs a reason and no "
                f"trial_id; got outcome={outcome!r}, trial_id={trial_id!r}, reason={reason!r}"
            )
        with self._write(f"record ask {number}") as connection:
            rows.insert_ask(connection, study_id, number, encode(genotype), outcome, trial_id, reason, told)
            rows.count_write(connection, study_id)

    def asks(self, study_id: int) -> tuple[Ask, ...]:
        """Every question of the study, by number."""
        with self._read() as connection:
            return rows.load_asks(connection, study_id)

    def count_asks(self, study_id: int) -> dict[str, int]:
        """How many questions there were by what became of them; only outcomes that occur."""
        counted = select(AskRow.outcome, func.count()).where(AskRow.study_id == study_id)
        with self._read() as connection:
            found = connection.execute(counted.group_by(AskRow.outcome)).all()
        return {outcome: n for outcome, n in found}  # noqa: C416

    def count_turned_away(self, study_id: int) -> dict[str, int]:
        """How many questions were rejected, by who turned them away, as ``turned_away_by`` calls them."""
        counted = select(AskRow.reason, func.count()).where(
            AskRow.study_id == study_id, AskRow.outcome == "rejected"
        )
        counts: Counter[str] = Counter()
        with self._read() as connection:
            for reason, n in connection.execute(counted.group_by(AskRow.reason)):
                counts[turned_away_by(reason)] += n
        return dict(counts)

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
        told: Sequence[tuple[int, int]] | None = None,
        parent_id: int | None = None,
        origin: Mapping[str, Any] | None = None,
        variant: str = "",
        measurements: Sequence[Measurement] = (),
    ) -> Trial:
        """A new waiting trial with the next number, its costs and (if given) its ask, in one transaction.

        Args:
            told: Of its ask, see `results.store.schema.Ask`.
            origin: How it was made; values are anything JSON can hold.
            variant: Lets one architecture be at a stage several times; `results.store.rows.variant_of` makes one.

        Raises:
            StoreError: if this stage of the study already has the architecture in this variant, the number is
                asked, or the parent isn't a trial of the study.
            ValueError: if a measurement isn't finite.
        """
        check_finite(measurements)
        encoded = None if genotype is None else encode(genotype)
        if ask_number is not None and encoded is None:
            raise ValueError(f"ask {ask_number} comes without its genotype")
        made = {
            "parent_id": parent_id,
            "origin": None if origin is None else encode(origin),
            "variant": variant,
        }
        what = {"stage": stage, "digest": digest, "architecture": architecture_json, "genotype": encoded}
        row = rows.new_trial({"study_id": study_id, **what, **made})
        with self._write(f"add architecture {digest}") as connection:
            if parent_id is not None:
                self._check_parent(connection, study_id, parent_id)
            row["revision"] = rows.count_write(connection, study_id)
            row["number"] = connection.scalar(rows.next_number(study_id))
            row["id"] = connection.execute(rows.INSERT_TRIAL, row).inserted_primary_key[0]  # type: ignore[index]
            rows.insert_measurements(connection, row["id"], None, measurements)
            if ask_number is not None and encoded is not None:
                rows.insert_ask(connection, study_id, ask_number, encoded, "trial", row["id"], None, told)
        return rows.to_trial(row, measurements)

    def _check_parent(self, connection: Connection, study_id: int, parent_id: int) -> None:
        if connection.scalar(select(TrialRow.study_id).where(TrialRow.id == parent_id)) != study_id:
            raise StoreError(
                f"{self.place}: no trial of this study has id {parent_id}, so none can be made from it"
            )

    def start_trial(self, trial_id: int, worker: str | None = None) -> None:
        """From waiting or paused to running; counts one more attempt.

        Raises: StoreError: from any other state.
        """
        values = {"worker": worker, "started_at": now(), "attempts": TrialRow.attempts + 1}
        with self._write(f"start trial {trial_id}") as connection:
            self._move(connection, trial_id, ("waiting", "paused"), "running", values)

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
        check_finite(measurements)
        if not math.isfinite(loss):
            raise ValueError(f"trial {trial_id}, step {step}: the loss is {loss}; record the trial as failed")
        state = select(TrialRow.state, TrialRow.attempts).where(TrialRow.id == trial_id)
        with self._write(f"add step {step} of trial {trial_id}") as connection:
            found = connection.execute(state).one_or_none()
            if found is None or found.state != "running":
                raise self._illegal(found and found.state, trial_id, ("running",), "given a rung")
            rung = Rung(trial_id, step, found.attempts, loss, seconds, tuple(measurements))
            rows.insert_rung(connection, rung)
            rows.stamp_trial(connection, trial_id)

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
        check_finite(measurements)
        values = {"finished_at": now(), "seconds": seconds}
        with self._write(f"finish trial {trial_id}") as connection:
            self._move(connection, trial_id, ("running",), "complete", values)
            rows.insert_measurements(connection, trial_id, None, measurements)
            rows.insert_artifacts(connection, trial_id, artifacts)

    def add_measurements(self, trial_id: int, measurements: Sequence[Measurement]) -> None:
        """More final measurements of a complete trial, e.g. on another image set.

        Raises:
            StoreError: if the trial isn't complete, or a measurement is already there.
            ValueError: if a measurement isn't finite.
        """
        check_finite(measurements)
        with self._write(f"measure trial {trial_id}") as connection:
            state = connection.scalar(select(TrialRow.state).where(TrialRow.id == trial_id))
            if state != "complete":
                raise self._illegal(state, trial_id, ("complete",), "measured again")
            rows.insert_measurements(connection, trial_id, None, measurements)
            rows.stamp_trial(connection, trial_id)

    def fail_trial(self, trial_id: int, reason: str, *, seconds: float | None = None) -> None:
        """From waiting or running to failed, with the reason and no score.

        Raises: StoreError: from any other state. ValueError: without a reason.
        """
        if not reason.strip():
            raise ValueError(f"trial {trial_id}: a failure needs its reason")
        values = {"finished_at": now(), "seconds": seconds, "reason": rows.storable(reason)}
        with self._write(f"record the failure of trial {trial_id}") as connection:
            self._move(connection, trial_id, ("waiting", "running"), "failed", values)

    def requeue_trial(self, trial_id: int) -> None:
        """From running back to waiting, when its worker is gone; its rungs stay.

        Raises: StoreError: from any other state.
        """
        with self._write(f"requeue trial {trial_id}") as connection:
            self._move(connection, trial_id, ("running",), "waiting", {"worker": None, "started_at": None})

    def pause_trial(self, trial_id: int) -> None:
        """From running to paused: it rests at its last rung, from which it may be started again.

        Raises: StoreError: from any other state.
        """
        with self._write(f"pause trial {trial_id}") as connection:
            self._move(connection, trial_id, ("running",), "paused", {"worker": None})

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
        rows.stamp_trial(connection, trial_id)

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
        return self._load(rows.choose_trials(study_id, states, stages, since_id, limit))

    def trial(self, study_id: int, number: int) -> Trial:
        """One trial by its number.

        Raises: ValueError: if the study has no such trial.
        """
        chosen = select(TrialRow.__table__).where(TrialRow.study_id == study_id, TrialRow.number == number)
        found = self._load(chosen)
        if not found:
            with self._read() as connection:
                count = connection.scalar(rows.next_number(study_id))
            listing = f"it has 0 to {count - 1}" if count else "it has none yet"
            raise ValueError(f"{self.place}: the study has no trial {number}; {listing}")
        return found[0]

    def numbered_trials(self, study_id: int, numbers: Sequence[int]) -> tuple[Trial, ...]:
        """The study's trials of these numbers (at most a few thousand), by number."""
        chosen = select(TrialRow.__table__).where(TrialRow.study_id == study_id, TrialRow.number.in_(numbers))
        return self._load(chosen.order_by(TrialRow.number))

    def failures(self, study_id: int, *, most: int) -> list[dict[str, Any]]:
        """The last failed trials, see `results.store.rows.load_failures`."""
        with self._read() as connection:
            return rows.load_failures(connection, study_id, most)

    def find_trial(self, study_id: int, stage: Stage, variant: str) -> Trial | None:
        """The trial that was made in this way, a digest of `results.store.rows.variant_of`; None if there is none."""
        key = {"study_id": study_id, "stage": stage, "variant": variant}
        return next(iter(self._load(select(TrialRow.__table__).filter_by(**key))), None)

    def children(self, trial_id: int) -> tuple[Trial, ...]:
        """The trials made from this one, by number."""
        chosen = select(TrialRow.__table__).where(TrialRow.parent_id == trial_id).order_by(TrialRow.id)
        return self._load(chosen)

    def lineage(self, trial_id: int) -> tuple[Trial, ...]:
        """The trial's ancestors from the root on, then the trial itself.

        Raises: StoreError: if there is no such trial.
        """
        found = self._load(rows.choose_lineage(trial_id))
        if not found:
            raise StoreError(f"{self.place}: no trial has id {trial_id}")
        return found

    def _load(self, chosen: Select) -> tuple[Trial, ...]:
        with self._read() as connection:
            return rows.load_trials(connection, chosen)

    # What is new, in bulk

    def changed_values(self, study_id: int, *, since: int = 0) -> Changes:
        """Trials written to after the revision, see `results.store.changes.load_values`; 0 gives all of them."""
        with self._read() as connection:
            return changes.load_values(connection, study_id, since)

    def changed_architectures(self, study_id: int, *, since: int = 0) -> Changes:
        """Theirs, see `results.store.changes.load_architectures`."""
        with self._read() as connection:
            return changes.load_architectures(connection, study_id, since)

    def changed_times(self, study_id: int, *, since: int = 0) -> Changes:
        """Theirs, see `results.store.changes.load_times`."""
        with self._read() as connection:
            return changes.load_times(connection, study_id, since)

    def spent(self, study_id: int) -> tuple[float, int]:
        """What the study's trials took, see `results.store.changes.load_spent`."""
        with self._read() as connection:
            return changes.load_spent(connection, study_id)

    # Learning curves and files

    def rungs(
        self, study_id: int, *, trial_id: int | None = None, trial_ids: Sequence[int] | None = None
    ) -> tuple[Rung, ...]:
        """Learning curves of a study, or of one or some of its trials, by trial and step."""
        with self._read() as connection:
            return rows.load_rungs(connection, study_id, trial_ids if trial_id is None else [trial_id])

    def add_artifact(self, trial_id: int, artifact: Artifact) -> None:
        """Records a file of a trial in any state; the file itself is the caller's."""
        with self._write(f"add a {artifact.kind} of trial {trial_id}") as connection:
            rows.insert_artifacts(connection, trial_id, [artifact])
            rows.stamp_trial(connection, trial_id)

    def files(self, trial_id: int) -> list[dict[str, Any]]:
        """Files of a trial with their ids, which `file` takes, and times, oldest first."""
        with self._read() as connection:
            return rows.load_files(connection, trial_id)

    def artifacts(self, trial_id: int, *, kind: str | None = None) -> tuple[Artifact, ...]:
        """Files of a trial, oldest first."""
        with self._read() as connection:
            return rows.load_artifacts(connection, trial_id, kind)

    def file(self, artifact_id: int) -> tuple[str, Artifact] | None:
        """The name of the study that an artifact is of, and the artifact; None if there is none with this id."""
        with self._read() as connection:
            return rows.load_file(connection, artifact_id)

"""Opening the store's database: places, engine, pragmas, schema version, and errors told in words."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from results.store import migrations
from results.store.schema import SCHEMA_VERSION, Base

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
        super().__init__(name, known, place)  # what it is made from again, in another process

    def __str__(self) -> str:
        name, known, place = self.args
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        listing = f"It has: {', '.join(known)}." if known else "It has none yet."
        return f"no study '{name}' in {place}{hint} {listing}"


class StudyExists(ValueError):  # noqa: N818
    """The name is taken."""

    def __init__(self, name: str, place: str) -> None:
        super().__init__(name, place)

    def __str__(self) -> str:
        name, place = self.args
        return f"study '{name}' already exists in {place}: continue it with --resume, or name another with --study"


def connect(
    url_or_path: str | Path, *, create: bool, timeout_s: float, read_only: bool = False
) -> tuple[Engine, str]:
    """An engine on a database whose schema is current, and how messages name the place.

    Arguments and errors as for ``Store.open``.
    """
    url = _url(url_or_path)
    place = _place(url)
    with explained(place, "open the store"):
        _prepare_folder(url, place, create=create)
        engine = _engine(url, timeout_s, create=create)
        try:
            _migrate(engine, place, create=create)
            if read_only:  # after an older store was upgraded, as every reader does
                _forbid_writing(engine)
        except BaseException:
            engine.dispose()
            raise
    return engine, place


@contextmanager
def explained(place: str, action: str) -> Iterator[None]:
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


def _forbid_writing(engine: Engine) -> None:
    """Has the database itself refuse every write, on each connection from now on."""
    sqlite = engine.dialect.name == "sqlite"
    setting = "PRAGMA query_only = ON" if sqlite else "SET SESSION default_transaction_read_only = on"
    engine.dispose()

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.execute(setting)
        if not sqlite:
            connection.commit()


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
        found, tables = migrations.version(connection), set[str]()
        if found is None:
            tables = set(inspect(connection).get_table_names())
            found = migrations.version(connection)  # another process may have made the store in between
    if found == SCHEMA_VERSION:
        return
    if found is None and not create:
        raise StoreError(f"{place} holds no results store: run a search first, or name an existing one")
    if found is None and (clash := sorted(tables & set(Base.metadata.tables))):
        raise StoreError(
            f"{place} belongs to another program (it has tables {', '.join(clash)}): name another store"
        )
    if found is not None and found not in migrations.known_versions():
        raise StoreError(
            f"{place} was made by a newer pixelfront (schema {found}, this one knows {SCHEMA_VERSION}): "
            "upgrade pixelfront, or name another store"
        )
    action = "open the store" if found is None else f"upgrade it from schema {found} to {SCHEMA_VERSION}"
    with explained(place, action):
        _upgrade(engine)


def _upgrade(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        with engine.begin() as connection:
            migrations.upgrade(connection)
        return
    with engine.execution_options(begin=None).connect() as connection:
        # Neither can be set inside a transaction; the first is kept in the file. SQLite changes a table by copying and
        # dropping it, which enforced foreign keys to its rows forbid.
        for pragma in ("journal_mode = WAL", "foreign_keys = OFF"):
            connection.exec_driver_sql(f"PRAGMA {pragma}")
        connection.commit()
        with connection.execution_options(begin="BEGIN IMMEDIATE").begin():
            migrations.upgrade(connection)
        connection.execution_options(begin=None).exec_driver_sql("PRAGMA foreign_keys = ON")

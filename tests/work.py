"""Work that is counted in place of time: the same on every machine, however busy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from sqlalchemy import event

from results.store.store import Store


def calls(action: Callable[[], Any]) -> int:
    """How many functions an action calls in this thread, Python's and C's; what runs inside C counts once."""
    count = 0

    def called(frame: FrameType, kind: str, argument: Any) -> None:
        nonlocal count
        count += kind in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        action()
    finally:
        sys.setprofile(before)
    return count


class DatabaseWork:
    """What a SQLite store was made to do.

    Attributes:
        statements: SQL statements, in order.
        commits: Transactions that were committed, each of which waits for the disk.
        instructions: Of SQLite's virtual machine; a row that is looked at takes a few.
    """

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.commits = 0
        self.instructions = 0


@contextmanager
def database_work(store: Store) -> Iterator[DatabaseWork]:
    """What the store's database does while this lasts."""
    work = DatabaseWork()

    def step() -> int:
        work.instructions += 1
        return 0

    def before(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        cursor.connection.set_progress_handler(step, 1)
        work.statements.append(statement)

    def committed(connection: Any) -> None:
        work.commits += 1

    engine = store._engine
    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "commit", committed)
    try:
        yield work
    finally:
        event.remove(engine, "before_cursor_execute", before)
        event.remove(engine, "commit", committed)
        with engine.connect() as connection:
            driver: Any = connection.connection.dbapi_connection
            driver.set_progress_handler(None, 0)

"""PostgreSQL servers for tests, on a Unix socket in a folder of their own."""

from __future__ import annotations

import glob
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text


class Server:
    """A server that can be stopped and started again."""

    def __init__(self, programs: str, folder: str) -> None:
        self._programs = programs
        self._folder = folder
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8")

    def start(self) -> None:
        settings = f"-c listen_addresses='' -c unix_socket_directories={self._folder} -c fsync=off"
        self._run("pg_ctl", "-o", settings, "-l", f"{self._folder}/log", "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-m", "immediate", "-w", "stop")

    def new_database(self) -> str:
        """URL of an empty one."""
        name = f"t{uuid4().hex}"
        engine = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self._folder}"

    def _run(self, program: str, *arguments: str) -> None:
        # PostgreSQL's programs refuse to run as root.
        prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*prefix, f"{self._programs}/{program}", "-D", f"{self._folder}/data", *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


@contextmanager
def running_server() -> Iterator[Server]:
    """A started server, ended afterwards; skips the test where there are no programs for one."""
    programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not programs or importlib.util.find_spec("psycopg") is None:
        pytest.skip("needs a PostgreSQL server's programs and psycopg")
    folder = tempfile.mkdtemp(prefix="pf-pg-")  # short: a socket's path has at most 107 bytes
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    try:
        server = Server(programs[-1], folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)

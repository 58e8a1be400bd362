"""Studies to look at, and clients of the application that shows them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from results.dashboard.app import create_app
from results.dashboard.security import Settings
from results.store import Store
from search.setup import Setup
from tests.results import studies


@contextmanager
def client_of(file: Path) -> Iterator[TestClient]:
    """A client of the application over a store that it can only read."""
    with Store.open(file, create=False, read_only=True) as store:
        app = create_app(store, runs=file.parent, settings=Settings(port=80))
        with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=True) as client:
            yield client


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Setup]:
    """The file of a store whose study has trials of all stages; only to be read."""
    folder = tmp_path_factory.mktemp("staged")
    with Store.open(folder / "results.db") as store:
        return folder / "results.db", studies.fill_stages(store, folder)


@pytest.fixture
def api(filled: tuple[Path, Setup]) -> Iterator[TestClient]:
    """A client on the small study: three complete trials, a failed, a running and a waiting one."""
    with client_of(filled[0]) as client:
        yield client


@pytest.fixture
def staged_api(staged: tuple[Path, Setup]) -> Iterator[TestClient]:
    """A client on the study of all stages."""
    with client_of(staged[0]) as client:
        yield client

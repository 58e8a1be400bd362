"""Studies to look at, and clients of the application that shows them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from results.dashboard.app import create_app
from results.dashboard.security import Settings
from results.store.store import Store
from search.study.context import Setup
from tests.results import studies
from tests.results.dashboard.held import hold


@contextmanager
def client_of(place: Path | str, runs: Path | None = None) -> Iterator[TestClient]:
    """A client of the application over a store that it can only read.

    Its answers are held to their description.
    """
    folder = runs or Path(place).parent
    with Store.open(place, create=False, read_only=True) as store:
        app = create_app(store, runs=folder, settings=Settings(port=80))
        with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=True) as client:
            client.event_hooks["response"].append(hold(app))
            yield client


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Setup]:
    """The file of a store whose study has trials of all stages; only to be read."""
    folder = tmp_path_factory.mktemp("staged")
    with Store.open(folder / "results.db") as store:
        return folder / "results.db", studies.fill_stages(store, folder)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def places(
    request: pytest.FixtureRequest,
    filled: tuple[Path, Setup],
    staged: tuple[Path, Setup],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[Path | str, Path]]:
    """Stores of the same two studies with their folders, in files and on a server."""
    files = {"small": filled[0], "staged": staged[0]}
    if request.param == "sqlite":
        return {name: (file, file.parent) for name, file in files.items()}
    made: dict[str, tuple[Path | str, Path]] = {}
    for name, fill in (("small", studies.fill), ("staged", studies.fill_stages)):
        url = request.getfixturevalue("postgresql").new_database()
        with Store.open(url) as store:
            folder = tmp_path_factory.mktemp(name)
            fill(store, folder)
        made[name] = url, folder
    return made


@pytest.fixture
def api(places: dict[str, tuple[Path | str, Path]]) -> Iterator[TestClient]:
    """A client on the small study: three complete trials, a failed, a running and a waiting one."""
    with client_of(*places["small"]) as client:
        yield client


@pytest.fixture
def staged_api(places: dict[str, tuple[Path | str, Path]]) -> Iterator[TestClient]:
    """A client on the study of all stages."""
    with client_of(*places["staged"]) as client:
        yield client

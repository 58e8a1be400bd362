"""The small study that overviews, tables and exports are tested on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from results.store.store import Store
from search.study.context import Setup
from tests.results import studies
from tests.results.postgres import Server, running_server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server that all tests share."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Setup]:
    """The store's file, to be read only, and the setup it was made with."""
    folder = tmp_path_factory.mktemp("study")
    with Store.open(folder / "results.db") as store:
        return folder / "results.db", studies.fill(store, folder)


@pytest.fixture
def small_store(filled: tuple[Path, Setup]) -> Iterator[Store]:
    """The filled store; only read from it."""
    with Store.open(filled[0], create=False) as opened:
        yield opened


@pytest.fixture
def small_setup(filled: tuple[Path, Setup]) -> Setup:
    """What the filled store's study was made with."""
    return filled[1]


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[Store]:
    """A store of the test's own, filled alike."""
    with Store.open(tmp_path / "results.db") as opened:
        studies.fill(opened, tmp_path)
        yield opened

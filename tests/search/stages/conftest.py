"""A study of a few finished trials, opened for the stages that come after a search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from results.store.store import Store
from search.study.opening import Opened, Place, open_study
from tests.results.studies import NAME, fill
from tests.search.studies import with_pool


@pytest.fixture
def place(tmp_path: Path) -> Place:
    with Store.open(tmp_path / "results.db") as store:
        fill(store, tmp_path)
    return Place(str(tmp_path / "results.db"), tmp_path / "runs")


@pytest.fixture
def opened(place: Place) -> Iterator[Opened]:
    with open_study({}, place=place, study=NAME, resume=True, searching=False) as found:
        yield with_pool(found)

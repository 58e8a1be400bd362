from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from results.store.store import Store
from search.config import ConfigError
from search.study.opening import Place, new_name, only_driver
from tests.search.studies import new_study

HOLD = """
import sys, time
from pathlib import Path
from search.study.opening import Place, only_driver
with only_driver(Place("-", Path(sys.argv[1])), "a"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_study_has_one_driver_at_a_time_and_none_after_a_kill(tmp_path: Path) -> None:
    place = Place("-", tmp_path)
    other = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with only_driver(place, "b"):
            pass
        with (
            pytest.raises(ConfigError, match=f"'a' is being run by process {other.pid}"),
            only_driver(place, "a"),
        ):
            pass
    finally:
        other.kill()
        other.wait()
    with only_driver(place, "a"):
        assert (tmp_path / ".a.lock").read_text() == str(os.getpid())


def test_new_names_count_up_past_studies_and_studies_being_made(tmp_path: Path) -> None:
    place = Place("-", tmp_path)
    with Store.open(tmp_path / "s.db") as store, ExitStack() as first, ExitStack() as second:
        new_study(store, "sr-x4-1")
        new_study(store, "sr-x4-4")
        assert new_name(store, place, "sr-x4", first) == "sr-x4-2"
        assert new_name(store, place, "sr-x4", second) == "sr-x4-3"
        assert new_name(store, place, "sr-x4", second) == "sr-x4-5"

"""Schedules compared over virtual time: what each leaves is possible, and a plan never leaves nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3] / "benchmarks" / "search"))  # a folder of scripts

from strategies import Replay
from tabular import PACKED, load
from times import SCHEDULES, Shop, main, search


@pytest.fixture(scope="module")
def shop() -> Shop:
    if not PACKED.exists():
        pytest.skip("needs benchmarks/data")
    return Shop(Replay(load()))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_search_keeps_to_its_time_and_is_repeatable(shop: Shop, schedule: str) -> None:
    outcome = search(shop, schedule, 6, 2, 0)
    assert outcome == search(shop, schedule, 6, 2, 0)
    assert 0 < outcome.finished <= outcome.begun
    assert 0 < outcome.share <= 1
    assert outcome.used < 1.05


def test_a_time_of_two_trainings_leaves_a_front_where_the_fixed_schedule_leaves_none(shop: Shop) -> None:
    assert search(shop, "ours", 2, 1, 0).finished > 0
    fixed = search(shop, "fixed", 2, 1, 0)
    assert (fixed.begun, fixed.finished, fixed.share) == (8, 0, 0)


def test_the_command_compares_all_schedules_and_draws_them(shop: Shop, tmp_path: Path) -> None:
    file, png = tmp_path / "times.json", tmp_path / "times.png"
    options = ["--seeds", "1", "--times", "2", "4", "--workers", "1", "--processes", "1"]
    assert main([*options, "--json", str(file), "--plot", str(png)]) == 0
    outcomes = json.loads(file.read_text())["outcomes"]
    assert {(o["schedule"], o["time"]) for o in outcomes} == {(s, t) for s in SCHEDULES for t in (2, 4)}
    assert png.read_bytes().startswith(b"\x89PNG")
    assert png.stat().st_size < 150 * 1024

"""The comparison of strategies: replayed searches on a table, and what is made of their curves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # a folder of scripts

from strategies import Curves, Replay, quartiles, report
from tabular import PACKED, load


def test_a_replayed_search_spends_no_more_than_its_steps_and_is_repeatable() -> None:
    if not PACKED.exists():
        pytest.skip("needs benchmarks/data")
    replay = Replay(load())
    for eta in (0.0, 3.0):
        how = {"eta": eta, "steps": 12 * 1024, "window": 2}
        run = replay.run("random", 1, **how)  # type: ignore[arg-type]
        assert run == replay.run("random", 1, **how)  # type: ignore[arg-type]
        steps, shares = zip(*run, strict=True)
        assert list(steps) == sorted(steps)
        assert 1024 < steps[-1] <= 12 * 1024
        assert list(shares) == sorted(shares)
        assert 0 < shares[-1] <= 1


def test_curves_are_read_at_steps_and_at_shares() -> None:
    curves = Curves("random", [[(0, 0.0), (10, 0.5), (20, 0.9), (30, 0.9)], [(0, 0.0), (10, 0.7), (30, 0.7)]])
    assert curves.at(9) == [0.0, 0.0]
    assert curves.at(25) == [0.9, 0.7]
    assert curves.steps_to(0.8) == [20, float("inf")]
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 3.0, 4.0)
    assert quartiles([1.0, 2.0, float("inf")])[2] == float("inf")
    text = report([curves], [10, 20], 0.8, 10)
    assert "| random | 60.0 (55.0 to 65.0) | 80.0 (75.0 to 85.0) | never (2.0 to never) |" in text

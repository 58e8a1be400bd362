"""The comparison with hand design: its networks, and its report on trainings made by hand."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spaces.baselines import published

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "search" / "hand_design.py"


@pytest.fixture(scope="module")
def hand() -> Iterator[ModuleType]:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("hand_design", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hand_design"] = module  # dataclasses look their module up
    path = list(sys.path)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = path


def test_networks_are_as_published_but_for_their_width(hand: ModuleType) -> None:
    for entry in hand.by_hand(skipped=False):
        original = published(entry.family).architecture
        assert entry.architecture.blocks == original.blocks
        assert entry.architecture.image_skip == original.image_skip
        budget = min(each for each in hand.BUDGETS if each >= entry.gmacs)
        wider = hand.replace(entry.architecture, width=entry.architecture.width + 1)
        assert entry.gmacs <= budget < hand.Entry("", wider).gmacs
    assert (
        hand.Entry("pan", hand.widest("pan", 100.0)).gmacs
        >= hand.Entry("", published("pan").architecture).gmacs
    )


def test_those_without_an_image_skip_come_with_one_too(hand: ModuleType) -> None:
    skipped = hand.by_hand(skipped=True)
    assert {entry.family for entry in skipped} == {
        f"{n} + nearest skip" for n in ("rfdn", "imdn", "rlfn", "bsrn")
    }
    assert {entry.architecture.image_skip for entry in skipped} == {"nearest"}


def test_a_smallest_network_above_the_budget_is_left_out(hand: ModuleType) -> None:
    assert hand.widest("msrresnet", 0.5) is None


def lines(hand: ModuleType, entry: Any, values: tuple[float, ...]) -> list[dict[str, Any]]:
    return [
        {"digest": entry.architecture.digest, "seed": seed, "psnr_y": value + 0.5, "psnr_y_other": value}
        for seed, value in enumerate(values)
    ]


@pytest.fixture
def work(hand: ModuleType, tmp_path: Path) -> Any:
    """Trainings made by hand: of RFDN at each budget, and a front of two."""
    found = hand.Work(tmp_path, tmp_path)
    members = [hand.replace(published("imdn").architecture, width=width) for width in (7, 16)]
    cost = "study found: 60 architectures"
    found.search_file.write_text(
        json.dumps({"cost": cost, "members": [json.loads(member.to_json()) for member in members]})
    )
    (tmp_path / "protocol.json").write_text(json.dumps({"trivial": {"on other": 25.0}}))
    entries = found.entries()
    one, four = (entry for entry in entries if entry.family == "search")
    rfdn = [entry for entry in entries if entry.family == "rfdn"]
    trained = [
        *lines(hand, rfdn[0], (26.0, 26.1, 26.2)),
        *lines(hand, rfdn[2], (27.0, 27.02, 27.04)),
        *lines(hand, one, (26.3, 26.32, 26.34)),
        *lines(hand, four, (26.9, 26.92, 26.94)),
        {"digest": rfdn[1].architecture.digest, "seed": 0, "failed": "diverged"},
    ]
    found.trainings_file.write_text("".join(json.dumps(each) + "\n" for each in trained) + '{"digest": "cut')
    return found


def test_each_budget_has_the_dearest_of_the_front_within_it_against_the_others(
    hand: ModuleType, work: Any
) -> None:
    rows = hand.rows_of(work.entries(), list(work.finished()))
    assert [(row.budget, row.entry.family, row.entry.architecture.width) for row in rows] == [
        (1.0, "search", 7),
        (1.0, "rfdn", 8),
        (2.0, "search", 7),  # RFDN's training at this budget failed
        (4.0, "search", 16),
        (4.0, "rfdn", 18),
    ]
    differences = [row.against.difference for row in rows if row.against]
    assert differences == pytest.approx([0.22, -0.1])
    # Of two comparisons, Holm's method doubles the smaller p: here that of the three near 27.
    assert [row.against.apart for row in rows if row.against] == [
        row.against.p < 0.05 for row in rows if row.against
    ]


def test_the_report_names_widths_costs_and_intervals(hand: ModuleType, work: Any, tmp_path: Path) -> None:
    rows = hand.rows_of(work.entries(), list(work.finished()))
    text = hand.markdown(rows, work)
    assert "| 1 | rfdn | 8 | 4 | 0.895 | 26.100 ± " in text
    assert "| 4 | rfdn | 18 | 4 | 3.844 | 27.020 ± " in text
    assert "-0.100 (-0.1" in text
    assert "The search's front has 2 networks. study found: 60 architectures." in text
    hand.draw(rows, tmp_path / "drawn" / "front.png")
    assert (tmp_path / "drawn" / "front.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_trained_is_not_trained_again_and_skips_come_last(hand: ModuleType, work: Any) -> None:
    todo = work.todo()
    done = {(each["digest"], each["seed"]) for each in work.finished()}
    assert not done & {(chain.digest, seed) for chain, seed in todo}
    assert len(todo) + len(done) == 3 * len(work.entries())
    skipped = [chain.image_skip == "nearest" for chain, _ in todo]
    assert skipped == sorted(skipped)

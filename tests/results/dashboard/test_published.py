"""Published networks on a study's axes: right costs, and scores only where they can be compared."""

from __future__ import annotations

import json

import pytest

from benchmarks.published_costs import published_costs
from results.dashboard.columns import Column
from results.dashboard.published import COSTS, stars
from spaces.baselines import published

ON_SET5 = "Y, 8-bit, border 4, on Set5/HR (0123456789ab)"


def column(name: str, protocol: str, kind: str = "quality") -> Column:
    return Column(name, name, name, "", "max", protocol, 1.0, kind, 1)


def test_recorded_costs_are_counted_ones():
    """If this fails: python benchmarks/published_costs.py."""
    assert json.loads(COSTS.read_text()) == json.loads(json.dumps(published_costs()))


def test_scores_are_shown_on_their_data_set_alone():
    cost = column("macs", "exact, 3x256x256", "cost")
    on_set5 = {star["name"]: star for star in stars("sr-x4", [cost, column("psnr_y", ON_SET5)])}
    assert on_set5["rfdn"]["values"]["psnr_y"] == published("rfdn").measured["psnr_y of Set5"]
    assert "measured by us" in on_set5["rfdn"]["source"]
    assert on_set5["rfdn-large"]["values"]["psnr_y"] == 32.24
    assert "table 3" in on_set5["rfdn-large"]["source"]
    assert all("macs" in star["values"] for star in on_set5.values())


@pytest.mark.parametrize(
    "protocol",
    [
        "Y, 8-bit, border 4, on embedded/test (0123456789ab)",
        "Y, 8-bit, border 2, on Set5/HR (0123456789ab)",
        "Y, 8-bit, border 4, on Set55 (0123456789ab)",
        "Y, 8-bit, border 4, on Set14 (0123456789ab), JPEG of quality 40",
    ],
)
def test_other_protocols_get_no_score(protocol):
    for star in stars("sr-x4", [column("psnr_y", protocol)]):
        assert "psnr_y" not in star["values"], star


def test_other_tasks_have_other_networks():
    assert {star["name"] for star in stars("hdr", [])} == {"ahdrnet"}
    assert stars("denoise-signal", []) == []

"""What the page draws of an architecture is what the network is made of."""

from __future__ import annotations

import json

import pytest

from spaces.architecture import Architecture, Block
from spaces.baselines import baseline_names, published
from spaces.build import parts
from spaces.task import Task
from spaces.topologies.chain import Chain
from spaces.topologies.pruned import Pruned
from spaces.topologies.rescaler import Rescaler
from spaces.topologies.unet import UNet
from tests.results import studies

RFDB = (Block("rfdb"), Block("rfdb"))
SR = Task("sr-x2", scale=2)
OTHERS: dict[str, tuple[Architecture, Task]] = {
    "gates, unshuffle": (Chain(8, RFDB, attention="esa", unshuffle=2), SR),
    "mean shift, no trunk convolution": (Chain(8, RFDB, mean_shift=True, trunk_convolution=False), SR),
    "pruned": (Pruned(Chain(8, RFDB), (("head.weight", (4, 3, 3, 3)),)), SR),
    "rescaler": (Rescaler(8, RFDB, image_skip="nearest"), Task("rescale-x4", scale=1, reduction=4)),
    "adding U-Net": (UNet((8, 16, 16), (RFDB,) * 3, (RFDB,) * 2, skip="add"), Task("denoise", scale=1)),
}
ENDS = {"input", "output", "stored"}
READ = """async (architecture) => {
  const { wiring } = await import('/static/parts/wiring.js');
  return wiring(architecture);
}"""


@pytest.fixture
def wiring(show, filled):
    page = show(filled[0])
    return lambda architecture: page.evaluate(READ, json.loads(architecture.to_json()))


def test_rows_are_the_parts_in_forward_order(wiring):
    cases = {name: (published(name).architecture, published(name).task) for name in baseline_names()} | OTHERS
    for name, (architecture, task) in cases.items():
        rows = [row["name"] for row in wiring(architecture)["rows"] if row["name"] not in ENDS]
        # a RAW network's colours come from the server's list of parts
        base = architecture.base if isinstance(architecture, Pruned) else architecture
        assert rows == [part for part in parts(base, task) if part != "develop"], name


def test_widths_are_those_of_the_parts(wiring):
    for name in ("rfdn", "hinet", "ahdrnet"):
        architecture, task = published(name).architecture, published(name).task
        pieces = parts(architecture, task)
        rows = {row["name"]: row for row in wiring(architecture)["rows"]}
        told = {part: rows[part]["from"] for part in pieces if rows[part]["from"] is not None}
        assert told == {part: pieces[part].channels for part in told}
        assert len(told) > 3


def test_links_of_a_chain(wiring):
    drawn = wiring(Chain(8, RFDB, image_skip="bilinear"))
    names = [row["name"] for row in drawn["rows"]]
    links = {(names[link["from"]], names[link["to"]], link["how"]) for link in drawn["links"]}
    assert links == {
        ("blocks.0", "fusion", "concat"),
        ("head", "trunk_conv", "add"),
        ("input", "upsampler", "add"),
    }


def test_skips_of_a_unet_join_equal_levels(wiring):
    drawn = wiring(published("hinet").architecture)
    rows = drawn["rows"]
    joins = [link for link in drawn["links"] if link["how"] == "concat"]
    assert len(joins) >= 8
    assert all(rows[link["from"]]["level"] == rows[link["to"]]["level"] for link in joins)


def test_an_unknown_topology_is_told_by_its_parts_alone(show, filled):
    page = show(filled[0], f"#/s/{studies.NAME}/front")
    assert page.evaluate(READ, {"topology": "graph"}) == {"rows": [], "links": [], "known": False}

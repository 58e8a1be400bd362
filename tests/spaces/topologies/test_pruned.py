"""Pruned architectures as data: what their JSON may say."""

from __future__ import annotations

import pytest
import torch

from spaces.architecture import Architecture, Block
from spaces.build import build, cost, size_requirements
from spaces.task import super_resolution
from spaces.topologies.chain import Chain
from spaces.topologies.pruned import Pruned
from spaces.topologies.pruned_network import shrink

X4 = super_resolution(4)
BASE = Chain(8, (Block("residual"),), fusion="plain")
INNER = (
    ("blocks.0.conv1.bias", (5,)),
    ("blocks.0.conv1.weight", (5, 8, 3, 3)),
    ("blocks.0.conv2.weight", (8, 5, 3, 3)),
)


def test_json_and_digest() -> None:
    pruned = Pruned(BASE, INNER)
    again = Architecture.from_json(pruned.to_json())
    assert again == pruned
    assert again.digest == pruned.digest != BASE.digest
    assert again.label == f"pruned {BASE.label}"


def test_network_and_cost() -> None:
    pruned = Pruned(BASE, INNER)
    network = build(pruned, X4)
    assert network(torch.rand(1, 3, 9, 13)).shape == (1, 3, 36, 52)
    inner = network.get_submodule("blocks.0.conv1")
    assert (inner.in_channels, inner.out_channels) == (8, 5)
    assert cost(BASE, X4).macs - cost(pruned, X4).macs == 2 * 9 * 8 * 3 * 256 * 256
    assert size_requirements(pruned, X4) == size_requirements(BASE, X4)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            (("blocks.7.conv1.bias", (5,)),),
            "names a tensor 'blocks.7.conv1.bias', which the base network doesn't have",
        ),
        ((("blocks.0.conv1.bias", (9,)),), r"is of \(8,\) in the base network; expected less, got \(9,\)"),
        ((("blocks.0.conv1.bias", (0,)),), "expected less"),
        ((("blocks.0.conv1.bias", (5, 1)),), "expected less"),
        (INNER[1:2], "the layers don't fit to each other"),
    ],
)
def test_shapes_that_are_not_a_pruned_network(shapes: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cost(Pruned(BASE, shapes), X4)


def test_a_pruned_base_is_refused() -> None:
    with pytest.raises(ValueError, match="first pruned from"):
        Pruned(Pruned(BASE, INNER), INNER)


def test_unsorted_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="alphabetical"):
        Pruned(BASE, INNER[::-1])


@pytest.mark.parametrize("shapes", ["x", [["a"]], [["a", []]], [["a", [1.5]]], [[1, [1]]], [["a", ["b"]]]])
def test_json_of_another_form(shapes: object) -> None:
    import json

    text = json.dumps({"topology": "pruned", "base": json.loads(BASE.to_json()), "shapes": shapes})
    with pytest.raises(ValueError, match=r"'shapes' is a list of \[tensor, \[size, ...\]\]"):
        Architecture.from_json(text)


def test_shrinking_a_shared_module_shrinks_it_once() -> None:
    network = build(Chain(8, (Block("recursive"),)), X4)
    inner = {
        f"blocks.0.block.{name}": shape
        for name, shape in (
            ("conv1.weight", (3, 8, 3, 3)),
            ("conv1.bias", (3,)),
            ("conv2.weight", (8, 3, 3, 3)),
        )
    }
    shrink(network, inner)
    assert network(torch.rand(1, 3, 8, 8)).shape == (1, 3, 32, 32)

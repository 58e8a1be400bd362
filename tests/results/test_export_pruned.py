"""Pruned networks are exported as any other: files that run without this project, checked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from evaluators.pruning.prune import prune
from results.export.files import MAX_ERROR, export, load_network
from spaces.architecture import Block
from spaces.build import build, cost
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

X4 = super_resolution(4)


@pytest.mark.parametrize("kinds", [("rfdb", "ghost"), ("hin", "idle"), ("imdb", "mccb_mscb")], ids="-".join)
def test_onnx_and_safetensors(kinds: tuple[str, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    architecture = Chain(12, tuple(map(Block, kinds)), convolution="acb", image_skip="bilinear")
    network = build(architecture, X4).eval()
    target = 0.6 * cost(architecture, X4).macs
    found = prune(network, architecture, X4, target=target, criterion="l2")
    written = export(found.network, found.architecture, X4, tmp_path / "pruned.onnx", "onnx")
    assert written.max_error < MAX_ERROR
    kept = export(found.network, found.architecture, X4, tmp_path / "pruned.safetensors", "safetensors")
    again = load_network(found.architecture, X4, kept.path)
    image = torch.rand(1, 3, 24, 31)
    with torch.no_grad():
        assert torch.equal(again(image), found.network(image))

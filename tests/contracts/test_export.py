"""Every block and every upsampler can be exported, and the file does what the network does."""

import os
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from results.export.files import (
    CHECK_SIZES,
    FORMATS,
    MAX_ERROR,
    ExportError,
    Format,
    check_image,
    export,
    format_of,
    load_network,
)
from spaces.architecture import Architecture, Block
from spaces.baselines import baseline
from spaces.blocks import BLOCKS
from spaces.build import build
from spaces.layers.attention import ATTENTION_NAMES
from spaces.parts import Network
from spaces.task import Task, rescaling
from spaces.topologies.chain import FUSIONS, IMAGE_SKIPS, Chain
from spaces.topologies.chain_network import CONVOLUTIONS
from spaces.topologies.rescaler import Rescaler
from spaces.topologies.rescaler_network import RescalerNetwork
from spaces.upsamplers import UPSAMPLERS

ODD = (29, 43)
TASK = Task("sr-x2", scale=2)
SMALL = Chain(8, (Block("residual"),))


def chains() -> list[Chain]:
    """Few chains that hold every block, upsampler, fusion, image skip, gate and form of convolution."""
    blocks = [Block(kind) for kind in BLOCKS]
    kinds = [tuple(blocks[i : i + 3]) for i in range(0, len(blocks), 3)]
    number = max(len(kinds), len(list(UPSAMPLERS)))
    gates = ("paper", *ATTENTION_NAMES)
    columns = (kinds, list(UPSAMPLERS), FUSIONS, IMAGE_SKIPS, gates, CONVOLUTIONS)
    return [
        Chain(
            8,
            some,
            Block(upsampler),
            fusion=fusion,
            feature_skip=fusion == "plain",
            image_skip=skip,
            attention=gate,
            convolution=form,
        )
        for some, upsampler, fusion, skip, gate, form in islice(
            zip(*map(cycle, columns), strict=False), number
        )
    ]


def trained(architecture: Architecture) -> Network:
    torch.manual_seed(0)
    return build(architecture, TASK).eval().requires_grad_(False)


def odd(network: Network) -> tuple[int, int]:
    """An odd size, or the next one that the network can take."""
    return network.size_requirements.padded(*ODD)


def image(size: tuple[int, int]) -> Tensor:
    assert size not in CHECK_SIZES
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(3))


def test_chains_hold_every_block_and_upsampler() -> None:
    assert {block.kind for chain in chains() for block in chain.blocks} == set(BLOCKS)
    assert {chain.upsampler.kind for chain in chains()} == set(UPSAMPLERS)


@pytest.mark.parametrize("chain", chains(), ids=lambda chain: chain.label)
def test_onnx_file_does_what_the_network_does(chain: Chain, tmp_path: Path) -> None:
    network = trained(chain)
    done = export(network, chain, TASK, tmp_path / "network.onnx", "onnx")
    session = onnxruntime.InferenceSession(done.path, providers=["CPUExecutionProvider"])
    for size in (odd(network), (done.minimum_size, done.minimum_size + done.multiple_of)):
        (restored,) = session.run(None, {"image": image(size).numpy()})
        assert np.abs(restored - network(image(size)).numpy()).max() < MAX_ERROR
    assert done.max_error < MAX_ERROR
    assert done.bytes == done.path.stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.json", "network.onnx"]
    assert Architecture.from_json((tmp_path / "network.json").read_text()) == chain


@pytest.mark.parametrize("chain", chains()[:2], ids=lambda chain: chain.label)
def test_pt2_file_does_what_the_network_does(chain: Chain, tmp_path: Path) -> None:
    network = trained(chain)
    done = export(network, chain, TASK, tmp_path / "network.pt2", "pt2")
    again = torch.export.load(done.path).module()
    x = image(odd(network))
    torch.testing.assert_close(again(x), network(x), rtol=0, atol=MAX_ERROR)


def test_safetensors_files_are_the_same_each_time(tmp_path: Path) -> None:
    network = trained(SMALL)
    digests = {
        export(network, SMALL, TASK, tmp_path / f"{i}.safetensors", "safetensors").sha256 for i in range(6)
    }
    assert len(digests) == 1


@pytest.mark.parametrize("chain", chains()[:2], ids=lambda chain: chain.label)
def test_safetensors_file_and_its_architecture_rebuild_the_network(chain: Chain, tmp_path: Path) -> None:
    network = trained(chain)
    done = export(network, chain, TASK, tmp_path / "network.safetensors", "safetensors")
    architecture = Architecture.from_json((tmp_path / "network.json").read_text())
    assert architecture == chain
    again = load_network(architecture, TASK, done.path)
    x = image(odd(network))
    assert torch.equal(again(x), network(x))


@pytest.mark.parametrize("scale", [2, 4])
def test_check_images_of_a_rescaler_keep_clear_of_its_rounding(scale: int) -> None:
    task = rescaling(scale)
    torch.manual_seed(0)
    network = build(Rescaler(8, (Block("rfdb"),), bound=16), task).eval().requires_grad_(False)
    assert isinstance(network, RescalerNetwork)
    for height, width in CHECK_SIZES:
        size = network.size_requirements.padded(height * scale, width * scale)
        assert network.distance_to_tie(check_image(network, task, size)) > 1e-4


@pytest.mark.parametrize("form", FORMATS)
def test_file_that_differs_is_not_kept(form: Format, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=f"the {form} file's output differs"):
        export(trained(SMALL), SMALL, TASK, tmp_path / "network", form, max_error=-1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["network.md", "network.json", "NETWORK.JSON"])
def test_files_beside_an_export_are_not_its_output(name: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / name
    with pytest.raises(
        ValueError, match=r"expected a network's file, e\.g\. \w+\.onnx, got the suffix \.\w+"
    ):
        export(trained(SMALL), SMALL, TASK, path, "onnx")
    with pytest.raises(ValueError, match="got the suffix"):
        format_of(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMATS)
def test_files_have_the_permissions_of_any_new_file(form: Format, tmp_path: Path) -> None:
    path = tmp_path / f"network.{form}"
    before = os.umask(0o027)
    try:
        export(trained(SMALL), SMALL, TASK, path, form)
    finally:
        os.umask(before)
    assert {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {
        path.name: 0o640,
        "network.json": 0o640,
    }


def test_failed_export_keeps_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    path.write_text("earlier")
    with pytest.raises(ExportError):
        export(trained(SMALL), SMALL, TASK, path, "safetensors", max_error=-1)
    assert path.read_text() == "earlier"


def test_weights_of_another_architecture_are_refused_by_tensor_name(tmp_path: Path) -> None:
    wider = Chain(10, SMALL.blocks)
    done = export(trained(wider), wider, TASK, tmp_path / "wider.safetensors", "safetensors")
    with pytest.raises(ExportError, match=r"blocks\.0\.conv1\.weight: expected \(8, 8, 3, 3\), got \(10, 10"):
        load_network(SMALL, TASK, done.path)


def test_missing_and_surplus_tensors_are_named(tmp_path: Path) -> None:
    tensors = trained(SMALL).state_dict()
    del tensors["head.bias"]
    save_file(tensors | {"tail.bias": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(
        ExportError, match=r"head\.bias: expected \(8,\), got None; tail\.bias: expected None"
    ):
        load_network(SMALL, TASK, tmp_path / "w.safetensors")


def test_a_damaged_weights_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"not safetensors" * 9)
    with pytest.raises(ExportError, match=r"weights\.safetensors: can't be read"):
        load_network(baseline("rfdn"), Task("sr-x4", scale=4), file)

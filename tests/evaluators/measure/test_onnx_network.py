"""An ONNX file runs in a network's place: ours, and files of others that say nothing of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from evaluators.inference.restoration import restore
from evaluators.measure.onnx_network import OnnxError, OnnxNetwork
from results.export.files import export
from spaces.architecture import Block
from spaces.build import build
from spaces.padding import run
from spaces.sizes import SizeRequirements
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

TASK = super_resolution(2)
NETWORK = Chain(width=8, blocks=(Block("rfdb"),))


def foreign(
    path: Path,
    *,
    size: tuple[Any, Any] = ("h", "w"),
    kind: int = TensorProto.FLOAT,
    scale: int = 2,
    channels: int = 3,
    squeeze: int = 1,
) -> Path:
    """One 3x3 convolution and a pixel shuffle, with no metadata.

    Args:
        squeeze: Pixels are first moved into channels by this, so that sides must be multiples of it.
    """
    random = np.random.default_rng(0)
    inner = channels * squeeze**2
    weight = random.normal(0, 0.1, (inner * scale**2, inner, 3, 3))
    nodes = [
        helper.make_node("SpaceToDepth", ["x"], ["s"], blocksize=squeeze),
        helper.make_node("Conv", ["s", "w"], ["y"], pads=[1, 1, 1, 1]),
        helper.make_node("DepthToSpace", ["y"], ["z"], blocksize=scale * squeeze, mode="CRD"),
    ]
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("x", kind, [1, channels, *size])],
        [helper.make_tensor_value_info("z", kind, None)],
        [numpy_helper.from_array(weight.astype(helper.tensor_dtype_to_np_dtype(kind)), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ours") / "m.onnx"
    torch.manual_seed(0)
    export(build(NETWORK, TASK).eval(), NETWORK, TASK, path, "onnx")
    return path


def test_our_file_knows_itself_and_gives_the_networks_output(ours: Path) -> None:
    torch.manual_seed(0)
    network = build(NETWORK, TASK).eval()
    file = OnnxNetwork(ours, threads=1)
    assert (file.scale, file.in_channels, file.out_channels, file.task) == (2, 3, 3, "sr-x2")
    assert file.architecture == NETWORK
    assert file.size_requirements == SizeRequirements(24, 1)
    assert file.fixed_size is None
    images = torch.rand(2, 3, 29, 41)
    with torch.inference_mode():
        assert (file(images) - network(images)).abs().max() < 1e-5


def test_an_image_smaller_than_the_file_takes_is_padded(ours: Path) -> None:
    (output,) = restore(OnnxNetwork(ours), [np.zeros((5, 7, 3), np.uint8)], scale=2)
    assert output.shape == (10, 14, 3)


def test_of_a_foreign_file_scale_and_channels_are_found(tmp_path: Path) -> None:
    file = OnnxNetwork(foreign(tmp_path / "f.onnx", scale=3, channels=4))
    assert (file.scale, file.in_channels, file.out_channels) == (3, 4, 4)
    assert (file.task, file.architecture) == (None, None)
    assert file.size_requirements == SizeRequirements(16, 1)


@pytest.mark.parametrize("multiple", [2, 8])
def test_multiples_that_a_foreign_file_needs_are_found_and_padded_to(tmp_path: Path, multiple: int) -> None:
    file = OnnxNetwork(foreign(tmp_path / "f.onnx", squeeze=multiple))
    assert file.size_requirements == SizeRequirements(16, multiple)
    assert run(file, torch.rand(1, 3, 17, 30), scale=2).shape == (1, 3, 34, 60)


def test_half_precision_is_taken_and_given_back_as_float32(tmp_path: Path) -> None:
    half = OnnxNetwork(foreign(tmp_path / "half.onnx", kind=TensorProto.FLOAT16))
    whole = OnnxNetwork(foreign(tmp_path / "whole.onnx"))
    image = torch.rand(1, 3, 20, 20)
    assert half(image).dtype == torch.float32
    assert (half(image) - whole(image)).abs().max() < 0.01


def test_a_fixed_size_is_padded_to_and_cropped_again(tmp_path: Path) -> None:
    fixed = OnnxNetwork(foreign(tmp_path / "fixed.onnx", size=(32, 48)))
    free = OnnxNetwork(foreign(tmp_path / "free.onnx"))
    assert fixed.fixed_size == (32, 48)
    image = torch.rand(1, 3, 20, 30)
    output = run(fixed, image, scale=2)
    assert output.shape == (1, 3, 40, 60)
    assert torch.allclose(output[..., :-2, :-2], free(image)[..., :-2, :-2], atol=1e-6)
    with pytest.raises(OnnxError, match="takes only 32x48, got 33x30"):
        fixed(torch.rand(1, 3, 33, 30))


def test_a_size_that_the_file_fails_at_is_named(ours: Path) -> None:
    with pytest.raises(OnnxError, match=r"m\.onnx: can't take an input of \(1, 4, 32, 32\)"):
        OnnxNetwork(ours)(torch.rand(1, 4, 32, 32))


def model_of(nodes: list[Any], inputs: list[Any], outputs: list[str]) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "g", inputs, values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def image_input(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


UNFIT = {
    "two inputs": (
        model_of(
            [helper.make_node("Add", ["a", "b"], ["c"])],
            [image_input("a", [1, 3, "h", "w"]), image_input("b", [1, 3, "h", "w"])],
            ["c"],
        ),
        "one image .* in and one out, got in: a .*, b ",
    ),
    "a vector": (
        model_of([helper.make_node("Relu", ["a"], ["c"])], [image_input("a", [1, 3])], ["c"]),
        "expected one image",
    ),
    "whole numbers": (
        model_of(
            [helper.make_node("Cast", ["a"], ["c"], to=TensorProto.FLOAT)],
            [image_input("a", [1, 3, "h", "w"], TensorProto.UINT8)],
            ["c"],
        ),
        r"floating point, got tensor\(uint8\)",
    ),
    "a classifier": (
        model_of(
            [helper.make_node("GlobalAveragePool", ["a"], ["c"])], [image_input("a", [1, 3, "h", "w"])], ["c"]
        ),
        r"1, 2, \.\.\. times as large out, got \(1, 3, 1, 1\)",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_restores_no_image_is_refused(tmp_path: Path, case: str) -> None:
    model, message = UNFIT[case]
    onnx.save(model, tmp_path / "f.onnx")
    with pytest.raises(OnnxError, match=message):
        OnnxNetwork(tmp_path / "f.onnx")


def test_no_file_and_junk(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match=r"no\.onnx: no such file"):
        OnnxNetwork(tmp_path / "no.onnx")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(OnnxError, match=r"junk\.onnx: can't be opened as ONNX"):
        OnnxNetwork(tmp_path / "junk.onnx")


@pytest.mark.parametrize(("key", "value"), [("architecture", '{"width": 8}'), ("minimum_size", "small")])
def test_metadata_that_export_did_not_write_is_told_with_the_file(
    ours: Path, key: str, value: str, tmp_path: Path
) -> None:
    model = onnx.load(ours)
    next(each for each in model.metadata_props if each.key == key).value = value
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(OnnxError, match=r"m\.onnx: its metadata isn't what 'pixelfront export' writes"):
        OnnxNetwork(tmp_path / "m.onnx")

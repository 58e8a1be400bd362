"""What an ONNX file computes is counted from its graph, and agrees with what the network's parts cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from evaluators.measure.onnx_cost import onnx_cost
from results.export.files import export
from results.export.quantisation import quantise
from spaces.architecture import Architecture, Block
from spaces.build import build, cost
from spaces.cost import Cost
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

TASK = super_resolution(2)
SIZE = (40, 56)
NETWORKS: dict[str, Architecture] = {
    "esa, which interpolates to its input's size": Chain(width=8, blocks=(Block("rfdb"), Block("imdb"))),
    "grouped convolutions": Chain(width=8, blocks=(Block("ghost"),)),
    "transposed convolutions": Chain(width=8, blocks=(Block("residual"),), upsampler=Block("transposed")),
}


def exported(network: Architecture, path: Path) -> Path:
    torch.manual_seed(0)
    export(build(network, TASK).eval(), network, TASK, path, "onnx")
    return path


@pytest.mark.parametrize("case", NETWORKS)
def test_the_graph_counts_as_the_parts_do(tmp_path: Path, case: str) -> None:
    expected = cost(NETWORKS[case], TASK, size=SIZE)
    found = onnx_cost(exported(NETWORKS[case], tmp_path / "m.onnx"), (1, 3, *SIZE))
    assert found.uncounted == ()
    # A graph has no modules: activation functions count too.
    assert found.cost == replace(expected, activation_ops=found.cost.activation_ops)
    assert found.cost.activation_ops >= expected.activation_ops


def test_a_quantised_file_has_as_many_parameters_and_macs(tmp_path: Path) -> None:
    network = Chain(width=8, blocks=(Block("residual"),))
    plain = exported(network, tmp_path / "m.onnx")
    images = [np.random.default_rng(0).random((1, 3, 24, 24), dtype=np.float32)]
    quantise(plain, tmp_path / "int8.onnx", images, lambda _run: 0.0)
    before, after = (onnx_cost(tmp_path / name, (1, 3, *SIZE)).cost for name in ("m.onnx", "int8.onnx"))
    assert before.parameters == cost(network, TASK, size=SIZE).parameters
    # A ReLU that the next quantiser's clamping does too is gone.
    assert after == replace(before, activation_ops=after.activation_ops)


def test_matrix_products_count_and_foreign_operators_are_named(tmp_path: Path) -> None:
    numbers = np.zeros((6, 5), np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Einsum", ["y", "v"], ["z"], equation="abij,jk->abik"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", 6])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(numbers, "w"), numpy_helper.from_array(numbers[:5, :4], "v")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "f.onnx")
    found = onnx_cost(tmp_path / "f.onnx", (1, 3, 10, 6))
    assert found.uncounted == ("Einsum",)
    out = 3 * 10 * 5
    assert found.cost == Cost(macs=out * 6, parameters=30 + 20, activations=out)

"""Counts what an ONNX file computes, by the rules of ``spaces.cost``.

The graph is run once, cut down to the shapes of what its convolutions and matrix products take and give: exact
where shapes follow from other shapes, which onnx's own inference leaves open (ESA's interpolation does that).

What differs from counting our own networks: a graph doesn't tell activation modules from functions, so all
activation nodes count in the ``challenge`` convention; and constants that a network computes with are stored numbers
like its weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from evaluators.measure.onnx_network import open_session
from spaces.cost import Cost, resizing_ops, total

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_ACTIVATIONS = ("Relu", "LeakyRelu", "PRelu", "Elu")
_NORMS = ("BatchNormalization", "InstanceNormalization", "LayerNormalization")
# What may hold multiplications that aren't counted, beside all operators that aren't ONNX's own.
_UNCOUNTED = (
    "Attention",
    "ConvInteger",
    "DeformConv",
    "Einsum",
    "GRU",
    "If",
    "LSTM",
    "Loop",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "RNN",
    "Scan",
)
# Inputs that say how to compute, not what with: sizes, scales, zero points.
_SETTINGS = {
    "Clip": (1, 2),
    "DequantizeLinear": (1, 2),
    "Pad": (1, 2, 3),
    "QuantizeLinear": (1, 2),
    "Resize": (1, 2, 3),
}
_STORED = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True)
class GraphCost:
    """What one pass of a file costs.

    Attributes:
        uncounted: Operators that may multiply and aren't counted; with any, only ``cost.parameters`` is whole.
    """

    cost: Cost
    uncounted: tuple[str, ...] = ()


def onnx_cost(path: Path, shape: tuple[int, int, int, int]) -> GraphCost:
    """The cost of one pass at an input of (N, C, H, W).

    Raises: OnnxError: if the file can't be opened, or not run at that size.
    """
    model = onnx.load(path)
    counted_types = (*_PRODUCTS, *_ACTIVATIONS, *_NORMS, "Resize")
    nodes = [node for node in model.graph.node if node.op_type in counted_types]
    shapes = _shapes(model, {name for node in nodes for name in _measured(node)}, shape)
    counted = total(_node_cost(node, shapes) for node in nodes)
    cost = total([counted, Cost(parameters=_stored_numbers(model))])
    foreign = {
        n.op_type for n in model.graph.node if n.domain not in ("", "ai.onnx") or n.op_type in _UNCOUNTED
    }
    return GraphCost(cost, tuple(sorted(foreign)))


def _measured(node: NodeProto) -> tuple[str, ...]:
    """Tensors whose shapes the count needs."""
    return (*node.input[:2], node.output[0]) if node.op_type in _PRODUCTS else (node.output[0],)


def _shapes(
    model: ModelProto, names: set[str], shape: tuple[int, int, int, int]
) -> dict[str, tuple[int, ...]]:
    """The shapes of these tensors in a pass at that input."""
    asked = sorted(names)
    if not asked:
        return {}
    image = next(x for x in model.graph.input if x.name not in {t.name for t in model.graph.initializer})
    del model.graph.output[:]
    for i, name in enumerate(asked):
        model.graph.node.append(helper.make_node("Shape", [name], [f"_shape_{i}"]))
        model.graph.output.append(helper.make_tensor_value_info(f"_shape_{i}", TensorProto.INT64, None))
    kind = helper.tensor_dtype_to_np_dtype(image.type.tensor_type.elem_type)
    session = open_session(model.SerializeToString())
    found = session.run(None, {image.name: np.zeros(shape, kind)})
    return {name: tuple(int(n) for n in size) for name, size in zip(asked, found, strict=True)}


def _node_cost(node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> Cost:
    out = prod(shapes[node.output[0]])
    if node.op_type in _ACTIVATIONS:
        return Cost(activation_ops=out)
    if node.op_type == "Resize":
        mode = next((a.s.decode() for a in node.attribute if a.name == "mode"), "nearest")
        return Cost(fvcore_ops=resizing_ops({"linear": "bilinear"}.get(mode, mode)) * out)
    if node.op_type in _NORMS:
        return Cost(fvcore_ops=(2 if node.op_type == "BatchNormalization" else 5) * out)
    first, second = shapes[node.input[0]], shapes[node.input[1]]
    biased = out if len(node.input) > 2 and node.input[2] else 0
    if node.op_type == "MatMul":
        return Cost(macs=out * first[-1], activations=out)
    if node.op_type == "Gemm":
        inner = first[0] if _attribute(node, "transA", 0) else first[1]
        return Cost(macs=out * inner, activations=out, bias_ops=biased)
    # As in spaces.cost: all behind a weight's first dimension is applied per element of that dimension's map.
    transposed = node.op_type == "ConvTranspose"
    macs = (prod(first) if transposed else out) * prod(second[1:])
    on_output = out * second[0] // _attribute(node, "group", 1) * prod(second[2:]) if transposed else macs
    return Cost(
        macs=macs, activations=out, convolutions=1, transposed_excess=on_output - macs, bias_ops=biased
    )


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((a.i for a in node.attribute if a.name == name), default)


def _stored_numbers(model: ModelProto) -> int:
    """Elements of the weights: constants with an axis, in floating point or dequantised."""
    constants = {t.name: t for t in model.graph.initializer} | dict(_constant_nodes(model))
    settings = {
        node.input[i]
        for node in model.graph.node
        for i in _SETTINGS.get(node.op_type, ())
        if i < len(node.input)
    }
    quantised = {node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return sum(
        prod(tensor.dims)
        for name, tensor in constants.items()
        if tensor.dims and name not in settings and (tensor.data_type in _STORED or name in quantised)
    )


def _constant_nodes(model: ModelProto) -> Iterator[tuple[str, TensorProto]]:
    for node in model.graph.node:
        if node.op_type == "Constant":
            yield from ((node.output[0], a.t) for a in node.attribute if a.name == "value")

"""Builds and costs ``spaces.topologies.pruned.Pruned``: the base's network with smaller layers.

It relies on a rule that all our modules keep: how many channels go where is read from the layers, not remembered
from the constructor's arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from spaces.build import build
from spaces.build import parts as parts_of
from spaces.layers.convolutions import MergeableConvolution
from spaces.layers.weight_norm import WeightNormConv2d
from spaces.parts import Network, Part
from spaces.task import Task
from spaces.topologies.pruned import Pruned

Shapes = Mapping[str, tuple[int, ...]]


def network(architecture: Pruned, task: Task) -> Network:
    """A new network with weights from torch's global generator.

    Raises: ValueError: if the shapes aren't those of a network pruned from the base.
    """
    return cast(Network, shrink(build(architecture.base, task), dict(architecture.shapes)))


def shrink(module: nn.Module, shapes: Shapes) -> nn.Module:
    """The module with the named tensors cut to their first elements, in place.

    Raises: ValueError: for a name that it hasn't, or a shape that is no part of the tensor's.
    """
    tensors: dict[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, shape in shapes.items():
        if name not in tensors:
            raise ValueError(f"'shapes' names a tensor '{name}', which the base network doesn't have")
        have = tuple(tensors[name].shape)
        if len(shape) != len(have) or not all(1 <= n <= m for n, m in zip(shape, have, strict=True)):
            raise ValueError(
                f"'shapes': '{name}' is of {have} in the base network; expected less, got {shape}"
            )
    for path, owner in module.named_modules():
        prefix = f"{path}." if path else ""
        own = [n for n in (*owner._parameters, *owner._buffers) if prefix + n in shapes]
        for name in own:
            _cut(owner, name, shapes[prefix + name])
    for path, owner in module.named_modules():
        if any(name.startswith(f"{path}." if path else "") for name in shapes):
            _correct(owner)
    return module


def _cut(owner: nn.Module, name: str, shape: tuple[int, ...]) -> None:
    tensor = getattr(owner, name)
    part = tensor.detach()[tuple(slice(n) for n in shape)].clone()
    if isinstance(tensor, nn.Parameter):
        setattr(owner, name, nn.Parameter(part, requires_grad=tensor.requires_grad))
    else:
        owner._buffers[name] = part


# What torch's layers and ours keep of their tensors' shapes.


def _convolution(layer: nn.Conv2d) -> None:
    weight = layer.weight_v if isinstance(layer, WeightNormConv2d) else layer.weight
    layer.groups = min(layer.groups, weight.shape[0])  # depthwise ones go with their channels, others stay
    layer.out_channels, layer.in_channels = weight.shape[0], weight.shape[1] * layer.groups


def _transposed(layer: nn.ConvTranspose2d) -> None:
    layer.in_channels, layer.out_channels = layer.weight.shape[0], layer.weight.shape[1] * layer.groups


def _linear(layer: nn.Linear) -> None:
    layer.out_features, layer.in_features = layer.weight.shape


def _mergeable(layer: MergeableConvolution) -> None:
    if hasattr(layer, "bias"):  # of kernel bases: (bases, out_channels)
        layer.out_channels = cast(Tensor, layer.bias).shape[-1]
    with torch.no_grad():
        weight, _ = layer.merged_tensors()
    layer.groups = min(layer.groups, weight.shape[0])
    layer.out_channels, layer.in_channels = weight.shape[0], weight.shape[1] * layer.groups


def _channel_norm(layer: nn.InstanceNorm2d | nn.BatchNorm2d) -> None:
    layer.num_features = layer.weight.shape[0]


def _layer_norm(layer: nn.LayerNorm) -> None:
    layer.normalized_shape = tuple(layer.weight.shape)


def _prelu(layer: nn.PReLU) -> None:
    layer.num_parameters = layer.weight.shape[0]


_CORRECTIONS: tuple[tuple[Any, Callable[[Any], None]], ...] = (
    (MergeableConvolution, _mergeable),
    (nn.Conv2d, _convolution),
    (nn.ConvTranspose2d, _transposed),
    (nn.Linear, _linear),
    ((nn.InstanceNorm2d, nn.BatchNorm2d), _channel_norm),
    (nn.LayerNorm, _layer_norm),
    (nn.PReLU, _prelu),
)


def _correct(owner: nn.Module) -> None:
    for kind, correction in _CORRECTIONS:
        if isinstance(owner, kind):
            correction(owner)


def parts(architecture: Pruned, task: Task) -> dict[str, Part]:
    """The network's parts by name, in forward order.

    Raises: ValueError: if the shapes aren't those of a network pruned from the base.
    """
    return dict(_parts(architecture, task))


@lru_cache(maxsize=1024)
def _parts(architecture: Pruned, task: Task) -> dict[str, Part]:
    base = parts_of(architecture.base, task)
    channels = _inputs(architecture, task, tuple(base))
    found = {}
    for name, part in base.items():
        prefix = f"{name}."
        own = tuple((n.removeprefix(prefix), s) for n, s in architecture.shapes if n.startswith(prefix))
        found[name] = (
            replace(part, create=_shrunken, arguments=(part, own), options=(), channels=channels[name])
            if own
            else replace(part, channels=channels[name])
        )
    return found


def _shrunken(part: Part, shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> nn.Module:
    return shrink(part.build(), dict(shapes))


def _inputs(architecture: Pruned, task: Task, names: tuple[str, ...]) -> dict[str, int]:
    """Channels of each part's input.

    Raises: ValueError: if the layers don't fit to each other.
    """
    with torch.device("meta"):
        whole = network(architecture, task).eval()
    found: dict[str, int] = {}

    def noting(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def note(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            found[name] = inputs[0].shape[1]

        return note

    for name in names:
        whole.get_submodule(name).register_forward_pre_hook(noting(name))
    size = whole.size_requirements.padded(*task.cost_input[1:])
    try:
        with torch.no_grad():
            whole(torch.empty(1, task.in_channels, *size, device="meta"))
    except RuntimeError as error:
        raise ValueError(f"'shapes': the layers don't fit to each other: {error}") from None
    return found

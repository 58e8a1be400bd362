"""Exact cost of an architecture at a stated input size, without training or allocating it.

A network is made of parts (``spaces.parts``). Each distinct part is run once on the meta device, its
operations are counted, and the result is remembered: the cost of an architecture is then a sum.

What is counted, per forward pass of one image:

- MACs: convolutions, transposed convolutions (on their *input* grid), linear layers and matrix products
  (all leading dimensions). Without bias; interpolation, pooling, normalisation, sums and products of maps
  cost nothing.
- activations: output elements of the same operations; convolutions: calls of (transposed) convolutions.
- parameters: as stored, bias included.

Conventions turn a cost into the GMACs that a table quotes:

- ``exact``: the MACs above.
- ``challenge``: what the counting script of AIM 2020 and the NTIRE efficient-SR challenges reports as
  "FLOPs" (until 2023): one more operation per output element of every activation *module* of type ReLU, LeakyReLU,
  PReLU, ELU or ReLU6 (functions are not seen), and transposed convolutions charged on their *output* grid.
- ``bias``: with one addition per output element that has a bias (torchinfo, NTIRE 2022 HDR).
- ``fvcore``: fvcore's FlopCountAnalysis (https://github.com/facebookresearch/fvcore, Apache-2.0), which NTIRE's
  efficient-SR tables quote from 2024 on: 4 more operations per output element of a bilinear resizing, 1 of a nearest
  one, 1 per input element of an adaptive average pooling *module*, and 5 per input element of a normalisation (4
  without scale and shift; a batch normalisation in evaluation 2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from math import prod
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from spaces.measurement import CONVENTIONS as CONVENTIONS
from spaces.measurement import Convention as Convention

CHARGED_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.ReLU6)
_aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Cost:
    """Counts for one forward pass; ``total`` adds them.

    Attributes:
        macs: Multiply-accumulates, without bias.
        parameters: Stored numbers.
        activations: Output elements of convolutions, linear layers and matrix products.
        convolutions: Calls of (transposed) convolutions.
        activation_ops: Output elements of activation modules that the challenges charge.
        transposed_excess: What charging transposed convolutions on the output grid adds.
        bias_ops: Output elements that a bias is added to.
        fvcore_ops: What fvcore charges beside the MACs, for resizing, pooling and normalisation.
    """

    macs: int = 0
    parameters: int = 0
    activations: int = 0
    convolutions: int = 0
    activation_ops: int = 0
    transposed_excess: int = 0
    bias_ops: int = 0
    fvcore_ops: int = 0

    def operations(self, convention: Convention = "exact") -> int:
        """MACs as the convention counts them.

        Raises: ValueError: for an unknown convention.
        """
        if convention == "exact":
            return self.macs
        if convention == "challenge":
            return self.macs + self.activation_ops + self.transposed_excess
        if convention == "bias":
            return self.macs + self.bias_ops
        if convention == "fvcore":
            return self.macs + self.fvcore_ops
        raise ValueError(f"a convention is one of {', '.join(CONVENTIONS)}, got '{convention}'")

    def gmacs(self, convention: Convention = "exact") -> float:
        """``operations`` in units of 10^9."""
        return self.operations(convention) / 1e9


_counts = attrgetter(*(field.name for field in fields(Cost)))


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of the costs; 0 of everything for none."""
    return Cost(*map(sum, zip(*map(_counts, costs), strict=True)))


class _Counter(TorchDispatchMode):
    """Adds up the operations that run while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = dict.fromkeys((f.name for f in fields(Cost)), 0)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        rule = _RULES.get(func.overloadpacket)
        if rule is not None:
            for name, amount in rule(args, out).items():
                self.counts[name] += amount
        return out


def _convolution(args: tuple[Any, ...], out: Tensor) -> dict[str, int]:
    x, weight, bias, transposed = args[0], args[1], args[2], args[6]
    # A transposed weight is (in, out/groups, k, k), a plain one (out, in/groups, k, k): either way
    # everything behind the first dimension is applied per element of the first dimension's map.
    per_element = prod(weight.shape[1:])
    counts = {"macs": (x if transposed else out).numel() * per_element}
    if transposed:
        # The scripts charge k*k * Cin/groups per output element; Cout/groups = weight.shape[1].
        on_output = out.numel() * weight.shape[0] // args[8] * prod(weight.shape[2:])
        counts["transposed_excess"] = on_output - counts["macs"]
    return counts | {
        "activations": out.numel(),
        "convolutions": 1,
        "bias_ops": 0 if bias is None else out.numel(),
    }


def _product(args: tuple[Any, ...], out: Tensor) -> dict[str, int]:
    return {"macs": out.numel() * args[-1].shape[-2], "activations": out.numel()}


def _biased_product(args: tuple[Any, ...], out: Tensor) -> dict[str, int]:
    return _product(args, out) | {"bias_ops": out.numel()}


def _dot(args: tuple[Any, ...], out: Tensor) -> dict[str, int]:
    return {"macs": args[0].numel(), "activations": 1}


def _layer_norm(args: tuple[Any, ...], out: Any) -> dict[str, int]:
    return {"fvcore_ops": (4 if args[2] is None else 5) * args[0].numel()}


def _batch_norm(args: tuple[Any, ...], out: Any) -> dict[str, int]:
    """Also what instance normalisation runs as, with the statistics of its input."""
    plain = args[1] is None
    each = (4 if plain else 5) if args[5] else (1 if plain else 2)
    return {"fvcore_ops": each * args[0].numel()}


def _resized(mode: str) -> Callable[[tuple[Any, ...], Tensor], dict[str, int]]:
    return lambda args, out: {"fvcore_ops": resizing_ops(mode) * out.numel()}


def resizing_ops(mode: str) -> int:
    """What fvcore charges per output element of a resizing in a mode of ``torch.nn.functional.interpolate``."""
    return {"bilinear": 4, "nearest": 1}.get(mode, 0)


_RULES: dict[Any, Callable[[tuple[Any, ...], Any], dict[str, int]]] = {
    _aten.convolution: _convolution,
    _aten.dot: _dot,  # what a matrix product of one row and one column may run as
    _aten.mm: _product,
    _aten.bmm: _product,
    _aten.addmm: _biased_product,
    _aten.baddbmm: _biased_product,
    _aten.upsample_bilinear2d: _resized("bilinear"),
    _aten.upsample_nearest2d: _resized("nearest"),
    _aten.native_layer_norm: _layer_norm,
    _aten.native_batch_norm: _batch_norm,
}


def count(module: nn.Module, *inputs: Tensor) -> Cost:
    """The cost of one forward pass of a module on the meta device, and of its parameters.

    Args:
        module: On the meta device.
        inputs: On the meta device, with a batch of 1.
    """
    counter = _Counter()

    def charge(_module: nn.Module, _args: Any, out: Tensor) -> None:
        counter.counts["activation_ops"] += out.numel()

    def charge_pooling(_module: nn.Module, args: Any, _out: Tensor) -> None:
        counter.counts["fvcore_ops"] += args[0].numel()

    charges = ((CHARGED_ACTIVATIONS, charge), (nn.AdaptiveAvgPool2d, charge_pooling))
    hooks = [
        m.register_forward_hook(rule)
        for kind, rule in charges
        for m in module.modules()
        if isinstance(m, kind)
    ]
    try:
        with torch.no_grad(), counter:
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    counter.counts["parameters"] = sum(p.numel() for p in module.parameters())
    return Cost(**counter.counts)

"""Activation functions by name."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from spaces.registry import UnknownNameError

PAPER = "paper"  # each part keeps the activation of its paper
_MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "hswish": nn.Hardswish,  # MobileNetV3's
    "prelu": nn.PReLU,  # one learned slope per module
}
_LEAKY = re.compile(r"lrelu(0\.\d+)")
NAMES = ("relu", "lrelu0.05", "lrelu0.1", "lrelu0.2", "silu", "gelu", "hswish", "prelu")


def activation(name: str, *, paper: str) -> nn.Module:
    """A new activation module.

    Args:
        name: ``relu``, ``lrelu<slope>`` (e.g. ``lrelu0.05``), ``silu``, ``gelu``,
            ``hswish``, ``prelu`` (one learned slope), or ``paper``.
        paper: What ``paper`` stands for here.

    Raises: ValueError: for another name.
    """
    name = paper if name == PAPER else name
    if leaky := _LEAKY.fullmatch(name):
        return nn.LeakyReLU(float(leaky[1]))
    if name not in _MODULES:
        raise UnknownNameError("activation", name, [PAPER, *NAMES])
    return _MODULES[name]()


def activation_function(name: str, *, paper: str) -> Callable[[Tensor], Tensor]:
    """The same as a plain function where there is one: the challenges' counting rule charges modules only.

    Keep it as an attribute of a module: ``prelu`` has a parameter.
    """
    name = paper if name == PAPER else name
    if leaky := _LEAKY.fullmatch(name):
        slope = float(leaky[1])
        return lambda x: functional.leaky_relu(x, slope)
    return {"relu": functional.relu}.get(name) or activation(name, paper=paper)

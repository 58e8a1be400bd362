"""What a search can go for, and what it may not exceed: objectives by name, and limits as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from spaces.measurement import Direction, Measurement


@dataclass(frozen=True)
class Kind:
    """What a name stands for.

    Attributes:
        metric: The measurement's name; empty where the study's own metric decides (``psnr_y`` or ``psnr_rgb``).
        unit: That values are told and shown in.
        scale: One of that unit in the measurement's.
        suffixes: What may follow a limit's number, in lower case, to its factor in ``unit``.
    """

    metric: str
    unit: str
    scale: float
    direction: Direction
    suffixes: dict[str, float]


_COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
KINDS = {
    "psnr": Kind("", "dB", 1.0, "max", {"": 1.0, "db": 1.0}),
    "ssim": Kind("", "", 1.0, "max", {"": 1.0}),
    "gmacs": Kind("macs", "GMACs", 1e9, "min", {"": 1.0, "g": 1.0, "m": 1e-3}),
    "parameters": Kind("parameters", "", 1.0, "min", _COUNTS),
    "activations": Kind("activations", "", 1.0, "min", _COUNTS),
    "latency": Kind("latency_ms", "ms", 1.0, "min", {"": 1.0, "ms": 1.0, "s": 1e3, "us": 1e-3}),
    "memory": Kind(
        "peak_memory_bytes",
        "MB",
        1e6,
        "min",
        {"": 1.0, "mb": 1.0, "gb": 1e3, "kb": 1e-3, "mib": 1.048576, "gib": 1073.741824},
    ),
}
QUALITIES = ("psnr", "ssim")  # known of a trained network only
COSTS = ("gmacs", "parameters", "activations")  # exact and free
RUNTIMES = ("latency", "memory")  # measured on a device, of a network that needn't be trained
DEFAULT = ("psnr", "gmacs")


@dataclass(frozen=True)
class Objective:
    """One thing that a study goes for or limits, under one protocol.

    Attributes:
        name: Of KINDS.
        metric, protocol: What measurements of it are called.
    """

    name: str
    metric: str
    protocol: str

    @property
    def kind(self) -> Kind:
        """What the name stands for."""
        return KINDS[self.name]

    @property
    def direction(self) -> Direction:
        """Whether higher or lower is better."""
        return self.kind.direction

    @property
    def key(self) -> tuple[str, str]:
        """(metric, protocol), as of ``Measurement.key``."""
        return self.metric, self.protocol

    @property
    def heading(self) -> str:
        """The metric with its unit: ``psnr_y [dB]``, ``GMACs``, ``latency [ms]``."""
        if self.name == "gmacs":
            return "GMACs"
        label = self.metric if self.name in QUALITIES else self.name
        return f"{label} [{self.kind.unit}]" if self.kind.unit else label

    def find(self, measurements: Iterable[Measurement]) -> float | None:
        """The value in the objective's unit; None if it wasn't measured."""
        found = next((m.value for m in measurements if m.key == self.key), None)
        return None if found is None else found / self.kind.scale


@dataclass(frozen=True)
class Limit:
    """The worst that a network may have of something: an upper limit on costs and runtimes, a lower one on quality."""

    name: str
    bound: float

    def __str__(self) -> str:
        """As ``parse_limit`` reads it."""
        sign = ">=" if KINDS[self.name].direction == "max" else "<="
        unit = "" if self.name == "gmacs" else KINDS[self.name].unit
        return f"{self.name}{sign}{self.bound:.10g}{unit}"

    def met(self, value: float) -> bool:
        """Whether a value in the name's unit is within the limit."""
        return value >= self.bound if KINDS[self.name].direction == "max" else value <= self.bound


def parse_limit(text: str) -> Limit:
    """A limit from ``latency<=30ms``, ``parameters<=500k``, ``psnr>=28`` or ``memory<=200MB``.

    Raises: ValueError: for another form, name, unit or direction; says what was expected.
    """
    found = re.fullmatch(r"\s*(\w+)\s*(<=|>=)\s*([0-9.]+(?:e[+-]?\d+)?)\s*([a-zA-Z]*)\s*", text)
    if found is None:
        raise ValueError(
            f"expected a limit such as latency<=30ms, parameters<=500k, psnr>=28 or memory<=200MB, got '{text}'"
        )
    name, sign, number, suffix = found.groups()
    check_name(name)
    kind = KINDS[name]
    wanted = ">=" if kind.direction == "max" else "<="
    if sign != wanted:
        band = "; for a band of GMACs there is --gmacs A:B" if name == "gmacs" else ""
        raise ValueError(f"expected {name}{wanted}VALUE, as {name} is limited that way, got '{text}'{band}")
    if suffix.lower() not in kind.suffixes:
        known = ", ".join(each for each in kind.suffixes if each)
        raise ValueError(f"'{text}': expected {name} with {known or 'no unit'}, got '{suffix}'")
    try:
        bound = float(number) * kind.suffixes[suffix.lower()]
    except ValueError:
        raise ValueError(f"'{text}': expected a number, got '{number}'") from None
    if bound <= 0:
        raise ValueError(f"'{text}': expected a limit above 0")
    return Limit(name, bound)


def check_name(name: str) -> None:
    """Nothing, if an objective or limit may be called so.

    Raises: ValueError: else, with the known names.
    """
    if name not in KINDS:
        raise ValueError(f"unknown objective '{name}': expected any of {', '.join(KINDS)}")

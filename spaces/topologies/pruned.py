"""Pruned networks: another architecture with fewer channels, layer by layer.

Torch-free: ``spaces.topologies.pruned_network`` builds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spaces.architecture import Architecture


@dataclass(frozen=True)
class Pruned(Architecture):
    """An architecture whose layers are narrower than its own options could say.

    Attributes:
        base: What was pruned; not itself pruned.
        shapes: (name, shape) of each parameter and buffer that is smaller than the base's, by name.
    """

    topology: ClassVar[str] = "pruned"

    base: Architecture
    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    def __post_init__(self) -> None:
        if isinstance(self.base, Pruned):
            raise ValueError(
                "'base' of a pruned architecture is the one it was first pruned from, got a pruned one"
            )
        names = [name for name, _ in self.shapes]
        if names != sorted(set(names)):
            raise ValueError("'shapes' names every tensor once, in alphabetical order")

    @property
    def label(self) -> str:
        """The base's, marked; networks pruned to different costs share it."""
        return f"pruned {self.base.label}"


def unpruned(architecture: Architecture) -> Architecture:
    """The architecture itself, or what it was pruned from: has the options that its layers are told by."""
    return architecture.base if isinstance(architecture, Pruned) else architecture

"""The rescaler topology: an image is made small to be stored, and a chain makes it large again; both are learned.

"Invertible Image Rescaling", Xiao et al., 2020, https://arxiv.org/abs/2005.05650, is where the task comes from (code:
https://github.com/pkuxmq/Invertible-Image-Rescaling, Apache-2.0; none of it is used).
Deviations: not invertible. The small image is MATLAB's bicubic one plus what a small network adds, at most ``bound``
of 255 levels per value: where IRN's guidance loss asks for a small image like the bicubic one, this one can't leave it.

Torch-free: the description and its decoding from genes. ``spaces.topologies.rescaler_network`` builds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from spaces.architecture import Leaf
from spaces.topologies import chain
from spaces.topologies.chain import MAXIMUM_WIDTH, MINIMUM_WIDTH, Chain

MAXIMUM_BOUND = 255
MAXIMUM_DOWN_DEPTH = 16


@dataclass(frozen=True)
class Rescaler(Chain):
    """A down-scaler and a chain that enlarges what it gives; the fields of ``Chain`` are the chain's.

    Attributes:
        down_width: Channels of the down-scaler, from 4 to 4096; it works at the small image's size.
        down_depth: Its 3x3 convolutions that are followed by an activation, from 1 to 16; one more makes the image.
        bound: How far a value of the small image may be from the bicubic one, in levels of 255, from 1 to 255.
    """

    topology: ClassVar[str] = "rescaler"

    down_width: int = 16
    down_depth: int = 1
    bound: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least, most in (
            ("down_width", MINIMUM_WIDTH, MAXIMUM_WIDTH),
            ("down_depth", 1, MAXIMUM_DOWN_DEPTH),
            ("bound", 1, MAXIMUM_BOUND),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"'{name}' is from {least} to {most}, got {getattr(self, name)}")

    @property
    def label(self) -> str:
        """The down-scaler, then the chain's label, e.g. ``down 1x16 within 8, up 4x32 rfdb*4, pixelshuffle``."""
        return f"down {self.down_depth}x{self.down_width} within {self.bound}, up {super().label}"


_OWN = ("down_width", "down_depth", "bound")


def decode(genes: Mapping[str, Leaf]) -> Rescaler:
    """The rescaler that the genes describe: a chain's, and optionally ``down_width``, ``down_depth``, ``bound``."""
    up = chain.decode(genes)
    given: dict[str, Any] = {field.name: getattr(up, field.name) for field in fields(up)}
    given.update((name, genes[name]) for name in _OWN if name in genes)
    return Rescaler(**given)

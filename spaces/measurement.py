"""A number that says how it was taken.

No number leaves an evaluator without its unit, direction and protocol. Two measurements may be
compared only if their ``key`` is equal: the same metric under the same protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["max", "min"]
Colour = Literal["rgb", "y"]
Convention = Literal["exact", "challenge", "bias", "fvcore"]  # how MACs are counted; ``spaces.cost`` explains
CONVENTIONS: tuple[Convention, ...] = ("exact", "challenge", "bias", "fvcore")


@dataclass(frozen=True)
class Protocol:
    """How image quality is scored.

    Attributes:
        colour: ``rgb``: over the three channels; ``y``: luma of BT.601, kept in floating point.
        border: Pixels cropped per side before scoring; super-resolution uses its scale.
        bits: The output is clamped and rounded to this depth before scoring.
        data: Name of the image set.
        data_digest: Content digest of the image set.
    """

    colour: Colour
    border: int
    data: str
    data_digest: str
    bits: int = 8

    def __str__(self) -> str:
        """Canonical text, e.g. ``Y, 8-bit, border 4, on set5 (1a2b3c4d5e6f)``."""
        return f"{self.colour.upper()}, {self.bits}-bit, border {self.border}, on {self.data} ({self.data_digest})"


@dataclass(frozen=True)
class Measurement:
    """One number with its unit, direction and protocol.

    Attributes:
        name: What was measured: ``psnr_y``, ``ssim_rgb``, ``macs``, ``parameters``, ...
        unit: ``dB``, ``1`` for ratios and counts, ``ms``, ``bytes``, ...
        direction: ``max`` if higher is better.
        protocol: Canonical text of how it was taken: ``str(Protocol)`` for image quality,
            ``MACs without bias, 3x256x256`` for a cost.
    """

    name: str
    value: float
    unit: str
    direction: Direction
    protocol: str

    @property
    def key(self) -> tuple[str, str]:
        """What must be equal for two measurements to be comparable: (name, protocol)."""
        return self.name, self.protocol

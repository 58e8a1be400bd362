"""Which input sizes a network can take, and the one place where inputs are padded to them."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm


@dataclass(frozen=True)
class SizeRequirements:
    """Input heights and widths that a network can take.

    Attributes:
        minimum: Smallest height and width, in pixels.
        multiple_of: Heights and widths are multiples of this.
    """

    minimum: int = 1
    multiple_of: int = 1

    def __and__(self, other: SizeRequirements) -> SizeRequirements:
        """What satisfies both."""
        return SizeRequirements(max(self.minimum, other.minimum), lcm(self.multiple_of, other.multiple_of))

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """The smallest size that contains (height, width) and satisfies the requirements."""

        def grow(size: int) -> int:
            return -(-max(size, self.minimum) // self.multiple_of) * self.multiple_of

        return grow(height), grow(width)

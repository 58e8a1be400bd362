"""What a network must take and give for a task."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """The interface between a task and the networks built for it.

    Attributes:
        name: E.g. ``sr-x4``.
        scale: Output height over input height.
        in_channels, out_channels: Channels of one input and of the output.
        cost_input: (C, H, W) of the input at which costs are quoted.
    """

    name: str
    scale: int = 1
    in_channels: int = 3
    out_channels: int = 3
    cost_input: tuple[int, int, int] = (3, 256, 256)

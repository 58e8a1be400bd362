"""The outcome of a training, for who decides what is tried next: objective values, or a failure."""

from __future__ import annotations

from dataclasses import dataclass

Values = tuple[float, ...]  # of the objectives, in their order


@dataclass(frozen=True)
class Failure:
    """An architecture without objective values: not within the budget, turned away, or its training failed."""


Outcome = Values | Failure

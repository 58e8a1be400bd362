"""How a search or a run ended: its study's state."""

from __future__ import annotations

from results.store.schema import Stop, StudyState
from search.workers.execution import Tally

LIMITS: tuple[Stop, ...] = ("trials", "steps", "exhausted")  # that leave nothing to be resumed


def state_after(stop: Stop | None, tally: Tally) -> StudyState:
    """The study's state after a search: complete only with a network that was trained to the end.

    Args:
        stop: None where an error ended it.
    """
    if stop not in LIMITS:
        return "paused"
    if tally.complete:
        return "complete"
    return "failed" if tally.failed and not tally.paused else "paused"

"""What the search asks of whoever runs the evaluations."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Taken:
    """A worker has begun with it: an evaluation's first event.

    Attributes:
        worker: Its node's address; None on this machine.
    """

    worker: str | None = None


@dataclass(frozen=True)
class Ended:
    """The evaluation's last event was delivered."""


@dataclass(frozen=True)
class Raised:
    """The evaluation raised: a fault in the code or the input, that would come again."""

    reason: str


@dataclass(frozen=True)
class Lost:
    """The worker died (killed, out of memory, node lost); another try may succeed."""

    reason: str


class Pool(Protocol):
    """Runs evaluations and hands over their events."""

    @property
    def capacity(self) -> int:
        """Evaluations at a time."""

    @property
    def free(self) -> int:
        """Evaluations that it can be given now; it may keep some at hand for workers that are about to end."""

    def start(self, key: int, job: Any) -> None:
        """Run a job as soon as a worker can; its events come with ``key``, which no job that it still has may have."""

    def events(self, timeout_s: float) -> Iterable[tuple[int, Any]]:
        """(key, event) of what has happened, waiting up to ``timeout_s`` for the first.

        Before an evaluation's own events comes ``Taken``, after them one of ``Ended``, ``Raised`` and ``Lost``.
        """

    def cancel(self, keys: Container[int]) -> None:
        """End these evaluations at once, and hand over nothing of the others; new ones can be started afterwards.

        Args:
            keys: Of all that haven't said all yet: what is about to end by itself isn't to be cut off.
        """

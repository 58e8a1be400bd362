"""A zero-cost proxy as a filter before training: of candidates that cost about the same, the better share goes on.

The rule looks at candidates of like MACs alone. A proxy that ranks by size, as all do to a good part, would otherwise
turn away the small networks that a front needs.
"""

from __future__ import annotations

import re
from bisect import insort
from dataclasses import dataclass

from spaces.registry import UnknownNameError

NEIGHBOURS = 16  # candidates of the nearest MACs that a candidate is compared with
LEAST = 4  # before so many were seen, every candidate goes on


@dataclass(frozen=True)
class Filter:
    """A proxy, and the share of candidates that is kept by it."""

    proxy: str
    keep: float


def read_filter(text: str, proxies: tuple[str, ...]) -> Filter:
    """``PROXY:SHARE``, such as ``synflow:0.5``.

    Raises: ValueError: for another form, an unknown proxy, or a share that isn't above 0 and below 1.
    """
    found = re.fullmatch(r"(?P<proxy>\w+):(?P<keep>\d*\.?\d+)", text)
    if found is None:
        raise ValueError(f"--filter: expected PROXY:SHARE such as {proxies[0]}:0.5, got '{text}'")
    if found["proxy"] not in proxies:
        raise UnknownNameError("proxy", found["proxy"], list(proxies))
    keep = float(found["keep"])
    if not 0 < keep < 1:
        raise ValueError(f"--filter {text}: expected a share above 0 and below 1 to keep, got {keep:g}")
    return Filter(found["proxy"], keep)


class Screen:
    """Decides about one candidate after the other; the same for the same candidates in the same order.

    So a search that is resumed decides again as it did, if it shows its recorded candidates first.
    """

    def __init__(self, wanted: Filter):
        self._wanted = wanted
        self._seen: list[tuple[float, float]] = []  # (MACs, value) by MACs
        self._told: dict[str, str | None] = {}

    def verdict(self, digest: str, macs: float, value: float) -> str | None:
        """None for a candidate that goes on, else why it doesn't; a candidate that comes again is told the same.

        Args:
            value: Its proxy; higher is better.
        """
        if digest not in self._told:
            self._told[digest] = self._judged(macs, value)
            insort(self._seen, (macs, value))
        return self._told[digest]

    def _judged(self, macs: float, value: float) -> str | None:
        """Whether so few of its neighbours are as good that it is in the share that is kept, itself counted."""
        like = sorted(self._seen, key=lambda seen: abs(seen[0] - macs) / max(seen[0], macs))[:NEIGHBOURS]
        as_good = sum(other >= value for _, other in like)
        if len(like) < LEAST or as_good < self._wanted.keep * (len(like) + 1):
            return None
        return (
            f"--filter {self._wanted.proxy}:{self._wanted.keep:g}: {self._wanted.proxy} {value:.4g} is reached by "
            f"{as_good} of the {len(like)} candidates nearest in MACs"
        )

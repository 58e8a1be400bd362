"""Times as people write them: 90s, 6m, 1.5h or 1h30m."""

from __future__ import annotations

import re
from math import ceil


def rounded_up(amount: float) -> str:
    """Seconds as `seconds` reads them, rounded up to two digits or so: ``40s``, ``3m``, ``1h20m``."""
    if amount <= 60:
        return f"{max(10, ceil(amount / 10) * 10)}s"
    minutes = ceil(amount / 60)
    if minutes > 60:
        minutes = ceil(minutes / 10) * 10
    hours, rest = divmod(minutes, 60)
    return "".join([f"{hours}h" * (hours > 0), f"{rest}m" * (rest > 0)])


def seconds(text: str) -> float:
    """Seconds in ``90``, ``90s``, ``6m``, ``1.5h`` or ``1h30m``.

    Raises: ValueError: for anything else.
    """
    factors = {"h": 3600, "m": 60, "s": 1}
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"a time is like 90s, 6m, 1.5h or 1h30m, got '{text}'")
    total = sum(float(number) * factors[unit or "s"] for number, unit in parts)
    if total <= 0:
        raise ValueError(f"a time budget is positive, got '{text}'")
    return total

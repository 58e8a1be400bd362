"""Times as people write them."""

from __future__ import annotations

import pytest

from results.durations import seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("90s", 90), ("6m", 360), ("1.5h", 5400), ("1h30m", 5400), ("1m5s", 65)],
)
def test_times(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "m", "5x", "0s", "-5m", "1h 30m"])
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        seconds(text)

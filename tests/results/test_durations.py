"""Times as people write them."""

from __future__ import annotations

import pytest

from results.durations import rounded_up, seconds


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


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0.5, "10s"),
        (41.0, "50s"),
        (60.0, "60s"),
        (61.0, "2m"),
        (3600.0, "1h"),
        (3601.0, "1h10m"),
        (90_000.0, "25h"),
    ],
)
def test_rounded_up_is_read_again_as_no_less(amount: float, text: str) -> None:
    assert rounded_up(amount) == text
    assert seconds(text) >= amount

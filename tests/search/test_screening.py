"""Filters by proxy: which candidates go on."""

from __future__ import annotations

from random import Random

import pytest

from search.screening import Filter, Screen, read_filter

KNOWN = ("synflow", "naswot")


def test_a_filter_is_a_proxy_and_a_share() -> None:
    assert read_filter("synflow:0.5", KNOWN) == Filter("synflow", 0.5)
    assert read_filter("naswot:.25", KNOWN) == Filter("naswot", 0.25)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("synflow", "expected PROXY:SHARE such as synflow:0.5, got 'synflow'"),
        ("synflow:half", "expected PROXY:SHARE"),
        ("synflow:-1", "expected PROXY:SHARE"),
        ("sinflow:0.5", "did you mean 'synflow'"),
        ("synflow:0.0", "above 0 and below 1 to keep, got 0"),
        ("synflow:1.0", "above 0 and below 1 to keep, got 1"),
    ],
)
def test_other_filters_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_filter(text, KNOWN)


@pytest.mark.parametrize("keep", [0.25, 0.5, 0.75])
def test_about_the_share_is_kept_and_it_is_the_better_one(keep: float) -> None:
    random, screen = Random(0), Screen(Filter("synflow", keep))
    values = [random.random() for _ in range(1000)]
    kept = [v for n, v in enumerate(values) if screen.verdict(str(n), random.uniform(1e8, 2e9), v) is None]
    assert keep - 0.06 < len(kept) / 1000 < keep + 0.06
    assert sum(kept) / len(kept) > 0.5 + 0.3 * (1 - keep)


def test_small_networks_are_compared_with_small_ones() -> None:
    """A proxy that is nothing but the size keeps as many of the small half as of the large one."""
    random, screen = Random(0), Screen(Filter("synflow", 0.5))
    kept = []
    for n in range(600):
        macs = random.uniform(1e8, 2e9)
        if screen.verdict(str(n), macs, macs * random.uniform(0.98, 1.02)) is None:
            kept.append(macs)
    small = sum(macs < 1.05e9 for macs in kept)
    assert 0.4 < small / len(kept) < 0.6


def test_decisions_are_the_same_again_and_a_candidate_that_comes_again_is_told_the_same() -> None:
    random = Random(0)
    shown = [(str(n % 40), 1e9 + n % 7, random.random()) for n in range(60)]
    first, again = (
        [screen.verdict(*candidate) for candidate in shown]
        for screen in (Screen(Filter("synflow", 0.5)), Screen(Filter("synflow", 0.5)))
    )
    assert first == again
    assert first[40:] == first[:20]
    assert first[:4] == [None] * 4
    reason = next(verdict for verdict in first if verdict)
    assert reason.startswith("--filter synflow:0.5: synflow 0.")
    assert reason.endswith("candidates nearest in MACs")

"""Repeated trainings: against SciPy's tests and simulation."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from scipy import stats

from results.analysis.repeats import compare, holm, trainings
from results.store.schema import Trial
from spaces.measurement import Measurement

KEY = ("psnr_y", "Y")


def test_few_trainings_share_one_variance() -> None:
    a, b = [27.1, 27.2, 27.15], [27.3, 27.36]
    found = compare({"a": a, "b": b})
    deviation = np.sqrt((2 * np.var(a, ddof=1) + np.var(b, ddof=1)) / 3)
    assert found.deviation == pytest.approx(deviation)
    for member in found.members:
        interval = stats.t.interval(0.95, 3, member.mean, deviation / np.sqrt(len(member.values)))
        assert (member.low, member.high) == pytest.approx(interval)
    pair = found.neighbours[0]
    test = stats.ttest_ind(b, a)
    assert pair.p == pytest.approx(test.pvalue)
    assert (pair.low, pair.high) == pytest.approx(tuple(test.confidence_interval()))
    assert (pair.first, pair.second, pair.apart) == ("a", "b", True)
    assert "pooled standard deviation of one training" in found.method
    assert "3 degrees of freedom" in found.method


def test_many_trainings_have_their_own() -> None:
    random = np.random.default_rng(0)
    members = {
        "a": random.normal(27, 0.1, 6),
        "b": random.normal(28, 0.3, 5),
        "c": random.normal(28, 0.1, 8),
    }
    found = compare(members)
    assert found.deviation is None
    assert "Welch" in found.method
    for member in found.members:
        values = members[member.key]
        interval = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        assert (member.low, member.high) == pytest.approx(interval)
    ps = [
        stats.ttest_ind(members[second], members[first], equal_var=False).pvalue
        for first, second in ("ab", "bc")
    ]
    assert [pair.p for pair in found.neighbours] == pytest.approx(holm(ps))
    assert [pair.apart for pair in found.neighbours] == [True, False]


def test_a_member_that_was_trained_once_has_an_interval_from_the_others() -> None:
    found = compare({"a": [26.0], "b": [27.4, 27.42], "c": [27.41]})
    assert all(member.low is not None for member in found.members)
    assert [pair.apart for pair in found.neighbours] == [True, False]


def test_single_trainings_tell_nothing() -> None:
    found = compare({"a": [27.0], "b": [29.0]})
    assert [(m.mean, m.low, m.high) for m in found.members] == [(27.0, None, None), (29.0, None, None)]
    pair = found.neighbours[0]
    assert (pair.difference, pair.low, pair.p, pair.apart) == (2.0, None, None, False)
    assert found.method == "no member was trained more than once"
    assert compare({}).members == ()


def test_trainings_that_give_the_same_are_apart_only_if_members_differ() -> None:
    found = compare({"a": [27.0, 27.0], "b": [27.0, 27.0], "c": [28.0, 28.0]})
    assert [pair.apart for pair in found.neighbours] == [False, True]
    many = compare({"a": [27.0] * 5, "b": [27.0] * 5, "c": [28.0] * 5})
    assert [pair.apart for pair in many.neighbours] == [False, True]


def test_a_member_without_values_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one training of each member, got none of b"):
        compare({"a": [1.0], "b": []})


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("times", [2, 5])
def test_equal_members_are_seldom_told_apart(times: int) -> None:
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        found = compare({str(n): random.normal(27, 0.05, times) for n in range(6)})
        wrong += any(pair.apart for pair in found.neighbours)
    assert wrong / 400 < 0.075


def trial(number: int, value: float | None = 27.0, **said: Any) -> Trial:
    measured = () if value is None else (Measurement(*KEY[:1], value, "dB", "max", KEY[1]),)
    made = Trial(
        id=100 + number,
        study_id=1,
        number=number,
        stage="search",
        parent_id=None,
        digest="a",
        architecture="{}",
        genotype=None,
        state="complete",
        reason=None,
        attempts=1,
        worker=None,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        started_at=None,
        finished_at=None,
        seconds=1.0,
        origin=None,
        variant="",
        measurements=measured,
    )
    return replace(made, **said)


def test_repeats_differ_in_nothing_but_the_seed() -> None:
    taught = {"stage": "distil", "parent_id": 7}
    found = trainings(
        [
            trial(0),
            trial(1, origin={"repeat": 1}),
            trial(2, digest="b"),
            trial(3, origin={"recipe": "x"}, **taught),
            trial(4, origin={"recipe": "x", "repeat": 1}, **taught),
            trial(5, origin={"recipe": "y"}, **taught),
            trial(6, origin={"recipe": "x"}, stage="distil", parent_id=8),
            trial(7, state="running", origin={"repeat": 2}),
            trial(8, None, origin={"repeat": 3}),
        ],
        KEY,
    )
    groups = {number - 100: [each.number for each in group] for number, group in found.items()}
    assert groups == {0: [0, 1], 1: [0, 1], 2: [2], 3: [3, 4], 4: [3, 4], 5: [5], 6: [6]}

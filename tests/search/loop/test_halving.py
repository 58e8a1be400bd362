"""Which trials go on: the rule on hand-made fronts, and what it guarantees whatever the scores are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.analysis.front import dominance_ranks
from search.loop.halving import Halving, survivors
from search.outcomes import Failure
from spaces.measurement import Direction

DIRECTIONS: tuple[Direction, Direction] = ("max", "min")  # dB, GMACs

VALUES = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(lambda pair: tuple(map(float, pair)))


def test_a_better_rank_stays_before_a_higher_score() -> None:
    """Rows 0 to 2 are the front; row 3 scores higher than rows 0 and 1, but row 2 beats it."""
    rows = [(26.0, 0.1), (27.0, 0.2), (29.0, 0.5), (28.9, 0.9)]
    assert survivors(rows, DIRECTIONS, 3) == [0, 1, 2]
    assert survivors(rows, DIRECTIONS, 4) == [0, 1, 2, 3]


def test_of_a_rank_the_ends_stay_and_those_whose_hypervolume_is_missed() -> None:
    rows = [(20.0, 1.0), (21.0, 2.0), (29.0, 3.0), (29.5, 6.0), (30.0, 9.0)]
    assert survivors(rows, DIRECTIONS, 2) == [0, 4]
    assert survivors(rows, DIRECTIONS, 3) == [0, 2, 4]
    assert survivors(rows, DIRECTIONS, 4) == [0, 2, 3, 4]


def test_of_two_near_equal_ones_one_stays() -> None:
    """Each of rows 1 and 2 alone is hardly missed; without both a corner of the front is gone."""
    rows = [(20.0, 1.0), (29.0, 2.0), (29.001, 2.001), (29.3, 6.0), (30.0, 9.0)]
    kept = survivors(rows, DIRECTIONS, 3)
    assert len({1, 2} & set(kept)) == 1


def test_nothing_is_kept_of_nothing_and_nan_is_refused() -> None:
    assert survivors([], DIRECTIONS, 3) == []
    with pytest.raises(ValueError, match="NaN"):
        survivors([(float("nan"), 1.0)], DIRECTIONS, 1)


@given(st.lists(VALUES, min_size=1, max_size=25), st.integers(1, 25))
def test_the_kept_are_of_the_first_ranks(rows: list[tuple[float, float]], count: int) -> None:
    kept = survivors(rows, DIRECTIONS, count)
    assert len(kept) == min(count, len(rows))
    ranks = dominance_ranks(rows, DIRECTIONS)
    left = sorted(set(range(len(rows))) - set(kept))
    if left:
        assert max(ranks[kept]) <= min(ranks[left])


@given(
    st.lists(VALUES, min_size=1, max_size=25),
    st.integers(1, 25),
    st.integers(-8, 8),
    st.integers(-8, 8),
    st.integers(-100, 100),
)
def test_units_do_not_matter(
    rows: list[tuple[float, float]], count: int, first: int, second: int, shift: int
) -> None:
    """Powers of two, so that not even rounding differs."""
    scaled = np.array(rows) * [2.0**first, 2.0**second] + [shift * 2.0**first, shift * 2.0**second]
    assert survivors(scaled, DIRECTIONS, count) == survivors(rows, DIRECTIONS, count)


@given(
    st.lists(st.tuples(*[st.integers(0, 6).map(float)] * 3), min_size=4, max_size=15),
    st.integers(3, 15),
)
def test_the_best_of_each_of_three_objectives_stays(rows: list[tuple[float, ...]], count: int) -> None:
    directions: tuple[Direction, ...] = ("max", "min", "min")
    kept = np.array(rows)[survivors(rows, directions, count)]
    assert kept[:, 0].max() == max(row[0] for row in rows)
    assert kept[:, 1].min() == min(row[1] for row in rows)
    assert kept[:, 2].min() == min(row[2] for row in rows)


def climb(values: list[list[tuple[float, float]]], eta: float = 3) -> Halving:
    """A ladder on which all trials are told at the first rung, then whoever may go on goes on, until nobody may."""
    halving = Halving([3**rung for rung in range(len(values))], eta, DIRECTIONS)
    for number, each in enumerate(values[0]):
        halving.tell(number, each)
    while (found := halving.next(lambda number, rung: True)) is not None:
        number, rung = found
        halving.tell(number, values[rung][number])
    return halving


@given(st.lists(VALUES, min_size=3, max_size=30), st.integers(2, 4), st.randoms(use_true_random=False))
def test_the_cheapest_and_the_best_of_a_rung_go_on_from_it(
    first: list[tuple[float, float]], eta: int, random: object
) -> None:
    """However much higher the larger networks score: never stopped for being small."""
    values = [first, [(quality + gmacs, gmacs) for quality, gmacs in first]]
    halving = climb([*values, values[1]], eta)
    for rung, told in enumerate((*values, values[1])):
        there = [n for n in range(len(first)) if halving.rung_of(n) >= rung]
        if len(there) < eta or rung == halving.top:
            continue
        went_on = [n for n in there if halving.rung_of(n) > rung]
        assert min(told[n][1] for n in went_on) == min(told[n][1] for n in there)
        assert max(told[n][0] for n in went_on) == max(told[n][0] for n in there)


def test_a_small_network_reaches_the_top_though_all_larger_ones_score_higher() -> None:
    """As in training: at every rung quality grows with cost, so that everything is non-dominated."""
    values = [[(20.0 + rung + n, 1.0 + n) for n in range(27)] for rung in range(4)]
    halving = climb(values)
    assert halving.rung_of(0) == 3
    assert halving.rung_of(26) == 3
    assert sum(halving.rung_of(n) >= 1 for n in range(27)) == 9


def test_the_highest_rung_goes_first_in_the_order_of_trials_and_as_far_as_allowed() -> None:
    halving = Halving((1, 2, 4), 2, DIRECTIONS)
    assert halving.next(lambda number, rung: True) is None
    for number in range(4):
        halving.tell(number, (float(number), float(number)))
    assert halving.next(lambda number, rung: False) is None
    assert [halving.next(lambda number, rung: True) for _ in range(3)] == [(0, 1), (3, 1), None]
    halving.tell(3, (3.5, 3.0))
    halving.tell(0, (1.0, 0.0))
    halving.tell(4, (9.0, 9.0))
    assert halving.next(lambda number, rung: rung == 1) == (4, 1)
    assert halving.next(lambda number, rung: True) == (3, 2)
    assert [halving.cost(rung) for rung in range(3)] == [1, 1, 2]


def test_what_rests_is_expected_to_gain_what_others_gained() -> None:
    halving = Halving((1, 2, 4), 2, DIRECTIONS)
    for number, quality in enumerate((20.0, 21.0, 22.0, 23.0)):
        halving.tell(number, (quality, 1.0 + number))
    assert halving.expected([0]) == [(20.0, 1.0)]
    for number, quality in ((1, 24.0), (2, 26.0), (3, 28.0)):  # gains of 3, 4 and 5 dB
        halving.tell(number, (quality, 1.0 + number))
    assert halving.expected([0]) == [(24.0, 1.0)]
    assert halving.expected([3]) == [(28.0, 4.0)]
    halving.tell(3, (30.0, 4.0))  # 2 dB more at the top
    assert halving.expected([0]) == [(26.0, 1.0)]
    assert halving.expected([1, 2]) == [(26.0, 2.0), (28.0, 3.0)]
    assert halving.expected([3]) == [(30.0, 4.0)]
    assert halving.expected([]) == []
    with pytest.raises(KeyError):
        halving.expected([4])


@pytest.mark.parametrize("directions", [DIRECTIONS, ("max", "min", "min")])
def test_a_small_network_is_expected_to_gain_what_small_ones_gained(
    directions: tuple[Direction, ...],
) -> None:
    halving = Halving((1, 2), 2, directions)
    rest = (7.0,) * (len(directions) - 2)  # the same of all: it tells nothing
    for number in range(40):
        gmacs = 2.0 ** (number / 4)
        halving.tell(number, (20.0, gmacs, *rest))
        if number % 2:
            halving.tell(number, (20.0 + gmacs, gmacs, *rest))
    for number, (quality, gmacs, *_) in zip(range(0, 40, 8), halving.expected(range(0, 40, 8)), strict=True):
        assert gmacs == 2.0 ** (number / 4)
        assert gmacs / 2 < quality - 20 <= gmacs * 2.5
    assert halving.expected([39]) == [(20.0 + 2.0 ** (39 / 4), 2.0 ** (39 / 4), *rest)]


def test_without_costs_the_gain_of_all_is_expected() -> None:
    halving = Halving((1, 2), 2, ("max",))
    for number in range(9):
        halving.tell(number, (float(number),))
        halving.tell(number, (float(number) * 2 + 1,))
    halving.tell(9, (100.0,))
    assert halving.expected([9]) == [(105.0,)]


def test_a_failure_on_the_way_leaves_the_rung_below_as_it_was() -> None:
    halving = Halving((1, 2), 2, DIRECTIONS)
    halving.tell(0, Failure())
    for number in (1, 2):
        halving.tell(number, (float(number), float(number)))
    assert halving.next(lambda number, rung: True) == (1, 1)
    halving.tell(1, Failure())
    assert halving.next(lambda number, rung: True) == (2, 1)
    assert halving.next(lambda number, rung: True) is None
    assert halving.expected([1, 2]) == [(1.0, 1.0), (2.0, 2.0)]


def test_at_the_end_the_ends_of_a_rung_too_small_for_a_decision_go_on() -> None:
    halving = Halving((1, 3), 4, DIRECTIONS)
    for number in range(3):
        halving.tell(number, (float(number), float(number)))
    assert halving.next(lambda number, rung: True) is None
    halving.close()
    assert [halving.next(lambda number, rung: True) for _ in range(3)] == [(0, 1), (2, 1), None]

"""Fronts and hypervolume against their plain definitions and hand-computed values."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.analysis.front import (
    Reference,
    contributions,
    dominance_ranks,
    front_of,
    hypervolume,
    nondominated,
)
from spaces.measurement import Measurement
from spaces.objectives import Objective as Aim

MIN_MAX = ("min", "max")
INF = float("inf")
SET5 = "Y, 8-bit, border 4, on set5 (1a2b3c4d5e6f)"
SET14 = "Y, 8-bit, border 4, on set14 (6f5e4d3c2b1a)"
MACS = "MACs without bias, 3x256x256"


@dataclass(frozen=True)
class Candidate:
    number: int
    state: str
    measurements: tuple[Measurement, ...]

    @property
    def id(self) -> int:
        return self.number + 100

    @property
    def digest(self) -> str:
        return f"{self.number:012x}"


def macs(value: float) -> Measurement:
    return Measurement("macs", value, "1", "min", MACS)


def psnr(value: float, protocol: str = SET5) -> Measurement:
    return Measurement("psnr_y", value, "dB", "max", protocol)


def candidates(*pairs: tuple[float, float]) -> list[Candidate]:
    return [Candidate(n, "complete", (macs(c), psnr(q))) for n, (c, q) in enumerate(pairs)]


def dominates(a, b, directions) -> bool:
    signs = [1 if direction == "min" else -1 for direction in directions]
    pairs = [(sign * x, sign * y) for sign, x, y in zip(signs, a, b, strict=True)]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


@st.composite
def problems(draw):
    """Small integers, so that ties and equal rows are common; a few floats of every size."""
    m = draw(st.integers(1, 5))
    value = draw(
        st.sampled_from(
            [st.integers(0, 4).map(float), st.floats(-1e12, 1e12), st.sampled_from([-INF, 0.0, 1.0, INF])]
        )
    )
    rows = draw(st.lists(st.tuples(*[value] * m), max_size=25))
    return np.array(rows, dtype=float).reshape(-1, m), draw(st.tuples(*[st.sampled_from(MIN_MAX)] * m))


@given(problems())
def test_nondominated_is_what_no_row_dominates(problem):
    points, directions = problem
    expected = [not any(dominates(other, row, directions) for other in points) for row in points]
    assert nondominated(points, directions).tolist() == expected


@given(problems())
def test_input_is_left_alone(problem):
    points, directions = problem
    before = points.copy()
    nondominated(points, directions)
    np.testing.assert_array_equal(points, before)


def test_infinities_do_not_crash():
    """The library under it does, in three objectives (moocore 0.3.2)."""
    points = [[INF, 0.0, 1.0], [0.0, INF, 1.0], [1.0, 1.0, INF]]
    assert nondominated(points, ("max", "max", "max")).tolist() == [True, True, True]


def test_equal_front_points_are_all_kept():
    assert nondominated([[1, 2], [1, 2], [2, 2]], MIN_MAX).tolist() == [True, True, False]


def test_empty():
    assert nondominated(np.zeros((0, 2)), MIN_MAX).shape == (0,)
    assert hypervolume(np.zeros((0, 2)), MIN_MAX, (1, 1)) == 0.0


@pytest.mark.parametrize(
    ("points", "directions", "message"),
    [
        ([[1.0, float("nan")]], MIN_MAX, "row 0 are NaN"),
        ([1.0, 2.0], MIN_MAX, r"expected objectives of shape \(n, 2\)"),
        ([[1.0, 2.0, 3.0]], MIN_MAX, r"got \(1, 3\)"),
        ([[1.0, 2.0]], ("min", "up"), "'up'"),
    ],
)
def test_bad_input_is_refused(points, directions, message):
    with pytest.raises(ValueError, match=message):
        nondominated(points, directions)
    with pytest.raises(ValueError, match=message):
        hypervolume(points, directions, (3, 0))


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(1, 30)], 6.0),  # 3 wide, 2 high
        ([(1, 30), (2, 31)], 8.0),  # + 2 wide, 1 high
        ([(1, 30), (2, 31), (3, 30.5)], 8.0),  # dominated
        ([(1, 30), (1, 30)], 6.0),
        ([(4, 35)], 0.0),  # on the reference
        ([(1, 28)], 0.0),
        ([(9, 40), (0, 20)], 0.0),  # beyond it
        ([(9, 40), (1, 30)], 6.0),
    ],
)
def test_hypervolume_by_hand(points, expected):
    assert hypervolume(points, MIN_MAX, (4, 28)) == pytest.approx(expected)


def test_hypervolume_by_hand_in_three_objectives():
    # Two boxes of 4 and 3, which share 1x1x1... computed: 2*2*1 + 1*1*3 - 1*1*1
    assert hypervolume([(0, 0, 1), (1, 1, 3)], ("min", "min", "max"), (2, 2, 0)) == pytest.approx(6.0)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_hypervolume_counts_the_dominated_cells(points):
    cells = {(x, y) for c, q in points for x in range(c, 5) for y in range(1, q)}
    assert hypervolume(np.array(points, dtype=float).reshape(-1, 2), MIN_MAX, (5, 1)) == len(cells)


@pytest.mark.parametrize("reference", [(4, float("nan")), (INF, 0)])
def test_hypervolume_needs_a_finite_reference(reference):
    with pytest.raises(ValueError, match="finite"):
        hypervolume([(1, 2)], MIN_MAX, reference)


def test_hypervolume_needs_a_reference_of_the_same_length():
    with pytest.raises(ValueError, match="reference of 2 values, got 1"):
        hypervolume([(1, 2)], MIN_MAX, (4,))


def test_front_is_sorted_by_cost_and_states_its_reference():
    reference = Reference(4.0, 28.0, "the budget; bicubic")
    front = front_of(candidates((3, 32), (1, 30), (2, 29), (3, 32)), reference=reference)
    assert [(m.number, m.cost, m.quality) for m in front.members] == [(1, 1, 30), (0, 3, 32), (3, 3, 32)]
    assert [point.number for point in front.points] == [0, 1, 2, 3]
    assert front.members[0].id == 101
    assert front.hypervolume == pytest.approx(3 * 2 + 1 * 2)
    assert front.reference == reference
    assert (front.cost.protocol, front.quality.protocol) == (MACS, SET5)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_no_member_is_dominated_and_every_other_point_is(pairs):
    front = front_of(candidates(*pairs))
    members = {member.number for member in front.members}
    for point in front.points:
        beaten = any(
            dominates((m.cost, m.quality), (point.cost, point.quality), MIN_MAX) for m in front.members
        )
        assert beaten != (point.number in members)


def test_only_complete_trials_with_both_measurements_take_part():
    trials = [
        *candidates((2, 30)),
        Candidate(1, "running", (macs(1), psnr(40))),
        Candidate(2, "failed", (macs(1), psnr(40))),
        Candidate(3, "complete", (macs(1),)),
    ]
    assert [point.number for point in front_of(trials).points] == [0]


def test_unlike_protocols_are_never_compared():
    trials = [
        Candidate(0, "complete", (macs(1), psnr(30))),
        Candidate(1, "complete", (macs(1), psnr(40, SET14))),
    ]
    with pytest.raises(ValueError, match=r"psnr_y was measured in 2 ways.*set14.*set5"):
        front_of(trials)
    assert [m.number for m in front_of(trials, quality=("psnr_y", SET5)).members] == [0]
    assert [m.number for m in front_of(trials, quality=("psnr_y", SET14)).members] == [1]


def test_a_protocol_nobody_was_measured_under_is_refused_with_the_ones_there_are():
    with pytest.raises(ValueError, match=r"no complete trial has psnr_y \[RGB\].*psnr_y \[Y, 8-bit"):
        front_of(candidates((1, 30)), quality=("psnr_y", "RGB"))


def test_nothing_complete_is_an_empty_front():
    waiting = [Candidate(0, "waiting", (macs(1),))]
    assert front_of(waiting).hypervolume is None
    front = front_of(waiting, reference=Reference(4, 28, "budget"))
    assert (front.members, front.hypervolume, front.quality) == ((), 0.0, None)


def test_a_quality_where_less_is_better():
    trials = [
        Candidate(n, "complete", (macs(c), Measurement("lpips", v, "1", "min", SET5)))
        for n, (c, v) in enumerate([(1, 0.4), (2, 0.5), (3, 0.2)])
    ]
    assert [m.number for m in front_of(trials, quality=("lpips", None)).members] == [0, 2]


def test_what_a_free_method_beats_is_no_member_however_cheap() -> None:
    trials = candidates((1, 27), (2, 30), (3, 29), (4, 31))
    front = front_of(trials, trivial=28.0)
    assert [m.number for m in front.members] == [1, 3]
    assert front.worthless == 1


def test_where_nothing_beats_the_free_method_the_trials_own_front_stands() -> None:
    trials = candidates((1, 27), (2, 26), (3, 27.5))
    front = front_of(trials, trivial=28.0)
    assert [m.number for m in front.members] == [0, 2]
    assert front.worthless == 3


def test_dominance_ranks_peel_front_after_front():
    points = [(1, 1), (2, 2), (1, 3), (3, 3), (1, 1), (float("inf"), 0.5)]
    assert dominance_ranks(points, ("min", "min")).tolist() == [0, 1, 1, 2, 0, 0]
    assert dominance_ranks(points, ("max", "max")).tolist() == [2, 1, 1, 0, 2, 0]


def test_contributions_are_what_the_hypervolume_loses():
    points = [(1.0, 5.0), (2.0, 3.0), (4.0, 1.0), (4.0, 4.0), (6.0, 0.5)]
    reference = (7.0, 7.0)
    directions = ("min", "min")
    whole = hypervolume(points, directions, reference)
    lost = [
        whole - hypervolume([*points[:n], *points[n + 1 :]], directions, reference)
        for n in range(len(points))
    ]
    assert contributions(points, directions, reference).tolist() == pytest.approx(lost)
    assert contributions([(1.0, 1.0)] * 2, directions, reference).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="finite"):
        contributions([(float("inf"), 1.0)], directions, reference)


def test_a_front_over_three_objectives_keeps_what_two_would_drop_and_nothing_beyond_a_limit() -> None:
    def trial(number: int, macs: float, psnr: float, latency: float) -> SimpleNamespace:
        found = (
            Measurement("macs", macs, "1", "min", "exact"),
            Measurement("psnr_y", psnr, "dB", "max", "Y"),
            Measurement("latency_ms", latency, "ms", "min", "here"),
        )
        return SimpleNamespace(
            id=number, number=number, digest=str(number), state="complete", measurements=found
        )

    trials = [trial(0, 1e9, 30, 20), trial(1, 2e9, 29, 10), trial(2, 3e9, 28, 30), trial(3, 1e8, 29, 90)]
    aims = (Aim("psnr", "psnr_y", "Y"), Aim("gmacs", "macs", "exact"), Aim("latency", "latency_ms", "here"))
    reference = Reference(4e9, 27, "test", (27.0, 4.0, None))
    front = front_of(
        trials,  # type: ignore[arg-type]
        objectives=aims,
        reference=reference,
        feasible=lambda each: (aims[2].find(each.measurements) or 0) <= 50,
    )
    assert [point.number for point in front.members] == [0, 1]
    assert front.unmet == 1
    assert len(front.points) == 4
    # From (27 dB, 4 GMACs, 30 ms, the slowest within the limit): 3*3*10 + 2*2*20 - 2*2*10.
    assert front.hypervolume == pytest.approx(130.0)
    assert [p.number for p in front_of(trials).members] == [3, 0]  # type: ignore[arg-type]

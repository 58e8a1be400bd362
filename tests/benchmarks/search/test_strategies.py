"""The comparison of strategies: replayed searches on a table, and what is made of their curves."""

from __future__ import annotations

import sys
from math import inf, isnan
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3] / "benchmarks" / "search"))  # a folder of scripts

from strategies import Curves, Entrant, Replay, distance, plot, quartiles, ratio, table_of, whole_seeds
from tabular import PACKED, Record, Table, Trial, enumerate_space, load, the_space

RANDOM, STOPPED = Entrant("random", "random"), Entrant("random + our early stopping", "random", eta=3)


@pytest.fixture(scope="module")
def replay() -> Replay:
    if not PACKED.exists():
        pytest.skip("needs benchmarks/data")
    return Replay(load())


@pytest.mark.parametrize("entrant", [RANDOM, STOPPED], ids=["whole", "stopped"])
def test_a_replayed_search_spends_no_more_than_its_steps_and_is_repeatable(
    replay: Replay, entrant: Entrant
) -> None:
    run = replay.run(entrant, 1, steps=12 * 1024, window=2)
    assert run == replay.run(entrant, 1, steps=12 * 1024, window=2)
    assert run != replay.run(entrant, 2, steps=12 * 1024, window=2)
    steps, shares = zip(*run, strict=True)
    assert list(steps) == sorted(steps)
    assert 1024 < steps[-1] <= 12 * 1024
    assert list(shares) == sorted(shares)
    assert 0 < shares[-1] <= 1


def test_the_best_hypervolume_is_that_of_all_that_is_trained(replay: Replay) -> None:
    """By an area summed over sorted points, with no word of a front."""
    cost, floor = replay.reference
    points = sorted((r.macs / 1e9, r.trials[0].psnr_y[-1]) for r in replay.table.trained())
    area, best = 0.0, floor
    for (macs, psnr), following in zip(points, [*(macs for macs, _ in points[1:]), cost], strict=True):
        best = max(best, psnr)
        area += (following - macs) * (best - floor)
    assert replay.best == pytest.approx(area, rel=1e-9)
    assert area > 1


def test_nobody_is_better_than_who_knows_the_table(replay: Replay) -> None:
    bound = Curves("bound", [replay.oracle(10 * 1024)])
    run = Curves("random", [replay.run(RANDOM, 0, steps=10 * 1024)])
    assert bound.at(10 * 1024) > bound.at(2 * 1024) > bound.at(1024)
    assert all(bound.at(n * 1024) > run.at(n * 1024) for n in range(1, 11))
    assert bound.at(10 * 1024)[0] < 1 + 1e-9


def test_all_that_is_trained_is_found_in_the_end(replay: Replay) -> None:
    run = replay.run(RANDOM, 0, steps=1024 * len(replay.budget.known))
    assert run[-1][1] == pytest.approx(1, abs=0.02)


def test_what_is_not_trained_stands_for_the_nearest_that_is() -> None:
    space = the_space()
    wanted, *rest = enumerate_space(space).items()
    far = max(rest, key=lambda item: distance(space, wanted[1], item[1]))
    near = min(rest, key=lambda item: distance(space, wanted[1], item[1]))
    trial = Trial(psnr_y=(26.1, 26.2))
    records = {
        digest: Record(digest, genotype, "", 10**9, 1, 1, 1, {0: trial}) for digest, genotype in (far, near)
    }
    replay = Replay(Table(records, (1, 2), {"trivial": {"psnr_y": 26.0}, "space": space.digest}))
    assert not replay.budget.allows(space, wanted[1])
    repaired = replay.budget._repair(space, wanted[1])
    assert repaired is not None
    assert space.decode(repaired).digest == near[0]


def test_kinds_beyond_the_depth_make_no_distance() -> None:
    space = the_space()
    genotype = {choice.name: choice.values[0] for choice in space}
    kinds = space.by_name["block_2"].values
    assert distance(space, genotype | {"depth": 2}, genotype | {"depth": 2, "block_2": kinds[1]}) == 0
    assert distance(space, genotype | {"depth": 3}, genotype | {"depth": 3, "block_2": kinds[1]}) == 1
    assert distance(space, genotype | {"depth": 2}, genotype | {"depth": 3, "block_2": kinds[1]}) == 0.5


def test_only_seeds_that_all_were_trained_with_are_replayed() -> None:
    trial = Trial(psnr_y=(1.0,))
    records = {
        name: Record(name, {}, "", 1, 1, 1, 1, dict.fromkeys(seeds, trial))
        for name, seeds in {"a": (0, 1, 2), "b": (0, 2), "not trained": ()}.items()
    }
    assert whole_seeds(Table(records, (1,), {})) == [0, 2]


CURVES = Curves("random", [[(0, 0.0), (10, 0.5), (20, 0.9), (30, 0.9)], [(0, 0.0), (10, 0.7), (30, 0.7)]])


def test_curves_are_read_at_steps_and_at_shares() -> None:
    assert CURVES.at(9) == [0.0, 0.0]
    assert CURVES.at(25) == [0.9, 0.7]
    assert CURVES.steps_to(0.8) == [20, inf]
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 3.0, 4.0)
    assert quartiles([1.0, 2.0, inf])[2] == inf


def test_a_ratio_is_of_medians_and_its_interval_of_resampled_runs() -> None:
    middle, low, high = ratio([2.0, 3.0, 4.0], [6.0, 9.0, 12.0])
    assert middle == pytest.approx(1 / 3)
    assert 2 / 12 <= low < middle < high <= 4 / 6
    assert isnan(ratio([inf, inf], [inf, inf])[0])


def test_the_table_compares_with_the_best_library_as_it_comes_and_counts_who_never_gets_there() -> None:
    best = Curves("TPE", [[(0, 0.0), (10, 0.9)], [(0, 0.0), (10, 0.8)]])
    stopped = Curves("TPE + our early stopping", [[(0, 0.0), (5, 0.9)]] * 2, "stopped")
    ours = Curves("ours", [[(0, 0.0), (3, 0.9)]] * 2, "ours")
    cells = table_of([CURVES, best, stopped, ours], [1, 2], 0.8, 10)
    assert [str(column.header) for column in cells.columns][-1] == "x TPE"
    rows = list(zip(*(list(column.cells) for column in cells.columns), strict=True))
    assert rows[0] == (
        "random",
        "60.0 (55.0 to 65.0)",
        "80.0 (75.0 to 85.0)",
        "never (2.0 to never)",
        "1 of 2",
        "-",
    )
    assert rows[1][-2:] == ("0 of 2", "")
    assert rows[2][-1] == "0.50 (0.50 to 0.50)"
    assert rows[3][-1] == "0.30 (0.30 to 0.30)"


def test_the_plot_is_small(tmp_path: Path) -> None:
    ours = Curves("ours: + early stopping", CURVES.runs, "ours")
    plot(tmp_path / "p.png", [CURVES, ours], 0.95, 10, 3)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "p.png").stat().st_size < 150 * 1024

"""Rank correlations: against SciPy and simulation, and of a study in a real store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from math import asin, pi
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from results.analysis.correlation import analyse, partial_correlation, rank_correlation, rung_links
from results.render.correlation_tables import analysis_table, as_json
from results.render.heat_map import save_heat_map
from results.store.store import Store
from spaces.architecture import Block
from spaces.measurement import Measurement
from spaces.topologies.chain import Chain
from tests.results.studies import NAME, complete, new_study, scores, setup
from tests.results.test_imports import modules_after

numbers = st.lists(st.tuples(*[st.integers(-50, 50)] * 2), min_size=5, max_size=30)


@given(numbers)
def test_agrees_with_scipy_and_lies_within_its_interval(rows: list[tuple[int, int]]) -> None:
    x, y = np.array(rows, dtype=float).T
    found = rank_correlation(x, y)
    if found is None:
        assert np.ptp(x) == 0 or np.ptp(y) == 0
        return
    assert found.spearman.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.kendall.value == pytest.approx(stats.kendalltau(x, y).statistic)
    for each in (found.spearman, found.kendall):
        assert -1 <= each.low <= each.value <= each.high <= 1
        assert each.low < each.high
    turned = rank_correlation(x**3, -y)
    assert turned is not None
    assert turned.spearman.value == pytest.approx(-found.spearman.value)
    assert turned.spearman.low == pytest.approx(-found.spearman.high)


def test_few_that_agree_fully_are_no_certainty() -> None:
    few, many = (rank_correlation(range(n), range(n)) for n in (6, 60))
    assert few is not None
    assert many is not None
    assert few.spearman.value == few.spearman.high == many.spearman.high == 1
    assert few.spearman.low < 0.6
    assert many.spearman.low > 0.99


def test_intervals_hold_what_they_promise() -> None:
    random, held = np.random.default_rng(0), np.zeros((2, 2))
    for column, rho in enumerate((0.3, 0.8)):
        truth = 6 / pi * asin(rho / 2), 2 / pi * asin(rho)  # of a normal distribution
        for _ in range(500):
            x, y = random.multivariate_normal((0, 0), ((1, rho), (rho, 1)), 25).T
            found = rank_correlation(x, y)
            assert found is not None
            for row, each in enumerate((found.spearman, found.kendall)):
                held[row, column] += each.low <= truth[row] <= each.high
    assert (held / 500 > 0.925).all()
    assert (held / 500 < 0.985).all()


def test_what_size_tells_already_is_taken_out() -> None:
    random = np.random.default_rng(0)
    size, own = random.normal(size=(2, 400))
    proxy, quality = size + 0.3 * random.normal(size=400), size + 0.3 * own
    plain, left = rank_correlation(proxy, quality), partial_correlation(proxy, quality, size)
    assert plain is not None
    assert left is not None
    assert plain.spearman.low > 0.85
    assert left.low < 0 < left.high
    ranks = [stats.rankdata(each) for each in (proxy, quality, size)]
    rests = [each - np.polynomial.Polynomial.fit(ranks[2], each, 1)(ranks[2]) for each in ranks[:2]]
    assert left.value == pytest.approx(np.corrcoef(rests)[0, 1])
    assert partial_correlation(size, quality, size) is None
    assert partial_correlation(own, quality, size).value > 0.8  # type: ignore[union-attr]


def test_missing_values_leave_out_rows_and_too_few_tell_nothing() -> None:
    x, y = np.arange(8.0), np.array([0, 1, np.nan, 3, 2, 5, 7, 6])
    found = rank_correlation(x, y)
    assert found is not None
    assert found.n == 7
    assert rank_correlation(x[:5], y[:5]) is None
    assert rank_correlation(x, np.ones(8)) is None
    with pytest.raises(ValueError, match="two columns of one length"):
        rank_correlation(x, y[:4])


def test_rungs_are_held_against_the_last_over_what_reached_it() -> None:
    curves = [{10: 9 - i, 20: i, 30: i} for i in range(6)] + [{10: 100.0}]
    links, last = rung_links(curves, range(7))
    assert last == 30
    assert [link.step for link in links] == [10, 20]
    assert [link.correlation.spearman.value for link in links if link.correlation] == pytest.approx([-1, 1])
    assert [link.correlation.n for link in links if link.correlation] == [6, 6]
    assert rung_links([{}, {}], range(2)) == ((), None)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Seven searched networks, which get better with width, one of them twice; and one just pruned."""
    folder = tmp_path_factory.mktemp("study")
    with Store.open(str(folder / "pixelfront.db")) as store:
        made = setup(folder / "images")
        study = new_study(store, made)
        for n, width in enumerate((8, 9, 10, 11, 12, 14, 16)):
            chain = Chain(width=width, blocks=(Block("residual"),))
            trial = complete(store, study, chain, scores(made, 0.1 * n), folder)
            store.add_measurements(trial.id, scores(made, -n, test=True))
            if n < 6:
                store.add_measurements(
                    trial.id, [Measurement("latency_ms", 9.0 - n, "ms", "min", "this machine")]
                )
            store.add_measurements(
                trial.id, [Measurement("latency_ms", 1.0 + n, "ms", "min", "that machine")]
            )
        repeat = {"origin": {"repeat": 1}, "variant": "again"}
        complete(store, study, Chain(width=8, blocks=(Block("residual"),)), scores(made, 5), folder, **repeat)
        complete(
            store, study, Chain(width=7, blocks=(Block("residual"),)), scores(made, 9), folder, stage="prune"
        )
        yield store


def test_a_study_is_analysed_over_what_was_trained_alike(store: Store) -> None:
    digest = {trial.digest: trial.number for trial in store.trials(store.study(NAME).id)}
    proxy = ("synflow", "untrained", {key: float(number) for key, number in digest.items() if number < 6})
    found = analyse(store, NAME, [proxy])
    assert found.networks == 7
    links = {link.quantity.key: link for link in found.links}
    assert list(links) == [
        *("psnr_rgb", "ssim_rgb", "ssim_y"),
        *("parameters", "macs", "activations", "convolutions"),
        *("latency_ms@1", "latency_ms@2", "synflow"),
    ]
    told = {key: link.correlation.spearman.value for key, link in links.items() if link.correlation}
    assert told["macs"] == told["parameters"] == pytest.approx(1)
    assert "convolutions" not in told  # all have as many
    assert {key: told[key] for key in ("latency_ms@1", "latency_ms@2")} == pytest.approx(
        {"latency_ms@1": 1, "latency_ms@2": -1}
    )
    assert links["latency_ms@2"].quantity.protocol == "this machine"
    assert links["macs"].at_equal_macs is None
    assert (found.last_step, found.rungs) == (20, ())


def test_what_it_finds_is_shown_as_table_json_and_picture(store: Store, tmp_path: Path) -> None:
    found = analyse(store, NAME)
    console = Console(width=160, file=StringIO())
    console.print(analysis_table(found))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Rank correlation with psnr_y, 7 networks" in text
    assert "RGB, 8-bit, border 2, on HR" in text
    record = json.loads(as_json(found))
    macs = next(each for each in record["with_objective"] if each["key"] == "macs")
    assert macs["spearman"]["high"] == pytest.approx(1)
    assert macs["n"] == 7
    assert record["spearman"][0][0] == 1
    assert (
        next(each for each in record["with_objective"] if each["key"] == "convolutions")["spearman"] is None
    )
    with PIL.Image.open(save_heat_map(found, tmp_path / "new" / "map.png")) as picture:
        colours = picture.convert("RGB").getcolors(1 << 20)
    assert colours is not None
    assert max(b - r for _, (r, g, b) in colours) > 60  # type: ignore[misc]
    assert max(r - b for _, (r, g, b) in colours) > 60  # type: ignore[misc]


def test_few_trials_are_refused(tmp_path: Path) -> None:
    with Store.open(str(tmp_path / "s.db")) as store:
        new_study(store, setup(tmp_path / "images"))
        with pytest.raises(ValueError, match="at least 5 complete trials of a search, got 0"):
            analyse(store, NAME)


def test_it_needs_no_torch(store: Store) -> None:
    code = f"""
from pathlib import Path
from results.analysis import correlation
from results.render import correlation_tables, heat_map
from results.store.store import Store
with Store.open({store.place!r}, create=False) as store:
    found = correlation.analyse(store, {NAME!r})
correlation_tables.analysis_table(found), correlation_tables.as_json(found)
"""
    assert "torch" not in modules_after(code)

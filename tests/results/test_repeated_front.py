"""A front with repeats, wherever it is shown: of means, with intervals, and which neighbours can be told apart."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from results.analysis.overview import as_json, overview, rows
from results.dashboard import fronts
from results.dashboard.columns import StudyColumns, columns_of
from results.render.figures import save_front_figure
from results.render.report import render
from results.render.tables import front_csv, front_table
from results.store.rows import variant_of
from results.store.store import Store
from spaces.topologies.chain import Chain
from tests.results.render.test_tables import cells, printed
from tests.results.studies import BEATEN, CHEAP, DEAR, NAME, complete, new_study, scores, setup

GAINS = {  # dB over bicubic, by training
    CHEAP: (0.9, 0.6, 0.6),  # first lucky: 0.7
    BEATEN: (0.8, 0.7, 0.72),  # by its first below CHEAP, by its mean (0.74) above it, but not surely
    DEAR: (1.5, 1.6, 1.7),
}


def fill(store: Store, folder: Path, gains: dict[Chain, tuple[float, ...]], **said: object) -> None:
    made = setup(folder / "images", **said)
    study = new_study(store, made)
    firsts = {
        chain: complete(store, study, chain, scores(made, values[0]), folder)
        for chain, values in gains.items()
    }
    for chain, values in gains.items():
        for k, gain in enumerate(values[1:], 1):
            origin = {"repeat": k}
            how = {"origin": origin, "variant": variant_of(origin, firsts[chain])}
            complete(store, study, chain, scores(made, gain), folder, **how)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "results.db") as opened:
        fill(opened, tmp_path, GAINS)
        yield opened


def test_an_architecture_is_one_point_at_the_mean_of_its_trainings(store: Store) -> None:
    found = overview(store, NAME)
    assert len(found.trials) == 9
    assert [point.number for point in found.front.points] == [0, 1, 2]
    gains = [point.quality - found.baseline[1] for point in found.front.members]
    assert [trial.number for trial in found.members] == [0, 1, 2]
    assert gains == pytest.approx([0.7, 0.74, 1.6])
    assert found.best.number == 2


def test_rows_carry_the_interval_and_whether_the_next_differs(store: Store) -> None:
    found = overview(store, NAME)
    first, second, third = rows(found)
    assert [each["trainings"] for each in (first, second, third)] == [3, 3, 3]
    # Pooled: (0.06 + 0.0056 + 0.02) / 6 is the variance of one training, 2.447 Student's quantile of 6 degrees.
    half = 2.4469 * np.sqrt((0.06 + 0.0056 + 0.02) / 6 / 3)
    assert first["psnr_y_high"] - first["psnr_y"] == pytest.approx(half, rel=1e-3)
    assert first["psnr_y"] - first["psnr_y_low"] == pytest.approx(half, rel=1e-3)
    assert [each["apart_from_next"] for each in (first, second, third)] == [False, True, None]
    record = json.loads(as_json(found))
    assert record["comparison"]["told"].startswith(
        "Neighbours on the front that can't be told apart: 0 and 1 (+0.040 dB, p 0.7"
    )
    assert [each["apart"] for each in record["comparison"]["neighbours"]] == [False, True]
    lines = list(csv.DictReader(io.StringIO(front_csv(found))))
    assert [line["apart_from_next"] for line in lines] == ["False", "True", ""]


def test_rows_of_a_study_for_ssim_carry_its_means(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        fill(store, tmp_path, {CHEAP: GAINS[CHEAP]}, objectives=("ssim", "gmacs"))
        found = overview(store, NAME)
        (first,) = rows(found)
        once = found.objectives[0].find(found.trials[0].measurements)
        assert once is not None
        assert first["ssim_y"] == found.front.members[0].values[0] == pytest.approx(once - 0.002)


def test_the_table_shows_half_of_the_interval_and_the_trainings(store: Store) -> None:
    found = overview(store, NAME)
    text = printed(front_table(found), width=200)
    assert "9 of 9 trials complete, 6 of them repeats" in text
    bicubic = found.baseline[1]
    assert [line[-2] for line in cells(text)[1:]] == [
        f"{bicubic + gain:.3f} ± 0.169 (3)" for gain in (0.7, 0.74, 1.6)
    ]
    assert "can't be told apart: 0 and 1 (+0.040 dB" in text


def test_without_repeats_nothing_is_said_of_intervals(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        fill(store, tmp_path, {chain: values[:1] for chain, values in GAINS.items()})
        found = overview(store, NAME)
        assert found.comparison is None
        assert "trainings" not in rows(found)[0]
        assert "±" not in printed(front_table(found))
        assert "comparison" not in json.loads(as_json(found))


def test_the_figure_has_a_bar_for_each_member(store: Store, tmp_path: Path) -> None:
    drawn = save_front_figure(overview(store, NAME), tmp_path / "front.svg").read_text()
    assert "95 % interval" in drawn
    assert drawn.count("LineCollection") == 1


def test_reports_tell_of_the_intervals(store: Store) -> None:
    for form in ("md", "html"):
        text = render(store, NAME, form)
        assert "± 0.169 (3)" in text
        assert text.count("told apart: 0 and 1") >= 2  # in the summary and below the table
        assert "9 trials (6 repeats among them)" in text
    assert json.loads(render(store, NAME, "json"))["comparison"]["neighbours"][0]["apart"] is False
    lines = list(csv.DictReader(io.StringIO(render(store, NAME, "csv"))))
    assert [line["repeat"] for line in lines] == ["", "", "", "1", "2", "1", "2", "1", "2"]


def test_the_dashboards_front_is_the_same(store: Store) -> None:
    found = overview(store, NAME)
    snapshot = StudyColumns(store, found.study.id).snapshot()
    assert snapshot.first.tolist() == [0, 1, 2, 0, 0, 1, 1, 2, 2]
    columns = {column.key: column for column in columns_of(found.study, snapshot)}
    macs = next(c for c in columns.values() if c.name == "macs" and c.protocol.startswith("exact"))
    quality = next(c for c in columns.values() if [c.name, c.protocol] == found.study.data["objective"])
    front = fronts.front(found.study, snapshot, macs, quality)
    assert front.numbers.tolist() == [0, 1, 2]
    assert front.considered == 3
    assert front.hypervolume == pytest.approx(found.front.hypervolume)
    assert fronts.means(snapshot, quality)[:3] == pytest.approx([p.quality for p in found.front.points])
    assert fronts.best(found.study, snapshot, macs, quality) == found.best.number

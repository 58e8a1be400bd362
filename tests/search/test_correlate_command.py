"""``correlate``: of a study with real networks; proxies are kept, runtimes go on record."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evaluators.measure.proxies import PROXIES
from evaluators.measure.runtime import place
from results.analysis.correlation import RUNTIMES
from results.store.store import Store
from search.cli import app
from search.study.opening import Place, only_driver
from spaces.architecture import Block
from spaces.measurement import Measurement
from spaces.topologies.chain import Chain
from tests.results.studies import NAME, complete, new_study, scores, setup


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of a study of five networks."""
    runs = tmp_path_factory.mktemp("runs")
    with Store.open(str(runs / "pixelfront.db")) as store:
        bench = setup(runs / "images")
        study = new_study(store, bench)
        for n, kind in enumerate(("residual", "rfdb", "ghost", "imdb", "hin")):
            chain = Chain(width=4, blocks=(Block(kind),))
            complete(store, study, chain, scores(bench, 0.1 * n), runs / NAME)
    return runs


def said(runs: Path, *arguments: str) -> str:
    result = CliRunner().invoke(
        app, ["correlate", NAME, "--runs", str(runs), *arguments], catch_exceptions=False
    )
    assert result.exit_code == 0
    return result.stdout


def told(runs: Path, *arguments: str) -> dict[str, object]:
    return {each["key"]: each for each in json.loads(said(runs, "--json", *arguments))["with_objective"]}


def test_the_table_is_of_what_is_on_record(made: Path, tmp_path: Path) -> None:
    text = said(made, "--plot", str(tmp_path / "map.svg"))
    assert "Rank correlation with psnr_y, 5 networks" in text
    assert "synflow" not in text
    assert "<svg" in (tmp_path / "map.svg").read_text()


def test_proxies_come_with_their_correlation_and_are_measured_once(made: Path) -> None:
    first = told(made, "--proxies")
    for name in PROXIES:
        assert first[name]["n"] == 5  # type: ignore[index]
        assert first[name]["spearman"]["low"] < first[name]["spearman"]["high"]  # type: ignore[index]
    file = made / NAME / "proxies.json"
    kept, time = json.loads(file.read_text()), file.stat().st_mtime_ns
    assert kept["protocol"].startswith("untrained, seed 0, 16 patches of 16x16 of train (")
    assert told(made, "--proxies") == first
    assert file.stat().st_mtime_ns == time
    assert not PROXIES.keys() & told(made).keys()


def test_what_was_kept_of_other_patches_or_cut_off_is_measured_anew(made: Path) -> None:
    first = told(made, "--proxies")
    file = made / NAME / "proxies.json"
    kept = json.loads(file.read_text())
    wrong = {digest: dict.fromkeys(PROXIES, 1.0) for digest in kept["values"]}
    for text in (json.dumps({"protocol": "other", "values": wrong}), file.read_text()[:50]):
        file.write_text(text)
        assert told(made, "--proxies") == first


def test_runtimes_go_on_record_where_they_are_missing(made: Path) -> None:
    with Store.open(str(made / "pixelfront.db"), create=False) as store:
        study = store.study(NAME)
        protocol = f"earlier, {place('cpu', 1)}"
        for n, trial in enumerate(store.trials(study.id)[1:]):
            store.add_measurements(trial.id, [Measurement("latency_ms", 1.0 + n, "ms", "min", protocol)])
    found = told(made, "--latency")
    assert found == told(made, "--latency") == told(made)
    with Store.open(str(made / "pixelfront.db"), create=False) as store:
        trials = store.trials(study.id)
    runtimes = [[m for m in trial.measurements if m.name in RUNTIMES] for trial in trials]
    latency, memory = runtimes[0]
    assert latency.value > 0
    assert latency.protocol.startswith(
        "median (and quartiles) of 10 runs after 2, float32, 1x3x256x256, 1 thread"
    )
    assert memory.value > 1e6
    assert [[m.protocol for m in each] for each in runtimes[1:]] == [[protocol]] * 4


def test_a_study_that_runs_isnt_timed(made: Path) -> None:
    with only_driver(Place("", made), NAME):
        result = CliRunner().invoke(app, ["correlate", NAME, "--runs", str(made), "--latency"])
    assert "is being run by process" in str(result.exception)


def test_proxies_need_the_studys_own_images(made: Path, tmp_path: Path) -> None:
    images, away = made / "images" / "train", tmp_path / "away"
    shutil.copytree(images, away)
    one = next(images.glob("*.png"))
    one.unlink()
    try:
        result = CliRunner().invoke(app, ["correlate", NAME, "--runs", str(made), "--proxies"])
        assert "proxies are of the study's own; put these back" in str(result.exception)
    finally:
        shutil.copy(away / one.name, one)


def test_an_unknown_study_is_refused(made: Path) -> None:
    result = CliRunner().invoke(app, ["correlate", "phones", "--runs", str(made)])
    assert "phones" in str(result.exception)
    assert result.exit_code != 0

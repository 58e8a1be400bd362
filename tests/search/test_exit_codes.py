"""Exit codes as docs/exit-codes.md tells them, from real processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from results.store.store import Store
from tests.conftest import ROOT
from tests.results.studies import NAME, fill
from tests.search.stages.test_finish import cut_off
from tests.search.test_cli import run
from tests.search.test_end_to_end import query, start, wait_for

PAGE = (ROOT / "docs" / "exit-codes.md").read_text()
CASES = {
    case: int(code) for case, code in re.findall(r"^\| (`.*|a .*) \| (\d+) \|$", PAGE, flags=re.MULTILINE)
}
SHORT = (  # noqa: SIM905
    "search --max-gmacs 0.6 --strategy tpe --trials 2 --steps 6 --batch 2 --patch 16 --rungs 2 --depths 1 --widths 8 "
    "--blocks rfdb,ghost --upsamplers pixelshuffle --workers 1 --precision float32 --no-finish --study short"
).split()
NO_FRONT = "no complete trial yet, so there is no front"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that has a front."""
    folder = tmp_path_factory.mktemp("filled")
    (folder / "runs").mkdir()
    with Store.open(folder / "runs" / "pixelfront.db") as store:
        fill(store, folder)
    return folder


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that was interrupted before any network was trained to the end."""
    made, folder = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("cut")
    cut_off(made)
    shutil.copytree(made / "runs", folder / "runs")
    shutil.copy(made / "results.db", folder / "runs" / "pixelfront.db")
    return folder


def test_the_page_tells_of_all_codes() -> None:
    assert set(CASES.values()) == {0, 1, 2}
    assert re.findall(r"^\| (\d+) \| ", PAGE, flags=re.MULTILINE) == ["0", "1", "2", "130"]
    assert len(CASES) == 18


def test_reading_a_study_with_a_front(filled: Path) -> None:
    run("front", NAME, cwd=filled, code=CASES["`front`: there is a front"])
    whatever = CASES["`studies`, `show STUDY TRIAL`, `report`: whatever the study holds"]
    run("studies", cwd=filled, code=whatever)
    run("show", NAME, "3", cwd=filled, code=whatever)
    missing = CASES["a study or trial that doesn't exist"]
    run("front", "another", cwd=filled, code=missing)
    run("export", NAME, "77", "-o", "x.onnx", cwd=filled, code=missing)


def test_reading_a_study_without_a_front(cut: Path) -> None:
    none = CASES["`front`: there is none; the preliminary front is printed"]
    printed = run("front", NAME, cwd=cut, code=none).stdout
    assert NO_FRONT in printed
    assert "preliminary front at step " in printed
    assert re.search(rf"pixelfront finish {NAME} --time \d+s", printed)
    told = run("front", NAME, "--json", cwd=cut, code=none)
    assert json.loads(told.stdout)["preliminary"]["members"]
    assert told.stderr.startswith(f"pixelfront: {NO_FRONT}")
    assert run("front", NAME, "--csv", cwd=cut, code=none).stdout.count("False") >= 1
    run(
        "front",
        NAME,
        "--preliminary",
        cwd=cut,
        code=CASES["`front --preliminary`: there is a preliminary front"],
    )
    best = CASES["`show STUDY best`, `export STUDY best`: there is no front"]
    assert NO_FRONT in run("show", NAME, "best", cwd=cut, code=best).stderr
    assert NO_FRONT in run("export", NAME, "best", "-o", "x.onnx", cwd=cut, code=best).stderr
    assert "paused: interrupted" in run("studies", cwd=cut).stdout
    run(
        "report",
        NAME,
        cwd=cut,
        code=CASES["`studies`, `show STUDY TRIAL`, `report`: whatever the study holds"],
    )


@pytest.mark.slow
def test_exporting_a_network_that_is_not_trained_to_the_end(cut: Path) -> None:
    with closing(sqlite3.connect(cut / "runs" / "pixelfront.db")) as connection:
        number = connection.execute("SELECT number FROM trials WHERE state = 'paused'").fetchone()[0]
    message = run(
        "export",
        NAME,
        number,
        "-o",
        "x.onnx",
        cwd=cut,
        code=CASES["`export STUDY TRIAL`: the trial isn't complete"],
    ).stderr
    assert f"pixelfront finish {NAME} --trials {number} --time " in message
    assert not (cut / "x.onnx").exists()
    code = CASES["`export STUDY TRIAL --preliminary`: the trial is at a rung"]
    run("export", NAME, number, "--preliminary", "-o", "x.safetensors", cwd=cut, code=code)
    assert "Preliminary: step " in (cut / "x.safetensors.md").read_text()
    both = run("export", NAME, number, "--preliminary", "--int8", "-o", "x.onnx", cwd=cut, code=2).stderr
    assert "trained to the end" in both


@pytest.mark.slow
def test_finishing_ends_as_what_it_gives(cut: Path, tmp_path: Path) -> None:
    shutil.copytree(cut, tmp_path / "own")
    folder = tmp_path / "own"
    message = run("finish", NAME, "--trials", "3,x", cwd=folder, code=2).stderr
    assert "expected numbers of trials like 3,7" in message
    # Of noise, which networks that start near the nearest neighbour restore better than bicubic.
    better = CASES["`search`, `run`, `finish`: a front with networks that beat the trivial method"]
    printed = run("finish", NAME, "--workers", "1", cwd=folder, code=better).stdout
    assert "preliminary front at step " in printed
    assert (folder / "runs" / NAME / "winner.onnx").exists()
    run("front", NAME, cwd=folder, code=CASES["`front`: there is a front"])
    resumed = run("search", "--resume", "--study", NAME, "--no-finish", cwd=folder, code=better).stdout
    assert "All trials are done." in resumed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "case", "said", "state"),
    [
        (
            ("--trials", "1"),
            "`search`, `run`, `finish`: no network of the front beats the trivial method",
            "no trial beats bicubic",
            "complete",
        ),
        (
            ("--limit", "psnr>=60"),
            "`search`, `run`, `finish`: networks were trained to the end, but none reaches the quality or keeps to the "
            "limits",
            "none of the 2 complete trials of study 'short' meets psnr>=60",
            "complete",
        ),
        (
            ("--lr", "1e30"),
            "`search`, `run`, `finish`: all trainings failed",
            "all 2 trials failed: diverged: the loss became",
            "failed",
        ),
    ],
)
def test_a_search_ends_as_what_it_gives(
    tmp_path: Path, more: tuple[str, ...], case: str, said: str, state: str
) -> None:
    assert said in run(*SHORT, *more, cwd=tmp_path, code=CASES[case]).stdout
    assert state in run("studies", cwd=tmp_path).stdout


@pytest.mark.slow
def test_a_time_that_no_training_fits_into_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        'max_gmacs = 0.6\ntrials = 2\ntime = "2m"\nstrategy = "tpe"\n[space]\ndepths = "1"\nwidths = "8"\n'
        'blocks = "ghost"\n[training]\nsteps = 10000000\nbatch = 2\npatch = 16\n[workers]\nnumber = 1\n'
    )
    code = CASES["`search`, `run`, `plan`: a time that not one training fits into"]
    message = run("run", "run.toml", "--study", "short", cwd=tmp_path, code=code).stderr
    assert "2m aren't enough for one training: 10000000 steps" in message
    assert not (tmp_path / "runs" / "short").exists()


@pytest.mark.slow
def test_a_search_that_is_interrupted_without_a_front(tmp_path: Path) -> None:
    process = start(tmp_path, *SHORT, "--steps", "100000", "--rungs", "2")
    wait_for(lambda: trials(tmp_path, "running") > 0, process)
    os.kill(process.pid, signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == CASES["`search`, `run`: interrupted by Ctrl-C, and there is none"], output
    assert "Interrupted; go on with: pixelfront search --study short --resume" in output
    assert NO_FRONT in output
    assert "paused: interrupted" in run("studies", cwd=tmp_path).stdout


def trials(folder: Path, state: str) -> int:
    """How many are in that state."""
    try:
        return int(query(folder, f"SELECT COUNT(*) FROM trials WHERE state = '{state}'")[0][0])
    except sqlite3.OperationalError:
        return 0


@pytest.mark.slow
def test_a_time_that_is_enough_for_no_network(cut: Path, tmp_path: Path) -> None:
    shutil.copytree(cut, tmp_path / "own")
    with closing(sqlite3.connect(tmp_path / "own" / "runs" / "pixelfront.db")) as connection:
        connection.execute("UPDATE rungs SET seconds = 3600 * step")
        connection.commit()
    code = CASES["`finish`: the time is enough for no network"]
    message = run("finish", NAME, "--time", "60s", cwd=tmp_path / "own", code=code).stderr
    assert re.search(rf"pixelfront finish {NAME} --trials \d+ --time \d+h", message)

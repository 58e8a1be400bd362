"""The commands that hand a whole study over: report, and export --to-optuna."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import optuna
import pytest

from results.store.store import Store
from search.cli import main
from tests.results.studies import NAME, fill


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    (folder / "runs").mkdir()
    with Store.open(folder / "runs" / "pixelfront.db") as store:
        fill(store, folder)
    return folder


@pytest.fixture
def pixelfront(stored, tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder; its exit code, what it printed, and its messages."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["pixelfront", *map(str, arguments), "--runs", str(stored / "runs")])
        with pytest.raises(SystemExit) as exit_:
            main()
        return int(exit_.value.code or 0), *capsys.readouterr()

    return call


@pytest.mark.parametrize(
    ("arguments", "file", "begins"),
    [
        ((), f"{NAME}.html", "<!doctype html>"),
        (("-o", "out/r.md"), "out/r.md", f"# {NAME}"),
        (("--format", "csv"), f"{NAME}.csv", "trial,stage,state"),
        (("-o", "r.txt", "--format", "json"), "r.txt", "{"),
    ],
)
def test_a_report_is_written_in_the_form_that_its_name_says(pixelfront, tmp_path, arguments, file, begins):
    code, printed, _ = pixelfront("report", NAME, *arguments)
    assert code == 0
    assert printed.startswith(f"{file}: ")
    assert (tmp_path / file).read_text().lstrip().startswith(begins)


def test_a_report_can_be_printed(pixelfront, tmp_path):
    code, printed, _ = pixelfront("report", NAME, "-o", "-", "--format", "json")
    assert code == 0
    assert json.loads(printed)["study"]["name"] == NAME
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report", NAME, "-o", "r.txt"), "expected a report named .html, .md, .csv, .json, got 'r.txt'"),
        (("report", "phon"), "did you mean 'phone'?"),
        (("export", NAME), "expected a TRIAL and --output FILE, or --to-optuna URL"),
        (("export", NAME, "best", "--to-optuna", "sqlite:///o.db"), "leave TRIAL and --output out"),
        (("export", NAME, "best", "-o", "m.onnx", "--replace"), "--replace is for --to-optuna"),
        (("export", NAME, "--to-optuna", "o.db"), "expected sqlite:///FILE"),
    ],
)
def test_bad_requests_are_one_message(pixelfront, tmp_path, arguments, message):
    code, _, told = pixelfront(*arguments)
    assert code == 2
    assert told.startswith("pixelfront: ")
    assert message in told
    assert list(tmp_path.iterdir()) == []


def test_a_study_goes_to_optuna(pixelfront, tmp_path):
    code, printed, _ = pixelfront("export", NAME, "--to-optuna", f"sqlite:///{tmp_path / 'o.db'}")
    assert code == 0
    assert "study 'phone', 4 trials; 2 that haven't ended are left out" in printed
    assert len(optuna.load_study(study_name=NAME, storage=f"sqlite:///{tmp_path / 'o.db'}").trials) == 4

"""``pixelfront export --int8``: calibrated on the study's images, judged by its protocol, told on the card."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import PIL.Image
import pytest

from evaluators.trial import score
from results.export.files import load_network
from results.store.artifacts import weights_path
from results.store.store import Store
from search.stages.int8 import KIND, export_int8, study_data
from spaces.architecture import Architecture
from tests.results.studies import CHEAP, NAME, TASK, fill

PSNR = r"psnr_y \d+\.\d{3} -> (-?\d+\.\d{3}) dB \(Y, 8-bit, border 2, on "


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies' files with one study, whose images are of noise."""
    folder = tmp_path_factory.mktemp("runs")
    with Store.open(folder / "pixelfront.db") as store:
        fill(store, folder / NAME)
    return folder


@pytest.fixture
def store(runs: Path) -> Iterator[Store]:
    with Store.open(runs / "pixelfront.db", create=False) as opened:
        yield opened


def run(runs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from search.cli import main; main()", "export", NAME, *arguments]
    return subprocess.run([*command, "--runs", str(runs)], capture_output=True, text=True)


def test_a_trial_becomes_an_int8_file_with_its_card(runs: Path, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "new" / "small.onnx"
    done = run(runs, "0", "-o", str(path), "--int8", "--calibration-patches", "4")
    assert done.returncode == 0, done.stderr
    assert len(re.findall(PSNR, done.stdout)) == 2  # validation and test
    assert re.search(r"file [\d,]+ -> [\d,]+ bytes", done.stdout)
    assert "1x3x256x256, 1 thread(s) of " in done.stdout
    card = path.with_name("small.onnx.md").read_text()
    assert (
        "4 patches of 24x24 of the training images (digest " in card
    )  # training's 16, mirrored to what ESA needs
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "small.json",
        "small.onnx",
        "small.onnx.md",
    ]
    assert Architecture.from_json(path.with_name("small.json").read_text()) == CHEAP
    study = store.study(NAME)
    (record,) = store.artifacts(store.trial(study.id, 0).id, kind=KIND)
    assert (record.path, record.bytes) == (str(path), path.stat().st_size)
    assert f"SHA-256 `{record.sha256}`" in card
    weights = [t for t in onnx.load(path).graph.initializer if len(t.dims) == 4]
    assert {t.data_type for t in weights} == {onnx.TensorProto.INT8}


def test_both_files_are_scored_as_the_network_is(runs: Path, store: Store, tmp_path: Path) -> None:
    study = store.study(NAME)
    trial = store.trial(study.id, 0)
    data, test = study_data(study)
    assert test is not None
    made = export_int8(store, study, trial, data, test, tmp_path / "m.onnx", patches=4, folder=runs / NAME)
    network = load_network(CHEAP, TASK, weights_path(store, trial, folder=runs / NAME))
    expected = score(network, TASK.name, data.validation) + score(network, TASK.name, test)
    before = [pair[0] for pair in made.compared if pair[0].name not in ("file", "latency")]
    assert [m.key for m in before] == [m.key for m in expected]
    assert [m.value for m in before] == pytest.approx([m.value for m in expected], abs=0.01)
    assert all(before.key == after.key for before, after in made.compared)
    objective = [after.value for _, after in made.compared if list(after.key) == study.data["objective"]]
    assert objective == [pytest.approx(made.file.score_after, abs=1e-9)]
    again = export_int8(store, study, trial, data, test, tmp_path / "n.onnx", patches=4, folder=runs / NAME)
    assert (again.file.sha256, again.file.digest) == (made.file.sha256, made.file.digest)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "m.onnx", "--max-drop", "0.1"), "--max-drop is the loss that INT8 may cost: give --int8 too"),
        (("-o", "m.onnx", "--int8", "--max-drop", "-1"), "--max-drop is a loss in dB of at least 0"),
        (
            ("-o", "m.onnx", "--int8", "--calibration-patches", "0"),
            "no calibration images: expected at least 1",
        ),
        (("-o", "m.pt2", "--int8"), "--int8 writes an ONNX file, got pt2"),
    ],
)
def test_what_cannot_be_asked_for_is_one_line(
    arguments: tuple[str, ...], words: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    done = run(runs, "0", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("pixelfront: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_other_images_than_the_studys_are_refused(store: Store, runs: Path) -> None:
    study = store.study(NAME)
    file = next(Path(study.config["data"]["train"]).iterdir())
    before = file.read_bytes()
    try:
        PIL.Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(file)
        with pytest.raises(
            ValueError, match=r"the train images aren't those of study 'phone': expected digest"
        ):
            study_data(study)
    finally:
        file.write_bytes(before)

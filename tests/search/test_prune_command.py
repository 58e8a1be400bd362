"""``prune``, ``distill``, ``finetune`` and ``run`` as their user meets them: figures, messages, exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from evaluators.trial import weights_of
from results.store.store import Store
from search.cli import main
from spaces.baselines import published
from spaces.build import build
from tests.results.studies import NAME, fill, photographs

Said = Callable[..., tuple[str, str]]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a command in a folder that holds a study; gives what it printed."""
    monkeypatch.chdir(tmp_path)
    with Store.open(tmp_path / "runs" / "pixelfront.db") as store:
        fill(store, tmp_path / "runs" / NAME)

    def call(*arguments: object, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["pixelfront", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        found = capsys.readouterr()
        assert (exit_.value.code or 0) == code, found.err
        return found.out, found.err

    return call


def test_prune_says_what_it_cost_and_gave_and_what_comes_next(said: Said) -> None:
    text, _ = said("prune", NAME, "best", "--ratio", 0.5)
    assert "channels in" in text
    assert "from the network with these channels masked" in text
    assert f"next: pixelfront distill --student {NAME}:6 --teacher {NAME}:2" in text
    record = json.loads(said("prune", NAME, "2", "--ratio", 0.5, "--json")[0])
    parent, pruned = record["trials"]
    assert pruned["trial"] == 6  # the same again is the same trial
    assert pruned["parent"] == parent["trial"] == 2
    assert 0 <= pruned["under_target_percent"] <= 1
    assert pruned["gmacs"] <= pruned["target_gmacs"] == pytest.approx(parent["gmacs"] / 2)
    assert pruned["psnr_y_change"] == pytest.approx(pruned["psnr_y"] - parent["psnr_y"])
    assert "test_psnr_y" in pruned
    assert record["protocol"].startswith("Y, 8-bit, border 2")
    shown, _ = said("show", NAME, "6")
    assert "criterion taylor" in shown


def test_a_pruned_networks_files_are_read_by_the_other_commands(said: Said) -> None:
    (_, pruned) = json.loads(said("prune", NAME, "2", "--ratio", 0.5, "--json")[0])["trials"]
    said("export", NAME, pruned["trial"], "-o", "p.safetensors")
    said("export", NAME, pruned["trial"], "-o", "p.onnx")
    profile = json.loads(said("profile", "p.json", "--task", "sr-x2", "--json")[0])
    assert profile["total"]["gmacs"] == pytest.approx(pruned["gmacs"])
    assert json.loads(said("profile", "p.json", "--json")[0])["architecture"]["topology"] == "pruned"
    arguments = (
        "p.safetensors",
        "--data",
        Path("runs", NAME, "images/test/HR"),
        "--timed-runs",
        0,
        "--json",
    )
    found = json.loads(said("evaluate", *arguments)[0])
    assert found["task"] == "sr-x2"


def test_a_published_network_gets_a_study_that_goes_on(said: Said, tmp_path: Path) -> None:
    known = published("pan-x2")
    torch.manual_seed(0)
    (tmp_path / "pan.safetensors").write_bytes(weights_of(build(known.architecture, known.task)))
    images = photographs(tmp_path / "own")
    folders = [
        *("--data", images["data.train"], "--val", images["data.validation"]),
        *("--set", "training.patch=16"),
    ]
    start = ("prune", "--baseline", "pan-x2", "--weights", "pan.safetensors", *folders, "--json")
    first = json.loads(said(*start, "--ratio", 0.8, "--criterion", "l1")[0])
    assert first["study"] == "pan-x2-1"
    assert [t["stage"] for t in first["trials"]] == ["published", "prune"]
    again = json.loads(said(*start, "--study", "pan-x2-1", "--ratio", 0.8, "--criterion", "l1")[0])
    assert again["trials"] == first["trials"]
    other = json.loads(said("prune", "pan-x2-1", 0, "--ratio", 0.7, "--criterion", "l1", "--json")[0])
    assert [t["trial"] for t in other["trials"]] == [0, 2]
    text, _ = said("front", "pan-x2-1")
    assert "published" in text
    with Store.open(tmp_path / "runs" / "pixelfront.db") as store:
        assert store.study("pan-x2-1").state == "complete"


@pytest.mark.slow
def test_a_pruned_trial_is_distilled_and_finetuned(said: Said) -> None:
    _, pruned = json.loads(said("prune", NAME, 2, "--ratio", 0.6, "--json")[0])["trials"]
    number = pruned["trial"]
    teachers = ("--teacher", f"{NAME}:0", "--teacher", f"{NAME}:best")
    arguments = (
        "--steps",
        6,
        "--lambda",
        0.7,
        "--distance",
        "l2",
        "--features",
        0.1,
        "--workers",
        1,
        "--json",
    )
    distill = ("distill", "--student", f"{NAME}:{number}", *teachers, *arguments)
    found = json.loads(said(*distill)[0])
    assert [trial["stage"] for trial in found["trials"]] == ["prune", "distil"]
    assert found["trials"][1]["parent"] == number
    assert found["notes"][0].startswith(f"teacher {NAME}:0 + {NAME}:2: psnr_y ")
    assert json.loads(said(*distill)[0]) == found  # the same again is the same trial
    tuned = json.loads(said("finetune", NAME, number, "--steps", 6, "--workers", 1, "--json")[0])
    assert tuned["trials"][1]["stage"] == "finetune"
    assert tuned["next"] == f"pixelfront export {NAME} 8 -o {NAME}-8.onnx"


BAD = {
    "target above": (
        ("prune", NAME, "2", "--to-gmacs", 50),
        "a target of 50 GMACs isn't below what trial 2 costs",
    ),
    "target below": (
        ("prune", NAME, "2", "--to-gmacs", 1e-5),
        "what the smallest widths of trial 2 cost, 0.",
    ),
    "rounding too coarse": (
        ("prune", NAME, "2", "--ratio", 0.5, "--round-to", 64),
        "smallest widths in multiples of 64 of trial 2 cost",
    ),
    "published target above": (
        ("prune", "--baseline", "rfdn", "--weights", "none.pth", "--to-gmacs", 50),
        "isn't below what 'rfdn' costs, 27.03 GMACs",
    ),
    "published recovery": (
        ("prune", "--baseline", "rfdn", "--weights", "none.pth", "--ratio", 0.5, "--recovery", "distil"),
        "that recipe needs a teacher",
    ),
    "no target": (("prune", NAME, "2"), "one of --to-gmacs G and --ratio R, got neither"),
    "two targets": (("prune", NAME, "2", "--to-gmacs", 1, "--ratio", 0.5), "got both"),
    "ratio": (
        ("prune", NAME, "2", "--ratio", 1.5),
        "--ratio is the share of MACs to keep, between 0 and 1, got 1.5",
    ),
    "criterion": (
        ("prune", NAME, "2", "--ratio", 0.5, "--criterion", "l3"),
        "unknown criterion 'l3': did you mean",
    ),
    "rounding": (("prune", NAME, "2", "--ratio", 0.5, "--round-to", 0), "are at least 1, got 0 and 1"),
    "iterations": (
        ("prune", NAME, "2", "--ratio", 0.5, "--iterations", 2),
        "--iterations 2 needs a training between",
    ),
    "recovery": (("prune", NAME, "2", "--ratio", 0.5, "--recovery", "fintune"), "did you mean 'finetune'"),
    "taught recovery": (
        ("prune", NAME, "2", "--ratio", 0.5, "--recovery", "distil"),
        "that recipe needs a teacher",
    ),
    "steps of nothing": (
        ("prune", NAME, "2", "--ratio", 0.5, "--recovery-steps", 9),
        "needs --recovery RECIPE",
    ),
    "sparsity": (("prune", NAME, "2", "--ratio", 0.5, "--sparsity", 1), "needs both: --sparsity X"),
    "no network": (("prune", "--ratio", 0.5), "expected STUDY TRIAL, or --baseline NAME --weights FILE"),
    "no weights": (
        ("prune", "--baseline", "rfdn", "--ratio", 0.5),
        "--baseline NAME needs its --weights FILE",
    ),
    "wrong weights": (
        ("prune", "--baseline", "pan-x2", "--weights", "none.pth", "--ratio", 0.5),
        "none.pth: no such file; expected a .pth",
    ),
    "study of nothing": (
        ("prune", NAME, "2", "--study", "x", "--ratio", 0.5),
        "--study names the study of a",
    ),
    "failed trial": (("prune", NAME, "3", "--ratio", 0.5), "trial 3 is failed (diverged"),
    "unknown study": (("prune", "phoney", "2", "--ratio", 0.5), "phone"),
    "student": (("distill", "--student", "2", "--teacher", "x"), "a student is STUDY:TRIAL"),
    "teacher": (
        ("distill", "--student", f"{NAME}:2", "--teacher", "x"),
        "a teacher is STUDY:TRIAL, NAME=WEIGHTS",
    ),
    "untaught": (
        ("distill", "--student", f"{NAME}:2", "--teacher", f"{NAME}:0", "--recipe", "finetune"),
        "recipe 'finetune' has no stage with a teacher: use another, or give --lambda or --features",
    ),
    "lambda": (
        ("distill", "--student", f"{NAME}:2", "--teacher", f"{NAME}:0", "--lambda", 2),
        "a stage's 'distil' is from 0 to 1, got 2",
    ),
    "distance": (
        ("distill", "--student", f"{NAME}:2", "--teacher", f"{NAME}:0", "--distance", "l3"),
        "unknown distance 'l3': did you mean",
    ),
    "taught finetuning": (
        ("finetune", NAME, "2", "--recipe", "distil"),
        "needs a teacher: use 'pixelfront distill'",
    ),
    "run without a budget": (("run",), "give the compute budget"),
    "run's criterion": (
        ("run", "--set", "max_gmacs=1", "--set", "prune.criterion=l3"),
        "unknown criterion 'l3'",
    ),
    "run's ladder": (
        ("run", "--set", "max_gmacs=1", "--set", "prune.ratios=0.5"),
        "prune.ratios: expected a list, as [A, B], got 0.5",
    ),
    "run's quality": (
        ("run", "--set", "max_gmacs=1", "--set", "min_psnr=nan"),
        "pixelfront: min_psnr: expected a quality in dB or a published network's name, got nan",
    ),
    "run's steps": (
        ("run", "--set", "max_gmacs=1", "--set", "distil.steps=1"),
        "recipe distil: expected at least 2 steps",
    ),
    "run of nothing": (("run", "--resume"), "--resume needs --study NAME"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_leaves_nothing(said: Said, tmp_path: Path, case: str) -> None:
    arguments, message = BAD[case]
    with Store.open(tmp_path / "runs" / "pixelfront.db") as store:
        before = [store.trials(s.study.id) for s in store.studies() if s.study.name == NAME]
    _, error = said(*arguments, code=2)
    assert error.splitlines()[-1].startswith("pixelfront: ")
    assert message in error
    with Store.open(tmp_path / "runs" / "pixelfront.db") as store:
        assert [store.trials(s.study.id) for s in store.studies()] == before

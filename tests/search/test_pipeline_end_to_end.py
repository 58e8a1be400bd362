"""The whole pipeline as its user runs it: real processes; killed in each stage, interrupted, resumed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from tests.search.test_cli import run
from tests.search.test_end_to_end import NOTHING_BETTER, query, start, wait_for

pytestmark = pytest.mark.slow

CONFIG = """
max_gmacs = 0.6
strategy = "tpe"
trials = 3
seed = 3
[space]
depths = "1:2"
widths = "8:16:4"
blocks = "rfdb,ghost"
upsamplers = "pixelshuffle,transposed"
[training]
steps = 24
batch = 4
patch = 16
rungs = 3
precision = "float32"
[workers]
number = 2
[prune]
members = 1
ratios = [0.8, 0.5]
iterations = 2
recovery_steps = 24
[distil]
steps = 24
[export]
int8 = true
"""
TRIALS = (
    "SELECT t.number, t.stage, t.digest, t.state, m.value FROM trials t JOIN studies s ON s.id = t.study_id "
    "LEFT JOIN measurements m ON m.trial_id = t.id AND m.step IS NULL AND m.name = 'psnr_y' "
    "AND m.protocol LIKE '%validation%' WHERE s.name = '{}' ORDER BY t.number"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run, and what it printed."""
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "small.toml").write_text(CONFIG)
    return folder, run("run", "small.toml", "--study", "straight", code=NOTHING_BETTER, cwd=folder).stdout


def trials(folder: Path, study: str) -> list[Any]:
    return query(folder, TRIALS.format(study))


def test_one_command_goes_from_a_task_and_a_budget_to_the_winner(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    assert [stage for _, stage, *_ in trials(folder, "straight")] == (
        ["search"] * 3 + ["prune"] * 2 + ["finetune"] * 2 + ["prune"] * 2 + ["distil"] * 2
    )
    assert {state for *_, state, _ in trials(folder, "straight")} == {"complete"}
    assert "under target" in printed
    place = folder / "runs" / "straight"
    assert {"front.png", "comparison.png", "winner.onnx", "winner.onnx.md", "winner.int8.onnx"} <= {
        path.name for path in place.iterdir()
    }
    for name in ("winner.onnx", "winner.int8.onnx"):
        onnxruntime.InferenceSession(place / name)
    front = json.loads(run("front", "straight", "--json", cwd=folder).stdout)
    assert front["trials"] == 11
    assert all(member["gmacs"] <= 0.6 for member in front["front"])
    last = trials(folder, "straight")[-1][0]
    shown = run("show", "straight", last, cwd=folder).stdout
    assert [word for word in shown.split() if word in ("search", "prune", "finetune")][-4:] == [
        "search",
        "prune",
        "finetune",
        "prune",
    ]


def reached(folder: Path, study: str, stage: str, state: str) -> Callable[[], bool]:
    """Whether a trial of the stage is in that state."""

    def condition() -> bool:
        try:
            return any((s, t) == (stage, state) for _, s, _, t, _ in trials(folder, study))
        except sqlite3.OperationalError:
            return False

    return condition


def scored(folder: Path, study: str, stage: str) -> Callable[[], bool]:
    """Whether a running trial of the stage has a rung on record."""
    sql = (
        "SELECT COUNT(*) FROM rungs r JOIN trials t ON t.id = r.trial_id JOIN studies s ON s.id = t.study_id "
        f"WHERE s.name = '{study}' AND t.stage = '{stage}' AND t.state = 'running'"
    )
    return lambda: query(folder, sql) != [(0,)]


def test_a_run_that_is_killed_or_stopped_in_every_stage_ends_as_one_that_was_not(
    finished: tuple[Path, str],
) -> None:
    folder, _ = finished
    again = ("run", "--resume", "--study", "killed")
    kill = signal.SIGKILL
    for arguments, condition, how in (
        (("run", "small.toml", "--study", "killed"), reached(folder, "killed", "search", "complete"), kill),
        (again, reached(folder, "killed", "prune", "complete"), kill),
        (again, scored(folder, "killed", "finetune"), signal.SIGINT),
        (again, scored(folder, "killed", "distil"), kill),
    ):
        process = start(folder, *arguments)
        wait_for(condition, process)
        os.kill(process.pid, how)
        output = process.communicate(timeout=60)[0]
        if how == signal.SIGINT:
            assert process.returncode == 0, output
            assert "go on with: pixelfront run --study killed --resume" in output
            assert "Traceback" not in output
            assert "running" not in {state for *_, state, _ in trials(folder, "killed")}
            assert query(folder, "SELECT state FROM studies WHERE name = 'killed'") == [("paused",)]
    run(*again, code=NOTHING_BETTER, cwd=folder)
    assert trials(folder, "killed") == trials(folder, "straight")


def test_a_pruned_trial_is_distilled_and_finetuned_from_the_command_line(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    pruned = json.loads(run("prune", "straight", "0", "--ratio", "0.6", "--json", cwd=folder).stdout)
    number = pruned["trials"][-1]["trial"]
    arguments = ("--steps", "12", "--lambda", "0.7", "--distance", "l2", "--features", "0.1", "--json")
    student = (
        "distill",
        "--student",
        f"straight:{number}",
        "--teacher",
        "straight:0",
        "--teacher",
        "straight:best",
    )
    found = json.loads(run(*student, *arguments, cwd=folder).stdout)
    assert [trial["stage"] for trial in found["trials"]] == ["prune", "distil"]
    assert found["trials"][1]["parent"] == number
    assert json.loads(run(*student, *arguments, cwd=folder).stdout) == found
    tuned = json.loads(run("finetune", "straight", number, "--steps", "12", "--json", cwd=folder).stdout)
    assert tuned["trials"][1]["stage"] == "finetune"
    sparse = ("--ratio", "0.7", "--sparsity", "30", "--sparse-steps", "12", "--json")
    shrunk = json.loads(run("prune", "straight", "0", *sparse, cwd=folder).stdout)
    assert [trial["stage"] for trial in shrunk["trials"]][:3] == ["search", "finetune", "prune"]
    assert shrunk["trials"][-1]["gmacs"] <= 0.7 * shrunk["trials"][0]["gmacs"]

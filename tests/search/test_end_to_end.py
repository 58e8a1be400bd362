"""The main job as its user runs it: real processes, Ray, SQLite, photographs; killed, interrupted, resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from search.cli import main  # type: ignore[attr-defined]
from search.loop.inheritance import start_path
from tests.search.test_cli import PIXELFRONT, run

SMALL = (  # noqa: SIM905
    "search --max-gmacs 0.6 --strategy tpe --trials 6 --steps 24 --batch 4 --patch 16 --rungs 3 --depths 1:2 "
    "--widths 8:16:4 --blocks rfdb,ghost,mscb --upsamplers pixelshuffle,transposed --workers 2 --seed 3 "
    "--precision float32"
).split()

pytestmark = pytest.mark.slow

NOTHING_BETTER = 1  # the exit code where no network beats the trivial method, as after so few steps


def query(folder: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "runs" / "pixelfront.db")) as connection:
        return connection.execute(sql).fetchall()


def architectures(folder: Path, study: str) -> list[Any]:
    return query(
        folder,
        "SELECT t.number, t.digest, t.state FROM trials t JOIN studies s ON s.id = t.study_id "
        f"WHERE s.name = '{study}' ORDER BY t.number",
    )


def scores(folder: Path, study: str) -> list[Any]:
    return query(
        folder,
        "SELECT t.number, m.value FROM trials t JOIN studies s ON s.id = t.study_id "
        "JOIN measurements m ON m.trial_id = t.id AND m.step IS NULL AND m.name = 'psnr_y' "
        f"AND m.protocol LIKE '%validation%' WHERE s.name = '{study}' ORDER BY t.number",
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished search with everything that it hands over, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(*SMALL, "--study", "straight", code=NOTHING_BETTER, cwd=folder).stdout


def test_a_search_ends_in_a_front_pictures_and_a_winner(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    assert "All trials are done" in printed
    assert "psnr_y: Y, 8-bit, border 4, on embedded/validation" in printed
    assert "hypervolume" in printed
    for name in ("front.png", "comparison.png"):
        with Image.open(folder / "runs" / "straight" / name) as picture:
            assert min(picture.size) > 300
    session = onnxruntime.InferenceSession(folder / "runs" / "straight" / "winner.onnx")
    image = np.random.default_rng(0).random((1, 3, 31, 45), dtype=np.float32)
    assert session.run(None, {"image": image})[0].shape == (1, 3, 124, 180)
    assert "SHA-256" in (folder / "runs" / "straight" / "winner.onnx.md").read_text()
    assert len(architectures(folder, "straight")) == 6


def test_reading_commands_agree_with_each_other(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    front = json.loads(run("front", "straight", "--json", cwd=folder).stdout)
    assert front["trials"] == 6
    assert front["front"][0]["cost_protocol"] == "exact, 3x256x256"
    costs = [member["gmacs"] for member in front["front"]]
    assert costs == sorted(costs)
    assert max(costs) <= 0.6
    rows = run("front", "straight", "--csv", cwd=folder).stdout.splitlines()
    assert len(rows) == 1 + len(costs)
    assert "straight" in run("studies", cwd=folder).stdout
    best = front["front"][-1]
    shown = run("show", "straight", best["trial"], cwd=folder).stdout
    assert best["digest"] in shown
    assert "embedded/test" in shown
    run("front", "straight", "--plot", "f.svg", cwd=folder)
    assert (folder / "f.svg").read_text().startswith("<?xml")
    message = run("front", "strait", cwd=folder, code=2).stderr
    assert "straight" in message


@pytest.mark.parametrize("form", ["onnx", "pt2", "safetensors"])
def test_export_of_the_best_and_of_a_trial(finished: tuple[Path, str], form: str) -> None:
    folder, _ = finished
    run("export", "straight", "best", "-o", f"out/best.{form}", cwd=folder)
    assert (folder / "out" / f"best.{form}").stat().st_size > 1000
    assert (folder / "out" / f"best.{form}.md").exists()


Refusal = Callable[..., str]


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """What a command that ends with exit code 2 says on standard error; run in this process, which has torch."""

    def call(*arguments: str, cwd: Path) -> str:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["pixelfront", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        return capsys.readouterr().err

    return call


def test_what_cannot_be_exported_is_refused(finished: tuple[Path, str], refusal: Refusal) -> None:
    folder, _ = finished
    assert "no trial 77" in refusal("export", "straight", "77", "-o", "x.onnx", cwd=folder)
    assert "--format" in refusal("export", "straight", "best", "-o", "x.bin", cwd=folder)


def test_a_study_may_be_moved(finished: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(finished[0] / "runs", tmp_path / "elsewhere")
    where = ("--runs", tmp_path / "elsewhere")
    run("export", "straight", "best", "-o", "best.safetensors", *where, cwd=tmp_path)
    run(
        "search",
        "--resume",
        "--study",
        "straight",
        "--trials",
        "7",
        "--no-finish",
        *where,
        code=NOTHING_BETTER,
        cwd=tmp_path,
    )
    assert "7 of 7 trials" in run("front", "straight", *where, cwd=tmp_path).stdout


def test_the_same_seed_gives_the_same_networks_whatever_the_number_of_workers(
    finished: tuple[Path, str],
) -> None:
    folder, _ = finished
    run(*SMALL, "--workers", "1", "--no-finish", "--study", "single", code=NOTHING_BETTER, cwd=folder)
    assert architectures(folder, "single") == architectures(folder, "straight")
    assert scores(folder, "single") == scores(folder, "straight")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PIXELFRONT, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Any, process: subprocess.Popen[str], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def some_finished(folder: Path, study: str, count: int) -> Any:
    def condition() -> bool:
        try:
            states = [state for _, _, state in architectures(folder, study)]
        except sqlite3.OperationalError:
            return False
        return states.count("complete") >= count and "running" in states

    return condition


def test_a_killed_driver_resumes_to_the_same_end(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    for kill_at in (1, 3):
        arguments = (
            [*SMALL, "--study", "killed"] if kill_at == 1 else ["search", "--resume", "--study", "killed"]
        )
        process = start(folder, *arguments, "--no-finish")
        wait_for(some_finished(folder, "killed", kill_at), process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    result = run("search", "--resume", "--study", "killed", "--no-finish", code=NOTHING_BETTER, cwd=folder)
    assert "All trials are done" in result.stdout
    assert architectures(folder, "killed") == architectures(folder, "straight")
    # Trials that were cut off went on from a rung with the very same arithmetic.
    assert scores(folder, "killed") == scores(folder, "straight")
    counted = query(folder, "SELECT COUNT(*), COUNT(DISTINCT digest) FROM trials t JOIN studies s "
                            "ON s.id = t.study_id WHERE s.name = 'killed'")  # fmt: skip
    assert counted == [(6, 6)]


STOPPING = [*SMALL, "--eta", "3", "--steps", "27", "--trials", "8"]


def curves(folder: Path, study: str) -> list[Any]:
    """Every score at every rung."""
    return query(
        folder,
        "SELECT t.number, m.step, m.value FROM trials t JOIN studies s ON s.id = t.study_id JOIN measurements m "
        f"ON m.trial_id = t.id AND m.step IS NOT NULL AND m.name = 'psnr_y' WHERE s.name = '{study}' "
        "ORDER BY t.number, m.step",
    )


@pytest.mark.parametrize("options", [(), ("--inherit", "--strategy", "pareto", "--window", "2")])
def test_early_stopping_is_one_sequence_for_a_seed_also_after_kills(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    stopping = [*STOPPING, *options]
    straight = run(
        *stopping, "--workers", "1", "--no-finish", "--study", "straight", code=NOTHING_BETTER, cwd=tmp_path
    ).stdout
    assert "trials pause at 3, 9 of 27 steps" in straight
    states = [state for _, _, state in architectures(tmp_path, "straight")]
    assert set(states) == {"complete", "paused"}
    assert (
        f"{states.count('complete')} of 8 trials complete, {states.count('paused')} paused"
        in run("front", "straight", cwd=tmp_path).stdout
    )
    scores = len(curves(tmp_path, "straight"))
    for arguments, kill_at in ((stopping, scores // 4), (["search", "--resume"], scores // 2)):
        process = start(tmp_path, *arguments, "--study", "killed", "--no-finish")
        wait_for(lambda at=kill_at: scored_rungs(tmp_path) >= at, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    run("search", "--resume", "--study", "killed", "--no-finish", code=NOTHING_BETTER, cwd=tmp_path)
    assert architectures(tmp_path, "killed") == architectures(tmp_path, "straight")
    # Going on from a rung is exact.
    assert curves(tmp_path, "killed") == curves(tmp_path, "straight")
    assert heirs(tmp_path, "killed") == heirs(tmp_path, "straight")
    assert bool(heirs(tmp_path, "killed")) == bool(options)


def heirs(folder: Path, study: str) -> list[Any]:
    """Who started from whose tensors, at which rung, and those tensors."""
    found = query(
        folder,
        "SELECT t.number, t.origin FROM trials t JOIN studies s ON s.id = t.study_id WHERE t.origin LIKE "
        f"'%inherits%' AND s.name = '{study}' ORDER BY t.number",
    )
    return [
        (number, origin, start_of(folder / "runs" / study, json.loads(origin))) for number, origin in found
    ]


def start_of(folder: Path, origin: dict[str, int]) -> bytes:
    return start_path(folder, origin["inherits"], origin["inherits_step"]).read_bytes()


def scored_rungs(folder: Path) -> int:
    try:
        return len(curves(folder, "killed"))
    except sqlite3.OperationalError:
        return 0


def test_ctrl_c_stops_cleanly_and_resume_goes_on(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    process = start(folder, *SMALL, "--study", "stopped", "--no-finish")
    wait_for(some_finished(folder, "stopped", 2), process)
    os.kill(process.pid, signal.SIGINT)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    assert "pixelfront search --study stopped --resume" in output
    assert "Traceback" not in output
    assert "running" not in [state for _, _, state in architectures(folder, "stopped")]
    run("search", "--resume", "--study", "stopped", "--no-finish", code=NOTHING_BETTER, cwd=folder)
    assert architectures(folder, "stopped") == architectures(folder, "straight")


def test_resuming_with_something_else_is_refused_with_the_difference(
    finished: tuple[Path, str], refusal: Refusal
) -> None:
    folder, _ = finished
    again = ("search", "--resume", "--study", "straight")
    assert "training.steps: the study has 24, now 30" in refusal(*again, "--steps", "30", cwd=folder)
    message = refusal(*again, "--blocks", "rfdb", cwd=folder)
    assert "space.blocks: the study has ['rfdb', 'ghost', 'mscb'], now ['rfdb']" in message
    message = refusal(*again, "--objective", "psnr_rgb", cwd=folder)
    assert "objective: the study has 'psnr_y', now 'psnr_rgb'" in message
    message = refusal("search", "--max-gmacs", "1", "--study", "straight", cwd=folder)
    assert "--resume" in message


def test_resuming_with_changed_images_is_refused_with_the_difference(
    tmp_path: Path, refusal: Refusal
) -> None:
    from tests.search.test_cli import folder as images

    data, val = images(tmp_path / "data", 3), images(tmp_path / "val", 1, seed=50)
    run(
        *SMALL,
        "--study",
        "s",
        "--trials",
        "1",
        "--no-finish",
        "--data",
        data,
        "--val",
        val,
        code=NOTHING_BETTER,
        cwd=tmp_path,
    )
    images(tmp_path / "val", 1, seed=60)
    message = refusal("search", "--resume", "--study", "s", "--trials", "2", cwd=tmp_path)
    assert "validation: the study has" in message


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 450 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=450k", "tmpfs", disk], capture_output=True)
    if made.returncode != 0:
        pytest.skip(f"can't mount a file system here: {made.stderr.decode().strip()}")
    yield disk
    remount(disk, "rw")
    subprocess.run(["umount", "--lazy", disk], check=True)


def remount(disk: Path, options: str) -> None:
    """Change a mount, waiting for processes that are just ending."""
    for _ in range(100):
        done = subprocess.run(["mount", "-o", f"remount,{options}", disk], capture_output=True)
        if done.returncode == 0:
            return
        time.sleep(0.1)
    raise AssertionError(done.stderr.decode())


def test_a_full_disk_ends_in_a_message_and_the_study_goes_on_when_there_is_room(
    finished: tuple[Path, str], small_disk: Path
) -> None:
    message = run(*SMALL, "--study", "full", "--no-finish", cwd=small_disk, code=2).stderr
    assert message.startswith("pixelfront: ")
    assert "full" in message or "No space left" in message
    remount(small_disk, "size=20m")
    run("search", "--resume", "--study", "full", "--no-finish", code=NOTHING_BETTER, cwd=small_disk)
    assert architectures(small_disk, "full") == architectures(finished[0], "straight")
    assert scores(small_disk, "full") == scores(finished[0], "straight")

    remount(small_disk, "ro")
    message = run("search", "--resume", "--study", "full", "--trials", "9", cwd=small_disk, code=2).stderr
    assert "Read-only file system: name a folder that can be written" in message
    assert "full" in run("studies", cwd=small_disk).stdout


def test_a_diverging_trial_is_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    printed = run(
        *SMALL, "--study", "nan", "--trials", "2", "--lr", "1e30", code=NOTHING_BETTER, cwd=tmp_path
    ).stdout
    assert "no complete trial yet" in printed
    failures = query(tmp_path, "SELECT state, reason FROM trials")
    assert len(failures) == 2
    for state, reason in failures:
        assert state == "failed"
        assert reason.startswith("diverged: the loss became ")

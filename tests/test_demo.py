"""The README's first command, by the clock: on one core with a busy neighbour it ends in time, with all it promises.

Run by itself (``make test`` does so first): beside other tests it would be their load that is measured.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import onnx
import pytest

from tests.search.test_cli import PIXELFRONT

DEMO = Path(__file__).parents[1] / "examples" / "demo.toml"
PROMISED_S = 300  # by the README

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(
        not hasattr(os, "sched_setaffinity"), reason="processes can't be kept on one core here"
    ),
]


@contextmanager
def busy_core() -> Iterator[int]:
    """A core that another process keeps busy."""
    core = min(os.sched_getaffinity(0))
    neighbour = subprocess.Popen(
        [sys.executable, "-c", "while True: pass"], preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    try:
        yield core
    finally:
        neighbour.kill()
        neighbour.wait()


def test_on_one_busy_core_the_demo_ends_in_time_with_a_front_and_a_checked_file(tmp_path: Path) -> None:
    with busy_core() as core:
        started = time.monotonic()
        demo = subprocess.run(
            [PIXELFRONT, "run", DEMO],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        elapsed = time.monotonic() - started
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "on 1 worker" in demo.stdout
    folder = next((tmp_path / "runs").glob("demo-*"))
    onnx.checker.check_model(folder / "winner.onnx")
    assert "onnxruntime and PyTorch differ by at most" in demo.stdout
    assert (folder / "front.png").stat().st_size > 0
    assert (folder / "comparison.png").stat().st_size > 0
    with closing(sqlite3.connect(tmp_path / "runs" / "pixelfront.db")) as connection:
        rows = connection.execute(
            "SELECT t.stage, m.value FROM trials t JOIN measurements m ON m.trial_id = t.id AND m.step IS NULL "
            "WHERE t.state = 'complete' AND m.name = 'psnr_y' AND m.protocol LIKE '%embedded/validation%'"
        ).fetchall()
    bicubic = 28.642
    better = [stage for stage, value in rows if value > bicubic]
    assert len(better) >= 4, rows
    assert {"search", "prune", "distil"} <= Counter(stage for stage, _ in rows).keys()
    assert elapsed <= PROMISED_S, demo.stdout

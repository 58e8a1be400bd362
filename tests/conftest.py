"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Kept before anything imports ray.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


# A busy machine is no failure; tests that promise a speed measure processor time.
settings.register_profile("pixelfront", deadline=None)
settings.load_profile("pixelfront")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of published checkpoints and data sets; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED}")
    return SHARED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    ran = [r for r in terminalreporter.stats.get("passed", []) if "shared" in r.keywords]
    terminalreporter.write_line(f"tests that need ../shared and ran: {len(ran)}")

"""The commit-msg check, in real repositories."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

CHECK = ROOT / ".githooks" / "commit-msg"
NO_USER_SETTINGS = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_EDITOR": "true"}


def run(folder: Path, *command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        command,
        cwd=folder,
        env={**environment, **NO_USER_SETTINGS},
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit and the check installed as `make hooks` does it."""
    shutil.copytree(ROOT / ".githooks", tmp_path / ".githooks")
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    for command in (
        "git init -q -b main",
        "git config user.name Someone",
        "git config user.email someone@example.org",
        "git add -A",
        "git commit -q -m Start",
        "make hooks",
    ):
        done = run(tmp_path, *command.split())
        assert done.returncode == 0, done.stderr
    return tmp_path


def commit(
    repository: Path, message: str, *, lines: int = 1, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Commits ``lines`` new lines."""
    with (repository / "file.txt").open("a") as file:
        file.write("line\n" * lines)
    run(repository, "git", "add", "-A")
    return run(repository, "git", "commit", "-q", "-F", "-", *options, text=message)


def commits(repository: Path) -> int:
    return int(run(repository, "git", "rev-list", "--count", "HEAD").stdout)


@pytest.mark.parametrize(
    ("message", "lines"),
    [
        ("Add a block", 20),
        ("x" * 72, 1),
        ("Add a block\n\nIt was missing.", 200),
        ("Add a block\n\nIt was missing.\n\n# a comment", 200),
        ("fixup! Add a block", 200),
    ],
)
def test_good_messages_are_taken(repository: Path, message: str, lines: int) -> None:
    done = commit(repository, message, lines=lines)
    assert done.returncode == 0, done.stderr
    assert commits(repository) == 2


@pytest.mark.parametrize(
    ("message", "lines", "said"),
    [
        ("x" * 73, 1, "at most 72 characters, got 73"),
        ("Add a block\nIt was missing.", 1, "expected a blank line"),
        ("Add a block", 21, "expected a body for a change of 21 lines"),
        ("Add a block\n\n", 21, "expected a body"),
        ("Add a block\n\n# only a comment\n", 21, "expected a body"),
    ],
)
def test_others_are_refused_with_what_to_do(repository: Path, message: str, lines: int, said: str) -> None:
    done = commit(repository, message, lines=lines, options=("--cleanup=strip",))
    assert done.returncode != 0
    assert said in done.stderr
    assert commits(repository) == 1


def test_the_change_shown_below_the_message_is_no_body(repository: Path) -> None:
    (repository / "file.txt").write_text("line\n" * 30)
    run(repository, "git", "add", "-A")
    (repository / "message").write_text("Add a file\n")
    done = run(repository, "git", "commit", "-v", "-e", "-F", "message")
    assert done.returncode != 0
    assert "expected a body for a change of 30 lines" in done.stderr


def test_a_move_needs_no_body(repository: Path) -> None:
    assert commit(repository, "Add a file\n\nLong.", lines=100).returncode == 0
    run(repository, "git", "mv", "file.txt", "moved.txt")
    done = run(repository, "git", "commit", "-q", "-m", "Move the file")
    assert done.returncode == 0, done.stderr


def test_existing_commits_are_named_and_merges_exempt(repository: Path) -> None:
    base = run(repository, "git", "rev-parse", "HEAD").stdout.strip()
    assert commit(repository, "A good one\n\nWhy.", lines=30).returncode == 0
    assert run(repository, CHECK.as_posix(), f"{base}..HEAD").returncode == 0
    run(repository, "git", "checkout", "-q", "-b", "side", base)
    (repository / "other.txt").write_text("line\n" * 30)
    run(repository, "git", "add", "-A")
    run(repository, "git", "commit", "-q", "--no-verify", "-m", "A bad one")
    run(repository, "git", "merge", "-q", "--no-verify", "-m", "m" * 80, "main")
    done = run(repository, CHECK.as_posix(), f"{base}..HEAD")
    assert done.returncode == 1
    (fault,) = done.stderr.splitlines()
    assert re.fullmatch(
        r"commit message: [0-9a-f]{9} 'A bad one': expected a body for a change of 30 .*", fault
    )


def test_a_history_without_the_commit_at_which_the_check_began_is_left_unchecked(repository: Path) -> None:
    done = run(repository, CHECK.as_posix(), "START..HEAD")
    assert done.returncode == 0
    assert "unchecked" in done.stdout

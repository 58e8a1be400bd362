"""The documentation says what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from spaces.blocks import BLOCKS
from spaces.upsamplers import UPSAMPLERS
from tests.conftest import ROOT


@pytest.mark.slow
def test_the_python_examples_run(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), flags=re.DOTALL)
    assert len(blocks) >= 5
    script = tmp_path / "example.py"
    script.write_text("\n".join(blocks))
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True, timeout=300)
    assert (tmp_path / "runs" / "from-python" / "winner.onnx").exists()


def test_every_file_that_the_architecture_page_names_exists() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    paths = re.findall(
        r"`((?:search|spaces|evaluators|results|tests|examples|benchmarks|docs)/[\w/.]+)`", page
    )
    assert len(paths) > 30
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_architecture_page_names_every_module() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    modules = [
        path.relative_to(ROOT).as_posix()
        for package in ("spaces", "evaluators", "search", "results")
        for path in (ROOT / package).glob("*.py")
        if path.name != "__init__.py"
    ]
    assert [module for module in modules if f"`{module}`" not in page] == []


def test_the_readme_lists_every_block_and_upsampler() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in (*BLOCKS, *UPSAMPLERS) if f"`{name}`" not in readme] == []


def test_commands_in_the_readme_are_real() -> None:
    from search.cli import app

    known = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    commands = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    used = set(re.findall(r"^pixelfront (\w+)", "\n".join(commands), flags=re.MULTILINE))
    assert used == known

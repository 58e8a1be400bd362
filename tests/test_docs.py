"""The documentation says what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from spaces.blocks import BLOCKS
from spaces.registry import Registry
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
    """By itself, or by a folder whose files are all of one kind."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    modules = [
        path.relative_to(ROOT)
        for package in ("spaces", "evaluators", "search", "results")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    ]
    unnamed = [
        module.as_posix()
        for module in modules
        if f"`{module.as_posix()}`" not in page
        and not any(f"`{folder.as_posix()}/`" in page for folder in module.parents)
    ]
    assert unnamed == []


@pytest.mark.parametrize(("noun", "registry"), [("blocks", BLOCKS), ("upsamplers", UPSAMPLERS)])
def test_what_the_readme_lists_is_registered(noun: str, registry: Registry[nn.Module]) -> None:
    """The other way round a new block would have to edit the README."""
    section = (ROOT / "README.md").read_text().partition("## What is searched\n")[2].partition("\n## ")[0]
    table = re.search(rf"^\| {noun} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", section, flags=re.MULTILINE)
    assert table is not None
    names = re.findall(r"`([^`]+)`", table[1])
    assert len(names) > 3
    assert set(names) <= set(registry)


CONTRACTS = """
import importlib
import sys
import pytest
folder, package, registry, name, *files = sys.argv[1:]
module = importlib.import_module(package)
module.__path__.append(folder)
assert name in list(getattr(module, registry))
files = [f"tests/contracts/test_{file}.py" for file in files]
sys.exit(pytest.main([*files, "-k", name, "-p", "no:cacheprovider"]))
"""


@pytest.mark.parametrize(
    ("name", "arguments", "least"),
    [
        ("my_block", ("spaces.blocks", "BLOCKS", "my_block", "parts", "blocks"), 20),
        ("my_strategy", ("search.strategies", "STRATEGIES", "hill-climbing", "strategies"), 9),
    ],
)
def test_an_example_of_the_contributing_guide_passes_the_contract_tests(
    tmp_path: Path, name: str, arguments: tuple[str, ...], least: int
) -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text().partition(f"/{name}.py`")[2]
    (tmp_path / f"{name}.py").write_text(re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)[0])
    done = subprocess.run(
        [sys.executable, "-c", CONTRACTS, str(tmp_path), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > least


def test_commands_in_the_readme_are_real() -> None:
    from search.cli import app

    known = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    known |= {group.name for group in app.registered_groups}
    commands = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    used = set(re.findall(r"^pixelfront (\w+)", "\n".join(commands), flags=re.MULTILINE))
    assert used == known

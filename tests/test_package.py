"""One import name: beside files called as our packages are, in workers, for type checkers, in wheels."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import zipfile
from collections import defaultdict
from pathlib import Path

import pytest

import pixelfront
from tests.conftest import ROOT

PACKAGES = ("search", "spaces", "evaluators", "results")
COMMAND = [sys.executable, "-c", "from pixelfront import main; main()"]

SEARCH = """
from pathlib import Path
from pixelfront import Place, as_json, run_search

front = run_search(
    {"max_gmacs": 0.5, "trials": 2, "training.steps": 2, "training.batch": 2, "space.depths": "1", "workers.number": 1},
    place=Place(db="runs/pixelfront.db", runs=Path("runs")),
    study="mine",
)
Path("front.json").write_text(as_json(front))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with modules and packages that are called as ours are, and can't be imported."""
    (tmp_path / "search.py").write_text("raise SystemExit('the search.py of a user')")
    for package in PACKAGES[1:]:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f"raise SystemExit('the {package} of a user')")
    return tmp_path


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, str(ROOT)])}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_script_beside_a_search_py_of_its_own_runs_a_search_on_ray(folder: Path) -> None:
    (folder / "script.py").write_text(SEARCH)
    ran = run([sys.executable, "script.py"], folder)
    assert ran.returncode == 0, ran.stderr
    assert json.loads((folder / "front.json").read_text())["front"]


@pytest.mark.slow
def test_a_script_called_search_py_runs_a_search_on_ray(tmp_path: Path) -> None:
    (tmp_path / "search.py").write_text(SEARCH)
    ran = run([sys.executable, "search.py"], tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert json.loads((tmp_path / "front.json").read_text())["front"]


@pytest.mark.slow
def test_the_command_searches_in_a_folder_with_packages_of_our_names(folder: Path) -> None:
    options = "--max-gmacs 0.5 --trials 2 --steps 2 --batch 2 --depths 1 --workers 1 --rungs 1 --objectives psnr,memory"
    ran = run([*COMMAND, "search", *options.split()], folder)
    assert (ran.returncode, ran.stderr) == (1, "")  # after two steps nothing beats bicubic
    assert "2/2 trials" in ran.stdout
    listed = run([*COMMAND, "front", "sr-x4-1", "--json"], folder)
    assert len(json.loads(listed.stdout)["front"]) > 0


@pytest.mark.parametrize("package", PACKAGES)
def test_a_module_imported_before_in_our_place_is_named(package: str, tmp_path: Path) -> None:
    (tmp_path / f"{package}.py").write_text("")
    ran = run([sys.executable, "-c", f"import {package}\nimport pixelfront"], tmp_path)
    last = ran.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: expected '{package}' to be pixelfront's package, got {tmp_path}")
    assert "rename" in last


def test_ours_imported_before_is_no_fault(tmp_path: Path) -> None:
    ran = run([sys.executable, "-c", "import spaces, results.store.store, pixelfront"], tmp_path)
    assert ran.returncode == 0, ran.stderr


def test_every_public_name_is_there_and_type_checkers_see_the_same() -> None:
    (block,) = (
        node for node in ast.parse(Path(pixelfront.__file__).read_text()).body if isinstance(node, ast.If)
    )
    declared: dict[str, list[str]] = defaultdict(list)
    for statement in block.body:
        assert isinstance(statement, ast.ImportFrom)
        assert statement.module is not None
        declared[statement.module] += [alias.asname or "" for alias in statement.names]
    assert {module: sorted(names) for module, names in declared.items()} == {
        module: sorted(names) for module, names in pixelfront._NAMES.items()
    }
    assert set(pixelfront.__all__) < set(dir(pixelfront))
    for name in pixelfront.__all__:
        assert getattr(pixelfront, name) is not None
    with pytest.raises(AttributeError, match="'pixelfront' has no attribute 'serach'"):
        _ = pixelfront.serach


def test_reading_results_by_the_public_name_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys; from pixelfront import Store, overview, rows, hypervolume; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], tmp_path).returncode == 0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True
    )
    (built,) = folder.glob("*.whl")
    unpacked = folder / "site-packages"
    zipfile.ZipFile(built).extractall(unpacked)
    return unpacked


def test_a_wheel_holds_everything_and_runs_beside_other_packages(wheel: Path, folder: Path) -> None:
    inside = {path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")}
    assert inside == {"pixelfront", *PACKAGES}
    code = "import pixelfront; from pixelfront import *; import spaces; print(pixelfront.__file__, spaces.__file__)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [
        str(wheel / "pixelfront" / "__init__.py"),
        str(wheel / "spaces" / "__init__.py"),
    ]


def test_a_wheel_is_type_checked(wheel: Path, tmp_path: Path) -> None:
    """PEP 561: a checker reads an installed package only if it has py.typed."""
    assert all((wheel / package / "py.typed").is_file() for package in ("pixelfront", *PACKAGES))
    (tmp_path / "script.py").write_text("from pixelfront import Store\nStore.open(3)\n")
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--ignore-missing-imports", "script.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(wheel)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert 'Argument 1 to "open" of "Store" has incompatible type "int"' in ran.stdout

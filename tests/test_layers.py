"""Imports point one way: search -> results, evaluators -> spaces; and some packages stay in a file or two."""

import ast
from pathlib import Path

import pytest

import evaluators
import results
import search
import spaces

PACKAGES = {
    module.__name__: Path(module.__file__ or "").parent for module in (spaces, evaluators, results, search)
}
ALLOWED = {
    "spaces": {"spaces"},
    "evaluators": {"evaluators", "spaces"},
    "results": {"results", "spaces"},
    "search": {"search", "results", "evaluators", "spaces"},
}
HOMES = {
    "ray": ["search/workers/ray_workers.py"],
    # Asking its samplers, and handing a study over, have nothing in common but the library.
    "optuna": ["search/strategies/optuna_samplers.py", "search/trackers/optuna_export.py"],
    "nni": [
        "search/strategies/nni/__init__.py",
        "search/strategies/nni/nas.py",
        "search/strategies/nni/oneshot.py",
        "search/strategies/nni/tuners.py",
    ],
}


def files(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(PACKAGES["spaces"].parent).as_posix()


def imported(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place(path)}: imports are absolute, so that this test can read them"
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_lies_below_them(package: str) -> None:
    wrong = {place(path): imported(path) & (PACKAGES.keys() - ALLOWED[package]) for path in files(package)}
    assert len(wrong) > 3
    assert {path: names for path, names in wrong.items() if names} == {}


@pytest.mark.parametrize("library", HOMES)
def test_search_libraries_stay_in_their_files(library: str) -> None:
    users = [place(path) for package in PACKAGES for path in files(package) if library in imported(path)]
    assert users == HOMES[library]


def test_generic_package_names_are_ours() -> None:
    """Another package called ``spaces`` is on PyPI."""
    homes = {folder.parent for folder in PACKAGES.values()}
    assert len(homes) == 1
    assert (PACKAGES["spaces"] / "architecture.py").is_file()


def test_no_module_has_a_name_that_says_nothing() -> None:
    names = {
        part
        for package in PACKAGES
        for path in files(package)
        for part in Path(place(path)).with_suffix("").parts
    }
    assert not names & {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}

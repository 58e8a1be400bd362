"""The page's files: complete, and within its policy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[4] / "results" / "dashboard" / "static"
OURS = sorted(path for path in STATIC.rglob("*.js") if path.parent.name != "vendor")


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(STATIC)))
def test_imports_are_there_and_nothing_is_parsed_as_markup(path):
    for named in re.findall(r"""(?:from|import\()\s*['"](\.[^'"]+)['"]""", text(path)):
        assert (path.parent / named).is_file(), named
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text(path).partition("*/")[2]
    )
    assert not re.search(r"https?://(?!www\.w3\.org/)", text(path))


def test_the_page_has_nothing_inline_and_names_only_its_own_files():
    page = text(STATIC / "index.html")
    assert not re.search(r"<style|\bstyle=|\bon\w+=|<script(?![^>]*\bsrc=)", page)
    named = re.findall(r'(?:href|src)="/static/([^"]+)"', page)
    assert "app.js" in named
    assert [name for name in named if not (STATIC / name).is_file()] == []
    assert "//" not in page.replace("<!doctype html>", "")


def test_what_the_first_front_needs_is_fetched_at_once():
    """Without a preload a module is asked for only once the one that imports it has come."""
    needed, waiting = (
        set(),
        [STATIC / "app.js", STATIC / "views" / "front.js", STATIC / "vendor" / "echarts.js"],
    )
    while waiting:
        path = waiting.pop()
        if path not in needed:
            needed.add(path)
            imported = re.findall(
                r"""^(?:import|export)\b[^;]*?from\s*['"](\.[^'"]+)""", text(path), re.MULTILINE
            )
            waiting += [(path.parent / name).resolve() for name in imported]
    named = re.findall(r'"/static/([^"]+[.]js)"', text(STATIC / "index.html"))
    assert {str(path.relative_to(STATIC)) for path in needed} == set(named) - {"ahead.js"}


def test_other_peoples_files_are_listed_with_their_licences():
    readme = text(STATIC / "vendor" / "README.md")
    for path in sorted((STATIC / "vendor").glob("*.js")):
        assert re.search(rf"\| {path.name} \| \S+ \d+\.\d+\.\d+ \|", readme), path.name
    for licence in re.findall(r"(?:LICENSE|NOTICE)-\w+", readme):
        assert (STATIC / "vendor" / licence).stat().st_size > 100

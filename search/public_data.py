"""What ``data list`` and ``data get`` print."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from evaluators.data.downloads import Fetched, fetch
from evaluators.data.public_sets import PUBLIC_SETS, PublicSet, public_set


def sets_table() -> RenderableType:
    """The sets that can be got with their checks, and the others with where they are had by hand."""
    table = Table(title="pixelfront data get NAME", title_justify="left")
    by_hand = Table(title="By hand", title_justify="left")
    for heading in ("name", "what it is", "terms", "checked by"):
        table.add_column(heading)
    for heading in ("what it is", "terms", "where"):
        by_hand.add_column(heading, overflow="fold")
    for found in PUBLIC_SETS.values():
        if found.files:
            table.add_row(found.name, found.summary, found.terms, _check(found))
        else:
            by_hand.add_row(found.summary, found.terms, found.page)
    note = "first download: no checksum was published; the first one is trusted, its SHA-256 kept and later compared"
    return Group(table, Text(note, style="dim"), by_hand)


def _check(found: PublicSet) -> str:
    kinds = {file.checksum.partition(":")[0] for file in found.files}
    return {"sha256": "SHA-256", "md5": "MD5"}.get(kinds.pop(), "first download")


def sets_json() -> str:
    """All sets as JSON."""
    return json.dumps([asdict(found) for found in PUBLIC_SETS.values()], indent=2)


def get(name: str, to: Path, *, mirror: str | None, console: Console) -> Iterator[str]:
    """Get a set, with a bar on the console; what to tell about it, line by line.

    Raises:
        UnknownNameError: for an unknown name.
        DownloadError: as ``evaluators.data.downloads.fetch``.
    """
    wanted = public_set(name)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def progress(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total)
            bars.update(tasks[file], completed=done, total=total)

        fetched = fetch(wanted, to, mirror=mirror, progress=progress)
    yield from _told(wanted, fetched)


def _told(wanted: PublicSet, fetched: Fetched) -> Iterator[str]:
    if fetched.already:
        yield f"{fetched.folder} is there already; remove it to unpack it again"
    for name in fetched.trusted:
        yield f"{name}: no checksum was published, so this first download is trusted; its SHA-256 is kept beside it"
    for folder, count in fetched.image_folders().items():
        yield f"{folder}: {count} image(s)"
    yield f"terms: {wanted.terms} ({wanted.page})"

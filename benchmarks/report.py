"""What every benchmark ends with: its table, the machine it ran on, and JSON if asked for."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

PACKAGES = ("torch", "ray", "optuna", "numpy", "sqlalchemy")
WIDTH_WITHOUT_TERMINAL = 140


def parser(description: str | None) -> argparse.ArgumentParser:
    """A command line with the options that all benchmarks share."""
    found = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to FILE too")
    found.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to FILE too")
    return found


class Report:
    """Times a benchmark and shows what it found.

    Attributes:
        console: For notes while it runs.
    """

    def __init__(self, name: str):
        detected = Console()
        self.console = detected if detected.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL)
        self._name = name
        self._machine = machine()
        self._started = time.perf_counter()

    def show(self, result: dict[str, Any], tables: list[Table], args: argparse.Namespace) -> None:
        """Print the tables and where they come from; write what ``parser``'s options ask for."""
        seconds = time.perf_counter() - self._started
        for table in tables:
            self.console.print(table)
        origin = f"{describe(self._machine)}; took {seconds:.0f} s"
        self.console.print(origin, style="dim", highlight=False)
        if args.markdown is not None:
            args.markdown.write_text("\n\n".join([*map(markdown, tables), origin]) + "\n")
        if args.json is not None:
            record = {"benchmark": self._name, "machine": self._machine, "wall_s": seconds, **result}
            args.json.write_text(json.dumps(record, indent=2) + "\n")


def markdown(table: Table) -> str:
    """The table, under its title in bold if it has one."""
    rows = [[str(column.header) for column in table.columns]]
    rows.append([{"left": "---", "right": "---:"}[str(column.justify)] for column in table.columns])
    rows += [list(map(str, cells)) for cells in zip(*(column.cells for column in table.columns), strict=True)]
    title = f"**{table.title}**\n\n" if table.title else ""
    return title + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def machine() -> dict[str, Any]:
    """Where and when: processor, cores, load before the start, versions."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "amx": torch.cpu._is_amx_tile_supported(),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def describe(found: dict[str, Any]) -> str:
    """The machine in a line."""
    versions = ", ".join(f"{name} {found['packages'][name]}" for name in ("torch", "ray", "optuna"))
    amx = "with AMX" if found["amx"] else "no AMX"
    return (
        f"{found['date']}: {found['processor']}, {found['cores']} cores, {amx}, "
        f"load {found['load_1min']} before the start; Python {found['python']}, {versions}"
    )


def processor() -> str:
    """The processor's name as Linux tells it; elsewhere the platform's word."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

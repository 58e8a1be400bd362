"""Rank correlations as tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from results.analysis.correlation import Analysis, Correlation, Estimate, RungLink

UNKNOWN = "-"


def analysis_table(found: Analysis) -> RenderableType:
    """Everything with the quality, everything with everything, and the rungs with the last."""
    parts: list[RenderableType] = [link_table(found), _matrix_table(found)]
    if found.rungs:
        parts.append(rung_table(found.rungs, found.quantities[0].key, found.last_step))
    return Group(*parts, Text("\n".join(_footnotes(found)), style="dim"))


def link_table(found: Analysis, *, seconds: Mapping[str, float] | None = None) -> Table:
    """What each quantity has to do with the quality, the strongest first within its kind.

    Args:
        seconds: Key to what one measurement took, for a column of its own.
    """
    table = Table(
        title=f"Rank correlation with {found.quantities[0].key}, {found.networks} networks",
        title_justify="left",
    )
    headings = ["", "n", "Spearman", "95 %", "Kendall", "95 %", "at equal MACs", "95 %"]
    for heading in [*headings, "seconds"] if seconds else headings:
        table.add_column(heading, justify="right" if heading else "left")
    for link in found.links:
        row = [link.quantity.key, *cells(link.correlation), *_pair(link.at_equal_macs)]
        if seconds:
            row.append(f"{seconds[link.quantity.key]:.2f}" if link.quantity.key in seconds else UNKNOWN)
        table.add_row(*map(Text, row))
    return table


def cells(found: Correlation | None) -> tuple[str, str, str, str, str]:
    """n, Spearman's and Kendall's with their intervals."""
    if found is None:
        return (UNKNOWN,) * 5
    return str(found.n), *_pair(found.spearman), *_pair(found.kendall)


def _pair(found: Estimate | None) -> tuple[str, str]:
    if found is None:
        return UNKNOWN, UNKNOWN
    return f"{found.value:+.2f}", f"{found.low:+.2f} to {found.high:+.2f}"


def _matrix_table(found: Analysis) -> Table:
    keys = [each.key for each in found.quantities]
    table = Table(title="Spearman's of each two", title_justify="left")
    table.add_column("")
    for number in range(1, len(keys)):  # names are wider than the numbers below them
        table.add_column(str(number), justify="right")
    table.add_row(f"1 {keys[0]}")
    for i, key in enumerate(keys[1:], 1):
        row = [_shown(found.matrix[i, j]) for j in range(i)]
        table.add_row(*map(Text, [f"{i + 1} {key}", *row]))
    return table


def _shown(value: float) -> str:
    return UNKNOWN if np.isnan(value) else f"{value:+.2f}"


def rung_table(links: Sequence[RungLink], quality: str, last_step: int | None) -> Table:
    """What the quality at each step has to do with that at the last."""
    table = Table(title=f"{quality} at a step with that at step {last_step}", title_justify="left")
    for heading in ("step", "n", "Spearman", "95 %", "Kendall", "95 %", "at equal MACs", "95 %"):
        table.add_column(heading, justify="right")
    for link in links:
        table.add_row(str(link.step), *cells(link.correlation), *_pair(link.at_equal_macs))
    return table


def _footnotes(found: Analysis) -> list[str]:
    shared: dict[str, list[str]] = {}
    for each in found.quantities:
        shared.setdefault(each.protocol, []).append(each.key)
    notes = [f"{', '.join(keys)}: {protocol}" for protocol, keys in shared.items()]
    notes.append(
        "n: networks that have both; 95 %: interval of that correlation; at equal MACs: Spearman's of what MACs don't "
        "tell already"
    )
    notes.append(
        "of the networks that were tried within the budget, one training each: over a whole space, and with less "
        "noise, correlations are stronger"
    )
    if any(link.correlation is None for link in found.links):
        notes.append(f"{UNKNOWN}: fewer than 5 networks have it, or all the same")
    return notes


def as_json(found: Analysis) -> str:
    """The analysis with protocols; what can't be told is null."""
    return json.dumps(analysis_record(found), indent=2)


def analysis_record(found: Analysis) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "study": found.name,
        "networks": found.networks,
        "objective": found.quantities[0].key,
        "quantities": [
            {
                "key": q.key,
                "kind": q.kind,
                "unit": q.unit,
                "protocol": q.protocol,
                "n": int(np.isfinite(q.values).sum()),
            }
            for q in found.quantities
        ],
        "with_objective": [
            {
                "key": link.quantity.key,
                **_record(link.correlation, link.at_equal_macs),
            }
            for link in found.links
        ],
        "spearman": [[None if np.isnan(v) else float(v) for v in row] for row in found.matrix],
        "last_step": found.last_step,
        "rungs": [rung_record(link) for link in found.rungs],
    }


def rung_record(link: RungLink) -> dict[str, Any]:
    """A rung's correlations as plain data."""
    return {"step": link.step, **_record(link.correlation, link.at_equal_macs)}


def _record(found: Correlation | None, at_equal_macs: Estimate | None) -> dict[str, Any]:
    known = {"n": None, "spearman": None, "kendall": None} if found is None else asdict(found)
    return known | {"at_equal_macs": at_equal_macs and asdict(at_equal_macs)}

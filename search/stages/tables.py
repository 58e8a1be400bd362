"""What the stages after a search print: their trials beside what these were made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from results.analysis.overview import baseline_value, cost_key, scores_on_test, value
from results.store.schema import Trial
from search.stages.trials import Stages
from spaces.architecture import Architecture

CUT_MOST = 4  # groups that are named


def records(stages: Stages, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """The trials as flat records; costs and scores are those of the study's protocols."""
    return [_record(stages, trial) for trial in trials]


def _record(stages: Stages, trial: Trial) -> dict[str, Any]:
    opened = stages.opened
    study, origin = opened.study, trial.origin or {}
    parent = None if trial.parent_id is None else opened.store.lineage(trial.id)[-2]
    gmacs, target = stages.gmacs(trial), origin.get("target_gmacs")
    name = opened.bench.objective[0]
    quality = value(trial.measurements, *opened.bench.objective)
    before = None if parent is None else value(parent.measurements, *opened.bench.objective)
    record = {
        "trial": trial.number,
        "stage": trial.stage,
        "state": trial.state,
        "reason": trial.reason,
        "parent": None if parent is None else parent.number,
        "architecture": Architecture.from_json(trial.architecture).label,
        "target_gmacs": target,
        "gmacs": gmacs,
        "under_target_percent": None if target is None else 100 * (1 - gmacs / target),
        "parameters": value(trial.measurements, "parameters"),
        name: quality,
        f"{name}_change": None if quality is None or before is None else quality - before,
        "training_seconds": trial.seconds,
        "max_error": origin.get("max_error"),
        "widths": origin.get("widths"),
        "notes": origin.get("notes"),
    }
    return record | scores_on_test(study, trial)


def as_json(stages: Stages, trials: Sequence[Trial], **more: Any) -> str:
    """The trials with their protocols, and more."""
    study = stages.opened.study
    head = {
        "study": study.name,
        "task": study.task,
        "cost_protocol": cost_key(study)[1],
        "protocol": stages.opened.bench.objective[1],
    }
    return json.dumps({**head, **more, "trials": records(stages, trials)}, indent=2)


def stage_table(
    stages: Stages, trials: Sequence[Trial], notes: Sequence[str] = (), *, remarks: bool = True
) -> RenderableType:
    """A trial a row, in the order given, and below what the figures mean.

    Args:
        remarks: What pruning did to the channels, too.
    """
    study, bench = stages.opened.study, stages.opened.bench
    name, protocol = bench.objective
    rows = records(stages, trials)
    table = Table(title=Text(f"{study.name}: {study.task}"), title_justify="left", title_style="bold")
    for heading in ("trial", "stage", "from"):
        table.add_column(heading)
    tested = any(f"test_{name}" in row for row in rows)
    for heading in (
        "target",
        "GMACs",
        "under target",
        "parameters",
        f"{name} [dB]",
        "over its parent",
        *([f"test {name} [dB]"] if tested else []),
    ):
        table.add_column(Text(heading), justify="right")
    for row in rows:
        cells = [
            str(row["trial"]),
            row["stage"] if row["state"] == "complete" else f"{row['stage']}, {row['state']}",
            "" if row["parent"] is None else str(row["parent"]),
            _number(row["target_gmacs"], ".3f"),
            f"{row['gmacs']:.3f}",
            _number(row["under_target_percent"], ".2f", " %"),
            _number(row["parameters"], ",.0f"),
            _number(row[name], ".3f"),
            _number(row[f"{name}_change"], "+.3f"),
        ]
        table.add_row(*map(Text, [*cells, *([_number(row.get(f"test_{name}"), ".3f")] if tested else [])]))
    label = bench.task.baseline_name
    trivial = baseline_value(study, name, protocol)
    lines = [
        f"{name}: {protocol}; {label} {trivial:.3f}",
        f"GMACs: {cost_key(study)[1]}",
        *(line for row in rows if remarks or row["state"] == "failed" for line in _remarks(row)),
        *notes,
    ]
    return Group(table, Text("\n".join(lines), style="dim"))


def _remarks(row: dict[str, Any]) -> list[str]:
    """What the table has no room for."""
    number = row["trial"]
    if row["state"] == "failed":
        return [f"trial {number} failed: {row['reason']}"]
    if row["widths"] is None:
        return []
    cut = sorted(((after / before, group, before, after) for group, before, after in row["widths"]))
    whole = sum(share == 1 for share, *_ in cut)
    kept, had = sum(after for *_, after in cut), sum(before for *_, before, _ in cut)
    most = ", ".join(
        f"{group} {before} to {after}" for share, group, before, after in cut[:CUT_MOST] if share < 1
    )
    return [
        f"trial {number}: {kept} of {had} channels in {len(cut)} groups, {whole} of them whole"
        + (f"; cut most: {most}" if most else ""),
        f"trial {number}: at most {row['max_error']:.1g} from the network with these channels masked",
        *(f"trial {number}: {note}" for note in row["notes"] or ()),
    ]


def _number(number: float | None, form: str, unit: str = "") -> str:
    return "" if number is None else f"{number:{form}}{unit}"

"""Tables for the terminal, and CSV.

Cells are Text, not str: rich takes the ``[dB]`` of a heading and a ``[new]`` in a folder's name for markup.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from results.analysis.overview import (
    GIGA,
    Overview,
    baseline_value,
    comparison_text,
    corner_text,
    cost_key,
    goal_text,
    goals,
    rows,
    spread_text,
    state_text,
    steps_of,
    value,
)
from results.analysis.preliminary import OPEN, Preliminary, why_no_front
from results.analysis.repeats import is_repeat
from results.render.card import start_text, starts_text
from results.store.schema import Artifact, Rung, Study, StudySummary, Trial
from spaces.architecture import Architecture
from spaces.objectives import Objective

LONGEST = 1000  # characters of JSON shown


def front_table(found: Overview, early: Preliminary | None = None) -> RenderableType:
    """The front by rising cost, with the protocols that its numbers were taken under.

    Args:
        early: Shown as a table of its own.
    """
    title = _title(found)
    preliminary = [] if early is None else [preliminary_table(early)]
    if not found.front.members or found.front.quality is None:
        return Group(Text(f"{title}\n{why_no_front(found, early)}"), *preliminary)
    records = rows(found)
    notes = Text("\n".join(_footnotes(found, records)), style="dim")
    return Group(_members_table(found, records, title), notes, *preliminary)


def preliminary_table(early: Preliminary) -> RenderableType:
    """The networks at a rung that no other beats there."""
    found = early.overview
    at = f"preliminary front at {early.text}"
    if not early.members or found.front.quality is None:
        return Text(f"{at}: complete networks beat all others there")
    label, baseline = found.baseline
    name = found.front.quality.name
    notes = [
        f"not trained to the end, with scores at {early.text}; complete networks aren't among them",
        f"{name}: {found.front.quality.protocol}; {label} {baseline:.3f}",
        f"GMACs: {cost_key(found.study)[1]}",
        *(f"{each.name}: {each.protocol}" for each in goals(found)),
    ]
    if all(point.quality <= baseline for point in found.front.members):
        notes.append(f"none of them beats {label} yet")
    return Group(_members_table(found, early.rows, at), Text("\n".join(notes), style="dim"))


def _title(found: Overview) -> str:
    states = Counter(trial.state for trial in found.trials)
    study = found.study
    return (
        f"{study.name}: {study.task}, {study.strategy}, seed {study.seed}, "
        f"{states['complete']} of {len(found.trials)} trials complete"
        + (f", {repeats} of them repeats" if (repeats := sum(map(is_repeat, found.trials))) else "")
        + (f", {states['paused']} paused" if states["paused"] else "")
        + (f", {states['failed']} failed" if states["failed"] else "")
    )


def _members_table(found: Overview, records: Sequence[dict[str, Any]], title: str) -> Table:
    """A row for each record of members."""
    quality = found.front.quality
    assert quality is not None
    # A plain search has one stage, and no parents.
    origins = ("stage", "parent") if any(r["stage"] != "search" for r in records) else ()
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    for heading in ("trial", *origins, "architecture"):
        table.add_column(heading, overflow="fold")
    for heading in (
        "GMACs",
        "params",
        "acts [M]",
        f"{quality.name} [{quality.unit}]",
        f"over {found.baseline[0]} [{quality.unit}]",
    ):
        table.add_column(Text(heading), justify="right")
    extra = goals(found)
    for each in extra:
        table.add_column(Text(each.heading), justify="right")
    tested = f"test_{quality.name}"
    if any(tested in r for r in records):
        table.add_column(Text(f"test {quality.name} [{quality.unit}]"), justify="right")
    for record in records:
        cells = [
            str(record["trial"]),
            *("" if record[key] is None else str(record[key]) for key in origins),
            record["architecture"],
            f"{record['gmacs']:.3f}",
            f"{record['parameters'] or 0:,.0f}",
            f"{(record['activations'] or 0) / 1e6:.1f}",
            f"{record[quality.name]:.3f}{spread_text(record, quality.name)}",
            f"{record[f'{quality.name}_gain']:+.3f}",
            *(_shown(each, record[each.metric]) for each in extra),
        ]
        if tested in record:
            cells.append(f"{record[tested]:.3f}")
        table.add_row(*map(Text, cells))
    return table


def _footnotes(found: Overview, records: list[dict[str, Any]]) -> list[str]:
    front = found.front
    assert front.quality is not None
    tested = f"test_{front.quality.name}"
    label, baseline = found.baseline
    notes = [
        _best_note(found),
        f"{front.quality.name}: {front.quality.protocol}; {label} {baseline:.3f}",
        f"GMACs: {cost_key(found.study)[1]}",
    ]
    if found.comparison is not None:
        notes[1:1] = [
            f"{front.quality.name}: mean ± half of its 95 % interval (trainings); {found.comparison.method}",
            *filter(None, [comparison_text(found)]),
        ]
    notes += [f"{each.name}: {each.protocol}" for each in goals(found)]
    notes += filter(None, [starts_text(found)])
    if front.unmet:
        said = ", ".join(str(limit) for _, limit in found.limits)
        notes.append(
            f"{front.unmet} of {len(front.points)} trials are beyond a limit ({said}) and not on the front"
        )
    if front.worthless == len(front.points):
        notes.append(f"no trial beats {label}: train longer, or raise the budget")
    elif front.worthless:
        notes.append(
            f"{front.worthless} of {len(front.points)} trials don't beat {label} and are not on the front"
        )
    protocol = next((r["test_protocol"] for r in records if tested in r), None)
    if protocol is not None:
        test = baseline_value(found.study, front.quality.name, protocol)
        notes.append(f"test {front.quality.name}: {protocol}; {label} {test:.3f}; never used to choose")
    if front.reference is not None and front.hypervolume is not None:
        volume = f"{found.volume:.4f} {found.volume_unit}"
        notes.append(f"hypervolume {volume} from {corner_text(found)}: {front.reference.meaning}")
    return notes


def _shown(each: Objective, measured: float | None) -> str:
    return "" if measured is None else f"{measured / each.kind.scale:.{4 if each.name == 'ssim' else 2}f}"


def _best_note(found: Overview) -> str:
    try:
        return f"best for {goal_text(found.study)}: trial {found.best.number}"
    except ValueError as error:
        return f"best: none; {error}"


def front_csv(found: Overview, early: Preliminary | None = None) -> str:
    """The front's records with a header; if it is given, those of the preliminary front. Empty where there is none."""
    records = rows(found) if early is None else early.rows
    if not records:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(key for r in records for key in r)))
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def studies_table(summaries: tuple[StudySummary, ...]) -> Table:
    """All studies with what has come of them."""
    table = Table()
    for heading in ("study", "task", "strategy", "goal", "state", "trials", "failed", "best", "made"):
        table.add_column(heading, justify="right" if heading in ("trials", "failed", "best") else "left")
    for summary in summaries:
        study = summary.study
        metric, protocol = study.data["objective"]
        best = next((m for m in summary.best if m.key == (metric, protocol)), None)
        cells = (
            study.name,
            study.task,
            study.strategy,
            goal_text(study),
            state_text(study, summary.paused),
            f"{summary.complete}/{summary.trials}",
            str(summary.failed),
            "" if best is None else f"{best.value:.3f} {best.unit}",
            f"{study.created_at:%Y-%m-%d %H:%M}",
        )
        table.add_row(*map(Text, cells))
    return table


def trial_view(
    study: Study,
    lineage: Sequence[Trial],
    rungs: Sequence[Rung],
    artifacts: Sequence[Artifact],
    children: Sequence[Trial] = (),
) -> RenderableType:
    """Everything on record of one trial, the last of its lineage; of its ancestors stage, cost and quality."""
    trial = lineage[-1]
    architecture = Architecture.from_json(trial.architecture)
    lines = [
        f"trial {trial.number}  {architecture.label}  [{trial.digest}]",
        f"{trial.stage}, {trial.state}" + (f": {trial.reason}" if trial.reason else ""),
        *([preliminary_note(study, trial, rungs[-1])] if rungs and trial.state in OPEN else ()),
        f"attempts {trial.attempts}" + ("" if trial.seconds is None else f", trained {trial.seconds:.1f} s"),
        f"parent {lineage[-2].number if len(lineage) > 1 else 'none'}",
        *([f"children {', '.join(f'{t.number} ({t.stage})' for t in children)}"] if children else ()),
        f"architecture {_cut(trial.architecture)}",
        *filter(None, [start_text(study, trial)]),
        *(f"{key} {_plain(said)}" for key, said in (trial.origin or {}).items()),
    ]
    parts: list[RenderableType] = [Text("\n".join(lines))]
    if len(lineage) > 1:
        parts.append(_lineage_table(study, lineage))
    if trial.measurements:
        table = Table("measurement", "value", "unit", "protocol")
        for m in trial.measurements:
            number = f"{m.value:,.4f}".rstrip("0").rstrip(".")
            table.add_row(*map(Text, (m.name, number, m.unit, m.protocol)))
        parts.append(table)
    if rungs:
        table = Table("step", "loss", "seconds", "scores")
        for rung in rungs:
            scores = ", ".join(f"{m.name} {m.value:.3f}" for m in rung.measurements)
            table.add_row(str(rung.step), f"{rung.loss:.5f}", f"{rung.seconds:.1f}", scores)
        parts.append(table)
    parts += [Text(f"{a.kind}: {a.path} ({a.bytes:,} bytes, SHA-256 {a.sha256})") for a in artifacts]
    return Group(*parts)


def preliminary_note(study: Study, trial: Trial, rung: Rung) -> str:
    """What is known of a trial that isn't complete: its scores at its last rung."""
    steps = steps_of(study, trial)
    scores = ", ".join(f"{m.name} {m.value:.3f}" for m in rung.measurements) or "not scored"
    return f"preliminary, step {rung.step:,}" + (f" of {steps:,}" if steps else "") + f": {scores}"


def _lineage_table(study: Study, lineage: Sequence[Trial]) -> Table:
    """From the root on, under the study's protocol."""
    metric, protocol = study.data["objective"]
    unit = next((m.unit for t in lineage for m in t.measurements if m.key == (metric, protocol)), "dB")
    caption = Text(f"GMACs: {cost_key(study)[1]}\n{metric}: {protocol}")
    table = Table("trial", "stage", "state", title="lineage", caption=caption, caption_justify="left")
    for heading in ("GMACs", f"{metric} [{unit}]"):
        table.add_column(Text(heading), justify="right")
    for trial in lineage:
        cost = value(trial.measurements, *cost_key(study))
        quality = value(trial.measurements, metric, protocol)
        numbers = ("" if cost is None else f"{cost / GIGA:.3f}", "" if quality is None else f"{quality:.3f}")
        table.add_row(*map(Text, (str(trial.number), trial.stage, trial.state, *numbers)))
    return table


def _plain(said: Any) -> str:
    return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)


def _cut(text: str) -> str:
    """A pruned architecture names the shape of every tensor: whole, it would fill screens."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]} ... ({len(text):,} characters; an export writes it whole)"

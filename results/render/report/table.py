"""All trials of a study as one flat table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from results.analysis.overview import Overview
from results.analysis.repeats import is_repeat
from results.render.report.record import measurement_title, parent_number, steps_by_trial, utc_text
from results.store.schema import Rung
from spaces.architecture import Architecture


def trials_csv(found: Overview, rungs: Sequence[Rung]) -> str:
    """A row a trial, with a header: what it is, its genes, and a column for each metric under each protocol.

    Times are UTC. What wasn't measured is empty.
    """
    front, steps = {point.id for point in found.front.members}, steps_by_trial(rungs)
    records, repeats = [], any(map(is_repeat, found.trials))
    for trial in found.trials:
        record: dict[str, Any] = {
            "trial": trial.number,
            "stage": trial.stage,
            "state": trial.state,
            "on_front": int(trial.id in front),
            "parent": parent_number(found, trial),
            "architecture": Architecture.from_json(trial.architecture).label,
            "digest": trial.digest,
            "attempts": trial.attempts,
            "steps": steps.get(trial.id),
            "complete": int(trial.state == "complete"),
            "seconds": trial.seconds,
            "created_at": utc_text(trial.created_at),
            "finished_at": utc_text(trial.finished_at),
            "reason": trial.reason,
        }
        if repeats:
            record["repeat"] = (trial.origin or {}).get("repeat")
        record |= {measurement_title(each): each.value for each in trial.measurements}
        record |= {f"gene {name}": said for name, said in (trial.genotype or {}).items()}
        records.append(record)
    records = [{key: _inert(said) for key, said in record.items()} for record in records]
    text = io.StringIO()
    columns = dict.fromkeys(key for record in records for key in record) or {"trial": None}
    # Sorted within their kind, so that later stages' measurements lie beside those of the search.
    writer = csv.DictWriter(text, fieldnames=sorted(columns, key=lambda key: key.startswith("gene ")))
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _inert(said: Any) -> Any:
    """Text that a spreadsheet doesn't take for a formula."""
    return f"'{said}" if isinstance(said, str) and said.startswith(("=", "+", "-", "@", "\t", "\r")) else said

"""What the API says of networks that aren't trained to the end: the preliminary front."""

from __future__ import annotations

from typing import Any

from results.analysis.overview import overview, value
from results.analysis.preliminary import OPEN, finish_command, preliminary
from results.dashboard.columns import Column
from results.dashboard.views import Opened


def early_front(opened: Opened, x: Column, y: Column) -> dict[str, Any]:
    """The unfinished trials at the rung that the preliminary front is over, by two metrics; those that have both."""
    revision = opened.store.revision(opened.study.id)
    found = overview(opened.store, opened.study.name)
    early = preliminary(opened.store, found)
    made: dict[str, Any] = {
        "step": None,
        "steps": int(opened.study.config["training"]["steps"]),
        "command": None,
    }
    points = []
    if early is not None:
        made |= {"step": early.step}
        if early.remainders:
            made |= {"command": finish_command(opened.study, early.remainders)}
        members = {point.id for point in early.overview.front.members}
        for point in early.overview.front.points:
            trial = early.overview.by_id[point.id]
            at = value(trial.measurements, x.name, x.protocol), value(trial.measurements, y.name, y.protocol)
            if trial.state in OPEN and None not in at:
                points.append({"number": trial.number, "x": at[0], "y": at[1], "member": point.id in members})
    return made | {"x": x, "y": y, "points": points, "revision": revision}

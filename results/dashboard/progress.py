"""What the API says of how a study gets on: running trials, failures, hypervolume over time and training."""

from __future__ import annotations

from typing import Any

import numpy as np

from results.analysis.history import hypervolume_history
from results.dashboard import fronts
from results.dashboard.columns import STATES, Snapshot, Times
from results.dashboard.features import unchecked
from results.dashboard.trials import with_curves
from results.dashboard.views import Axes, Opened, asks, limits, spent, state_of
from results.store.schema import Trial

FAILURES = 500
ENDED, STEPS = 0, 1  # columns of Times


def progress(opened: Opened) -> dict[str, Any]:
    """All of it."""
    snapshot, times = opened.columns.times()
    failures = opened.store.failures(opened.study.id, most=FAILURES)
    return {
        **moving(opened),
        "failures": [_failure(each) for each in failures],
        "hypervolume": _hypervolume(opened, snapshot, times),
        "limits": limits(opened.study.config),
    }


def moving(opened: Opened) -> dict[str, Any]:
    """What changes all the time, which listeners are sent."""
    snapshot = opened.columns.snapshot()
    return {
        **state_of(opened.study, snapshot),
        "revision": snapshot.revision,
        "running": _running(opened, snapshot),
        "waiting": int((snapshot.state == STATES.index("waiting")).sum()),
        "spent": spent(opened.store.spent(opened.study.id), snapshot),
        "asks": asks(opened.store, opened.study.id),
    }


def _running(opened: Opened, snapshot: Snapshot) -> list[dict[str, Any]]:
    numbers = np.flatnonzero(snapshot.state == STATES.index("running")).tolist()
    if not numbers:
        return []
    objective = Axes(opened.study, snapshot).objective
    made = []
    for trial, found in with_curves(opened, numbers, objective):
        points = [[step, value] for step, value in zip(found["steps"], found["values"], strict=True)]
        made.append(
            {
                "number": trial.number,
                "stage": trial.stage,
                "label": unchecked(trial.architecture).label,
                "worker": trial.worker,
                "started_at": trial.started_at,
                "steps": found["steps"][-1] if points else 0,
                "of": _steps_of(opened, trial),
                "curve": points,
                "key": objective.key,
            }
        )
    return made


def _steps_of(opened: Opened, trial: Trial) -> int | None:
    """How many steps the trial is to train for: its recipe's, or the search's."""
    recipe = (trial.origin or {}).get("recipe")
    steps = recipe.get("steps") if isinstance(recipe, dict) else limits(opened.study.config)["steps"]
    return steps


def _failure(found: dict[str, Any]) -> dict[str, Any]:
    architecture = found.pop("architecture")
    return {**found, "label": unchecked(architecture).label}


def _hypervolume(opened: Opened, snapshot: Snapshot, times: Times) -> dict[str, Any] | None:
    """How the front grew with the time since the study's start and with all training steps by then."""
    axes = Axes(opened.study, snapshot)
    reference = fronts.corner(opened.study, snapshot, axes.cost, axes.objective)
    if reference is None:
        return None
    x, y = (fronts.means(snapshot, column) for column in (axes.cost, axes.objective))
    ended = times.table[: len(snapshot), ENDED]
    order = np.argsort(ended, kind="stable")[: int(np.isfinite(ended).sum())]
    steps = np.nancumsum(times.table[order, STEPS])
    met = fronts.meets_limits(opened.study, snapshot)
    measured = (snapshot.complete & met & np.isfinite(x) & np.isfinite(y))[order]
    taken = order[measured]
    history = hypervolume_history(
        range(len(taken)),
        np.column_stack([x[taken], y[taken]]).tolist(),
        (reference.cost, reference.quality),
        (axes.cost.direction, axes.objective.direction),
    )
    start = opened.study.created_at.timestamp()
    at = np.array([index for index, _ in history], dtype=int)
    volumes = [volume for _, volume in history]
    seconds, trained = ended[taken][at] - start, steps[measured][at]
    return {
        "unit": f"MACs x {axes.objective.unit}",
        "reference": {"x": reference.cost, "y": reference.quality, "meaning": reference.meaning},
        "by_time": [list(pair) for pair in zip(seconds.tolist(), volumes, strict=True)],
        "by_steps": [list(pair) for pair in zip(trained.tolist(), volumes, strict=True)],
    }

"""What the API says of single trials: pages of them, one with all its details, learning curves."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from results.analysis.estimates import mean_interval
from results.analysis.repeats import trainings
from results.dashboard import fronts
from results.dashboard.columns import STAGES, STATES, Column, Snapshot
from results.dashboard.errors import ApiError
from results.dashboard.features import Features, unchecked
from results.dashboard.files import export_command, whereabouts
from results.dashboard.views import Axes, Opened
from results.store.schema import Rung, Study, Trial
from results.store.store import Store


def page(
    opened: Opened,
    *,
    chosen: NDArray[np.int64],
    snapshot: Snapshot,
    after: int | None,
    limit: int,
) -> dict[str, Any]:
    """Some of the chosen trials in their order.

    Args:
        chosen: Numbers of all that match, in order.
        after: The number that the page before ended with.

    Raises: ApiError: if ``after`` isn't among them.
    """
    start = 0
    if after is not None:
        found = np.flatnonzero(chosen == after)
        if len(found) == 0:
            raise ApiError(
                422,
                "unknown_trial",
                f"after: expected a trial that matches, got {after}; start again without it",
            )
        start = int(found[0]) + 1
    wanted = chosen[start : start + limit].tolist()
    loaded = {trial.number: trial for trial in opened.store.numbered_trials(opened.study.id, wanted)}
    more = start + limit < len(chosen)
    return {
        "revision": snapshot.revision,
        "total": len(chosen),
        "next": wanted[-1] if more else None,
        "trials": [as_data(loaded[number], snapshot) for number in wanted],
    }


def matching(
    snapshot: Snapshot,
    *,
    since: int | None,
    stages: Sequence[str],
    states: Sequence[str],
    column: Column | None,
    descending: bool,
) -> NDArray[np.int64]:
    """Numbers of the trials that pass, sorted by number or by a metric; those without it come last."""
    mask = np.ones(len(snapshot), dtype=bool)
    if since is not None:
        mask &= snapshot.changed > since
    if stages:
        mask &= np.isin(snapshot.stage, [STAGES.index(each) for each in stages])
    if states:
        mask &= np.isin(snapshot.state, [STATES.index(each) for each in states])
    numbers = np.flatnonzero(mask)
    if column is None:
        return numbers[::-1] if descending else numbers
    keys = fronts.values(snapshot, column)[numbers]
    return numbers[np.argsort(-keys if descending else keys, kind="stable")]  # NaN is sorted last


def as_data(trial: Trial, snapshot: Snapshot) -> dict[str, Any]:
    """A trial as the API has it."""
    return {
        **lite(trial, snapshot),
        "digest": trial.digest,
        "reason": trial.reason,
        "attempts": trial.attempts,
        "worker": trial.worker,
        "created_at": trial.created_at,
        "started_at": trial.started_at,
        "finished_at": trial.finished_at,
        "seconds": trial.seconds,
        "measurements": [vars(each) for each in trial.measurements],
        "origin": trial.origin,
    }


def lite(trial: Trial, snapshot: Snapshot) -> dict[str, Any]:
    """What is needed to name a trial."""
    parent = None if trial.parent_id is None else snapshot.number_of([trial.parent_id])[0]
    label = unchecked(trial.architecture).label
    return {
        "number": trial.number,
        "stage": trial.stage,
        "state": trial.state,
        "parent": parent,
        "label": label,
    }


def detail(opened: Opened, name: str, runs: Path) -> dict[str, Any]:
    """Everything on record of one trial.

    Args:
        name: Its number or ``best``.

    Raises: ApiError: if there is no such trial.
    """
    snapshot, store = opened.columns.snapshot(), opened.store
    trial = find(opened, snapshot, name)
    ancestors, children = store.lineage(trial.id), store.children(trial.id)
    relatives = [lite(each, snapshot) for each in (*ancestors, *children)]
    return {
        **as_data(trial, snapshot),
        "architecture": orjson.Fragment(trial.architecture),
        "genotype": trial.genotype,
        "lineage": relatives[: len(ancestors)],
        "children": relatives[len(ancestors) :],
        "rungs": [_rung(each) for each in store.rungs(opened.study.id, trial_id=trial.id)],
        "files": [_file(each, runs / opened.study.name) for each in store.files(trial.id)],
        "command": commands(opened, trial, runs),
    }


def find(opened: Opened, snapshot: Snapshot, name: str) -> Trial:
    """The trial of that number, or the study's best.

    Raises: ApiError: if the name is neither a number nor 'best', or there is no such trial.
    """
    if name == "best":
        axes = Axes(opened.study, snapshot)
        number = fronts.best(opened.study, snapshot, axes.cost, axes.objective)
        if number is None:
            raise ApiError(
                404, "no_best", f"no trial of study '{opened.study.name}' reaches what it looks for yet"
            )
        return opened.store.trial(opened.study.id, number)
    if not (name.isascii() and name.isdigit() and len(name) < 10):
        raise ApiError(422, "unknown_trial", f"a trial is a number or 'best', got '{name[:100]}'")
    try:
        return opened.store.trial(opened.study.id, int(name))
    except ValueError as error:
        raise ApiError(404, "unknown_trial", str(error)) from None


def _rung(rung: Rung) -> dict[str, Any]:
    return {
        "step": rung.step,
        "attempt": rung.attempt,
        "loss": rung.loss,
        "seconds": rung.seconds,
        "measurements": [vars(each) for each in rung.measurements],
    }


def _file(recorded: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    path = folder / recorded["path"]
    shown = {name: recorded[name] for name in ("id", "kind", "bytes", "sha256", "created_at")}
    return {**shown, "name": path.name, "available": path.is_file()}


def commands(opened: Opened, trial: Trial, runs: Path) -> dict[str, str]:
    """The command lines that do the same as the page."""
    where = whereabouts(opened.store, runs)
    name, number = opened.study.name, str(trial.number)
    return {
        "export": export_command(opened.store, runs, opened.study, trial, "onnx"),
        "show": shlex.join(["pixelfront", "show", name, number, *where]),
        "evaluate": shlex.join(["pixelfront", "evaluate", f"{name}:{number}", *where]),
    }


def curves(opened: Opened, numbers: Sequence[int], column: Column) -> dict[str, Any]:
    """Learning curves of some trials, by the metric at each rung that has it."""
    return {
        "curves": [{"number": trial.number, **found} for trial, found in with_curves(opened, numbers, column)]
    }


def with_curves(opened: Opened, numbers: Sequence[int], column: Column) -> list[tuple[Trial, dict[str, Any]]]:
    """Some trials, each with its learning curve."""
    found = opened.store.numbered_trials(opened.study.id, numbers)
    rungs: dict[int, list[Rung]] = defaultdict(list)
    for rung in opened.store.rungs(opened.study.id, trial_ids=[trial.id for trial in found]):
        rungs[rung.trial_id].append(rung)
    return [(trial, _curve(rungs[trial.id], column)) for trial in found]


def _curve(rungs: Sequence[Rung], column: Column) -> dict[str, Any]:
    """One learning curve as columns; a rung without the metric has null."""
    key = column.name, column.protocol
    values = [next((each.value for each in rung.measurements if each.key == key), None) for rung in rungs]
    return {
        "steps": [rung.step for rung in rungs],
        "values": values,
        "seconds": [rung.seconds for rung in rungs],
        "loss": [rung.loss for rung in rungs],
    }


def intervals(
    store: Store, study: Study, snapshot: Snapshot, features: Features, column: Column
) -> dict[str, Any]:
    """Architectures that were trained several times in one way: mean of the metric, and its 95 % t interval.

    Two distillations from different teachers are no repeats: `results.analysis.repeats.trainings` tells.
    """
    values = fronts.values(snapshot, column)
    alike: dict[tuple[int, str], list[int]] = defaultdict(list)
    for number in np.flatnonzero(snapshot.complete & np.isfinite(values)).tolist():
        alike[int(snapshot.stage[number]), features.digest[number]].append(number)
    numbers = [number for group in alike.values() if len(group) > 1 for number in group]
    found = trainings(store.numbered_trials(study.id, numbers), (column.name, column.protocol))
    made = []
    for first, group in found.items():
        if len(group) > 1 and first == group[0].id:
            of_group = [trial.number for trial in group]
            mean, low, high = mean_interval(values[of_group])
            facts = {"n": len(group), "mean": mean, "low": low, "high": high}
            made.append({"numbers": of_group, "digest": group[0].digest, "stage": group[0].stage, **facts})
    return {"groups": made}

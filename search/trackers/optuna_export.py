"""A study written into an Optuna storage, so that optuna-dashboard and Optuna's own analyses open it.

Objectives are (GMACs, quality), or the study's own. What isn't on our front for another reason than dominance, because
it costs more than the budget, is beyond a limit, doesn't beat the trivial method or repeats another trial's training,
breaks a constraint there: ``best_trials`` are our front's members within the budget. Of several trainings the first has
the means.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from results.analysis.front import Point
from results.analysis.overview import GIGA, Overview, cost_key, goal_text, overview, value
from results.store.migrations import VERSION_TABLE
from results.store.schema import Rung, Trial
from results.store.store import Store
from spaces.architecture import Architecture

optuna.logging.set_verbosity(optuna.logging.WARNING)

JOURNAL = "journal:"
STATES = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL}


class OptunaExportError(ValueError):
    """The study can't be written to that storage; nothing was changed there."""


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        open: Trials that haven't ended: they are left out.
    """

    name: str
    trials: int
    open: int


def export_to_optuna(
    store: Store,
    name: str,
    url: str,
    *,
    replace: bool = False,
    started: Callable[[int], None] = lambda total: None,
    advanced: Callable[[int], None] = lambda done: None,
) -> Written:
    """Write all ended trials of a study, of every stage, under the study's own name.

    Parameters are what the strategy asked for; where the budget made the network narrower, its label and cost tell.
    Learning curves are user attributes: Optuna has no intermediate values for several objectives.

    Args:
        url: ``sqlite:///FILE``, any URL that Optuna takes, or ``journal:FILE``, which is written faster.
        replace: A study of that name in the storage is deleted first.
        started, advanced: Told of how many trials there are, and how many are written.

    Raises: UnknownStudy, OptunaExportError: if the storage can't be opened or has a study of that name.
    """
    found = overview(store, name)
    trials = _trials(found, store.rungs(found.study.id))
    with _opened(url) as storage:
        study = _new_study(storage, found, replace=replace)
        started(len(trials))
        try:
            for done, trial in enumerate(trials, 1):
                study.add_trial(trial)
                advanced(done)
        except BaseException:  # half a study is worse than none
            optuna.delete_study(study_name=name, storage=storage)
            raise
    return Written(name, len(trials), len(found.trials) - len(trials))


@contextmanager
def _opened(url: str) -> Iterator[BaseStorage]:
    path = Path(url.removeprefix(JOURNAL))
    if url.startswith(JOURNAL):
        if not path.parent.is_dir():
            raise OptunaExportError(f"--to-optuna {url}: there is no folder {path.parent}")
        if not _may_be_journal(path):
            raise OptunaExportError(
                f"--to-optuna {url}: the file is no journal of Optuna's; name another one"
            )
        yield JournalStorage(JournalFileBackend(str(path)))
        return
    if "://" not in url:
        raise OptunaExportError(
            f"--to-optuna: expected sqlite:///FILE, another database's URL or journal:FILE, got {url!r}"
        )
    try:
        _check_tables(url)
        storage = RDBStorage(url)
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise OptunaExportError(f"--to-optuna: the storage can't be opened: {reason}") from error
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _may_be_journal(path: Path) -> bool:
    """Whether there is no such file, or an empty one, or one with a journal's first line: Optuna writes into any."""
    if not path.exists():
        return True
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        first = file.readline(1 << 20)
    try:
        return not first or "op_code" in json.loads(first)
    except (ValueError, TypeError):
        return False


def _check_tables(url: str) -> None:
    """Nothing, unless it is a store of ours: Optuna calls its tables the same, and would write into them.

    Raises: ValueError: then.
    """
    engine = sqlalchemy.create_engine(url)
    try:
        if sqlalchemy.inspect(engine).has_table(VERSION_TABLE):
            raise ValueError("it is pixelfront's own store; name another database")
    finally:
        engine.dispose()


def _new_study(storage: BaseStorage, found: Overview, *, replace: bool) -> optuna.Study:
    name, (metric, protocol) = found.study.name, found.study.data["objective"]
    if any(known.study_name == name for known in storage.get_all_studies()):
        if not replace:
            raise OptunaExportError(
                f"the storage has a study '{name}' already: give --replace, or name another storage"
            )
        optuna.delete_study(study_name=name, storage=storage)
    quality = found.front.quality
    usual = ["min", "max" if quality is None else quality.direction]
    said = [each.direction for each in found.objectives] or usual
    directions = [StudyDirection.MINIMIZE if each == "min" else StudyDirection.MAXIMIZE for each in said]
    headings = [each.heading for each in found.objectives]
    study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(headings or [f"GMACs ({cost_key(found.study)[1]})", metric])
    plain = {
        "task": found.study.task,
        "strategy": found.study.strategy,
        "seed": found.study.seed,
        "goal": goal_text(found.study),
        "protocol": protocol,
        "space": f"{found.study.space_name} ({found.study.space_digest})",
        "data": found.study.data_digest,
        found.baseline[0]: found.baseline[1],
    }
    for key, said in plain.items():
        study.set_user_attr(key, said)
    return study


def _trials(found: Overview, rungs: Sequence[Rung]) -> list[FrozenTrial]:
    curves: dict[int, list[tuple[int, float]]] = {}
    key = tuple(found.study.data["objective"])
    for rung in rungs:
        for each in rung.measurements:
            if each.key == key:
                curves.setdefault(rung.trial_id, []).append((rung.step, each.value))
    distributions = {name: _distribution(values) for name, values in found.study.space.items()}
    ended = [trial for trial in found.trials if trial.state in STATES]
    points = {point.id: point for point in found.front.points}
    return [
        _frozen(found, trial, points.get(trial.id), distributions, curves.get(trial.id, []))
        for trial in ended
    ]


def _distribution(values: Sequence[int | str]) -> BaseDistribution:
    """Of evenly spaced integers the range, else the list: a dashboard then shows the values themselves."""
    numbers = [each for each in values if isinstance(each, int) and not isinstance(each, bool)]
    steps = {b - a for a, b in pairwise(numbers)}
    if len(numbers) == len(values) > 1 and len(steps) == 1 and min(steps) > 0:
        return IntDistribution(numbers[0], numbers[-1], step=steps.pop())
    return CategoricalDistribution(list(values))


def _frozen(
    found: Overview,
    trial: Trial,
    point: Point | None,
    distributions: dict[str, BaseDistribution],
    curve: Sequence[tuple[int, float]],
) -> FrozenTrial:
    genes = trial.genotype or {}
    state, values = STATES[trial.state], _values(found, trial, point)
    if values is None:  # Optuna knows no complete trial that lacks an objective
        state = TrialState.FAIL
    made = optuna.create_trial(
        state=state,
        values=values,
        params=dict(genes),
        distributions={name: distributions[name] for name in genes},
        user_attrs=_attributes(found, trial, curve),
    )
    made.datetime_start = _local(trial.started_at or trial.created_at)
    made.datetime_complete = _local(trial.finished_at or trial.started_at or trial.created_at)
    if values is not None:
        _constrain(made, found, trial, point)
    return made


def _values(found: Overview, trial: Trial, point: Point | None) -> list[float] | None:
    """Of a complete trial, those of its point on our front's axes; of a repeat, which has none, its own."""
    if trial.state != "complete":
        return None
    if point is not None:
        return list(point.values) or [point.cost / GIGA, point.quality]
    if found.objectives:
        values = [each.find(trial.measurements) for each in found.objectives]
    else:
        cost = value(trial.measurements, *cost_key(found.study))
        values = [cost and cost / GIGA, value(trial.measurements, *found.study.data["objective"])]
    return None if None in values else values  # type: ignore[return-value]


def _attributes(found: Overview, trial: Trial, curve: Sequence[tuple[int, float]]) -> dict[str, Any]:
    parent = None if trial.parent_id is None else found.by_id[trial.parent_id].number
    said = {
        "trial": trial.number,
        "stage": trial.stage,
        "parent": parent,
        "architecture": Architecture.from_json(trial.architecture).label,
        "digest": trial.digest,
        "reason": trial.reason,
        "training_seconds": trial.seconds,
        "curve": [list(point) for point in curve],
    }
    # What the objectives say isn't said again, in no other convention either: each attribute takes milliseconds.
    measured = {f"{e.name} ({e.protocol})": e.value for e in trial.measurements if e.name != "macs"}
    return {key: each for key, each in said.items() if each not in (None, [])} | measured


def _constrain(made: FrozenTrial, found: Overview, trial: Trial, point: Point | None) -> None:
    if point is None:  # a repeat: its values are in those of its first training
        made.set_constraint("repeats another trial", 1.0)
        return
    high, quality = found.budget[1], point.quality
    if high is not None:
        made.set_constraint("GMACs over the budget", point.cost / GIGA - high)
    measured = found.distinct[trial.id].measurements
    for each, limit in found.limits:
        reached, side = each.find(measured), 1.0 if each.direction == "min" else -1.0
        beyond = 1.0 if reached is None else side * (reached - limit.bound)
        made.set_constraint(f"beyond {limit}", beyond)
    front = found.front
    if front.quality is not None and front.worthless < len(front.points):
        sign = 1.0 if front.quality.direction == "max" else -1.0
        # What equals the trivial method doesn't beat it: the next number above is the first that does.
        least = math.nextafter(sign * found.baseline[1], math.inf)
        made.set_constraint(f"{front.quality.name} under {found.baseline[0]}", least - sign * quality)


def _local(moment: datetime) -> datetime:
    """As Optuna keeps times: local, without a zone."""
    return moment.astimezone().replace(tzinfo=None)

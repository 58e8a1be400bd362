"""Experiment trackers: a study's runs in TensorBoard or MLflow, written by their own libraries.

A file here is a tracker, found by its name: it has ``make(study, folder, runs)``. What a tracker gets is read from the
store, beside the search and never before it is on record there: a tracker that is slow or away holds nothing up, and
whatever it misses is written later, or on ``--resume``. What it has already is not written twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from results.analysis.overview import GIGA, Overview, cost_key, overview, value
from results.store.schema import Rung, Study, Trial
from results.store.store import Store, StoreError
from search.config import ConfigError
from spaces.architecture import Architecture, Leaf
from spaces.measurement import Measurement

PAUSE_S = 2.0
SHARE = 10  # reading and writing take at most one part in so many of the time
STUDY = "study"  # the run of what isn't one trial's
CURVE = "curve/"  # what the values along a training are called; other names are final scores
ENDED = ("complete", "failed")


@dataclass
class Known:
    """What a tracker has of a run: its curve up to a step, final scores, and whether it has ended there."""

    step: int = -1
    scores: set[str] = field(default_factory=set)
    ended: bool = False


class Tracker(Protocol):
    """Writes runs. Its calls come from one thread.

    Attributes:
        place: Where the runs are, for the user.
        errors: What its calls raise if it can't be reached or written.
    """

    place: str
    errors: tuple[type[Exception], ...]

    def begin(self, run: str, about: Mapping[str, Leaf | float], at: datetime) -> Known:
        """Opens a run, new or from before; says what it has."""

    def log(self, run: str, step: int, values: Mapping[str, float], at: datetime) -> None:
        """Values along a training, at a time."""

    def end(
        self, run: str, step: int, scores: Mapping[str, float], failure: str | None, at: datetime
    ) -> None:
        """Final scores; called again for those measured later."""

    def close(self) -> None:
        """Nothing more will come."""


Make = Callable[[Study, Path, Path], Tracker]


def find_tracker(name: str) -> Make:
    """What makes the tracker: (study, its folder, folder of all studies).

    Raises: ConfigError: if its library isn't installed; says how to.
    """
    try:
        make: Make = import_module(f"search.trackers.{name}").make
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--log {name}: {error.name} isn't installed: pip install 'pixelfront[{name}]'"
        ) from error
    return make


@contextmanager
def tracked(store: Store, study: Study, tracker: Tracker, warn: Callable[[str], None]) -> Iterator[None]:
    """Keeps the tracker up to date from the store meanwhile, in a thread; all is written at the end.

    Args:
        warn: Told once if the tracker can't be reached or written.
    """
    follower = _Follower(store, study, tracker, warn)
    over = threading.Event()
    thread = threading.Thread(target=follower.follow, args=(over,), name="tracker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        tracker.close()


class _Follower:
    def __init__(self, store: Store, study: Study, tracker: Tracker, warn: Callable[[str], None]):
        self._store = store
        self._study = study
        self._tracker = tracker
        self._warn = warn
        self._known: dict[str, Known] = {}
        self._revision = 0
        self._warned = False
        self._errors: tuple[type[Exception], ...] = (StoreError, *tracker.errors)

    def follow(self, over: threading.Event) -> None:
        """Synchronises now and then, and once more when it is over."""
        last = False
        while True:
            started = time.monotonic()
            self._try()
            if last:
                return
            last = over.wait(max(PAUSE_S, SHARE * (time.monotonic() - started)))

    def _try(self) -> None:
        try:
            self._synchronise()
        except self._errors as error:
            self._known.clear()  # what arrived there, it will say
            self._revision = 0
            if not self._warned:
                self._warn(
                    f"{self._tracker.place}: {str(error).splitlines()[0]}; the study goes on, and what is missing "
                    "there is written when it can be, or on --resume"
                )
            self._warned = True

    def _synchronise(self) -> None:
        revision = self._store.revision(self._study.id)
        if revision == self._revision:
            return
        found = overview(self._store, self._study.name)
        study = self._run(STUDY, lambda: about_study(found), found.study.created_at)
        for trial in found.trials:
            if trial.revision > self._revision and trial.started_at is not None:
                self._write(found, trial)
        for step, values, at in _growth(found):
            if step > study.step:
                self._tracker.log(STUDY, step, values, at)
                study.step = step
        self._revision = revision

    def _run(self, name: str, about: Callable[[], Mapping[str, Leaf | float]], at: datetime) -> Known:
        if name not in self._known:
            self._known[name] = self._tracker.begin(name, about(), at)
        return self._known[name]

    def _write(self, found: Overview, trial: Trial) -> None:
        assert trial.started_at is not None
        run = f"trial-{trial.number:05d}"
        known = self._run(run, lambda: about_trial(found, trial), trial.started_at)
        rungs = self._store.rungs(self._study.id, trial_id=trial.id)
        for rung in rungs:
            if rung.step > known.step:
                self._tracker.log(run, rung.step, _curve_values(self._study, rung), _time(trial, rung, rungs))
                known.step = rung.step
        if trial.state not in ENDED:
            return
        scores = final_scores(self._study, trial.measurements)
        new = {name: score for name, score in scores.items() if name not in known.scores}
        if new or not known.ended:
            at = trial.finished_at or trial.started_at
            self._tracker.end(run, max(known.step, 0), new, trial.reason, at)
            known.scores |= new.keys()
            known.ended = True


def about_trial(found: Overview, trial: Trial) -> dict[str, Leaf | float]:
    """What tells a trial from others: its genes, or how it was made."""
    parent = None if trial.parent_id is None else found.by_id[trial.parent_id].number
    plain = {
        name: said
        for name, said in (trial.origin or {}).items()
        if isinstance(said, str | int | float | bool)
    }
    about: dict[str, Leaf | float] = {
        "architecture": Architecture.from_json(trial.architecture).label,
        "stage": trial.stage,
    }
    if parent is not None:
        about["parent"] = parent
    return about | plain | dict(trial.genotype or {})


def about_study(found: Overview) -> dict[str, Leaf | float]:
    """What tells a study from others."""
    study = found.study
    return {
        "task": study.task,
        "strategy": study.strategy,
        "seed": study.seed,
        "space": f"{study.space_name} ({study.space_digest})",
        "objective": " ".join(study.data["objective"]),
        "cost": " ".join(cost_key(study)),
    }


def final_scores(study: Study, measurements: Sequence[Measurement]) -> dict[str, float]:
    """By name: ``cost/gmacs`` as the budget counts, ``validation/psnr_y``, ``test/psnr_y``, ..."""
    cost = value(measurements, *cost_key(study))
    scores = {} if cost is None else {"cost/gmacs": cost / GIGA}
    validation = study.data["objective"][1].partition(" on ")[2]
    for each in measurements:
        images = each.protocol.partition(" on ")[2]
        if images:
            scores[f"{'validation' if images == validation else 'test'}/{each.name}"] = each.value
        elif each.name != "macs":
            scores[f"cost/{each.name}"] = each.value
    return scores


def _curve_values(study: Study, rung: Rung) -> dict[str, float]:
    return {f"{CURVE}loss": rung.loss} | {f"{CURVE}{each.name}": each.value for each in rung.measurements}


def _time(trial: Trial, rung: Rung, rungs: Sequence[Rung]) -> datetime:
    """When the rung was reached: so long before the last as the seconds of training between them."""
    end = trial.finished_at or datetime.now(UTC)
    return end - timedelta(seconds=max(0.0, (trial.seconds or rungs[-1].seconds) - rung.seconds))


def _growth(found: Overview) -> list[tuple[int, dict[str, float], datetime]]:
    """(complete trials, the hypervolume then, when) where it grew."""
    ended = sorted(
        (found.by_id[point.id].finished_at or found.study.created_at, point) for point in found.front.points
    )
    numbers = [float(n) for n in range(1, len(ended) + 1)]
    history = found.growth(numbers, [point for _, point in ended], most=0)
    grown = [
        (int(n), volume) for (_, before), (n, volume) in pairwise([(0.0, 0.0), *history]) if volume > before
    ]
    return [(n, {f"{CURVE}hypervolume": volume}, ended[n - 1][0]) for n, volume in grown]

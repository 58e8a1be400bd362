"""Studies as their driver has them: where they are kept, whose turn it is, their record opened or made."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from math import inf
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from evaluators.trial import score
from results.store.schema import Study
from results.store.store import Store, StoreError, StudyExists
from search.config import ConfigError, SearchConfig, resolve, resumed
from search.planning.plan import Plan, PlanError, duration
from search.planning.study_plan import config_of, measure, plan_for
from search.planning.timing import Measured
from search.strategies import STRATEGIES, check_strategy
from search.study.context import (
    Bench,
    Setup,
    environment,
    prepare,
    prepare_bench,
    use_one_thread,
    with_settings,
)
from search.study.driver import workers
from search.trackers import find_tracker, tracked
from search.workers.pool import Pool
from search.workers.ray_workers import check_reachable
from spaces.baselines import published
from spaces.checkpoint import load_published


@dataclass(frozen=True)
class Place:
    """Where a study is kept: its store and the folder of its files."""

    db: str
    runs: Path

    def folder(self, study: str) -> Path:
        """The study's own folder."""
        return self.runs.resolve() / study


@dataclass(frozen=True)
class Opened:
    """A study that this process drives.

    Attributes:
        bench: What its networks are trained and scored on; a ``Setup`` where it may search.
        pool: Gives the workers, which are started when they are first asked for.
        ends: When the command is to end (``time.monotonic``); infinite where no time is limited.
        plan: Of the search, where time or worker-hours are limited.
        measured: What the workers take, where it was measured.
    """

    store: Store
    study: Study
    bench: Bench
    place: Place
    console: Console
    pool: Callable[[], Pool]
    ends: float = inf
    plan: Plan | None = None
    measured: Measured | None = None

    @property
    def folder(self) -> Path:
        """Of the study's files."""
        return self.place.folder(self.study.name)

    def tell(self, text: str, *, style: str = "") -> None:
        """Print plain text, in which nothing is markup."""
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def open_study(
    said: Mapping[str, Any],
    *,
    place: Place,
    study: str | None = None,
    resume: bool = False,
    stem: str | None = None,
    console: Console | None = None,
    searching: bool = True,
    timed: bool = False,
    later: Callable[[SearchConfig], float] = lambda config: 0.0,
    started: float | None = None,
) -> Iterator[Opened]:
    """A new study, or one that goes on, for this process alone.

    Args:
        said: Dotted configuration keys (``training.steps``) to values; the rest are defaults. When
            resuming, only what may change (trials, time, workers, later stages).
        study: Its name; by default a new one, ``<stem or task>-<number>``.
        searching: The bench is to be a ``Setup``, and workers are started at once; else the space isn't looked at.
        timed: The command keeps to the configuration's time: workers are timed and a plan is made.
        later: Share of the time for stages after the search, by the configuration.
        started: When the command began (``time.monotonic``): the time counts from there.

    Raises: ValueError: for a configuration, images or a study that can't be used; nothing is written then.
        StoreError: if the store can't be written.
    """
    started = time.monotonic() if started is None else started
    use_one_thread()
    console = console or Console(quiet=True)
    check_name(study, resume=resume)
    config = _configuration(said, place, study if resume else None)
    STRATEGIES[config.strategy]
    trackers = [find_tracker(name) for name in config.logging.to]
    if searching and config.workers.ray_address not in (None, "local"):
        check_reachable(config.workers.ray_address)  # images may take minutes
    console.print(f"Reading images for {config.task} ...", style="dim")
    bench = prepare(config) if searching and not config.start.baseline else prepare_bench(config)
    if isinstance(bench, Setup):  # so that a strategy that can't be made leaves no study
        check_strategy(config.strategy, len(bench.objectives), given=bool(bench.first))
    if config.start.weights is not None:  # weights that don't fit leave no study
        check_published(config.start.baseline, bench)
        load_published(config.start.baseline, config.start.weights)
    goal = None if resume else _goal(bench)
    with Store.open(place.db, create=not resume) as store, ExitStack() as stack:
        name = study or new_name(store, place, stem or config.start.baseline or config.task, stack)
        if study is not None:
            stack.enter_context(only_driver(place, study))
        if resume:
            _check_same(store.study(name), bench)
        elif _exists(store, name):
            raise StudyExists(name, store.place)
        limit = _limit(store, name, config, said, resume=resume) if timed else None
        opened_bench = bench
        pool = cache(lambda: stack.enter_context(workers(opened_bench, console)))
        if searching:  # before a study is made, so that a wrong address leaves none
            pool()
        ends = inf if limit is None else started + limit
        measured, plan = None, None
        if timed and (limit is not None or config.worker_hours is not None):
            console.print("Timing a few networks on the workers ...", style="dim")
            measured = measure(bench, pool(), ends - time.monotonic())
            if isinstance(bench, Setup):
                with suppress(PlanError) if resume and _has_complete(store, name) else nullcontext():
                    plan = plan_for(
                        bench,
                        measured,
                        said,
                        workers=pool().capacity,
                        resume=resume,
                        ends=ends,
                        started=started,
                        later=later(config),
                    )
            if plan is not None:
                bench = with_settings(bench, config_of(plan, bench.config, said, resume=resume))
        record = (
            _resumed(store, name, bench, workers=searching) if resume else _created(store, name, bench, goal)
        )
        if plan is not None:
            record = store.add_data(record.id, {"plan": plan.to_data()})
        if limit is not None:
            stack.enter_context(_spending(store, record, ends, limit, fresh=not resume or "time" in said))
        for make in trackers:
            tracker = make(record, place.folder(name), place.runs)
            console.print(f"log: {tracker.place}", style="dim", markup=False, soft_wrap=True)
            stack.enter_context(tracked(store, record, tracker, partial(_warn, console)))
        yield Opened(store, record, bench, place, console, pool, ends, plan, measured)


def _limit(
    store: Store, name: str, config: SearchConfig, said: Mapping[str, Any], *, resume: bool
) -> float | None:
    """Seconds that the command has; of a resumed study that isn't given a time, what is left of its own.

    Raises: ConfigError: if nothing is.
    """
    if config.seconds is None or not resume or "time" in said:
        return config.seconds
    spent = _spent(store, store.study(name))
    if spent >= config.seconds:
        raise ConfigError(
            f"study '{name}' has spent its time, {duration(config.seconds)}: give --time for more, counted from now"
        )
    return config.seconds - spent


def _has_complete(store: Store, name: str) -> bool:
    """Whether a study has networks that later stages, or none at all, may be enough for."""
    return bool(store.trials(store.study(name).id, states=["complete"]))


def _spent(store: Store, study: Study) -> float:
    """Seconds of the study's time that earlier runs spent; of one that was killed, up to what it last recorded."""
    clock = study.data.get("clock", {})
    spent = float(clock.get("spent_s", 0.0))
    if (began := clock.get("began")) is not None:
        begun = datetime.fromisoformat(began)
        moments = [m for t in store.trials(study.id) for m in (t.started_at, t.finished_at) if m is not None]
        spent += max(0.0, (max([begun, *moments]) - begun).total_seconds())
    return spent


@contextmanager
def _spending(store: Store, study: Study, ends: float, limit: float, *, fresh: bool) -> Iterator[None]:
    """Keeps on record how much of its time the study has spent."""
    before = 0.0 if fresh else _spent(store, study)
    began = datetime.now(UTC) - timedelta(seconds=limit - (ends - time.monotonic()))
    store.add_data(study.id, {"clock": {"spent_s": before, "began": began.isoformat()}})
    try:
        yield
    finally:
        with suppress(StoreError):  # which has been said, if it can't be written
            spent = before + limit - (ends - time.monotonic())
            store.add_data(study.id, {"clock": {"spent_s": spent, "began": None}})


def _warn(console: Console, text: str) -> None:
    console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)


def check_name(study: str | None, *, resume: bool) -> None:
    """Nothing, if a study may be called so.

    Raises: ConfigError: else.
    """
    if resume and study is None:
        raise ConfigError("--resume needs --study NAME; 'pixelfront studies' lists them")
    if study is not None and not re.fullmatch(r"\w[\w.-]*", study):
        raise ConfigError(
            f"--study names a folder: letters, digits, '_', '-' and '.', not starting with '-' or '.', got '{study}'"
        )


def _configuration(said: Mapping[str, Any], place: Place, resuming: str | None) -> SearchConfig:
    if resuming is None:
        return resolve(said)
    with Store.open(place.db, create=False) as store:
        return resumed(store.study(resuming).config, said)


def _exists(store: Store, name: str) -> bool:
    return name in {summary.study.name for summary in store.studies()}


def new_name(store: Store, place: Place, stem: str, held: ExitStack) -> str:
    """The first of ``stem-1``, ``stem-2``, ... that no study has and no other process is about to make.

    Args:
        held: Where its lock is kept.
    """
    number = 1
    while True:
        name = f"{stem}-{number}"
        number += 1
        if _exists(store, name):
            continue
        try:
            held.enter_context(only_driver(place, name))
        except ConfigError:
            continue
        return name


@contextmanager
def only_driver(place: Place, study: str) -> Iterator[None]:
    """Holds the study's lock; the system releases it however the process ends.

    Raises: ConfigError: if another process on this machine runs the study.
    """
    place.runs.mkdir(parents=True, exist_ok=True)
    with open(place.runs / f".{study}.lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ConfigError(
                f"study '{study}' is being run by process {lock.read().strip()}: wait for it, or stop it with Ctrl-C"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _goal(bench: Bench) -> dict[str, Any] | None:
    """The quality of the published network that ``min_psnr`` names, under the study's protocol.

    Raises: ValueError: if there is no such network, it is for another task, or its weights don't fit.
    """
    config, name = bench.config, bench.config.min_psnr
    if not isinstance(name, str):
        return None
    weights = config.min_psnr_weights or (config.start.weights if name == config.start.baseline else None)
    if weights is None:
        raise ConfigError(f"min_psnr '{name}': give its weights too, min_psnr_weights = FILE")
    check_published(name, bench)
    scores = score(
        load_published(name, weights), config.task, bench.data.validation, ssim=False, device=bench.device
    )
    return {"label": name, "quality": next(m.value for m in scores if m.key == bench.objective)}


def check_published(name: str, bench: Bench) -> None:
    """Nothing, if the published network is for the bench's task.

    Raises: ConfigError: else, or UnknownNameError: with the nearest name.
    """
    if (meant := published(name).task.name) != bench.config.task:
        raise ConfigError(
            f"'{name}' was published for {meant}, the study is of {bench.config.task}: name a network of that task"
        )


def _resumed(store: Store, name: str, bench: Bench, *, workers: bool) -> Study:
    """The study on record, with the configuration of this run.

    Args:
        workers: With its workers, too: these were reached.
    """
    study = store.study(name)
    config = _with_precision(bench).model_dump(mode="json")
    store.set_config(study.id, config if workers else config | {"workers": study.config["workers"]})
    return store.study(name)


def _created(store: Store, name: str, bench: Bench, goal: dict[str, Any] | None) -> Study:
    config = _with_precision(bench)
    if isinstance(bench, Setup):
        space = {choice.name: list(choice.values) for choice in bench.space}
        origin: dict[str, Any] = {
            "space_name": bench.space.name,
            "space_digest": bench.space.digest,
            "space": space,
        }
        strategy = config.strategy
    else:
        architecture = published(config.start.baseline).architecture
        origin = {"space_name": config.start.baseline, "space_digest": architecture.digest, "space": {}}
        strategy = "published"
    return store.create_study(
        name,
        task=config.task,
        strategy=strategy,
        seed=config.seed,
        data_digest=bench.data_digest,
        data=bench.data_record() | ({"goal": goal} if goal else {}),
        config=config.model_dump(mode="json"),
        environment=environment(),
        **origin,
    )


def _with_precision(bench: Bench) -> SearchConfig:
    """The configuration with the precision as resolved, which is what goes on record."""
    config = bench.config
    training = config.training.model_copy(update={"precision": bench.recipe.precision})
    return config.model_copy(update={"training": training})


def _check_same(study: Study, bench: Bench) -> None:
    """Nothing, if space, data and protocol are the study's.

    Raises: ConfigError: with the differences.
    """
    lines = []
    if isinstance(bench, Setup) and study.space_digest != bench.space.digest:
        now = {choice.name: list(choice.values) for choice in bench.space}
        for name in dict.fromkeys((*study.space, *now)):
            if study.space.get(name) != now.get(name):
                lines.append(f"space, {name}: the study has {study.space.get(name)}, now {now.get(name)}")
    record = bench.data_record()
    # Studies of an older pixelfront don't say them: they had the two that are the default.
    goals = [key for key in ("objectives", "limits") if key in study.data]
    for key in ("train", "validation", "test", "objective", "cost_input", "filter", "supernet", *goals):
        if study.data.get(key) != record.get(key):
            lines.append(f"{key}: the study has {study.data.get(key)}, now {record.get(key)}")
    if lines:
        raise ConfigError(
            f"study '{study.name}' can't be resumed, its space, data or protocol changed:\n  "
            + "\n  ".join(lines)
        )


def introduce(opened: Opened) -> None:
    """Say what is run on what."""
    bench, console = opened.bench, opened.console
    config, data = bench.config, bench.data
    if isinstance(bench, Setup):
        console.print(f"[bold]{opened.study.name}[/bold]: {config.task} within {bench.budget}")
        console.print(
            f"space {bench.space.name}: {bench.space.size:.3g} genotypes; strategy {config.strategy}, seed "
            f"{config.seed}; {bench.recipe.steps} steps a trial, {bench.recipe.precision}"
        )
    else:
        console.print(f"[bold]{opened.study.name}[/bold]: {config.task}, {opened.study.space_name}")
    console.print(
        f"train on {len(data.train)} images of {escape(data.train.name)}, score on {len(data.validation)} of "
        f"{escape(data.validation.name)}: {bench.objective[0]} of {bench.task.baseline_name} {bench.trivial:.3f} dB"
    )
    if opened.plan is not None and opened.measured is not None:
        opened.tell(f"plan: {opened.plan}")
        up = opened.measured.up_s
        opened.tell(
            f"a worker was up after {up:.1f} s, its peak memory {opened.measured.memory_bytes / 2**20:.0f} MiB",
            style="dim",
        )
    for note in bench.notes:
        console.print(f"note: {escape(note)}", style="dim")
    console.print(f"store {escape(opened.place.db)}, files in {escape(str(opened.folder))}", style="dim")

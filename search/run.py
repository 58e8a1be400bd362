"""Runs a search from configuration to exported winner."""

from __future__ import annotations

import fcntl
import os
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from evaluators.restoration import restore
from evaluators.trial import evaluate, score
from results.export import load_network
from results.figures import save_front_figure
from results.handover import export_trial, weights_path
from results.overview import Overview, overview
from results.pictures import save_comparison
from results.schema import Study, Trial
from results.store import Store, StudyExists
from results.tables import front_table
from search.asktell import AskTell
from search.config import ConfigError, SearchConfig, resolve, resumed
from search.engine import UNLIMITED, Limits, Search, Stop
from search.progress import TerminalProgress
from search.ray_workers import MEBIBYTE, Resources, Workers
from search.setup import Setup, environment, prepare
from search.strategies import STRATEGIES
from spaces.architecture import Architecture
from spaces.parts import Network

DEFAULT_TRIALS = 20


@dataclass(frozen=True)
class Place:
    """Where a study is kept: its store and the folder of its files."""

    db: str
    runs: Path

    def folder(self, study: str) -> Path:
        """The study's own folder."""
        return self.runs.resolve() / study


def run_search(
    said: Mapping[str, Any],
    *,
    place: Place,
    study: str | None = None,
    resume: bool = False,
    stem: str | None = None,
    console: Console | None = None,
    finish: bool = True,
) -> Overview:
    """Search, and hand over the winner.

    Args:
        said: Dotted configuration keys (``training.steps``) to values; the rest are defaults. When
            resuming, only what may change (trials, time, workers).
        study: Its name; by default a new one, ``<stem or task>-<number>``.
        finish: At the end, score the front on the test images and write figures and the winner's ONNX file.

    Raises: ValueError: for a configuration, images or a study that can't be used; nothing is started then.
        StoreError: if the store can't be written; what was recorded stays, and the study can be resumed.
    """
    torch.set_num_threads(1)  # busy cores: two threads would spin against the workers'
    console = console or Console(quiet=True)
    if resume and study is None:
        raise ConfigError("--resume needs --study NAME; 'pixelfront studies' lists them")
    if study is not None and not re.fullmatch(r"\w[\w.-]*", study):
        raise ConfigError(
            f"--study names a folder: letters, digits, '_', '-' and '.', not starting with '-' or '.', got '{study}'"
        )
    if resume:
        assert study is not None
        with Store.open(place.db, create=False) as store:
            config = resumed(store.study(study).config, said)
    else:
        config = resolve(said)
    STRATEGIES[config.strategy]
    console.print(f"Reading images for {config.task} ...", style="dim")
    setup = prepare(config)
    with Store.open(place.db, create=not resume) as store, ExitStack() as stack:
        name = study or _new_name(store, place, stem or config.task, stack)
        if study is not None:
            stack.enter_context(only_driver(place, study))
        if resume:
            _check_same(store.study(name), setup)
        elif _exists(store, name):
            raise StudyExists(name, store.place)
        _introduce(console, name, setup, place)
        pool = stack.enter_context(_workers(setup, console))
        record = _record(store, name, setup, new=not resume)
        stop = _search(store, record, setup, place, pool, console)
        console.print(_ending(stop, name))
        return _present(store, name, setup, place, console, hand_over=finish and stop != "interrupted")


def _record(store: Store, name: str, setup: Setup, *, new: bool) -> Study:
    """The study on record, with the configuration of this run."""
    config = _with_precision(setup)
    if new:
        return _create(store, name, config, setup)
    study = store.study(name)
    store.set_config(study.id, config.model_dump(mode="json"))
    return study


def _present(
    store: Store, name: str, setup: Setup, place: Place, console: Console, *, hand_over: bool
) -> Overview:
    """Print the front; score it on the test images and hand over the winner, if asked to."""
    found = overview(store, name)
    if not hand_over or not found.front.members:
        console.print(front_table(found))
        return found
    if setup.test is not None:
        console.print(
            f"Scoring {len(found.members)} networks on {len(setup.test)} test images ...", style="dim"
        )
        _score_front(store, found, setup, place.folder(name))
        found = overview(store, name)
    console.print(front_table(found))
    _hand_over(store, found, setup, place, console)
    return found


def _exists(store: Store, name: str) -> bool:
    return name in {summary.study.name for summary in store.studies()}


def _new_name(store: Store, place: Place, stem: str, held: ExitStack) -> str:
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


@contextmanager
def _workers(setup: Setup, console: Console) -> Iterator[Workers]:
    """Workers that are ended in every case; made before a study is, so that a wrong address leaves no study."""
    workers = setup.config.workers
    console.print("Starting Ray ...", style="dim")
    pool = Workers(
        evaluate,
        setup.data,
        Resources(workers.cpus, workers.gpus, workers.number),
        address=workers.ray_address,
        object_store_bytes=256 * MEBIBYTE + 5 * _bytes(setup) // 4,
    )
    idle = pool.capacity - setup.config.window
    if idle > 0:
        console.print(
            f"note: --window {setup.config.window} leaves {idle} of {pool.capacity} workers idle; a larger one uses "
            "them, and means another sequence of architectures",
            style="yellow",
        )
    try:
        yield pool
    finally:
        pool.stop()


def _search(store: Store, study: Study, setup: Setup, place: Place, pool: Workers, console: Console) -> Stop:
    config = setup.config
    trials = config.trials or (DEFAULT_TRIALS if config.seconds is None else UNLIMITED)
    limits = Limits(trials, config.seconds)
    strategy = STRATEGIES[config.strategy].create(setup.space, directions=("max", "min"), seed=config.seed)
    recorded = [ask.genotype for ask in store.asks(study.id)]
    asktell = AskTell(strategy, setup.budget, window=config.window, recorded=recorded)
    baseline = next(m.value for m in setup.baseline if m.key == setup.objective)
    progress = TerminalProgress(console, limits, setup.recipe.steps, (setup.budget.max_gmacs, baseline))
    search = Search(
        store,
        study.id,
        asktell,
        pool,
        setup.job,
        task=setup.task.interface,
        objective=setup.objective,
        folder=place.folder(study.name),
        limits=limits,
        retries=config.workers.retries,
        observer=progress,
    )
    with _stops_on_signal(search, console), progress:
        return search.run()


def _bytes(setup: Setup) -> int:
    sets = (setup.data.train, setup.data.validation)
    return sum(image.pixels.nbytes for s in sets for images in (s.inputs, s.targets) for image in images)


@contextmanager
def _stops_on_signal(search: Search, console: Console) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the search cleanly; a second Ctrl-C ends the process."""

    def stop(number: int, _frame: FrameType | None) -> None:
        search.interrupt()
        console.print("Stopping ... (once more to end at once)", style="yellow")
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _with_precision(setup: Setup) -> SearchConfig:
    """The configuration with the precision as resolved, which is what goes on record."""
    config = setup.config
    training = config.training.model_copy(update={"precision": setup.recipe.precision})
    return config.model_copy(update={"training": training})


def _create(store: Store, name: str, config: SearchConfig, setup: Setup) -> Study:
    return store.create_study(
        name,
        task=config.task,
        strategy=config.strategy,
        seed=config.seed,
        space_name=setup.space.name,
        space_digest=setup.space.digest,
        space={choice.name: list(choice.values) for choice in setup.space},
        data_digest=setup.data_digest,
        data=setup.data_record(),
        config=config.model_dump(mode="json"),
        environment=environment(),
    )


def _check_same(study: Study, setup: Setup) -> None:
    """Nothing, if space, data and protocol are the study's.

    Raises: ConfigError: with the differences.
    """
    lines = []
    now = {choice.name: list(choice.values) for choice in setup.space}
    if study.space_digest != setup.space.digest:
        for name in dict.fromkeys((*study.space, *now)):
            if study.space.get(name) != now.get(name):
                lines.append(f"space, {name}: the study has {study.space.get(name)}, now {now.get(name)}")
    record = setup.data_record()
    for key in ("train", "validation", "test", "objective", "cost_input"):
        if study.data.get(key) != record.get(key):
            lines.append(f"{key}: the study has {study.data.get(key)}, now {record.get(key)}")
    if lines:
        raise ConfigError(
            f"study '{study.name}' can't be resumed, its space, data or protocol changed:\n  "
            + "\n  ".join(lines)
        )


def _introduce(console: Console, name: str, setup: Setup, place: Place) -> None:
    config, data = setup.config, setup.data
    baseline = next(m for m in setup.baseline if m.key == setup.objective)
    console.print(f"[bold]{name}[/bold]: {config.task} within {setup.budget}")
    console.print(
        f"space {setup.space.name}: {setup.space.size:.3g} genotypes; strategy {config.strategy}, seed {config.seed}; "
        f"{setup.recipe.steps} steps a trial, {setup.recipe.precision}"
    )
    console.print(
        f"train on {len(data.train)} images of {escape(data.train.name)}, score on {len(data.validation)} of "
        f"{escape(data.validation.name)}: {baseline.name} of {setup.task.baseline_name} {baseline.value:.3f} dB"
    )
    for note in setup.notes:
        console.print(f"note: {escape(note)}", style="dim")
    console.print(f"store {escape(place.db)}, files in {escape(str(place.folder(name)))}", style="dim")


def _ending(stop: Stop, name: str) -> str:
    again = f"go on with: pixelfront search --study {name} --resume"
    return {
        "trials": "All trials are done.",
        "time": f"The time is up; {again} --time ...",
        "interrupted": f"Interrupted; {again}",
        "exhausted": "The strategy finds nothing new within the budget.",
    }[stop]


# Handing over


def _score_front(store: Store, found: Overview, setup: Setup, folder: Path) -> None:
    """Score the front's members on the test images, once."""
    assert setup.test is not None
    for trial in found.members:
        measured = {m.key for m in trial.measurements}
        scores = score(trial_network(store, trial, setup, folder), setup.config.task, setup.test)
        missing = [m for m in scores if m.key not in measured]
        if missing:
            store.add_measurements(trial.id, missing)


def trial_network(store: Store, trial: Trial, setup: Setup, folder: Path) -> Network:
    """A complete trial's trained network."""
    return load_network(
        Architecture.from_json(trial.architecture),
        setup.task.interface,
        weights_path(store, trial, folder=folder),
    )


def _hand_over(store: Store, found: Overview, setup: Setup, place: Place, console: Console) -> None:
    """Figures, the winner's picture and its ONNX file."""
    folder = place.folder(found.study.name)
    figure = save_front_figure(found, folder / "front.png")
    best = found.best
    picture = _compare(store, found, setup, folder)
    exported, card = export_trial(
        store, found.study, best, setup.task.interface, folder / "winner.onnx", "onnx", folder=folder
    )
    sizes = ", ".join(f"{h}x{w}" for h, w in exported.sizes)
    console.print(f"front       {figure}")
    console.print(f"comparison  {picture}")
    console.print(
        f"winner      {exported.path}: trial {best.number}; onnxruntime and PyTorch differ by at most "
        f"{exported.max_error:.1g} at {sizes}"
    )
    console.print(f"model card  {card}")


def _compare(store: Store, found: Overview, setup: Setup, folder: Path) -> Path:
    """The winner beside the trivial method on the first held-out picture."""
    pairs = setup.test or setup.data.validation
    network = trial_network(store, found.best, setup, folder)
    scale = setup.task.interface.scale
    inputs, targets = pairs.inputs.images[0].pixels, pairs.targets.images[0]
    trivial = setup.task.baseline(inputs)
    ours = restore(network, [inputs], scale=scale, finish=setup.task.finish)[0]
    one = pairs.pick([0])
    protocol = setup.objective[1].partition(", on ")[0]
    outputs = {}
    for name, pixels in ((setup.task.baseline_name, trivial), (f"trial {found.best.number}", ours)):
        psnr = setup.task.per_image([pixels], one, ssim=False)[targets.name]
        outputs[f"{name}\n{psnr[setup.config.objective]:.2f} dB"] = setup.task.picture(pixels)
    return save_comparison(
        folder / "comparison.png",
        setup.task.picture(targets.pixels),
        outputs,
        title=f"{targets.name}: {setup.config.task}, {Architecture.from_json(found.best.architecture).label}",
        caption=f"{setup.config.objective}: {protocol}; whole picture, not a training image",
    )

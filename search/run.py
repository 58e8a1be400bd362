"""Runs a search from configuration to exported winner."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

from rich.console import Console

from results.overview import Overview
from search.asktell import AskTell
from search.config import ConfigError, SearchConfig
from search.driving import stops_on_signal
from search.engine import UNLIMITED, Limits, Search, Stop
from search.halving import Halving
from search.handing_over import present
from search.pool import Pool
from search.progress import TerminalProgress
from search.setup import Setup
from search.strategies import STRATEGIES
from search.studies import Opened, Place, introduce, open_study

__all__ = ["Place", "run_search"]

DEFAULT_TRIALS = 20


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
    with open_study(said, place=place, study=study, resume=resume, stem=stem, console=console) as opened:
        introduce(opened)
        stop = search(opened)
        opened.console.print(_ending(stop, opened.study.name))
        return present(opened, hand_over=finish and stop != "interrupted")


def search(opened: Opened) -> Stop:
    """Run the study's search to its limits; says why it ended.

    Raises: ConfigError: if the study started from a published network.
    """
    setup, pool = opened.bench, opened.pool()
    if not isinstance(setup, Setup):
        raise ConfigError(f"study '{opened.study.name}' starts from a published network: it has no search")
    _note_idle(pool, opened)
    config = setup.config
    _note_stopping(config, opened.console)
    others = (config.seconds, config.train_steps, config.worker_hours)
    trials = config.trials or (DEFAULT_TRIALS if set(others) == {None} else UNLIMITED)
    limits = Limits(trials, *others)
    strategy = STRATEGIES[config.strategy].create(setup.space, directions=("max", "min"), seed=config.seed)
    asks = opened.store.asks(opened.study.id)
    ladder = (config.training.steps,) if config.eta is None else config.rungs
    asktell = AskTell(
        strategy,
        setup.budget,
        window=config.window,
        halving=Halving(ladder, config.eta or inf, strategy.directions),
        ordered=config.ordered,
        recorded=[ask.genotype for ask in asks],
        told=[ask.told or () for ask in asks],
    )
    progress = TerminalProgress(opened.console, limits, (setup.budget.max_gmacs, setup.trivial))
    run = Search(
        opened.store,
        opened.study.id,
        asktell,
        pool,
        setup.job,
        task=setup.task.interface,
        objective=setup.objective,
        folder=opened.folder,
        limits=limits,
        retries=config.workers.retries,
        observer=progress,
    )
    with stops_on_signal(run.interrupt, opened.console), progress:
        return run.run()


def _note_idle(pool: Pool, opened: Opened) -> None:
    """Say so if the window leaves workers without work."""
    window = opened.bench.config.window
    if (idle := pool.capacity - window) > 0:
        opened.console.print(
            f"note: --window {window} leaves {idle} of {pool.capacity} workers idle; a larger one uses them, and means "
            "another sequence of architectures",
            style="yellow",
        )


def _note_stopping(config: SearchConfig, console: Console) -> None:
    if config.eta is not None:
        *pauses, end = config.rungs
        console.print(
            f"early stopping: trials pause at {', '.join(map(str, pauses))} of {end} steps, the best 1/{config.eta:g} "
            "by Pareto rank go on"
        )
    if not config.ordered:
        console.print(
            "note: --async tells results as they come: the seed doesn't fix the sequence of architectures",
            style="yellow",
        )


def _ending(stop: Stop, name: str) -> str:
    again = f"go on with: pixelfront search --study {name} --resume"
    return {
        "trials": "All trials are done.",
        "steps": f"The training steps are spent; {again} --train-steps ...",
        "time": f"The time is up; {again} --time ...",
        "worker_hours": f"The workers' hours are spent; {again} --worker-hours ...",
        "interrupted": f"Interrupted; {again}",
        "exhausted": "The strategy finds nothing new within the budget.",
    }[stop]

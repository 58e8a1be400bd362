"""Runs a search from configuration to exported winner."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import inf, isfinite
from typing import Any

from rich.console import Console

from results.analysis.overview import Overview, overview
from results.store.schema import Stop
from search.config import ConfigError, SearchConfig
from search.loop.asktell import AskTell, Judge, in_turn
from search.loop.engine import UNLIMITED, Limits, Search
from search.loop.halving import Halving
from search.loop.inheritance import Make, inheriting, trained_steps
from search.loop.runtimes import RuntimeJudge
from search.loop.screening import Screening, foretold, recorded
from search.planning.pace import PaceMeter
from search.planning.study_plan import ladder_of
from search.stages.repeat import repeat_front
from search.stages.trials import InterruptedStage
from search.stages.winner import present
from search.strategies import STRATEGIES, StrategyProblem
from search.study.context import Setup
from search.study.driver import stops_on_signal
from search.study.opening import Opened, Place, introduce, open_study
from search.study.progress import TerminalProgress
from search.workers.pool import Pool
from spaces.budget import extreme

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
    started: float | None = None,
) -> Overview:
    """Search, and hand over the winner.

    Args:
        said: Dotted configuration keys (``training.steps``) to values; the rest are defaults. When
            resuming, only what may change (trials, time, workers).
        study: Its name; by default a new one, ``<stem or task>-<number>``.
        finish: At the end, score the front on the test images and write figures and the winner's ONNX file.
        started: When the command began (``time.monotonic``): a time limit counts from there.

    Raises: ValueError: for a configuration, images or a study that can't be used; nothing is started then.
        StoreError: if the store can't be written; what was recorded stays, and the study can be resumed.
    """
    with open_study(
        said,
        place=place,
        study=study,
        resume=resume,
        stem=stem,
        console=console,
        timed=True,
        started=started,
    ) as opened:
        introduce(opened)
        stop = search(opened)
        opened.console.print(_ending(stop, opened.study.name))
        if stop != "interrupted" and not _repeated(opened):
            stop = "interrupted"
        return present(opened, hand_over=finish and stop != "interrupted")


def _repeated(opened: Opened) -> bool:
    """Whether the front has its repeats; False if they were interrupted."""
    try:
        repeat_front(opened, opened.bench.config.repeats)
    except InterruptedStage:
        opened.console.print(_ending("interrupted", opened.study.name))
        return False
    return True


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
    _note_measuring(setup, opened.console)
    _note_screening(setup, opened)
    problem = StrategyProblem(
        setup.space,
        setup.budget,
        tuple(objective.direction for objective in setup.objectives),
        config.seed,
        setup.exact_values,
        setup.worst,
    )
    run, stop, screening = _round(opened, setup, pool, problem, None)
    while run.ended_early:
        # As a resume would: its questions are the next of the same sequence.
        opened.tell("time is left for more trainings: the search goes on")
        run, stop, screening = _round(opened, setup, pool, problem, run.meter)
    if config.inherit:
        _note_inherited(opened)
    if setup.sieve is not None and screening is not None:
        name = setup.sieve.wanted.proxy
        judged = run.tally.trials + (away := run.tally.turned_away.get(name, 0))
        opened.tell(f"{name} turned away {away} of {judged} candidates before training{screening.note}")
        opened.tell(foretold(opened.store, opened.study, setup.sieve))
    return stop


def _round(
    opened: Opened, setup: Setup, pool: Pool, problem: StrategyProblem, meter: PaceMeter | None
) -> tuple[Search, Stop, Screening | None]:
    """Search from what is on record until a limit is reached.

    Args:
        meter: The pace as an earlier round's trials showed it.
    """
    config = setup.config
    others = (config.seconds, config.train_steps, config.worker_hours)
    trials = config.trials or (DEFAULT_TRIALS if set(others) == {None} else UNLIMITED)
    limits = Limits(trials, _search_seconds(opened), *others[1:])
    asks = opened.store.asks(opened.study.id)
    screening = None
    if setup.sieve is not None:
        screening = Screening(setup.sieve, recorded(opened.store, opened.study, setup.sieve))
    judges: list[Judge] = [screening] if screening else []
    if setup.measured:
        judges.insert(0, RuntimeJudge(setup.runtimes, setup.measured, config.parsed_limits, asks))
    asktell = AskTell(
        STRATEGIES[config.strategy].create(problem),
        window=config.window,
        halving=Halving(config.ladder, config.eta or inf, problem.directions),
        ordered=config.ordered,
        recorded=[ask.genotype for ask in asks],
        reports=[ask.told or () for ask in asks],
        judge=in_turn(*judges),
        inherit=bool(config.inherit),
        first=setup.first,
        cheapest=extreme(setup.space, setup.budget, largest=False),
    )
    job: Make = setup.job
    if config.inherit:
        job = inheriting(job, opened.store, opened.study.id, opened.folder, config.ladder)
    progress = TerminalProgress(opened.console, limits, setup.objectives, setup.worst, setup.trivial)
    run = Search(
        opened.store,
        opened.study.id,
        asktell,
        pool,
        job,
        task=setup.task.interface,
        objectives=setup.objectives,
        folder=opened.folder,
        limits=limits,
        retries=config.workers.retries,
        observer=progress,
        batches=any(each.name == "latency" for each in setup.measured),
        origin=setup.origin,
        pace=meter or (None if opened.measured is None else opened.measured.pace),
        ladder=ladder_of(config),
    )
    with stops_on_signal(run.interrupt, opened.console), progress:
        stop = run.run()
    return run, stop, screening


def _search_seconds(opened: Opened) -> float | None:
    """Of wall time, until what comes after the search has to begin."""
    if not isfinite(opened.ends):
        return opened.bench.config.seconds
    after = 0.0 if opened.plan is None else opened.plan.later_s + opened.plan.hand_over_s
    return max(0.0, opened.ends - after - time.monotonic())


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
        *pauses, end = config.ladder
        console.print(
            f"early stopping: trials pause at {', '.join(map(str, pauses))} of {end} steps, the best 1/{config.eta:g} "
            "by Pareto rank go on"
        )
    if not config.ordered:
        console.print(
            "note: --async tells results as they come: the seed doesn't fix the sequence of architectures",
            style="yellow",
        )


def _note_inherited(opened: Opened) -> None:
    """Say what training is behind the front, where some of it was the ancestors'."""
    full = opened.bench.config.training.steps
    behind = trained_steps(opened.store.trials(opened.study.id, stages=["search"]), full)
    members = [t.number for t in overview(opened.store, opened.study.name).members if t.stage == "search"]
    heirs = [number for number in members if behind[number] > full]
    if heirs:
        opened.tell(
            f"{len(heirs)} of the front's {len(members)} networks started from the tensors of others: up to "
            f"{max(behind[n] for n in heirs):,} training steps are behind one, not {full:,}; their numbers don't "
            "compare with those of networks that were trained from scratch"
        )


def _note_screening(setup: Setup, opened: Opened) -> None:
    if setup.sieve is not None:
        opened.tell(f"filter {setup.sieve.wanted} before training; {setup.sieve.protocol}", style="dim")
    if setup.supernet is not None and setup.config.warm_start:
        steps = setup.supernet.training.get("steps")
        opened.tell(
            f"warm start: networks start from weights of supernet {setup.supernet.digest}, trained for {steps} steps "
            "that their own don't count",
            style="yellow",
        )


def _note_measuring(setup: Setup, console: Console) -> None:
    for each in setup.measured:
        console.print(
            f"{each.name}: {each.protocol}", markup=False, highlight=False, style="dim", soft_wrap=True
        )
    if any(each.name == "latency" for each in setup.measured):
        console.print(
            f"latency is timed while nothing trains: trials run in batches of at most {setup.config.window} (--window)"
        )


def _ending(stop: Stop, name: str) -> str:
    again = f"go on with: pixelfront search --study {name} --resume"
    return {
        "trials": "All trials are done.",
        "steps": f"The training steps are spent; {again} --train-steps ...",
        "time": f"No time is left for another training; {again} --time ...",
        "worker_hours": f"No worker-hours are left for another training; {again} --worker-hours ...",
        "interrupted": f"Interrupted; {again}",
        "exhausted": "The strategy finds nothing new within the budget.",
    }[stop]

"""The plan of a study within a time: from its configuration and what its workers were measured to take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import inf, isfinite
from typing import Any

from search.config import SearchConfig, chooses_steps, resolve
from search.planning.plan import Ladder, Plan, Stock, make_plan
from search.planning.timing import Measured, sample_costs, time_workers, to_time
from search.strategies import cost_of_proposals
from search.study.context import Bench, Setup
from search.workers.pool import Pool
from spaces.baselines import published


def measure(bench: Bench, pool: Pool, seconds: float | None = None) -> Measured:
    """What training takes on the pool's workers.

    Args:
        seconds: That there are; None or infinite for no limit.

    Raises: ClusterError: if a worker can't be timed.
    """
    if isinstance(bench, Setup):
        architectures = to_time(sample_costs(bench.space, bench.budget))
    else:
        architectures = (published(bench.config.start.baseline).architecture,)
    return time_workers(
        pool,
        architectures,
        bench.task.interface,
        bench.recipe,
        seconds=seconds if seconds is not None and isfinite(seconds) else None,
        device=bench.device,
        threads=bench.config.workers.threads,
    )


def stock_of(
    setup: Setup,
    measured: Measured,
    *,
    workers: int,
    seconds: float,
    elapsed_s: float = 0.0,
    later: float = 0.0,
) -> Stock:
    """What a plan for the study is made from."""
    config = setup.config
    pixels = [
        sum(image.pixels.size for image in pairs.inputs)
        for pairs in (setup.data.validation, setup.test)
        if pairs
    ]
    return Stock(
        seconds,
        workers,
        measured.pace,
        tuple(candidate.cost for candidate in sample_costs(setup.space, setup.budget)),
        up_s=measured.up_s,
        elapsed_s=elapsed_s,
        later=later,
        scored_at_end=pixels[1] / pixels[0] if len(pixels) > 1 else 0.0,
        trials=config.trials,
        repeats=config.repeats,
        convention=config.convention,
        proposed=cost_of_proposals(config.strategy),
    )


def plan_for(
    setup: Setup,
    measured: Measured,
    said: Mapping[str, Any],
    *,
    workers: int,
    resume: bool = False,
    ends: float = inf,
    started: float | None = None,
    later: float = 0.0,
) -> Plan:
    """The plan of a study's search.

    Args:
        said: Configuration keys that were given.
        resume: What earlier plans decided stays.
        ends: When the command is to end, and ``started`` when it began, by ``time.monotonic``.

    Raises: PlanError: if not one training fits.
    """
    config, now = setup.config, time.monotonic()
    seconds = ends - now
    if config.worker_hours is not None:
        seconds = min(seconds, config.worker_hours * 3600 / max(1, workers))
    elapsed = now - (now if started is None else started)
    stock = stock_of(setup, measured, workers=workers, seconds=seconds, elapsed_s=elapsed, later=later)
    if resume:
        return make_plan(
            stock, lambda _: ladder_of(config), steps=config.training.steps, window=config.window
        )
    open_steps = chooses_steps(said) and "pauses" not in said
    return make_plan(
        stock,
        lambda steps: ladder_of(resolve({**said, "training.steps": steps})),
        steps=None if open_steps else config.training.steps,
        window=config.window if "window" in said else None,
        may_narrow=not config.first and not config.band[0],
    )


def ladder_of(config: SearchConfig) -> Ladder:
    """How a network of the study trains."""
    return Ladder(config.rungs, config.ladder, config.eta or 1.0)


def config_of(plan: Plan, config: SearchConfig, said: Mapping[str, Any], *, resume: bool) -> SearchConfig:
    """The configuration with what the plan decided; a resumed study's as it is."""
    if resume:
        return config
    decided = {"training.steps": plan.ladder.steps, "window": plan.window, "time_gmacs": plan.ceiling_gmacs}
    return resolve({**said, **{key: value for key, value in decided.items() if value is not None}})

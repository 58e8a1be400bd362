"""``pixelfront plan``: what a search would do in its time, with nothing trained beyond the timing."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from search.config import resolve
from search.planning.plan import AFTER_SEARCH, Ladder, Plan, duration, part_s, whole_s
from search.planning.study_plan import config_of, ladder_of, measure, plan_for
from search.planning.timing import Measured, sample_costs
from search.study.context import Setup, prepare, use_one_thread
from search.study.driver import data_bytes, workers
from search.workers.ray_workers import check_reachable
from spaces.budget import Candidate

MEBIBYTE = 2**20
LATER = ("prune.", "distil.")


@dataclass(frozen=True)
class Row:
    """What training one network of the space takes.

    Attributes:
        parts_s: Seconds to each pause of the ladder, and to the end.
    """

    name: str
    gmacs: float
    step_s: float
    parts_s: tuple[float, ...]
    whole_s: float


def run_plan(said: Mapping[str, Any], *, console: Console, as_json: bool = False) -> None:
    """Time the workers and print the plan; nothing is trained or recorded.

    Args:
        said: Configuration keys as for a search or a run; with those of later stages their share of the time is kept.

    Raises: ValueError: for what a search would refuse, a time that is too short included.
    """
    started = time.monotonic()
    use_one_thread()
    config = resolve(said)
    if config.workers.ray_address not in (None, "local"):
        check_reachable(config.workers.ray_address)
    console.print(f"Reading images for {config.task} ...", style="dim")
    setup = prepare(config)
    with workers(setup, console) as pool:
        console.print("Timing a few networks on the workers ...", style="dim")
        measured = measure(setup, pool, config.seconds)
        count = pool.capacity
    plan = None
    if config.seconds is not None or config.worker_hours is not None:
        plan = plan_for(
            setup,
            measured,
            said,
            workers=count,
            ends=inf if config.seconds is None else started + config.seconds,
            started=started,
            later=AFTER_SEARCH if any(key.startswith(LATER) for key in said) else 0.0,
        )
        config = config_of(plan, config, said, resume=False)
    rows = _rows(sample_costs(setup.space, setup.budget), measured, ladder_of(config))
    if as_json:
        print(_json(setup, measured, count, rows, plan, ladder_of(config)))
    else:
        _show(console, setup, measured, count, rows, plan, ladder_of(config))


def _rows(candidates: Sequence[Candidate], measured: Measured, ladder: Ladder) -> list[Row]:
    """The cheapest network, the typical one and the dearest."""
    first, dearest = candidates[:2] if len(candidates) > 1 else (candidates[0], candidates[0])
    ranked = sorted(candidates, key=lambda each: whole_s(measured.pace, each.cost, ladder))
    picked = {"cheapest": first, "median": ranked[len(ranked) // 2], "dearest": dearest}
    return [
        Row(
            name,
            each.gmacs,
            measured.pace.step(each.cost),
            tuple(part_s(measured.pace, each.cost, ladder, rung) for rung in range(len(ladder.pauses))),
            whole_s(measured.pace, each.cost, ladder),
        )
        for name, each in picked.items()
    ]


def _json(
    setup: Setup, measured: Measured, count: int, rows: Sequence[Row], plan: Plan | None, ladder: Ladder
) -> str:
    record = {
        "task": setup.config.task,
        "workers": count,
        "worker_start_s": measured.up_s,
        "worker_memory_bytes": measured.memory_bytes,
        "data_bytes": data_bytes(setup),
        "nodes": [asdict(node) for node in measured.nodes],
        "ladder": asdict(ladder),
        "networks": [asdict(row) for row in rows],
        "pace": measured.pace.to_data(),
        "plan": None if plan is None else plan.to_data(),
    }
    return json.dumps(record, indent=2)


def _show(
    console: Console,
    setup: Setup,
    measured: Measured,
    count: int,
    rows: Sequence[Row],
    plan: Plan | None,
    ladder: Ladder,
) -> None:
    table = Table()
    columns = ["network", "GMACs", "steps/s", *(f"to step {pause}" for pause in ladder.pauses), "in all"]
    for column in columns:
        table.add_column(column, justify="left" if column == "network" else "right")
    for row in rows:
        parts = [duration(part) for part in row.parts_s]
        table.add_row(
            row.name, f"{row.gmacs:.3f}", f"{1 / max(row.step_s, 1e-9):.3g}", *parts, duration(row.whole_s)
        )
    console.print(table)
    lines = [
        f"times are of one worker, all {count} being busy; GMACs: {setup.config.convention}, "
        f"{'x'.join(map(str, setup.task.interface.cost_input))}",
        f"a worker is up after {measured.up_s:.1f} s and needs {measured.memory_bytes / MEBIBYTE:.0f} MiB; the images "
        f"take {data_bytes(setup) / MEBIBYTE:.0f} MiB, shared by the workers of a node",
    ]
    if len(ladder.pauses) > 1:
        per = fmean(row.parts_s[0] for row in rows) / max(1e-9, fmean(row.whole_s for row in rows))
        lines.append(
            f"early stopping: one in {ladder.eta:g} goes on; a network that is stopped at step {ladder.pauses[0]} "
            f"takes {per:.0%} of a whole training"
        )
    lines += [
        f"node {node.node}: {node.workers} worker{'s' * (node.workers != 1)}, {1 / node.step_s:.3g} steps a second each"
        for node in measured.nodes
    ]
    if plan is None:
        lines.append("give --time or --worker-hours for what fits into it")
    else:
        lines.append(f"plan: {plan}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

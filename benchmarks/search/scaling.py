"""How a search uses more workers: 1 to 16 of them, with evaluations that sleep half a second.

    python benchmarks/search/scaling.py            # minutes; sleeping workers need no cores of their own

The real search, store and Ray workers. Ideal is what workers that do nothing but sleep would take: trials x 0.5 s /
workers, of trials that are a multiple of the workers. The clock runs from the search's first question to its end,
start and last wave included, once as many worker processes as there are to be have been seen. The window is twice the
workers, so that it never is what they wait for. Beside it plain Ray tasks that sleep as long, as many at a time: what
is missing there is Ray's, or the machine's. Exit 1 if a trial is missing on record.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
import torch
from rich.table import Table

from evaluators.tasks import get_task
from evaluators.training.recipe import two_stages
from evaluators.trial import Finished, Job, RungReached
from results.store.schema import Trial
from results.store.store import Store
from search.loop.asktell import AskTell
from search.loop.engine import Limits, Search
from search.strategies import STRATEGIES, StrategyProblem
from search.workers.pool import Ended
from search.workers.ray_workers import MEBIBYTE, Resources, Workers
from spaces.baselines import baseline
from spaces.budget import Budget
from spaces.measurement import Measurement
from spaces.objectives import Objective
from spaces.space import chain_space

sys.path.append(str(Path(__file__).parents[1]))

from report import Report, parser  # what all benchmarks share

TASK = "sr-x4"
SECONDS = 0.5
PROTOCOL = "none: a stub"
STEPS = 1000
ROUNDS = 16  # evaluations per worker
CHECKPOINT_BYTES = 4096


def sleeper(job: Job, data: Any) -> Iterator[Any]:
    """The events of a trial with one rung, after the sleep."""
    time.sleep(SECONDS)
    scores = (Measurement("psnr_y", 30.0, "dB", "max", PROTOCOL),)
    yield RungReached(STEPS, 0.05, SECONDS, scores, b"c" * CHECKPOINT_BYTES)
    yield Finished(SECONDS, scores, b"w" * CHECKPOINT_BYTES)


def process(job: float, data: Any) -> Iterator[int]:
    """Which process takes a job."""
    time.sleep(job)
    yield os.getpid()


def either(job: Job | float, data: Any) -> Iterator[Any]:
    """Both are run by one pool: the second warms it up."""
    yield from sleeper(job, data) if isinstance(job, Job) else process(job, data)


@ray.remote
def sleeps() -> None:
    """A plain task as long as a trial."""
    time.sleep(SECONDS)


def warm_up(pool: Workers[Any, Any], workers: int) -> None:
    """Until every worker process has taken a job."""
    seen: set[int] = set()
    while len(seen) < workers:
        begun = set(range(-workers, 0))
        for key in begun:
            pool.start(key, SECONDS)
        while begun:
            for key, event in pool.events(1.0):
                if isinstance(event, int):
                    seen.add(event)
                elif isinstance(event, Ended):
                    begun.remove(key)


def job(trial: Trial | None, checkpoint: bytes | None, seconds: float) -> Job:
    """What a real search would send."""
    text = baseline("rfdn").to_json() if trial is None else trial.architecture
    return Job(text, TASK, two_stages(STEPS), (STEPS,), 0, checkpoint=checkpoint, seconds=seconds)


def measure(workers: int, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a search, and of plain Ray, with so many workers."""
    task = get_task(TASK).interface
    space = chain_space(
        "scaling",
        blocks=("rfdb", "ghost", "residual"),
        widths=tuple(range(8, 40, 4)),
        depths=(2, 3, 4, 5),
        upsamplers=("pixelshuffle",),
    )
    budget = Budget(task, 10.0)
    budget.check(space)
    problem = StrategyProblem(space, budget, ("max", "min"), 0, lambda candidate: (None, candidate.gmacs))
    strategy = STRATEGIES[args.strategy].create(problem)
    trials = workers * args.rounds
    cost = f"exact, {'x'.join(map(str, task.cost_input))}"
    objectives = (Objective("psnr", "psnr_y", PROTOCOL), Objective("gmacs", "macs", cost))
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "results.db") as store:
        facts: dict[str, Any] = {key: {} for key in ("space", "data", "config", "environment")}
        digests = {"space_name": "stub", "space_digest": "stub", "data_digest": "stub"}
        study = store.create_study(
            "scaling", task=TASK, strategy=args.strategy, seed=0, **digests, **facts
        ).id
        pool: Workers[Any, Any] = Workers(
            either, None, Resources(workers=workers), object_store_bytes=128 * MEBIBYTE
        )
        warm_up(pool, workers)
        plain = plain_seconds(workers, trials)
        warm_up(pool, workers)
        search = Search(
            store,
            study,
            AskTell(strategy, window=2 * workers),
            pool,
            job,
            task=task,
            objectives=objectives,
            folder=Path(folder),
            limits=Limits(trials),
        )
        started, cpu = time.perf_counter(), time.process_time()
        search.run()
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        pool.stop()
        complete = len(store.trials(study, states=["complete"]))
    ideal = trials * SECONDS / workers
    return {
        "workers": workers,
        "trials": trials,
        "complete": complete,
        "ideal_s": ideal,
        "plain_ray_s": plain,
        "wall_s": wall,
        "driver_cpu_ms_per_trial": 1000 * cpu / trials,
        "load_1min": os.getloadavg()[0],
    }


def plain_seconds(workers: int, trials: int) -> float:
    """Of plain Ray tasks on the same workers, as many at a time."""
    started, running = time.perf_counter(), [sleeps.remote() for _ in range(workers)]
    for _ in range(trials - workers):
        _, running = ray.wait(running)
        running.append(sleeps.remote())
    ray.get(running)
    return time.perf_counter() - started


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--workers", type=int, nargs="+", default=(1, 2, 4, 8, 16))
    options.add_argument("--rounds", type=int, default=ROUNDS, help="evaluations per worker")
    options.add_argument("--strategy", default="random")
    args = options.parse_args()
    torch.set_num_threads(1)  # as a search does
    report, results = Report("scaling"), []
    table = Table(title=f"Search of evaluations that sleep {SECONDS:g} s, strategy {args.strategy}")
    heads = (
        "workers",
        "trials",
        "ideal s",
        "search s",
        "of ideal",
        "plain Ray",
        "driver CPU ms a trial",
        "load",
    )
    for head in heads:
        table.add_column(head, justify="right")
    for workers in args.workers:
        report.console.print(f"{workers} workers ...", style="dim")
        found = measure(workers, args)
        results.append(found)
        table.add_row(
            f"{workers}",
            f"{found['trials']}",
            f"{found['ideal_s']:.1f}",
            f"{found['wall_s']:.2f}",
            f"{found['ideal_s'] / found['wall_s']:.1%}",
            f"{found['ideal_s'] / found['plain_ray_s']:.1%}",
            f"{found['driver_cpu_ms_per_trial']:.1f}",
            f"{found['load_1min']:.1f}",
        )
    report.show({"results": results}, [table], args)
    missing = [found["workers"] for found in results if found["complete"] != found["trials"]]
    if missing:
        report.console.print(f"trials missing on record with {missing} workers")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

"""What the driver adds to a trial: asking, recording, scheduling; and what it remembers, at 100, 1,000 and more trials.

The real engine, SQLite store and Ray workers, with an evaluation that does nothing: it yields the events of
a trial (progress, rungs with a small checkpoint, final scores with tiny weights) at once. Beside it plain Ray
tasks that do the same evaluation on the same arguments, as many at a time: submit, wait, get. What a trial
takes longer than that is the driver's.

Every strategy runs in a process of its own: its memory is its own, and no part has been traced but those that
`Budget.check` needs at the start of every search. Ray's workers are warmed up first. Each ends by counting
what the store holds: exit 1 if a trial or a rung is missing, or if the driver has grown by more than 300 MiB
since trial 100. That promise is for 10,000 trials: `--trials 10000 --strategies random`.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from report import Report, parser
from rich.table import Table

from evaluators.tasks import get_task
from evaluators.training.recipe import two_stages
from evaluators.trial import Advanced, Finished, Job, RungReached, TrialData
from results.store.schema import Trial
from results.store.store import Store
from search.loop.asktell import AskTell
from search.loop.engine import Limits, Search
from search.strategies import STRATEGIES, Strategy, StrategyProblem
from search.study.context import use_one_thread
from search.workers import execution
from search.workers.execution import Tally
from search.workers.pool import Ended
from search.workers.ray_workers import MEBIBYTE, Resources, Workers
from spaces.architecture import Architecture
from spaces.baselines import baseline
from spaces.budget import Budget
from spaces.catalog import named_space
from spaces.measurement import Measurement
from spaces.objectives import Objective

TASK = "sr-x4"
OBJECTIVE = ("psnr_y", "none: a stub")
OBJECTIVES = (Objective("psnr", *OBJECTIVE), Objective("gmacs", "macs", "exact, 3x256x256"))
RUNGS = (250, 500, 750, 1000)  # a search's defaults
WRITES = ("record_ask", "add_trial", "start_trial", "add_rung", "finish_trial")
PARTS = ("ask", "sampler", "store", "files", "pool")  # the sampler is a part of asking
WARM_UP = 10  # evaluations per worker
MOST_GROWTH_MIB = 300
MEMORY_AT = (1000, 3000)  # beside the first 100 and the end


def stub(job: Job, data: TrialData) -> Iterator[Any]:
    """The events of a trial, at once.

    The made-up score grows with depth and width, so that there is a front to search for; half a decibel is
    a hash of the architecture. (Were it all hash, the best would be the cheapest, and TPE would repeat them.)
    """
    genes = json.loads(job.architecture)
    share = int(hashlib.sha256(job.architecture.encode()).hexdigest()[:8], 16) / 2**32
    value = 24 + 0.5 * math.log2(len(genes["blocks"]) * genes["width"] ** 2) + 0.5 * share
    scores = (Measurement(OBJECTIVE[0], value, "dB", "max", OBJECTIVE[1]),)
    for rung in job.rungs:
        yield Advanced(rung, 0.05)
        yield RungReached(rung, 0.05, rung / 1000, scores, b"c" * 4096)
    yield Finished(1.0, scores, b"w" * 4096)


@ray.remote
def whole(evaluate: Callable[[Any, Any], Iterator[Any]], job: Any, data: Any) -> list[Any]:
    """A plain Ray task: the evaluation's events in one answer."""
    return list(evaluate(job, data))


class Clock:
    """Adds up the seconds that chosen methods take, by part: wall, and processor time of this thread.

    The latter hardly depends on who else uses the machine.
    """

    def __init__(self) -> None:
        self.wall = dict.fromkeys(PARTS, 0.0)
        self.cpu = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def running(self, part: str) -> Iterator[None]:
        """Count the time within into a part."""
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.wall[part] += time.perf_counter() - wall
            self.cpu[part] += time.thread_time() - cpu

    def time(self, owner: Any, name: str, part: str) -> None:
        """Count the calls of ``owner.name`` into a part."""
        function = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.running(part):
                return function(*args, **kwargs)

        setattr(owner, name, timed)

    def time_iterator(self, owner: Any, name: str, part: str) -> None:
        """Count the time that the iterators of ``owner.name`` take to give their elements."""
        function = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Iterator[Any]:
            iterator = iter(function(*args, **kwargs))
            while True:
                with self.running(part):
                    element = next(iterator, None)
                if element is None:
                    return
                yield element

        setattr(owner, name, timed)


@dataclass(frozen=True)
class Mark:
    """Seconds spent, in all and by part, questions asked and memory when so many trials were done."""

    trials: int
    wall_s: float
    cpu_s: float
    parts_wall_s: dict[str, float]
    parts_cpu_s: dict[str, float]
    questions: int
    rss_bytes: int


class Marks:
    """Observes a search and takes a mark when it starts and when given numbers of trials are done."""

    def __init__(self, at: Sequence[int], clock: Clock):
        self._at = set(at)
        self._clock = clock
        self.tally = Tally()
        self.taken: list[Mark] = []

    def take(self) -> None:
        """A mark of now."""
        tally = self.tally
        questions = tally.trials + tally.rejected + tally.duplicates
        clock = self._clock
        spent = time.perf_counter(), time.thread_time(), dict(clock.wall), dict(clock.cpu)
        self.taken.append(Mark(tally.complete, *spent, questions, resident_bytes()))

    def changed(self, tally: Tally) -> None:
        """Called every turn of the engine's loop."""
        self.tally = tally

    def adopted(self, values: Sequence[float]) -> None:
        """Nothing: the study is new."""

    def paused(self, trial: Trial, values: Sequence[float], step: int) -> None:
        """Nothing: trials don't pause here."""

    def finished(self, trial: Trial, values: Sequence[float] | None, reason: str | None) -> None:
        """Called at the end of every trial."""
        if self.tally.complete in self._at:
            self.take()


def resident_bytes() -> int:
    """This process's resident memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def job(trial: Trial | None, checkpoint: bytes | None, seconds: float) -> Job:
    """What a real search would send; without a trial, one of the same size for plain Ray."""
    text = (baseline("rfdn") if trial is None else Architecture.from_json(trial.architecture)).to_json()
    return Job(text, TASK, two_stages(RUNGS[-1]), RUNGS, 0, checkpoint=checkpoint, seconds=seconds)


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """One strategy's search with the stub, then plain Ray."""
    use_one_thread()  # as ``search.stages.search``
    task = get_task(TASK)
    data = TrialData(task.embedded("train"), task.embedded("validation"))
    space = named_space(args.space)
    budget = Budget(task.interface, args.max_gmacs)
    budget.check(space)
    strategy = STRATEGIES[name].create(
        StrategyProblem(space, budget, ("max", "min"), args.seed, lambda candidate: (None, candidate.gmacs))
    )
    last = args.trials - min(100, args.trials // 2)
    numbers = sorted({min(100, args.trials), *(n for n in MEMORY_AT if n < last), last, args.trials})
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "results.db") as store:
        study = new_study(store, name, args.seed)
        pool = Workers(stub, data, Resources(1.0, 0.0, args.workers), object_store_bytes=256 * MEBIBYTE)
        warm_up(pool, args.workers)
        asktell = AskTell(strategy, window=args.window)
        clock = timed(asktell, strategy, store, pool)
        marks = Marks(numbers, clock)
        running = Search(
            store,
            study,
            asktell,
            pool,
            job,
            task=task.interface,
            objectives=OBJECTIVES,
            folder=Path(folder),
            limits=Limits(args.trials, args.seconds),
            observer=marks,
        )
        profile = cProfile.Profile()
        marks.take()
        stop = profile.runcall(running.run) if args.profile else running.run()
        if args.profile:
            profile.dump_stats(args.profile)
        if marks.taken[-1].trials != marks.tally.complete:
            marks.take()  # it ended before the last number
        recorded = Counter(trial.state for trial in store.trials(study))
        rungs = Counter(rung.trial_id for rung in store.rungs(study))
        complete = marks.tally.complete
        pool.stop()
    return {
        "strategy": name,
        "stop": stop,
        "marks": [vars(mark) for mark in marks.taken],
        "rejected": marks.tally.rejected,
        "duplicates": marks.tally.duplicates,
        "recorded": recorded["complete"] == complete
        and recorded["failed"] == 0
        and sum(count == len(RUNGS) for count in rungs.values()) >= complete,
        "plain_ray_ms": plain_ray_ms(data, args),
    }


def timed(asktell: AskTell, strategy: Strategy, store: Store, pool: Workers[Any, Any]) -> Clock:
    """A clock on the parts of a search."""
    clock = Clock()
    clock.time_iterator(asktell, "advance", "ask")
    for name in ("ask", "tell"):
        clock.time(strategy, name, "sampler")
    for name in WRITES:
        clock.time(store, name, "store")
    clock.time(execution, "write_atomically", "files")
    clock.time(pool, "start", "pool")
    clock.time_iterator(pool, "events", "pool")
    return clock


def new_study(store: Store, name: str, seed: int) -> int:
    """The id of an empty study."""
    facts: dict[str, Any] = {key: {} for key in ("space", "data", "config", "environment")}
    digests = {"space_name": "stub", "space_digest": "stub", "data_digest": "stub"}
    return store.create_study(name, task=TASK, strategy=name, seed=seed, **digests, **facts).id


def warm_up(pool: Workers[Any, Any], workers: int) -> None:
    """Let every worker start, import torch and run some evaluations."""
    left = todo = workers * WARM_UP
    while left:
        while todo and pool.free:
            pool.start(-todo, job(None, None, 0.0))
            todo -= 1
        left -= sum(isinstance(event, Ended) for _, event in pool.events(timeout_s=1.0))


def plain_ray_ms(data: TrialData, args: argparse.Namespace) -> dict[str, float]:
    """Wall milliseconds for one of 100 (after a warm-up) and one of all tasks, ``workers`` at a time."""
    ray.init(
        num_cpus=args.workers,
        include_dashboard=False,
        object_store_memory=256 * MEBIBYTE,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    evaluate, shared, times = ray.put(stub), ray.put(data), {}
    for number in (args.workers * WARM_UP, min(100, args.trials), args.trials):
        started = time.perf_counter()
        running: list[Any] = []
        for _ in range(number):
            if len(running) == args.workers:
                done, running = ray.wait(running)
                assert len(ray.get(done[0])) == 2 * len(RUNGS) + 1
            running.append(whole.remote(evaluate, job(None, None, 0.0), shared))
        ray.get(running)
        times[str(number)] = 1000 * (time.perf_counter() - started) / number
    ray.shutdown()
    return times


def stretches(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Per stretch of trials, where the wall milliseconds of a trial go.

    wall = sampler + cost_repair + store + files + pool + other; ``pool`` is Ray's calls and waiting for
    workers. ``record_schedule`` is store + files + pool + other without what plain Ray takes; the
    CPU of it is all of the thread's.
    """
    marks = [Mark(**mark) for mark in result["marks"]]
    pairs = [(0, 1), (0, -1), (-2, -1)] if len(marks) > 2 else [(0, -1)]
    plain = list(result["plain_ray_ms"].values())
    rows = []
    for first, last in ((marks[i], marks[j]) for i, j in pairs):
        trials = last.trials - first.trials
        each = {p: 1000 * (last.parts_wall_s[p] - first.parts_wall_s[p]) / trials for p in PARTS}
        cpu = {p: 1000 * (last.parts_cpu_s[p] - first.parts_cpu_s[p]) / trials for p in PARTS}
        wall = 1000 * (last.wall_s - first.wall_s) / trials
        all_cpu = 1000 * (last.cpu_s - first.cpu_s) / trials
        plain_ms = plain[1] if trials <= 100 else plain[2]
        rows.append(
            {
                "trials": f"{first.trials + 1:,} to {last.trials:,}",
                "wall_ms": wall,
                "plain_ray_ms": plain_ms,
                "added_ms": wall - plain_ms,
                "cost_repair_ms": each["ask"] - each["sampler"],
                "record_schedule_ms": wall - plain_ms - each["ask"],
                "record_schedule_cpu_ms": all_cpu - cpu["ask"],
                "other_ms": wall - sum(each[p] for p in PARTS if p != "sampler"),
                "other_cpu_ms": all_cpu - sum(cpu[p] for p in PARTS if p != "sampler"),
                **{f"{part}_ms": ms for part, ms in each.items()},
                **{f"{part}_cpu_ms": ms for part, ms in cpu.items()},
                "questions": (last.questions - first.questions) / trials,
                "rss_mib": last.rss_bytes / MEBIBYTE,
            }
        )
    return rows


SUMMARY = {
    "wall": "wall_ms",
    "plain Ray": "plain_ray_ms",
    "added": "added_ms",
    "= sampler": "sampler_ms",
    "+ cost, repair": "cost_repair_ms",
    "+ record, schedule": "record_schedule_ms",
    "its CPU": "record_schedule_cpu_ms",
    "questions a trial": "questions",
    "RSS MiB": "rss_mib",
}
DETAIL = {
    "store": "store_ms",
    "store CPU": "store_cpu_ms",
    "files": "files_ms",
    "files CPU": "files_cpu_ms",
    "Ray, and waiting": "pool_ms",
    "Ray CPU": "pool_cpu_ms",
    "rest of the loop": "other_ms",
    "rest CPU": "other_cpu_ms",
}


def tabulate(title: str, columns: dict[str, str], results: list[dict[str, Any]]) -> Table:
    """A row for each strategy and stretch."""
    table = Table(title=title)
    table.add_column("strategy")
    for head in ("trials", *columns):
        table.add_column(head, justify="right")
    for result in results:
        for row in result["rows"]:
            table.add_row(
                result["strategy"], row["trials"], *(f"{row[key]:,.1f}" for key in columns.values())
            )
        table.add_section()
    return table


def growth_mib(result: dict[str, Any]) -> float:
    """What the driver's memory grew by since the first 100 trials."""
    _, first, *_, last = (mark["rss_bytes"] for mark in result["marks"])
    return (last - first) / MEBIBYTE


def memory(results: list[dict[str, Any]], grown: dict[str, float]) -> Table:
    """The driver's resident memory along the way."""
    table = Table(
        title=f"Driver, resident memory in MiB; may grow by {MOST_GROWTH_MIB} after the first 100 trials"
    )
    table.add_column("strategy")
    numbers = [mark["trials"] for mark in results[0]["marks"]]
    for head in (*(f"at {n:,}" for n in numbers), "growth"):
        table.add_column(head, justify="right")
    for result in results:
        sizes = [f"{mark['rss_bytes'] / MEBIBYTE:,.0f}" for mark in result["marks"]]
        sizes = sizes[: len(numbers)] + [""] * (len(numbers) - len(sizes))
        table.add_row(result["strategy"], *sizes, f"{grown[result['strategy']]:+,.0f}")
    return table


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--trials", type=int, default=2000)
    options.add_argument("--strategies", default="random,tpe,nsga2", help="comma-separated")
    options.add_argument("--seconds", type=float, default=900, help="at most, for a search (default 900)")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--window", type=int, default=8)
    options.add_argument("--space", default="sr-all")
    options.add_argument("--max-gmacs", type=float, default=1.0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--one", metavar="STRATEGY", help="print one strategy's raw numbers as JSON")
    options.add_argument("--profile", metavar="FILE", help="with --one: write a cProfile of the search")
    args = options.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args)))
        return 0
    report, results = Report("driver"), []
    for name in args.strategies.split(","):
        report.console.print(f"{name} ...", style="dim")
        ran = subprocess.run(
            [sys.executable, *sys.argv, "--one", name], stdout=subprocess.PIPE, text=True, check=True
        )
        result = json.loads(ran.stdout.splitlines()[-1])
        results.append({**result, "rows": stretches(result)})

    setting = (
        f"space {args.space}, at most {args.max_gmacs:g} GMACs, {args.workers} workers, "
        f"window {args.window}, {len(RUNGS)} rungs"
    )
    tables = [
        tabulate(f"Driver, ms per trial: {setting}", SUMMARY, results),
        tabulate("Record and schedule, ms per trial, plain Ray's share included", DETAIL, results),
    ]
    grown = {result["strategy"]: growth_mib(result) for result in results}
    tables.append(memory(results, grown))
    report.show({"results": results, "growth_mib": grown}, tables, args)
    missing = [result["strategy"] for result in results if not result["recorded"]]
    for result in results:
        report.console.print(
            f"{result['strategy']}: {result['marks'][-1]['trials']:,} trials (stop: {result['stop']}), "
            f"{result['duplicates']:,} duplicates and {result['rejected']:,} rejected on the way"
        )
    report.console.print(
        f"records incomplete: {', '.join(missing)}" if missing else "every trial and rung is on record"
    )
    return 1 if missing or max(grown.values()) > MOST_GROWTH_MIB else 0


if __name__ == "__main__":
    sys.exit(main())

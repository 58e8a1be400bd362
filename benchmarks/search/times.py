"""What a search leaves within a time: schedules compared on a table of trained networks, over virtual time.

    python benchmarks/search/times.py --plot docs/search-times.png     # 20 seeds; some minutes
    python benchmarks/search/times.py --seeds 2 --times 2 6 --workers 1

Replays benchmarks/data/tabular_sr_x4.json.gz (benchmarks/search/tabular.py) with a search's own engine, store and
strategy (`pareto`, without inheritance, which no table can replay); only the training is looked up. Its seconds are
virtual: a step takes what the processor times in the table say of the network's cost, and each network up to some
10 % more or less than that (one standard deviation), which the search doesn't know. Times are in whole trainings of the
mean network on one worker. Three schedules:

- ours: early stopping (eta 3 at a quarter of the steps), the window and the largest network as planned for the time,
  and nothing begun that can't be finished.
- fixed: the same early stopping as a search had it before it was planned for its time: a window of 8, nothing held back
  until a first job has shown the pace, promotions behind new networks, and what rests is left at rest.
- to the end: as ours without early stopping.

Only networks that are trained to the end count. Hypervolume is that of strategies.py.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from math import exp, inf
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table as Cells
from strategies import DIRECTIONS, Replay, Trained, quartiles, whole_seeds
from tabular import PACKED, ROOT, Record, load

sys.path += [str(ROOT), str(Path(__file__).parents[1])]

from report import Report, parser  # what all benchmarks share

from evaluators.training.recipe import two_stages
from evaluators.trial import Advanced, Failed, Finished, Job, Paused, RungReached
from results.store.schema import Trial
from results.store.store import Store
from search.loop.asktell import AskTell
from search.loop.engine import Limits, Search
from search.loop.halving import Halving
from search.loop.question import Question
from search.loop.question import Report as JobReport
from search.planning.pace import Line, Pace, Sample, fit
from search.planning.plan import Ladder, Plan, PlanError, Stock, make_plan
from search.strategies import STRATEGIES, StrategyProblem
from search.study.context import use_one_thread
from search.workers.execution import cost_measurements
from search.workers.pool import Ended, Taken
from spaces.architecture import Architecture
from spaces.budget import Candidate
from spaces.cost import Cost
from spaces.measurement import Measurement
from spaces.objectives import Objective
from spaces.space import Genotype, Space
from tests.search.virtual import REPORT_STEPS, Machine, VirtualClock, VirtualPool

SEEDS = 20
TIMES = (2, 3, 4, 6, 8, 12, 20)
WORKERS = (1, 2)
NOISE = 0.1
TIMED = 6  # networks, before a search
WINDOW = 8  # of the fixed schedule
ETA = 3.0
PROTOCOL = "the table's"
# By name, as the tables and the plot call them.
SCHEDULES = ("ours", "fixed", "to the end")


@dataclass(frozen=True)
class Outcome:
    """What one search left.

    Attributes:
        share: Hypervolume of the finished networks, of the table's best.
        used: Share of the workers' time that went into trainings.
    """

    schedule: str
    workers: int
    time: float
    seed: int
    share: float
    begun: int
    finished: int
    used: float


@dataclass(frozen=True)
class Remembered(Trained):
    """Looks each genotype up once, for all searches of a process."""

    found: dict[Any, Candidate | None] = field(default_factory=dict, compare=False)

    def fit(self, space: Space, genotype: Genotype) -> Candidate | None:
        key = tuple(genotype.items())
        if key not in self.found:
            self.found[key] = super().fit(space, genotype)
        return self.found[key]


class Shop:
    """A machine over virtual time on which the table's networks train."""

    def __init__(self, replay: Replay):
        self.replay = replay
        budget = replay.budget
        self.budget = Remembered(budget.task, budget.max_gmacs, known=budget.known)
        self.records = [replay.table[digest] for digest in replay.budget.known]
        whole = replay.table.rungs[-1]
        samples = [
            Sample(cost_of(record), 0.0, record.trials[replay.seed].cpu_s[-1] / whole, 0.0, 0.0)
            for record in self.records
            if record.trials[replay.seed].cpu_s
        ]
        self._line: Line = fit(samples).step
        self.training_s = whole * sum(self._line(cost_of(r)) for r in self.records) / len(self.records)

    def step_s(self, record: Record) -> float:
        """Virtual seconds a step of a network."""
        return self._line(cost_of(record)) * exp(Random(record.digest).gauss(0, NOISE))

    def timed(self, seed: int) -> Pace:
        """What a search measures before it begins."""
        ranked = sorted(self.records, key=lambda record: record.macs)
        picked = [ranked[0], ranked[-1], *Random(seed).sample(ranked, TIMED - 2)]
        return fit([Sample(cost_of(r), 0.0, self.step_s(r), 0.0, 0.0) for r in picked])

    def stock(self, seconds: float, workers: int, seed: int) -> Stock:
        """What a plan is made for."""
        ranked = sorted(self.records, key=lambda record: record.macs)
        costs = [cost_of(r) for r in (ranked[0], ranked[-1], *Random(seed).sample(ranked, 64))]
        return Stock(seconds, workers, self.timed(seed), tuple(costs))


def cost_of(record: Record) -> Cost:
    """As a search has it."""
    return Cost(record.macs, record.parameters, record.activations, record.convolutions)


class TablePool(VirtualPool):
    """Trains over virtual time and looks the scores up."""

    def __init__(self, shop: Shop, clock: VirtualClock, workers: int, seconds: float):
        super().__init__(Machine(lambda _: 0.0), clock, workers, deadline=seconds)
        self._shop = shop
        self.busy_s = 0.0

    def _events(self, job: Job) -> Iterator[tuple[float, Any]]:
        table = self._shop.replay.table
        record = table[Architecture.from_json(job.architecture).digest]
        trial, step_s = record.trials[self._shop.replay.seed], self._shop.step_s(record)
        step = 0 if job.checkpoint is None else int(job.checkpoint)
        scores: tuple[Measurement, ...] = ()
        yield 0.0, Taken()
        for rung in job.rungs:
            while step < rung:
                some = min(REPORT_STEPS, rung - step)
                step += some
                self.busy_s += some * step_s
                yield some * step_s, Advanced(step, 0.1)
            if trial.failed:
                yield 0.0, Failed(trial.failed)
                yield 0.0, Ended()
                return
            value = trial.psnr_y[table.rungs.index(rung)]
            scores = (Measurement("psnr_y", value, "dB", "max", PROTOCOL),)
            yield 0.0, RungReached(rung, 0.1, rung * step_s, scores, b"%d" % rung)
        done = job.rungs[-1] == job.recipe.steps
        yield 0.0, Finished(rung * step_s, scores, b"weights") if done else Paused()
        yield 0.0, Ended()


class FixedAskTell(AskTell):
    """Holds back single jobs that the time isn't enough for, and goes on with others."""

    def _choose(self, trials: int, steps: int | None, affords: Any) -> Iterator[Any]:
        while len(self._jobs) < self._window:
            if (promoted := self.halving.next(affords)) is not None:
                self._jobs.append(JobReport(*promoted))
                yield self._promote(self._jobs[-1])
            elif self.trials < trials and not self.exhausted and affords(None, 0):
                yield self._ask(lambda job, rung: True)
            elif self._jobs or self.halving.closed:
                return
            else:
                self.halving.close()


class FixedSearch(Search):
    """Knows the mean seconds a step of all jobs that are done, and nothing before."""

    _steps_done = 0

    def _new_schedule(self) -> Any:
        return None

    def _affords(self, job: Any, rung: int) -> bool:
        if not self._steps_done:
            return True
        ladder = (0, *self._halving.steps)
        at = {running.trial.id: running.step for running in self.tally.running.values()}
        ahead = sum(ladder[to + 1] - at.get(trial, ladder[to]) for trial, to in self._rung.items())
        pace = self.tally.worker_seconds / self._steps_done
        wait = ahead / self._execution.capacity + ladder[-1] - ladder[rung]
        assert self._deadline is not None
        return self._clock() + wait * pace <= self._deadline

    def _take_to(self, question: Question, rung: int) -> None:
        trial = question.trial
        self._rung[trial.id] = rung
        self._execution.add(self._store.trial(self._study, trial.number))

    def _settled(self, trial: Trial, measurements: Any, reason: str | None) -> None:
        self._steps_done += self._halving.cost(self._rung[trial.id])
        super()._settled(trial, measurements, reason)


def ladder_of(schedule: str, steps: int) -> Ladder:
    """Where trainings of so many steps pause."""
    pauses = (steps,) if schedule == "to the end" else (steps // 4, steps)
    return Ladder(pauses, pauses, ETA if len(pauses) > 1 else 1.0)


def plan_of(shop: Shop, schedule: str, time: float, workers: int, seed: int) -> Plan | None:
    """The plan for a time; None for the fixed schedule."""
    if schedule == "fixed":
        return None
    stock = shop.stock(time * shop.training_s, workers, seed)
    steps = shop.replay.table.rungs[-1]
    return make_plan(stock, lambda steps: ladder_of(schedule, steps), steps=steps)


def search(shop: Shop, schedule: str, time: float, workers: int, seed: int) -> Outcome:
    """One search of so many trainings' time."""
    try:
        plan = plan_of(shop, schedule, time, workers, seed)
    except PlanError:
        return Outcome(schedule, workers, time, seed, 0.0, 0, 0, 0.0)
    replay = shop.replay
    budget, seconds = shop.budget, time * shop.training_s
    if plan and (most := plan.ceiling_gmacs) is not None:
        known = {d: g for d, g in budget.known.items() if replay.table[d].macs <= most * 1e9}
        budget = replace(budget, max_gmacs=most, known=known, found={})
    task, ladder = budget.task, ladder_of(schedule, replay.table.rungs[-1])
    reference = (replay.reference[1], replay.reference[0])
    exact = lambda candidate: (None, candidate.gmacs)  # noqa: E731
    problem = StrategyProblem(replay.space, budget, DIRECTIONS, seed, exact, reference)
    asktell = (AskTell if plan else FixedAskTell)(
        STRATEGIES["pareto"].create(problem),
        window=plan.window if plan else WINDOW,
        halving=Halving(ladder.pauses, ETA if len(ladder.pauses) > 1 else inf, DIRECTIONS),
    )
    macs = next(
        m for m in cost_measurements(Cost(macs=1), task) if m.name == "macs" and "exact" in m.protocol
    )
    clock = VirtualClock()
    pool = TablePool(shop, clock, workers, seconds)
    recipe = two_stages(ladder.steps)

    def job(trial: Trial, checkpoint: bytes | None, seconds: float) -> Job:
        return Job(trial.architecture, task.name, recipe, ladder.rungs, trial.number, checkpoint=checkpoint)

    memory = Path("/dev/shm")
    with (
        TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        Store.open(Path(folder) / "study.db") as store,
    ):
        study = store.create_study(
            "times",
            task=task.name,
            strategy="pareto",
            seed=seed,
            space_name=replay.space.name,
            space_digest=replay.space.digest,
            space={},
            data_digest="-",
            data={"objective": ["psnr_y", PROTOCOL]},
            config={"convention": "exact"},
            environment={},
        )
        (Search if plan else FixedSearch)(
            store,
            study.id,
            asktell,
            pool,
            job,
            task=task,
            objectives=(Objective("psnr", "psnr_y", PROTOCOL), Objective("gmacs", "macs", macs.protocol)),
            folder=Path(folder),
            limits=Limits(len(budget.known), seconds),
            pace=plan.pace if plan else None,
            ladder=ladder,
            clock=clock,
        ).run()
        trials = store.trials(study.id)
    finished = [replay.table[trial.digest] for trial in trials if trial.state == "complete"]
    points = [(record.macs / 1e9, record.trials[replay.seed].psnr_y[-1]) for record in finished]
    share = replay.volume(points) / replay.best if points else 0.0
    begun = sum(trial.attempts > 0 for trial in trials)
    return Outcome(
        schedule, workers, time, seed, share, begun, len(finished), pool.busy_s / (seconds * workers)
    )


@cache
def _shop(path: Path, table_seed: int) -> Shop:
    return Shop(Replay(load(path), table_seed))


def _one(path: Path, table_seed: int, schedule: str, time: float, workers: int, seed: int) -> Outcome:
    return search(_shop(path, table_seed), schedule, time, workers, seed)


def _single_thread() -> None:
    use_one_thread()
    os.nice(5)


def of(outcomes: Sequence[Outcome], schedule: str, workers: int, time: float) -> list[Outcome]:
    """The seeds of one schedule and time."""
    return [o for o in outcomes if (o.schedule, o.workers, o.time) == (schedule, workers, time)]


def table_of(outcomes: Sequence[Outcome], workers: int) -> Cells:
    """By time: seeds with a front, hypervolume, and networks begun and finished."""
    cells = Cells(title=f"Within a time, {workers} worker{'s' * (workers > 1)}")
    cells.add_column("trainings")
    for schedule in SCHEDULES:
        for head in ("front", "share of the best, %", "begun / finished"):
            cells.add_column(f"{schedule}: {head}", justify="right")
    for time in sorted({o.time for o in outcomes}):
        row = [f"{time:g}"]
        for schedule in SCHEDULES:
            mine = of(outcomes, schedule, workers, time)
            low, middle, high = (100 * share for share in quartiles([o.share for o in mine]))
            row += [f"{sum(o.finished > 0 for o in mine)} of {len(mine)}"]
            row += [f"{middle:.1f} ({low:.1f} to {high:.1f})"]
            row += [f"{median(o.begun for o in mine):g} / {median(o.finished for o in mine):g}"]
        cells.add_row(*row)
    return cells


COLOURS = {"ours": "#D55E00", "fixed": "#0072B2", "to the end": "#009E73"}


def plot(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Medians and quartiles against the time, a panel for each number of workers."""
    counts = sorted({o.workers for o in outcomes})
    figure = Figure(figsize=(5.2 * len(counts), 4.2), dpi=100)
    grid = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    times = sorted({o.time for o in outcomes})
    for axes, workers in zip(grid, counts, strict=True):
        for schedule in SCHEDULES:
            shares = [quartiles([o.share for o in of(outcomes, schedule, workers, t)]) for t in times]
            low, middle, high = zip(*shares, strict=True)
            axes.plot(times, middle, color=COLOURS[schedule], label=schedule, marker="o", markersize=3)
            axes.fill_between(times, low, high, color=COLOURS[schedule], alpha=0.15, linewidth=0)
        axes.set_xscale("log")
        axes.set_xticks(times, [f"{t:g}" for t in times])
        axes.minorticks_off()
        axes.set_title(f"{workers} worker{'s' * (workers > 1)}", fontsize=10)
        axes.set_xlabel("time, in trainings of the mean network")
        axes.grid(alpha=0.25)
    grid[0].set_ylabel("share of the best hypervolume, finished networks")
    grid[-1].legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, pil_kwargs={"optimize": True})


def main(argv: Sequence[str] | None = None) -> int:
    found = parser(__doc__)
    found.add_argument("--table", type=Path, default=PACKED)
    found.add_argument("--seeds", type=int, default=SEEDS)
    found.add_argument(
        "--times", type=float, nargs="+", default=TIMES, help="in trainings of the mean network"
    )
    found.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    found.add_argument("--processes", type=int, default=2)
    found.add_argument("--plot", type=Path, metavar="PNG")
    args = found.parse_args(argv)
    report = Report("search times")
    table_seeds = whole_seeds(load(args.table))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.processes, mp_context=context, initializer=_single_thread) as pool:
        jobs = [
            pool.submit(_one, args.table, table_seeds[seed % len(table_seeds)], schedule, time, workers, seed)
            for seed in range(args.seeds)
            for workers in args.workers
            for time in args.times
            for schedule in SCHEDULES
        ]
        for number, done in enumerate(as_completed(jobs), 1):
            print(f"{number} of {len(jobs)}: {json.dumps(asdict(done.result()))}", file=sys.stderr)
    outcomes = [job.result() for job in jobs]
    if args.plot:
        plot(args.plot, outcomes)
    record = {"table_seeds": table_seeds, "outcomes": [asdict(outcome) for outcome in outcomes]}
    report.show(record, [table_of(outcomes, workers) for workers in args.workers], args)
    return 0


if __name__ == "__main__":
    sys.exit(main())

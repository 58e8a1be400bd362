"""Search strategies compared on a table of trained networks: the front's hypervolume against training steps spent.

    python benchmarks/search/strategies.py --work DIR --plot docs/search-strategies.png   # all, 20 seeds; GP is slow
    python benchmarks/search/strategies.py --work DIR --only pareto random --seeds 5

Replays benchmarks/data/tabular_sr_x4.json.gz (benchmarks/search/tabular.py): the search asks, tells and promotes as it
always does (`search.loop.asktell`, the same code and window for all), and a training's scores are looked up. DIR keeps
each run, so that a run which was made on this table, with these settings and this source of the strategy, isn't made
again.

Libraries as they come train every network to the end: Optuna refuses to prune with two objectives, and NNI's stopping
takes one. "+ our early stopping" puts them under our rule (`search.loop.halving`), as in a search of ours. Only
networks trained to the end count for the front. Hypervolume is measured from the dearest network and bicubic, as a
share of the whole table's; "who knows the table" trains what adds most of it, and shows how little is possible. A
proposal that the table has no training of stands for the nearest one that it has; of a whole table there is none. Runs
take the table's seeds in turn that all of its networks are trained with.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import multiprocessing
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import cache
from math import inf, nan
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table as Cells
from tabular import PACKED, Record, Table, load, the_space

from evaluators.tasks import get_task
from results.analysis.front import hypervolume
from search.loop.asktell import AskTell
from search.loop.halving import Halving
from search.loop.question import Question
from search.outcomes import Failure, Outcome
from search.strategies import STRATEGIES, Strategy, StrategyProblem
from search.study.context import use_one_thread
from spaces.budget import Budget
from spaces.measurement import Direction
from spaces.space import Genotype, Space

sys.path.append(str(Path(__file__).parents[1]))

from report import Report, parser  # what all benchmarks share

DIRECTIONS: tuple[Direction, Direction] = ("max", "min")
SEEDS = 20
TRAININGS = 60
WINDOW = 8  # a search's own default
SHARE = 0.95
SHOWN = (5, 10, 20, 40, 60)  # whole trainings
RESAMPLED = 2000
STOPPING = "our early stopping"
Run = list[tuple[int, float]]
"""(training steps spent, share of the best hypervolume) each time that it grew, and at the end."""


@dataclass(frozen=True)
class Entrant:
    """A strategy and how its trials are trained.

    Attributes:
        name: As the table shows it; ours begin with ``ours``.
        options: Of the strategy.
        eta: Of early stopping; 0 trains each network to the end.
        first: Steps at the first rung.
    """

    name: str
    strategy: str
    options: Mapping[str, Any] = field(default_factory=dict)
    eta: float = 0
    first: int = 256

    @property
    def kind(self) -> str:
        if self.name.startswith("ours"):
            return "ours"
        return "stopped" if self.eta else "other"

    def make(self, problem: StrategyProblem) -> Strategy:
        return STRATEGIES[self.strategy].create(problem, **self.options)


OTHERS = {
    "random": "random",
    "Optuna TPE": "tpe",
    "Optuna NSGA-II": "nsga2",
    "Optuna GP": "gp",
    "NNI evolution": "nni-evolution",
    "NNI regularized evolution": "nni-regularized-evolution",
    "NNI TPE": "nni-tpe",
}
ENTRANTS = (
    *(Entrant(name, strategy) for name, strategy in OTHERS.items()),
    # GP would be asked four times as often, at half a second and more each.
    *(Entrant(f"{name} + {STOPPING}", s, eta=3) for name, s in OTHERS.items() if s != "gp"),
    Entrant("ours: evolution", "pareto", {"exact": False, "surrogate": False}),
    Entrant("ours: + exact costs", "pareto", {"surrogate": False}),
    Entrant("ours: + surrogate", "pareto"),
    Entrant("ours: + early stopping", "pareto", eta=3),
)


@dataclass(frozen=True)
class Trained(Budget):
    """A budget that only has what is trained: anything else is repaired to what is nearest.

    Attributes:
        known: Genotypes of what is trained, by digest.
    """

    known: Mapping[str, Genotype] = field(default_factory=dict, hash=False)

    def allows(self, space: Space, genotype: Genotype) -> bool:
        return super().allows(space, genotype) and space.decode(genotype).digest in self.known

    def _repair(self, space: Space, genotype: Genotype) -> Genotype | None:
        return min(self.known.values(), key=lambda other: distance(space, genotype, other))


def distance(space: Space, one: Genotype, other: Genotype) -> float:
    """Decisions that differ between two genotypes; of an ordered one as much as its values are apart.

    The kinds of blocks beyond the depth of either don't count.
    """
    blocks = {
        f"block_{i}" for i in range(min(one["depth"], other["depth"]), max(space.by_name["depth"].values))
    }
    total = 0.0
    for choice in space:
        a, b = one[choice.name], other[choice.name]
        if choice.ordered:
            total += abs(choice.values.index(a) - choice.values.index(b)) / max(1, len(choice.values) - 1)
        elif choice.name not in blocks:
            total += a != b
    return total


class Replay:
    """Searches whose trainings are looked up.

    Args:
        table_seed: Which of the table's trainings.
    """

    def __init__(self, table: Table, table_seed: int = 0):
        self.table, self.seed = table, table_seed
        self.space = the_space()
        self.reference = (
            max(record.macs for record in table.records.values()) / 1e9,
            float(table.header["trivial"]["psnr_y"]),
        )
        known = {d: r.genotype for d, r in table.records.items() if table_seed in r.trials}
        self.budget = Trained(get_task("sr-x4").interface, self.reference[0], known=known)
        self.best = self.volume(self._point(record) for record in table.front(table_seed))

    def volume(self, points: Iterable[tuple[float, float]]) -> float:
        """Hypervolume of (GMACs, PSNR)."""
        return hypervolume(list(points), ("min", "max"), self.reference)

    def _point(self, record: Record) -> tuple[float, float]:
        return record.macs / 1e9, record.trials[self.seed].psnr_y[-1]

    def oracle(self, steps: int) -> Run:
        """What knows the table does best: each training is the one that adds most."""
        front = [self._point(record) for record in self.table.front(self.seed)]
        points: list[tuple[float, float]] = []
        full, found = self.table.rungs[-1], [(0, 0.0)]
        for spent in range(full, steps + 1, full):
            points.append(max(front, key=lambda point: self.volume([*points, point])))
            found.append((spent, self.volume(points) / self.best))
        return found

    def run(self, entrant: Entrant, seed: int, *, steps: int, window: int = WINDOW) -> Run:
        """One search, until so many training steps are spent."""
        rungs = [step for step in self.table.rungs if step >= entrant.first or not entrant.eta]
        rungs = rungs if entrant.eta else rungs[-1:]
        halving = Halving(rungs, entrant.eta or inf, DIRECTIONS)
        asktell = AskTell(
            entrant.make(problem_of(self.space, self.budget, seed, (self.reference[1], self.reference[0]))),
            window=window,
            halving=halving,
        )
        columns = [self.table.rungs.index(rung) for rung in rungs]

        def scores(digest: str, rung: int) -> Outcome | None:
            record = self.table[digest]
            trial = record.trials[self.seed]
            return Failure() if trial.failed else (trial.psnr_y[columns[rung]], record.macs / 1e9)

        points: list[tuple[float, float]] = []
        found = [(0, 0.0)]
        for spent, _, (psnr, gmacs) in trained(asktell, scores, len(self.budget.known), steps):
            points.append((gmacs, psnr))
            if (share := self.volume(points) / self.best) > found[-1][1]:
                found.append((spent, share))
        return [*found, (asktell.steps, found[-1][1])]


def problem_of(
    space: Space, budget: Any, seed: int, reference: tuple[float | None, float | None] = (None, None)
) -> StrategyProblem:
    """PSNR, and GMACs that are known before training."""
    exact = lambda candidate: (None, candidate.gmacs)  # noqa: E731
    return StrategyProblem(space, budget, DIRECTIONS, seed, exact, reference)


def trained(
    asktell: AskTell, scores: Callable[[str, int], Outcome | None], limit: int, steps: int
) -> Iterator[tuple[int, str, tuple[float, ...]]]:
    """(training steps spent, digest, objective values) of each trial that a search trains to the end.

    Args:
        scores: The outcome of an architecture at a rung, looked up; None where it isn't known: the search ends there.
        limit: Of trials.
    """
    for job in asktell.advance(limit, steps):
        question, rung = (job, 0) if isinstance(job, Question) else (job.question, job.rung)
        if question.state != "running":
            continue
        assert question.candidate is not None
        digest = question.candidate.architecture.digest
        # What is chosen is trained next, whenever it is reported.
        outcome = scores(digest, rung)
        if outcome is None:
            continue
        question.outcomes[rung] = outcome
        if rung == asktell.halving.top and not isinstance(outcome, Failure):
            yield asktell.steps, digest, outcome


def whole_seeds(table: Table) -> list[int]:
    """The table's seeds that all of what any is trained with, seed 0 if none is."""
    trained = [set(record.trials) for record in table.records.values() if record.trials]
    return sorted(set.intersection(*trained)) or [0]


@dataclass(frozen=True)
class Curves:
    """Runs of one entrant with several seeds."""

    name: str
    runs: Sequence[Run]
    kind: str = "other"

    def at(self, steps: int) -> list[float]:
        """The share that each run had reached."""
        return [max(share for spent, share in run if spent <= steps) for run in self.runs]

    def steps_to(self, share: float) -> list[float]:
        """What each run spent to reach a share; infinity where it didn't."""
        return [next((spent for spent, got in run if got >= share), inf) for run in self.runs]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper quartile; of values that may be infinite."""
    ranked = sorted(values)
    if len(ranked) > 1 and ranked[-1] < inf:
        low, middle, high = np.quantile(ranked, (0.25, 0.5, 0.75))
        return float(low), float(middle), float(high)
    last = len(ranked) - 1
    return ranked[last // 4], median(ranked), ranked[-(-3 * last // 4)]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """A median over another, and its 95 % interval, by bootstrap over the runs; NaN where the other is infinite."""
    draw = np.random.default_rng(0)
    drawn = [
        np.median(draw.choice(np.asarray(v, dtype=float), (RESAMPLED, len(v))), axis=1)
        for v in (ours, theirs)
    ]
    middle = median(ours) / median(theirs) if median(theirs) < inf else nan
    ended = np.isfinite(drawn[1])
    ratios = drawn[0][ended] / drawn[1][ended]
    low, high = np.quantile(ratios, (0.025, 0.975), method="nearest") if ratios.size else (nan, nan)
    return middle, float(low), float(high)


def best_of(curves: Sequence[Curves], share: float, kinds: Sequence[str]) -> Curves | None:
    """Who of these kinds gets to the share first, by the median."""
    among = [each for each in curves if each.kind in kinds]
    return min(among, key=lambda each: median(each.steps_to(share)), default=None)


def table_of(curves: Sequence[Curves], shown: Sequence[int], share: float, full: int) -> Cells:
    """Median and quartiles of shares, and of what the share took; steps in whole trainings."""
    best = best_of(curves, share, ("other",))
    cells = Cells(title=f"Share of the best hypervolume, in %, and what {share:.0%} of it took")
    cells.add_column("search")
    ends = [f"{n} trainings" for n in shown]
    for head in (*ends, f"trainings to {share:.0%}", "never", f"x {best.name}" if best else "x"):
        cells.add_column(head, justify="right")
    for each in curves:
        spent = [steps / full for steps in each.steps_to(share)]
        row = [_spread(each.at(n * full), lambda v: f"{100 * v:.1f}") for n in shown]
        row += [_spread(spent, _number), f"{spent.count(inf)} of {len(spent)}"]
        row.append(_ratio(each, best, share) if best and each is not best else "")
        cells.add_row(each.name, *row)
    return cells


def _spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    low, middle, high = quartiles(values)
    return f"{show(middle)} ({show(low)} to {show(high)})"


def _number(value: float) -> str:
    return "never" if value == inf else f"{value:.1f}"


def _ratio(each: Curves, best: Curves, share: float) -> str:
    middle, low, high = ratio(each.steps_to(share), best.steps_to(share))
    if not middle < inf:
        return "-"
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


# The plot

COLOURS = {
    "random": "#7A7A7A",
    "Optuna TPE": "#0072B2",
    "Optuna NSGA-II": "#56B4E9",
    "Optuna GP": "#6A51A3",
    "NNI evolution": "#8C6D1F",
    "NNI regularized evolution": "#E69F00",
    "NNI TPE": "#CC79A7",
    "ours: evolution": "#A8DCC4",
    "ours: + exact costs": "#5CBF9A",
    "ours: + surrogate": "#009E73",
    "ours: + early stopping": "#D55E00",
}


def plot(path: Path, curves: Sequence[Curves], share: float, full: int, trainings: int) -> None:
    """Medians and quartiles: libraries as they come, all with early stopping, and what makes ours."""
    best = next((c for c in reversed(curves) if c.kind == "ours"), None)
    panels = {
        "as they come": [*(c for c in curves if c.kind == "other"), *([best] if best else [])],
        f"others with {STOPPING}": [*(c for c in curves if c.kind == "stopped"), *([best] if best else [])],
        "ours, an ingredient at a time": [c for c in curves if c.kind == "ours"],
    }
    panels = {title: mine for title, mine in panels.items() if mine}
    figure = Figure(figsize=(4.6 * len(panels), 4.2), dpi=100)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, mine) in zip(grid, panels.items(), strict=True):
        _panel(axes, title, mine, full, trainings)
        axes.axhline(share, color="#333333", linewidth=0.8, linestyle=":")
    grid[0].set_ylabel("share of the best hypervolume")
    figure.tight_layout()
    figure.savefig(path, pil_kwargs={"optimize": True})


def _panel(axes: Axes, title: str, curves: Sequence[Curves], full: int, trainings: int) -> None:
    spent = np.linspace(0, trainings, 4 * trainings + 1)
    for each in curves:
        low, middle, high = np.quantile([each.at(int(n * full)) for n in spent], (0.25, 0.5, 0.75), axis=1)
        name = each.name.removesuffix(f" + {STOPPING}")
        axes.plot(spent, middle, color=COLOURS.get(name, "#1A1A1A"), linewidth=1.6, label=name)
        axes.fill_between(spent, low, high, color=COLOURS.get(name, "#1A1A1A"), alpha=0.12, linewidth=0)
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("training steps spent, in whole trainings")
    axes.set_ylim(0.7, 1.005)
    axes.set_xlim(0, trainings)
    axes.grid(color="#E4E4E4", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, loc="lower right", frameon=False)


# Running all of it


@cache
def _replay(path: Path, table_seed: int) -> Replay:
    return Replay(load(path), table_seed)


def _one(path: Path, entrant: Entrant, seed: int, table_seed: int, steps: int, window: int) -> Run:
    return _replay(path, table_seed).run(entrant, seed, steps=steps, window=window)


def _single_thread() -> None:
    use_one_thread()
    os.nice(5)


def identity(entrant: Entrant, args: Namespace) -> str:
    """A digest of what a run depends on but its seed: table, settings, and the strategy's and the ladder's source."""
    made = type(entrant.make(the_space(), 0))
    files = {inspect.getfile(cls) for cls in made.__mro__ if cls.__module__.startswith("search.")}
    files |= {inspect.getfile(cls) for cls in (AskTell, Halving) if entrant.eta}
    parts = [args.table.read_bytes(), *(Path(file).read_bytes() for file in sorted(files))]
    settings = json.dumps([asdict(entrant), args.trainings, args.window], sort_keys=True)
    return hashlib.sha256(b"\0".join([*parts, settings.encode()])).hexdigest()[:16]


def run_all(entrants: Sequence[Entrant], args: Namespace, tell: Callable[[str], None]) -> list[Curves]:
    """All runs, those on record as they were."""
    table = load(args.table)
    table_seeds, steps = whole_seeds(table), args.trainings * table.rungs[-1]
    args.work.mkdir(parents=True, exist_ok=True)
    files = {e.name: args.work / f"{identity(e, args)}.json" for e in entrants}
    runs: dict[str, dict[int, Run]] = {
        name: {int(seed): run for seed, run in json.loads(file.read_text()).items()} if file.exists() else {}
        for name, file in files.items()
    }
    with ProcessPoolExecutor(
        args.processes, mp_context=multiprocessing.get_context("spawn"), initializer=_single_thread
    ) as pool:
        jobs = {}
        for entrant in entrants:
            for seed in set(range(args.seeds)) - runs[entrant.name].keys():
                at = table_seeds[seed % len(table_seeds)]
                job = pool.submit(_one, args.table, entrant, seed, at, steps, args.window)
                jobs[job] = entrant.name, seed
        for number, job in enumerate(as_completed(jobs), 1):
            name, seed = jobs[job]
            runs[name][seed] = job.result()
            files[name].write_text(json.dumps(dict(sorted(runs[name].items()))))
            tell(f"{number} of {len(jobs)}: {name}, seed {seed}")
    bounds = [_replay(args.table, seed).oracle(steps) for seed in table_seeds]
    found = [Curves(e.name, [runs[e.name][seed] for seed in range(args.seeds)], e.kind) for e in entrants]
    return [*found, Curves("who knows the table", bounds, "bound")]


def main() -> int:
    found = parser(__doc__)
    found.add_argument("--work", type=Path, required=True, help="folder that keeps the runs")
    found.add_argument("--table", type=Path, default=PACKED)
    found.add_argument("--only", nargs="+", metavar="STRATEGY", help="pixelfront's names of strategies")
    found.add_argument("--as-they-come", action="store_true", help="only those without early stopping")
    found.add_argument("--seeds", type=int, default=SEEDS)
    found.add_argument("--trainings", type=int, default=TRAININGS, help="budget, in whole trainings")
    found.add_argument("--window", type=int, default=WINDOW)
    found.add_argument("--share", type=float, default=SHARE)
    found.add_argument("--processes", type=int, default=2)
    found.add_argument("--plot", type=Path, metavar="PNG")
    args = found.parse_args()
    report = Report("search strategies")
    among = [e for e in ENTRANTS if not (args.as_they_come and e.eta)]
    entrants = [e for e in among if args.only is None or e.strategy in args.only]
    if not entrants:
        found.error(f"--only: expected some of {', '.join(sorted({e.strategy for e in ENTRANTS}))}")
    curves = run_all(entrants, args, lambda said: print(said, file=sys.stderr))
    table = load(args.table)
    full, seeds = table.rungs[-1], whole_seeds(table)
    shown = [n for n in SHOWN if n <= args.trainings] or [args.trainings]
    if args.plot:
        plot(args.plot, curves, args.share, full, args.trainings)
    record = {
        "trained": table.header["trained"],
        "table_seeds": seeds,
        "window": args.window,
        "runs": {each.name: each.runs for each in curves},
    }
    report.show(record, [table_of(curves, shown, args.share, full)], args)
    return 0


if __name__ == "__main__":
    sys.exit(main())

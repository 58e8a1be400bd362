"""Search strategies compared on a table of trained networks: the front's hypervolume against training steps spent.

    python benchmarks/strategies.py                                   # 20 seeds of random, TPE and NSGA-II, minutes
    python benchmarks/strategies.py --strategies tpe --etas 0 3 --seeds 5

Replays benchmarks/data/tabular_sr_x4.json.gz (benchmarks/tabular.py): the search asks, tells and promotes as it always
does (`search.asktell`, the same code and window), and a training's scores are looked up. ``eta`` 0 is whole training;
otherwise all rungs of the table from ``--first`` on are used. Only networks trained to the end count for the front.
Hypervolume is measured from the dearest network and bicubic, as a share of the whole table's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from tabular import PACKED, Table, load, the_space

from evaluators.tasks import get_task
from results.front import hypervolume
from search.asktell import Answer, AskTell
from search.halving import Halving
from search.strategies import STRATEGIES
from spaces.budget import Budget, Candidate
from spaces.measurement import Direction
from spaces.space import Genotype, Space

DIRECTIONS: tuple[Direction, Direction] = ("max", "min")


class Trained(Budget):
    """A budget that also turns away what the table, not finished yet, has no training of."""

    known: frozenset[str] = frozenset()

    def fit(self, space: Space, genotype: Genotype) -> Candidate | None:
        found = super().fit(space, genotype)
        return found if found is not None and found.architecture.digest in self.known else None


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
        self.trained = {d: r for d, r in table.records.items() if table_seed in r.trials}
        self.budget = Trained(get_task("sr-x4").interface, self.reference[0])
        object.__setattr__(self.budget, "known", frozenset(self.trained))
        front = [(r.macs / 1e9, r.trials[table_seed].psnr_y[-1]) for r in table.front(table_seed)]
        self.best = self.volume(front)

    def volume(self, points: Sequence[tuple[float, float]]) -> float:
        return hypervolume(points, ("min", "max"), self.reference) if points else 0.0

    def run(
        self, strategy: str, seed: int, *, eta: float, steps: int, window: int, first: int = 64
    ) -> list[tuple[int, float]]:
        """(training steps spent, share of the best hypervolume) each time that it grew."""
        rungs = [step for step in self.table.rungs if step >= first] if eta else [self.table.rungs[-1]]
        made = STRATEGIES[strategy].create(self.space, directions=DIRECTIONS, seed=seed)
        halving = Halving(rungs, eta or 2, DIRECTIONS)
        asktell = AskTell(made, self.budget, window=window, halving=halving)
        digests: dict[int, str] = {}
        points: list[tuple[float, float]] = []
        found = [(0, 0.0)]

        def result(question: int, rung: int) -> tuple[tuple[float, float] | None]:
            record = self.table[digests[question]]
            trial = record.trials[self.seed]
            if trial.failed:
                return (None,)
            return ((trial.psnr_y[self.table.rungs.index(rungs[rung])], record.macs / 1e9),)

        for job in asktell.advance(result, len(self.trained), steps):
            if isinstance(job, Answer):
                if job.outcome != "trial":
                    continue
                assert job.candidate is not None
                digests[job.question] = job.candidate.architecture.digest
            # What is chosen is trained next, whenever it is told.
            if getattr(job, "rung", 0) == halving.top and (values := result(job.question, halving.top)[0]):
                points.append((values[1], values[0]))
                if (share := self.volume(points) / self.best) > found[-1][1]:
                    found.append((asktell.steps, share))
        return [*found, (asktell.steps, found[-1][1])]


@dataclass(frozen=True)
class Curves:
    """Runs of one strategy with several seeds."""

    name: str
    runs: list[list[tuple[int, float]]]

    def at(self, steps: int) -> list[float]:
        """The share that each run had reached."""
        return [max(share for spent, share in run if spent <= steps) for run in self.runs]

    def steps_to(self, share: float) -> list[float]:
        """What each run spent to reach a share; infinity where it didn't."""
        return [next((spent for spent, got in run if got >= share), float("inf")) for run in self.runs]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper quartile."""
    if len(values) < 2 or max(values) == float("inf"):
        ranked = sorted(values)
        last = len(ranked) - 1
        return ranked[last // 4], median(ranked), ranked[-(-3 * last // 4)]
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return low, middle, high


def report(curves: Sequence[Curves], at: Sequence[int], share: float, full: int) -> str:
    """A Markdown table; steps in whole trainings."""
    heads = [f"{steps // full} trainings" for steps in at]
    lines = [
        f"| search | {' | '.join(heads)} | trainings to {share:.0%} |",
        "|---|" + "--:|" * (len(at) + 1),
    ]
    for each in curves:
        cells = [_cell(each.at(steps), lambda v: f"{100 * v:.1f}") for steps in at]
        spent = [steps / full for steps in each.steps_to(share)]
        cells.append(_cell(spent, lambda v: "never" if v == float("inf") else f"{v:.1f}"))
        lines.append(f"| {each.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: Sequence[float], show: Callable[[float], str]) -> str:
    low, middle, high = quartiles(values)
    return f"{show(middle)} ({show(low)} to {show(high)})"


def main() -> int:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--table", type=Path, default=PACKED)
    found.add_argument("--strategies", nargs="+", default=["random", "tpe", "nsga2"])
    found.add_argument("--etas", nargs="+", type=float, default=[0, 3], help="0: whole training")
    found.add_argument("--seeds", type=int, default=20)
    found.add_argument("--trainings", type=int, default=40, help="budget, in whole trainings")
    found.add_argument("--window", type=int, default=8)
    found.add_argument("--first", type=int, default=64, help="steps at the first rung")
    found.add_argument("--share", type=float, default=0.95)
    found.add_argument("--json", type=Path, help="write the curves here")
    args = found.parse_args()
    replay = Replay(load(args.table))
    full = replay.table.rungs[-1]
    curves = []
    for strategy in args.strategies:
        for eta in args.etas:
            begun = time.perf_counter()
            how = {"eta": eta, "steps": args.trainings * full, "window": args.window, "first": args.first}
            runs = [replay.run(strategy, seed, **how) for seed in range(args.seeds)]
            curves.append(Curves(f"{strategy}, eta {eta:g}" if eta else strategy, runs))
            print(f"{curves[-1].name}: {time.perf_counter() - begun:.1f} s", file=sys.stderr)
    at = [args.trainings * full * part // 4 for part in (1, 2, 3, 4)]
    print(report(curves, at, args.share, full))
    if args.json:
        args.json.write_text(json.dumps({each.name: each.runs for each in curves}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Searches that really train: what inheritance, early stopping and the strategy are each worth in training steps.

A table can't replay networks that start from the tensors of others. So these searches train, on the space, the images
and the recipe of the tabular benchmark, though at half its steps: `search.stages.search`, as ``pixelfront search
--config benchmarks/search/tabular_sr_x4.toml --steps 512`` runs it. Equal training steps and seeds for all.

An inherited network has its ancestors' training behind it as well. So each front is shown twice: as the search measured
it, which are the networks that its user gets, and as the table has the same networks, each trained from scratch for
1,024 steps, which says whether the architectures are better too.

    python benchmarks/search/trained_searches.py --work DIR                # all; goes on where it was
    python benchmarks/search/trained_searches.py --work DIR --only ours    # the ways whose names start so
    python benchmarks/search/trained_searches.py --work DIR --report       # what there is so far

The searches write to DIR/log. At 23 ms a step a search of 10 trainings' steps takes about 5 minutes of one core.
"""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from statistics import mean
from typing import Any

import tabular
from rich.console import Console
from rich.table import Table as Cells
from strategies import DIRECTIONS, Curves, Replay, Run, problem_of, trained

from evaluators.tasks import get_task
from results.store.schema import Study
from results.store.store import Store
from search.config import load as read
from search.config import resumed
from search.loop.asktell import AskTell
from search.loop.engine import UNLIMITED
from search.loop.halving import Halving
from search.outcomes import Failure, Outcome
from search.stages.search import Place, run_search
from search.strategies import STRATEGIES
from spaces.budget import Budget

STEPS = 512
LADDER = {"training.rungs": (128, STEPS), "eta": 3}
WHOLE = {"training.rungs": (STEPS,)}
WAYS: dict[str, dict[str, Any]] = {
    "ours": {"strategy": "pareto", "inherit": True, **LADDER},
    "ours without early stopping": {"strategy": "pareto", "inherit": True, **WHOLE},
    "ours without inheritance": {"strategy": "pareto", "inherit": False, **LADDER},
    "TPE": {"strategy": "tpe", "inherit": False, **WHOLE},
    "TPE with inheritance, early stopping": {"strategy": "tpe", "inherit": True, **LADDER},
    "random": {"strategy": "random", "inherit": False, **WHOLE},
}
SHOWN = (0.25, 0.5, 0.75, 1.0)  # of the steps


SCORED: dict[str, Callable[[Ended], float | None]] = {
    "in the search": lambda each: each.measured,
    "from scratch": lambda each: each.scratch,
}


def name_of(way: str, seed: int) -> str:
    """The study's."""
    return f"{re.sub(r'[^a-z]+', '-', way.lower())}-{seed}"


def search(args: Namespace, way: str, seed: int) -> bool:
    """Run a search to its end, or on to it; False if it was interrupted."""
    train, validation = tabular.Work(args.work, args.data).link_images()
    said = {
        "data.train": train,
        "data.validation": validation,
        "training.steps": STEPS,
        "seed": seed,
        "window": args.window,
        "train_steps": args.trainings * tabular.RUNGS[-1],
        "workers.number": args.workers,
        **WAYS[way],
    }
    name = name_of(way, seed)
    place = Place(str(args.work / f"{name}.db"), args.work / "runs")
    before = _state(place, name)
    if before == "complete":
        return True
    with open(args.work / "log", "a") as log:
        run_search(
            read(tabular.CONFIG, said) if before is None else {},
            place=place,
            study=name,
            resume=before is not None,
            console=Console(file=log, width=120),
            finish=False,
        )
    return _state(place, name) == "complete"


def _state(place: Place, name: str) -> str | None:
    with Store.open(place.db) as store:
        return next((s.study.state for s in store.studies() if s.study.name == name), None)


@dataclass(frozen=True)
class Ended:
    """A network that a search trained to the end.

    Attributes:
        spent: Training steps of the search by then.
        measured: PSNR in the search.
        scratch: PSNR after a training of its own, in the table; None if it has none.
    """

    spent: int
    gmacs: float
    measured: float
    scratch: float | None


def ended(store: Store, study: Study, replay: Replay) -> list[Ended]:
    """What a study trained to the end so far, in the order of its jobs: they are replayed as a resume does."""
    trials = store.trials(study.id, stages=["search"])
    digests = {trial.id: trial.digest for trial in trials}
    failed = {trial.digest for trial in trials if trial.state == "failed"}
    key = (replay.table.header["metric"], replay.table.header["protocol"])
    psnr = {
        (digests[rung.trial_id], rung.step): next(m.value for m in rung.measurements if m.key == key)
        for rung in store.rungs(study.id)
        if rung.trial_id in digests
    }
    config = resumed(study.config, {})

    def scores(digest: str, rung: int) -> Outcome | None:
        if digest in failed:
            return Failure()
        if (value := psnr.get((digest, config.ladder[rung]))) is None:  # where a search that runs has come to
            return None
        return value, replay.table[digest].macs / 1e9

    budget = Budget(get_task(config.task).interface, replay.reference[0])
    asktell = AskTell(
        STRATEGIES[config.strategy].create(problem_of(replay.space, budget, config.seed)),
        window=config.window,
        halving=Halving(config.ladder, config.eta or inf, DIRECTIONS),
        recorded=[ask.genotype for ask in store.asks(study.id)],
    )
    found = []
    for spent, digest, (measured, gmacs) in trained(asktell, scores, UNLIMITED, config.train_steps):
        own = replay.table[digest].trials.get(replay.seed)
        found.append(Ended(spent, gmacs, measured, own.psnr_y[-1] if own else None))
    return found


def run_of(found: Sequence[Ended], replay: Replay, psnr: Callable[[Ended], float | None]) -> Run:
    """The share of the table's best hypervolume after each network that has a PSNR."""
    points: list[tuple[float, float]] = []
    run: Run = [(0, 0.0)]
    for each in found:
        if (value := psnr(each)) is not None:
            points.append((each.gmacs, value))
            run.append((each.spent, replay.volume(points) / replay.best))
    return run


def report(args: Namespace, replay: Replay) -> Cells:
    """Shares at parts of the steps, mean and range over the seeds; what 95 % took; what inheritance adds in dB."""
    full = replay.table.rungs[-1]
    cells = Cells(
        title=f"Share of the table's best hypervolume, in %, of {args.trainings} trainings' steps each"
    )
    heads = [f"{part:.0%} of steps" for part in SHOWN]
    for head in (
        "search",
        "PSNR",
        "seeds",
        *heads,
        "trainings to 95 %",
        "dB over from scratch",
        "not in table",
    ):
        cells.add_column(head, justify="left" if head in ("search", "PSNR") else "right")
    for way in WAYS:
        found = [
            each
            for seed in range(args.seeds)
            if (each := _ended(args, name_of(way, seed), replay)) is not None
        ]
        both = [(e.measured, e.scratch) for each in found for e in each if e.scratch is not None]
        missing = sum(e.scratch is None for each in found for e in each)
        gain = f"{mean(a - b for a, b in both):+.3f}" if both else "-"
        for scored, psnr in SCORED.items() if found else ():
            curves = Curves(way, [run_of(each, replay, psnr) for each in found])
            shares = [_mean(curves.at(int(part * args.trainings * full)), 100) for part in SHOWN]
            took = _mean(curves.steps_to(0.95), 1 / full)
            cells.add_row(way, scored, str(len(found)), *shares, took, gain, str(missing))
    return cells


def _ended(args: Namespace, name: str, replay: Replay) -> list[Ended] | None:
    place = args.work / f"{name}.db"
    if not place.exists():
        return None
    with Store.open(str(place), create=False, read_only=True) as store:
        return ended(store, store.study(name), replay)


def _mean(values: Sequence[float], unit: float) -> str:
    if max(values) == inf:
        return f"never for {values.count(inf)}"
    return f"{unit * mean(values):.1f} ({unit * min(values):.1f} to {unit * max(values):.1f})"


def main() -> int:
    found = tabular.parser(__doc__, "folder of the searches")
    found.add_argument("--only", nargs="+", default=[""], help="ways whose names start with one of these")
    found.add_argument("--seeds", type=int, default=3)
    found.add_argument("--trainings", type=int, default=10, help="budget, in whole trainings of 1,024 steps")
    found.add_argument("--window", type=int, default=2)
    found.add_argument("--workers", type=int, default=2)
    found.add_argument("--report", action="store_true", help="show what there is so far")
    args = found.parse_args()
    try:
        for seed in () if args.report else range(args.seeds):
            for way in WAYS:
                if way.startswith(tuple(args.only)) and not search(args, way, seed):
                    return 130
        Console(width=200).print(report(args, Replay(tabular.load())))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

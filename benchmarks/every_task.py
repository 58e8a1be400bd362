"""A small search for each task on its embedded photographs: does the front beat the trivial method?

Every task under its own default space, metric and losses, from the photographs that the installed packages ship.
A study a task; one that is there already is resumed, so the benchmark may be stopped and run again.

    python benchmarks/every_task.py --runs /tmp/every_task --markdown /tmp/every_task.md
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from report import Report, parser
from rich.table import Table

from evaluators.tasks import task_names
from results.analysis.overview import GIGA, Overview, overview, value
from results.store.store import Store, UnknownStudy
from search.stages.search import Place, run_search
from spaces.architecture import Architecture

# A short training doesn't get far without the input added to the output, nor in a deep network.
COMMON: dict[str, Any] = {"seed": 1, "training.rungs": 2, "max_gmacs": 3.0, "space.depths": "1:3"}
CHAIN: dict[str, Any] = {"space.image_skips": "nearest,bilinear", "space.upsamplers": "pixelshuffle"}
UNET: dict[str, Any] = {"space.depths": "1:2", "training.batch": 8}
UNSHUFFLED: dict[str, Any] = {"space.name": "restore", "space.image_skips": "nearest", "training.batch": 8}
SETTINGS: dict[str, dict[str, Any]] = {
    "sr-x2": CHAIN,
    "sr-x3": CHAIN,
    "sr-x4": CHAIN,
    "denoise": UNET,
    "denoise-s15": UNSHUFFLED,
    "denoise-s50": UNSHUFFLED,
    "denoise-signal": UNSHUFFLED,
    "deblur": UNET,
    "derain": UNSHUFFLED,
    "hdr": {"max_gmacs": 40.0, "training.batch": 8},
    "isp": {"max_gmacs": 2.0, "space.depths": "1:2", "training.batch": 8},
    "rescale-x2": {"space.upsamplers": "pixelshuffle", "training.batch": 8},
    "rescale-x4": {"space.upsamplers": "pixelshuffle", "training.batch": 8},
}


def search(task: str, place: Place, args: argparse.Namespace, report: Report) -> Overview:
    """The task's study, searched as far as it isn't yet."""
    said = {
        "task": task,
        "trials": args.trials,
        "training.steps": args.steps,
        **COMMON,
        **SETTINGS.get(task, {}),
    }
    with Store.open(place.db) as store:
        try:
            store.study(task)
            resume = True
        except UnknownStudy:
            resume = False
        if resume and all(t.state == "complete" for t in store.trials(store.study(task).id)[: args.trials]):
            return overview(store, task)
    more = {"trials": args.trials} if resume else said
    return run_search(more, place=place, study=task, resume=resume, console=report.console)


def row(found: Overview) -> tuple[str, ...]:
    """A line of the table: the best network beside the trivial method, on validation and on test photographs."""
    assert found.front.quality is not None
    best, (name, trivial) = found.best, found.baseline
    metric = found.front.quality.name
    ours = value(best.measurements, metric, found.front.quality.protocol)
    cost = next(point.cost for point in found.front.members if point.id == best.id) / GIGA
    assert ours is not None
    test, trivial_test = held_out(found, metric)
    return (
        found.study.task,
        metric,
        f"{name} {trivial:.2f}",
        f"{ours:.2f} ({ours - trivial:+.2f})",
        f"{trivial_test:.2f}",
        f"{test:.2f} ({test - trivial_test:+.2f})",
        f"{len(found.members)} of {len(found.trials)}",
        f"{cost:.3g} at {found.study.data['cost_input']}",
        Architecture.from_json(best.architecture).label,
    )


def held_out(found: Overview, metric: str) -> tuple[float, float]:
    """The best network's value on the test photographs, and the trivial method's."""
    validation = found.study.data["objective"][1]
    trivial = next(
        m
        for m in found.study.data["baseline"]["measurements"]
        if m["name"] == metric and m["protocol"] != validation
    )
    ours = value(found.best.measurements, metric, trivial["protocol"])
    assert ours is not None
    return ours, float(trivial["value"])


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--runs", type=Path, required=True, help="folder of the studies")
    arguments.add_argument("--tasks", help="comma-separated; all by default")
    arguments.add_argument("--trials", type=int, default=6)
    arguments.add_argument("--steps", type=int, default=500)
    args = arguments.parse_args()
    report = Report("every_task")
    place = Place(str(args.runs / "pixelfront.db"), args.runs)
    table = Table(title=f"{args.trials} trials of {args.steps} steps a task", title_justify="left")
    for heading in (
        "task",
        "dB of",
        "trivial, validation",
        "best, validation",
        "trivial, test",
        "best, test",
        "front",
        "GMACs",
        "best network",
    ):
        table.add_column(heading)
    for task in args.tasks.split(",") if args.tasks else task_names():
        table.add_row(*row(search(task, place, args, report)))
        report.console.print(table)
    report.show({}, [table], args)


if __name__ == "__main__":
    main()

"""The application, options that several commands have, and what they open and print with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

app = typer.Typer(
    name="pixelfront",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Architecture search for image-restoration networks under a hard compute budget.\n\n"
    "Start with **search**; then look at **front**, **show** a trial, and **export** the winner. "
    "**run** goes on from there: **prune**, **distill**, one front over all.",
)

Runs = Annotated[Path, typer.Option("--runs", help="Folder of the studies' files.", envvar="PIXELFRONT_RUNS")]
Db = Annotated[
    str | None,
    typer.Option(
        "--db", help="Store: a file or a database URL [default: RUNS/pixelfront.db]", envvar="PIXELFRONT_DB"
    ),
]
TrialName = Annotated[
    str, typer.Argument(help="Its number, or 'best': the highest quality within the budget.")
]
StudyName = Annotated[str, typer.Argument(help="The study; 'pixelfront studies' lists them.")]
Json = Annotated[bool, typer.Option("--json", help="JSON to standard output.")]
RUNS = Path("runs")
WIDTH_WITHOUT_TERMINAL = 160

BUDGET, SPACE, DATA, TRAIN, WHERE = "Budget", "Space", "Data", "Training", "Where it runs"
PRUNE, PUBLISHED, INT8, OPTUNA = "Pruning", "A published network", "INT8", "Optuna"

# Options that several commands have.
Convention = Annotated[
    str | None, typer.Option(help="How MACs count: exact, challenge, bias or fvcore.", rich_help_panel=BUDGET)
]
Data = Annotated[
    Path | None,
    typer.Option(help="Folder of training images [default: embedded photographs].", rich_help_panel=DATA),
]
DataLr = Annotated[
    Path | None,
    typer.Option("--data-lr", help="Their LR images, if they aren't to be made.", rich_help_panel=DATA),
]
Val = Annotated[
    Path | None,
    typer.Option(
        help="Folder that is scored on to choose [default: a tenth of --data].", rich_help_panel=DATA
    ),
]
ValLr = Annotated[Path | None, typer.Option("--val-lr", help="Their LR images.", rich_help_panel=DATA)]
Test = Annotated[
    Path | None,
    typer.Option(help="Folder that only what comes out at the end is scored on.", rich_help_panel=DATA),
]
TestLr = Annotated[Path | None, typer.Option("--test-lr", help="Their LR images.", rich_help_panel=DATA)]
SkipBadImages = Annotated[
    bool | None,
    typer.Option("--skip-bad-images", help="Leave out images that can't be used.", rich_help_panel=DATA),
]
AllowNearDuplicates = Annotated[
    bool | None,
    typer.Option(
        "--allow-near-duplicates",
        help="Train on pictures that look like held-out ones.",
        rich_help_panel=DATA,
    ),
]
NumberOfWorkers = Annotated[
    int | None, typer.Option(help="Trials at a time [default: as many as fit].", rich_help_panel=WHERE)
]
Cpus = Annotated[float | None, typer.Option(help="CPUs per trial [default: 1].", rich_help_panel=WHERE)]
Gpus = Annotated[
    float | None,
    typer.Option(help="GPUs per trial; fractions share one [default: 0].", rich_help_panel=WHERE),
]
Threads = Annotated[
    int | None, typer.Option(help="Torch threads per trial [default: 1].", rich_help_panel=WHERE)
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.", rich_help_panel=WHERE)]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address", help="A Ray cluster, HOST:PORT, or local [default: local].", rich_help_panel=WHERE
    ),
]
Steps = Annotated[
    int | None, typer.Option(help="Its steps in all [default: the recipe's].", rich_help_panel=TRAIN)
]
FromScratch = Annotated[
    bool,
    typer.Option("--from-scratch", help="Start from random weights, not the trial's.", rich_help_panel=TRAIN),
]
Log = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TRACKER",
        help="Log the runs to tensorboard (RUNS/STUDY/tensorboard) or mlflow (MLFLOW_TRACKING_URI, else "
        "RUNS/mlflow.db) as well; repeatable.",
    ),
]
Widths = Annotated[str | None, typer.Option(help="FIRST:LAST[:STEP] or a list A,B,C.", rich_help_panel=SPACE)]
Depths = Annotated[str | None, typer.Option(help="FIRST:LAST[:STEP] or a list A,B,C.", rich_help_panel=SPACE)]
Upsamplers = Annotated[str | None, typer.Option(help="Upsampler kinds.", rich_help_panel=SPACE)]
SameBlock = Annotated[
    bool | None,
    typer.Option("--same-block", help="One block kind for all positions.", rich_help_panel=SPACE),
]
Batch = Annotated[int | None, typer.Option(help="Patches a step [default: 16].", rich_help_panel=TRAIN)]
Patch = Annotated[
    int | None,
    typer.Option(help="Side of an input patch in pixels [default: the task's].", rich_help_panel=TRAIN),
]
LearningRate = Annotated[
    float | None, typer.Option("--lr", help="Learning rate [default: 0.002].", rich_help_panel=TRAIN)
]
Precision = Annotated[str | None, typer.Option(help="auto, float32 or bfloat16.", rich_help_panel=TRAIN)]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any key of the configuration, as in a TOML file; repeatable: --set space.levels=2:4.",
    ),
]


def place_of(runs: Path, db: str | None) -> Any:
    from search.study.opening import Place

    return Place(db or str(runs / "pixelfront.db"), runs)


def open_store(runs: Path, db: str | None, *, read_only: bool = False) -> Any:
    from results.store.store import Store

    return Store.open(db or str(runs / "pixelfront.db"), create=False, read_only=read_only)


def trial_of(store: Any, study: Any, name: str) -> Any:
    from results.analysis.overview import NoResultError, find_trial, overview
    from results.analysis.preliminary import preliminary, why_no_front

    try:
        return find_trial(store, study, name)
    except NoResultError:
        found = overview(store, study.name)
        if found.front.members:
            raise
        raise NoResultError(
            f"study '{study.name}': {why_no_front(found, preliminary(store, found))}"
        ) from None


def end_with(found: Any, *, interrupted: bool = False) -> None:
    """Exit code 1 where no front came of it, or none that beats the trivial method; it has said so.

    Args:
        interrupted: By the user, to whom a front that may still get better is enough.
    """
    front = found.front
    if not front.members or (not interrupted and front.worthless == len(front.points)):
        raise typer.Exit(1)


def where_it_runs(
    workers: int | None,
    cpus: float | None,
    gpus: float | None,
    threads: int | None,
    device: str | None,
    ray_address: str | None,
) -> dict[str, Any]:
    return {
        "workers.number": workers,
        "workers.cpus": cpus,
        "workers.gpus": gpus,
        "workers.threads": threads,
        "workers.device": device,
        "workers.ray_address": ray_address,
    }


def given(said: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in said.items() if value is not None}


@contextmanager
def progress_bars() -> Iterator[tuple[Callable[[str, int], None], Callable[[str, int], None]]]:
    """A bar per image set on standard error, if that is a terminal: what starts one, and what moves it."""
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def start(name: str, total: int) -> None:
            tasks[name] = bars.add_task(name, total=total)

        yield start, lambda name, done: bars.update(tasks[name], completed=done)


def console() -> Console:
    """A console as wide as the terminal; wide enough for tables where there is none."""
    return Console() if sys.stdout.isatty() else Console(width=WIDTH_WITHOUT_TERMINAL)

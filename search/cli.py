"""The command line. Each command imports what it needs, so that reading results starts without torch."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

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
PRUNE, PUBLISHED, INT8 = "Pruning", "A published network", "INT8"

# Options that several commands have.
Convention = Annotated[
    str | None, typer.Option(help="How MACs count: exact, challenge or bias.", rich_help_panel=BUDGET)
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
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any key of the configuration, as in a TOML file; repeatable: --set space.levels=2:4.",
    ),
]

data_app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
app.add_typer(data_app, name="data", help="List public image sets and get them.")


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"pixelfront {version('pixelfront')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            help="Show tracebacks of errors; anywhere on the command line, or PIXELFRONT_DEBUG=1.",
        ),
    ] = False,
) -> None:
    """Options of every command; ``main`` takes ``--debug`` out before it gets here."""


@app.command()
def search(
    max_gmacs: Annotated[
        float | None,
        typer.Option(
            "--max-gmacs", help="Hard limit on GMACs at the task's input size.", rich_help_panel=BUDGET
        ),
    ] = None,
    gmacs: Annotated[
        str | None,
        typer.Option(
            "--gmacs",
            metavar="A:B",
            help="A band of GMACs instead: widths are solved for. By name: ntire22-hdr-1, ntire22-hdr-2.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    convention: Convention = None,
    trials: Annotated[
        int | None,
        typer.Option(
            help="Architectures to train [default: 20, or no limit with --time].", rich_help_panel=BUDGET
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            help="Wall time, e.g. 90s, 6m, 1h30m; whichever limit is first.", rich_help_panel=BUDGET
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="sr-x2 to sr-x4, denoise, deblur, derain, hdr, isp, rescale-x4, ... [default: sr-x4]."
        ),
    ] = None,
    study: Annotated[str | None, typer.Option(help="Name of the study [default: TASK-NUMBER].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with --study.")] = False,
    config: Annotated[Path | None, typer.Option(help="A TOML file; flags override it.")] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Who proposes architectures: tpe, nsga2, random, ... [default: tpe].")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="One seed, one sequence of architectures [default: 0].")
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="What is searched for, e.g. psnr_y, psnr_rgb, psnr_mu [default: the task's]."),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            help="Trials asked for before the first is told; bounds the workers in use [default: 8]."
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="A named space; 'pixelfront spaces' lists them [default: the task's].", rich_help_panel=SPACE
        ),
    ] = None,
    blocks: Annotated[
        str | None,
        typer.Option(help="Block kinds, e.g. rfdb,ghost; see 'pixelfront blocks'.", rich_help_panel=SPACE),
    ] = None,
    widths: Annotated[
        str | None, typer.Option(help="FIRST:LAST[:STEP] or a list A,B,C.", rich_help_panel=SPACE)
    ] = None,
    depths: Annotated[
        str | None, typer.Option(help="FIRST:LAST[:STEP] or a list A,B,C.", rich_help_panel=SPACE)
    ] = None,
    upsamplers: Annotated[str | None, typer.Option(help="Upsampler kinds.", rich_help_panel=SPACE)] = None,
    same_block: Annotated[
        bool | None,
        typer.Option("--same-block", help="One block kind for all positions.", rich_help_panel=SPACE),
    ] = None,
    data: Data = None,
    data_lr: DataLr = None,
    val: Val = None,
    val_lr: ValLr = None,
    test: Test = None,
    test_lr: TestLr = None,
    skip_bad_images: SkipBadImages = None,
    allow_near_duplicates: AllowNearDuplicates = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps a trial [default: 1000].", rich_help_panel=TRAIN)
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Patches a step [default: 16].", rich_help_panel=TRAIN)
    ] = None,
    patch: Annotated[
        int | None,
        typer.Option(help="Side of an input patch in pixels [default: the task's].", rich_help_panel=TRAIN),
    ] = None,
    lr: Annotated[
        float | None, typer.Option("--lr", help="Learning rate [default: 0.002].", rich_help_panel=TRAIN)
    ] = None,
    rungs: Annotated[
        int | None,
        typer.Option(help="Times that a trial is scored and saved [default: 4].", rich_help_panel=TRAIN),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, float32 or bfloat16.", rich_help_panel=TRAIN)
    ] = None,
    workers: NumberOfWorkers = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    threads: Threads = None,
    device: Device = None,
    ray_address: RayAddress = None,
    retries: Annotated[
        int | None, typer.Option(help="Tries again after a lost worker [default: 2].", rich_help_panel=WHERE)
    ] = None,
    set_: Settings = None,
    runs: Runs = RUNS,
    db: Db = None,
    no_finish: Annotated[
        bool, typer.Option("--no-finish", help="No test scores, pictures and export at the end.")
    ] = False,
) -> None:
    """Search for the Pareto front of PSNR against GMACs under a compute budget.

    Ends with the front, front.png, a side-by-side picture and the winner as a checked ONNX file.
    """
    from search.config import load, settings
    from search.run import run_search

    flags: dict[str, Any] = {
        "task": task,
        "strategy": strategy,
        "seed": seed,
        "objective": objective,
        "max_gmacs": max_gmacs,
        "gmacs": gmacs,
        "convention": convention,
        "trials": trials,
        "time": time,
        "window": window,
        "space.name": space,
        "space.blocks": blocks,
        "space.widths": widths,
        "space.depths": depths,
        "space.upsamplers": upsamplers,
        "space.per_position": None if same_block is None else not same_block,
        "data.train": data,
        "data.train_inputs": data_lr,
        "data.validation": val,
        "data.validation_inputs": val_lr,
        "data.test": test,
        "data.test_inputs": test_lr,
        "data.skip_bad_images": skip_bad_images,
        "data.allow_near_duplicates": allow_near_duplicates,
        "training.steps": steps,
        "training.batch": batch,
        "training.patch": patch,
        "training.learning_rate": lr,
        "training.rungs": rungs,
        "training.precision": precision,
        "workers.retries": retries,
        **_where(workers, cpus, gpus, threads, device, ray_address),
    }
    run_search(
        load(config, flags | settings(set_ or ())),
        place=_place(runs, db),
        study=study,
        resume=resume,
        stem=config.stem if config else None,
        console=_console(),
        finish=not no_finish,
    )


@app.command()
def run(
    config: Annotated[Path | None, typer.Argument(help="A TOML file; with --resume the study's own.")] = None,
    study: Annotated[str | None, typer.Option(help="Name of the study [default: FILE-NUMBER].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with --study.")] = False,
    workers: NumberOfWorkers = None,
    set_: Settings = None,
    runs: Runs = RUNS,
    db: Db = None,
) -> None:
    """Search (or start from a published network), prune, distil, and hand over the winner of all of it.

    Ends with one front over all stages, its pictures, and the winner as a checked ONNX file with its lineage.
    """
    from search.config import load, settings
    from search.pipeline import run_pipeline

    run_pipeline(
        load(config, {"workers.number": workers} | settings(set_ or ())),
        place=_place(runs, db),
        study=study,
        resume=resume,
        stem=config.stem if config else None,
        console=_console(),
    )


@app.command()
def prune(
    study_name: Annotated[
        str | None, typer.Argument(metavar="[STUDY", help="The study; 'pixelfront studies' lists them.")
    ] = None,
    trial: Annotated[str | None, typer.Argument(metavar="TRIAL]", help="Its number, or 'best'.")] = None,
    to_gmacs: Annotated[
        float | None,
        typer.Option("--to-gmacs", help="What it may cost: reached from below.", rich_help_panel=BUDGET),
    ] = None,
    ratio: Annotated[
        float | None, typer.Option(help="The same as a share of its own GMACs.", rich_help_panel=BUDGET)
    ] = None,
    convention: Convention = None,
    criterion: Annotated[
        str, typer.Option(help="How channels are ranked: l1, l2, fpgm or taylor.", rich_help_panel=PRUNE)
    ] = "taylor",
    round_to: Annotated[
        int, typer.Option(help="Keep multiples of this many channels, for hardware.", rich_help_panel=PRUNE)
    ] = 1,
    iterations: Annotated[
        int, typer.Option(help="Steps to the target, with a recovery after each.", rich_help_panel=PRUNE)
    ] = 1,
    recovery: Annotated[
        str | None,
        typer.Option(
            help="Train it afterwards: a recipe's name or FILE.toml [default: not at all].",
            rich_help_panel=PRUNE,
        ),
    ] = None,
    recovery_steps: Annotated[
        int | None, typer.Option(help="Its steps in all [default: the recipe's].", rich_help_panel=PRUNE)
    ] = None,
    sparsity: Annotated[
        float | None,
        typer.Option(
            help="First train with a group lasso of this weight on channels, and remove what becomes zero.",
            rich_help_panel=PRUNE,
        ),
    ] = None,
    sparse_steps: Annotated[
        int | None, typer.Option(help="Steps of that training.", rich_help_panel=PRUNE)
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="A published network instead, in a study of its own; 'pixelfront baselines' lists them.",
            rich_help_panel=PUBLISHED,
        ),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Its checkpoint.", rich_help_panel=PUBLISHED)] = None,
    study: Annotated[
        str | None,
        typer.Option(help="Name of its study, new or not [default: NAME-NUMBER].", rich_help_panel=PUBLISHED),
    ] = None,
    data: Data = None,
    data_lr: DataLr = None,
    val: Val = None,
    val_lr: ValLr = None,
    test: Test = None,
    test_lr: TestLr = None,
    skip_bad_images: SkipBadImages = None,
    allow_near_duplicates: AllowNearDuplicates = None,
    workers: NumberOfWorkers = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    threads: Threads = None,
    device: Device = None,
    ray_address: RayAddress = None,
    set_: Settings = None,
    json: Json = False,
    runs: Runs = RUNS,
    db: Db = None,
) -> None:
    """Prune a network's channels to a cost that is met from below, at most 0.5 % under.

    Each step becomes a trial of the study. The same command again goes on where it was cut off.
    """
    from search.config import ConfigError, settings
    from search.prune import PruneOptions, run_prune

    if baseline is None and study is not None:
        raise ConfigError("--study names the study of a --baseline; else give STUDY TRIAL")
    said = {
        "convention": convention,
        "data.train": data,
        "data.train_inputs": data_lr,
        "data.validation": val,
        "data.validation_inputs": val_lr,
        "data.test": test,
        "data.test_inputs": test_lr,
        "data.skip_bad_images": skip_bad_images,
        "data.allow_near_duplicates": allow_near_duplicates,
        **_where(workers, cpus, gpus, threads, device, ray_address),
    }
    run_prune(
        PruneOptions(
            to_gmacs=to_gmacs,
            ratio=ratio,
            criterion=criterion,
            round_to=round_to,
            iterations=iterations,
            recovery=recovery,
            recovery_steps=recovery_steps,
            sparsity=sparsity,
            sparse_steps=sparse_steps,
        ),
        place=_place(runs, db),
        console=Console(stderr=True) if json else _console(),
        said=_given(said | settings(set_ or ())),
        study=study if baseline else study_name,
        trial=trial,
        baseline=baseline,
        weights=weights,
        json=json,
    )


@app.command()
def distill(
    student: Annotated[
        str, typer.Option(metavar="STUDY:TRIAL", help="The network to train on, by its trial or 'best'.")
    ],
    teacher: Annotated[
        list[str],
        typer.Option(
            metavar="TEACHER",
            help="STUDY:TRIAL, a published NAME=WEIGHTS, or an exported FILE.safetensors. Several are averaged.",
        ),
    ],
    recipe: Annotated[
        str, typer.Option(help="A recipe's name or FILE.toml.", rich_help_panel=TRAIN)
    ] = "distil",
    steps: Steps = None,
    weight: Annotated[
        float | None,
        typer.Option(
            "--lambda",
            help="Share of the teacher in the loss, 0 to 1; the rest is the target's [default: the recipe's].",
            rich_help_panel=TRAIN,
        ),
    ] = None,
    distance: Annotated[
        str | None,
        typer.Option(
            help="Of both parts of the loss: l1 or l2 [default: the recipe's].", rich_help_panel=TRAIN
        ),
    ] = None,
    features: Annotated[
        float | None,
        typer.Option(help="Weight of feature matching [default: the recipe's].", rich_help_panel=TRAIN),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the teacher's outputs [default: the study's own, unless they take over 1 GiB].",
            rich_help_panel=TRAIN,
        ),
    ] = None,
    workers: NumberOfWorkers = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    threads: Threads = None,
    device: Device = None,
    ray_address: RayAddress = None,
    set_: Settings = None,
    json: Json = False,
    runs: Runs = RUNS,
    db: Db = None,
) -> None:
    """Train a trial's network with a teacher: LAMBDA ||student - teacher|| + (1 - LAMBDA) ||student - target||.

    The result is a new trial. The same command again goes on where it was cut off.
    """
    from search.config import settings
    from search.distill import TrainOptions, run_distill

    run_distill(
        student,
        teacher,
        TrainOptions(recipe, steps, weight, distance, features, cache),
        place=_place(runs, db),
        console=Console(stderr=True) if json else _console(),
        said=_given(_where(workers, cpus, gpus, threads, device, ray_address) | settings(set_ or ())),
        json=json,
    )


@app.command()
def finetune(
    study: StudyName,
    trial: TrialName,
    recipe: Annotated[
        str, typer.Option(help="A recipe's name or FILE.toml.", rich_help_panel=TRAIN)
    ] = "finetune",
    steps: Steps = None,
    workers: NumberOfWorkers = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    threads: Threads = None,
    device: Device = None,
    ray_address: RayAddress = None,
    set_: Settings = None,
    json: Json = False,
    runs: Runs = RUNS,
    db: Db = None,
) -> None:
    """Train a trial's network on without a teacher: recovery after pruning, or a longer schedule for a winner.

    The result is a new trial. The same command again goes on where it was cut off.
    """
    from search.config import settings
    from search.distill import TrainOptions, run_distill

    run_distill(
        f"{study}:{trial}",
        (),
        TrainOptions(recipe, steps),
        place=_place(runs, db),
        console=Console(stderr=True) if json else _console(),
        said=_given(_where(workers, cpus, gpus, threads, device, ray_address) | settings(set_ or ())),
        json=json,
    )


def _where(
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


def _given(said: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in said.items() if value is not None}


@app.command()
def front(
    study: StudyName,
    json: Annotated[bool, typer.Option("--json", help="JSON to standard output.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV to standard output.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write a figure (png, pdf or svg).")] = None,
    runs: Runs = RUNS,
    db: Db = None,
) -> None:
    """Print a study's Pareto front."""
    from results import overview, tables

    if json and csv:
        raise ValueError("expected one of --json and --csv, got both: they share standard output")
    with _open(runs, db) as store:
        found = overview.overview(store, study)
    if json:
        typer.echo(overview.as_json(found))
    elif csv:
        typer.echo(tables.front_csv(found), nl=False)
    else:
        _console().print(tables.front_table(found))
    if plot:
        from results.figures import save_front_figure

        if not found.front.members:
            raise ValueError(f"study '{study}' has no complete trial yet, so there is nothing to plot")
        typer.echo(save_front_figure(found, plot), err=True)


@app.command()
def studies(runs: Runs = RUNS, db: Db = None) -> None:
    """List all studies."""
    from results.tables import studies_table

    with _open(runs, db) as store:
        _console().print(studies_table(store.studies()))


@app.command()
def show(
    study: StudyName,
    trial: TrialName,
    plot: Annotated[
        Path | None, typer.Option(help="Write its learning curve as a figure (png, pdf or svg).")
    ] = None,
    runs: Runs = RUNS,
    db: Db = None,
) -> None:
    """Print everything on record of one trial."""
    from results.tables import trial_view

    with _open(runs, db) as store:
        record = store.study(study)
        found = _trial(store, record, trial)
        rungs, artifacts = store.rungs(record.id, trial_id=found.id), store.artifacts(found.id)
        lineage, children = store.lineage(found.id), store.children(found.id)
    _console().print(trial_view(record, lineage, rungs, artifacts, children))
    if plot:
        from results.figures import save_curve_figure

        typer.echo(save_curve_figure(record, found, rungs, plot), err=True)


@app.command()
def export(
    study: StudyName,
    trial: TrialName,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    format: Annotated[
        Literal["onnx", "pt2", "safetensors"] | None, typer.Option(help="[default: by the file's suffix]")
    ] = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Write an INT8 ONNX file, calibrated on training images.", rich_help_panel=INT8
        ),
    ] = False,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Loss in dB that is allowed; the most sensitive layers stay in floating point "
            "[default: any, all are quantised].",
            rich_help_panel=INT8,
        ),
    ] = None,
    calibration_patches: Annotated[
        int, typer.Option(help="Patches of training images to calibrate on.", rich_help_panel=INT8)
    ] = 32,
    runs: Runs = RUNS,
    db: Db = None,
) -> None:
    """Write a trial's network to a file, checked against PyTorch.

    Beside `m.onnx` come its model card, `m.onnx.md`, and its architecture, `m.json`, which **profile** reads.
    With --int8 `m.onnx` is the INT8 file, and its card has quality, size and latency before and after.
    """
    from evaluators.tasks import get_task
    from results.export import format_of
    from results.handover import export_trial

    if max_drop is not None and not int8:
        raise ValueError("--max-drop is the loss that INT8 may cost: give --int8 too")
    form = format or format_of(output)
    if int8 and form != "onnx":
        raise ValueError(f"--int8 writes an ONNX file, got {form}: name it .onnx, or leave --int8 out")
    with _open(runs, db) as store:
        record = store.study(study)
        chosen = _trial(store, record, trial)
        folder = runs.resolve() / record.name
        if int8:
            _export_int8(store, record, chosen, output, max_drop, calibration_patches, folder)
            return
        task = get_task(record.task).interface
        exported, card = export_trial(store, record, chosen, task, output, form, folder=folder)
    sizes = ", ".join(f"{h}x{w}" for h, w in exported.sizes)
    typer.echo(
        f"{exported.path}: {exported.bytes:,} bytes, at most {exported.max_error:.1g} from PyTorch at {sizes}"
    )
    typer.echo(f"{card}: model card")


def _export_int8(
    store: Any, study: Any, trial: Any, output: Path, max_drop: float | None, patches: int, folder: Path
) -> None:
    from results.quantisation import check_request
    from search.int8 import export_int8, study_data

    check_request(max_drop, patches)
    data, test = study_data(study)
    made = export_int8(
        store, study, trial, data, test, output, max_drop=max_drop, patches=patches, folder=folder
    )
    for line in made.lines:
        typer.echo(line)


@app.command()
def profile(
    architecture: Annotated[
        str, typer.Argument(help="A published network's name, or a file with an architecture's JSON.")
    ],
    input: Annotated[
        str | None, typer.Option(metavar="CxHxW", help="Input size [default: the task's, 3x256x256].")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="The task that it is built for [default: the network's own].")
    ] = None,
    convention: Annotated[str, typer.Option(help="How MACs count: exact, challenge or bias.")] = "exact",
    json: Annotated[bool, typer.Option("--json", help="JSON to standard output.")] = False,
) -> None:
    """Print the exact cost of an architecture, part by part, without training or allocating it."""
    from search.inspect import profile_json, profile_table

    if json:
        typer.echo(profile_json(architecture, task, input, convention))
    else:
        _console().print(profile_table(architecture, task, input, convention))


@app.command()
def blocks(
    task: Annotated[str, typer.Option(help="Costs are quoted at this task's input size.")] = "sr-x4",
    widths: Annotated[str, typer.Option(help="Widths to quote costs at.")] = "16,32,64",
) -> None:
    """List what the spaces offer: blocks, upsamplers and a U-Net's resamplers with their cost per width."""
    from search.inspect import blocks_table

    _console().print(blocks_table(task, widths))


@app.command()
def spaces(
    name: Annotated[str | None, typer.Argument(help="Show the choices of this one.")] = None,
    json: Json = False,
) -> None:
    """List the named search spaces with their range of costs."""
    from search.inspect import spaces_json, spaces_table

    if json:
        typer.echo(spaces_json(name))
    else:
        _console().print(spaces_table(name))


@app.command()
def baselines(
    task: Annotated[str | None, typer.Option(help="Only those of this task.")] = None, json: Json = False
) -> None:
    """List the published networks: our costs beside the published ones."""
    from search.evaluate import baseline_rows
    from search.evaluation_tables import baselines_json, baselines_table

    rows = baseline_rows(task)
    if json:
        typer.echo(baselines_json(rows))
    elif rows:
        _console().print(baselines_table(rows))
    else:
        typer.echo(f"no published network for {task}", err=True)


@app.command()
def evaluate(
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="A published network; 'pixelfront baselines' lists them. Several are averaged."),
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(help="A .safetensors file that 'pixelfront export' wrote. Several are averaged."),
    ] = None,
    architecture: Annotated[Path | None, typer.Option(help="An architecture's JSON file.")] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            help="Checkpoint of it; several are averaged. Of several baselines one each, in their order "
            "[default: none, costs only]."
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="The task [default: the network's].")] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of target images; repeatable [default: embedded photographs].", rich_help_panel=DATA
        ),
    ] = None,
    data_lr: Annotated[
        list[Path] | None,
        typer.Option(
            "--data-lr",
            "--data-inputs",
            help="Their inputs, one folder for each --data [default: made].",
            rich_help_panel=DATA,
        ),
    ] = None,
    skip_bad_images: Annotated[
        bool,
        typer.Option("--skip-bad-images", help="Leave out images that can't be used.", rich_help_panel=DATA),
    ] = False,
    ensemble: Annotated[
        Literal["none", "x8"], typer.Option(help="x8 averages 8 flips and rotations of each image.")
    ] = "none",
    input: Annotated[
        str | None,
        typer.Option(metavar="CxHxW", help="Input size of cost, runtime and memory [default: the task's]."),
    ] = None,
    runs: Annotated[int, typer.Option(min=0, help="Timed runs; 0: neither runtime nor memory.")] = 10,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=WHERE)] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Torch threads [default: one a core].", rich_help_panel=WHERE)
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Write the output pictures to this folder.")] = None,
    per_image: Annotated[bool, typer.Option("--per-image", help="Print each image's metrics too.")] = False,
    json: Json = False,
) -> None:
    """Measure a network: quality beside the trivial baseline, cost, runtime and peak memory.

    Without --weights a published network's costs only.
    """
    from evaluators.ensemble import TURNS
    from search import evaluate as evaluation
    from search.evaluation_tables import evaluation_json, evaluation_table
    from search.subjects import find_subject

    where = evaluation.resolve_device(device)
    subject = find_subject(
        baselines=baseline or (),
        models=model or (),
        architecture=architecture,
        weights=weights or (),
        task=task,
    )
    sets = (
        evaluation.read_sets(subject.task, data or (), data_lr or (), skip_bad=skip_bad_images)
        if subject.networks
        else []
    )
    with _progress() as (start, advance):
        for pairs in sets:
            start(pairs.name, len(pairs))
        found = evaluation.evaluate(
            subject,
            sets,
            turns=TURNS if ensemble == "x8" else 1,
            device=where,
            threads=threads,
            runs=runs,
            size=input,
            save=save,
            advance=advance,
        )
    if json:
        typer.echo(evaluation_json(found))
    else:
        _console().print(evaluation_table(found, per_image=per_image))
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)


@app.command()
def downscale(
    model: Annotated[
        str,
        typer.Argument(help="What will enlarge them: a .safetensors file of ours, or a published network."),
    ],
    images: Annotated[list[Path], typer.Argument(help="Images to make small.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the small images.")],
    weights: Annotated[Path | None, typer.Option(help="Checkpoint of a published network.")] = None,
    hr_iterations: Annotated[int, typer.Option(min=0, help="Steps on the large image; 0: none.")] = 15,
    lr_iterations: Annotated[int, typer.Option(min=0, help="Steps on the small image; 0: none.")] = 15,
    epsilon: Annotated[
        float, typer.Option(help="How far an image may move: L2 norm over all values in [0, 1].")
    ] = 0.3,
    json: Json = False,
) -> None:
    """Make images small so that a network enlarges them better (collaborative downscaling, HCD).

    The network stays as it is; the small images are searched for and kept in 8 bits. PSNR is of the enlarged ones.
    """
    from evaluators.downscaling import Settings, downscale_files
    from search.evaluation_tables import downscaled_json, downscaled_table

    chosen = Settings(hr_iterations, lr_iterations, epsilon)
    with _progress() as (start, advance):
        start(model, len(images))
        count = 0

        def done(_row: object) -> None:
            nonlocal count
            count += 1
            advance(model, count)

        rows = downscale_files(model, images, output, weights=weights, settings=chosen, done=done)
    if json:
        typer.echo(downscaled_json(rows))
    else:
        _console().print(downscaled_table(rows))


@data_app.command("list")
def data_list(json: Json = False) -> None:
    """List public image sets: those that can be got, and where to get the others by hand."""
    from search.public_data import sets_json, sets_table

    if json:
        typer.echo(sets_json())
    else:
        _console().print(sets_table())


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(help="A set; 'pixelfront data list' lists them.")],
    to: Annotated[Path, typer.Option(help="Folder to put it in.")] = Path("data"),
    mirror: Annotated[
        str | None, typer.Option(metavar="URL", help="Where its files are, in place of their own address.")
    ] = None,
) -> None:
    """Get a public image set: resumes, verifies and unpacks to TO/NAME.

    A file without a published checksum is trusted the first time, and its SHA-256 kept for the next.
    """
    from search.public_data import get

    for line in get(name, to, mirror=mirror, console=Console(stderr=True)):
        typer.echo(line)


@contextmanager
def _progress() -> Iterator[tuple[Callable[[str, int], None], Callable[[str, int], None]]]:
    """A bar per image set on standard error, if that is a terminal: what starts one, and what moves it."""
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def start(name: str, total: int) -> None:
            tasks[name] = bars.add_task(name, total=total)

        yield start, lambda name, done: bars.update(tasks[name], completed=done)


def _console() -> Console:
    """A console as wide as the terminal; wide enough for tables where there is none."""
    return Console() if sys.stdout.isatty() else Console(width=WIDTH_WITHOUT_TERMINAL)


def _place(runs: Path, db: str | None) -> Any:
    from search.run import Place

    return Place(db or str(runs / "pixelfront.db"), runs)


def _open(runs: Path, db: str | None) -> Any:
    from results.store import Store

    return Store.open(db or str(runs / "pixelfront.db"), create=False)


def _trial(store: Any, study: Any, name: str) -> Any:
    from results.overview import find_trial

    return find_trial(store, study, name)


def main() -> None:
    """Entry point: usage errors and bad input are one message on standard error and exit code 2."""
    debug = "--debug" in sys.argv or bool(os.environ.get("PIXELFRONT_DEBUG"))
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app()
    except (ValueError, OSError, RuntimeError, FloatingPointError) as error:
        if debug:
            raise
        if isinstance(error, RuntimeError) and not _is_told(error):
            raise
        typer.echo(f"pixelfront: {_worded(error)}", err=True)
        sys.exit(2)


def _is_told(error: RuntimeError) -> bool:
    """Whether a runtime error is one of ours, worded for the user."""
    return type(error).__module__.partition(".")[0] in ("search", "spaces", "evaluators", "results")


def _worded(error: Exception) -> str:
    """The message; a bare system error gets the file first and what to do."""
    if isinstance(error, FloatingPointError):  # of scoring
        return f"{error}: check its weights"
    if not isinstance(error, OSError) or error.filename is None:
        return str(error)
    advice = {
        errno.EROFS: "name a folder that can be written",
        errno.EACCES: "name a folder that you may write, or get the right to",
        errno.ENOSPC: "free some space; a study goes on with --resume",
        errno.EDQUOT: "free some space; a study goes on with --resume",
    }.get(error.errno or 0)
    return f"{error.filename}: {error.strerror}" + (f": {advice}" if advice else "")

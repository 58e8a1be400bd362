"""Commands that make trials: search, run, prune, distill, finetune."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter, Signature, signature
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import typer
from rich.console import Console

from search.commands.options import (
    BUDGET,
    PRUNE,
    PUBLISHED,
    RUNS,
    SPACE,
    TRAIN,
    WHERE,
    AllowNearDuplicates,
    Batch,
    Convention,
    Cpus,
    Data,
    DataLr,
    Db,
    Depths,
    Device,
    FromScratch,
    Gpus,
    Json,
    LearningRate,
    Log,
    NumberOfWorkers,
    Patch,
    Precision,
    RayAddress,
    Runs,
    SameBlock,
    Settings,
    SkipBadImages,
    Steps,
    StudyName,
    Test,
    TestLr,
    Threads,
    TrialName,
    Upsamplers,
    Val,
    ValLr,
    Widths,
    app,
    console,
    end_with,
    given,
    place_of,
    where_it_runs,
)

# Options of `search` by the configuration keys that they set.
SEARCH_KEYS = {
    "task": "task",
    "strategy": "strategy",
    "seed": "seed",
    "objective": "objective",
    "objectives": "objectives",
    "latency_on": "latency_on",
    "max_gmacs": "max_gmacs",
    "gmacs": "gmacs",
    "convention": "convention",
    "trials": "trials",
    "time": "time",
    "train_steps": "train_steps",
    "worker_hours": "worker_hours",
    "window": "window",
    "eta": "eta",
    "inherit": "inherit",
    "repeats": "repeats",
    "first": "first",
    "filter": "filter_",
    "supernet": "supernet",
    "warm_start": "warm_start",
    "space.name": "space",
    "space.blocks": "blocks",
    "space.widths": "widths",
    "space.depths": "depths",
    "space.upsamplers": "upsamplers",
    "data.train": "data",
    "data.train_inputs": "data_lr",
    "data.validation": "val",
    "data.validation_inputs": "val_lr",
    "data.test": "test",
    "data.test_inputs": "test_lr",
    "data.skip_bad_images": "skip_bad_images",
    "data.allow_near_duplicates": "allow_near_duplicates",
    "training.steps": "steps",
    "training.batch": "batch",
    "training.patch": "patch",
    "training.learning_rate": "lr",
    "training.rungs": "rungs",
    "training.precision": "precision",
    "workers.retries": "retries",
    "workers.hung_after": "hung_after",
    "logging.to": "log",
}


@app.command(rich_help_panel="Find")
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
            help="Architectures to train [default: 20, or no limit with another].", rich_help_panel=BUDGET
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            help="Wall time of the whole command, e.g. 90s, 6m, 1h30m: networks train as long as it allows.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    train_steps: Annotated[
        int | None,
        typer.Option(help="Training steps, all trials together; never exceeded.", rich_help_panel=BUDGET),
    ] = None,
    worker_hours: Annotated[
        float | None,
        typer.Option(
            help="Hours, all workers together: GPU-hours where each has one GPU.", rich_help_panel=BUDGET
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
        str | None,
        typer.Option(
            help="Who proposes architectures: pareto, tpe, nsga2, random, ... [default: auto: pareto with --inherit "
            "and --eta 3]."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="One seed, one sequence of architectures [default: 0].")
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="What psnr means, e.g. psnr_y, psnr_rgb, psnr_mu [default: the task's]."),
    ] = None,
    objectives: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="What the front is over, the first being what 'best' goes by: psnr, ssim, gmacs, parameters, "
            "activations, latency, memory [default: psnr,gmacs].",
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME<=VALUE",
            help="A hard limit on any of these; repeatable: latency<=30ms, parameters<=500k, memory<=200MB, psnr>=28.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    latency_on: Annotated[
        str | None,
        typer.Option(
            "--latency-on",
            help="Where latency and memory are measured, on this machine: cpu, onnx (onnxruntime) or cuda "
            "[default: cpu].",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            help="Trials asked for before the first is told; bounds the workers in use [default: 8]."
        ),
    ] = None,
    async_: Annotated[
        bool | None,
        typer.Option(
            "--async", help="Tell results as they come: no worker waits, and a seed isn't one sequence."
        ),
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="PROXY:SHARE",
            help="Train only this share of the candidates of like MACs, the better ones by synflow, gradient_norm, "
            "naswot, or supernet with --supernet; e.g. naswot:0.5 [default: all].",
        ),
    ] = None,
    first: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[@GMACS]",
            help="A published network that the search begins with, as wide as a budget allows; repeatable.",
        ),
    ] = None,
    supernet: Annotated[
        Path | None,
        typer.Option(
            help="What 'pixelfront supernet train' wrote, for --filter supernet:SHARE and --warm-start."
        ),
    ] = None,
    warm_start: Annotated[
        bool | None,
        typer.Option(
            "--warm-start", help="Networks start from their weights in --supernet, not random ones."
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
    widths: Widths = None,
    depths: Depths = None,
    upsamplers: Upsamplers = None,
    same_block: SameBlock = None,
    data: Data = None,
    data_lr: DataLr = None,
    val: Val = None,
    val_lr: ValLr = None,
    test: Test = None,
    test_lr: TestLr = None,
    skip_bad_images: SkipBadImages = None,
    allow_near_duplicates: AllowNearDuplicates = None,
    steps: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Training steps of a trial, or auto [default: 1000; within a --time what fits].",
            rich_help_panel=TRAIN,
        ),
    ] = None,
    batch: Batch = None,
    patch: Patch = None,
    lr: LearningRate = None,
    rungs: Annotated[
        str | None,
        typer.Option(
            metavar="N|A,B,C",
            help="How often a trial is scored and saved, or at which steps [default: 4].",
            rich_help_panel=TRAIN,
        ),
    ] = None,
    eta: Annotated[
        float | None,
        typer.Option(
            help="Early stopping: the best 1/ETA of a rung go on, by Pareto rank [default: of the strategy auto 3, at "
            "a quarter of the steps; else 1, all of them].",
            rich_help_panel=TRAIN,
        ),
    ] = None,
    inherit: Annotated[
        bool | None,
        typer.Option(
            "--inherit/--no-inherit",
            help="A new network starts from the tensors of the one most like it that was trained, if there is one "
            "[default: of the strategy auto].",
            rich_help_panel=TRAIN,
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            help="At the end, train the front's members until each has so many trainings: the front is of their means, "
            "with 95 % intervals [default: 1].",
            rich_help_panel=TRAIN,
        ),
    ] = None,
    precision: Precision = None,
    workers: NumberOfWorkers = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    threads: Threads = None,
    device: Device = None,
    ray_address: RayAddress = None,
    retries: Annotated[
        int | None, typer.Option(help="Tries again after a lost worker [default: 2].", rich_help_panel=WHERE)
    ] = None,
    hung_after: Annotated[
        str | None,
        typer.Option(
            help="A trial without progress for so long is killed and tried again [default: 30m].",
            rich_help_panel=WHERE,
        ),
    ] = None,
    log: Log = None,
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
    options, started = locals(), monotonic()  # before anything is imported: a time limit counts from here
    from search.config import load
    from search.stages.search import run_search

    found = run_search(
        load(config, _search_keys(options)),
        place=place_of(runs, db),
        study=study,
        resume=resume,
        stem=config.stem if config else None,
        console=console(),
        finish=not no_finish,
        started=started,
    )
    end_with(found, interrupted=found.study.stop == "interrupted")


@app.command(rich_help_panel="Find")
def finish(
    study: StudyName,
    time: Annotated[
        str | None,
        typer.Option(
            help="Wall time, e.g. 90s, 6m: begins none that it isn't enough for, by the seconds a step on record "
            "[default: as long as it takes].",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    trials: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...", help="These unfinished trials instead [default: the preliminary front's]."
        ),
    ] = None,
    workers: NumberOfWorkers = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    threads: Threads = None,
    device: Device = None,
    ray_address: RayAddress = None,
    set_: Settings = None,
    runs: Runs = RUNS,
    db: Db = None,
) -> None:
    """Train the best networks of a search that was cut off or too short to their end, and hand over the winner.

    They go on from where they paused, the best first. Interrupted, the same command goes on; so does `search --resume`.
    """
    from search.config import settings
    from search.stages.finish import run_finish

    found = run_finish(
        study,
        _numbers(trials),
        time=time,
        place=place_of(runs, db),
        said=given(where_it_runs(workers, cpus, gpus, threads, device, ray_address) | settings(set_ or ())),
        console=console(),
    )
    end_with(found)


def _numbers(text: str | None) -> list[int]:
    """Trials' numbers in ``3,7``.

    Raises: ValueError: for anything else.
    """
    parts = [] if text is None else text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise ValueError(f"--trials: expected numbers of trials like 3,7, got '{text}'")
    return [int(part) for part in parts]


def _search_keys(options: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration keys from the options of ``search``; None for those that weren't given."""
    from search.config import settings

    said = {key: options.get(name) for key, name in SEARCH_KEYS.items()}
    said["limits"] = options["limit"] or None
    said["ordered"] = None if options["async_"] is None else not options["async_"]
    said["space.per_position"] = None if options["same_block"] is None else not options["same_block"]
    names = ("workers", "cpus", "gpus", "threads", "device", "ray_address")
    said |= where_it_runs(**{name: options[name] for name in names})
    return said | settings(options["set_"] or ())


def plan(**options: Any) -> None:
    """Say what a search or run would do in its time: pace, memory, how many networks, when the first front is due.

    Takes the options of `search`, or a TOML file. Trains nothing beyond a few timed steps, and records nothing.
    """
    from search.config import load
    from search.planning.report import run_plan

    file, as_json = options.pop("file"), options.pop("json")
    run_plan(
        load(file or options["config"], _search_keys(options)),
        console=Console(stderr=True) if as_json else console(),
        as_json=as_json,
    )


def _as_search(command: Any) -> Any:
    """The command with the options of ``search`` that say what is trained and where."""
    left_out = {"study", "resume", "no_finish", "runs", "db", "log"}
    own = [p for p in signature(search, eval_str=True).parameters.values() if p.name not in left_out]
    kind = Parameter.POSITIONAL_OR_KEYWORD
    file = Annotated[Path | None, typer.Argument(metavar="[CONFIG.toml]", help="As for run.")]
    parameters = [
        Parameter("file", kind, default=None, annotation=file),
        *own,
        Parameter("json", kind, default=False, annotation=Json),
    ]
    command.__signature__ = Signature(parameters)
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


app.command(rich_help_panel="Find")(_as_search(plan))


@app.command(rich_help_panel="Find")
def repeat(
    study: StudyName,
    trials: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TRIAL]...",
            help="Their numbers, or 'best' [default: all of the front that the search trained].",
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            help="Trainings of each in all, the first included [default: as the study says, or 3].",
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
    """Train a front's networks again from other seeds: the front is then of means, with 95 % intervals.

    Says which neighbours can be told apart. The same command again goes on where it was cut off.
    """
    from search.config import settings
    from search.stages.repeat import run_repeat

    run_repeat(
        study,
        trials or (),
        times=repeats,
        place=place_of(runs, db),
        console=Console(stderr=True) if json else console(),
        said=given(where_it_runs(workers, cpus, gpus, threads, device, ray_address) | settings(set_ or ())),
        json=json,
    )


@app.command(rich_help_panel="Find")
def run(
    config: Annotated[Path | None, typer.Argument(help="A TOML file; with --resume the study's own.")] = None,
    study: Annotated[str | None, typer.Option(help="Name of the study [default: FILE-NUMBER].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with --study.")] = False,
    time: Annotated[
        str | None,
        typer.Option(
            help="Wall time of all stages together; of a resumed study from now.", rich_help_panel=BUDGET
        ),
    ] = None,
    workers: NumberOfWorkers = None,
    log: Log = None,
    set_: Settings = None,
    runs: Runs = RUNS,
    db: Db = None,
) -> None:
    """Search (or start from a published network), prune, distil, and hand over the winner of all of it.

    Ends with one front over all stages, its pictures, and the winner as a checked ONNX file with its lineage.
    """
    started = monotonic()
    from search.config import load, settings
    from search.stages.pipeline import run_pipeline

    found = run_pipeline(
        load(config, {"time": time, "workers.number": workers, "logging.to": log} | settings(set_ or ())),
        place=place_of(runs, db),
        study=study,
        resume=resume,
        stem=config.stem if config else None,
        console=console(),
        started=started,
    )
    end_with(found, interrupted=found.study.stop == "interrupted")


@app.command(rich_help_panel="Find")
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
    from search.stages.prune import PruneOptions, run_prune

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
        **where_it_runs(workers, cpus, gpus, threads, device, ray_address),
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
        place=place_of(runs, db),
        console=Console(stderr=True) if json else console(),
        said=given(said | settings(set_ or ())),
        study=study if baseline else study_name,
        trial=trial,
        baseline=baseline,
        weights=weights,
        json=json,
    )


@app.command(rich_help_panel="Find")
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
    from_scratch: FromScratch = False,
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
    from search.stages.distill import TrainOptions, run_distill

    run_distill(
        student,
        teacher,
        TrainOptions(recipe, steps, weight, distance, features, cache, from_scratch),
        place=place_of(runs, db),
        console=Console(stderr=True) if json else console(),
        said=given(where_it_runs(workers, cpus, gpus, threads, device, ray_address) | settings(set_ or ())),
        json=json,
    )


@app.command(rich_help_panel="Find")
def finetune(
    study: StudyName,
    trial: TrialName,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="A recipe's name or FILE.toml [default: finetune; from scratch the search's].",
            rich_help_panel=TRAIN,
        ),
    ] = None,
    steps: Steps = None,
    from_scratch: FromScratch = False,
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

    With --from-scratch its architecture is trained anew, which says what the weights that it inherited were worth. The
    result is a new trial. The same command again goes on where it was cut off.
    """
    from search.config import settings
    from search.stages.distill import TrainOptions, run_distill

    run_distill(
        f"{study}:{trial}",
        (),
        TrainOptions(recipe or (None if from_scratch else "finetune"), steps, from_scratch=from_scratch),
        place=place_of(runs, db),
        console=Console(stderr=True) if json else console(),
        said=given(where_it_runs(workers, cpus, gpus, threads, device, ray_address) | settings(set_ or ())),
        json=json,
    )

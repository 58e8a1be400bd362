"""Commands of networks without a study: profile, blocks, spaces, baselines, evaluate, downscale."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from search.commands.options import (
    DATA,
    RUNS,
    WHERE,
    Db,
    Json,
    Runs,
    app,
    console,
    open_store,
    progress_bars,
)


@app.command(rich_help_panel="Networks and data")
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
    convention: Annotated[
        str, typer.Option(help="How MACs count: exact, challenge, bias or fvcore.")
    ] = "exact",
    json: Json = False,
) -> None:
    """Print the exact cost of an architecture, part by part, without training or allocating it."""
    from search.networks.inspect import profile_json, profile_table

    if json:
        typer.echo(profile_json(architecture, task, input, convention))
    else:
        console().print(profile_table(architecture, task, input, convention))


@app.command(rich_help_panel="Networks and data")
def blocks(
    task: Annotated[str, typer.Option(help="Costs are quoted at this task's input size.")] = "sr-x4",
    widths: Annotated[str, typer.Option(help="Widths to quote costs at.")] = "16,32,64",
) -> None:
    """List what the spaces offer: blocks, upsamplers and a U-Net's resamplers with their cost per width."""
    from search.networks.inspect import blocks_table

    console().print(blocks_table(task, widths))


@app.command(rich_help_panel="Networks and data")
def spaces(
    name: Annotated[str | None, typer.Argument(help="Show the choices of this one.")] = None,
    json: Json = False,
) -> None:
    """List the named search spaces with their range of costs."""
    from search.networks.inspect import spaces_json, spaces_table

    if json:
        typer.echo(spaces_json(name))
    else:
        console().print(spaces_table(name))


@app.command(rich_help_panel="Networks and data")
def baselines(
    task: Annotated[str | None, typer.Option(help="Only those of this task.")] = None, json: Json = False
) -> None:
    """List the published networks: our costs beside the published ones."""
    from search.networks.evaluate import baseline_rows
    from search.networks.evaluation_tables import baselines_json, baselines_table

    rows = baseline_rows(task)
    if json:
        typer.echo(baselines_json(rows))
    elif rows:
        console().print(baselines_table(rows))
    else:
        typer.echo(f"no published network for {task}", err=True)


@app.command(rich_help_panel="Networks and data")
def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="FILE.onnx, FILE.safetensors, NAME=WEIGHTS or NAME of a published network ('pixelfront baselines'), "
            "FILE.json=WEIGHTS of an architecture, or STUDY:TRIAL. The outputs of several are averaged.",
        ),
    ],
    compare: Annotated[
        bool, typer.Option("--compare", help="Several side by side instead of averaged.")
    ] = False,
    challenge: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Score as ntire2024, ntire2025 or ntire2026 ranks efficient super-resolution by 4.",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The score's baseline [default: the challenge's own]."),
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
    timed_runs: Annotated[
        int, typer.Option(min=0, help="Of the runtime; 0: neither runtime nor memory.")
    ] = 10,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=WHERE)] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Torch threads [default: one a core].", rich_help_panel=WHERE)
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Write the output pictures to this folder.")] = None,
    per_image: Annotated[
        bool, typer.Option("--per-image", help="Print each image's metrics and runtime too.")
    ] = False,
    json: Json = False,
    runs: Runs = RUNS,
    db: Db = None,
) -> None:
    """Measure a network: quality beside the trivial baseline, cost, runtime and peak memory.

    Of a published network without weights the costs only.
    """
    from evaluators.inference.ensemble import TURNS
    from search.networks import challenge as challenges
    from search.networks import evaluate as evaluation
    from search.networks import evaluation_tables as tables
    from search.networks.subjects import Studies, find_subject

    if against and not challenge:
        raise ValueError("--against is the baseline of a score: give --challenge too")
    studies = Studies(lambda: open_store(runs, db), runs)
    find = partial(find_subject, task=task, studies=studies, threads=threads)
    subjects = [find([model]) for model in models] if compare else [find(models)]
    rules = challenges.find_challenge(challenge, against) if challenge else None
    reference = find([rules[1]]) if rules else None
    evaluation.check_comparable(subjects)
    where = evaluation.resolve_device(device, [*subjects, *([reference] if reference else [])])
    sets = (
        evaluation.read_sets(subjects[0].task, data or (), data_lr or (), skip_bad=skip_bad_images)
        if any(subject.networks for subject in subjects)
        else []
    )
    found = []
    with progress_bars() as (start, advance):
        for subject in subjects:
            for pairs in sets:
                start(f"{subject.name}: {pairs.name}", len(pairs))

            def done(name: str, count: int, of: str = subject.name) -> None:
                advance(f"{of}: {name}", count)

            found.append(
                evaluation.evaluate(
                    subject,
                    sets,
                    turns=TURNS if ensemble == "x8" else 1,
                    device=where,
                    threads=threads,
                    measured=timed_runs > 0,
                    size=input,
                    save=save / subject.name if save and compare else save,
                    advance=done,
                )
            )
    if timed_runs:
        found = evaluation.with_latencies(found, device=where, threads=threads, runs=timed_runs)
    ranked: list[challenges.Ranked] | list[None] = [None] * len(found)
    if rules and reference:
        ranked = challenges.rank(rules[0], found, reference, sets, device=where, threads=threads)
    if json:
        typer.echo(
            tables.comparison_json(found, ranked) if compare else tables.evaluation_json(found[0], ranked[0])
        )
    elif compare:
        console().print(tables.comparison_table(found, ranked))
    else:
        console().print(tables.evaluation_table(found[0], ranked[0], per_image=per_image))
    for warning in (w for e in found for w in e.warnings):
        typer.echo(f"warning: {warning}", err=True)


@app.command(rich_help_panel="Networks and data")
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
    from search.networks.evaluation_tables import downscaled_json, downscaled_table

    chosen = Settings(hr_iterations, lr_iterations, epsilon)
    with progress_bars() as (start, advance):
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
        console().print(downscaled_table(rows))

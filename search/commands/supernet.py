"""Commands of weight-sharing supernets: supernet train, supernet take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from search.commands.options import (
    SPACE,
    TRAIN,
    WHERE,
    AllowNearDuplicates,
    Batch,
    Data,
    DataLr,
    Depths,
    LearningRate,
    Patch,
    Precision,
    SameBlock,
    Settings,
    SkipBadImages,
    Threads,
    Upsamplers,
    Val,
    ValLr,
    Widths,
    app,
    console,
)

group = typer.Typer(no_args_is_help=True, help="Train all networks of a space in one set of weights.")
app.add_typer(group, name="supernet", rich_help_panel="Find")


@group.command()
def train(
    config: Annotated[
        Path | None, typer.Argument(help="A study's TOML file, whose space and images it is for.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write; its checkpoint is beside it meanwhile.")
    ] = Path("supernet.safetensors"),
    task: Annotated[str | None, typer.Option(help="As of search [default: sr-x4].")] = None,
    space: Annotated[
        str | None, typer.Option(help="A named space of chains [default: the task's].", rich_help_panel=SPACE)
    ] = None,
    blocks: Annotated[
        str | None, typer.Option(help="Block kinds, as of search.", rich_help_panel=SPACE)
    ] = None,
    widths: Widths = None,
    depths: Depths = None,
    upsamplers: Upsamplers = None,
    same_block: SameBlock = None,
    data: Data = None,
    data_lr: DataLr = None,
    val: Val = None,
    val_lr: ValLr = None,
    skip_bad_images: SkipBadImages = None,
    allow_near_duplicates: AllowNearDuplicates = None,
    steps: Annotated[int, typer.Option(help="Of its training.", rich_help_panel=TRAIN)] = 4000,
    random: Annotated[
        int | None,
        typer.Option(
            help="Random networks a step, beside the largest and the smallest [default: 2].",
            rich_help_panel=TRAIN,
        ),
    ] = None,
    batch: Batch = None,
    patch: Patch = None,
    lr: LearningRate = None,
    precision: Precision = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, batches and networks [default: 0].")] = None,
    threads: Threads = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=WHERE)] = "auto",
    set_: Settings = None,
) -> None:
    """Train all networks of a space of chains at once, on a study's images, into one file.

    'pixelfront search --filter supernet:SHARE --supernet FILE' then scores networks before it trains them. The same
    command again goes on where it was cut off.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from search.config import load, settings
    from search.supernet import train_supernet

    flags: dict[str, Any] = {
        "task": task,
        "seed": seed,
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
        "data.skip_bad_images": skip_bad_images,
        "data.allow_near_duplicates": allow_near_duplicates,
        "training.batch": batch,
        "training.patch": patch,
        "training.learning_rate": lr,
        "training.precision": precision,
        "workers.threads": threads,
    }
    screen = console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
    )
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bars:
        bar = bars.add_task("training", total=steps, loss=float("nan"))
        found = train_supernet(
            load(config, flags | settings(set_ or ())),
            output,
            steps=steps,
            device=device,
            random=random,
            console=screen,
            moved=lambda step, loss: bars.update(bar, completed=step, loss=loss),
        )
    if found.file is None:
        typer.echo(f"Interrupted at step {found.step} of {found.steps}; the same command goes on.")
    else:
        typer.echo(f"{found.file}: {found.steps} steps; give it to search as --supernet, to 'supernet take'")


@group.command()
def take(
    file: Annotated[Path, typer.Argument(help="What 'pixelfront supernet train' wrote.")],
    architecture: Annotated[
        str, typer.Argument(help="A file with an architecture's JSON, as exports have beside them.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .safetensors file to write.")],
) -> None:
    """Take one network out of a supernet: a file that evaluate, apply and distill accept."""
    from search.supernet import take

    found, path = take(file, architecture, output)
    typer.echo(f"{path}: {found.label}")

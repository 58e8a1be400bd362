"""Commands that take a network away, or to pictures: export, apply."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from search.commands.options import (
    INT8,
    OPTUNA,
    RUNS,
    WHERE,
    Db,
    Runs,
    StudyName,
    app,
    open_store,
    progress_bars,
    trial_of,
)

TILES = "Tiles"


@app.command(rich_help_panel="Take away")
def export(
    study: StudyName,
    trial: Annotated[
        str | None, typer.Argument(help="Its number, or 'best': the highest quality within the budget.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write.")] = None,
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
    to_optuna: Annotated[
        str | None,
        typer.Option(
            "--to-optuna",
            metavar="URL",
            help="Write the whole study to an Optuna storage instead: sqlite:///FILE, another database's URL, or "
            "journal:FILE, which is faster.",
            rich_help_panel=OPTUNA,
        ),
    ] = None,
    preliminary: Annotated[
        bool,
        typer.Option(
            "--preliminary",
            help="A network that isn't trained to the end, as it was at its last rung; 'best' is then the preliminary "
            "front's.",
        ),
    ] = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Over a study of that name in the storage.", rich_help_panel=OPTUNA),
    ] = False,
    runs: Runs = RUNS,
    db: Db = None,
) -> None:
    """Write a trial's network to a file, checked against PyTorch, or the study to an Optuna storage.

    Beside `m.onnx` come its model card, `m.onnx.md`, and its architecture, `m.json`, which **profile** reads.
    With --int8 `m.onnx` is the INT8 file, and its card has quality, size and latency before and after.
    With --to-optuna all ended trials go where optuna-dashboard opens them; TRIAL and -o are left out.
    """
    if to_optuna is not None:
        if trial is not None or output is not None:
            raise ValueError("--to-optuna writes the whole study: leave TRIAL and --output out")
        _export_to_optuna(study, to_optuna, replace, runs, db)
        return
    if trial is None or output is None:
        raise ValueError("expected a TRIAL and --output FILE, or --to-optuna URL for the whole study")
    if replace:
        raise ValueError("--replace is for --to-optuna: a file is replaced anyway")
    from evaluators.tasks import get_task
    from results.export.files import format_of
    from results.export.trial import export_trial

    if max_drop is not None and not int8:
        raise ValueError("--max-drop is the loss that INT8 may cost: give --int8 too")
    form = format or format_of(output)
    if int8 and preliminary:
        raise ValueError("--int8 needs a network that is trained to the end: leave it or --preliminary out")
    if int8 and form != "onnx":
        raise ValueError(f"--int8 writes an ONNX file, got {form}: name it .onnx, or leave --int8 out")
    with open_store(runs, db) as store:
        record = store.study(study)
        folder = runs.resolve() / record.name
        if preliminary:
            from search.stages.early_export import export_early, find_early

            early, task = find_early(store, record, trial), get_task(record.task).interface
            _say_exported(*export_early(store, record, early, task, output, form, folder=folder))
            return
        chosen = trial_of(store, record, trial)
        if int8:
            _export_int8(store, record, chosen, output, max_drop, calibration_patches, folder)
            return
        task = get_task(record.task).interface
        exported, card = export_trial(store, record, chosen, task, output, form, folder=folder)
    _say_exported(exported, card)


def _say_exported(exported: Any, card: Path) -> None:
    sizes = ", ".join(f"{h}x{w}" for h, w in exported.sizes)
    typer.echo(
        f"{exported.path}: {exported.bytes:,} bytes, at most {exported.max_error:.1g} from PyTorch at {sizes}"
    )
    typer.echo(f"{card}: model card")


def _export_to_optuna(study: str, url: str, replace: bool, runs: Path, db: str | None) -> None:
    from search.trackers.optuna_export import export_to_optuna

    with open_store(runs, db) as store, progress_bars() as (start, advance):
        done = export_to_optuna(
            store,
            study,
            url,
            replace=replace,
            started=lambda total: start(study, total),
            advanced=lambda count: advance(study, count),
        )
    left = f"; {done.open} that haven't ended are left out" if done.open else ""
    shown = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)  # without the password
    typer.echo(f"{shown}: study '{done.name}', {done.trials} trials{left}")


def _export_int8(
    store: Any, study: Any, trial: Any, output: Path, max_drop: float | None, patches: int, folder: Path
) -> None:
    from results.export.quantisation import check_request
    from search.stages.int8 import export_int8, study_data

    check_request(max_drop, patches)
    data, test = study_data(study)
    made = export_int8(
        store, study, trial, data, test, output, max_drop=max_drop, patches=patches, folder=folder
    )
    for line in made.lines:
        typer.echo(line)


@app.command(rich_help_panel="Take away")
def apply(
    model: Annotated[
        str,
        typer.Argument(
            help="FILE.onnx, FILE.safetensors, NAME=WEIGHTS of a published network, FILE.json=WEIGHTS of an "
            "architecture, or STUDY:TRIAL."
        ),
    ],
    inputs: Annotated[
        list[str], typer.Argument(help="Pictures, folders (with their sub-folders) or patterns.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the restored pictures.")],
    also: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="MODEL", help="Average with this model's output too; repeatable."),
    ] = None,
    ensemble: Annotated[
        Literal["none", "x8"], typer.Option(help="x8 averages 8 flips and rotations of each picture.")
    ] = "none",
    format: Annotated[
        Literal["png", "tiff", "webp", "jpeg"],
        typer.Option(help="Of the outputs; all but jpeg lose nothing."),
    ] = "png",
    tile: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Side of what a network gets at a time, in pixels; 0: the whole picture [default: the whole picture "
            "if it fits into half of the free memory].",
            rich_help_panel=TILES,
        ),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            min=0, help="Pixels around a tile [default: as far as the network looks].", rich_help_panel=TILES
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Tile in one pass a network that looks at the whole picture; the result differs.",
            rich_help_panel=TILES,
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out pictures whose output is there.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that are there.")] = False,
    task: Annotated[
        str | None, typer.Option(help="What a model is for that doesn't say so, such as a foreign ONNX file.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=WHERE)] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Torch threads [default: one a core].", rich_help_panel=WHERE)
    ] = None,
    runs: Runs = RUNS,
    db: Db = None,
) -> None:
    """Restore pictures: each is run through the network, in tiles if it is large, and written to a folder.

    Bit depth, greyscale, alpha, colour profile, EXIF and resolution are kept. Tiles give what the whole picture gives.
    """
    from evaluators.inference.ensemble import TURNS
    from search.networks.apply import Settings, restore_all
    from search.networks.evaluate import resolve_device
    from search.networks.subjects import Studies

    if resume and overwrite:
        raise ValueError("expected one of --resume and --overwrite, got both")
    failed = restore_all(
        [model, *(also or ())],
        inputs,
        output,
        Settings(format, TURNS if ensemble == "x8" else 1, tile, overlap, quick, resolve_device(device)),
        replace="skip" if resume else "overwrite" if overwrite else "",
        task=task,
        threads=threads,
        studies=Studies(lambda: open_store(runs, db), runs),
    )
    if failed:
        raise typer.Exit(1)

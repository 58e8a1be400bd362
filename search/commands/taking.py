"""Commands that take a network away: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from search.commands.options import (
    INT8,
    RUNS,
    Db,
    Runs,
    StudyName,
    TrialName,
    app,
    open_store,
    trial_of,
)


@app.command(rich_help_panel="Take away")
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
    with open_store(runs, db) as store:
        record = store.study(study)
        chosen = trial_of(store, record, trial)
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

"""Commands that read a study: front, studies, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.commands.options import (
    RUNS,
    Db,
    Runs,
    StudyName,
    TrialName,
    app,
    console,
    open_store,
    trial_of,
)


@app.command(rich_help_panel="Look")
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
    with open_store(runs, db) as store:
        found = overview.overview(store, study)
    if json:
        typer.echo(overview.as_json(found))
    elif csv:
        typer.echo(tables.front_csv(found), nl=False)
    else:
        console().print(tables.front_table(found))
    if plot:
        from results.figures import save_front_figure

        if not found.front.members:
            raise ValueError(f"study '{study}' has no complete trial yet, so there is nothing to plot")
        typer.echo(save_front_figure(found, plot), err=True)


@app.command(rich_help_panel="Look")
def studies(runs: Runs = RUNS, db: Db = None) -> None:
    """List all studies."""
    from results.tables import studies_table

    with open_store(runs, db) as store:
        console().print(studies_table(store.studies()))


@app.command(rich_help_panel="Look")
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

    with open_store(runs, db) as store:
        record = store.study(study)
        found = trial_of(store, record, trial)
        rungs, artifacts = store.rungs(record.id, trial_id=found.id), store.artifacts(found.id)
        lineage, children = store.lineage(found.id), store.children(found.id)
    console().print(trial_view(record, lineage, rungs, artifacts, children))
    if plot:
        from results.figures import save_curve_figure

        typer.echo(save_curve_figure(record, found, rungs, plot), err=True)

"""Commands that read a study: front, studies, show, report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from search.commands.options import (
    RUNS,
    Db,
    Json,
    Runs,
    StudyName,
    TrialName,
    app,
    console,
    open_store,
    place_of,
    progress_bars,
    trial_of,
)


@app.command(rich_help_panel="Look")
def front(
    study: StudyName,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV to standard output.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write a figure (png, pdf or svg).")] = None,
    preliminary: Annotated[
        bool,
        typer.Option("--preliminary", help="Also of networks that aren't trained to the end, at one rung."),
    ] = False,
    runs: Runs = RUNS,
    db: Db = None,
) -> None:
    """Print a study's Pareto front.

    Where no network is trained to the end yet, the preliminary front, and what gives a front; the exit code is then 1.
    With --preliminary --csv or --plot the preliminary front alone.
    """
    from results.analysis import overview
    from results.analysis.preliminary import preliminary as preliminary_front
    from results.analysis.preliminary import why_no_front
    from results.render import tables

    if json and csv:
        raise ValueError("expected one of --json and --csv, got both: they share standard output")
    with open_store(runs, db) as store:
        found = overview.overview(store, study)
        wanted = preliminary or not found.front.members
        early = preliminary_front(store, found) if wanted else None
    there = bool(found.front.members or (preliminary and early is not None and early.members))
    if json:
        typer.echo(overview.as_json(found, early.record if early else None))
    elif csv:
        typer.echo(tables.front_csv(found, early), nl=False)
    else:
        console().print(tables.front_table(found, early))
    if plot and there:
        from results.render.figures import save_front_figure, save_preliminary_figure

        made = save_preliminary_figure(early, plot) if early else save_front_figure(found, plot)
        typer.echo(made, err=True)
    if not there:
        if json or csv:
            raise overview.NoResultError(why_no_front(found, early))
        raise typer.Exit(1)


@app.command(rich_help_panel="Look")
def studies(runs: Runs = RUNS, db: Db = None) -> None:
    """List all studies."""
    from results.render.tables import studies_table

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
    from results.render.tables import trial_view

    with open_store(runs, db) as store:
        record = store.study(study)
        found = trial_of(store, record, trial)
        rungs, artifacts = store.rungs(record.id, trial_id=found.id), store.artifacts(found.id)
        lineage, children = store.lineage(found.id), store.children(found.id)
    console().print(trial_view(record, lineage, rungs, artifacts, children))
    if plot:
        from results.render.figures import save_curve_figure

        typer.echo(save_curve_figure(record, found, rungs, plot), err=True)


@app.command(rich_help_panel="Look")
def correlate(
    study: StudyName,
    json: Json = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write the matrix as a heat map (png, pdf or svg).")
    ] = None,
    proxies: Annotated[
        bool, typer.Option("--proxies", help="Measure zero-cost proxies of its networks too.")
    ] = False,
    latency: Annotated[
        bool,
        typer.Option(
            "--latency", help="Measure latency and peak memory of its networks where missing, for the record."
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="Of --latency: auto, cpu (one thread) or cuda.")] = "cpu",
    runs: Runs = RUNS,
    db: Db = None,
) -> None:
    """Print rank correlations of costs, runtimes, proxies and quality, and of early rungs with the last.

    Of the search's complete trials, which are trained alike.
    """
    from results.analysis import correlation
    from results.render import correlation_tables

    with open_store(runs, db) as store:
        record = store.study(study)
        correlation.analyse(store, study)  # refuses before anything is measured
        measured: Any = ()
        with progress_bars() as (start, advance):
            if latency:
                from search.correlate import record_runtimes

                record_runtimes(store, record, place_of(runs, db), device, _bar(start, advance, "latency"))
            if proxies:
                from search.correlate import study_proxies

                folder = place_of(runs, db).folder(study)
                measured = study_proxies(store, record, folder, _bar(start, advance, "proxies"))
        found = correlation.analyse(store, study, measured)
    if json:
        typer.echo(correlation_tables.as_json(found))
    else:
        console().print(correlation_tables.analysis_table(found))
    if plot:
        from results.render.heat_map import save_heat_map

        typer.echo(save_heat_map(found, plot), err=True)


def _bar(
    start: Callable[[str, int], None], advance: Callable[[str, int], None], name: str
) -> Callable[[int], Callable[[int], None]]:
    """What begins a progress bar of that name, and gives what moves it."""

    def begin(total: int) -> Callable[[int], None]:
        start(name, total)
        return partial(advance, name)

    return begin


@app.command(rich_help_panel="Look")
def report(
    study: StudyName,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write [default: STUDY.html]; - prints it."),
    ] = None,
    format: Annotated[
        Literal["html", "md", "csv", "json"] | None,
        typer.Option(help="[default: by the file's suffix] csv is a row a trial, json is everything."),
    ] = None,
    runs: Runs = RUNS,
    db: Db = None,
) -> None:
    """Write what a study found as one document: figures, front, lineage, failures, protocols, commands.

    The HTML is one file without scripts, to read, mail or print.
    """
    from results.render.report import form_of, render

    printed = output is not None and str(output) == "-"
    path = output or Path(f"{study.replace('/', '_')}.{format or 'html'}")
    form = format or ("md" if printed else form_of(path))
    with open_store(runs, db) as store:
        text = render(store, study, form)
    if printed:
        typer.echo(text, nl=False)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    typer.echo(f"{path}: {len(text.encode()):,} bytes")


@app.command(rich_help_panel="Look")
def dashboard(
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; beyond this machine, what makes it work needs a token."),
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="[default: 8080, or the next that is free]")
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    runs: Runs = RUNS,
    db: Db = None,
) -> None:
    """Show studies in a browser, live; the store is only read."""
    from results.dashboard import serving
    from results.dashboard.app import create_app
    from results.dashboard.security import Settings, token_for
    from search.dashboard.worker import WorkerServices

    with open_store(runs, db, read_only=True) as store:
        bound = serving.listen(host, 8080 if port is None else port, others=port is None)
        token = token_for(host)
        settings = Settings(host=host, port=bound.getsockname()[1], token=token)
        services = WorkerServices()
        made = create_app(store, runs=runs, services=services, settings=settings)
        url = serving.address(bound, host, token)

        def started() -> None:
            typer.echo(f"{store.place}\n{url}   (Ctrl-C ends it)")
            if open_page:
                serving.open_browser(url)

        def ending() -> None:
            made.state.live.close()
            services.close()  # a job that runs is refused, so that nobody waits for it

        serving.serve(made, bound, started=started, ending=ending)

"""Commands of public image sets: data list, data get."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from search.commands.options import (
    Json,
    app,
    console,
)

data_app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
app.add_typer(
    data_app, name="data", help="List public image sets and get them.", rich_help_panel="Networks and data"
)


@data_app.command("list")
def data_list(json: Json = False) -> None:
    """List public image sets: those that can be got, and where to get the others by hand."""
    from search.public_data import sets_json, sets_table

    if json:
        typer.echo(sets_json())
    else:
        console().print(sets_table())


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

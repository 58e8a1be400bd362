"""The command line. Each command imports what it needs, so that reading results starts without torch."""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from search.commands.options import app

for group in (
    "searching",
    "supernet",
    "looking",
    "taking",
    "measuring",
    "data",
):  # importing registers, in this order
    import_module(f"search.commands.{group}")


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


def main() -> None:
    """Entry point: what can't be done is one message on standard error.

    Exit code 2 for usage errors and bad input, 1 where what was asked for isn't there (docs/exit-codes.md).
    """
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
        sys.exit(_code(error))


def _code(error: Exception) -> int:
    from results.analysis.overview import NoResultError

    return 1 if isinstance(error, NoResultError) else 2


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

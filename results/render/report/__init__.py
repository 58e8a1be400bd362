"""A study as one document: HTML to read and print, Markdown to paste, CSV of all trials, JSON of everything.

Needs no torch. The HTML is one file without scripts: figures are inline SVG, everything from the store is escaped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined

from results.analysis.overview import Overview, overview, spread_text
from results.render.report.drawings import drawings
from results.render.report.record import count, of_study, of_trials
from results.render.report.table import trials_csv
from results.store.schema import Rung
from results.store.store import Store

Form = Literal["html", "md", "csv", "json"]
FORMS: tuple[Form, ...] = get_args(Form)


def form_of(path: Path) -> Form:
    """The form that a file's suffix names.

    Raises: ValueError: for another suffix.
    """
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in FORMS:
        raise ValueError(
            f"expected a report named .{', .'.join(FORMS)}, got '{path.name}': name it so, or give --format"
        )
    return suffix


def render(store: Store, name: str, form: Form) -> str:
    """The study's report.

    Raises: UnknownStudy: if there is none of that name.
    """
    found = overview(store, name)
    return _RENDERERS[form](store, found, store.rungs(found.study.id))


def _html(store: Store, found: Overview, rungs: tuple[Rung, ...]) -> str:
    record = of_study(store, found, rungs)
    return _templates(True).get_template("report.html").render(record, figures=drawings(found, rungs, record))


def _markdown(store: Store, found: Overview, rungs: tuple[Rung, ...]) -> str:
    return _templates(False).get_template("report.md").render(of_study(store, found, rungs))


def _json(store: Store, found: Overview, rungs: tuple[Rung, ...]) -> str:
    record = of_study(store, found, rungs) | {"trials": of_trials(found, rungs)}
    return orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _csv(store: Store, found: Overview, rungs: tuple[Rung, ...]) -> str:
    return trials_csv(found, rungs)


_RENDERERS: dict[Form, Callable[[Store, Overview, tuple[Rung, ...]], str]] = {
    "html": _html,
    "md": _markdown,
    "csv": _csv,
    "json": _json,
}


@cache
def _templates(escape: bool) -> Environment:
    made = Environment(
        loader=PackageLoader("results.render.report", "templates"),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": _number,
        "plain": _plain,
        "cell": _cell,
        "code": _code,
        "clock": _clock,
        "count": count,
        "date": _date,
        "spread": spread_text,
    }
    return made


def _number(value: float | None, digits: int = 3, sign: str = "", unit: float = 1.0) -> str:
    """With a comma per thousand; empty for what wasn't measured."""
    return "" if value is None else f"{value / unit:{sign},.{digits}f}"


def _plain(value: Any) -> str:
    """A value of a configuration as one reads it."""
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(said)}" for key, said in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _clock(seconds: float) -> str:
    """``1 h 02 min``, ``3 min 20 s`` or ``12.5 s``."""
    minutes, rest = divmod(seconds, 60)
    if minutes < 1:
        return f"{seconds:.1f} s"
    if minutes < 60:
        return f"{minutes:.0f} min {rest:02.0f} s"
    return f"{minutes // 60:,.0f} h {minutes % 60:02.0f} min"


def _date(time: str) -> str:
    """An ISO time in UTC as one reads it, to the minute."""
    return f"{time[:10]} {time[11:16]} UTC"


def _cell(value: Any) -> str:
    """Text in a Markdown table, where nothing of it is markup."""
    text = " ".join(str(value).split())
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, "\\" + sign)
    return text


def _code(text: str) -> str:
    """A fenced block that its content can't end."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text.rstrip()}\n{fence}"

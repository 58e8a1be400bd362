"""The report's figures as inline SVG whose colours are the page's variables, so that they follow its light or dark."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from markupsafe import Markup

from results.analysis.overview import Overview
from results.analysis.preliminary import preliminary_of
from results.render.figures import save_front_figure, save_preliminary_figure
from results.render.plots import BASELINE, BUDGET, COLOURS, FAINT, FRONT, INK, plot_curves, plot_growth
from results.store.schema import Rung

CURVES = 8  # of front members; more lines than colours can't be told apart
HOUR = 3600.0
VARIABLES = {
    "#ffffff": "var(--paper)",
    FRONT.lower(): "var(--ink)",
    INK.lower(): "var(--ink)",
    BASELINE.lower(): "var(--faint)",
    FAINT.lower(): "var(--faint)",
    "#e4e4e4": "var(--grid)",
    BUDGET.lower(): "var(--limit)",
    **{colour.lower(): f"var(--kind{index})" for index, colour in enumerate(COLOURS)},
}


def drawings(found: Overview, rungs: Sequence[Rung], record: Mapping[str, Any]) -> dict[str, Markup]:
    """``front``, ``curves`` and ``growth``, or ``preliminary``; empty where there is nothing to draw."""
    made = dict.fromkeys(("front", "preliminary", "curves", "growth"), Markup())
    if not found.front.members:
        early = preliminary_of(found, rungs)
        if early is not None and early.members:
            made["preliminary"] = _svg(lambda path: save_preliminary_figure(early, path), "preliminary")
        return made
    made["front"] = _svg(lambda path: save_front_figure(found, path), "front")
    if curves := _curves(found, rungs):
        name, protocol = found.study.data["objective"]
        title, unit = "Learning curves of front members", record["objective"]["unit"]
        made["curves"] = _svg(
            lambda path: plot_curves(
                path, curves, title=title, y_label=f"{name} [{unit}]", protocol=f"{name}: {protocol}"
            ),
            "curves",
        )
    if record["history"]["by_seconds"] and record["hypervolume"]["value"]:
        made["growth"] = _svg(lambda path: _growth(path, record), "growth")
    return made


def _curves(found: Overview, rungs: Sequence[Rung]) -> dict[str, list[tuple[float, float]]]:
    """Of members spread over the front, the best among them."""
    key = tuple(found.study.data["objective"])
    scored: dict[int, list[tuple[float, float]]] = {}
    for rung in rungs:
        for each in rung.measurements:
            if each.key == key:
                scored.setdefault(rung.trial_id, []).append((rung.step, each.value))
    members = [trial for trial in found.members if trial.id in scored]
    stride = max(1, -(-len(members) // CURVES))
    return {f"trial {trial.number}": scored[trial.id] for trial in members[::-1][::stride][::-1]}


def _growth(path: Path, record: Mapping[str, Any]) -> Path:
    by_seconds, volume = record["history"]["by_seconds"], record["hypervolume"]
    long = by_seconds[-1][0] >= HOUR
    unit = HOUR if long else 60.0
    panels = {
        f"{'hours' if long else 'minutes'} since the study began": [(x / unit, y) for x, y in by_seconds],
        "training steps of all trials": record["history"]["by_steps"],
    }
    corner = volume["reference"]
    subtitle = f"from ({corner['gmacs']:.4g} GMACs, {corner['quality']:.3f}): {corner['meaning']}"
    return plot_growth(
        path, panels, title="Growth of the hypervolume", y_label=volume["unit"], subtitle=subtitle
    )


def _svg(draw: Callable[[Path], Path], prefix: str) -> Markup:
    with TemporaryDirectory() as folder:
        text = draw(Path(folder) / "figure.svg").read_text()
    return Markup(_inline(text, prefix))  # matplotlib escapes what it writes


def _inline(text: str, prefix: str) -> str:
    """An SVG file's text as an element of a page: no prolog, size or metadata, ids of its own, the page's colours."""
    text = text[text.index("<svg ") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", text, count=1)
    used = list(dict.fromkeys(re.findall(r'(?:href="|url\()#([^")]+)', text)))
    names = {old: f"{prefix}{index}" for index, old in enumerate(used)}
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{names[m[1]]}"' if m[1] in names else "", text)
    text = re.sub(r'(href="|url\()#([^")]+)', lambda m: f"{m[1]}#{names[m[2]]}", text)
    text = re.sub(r"#[0-9a-f]{6}\b", lambda m: VARIABLES.get(m[0], m[0]), text)
    return re.sub(r">\s+<", "><", text.strip())

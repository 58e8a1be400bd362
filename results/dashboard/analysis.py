"""Which choices matter: what trials with a choice score above others that cost the same.

Quality depends on cost more than on anything else, so a quadratic in the logarithm of the cost is fitted to all
searched trials first; what a choice is worth is the mean of the residuals of the trials that have it less that of the
others, with Welch's 95 % interval. These are associations among what a strategy chose to try, not effects of an
experiment: choices that are always taken together share theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.analysis.estimates import difference
from results.dashboard import fronts
from results.dashboard.columns import STAGES, Column, Snapshot
from results.dashboard.features import Features, unchecked
from results.dashboard.views import Axes, Opened

FEW = 5  # trials with a choice, or without it, below which an interval says nothing
MOST_VALUES = 8  # of a number, before neighbours are taken together
MOST_TRIALS = 20_000  # evenly taken of more: intervals are narrow by then
MOST_ROWS = 2000  # of the parallel coordinates
OWN = ("width", "depth", "upsampler")  # told by features


def space(opened: Opened) -> dict[str, Any]:
    """What each choice is worth at equal cost, and the trials as rows over the choices."""
    snapshot, features = opened.columns.features()
    axes = Axes(opened.study, snapshot)
    cost, quality = axes.cost, axes.objective
    x, y = fronts.means(snapshot, cost), fronts.means(snapshot, quality)
    searched = snapshot.stage == STAGES.index("search")
    measured = np.flatnonzero(snapshot.complete & searched & np.isfinite(x) & np.isfinite(y) & (x > 0))
    numbers = measured[np.linspace(0, len(measured) - 1, min(len(measured), MOST_TRIALS)).astype(int)]
    residuals, fit = _residuals(x[numbers], y[numbers], quality)
    choices = _choices(opened, features, numbers)
    front = fronts.front(opened.study, snapshot, cost, quality, searched).numbers
    return {
        "axes": {"y": quality.key, "at_equal": cost.key},
        "fit": fit,
        "effects": _effects(residuals, features, choices, numbers, quality.unit) if len(numbers) else [],
        "parallel": _parallel(snapshot, axes, choices, numbers, front),
    }


def _residuals(
    costs: NDArray[np.float64], qualities: NDArray[np.float64], quality: Column
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """What is left of the qualities after the fit, better being positive; and the fit in words."""
    logs = np.log10(costs)
    degree = min(2, max(0, len(np.unique(logs)) - 2))  # with fewer costs it would go through every point
    if degree == 0:
        fitted = np.full_like(qualities, qualities.mean() if len(qualities) else 0.0)
    else:
        fitted = np.polynomial.Polynomial.fit(logs, qualities, degree)(logs)
    residuals = qualities - fitted
    total = float(((qualities - qualities.mean()) ** 2).sum()) if len(qualities) else 0.0
    shape = ("their mean", "a line in log cost", "a quadratic in log cost")[degree]
    text = f"{quality.label} of {len(costs)} searched trials less {shape}, by least squares"
    r2 = 1 - float((residuals**2).sum()) / total if total > 0 else None
    signed = residuals if quality.direction == "max" else -residuals
    return signed, {"text": text, "r2": r2, "n": len(costs)}


def _choices(opened: Opened, features: Features, numbers: NDArray[np.int64]) -> dict[str, list[Any]]:
    """Each choice's values, one a trial; those that never vary are left out."""
    found: dict[str, list[Any]] = {
        "depth": [features.depth[n] for n in numbers],
        "width": [features.width[n] for n in numbers],
        "upsampler": [_name(features.upsamplers, features.upsampler[n]) for n in numbers],
    }
    wanted = set(numbers.tolist())
    rows = opened.store.changed_architectures(opened.study.id).rows
    networks = [unchecked(text) for number, _, text in rows if number in wanted]
    names = {each.name for network in networks[:1] for each in fields(network)} - set(OWN)
    for name in sorted(names):
        values = [getattr(network, name, None) for network in networks]
        if all(isinstance(value, str | bool | int | None) for value in values):
            found[name] = values
    main = [_main_kind(network) for network in networks]
    return {"main block": main} | {name: values for name, values in found.items() if len(set(values)) > 1}


def _name(names: Sequence[str], index: int | None) -> str | None:
    return None if index is None else names[index]


def _main_kind(network: Any) -> str:
    levels = [network.blocks] if hasattr(network, "blocks") else [*network.encoder, *network.decoder]
    return Counter(block.kind for block in chain(*levels)).most_common(1)[0][0]


def _effects(
    residuals: NDArray[np.float64],
    features: Features,
    choices: Mapping[str, list[Any]],
    numbers: NDArray[np.int64],
    unit: str,
) -> list[dict[str, Any]]:
    """Of every value of every choice; a block kind counts as chosen where any block is of it."""
    uses = [features.uses[n] for n in numbers]
    marks = [
        ("block", kind, np.array([index in used for used in uses]))
        for index, kind in enumerate(features.kinds)
    ]
    for choice, values in choices.items():
        if choice != "main block":
            marks += [(choice, shown, mark) for shown, mark in _levels(values)]
    return [
        _effect(residuals, choice, value, mark, unit)
        for choice, value, mark in marks
        if 0 < mark.sum() < len(mark)
    ]


def _levels(values: list[Any]) -> list[tuple[str, NDArray[np.bool_]]]:
    """(value, where it is); many numbers in ranges of about as many trials each."""
    known = sorted({value for value in values if value is not None}, key=lambda each: (str(type(each)), each))
    numeric = all(type(value) is int for value in known)
    if not numeric or len(known) <= MOST_VALUES:
        return [(_shown(each), np.array([value == each for value in values])) for each in known]
    column = np.array(values, dtype=float)
    edges = np.unique(np.quantile(column, np.linspace(0, 1, MOST_VALUES + 1), method="nearest"))
    made = []
    for low, high in pairwise(edges):
        mark = (column >= low) & ((column < high) | (high == edges[-1]))
        made.append((f"{column[mark].min():g} to {column[mark].max():g}", mark))
    return made


def _shown(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _effect(
    residuals: NDArray[np.float64], choice: str, value: str, mark: NDArray[np.bool_], unit: str
) -> dict[str, Any]:
    effect, low, high = difference(residuals[mark], residuals[~mark])
    n = int(mark.sum())
    few = min(n, len(mark) - n) < FEW
    return {
        "choice": choice,
        "value": value,
        "n": n,
        "effect": effect,
        "low": low,
        "high": high,
        "unit": unit,
        "note": f"only {n} of {len(mark)} trials: too few to tell" if few else None,
    }


def _parallel(
    snapshot: Snapshot,
    axes: Axes,
    choices: Mapping[str, list[Any]],
    numbers: NDArray[np.int64],
    front: NDArray[np.int64],
) -> dict[str, Any]:
    """Rows over the choices, costs and quality; of many trials the front's and evenly taken others."""
    at = np.arange(len(numbers))
    if len(numbers) > MOST_ROWS:
        members = np.isin(numbers, front)
        others = at[~members]
        places = np.linspace(0, len(others) - 1, max(0, MOST_ROWS - int(members.sum()))).astype(int)
        at = np.sort(np.concatenate([at[members][:MOST_ROWS], others[places]]))
    shown = [axes.cost, axes.objective]
    rows: list[list[Any]] = [[values[i] for i in at] for values in choices.values()]
    rows += [(fronts.values(snapshot, column)[numbers[at]] / column.scale).tolist() for column in shown]
    dimensions = [_dimension(name, values) for name, values in choices.items()]
    dimensions += [{"name": column.key, "kind": "value", "unit": column.unit} for column in shown]
    return {
        "dimensions": dimensions,
        "rows": [
            [_shown(value) if isinstance(value, bool) else value for value in row]
            for row in zip(*rows, strict=True)
        ],
        "numbers": numbers[at],
        "left_out": len(numbers) - len(at),
    }


def _dimension(name: str, values: list[Any]) -> dict[str, Any]:
    if all(type(value) is int for value in values):
        return {"name": name, "kind": "value", "unit": ""}
    known = sorted({_shown(value) for value in values if value is not None})
    return {"name": name, "kind": "category", "values": known}

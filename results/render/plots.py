"""Figures of fronts and learning curves as PNG (or by suffix PDF, SVG).

Drawn on figures of their own, never through pyplot, so that servers and threads may call this;
the look is set on the axes, for rcParams are global even in a context manager.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from math import inf
from pathlib import Path
from textwrap import shorten
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from results.analysis.front import Front, Objective, Point, Reference

# Okabe and Ito (2008): told apart with every common colour vision.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D1F", "#6A51A3")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
STAGES = {"published": "D", "search": "o", "prune": "v", "finetune": "s", "distil": "*"}
OTHER_KINDS = "other kinds"
FRONT, BASELINE, BUDGET, INK, FAINT = "#1A1A1A", "#7A7A7A", "#B2182B", "#333333", "#6B6B6B"
LOG_SPAN = 20.0
OUTLIER_SPAN = 3.0  # times the distance of the best from the median or the trivial baseline
PRUNED_SPAN = 0.2  # times that of all others: what is shown below them of networks just pruned
MANY = 2000
LEFT = 0.085


def plot_front(
    path: str | Path,
    points: Sequence[Point],
    front: Front,
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_unit: float = 1.0,
    baseline: tuple[str, float] | None = None,
    floor: tuple[str, float] | None = None,
    budget: float | None = None,
    labels: Sequence[str] | None = None,
    stages: Sequence[str] | None = None,
    parents: Mapping[int, int] | None = None,
    intervals: Mapping[int, tuple[float, float]] | None = None,
) -> Path:
    """Draws all trials, the front as a step line, budget and baseline; 1200x800 pixels.

    Marks tell the stages and colours the kinds; what is off the front is faint. Arrows lead from the ancestors of the
    front's members to them.

    The subtitle states the quality's protocol, the caption the cost's, the reference point and the
    hypervolume. The cost axis is logarithmic where costs span more than 20x.

    Args:
        x_unit: Cost units per unit of the x axis: 1e9 shows MACs as GMACs. ``budget`` is in cost units.
        baseline, floor: (label, quality); the floor is what the best has to reach.
        labels: One per point, e.g. its block kind; they choose colours.
        stages: One per point; without them all are of one stage.
        parents: A point's id to that of the point it was made from.
        intervals: A member's id to low and high of its quality's 95 % interval.

    Returns: The path, whose folder is created.
    Raises: ValueError: if points and labels, or points and stages, differ in number.
    """
    for name, said in (("label", labels), ("stage", stages)):
        if said is not None and len(said) != len(points):
            raise ValueError(f"expected one {name} per point, got {len(said)} for {len(points)}")
    stages, kinds = stages or ["search"] * len(points), labels or ["trials"] * len(points)
    lowest = _lowest(points, stages, baseline)
    figure, axes = _figure(x_label, y_label, bottom=0.175)
    _draw_points(axes, points, front, kinds, stages, x_unit)
    _draw_front(axes, front, points, x_unit)
    _draw_intervals(axes, front, intervals or {}, x_unit)
    _scale(axes, points, budget, x_unit)
    _focus(axes, points, lowest, floor, x_unit)
    shown = {point: stage for point, stage in zip(points, stages, strict=True) if point.quality >= lowest}
    _draw_descent(axes, list(shown), front, parents or {}, x_unit)
    _draw_lines(axes, baseline, floor, budget, x_unit)
    if len(set(shown.values())) > 1:
        _explain_stages(axes, set(shown.values()))
    _write_text(figure, title, _subtitle(front), _caption(front, x_unit))
    _lay_out(axes)
    return _save(figure, path)


def plot_curves(
    path: str | Path,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str = "Learning curves",
    x_label: str = "training step",
    y_label: str = "PSNR in dB",
    protocol: str | None = None,
) -> Path:
    """Draws one line of (step, value) per trial; more than ten share one colour and have no legend.

    Args:
        protocol: How the values were taken; the subtitle states it.

    Returns: The path, whose folder is created.
    """
    few = len(curves) <= 10
    figure, axes = _figure(x_label, y_label, bottom=0.1)
    for index, (label, curve) in enumerate(curves.items()):
        lines = axes.plot(*_columns(curve), color=COLOURS[0], lw=1.0, alpha=0.35)
        if few:
            colour, mark = COLOURS[index % len(COLOURS)], MARKS[index % len(MARKS)]
            lines[0].set(color=colour, marker=mark, markersize=4.5, lw=1.6, alpha=1.0, label=label)
    count = f"{len(curves)} trial{'' if len(curves) == 1 else 's'}"
    _write_text(figure, title, count if protocol is None else f"{protocol}  |  {count}", "")
    _lay_out(axes)
    return _save(figure, path)


def plot_growth(
    path: str | Path,
    panels: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str,
    y_label: str,
    subtitle: str,
) -> Path:
    """Draws what grows in steps, such as the hypervolume, over several clocks side by side.

    Args:
        panels: Label of the x axis to (x, value from there on).

    Returns: The path, whose folder is created.
    """
    figure = Figure(figsize=(9.6, 4.2), dpi=125, facecolor="white")
    FigureCanvasAgg(figure)
    width = (0.975 - LEFT) / len(panels)
    for index, (x_label, points) in enumerate(panels.items()):
        axes = figure.add_axes(
            (LEFT + index * width, 0.14, width - (0.03 if index < len(panels) - 1 else 0), 0.64)
        )
        _style(axes, x_label, "" if index else y_label)
        x, y = _columns([(0.0, 0.0), *points])
        axes.step(x, y, where="post", color=COLOURS[0], lw=1.6)
        axes.margins(0.02)
        axes.set_ylim(bottom=0)
        axes.tick_params(labelleft=not index)
    _fit(figure, 0.91, title, size=14.5, characters=72, color=INK, fontweight="bold")
    _fit(figure, 0.84, subtitle, size=9.5, characters=120, color=FAINT)
    return _save(figure, path)


def _figure(x_label: str, y_label: str, *, bottom: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9.6, 6.4), dpi=125, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((LEFT, bottom, 0.7, 0.86 - bottom))
    _style(axes, x_label, y_label)
    return figure, axes


def _style(axes: Axes, x_label: str, y_label: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(which="both", colors=INK, labelsize=10)
    axes.grid(color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label, color=INK, fontsize=11)
    axes.set_ylabel(y_label, color=INK, fontsize=11)


def _draw_points(
    axes: Axes,
    points: Sequence[Point],
    front: Front,
    labels: Sequence[str],
    stages: Sequence[str],
    x_unit: float,
) -> None:
    members = {member.id for member in front.members}
    colours = _colours(points, labels, members)
    groups: dict[tuple[str, str, bool], list[Point]] = defaultdict(list)
    for point, label, stage in zip(points, labels, stages, strict=True):
        groups[label if label in colours else OTHER_KINDS, stage, point.id in members].append(point)
    size = 20 if len(points) > 60 else 32
    for (kind, stage, member), mine in groups.items():
        mark = STAGES[stage]
        axes.scatter(
            [point.cost / x_unit for point in mine],
            [point.quality for point in mine],
            s=size * 2.5 if mark == "*" else size,  # a star of the same size looks smaller
            marker=mark,
            color=colours.get(kind, FAINT),
            alpha=0.9 if member else 0.4,
            linewidths=0,
            zorder=3,
            rasterized=len(points) > MANY,  # in an SVG or PDF a mark each would be megabytes
        )
    for kind, colour in colours.items():
        axes.scatter([], [], s=32, color=colour, linewidths=0, label=kind)


def _colours(points: Sequence[Point], labels: Sequence[str], members: Container[int]) -> dict[str, str]:
    """Kinds with a colour of their own, by name; where there are too many, those on the front and the usual ones."""
    weights: Counter[str] = Counter()
    for point, label in zip(points, labels, strict=True):
        weights[label] += len(points) if point.id in members else 1
    kinds = sorted(sorted(weights), key=weights.__getitem__, reverse=True)
    if len(kinds) <= len(COLOURS):
        return dict(zip(sorted(kinds), COLOURS, strict=False))
    return {**dict(zip(sorted(kinds[: len(COLOURS)]), COLOURS, strict=True)), OTHER_KINDS: FAINT}


def _explain_stages(axes: Axes, stages: Container[str]) -> None:
    for stage, mark in STAGES.items():
        if stage in stages:
            axes.plot([], [], ls="none", marker=mark, ms=9 if mark == "*" else 6, color=FAINT, label=stage)


def _draw_descent(
    axes: Axes, points: Sequence[Point], front: Front, parents: Mapping[int, int], x_unit: float
) -> None:
    """Arrows down the lineages of the front's members, from each to the next of these points."""
    places = {point.id: (point.cost / x_unit, point.quality) for point in points}
    ends = set()
    for member in front.members:
        child, ancestor = member.id, parents.get(member.id)
        while ancestor is not None and child not in ends:
            if ancestor in places:
                ends.add(child)
                axes.add_artist(_arrow(places[ancestor], places[child]))
                child = ancestor
            ancestor = parents.get(ancestor)


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> FancyArrowPatch:
    look: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 8, "lw": 0.7, "color": BASELINE}
    return FancyArrowPatch(start, end, shrinkA=4, shrinkB=7, zorder=2.5, **look)


def _draw_front(axes: Axes, front: Front, points: Sequence[Point], x_unit: float) -> None:
    """Steps along what is dominated: the quality that a cost buys holds until the next member."""
    if not front.members:
        return
    places = [(member.cost / x_unit, member.quality) for member in front.members]
    x, y = _columns(places)
    end = max(point.cost for point in (*points, *front.members)) / x_unit
    best, steps = -inf, []
    for place in places:  # members of a front over more than these two may lie below the line
        if place[1] > best:
            best = place[1]
            steps.append(place)
    axes.step(*_columns([*steps, (max(end, x[-1]), best)]), where="post", color=FRONT, lw=1.4, zorder=2)
    ring: dict[str, Any] = {
        "marker": "o",
        "markerfacecolor": "none",
        "markeredgecolor": FRONT,
        "markeredgewidth": 1.5,
    }
    axes.plot(x, y, ls="none", ms=10, zorder=4, **ring)
    axes.plot([], [], color=FRONT, lw=1.4, ms=7.5, label="Pareto front", **ring)


def _draw_intervals(
    axes: Axes, front: Front, intervals: Mapping[int, tuple[float, float]], x_unit: float
) -> None:
    found = [(point, intervals[point.id]) for point in front.members if point.id in intervals]
    if not found:
        return
    x, y = _columns([(point.cost / x_unit, point.quality) for point, _ in found])
    below, above = _columns([(point.quality - low, high - point.quality) for point, (low, high) in found])
    axes.errorbar(x, y, (below, above), fmt="none", ecolor=FRONT, elinewidth=1.2, capsize=3.5, zorder=4.5)
    axes.plot([], [], ls="none", marker="|", ms=10, mew=1.4, color=FRONT, label="95 % interval")


def _scale(axes: Axes, points: Sequence[Point], budget: float | None, x_unit: float) -> None:
    costs = [point.cost / x_unit for point in points] + ([] if budget is None else [budget / x_unit])
    if not costs or min(costs) <= 0 or max(costs) <= LOG_SPAN * min(costs):
        axes.margins(0.06)
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.06)


def _draw_lines(
    axes: Axes,
    baseline: tuple[str, float] | None,
    floor: tuple[str, float] | None,
    budget: float | None,
    x_unit: float,
) -> None:
    if baseline is not None:
        label, quality = baseline
        axes.axhline(
            quality, color=BASELINE, lw=1.3, ls=(0, (5, 3)), label=f"{label}: {quality:.2f}", zorder=1
        )
    if floor is not None:
        label, quality = floor
        label = f"at least {quality:.2f}" + (f": {label}" if label else "")
        axes.axhline(quality, color=BUDGET, lw=1.3, ls=(0, (5, 3)), label=label, zorder=1)
    if budget is not None:
        shown = budget / x_unit
        axes.axvline(shown, color=BUDGET, lw=1.3, ls=(0, (2, 2)), label=f"budget: {shown:.4g}", zorder=1)


def _focus(
    axes: Axes, points: Sequence[Point], lowest: float, floor: tuple[str, float] | None, x_unit: float
) -> None:
    """Ends the quality axis at the lowest shown; ticks on it stand for those far below."""
    below = [point.cost / x_unit for point in points if point.quality < lowest]
    if not below:
        return
    best = max([point.quality for point in points] + ([] if floor is None else [floor[1]]))
    axes.set_ylim(bottom=lowest - 0.03 * (best - lowest), top=best + 0.06 * (best - lowest))
    label = f"{len(below)} far below"
    axes.scatter(below, [lowest] * len(below), marker="1", s=60, color=FAINT, label=label, zorder=3)


def _lowest(points: Sequence[Point], stages: Sequence[str], baseline: tuple[str, float] | None) -> float:
    """The quality where points get sparse, or below which there are only networks just pruned; -inf for no end.

    A network that was pruned and not trained since is a way to another: it may be 20 dB below all others.
    """
    pruned = [point.quality for point, stage in zip(points, stages, strict=True) if stage == "prune"]
    others = sorted(point.quality for point, stage in zip(points, stages, strict=True) if stage != "prune")
    known = [] if baseline is None else [baseline[1]]
    end = -inf
    if len(others) >= 4:
        usual = min(others[len(others) // 2], *known)
        end = others[-1] - OUTLIER_SPAN * max(others[-1] - usual, 0.02)
    shown = [*known, *(quality for quality in others if quality >= end)]
    if others and pruned and min(pruned) < min(shown):
        end = max(end, min(shown) - PRUNED_SPAN * (others[-1] - min(shown)))
    return end


def _lay_out(axes: Axes) -> None:
    """Legend to the right, lines before kinds; the axes take the width it leaves."""
    entries = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=lambda pair: _is_kind(pair[0]))
    right = 0.975
    if entries:
        handles, labels = zip(*entries, strict=True)
        legend = axes.legend(
            handles,
            [shorten(label, 28, placeholder="…") for label in labels],
            loc="upper left",
            bbox_to_anchor=(1.02, 1.0),
            borderaxespad=0,
            fontsize=9.5,
            labelspacing=0.7,
            frameon=False,
            labelcolor=INK,
        )
        right -= legend.get_window_extent().width / axes.get_window_extent().width * axes.get_position().width
    box = axes.get_position()
    axes.set_position((box.x0, box.y0, right - box.x0, box.height))


def _is_kind(handle: Artist) -> bool:
    return isinstance(handle, PathCollection)


def _write_text(figure: Figure, title: str, subtitle: str, caption: str) -> None:
    _fit(figure, 0.94, title, size=14.5, characters=72, color=INK, fontweight="bold")
    _fit(figure, 0.895, subtitle, size=9.5, characters=120, color=FAINT)
    _fit(figure, 0.025, caption, size=8.5, characters=135, color=FAINT, linespacing=1.5)


def _fit(figure: Figure, y: float, text: str, *, size: float, characters: int, **look: Any) -> None:
    """Writes at the left edge of the axes; a line longer than the figure holds gets smaller type."""
    longest = max(map(len, text.split("\n")))
    figure.text(
        LEFT,
        y,
        text,
        fontsize=size * min(1.0, characters / max(longest, 1)),
        va="bottom",
        parse_math=False,
        **look,
    )


def _subtitle(front: Front) -> str:
    if front.quality is None:
        return "no complete trial yet"
    count = f"{len(front.points)} trials, {len(front.members)} on the front"
    return f"{front.quality.name}: {front.quality.protocol}  |  {count}"


def _caption(front: Front, x_unit: float) -> str:
    cost = "" if front.cost is None else f"{front.cost.name}: {front.cost.protocol}"
    if front.reference is None or front.hypervolume is None:
        return cost
    return f"{cost}\n{_hypervolume(front.reference, front.hypervolume, front.quality, x_unit)}".strip()


def _hypervolume(reference: Reference, volume: float, quality: Objective | None, x_unit: float) -> str:
    unit = "" if quality is None else f" {quality.unit}"
    return (
        f"hypervolume {volume / x_unit:.4g} from the reference point "
        f"({reference.cost / x_unit:.4g}, {reference.quality:.2f}{unit}): {reference.meaning}"
    )


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _save(figure: Figure, path: str | Path) -> Path:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target)
    return target

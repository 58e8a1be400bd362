"""A matrix of rank correlations as a picture (PNG, or by suffix PDF, SVG)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from results.analysis.correlation import Analysis
from results.render.plots import FAINT, INK

CELL = 0.62  # inches
LABELS = 1.75  # inches for the longest key, left and below
HEAD = 0.75


def save_heat_map(found: Analysis, path: Path) -> Path:
    """Draws the lower half of the matrix, numbers in its cells; blue goes together, red against each other.

    Returns: The path, whose folder is created.
    """
    keys = [each.key for each in found.quantities]
    side = CELL * (len(keys) - 1)
    size = max(LABELS + side + 0.3, 6.4), LABELS * 0.8 + side + HEAD
    figure = Figure(figsize=size, dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((LABELS / size[0], LABELS * 0.8 / size[1], side / size[0], side / size[1]))
    matrix = np.where(np.tri(len(keys), k=-1) > 0, found.matrix, np.nan)[1:, :-1]
    axes.imshow(matrix, cmap="RdBu", vmin=-1, vmax=1)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors=INK, labelsize=9)
    axes.set_xticks(range(len(keys) - 1), keys[:-1], rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(keys) - 1), keys[1:])
    for (row, column), value in np.ndenumerate(matrix):
        if column <= row:
            shown = "-" if np.isnan(value) else f"{value:+.2f}"
            colour = "white" if abs(value) > 0.65 else INK
            axes.text(column, row, shown, ha="center", va="center", fontsize=8.5, color=colour)
    _write(figure, size, f"{found.name}: rank correlations", 13, 0.42, INK, "bold")
    quality = found.quantities[0]
    note = f"Spearman's, {found.networks} networks; {quality.key}: {quality.protocol}"
    _write(figure, size, note, min(8.5, 1.75 * 72 * size[0] / len(note)), 0.2, FAINT, "normal")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _write(
    figure: Figure,
    size: tuple[float, float],
    text: str,
    points: float,
    below_top: float,
    colour: str,
    weight: str,
) -> None:
    y = 1 - (HEAD - below_top) / size[1]
    figure.text(
        0.02, y, text, fontsize=points, color=colour, fontweight=weight, va="bottom", parse_math=False
    )

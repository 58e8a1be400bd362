"""Figures of a study."""

from __future__ import annotations

from pathlib import Path

from results.overview import GIGA, Overview
from results.plots import plot_front
from spaces.architecture import Architecture


def save_front_figure(found: Overview, path: Path) -> Path:
    """The front as a picture, with baseline and budget; colours tell the block kinds."""
    by_id = {trial.id: Architecture.from_json(trial.architecture) for trial in found.trials}
    assert found.front.quality is not None
    quality, study = found.front.quality, found.study
    return plot_front(
        path,
        found.front.points,
        found.front,
        title=f"{study.name}: {study.task}, {study.strategy}, {len(found.front.points)} trials",
        x_label=f"GMACs at {study.data['cost_input']}",
        y_label=f"{quality.name} [{quality.unit}]",
        x_unit=GIGA,
        baseline=found.baseline,
        budget=found.budget[1] * GIGA,
        labels=[_kinds(by_id[point.id]) for point in found.front.points],
    )


def _kinds(architecture: Architecture) -> str:
    """The block kind that most positions have."""
    blocks = getattr(architecture, "blocks", ())
    kinds = [block.kind for block in blocks]
    return max(dict.fromkeys(kinds), key=kinds.count) if kinds else architecture.topology

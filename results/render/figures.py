"""Figures of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from results.analysis.overview import GIGA, Overview
from results.analysis.preliminary import Preliminary
from results.render.plots import plot_curves, plot_front
from results.store.schema import Rung, Study, Trial
from spaces.architecture import Architecture


def save_front_figure(found: Overview, path: Path) -> Path:
    """The front as a picture, with baseline, budget and lineages; colours tell the block kinds, marks the stages."""
    assert found.front.quality is not None
    quality, study, high = found.front.quality, found.study, found.budget[1]
    shown = [found.by_id[point.id] for point in found.front.points]
    return plot_front(
        path,
        found.front.points,
        found.front,
        title=f"{study.name}: {study.task}, {study.strategy}, {len(found.front.points)} trials",
        x_label=f"GMACs at {study.data['cost_input']}",
        y_label=f"{quality.name} [{quality.unit}]",
        x_unit=GIGA,
        baseline=found.baseline,
        floor=found.floor,
        budget=None if high is None else high * GIGA,
        labels=[_kinds(Architecture.from_json(trial.architecture)) for trial in shown],
        stages=[trial.stage for trial in shown],
        parents={trial.id: trial.parent_id for trial in shown if trial.parent_id is not None},
        intervals=_intervals(found),
    )


def save_preliminary_figure(early: Preliminary, path: Path) -> Path:
    """The preliminary front as a picture: all that were scored at its rung, which the title says."""
    found = early.overview
    study = replace(found.study, name=f"{found.study.name}, preliminary, {early.text}")
    return save_front_figure(replace(found, study=study), path)


def _intervals(found: Overview) -> dict[int, tuple[float, float]]:
    """By id of the front's members, where repeats tell how sure their means are."""
    known = () if found.comparison is None else found.comparison.members
    pairs = zip(found.members, known, strict=False)
    return {t.id: (m.low, m.high) for t, m in pairs if m.low is not None and m.high is not None}


def save_curve_figure(study: Study, trial: Trial, rungs: Sequence[Rung], path: Path) -> Path:
    """A trial's learning curve in the study's objective as a picture.

    Raises: ValueError: if no rung has that metric under that protocol.
    """
    key = tuple(study.data["objective"])
    scored = [(rung.step, m) for rung in rungs for m in rung.measurements if m.key == key]
    if not scored:
        raise ValueError(
            f"trial {trial.number} is {trial.state} and has no {key[0]} by step, so there is no curve"
        )
    label = Architecture.from_json(trial.architecture).label
    return plot_curves(
        path,
        {f"trial {trial.number}": [(step, m.value) for step, m in scored]},
        title=f"{study.name}: trial {trial.number}, {label}",
        y_label=f"{key[0]} [{scored[0][1].unit}]",
        protocol=f"{key[0]}: {key[1]}",
    )


def _kinds(architecture: Architecture) -> str:
    """The block kind that most positions have; of a pruned network those of its base."""
    architecture = getattr(architecture, "base", architecture)
    blocks = getattr(architecture, "blocks", ())
    kinds = [block.kind for block in blocks]
    return max(dict.fromkeys(kinds), key=kinds.count) if kinds else architecture.topology

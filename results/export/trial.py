"""Hands trained trials over: exported files with model cards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from results.analysis.overview import NoResultError
from results.analysis.preliminary import OPEN, finish_command, remainders_of
from results.export.files import CARD_SUFFIX, Exported, Format, check_output, export, load_network
from results.render.card import model_card
from results.store.artifacts import weights_path
from results.store.schema import Artifact, Study, Trial
from results.store.store import Store
from spaces.architecture import Architecture
from spaces.task import Task


def export_trial(
    store: Store,
    study: Study,
    trial: Trial,
    task: Task,
    path: Path,
    form: Format,
    *,
    folder: Path = Path(),
) -> tuple[Exported, Path]:
    """Export a trial with its model card beside it (``m.onnx.md`` for ``m.onnx``), and put the file on record.

    Returns: The exported file, and the card's path.
    Raises:
        ExportError, ValueError: as ``results.export.files.export``.
        NoResultError: if the trial has no weights. ValueError: if they aren't what was recorded.
    """
    check_output(path)
    if trial.stage == "search" and trial.state in OPEN:
        left = remainders_of(study, [trial], store.rungs(study.id))
        raise NoResultError(
            f"trial {trial.number} is {trial.state}: it has no weights yet; {finish_command(study, left, named=True)} "
            "trains it to the end, --preliminary takes it as it is"
        )
    weights = weights_path(store, trial, folder=folder)
    exported, card = export_with_card(study, store.lineage(trial.id), task, weights, path, form)
    store.add_artifact(trial.id, Artifact(form, str(path.resolve()), exported.sha256, exported.bytes))
    return exported, card


def export_with_card(
    study: Study,
    lineage: Sequence[Trial],
    task: Task,
    weights: Path,
    path: Path,
    form: Format,
    *,
    note: str = "",
) -> tuple[Exported, Path]:
    """As ``export_trial`` for the last trial of its lineage, putting nothing on record.

    Args:
        weights: The trial's, verified.
        note: What a reader of the file must know first; in its metadata and on its card.
    """
    trial = lineage[-1]
    architecture = Architecture.from_json(trial.architecture)
    exported = export(load_network(architecture, task, weights), architecture, task, path, form, note=note)
    card = path.with_name(path.name + CARD_SUFFIX)
    card.write_text(model_card(study, trial, exported, trial.measurements, lineage=lineage, note=note))
    return exported, card

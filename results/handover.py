"""Takes trained trials out of a study: their weights, verified, and exported files with model cards."""

from __future__ import annotations

import hashlib
from pathlib import Path

from results.card import model_card
from results.export import CARD_SUFFIX, Exported, Format, check_output, export, load_network
from results.schema import Artifact, Study, Trial
from results.store import Store
from spaces.architecture import Architecture
from spaces.task import Task


def weights_path(store: Store, trial: Trial, *, folder: Path = Path()) -> Path:
    """Where a complete trial's weights are.

    Args:
        folder: The study's folder, which recorded paths are relative to, so that it may be moved.

    Raises: ValueError: if it has none, or the file isn't what was recorded.
    """
    found = store.artifacts(trial.id, kind="weights")
    if not found:
        reason = f" ({trial.reason})" if trial.reason else ""
        raise ValueError(f"trial {trial.number} is {trial.state}{reason}: it has no weights")
    return verified(found[-1], folder=folder)


def verified(artifact: Artifact, *, folder: Path = Path()) -> Path:
    """The artifact's path, in the study's folder where it isn't absolute.

    Raises: ValueError: if the file is missing or has changed since it was recorded.
    """
    path = folder / artifact.path
    if not path.exists():
        raise ValueError(
            f"{artifact.kind} {path} is missing; does --runs name the folder of the studies' files?"
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != artifact.sha256:
        raise ValueError(f"{artifact.kind} {path} has changed since it was recorded (SHA-256 differs)")
    return path


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
        ExportError, ValueError: as ``results.export.export``.
        ValueError: if the trial has no weights, or they aren't what was recorded.
    """
    check_output(path)
    architecture = Architecture.from_json(trial.architecture)
    network = load_network(architecture, task, weights_path(store, trial, folder=folder))
    exported = export(network, architecture, task, path, form)
    card = path.with_name(path.name + CARD_SUFFIX)
    lineage = store.lineage(trial.id)
    card.write_text(model_card(study, trial, exported, trial.measurements, lineage=lineage))
    store.add_artifact(trial.id, Artifact(form, str(path.resolve()), exported.sha256, exported.bytes))
    return exported, card

"""Files that trials left behind, taken only if they still are what was recorded."""

from __future__ import annotations

import hashlib
from pathlib import Path

from results.analysis.overview import NoResultError
from results.store.schema import Artifact, Trial
from results.store.store import Store


def weights_path(store: Store, trial: Trial, *, folder: Path = Path()) -> Path:
    """Where a complete trial's weights are.

    Args:
        folder: The study's folder, which recorded paths are relative to, so that it may be moved.

    Raises: NoResultError: if it has none. ValueError: if the file isn't what was recorded.
    """
    found = store.artifacts(trial.id, kind="weights")
    if not found:
        reason = f" ({trial.reason})" if trial.reason else ""
        raise NoResultError(f"trial {trial.number} is {trial.state}{reason}: it has no weights")
    return verified(found[-1], folder=folder)


def verified(artifact: Artifact, *, folder: Path = Path()) -> Path:
    """The artifact's path, in the study's folder where it isn't absolute.

    Raises: ValueError: if the file is missing or has changed since it was recorded.
    """
    path = folder / artifact.path
    if not path.is_file():
        raise ValueError(
            f"{artifact.kind} {path} is missing; does --runs name the folder of the studies' files?"
        )
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != artifact.sha256:
        raise ValueError(f"{artifact.kind} {path} has changed since it was recorded (SHA-256 differs)")
    return path

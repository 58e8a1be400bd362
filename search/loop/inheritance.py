"""Who starts from whose tensors: a new architecture from the one most like it that was trained before.

It holds under any strategy. Whom a trial inherits from, and at which rung, follows from what was told when it was asked
for; it goes on record with the trial, and the weights of each rung are kept as files of the study, so that a resumed
search ends in the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluators.trial import Job
from results.store.schema import Trial
from results.store.store import Store, StoreError
from spaces.architecture import Architecture

MOST_CHANGES = 3  # beyond that, as much has to be learned anew as is inherited
LATEST = 1000  # trials that are looked at, so that a question doesn't take longer with each

Make = Callable[[Trial, bytes | None, float], Job]


class Relatives:
    """Architectures that were trained, and how much others differ from them."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[dict[str, Any], int]] = {}

    def tell(self, question: int, architecture: Architecture, rung: int) -> None:
        """A question's architecture has been trained to a rung."""
        self._told[question] = (_decisions(architecture), rung)

    def nearest(self, architecture: Architecture) -> tuple[int, int] | None:
        """(question, rung) of the one that differs in fewest decisions, of several the one trained longest, then the
        first; None if all differ in more than three."""
        mine = _decisions(architecture)
        best: tuple[int, int, int] | None = None
        for question, (theirs, rung) in list(self._told.items())[-LATEST:]:
            changes = sum(mine.get(name) != theirs.get(name) for name in mine.keys() | theirs.keys())
            if changes <= MOST_CHANGES:
                best = min(best or (changes, -rung, question), (changes, -rung, question))
        return None if best is None else (best[2], -best[1])


def _decisions(architecture: Architecture) -> dict[str, Any]:
    """The leaves of an architecture's canonical description by where they are in it."""
    return dict(_leaves(json.loads(architecture.to_json()), ""))


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict | list):
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _leaves(value, f"{path}.{name}")
    else:
        yield path, node


def checkpoint_path(folder: Path, number: int, step: int) -> Path:
    """Where a study keeps the state that a trial goes on from after a rung."""
    return folder / "checkpoints" / f"{number:05d}-{step}.pt"


def start_path(folder: Path, number: int, step: int) -> Path:
    """Where a study keeps the weights that a trial had at a rung."""
    return folder / "starts" / f"{number:05d}-{step}.safetensors"


def heir(parent: Trial, step: int) -> dict[str, Any]:
    """What goes on record as the origin of a trial that starts from the parent's tensors at a step."""
    before = (parent.origin or {}).get("steps_before", 0) + step
    return {"inherits": parent.number, "inherits_step": step, "steps_before": before}


def inheriting(make: Make, store: Store, study_id: int, folder: Path, steps: Sequence[int]) -> Make:
    """Makes jobs as ``make`` does, that keep weights at ``steps`` and start as their trial's origin says.

    Their ``make`` raises a StoreError where the weights to start from are gone.
    """

    def made(trial: Trial, checkpoint: bytes | None, seconds: float) -> Job:
        job = replace(make(trial, checkpoint, seconds), keeps=tuple(steps))
        origin = trial.origin or {}
        if "inherits" not in origin or checkpoint is not None:  # which holds all that became of them
            return job
        parent = store.trial(study_id, origin["inherits"])
        path = start_path(folder, parent.number, origin["inherits_step"])
        try:
            start = path.read_bytes()
        except OSError as error:
            raise StoreError(
                f"trial {trial.number} starts from weights of trial {parent.number}, which can't be read: {error}"
            ) from error
        return replace(job, start=start, parent=parent.architecture)

    return made


def trained_steps(trials: Sequence[Trial], steps: int) -> dict[int, int]:
    """Number of each trial to the training steps behind its weights, its ancestors' and a supernet's included.

    Args:
        trials: Of a search.
        steps: Of one training.
    """
    return {trial.number: (trial.origin or {}).get("steps_before", 0) + steps for trial in trials}

"""Exports a network that isn't trained to the end: its averaged weights at its last rung."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from evaluators.training.loop import averaged_weights
from results.analysis.overview import NoResultError, Overview, overview, steps_of
from results.analysis.preliminary import Preliminary, preliminary, why_no_front
from results.export.files import Exported, Format, check_output
from results.export.trial import export_with_card
from results.store.schema import Rung, Study, Trial
from results.store.store import Store
from search.loop.inheritance import checkpoint_path
from spaces.measurement import Measurement
from spaces.task import Task


def find_early(store: Store, study: Study, name: str) -> Trial:
    """The study's unfinished trial of that number or, for ``best``, the preliminary front's best.

    Raises:
        ValueError: if the name is neither, or there is no such trial.
        NoResultError: if there is no preliminary front.
    """
    if name != "best":
        if not (name.isascii() and name.isdigit() and len(name) < 10):
            raise ValueError(f"a trial is a number or 'best', got '{name}'")
        return store.trial(study.id, int(name))
    found = overview(store, study.name)
    early = preliminary(store, found)
    if early is None or not early.members:
        raise NoResultError(f"study '{study.name}' has no preliminary front: " + _instead(found, early))
    return store.trial(study.id, early.best.number)


def _instead(found: Overview, early: Preliminary | None) -> str:
    if found.front.members:
        return "its front is of complete networks: leave --preliminary out"
    return why_no_front(found, early)


def export_early(
    store: Store, study: Study, trial: Trial, task: Task, path: Path, form: Format, *, folder: Path
) -> tuple[Exported, Path]:
    """As `results.export.trial.export_trial` for an unfinished trial of the search, putting nothing on record.

    Card and metadata say that it is preliminary, and at which of how many steps.

    Args:
        folder: The study's.

    Raises:
        ExportError, ValueError: as ``results.export.files.export``.
        NoResultError: if the trial is complete, of another stage, or has no checkpoint.
    """
    check_output(path)
    if trial.stage != "search" or trial.state == "complete":
        raise NoResultError(
            f"trial {trial.number} is {trial.state}, of stage '{trial.stage}': --preliminary is for what a search left "
            "unfinished"
        )
    rung = _last_rung(store, study, trial, folder)
    then = replace(trial, measurements=_measured(trial, rung))
    note = f"Preliminary: step {rung.step:,} of {steps_of(study, trial):,}, not trained to the end."
    with TemporaryDirectory() as temporary:
        weights = Path(temporary) / "weights.safetensors"
        weights.write_bytes(averaged_weights(checkpoint_path(folder, trial.number, rung.step).read_bytes()))
        return export_with_card(study, [then], task, weights, path, form, note=note)


def _last_rung(store: Store, study: Study, trial: Trial, folder: Path) -> Rung:
    """The last rung whose checkpoint is there.

    Raises: NoResultError: if there is none.
    """
    for rung in reversed(store.rungs(study.id, trial_id=trial.id)):
        if checkpoint_path(folder, trial.number, rung.step).is_file():
            return rung
    reason = f" ({trial.reason})" if trial.reason else ""
    raise NoResultError(
        f"trial {trial.number} is {trial.state}{reason} and has no checkpoint in {folder}: does --runs name the folder "
        "of the studies' files?"
    )


def _measured(trial: Trial, rung: Rung) -> tuple[Measurement, ...]:
    scored = {each.key for each in rung.measurements}
    return (*(each for each in trial.measurements if each.key not in scored), *rung.measurements)

"""Teachers by what the command line calls them: trials, published networks and exported files, alone or several."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluators.inference.ensemble import restore_averaged
from evaluators.training.distillation import TeacherSpec
from evaluators.trial import weights_of
from results.analysis.overview import find_trial, value
from results.export.files import load_network
from results.store.artifacts import weights_path
from results.store.schema import Trial
from results.store.store import Store
from search.config import ConfigError
from search.networks.subjects import TRIAL, exported_member
from search.study.context import Bench
from search.study.opening import Opened, Place, check_published
from spaces.architecture import Architecture
from spaces.baselines import published
from spaces.checkpoint import load_published
from spaces.parts import Network

FORMS = "STUDY:TRIAL, NAME=WEIGHTS (a published network) or FILE.safetensors (that 'pixelfront export' wrote)"


@dataclass(frozen=True)
class Teacher:
    """A teacher for a study's networks.

    Attributes:
        quality: Its score on the validation images, by the study's objective.
        record: What the store keeps of its members.
    """

    name: str
    spec: TeacherSpec
    quality: float
    record: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class _Member:
    name: str
    network: Network
    architecture: Architecture
    source: dict[str, Any]


def find_teacher(specs: Sequence[str], opened: Opened) -> Teacher:
    """The mean of the named networks, for students of the opened study; see ``FORMS``.

    Raises: ValueError: for another form, what can't be found or has no weights, or a network of another task.
    """
    return _teacher([_member(spec, opened) for spec in specs], opened.bench)


def trial_teacher(trial: Trial, opened: Opened) -> Teacher:
    """A trial of the opened study as a teacher.

    Raises: ValueError: if it has no weights.
    """
    return _teacher(
        [_of_trial(opened.store, opened.study.name, trial, opened.place, opened.bench)], opened.bench
    )


def _teacher(members: Sequence[_Member], bench: Bench) -> Teacher:
    networks = [member.network for member in members]
    pairs, task = bench.data.validation, bench.task
    name = " + ".join(member.name for member in members)
    inputs = [image.pixels for image in pairs.inputs]
    scale = task.interface.scale
    try:
        outputs = list(
            restore_averaged(networks, inputs, scale=scale, device=bench.device, finish=task.finish)
        )
    except FloatingPointError as error:
        raise ConfigError(f"teacher {name}: {error}: check its weights, or name another") from error
    scores = task.measure(outputs, pairs, ssim=False)
    quality = value(scores, *bench.objective)
    assert quality is not None
    weights = [weights_of(network) for network in networks]
    parts = tuple((m.architecture.to_json(), w) for m, w in zip(members, weights, strict=True))
    record = tuple(
        {**member.source, "sha256": hashlib.sha256(content).hexdigest()}
        for member, content in zip(members, weights, strict=True)
    )
    return Teacher(name, TeacherSpec(bench.config.task, parts), quality, record)


def _member(spec: str, opened: Opened) -> _Member:
    bench = opened.bench
    if spec.endswith(".safetensors") and "=" not in spec:
        return _exported(Path(spec), bench)
    name, equals, weights = spec.partition("=")
    if equals:
        check_published(name, bench)
        network = load_published(name, weights)
        return _Member(name, network, published(name).architecture, {"published": name})
    if (found := TRIAL.fullmatch(spec)) is None:
        raise ConfigError(f"a teacher is {FORMS}, got '{spec}'")
    study = opened.store.study(found["study"])
    if study.task != bench.config.task:
        raise ConfigError(_other_task(spec, study.task, bench))
    trial = find_trial(opened.store, study, found["trial"])
    return _of_trial(opened.store, study.name, trial, opened.place, bench)


def _of_trial(store: Store, study: str, trial: Trial, place: Place, bench: Bench) -> _Member:
    architecture = Architecture.from_json(trial.architecture)
    path = weights_path(store, trial, folder=place.folder(study))
    network = load_network(architecture, bench.task.interface, path)
    name = f"{study}:{trial.number}"
    return _Member(name, network, architecture, {"study": study, "trial": trial.number})


def _exported(path: Path, bench: Bench) -> _Member:
    task, member = exported_member(path)
    if task != bench.config.task:
        raise ConfigError(_other_task(str(path), task, bench))
    assert member.network is not None
    assert member.architecture is not None
    return _Member(member.name, member.network, member.architecture, {"file": path.name})


def _other_task(what: str, task: str, bench: Bench) -> str:
    return f"teacher {what} is for {task}, the student for {bench.config.task}: give a teacher of that task"

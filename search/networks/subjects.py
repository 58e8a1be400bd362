"""The networks that ``evaluate`` and ``apply`` are given, alone or several as one, by what is written for each.

A MODEL is one of:

- ``m.onnx``: an ONNX file, ours or another;
- ``m.safetensors``: what ``pixelfront export`` wrote;
- ``NAME=WEIGHTS`` or ``NAME``: a published network, with a checkpoint or without;
- ``m.json=WEIGHTS`` or ``m.json``: an architecture's JSON, with a checkpoint or without;
- ``STUDY:TRIAL``: a trial by number, or ``STUDY:best``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from safetensors import SafetensorError, safe_open

from evaluators.measure.onnx_network import OnnxNetwork
from evaluators.tasks import RestorationTask, get_task, task_names
from results.analysis.overview import find_trial
from results.export.files import load_network
from results.store.artifacts import weights_path
from results.store.store import Store
from search.networks.inspect import default_task, find_architecture
from spaces.architecture import Architecture
from spaces.baselines import Published, baseline_names, published
from spaces.build import build
from spaces.checkpoint import CheckpointError, load_published, load_weights, read_tensors
from spaces.parts import Network
from spaces.task import Task
from spaces.topologies.pruned import unpruned

FORMS = "FILE.onnx, FILE.safetensors, NAME=WEIGHTS, NAME, FILE.json=WEIGHTS, FILE.json or STUDY:TRIAL"
TRIAL = re.compile(r"(?P<study>\w[\w.-]*):(?P<trial>\d{1,9}|best)")


@dataclass(frozen=True)
class Member:
    """One network.

    Attributes:
        architecture: None for a foreign ONNX file.
        network: None without weights.
        weights: Their file; empty without.
    """

    name: str
    architecture: Architecture | None
    network: Network | None = None
    weights: str = ""
    published: Published | None = None

    @property
    def onnx(self) -> OnnxNetwork | None:
        """The network, where it is an ONNX file."""
        return self.network if isinstance(self.network, OnnxNetwork) else None

    @cached_property
    def digest(self) -> str:
        """The architecture's; of an ONNX file its content's, as what it computes with may differ (INT8)."""
        if self.onnx:
            return hashlib.sha256(self.onnx.path.read_bytes()).hexdigest()[:12]
        assert self.architecture is not None
        return self.architecture.digest

    @property
    def label(self) -> str:
        """What it is made of, as far as that is known."""
        form = "ONNX file" if self.onnx else ""
        return ", ".join(filter(None, (self.architecture.label if self.architecture else "", form)))

    @property
    def value_range(self) -> int:
        """What the network works on: 0 to this. An exported file always takes 0 to 1."""
        if self.onnx or self.architecture is None:
            return 1
        return int(getattr(unpruned(self.architecture), "value_range", 1))


@dataclass(frozen=True)
class Subject:
    """What is evaluated: the mean output of its members, all of one task."""

    task: RestorationTask
    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        """The names of its different members."""
        return " + ".join(dict.fromkeys(member.name for member in self.members))

    @property
    def networks(self) -> tuple[Network, ...]:
        """Those with weights: all or none."""
        return tuple(member.network for member in self.members if member.network is not None)

    @property
    def different(self) -> tuple[Member, ...]:
        """The first member of each architecture or ONNX file."""
        found: dict[str, Member] = {}
        for member in self.members:
            found.setdefault(member.digest, member)
        return tuple(found.values())


@dataclass(frozen=True)
class Studies:
    """Where trials are: what opens the store, and the folder of the studies' files."""

    open: Callable[[], Store]
    runs: Path


def find_subject(
    models: Sequence[str],
    *,
    task: str | None = None,
    studies: Studies | None = None,
    threads: int | None = None,
) -> Subject:
    """The networks that the command line names, with their weights; several are averaged.

    Args:
        task: Where a network doesn't say what it is for: an architecture or a foreign ONNX file.
        studies: Where trials are looked up; without, they are refused.
        threads: Of ONNX files; as many as torch uses by default.

    Raises: ValueError: for what isn't a MODEL, weights that don't fit, some with weights and some without, and
        networks that aren't all of one task.
    """
    if not models:
        raise ValueError(f"which network? Give one or several of {FORMS}")
    found = [_find(text, task, studies, threads) for text in models]
    first = found[0][0]
    for text, (name, _) in zip(models, found, strict=True):
        if name != first:
            raise ValueError(
                f"{text}: it is for {name}, the first one for {first}; an ensemble is of one task"
            )
    members = tuple(member for _, member in found)
    if len({member.network is None for member in members}) > 1:
        without = next(m.name for m in members if m.network is None)
        raise ValueError(f"{without}: an ensemble needs weights for each of its networks: {without}=WEIGHTS")
    return Subject(get_task(first), members)


def _find(text: str, task: str | None, studies: Studies | None, threads: int | None) -> tuple[str, Member]:
    """The name of its task, and the network."""
    if text.endswith(".onnx"):
        return _onnx_member(Path(text), task, threads)
    if text.endswith(".safetensors") and "=" not in text:
        return _checked(text, exported_member(Path(text)), task)
    name, _, weights = text.partition("=")
    if name.endswith(".json"):
        return _described_member(Path(name), weights, task)
    if name in baseline_names():
        return _published_member(name, weights, task)
    if studies and (found := TRIAL.fullmatch(text)):
        return _checked(text, _trial_member(found["study"], found["trial"], studies), task)
    raise ValueError(f"expected {FORMS}, got '{text}'{_hint(name)}")


def _hint(text: str) -> str:
    if Path(text).suffix in (".pth", ".pt"):
        known = [n for n in baseline_names() if Path(text).name == published(n).checkpoint]
        return f": weights alone don't say of what; {known[0] if known else 'NAME'}={text}?"
    close = get_close_matches(text, baseline_names(), n=1)
    return f": did you mean '{close[0]}'?" if close else "; 'pixelfront baselines' lists the names"


def _checked(text: str, found: tuple[str, Member], asked: str | None) -> tuple[str, Member]:
    if asked not in (None, found[0]):
        raise ValueError(f"--task {asked}: {text} is for {found[0]}; leave --task out")
    return found


def _interface(task: Task) -> tuple[int, int, int]:
    return task.scale, task.in_channels, task.out_channels


def _onnx_member(path: Path, asked: str | None, threads: int | None) -> tuple[str, Member]:
    network = OnnxNetwork(path, threads=threads)
    member = Member(path.name, network.architecture, network, str(path))
    own = (network.scale, network.in_channels, network.out_channels)
    if network.task:
        found = _checked(str(path), (network.task, member), asked)
        if network.task not in task_names() or _interface(get_task(network.task).interface) != own:
            raise ValueError(
                f"{path}: it says that it is for {network.task}, but has {network.in_channels} channels in, "
                f"{network.out_channels} out, and enlarges by {network.scale}; export it anew"
            )
        return found
    fitting = [name for name in task_names() if _interface(get_task(name).interface) == own]
    name = get_task(asked).interface.name if asked else fitting[0] if len(fitting) == 1 else None
    if name is None or name not in fitting:
        can = f"it can be for {', '.join(fitting)}: say which, --task" if fitting else "no task has that"
        raise ValueError(
            f"{path}: {network.in_channels} channels in, {network.out_channels} out, {network.scale} times as large; "
            f"{can}"
        )
    return name, member


def _published_member(name: str, weights: str, asked: str | None) -> tuple[str, Member]:
    known = published(name)
    if asked and _interface(get_task(asked).interface) != _interface(known.task):
        raise ValueError(
            f"--task {asked}: '{name}' was published for {known.task.name} and can't do that; leave --task out"
        )
    network = load_published(name, weights) if weights else None
    return asked or known.task.name, Member(name, known.architecture, network, weights, known)


def exported_member(model: Path) -> tuple[str, Member]:
    """The task's name and the network of a file that ``pixelfront export`` wrote as safetensors.

    Raises: ValueError: if it is none.
    """
    metadata = _metadata(model)
    architecture = Architecture.from_json(metadata["architecture"])
    network = _loaded(architecture, get_task(metadata["task"]), model)
    return metadata["task"], Member(model.stem, architecture, network, str(model))


def _metadata(model: Path) -> dict[str, str]:
    try:
        with safe_open(model, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{model}: can't be read as safetensors ({error})") from error
    if not {"architecture", "task"} <= metadata.keys():
        raise ValueError(
            f"{model}: expected a file that 'pixelfront export' wrote, with architecture and task in its "
            f"metadata; for others say of what the weights are: NAME={model} or FILE.json={model}"
        )
    return dict(metadata)


def _described_member(file: Path, weights: str, asked: str | None) -> tuple[str, Member]:
    if not file.is_file():
        raise ValueError(f"architecture {file}: no such file")
    name, architecture = find_architecture(str(file))
    task = get_task(asked or default_task(name, architecture))
    network = _loaded(architecture, task, Path(weights)) if weights else None
    return task.interface.name, Member(name, architecture, network, weights)


def _loaded(architecture: Architecture, task: RestorationTask, path: Path) -> Network:
    network = build(architecture, task.interface)
    tensors = read_tensors(path)
    try:
        load_weights(network, tensors)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error
    return network


def _trial_member(study_name: str, trial_name: str, studies: Studies) -> tuple[str, Member]:
    with studies.open() as store:
        study = store.study(study_name)
        trial = find_trial(store, study, trial_name)
        path = weights_path(store, trial, folder=studies.runs.resolve() / study.name)
    architecture = Architecture.from_json(trial.architecture)
    network = load_network(architecture, get_task(study.task).interface, path)
    return study.task, Member(f"{study.name}:{trial.number}", architecture, network, str(path))

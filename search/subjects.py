"""What ``evaluate`` measures: published, exported and described networks, alone or several as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from evaluators.tasks import RestorationTask, get_task
from search.inspect import default_task, find_architecture
from spaces.architecture import Architecture
from spaces.baselines import Published, published
from spaces.build import build
from spaces.checkpoint import CheckpointError, load_published, load_weights, read_tensors
from spaces.parts import Network
from spaces.pruned import unpruned


@dataclass(frozen=True)
class Member:
    """One network.

    Attributes:
        network: None without weights.
        weights: Their file; empty without.
    """

    name: str
    architecture: Architecture
    network: Network | None = None
    weights: str = ""
    published: Published | None = None

    @property
    def value_range(self) -> int:
        """What the network works on: 0 to this."""
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
        """The first member of each architecture."""
        found: dict[str, Member] = {}
        for member in self.members:
            found.setdefault(member.architecture.digest, member)
        return tuple(found.values())


def find_subject(
    *,
    baselines: Sequence[str] = (),
    models: Sequence[Path] = (),
    architecture: Path | None = None,
    weights: Sequence[Path] = (),
    task: str | None = None,
) -> Subject:
    """The networks that the command line names, with their weights.

    Args:
        weights: Of one baseline or architecture any number, of several baselines one for each, in their order.

    Raises: ValueError: unless exactly one of baselines, models and architecture is given; for unknown names; for
        weights that don't fit, and networks that aren't all of one task.
    """
    if sum(map(bool, (baselines, models, architecture))) != 1:
        raise ValueError(
            "expected one of --baseline NAME, --model FILE.safetensors and --architecture FILE.json: which network is "
            "to be evaluated?"
        )
    if baselines:
        return _published_subject(baselines, weights, task)
    if models:
        if weights:
            raise ValueError(f"--model {models[0]} holds its own weights: leave --weights out")
        return _exported_subject(models, task)
    assert architecture is not None
    return _described_subject(architecture, weights, task)


def _published_subject(names: Sequence[str], weights: Sequence[Path], task_name: str | None) -> Subject:
    task = get_task(task_name or published(names[0]).task.name)
    for name in names:
        _refuse_other_task(published(name), task, task_name)
    if len(names) > 1 and weights and len(weights) != len(names):
        raise ValueError(
            f"expected one --weights for each --baseline, in the same order, got {len(weights)} for {len(names)}"
        )
    files = (
        zip(names if len(names) > 1 else [names[0]] * len(weights), weights, strict=True) if weights else ()
    )
    members = [
        Member(name, published(name).architecture, load_published(name, file), str(file), published(name))
        for name, file in files
    ]
    without = [Member(name, published(name).architecture, published=published(name)) for name in names]
    return Subject(task, tuple(members or without))


def _refuse_other_task(known: Published, task: RestorationTask, asked: str | None) -> None:
    mine, its = ((t.scale, t.in_channels, t.out_channels) for t in (task.interface, known.task))
    if mine == its:
        return
    if asked is None:
        raise ValueError(
            f"--baseline {known.name}: it was published for {known.task.name}, the first one for "
            f"{task.interface.name}; an ensemble is of one task"
        )
    raise ValueError(
        f"--task {asked}: '{known.name}' was published for {known.task.name} and can't do that; leave --task out"
    )


def _exported_subject(models: Sequence[Path], task_name: str | None) -> Subject:
    found = [(model, _metadata(model)) for model in models]
    for model, metadata in found:
        if task_name not in (None, metadata["task"]):
            raise ValueError(f"--task {task_name}: {model} is for {metadata['task']}; leave --task out")
        if metadata["task"] != found[0][1]["task"]:
            raise ValueError(
                f"--model {model}: it is for {metadata['task']}, the first one for {found[0][1]['task']}; an ensemble "
                "is of one task"
            )
    members = [exported_member(model)[1] for model in models]
    return Subject(get_task(found[0][1]["task"]), tuple(members))


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
            "metadata; for others use --architecture FILE.json --weights FILE"
        )
    return dict(metadata)


def _described_subject(file: Path, weights: Sequence[Path], task_name: str | None) -> Subject:
    if not file.is_file():
        raise ValueError(f"--architecture {file}: no such file; expected an architecture's JSON")
    name, architecture = find_architecture(str(file))
    task = get_task(task_name or default_task(name, architecture))
    members = [Member(name, architecture, _loaded(architecture, task, path), str(path)) for path in weights]
    return Subject(task, tuple(members or [Member(name, architecture)]))


def _loaded(architecture: Architecture, task: RestorationTask, path: Path) -> Network:
    network = build(architecture, task.interface)
    tensors = read_tensors(path)
    try:
        load_weights(network, tensors)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error
    return network

"""What ``evaluate`` and ``baselines`` find: published and own networks, measured as the challenges measure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from safetensors import SafetensorError, safe_open

from evaluators.ensemble import TURNS, restore_averaged
from evaluators.images import ImageSet
from evaluators.layouts import find_pairs
from evaluators.pairs import PairSet
from evaluators.runtime import (
    Latency,
    PeakMemory,
    RuntimeMeasurementError,
    measure_latency,
    measure_peak_memory,
)
from evaluators.tasks import RestorationTask, get_task
from evaluators.trial import baseline_score
from search.inspect import input_size
from spaces.architecture import Architecture
from spaces.baselines import Published, baseline_names, published
from spaces.build import build, cost
from spaces.checkpoint import CheckpointError, load_published, load_weights, read_tensors
from spaces.cost import Cost
from spaces.measurement import Measurement
from spaces.parts import Network

_PLAIN_NAMES = (
    "hr",
    "gt",
    "target",
    "targets",
    "sharp",
    "clean",
    "groundtruth",
)  # that say what, not of which set

Advance = Callable[[str, int], None]  # data set, images done


class EvaluationError(RuntimeError):
    """An evaluation that can't be finished."""


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        networks: One for each file of weights; none without weights.
    """

    name: str
    architecture: Architecture
    task: RestorationTask
    networks: tuple[Network, ...]
    weights: tuple[str, ...]
    published: Published | None = None

    @property
    def value_range(self) -> int:
        """What the network works on: 0 to this."""
        return int(getattr(self.architecture, "value_range", 1))


@dataclass(frozen=True)
class SetResult:
    """Quality on one set.

    Attributes:
        trivial: The same measurements of the task's trivial baseline.
        scores: Image to metric to value.
    """

    data: str
    images: int
    measurements: tuple[Measurement, ...]
    trivial: tuple[Measurement, ...]
    scores: dict[str, dict[str, float]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """All that was found of a subject.

    Attributes:
        passes: Forward passes for one output: networks times flips and rotations.
        input: (height, width) that cost, runtime and memory are of.
        notes, warnings: Sentences for the reader.
    """

    subject: Subject
    passes: int
    input: tuple[int, int]
    cost: Cost
    sets: tuple[SetResult, ...] = ()
    latency: Latency | None = None
    memory: PeakMemory | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def find_subject(
    *,
    baseline: str | None = None,
    model: Path | None = None,
    architecture: Path | None = None,
    weights: Sequence[Path] = (),
    task: str | None = None,
) -> Subject:
    """The network that the command line names, with its weights.

    Raises: ValueError: unless exactly one of baseline, model and architecture is given; for unknown names; for weights
        that don't fit, or a task that the published network isn't made for.
    """
    if sum(given is not None for given in (baseline, model, architecture)) != 1:
        raise ValueError(
            "expected one of --baseline NAME, --model FILE.safetensors and --architecture FILE.json: which network is "
            "to be evaluated?"
        )
    if baseline is not None:
        return _published_subject(baseline, weights, task)
    if model is not None:
        if weights:
            raise ValueError(f"--model {model} holds its own weights: leave --weights out")
        return _exported_subject(model, task)
    assert architecture is not None
    return _described_subject(architecture, weights, task)


def _published_subject(name: str, weights: Sequence[Path], task_name: str | None) -> Subject:
    known = published(name)
    task = get_task(task_name or known.task.name)
    mine, its = ((t.scale, t.in_channels, t.out_channels) for t in (task.interface, known.task))
    if mine != its:
        raise ValueError(
            f"--task {task_name}: '{name}' was published for {known.task.name} and can't do that; leave --task out"
        )
    networks = tuple(load_published(name, path) for path in weights)
    return Subject(name, known.architecture, task, networks, tuple(map(str, weights)), known)


def _exported_subject(model: Path, task_name: str | None) -> Subject:
    try:
        with safe_open(model, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"--model {model}: can't be read as safetensors ({error})") from error
    if not {"architecture", "task"} <= metadata.keys():
        raise ValueError(
            f"--model {model}: expected a file that 'pixelfront export' wrote, with architecture and task in its "
            "metadata; for others use --architecture FILE.json --weights FILE"
        )
    if task_name not in (None, metadata["task"]):
        raise ValueError(f"--task {task_name}: {model} is for {metadata['task']}; leave --task out")
    architecture, task = Architecture.from_json(metadata["architecture"]), get_task(metadata["task"])
    return Subject(model.stem, architecture, task, (_loaded(architecture, task, model),), (str(model),))


def _described_subject(file: Path, weights: Sequence[Path], task_name: str | None) -> Subject:
    from search.inspect import find_architecture

    if not file.is_file():
        raise ValueError(f"--architecture {file}: no such file; expected an architecture's JSON")
    name, architecture = find_architecture(str(file))
    task = get_task(task_name or "sr-x4")
    networks = tuple(_loaded(architecture, task, path) for path in weights)
    return Subject(name, architecture, task, networks, tuple(map(str, weights)))


def _loaded(architecture: Architecture, task: RestorationTask, path: Path) -> Network:
    network = build(architecture, task.interface)
    tensors = read_tensors(path)
    try:
        load_weights(network, tensors)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error
    return network


def resolve_device(wanted: str) -> str:
    """``cpu`` or ``cuda`` from ``auto``, ``cpu`` or ``cuda``.

    Raises: ValueError: for another word, or where there is no CUDA device.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted not in ("cpu", "cuda"):
        raise ValueError(f"--device is auto, cpu or cuda, got '{wanted}'")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no CUDA device here; use --device cpu")
    return wanted


def read_sets(
    task: RestorationTask, data: Sequence[Path], inputs: Sequence[Path] = (), *, skip_bad: bool = False
) -> list[PairSet]:
    """The sets to score on, each under a name of its own; the embedded test photographs without any folder.

    Args:
        inputs: Folders of degraded inputs: none, or one for each of ``data``.

    Raises: ValueError: for another number of inputs, and as ``task.pairs``.
    """
    if not data:
        if inputs:
            raise ValueError("--data-lr needs --data: the folder of the targets")
        return [task.embedded("test")]
    if inputs and len(inputs) != len(data):
        raise ValueError(
            f"expected one --data-lr for each --data, in the same order, got {len(inputs)} for {len(data)}"
        )
    partners: list[Path | None] = [*inputs] if inputs else [None] * len(data)
    found = [_read_set(task, d, i, skip_bad) for d, i in zip(data, partners, strict=True)]
    names = [pairs.name for pairs in found]
    return [
        _renamed(pairs, _long_name(folder)) if names.count(pairs.name) > 1 else pairs
        for pairs, folder in zip(found, data, strict=True)
    ]


def _read_set(task: RestorationTask, data: Path, inputs: Path | None, skip_bad: bool) -> PairSet:
    """The folder's pairs; of a data set in one of the usual layouts those to test on."""
    if inputs is None and (folders := _folders_within(task, data)):
        return _renamed(task.pairs(*folders, skip_bad=skip_bad), data.resolve().name)
    pairs = task.pairs(data, inputs, skip_bad=skip_bad)
    return _renamed(pairs, _long_name(data)) if pairs.name.lower() in _PLAIN_NAMES else pairs


def _folders_within(task: RestorationTask, data: Path) -> tuple[Path, Path | None] | None:
    """Folders of targets and of inputs, where the data set has one of each."""
    for split in ("test", "validation", "train"):
        found = find_pairs(data, task.interface.name, split) if data.is_dir() else None
        if found:
            targets = {target.parent for _, _, target in found}
            inputs = {low.parent if low else None for _, low, _ in found}
            return (targets.pop(), inputs.pop()) if len(targets) == len(inputs) == 1 else None
    return None


def _long_name(folder: Path) -> str:
    """Folder and the one above it: for ``set5/HR`` and ``set14/HR``."""
    whole = folder.resolve()
    return f"{whole.parent.name}/{whole.name}"


def _renamed(pairs: PairSet, name: str) -> PairSet:
    targets = ImageSet(name, pairs.targets.images, pairs.targets.notes)
    return PairSet(pairs.inputs, targets, pairs.scale)


def evaluate(
    subject: Subject,
    sets: Sequence[PairSet],
    *,
    turns: int = 1,
    device: str = "cpu",
    threads: int | None = None,
    runs: int = 10,
    size: str | None = None,
    save: Path | None = None,
    advance: Advance | None = None,
) -> Evaluation:
    """Quality on the sets (where the subject has weights), cost, runtime and memory.

    Args:
        turns: 1, or 8 for the test-time ensemble.
        runs: Of the runtime; 0 leaves runtime and memory out.
        size: ``CxHxW`` that cost, runtime and memory are of; the task's by default.
        save: Folder that output pictures are written to.

    Raises:
        ValueError: for a size that isn't one, or an ensemble where the input has a direction.
        EvaluationError: if memory runs out or an output is NaN.
    """
    height, width = input_size(size, subject.task.interface)
    if turns not in (1, TURNS):
        raise ValueError(f"expected 1 or {TURNS} flips and rotations, got {turns}")
    if turns > 1 and not subject.task.flips:
        raise ValueError(
            f"--ensemble x8: inputs of {subject.task.interface.name} can't be flipped, because their pixels have an "
            "order; leave it out"
        )
    if threads:
        torch.set_num_threads(threads)
    results = []
    for pairs in sets if subject.networks else ():
        results.append(_on_set(subject, pairs, turns, device, save, advance))
    found = Evaluation(
        subject,
        turns * max(1, len(subject.networks)),
        (height, width),
        cost(subject.architecture, subject.task.interface, size=(height, width)),
        tuple(results),
        notes=tuple(_notes(subject)),
        warnings=tuple(_warnings(subject, results)),
    )
    return found if runs == 0 else _timed(found, device, threads, runs)


def _on_set(
    subject: Subject, pairs: PairSet, turns: int, device: str, save: Path | None, advance: Advance | None
) -> SetResult:
    outputs: list[np.ndarray] = []
    task = subject.task
    images = [image.pixels for image in pairs.inputs]
    with _failures(pairs, outputs):
        for output in restore_averaged(
            subject.networks,
            images,
            scale=task.interface.scale,
            turns=turns,
            device=device,
            finish=task.finish,
        ):
            outputs.append(output)
            if advance:
                advance(pairs.name, len(outputs))
    if save is not None:
        _save(task, outputs, pairs, save)
    scores = task.per_image(outputs, pairs)
    return SetResult(
        pairs.name,
        len(pairs),
        task.summarise(scores, pairs),
        baseline_score(task.interface.name, pairs),
        scores,
        (*pairs.targets.notes, *pairs.inputs.notes),
    )


@contextmanager
def _failures(pairs: PairSet, outputs: list[np.ndarray]) -> Iterator[None]:
    """Name the image that something went wrong at."""
    try:
        yield
    except (FloatingPointError, MemoryError, RuntimeError) as error:
        text = str(error)
        no_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "memory" in text
        if not no_memory and not isinstance(error, FloatingPointError):
            raise
        name = pairs.targets.images[len(outputs)].name
        what = "memory ran out: use a machine with more, or smaller images" if no_memory else text
        raise EvaluationError(f"{name} of {pairs.name}: {what}") from error


def _save(task: RestorationTask, outputs: Sequence[np.ndarray], pairs: PairSet, folder: Path) -> None:
    place = folder / re.sub(r"[^\w.-]+", "-", pairs.name)
    place.mkdir(parents=True, exist_ok=True)
    for image, output in zip(pairs.targets, outputs, strict=True):
        PIL.Image.fromarray(task.picture(output)).save(place / f"{Path(image.name).stem}.png")


def _timed(found: Evaluation, device: str, threads: int | None, runs: int) -> Evaluation:
    subject = found.subject
    task = subject.task.interface
    try:
        # First, so that a network that memory isn't enough for ends another process than this.
        memory = measure_peak_memory(subject.architecture, task, found.input, device=device, threads=threads)
    except RuntimeMeasurementError as error:
        return replace(found, notes=(*found.notes, f"runtime and peak memory weren't measured: {error}"))
    network = subject.networks[0] if subject.networks else build(subject.architecture, task)
    latency = measure_latency(network, task, found.input, device=device, threads=threads, runs=runs)
    return replace(found, latency=latency, memory=memory)


def _notes(subject: Subject) -> Iterator[str]:
    if not subject.networks:
        file = subject.published.checkpoint if subject.published else ""
        hint = f" (its official ones are in {file})" if file else ""
        yield f"costs only: quality needs trained weights, --weights FILE{hint}"
    if subject.published:
        yield from subject.published.notes


def _warnings(subject: Subject, results: Sequence[SetResult]) -> Iterator[str]:
    first = subject.task.objectives[0]
    for result in results:
        ours, trivial = ({m.name: m for m in ms}.get(first) for ms in (result.measurements, result.trivial))
        if ours is None or trivial is None:
            continue
        worse = ours.value < trivial.value if ours.direction == "max" else ours.value > trivial.value
        if worse:
            yield (
                f"{result.data}: worse than {subject.task.baseline_name} ({first} {ours.value:.2f} against "
                f"{trivial.value:.2f} {trivial.unit}): is the value range right? {subject.name} works on "
                f"0..{subject.value_range}, and were the weights trained for {subject.task.interface.name}?"
            )


@dataclass(frozen=True)
class BaselineRow:
    """A published network with our cost of it at its task's input size."""

    published: Published
    cost: Cost

    @property
    def gmacs(self) -> float:
        """As its figures count."""
        return self.cost.gmacs(self.published.figures.convention)

    def record(self) -> dict[str, Any]:
        """All of it, for JSON."""
        network, figures = self.published, self.published.figures
        return {
            "name": network.name,
            "task": network.task.name,
            "input": "x".join(map(str, network.task.cost_input)),
            "label": network.architecture.label,
            "digest": network.architecture.digest,
            "parameters": self.cost.parameters,
            "gmacs": self.gmacs,
            "convention": figures.convention,
            "gmacs_exact": self.cost.gmacs(),
            "gmacs_challenge": self.cost.gmacs("challenge"),
            "activations": self.cost.activations,
            "convolutions": self.cost.convolutions,
            "published": {
                "parameters": figures.parameters,
                "gmacs": figures.gmacs,
                "activations": figures.activations,
                "convolutions": figures.convolutions,
                "psnr_y": figures.psnr_y,
                "source": figures.source,
            },
            "measured": network.measured,
            "paper": network.paper,
            "code": network.code,
            "weights": network.checkpoint,
            "weights_sha256": network.checkpoint_sha256,
            "notes": list(network.notes),
        }


def baseline_rows(task: str | None = None) -> list[BaselineRow]:
    """All published networks, or those of one task.

    Raises: UnknownNameError: for an unknown task.
    """
    wanted = None if task is None else get_task(task).interface.name
    found = [published(name) for name in baseline_names()]
    return [
        BaselineRow(network, cost(network.architecture, network.task))
        for network in found
        if wanted in (None, network.task.name)
    ]

"""What ``evaluate`` and ``baselines`` find: published and own networks, measured as the challenges measure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import PIL.Image
import torch

from evaluators.data.images import ImageSet
from evaluators.data.pairs import PairSet
from evaluators.data.tensors import to_tensor
from evaluators.inference.ensemble import TURNS, restore_averaged
from evaluators.measure.onnx_cost import onnx_cost
from evaluators.measure.runtime import (
    WARM_UP,
    Latency,
    PeakMemory,
    RuntimeMeasurementError,
    arithmetic,
    measure_latencies,
    measure_peak_memory,
    pass_times,
    place,
    warm_up,
)
from evaluators.tasks import RestorationTask, Split, get_task
from evaluators.trial import baseline_score
from search.networks.inspect import input_size
from search.networks.subjects import Member, Subject
from spaces.baselines import Published, baseline_names, published
from spaces.build import build, cost
from spaces.cost import Cost
from spaces.measurement import Measurement
from spaces.parts import Network
from spaces.task import Task

_PLAIN_NAMES = (
    "hr",
    "gt",
    "target",
    "targets",
    "sharp",
    "clean",
    "groundtruth",
    "images",
    "train",
    "val",
    "test",
)  # that say what, not of which set

Advance = Callable[[str, int], None]  # data set, images done


class EvaluationError(RuntimeError):
    """An evaluation that can't be finished."""


@dataclass(frozen=True)
class SetResult:
    """Quality on one set.

    Attributes:
        trivial: The same measurements of the task's trivial baseline.
        scores: Image to metric to value.
        runtimes_ms: Image to the time of its passes; empty where it wasn't measured.
        runtime_protocol: How they were taken.
    """

    data: str
    images: int
    measurements: tuple[Measurement, ...]
    trivial: tuple[Measurement, ...]
    scores: dict[str, dict[str, float]]
    notes: tuple[str, ...] = ()
    runtimes_ms: dict[str, float] = field(default_factory=dict)
    runtime_protocol: str = ""

    @property
    def runtime_ms(self) -> float | None:
        """Mean over the images, as the challenges give it; None where it wasn't measured."""
        return mean(self.runtimes_ms.values()) if self.runtimes_ms else None


@dataclass(frozen=True)
class NetworkCosts:
    """Cost of one network, of one pass.

    Attributes:
        input: (height, width) that all is of.
        uncounted: Operators of a foreign ONNX file that may multiply and aren't counted; with any, only the
            parameters of ``cost`` are whole.
        latency, memory: None where they weren't measured.
    """

    member: Member
    input: tuple[int, int]
    cost: Cost
    uncounted: tuple[str, ...] = ()
    latency: Latency | None = None
    memory: PeakMemory | None = None


@dataclass(frozen=True)
class Evaluation:
    """All that was found of a subject.

    Attributes:
        passes: Forward passes for one output: networks times flips and rotations.
        costs: Of each architecture once.
        notes, warnings: Sentences for the reader.
    """

    subject: Subject
    passes: int
    costs: tuple[NetworkCosts, ...]
    sets: tuple[SetResult, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def resolve_device(wanted: str, subjects: Sequence[Subject] = ()) -> str:
    """``cpu`` or ``cuda`` from ``auto``, ``cpu`` or ``cuda``, for all of the subjects.

    Raises: ValueError: for another word, or where there is no CUDA device, or an ONNX file, which runs on the CPU.
    """
    file = next((m.name for s in subjects for m in s.members if m.onnx), None)
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() and file is None else "cpu"
    if wanted not in ("cpu", "cuda"):
        raise ValueError(f"--device is auto, cpu or cuda, got '{wanted}'")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no CUDA device here; use --device cpu")
    if wanted == "cuda" and file is not None:
        raise ValueError(f"--device cuda: {file} is an ONNX file, which runs on the CPU; use --device cpu")
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
    split = _last_split(task, data) if inputs is None else None
    if split:
        return _renamed(task.pairs(data, skip_bad=skip_bad, split=split), data.resolve().name)
    pairs = task.pairs(data, inputs, skip_bad=skip_bad)
    return _renamed(pairs, _long_name(data)) if pairs.name.lower() in _PLAIN_NAMES else pairs


def _last_split(task: RestorationTask, data: Path) -> Split | None:
    """What is to be tested on in a data set of a known layout; None for a folder of another kind."""
    splits: tuple[Split, ...] = ("test", "validation", "train")
    return next((s for s in splits if data.is_dir() and task.has_split(data, s)), None)


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
    measured: bool = True,
    size: str | None = None,
    save: Path | None = None,
    advance: Advance | None = None,
) -> Evaluation:
    """Quality on the sets (where the subject has weights), cost and memory; ``with_latencies`` adds the runtime.

    Args:
        turns: 1, or 8 for the test-time ensemble.
        measured: False leaves the runtime on the sets, and memory, out.
        size: ``CxHxW`` that cost, runtime and memory are of; the task's by default.
        save: Folder that output pictures are written to.

    Raises:
        ValueError: for a size that isn't one, or an ensemble where the input has a direction.
        EvaluationError: if memory runs out or an output is NaN.
    """
    asked = input_size(size, subject.task.interface)
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
        results.append(_on_set(subject, pairs, turns, device, measured, save, advance))
    task = subject.task.interface
    costs = [network_cost(member, task, asked) for member in subject.different]
    notes = list(_notes(subject, costs))
    if measured:
        try:
            costs = [_with_memory(c, task, device, threads) for c in costs]
        except RuntimeMeasurementError as error:
            notes.append(f"Runtime and peak memory weren't measured: {error}.")
    return Evaluation(
        subject,
        turns * len(subject.members),
        tuple(costs),
        tuple(results),
        notes=tuple(notes),
        warnings=tuple(_warnings(subject, results)),
    )


def check_comparable(subjects: Sequence[Subject]) -> None:
    """Nothing, if the same sets say something of all of them.

    Raises: ValueError: where they aren't all of one task.
    """
    first = subjects[0]
    for subject in subjects[1:]:
        if subject.task is not first.task:
            raise ValueError(
                f"--compare: {subject.name} is for {subject.task.interface.name}, {first.name} for "
                f"{first.task.interface.name}; compare networks of one task"
            )


def network_cost(member: Member, task: Task, size: tuple[int, int]) -> NetworkCosts:
    """What a pass at an input of that (height, width) costs; at the file's own where it takes only one."""
    file = member.onnx
    if file:
        size = file.fixed_size or size
    if member.architecture is not None:
        return NetworkCosts(member, size, cost(member.architecture, task, size=size))
    assert file is not None
    counted = onnx_cost(file.path, (1, file.in_channels, *file.size_requirements.padded(*size)))
    return NetworkCosts(member, size, counted.cost, counted.uncounted)


def _on_set(
    subject: Subject,
    pairs: PairSet,
    turns: int,
    device: str,
    timed: bool,
    save: Path | None,
    advance: Advance | None,
) -> SetResult:
    outputs: list[np.ndarray] = []
    runtimes: list[float] = []
    task = subject.task
    images = [image.pixels for image in pairs.inputs]
    with _failures(pairs, outputs):
        if timed:
            first = to_tensor(images[0][None], device)
            warm_up(subject.networks, first, scale=task.interface.scale, device=device)
        with pass_times(subject.networks if timed else (), device) as passes:
            for output in restore_averaged(
                subject.networks,
                images,
                scale=task.interface.scale,
                turns=turns,
                device=device,
                finish=task.finish,
            ):
                outputs.append(output)
                runtimes.append(sum(passes))
                passes.clear()
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
        dict(zip(scores, runtimes, strict=True)) if timed else {},
        f"mean over the images of one run each after {WARM_UP}, "
        f"{', '.join(sorted(set(map(arithmetic, subject.networks))))}, {place(device, torch.get_num_threads())}",
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


def _with_memory(found: NetworkCosts, task: Task, device: str, threads: int | None) -> NetworkCosts:
    member = found.member
    what = member.onnx.path if member.onnx else member.architecture
    assert what is not None
    return replace(found, memory=measure_peak_memory(what, task, found.input, device=device, threads=threads))


def with_latencies(
    found: Sequence[Evaluation], *, device: str = "cpu", threads: int | None = None, runs: int = 10
) -> list[Evaluation]:
    """The evaluations with the runtime of all their networks, timed in turns.

    Only of those whose memory could be measured: that is done in another process, which a network that memory isn't
    enough for may end.
    """
    task = found[0].subject.task.interface
    timed = [costs for evaluation in found for costs in evaluation.costs if costs.memory]
    networks = [(runnable(costs.member, task), costs.input) for costs in timed]
    latencies = iter(
        measure_latencies(networks, task, device=device, threads=threads, runs=runs) if networks else ()
    )
    return [
        replace(
            evaluation,
            costs=tuple(
                replace(costs, latency=next(latencies)) if costs.memory else costs
                for costs in evaluation.costs
            ),
        )
        for evaluation in found
    ]


def runnable(member: Member, task: Task) -> Network:
    """Its network; without weights one of that architecture, which takes as long."""
    if member.network is None:
        assert member.architecture is not None
        return build(member.architecture, task)
    return member.network


def _notes(subject: Subject, costs: Sequence[NetworkCosts]) -> Iterator[str]:
    known = {member.name: member.published for member in subject.members if member.published}
    if not subject.networks:
        files = ", ".join(network.checkpoint for network in known.values() if network.checkpoint)
        hint = f" (official ones: {files})" if files else ""
        yield f"Costs only: quality needs trained weights, {subject.members[0].name}=FILE{hint}."
    for member in subject.different:
        if member.onnx and member.onnx.fixed_size:
            size = "x".join(map(str, member.onnx.fixed_size))
            yield f"{member.name}: takes only {size}; smaller images are padded to it, all figures are of that size."
    for found in costs:
        if found.uncounted:
            yield (
                f"{found.member.name}: no GMACs, because its operators {', '.join(found.uncounted)} can't be counted."
            )
    for name, network in known.items():
        yield from (f"{name}: {note}" if len(known) > 1 else note for note in network.notes)


def _warnings(subject: Subject, results: Sequence[SetResult]) -> Iterator[str]:
    first = subject.task.objectives[0]
    ranges = ", ".join(f"{member.name} works on 0..{member.value_range}" for member in subject.different)
    for result in results:
        ours, trivial = ({m.name: m for m in ms}.get(first) for ms in (result.measurements, result.trivial))
        if ours is None or trivial is None:
            continue
        worse = ours.value < trivial.value if ours.direction == "max" else ours.value > trivial.value
        if worse:
            yield (
                f"{result.data}: worse than {subject.task.baseline_name} ({first} {ours.value:.2f} against "
                f"{trivial.value:.2f} {trivial.unit}): is the value range right? {ranges}, and were the weights "
                f"trained for {subject.task.interface.name}?"
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

"""Evaluates one architecture from start to end: build, train, score at every rung, hand over the weights.

Plain Python: runs in a worker of any kind and speaks to its caller by the events that it yields.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from evaluators.data.pairs import PairSet
from evaluators.inference.restoration import restore
from evaluators.tasks import get_task
from evaluators.training.distillation import TeacherSpec, load_bytes
from evaluators.training.inheritance import inherit
from evaluators.training.loop import Training, TrainingDivergedError
from evaluators.training.recipe import Recipe
from spaces.architecture import Architecture
from spaces.build import build
from spaces.measurement import Measurement
from spaces.parts import Network


@dataclass(frozen=True)
class TrialData:
    """What every trial of a study trains and is scored on."""

    train: PairSet
    validation: PairSet


@dataclass(frozen=True)
class Job:
    """One trial, as data.

    Attributes:
        architecture: Its canonical JSON.
        rungs: Steps at which the network is scored; the last is the end of the training or, before that of the
            recipe, where the trial pauses.
        seed: Of the initial weights and the batches.
        ssim: SSIM is scored at every rung, not at the end of the recipe only: it takes 20 times as long as PSNR.
        threads: Torch threads; 1 unless the machine is otherwise idle.
        checkpoint: Where to go on from.
        seconds: Training time already spent before the checkpoint.
        start: Initial weights as safetensors, for a network that was trained before; random ones if None.
        parent: Canonical JSON of the architecture that ``start`` is of, where that is another; what corresponds is
            taken.
        keeps: Rungs that come with the weights, for other networks to start from.
        teacher: For a recipe that distils.
        cache: A folder where the teacher's outputs are kept, for tasks whose training inputs don't change; empty for
            none. Workers of one machine may share it.
    """

    architecture: str
    task: str
    recipe: Recipe
    rungs: tuple[int, ...]
    seed: int
    device: str = "cpu"
    threads: int = 1
    checkpoint: bytes | None = field(default=None, repr=False)
    seconds: float = 0.0
    start: bytes | None = field(default=None, repr=False)
    teacher: TeacherSpec | None = None
    cache: str = ""
    ssim: bool = False
    parent: str = ""
    keeps: tuple[int, ...] = ()


@dataclass(frozen=True)
class Advanced:
    """Training went on: steps done and the mean loss of the last of them."""

    step: int
    loss: float


@dataclass(frozen=True)
class RungReached:
    """The network was scored at a rung; the checkpoint goes on from there exactly.

    Attributes:
        weights: The averaged ones as safetensors, where the job keeps those of this rung.
    """

    step: int
    loss: float
    seconds: float
    measurements: tuple[Measurement, ...]
    checkpoint: bytes = field(repr=False)
    weights: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Finished:
    """The last rung's scores, and the averaged weights as safetensors."""

    seconds: float
    measurements: tuple[Measurement, ...]
    weights: bytes = field(repr=False)


@dataclass(frozen=True)
class Paused:
    """The job's last rung is before the end of the recipe, and was reached: its checkpoint goes on from there."""


@dataclass(frozen=True)
class Failed:
    """The trial can't be finished; trying again wouldn't help."""

    reason: str


Event = Advanced | RungReached | Paused | Finished | Failed


def evaluate(job: Job, data: TrialData) -> Iterator[Event]:
    """Train and score one architecture.

    A loss that is no longer finite, a network that puts out NaN, or memory that runs out ends in ``Failed``.

    Raises: ValueError: for a job that can't be done: an unknown block, weights that don't fit (naming tensors), a
        teacher of another task or, where the recipe needs one, none.
    """
    torch.set_num_threads(job.threads)
    try:
        yield from _evaluate(job, data)
    except (TrainingDivergedError, FloatingPointError) as error:
        yield Failed(f"diverged: {error}")
    except (MemoryError, torch.OutOfMemoryError) as error:
        yield Failed(f"out of memory: {error}")
    except RuntimeError as error:
        # Torch's CPU allocator raises a plain RuntimeError.
        if "not enough memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        yield Failed(f"out of memory: {error}")


def _evaluate(job: Job, data: TrialData) -> Iterator[Event]:
    task = get_task(job.task)
    torch.manual_seed(job.seed)
    architecture = Architecture.from_json(job.architecture)
    network = build(architecture, task.interface)
    if job.start is not None and job.parent:
        parent = Architecture.from_json(job.parent)
        network.load_state_dict(inherit(architecture, parent, load_safetensors(job.start), task.interface))
    elif job.start is not None:
        load_bytes(network, job.start)
    teacher = None
    if job.teacher is not None and job.recipe.taught:
        teacher = job.teacher.build(task.interface, device=job.device, cache=job.cache)
    patches = task.patch_source(data.train)
    training = Training(network, patches, job.recipe, seed=job.seed, device=job.device, teacher=teacher)
    if job.checkpoint is not None:
        training.restore(job.checkpoint)
    started = time.perf_counter() - job.seconds
    measurements: tuple[Measurement, ...] = ()
    for rung in job.rungs:
        if rung <= training.step:
            continue
        loss = 0.0
        for progress in training.run(rung):
            loss = progress.loss
            yield Advanced(progress.step, loss)
        ssim = job.ssim or rung == job.recipe.steps
        measurements = score(training.result(), job.task, data.validation, ssim=ssim, device=job.device)
        weights = weights_of(training.result()) if rung in job.keeps else b""
        yield RungReached(
            rung, loss, time.perf_counter() - started, measurements, training.checkpoint(), weights
        )
    if training.step < job.recipe.steps:
        yield Paused()
        return
    if not measurements:  # a worker that was lost between the last rung and here
        measurements = score(training.result(), job.task, data.validation, device=job.device)
    yield Finished(time.perf_counter() - started, measurements, weights_of(training.result()))


def score(
    network: Network, task_name: str, pairs: PairSet, *, ssim: bool = True, device: str = "cpu"
) -> tuple[Measurement, ...]:
    """Mean PSNR (and SSIM) over a set of pairs under the task's protocols."""
    task = get_task(task_name)
    inputs = [image.pixels for image in pairs.inputs]
    outputs = restore(network, inputs, scale=task.interface.scale, device=device, finish=task.finish)
    return task.measure(outputs, pairs, ssim=ssim)


def baseline_score(task_name: str, pairs: PairSet, *, ssim: bool = True) -> tuple[Measurement, ...]:
    """The same for the task's trivial baseline."""
    task = get_task(task_name)
    outputs = [task.baseline(image.pixels) for image in pairs.inputs]
    return task.measure(outputs, pairs, ssim=ssim)


def weights_of(network: torch.nn.Module) -> bytes:
    """The network's tensors as safetensors, on the CPU and contiguous."""
    return save_safetensors({name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()})

"""Times a few training steps and scorings of some networks, on the worker that is to train such networks.

The figures are wall time, as a time limit counts: what other work on the machine takes is in them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from evaluators.data.images import ImageSet
from evaluators.data.pairs import PairSet
from evaluators.inference.restoration import restore
from evaluators.measure.runtime import peak_memory
from evaluators.tasks import RestorationTask, get_task
from evaluators.training.loop import Training
from evaluators.training.recipe import Recipe
from evaluators.trial import Event, Job, TrialData, evaluate
from spaces.architecture import Architecture
from spaces.build import build

MOST_STEPS = 40  # of one network: by then the mean is known
CROP = 96  # pixels a side of the input that is scored; time is in proportion to pixels
SHARE_OF_SCORING = 0.25  # of the time for one network


@dataclass(frozen=True)
class TimingJob:
    """Networks to be timed one after another.

    Attributes:
        architectures: Canonical JSON. The first is timed in any case, the others while there is time.
        limit_s: Seconds after which no further network is begun; shared evenly.
    """

    architectures: tuple[str, ...]
    task: str
    recipe: Recipe
    limit_s: float
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class NetworkTime:
    """Seconds that one network takes.

    Attributes:
        architecture: Its canonical JSON.
        start_s: Until its first step is done: building it, and what a first step takes more than others.
        step_s: A training step.
        score_s: Scoring the validation images by PSNR.
        ssim_s: What SSIM takes on top of that.
    """

    architecture: str
    start_s: float
    step_s: float
    score_s: float
    ssim_s: float


@dataclass(frozen=True)
class Timed:
    """What a worker measured.

    Attributes:
        seconds: That the timing took.
        memory_bytes: Peak memory of the worker's process so far.
    """

    networks: tuple[NetworkTime, ...]
    seconds: float
    memory_bytes: int


def work(job: Job | TimingJob, data: TrialData) -> Iterator[Event | Timed]:
    """What a worker does with a job of either kind."""
    if isinstance(job, TimingJob):
        yield time_networks(job, data)
    else:
        yield from evaluate(job, data)


def time_networks(job: TimingJob, data: TrialData) -> Timed:
    """Train each network for a few steps and score a part of an image with it.

    Raises: ValueError: for a network that can't be built.
    """
    torch.set_num_threads(job.threads)
    crop = _crop(data.validation)
    whole = _pixels(data.validation) / _pixels(crop)
    # Once untimed: what is loaded at first use is part of a worker's start.
    _time(job, job.architectures[0], data, crop, whole, until=0.0)
    begun = time.perf_counter()
    share = job.limit_s / len(job.architectures)
    measured: list[NetworkTime] = []
    for position, architecture in enumerate(job.architectures):
        if measured and time.perf_counter() - begun >= job.limit_s:
            break
        until = begun + share * (position + 1 - SHARE_OF_SCORING)
        measured.append(_time(job, architecture, data, crop, whole, until))
    return Timed(tuple(measured), time.perf_counter() - begun, peak_memory()[0])


def _time(
    job: TimingJob, architecture: str, data: TrialData, crop: PairSet, whole: float, until: float
) -> NetworkTime:
    task = get_task(job.task)
    started = time.perf_counter()
    network = build(Architecture.from_json(architecture), task.interface)
    recipe = job.recipe.scaled(max(job.recipe.steps, MOST_STEPS + 2))  # a short one isn't to end meanwhile
    training = Training(network, task.patch_source(data.train), recipe, seed=0, device=job.device)
    _run(training, 1)
    first = time.perf_counter()
    steps, ended = 0, first
    while steps < 1 or (ended < until and steps < MOST_STEPS):
        _run(training, 1)
        steps += 1
        ended = time.perf_counter()
    step_s = (ended - first) / steps
    outputs = _restore(training, task, crop, job.device)
    restored = time.perf_counter()
    task.measure(outputs, crop, ssim=False)
    scored = time.perf_counter()
    task.measure(outputs, crop, ssim=True)
    ssim_s = time.perf_counter() - scored - (scored - restored)
    return NetworkTime(
        architecture,
        start_s=max(0.0, first - started - step_s),
        step_s=step_s,
        score_s=(scored - ended) * whole,
        ssim_s=max(0.0, ssim_s) * whole,
    )


def _run(training: Training, steps: int) -> None:
    for _ in training.run(training.step + steps):
        pass


def _restore(training: Training, task: RestorationTask, pairs: PairSet, device: str) -> list[np.ndarray]:
    inputs = [image.pixels for image in pairs.inputs]
    return restore(training.result(), inputs, scale=task.interface.scale, device=device, finish=task.finish)


def _crop(pairs: PairSet) -> PairSet:
    """The top left of the first pair."""
    one = pairs.pick([0])
    inputs, targets = (
        ImageSet(images.name, tuple(image.cropped(side, side) for image in images))
        for images, side in ((one.inputs, CROP), (one.targets, CROP * pairs.scale))
    )
    return PairSet(inputs, targets, pairs.scale)


def _pixels(pairs: PairSet) -> int:
    return sum(image.pixels.shape[0] * image.pixels.shape[1] for image in pairs.inputs)

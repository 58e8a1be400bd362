"""A photograph, a network and recipes that are small enough to train in a test."""

from __future__ import annotations

from functools import cache

import torch

from evaluators.data.images import Image, ImageSet
from evaluators.data.pairs import PairSet, PatchSource
from evaluators.data.photographs import embedded
from evaluators.tasks import RestorationTask, get_task
from evaluators.tasks.super_resolution import SuperResolution
from evaluators.training.recipe import Precision, Recipe, Stage
from spaces.architecture import Block
from spaces.build import build
from spaces.parts import Network
from spaces.topologies.chain import Chain

TINY = Chain(width=8, blocks=(Block("residual"),), fusion="plain", image_skip="bilinear")
TASK = "sr-x2"


@cache
def _photographs() -> ImageSet:
    return embedded("train")


@cache
def photograph(name: str = "astronaut.png", side: int = 96) -> ImageSet:
    """The middle of an embedded photograph."""
    pixels = next(image.pixels for image in _photographs() if image.name == name)
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return ImageSet(f"part of {name}", (Image(name, pixels[top : top + side, left : left + side]),))


def task() -> RestorationTask:
    return get_task(TASK)


@cache
def pairs(name: str = "astronaut.png", side: int = 96) -> PairSet:
    """The photograph and its half."""
    return SuperResolution(2).degrade(photograph(name, side))


def source(data: PairSet) -> PatchSource:
    return PatchSource([i.pixels for i in data.inputs], [i.pixels for i in data.targets], data.scale)


def network(seed: int = 0, architecture: Chain = TINY) -> Network:
    torch.manual_seed(seed)
    return build(architecture, task().interface)


def recipe(
    *steps: int, learning_rate: float = 2e-3, precision: Precision = "float32", ema: float = 0.999
) -> Recipe:
    """L1 for the first number of steps, then L2, then L1 ..."""
    losses = ("l1", "l2")
    stages = tuple(Stage(n, losses[i % 2], learning_rate / 10**i, 4, 16) for i, n in enumerate(steps))  # type: ignore[arg-type]
    return Recipe(stages, ema=ema, precision=precision)

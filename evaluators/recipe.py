"""How a network is trained, as data."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

Loss = Literal["l1", "l2", "charbonnier", "psnr", "mu_l1"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Stage:
    """A stretch of training with one loss and one cosine schedule.

    Attributes:
        steps: Optimiser steps.
        loss: A name of ``evaluators.losses``: ``l1`` (mean absolute error), ``l2`` (mean squared error), ...
        learning_rate: At the start of the stage; it falls to 1/100 of that along a half cosine.
        batch: Patches a step.
        patch: Side of the input patch in pixels; the target's is scale times as large.
    """

    steps: int
    loss: Loss
    learning_rate: float
    batch: int = 16
    patch: int = 24

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "patch"):
            if getattr(self, name) < 1:
                raise ValueError(f"a stage's '{name}' is at least 1, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"a stage's 'learning_rate' is positive, got {self.learning_rate}")

    def rate(self, step: int) -> float:
        """Learning rate at a step of this stage, counted from 0."""
        floor = self.learning_rate / 100
        return floor + (self.learning_rate - floor) * (1 + cos(pi * step / self.steps)) / 2


@dataclass(frozen=True)
class Recipe:
    """Stages in order, and what holds for all of them.

    Attributes:
        ema: Decay of the exponential moving average of the weights, which is what is scored and kept;
            it warms up as (1 + step) / (10 + step).
        precision: Of the training step's arithmetic: ``auto`` is bfloat16 where the processor or GPU has
            hardware for it, else float32. Scoring is always float32.
    """

    stages: tuple[Stage, ...]
    ema: float = 0.999
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("a recipe needs at least one stage, got none")
        if not 0 <= self.ema < 1:
            raise ValueError(f"'ema' is in [0, 1), got {self.ema}")

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def largest_patch(self) -> int:
        """Side of the largest input patch, in pixels."""
        return max(stage.patch for stage in self.stages)

    def at(self, step: int) -> tuple[Stage, int]:
        """The stage that a step belongs to, and the step counted within it."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise IndexError("step is beyond the recipe")


def two_stages(
    steps: int,
    *,
    losses: tuple[Loss, Loss] = ("l1", "l2"),
    learning_rate: float = 2e-3,
    batch: int = 16,
    patch: int = 24,
    **options: float,
) -> Recipe:
    """The default recipe: one loss for 9/10 of the steps, then another at a tenth of the learning rate.

    RFDN trains so at full length (L1, then L2 at a lower rate; https://arxiv.org/abs/2009.11551).
    """
    fine = steps // 10
    stages = [Stage(steps - fine, losses[0], learning_rate, batch, patch)]
    if fine:
        stages.append(Stage(fine, losses[1], learning_rate / 10, batch, patch))
    return Recipe(tuple(stages), **options)  # type: ignore[arg-type]

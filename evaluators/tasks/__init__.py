"""Tasks: what is restored, from which data, scored how.

A file here registers its tasks; nothing else is edited.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from evaluators.data.images import viewable
from evaluators.data.layouts import find_files
from evaluators.data.pairs import Degrade, PairSet, PatchSource
from evaluators.inference.restoration import quantise
from evaluators.measure.metrics import per_image, summarise
from evaluators.training.recipe import Loss
from spaces.measurement import Measurement
from spaces.registry import Catalogue
from spaces.task import Task

Split = Literal["train", "validation", "test"]


class RestorationTask(ABC):
    """A task's data, trivial baseline and scoring.

    Attributes:
        interface: What its networks take and give.
        border: Pixels cropped per side before scoring.
        baseline_name: The trivial method that every network must beat.
        objectives: Names of the measurements that can be searched for, the default first.
        losses: Training losses: of the first 9/10 of the steps, and of the last.
        patch: Default side of a training patch in input pixels.
        space: Name of the default search space.
        flips: Training patches are flipped and rotated.
    """

    interface: Task
    border: int
    baseline_name: str
    objectives: tuple[str, ...] = ("psnr_y", "psnr_rgb")
    losses: tuple[Loss, Loss] = ("l1", "l2")
    patch: int = 24
    space: str = "sr-card"
    flips: bool = True

    @abstractmethod
    def embedded(self, split: Split) -> PairSet:
        """The default data: photographs that ship inside installed packages."""

    @abstractmethod
    def pairs(
        self,
        targets: Path,
        inputs: Path | None = None,
        *,
        minimum: int = 1,
        skip_bad: bool = False,
        split: Split = "train",
    ) -> PairSet:
        """Pairs from a folder of target images and, if given, a folder of their degraded inputs.

        Args:
            targets: Target images, or the folder of a data set of a known layout (``evaluators.data.layouts``).
            split: Of such a data set, where its folder holds several.
            minimum: Smallest height and width of an input image.
            skip_bad: Leave out images that can't be used instead of raising.
        """

    def has_split(self, folder: Path, split: Split) -> bool:
        """Whether the folder is of a known data set that has this split."""
        return bool(find_files(folder, self.interface.name, split))

    @abstractmethod
    def baseline(self, pixels: np.ndarray) -> np.ndarray:
        """The trivial method's output for an (H, W, C) input, in what ``finish`` gives."""

    def degradation(self, pairs: PairSet) -> Degrade | None:
        """What makes training inputs anew for every batch; None to cut them from the pairs' inputs."""
        return None

    def patch_source(self, pairs: PairSet) -> PatchSource:
        """Where training patches of these pairs come from."""
        inputs, targets = ([image.pixels for image in s] for s in (pairs.inputs, pairs.targets))
        return PatchSource(inputs, targets, pairs.scale, degrade=self.degradation(pairs), flips=self.flips)

    def finish(self, output: Tensor) -> np.ndarray:
        """(H, W, C) pixels to score and show from a network's (1, C, H, W) output: 8 bits by default."""
        return quantise(output)

    def picture(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 for the eye from what ``finish`` gives."""
        return viewable(pixels)

    def per_image(
        self, outputs: Sequence[np.ndarray], pairs: PairSet, *, ssim: bool = True
    ) -> dict[str, dict[str, float]]:
        """Image name to the task's metrics of it."""
        targets = [image.pixels for image in pairs.targets]
        return per_image(outputs, targets, border=self.border, data=pairs.targets, ssim=ssim)

    def summarise(self, scores: dict[str, dict[str, float]], pairs: PairSet) -> tuple[Measurement, ...]:
        """The means of what ``per_image`` gives, with unit and protocol."""
        return summarise(scores, border=self.border, data=pairs.targets)

    def measure(
        self, outputs: Sequence[np.ndarray], pairs: PairSet, *, ssim: bool = True
    ) -> tuple[Measurement, ...]:
        """The task's metrics, averaged over the images."""
        return self.summarise(self.per_image(outputs, pairs, ssim=ssim), pairs)


_TASKS: Catalogue[RestorationTask] = Catalogue("task", __name__)


def register(task: RestorationTask) -> RestorationTask:
    """Make a task known by its interface's name.

    Raises: ValueError: if the name is taken.
    """
    _TASKS.add({task.interface.name: task})
    return task


def task_names() -> list[str]:
    """Names of all tasks."""
    return _TASKS.names()


def get_task(name: str) -> RestorationTask:
    """The task of that name.

    Raises: UnknownNameError: with the nearest name.
    """
    return _TASKS[name]

"""Tasks: what is restored, from which data, scored how.

A file here registers its tasks; nothing else is edited.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

import numpy as np

from evaluators.pairs import PairSet
from spaces.registry import UnknownNameError
from spaces.task import Task

Split = Literal["train", "validation", "test"]


class RestorationTask(ABC):
    """A task's data, trivial baseline and scoring.

    Attributes:
        interface: What its networks take and give.
        border: Pixels cropped per side before scoring.
        baseline_name: The trivial method that every network must beat.
    """

    interface: Task
    border: int
    baseline_name: str

    @abstractmethod
    def embedded(self, split: Split) -> PairSet:
        """The default data: photographs that ship inside installed packages."""

    @abstractmethod
    def pairs(
        self, targets: Path, inputs: Path | None = None, *, minimum: int = 1, skip_bad: bool = False
    ) -> PairSet:
        """Pairs from a folder of target images and, if given, a folder of their degraded inputs.

        Args:
            minimum: Smallest height and width of an input image.
            skip_bad: Leave out images that can't be used instead of raising.
        """

    @abstractmethod
    def baseline(self, pixels: np.ndarray) -> np.ndarray:
        """The trivial method's output for an (H, W, C) uint8 input."""


_TASKS: dict[str, RestorationTask] = {}


def register(task: RestorationTask) -> RestorationTask:
    """Make a task known by its interface's name.

    Raises: ValueError: if the name is taken.
    """
    if task.interface.name in _TASKS:
        raise ValueError(f"task '{task.interface.name}' is registered twice")
    _TASKS[task.interface.name] = task
    return task


def task_names() -> list[str]:
    """Names of all tasks."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return sorted(_TASKS)


def get_task(name: str) -> RestorationTask:
    """The task of that name.

    Raises: UnknownNameError: with the nearest name.
    """
    if name not in task_names():
        raise UnknownNameError("task", name, task_names())
    return _TASKS[name]

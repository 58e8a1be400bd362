"""The public Python API, and the one name by which scripts import pixelfront.

Our packages have plain names: a script called ``search.py``, or a package ``results`` beside it, would be imported
in their place. Importing this module first makes ``search``, ``spaces``, ``evaluators`` and ``results`` ours wherever
the script lies. Each public name is imported when it is first used, so that reading results starts without torch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluators.channels.groups import Channels as Channels
    from evaluators.data.photographs import embedded as embedded
    from evaluators.degradations.bicubic import downscale as downscale
    from evaluators.degradations.bicubic import upscale as upscale
    from evaluators.measure.metrics import psnr as psnr
    from evaluators.measure.metrics import ssim as ssim
    from evaluators.pruning.prune import prune as prune
    from evaluators.tasks import get_task as get_task
    from evaluators.tasks import task_names as task_names
    from evaluators.training.distillation import Teacher as Teacher
    from evaluators.training.loop import Training as Training
    from evaluators.training.recipe import load_recipe as load_recipe
    from results.analysis.front import hypervolume as hypervolume
    from results.analysis.front import nondominated as nondominated
    from results.analysis.overview import as_json as as_json
    from results.analysis.overview import overview as overview
    from results.analysis.overview import rows as rows
    from results.store.store import Store as Store
    from search.stages.search import Place as Place
    from search.stages.search import run_search as run_search
    from spaces.architecture import Architecture as Architecture
    from spaces.architecture import Block as Block
    from spaces.baselines import baseline as baseline
    from spaces.baselines import baseline_names as baseline_names
    from spaces.baselines import published as published
    from spaces.budget import Budget as Budget
    from spaces.build import build as build
    from spaces.build import cost as cost
    from spaces.build import part_costs as part_costs
    from spaces.catalog import named_space as named_space
    from spaces.catalog import space_names as space_names
    from spaces.checkpoint import load_published as load_published
    from spaces.space import Space as Space
    from spaces.space import chain_space as chain_space
    from spaces.task import DENOISE as DENOISE
    from spaces.task import Task as Task
    from spaces.topologies.chain import Chain as Chain

_NAMES = {  # those above; a test compares them
    "evaluators.channels.groups": ("Channels",),
    "evaluators.data.photographs": ("embedded",),
    "evaluators.degradations.bicubic": ("downscale", "upscale"),
    "evaluators.measure.metrics": ("psnr", "ssim"),
    "evaluators.pruning.prune": ("prune",),
    "evaluators.tasks": ("get_task", "task_names"),
    "evaluators.training.distillation": ("Teacher",),
    "evaluators.training.loop": ("Training",),
    "evaluators.training.recipe": ("load_recipe",),
    "results.analysis.front": ("hypervolume", "nondominated"),
    "results.analysis.overview": ("as_json", "overview", "rows"),
    "results.store.store": ("Store",),
    "search.stages.search": ("Place", "run_search"),
    "spaces.architecture": ("Architecture", "Block"),
    "spaces.baselines": ("baseline", "baseline_names", "published"),
    "spaces.budget": ("Budget",),
    "spaces.build": ("build", "cost", "part_costs"),
    "spaces.catalog": ("named_space", "space_names"),
    "spaces.checkpoint": ("load_published",),
    "spaces.space": ("Space", "chain_space"),
    "spaces.task": ("DENOISE", "Task"),
    "spaces.topologies.chain": ("Chain",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

# A file in a checkout; wheels have it as a package, since type checkers read no single file (PEP 561).
_HOME = Path(__file__).resolve().parents[1 if "__path__" in globals() else 0]
_PACKAGES = ("search", "spaces", "evaluators", "results")


class _OursFirst:
    """Finds our packages where this file is, whatever comes earlier on ``sys.path``."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(_HOME)]) if name in _PACKAGES else None


def _check_not_shadowed() -> None:
    """Check that none of our packages' names is taken.

    Raises: ImportError: if another module of such a name is imported already.
    """
    for name in _PACKAGES:
        module = sys.modules.get(name)
        if module is None:
            continue
        file = getattr(module, "__file__", None)
        if file is None or Path(file).resolve().parent != _HOME / name:
            where = file or ", ".join(getattr(module, "__path__", ["this process"]))
            raise ImportError(
                f"expected '{name}' to be pixelfront's package, got {where}, which was imported before it: rename that "
                "module, as a process can have only one of the name",
                name=name,
            )


_check_not_shadowed()
sys.meta_path.insert(0, _OursFirst)

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'pixelfront' has no attribute '{name}'")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "main"]


def main() -> None:
    """The command ``pixelfront``."""
    from search.cli import main as command

    command()

"""How a network is trained, as data: stages that a TOML file can hold.

The built-in recipes are the files of ``evaluators/training/recipes``; each says what of it is published. A file has one
``[[stage]]`` table per ``Stage`` with its attributes as keys, and may set ``ema`` and ``precision`` above them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from math import cos, isfinite, pi
from pathlib import Path
from typing import Any, Literal, get_args

from spaces.registry import UnknownNameError

Loss = Literal["l1", "l2", "charbonnier", "psnr", "mu_l1", "mu_l2"]
Precision = Literal["auto", "float32", "bfloat16"]

BUILT_IN = Path(__file__).parent / "recipes"
SCHEDULES = ("cosine", "constant", "halve:200000")  # as examples; the numbers are free
TASK_LOSSES = {"first": 0, "last": 1}  # in files: which of the task's two losses


@dataclass(frozen=True)
class Stage:
    """A stretch of training with one loss and one schedule of the learning rate.

    Attributes:
        steps: Optimiser steps.
        loss: A name of ``evaluators.training.losses``: ``l1`` (mean absolute error), ``l2`` (mean squared error), ...
        learning_rate: At the start of the stage.
        batch: Patches a step.
        patch: Side of the input patch in pixels; the target's is scale times as large.
        schedule: ``cosine`` falls to 1/100 of the learning rate along a half cosine, ``cosine:R`` to the rate R;
            ``constant`` stays; ``halve:N`` is halved every N steps.
        distil: lambda, from 0 to 1, in lambda * loss(output, teacher's) + (1 - lambda) * loss(output, target).
        features: Weight of feature matching with the teacher (``evaluators.training.distillation``), from 0.
        sparsity: Weight of the group lasso on the network's channels (``evaluators.channels.groups``), from 0.
        form: In which form convolutions train (``spaces.layers.convolutions.convert``): ``plain``, ``acb`` or
            ``basis:N``.
            Empty keeps that of the stage before, which at first is the architecture's own.
    """

    steps: int
    loss: Loss
    learning_rate: float
    batch: int = 16
    patch: int = 24
    schedule: str = "cosine"
    distil: float = 0.0
    features: float = 0.0
    sparsity: float = 0.0
    form: str = ""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "patch"):
            if getattr(self, name) < 1:
                raise ValueError(f"a stage's '{name}' is at least 1, got {getattr(self, name)}")
        if self.loss not in get_args(Loss):
            raise UnknownNameError("loss", self.loss, list(get_args(Loss)))
        if not (self.learning_rate > 0 and isfinite(self.learning_rate)):
            raise ValueError(f"a stage's 'learning_rate' is positive, got {self.learning_rate}")
        if not 0 <= self.distil <= 1:
            raise ValueError(f"a stage's 'distil' is from 0 to 1, got {self.distil}")
        for name in ("features", "sparsity"):
            if not (getattr(self, name) >= 0 and isfinite(getattr(self, name))):
                raise ValueError(f"a stage's '{name}' is at least 0, got {getattr(self, name)}")
        self._check_schedule()
        if self.form:
            from spaces.layers.convolutions import check_form  # with torch, which recipes do without

            check_form(self.form)

    def _check_schedule(self) -> None:
        kind, colon, number = self.schedule.partition(":")
        if kind not in ("cosine", "constant", "halve"):
            raise UnknownNameError("schedule", self.schedule, list(SCHEDULES))
        if kind == "constant" and colon:
            raise ValueError(f"schedule 'constant' takes no number, got '{self.schedule}'")
        if kind == "halve" and not re.fullmatch("[1-9][0-9]*", number):
            raise ValueError(
                f"expected the steps after which to halve, as in 'halve:1000', got '{self.schedule}'"
            )
        if kind == "cosine" and colon and not 0 <= _number(number) <= self.learning_rate:
            raise ValueError(
                f"expected the last learning rate, from 0 to {self.learning_rate:g}, as in 'cosine:1e-6', got "
                f"'{self.schedule}'"
            )

    @property
    def taught(self) -> bool:
        """Whether the stage needs a teacher."""
        return bool(self.distil or self.features)

    def rate(self, step: int) -> float:
        """Learning rate at a step of this stage, counted from 0."""
        kind, _, number = self.schedule.partition(":")
        if kind == "constant":
            return self.learning_rate
        if kind == "halve":
            return self.learning_rate / 2 ** (step // int(number))
        floor = float(number) if number else self.learning_rate / 100
        return floor + (self.learning_rate - floor) * (1 + cos(pi * step / self.steps)) / 2

    def lasting(self, steps: int) -> Stage:
        """The same stage in another number of steps, its schedule with it."""
        kind, _, number = self.schedule.partition(":")
        schedule = self.schedule
        if kind == "halve":
            schedule = f"halve:{max(1, round(int(number) * steps / self.steps))}"
        return replace(self, steps=steps, schedule=schedule)


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
        if self.precision not in get_args(Precision):
            raise UnknownNameError("precision", self.precision, list(get_args(Precision)))

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def largest_patch(self) -> int:
        """Side of the largest input patch, in pixels."""
        return max(stage.patch for stage in self.stages)

    @property
    def taught(self) -> bool:
        """Whether any stage needs a teacher."""
        return any(stage.taught for stage in self.stages)

    def at(self, step: int) -> tuple[Stage, int]:
        """The stage that a step belongs to, and the step counted within it."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise IndexError("step is beyond the recipe")

    def form_at(self, step: int) -> str:
        """The form that convolutions have before a step; empty is the architecture's own, which ends the recipe."""
        form = ""
        for stage in self.stages:
            form = stage.form or form
            if step < stage.steps:
                return form
            step -= stage.steps
        return ""

    def scaled(self, steps: int) -> Recipe:
        """The same recipe with all stages shortened or lengthened in proportion, ``steps`` in all.

        Raises: ValueError: if there are fewer steps than stages.
        """
        count, total = len(self.stages), self.steps
        if steps < count:
            raise ValueError(
                f"expected at least {count} steps, one for each stage of the recipe, got {steps}"
            )
        stages, done, planned = [], 0, 0
        for i, stage in enumerate(self.stages):
            planned += stage.steps
            after = count - i - 1  # stages that need a step each
            end = min(max(round(steps * planned / total), done + 1), steps - after)
            stages.append(stage.lasting(end - done))
            done = end
        return replace(self, stages=tuple(stages))

    def to_data(self) -> dict[str, Any]:
        """For JSON; what equals its default is left out, so that later attributes don't change it."""
        return _without_defaults(self) | {"stage": [_without_defaults(stage) for stage in self.stages]}

    @classmethod
    def from_data(
        cls, data: Mapping[str, Any], *, losses: Sequence[Loss] = ("l1", "l2"), patch: int | None = None
    ) -> Recipe:
        """Inverse of ``to_data``.

        Args:
            losses: The task's, which a stage may call ``first`` and ``last``.
            patch: Of the stages that don't say theirs; Stage's default if None.

        Raises: ValueError: naming the stage, counted from 1, and the key, for a key that is unknown, missing or of
            another type, or a value out of range.
        """
        stages = data.get("stage", [])
        if not isinstance(stages, list | tuple) or not all(isinstance(stage, Mapping) for stage in stages):
            raise ValueError("'stage' is a list of tables, [[stage]] in TOML")
        rest = {key: value for key, value in data.items() if key != "stage"}
        _check_keys(Recipe, rest, extra="stage")
        made = []
        for number, stage in enumerate(stages, 1):
            try:
                made.append(_stage(stage, losses, patch))
            except ValueError as error:
                raise ValueError(f"stage {number}: {error}") from None
        return cls(tuple(made), **rest)


def _stage(data: Mapping[str, Any], losses: Sequence[Loss], patch: int | None) -> Stage:
    _check_keys(Stage, data)
    if missing := [f.name for f in fields(Stage) if f.default is MISSING and f.name not in data]:
        raise ValueError(f"lacks {', '.join(repr(name) for name in missing)}")
    filled = ({} if patch is None else {"patch": patch}) | dict(data)
    if filled["loss"] in TASK_LOSSES:
        filled["loss"] = losses[TASK_LOSSES[filled["loss"]]]
    return Stage(**filled)


_TYPES = {"int": (int,), "float": (int, float)}  # all else is text


def _check_keys(kind: type[Stage] | type[Recipe], data: Mapping[str, Any], extra: str = "") -> None:
    """Nothing, if these are attributes and of the right types.

    Raises: ValueError: else.
    """
    known = {f.name: str(f.type) for f in fields(kind) if f.name != "stages"}
    for key, value in data.items():
        if key not in known:
            raise UnknownNameError("key", str(key), [*known, *([extra] if extra else [])])
        if isinstance(value, bool) or not isinstance(value, _TYPES.get(known[key], (str,))):
            expected = {"int": "an integer", "float": "a number"}.get(known[key], "a text")
            raise ValueError(f"'{key}' is {expected}, got {value!r}")


def _without_defaults(of: Stage | Recipe) -> dict[str, Any]:
    return {
        f.name: getattr(of, f.name)
        for f in fields(of)
        if f.name != "stages" and getattr(of, f.name) != f.default
    }


def _number(text: str) -> float:
    """NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def recipe_names() -> list[str]:
    """The built-in recipes."""
    return sorted(path.stem for path in BUILT_IN.glob("*.toml"))


def load_recipe(
    source: str | Path, *, losses: Sequence[Loss] = ("l1", "l2"), patch: int | None = None
) -> Recipe:
    """A built-in recipe by name, or one from a file, whose name ends in ``.toml``.

    Args:
        losses, patch: As ``Recipe.from_data``; give the task's.

    Raises: ValueError: naming the recipe and what is wrong with it, or for an unknown name or a missing file.
    """
    path = Path(source)
    if path.suffix != ".toml":
        if str(source) not in recipe_names():
            known = [*recipe_names(), "a path that ends in .toml"]
            raise UnknownNameError("recipe", str(source), known)
        path = BUILT_IN / f"{source}.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return Recipe.from_data(data, losses=losses, patch=patch)
    except OSError as error:
        raise ValueError(f"recipe {source}: can't be read ({error.strerror})") from error
    except ValueError as error:  # of TOML and of text encodings, too
        raise ValueError(f"recipe {source}: {error}") from error


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

"""What ``pixelfront distill`` and ``pixelfront finetune`` do: train a trial's network on, with a teacher or without."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from evaluators.training.recipe import Loss, Recipe
from search.config import ConfigError
from search.stages.prune import report
from search.stages.teachers import find_teacher
from search.stages.trials import InterruptedStage, Order, Stages, recipe_of
from search.study.opening import Place, open_study
from spaces.registry import UnknownNameError


@dataclass(frozen=True)
class TrainOptions:
    """How a network is trained on.

    Attributes:
        recipe: Name or file; None for what the search trains by.
        steps: In all; the recipe's own if None.
        weight, distance, features: Replace lambda, the loss and the weight of feature matching in the recipe's stages
            that have a teacher, or in all if none has.
        cache: Folder of the teacher's outputs; None for the study's own.
        from_scratch: From random weights instead of the trial's.
    """

    recipe: str | None
    steps: int | None = None
    weight: float | None = None
    distance: str | None = None
    features: float | None = None
    cache: Path | None = None
    from_scratch: bool = False

    def changed(self, recipe: Recipe) -> Recipe:
        """The recipe with what was said.

        Raises: ValueError: for a value out of range.
        """
        changes: dict[str, Any] = {"distil": self.weight, "loss": self.distance, "features": self.features}
        changes = {key: said for key, said in changes.items() if said is not None}
        if self.distance is not None and self.distance not in get_args(Loss):
            raise UnknownNameError("distance", self.distance, list(get_args(Loss)))
        stages = tuple(
            replace(stage, **changes) if stage.taught or not recipe.taught else stage
            for stage in recipe.stages
        )
        return replace(recipe, stages=stages)


def run_distill(
    student: str,
    teachers: Sequence[str],
    options: TrainOptions,
    *,
    place: Place,
    console: Console,
    said: Mapping[str, Any],
    json: bool = False,
) -> None:
    """Train ``STUDY:TRIAL`` on and print what came of it, as JSON if asked to.

    Args:
        teachers: As ``search.stages.teachers.FORMS``; none for a recipe that needs none.

    Raises: ValueError: for what can't be used. StageError: if the training failed.
    """
    found = re.fullmatch(r"(?P<study>\w[\w.-]*):(?P<trial>\w+)", student)
    if found is None:
        raise ConfigError(f"a student is STUDY:TRIAL, e.g. sr-x4-1:best, got '{student}'")
    with open_study(
        said, place=place, study=found["study"], resume=True, console=console, searching=False
    ) as opened:
        stages = Stages(opened, cache=options.cache)
        recipe = options.changed(recipe_of(stages, options.recipe, options.steps))
        trial = stages.chosen(found["trial"])
        if teachers and not recipe.taught:
            raise ConfigError(
                f"recipe '{options.recipe}' has no stage with a teacher: use another, or give --lambda or --features"
            )
        if recipe.taught and not teachers:
            raise ConfigError(f"recipe '{options.recipe}' needs a teacher: use 'pixelfront distill'")
        teacher = find_teacher(teachers, opened) if teachers else None
        try:
            made = stages.train([Order(trial, recipe, teacher, options.from_scratch)])
        except InterruptedStage:
            opened.tell("Interrupted; the same command goes on with it.")
            return
        metric = opened.bench.objective[0]
        notes = [] if teacher is None else [f"teacher {teacher.name}: {metric} {teacher.quality:.3f}"]
        report(stages, trial, made, json=json, notes=notes)

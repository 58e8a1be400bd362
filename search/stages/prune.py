"""What ``pixelfront prune`` does: a trial, or a published network in a study of its own, brought to a cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from evaluators.pruning.importance import CRITERIA
from evaluators.training.recipe import Recipe, Stage
from results.store.schema import Trial
from results.store.store import Store
from search.config import ConfigError, SearchConfig, resolve
from search.stages.trials import (
    InterruptedStage,
    Order,
    Plan,
    StageError,
    Stages,
    check_target,
    prune_all,
    read_recipe,
    recipe_of,
)
from search.stages.winner import score_on_test
from search.study.opening import Opened, Place, open_study
from spaces.baselines import published
from spaces.build import cost
from spaces.registry import UnknownNameError

SPARSE_RATE = 5e-4  # learning rate of sparse training: that of the recipe 'finetune'


@dataclass(frozen=True)
class PruneOptions:
    """How the command prunes.

    Attributes:
        to_gmacs, ratio: One of both: the target, in GMACs or as a share of the network's.
        recovery: Name or file of the recipe that the network is trained by after each step; None for none.
        sparsity: Weight of the group lasso in a training before pruning; None for no such training.
        sparse_steps: Of that training.
    """

    to_gmacs: float | None = None
    ratio: float | None = None
    criterion: str = "taylor"
    round_to: int = 1
    iterations: int = 1
    recovery: str | None = None
    recovery_steps: int | None = None
    sparsity: float | None = None
    sparse_steps: int | None = None

    def __post_init__(self) -> None:
        if (self.to_gmacs is None) == (self.ratio is None):
            got = "neither" if self.ratio is None else "both"
            raise ConfigError(f"expected the target as one of --to-gmacs G and --ratio R, got {got}")
        if self.to_gmacs is not None and not self.to_gmacs > 0:
            raise ConfigError(f"--to-gmacs is positive, got {self.to_gmacs:g}")
        if self.ratio is not None and not 0 < self.ratio < 1:
            raise ConfigError(f"--ratio is the share of MACs to keep, between 0 and 1, got {self.ratio:g}")
        if self.criterion not in CRITERIA:
            raise UnknownNameError("criterion", self.criterion, list(CRITERIA))
        if self.round_to < 1 or self.iterations < 1:
            raise ConfigError(
                f"--round-to and --iterations are at least 1, got {self.round_to} and {self.iterations}"
            )
        if self.iterations > 1 and self.recovery is None:
            raise ConfigError(
                f"--iterations {self.iterations} needs a training between them: give its recipe, as --recovery finetune"
            )
        if self.recovery_steps is not None and self.recovery is None:
            raise ConfigError("--recovery-steps needs --recovery RECIPE")
        if (self.sparsity is None) != (self.sparse_steps is None):
            raise ConfigError("sparse training needs both: --sparsity X (its weight) and --sparse-steps N")
        if self.sparsity is not None and not self.sparsity > 0:
            raise ConfigError(f"--sparsity is positive, got {self.sparsity:g}")

    def target(self, own: float) -> float:
        """The target in GMACs of a network that costs ``own``."""
        return self.to_gmacs if self.to_gmacs is not None else (self.ratio or 0) * own


@contextmanager
def open_published(
    baseline: str,
    weights: Path,
    said: Mapping[str, Any],
    options: PruneOptions,
    *,
    place: Place,
    study: str | None,
    console: Console,
) -> Iterator[Opened]:
    """A study that starts from a published network: new, or the one of that name.

    Raises: ValueError: as ``open_study``, and for options that don't fit the network; no study is made then.
    """
    start = {**said, "start.baseline": baseline, "start.weights": str(weights)}
    known = False
    if study is not None and Path(place.db).exists() | ("://" in place.db):
        with Store.open(place.db, create=False) as store:
            known = study in {summary.study.name for summary in store.studies()}
    if not known:
        _check_start(resolve(start), options)
    with open_study(
        start, place=place, study=study, resume=known, console=console, searching=False
    ) as opened:
        try:
            yield opened
        finally:
            if not known:  # nothing is left to be resumed
                opened.store.set_study_state(opened.study.id, "complete")


def _check_start(config: SearchConfig, options: PruneOptions) -> None:
    """Nothing, if the published network that the configuration starts from can be pruned so.

    Raises: ValueError: else.
    """
    start = published(config.start.baseline)
    own = cost(start.architecture, start.task).gmacs(config.convention)
    check_target(
        f"'{start.name}'",
        start.architecture,
        start.task,
        options.target(own),
        convention=config.convention,
        round_to=options.round_to,
    )
    if options.recovery is not None:
        _check_untaught(read_recipe(options.recovery, options.recovery_steps, config), options.recovery)


def _check_untaught(recipe: Recipe, name: str) -> None:
    if recipe.taught:
        raise ConfigError(
            f"--recovery {name}: that recipe needs a teacher; prune first, then 'pixelfront distill'"
        )


def prune_trial(stages: Stages, trial: Trial, options: PruneOptions) -> list[Trial]:
    """The trials that led from this one to the target, the last at the end.

    Raises:
        ValueError: for a target that can't be met.
        InterruptedStage: on Ctrl-C.
    """
    target = options.target(stages.gmacs(trial))
    recovery = None
    if options.recovery is not None:
        recovery = recipe_of(stages, options.recovery, options.recovery_steps)
        _check_untaught(recovery, options.recovery)
    stages.check_target(trial, target, round_to=options.round_to)
    made: list[Trial] = []
    if options.sparsity is not None and options.sparse_steps is not None:
        (trained,) = stages.train([Order(trial, _sparse(stages, options.sparsity, options.sparse_steps))])
        made.append(trained)
        if trained.state == "failed":
            return made
        trial = stages.remove_zero(trained)
        made.append(trial)
        if stages.gmacs(trial) <= target:
            return made if recovery is None else [*made, *stages.train([Order(trial, recovery)])]
    plan = Plan(options.criterion, options.round_to, options.iterations, recovery)
    return made + prune_all(stages, [(trial, target)], plan)[0]


def _overshot(stages: Stages, made: Sequence[Trial], options: PruneOptions) -> list[str]:
    """A note if sparse training removed more than was asked for, which leaves nothing to be chosen."""
    if options.sparsity is None or any("target_gmacs" in (trial.origin or {}) for trial in made):
        return []
    return [
        f"sparse training brought the network to {stages.gmacs(made[-1]):.4g} GMACs, below the target: with a smaller "
        "--sparsity or fewer --sparse-steps it would be met"
    ]


def _sparse(stages: Stages, weight: float, steps: int) -> Recipe:
    """Training with a group lasso; without an average of weights, in which nothing would become zero."""
    bench = stages.opened.bench
    section = bench.config.training
    stage = Stage(
        steps, bench.task.losses[0], SPARSE_RATE, section.batch, section.patch, "constant", sparsity=weight
    )
    return replace(bench.recipe, stages=(stage,), ema=0.0)


def run_prune(
    options: PruneOptions,
    *,
    place: Place,
    console: Console,
    said: Mapping[str, Any],
    study: str | None,
    trial: str | None = None,
    baseline: str | None = None,
    weights: Path | None = None,
    json: bool = False,
) -> None:
    """Prune, and print what came of it, as JSON if asked to.

    Args:
        said: Configuration: for a published network of the new study, else what may change on resuming.
        study, trial: What to prune; with ``baseline`` the study's name for it, and no trial.

    Raises: ValueError: for what can't be used. StageError: if nothing came of it.
    """
    if baseline is not None:
        if weights is None or trial is not None:
            raise ConfigError("--baseline NAME needs its --weights FILE, and no trial")
        opening = open_published(baseline, weights, said, options, place=place, study=study, console=console)
    elif study is None or trial is None or weights is not None:
        raise ConfigError(
            "expected STUDY TRIAL, or --baseline NAME --weights FILE: which network is to be pruned?"
        )
    else:
        opening = open_study(said, place=place, study=study, resume=True, console=console, searching=False)
    with opening as opened:
        stages = Stages(opened)
        if baseline is not None and weights is not None:
            first = stages.publish(baseline, weights)
        else:
            first = stages.chosen(trial or "")
        try:
            made = prune_trial(stages, first, options)
        except InterruptedStage:
            opened.tell("Interrupted; the same command goes on with it.")
            return
        report(stages, first, made, json=json, notes=_overshot(stages, made, options))


def report(
    stages: Stages, first: Trial, made: Sequence[Trial], *, json: bool, notes: Sequence[str] = ()
) -> None:
    """Score on the test images and print a table with the next command, or JSON to standard output.

    Raises: StageError: if the last trial failed.
    """
    from search.stages.tables import as_json, stage_table

    opened = stages.opened
    complete = [trial for trial in (first, *made) if trial.state == "complete"]
    score_on_test(opened, complete)
    shown = [opened.store.trial(opened.study.id, trial.number) for trial in (first, *made)]
    failed = shown[-1].state != "complete"
    following = None if failed else next_command(stages, shown)
    if json:
        print(as_json(stages, shown, notes=list(notes), next=following))
    else:
        opened.console.print(stage_table(stages, shown, notes))
        if following:
            opened.tell(f"next: {following}")
    if failed:
        raise StageError(f"trial {shown[-1].number} failed: {shown[-1].reason}")


def next_command(stages: Stages, trials: Sequence[Trial]) -> str:
    """What to do with the last of these."""
    name, last = stages.opened.study.name, trials[-1]
    if last.stage == "prune":
        return f"pixelfront distill --student {name}:{last.number} --teacher {name}:{trials[0].number}"
    return f"pixelfront export {name} {last.number} -o {name}-{last.number}.onnx"

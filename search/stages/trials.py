"""Stages after the search: trials made from trials, by pruning (at once) or by more training (on workers).

What a trial is made from, and how, is its variant: what is on record already is not made again, so that whoever runs
the same stages once more goes on where they were cut off.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np

from evaluators.data.pairs import check_patch
from evaluators.measure.runtime import RuntimeMeasurementError
from evaluators.pruning.importance import CRITERIA
from evaluators.pruning.prune import PrunedNetwork, prune, remove_zero, smallest
from evaluators.tasks import get_task
from evaluators.training.recipe import Recipe, load_recipe
from evaluators.trial import Job, score, weights_of
from results.analysis.overview import GIGA, cost_key, find_trial, value
from results.analysis.repeats import is_repeat
from results.store.artifacts import weights_path
from results.store.rows import variant_of
from results.store.schema import Stage as StageName
from results.store.schema import Trial
from search.config import ConfigError, SearchConfig
from search.loop.engine import Limits
from search.loop.inheritance import inheriting
from search.planning.plan import Ladder
from search.planning.stage_time import StageTime, Training, cost_of, stage_time
from search.stages.teachers import Teacher
from search.stages.winner import trial_network
from search.study.driver import stops_on_signal
from search.study.opening import Opened
from search.study.progress import TerminalProgress
from search.workers.execution import Execution, cost_measurements, write_weights
from spaces.architecture import Architecture
from spaces.baselines import published
from spaces.build import build, cost, size_requirements
from spaces.checkpoint import load_published
from spaces.measurement import Convention, Measurement
from spaces.objectives import DEFAULT
from spaces.parts import Network
from spaces.task import Task

BATCHES = 8  # of training patches, for criteria that need data
CACHE_BYTES = 2**30  # teachers' outputs for whole training images are kept unless they take more
OPEN = ("waiting", "running")
UNFINISHED = (*OPEN, "paused")

MakeJob = Callable[[Trial, bytes | None, float], Job]
"""The job of a trial, from its checkpoint and the seconds spent before it."""


class InterruptedStage(Exception):  # noqa: N818 - no error: the user's wish
    """Ctrl-C while trials were trained; they go on from their last rung when the same is run again."""


class StageError(RuntimeError):
    """A stage of which nothing came."""


@dataclass(frozen=True)
class Order:
    """A network to be trained on, by a recipe, which needs a teacher if it distils.

    Attributes:
        from_scratch: From random weights, not the trial's: what comes of the architecture alone.
    """

    parent: Trial
    recipe: Recipe
    teacher: Teacher | None = None
    from_scratch: bool = False

    @property
    def stage(self) -> StageName:
        """What it is called in the store."""
        return "distil" if self.teacher is not None and self.recipe.taught else "finetune"


class Stages:
    """Makes trials of the opened study from its trials.

    Args:
        cache: Folder for teachers' outputs; by default the study's own, unless they take over a GiB.
        keep_time: Begin no training that the command's time isn't enough for, and end all when it is over.
    """

    def __init__(self, opened: Opened, *, cache: Path | None = None, keep_time: bool = False):
        self.opened = opened
        self._keep_time = keep_time
        self._store, self._study, self._bench = opened.store, opened.study, opened.bench
        self._task = opened.bench.task.interface
        self._cache = cache
        self._interrupted = False

    def gmacs(self, trial: Trial) -> float:
        """A trial's cost as the study's budget counts."""
        found = value(trial.measurements, *cost_key(self._study))
        assert found is not None
        return found / GIGA

    def quality(self, trial: Trial) -> float:
        """A complete trial's score by the study's objective."""
        found = value(trial.measurements, *self._bench.objective)
        assert found is not None
        return found

    def chosen(self, name: str) -> Trial:
        """The study's complete trial of that number, or its best.

        Raises: ValueError: if there is none, or it isn't complete.
        """
        trial = find_trial(self._store, self._study, name)
        if trial.state != "complete":
            reason = f" ({trial.reason})" if trial.reason else ""
            raise ConfigError(f"trial {trial.number} is {trial.state}{reason}: choose a complete one")
        return trial

    # Published networks

    def publish(self, name: str, weights: Path) -> Trial:
        """The published network with these weights as a trial, scored.

        Raises: ValueError: if its task is another, or the weights don't fit.
        """
        network, architecture = load_published(name, weights), published(name).architecture
        request = {
            "published": name,
            "source": published(name).paper,
            "sha256": hashlib.sha256(weights_of(network)).hexdigest(),
        }
        found = self._recorded("published", None, request) or self._add(
            "published", None, request, architecture, request
        )
        if found.state != "complete":
            self._complete(found, network, 0.0)
        return self._again(found)

    # Pruning

    def prune(
        self, parent: Trial, target_gmacs: float, *, criterion: str = "taylor", round_to: int = 1
    ) -> Trial:
        """The trial's network, pruned to a target and scored before any recovery.

        Raises: ValueError: for a target that can't be met, or an unknown criterion.
        """
        request: dict[str, Any] = {
            "criterion": criterion,
            "target_gmacs": target_gmacs,
            "convention": self._bench.config.convention,
            "round_to": round_to,
        }
        needs_data = criterion in CRITERIA and CRITERIA[criterion].needs_data
        batches, loss = (self._batches(), self._bench.task.losses[0]) if needs_data else (None, "l1")

        def pruned() -> PrunedNetwork:
            return prune(
                trial_network(self.opened, parent),
                _architecture(parent),
                self._task,
                target=target_gmacs * GIGA,
                criterion=criterion,
                convention=self._bench.config.convention,
                round_to=round_to,
                batches=batches,
                loss=loss,
            )

        return self._pruned(parent, request, pruned)

    def check_target(self, trial: Trial, target_gmacs: float, *, round_to: int = 1) -> None:
        """Nothing, if the trial's network can be pruned to that: said before anything is trained for it.

        Raises: ValueError: for a target that isn't below its cost, or is below that of its smallest widths.
        """
        check_target(
            f"trial {trial.number}",
            _architecture(trial),
            self._task,
            target_gmacs,
            convention=self._bench.config.convention,
            round_to=round_to,
        )

    def least(self, trial: Trial, *, round_to: int = 1) -> float:
        """GMACs of the trial's network at its smallest widths."""
        return _least(_architecture(trial), self._task, self._bench.config.convention, round_to)

    def remove_zero(self, parent: Trial) -> Trial:
        """The trial's network without the channels that are zero: the same function at a lower cost."""

        def pruned() -> PrunedNetwork:
            network = trial_network(self.opened, parent)
            convention = self._bench.config.convention
            return remove_zero(network, _architecture(parent), self._task, convention=convention)

        return self._pruned(parent, {"criterion": "zero"}, pruned)

    def _batches(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Training patches to score channels on: the same every time, and none that a training sees first."""
        source = self._bench.task.patch_source(self._bench.data.train)
        section = self._bench.config.training
        return [
            source.batch(
                seed=self._bench.config.seed, step=2**31 + n, batch=section.batch, patch=section.patch
            )
            for n in range(BATCHES)
        ]

    def _pruned(
        self, parent: Trial, request: Mapping[str, Any], pruned: Callable[[], PrunedNetwork]
    ) -> Trial:
        found = self._recorded("prune", parent, request)
        if found is not None and found.state == "complete":
            return found
        started = time.perf_counter()
        result = pruned()
        seconds = time.perf_counter() - started
        if found is None:
            origin = {
                **request,
                "max_error": result.max_error,
                "notes": list(result.notes),
                "widths": [list(width) for width in result.widths],
            }
            found = self._add("prune", parent, request, result.architecture, origin)
        self._complete(found, result.network, seconds)
        return self._again(found)

    # Training

    def train(self, orders: Sequence[Order]) -> list[Trial]:
        """Train on, all at the same time as far as there are workers; the trials in the order of the orders.

        Returns: Complete and failed ones, and where the command's time wasn't enough some that wait.
        Raises:
            ValueError: for patches that don't fit the images or the network.
            InterruptedStage: on Ctrl-C.
        """
        for order in orders:
            self._check(order)
        requests = [self._request(order) for order in orders]
        if any(found is None for _, found in requests):
            self.opened.pool()  # workers that can't be had leave no trial that waits for them
        trials = [
            found or self._add(order.stage, order.parent, request, _architecture(order.parent), request)
            for order, (request, found) in zip(orders, requests, strict=True)
        ]
        of = {trial.id: order for trial, order in zip(trials, orders, strict=True)}
        unfinished = [trial for trial in trials if trial.state in OPEN]
        for trial in unfinished:
            self._warn(of[trial.id])
        if unfinished and not self._finish(unfinished, self._job_of(of)):
            raise InterruptedStage
        return [self._again(trial) for trial in trials]

    def repeat(self, trials: Sequence[Trial], times: int) -> list[Trial]:
        """Train trials of the search again as it trained them, each from other seeds, until each has so many trainings.

        Failed ones count: another seed in their place would hide that the training isn't sure.

        Returns: The repeats, complete and failed ones.
        Raises:
            ValueError: for a trial of another stage, or one that isn't complete.
            InterruptedStage: on Ctrl-C.
        """
        for trial in trials:
            check_repeatable(trial)
        wanted = [(trial, {**(trial.origin or {}), "repeat": k}) for trial in trials for k in range(1, times)]
        known = [self._recorded("search", trial, origin) for trial, origin in wanted]
        if None in known:
            self.opened.pool()  # workers that can't be had leave no trial that waits for them
        repeats = [
            found or self._add_repeat(trial, origin)
            for (trial, origin), found in zip(wanted, known, strict=True)
        ]
        unfinished = [trial for trial in repeats if trial.state in OPEN]
        if unfinished and not self._finish(unfinished, self._started):
            raise InterruptedStage
        return [self._again(trial) for trial in repeats]

    def _started(self, trial: Trial, checkpoint: bytes | None, seconds: float) -> Job:
        """A search's job; of one that inherited, from the same tensors as it."""
        make = inheriting(self._bench.job, self._store, self._study.id, self.opened.folder, ())
        return make(trial, checkpoint, seconds)

    def finish(self, trials: Sequence[Trial], *, seconds: float | None = None) -> list[Trial]:
        """Train unfinished trials of the search to their end, from their last rungs, as the search would have.

        Args:
            seconds: After which those that still run are cut off; they go on from their last rung another time.

        Returns: The trials, in whatever state they are then.
        Raises: InterruptedStage: on Ctrl-C.
        """
        unfinished = [self._rested(trial) for trial in trials if trial.state in UNFINISHED]
        if unfinished:
            make: MakeJob = self._bench.job
            config = self._bench.config
            if config.inherit:  # a resumed search may start others from what is kept
                make = inheriting(make, self._store, self._study.id, self.opened.folder, config.ladder)
            if not self._finish(unfinished, make, seconds=seconds) and self._interrupted:
                raise InterruptedStage
        return [self._again(trial) for trial in trials]

    def _rested(self, trial: Trial) -> Trial:
        """The trial; one of a ladder whose driver was killed rests at its last rung, if it has one."""
        ladder = self._bench.config.eta is not None
        if ladder and trial.state == "running" and self._store.rungs(self._study.id, trial_id=trial.id):
            self._store.pause_trial(trial.id)
            return self._again(trial)
        return trial

    def _add_repeat(self, trial: Trial, origin: Mapping[str, Any]) -> Trial:
        architecture = _architecture(trial)
        return self._store.add_trial(
            self._study.id,
            digest=trial.digest,
            architecture_json=trial.architecture,
            parent_id=trial.parent_id,
            origin=origin,
            variant=variant_of(origin, trial),  # which trial it repeats, too
            measurements=self._known(architecture),
        )

    def check_recipe(self, recipe: Recipe) -> None:
        """Nothing, if the recipe's patches fit into the training images.

        Raises: ValueError: else.
        """
        largest = max(stage.patch for stage in recipe.stages)
        check_patch(self._bench.data.train, largest, setting="a recipe whose stages have a 'patch' of")

    def _check(self, order: Order) -> None:
        """Nothing, if the recipe's patches fit the images and the network.

        Raises: ValueError: else.
        """
        self.check_recipe(order.recipe)
        architecture = _architecture(order.parent)
        needs = size_requirements(architecture, self._task)
        for patch in {stage.patch for stage in order.recipe.stages}:
            if (least := needs.padded(patch, patch)[0]) != patch:
                raise ConfigError(
                    f"a stage of the recipe has patches of {patch} pixels: {architecture.label} takes inputs of at "
                    f"least {needs.minimum} pixels in multiples of {needs.multiple_of}, so {least} would do"
                )

    def _warn(self, order: Order) -> None:
        """Say so if the teacher is worse than the student."""
        teacher, own = order.teacher, self.quality(order.parent)
        if teacher is not None and order.recipe.taught and teacher.quality < own:
            metric, protocol = self._bench.objective
            self.opened.tell(
                f"warning: the teacher {teacher.name} is worse than the student, trial {order.parent.number}: {metric} "
                f"{teacher.quality:.3f} dB against {own:.3f} dB ({protocol})",
                style="yellow",
            )

    def _request(self, order: Order) -> tuple[dict[str, Any], Trial | None]:
        """How the order's trial is made, and the trial if it is on record."""
        request: dict[str, Any] = {"recipe": order.recipe.to_data()}
        if order.from_scratch:
            request["from_scratch"] = True
        if order.stage == "distil":
            assert order.teacher is not None
            request["teacher"] = list(order.teacher.record)
            if self._cache_folder():
                request["teacher_outputs"] = "of whole images"
        found = self._recorded(order.stage, order.parent, request)
        while found is not None and found.state == "failed":  # another trial has another seed
            request["after_failure"] = found.number
            found = self._recorded(order.stage, order.parent, request)
        return request, found

    def _job_of(self, orders: Mapping[int, Order]) -> MakeJob:
        def job(trial: Trial, checkpoint: bytes | None, seconds: float) -> Job:
            order = orders[trial.id]
            return self._bench.job_of(
                trial,
                order.recipe,
                checkpoint,
                seconds,
                start=None if order.from_scratch else self._weights(order.parent),
                teacher=None if order.teacher is None else order.teacher.spec,
                cache=self._cache_folder(),
            )

        return job

    def _weights(self, trial: Trial) -> bytes:
        return weights_path(self._store, trial, folder=self.opened.folder).read_bytes()

    def _finish(self, trials: Sequence[Trial], job: MakeJob, *, seconds: float | None = None) -> bool:
        """Run the trials to their end; False if it was interrupted, or the seconds were over, before."""
        deadline = inf if seconds is None else time.monotonic() + seconds

        def settled(trial: Trial, found: Sequence[Measurement] | None, reason: str | None) -> None:
            quality = None if found is None else value(found, *self._bench.objective)
            progress.finished(trial, None if quality is None else (quality, self.gmacs(trial)), reason)

        time_left = self.time() if self._keep_time else StageTime(inf, None)
        execution = Execution(
            self._store,
            self._study.id,
            self.opened.pool(),
            job,
            folder=self.opened.folder,
            settled=settled,
            retries=self._bench.config.workers.retries,
            may_start=partial(self._may_start, job, time_left),
        )
        done = self._store.trials(self._study.id, states=["complete"])
        top = max(self.gmacs(trial) for trial in (*done, *trials))
        bench = self._bench
        axes = [bench.objective_of(name) for name in DEFAULT]
        worst = (bench.trivial, top)
        progress = TerminalProgress(self.opened.console, Limits(len(trials)), axes, worst, bench.trivial)
        for trial in done:
            progress.adopted((self.quality(trial), self.gmacs(trial)))
        with stops_on_signal(self._interrupt, self.opened.console), progress:
            ended = execution.finish(
                trials,
                progress,
                lambda: self._interrupted or time_left.over or time.monotonic() >= deadline,
            )
        if not self._interrupted and time_left.over:
            self.opened.tell(
                "note: the time is over: what wasn't finished waits for a resume", style="yellow"
            )
        return ended or not self._interrupted

    def time(self) -> StageTime:
        """What is left of the command's time."""
        bench, train = self._bench, self._bench.data.train
        pixels = [
            sum(image.pixels.size for image in pairs.inputs) for pairs in (train, bench.data.validation)
        ]
        kept = bool(self._cache_folder())  # teachers see whole training images once
        return stage_time(self.opened, teaching=pixels[0] / pixels[1] if kept else None)

    def training(self, order: Order) -> Training:
        """What the order's training costs."""
        teacher = order.teacher
        taught = [] if teacher is None else [cost_of(order.parent, self.opened)]
        return Training(
            cost_of(order.parent, self.opened), max(taught, key=lambda each: each.macs, default=None)
        )

    def _may_start(self, job: MakeJob, left: StageTime, trial: Trial) -> bool:
        """Whether a trial can be trained to its end in time."""
        if not left.limited:
            return True
        steps = job(trial, None, 0.0)
        ladder = Ladder(steps.rungs, (steps.recipe.steps,))
        done = max((rung.step for rung in self._store.rungs(self._study.id, trial_id=trial.id)), default=0)
        part = 1 - done / steps.recipe.steps
        return part * left.seconds(Training(cost_of(trial, self.opened)), ladder) <= left.left()

    def _interrupt(self) -> None:
        self._interrupted = True

    def _cache_folder(self) -> str:
        """Where teachers' outputs are kept; empty for nowhere."""
        if self._cache is not None:
            return str(self._cache.resolve())
        source = self._bench.task.patch_source(self._bench.data.train)
        size = sum(image.pixels.size for image in self._bench.data.train.targets) * 2  # float16
        return str(self.opened.folder / "teachers") if source.fixed and size < CACHE_BYTES else ""

    # On record

    def _recorded(self, stage: StageName, parent: Trial | None, request: Mapping[str, Any]) -> Trial | None:
        """The trial that was made so from the parent; None if there is none yet."""
        return self._store.find_trial(self._study.id, stage, variant_of(request, parent))

    def _add(
        self,
        stage: StageName,
        parent: Trial | None,
        request: Mapping[str, Any],
        architecture: Architecture,
        origin: Mapping[str, Any],
    ) -> Trial:
        return self._store.add_trial(
            self._study.id,
            digest=architecture.digest,
            architecture_json=architecture.to_json(),
            stage=stage,
            parent_id=None if parent is None else parent.id,
            origin=origin,
            variant=variant_of(request, parent),
            measurements=self._known(architecture),
        )

    def _known(self, architecture: Architecture) -> tuple[Measurement, ...]:
        """What can be told of a network before its training: exact costs, and runtimes where the study goes for them.

        Those are measured in this process before anything trains, or taken from a trial of the same architecture.
        """
        costs = tuple(cost_measurements(cost(architecture, self._task), self._task))
        wanted = {each.key: each.name for each in self._bench.measured}
        if not wanted:
            return costs
        for trial in self._store.trials(self._study.id):
            if trial.digest == architecture.digest and wanted.keys() <= {m.key for m in trial.measurements}:
                protocols = {protocol for _, protocol in wanted}  # of the latency's spread, too
                return costs + tuple(m for m in trial.measurements if m.protocol in protocols)
        try:
            return costs + self._bench.runtimes.measure(architecture, list(wanted.values()))
        except RuntimeMeasurementError as error:
            names = " and ".join(wanted.values())
            self.opened.tell(
                f"warning: {architecture.label}: {names} can't be measured, so it won't be on the front: {error}",
                style="yellow",
            )
            return costs

    def _complete(self, trial: Trial, network: Network, seconds: float) -> None:
        """Score and record what was made in this process.

        Raises: StageError: if its output or a score isn't finite; the trial has failed then, or had before.
        """
        if trial.state == "failed":  # the same again would fail again
            raise StageError(f"trial {trial.number}, {trial.stage}, failed: {trial.reason}")
        if trial.state == "running":  # its driver was killed
            self._store.requeue_trial(trial.id)
        self._store.start_trial(trial.id)
        try:
            scores = score(
                network, self._bench.config.task, self._bench.data.validation, device=self._bench.device
            )
            if odd := [m.name for m in scores if not isfinite(m.value)]:
                raise FloatingPointError(f"{', '.join(odd)} on the validation images isn't a finite number")
        except FloatingPointError as error:
            self._store.fail_trial(trial.id, str(error))
            raise StageError(f"trial {trial.number}, {trial.stage}, failed: {error}") from error
        artifact = write_weights(self.opened.folder, trial, weights_of(network))
        self._store.finish_trial(trial.id, scores, [artifact], seconds=seconds)

    def _again(self, trial: Trial) -> Trial:
        """The trial as it is on record now."""
        return self._store.trial(self._study.id, trial.number)


def _architecture(trial: Trial) -> Architecture:
    return Architecture.from_json(trial.architecture)


def check_repeatable(trial: Trial) -> None:
    """Nothing, if the trial can be trained again as it was.

    Raises: ConfigError: else.
    """
    if trial.stage != "search" or is_repeat(trial):
        what = "a repeat itself" if is_repeat(trial) else f"of stage '{trial.stage}'"
        raise ConfigError(f"trial {trial.number} is {what}: name one that the search trained")
    if trial.state != "complete":
        raise ConfigError(f"trial {trial.number} is {trial.state}: name one that was trained to the end")


def check_target(
    name: str,
    architecture: Architecture,
    task: Task,
    target_gmacs: float,
    *,
    convention: Convention,
    round_to: int = 1,
) -> None:
    """Nothing, if networks of the architecture, which a message calls ``name``, can be pruned to the target.

    Raises: ValueError: for a target that isn't below its cost, or is below that of its smallest widths.
    """
    own = cost(architecture, task).gmacs(convention)
    if target_gmacs >= own:
        raise ConfigError(
            f"a target of {target_gmacs:.4g} GMACs isn't below what {name} costs, {own:.4g} GMACs: give a smaller one"
        )
    least = _least(architecture, task, convention, round_to)
    if target_gmacs < least:
        wide, less = (f" in multiples of {round_to}", ", a smaller --round-to") if round_to > 1 else ("", "")
        raise ConfigError(
            f"a target of {target_gmacs:.4g} GMACs is below what the smallest widths{wide} of {name} cost, "
            f"{least:.4g} GMACs: give a larger one{less}, or start from another network"
        )


def _least(architecture: Architecture, task: Task, convention: Convention, round_to: int) -> float:
    return smallest(build(architecture, task), task, convention, round_to=round_to) / GIGA


# Iterative pruning


@dataclass(frozen=True)
class Plan:
    """How networks are pruned.

    Attributes:
        iterations: Steps to the target, each by the same factor.
        recovery: Training after each step; None for none.
        recover_last: Also after the last step.
    """

    criterion: str = "taylor"
    round_to: int = 1
    iterations: int = 1
    recovery: Recipe | None = None
    recover_last: bool = True


def prune_all(stages: Stages, wanted: Sequence[tuple[Trial, float]], plan: Plan) -> list[list[Trial]]:
    """Prune trials to their targets in GMACs; of each the trials that were made, the last complete one at the end.

    Recovery trainings of one step run at the same time. A chain of which one fails ends there. Where the command's time
    is limited, later ones aren't pruned if that would leave too little to train the others.

    Raises: ValueError: for a target that can't be met, or more than one iteration without recovery.
    """
    if plan.iterations > 1 and plan.recovery is None:
        raise ConfigError(
            f"{plan.iterations} iterations need a recovery between them: give its recipe, such as 'finetune'"
        )
    left = stages.time()
    chains: list[list[Trial]] = [[] for _ in wanted]
    ends = [trial for trial, _ in wanted]
    for step in range(1, plan.iterations + 1):
        going = [i for i, trial in enumerate(ends) if trial.state == "complete"]
        for i in going:
            start, target = wanted[i]
            own = stages.gmacs(start)
            goal = target if step == plan.iterations else own * (target / own) ** (step / plan.iterations)
            if step > 1 and stages.gmacs(ends[i]) <= goal:
                continue
            if not left.may_prune(sum(map(bool, chains))) and not chains[i]:
                continue
            started = time.monotonic()
            ends[i] = stages.prune(ends[i], goal, criterion=plan.criterion, round_to=plan.round_to)
            left.pruned(time.monotonic() - started)
            chains[i].append(ends[i])
        going = [i for i in going if chains[i]]
        if plan.recovery is not None and (plan.recover_last or step < plan.iterations):
            trained = stages.train([Order(ends[i], plan.recovery) for i in going])
            for i, trial in zip(going, trained, strict=True):
                ends[i] = trial
                chains[i].append(trial)
    return chains


def recipe_of(stages: Stages, name: str | None, steps: int | None) -> Recipe:
    """A recipe for the study's networks: its task's losses and patch, its precision.

    Args:
        name: Or a file; None for what the study's search trains by.
        steps: In all; the recipe's own number if None.

    Raises: ValueError: for an unknown name, or a file that is none.
    """
    bench = stages.opened.bench
    if name is None:
        return _lasting(bench.recipe, steps, "of the search")
    recipe = read_recipe(name, steps, bench.config)
    return replace(recipe, precision=bench.recipe.precision) if recipe.precision == "auto" else recipe


def read_recipe(name: str, steps: int | None, config: SearchConfig) -> Recipe:
    """As ``recipe_of``, for who has no study yet; its precision isn't resolved."""
    recipe = load_recipe(name, losses=get_task(config.task).losses, patch=config.training.patch)
    return _lasting(recipe, steps, name)


def _lasting(recipe: Recipe, steps: int | None, name: str) -> Recipe:
    try:
        return recipe if steps is None else recipe.scaled(steps)
    except ValueError as error:
        raise ConfigError(f"recipe {name}: {error}") from None

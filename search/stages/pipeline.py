"""Runs the whole of it: search (or a published network), prune, distil, one front over all stages, the winner.

Every trial of every stage is on record with what it was made from, so that a run that was cut off goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console

from evaluators.pruning.importance import CRITERIA
from evaluators.training.recipe import Recipe
from results.analysis.front import Point, front_of
from results.analysis.overview import Overview, cost_key, floor_of, limits_of, objectives_of, overview
from results.analysis.repeats import averaged
from results.store.schema import Stage, Stop, Study, StudyState, Trial
from search.config import ConfigError, SearchConfig, resolve
from search.planning.plan import AFTER_SEARCH, LEAST_STEPS, Ladder
from search.planning.stage_time import Training, cost_of
from search.planning.study_plan import ladder_of
from search.stages.int8 import export_int8
from search.stages.repeat import repeat_front
from search.stages.search import search
from search.stages.tables import stage_table
from search.stages.teachers import Teacher, find_teacher, trial_teacher
from search.stages.trials import InterruptedStage, Order, Plan, Stages, prune_all, read_recipe, recipe_of
from search.stages.winner import present
from search.study.opening import Opened, Place, introduce, open_study
from spaces.objectives import QUALITIES
from spaces.registry import UnknownNameError


class CutOffSearch(Exception):  # noqa: N818 - no error: its limits were too low
    """A search that ended before any network was trained to the end: nothing can be built upon it.

    Attributes:
        state, stop: Of its study, as the search left it.
    """

    def __init__(self, study: Study):
        super().__init__(study)
        self.state, self.stop = study.state, study.stop

    def __str__(self) -> str:
        return str(self.args[0].name)


LATER: tuple[Stage, ...] = ("prune", "finetune", "distil")


def run_pipeline(
    said: Mapping[str, Any],
    *,
    place: Place,
    study: str | None = None,
    resume: bool = False,
    stem: str | None = None,
    console: Console | None = None,
    started: float | None = None,
) -> Overview:
    """Run all stages, and hand over the winner of them.

    Args:
        said, study, stem: As ``search.stages.search.run_search`` takes them.
        resume: Go on with a study, whether ``run`` or ``search`` made it.
        started: When the command began (``time.monotonic``): a time limit counts from there, for all stages together.

    Raises:
        ValueError: for a configuration, images or a study that can't be used, when nothing is started; and at the end,
            when all is on record, if no network reaches what the study looks for.
        StoreError: if the store can't be written; what was recorded stays, and the study can be resumed.
    """
    if not resume:
        check_stages(resolve(said))
    with open_study(
        said,
        place=place,
        study=study,
        resume=resume,
        stem=stem,
        console=console,
        timed=True,
        later=_later,
        started=started,
    ) as opened:
        check_stages(opened.bench.config)  # a resumed one is another
        introduce(opened)
        name = opened.study.name
        ended: tuple[StudyState, Stop | None] = ("paused", None)
        unfinished = ""
        try:
            run_stages(opened)
            ended = ("complete", None)
        except InterruptedStage:
            ended = ("paused", "interrupted")
            unfinished = "Interrupted; go on with"
        except CutOffSearch as cut:
            ended = (cut.state, cut.stop)
            unfinished = "No front to build upon; once there is one, go on with"
        finally:
            opened.store.set_study_state(opened.study.id, *ended)
        if unfinished:
            opened.tell(f"{unfinished}: pixelfront run --study {name} --resume")
            return present(opened, hand_over=False)
        found = present(opened, hand_over=True)
        if opened.bench.config.export.int8:
            _write_int8(opened, found)
        return found


def _write_int8(opened: Opened, found: Overview) -> None:
    """The winner once more, in 8 bits.

    Raises: ExportError: if it loses more than was allowed.
    """
    made = export_int8(
        opened.store,
        found.study,
        found.best,
        opened.bench.data,
        opened.bench.test,
        opened.folder / "winner.int8.onnx",
        max_drop=opened.bench.config.export.max_drop,
        folder=opened.folder,
    )
    for line in made.lines:
        opened.tell(line)


def check_stages(config: SearchConfig) -> None:
    """Nothing, if what the stages after the search need is there: said before hours of search.

    Raises: ValueError: else.
    """
    steps = config.training.steps
    if config.start.baseline and config.max_gmacs is None and config.min_psnr is None:
        raise ConfigError(
            f"a run from '{config.start.baseline}' needs its goal: max_gmacs = G (the best quality within G GMACs) or "
            "min_psnr = Q (the fewest GMACs that reach Q)"
        )
    if config.export.max_drop is not None and not config.export.int8:
        raise ConfigError("export.max_drop needs export.int8 = true")
    if config.prune.criterion not in CRITERIA:
        raise UnknownNameError("criterion", config.prune.criterion, list(CRITERIA))
    read_recipe(config.distil.recipe, config.distil.steps or steps, config)
    if read_recipe(config.prune.recovery, config.prune.recovery_steps or steps, config).taught:
        raise ConfigError(
            f"prune.recovery '{config.prune.recovery}' needs a teacher, which comes after pruning: use another recipe"
        )


def _later(config: SearchConfig) -> float:
    """The share of a run's time for what comes after its search."""
    return AFTER_SEARCH if config.prune.members else 0.0


def run_stages(opened: Opened) -> None:
    """All trainings and prunings of the study that aren't on record yet.

    Raises: InterruptedStage: on Ctrl-C. CutOffSearch: if the search ended without a front.
    """
    stages, config = Stages(opened, keep_time=True), opened.bench.config
    # What can't be used is told of before the search.
    recipe, recovery = _recipes(stages)
    common = _common_teacher(opened) if recipe.taught else None
    if config.start.baseline and config.start.weights is not None:
        stages.publish(config.start.baseline, config.start.weights)
    # A search that was ended by its time isn't taken up again once it was built upon.
    elif not opened.store.trials(opened.study.id, stages=LATER):
        stop = search(opened)
        if stop == "interrupted":
            raise InterruptedStage
        if not overview(opened.store, opened.study.name).front.members:
            raise CutOffSearch(opened.store.study(opened.study.name))
        repeat_front(opened, config.repeats)
    members = choose_members(opened, config.prune.members)
    wanted = _ladder(stages, members)
    if not wanted:
        if members:
            opened.tell(
                "note: no target lies between a network's smallest and its own cost: nothing is pruned"
            )
        return
    opened.store.set_study_state(opened.study.id, "running")
    opened.tell(f"Pruning {len(members)} of the front to {len(wanted)} targets in all ...", style="dim")
    if config.prune.iterations > 1 and stages.time().limited:
        recovery = _recovery_in_time(stages, wanted)
    plan = Plan(
        config.prune.criterion, config.prune.round_to, config.prune.iterations, recovery, recover_last=False
    )
    chains = prune_all(stages, wanted, plan)
    pairs = [
        (trial, chain[-1])
        for (trial, _), chain in zip(wanted, chains, strict=True)
        if chain and chain[-1].state == "complete"
    ]
    if left_out := sum(not chain for chain in chains):
        opened.tell(f"note: {left_out} of the targets are left out: the time isn't enough", style="yellow")
    teachers = _teachers(stages, [trial for trial, _ in pairs]) if recipe.taught and common is None else {}
    orders = [Order(pruned, recipe, common or teachers.get(trial.id)) for trial, pruned in pairs]
    orders = _in_time(stages, orders)
    if not orders:
        return
    recipe = orders[0].recipe
    verb = "Distilling" if recipe.taught else "Training"
    opened.tell(f"{verb} the {len(orders)} of them, {recipe.steps} steps each ...", style="dim")
    stages.train(orders)
    opened.console.print(stage_table(stages, _lineages(stages, members), remarks=False))


def _recipes(stages: Stages) -> tuple[Recipe, Recipe | None]:
    """Of the training after pruning, and of that between iterations, if there is more than one.

    Raises: ValueError: if their patches don't fit into the training images.
    """
    bench = stages.opened.bench
    prune, distil, steps = bench.config.prune, bench.config.distil, bench.recipe.steps
    recipe, recovery = recipe_of(stages, distil.recipe, distil.steps or steps), None
    stages.check_recipe(recipe)
    if prune.iterations > 1:
        recovery = recipe_of(stages, prune.recovery, prune.recovery_steps or steps)
        stages.check_recipe(recovery)
    return recipe, recovery


def _in_time(stages: Stages, orders: Sequence[Order]) -> list[Order]:
    """The orders that the time is enough for, as long as it allows where nothing says how long."""
    opened, left = stages.opened, stages.time()
    if not left.limited or not orders:
        return list(orders)
    config, kept = opened.bench.config, list(orders)
    trainings = [stages.training(order) for order in kept]
    if config.distil.steps is not None:
        steps = kept[0].recipe.steps
        kept = kept[: left.fitting(trainings, Ladder(config.training.rungs_of(steps), (steps,)))]
    else:
        while (found := left.steps(trainings, ladder_of(config))) is None and len(trainings) > 1:
            trainings.pop()
        kept = kept[: len(trainings)] if found is not None else []
        if found is not None:
            recipe = recipe_of(stages, config.distil.recipe, found)
            kept = [replace(order, recipe=recipe) for order in kept]
            _decide(opened, "distil", steps=found)
    if len(kept) < len(orders):
        opened.tell(
            f"note: {len(orders) - len(kept)} of {len(orders)} pruned networks aren't trained on: the time isn't "
            "enough",
            style="yellow",
        )
    return kept


def _recovery_in_time(stages: Stages, wanted: Sequence[tuple[Trial, float]]) -> Recipe:
    """The recipe between iterations, as long as the time allows where nothing says how long."""
    opened = stages.opened
    prune = opened.bench.config.prune
    steps = prune.recovery_steps
    if steps is None:
        trainings = [Training(cost_of(trial, opened)) for trial, _ in wanted]
        steps = stages.time().steps(
            trainings, ladder_of(opened.bench.config), share=1 / (prune.iterations + 1)
        )
        steps = steps or LEAST_STEPS
        _decide(opened, "prune", recovery_steps=steps)
    return recipe_of(stages, prune.recovery, steps)


def _decide(opened: Opened, section: str, **values: int) -> None:
    """Put what was decided into the study's configuration, so that a resume finds the same trials."""
    config = opened.store.study(opened.study.name).config
    config[section] |= values
    opened.store.set_config(opened.study.id, config)


def choose_members(opened: Opened, count: int) -> list[Trial]:
    """The trials to prune: of the front before any pruning, over the study's objectives, those of the highest quality.

    Where the fewest GMACs are looked for, first the cheapest that reach the quality: pruning them goes further down.
    What is below a limit on quality comes last. Limits on costs rule nothing out, as pruning lowers costs.
    """
    study, store = opened.study, opened.store
    trials = store.trials(study.id, stages=["published", "search"], states=["complete"])
    own, trials_of_one = objectives_of(study), averaged(trials, opened.bench.objective)
    front = front_of(
        trials_of_one,
        cost=cost_key(study),
        quality=opened.bench.objective,
        trivial=opened.bench.trivial,
        objectives=own,
    )

    def quality(point: Point) -> float:
        goals = (v for each, v in zip(own, point.values, strict=True) if each.name in QUALITIES)
        return next(goals, point.quality)

    means = {trial.id: trial.measurements for trial in trials_of_one}
    floors = [(each, limit) for each, limit in limits_of(study) if each.name in QUALITIES]

    def meets(point: Point) -> bool:
        found = [(each.find(means[point.id]), limit) for each, limit in floors]
        return all(value is not None and limit.met(value) for value, limit in found)

    members = list(front.members)
    chosen = sorted(members, key=quality, reverse=True)
    if (floor := floor_of(study)) is not None:
        reached = [point for point in members if point.quality >= floor[1]]
        chosen = reached + [point for point in chosen if point not in reached]
    chosen.sort(key=meets, reverse=True)
    by_id = {trial.id: trial for trial in trials}
    return [by_id[point.id] for point in chosen[:count]]


def _ladder(stages: Stages, members: Sequence[Trial]) -> list[tuple[Trial, float]]:
    """(trial, target in GMACs) for each target that the trial's network can be pruned to; tells of the others."""
    section, limit = stages.opened.bench.config.prune, stages.opened.bench.config.band[1]
    found = []
    for trial in members:
        least = stages.least(trial, round_to=section.round_to)
        for target in section.targets(stages.gmacs(trial), limit):
            if target < least:
                stages.opened.tell(
                    f"note: trial {trial.number} stays above {target:.4g} GMACs: its smallest widths cost {least:.4g}",
                    style="yellow",
                )
            else:
                found.append((trial, target))
    return found


def _common_teacher(opened: Opened) -> Teacher | None:
    """The teacher that the configuration names; None if it is to be one of the study's members.

    Raises: ValueError: as ``find_teacher``.
    """
    name = opened.bench.config.distil.teacher
    return None if name in ("parent", "best") else find_teacher([name], opened)


def _teachers(stages: Stages, members: Sequence[Trial]) -> dict[int, Teacher]:
    """By the id of each member its teacher: itself, or the best of them."""
    opened = stages.opened
    own = {trial.id: trial for trial in members}
    if opened.bench.config.distil.teacher == "parent":
        return {trial.id: trial_teacher(trial, opened) for trial in own.values()}
    best = max(own.values(), key=stages.quality, default=None)
    return {} if best is None else dict.fromkeys(own, trial_teacher(best, opened))


def _lineages(stages: Stages, members: Sequence[Trial]) -> list[Trial]:
    """Each member with all that came of it, the first made first."""
    store = stages.opened.store
    found: list[Trial] = []
    for member in members:
        line = [member]
        while line:
            trial = line.pop(0)
            found.append(trial)
            line = [*store.children(trial.id), *line]
    return found

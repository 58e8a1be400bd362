"""The preliminary front: what the rungs tell of networks that aren't trained to the end.

Only scores at one rung are compared, as those of unlike training aren't. It is the highest rung at which at least as
many unfinished networks have scores as there are objectives; where none is, that at which most have, the highest of
those. Finished networks take part with their scores at that rung, so that who was beaten there by one of them isn't a
member, but they aren't listed: their own front is another. What the trivial method still beats at the rung may be a
member, as it goes on learning.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heapreplace
from typing import Any

from results.analysis.front import Front, front_of
from results.analysis.overview import GIGA, NoResultError, Overview, cost_key, rows, value
from results.analysis.repeats import is_repeat
from results.durations import rounded_up
from results.store.schema import Rung, Study, Trial, failure_kind
from results.store.store import Store
from spaces.objectives import DEFAULT, QUALITIES

OPEN = ("waiting", "running", "paused")
# A training takes as long as its first steps foretell, give or take what else the machine does; the workers start, too.
MARGIN, START_S = 1.25, 20.0
REASONS = 3  # of failures that are told


@dataclass(frozen=True)
class Remainder:
    """What is left of a network's training.

    Attributes:
        step, steps: Of its last rung, and of the whole training.
        seconds: By the seconds a step that rungs show; None where the study has none yet.
    """

    trial: Trial
    step: int
    steps: int
    seconds: float | None


@dataclass(frozen=True)
class Preliminary:
    """The front over the networks at one rung.

    Attributes:
        step, steps: Of the rung, and of the whole training.
        overview: The study as it is at that rung: of each trial that has it the scores and seconds there; its front's
            members are the unfinished ones.
        remainders: Of the members, the best in the study's objective first.
    """

    step: int
    steps: int
    overview: Overview
    remainders: tuple[Remainder, ...]

    @property
    def members(self) -> list[Trial]:
        """By rising cost."""
        return self.overview.members

    @property
    def best(self) -> Trial:
        """The member with the highest quality within the budget, or else with the least cost.

        A floor on quality is for the end of the training.
        """
        limit, points = self.overview.budget[1], self.overview.front.members
        within = [p for p in points if limit is None or p.cost / GIGA <= limit]
        return self.overview.by_id[(within or points[:1])[-1].id]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The members as `results.analysis.overview.row` has them, at their rung."""
        at = {"step": self.step, "steps": self.steps, "complete": False}
        return [record | at for record in rows(self.overview)]

    @property
    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"step": self.step, "steps": self.steps, "members": self.rows}

    @property
    def text(self) -> str:
        """``step 250 of 1,000``."""
        return f"step {self.step:,} of {self.steps:,}"


def preliminary(store: Store, found: Overview) -> Preliminary | None:
    """The study's preliminary front; None where no unfinished trial of its search has been scored."""
    if not any(_unfinished(trial) for trial in found.trials):
        return None
    return preliminary_of(found, store.rungs(found.study.id))


def preliminary_of(found: Overview, rungs: Sequence[Rung]) -> Preliminary | None:
    """As `preliminary`, from all of the study's rungs."""
    searched = {t.id: t for t in found.trials if t.stage == "search" and not is_repeat(t)}
    reached = _by_step(found, searched, rungs)
    step = _common_step({s: sum(map(_unfinished, trials.values())) for s, trials in reached.items()}, found)
    if step is None:
        return None
    at_step = {**{t.id: t for t in found.trials}, **{trial.id: trial for trial in reached[step].values()}}
    early = replace(found, trials=tuple(at_step[trial.id] for trial in found.trials))
    early = replace(early, front=_front(early, reached[step].values()))
    steps = int(found.study.config["training"]["steps"])
    best_first = sorted(early.front.members, key=lambda point: -point.quality)
    left = remainders_of(found.study, [searched[point.id] for point in best_first], rungs)
    return Preliminary(step, steps, early, left)


def remainders_of(study: Study, trials: Sequence[Trial], rungs: Iterable[Rung]) -> tuple[Remainder, ...]:
    """What is left of these trials' training, in their order.

    Args:
        rungs: All of the study's: a trial that has none is taken to need the mean seconds a step of the others' last.
    """
    last = {rung.trial_id: rung for rung in rungs}  # by trial and step
    paces = [rung.seconds / rung.step for rung in last.values()]
    usual = sum(paces) / len(paces) if paces else None
    steps = int(study.config["training"]["steps"])
    found = []
    for trial in trials:
        rung = last.get(trial.id)
        step, pace = (0, usual) if rung is None else (rung.step, rung.seconds / rung.step)
        found.append(Remainder(trial, step, steps, None if pace is None else (steps - step) * pace))
    return tuple(found)


def _unfinished(trial: Trial) -> bool:
    return trial.stage == "search" and trial.state in OPEN and not is_repeat(trial)


def _by_step(
    found: Overview, searched: Mapping[int, Trial], rungs: Iterable[Rung]
) -> dict[int, dict[int, Trial]]:
    """Step to the trials that were scored there, as they were then, by their ids."""
    wanted = {each.key for each in found.objectives if each.name in QUALITIES}
    wanted.add(tuple(found.study.data["objective"]))
    reached: dict[int, dict[int, Trial]] = defaultdict(dict)
    for rung in rungs:
        trial, scored = searched.get(rung.trial_id), {m.key for m in rung.measurements}
        if trial is not None and wanted <= scored:
            known = tuple(m for m in trial.measurements if m.key not in scored)
            then = replace(trial, measurements=known + rung.measurements, seconds=rung.seconds)
            reached[rung.step][trial.id] = then
    return reached


def _common_step(unfinished: Mapping[int, int], found: Overview) -> int | None:
    """The rung to compare at, by how many unfinished trials have each."""
    enough = len(found.objectives) or len(DEFAULT)
    known = [step for step, count in unfinished.items() if count]
    return max(known, key=lambda step: (min(unfinished[step], enough), step), default=None)


def _front(early: Overview, there: Iterable[Trial]) -> Front:
    """Over the trials at a rung; its members are the unfinished ones."""
    costs = replace(early, limits=tuple(pair for pair in early.limits if pair[0].name not in QUALITIES))
    front = front_of(
        [replace(trial, state="complete") for trial in there],  # that is, comparable
        cost=cost_key(early.study),
        quality=tuple(early.study.data["objective"]),
        objectives=early.objectives,
        feasible=costs.meets_limits,  # qualities still grow
    )
    members = tuple(point for point in front.members if _unfinished(early.by_id[point.id]))
    return replace(front, members=members)


def workers_of(study: Study) -> int:
    """How many trainings the study's settings run at a time on the machine that it was made on; at least 1."""
    section = study.config["workers"]
    if section.get("number"):
        return int(section["number"])
    if section.get("gpus"):  # how many there are isn't on record
        return 1
    return max(1, int(study.environment.get("cpus", 1) // (section.get("cpus") or 1)))


def finishing_seconds(remainders: Sequence[Remainder], workers: int) -> list[float]:
    """When each training would end, in seconds, if free workers took them in this order; unknown ones count as 0."""
    free, ends = [0.0] * max(1, workers), []
    for each in remainders:
        ends.append(free[0] + (each.seconds or 0.0))
        heapreplace(free, ends[-1])
    return ends


def time_for(study: Study, remainders: Sequence[Remainder]) -> str:
    """The time that ``pixelfront finish`` needs for them, rounded up, such as ``3m``."""
    ends = finishing_seconds(remainders, workers_of(study))
    return rounded_up(START_S + MARGIN * max(ends, default=0.0))


def finish_command(study: Study, remainders: Sequence[Remainder], *, named: bool = False) -> str:
    """What trains them to their end, with a time that is enough, if that is known.

    Args:
        named: By their numbers; else as the preliminary front, which they are.
    """
    numbers = ",".join(str(each.trial.number) for each in remainders)
    which = f" --trials {numbers}" if named else ""
    known = all(each.seconds is not None for each in remainders)
    return f"pixelfront finish {study.name}{which}" + (
        f" --time {time_for(study, remainders)}" if known else ""
    )


def why_no_front(found: Overview, early: Preliminary | None) -> str:
    """Why a study has no front, and the command that gives it one with about the time that it takes."""
    study, name = found.study, found.study.name
    if found.front.unmet:
        try:
            _ = found.best
        except NoResultError as error:
            return str(error)
    running = "let its search go on or, if that was killed, " if study.state == "running" else ""
    if early is not None and early.remainders:
        networks = f"{len(early.remainders)} network{'s' * (len(early.remainders) != 1)}"
        return (
            f"no complete trial yet, so there is no front; the best so far are at {early.text}: {running}"
            f"{finish_command(study, early.remainders)} trains {networks} to the end"
        )
    states = Counter(trial.state for trial in found.trials)
    if found.trials and states["failed"] == len(found.trials):
        kinds = Counter(failure_kind(trial.reason) for trial in found.trials)
        first = {failure_kind(trial.reason): trial.reason for trial in reversed(found.trials)}
        told = "; ".join(f"{first[kind]} ({count})" for kind, count in kinds.most_common(REASONS))
        return f"no complete trial yet, so there is no front: all {len(found.trials)} trials failed: {told}"
    if begun := [trial for trial in found.trials if _unfinished(trial)]:
        costs = {trial.number: value(trial.measurements, *cost_key(study)) or 0.0 for trial in begun}
        return (
            "no complete trial yet, so there is no front, and none has been scored, so that nothing tells how long one "
            f"takes: {running}pixelfront finish {name} --trials {min(costs, key=costs.__getitem__)} trains the cheapest"
        )
    return f"no trial yet, so there is no front: {running}pixelfront search --study {name} --resume"

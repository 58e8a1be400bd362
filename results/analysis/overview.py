"""What a study found, read from the store: its front under its own protocol, and its trials' numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from results.analysis.front import Candidate, Front, Point, Reference, filled_corner, front_of
from results.analysis.history import POINTS, hypervolume_history, sampled_history
from results.analysis.repeats import Comparison, averaged, compare, trainings
from results.store.schema import Stop, Study, Trial
from results.store.store import Store
from spaces.architecture import Architecture
from spaces.measurement import Measurement
from spaces.objectives import COSTS, DEFAULT, Limit, Objective

GIGA = 1e9
COLUMNS = ("psnr", *COSTS)  # what every row has


class NoResultError(ValueError):
    """The request is all right, but what it asks for isn't there (yet): exit code 1 at the command line."""


@dataclass(frozen=True)
class Overview:
    """A study's trials, and one front over the complete ones of every stage.

    An architecture that was trained several times in one way is one point: the mean of its trainings, as its first.

    Attributes:
        baseline: Name of the trivial method, and its value of the study's objective.
        budget: (lower, upper) limit in GMACs; None for no upper one.
        objectives: What the front is over, the first being what ``best`` goes by.
        limits: Hard ones, each (of what, bound); no member of the front is beyond one.
        floor: What a study for the fewest GMACs has to reach: the quality's name (that of a published network;
            empty for a plain number) and its value. None where the highest quality is looked for.
    """

    study: Study
    trials: tuple[Trial, ...]
    front: Front
    baseline: tuple[str, float]
    budget: tuple[float, float | None]
    floor: tuple[str, float] | None = None
    objectives: tuple[Objective, ...] = ()
    limits: tuple[tuple[Objective, Limit], ...] = ()

    @property
    def plain(self) -> bool:
        """Whether the front is over the cost in GMACs and the study's PSNR, as it is unless something else was said."""
        return not self.objectives

    @property
    def volume_unit(self) -> str:
        """Of the hypervolume as ``growth`` and tables give it."""
        if self.plain:
            return f"GMACs x {self.front.quality.unit if self.front.quality else 'dB'}"
        return " x ".join(each.kind.unit or each.name for each in self.objectives)

    @property
    def volume(self) -> float | None:
        """The front's hypervolume in ``volume_unit``."""
        found = self.front.hypervolume
        return found / GIGA if found is not None and self.plain else found

    def growth(
        self, x: Sequence[float], points: Sequence[Point], *, most: int = POINTS
    ) -> list[tuple[float, float]]:
        """How the hypervolume, in ``volume_unit``, grew with these points, the one after the other.

        Args:
            x: When each came: seconds, steps, ...
            most: Of the values given; 0 for all where it grew.
        """
        reference, quality = self.front.reference, self.front.quality
        if reference is None or quality is None:
            return []
        met = [(when, p) for when, p in zip(x, points, strict=True) if self.meets_limits(self.distinct[p.id])]
        when = [each for each, _ in met]
        if self.plain:
            values = [(point.cost / GIGA, point.quality) for _, point in met]
            corner = reference.cost / GIGA, reference.quality
            return hypervolume_history(when, values, corner, ("min", quality.direction), most=most)
        rows = [point.values for _, point in met]
        directions = [each.direction for each in self.objectives]
        return sampled_history(
            when, rows, filled_corner(rows, directions, reference), directions, most=most or len(rows) or 1
        )

    def meets_limits(self, trial: Candidate) -> bool:
        """Whether a trial keeps to the hard limits; one that lacks a measurement doesn't."""
        return all(
            (found := each.find(trial.measurements)) is not None and limit.met(found)
            for each, limit in self.limits
        )

    @cached_property
    def by_id(self) -> dict[int, Trial]:
        """All trials by their id."""
        return {trial.id: trial for trial in self.trials}

    @cached_property
    def distinct(self) -> dict[int, Trial]:
        """The trials without repeats by their id, with the means of those that were repeated."""
        return {trial.id: trial for trial in averaged(self.trials, tuple(self.study.data["objective"]))}

    @property
    def members(self) -> list[Trial]:
        """The front's trials by rising cost."""
        return [self.by_id[point.id] for point in self.front.members]

    @cached_property
    def comparison(self) -> Comparison | None:
        """What repeated trainings tell of the front's members, by their numbers; None where no member has any."""
        key = tuple(self.study.data["objective"])
        groups = trainings(self.trials, key)
        found = {str(member.number): groups.get(member.id, (member,)) for member in self.members}
        if all(len(group) == 1 for group in found.values()):
            return None
        qualities = {
            number: [m.value for trial in group for m in trial.measurements if m.key == key]
            for number, group in found.items()
        }
        return compare(qualities)

    @property
    def best(self) -> Trial:
        """The front's member that the study looked for.

        That with the highest quality within the budget or, where there is a floor, the cheapest that reaches it. Of a
        study with other objectives that which is best in the first of them.
        A band's lower end rules nothing out: what is better and cheaper than asked for is better.

        Raises: NoResultError: if no trial is complete, none within the budget, or none reaches the floor.
        """
        name, members = self.study.name, self.front.members
        if not members:
            if self.front.unmet:
                said = ", ".join(str(limit) for _, limit in self.limits)
                raise NoResultError(
                    f"none of the {len(self.front.points)} complete trials of study '{name}' meets {said}"
                )
            raise NoResultError(f"study '{name}' has no complete trial yet")
        limit = self.budget[1]
        within = [point for point in members if limit is None or point.cost / GIGA <= limit]
        if not within:
            if limit is not None and any(point.cost / GIGA <= limit for point in self.front.points):
                why = f"no trial that costs so little beats {self.baseline[0]}: train longer"
            else:
                why = (
                    f"the cheapest trial of its front, {members[0].number}, costs {members[0].cost / GIGA:.4g} GMACs: "
                    "prune it"
                )
            raise NoResultError(
                f"study '{name}' looks for {goal_text(self.study)}; {why}, or raise the budget"
            )
        if not self.plain:
            signs = [1.0 if each.direction == "max" else -1.0 for each in self.objectives]
            return self.by_id[
                max(within, key=lambda p: [s * v for s, v in zip(signs, p.values, strict=True)]).id
            ]
        top = within[-1]
        if self.floor is None:
            return self.by_id[top.id]
        reached = [point for point in within if point.quality >= self.floor[1]]
        if not reached:
            raise NoResultError(
                f"study '{name}' looks for {goal_text(self.study)}; the best reached is {top.quality:.3f} "
                f"(trial {top.number}): train longer, allow more GMACs, or lower the aim"
            )
        return self.by_id[reached[0].id]


def overview(store: Store, name: str) -> Overview:
    """The study's overview; its hypervolume is measured from (budget, trivial baseline).

    Without an upper limit the dearest complete trial takes the budget's place, so that the hypervolume of such a
    study is no measure to compare it with another by.

    Raises: UnknownStudy: if there is none of that name.
    """
    study = store.study(name)
    trials = store.trials(study.id)
    metric, protocol = study.data["objective"]
    baseline = baseline_value(study, metric, protocol)
    label = study.data["baseline"]["name"]
    corner = _corner(study, trials)
    reference = None if corner is None else Reference(corner[0], baseline, f"{corner[1]}; {label}")
    distinct = averaged(trials, (metric, protocol))
    own, limits = objectives_of(study), limits_of(study)
    if own and reference is not None:
        worst = tuple(_worst(study, each, limits) for each in own)
        reference = replace(reference, corner=worst, meaning=f"limits, else the worst trial; {label}")
    empty = Overview(
        study, trials, Front((), (), None, None, reference, None), (label, baseline), budget_of(study)
    )
    found = replace(empty, floor=floor_of(study), objectives=own, limits=limits)
    front = front_of(
        distinct,
        cost=cost_key(study),
        quality=(metric, protocol),
        reference=reference,
        trivial=baseline,
        objectives=own,
        feasible=found.meets_limits,
    )
    return replace(found, front=front)


def find_trial(store: Store, study: Study, name: str) -> Trial:
    """The study's trial of that number, or its best.

    Raises: ValueError: if the name is neither a number nor 'best', or there is no such trial.
    """
    if name == "best":
        return overview(store, study.name).best
    if re.fullmatch("[0-9]{1,9}", name) is None:
        raise ValueError(f"a trial is a number or 'best', got '{name}'")
    return store.trial(study.id, int(name))


def _corner(study: Study, trials: Iterable[Trial]) -> tuple[float, str] | None:
    """The reference point's cost and what it is; None where nothing says."""
    high = budget_of(study)[1]
    if high is not None:
        return high * GIGA, f"the budget of {high:g} GMACs"
    costs = [value(trial.measurements, *cost_key(study)) for trial in trials if trial.state == "complete"]
    known = [cost for cost in costs if cost is not None]
    return (max(known), f"the dearest trial, {max(known) / GIGA:.4g} GMACs") if known else None


def _worst(study: Study, each: Objective, limits: Sequence[tuple[Objective, Limit]]) -> float | None:
    """What hypervolume is measured from in an objective; None where nothing says."""
    bound = next((limit.bound for _, limit in limits if limit.name == each.name), None)
    if each.name == "gmacs":
        return budget_of(study)[1] if bound is None else bound
    if each.direction == "max":
        trivial = baseline_value(study, *each.key)
        return trivial if bound is None else max(bound, trivial)
    return bound


def objectives_of(study: Study) -> tuple[Objective, ...]:
    """What a study goes for; empty for the highest PSNR at the fewest GMACs, as is the default."""
    found = tuple(Objective(**each) for each in study.data.get("objectives", ()))
    return () if {each.name for each in found} == set(DEFAULT) else found


def limits_of(study: Study) -> tuple[tuple[Objective, Limit], ...]:
    """A study's hard limits beside the budget."""
    return tuple(
        (Objective(each["name"], each["metric"], each["protocol"]), Limit(each["name"], each["bound"]))
        for each in study.data.get("limits", ())
    )


def cost_key(study: Study) -> tuple[str, str]:
    """(name, protocol) of the cost that the study's budget limits."""
    return "macs", f"{study.config['convention']}, {study.data['cost_input']}"


def budget_of(study: Study) -> tuple[float, float | None]:
    """(lower, upper) limit in GMACs; 0 and None where there is none."""
    low, high = study.data["budget"]
    return low, high


def floor_of(study: Study) -> tuple[str, float] | None:
    """(name, value) of the quality to reach at the fewest GMACs; the name of a plain number is empty."""
    if goal := study.data.get("goal"):
        return goal["label"], goal["quality"]
    asked = study.config.get("min_psnr")
    if asked is None:
        asked = next((limit.bound for _, limit in limits_of(study) if limit.name == "psnr"), None)
    return None if asked is None else ("", asked)


def goal_text(study: Study) -> str:
    """What the study looks for, such as ``at most 2 GMACs`` or ``psnr_y of at least 28.1 dB (rfdn)``."""
    low, high = budget_of(study)
    parts = []
    if high is not None:
        parts.append(f"{low:g} to {high:g} GMACs" if low else f"at most {high:g} GMACs")
    elif low:
        parts.append(f"at least {low:g} GMACs")
    if (floor := floor_of(study)) is not None:
        name, quality = floor
        source = f" ({name})" if name else ""
        parts.append(f"{study.data['objective'][0]} of at least {quality:.5g} dB{source}")
    parts += [str(limit) for _, limit in limits_of(study) if limit.name not in ("gmacs", "psnr")]
    if own := objectives_of(study):
        parts.append("for " + ", ".join(each.name for each in own))
    return ", ".join(parts) or f"the highest {study.data['objective'][0]}"


STOPS: dict[Stop, str] = {
    "trials": "all trials made",
    "steps": "step limit",
    "time": "time limit",
    "worker_hours": "worker-hour limit",
    "interrupted": "interrupted",
    "exhausted": "nothing new to try",
}


def state_text(study: Study, paused: int) -> str:
    """The study's state; where it rests also why, and how many trials do: ``paused: time limit, 8 paused``."""
    if study.state != "paused":
        return study.state
    why = [] if study.stop is None else [STOPS[study.stop]]
    why += [f"{paused:,} paused"] if paused else []
    return ": ".join(["paused", *filter(None, [", ".join(why)])])


def baseline_value(study: Study, name: str, protocol: str) -> float:
    """The trivial method's value under a protocol.

    Raises: KeyError: if it wasn't measured so.
    """
    for measurement in study.data["baseline"]["measurements"]:
        if (measurement["name"], measurement["protocol"]) == (name, protocol):
            return float(measurement["value"])
    raise KeyError((name, protocol))


def value(measurements: Iterable[Measurement], name: str, protocol: str | None = None) -> float | None:
    """The measurement of that name (and protocol); None if there is none."""
    return next((m.value for m in measurements if m.name == name and protocol in (None, m.protocol)), None)


def row(found: Overview, point: Point, trial: Trial) -> dict[str, Any]:
    """A front member as a flat record: costs with their input size, quality with its protocol.

    ``parent`` is the number of the trial that it was made from. ``training_seconds`` are those of its own stage.
    ``step`` of ``steps`` were trained in it; both None where it trains nothing (published, pruned).
    ``test_protocol`` is that of the study's metric; other test scores differ from it in the colour that their
    name says. ``test_<metric>_gain`` is over the trivial method on the test images. Of several trainings the quality
    and what the study goes for are their means; the test scores and the time are the first's.
    """
    study = found.study
    assert found.front.quality is not None
    quality = found.front.quality
    architecture = Architecture.from_json(trial.architecture)
    record: dict[str, Any] = {
        "trial": trial.number,
        "stage": trial.stage,
        "parent": None if trial.parent_id is None else found.by_id[trial.parent_id].number,
        "digest": trial.digest,
        "architecture": architecture.label,
        "gmacs": point.cost / GIGA,
        "cost_protocol": cost_key(study)[1],
        "parameters": value(trial.measurements, "parameters"),
        "activations": value(trial.measurements, "activations"),
        "convolutions": value(trial.measurements, "convolutions"),
        quality.name: point.quality,
        "protocol": quality.protocol,
        f"{quality.name}_gain": point.quality - found.baseline[1],
        "training_seconds": trial.seconds,
        "step": (steps := steps_of(study, trial)),
        "steps": steps,
        "complete": True,
    }
    if before := (trial.origin or {}).get("steps_before"):  # it didn't start from random weights
        record["steps_before"] = before
    means = found.distinct[trial.id].measurements
    record |= {each.metric: value(means, *each.key) for each in goals(found)}
    return record | _interval(found, trial, quality.name) | scores_on_test(study, trial)


def steps_of(study: Study, trial: Trial) -> int | None:
    """Training steps of a trial's own stage; None where it trains nothing."""
    if recipe := (trial.origin or {}).get("recipe"):
        return sum(int(stage["steps"]) for stage in recipe.get("stage", ()))
    return int(study.config["training"]["steps"]) if trial.stage == "search" else None


def _interval(found: Overview, trial: Trial, name: str) -> dict[str, Any]:
    """Of a front with repeats: the member's trainings, its mean's 95 % interval, and whether the next one differs."""
    if found.comparison is None:
        return {}
    key = str(trial.number)
    member = next(each for each in found.comparison.members if each.key == key)
    after = next((each.apart for each in found.comparison.neighbours if each.first == key), None)
    interval = {f"{name}_low": member.low, f"{name}_high": member.high}
    return {"trainings": len(member.values), **interval, "apart_from_next": after}


def scores_on_test(study: Study, trial: Trial) -> dict[str, Any]:
    """The trial's scores on the test images as ``row`` has them; empty where there are none."""
    metric, protocols = study.data["objective"][0], _test_protocols(study)
    record: dict[str, Any] = {}
    for name, protocol in protocols.items():
        if (score := value(trial.measurements, name, protocol)) is not None:
            record[f"test_{name}"] = score
            record["test_protocol"] = protocols[metric]
            if name == metric:
                record[f"test_{name}_gain"] = score - baseline_value(study, name, protocol)
    return record


def _test_protocols(study: Study) -> dict[str, str]:
    """Metric to the protocol of its test scores; empty without test images.

    Told from the validation scores by name and digest of the images: two folders may have one name.
    """
    validation = _images(study.data["objective"][1])
    measured = study.data["baseline"]["measurements"]
    return {m["name"]: m["protocol"] for m in measured if _images(m["protocol"]) != validation}


def _images(protocol: str) -> str:
    """The part of a protocol that says which images, by name and digest."""
    return protocol.partition(" on ")[2]


def rows(found: Overview) -> list[dict[str, Any]]:
    """All members of the front, by rising cost."""
    return [row(found, p, t) for p, t in zip(found.front.members, found.members, strict=True)]


def as_json(found: Overview, preliminary: Mapping[str, Any] | None = None) -> str:
    """The front with everything needed to read it: protocols, reference point, hypervolume, baseline.

    Args:
        preliminary: The record of `results.analysis.preliminary.Preliminary`.
    """
    front = found.front
    reference = front.reference
    record = {
        "study": found.study.name,
        "task": found.study.task,
        "strategy": found.study.strategy,
        "seed": found.study.seed,
        "budget_gmacs": list(found.budget),
        "floor": found.floor and {"name": found.floor[0], "value": found.floor[1]},
        "baseline": {"name": found.baseline[0], "value": found.baseline[1]},
        "objectives": [each.name for each in found.objectives] or list(DEFAULT),
        "limits": [str(limit) for _, limit in found.limits],
        "hypervolume": front.hypervolume,
        "hypervolume_unit": front.quality
        and (f"MACs x {front.quality.unit}" if found.plain else found.volume_unit),
        "reference": reference
        and {
            "cost": reference.cost,
            "quality": reference.quality,
            "meaning": reference.meaning,
        }
        | ({"corner": reference.corner} if reference.corner else {}),
        "trials": len(found.trials),
        "not_better_than_baseline": front.worthless,
        "best": _best_number(found),
        "front": rows(found),
        "preliminary": preliminary,
    } | comparison_record(found)
    return json.dumps(record, indent=2)


def goals(found: Overview) -> list[Objective]:
    """What the study goes for and limits beside what every row has, once each."""
    shown = dict.fromkeys([*found.objectives, *(each for each, _ in found.limits)])
    return [each for each in shown if each.name not in COLUMNS]


def corner_text(found: Overview) -> str:
    """The point that hypervolume is measured from; empty where there is none."""
    reference, quality = found.front.reference, found.front.quality
    if reference is None or quality is None:
        return ""
    if found.plain:
        return f"({reference.cost / GIGA:g} GMACs, {reference.quality:.3f} {quality.unit})"
    return ", ".join(
        f"{each.name} {'worst' if bound is None else f'{bound:.5g}'}"
        for each, bound in zip(found.objectives, reference.corner, strict=True)
    )


def spread_text(record: Mapping[str, Any], name: str) -> str:
    """What follows a quality of ``row``: half of its 95 % interval and its trainings; empty without repeats."""
    if "trainings" not in record:
        return ""
    low, high = record[f"{name}_low"], record[f"{name}_high"]
    return ("" if low is None else f" ± {(high - low) / 2:.3f}") + f" ({record['trainings']})"


def comparison_record(found: Overview) -> dict[str, Any]:
    """``comparison``: how the intervals of a front with repeats were made, and its neighbours; empty without."""
    if found.comparison is None:
        return {}
    compared = found.comparison
    neighbours = [
        {**vars(each), "first": int(each.first), "second": int(each.second)} for each in compared.neighbours
    ]
    facts = {"method": compared.method, "deviation": compared.deviation, "neighbours": neighbours}
    return {"comparison": facts | {"told": comparison_text(found)}}


def comparison_text(found: Overview) -> str:
    """Which members of a front with repeats can't be told apart, in a sentence; empty without repeats."""
    if found.comparison is None or found.front.quality is None:
        return ""
    unit, pairs = found.front.quality.unit, found.comparison.neighbours
    close = [
        f"{each.first} and {each.second} ({each.difference:+.3f} {unit}"
        + ("" if each.p is None else f", p {each.p:.2g}")
        + ")"
        for each in pairs
        if not each.apart
    ]
    if not pairs:
        return ""
    if not close:
        return "All neighbours on the front can be told apart."
    return f"Neighbours on the front that can't be told apart: {'; '.join(close)}."


def _best_number(found: Overview) -> int | None:
    try:
        return found.best.number
    except ValueError:
        return None

"""What a study found, read from the store: its front under its own protocol, and its trials' numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from results.front import Front, Point, Reference, front_of
from results.schema import Study, Trial
from results.store import Store
from spaces.architecture import Architecture
from spaces.measurement import Measurement

GIGA = 1e9


@dataclass(frozen=True)
class Overview:
    """A study's trials, and one front over the complete ones of every stage.

    Attributes:
        baseline: Name of the trivial method, and its value of the study's objective.
        budget: (lower, upper) limit in GMACs; None for no upper one.
        floor: What a study for the fewest GMACs has to reach: the quality's name (that of a published network;
            empty for a plain number) and its value. None where the highest quality is looked for.
    """

    study: Study
    trials: tuple[Trial, ...]
    front: Front
    baseline: tuple[str, float]
    budget: tuple[float, float | None]
    floor: tuple[str, float] | None = None

    @cached_property
    def by_id(self) -> dict[int, Trial]:
        """All trials by their id."""
        return {trial.id: trial for trial in self.trials}

    @property
    def members(self) -> list[Trial]:
        """The front's trials by rising cost."""
        return [self.by_id[point.id] for point in self.front.members]

    @property
    def best(self) -> Trial:
        """The front's member that the study looked for.

        That with the highest quality within the budget or, where there is a floor, the cheapest that reaches it.
        A band's lower end rules nothing out: what is better and cheaper than asked for is better.

        Raises: ValueError: if no trial is complete, none within the budget, or none reaches the floor.
        """
        name, members = self.study.name, self.front.members
        if not members:
            raise ValueError(f"study '{name}' has no complete trial yet")
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
            raise ValueError(f"study '{name}' looks for {goal_text(self.study)}; {why}, or raise the budget")
        top = within[-1]
        if self.floor is None:
            return self.by_id[top.id]
        reached = [point for point in within if point.quality >= self.floor[1]]
        if not reached:
            raise ValueError(
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
    front = front_of(
        trials, cost=cost_key(study), quality=(metric, protocol), reference=reference, trivial=baseline
    )
    return Overview(study, trials, front, (label, baseline), budget_of(study), floor_of(study))


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
    return ", ".join(parts) or f"the highest {study.data['objective'][0]}"


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
    ``test_protocol`` is that of the study's metric; other test scores differ from it in the colour that their
    name says. ``test_<metric>_gain`` is over the trivial method on the test images.
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
    }
    return record | scores_on_test(study, trial)


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


def as_json(found: Overview) -> str:
    """The front with everything needed to read it: protocols, reference point, hypervolume, baseline."""
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
        "hypervolume": front.hypervolume,
        "hypervolume_unit": front.quality and f"MACs x {front.quality.unit}",
        "reference": reference
        and {
            "cost": reference.cost,
            "quality": reference.quality,
            "meaning": reference.meaning,
        },
        "trials": len(found.trials),
        "not_better_than_baseline": front.worthless,
        "best": _best_number(found),
        "front": rows(found),
    }
    return json.dumps(record, indent=2)


def _best_number(found: Overview) -> int | None:
    try:
        return found.best.number
    except ValueError:
        return None

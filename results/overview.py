"""What a study found, read from the store: its front under its own protocol, and its trials' numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from results.front import Front, Point, Reference, front_of
from results.schema import Study, Trial
from results.store import Store
from spaces.architecture import Architecture
from spaces.measurement import Measurement

GIGA = 1e9


@dataclass(frozen=True)
class Overview:
    """A study's trials and front.

    Attributes:
        baseline: Name of the trivial method, and its value of the study's objective.
        budget: (lower, upper) limit in GMACs.
    """

    study: Study
    trials: tuple[Trial, ...]
    front: Front
    baseline: tuple[str, float]
    budget: tuple[float, float]

    @property
    def members(self) -> list[Trial]:
        """The front's trials by rising cost."""
        by_id = {trial.id: trial for trial in self.trials}
        return [by_id[point.id] for point in self.front.members]

    @property
    def best(self) -> Trial:
        """The front's member with the highest quality.

        Raises: ValueError: if no trial is complete.
        """
        if not self.front.members:
            raise ValueError(f"study '{self.study.name}' has no complete trial yet")
        return self.members[-1]


def overview(store: Store, name: str) -> Overview:
    """The study's overview; its hypervolume is measured from (budget, trivial baseline).

    Raises: UnknownStudy: if there is none of that name.
    """
    study = store.study(name)
    trials = store.trials(study.id)
    metric, protocol = study.data["objective"]
    baseline = baseline_value(study, metric, protocol)
    low, high = limits(study.config)
    label = study.data["baseline"]["name"]
    reference = Reference(high * GIGA, baseline, f"the budget of {high:g} GMACs; {label}")
    front = front_of(
        trials, cost=cost_key(study), quality=(metric, protocol), reference=reference, trivial=baseline
    )
    return Overview(study, trials, front, (label, baseline), (low, high))


def cost_key(study: Study) -> tuple[str, str]:
    """(name, protocol) of the cost that the study's budget limits."""
    return "macs", f"{study.config['convention']}, {study.data['cost_input']}"


def limits(config: Any) -> tuple[float, float]:
    """(lower, upper) limit in GMACs; the lower is 0 where there is none."""
    if config["gmacs"]:
        low, high = (float(part) for part in config["gmacs"].split(":"))
        return low, high
    return 0.0, float(config["max_gmacs"])


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

    ``test_protocol`` is that of the study's metric; other test scores differ from it in the colour that their
    name says. ``test_<metric>_gain`` is over the trivial method on the test images.
    """
    study = found.study
    assert found.front.quality is not None
    quality = found.front.quality
    architecture = Architecture.from_json(trial.architecture)
    record: dict[str, Any] = {
        "trial": trial.number,
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
    protocols = _test_protocols(study)
    for name, protocol in protocols.items():
        if (score := value(trial.measurements, name, protocol)) is not None:
            record[f"test_{name}"] = score
            record["test_protocol"] = protocols[quality.name]
            if name == quality.name:
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
        "front": rows(found),
    }
    return json.dumps(record, indent=2)

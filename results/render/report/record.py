"""What a report says of a study, as plain values that JSON can hold; templates only lay it out."""

from __future__ import annotations

import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from results.analysis.overview import (
    GIGA,
    Overview,
    comparison_record,
    comparison_text,
    corner_text,
    cost_key,
    goal_text,
    goals,
    rows,
    state_text,
    value,
)
from results.analysis.preliminary import Preliminary, finish_command, preliminary_of, why_no_front
from results.analysis.repeats import is_repeat
from results.render.card import stage_text, start_text, starts_text
from results.store.schema import Ask, Rung, Study, Trial, failure_kind, turned_away_by
from results.store.store import Store
from spaces.architecture import Architecture
from spaces.measurement import Measurement

NAMED = 12  # trial numbers listed with a reason; their count is always said
SPLITS = ("train", "validation", "test")


def of_study(store: Store, found: Overview, rungs: Sequence[Rung]) -> dict[str, Any]:
    """Everything but the single trials."""
    study = found.study
    best, why_none = _best(found)
    early = preliminary_of(found, rungs)
    lineage = store.lineage(best.id) if best else ()
    steps = steps_by_trial(rungs)
    record: dict[str, Any] = {
        "made": {"at": utc_text(datetime.now(UTC)), "pixelfront": version("pixelfront")},
        "study": _study(study)
        | {"status": state_text(study, sum(t.state == "paused" for t in found.trials))},
        "objective": {"name": study.data["objective"][0], "protocol": study.data["objective"][1]}
        | {"unit": found.front.quality.unit if found.front.quality else "dB"},
        "cost": {"name": "GMACs", "protocol": cost_key(study)[1]},
        "counts": {
            "by_state": Counter(trial.state for trial in found.trials),
            "by_stage": Counter(trial.stage for trial in found.trials),
        },
        "spent": {
            "trials": sum(trial.state in ("complete", "failed") for trial in found.trials),
            "seconds": sum(trial.seconds or 0.0 for trial in found.trials),
            "steps": sum(steps.values()),
            "wall_seconds": _wall(study, found.trials),
        },
        "asks": _asks(store.asks(study.id)),
        "front": rows(found),
        "preliminary": early and early.record,
        "why_no_front": None if found.front.members else why_no_front(found, early),
        "starts": starts_text(found),
        "goals": [
            {
                "name": each.metric,
                "heading": each.heading,
                "protocol": each.protocol,
                "scale": each.kind.scale,
            }
            for each in goals(found)
        ],
        "limits": [str(limit) for _, limit in found.limits],
        "unmet": found.front.unmet,
        "comparison": comparison_record(found).get("comparison"),
        "points": len(found.front.points),  # complete trials without repeats
        "not_better_than_baseline": found.front.worthless,
        "hypervolume": _hypervolume(found),
        "history": _history(found, steps),
        "best": best and best.number,
        "why_no_best": why_none,
        "baseline": study.data["baseline"],
        "floor": found.floor and {"name": found.floor[0], "value": found.floor[1]},
        "published": [_line(found, t, steps) for t in found.trials if t.stage == "published"],
        "lineage": [_line(found, trial, steps) for trial in lineage],
        "stages": _tree(found, steps),
        "failures": _failures(found.trials),
        "commands": _commands(found, early, best),
    }
    return record | {"summary": _summary(found, record)}


def of_trials(found: Overview, rungs: Sequence[Rung]) -> list[dict[str, Any]]:
    """Every trial with all that is on record of it."""
    curves: dict[int, list[Rung]] = defaultdict(list)
    for rung in rungs:
        curves[rung.trial_id].append(rung)
    front = {point.id for point in found.front.members}
    return [
        {
            "number": trial.number,
            "stage": trial.stage,
            "state": trial.state,
            "reason": trial.reason,
            "parent": parent_number(found, trial),
            "on_front": trial.id in front,
            "label": Architecture.from_json(trial.architecture).label,
            "digest": trial.digest,
            "architecture": json.loads(trial.architecture),
            "genotype": trial.genotype,
            "origin": trial.origin,
            "attempts": trial.attempts,
            "created_at": utc_text(trial.created_at),
            "started_at": utc_text(trial.started_at),
            "finished_at": utc_text(trial.finished_at),
            "seconds": trial.seconds,
            "measurements": [vars(each) for each in trial.measurements],
            "rungs": [_rung(rung) for rung in curves[trial.id]],
        }
        for trial in found.trials
    ]


def parent_number(found: Overview, trial: Trial) -> int | None:
    """The number of the trial that it was made from."""
    return None if trial.parent_id is None else found.by_id[trial.parent_id].number


def steps_by_trial(rungs: Iterable[Rung]) -> dict[int, int]:
    """A trial's id to how far its learning curve goes."""
    steps: dict[int, int] = {}
    for rung in rungs:
        steps[rung.trial_id] = max(steps.get(rung.trial_id, 0), rung.step)
    return steps


def _rung(rung: Rung) -> dict[str, Any]:
    plain = {key: said for key, said in vars(rung).items() if key not in ("trial_id", "measurements")}
    return plain | {"measurements": [vars(each) for each in rung.measurements]}


def _study(study: Study) -> dict[str, Any]:
    said = {"name": study.name, "task": study.task, "strategy": study.strategy, "seed": study.seed}
    return said | {
        "state": study.state,
        "stop": study.stop,
        "created_at": utc_text(study.created_at),
        "finished_at": utc_text(study.finished_at),
        "goal": goal_text(study),
        "budget_gmacs": study.data["budget"],
        "space": {"name": study.space_name, "digest": study.space_digest, "choices": study.space},
        "data": {split: study.data[split] for split in SPLITS if split in study.data},
        "data_digest": study.data_digest,
        "cost_input": study.data["cost_input"],
        "config": study.config,
        "environment": study.environment,
    }


def _best(found: Overview) -> tuple[Trial | None, str | None]:
    try:
        return found.best, None
    except ValueError as error:
        return None, str(error)


def _wall(study: Study, trials: Iterable[Trial]) -> float:
    """From the study's beginning to the last end of a trial, pauses included."""
    ends = [trial.finished_at for trial in trials if trial.finished_at is not None]
    return max((end - study.created_at).total_seconds() for end in ends) if ends else 0.0


def _asks(asks: Sequence[Ask]) -> dict[str, Any]:
    outcomes = Counter(ask.outcome for ask in asks)
    counted = {"questions": len(asks), "trials": outcomes["trial"], "duplicates": outcomes["duplicate"]}
    by = Counter(turned_away_by(ask.reason) for ask in asks if ask.outcome == "rejected")
    return counted | {
        "rejected": outcomes["rejected"],
        "turned_away": by,
        "told": _turned_away(by, outcomes["duplicate"]),
    }


def _turned_away(by: Mapping[str, int], duplicates: int) -> str:
    """``12 by the budget, 3 by the limit on latency and 2 duplicates``."""
    said = ", ".join(f"{n:,} by the {who}" for who, n in by.items())
    also = [count(duplicates, "duplicate")] if duplicates or not said else []
    return " and ".join([*filter(None, [said]), *also])


def _hypervolume(found: Overview) -> dict[str, Any] | None:
    front = found.front
    if front.hypervolume is None or front.reference is None:
        return None
    corner = {"gmacs": front.reference.cost / GIGA, "quality": front.reference.quality}
    measured = {"value": found.volume, "unit": found.volume_unit}
    return measured | {"reference": corner | {"meaning": front.reference.meaning, "text": corner_text(found)}}


def _history(found: Overview, steps: Mapping[int, int]) -> dict[str, list[tuple[float, float]]]:
    """Hypervolume in its unit by seconds since the beginning, and by training steps until then."""
    ended = [(found.by_id[p.id], p) for p in found.front.points if found.by_id[p.id].finished_at is not None]
    if not ended:
        return {"by_seconds": [], "by_steps": []}
    ended.sort(key=lambda pair: pair[0].finished_at or found.study.created_at)
    times, done, total = [], [], 0
    for trial, _ in ended:
        assert trial.finished_at is not None
        total += steps.get(trial.id, 0)
        times.append((trial.finished_at - found.study.created_at).total_seconds())
        done.append(float(total))
    points = [point for _, point in ended]
    return {key: found.growth(x, points) for key, x in {"by_seconds": times, "by_steps": done}.items()}


def _line(found: Overview, trial: Trial, steps: Mapping[int, int]) -> dict[str, Any]:
    """A trial in a table of few columns."""
    cost = value(trial.measurements, *cost_key(found.study))
    return {
        "trial": trial.number,
        "stage": trial.stage,
        "state": trial.state,
        "parent": parent_number(found, trial),
        "architecture": Architecture.from_json(trial.architecture).label,
        "how": stage_text(found.study, trial),
        "gmacs": None if cost is None else cost / GIGA,
        "quality": value(trial.measurements, *found.study.data["objective"]),
        "seconds": trial.seconds,
        "steps": steps.get(trial.id),
    }


def _tree(found: Overview, steps: Mapping[int, int]) -> list[dict[str, Any]]:
    """Trials that something was made from, and what was: each before its children, with its depth."""
    children: dict[int, list[Trial]] = defaultdict(list)
    for trial in found.trials:
        if trial.parent_id is not None:
            children[trial.parent_id].append(trial)
    front = {point.id for point in found.front.members}
    waiting = [(0, t) for t in reversed(found.trials) if t.parent_id is None and t.id in children]
    lines = []
    while waiting:
        depth, trial = waiting.pop()
        line = _line(found, trial, steps) | {"depth": depth, "on_front": trial.id in front}
        # All of the search were trained alike.
        lines.append(line | ({"how": start_text(found.study, trial)} if trial.stage == "search" else {}))
        waiting += [(depth + 1, child) for child in reversed(children[trial.id])]
    return lines


def _failures(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """Reasons by falling count; those that differ in numbers alone are one, told by its first."""
    groups: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        if trial.state == "failed":
            groups[failure_kind(trial.reason)].append(trial)
    return [
        {
            "reason": failed[0].reason,
            "count": len(failed),
            "stages": sorted({trial.stage for trial in failed}),
            "trials": [trial.number for trial in failed[:NAMED]],
        }
        for failed in sorted(groups.values(), key=len, reverse=True)
    ]


def _commands(found: Overview, early: Preliminary | None, best: Trial | None) -> dict[str, Any]:
    """What to type: again, on, and what to do with the winner; the configuration as the file that they name."""
    study = found.study
    name = shlex.quote(study.name)
    searched_only = study.strategy != "published" and all(t.stage == "search" for t in found.trials)
    again = ["search", "--config"] if searched_only else ["run"]
    said = {
        "again": shlex.join(["pixelfront", *again, f"{study.name}.toml", "--study", f"{study.name}-again"]),
        "resume": f"pixelfront {again[0]} --study {name} --resume",
        "front": f"pixelfront front {name}",
    }
    if early is not None and early.remainders:
        said |= {"finish": finish_command(study, early.remainders)}
    if best is not None:
        said |= {
            "export": f"pixelfront export {name} {best.number} -o winner.onnx",
            "evaluate": "pixelfront evaluate winner.onnx --data FOLDER",
        }
    return {"shell": said, "config_file": f"{study.name}.toml", "config": to_toml(study.config)}


def to_toml(config: Mapping[str, Any]) -> str:
    """A recorded configuration as the TOML that ``--config`` reads; what is None is left to its default."""
    plain = [f"{key} = {_toml(said)}" for key, said in config.items() if not isinstance(said, dict | None)]
    for section, content in config.items():
        if isinstance(content, dict):
            lines = [f"{key} = {_toml(said)}" for key, said in content.items() if said is not None]
            plain += ["", f"[{section}]", *lines] if lines else []
    return "\n".join(plain) + "\n"


def _toml(said: Any) -> str:
    # JSON's strings, numbers, booleans and lists are TOML's, but for the escapes of pairs of surrogates.
    return json.dumps(said, ensure_ascii=False)


def _summary(found: Overview, record: Mapping[str, Any]) -> str:
    """What came of the study, in one paragraph."""
    states, front = record["counts"]["by_state"], record["front"]
    later = [f"{n} {stage}" for stage, n in record["counts"]["by_stage"].items() if stage != "search"]
    later += [count(repeats, "repeat")] if (repeats := sum(map(is_repeat, found.trials))) else []
    parts = [
        count(len(found.trials), "trial")
        + (f" ({', '.join(later)} among them)" if later else "")
        + f" looked for {record['study']['goal']}: {states['complete']:,} complete, {states['failed']:,} failed"
        + (f", {states['paused']:,} paused at a rung" if states["paused"] else "")
        + (
            f", {states['running'] + states['waiting']:,} open"
            if states["running"] + states["waiting"]
            else ""
        )
        + "."
    ]
    if not found.trials:
        parts = [f"Looks for {record['study']['goal']}. No trial has been made yet."]
    if front:
        parts += _found(found, record)
    elif found.trials:
        parts.append("None is complete, so there is no front.")
        if (early := record["preliminary"]) is not None and early["members"]:
            at = f"step {early['step']:,} of {early['steps']:,}"
            parts.append(f"The preliminary front, at {at}, has {count(len(early['members']), 'member')}.")
    if record["asks"]["questions"]:
        asks = record["asks"]
        parts.append(
            f"Of {count(asks['questions'], 'answer')} of the strategy, {asks['told']} were turned away without "
            "training."
        )
    return " ".join(parts)


def _found(found: Overview, record: Mapping[str, Any]) -> list[str]:
    objective, front = record["objective"], record["front"]
    name, unit = objective["name"], objective["unit"]
    parts = [
        f"The front has {len(front)} members, from {front[0]['gmacs']:.3f} GMACs at "
        f"{front[0][name]:.2f} {unit} to {front[-1]['gmacs']:.3f} GMACs at {front[-1][name]:.2f} {unit}."
        if len(front) > 1
        else "The front has 1 member."
    ]
    best = next((each for each in front if each["trial"] == record["best"]), None)
    if best is None:
        parts.append(f"{str(record['why_no_best']).capitalize()}.")
    else:
        tested = best.get(f"test_{name}")
        parts.append(
            f"The best is trial {best['trial']}, {best['architecture']}: {name} {best[name]:.3f} {unit} at "
            f"{best['gmacs']:.3f} GMACs, {best[f'{name}_gain']:+.3f} {unit} against {found.baseline[0]}"
            + ("." if tested is None else f"; {tested:.3f} {unit} on the test images.")
        )
    if text := comparison_text(found):
        parts.append(text)
    if (volume := record["hypervolume"]) is not None:
        parts.append(f"Hypervolume {volume['value']:.4g} {volume['unit']}.")
    return parts


def measurement_title(each: Measurement) -> str:
    """A measurement's column: name, unit and protocol."""
    unit = "" if each.unit == "1" else f" [{each.unit}]"
    return f"{each.name}{unit} ({each.protocol})"


def count(number: int, noun: str) -> str:
    """``1 trial``, ``1,200 trials``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def utc_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")

"""The model card: what a network is, costs and scores, and where it comes from. Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from results.analysis.overview import GIGA, Overview, cost_key, goal_text, value
from results.store.schema import Study, Trial
from spaces.architecture import Architecture
from spaces.measurement import Measurement

NAMED = 8  # members of a front
LONGEST = 1000  # characters of an architecture: a pruned one names every tensor


class ExportedFile(Protocol):
    """What a card says of a file; ``results.export.files.Exported`` is one."""

    @property
    def path(self) -> object: ...
    @property
    def format(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def bytes(self) -> int: ...
    @property
    def sizes(self) -> tuple[tuple[int, int], ...]: ...
    @property
    def max_error(self) -> float: ...
    @property
    def minimum_size(self) -> int: ...
    @property
    def multiple_of(self) -> int: ...


@dataclass(frozen=True)
class Int8:
    """What a card says of an INT8 file beyond what it says of the floating-point one.

    Attributes:
        layers: Convolutions of the network.
        float_layers: Those of them that compute in floating point.
        calibration: What the values' ranges are from.
        compared: The floating-point file's and the INT8 file's measurements, under the same protocols.
    """

    layers: int
    float_layers: Sequence[str]
    calibration: str
    compared: Sequence[tuple[Measurement, Measurement]]


def model_card(
    study: Study,
    trial: Trial,
    file: ExportedFile,
    measurements: Sequence[Measurement],
    int8: Int8 | None = None,
    *,
    lineage: Sequence[Trial] = (),
    note: str = "",
) -> str:
    """The card of one exported trial.

    Args:
        note: What has to be known first, such as that it isn't trained to the end.
        lineage: From what the study started with to the trial, which alone is assumed otherwise.
        file: Of an INT8 file what is known of the floating-point one: ``sizes`` and ``max_error``.
        measurements: Of the network in floating point.
    """
    architecture = Architecture.from_json(trial.architecture)
    baseline, lineage = study.data["baseline"], lineage or (trial,)
    checked = ", ".join(f"{h}x{w}" for h, w in file.sizes)
    multiple = f" and multiples of {file.multiple_of}" if file.multiple_of > 1 else ""
    name = str(file.path).rpartition("/")[2]
    packages = ", ".join(f"{n} {v}" for n, v in study.environment["packages"].items())
    lines = [
        f"# {name}",
        "",
        f"{architecture.label}, for {study.task}. Trial {trial.number} of study `{study.name}`.",
        "",
        *([f"**{note}**", ""] if note else ()),
        "## Input and output",
        "",
        f"{_taken(study)}; H and W at least {file.minimum_size}{multiple}: "
        "pad smaller images and crop the output. The output isn't clamped: clamp it to [0, 1].",
        "",
        f"Checked: {file.format} against PyTorch at {checked}; largest difference {file.max_error:.2g}"
        + (", both in floating point." if int8 else "."),
        "",
        *(_int8(int8) if int8 else ()),
        "## Cost and quality" + (" in floating point" if int8 else ""),
        "",
        "| measurement | value | unit | protocol |",
        "|---|---:|---|---|",
        *(f"| {m.name} | {_number(m)} | {m.unit} | {m.protocol} |" for m in measurements),
        *(
            f"| {m['name']} of {baseline['name']} | {m['value']:.4f} | {m['unit']} | {m['protocol']} |"
            for m in baseline["measurements"]
        ),
        "",
        "## Training and data",
        "",
        *(
            _searched(study, trial)
            if len(lineage) == 1 and trial.stage == "search"
            else _stages(study, lineage)
        ),
        "",
        *(
            f"- {split}: {study.data[split]['name']}, {study.data[split]['images']} image(s), "
            f"digest {study.data[split]['digest']}"
            for split in ("train", "validation", "test")
            if split in study.data
        ),
        "",
        "## Provenance",
        "",
        f"- file: SHA-256 `{file.sha256}`, {file.bytes:,} bytes",
        f"- architecture `{trial.digest}`: {_description(trial)}",
        f"- {_begun(study)}, budget {goal_text(study) or 'none'} ({study.config['convention']}, "
        f"{study.data['cost_input']})",
        f"- made with {packages}, Python {study.environment['python']}, {study.environment['platform']}",
        "",
    ]
    return "\n".join(lines)


def _begun(study: Study) -> str:
    if study.strategy == "published":
        return f"begun with the published network {study.space_name}, seed {study.seed}"
    return f"search: {study.strategy}, seed {study.seed}, space {study.space_name} ({study.space_digest})"


def _training(study: Study) -> list[str]:
    """How the search trained."""
    training = study.config["training"]
    losses = training.get("losses") or ("l1", "l2")
    patch = "x".join([str(training["patch"])] * 2)
    return [
        f"{training['steps']} steps of {training['batch']} patches of {patch} input pixels: loss {losses[0]}, the last "
        f"tenth {losses[1]}, Adam, learning rate {training['learning_rate']:g} falling along a cosine, average of "
        f"weights {training['ema']:g}, {training['precision']}."
    ]


def _searched(study: Study, trial: Trial) -> list[str]:
    start = start_text(study, trial)
    return [*_training(study), *([f"The network {start}."] if start else ())]


def _stages(study: Study, lineage: Sequence[Trial]) -> list[str]:
    """What was done in each stage, with what it gave."""
    metric, protocol = study.data["objective"]
    lines = []
    for number, trial in enumerate(lineage, 1):
        cost, quality = (
            value(trial.measurements, *cost_key(study)),
            value(trial.measurements, metric, protocol),
        )
        given = [f"{cost / GIGA:.4g} GMACs"] if cost is not None else []
        given += [f"{metric} {quality:.3f}"] if quality is not None else []
        lines.append(
            f"{number}. trial {trial.number}, {trial.stage}: {stage_text(study, trial)} ({', '.join(given)})"
        )
    return lines


def stage_text(study: Study, trial: Trial) -> str:
    """How a trial was made, in words."""
    origin = trial.origin or {}
    if trial.stage == "published":
        return (
            f"published network {origin.get('published', '')}, as given; {origin.get('source', '')}".rstrip(
                "; "
            )
        )
    if trial.stage == "prune" and "target_gmacs" in origin:
        return f"least important channels by {origin['criterion']} removed down to {origin['target_gmacs']:.4g} GMACs"
    if trial.stage == "prune":
        return "channels that training had brought to zero removed"
    if "recipe" in origin:
        stages = "; then ".join(_said(stage) for stage in origin["recipe"].get("stage", ()))
        teachers = ", ".join(
            " ".join(f"{k} {v}" for k, v in member.items() if k != "sha256")
            for member in origin.get("teacher", ())
        )
        start = "; from random weights" if origin.get("from_scratch") else ""
        return stages + start + (f"; teacher: {teachers}" if teachers else "")
    start = start_text(study, trial)
    return " ".join(_training(study)).rstrip(".") + (f"; {start}" if start else "")


def start_text(study: Study, trial: Trial) -> str:
    """Where a trial of the search has its first weights from, and the training behind it in all; empty if random."""
    origin = trial.origin or {}
    if "inherits" in origin:
        start = f"starts from trial {origin['inherits']}'s weights at step {origin['inherits_step']}"
    elif "supernet" in origin:
        start = f"starts from its weights in supernet {origin['supernet']}"
    else:
        return ""
    return f"{start}; {steps_behind(study, trial):,} steps of training behind it in all"


def starts_text(found: Overview) -> str:
    """Which members of a front had other weights than random ones to start from; empty if none had."""
    heirs = [(trial, start_text(found.study, trial)) for trial in found.members]
    said = [f"trial {trial.number} {text}" for trial, text in heirs if text]
    if not said:
        return ""
    steps = found.study.config["training"]["steps"]
    more = f"; and {len(said) - NAMED} more" if len(said) > NAMED else ""
    return f"unequal training ({steps:,} steps from scratch): {'; '.join(said[:NAMED])}{more}"


def steps_behind(study: Study, trial: Trial) -> int:
    """Training steps of a complete trial of the search and of all whose weights it started from."""
    return int((trial.origin or {}).get("steps_before", 0)) + int(study.config["training"]["steps"])


def _said(stage: Mapping[str, Any]) -> str:
    """A recipe's stage; what isn't said has the default that ``evaluators.training.recipe`` states."""
    rest = ", ".join(f"{key} {stage[key]}" for key in stage if key != "steps")
    return f"{stage['steps']} steps with {rest}"


def _description(trial: Trial) -> str:
    if len(trial.architecture) <= LONGEST:
        return f"`{trial.architecture}`"
    return f"in the JSON file beside this one ({len(trial.architecture):,} characters)"


def _int8(int8: Int8) -> list[str]:
    """The section on what became 8-bit, and what came of it."""
    kept = ", ".join(f"`{name}`" for name in int8.float_layers)
    return [
        "## INT8",
        "",
        f"{int8.layers - len(int8.float_layers)} of {int8.layers} convolutions compute in 8 bits, with the activations "
        "right behind them: weights signed, with a scale for each output channel; inputs and outputs unsigned, with "
        "one scale. All else is in floating point"
        + (f", and so are these convolutions, the most sensitive first: {kept}." if kept else "."),
        "",
        f"Calibration: {int8.calibration}. x86 processors without VNNI may saturate sums: measure again there.",
        "",
        "| measurement | floating point | INT8 | unit | protocol |",
        "|---|---:|---:|---|---|",
        *(f"| {b.name} | {_number(b)} | {_number(a)} | {a.unit} | {a.protocol} |" for b, a in int8.compared),
        "",
    ]


def _taken(study: Study) -> str:
    channels = int(study.data["cost_input"].partition("x")[0])
    if channels == 3:
        return "One RGB image as (1, 3, H, W) float32 in [0, 1]"
    return f"One input of {study.task}, {channels} channels, as (1, {channels}, H, W) float32"


def _number(measurement: Measurement) -> str:
    if float(measurement.value).is_integer():
        return f"{measurement.value:,.0f}"
    return f"{measurement.value:.4f}"

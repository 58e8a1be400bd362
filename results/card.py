"""The model card: what a network is, costs and scores, and where it comes from. Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from results.overview import limits
from results.schema import Study, Trial
from spaces.architecture import Architecture
from spaces.measurement import Measurement


class ExportedFile(Protocol):
    """What a card says of a file; ``results.export.Exported`` is one."""

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


def model_card(study: Study, trial: Trial, file: ExportedFile, measurements: Sequence[Measurement]) -> str:
    """The card of one exported trial."""
    architecture = Architecture.from_json(trial.architecture)
    training, baseline = study.config["training"], study.data["baseline"]
    losses = training.get("losses") or ("l1", "l2")
    patch = "x".join([str(training["patch"])] * 2)
    low, high = limits(study.config)
    checked = ", ".join(f"{h}x{w}" for h, w in file.sizes)
    multiple = f" and multiples of {file.multiple_of}" if file.multiple_of > 1 else ""
    name = str(file.path).rpartition("/")[2]
    packages = ", ".join(f"{n} {v}" for n, v in study.environment["packages"].items())
    lines = [
        f"# {name}",
        "",
        f"{architecture.label}, for {study.task}. Trial {trial.number} of study `{study.name}`.",
        "",
        "## Input and output",
        "",
        f"{_taken(study)}; H and W at least {file.minimum_size}{multiple}: "
        "pad smaller images and crop the output. The output isn't clamped: clamp it to [0, 1].",
        "",
        f"Checked: {file.format} against PyTorch at {checked}; largest difference {file.max_error:.2g}.",
        "",
        "## Cost and quality",
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
        f"{training['steps']} steps of {training['batch']} patches of {patch} input pixels: loss {losses[0]}, the last "
        f"tenth {losses[1]}, Adam, learning rate {training['learning_rate']:g} falling along a cosine, average of "
        f"weights {training['ema']:g}, {training['precision']}.",
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
        f"- architecture `{trial.digest}`: `{trial.architecture}`",
        f"- search: {study.strategy}, seed {study.seed}, space {study.space_name} ({study.space_digest}), "
        + (f"budget {low:g} to {high:g}" if low else f"budget at most {high:g}")
        + f" GMACs ({study.config['convention']}, {study.data['cost_input']})",
        f"- made with {packages}, Python {study.environment['python']}, {study.environment['platform']}",
        "",
    ]
    return "\n".join(lines)


def _taken(study: Study) -> str:
    channels = int(study.data["cost_input"].partition("x")[0])
    if channels == 3:
        return "One RGB image as (1, 3, H, W) float32 in [0, 1]"
    return f"One input of {study.task}, {channels} channels, as (1, {channels}, H, W) float32"


def _number(measurement: Measurement) -> str:
    if float(measurement.value).is_integer():
        return f"{measurement.value:,.0f}"
    return f"{measurement.value:.4f}"

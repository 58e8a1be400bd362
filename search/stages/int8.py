"""Exports a trial as an INT8 file: calibrated on the study's training images, judged by its own protocol."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from torch import Tensor

from evaluators.data.pairs import PairSet
from evaluators.data.tensors import to_tensor
from evaluators.inference.restoration import restore
from evaluators.measure.runtime import device_name
from evaluators.tasks import RestorationTask, get_task
from evaluators.trial import TrialData
from results.export.files import (
    ARCHITECTURE_SUFFIX,
    CARD_SUFFIX,
    Exported,
    Run,
    check_output,
    export,
    load_network,
)
from results.export.quantisation import Quantised, check_request, latencies_ms, open_onnx, quantise
from results.render.card import Int8, model_card
from results.store.artifacts import weights_path
from results.store.schema import Artifact, Study, Trial
from results.store.store import Store
from search.config import ConfigError, resumed
from search.study.context import load_data
from spaces.architecture import Architecture
from spaces.measurement import Measurement
from spaces.parts import Network
from spaces.sizes import SizeRequirements

PATCHES = 32
KIND = "onnx-int8"  # of artifact
LATENCY_THREADS = 1
COSTS = ("file", "latency")

Compared = tuple[tuple[Measurement, Measurement], ...]  # before and after


@dataclass(frozen=True)
class Int8Export:
    """An INT8 file with its card.

    Attributes:
        compared: Measurements of the floating-point file and of this one.
        objective: Name of the measurement that the study searches for.
    """

    file: Quantised
    card: Path
    compared: Compared
    objective: str

    @property
    def lines(self) -> list[str]:
        """What to tell the user."""
        count, kept = self.file.layers, len(self.file.float_layers)
        told = [f"{self.file.path}: INT8, {count - kept} of {count} convolutions in 8 bits"]
        for before, after in self.compared:
            if before.name == self.objective:
                change = f"{before.value:.3f} -> {after.value:.3f} {after.unit}"
            elif before.name in COSTS:
                digits = 1 if before.unit == "ms" else 0
                change = f"{before.value:,.{digits}f} -> {after.value:,.{digits}f} {after.unit}"
                change += "" if after.value < before.value else ", no gain"
            else:
                continue
            told.append(f"{before.name} {change} ({after.protocol})")
        return [*told, f"{self.card}: model card"]


def study_data(study: Study) -> tuple[TrialData, PairSet | None]:
    """The study's training and validation images, and its test images, read again.

    Raises: ValueError: if they can't be read, or aren't what the study was made with.
    """
    config = resumed(study.config, {})
    train, validation, test = load_data(config.data, get_task(study.task), patch=config.training.patch)
    for split, pairs in (("train", train), ("validation", validation), ("test", test)):
        recorded = (study.data.get(split) or {}).get("digest")
        if recorded != (pairs.digest if pairs else None):
            raise ConfigError(
                f"the {split} images aren't those of study '{study.name}': expected digest {recorded}, got "
                f"{pairs.digest if pairs else None}; put back the images that it was made with"
            )
    return TrialData(train, validation), test


def export_int8(
    store: Store,
    study: Study,
    trial: Trial,
    data: TrialData,
    test: PairSet | None,
    path: Path,
    *,
    max_drop: float | None = None,
    patches: int = PATCHES,
    folder: Path = Path(),
) -> Int8Export:
    """Write a trial as an INT8 ONNX file with card and architecture beside it, and put the file on record.

    Args:
        max_drop: Largest loss of the study's objective on the validation images, in dB.
        patches: For calibration, cut from the training images as training cuts them.
        folder: The study's folder.

    Raises:
        ExportError, ValueError: as ``results.export.files.export`` and ``results.export.quantisation.quantise``.
        ValueError: if the trial has no weights, or they aren't what was recorded.
    """
    check_request(max_drop, patches)
    check_output(path)
    task, architecture = get_task(study.task), Architecture.from_json(trial.architecture)
    network = load_network(architecture, task.interface, weights_path(store, trial, folder=folder))
    objective = tuple(study.data["objective"])
    with tempfile.TemporaryDirectory() as temporary:
        plain = Path(temporary) / "float.onnx"
        exported = export(network, architecture, task.interface, plain, "onnx")
        judge = _Judge(task, exported)
        images = judge.calibration(data.train, patches, int(study.config["training"]["patch"]))

        def score(run: Run) -> float:
            measured = judge.measure(run, data.validation, ssim=False)
            return next(m.value for m in measured if m.key == objective)

        made = quantise(plain, path, images, score, max_drop=max_drop)
        compared = judge.compare(plain, path, [data.validation, *([test] if test else [])])
    height, width = images[0].shape[2:]
    calibration = (
        f"{len(images)} patches of {height}x{width} of the training images (digest {made.digest}), from the smallest "
        "to the largest value of each tensor"
    )
    path.with_suffix(ARCHITECTURE_SUFFIX).write_text(architecture.to_json() + "\n")
    card = path.with_name(path.name + CARD_SUFFIX)
    file = replace(exported, path=path, sha256=made.sha256, bytes=made.bytes)
    said = Int8(made.layers, made.float_layers, calibration, compared)
    lineage = store.lineage(trial.id)
    card.write_text(model_card(study, trial, file, trial.measurements, said, lineage=lineage))
    store.add_artifact(trial.id, Artifact(KIND, str(path.resolve()), made.sha256, made.bytes))
    return Int8Export(made, card, compared, objective[0])


class _File(Network):
    """An exported file in a network's place, so that it is padded and scored as one."""

    def __init__(self, run: Run, needs: SizeRequirements):
        super().__init__({})
        self._run = run
        self.size_requirements = needs

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x)


class _Judge:
    """Measures files of one network under its task's protocols."""

    def __init__(self, task: RestorationTask, exported: Exported):
        self._task = task
        self._needs = SizeRequirements(exported.minimum_size, exported.multiple_of)

    def calibration(self, train: PairSet, patches: int, side: int) -> list[np.ndarray]:
        """(1, C, H, W) inputs as in training, mirrored where the file takes none so small."""
        pixels, _ = self._task.patch_source(train).batch(seed=0, step=0, batch=patches, patch=side)
        more = self._needs.padded(side, side)[0] - side
        inputs = np.pad(to_tensor(pixels).numpy(), ((0, 0), (0, 0), (0, more), (0, more)), mode="symmetric")
        return [np.ascontiguousarray(image[None]) for image in inputs]

    def measure(self, run: Run, pairs: PairSet, *, ssim: bool = True) -> tuple[Measurement, ...]:
        inputs = [image.pixels for image in pairs.inputs]
        network = _File(run, self._needs)
        outputs = restore(network, inputs, scale=self._task.interface.scale, finish=self._task.finish)
        return self._task.measure(outputs, pairs, ssim=ssim)

    def compare(self, plain: Path, int8: Path, sets: Sequence[PairSet]) -> Compared:
        """Quality on every set, size and latency of both files."""
        before, after = (open_onnx(path) for path in (plain, int8))
        qualities = (zip(self.measure(before, s), self.measure(after, s), strict=True) for s in sets)
        sizes = _size(plain), _size(int8)
        return (*chain.from_iterable(qualities), sizes, self.latencies(plain, int8))

    def latencies(self, plain: Path, int8: Path) -> tuple[Measurement, Measurement]:
        """Of both files at the size that costs are quoted at, where they take it."""
        channels, height, width = self._task.interface.cost_input
        shape = (1, channels, *self._needs.padded(height, width))
        runs = [open_onnx(path, threads=LATENCY_THREADS) for path in (plain, int8)]
        (before, after), count = latencies_ms(runs, shape)
        protocol = (
            f"onnxruntime, median of {count} runs, {'x'.join(map(str, shape))}, {LATENCY_THREADS} thread(s) of "
            f"{device_name('cpu')}"
        )
        return (
            Measurement("latency", before, "ms", "min", protocol),
            Measurement("latency", after, "ms", "min", protocol),
        )


def _size(path: Path) -> Measurement:
    return Measurement("file", float(path.stat().st_size), "bytes", "min", "ONNX")

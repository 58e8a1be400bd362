"""Makes the convolutions of an exported ONNX file 8-bit, and puts back to floating point those that cost too much.

Static quantisation by onnxruntime, in the form that it runs fastest (QDQ, which other runtimes read too): weights are
signed with a scale for each output channel, what goes into and out of a convolution is unsigned with one scale, from
the smallest to the largest value that calibration saw. Only convolutions and the activations right behind them are
quantised: sums, concatenations and attention in 8 bits cost up to 0.2 dB more on some networks (docs/evidence.md has
the measurements behind this and behind the ranges).

Needs onnxruntime and torch; nothing that only reads results imports this module.
"""

from __future__ import annotations

import copy
import hashlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    QDQQuantizer,
    QuantType,
    TensorsData,
    create_calibrator,
)
from torch import Tensor

from results.export.files import ExportError, Run

CONVOLUTIONS = ("Conv", "ConvTranspose")
# What runs in 8 bits together with the convolution before it.
ACTIVATIONS = ("Relu", "LeakyRelu", "Clip")
RANKING_IMAGES = 4  # of the calibration, which layers are ranked by
WARM_UP, LEAST_RUNS = 1, 3

Score = Callable[[Run], float]
Layers = dict[str, list[str]]  # a convolution's name to its nodes


@dataclass(frozen=True)
class Quantised:
    """A written INT8 file.

    Attributes:
        score_before, score_after: Of the floating-point file and of this one.
        layers: Convolutions of the network.
        float_layers: Those of them that compute in floating point, the most sensitive first.
        images: Calibration images.
        digest: Of the calibration images' contents.
    """

    path: Path
    sha256: str
    bytes: int
    score_before: float
    score_after: float
    layers: int
    float_layers: tuple[str, ...]
    images: int
    digest: str


def quantise(
    float_onnx: Path,
    output: Path,
    calibration: Sequence[np.ndarray],
    score: Score,
    *,
    max_drop: float | None = None,
) -> Quantised:
    """Write the INT8 version of an ONNX file that ``results.export.files.export`` wrote.

    Args:
        calibration: (1, C, H, W) float32 images that the file can take.
        score: Quality of a network, given as what runs it; higher is better.
        max_drop: Largest loss of ``score``. Until it is met, layers are put back to floating point, those first
            that alone change the output most; as few as bisection finds. None: every layer is quantised.

    Raises:
        ValueError: as ``check_request``.
        ExportError: if there is no convolution, or ``max_drop`` can't be met with a single layer quantised;
            nothing is written then.
    """
    check_request(max_drop, len(calibration))
    model = onnx.shape_inference.infer_shapes(onnx.load(float_onnx))
    layers = _layers(model)
    if not layers:
        raise ExportError(f"{float_onnx} has no convolution that could be quantised")
    run_float = open_onnx(float_onnx)
    quantiser = _Quantiser(model, layers, _ranges(float_onnx, calibration))
    before = score(run_float)
    content, after, kept = quantiser.serialised(layers), 0.0, tuple[str, ...]()
    after = score(open_onnx(content))
    if max_drop is not None and not before - after <= max_drop:
        ranked = quantiser.most_sensitive_first(run_float, calibration[:RANKING_IMAGES])
        content, after, kept = _fewest_in_float(quantiser, ranked, score, before, after, max_drop)
    _write(content, output)
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(image).tobytes() for image in calibration))
    return Quantised(
        output,
        hashlib.sha256(content).hexdigest(),
        len(content),
        before,
        after,
        len(layers),
        kept,
        len(calibration),
        digest.hexdigest()[:12],
    )


def check_request(max_drop: float | None, images: int) -> None:
    """Nothing, if ``quantise`` can be asked for this.

    Raises: ValueError: for a loss that isn't a number of at least 0, or without calibration images.
    """
    if max_drop is not None and not (math.isfinite(max_drop) and max_drop >= 0):
        raise ValueError(f"--max-drop is a loss in dB of at least 0, e.g. 0.1, got {max_drop:g}")
    if images < 1:
        raise ValueError(
            f"no calibration images: expected at least 1, from which the values' ranges are learnt, got {images}"
        )


def open_onnx(file: Path | bytes, *, threads: int = 0) -> Run:
    """What runs an exported file, or its content, on the CPU.

    Args:
        threads: 0 for as many as there are cores.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    content = file if isinstance(file, bytes) else file.read_bytes()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: torch.from_numpy(session.run(None, {name: image.contiguous().numpy()})[0])


def latencies_ms(
    runs: Sequence[Run], shape: tuple[int, int, int, int], *, repeats: int = 7, limit_s: float = 30.0
) -> tuple[tuple[float, ...], int]:
    """The median time of each on a random image, and of how many passes; in turns, so that load hits all alike.

    After ``limit_s`` seconds no more than 3 passes of each are done.
    """
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    times: list[list[float]] = [[] for _ in runs]
    started = time.perf_counter()
    for i in range(WARM_UP + repeats):
        if i >= WARM_UP + LEAST_RUNS and time.perf_counter() - started > limit_s:
            break
        for run, own in zip(runs, times, strict=True):
            begin = time.perf_counter()
            run(image)
            own.append((time.perf_counter() - begin) * 1000)
    return tuple(median(own[WARM_UP:]) for own in times), len(times[0]) - WARM_UP


class _Quantiser:
    """Quantises some of a model's layers, as often as asked, from one calibration."""

    def __init__(self, model: ModelProto, layers: Layers, ranges: TensorsData):
        self._model = model
        self._layers = layers
        self._ranges = ranges

    def serialised(self, names: Sequence[str] | Layers) -> bytes:
        """The model with these layers in 8 bits."""
        quantizer = QDQQuantizer(
            copy.deepcopy(self._model),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=[node for name in names for node in self._layers[name]],
            nodes_to_exclude=[],
            op_types_to_quantize=[*CONVOLUTIONS, *ACTIVATIONS],
            extra_options={},
        )
        quantizer.quantize_model()
        made: ModelProto = quantizer.model.model
        notes = {p.key: p.value for p in self._model.metadata_props}
        onnx.helper.set_model_props(made, notes)
        return made.SerializeToString()

    def most_sensitive_first(self, run_float: Run, images: Sequence[np.ndarray]) -> list[str]:
        """All layers, by the squared error of the output where only that one is quantised."""
        inputs = [torch.from_numpy(image) for image in images]
        expected = [run_float(image) for image in inputs]
        errors = {}
        for name in self._layers:
            run = open_onnx(self.serialised([name]))
            errors[name] = sum(_squared_error(run(x), y) for x, y in zip(inputs, expected, strict=True))
        return sorted(errors, key=lambda name: -errors[name])


def _fewest_in_float(
    quantiser: _Quantiser,
    ranked: Sequence[str],
    score: Score,
    before: float,
    all_int8: float,
    max_drop: float,
) -> tuple[bytes, float, tuple[str, ...]]:
    """The file, its score, and the layers that are in floating point, where the loss is at most ``max_drop``.

    Raises: ExportError: if one layer alone loses more.
    """
    too_few, enough = 0, len(ranked)
    found: tuple[bytes, float, tuple[str, ...]] | None = None
    least = all_int8
    while enough - too_few > 1:
        count = (too_few + enough) // 2
        content = quantiser.serialised(ranked[count:])
        after = score(open_onnx(content))
        if before - after <= max_drop:
            enough, found = count, (content, after, tuple(ranked[:count]))
        else:
            too_few, least = count, max(least, after)
    if found is None:
        raise ExportError(
            f"--max-drop {max_drop:g}: {before:.3f} dB in floating point; INT8 gives {all_int8:.3f} dB in all "
            f"{len(ranked)} convolutions, and at best {least:.3f} dB with up to {too_few} of them in floating point. "
            "Allow a larger drop."
        )
    return found


def _layers(model: ModelProto) -> Layers:
    """Each convolution that was trained, with the activation right behind it.

    One that runs at several places of the network is one layer. Fixed kernels, such as bicubic scaling's, are none:
    they work on pictures themselves, and in 8 bits cost an x2 rescaler 0.026 dB where all its layers cost nothing.
    """
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for tensor in node.input:
            users.setdefault(tensor, []).append(node)
    found: Layers = {}
    for node in model.graph.node:
        name = _name(node) if node.op_type in CONVOLUTIONS else None
        if name is not None:
            behind = users.get(node.output[0], [])
            activation = len(behind) == 1 and behind[0].op_type in ACTIVATIONS
            found.setdefault(name, []).extend([node.name, *([behind[0].name] if activation else [])])
    return found


def _name(convolution: onnx.NodeProto) -> str | None:
    """Its module's, from its weight, or from its bias where the exporter computed the weight (weight normalisation)."""
    tensors = convolution.input[1:]
    return next((t.rpartition(".")[0] for t in tensors if t.endswith((".weight", ".bias"))), None)


class _Images(CalibrationDataReader):
    def __init__(self, name: str, images: Sequence[np.ndarray]):
        self._feeds = iter([{name: image} for image in images])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def _ranges(float_onnx: Path, calibration: Sequence[np.ndarray]) -> TensorsData:
    """The smallest and largest value of every tensor that may be quantised."""
    name = onnx.load(float_onnx, load_external_data=False).graph.input[0].name
    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            float_onnx,
            [*CONVOLUTIONS, *ACTIVATIONS],
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
        )
        calibrator.collect_data(_Images(name, calibration))
        return calibrator.compute_data()


def _squared_error(output: Tensor, expected: Tensor) -> float:
    return float((output.double() - expected.double()).square().mean())


def _write(content: bytes, path: Path) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)

"""Latency and peak memory of candidates: measured before any training, where they are objectives or limited.

The driver measures, one network after another, while nothing of the study trains (`search.loop.engine`): another
process on the same cores or GPU would be in the numbers. So trials then run in batches of the window; what later
stages make (`search.stages.trials`) is measured before its training. On the CPU it is the processor time of the one
thread, which is the latency on a core of its own, so that what else the machine does hardly counts. Of one network,
measured four times on 2 cores with a load of 15: 43.9 to 46.1 ms, of passing time 209 and 392. The device is that of
the driver's machine. Weights are random: they change neither. What is on record isn't measured again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from evaluators.measure.onnx_network import OnnxNetwork
from evaluators.measure.runtime import (
    PROCESSOR_TIME,
    WARM_UP,
    RuntimeMeasurementError,
    measure_latency,
    measure_peak_memory,
    place,
)
from results.export.files import ExportError, export
from results.store.schema import Ask
from search.loop.question import Verdict
from spaces.architecture import Architecture
from spaces.budget import Candidate
from spaces.build import build
from spaces.measurement import Measurement
from spaces.objectives import Limit, Objective
from spaces.task import Task

RUNS = 10  # always as many, so that all latencies have one protocol
THREADS = 1
SPREAD = "latency_iqr_ms"  # between the quartiles of the runs
HOPELESS = 1.5  # times the limit: of what takes longer in each of its first passes no more are run


class Runtimes:
    """Measures networks for one task on one device of this machine.

    Args:
        on: ``cpu`` (torch), ``onnx`` (onnxruntime on the CPU) or ``cuda``.

    Raises: ValueError: for a device that isn't there.
    """

    def __init__(self, task: Task, on: str):
        if on == "cuda" and not torch.cuda.is_available():
            raise ValueError("latency_on: expected cpu or onnx, as torch finds no GPU here, got 'cuda'")
        self._task, self._onnx = task, on == "onnx"
        self._device = "cuda" if on == "cuda" else "cpu"
        self._size = task.cost_input[1:]

    def protocol(self, name: str) -> str:
        """What measurements of ``latency`` or ``memory`` will say of how they were taken."""
        shape = "x".join(map(str, (1, *self._task.cost_input)))
        computed = "onnxruntime" if self._onnx else "float32"
        if name == "latency":
            counted = f"{RUNS} runs after {WARM_UP}"
            where = ("" if self._device == "cuda" else PROCESSOR_TIME) + place(self._device, THREADS)
            return f"median (and quartiles) of {counted}, {computed}, {shape}, {where}"
        method = (
            "allocated by torch on CUDA"
            if self._device == "cuda"
            else f"resident memory, {THREADS} thread(s)"
        )
        return f"weights and one forward pass in a fresh process, {computed}, {shape}, {method}"

    def measure(
        self, architecture: Architecture, names: Sequence[str], *, give_up_ms: float = float("inf")
    ) -> tuple[Measurement, ...]:
        """Latency with its spread, memory, or both.

        Args:
            give_up_ms: Of a network that takes longer in each of its first passes only their latency is given, whose
                protocol says how few they were.

        Raises: RuntimeMeasurementError: if a pass or the export fails.
        """
        network = build(architecture, self._task).eval()
        try:
            if not self._onnx:
                return self._measured(network, architecture, names, give_up_ms)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "network.onnx"
                export(network, architecture, self._task, path, "onnx")
                return self._measured(OnnxNetwork(path, threads=THREADS), path, names, give_up_ms)
        except (ExportError, RuntimeError, MemoryError) as error:
            raise RuntimeMeasurementError(str(error)) from error

    def _measured(
        self,
        network: torch.nn.Module,
        source: Architecture | Path,
        names: Sequence[str],
        give_up_ms: float,
    ) -> tuple[Measurement, ...]:
        found: list[Measurement] = []
        if "latency" in names:
            taken = measure_latency(
                network,  # type: ignore[arg-type]
                self._task,
                self._size,
                device=self._device,
                threads=THREADS,
                runs=RUNS,
                limit_s=float("inf"),
                give_up_ms=give_up_ms,
                processor_time=self._device == "cpu",
            )
            spread = taken.upper_quartile_ms - taken.lower_quartile_ms
            found.append(Measurement("latency_ms", taken.median_ms, "ms", "min", taken.protocol))
            if taken.runs < RUNS:
                return tuple(found)
            found.append(Measurement(SPREAD, spread, "ms", "min", taken.protocol))
        if "memory" in names:
            peak = measure_peak_memory(source, self._task, self._size, device=self._device, threads=THREADS)
            found.append(Measurement("peak_memory_bytes", float(peak.bytes), "bytes", "min", peak.protocol))
        return tuple(found)


class RuntimeJudge:
    """Measures new candidates, and turns those away that are over a limit; a judge of `search.loop.asktell`.

    Args:
        objectives: Latency, memory or both, as far as they are objectives or limited.
        limits: On these.
        asks: The study's questions on record: what was turned away then is again, without being measured.
    """

    def __init__(
        self,
        runtimes: Runtimes,
        objectives: Sequence[Objective],
        limits: Sequence[Limit],
        asks: Sequence[Ask] = (),
    ):
        self._runtimes = runtimes
        self._objectives = tuple(objectives)
        self._limits = {limit.name: limit for limit in limits}
        self._recorded: Mapping[int, Ask] = {ask.number: ask for ask in asks}
        self._refused: dict[str, Verdict] = {}

    def __call__(self, question: int, candidate: Candidate) -> Verdict:
        """What was found of the candidate; of one that was turned away before, the same."""
        digest = candidate.architecture.digest
        if digest in self._refused:
            return self._refused[digest]
        ask = self._recorded.get(question)
        if ask is None:
            verdict = self._judge(candidate)
        elif ask.outcome == "rejected" and ask.reason and self._is_own(ask.reason):
            verdict = Verdict(ask.reason.partition(" ")[0], ask.reason)
        else:
            return Verdict()  # its trial has the measurements
        if verdict.reason is not None:
            self._refused[digest] = verdict
        return verdict

    def _is_own(self, reason: str) -> bool:
        return reason.partition(" ")[0] in {each.name for each in self._objectives}

    def _judge(self, candidate: Candidate) -> Verdict:
        names = [each.name for each in self._objectives]
        bound = self._limits["latency"].bound if "latency" in self._limits else float("inf")
        try:
            measured = self._runtimes.measure(candidate.architecture, names, give_up_ms=HOPELESS * bound)
        except RuntimeMeasurementError as error:
            return Verdict(names[0], f"{names[0]} can't be measured: {error}")
        for each in self._objectives:
            value, limit = each.find(measured), self._limits.get(each.name)
            if value is None and each.name == "latency":  # of few passes, where it was given up
                value = next((m.value for m in measured if m.name == each.metric and m.value > bound), None)
            if value is None:
                return Verdict(
                    each.name, f"{each.name} was measured otherwise than the study says: {each.protocol}"
                )
            if limit is not None and not limit.met(value):
                unit = each.kind.unit
                return Verdict(
                    each.name,
                    f"{each.name} of {value:.4g} {unit} is over the limit of {limit.bound:g} {unit}",
                )
        return Verdict(measured=measured)

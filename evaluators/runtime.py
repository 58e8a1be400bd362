"""Measures how long a forward pass takes, and how much memory.

Latency is of a random image of a stated size, float32, batch 1, after warm-up passes; the median and quartiles
of the runs are given. Memory is measured in a fresh process, so that nothing else is in it.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import torch

from evaluators.restoration import full_float32
from spaces.architecture import Architecture
from spaces.build import build
from spaces.padding import run
from spaces.parts import Network
from spaces.task import Task

WARM_UP = 2
LEAST_RUNS = 3
LIMIT_S = 60.0
_CHILD_LIMIT_S = 600


class RuntimeMeasurementError(RuntimeError):
    """A measurement that couldn't be taken; the message says why."""


@dataclass(frozen=True)
class Latency:
    """Time of one forward pass in ms: the median of the runs and their quartiles."""

    median_ms: float
    lower_quartile_ms: float
    upper_quartile_ms: float
    runs: int
    protocol: str


@dataclass(frozen=True)
class PeakMemory:
    """Bytes that the weights and one forward pass take at most."""

    bytes: int
    protocol: str


def device_name(device: str) -> str:
    """The processor's or GPU's name."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def measure_latency(
    network: Network,
    task: Task,
    size: tuple[int, int],
    *,
    device: str = "cpu",
    threads: int | None = None,
    runs: int = 10,
    limit_s: float = LIMIT_S,
) -> Latency:
    """The time of a forward pass with its protocol.

    Args:
        size: (height, width) of the input, which is padded if the network can't take it.
        threads: Torch threads on the CPU; as it is set by default.
        runs: Of which the median is taken; after ``limit_s`` seconds no more than 3 are done.

    Raises: ValueError: for less than one run.
    """
    if runs < 1:
        raise ValueError(f"expected at least 1 run, got {runs}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        times = _times(network.to(device).eval(), task, size, device, runs, limit_s)
    finally:
        torch.set_num_threads(before)
    low, median, high = quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
    at = "x".join(map(str, (1, task.in_channels, *size)))
    where = (
        f"{threads or before} thread(s) of {device_name(device)}" if device == "cpu" else device_name(device)
    )
    protocol = f"median of {len(times)} runs after {WARM_UP}, float32, {at}, {where}"
    return Latency(median, low, high, len(times), protocol)


@torch.inference_mode()
def _times(
    network: Network, task: Task, size: tuple[int, int], device: str, runs: int, limit_s: float
) -> list[float]:
    image = torch.rand(1, task.in_channels, *size, device=device)
    times: list[float] = []
    started = time.perf_counter()
    with full_float32(device):
        for i in range(WARM_UP + runs):
            if len(times) >= LEAST_RUNS and time.perf_counter() - started > limit_s:
                break
            begin = time.perf_counter()
            run(network, image, scale=task.scale)
            if torch.device(device).type == "cuda":
                torch.cuda.synchronize(device)
            if i >= WARM_UP:
                times.append((time.perf_counter() - begin) * 1000)
    return times


def measure_peak_memory(
    architecture: Architecture,
    task: Task,
    size: tuple[int, int],
    *,
    device: str = "cpu",
    threads: int | None = None,
) -> PeakMemory:
    """The peak memory of a forward pass in a fresh process, weights included.

    On the CPU it is resident memory beyond that of the process with all libraries loaded; on CUDA what torch allocated.

    Raises: RuntimeMeasurementError: if the process fails, such as for want of memory.
    """
    job = {
        "architecture": architecture.to_json(),
        "task": asdict(task),
        "size": size,
        "device": device,
        "threads": threads or torch.get_num_threads(),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "evaluators.runtime"],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=_CHILD_LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeMeasurementError(f"one forward pass took over {_CHILD_LIMIT_S} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        why = last if done.returncode > 0 else f"killed by signal {-done.returncode}, as for want of memory"
        raise RuntimeMeasurementError(f"the process that measures peak memory failed: {why}")
    found = json.loads(done.stdout)
    at = "x".join(map(str, (1, task.in_channels, *size)))
    protocol = f"weights and one forward pass in a fresh process, float32, {at}, {found['method']}"
    return PeakMemory(found["bytes"], protocol)


def _measure_here(job: dict[str, Any]) -> dict[str, Any]:
    """What the fresh process does."""
    task = Task(**{**job["task"], "cost_input": tuple(job["task"]["cost_input"])})
    torch.set_num_threads(job["threads"])
    network = build(Architecture.from_json(job["architecture"]), task).eval()
    if torch.device(job["device"]).type == "cuda":
        return _measure_cuda(network, task, job)
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    with torch.inference_mode():
        # Libraries load and make their tables at the first pass; they aren't the network's.
        small = network.size_requirements.padded(16, 16)
        run(network, torch.rand(1, task.in_channels, *small), scale=task.scale)
        base = _reset_peak()
        run(network, torch.rand(1, task.in_channels, *job["size"]), scale=task.scale)
        peak, method = _peak()
    return {"bytes": peak - base + weights, "method": f"{method}, {job['threads']} thread(s)"}


def _measure_cuda(network: Network, task: Task, job: dict[str, Any]) -> dict[str, Any]:
    device = job["device"]
    with torch.inference_mode(), full_float32(device):
        network = network.to(device)
        run(network, torch.rand(1, task.in_channels, *job["size"], device=device), scale=task.scale)
        torch.cuda.synchronize(device)
    return {"bytes": torch.cuda.max_memory_allocated(device), "method": "allocated by torch on CUDA"}


def _status(field: str) -> int:
    """A field of Linux's record of this process, in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    if found is None:
        raise OSError(f"no {field} in /proc/self/status")
    return int(found[1]) * 1024


def _largest_so_far() -> int:
    import resource

    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024


def _reset_peak() -> int:
    """Resident memory now, from which on the peak counts where the system can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return _largest_so_far()


def _peak() -> tuple[int, str]:
    try:
        return _status("VmHWM"), "resident memory"
    except OSError:
        return _largest_so_far(), "resident memory (getrusage)"


if __name__ == "__main__":
    print(json.dumps(_measure_here(json.load(sys.stdin))))

"""Measures how long a forward pass takes, and how much memory.

Latency is of a random image of a stated size, float32, batch 1, after warm-up passes; the median and quartiles
of the runs are given. Networks that are compared are timed alternately. Memory is measured in a fresh process, so
that nothing else is in it.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

import torch
from torch import Tensor

from evaluators.inference.restoration import full_float32
from evaluators.measure.onnx_network import OnnxNetwork
from spaces.architecture import Architecture
from spaces.build import build
from spaces.padding import run
from spaces.parts import Network
from spaces.task import Task

WARM_UP = 2
LEAST_RUNS = 3
LIMIT_S = 60.0
_CHILD_LIMIT_S = 600
PROCESSOR_TIME = "processor time of "
Clock = Callable[[], float]


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
    give_up_ms: float = float("inf"),
    processor_time: bool = False,
) -> Latency:
    """The time of a forward pass with its protocol.

    Args:
        size: (height, width) of the input, which is padded if the network can't take it.
        threads: Torch threads on the CPU; as it is set by default.
        runs: Of which the median is taken; after ``limit_s`` seconds no more than 3 are done.
        give_up_ms: No more than 3 are done either if all of them took longer.
        processor_time: Of this thread, in place of the time that passes: the same on an idle core, and hardly longer
            where other processes take the core in between. Of one thread on the CPU only.

    Raises: ValueError: for less than one run, or processor time of several threads or a GPU.
    """
    return measure_latencies(
        [(network, size)],
        task,
        device=device,
        threads=threads,
        runs=runs,
        limit_s=limit_s,
        give_up_ms=give_up_ms,
        processor_time=processor_time,
    )[0]


def measure_latencies(
    networks: Sequence[tuple[Network, tuple[int, int]]],
    task: Task,
    *,
    device: str = "cpu",
    threads: int | None = None,
    runs: int = 10,
    limit_s: float = LIMIT_S,
    give_up_ms: float = float("inf"),
    processor_time: bool = False,
) -> list[Latency]:
    """As ``measure_latency`` for each network and size; they take turns, and ``limit_s`` is for each of them."""
    if runs < 1:
        raise ValueError(f"expected at least 1 run, got {runs}")
    with with_threads(threads) as number:
        if processor_time and (device != "cpu" or number != 1):
            raise ValueError(f"expected one thread of the CPU, got {number} of {device}")
        clock = time.thread_time if processor_time else time.perf_counter
        times = _times(networks, task, device, runs, limit_s * len(networks), give_up_ms, clock)
    where = f"{PROCESSOR_TIME if processor_time else ''}{place(device, number)}"
    turns = "" if len(networks) == 1 else f" in turns with {len(networks) - 1} other(s)"
    found = []
    for (network, size), own in zip(networks, times, strict=True):
        low, middle, high = quantiles(own, n=4, method="inclusive") if len(own) > 1 else own * 3
        at = "x".join(map(str, (1, task.in_channels, *size)))
        counted = f"{len(own)} runs{turns} after {WARM_UP}"
        protocol = f"median (and quartiles) of {counted}, {arithmetic(network)}, {at}, {where}"
        found.append(Latency(middle, low, high, len(own), protocol))
    return found


def arithmetic(network: Network) -> str:
    """What a network is computed by: torch in float32, or onnxruntime as the file says."""
    return "onnxruntime" if isinstance(network, OnnxNetwork) else "float32"


def place(device: str, threads: int) -> str:
    """Where passes are timed."""
    return f"{threads} thread(s) of {device_name(device)}" if device == "cpu" else device_name(device)


@contextmanager
def with_threads(threads: int | None) -> Iterator[int]:
    """Has torch compute with that many threads meanwhile, with as many as before by default; gives the number."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield threads or before
    finally:
        torch.set_num_threads(before)


@contextmanager
def pass_times(networks: Sequence[Network], device: str = "cpu") -> Iterator[list[float]]:
    """A list that each pass of these networks adds its time to, in ms."""
    times: list[float] = []
    begins: list[float] = []

    def begin(_module: Any, _inputs: Any) -> None:
        _finish_work(device)
        begins.append(time.perf_counter())

    def end(_module: Any, _inputs: Any, _output: Any) -> None:
        _finish_work(device)
        times.append((time.perf_counter() - begins.pop()) * 1000)

    different = {id(network): network for network in networks}.values()
    hooks = [n.register_forward_pre_hook(begin) for n in different]
    hooks += [n.register_forward_hook(end) for n in different]
    try:
        yield times
    finally:
        for hook in hooks:
            hook.remove()


def _finish_work(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def warm_up(networks: Sequence[Network], image: Tensor, *, scale: int, device: str = "cpu") -> None:
    """The passes that aren't timed; moves the networks to the device."""
    for network in [*networks] * WARM_UP:
        run(network.to(device).eval(), image.to(device), scale=scale)


@torch.inference_mode()
def typical_times_ms(
    networks: Sequence[Network],
    images: Sequence[Tensor],
    *,
    scale: int,
    device: str = "cpu",
    rounds: int = 5,
    limit_s: float = LIMIT_S,
) -> tuple[list[float], int]:
    """The mean over the images of the time of a pass in ms, for each network, and the number of rounds.

    Of an image the median of the rounds counts. The networks take turns at every image, so that they share what else
    the machine does.

    Args:
        images: (1, C, H, W).
        rounds: Over all images; after ``limit_s`` seconds no further one is begun.

    Raises: ValueError: without images or rounds.
    """
    if not images or rounds < 1:
        raise ValueError(f"expected images and at least 1 round, got {len(images)} and {rounds}")
    times: list[list[list[float]]] = [[[] for _ in images] for _ in networks]
    done = 0
    with full_float32(device):
        warm_up(networks, images[0], scale=scale, device=device)
        started = time.perf_counter()
        while done < rounds and (done == 0 or time.perf_counter() - started < limit_s):
            for i, image in enumerate(images):
                for network, own in zip(networks, times, strict=True):
                    own[i].append(_timed_pass(network, image.to(device), scale, device))
            done += 1
    return [mean(median(each) for each in own) for own in times], done


@torch.inference_mode()
def _times(
    networks: Sequence[tuple[Network, tuple[int, int]]],
    task: Task,
    device: str,
    runs: int,
    limit_s: float,
    give_up_ms: float,
    clock: Clock,
) -> list[list[float]]:
    ready = [
        (network.to(device).eval(), torch.rand(1, task.in_channels, *size, device=device))
        for network, size in networks
    ]
    times: list[list[float]] = [[] for _ in networks]
    started = time.perf_counter()
    with full_float32(device):
        for i in range(WARM_UP + runs):
            if len(times[0]) >= LEAST_RUNS and time.perf_counter() - started > limit_s:
                break
            if len(times[0]) == LEAST_RUNS and min(map(min, times)) > give_up_ms:
                break
            for (network, image), own in zip(ready, times, strict=True):
                taken = _timed_pass(network, image, task.scale, device, clock)
                if i >= WARM_UP:
                    own.append(taken)
    return times


def _timed_pass(
    network: Network, image: Tensor, scale: int, device: str, clock: Clock = time.perf_counter
) -> float:
    """The time of a pass in ms, padding included."""
    _finish_work(device)
    begin = clock()
    run(network, image, scale=scale)
    _finish_work(device)
    return (clock() - begin) * 1000


def measure_peak_memory(
    network: Architecture | Path,
    task: Task,
    size: tuple[int, int],
    *,
    device: str = "cpu",
    threads: int | None = None,
) -> PeakMemory:
    """The peak memory of a forward pass in a fresh process, weights included.

    On the CPU it is resident memory beyond that of the process with all libraries loaded; on CUDA what torch allocated.

    Args:
        network: An architecture, or an ONNX file.

    Raises: RuntimeMeasurementError: if the process fails, such as for want of memory.
    """
    job = {
        "network": str(network) if isinstance(network, Path) else network.to_json(),
        "onnx": isinstance(network, Path),
        "task": asdict(task),
        "size": size,
        "device": device,
        "threads": threads or torch.get_num_threads(),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "evaluators.measure.runtime"],
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
    computed = "onnxruntime" if isinstance(network, Path) else "float32"
    protocol = f"weights and one forward pass in a fresh process, {computed}, {at}, {found['method']}"
    return PeakMemory(found["bytes"], protocol)


def _measure_here(job: dict[str, Any]) -> dict[str, Any]:
    """What the fresh process does."""
    task = Task(**{**job["task"], "cost_input": tuple(job["task"]["cost_input"])})
    torch.set_num_threads(job["threads"])
    if job["onnx"]:
        return _measure_onnx(Path(job["network"]), task, job)
    network = build(Architecture.from_json(job["network"]), task).eval()
    if torch.device(job["device"]).type == "cuda":
        return _measure_cuda(network, task, job)
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    with torch.inference_mode():
        # Libraries load and make their tables at the first pass; they aren't the network's.
        small = network.size_requirements.padded(16, 16)
        run(network, torch.rand(1, task.in_channels, *small), scale=task.scale)
        base = reset_peak()
        run(network, torch.rand(1, task.in_channels, *job["size"]), scale=task.scale)
        peak, method = peak_memory()
    return {"bytes": peak - base + weights, "method": f"{method}, {job['threads']} thread(s)"}


def _measure_onnx(path: Path, task: Task, job: dict[str, Any]) -> dict[str, Any]:
    """Of a session and one pass: its weights aren't to be told from what else it keeps."""
    base = reset_peak()
    network = OnnxNetwork(path, threads=job["threads"])
    with torch.inference_mode():
        run(network, torch.rand(1, task.in_channels, *job["size"]), scale=task.scale)
    peak, method = peak_memory()
    return {"bytes": peak - base, "method": f"{method}, {job['threads']} thread(s)"}


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


def reset_peak() -> int:
    """Resident memory now, from which on the peak counts where the system can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return _largest_so_far()


def peak_memory() -> tuple[int, str]:
    try:
        return _status("VmHWM"), "resident memory"
    except OSError:
        return _largest_so_far(), "resident memory (getrusage)"


if __name__ == "__main__":
    print(json.dumps(_measure_here(json.load(sys.stdin))))

"""Runtime and memory are measured, with their protocols."""

from __future__ import annotations

import time

import pytest
import torch

from evaluators.measure.runtime import (
    RuntimeMeasurementError,
    device_name,
    measure_latency,
    measure_peak_memory,
)
from spaces.architecture import Block
from spaces.build import build
from spaces.parts import Network
from spaces.task import Task, super_resolution
from spaces.topologies.chain import Chain

TASK = super_resolution(2)
NETWORK = Chain(width=8, blocks=(Block("ghost"),))


class Sleeps(Network):
    """Takes 20 ms, and remembers with how many threads."""

    def __init__(self) -> None:
        super().__init__({})
        self.calls = 0
        self.threads = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.threads = torch.get_num_threads()
        time.sleep(0.02)
        return x


def test_latency_is_the_median_after_warm_up_with_its_protocol() -> None:
    network = Sleeps()
    found = measure_latency(network, Task("denoise"), (7, 9), runs=5, threads=1)
    assert network.calls == 5 + 2
    assert found.runs == 5
    assert 20 <= found.lower_quartile_ms <= found.median_ms <= found.upper_quartile_ms
    assert found.protocol.startswith(
        "median (and quartiles) of 5 runs after 2, float32, 1x3x7x9, 1 thread(s) of "
    )
    assert device_name("cpu") in found.protocol


def test_long_passes_are_timed_less_often_but_three_times() -> None:
    network = Sleeps()
    found = measure_latency(network, Task("denoise"), (8, 8), runs=100, limit_s=0)
    assert (found.runs, network.calls) == (3, 5)
    assert "of 3 runs" in found.protocol


def test_threads_are_set_for_the_measurement_only() -> None:
    before = torch.get_num_threads()
    network = Sleeps()
    measure_latency(network, Task("denoise"), (8, 8), runs=1, threads=before + 1)
    assert network.threads == before + 1
    assert torch.get_num_threads() == before


def test_latency_of_an_input_that_needs_padding() -> None:
    network = build(Chain(width=8, blocks=(Block("rfdb"),)), TASK)
    assert measure_latency(network, TASK, (3, 3), runs=1).median_ms > 0


def test_no_run_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 run, got 0"):
        measure_latency(Sleeps(), TASK, (8, 8), runs=0)


def test_peak_memory_grows_with_the_input_by_about_what_its_maps_take() -> None:
    small, large = (measure_peak_memory(NETWORK, TASK, (side, side), threads=1) for side in (64, 512))
    output = 3 * 1024 * 1024 * 4  # bytes of the output alone, of a 512x512 input
    maps = 8 * 512 * 512 * 4
    assert large.bytes - small.bytes > output + maps
    assert large.bytes < 50 * maps
    assert "1x3x512x512" in large.protocol
    assert "fresh process" in large.protocol


def test_weights_count_as_memory() -> None:
    wide = Chain(width=1024, blocks=(Block("residual"),))
    weights = sum(tensor.nbytes for tensor in build(wide, TASK).state_dict().values())
    assert weights > 50e6
    assert measure_peak_memory(wide, TASK, (16, 16), threads=1).bytes > weights


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(RuntimeMeasurementError, match="failed: .*(memory|allocate)"):
        measure_peak_memory(NETWORK, TASK, (600_000, 600_000), threads=1)

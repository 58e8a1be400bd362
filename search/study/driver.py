"""What a driver needs while trials run: workers, and a clean end on Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from evaluators.measure.timing import work
from results.durations import seconds
from search.study.context import Bench
from search.workers.ray_workers import MEBIBYTE, Resources, Workers


@contextmanager
def workers(bench: Bench, console: Console) -> Iterator[Workers]:
    """Workers that are ended in every case."""
    section = bench.config.workers
    console.print("Starting Ray ...", style="dim")
    pool = Workers(
        work,
        bench.data,
        Resources(section.cpus, section.gpus, section.number),
        address=section.ray_address,
        object_store_bytes=256 * MEBIBYTE + 5 * data_bytes(bench) // 4,
        silence_s=seconds(section.hung_after),
        tell=lambda text: console.print(f"note: {text}", style="yellow", markup=False, soft_wrap=True),
    )
    try:
        yield pool
    finally:
        pool.stop()


def data_bytes(bench: Bench) -> int:
    """Of the training and validation images, as workers share them."""
    sets = (bench.data.train, bench.data.validation)
    return sum(image.pixels.nbytes for s in sets for images in (s.inputs, s.targets) for image in images)


@contextmanager
def stops_on_signal(interrupt: Callable[[], None], console: Console) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run cleanly; a second Ctrl-C ends the process."""

    def stop(number: int, _frame: FrameType | None) -> None:
        interrupt()
        console.print("Stopping ... (once more to end at once)", style="yellow")
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

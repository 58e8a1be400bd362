"""Training steps a second: one worker with two threads against two workers with one thread each.

Real trainings (`evaluators.training.loop.Training`) of RFDB chains of 4 blocks on the embedded photographs, batch
16, LR patch 24. The workers are processes that warm up, wait for each other, then count steps for a fixed
time; a layout's number is the sum of its workers'. Layouts take turns within a round, so that a disturbance
meets all of them.

All workers of a width and precision train the same network on the same batches. After the warm-up the two
workers of one thread must have equal losses, and two threads nearly the same loss: exit 1 if not.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from collections import defaultdict
from multiprocessing.connection import Connection
from typing import Any

import torch
from report import Report, parser
from rich.table import Table

from evaluators.data.pairs import PatchSource
from evaluators.tasks import get_task
from evaluators.training.loop import Training, training_dtype
from evaluators.training.recipe import Precision, Recipe, two_stages
from spaces.architecture import Block
from spaces.build import build
from spaces.topologies.chain import Chain

TASK = "sr-x4"
STAGE = two_stages(100_000).stages[0]  # batch 16, patch 24
LAYOUTS = ((1, 2), (2, 1))  # (workers, threads of each)
WARM_UP = 5  # steps
TOLERANCE = 0.02  # of the warm-up's loss between thread counts, whose sums round differently


def worker(
    width: int, precision: Precision, threads: int, seconds: float, barrier: Any, answer: Connection
) -> None:
    """Train for some seconds once all workers are warm.

    Sends steps a second, processor seconds of a step, and the loss of the warm-up.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    task = get_task(TASK)
    pairs = task.embedded("train")
    patches = PatchSource([i.pixels for i in pairs.inputs], [i.pixels for i in pairs.targets], pairs.scale)
    network = build(Chain(width=width, blocks=(Block("rfdb"),) * 4), task.interface)
    training = Training(network, patches, Recipe((STAGE,), precision=precision), seed=0)
    loss = list(training.run(WARM_UP))[-1].loss
    barrier.wait()
    started, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds:
        for _ in training.run(training.step + 1):
            pass
    wall, cpu, steps = time.perf_counter() - started, time.process_time() - cpu, training.step - WARM_UP
    answer.send((steps / wall, cpu / steps, loss))


def together(
    width: int, precision: Precision, workers: int, threads: int, seconds: float
) -> tuple[float, float, list[float]]:
    """Steps a second of all workers, mean processor seconds of a step, each one's loss after the warm-up."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(workers)
    running = []
    for _ in range(workers):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=worker, args=(width, precision, threads, seconds, barrier, theirs))
        process.start()
        theirs.close()  # so that a worker that dies ends the wait
        running.append((process, ours))
    answers = [ours.recv() for _, ours in running]
    for process, _ in running:
        process.join()
    rates, cpu, losses = zip(*answers, strict=True)
    return sum(rates), statistics.mean(cpu), list(losses)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--widths", default="16,32,50", help="comma-separated")
    options.add_argument("--seconds", type=float, default=5.0, help="of counting (default 5)")
    options.add_argument("--rounds", type=int, default=3, help="the median is reported (default 3)")
    args = options.parse_args()
    report = Report("training_speed")
    precisions: list[Precision] = ["float32"]
    if training_dtype("auto", torch.device("cpu")) == torch.bfloat16:
        precisions.insert(0, "bfloat16")
    else:
        report.console.print("this processor has no AMX: bfloat16 would be emulated and is left out")
    cases = [(width, precision) for width in map(int, args.widths.split(",")) for precision in precisions]

    rates: dict[tuple[int, Precision, int], list[float]] = defaultdict(list)
    cpus: dict[tuple[int, Precision, int], list[float]] = defaultdict(list)
    differing = 0
    for number in range(args.rounds):
        for width, precision in cases:
            losses: dict[int, list[float]] = {}
            for workers, threads in LAYOUTS:
                case = width, precision, workers
                rate, cpu, losses[workers] = together(width, precision, workers, threads, args.seconds)
                rates[case].append(rate)
                cpus[case].append(cpu)
                report.console.print(
                    f"{number + 1}/{args.rounds} width {width} {precision} {workers}x{threads}: {rate:.1f} a second"
                )
            one, (two, same) = losses[1][0], losses[2]
            differing += two != same or abs(one - two) > TOLERANCE * two

    table = Table(
        title=f"Training steps a second: RFDB x 4, {TASK}, batch {STAGE.batch}, LR patch {STAGE.patch}; "
        f"median (least to most) of {args.rounds}"
    )
    heads = ("width", "precision", "1 worker x 2 threads", "2 workers x 1 thread", "2x1 over 1x2")
    for head in (*heads, "CPU ms a step, 1x2", "CPU ms a step, 2x1"):
        table.add_column(head, justify="left" if head == "precision" else "right")
    rows = []
    for width, precision in cases:
        found = [rates[width, precision, workers] for workers, _ in LAYOUTS]
        one, two = map(statistics.median, found)
        cells = [f"{statistics.median(r):.1f} ({min(r):.1f} to {max(r):.1f})" for r in found]
        busy = [statistics.median(cpus[width, precision, workers]) for workers, _ in LAYOUTS]
        table.add_row(
            str(width), precision, *cells, f"{two / one - 1:+.0%}", *(f"{1000 * s:.0f}" for s in busy)
        )
        rows.append(
            {
                "width": width,
                "precision": precision,
                "steps_per_s_1x2": found[0],
                "steps_per_s_2x1": found[1],
                "cpu_s_per_step_1x2": busy[0],
                "cpu_s_per_step_2x1": busy[1],
                "gain": two / one - 1,
            }
        )
    report.show({"rows": rows, "seconds": args.seconds, "differing": differing}, [table], args)
    total = args.rounds * len(cases)
    report.console.print(f"losses after {WARM_UP} steps agree: {total - differing} of {total}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())

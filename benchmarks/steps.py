"""Training steps a second of our loop beside a plain PyTorch loop, and where the rest of a trial's time goes.

Ours is `evaluators.training.loop.Training`. The plain loop is written as BasicSR's: torch.optim.Adam, zero_grad,
forward, backward, step, then an average of the weights by a Python loop over the parameters. Both train copies of one
network on the same patches (batch 16, LR patch 24, L1, float32), one thread, in turns of a few steps: ours, plain,
ours, plain ... Each pair of turns gives a ratio of times; the table has the median of the ratios and in brackets a
95 % interval of that median by bootstrap. Above 1 ours is faster. Read the ratio of processor times where other work
runs beside it; on a GPU (`--cuda`) that of wall times.

`--variants` has other settings of our loop take turns with it instead: each row's ratio is our time over the
variant's, so above 1 the variant is faster. `default` is our loop against itself: how far noise goes. The column
"first step" has the seconds that a variant's first step takes: compiling.

The second table is one trial of `--steps` steps: milliseconds of processor time (wall time with `--cuda`) by part.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from report import Report, parser
from rich.table import Table
from torch.nn import functional

from evaluators.data.pairs import PatchSource
from evaluators.data.tensors import to_tensor
from evaluators.tasks import get_task
from evaluators.training.loop import Training
from evaluators.training.recipe import Recipe, Stage, two_stages
from evaluators.trial import score
from spaces.architecture import Architecture, Block
from spaces.baselines import baseline
from spaces.build import build
from spaces.parts import Network
from spaces.topologies.chain import Chain

TASK = "sr-x4"
STAGE = two_stages(100_000).stages[0]  # batch 16, patch 24, L1
RECIPE = Recipe((STAGE,), precision="float32")
NETWORKS: dict[str, Architecture] = {
    **{f"{kind} 4x{width}": Chain(width=width, blocks=(Block(kind),) * 4) for kind, width in (
        ("residual", 16), ("ghost", 24), ("idle", 24), ("mscb", 24), ("hin", 32), ("rfdb", 32)
    )},
    "rfdn": baseline("rfdn"),
}  # fmt: skip
WARM_UP = 3  # steps
TURN = 0.25  # seconds, roughly
FEWEST_TURNS = 5
VARIANTS = ("default", "contiguous", "fused", "flush-denormal", "compiled")


class PlainLoop:
    """The loop of BasicSR's SRModel, on the same patches as ours."""

    def __init__(self, network: Network, patches: PatchSource, stage: Stage, *, decay: float, device: str):
        self._network = network.to(device).train()
        self._average = copy.deepcopy(self._network).eval()
        self._patches = patches
        self._stage = stage
        self._decay = decay
        self._device = device
        self._step = 0
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=stage.rate(0))

    def advance(self) -> None:
        """One step."""
        cut = {"seed": 0, "step": self._step, "batch": self._stage.batch, "patch": self._stage.patch}
        low, high = (to_tensor(side, self._device).contiguous() for side in self._patches.batch(**cut))
        self._optimizer.zero_grad()
        functional.l1_loss(self._network(low), high).backward()
        self._optimizer.step()
        self._step += 1
        averages = dict(self._average.named_parameters())
        for name, parameter in self._network.named_parameters():
            averages[name].data.mul_(self._decay).add_(parameter.data, alpha=1 - self._decay)


def patch_source() -> PatchSource:
    """Of the embedded training photographs."""
    task = get_task(TASK)
    return task.patch_source(task.embedded("train"))


def network_of(name: str) -> Network:
    """A network with the same weights at every call."""
    torch.manual_seed(0)
    return build(NETWORKS[name], get_task(TASK).interface)


def ours(name: str, patches: PatchSource, device: str, variant: str = "default") -> Callable[[], object]:
    """One step of our loop, or of a variant of it, at each call."""
    training = Training(network_of(name), patches, RECIPE, seed=0, device=device)
    if variant == "contiguous":
        for network in (training.network, training.average):
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    elif variant == "fused":
        training._optimizer = torch.optim.Adam(training.network.parameters(), lr=1.0, fused=True)
    elif variant == "compiled":
        training.network.compile()  # in the first of its steps, which `turns` leaves out
    elif variant == "flush-denormal":

        def flushing() -> None:
            torch.set_flush_denormal(True)
            training._advance()
            torch.set_flush_denormal(False)

        return flushing
    return training._advance


def clocks(device: str) -> tuple[float, float]:
    """Processor and wall seconds, once the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.process_time(), time.perf_counter()


def turns(
    first: Callable[[], object], second: Callable[[], object], seconds: float, device: str
) -> np.ndarray:
    """(turns, 2 loops, 2) processor and wall seconds a step, the loops in turns; the first alternates."""
    for step in (first, second):
        for _ in range(WARM_UP):
            step()
    _, before = clocks(device)
    first()
    steps = max(1, round(TURN / (clocks(device)[1] - before)))
    found: list[list[tuple[float, float]]] = []
    started = time.perf_counter()
    while len(found) < FEWEST_TURNS or time.perf_counter() - started < seconds:
        pair: list[tuple[float, float]] = [(0.0, 0.0), (0.0, 0.0)]
        for which in (0, 1) if len(found) % 2 == 0 else (1, 0):
            step = (first, second)[which]
            cpu, wall = clocks(device)
            for _ in range(steps):
                step()
            ended = clocks(device)
            pair[which] = (ended[0] - cpu) / steps, (ended[1] - wall) / steps
        found.append(pair)
    return np.array(found)


def interval(ratios: np.ndarray) -> tuple[float, float, float]:
    """The median and a 95 % bootstrap interval of it."""
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    return float(np.median(ratios)), float(low), float(high)


def compare(name: str, variant: str | None, args: argparse.Namespace) -> dict[str, Any]:
    """Our loop and a plain one, or our loop and a variant, in turns: a row of the first table."""
    patches, device, first_s = patch_source(), "cuda" if args.cuda else "cpu", None
    if variant is None:
        mine = ours(name, patches, device)
        decay = RECIPE.ema
        other = PlainLoop(network_of(name), patches, STAGE, decay=decay, device=device).advance
        times = turns(mine, other, args.seconds, device)
        ratios = times[:, 1] / times[:, 0]
    else:
        other = ours(name, patches, device, variant)
        before = clocks(device)[1]
        other()
        first_s = clocks(device)[1] - before
        times = turns(ours(name, patches, device), other, args.seconds, device)
        ratios = times[:, 0] / times[:, 1]
    step = np.median(times, axis=0)
    return {
        "network": name,
        "beside": variant or "plain",
        "first_step_s": first_s,
        "turns": len(times),
        "steps_per_cpu_s": (1 / step[:, 0]).tolist(),
        "steps_per_wall_s": (1 / step[:, 1]).tolist(),
        "cpu_ratio": interval(ratios[:, 0]),
        "wall_ratio": interval(ratios[:, 1]),
    }


def trial_parts(name: str, args: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of the parts of a trial: processor time, or wall time on a GPU."""
    device, which = ("cuda", 1) if args.cuda else ("cpu", 0)
    patches, pairs = patch_source(), get_task(TASK).embedded("validation")
    found: dict[str, float] = {}

    def timed(part: str, call: Callable[[], object], times: int = 1) -> None:
        before = clocks(device)[which]
        for _ in range(times):
            call()
        found[part] = 1000 * (clocks(device)[which] - before) / times

    training: list[Training] = []

    def start() -> None:
        training.append(Training(network_of(name), patches, RECIPE, seed=0, device=device))
        training[0]._advance()

    timed("start", start)
    (one,) = training
    rounds = 10
    timed("step", one._advance, rounds)
    numbers = iter(range(rounds))
    cut = {"seed": 0, "batch": STAGE.batch, "patch": STAGE.patch}
    timed("batch", lambda: [to_tensor(s, device) for s in patches.batch(step=next(numbers), **cut)], rounds)
    timed("optimizer", one._optimizer.step, rounds)
    weights = list(one.average.parameters()), list(one.network.parameters())
    with torch.no_grad():
        timed("average", lambda: torch._foreach_lerp_(*weights, 0.001), rounds)
    timed("scoring", lambda: score(one.result(), TASK, pairs, ssim=False, device=device))
    timed("checkpoint", one.checkpoint)
    return found


def shares(parts: dict[str, float], steps: int, rungs: int) -> dict[str, float]:
    """Each part's share of a trial, forward and backward among them; they add up to 1."""
    within = {part: steps * parts[part] for part in ("batch", "optimizer", "average")}
    once = {
        "start": parts["start"],
        "scoring": rungs * parts["scoring"],
        "checkpoint": rungs * parts["checkpoint"],
    }
    total = steps * parts["step"] + sum(once.values())
    spent = {"forward_backward": steps * parts["step"] - sum(within.values()), **within, **once}
    return {part: ms / total for part, ms in spent.items()}


def check(args: argparse.Namespace) -> None:
    """Raises: ValueError: for arguments that can't be followed."""
    if not (args.seconds > 0 and math.isfinite(args.seconds)):
        raise ValueError(f"--seconds {args.seconds:g}: expected seconds above 0")
    for option in ("steps", "rungs"):
        if getattr(args, option) < 1:
            raise ValueError(f"--{option} {getattr(args, option)}: expected 1 or more")
    for given, known, option in (
        (args.networks, NETWORKS, "networks"),
        (args.variants, VARIANTS, "variants"),
    ):
        if unknown := [name for name in given if name not in known]:
            raise ValueError(f"--{option}: no '{unknown[0]}'; there are {', '.join(known)}")
    if args.cuda and not torch.cuda.is_available():
        raise ValueError("--cuda: torch finds no GPU here; leave it out")


def main() -> int:
    options = parser(__doc__)
    names = {"type": lambda text: text.split(","), "metavar": "A,B"}
    options.add_argument("--seconds", type=float, default=20, help="for each row (default 20)")
    options.add_argument("--networks", default=list(NETWORKS), help=", ".join(NETWORKS), **names)
    options.add_argument("--variants", default=[], help=", ".join(VARIANTS), **names)
    options.add_argument("--steps", type=int, default=500, help="of the trial (default 500)")
    options.add_argument("--rungs", type=int, default=4, help="of the trial (default 4)")
    options.add_argument("--cuda", action="store_true", help="on the GPU")
    args = options.parse_args()
    try:
        check(args)
    except ValueError as error:
        options.error(str(error))
    torch.set_num_threads(1)
    report, rows, trials = Report("steps"), [], []
    title = "our loop over its variants" if args.variants else "our loop over a plain one"
    speed = Table(
        title=f"Steps a second, {title}: {TASK}, batch {STAGE.batch}, LR patch {STAGE.patch}, 1 thread"
    )
    for head in ("network", "beside"):
        speed.add_column(head)
    for head in (
        "turns",
        "ours, CPU",
        "beside, CPU",
        "ours, wall",
        "beside, wall",
        "CPU ratio",
        "wall ratio",
        "first step [s]",
    ):
        speed.add_column(head, justify="right")
    for name in args.networks:
        for variant in args.variants or [None]:
            row = compare(name, variant, args)
            rows.append(row)
            rates = [f"{rate:.1f}" for rate in row["steps_per_cpu_s"] + row["steps_per_wall_s"]]
            ratios = ["{:.3f} ({:.3f} to {:.3f})".format(*row[key]) for key in ("cpu_ratio", "wall_ratio")]
            first_s = "" if row["first_step_s"] is None else f"{row['first_step_s']:.1f}"
            speed.add_row(name, row["beside"], str(row["turns"]), *rates, *ratios, first_s)
    share = Table(title=f"Shares of a trial of {args.steps} steps and {args.rungs} rungs (PSNR)")
    share.add_column("network")
    for name in args.networks:
        parts = trial_parts(name, args)
        part_shares = shares(parts, args.steps, args.rungs)
        trials.append({"network": name, "ms": parts, "shares": part_shares})
        if not share.columns[1:]:
            for head in ("step ms", *part_shares):
                share.add_column(head.replace("_", ", "), justify="right")
        share.add_row(name, f"{parts['step']:.1f}", *(f"{value:.1%}" for value in part_shares.values()))
    geometric = {
        key: statistics.geometric_mean(row[key][0] for row in rows) for key in ("cpu_ratio", "wall_ratio")
    }
    report.show({"rows": rows, "geometric_mean": geometric, "trials": trials}, [speed, share], args)
    report.console.print(
        f"geometric mean of CPU ratios {geometric['cpu_ratio']:.3f}, wall {geometric['wall_ratio']:.3f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

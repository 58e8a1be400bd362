"""How many architectures a second are costed exactly, against building each and counting it.

`spaces.build.cost` sums parts that are traced once and remembered. What people do otherwise: build the
network on the meta device (no memory, no arithmetic) and run a counter over it. Here both count the same
architectures, with one thread, and their MACs must be equal: exit 1 if one differs.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import torch
from report import Report, parser
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from evaluators.tasks import get_task
from spaces.architecture import Architecture, Leaf
from spaces.budget import Budget
from spaces.build import build, cost
from spaces.catalog import named_space
from spaces.cost import count
from spaces.parts import Network, part_cost
from spaces.space import Space
from spaces.task import Task

PASSES = 5  # of the warm measurements; the median is reported


def distinct(space: Space, number: int, random: Random, known: set[str]) -> list[dict[str, Leaf]]:
    """Genotypes whose architectures differ from each other and from ``known``, which they join."""
    found: list[dict[str, Leaf]] = []
    while len(found) < number:
        genotype = space.sample(random)
        digest = space.decode(genotype).digest
        if digest not in known:
            known.add(digest)
            found.append(genotype)
    return found


def rate(work: Callable[[Any], Any], items: Sequence[Any]) -> tuple[float, list[Any]]:
    """Items a second of one pass, and what the work returned."""
    started = time.perf_counter()
    results = [work(item) for item in items]
    return len(items) / (time.perf_counter() - started), results


def warm_rate(work: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """Items a second, the median of some passes."""
    return statistics.median(rate(work, items)[0] for _ in range(PASSES))


def on_meta(architecture: Architecture, task: Task) -> tuple[Network, torch.Tensor]:
    """The whole network and the input that its cost is quoted at, without memory."""
    with torch.device("meta"):
        network = build(architecture, task)
        height, width = network.size_requirements.padded(*task.cost_input[1:])
        return network, torch.empty(1, task.in_channels, height, width)


def macs_by_torch(architecture: Architecture, task: Task) -> int:
    """MACs by torch's own counter, which charges two operations for each."""
    network, image = on_meta(architecture, task)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    return counter.get_total_flops() // 2


def macs_by_us(architecture: Architecture, task: Task) -> int:
    """MACs by our counter on the whole network, nothing remembered."""
    return count(*on_meta(architecture, task)).macs


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--number", type=int, default=5000, help="distinct architectures (default 5000)")
    options.add_argument("--sample", type=int, default=60, help="how many of them are built (default 60)")
    options.add_argument("--space", default="sr-all")
    options.add_argument("--task", default="sr-x4")
    options.add_argument("--max-gmacs", type=float, default=1.0, help="of the budget that is fitted to")
    options.add_argument("--seed", type=int, default=0)
    args = options.parse_args()
    torch.set_num_threads(1)
    report = Report("costing")
    space, task, random = named_space(args.space), get_task(args.task).interface, Random(args.seed)
    known: set[str] = set()
    genotypes = distinct(space, args.number, random, known)
    unseen = [space.decode(g) for g in distinct(space, args.number, random, known)]

    decode = warm_rate(space.decode, genotypes)
    architectures = [space.decode(genotype) for genotype in genotypes]

    def ours(architecture: Architecture) -> int:
        return cost(architecture, task).macs

    cold, found = rate(ours, architectures)
    traced = part_cost.cache_info().misses
    warm = warm_rate(ours, architectures)
    fresh, _ = rate(ours, unseen)
    budget = Budget(task, args.max_gmacs)
    candidates = [budget.fit(space, genotype) for genotype in genotypes]
    fit, _ = rate(lambda genotype: budget.fit(space, genotype), genotypes)
    inside = [candidate for candidate in candidates if candidate is not None]

    picked = random.sample(range(args.number), min(args.sample, args.number))
    sample = [architectures[i] for i in picked]
    macs_by_torch(sample[0], task), macs_by_us(sample[0], task)  # imports and first calls, not to be charged
    torchs, by_torch = rate(lambda architecture: macs_by_torch(architecture, task), sample)
    wholes, by_us = rate(lambda architecture: macs_by_us(architecture, task), sample)
    equal = sum(found[i] == flops == whole for i, flops, whole in zip(picked, by_torch, by_us, strict=True))

    rows = [
        ("cost, warm", args.number, warm),
        ("cost, as many others, never seen", args.number, fresh),
        ("cost, cold: nothing remembered yet", args.number, cold),
        ("build on meta + FlopCounterMode", len(sample), torchs),
        ("build on meta + our counter, whole network", len(sample), wholes),
        ("decode a genotype", args.number, decode),
        (f"fit to {args.max_gmacs:g} GMACs, warm", args.number, fit),
    ]
    table = Table(title=f"Costing: space {space.name}, task {task.name}, 1 thread")
    for column in ("what", "architectures", "a second", "ms each", "x FlopCounterMode"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, number, per_s in rows:
        ratio = f"{per_s / torchs:,.2f}" if "decode" not in what and "fit" not in what else ""
        table.add_row(what, f"{number:,}", f"{per_s:,.0f}", f"{1000 / per_s:.3f}", ratio)
    result = {
        "space": space.name,
        "task": task.name,
        "rows": [{"what": what, "architectures": number, "per_s": per_s} for what, number, per_s in rows],
        "parts_traced": traced,
        "cold_s": args.number / cold,
        "equal": equal,
        "compared": len(sample),
        "fit": {"within": len(inside), "repaired": sum(c.repaired for c in inside)},
    }
    report.show(result, [table], args)
    report.console.print(
        f"{traced:,} distinct parts traced in the first pass, {args.number / cold:.1f} s; of {args.number:,} "
        f"genotypes {len(inside):,} fit, {result['fit']['repaired']:,} of them by another width or depth"
    )
    report.console.print(
        f"MACs equal: {equal} of {len(sample)}", style="green" if equal == len(sample) else "red"
    )
    return 0 if equal == len(sample) else 1


if __name__ == "__main__":
    sys.exit(main())

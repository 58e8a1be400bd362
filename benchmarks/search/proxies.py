"""What zero-cost proxies, costs and early rungs tell of the final PSNR, over all trained networks of the table.

Rank correlations with 95 % intervals (`results.analysis.correlation`) over what ``benchmarks/search/tabular.py``
trained. Proxies are of untrained networks, on patches of the embedded photographs; the seconds are processor seconds
of one thread.

    python benchmarks/search/proxies.py
    python benchmarks/search/proxies.py --seeds 3    # proxies as the mean over 3 random initialisations
"""

from __future__ import annotations

import argparse
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabular import Record, load, the_space

from evaluators.measure.proxies import PROXIES, draw_patches, measure_proxy
from evaluators.tasks import get_task
from results.analysis.correlation import Analysis, Quantity, RungLink, analysis_of, rung_links
from results.render.correlation_tables import analysis_record, link_table, rung_record, rung_table

sys.path.append(str(Path(__file__).parents[1]))

from report import Report, parser  # what all benchmarks share

TASK = "sr-x4"


def measure(records: list[Record], seeds: int, patch: int) -> tuple[list[Quantity], dict[str, float]]:
    """Each proxy of each network, and its processor seconds a network."""
    task, space = get_task(TASK), the_space()
    train = task.embedded("train")
    source = task.patch_source(train)
    batches = [
        draw_patches(source, patch=patch, seed=s, data=f"{train.name} ({train.digest})") for s in range(seeds)
    ]
    networks = [space.decode(record.genotype) for record in records]
    found, seconds = [], {}
    for name in PROXIES:
        measure_proxy(name, networks[0], task.interface, batches[0])  # loads libraries
        started = time.process_time()
        values = [
            [measure_proxy(name, a, task.interface, b, seed=s).value for s, b in enumerate(batches)]
            for a in networks
        ]
        seconds[name] = (time.process_time() - started) / len(networks) / seeds
        protocol = f"untrained, mean of {seeds} seed(s), {batches[0].origin}"
        found.append(Quantity(name, "proxy", "1", protocol, np.array(values).mean(axis=1)))
    return found, seconds


def known(records: list[Record], protocol: str, at: str) -> list[Quantity]:
    """Quality at the last rung, and costs."""
    psnr = np.array([record.trials[0].psnr_y[-1] for record in records])
    ssim = np.array([record.trials[0].ssim_y or np.nan for record in records])
    costs = [
        Quantity(name, "cost", "1", at, np.array([getattr(record, name) for record in records], dtype=float))
        for name in ("parameters", "macs", "activations", "convolutions")
    ]
    return [
        Quantity("psnr_y", "quality", "dB", protocol, psnr),
        Quantity("ssim_y", "quality", "1", protocol, ssim),
        *costs,
    ]


def early_rungs(records: list[Record], rungs: tuple[int, ...]) -> tuple[RungLink, ...]:
    """Each rung's PSNR with the last one's."""
    macs = [record.macs for record in records]
    return rung_links([dict(zip(rungs, record.trials[0].psnr_y, strict=True)) for record in records], macs)[0]


def run(args: argparse.Namespace) -> tuple[Analysis, tuple[RungLink, ...], dict[str, float], Any]:
    """The correlations over the table's trained networks."""
    table = load()
    records = table.trained()
    patch = tomllib.loads(table.header["config"])["training"]["patch"]
    proxies, seconds = measure(records, args.seeds, patch)
    quantities = known(records, table.header["protocol"], table.header["cost_input"]) + proxies
    return analysis_of("tabular_sr_x4", quantities), early_rungs(records, table.rungs), seconds, table


def main() -> None:
    """Print the tables."""
    wanted = parser(__doc__)
    wanted.add_argument("--seeds", type=int, default=1, help="random initialisations a network [default: 1]")
    args = wanted.parse_args()
    if args.seeds < 1:
        wanted.error(f"expected at least 1 seed, got {args.seeds}")
    torch.set_num_threads(1)
    report = Report("proxies")
    found, rungs, seconds, table = run(args)
    tables = [link_table(found, seconds=seconds), rung_table(rungs, "psnr_y", table.rungs[-1])]
    record = analysis_record(found) | {
        "rungs": [rung_record(link) for link in rungs],
        "last_step": table.rungs[-1],
        "seconds_per_network": seconds,
    }
    report.show(record, tables, args)


if __name__ == "__main__":
    main()

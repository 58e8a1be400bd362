"""How well a few timed networks say what others take: seconds a training step, fitted and measured.

    python benchmarks/search/pace.py                      # x4 super-resolution within 6 GMACs, about a minute
    python benchmarks/search/pace.py --space unet --task denoise --max-gmacs 20

Times the networks that a search would time (`search.planning.timing`) and as many others that it wouldn't, in one
process on one thread, and prints for the others what the fit over GMACs, activations and convolutions says
(`search.planning.pace`), and what a fit over GMACs alone would.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from random import Random

import numpy as np
import torch
from rich.table import Table

from evaluators.measure.timing import TimingJob, time_networks
from evaluators.tasks import get_task
from evaluators.training.recipe import two_stages
from evaluators.trial import TrialData
from search.planning.pace import Sample, fit
from search.planning.timing import sample_costs, to_time
from spaces.budget import Budget
from spaces.build import cost
from spaces.catalog import named_space

sys.path.append(str(Path(__file__).parents[1]))

from report import Report, parser  # what all benchmarks share


def main() -> None:
    """Time, fit, and print the table."""
    args, report = _arguments(), Report("pace")
    torch.set_num_threads(1)
    task = get_task(args.task)
    space, budget = named_space(args.space or task.space), Budget(task.interface, args.max_gmacs)
    candidates = sample_costs(space, budget)
    timed = to_time(candidates)
    others = [c.architecture for c in candidates if c.architecture not in timed]
    Random(1).shuffle(others)
    architectures = (*timed, *others[: args.others])
    recipe = two_stages(100, losses=task.losses, batch=args.batch, patch=task.patch)
    data = TrialData(task.embedded("train"), task.embedded("validation"))
    limit = args.seconds * len(architectures)
    found = time_networks(
        TimingJob(tuple(each.to_json() for each in architectures), args.task, recipe, limit), data
    )
    samples = [
        Sample(cost(architecture, task.interface), each.start_s, each.step_s, each.score_s, each.ssim_s)
        for architecture, each in zip(architectures, found.networks, strict=False)
    ]
    known, unknown = samples[: len(timed)], samples[len(timed) :]
    pace = fit(known)
    per_gmac = float(np.median([s.step_s / s.cost.gmacs() for s in known]))
    rows = [(s, pace.step(s.cost), per_gmac * s.cost.gmacs()) for s in unknown]
    table = Table()
    for column in (
        "network",
        "GMACs",
        "activations [M]",
        "ms a step",
        "fit",
        "error",
        "by GMACs alone",
        "error",
    ):
        table.add_column(column, justify="left" if column == "network" else "right")
    for architecture, (sample, fitted, plain) in zip(others, rows, strict=False):
        table.add_row(
            architecture.label,
            f"{sample.cost.gmacs():.3f}",
            f"{sample.cost.activations / 1e6:.1f}",
            f"{1e3 * sample.step_s:.1f}",
            f"{1e3 * fitted:.1f}",
            f"{fitted / sample.step_s - 1:+.0%}",
            f"{1e3 * plain:.1f}",
            f"{plain / sample.step_s - 1:+.0%}",
        )
    errors = {
        "fit": [abs(fitted / s.step_s - 1) for s, fitted, _ in rows],
        "gmacs": [abs(plain / s.step_s - 1) for s, _, plain in rows],
    }
    medians = {name: float(np.median(values)) for name, values in errors.items()}
    report.console.print(f"median error: fit {medians['fit']:.1%}, by GMACs alone {medians['gmacs']:.1%}")
    report.show({"median_error": medians}, [table], args)


def _arguments() -> Namespace:
    found = parser(__doc__)
    found.add_argument("--task", default="sr-x4")
    found.add_argument("--space", default="", help="the task's own by default")
    found.add_argument("--max-gmacs", type=float, default=6.0)
    found.add_argument("--others", type=int, default=12, help="networks that the fit hasn't seen")
    found.add_argument("--batch", type=int, default=16)
    found.add_argument("--seconds", type=float, default=3.0, help="for each network")
    return found.parse_args()


if __name__ == "__main__":
    main()

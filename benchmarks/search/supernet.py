"""Does a weight-sharing supernet rank networks as training each of them does?

One supernet (``evaluators.supernet.network``) of the tabular benchmark's space is trained on the table's images; each
architecture's sub-network is then scored, without training of its own, on a few of the table's validation images, and
the ranking is compared with the stand-alone scores of ``benchmarks/search/tabular.py`` by Kendall's tau-b and
Spearman's rho.

    python benchmarks/search/supernet.py --work DIR                    # trains; goes on where it was
    python benchmarks/search/supernet.py --work DIR --report           # scores what the table has, and correlates

Beside the supernet stand the costs, and the table's own early rungs, which cost a training each.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tabular

from results.analysis.correlation import Estimate, partial_correlation, rank_correlation

if TYPE_CHECKING:
    from evaluators.supernet.training import SupernetTraining
    from search.study.context import Bench

STEPS = 4000
KEEP_EVERY = 100


def new_training(bench: Bench, steps: int, random: int, distil: float) -> SupernetTraining:
    """A supernet's training from the start, on the table's images."""
    import torch

    from evaluators.supernet.network import Supernet
    from evaluators.supernet.training import Sandwich, SupernetTraining

    torch.set_num_threads(1)
    torch.manual_seed(0)
    supernet = Supernet(tabular.the_space(), bench.task.interface)
    patches = bench.task.patch_source(bench.data.train)
    recipe = tabular.recipe_of(bench, steps)
    return SupernetTraining(supernet, patches, recipe, seed=0, sandwich=Sandwich(random, distil))


def train(training: SupernetTraining, steps: int, folder: Path) -> None:
    """Train to the end, or on to it."""
    kept = folder / "checkpoint"
    spent = folder / "seconds"
    before = float(spent.read_text()) if spent.exists() else 0.0
    if kept.exists():
        training.restore(kept.read_bytes())
    start = time.process_time()
    while training.step < steps:
        for progress in training.run(min(training.step + KEEP_EVERY, steps), report_every=KEEP_EVERY):
            seconds = before + time.process_time() - start
            print(f"step {progress.step} of {steps}: loss {progress.loss:.5f}, {seconds:.0f} s", flush=True)
        part = kept.with_suffix(".part")
        part.write_bytes(training.checkpoint())
        os.replace(part, kept)
        spent.write_text(f"{seconds:.1f}")


def score_all(
    training: SupernetTraining, bench: Bench, folder: Path, table: tabular.Table
) -> dict[str, float]:
    """Y PSNR by digest of every trained architecture's sub-network; what was scored at this step isn't again."""
    from evaluators.trial import score

    kept = folder / f"scores-{training.step}.json"
    scores: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
    few = tabular.few_images(bench)
    supernet = training.result()
    start, todo = time.process_time(), [r for r in table.trained() if r.digest not in scores]
    for record in todo:
        network = supernet.extract(training.network.space.decode(record.genotype))
        found = score(network, bench.config.task, few, ssim=False)
        scores[record.digest] = next(m.value for m in found if m.name == "psnr_y")
        kept.write_text(json.dumps(scores))
    if todo:
        each = (time.process_time() - start) / len(todo)
        print(f"{len(todo)} sub-networks scored on {len(few)} images, {each:.2f} s of processor time each")
    return scores


def report(scores: dict[str, float], table: tabular.Table) -> str:
    """Correlations with the stand-alone scores at the last rung, with 95 % intervals."""
    records = table.trained()

    def line(name: str, guess: dict[str, float], some: Sequence[tabular.Record]) -> str:
        guesses, truths = [guess[r.digest] for r in some], [r.trials[0].psnr_y[-1] for r in some]
        found = rank_correlation(guesses, truths)
        alike = partial_correlation(guesses, truths, [r.macs for r in some])
        cells = [found and found.spearman, found and found.kendall, alike]
        return f"{name:38} {len(some):4d}  " + "  ".join(f"{_shown(each):24}" for each in cells).rstrip()

    heads = "  ".join(f"{head:24}" for head in ("Spearman", "Kendall", "at equal MACs")).rstrip()
    lines = [f"{'against Y PSNR after ' + str(table.rungs[-1]) + ' steps':38} {'n':>4}  {heads}"]
    lines.append(line("supernet", scores, records))
    for gene in ("width", "depth"):
        for value in sorted({r.genotype[gene] for r in records}):
            some = [r for r in records if r.genotype[gene] == value]
            lines.append(line(f"  supernet, {gene} {value}", scores, some))
    for i, rung in enumerate(table.rungs[:-1]):
        early = {r.digest: r.trials[0].psnr_y[i] for r in records}
        lines.append(line(f"{rung} steps of its own training", early, records))
    for cost in ("macs", "parameters", "activations"):
        lines.append(line(cost, {r.digest: getattr(r, cost) for r in records}, records))
    return "\n".join(lines)


def _shown(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:+.3f} ({estimate.low:.2f} to {estimate.high:.2f})"


def main() -> int:
    found = tabular.parser(__doc__, "folder of the supernet in the making")
    found.add_argument("--steps", type=int, default=STEPS, help=f"of its training (default {STEPS})")
    found.add_argument("--random", type=int, default=2, help="random sub-networks a step (default 2)")
    found.add_argument("--distil", type=float, default=0.0, help="lambda, from the largest (default 0)")
    found.add_argument("--table", type=Path, default=tabular.PACKED, help="the packed table")
    found.add_argument("--report", action="store_true", help="correlate with the table, as trained so far")
    args = found.parse_args()
    try:
        bench = tabular.Work(args.work, args.data).bench()
        training = new_training(bench, args.steps, args.random, args.distil)
        if not args.report:
            train(training, args.steps, args.work)
            return 0
        kept = args.work / "checkpoint"
        if not kept.exists():
            raise ValueError(
                f"--work {args.work}: expected a supernet in training, got none; run without --report"
            )
        training.restore(kept.read_bytes())
        table = tabular.load(args.table)
        print(report(score_all(training, bench, args.work, table), table))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

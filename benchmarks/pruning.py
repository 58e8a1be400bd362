"""RFDN pruned from its published checkpoint and trained again: the tables "Pruning" of docs/evidence.md.

    python benchmarks/pruning.py --work DIR

Two ratios of its GMACs, each fine-tuned on the targets and distilled from the unpruned network (``--only long``), other
weights of the teacher at the first ratio (``--only lambda``), and each importance criterion at the same target, seed
and steps with both (``--only criteria``). Trains on BSDS500 train and test without the one photograph that Set5 shows,
too, scores on Set5, Set14 and B100 (BSDS500 val). Results and checkpoints are kept in --work: a run that was cut off
goes on, several processes share the runs between them, and ``--report`` prints what is there. Nothing is chosen by the
test sets: lengths and rates are those below.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from report import Report, parser
from rich.table import Table
from safetensors.torch import load, save

from evaluators.data.images import ImageSet
from evaluators.data.pairs import PairSet
from evaluators.pruning.importance import CRITERIA
from evaluators.pruning.prune import prune
from evaluators.tasks import get_task
from evaluators.training.distillation import Teacher
from evaluators.training.loop import Training
from evaluators.training.recipe import Recipe, Stage
from evaluators.trial import score
from spaces.architecture import Architecture
from spaces.baselines import published
from spaces.build import build, cost
from spaces.checkpoint import load_published
from spaces.parts import Network
from spaces.task import Task

ROOT = Path(__file__).resolve().parents[1]
SHOWN_IN_SET5 = "302003"  # its "woman"
RFDN, MEGSR = "rfdn", "rfdn-pruned"
RATIOS = (0.65, 0.5)
KEEP_EVERY = 100  # steps
SCORED_ON = 8  # batches, for Taylor
BATCH, PATCH, RATE = 8, 48, 5e-4
COLUMNS = (
    *("network", "GMACs", "target", "max. error", "parameters"),
    *("Set5", "Set14", "B100", "steps", "training s"),
)


@dataclass(frozen=True)
class Run:
    """One pruned network and how it is trained again."""

    ratio: float
    criterion: str
    taught: float  # lambda: 0 for fine-tuning
    steps: int

    @property
    def name(self) -> str:
        how = {0.0: "finetuned", 0.5: "distilled"}.get(self.taught, f"distilled{self.taught:g}")
        return f"{self.criterion}-{round(100 * self.ratio)}-{how}-{self.steps}"

    @property
    def recipe(self) -> Recipe:
        """L1, then L2 at a tenth of the rate for a tenth of the steps."""
        last = self.steps // 10
        return Recipe(
            (
                Stage(self.steps - last, "l1", RATE, BATCH, PATCH, distil=self.taught),
                Stage(last, "l2", RATE / 10, BATCH, PATCH, distil=self.taught),
            )
        )


def main() -> int:
    found = parser(__doc__)
    shared = ROOT.parent / "shared"
    found.add_argument("--weights", type=Path, default=shared / "weights")
    found.add_argument("--data", type=Path, default=shared / "data", help="folder with set5, set14, bsds500")
    found.add_argument("--work", type=Path, required=True, help="folder for results, checkpoints and outputs")
    found.add_argument("--only", choices=("long", "criteria", "lambda"))
    found.add_argument("--steps", type=int, default=4000, help="of the long runs")
    found.add_argument("--criteria-steps", type=int, default=400)
    found.add_argument("--device", default="cpu")
    found.add_argument("--report", action="store_true", help="print what is there, run nothing")
    args = found.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    long = [Run(r, "taylor", taught, args.steps) for r in RATIOS for taught in (0.5, 0.0)]
    short = [Run(0.65, c, taught, args.criteria_steps) for c in CRITERIA for taught in (0.5, 0.0)]
    lessons = [Run(0.65, "taylor", taught, args.steps) for taught in (0.9,)]
    every = {"long": long, "criteria": short, "lambda": lessons}
    runs = every[args.only] if args.only else [run for some in every.values() for run in some]
    if not args.report:
        bench = Bench(args.weights, args.data, args.work, args.device)
        for run in runs:
            bench.done(run)
    rows = list(_rows(args.work, runs))
    table = Table(title=f"RFDN x4 (GMACs at 3x256x256, exact; PSNR on Y in dB), {args.device}")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "network" else "right")
    for row in rows:
        table.add_row(*row)
    Report("pruning").show({"rows": [dict(zip(COLUMNS, row, strict=True)) for row in rows]}, [table], args)
    return 0


class Bench:
    """The networks and images of all runs, read once."""

    def __init__(self, weights: Path, data: Path, work: Path, device: str):
        self.work, self.device = work, device
        self.task, self.known = get_task("sr-x4"), published(RFDN)
        self.whole = load_published(RFDN, weights / "RFDN_AIM.pth").eval()
        self.train = training_set(data)
        self.sets = {
            "Set5": self.task.pairs(data / "set5" / "HR"),
            "Set14": self.task.pairs(data / "set14" / "HR"),
            "B100": self.task.pairs(data / "bsds500" / "val"),
        }
        for name in (RFDN, MEGSR):
            self.reference(name, weights)

    def reference(self, name: str, weights: Path) -> None:
        """Score a published network, once."""
        path = self.work / f"published-{name}.json"
        if not path.exists():
            file = {RFDN: "RFDN_AIM.pth", MEGSR: "RFDN_pruned_MegSR_x4.pth"}[name]
            architecture = published(name).architecture
            keep(path, self.facts(load_published(name, weights / file), architecture, published(name).task))

    def facts(self, network: Network, architecture: Architecture, task: Task) -> dict:
        """Costs and qualities."""
        costs = cost(architecture, task)
        quality = {
            name: next(
                m.value
                for m in score(network, "sr-x4", pairs, ssim=False, device=self.device)
                if m.name == "psnr_y"
            )
            for name, pairs in self.sets.items()
        }
        return {"gmacs": costs.gmacs(), "parameters": costs.parameters, "psnr_y": quality}

    def done(self, run: Run) -> None:
        """Run it, unless it is done or another process is at it."""
        if (self.work / f"{run.name}.json").exists():
            return
        with open(self.work / f"{run.name}.lock", "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            self._run(run)

    def pruned(self, run: Run) -> tuple[Network, Architecture, dict]:
        """The pruned network, not trained, with its facts."""
        stem = f"{run.criterion}-{round(100 * run.ratio)}-pruned"
        facts, weights = self.work / f"{stem}.json", self.work / f"{stem}.safetensors"
        if not facts.exists():
            source = self.task.patch_source(self.train)
            batches = [source.batch(seed=0, step=i, batch=BATCH, patch=PATCH) for i in range(SCORED_ON)]
            target = run.ratio * cost(self.known.architecture, self.known.task).macs
            started = time.perf_counter()
            found = prune(
                self.whole,
                self.known.architecture,
                self.known.task,
                target=target,
                criterion=run.criterion,
                batches=batches,
            )
            seconds = time.perf_counter() - started
            weights.write_bytes(save({n: t.contiguous() for n, t in found.network.state_dict().items()}))
            more = self.facts(found.network, found.architecture, self.known.task)
            more |= {"target": target / 1e9, "max_error": found.max_error, "seconds": seconds}
            keep(facts, more | {"architecture": found.architecture.to_json()})
        known = json.loads(facts.read_text())
        architecture = Architecture.from_json(known["architecture"])
        network = build(architecture, self.known.task)
        network.load_state_dict(load(weights.read_bytes()))
        return network, architecture, known

    def _run(self, run: Run) -> None:
        network, architecture, _ = self.pruned(run)
        teacher = (
            Teacher([self.whole], 4, device=self.device, cache=self.work / "teacher") if run.taught else None
        )
        training = Training(
            network,
            self.task.patch_source(self.train),
            run.recipe,
            seed=0,
            device=self.device,
            teacher=teacher,
        )
        checkpoint, seconds = self.work / f"{run.name}.pt", 0.0
        if checkpoint.exists():
            training.restore(checkpoint.read_bytes())
            seconds = json.loads((self.work / f"{run.name}.time").read_text())
        while training.step < run.steps:
            started = time.perf_counter()
            until = min(run.steps, training.step + KEEP_EVERY)
            loss = [progress.loss for progress in training.run(until, report_every=KEEP_EVERY)][-1]
            seconds += time.perf_counter() - started
            write(checkpoint, training.checkpoint())
            write(self.work / f"{run.name}.time", json.dumps(seconds).encode())
            print(f"{run.name} {until}/{run.steps} loss {loss:.5f} {seconds:.0f} s", flush=True)
        facts = self.facts(training.result(), architecture, self.known.task)
        path = self.work / f"{run.name}.safetensors"
        path.write_bytes(save({n: t.cpu().contiguous() for n, t in training.result().state_dict().items()}))
        keep(self.work / f"{run.name}.json", facts | {"seconds": seconds, **asdict(run)})
        checkpoint.unlink()


def training_set(data: Path) -> PairSet:
    """BSDS500 train and test without what Set5 shows."""
    task = get_task("sr-x4")
    parts = [task.pairs(data / "bsds500" / split) for split in ("train", "test")]
    keep_ = [
        part.pick([i for i, image in enumerate(part.targets) if SHOWN_IN_SET5 not in image.name])
        for part in parts
    ]

    def joined(side: str) -> ImageSet:
        sets = [getattr(part, side) for part in keep_]
        return ImageSet("BSDS500 train and test", tuple(image for s in sets for image in s.images))

    return PairSet(joined("inputs"), joined("targets"), 4)


def keep(path: Path, facts: dict) -> None:
    write(path, json.dumps(facts, indent=1).encode())


def write(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    os.replace(part, path)


def _rows(work: Path, runs: list[Run]) -> Iterator[list[str]]:
    def line(name: str, file: str) -> Iterator[list[str]]:
        path = work / f"{file}.json"
        if path.exists():
            facts = json.loads(path.read_text())
            psnr = [f"{facts['psnr_y'][s]:.3f}" for s in ("Set5", "Set14", "B100")]
            target = f"{facts['target']:.4f}" if "target" in facts else ""
            error = f"{facts['max_error']:.0e}" if "max_error" in facts else ""
            yield [
                name,
                f"{facts['gmacs']:.4f}",
                target,
                error,
                f"{facts['parameters']:,}",
                *psnr,
                str(facts.get("steps", "")),
                f"{facts['seconds']:.0f}" if "seconds" in facts else "",
            ]

    yield from line("RFDN as published", f"published-{RFDN}")
    yield from line("RFDN pruned by MegSR, as published", f"published-{MEGSR}")
    seen = set()
    for run in runs:
        share = f"{run.criterion}, {100 * run.ratio:.0f} %"
        stem = f"{run.criterion}-{round(100 * run.ratio)}-pruned"
        if stem not in seen:
            seen.add(stem)
            yield from line(f"{share}: pruned", stem)
        how = f"distilled, lambda {run.taught:g}" if run.taught else "fine-tuned"
        yield from line(f"{share}: {how}", run.name)


if __name__ == "__main__":
    raise SystemExit(main())

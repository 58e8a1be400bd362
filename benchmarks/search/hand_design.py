"""A search's front against networks designed by hand, at three GMAC budgets.

RFDN, IMDN, PAN, MSRResNet, RLFN and BSRN as published but for their width, which is the largest within 1, 2 and 4 GMACs
(3x256x256 input, as a search counts), and the front of a search: all trained from random weights by the same recipe on
the same images with the same seeds, none of which the search has seen. Networks that add no enlarged image to their
output start far behind in so short a training, so each of them is trained a second time with the nearest-neighbour skip
that the search's space gives to all of its networks.

The training is that of ``benchmarks/search/hand_design.toml``: 1024 steps on BSDS500's train and test. Networks are
scored on every second image of its val, on which the search chose, and on the others, which nothing was chosen by.

    python benchmarks/search/hand_design.py --work DIR --processes 2       # trains what is missing
    pixelfront search --config benchmarks/search/hand_design.toml --study found \\
        --data DIR/images/bsds500-train-test --val DIR/images/bsds500-val-50
    pixelfront repeat found            # so that who is on the front isn't who was lucky once
    python benchmarks/search/hand_design.py --work DIR --study found --runs runs   # its front too, from now on
    python benchmarks/search/hand_design.py --work DIR --status
    python benchmarks/search/hand_design.py --work DIR --report front.png          # Markdown, and the figure

DIR keeps a line of JSON for each training (trainings.jsonl), and the search's front with what it cost (search.json).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluators.tasks import get_task
from results.analysis.repeats import LEVEL, Neighbours, compare, holm
from spaces.architecture import Architecture, Block
from spaces.baselines import published
from spaces.build import cost
from spaces.topologies.chain import MINIMUM_WIDTH, Chain

if TYPE_CHECKING:
    from search.study.context import Bench

sys.path.append(str(Path(__file__).parents[1]))  # report.py, which all benchmarks share

CONFIG = Path(__file__).with_name("hand_design.toml")
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "bsds500"
TASK = "sr-x4"
NETWORKS = ("rfdn", "imdn", "pan", "msrresnet", "rlfn", "bsrn")
BUDGETS = (1.0, 2.0, 4.0)  # GMACs
FIRST_SEED = 1_000_000_000  # beyond those of any search's trials
SEARCH = "search"
SKIPPED = " + nearest skip"


@dataclass(frozen=True)
class Entry:
    """A network in the comparison.

    Attributes:
        family: The published network's name, with the skip or without, or ``search``.
    """

    family: str
    architecture: Chain

    @cached_property
    def gmacs(self) -> float:
        return cost(self.architecture, get_task(TASK).interface).gmacs("exact")


def widest(name: str, budget: float) -> Chain | None:
    """The published network at the largest width within a budget in GMACs; None if its smallest costs more."""
    chain = published(name).architecture
    assert isinstance(chain, Chain)
    if (
        chain.upsampler.kind == "nearest_attention"
    ):  # PAN's has a width of its own: 3/5 of the trunk's, as published
        chain = replace(chain, upsampler=Block("nearest_attention"))
    found, width = None, MINIMUM_WIDTH
    while Entry(name, wider := replace(chain, width=width)).gmacs <= budget:
        found, width = wider, width + 1
    return found


def by_hand(*, skipped: bool) -> list[Entry]:
    """The published networks at each budget, by family.

    Args:
        skipped: Only those that add nothing to their output, with the nearest-neighbour skip.
    """
    entries = []
    for name in NETWORKS:
        for budget in BUDGETS:
            chain = widest(name, budget)
            if chain is not None and not skipped:
                entries.append(Entry(name, chain))
            elif chain is not None and chain.image_skip == "none":
                entries.append(Entry(name + SKIPPED, replace(chain, image_skip="nearest")))
    return entries


def at_budget(entries: Sequence[Entry], budget: float) -> dict[str, Entry]:
    """Of each family the dearest within the budget: of a front, that is the best by what the search measured."""
    within = sorted((e for e in entries if e.gmacs <= budget), key=lambda e: e.gmacs)
    return {entry.family: entry for entry in within}


def front_of_study(name: str, runs: Path) -> dict[str, Any]:
    """A study's front and what it cost, as search.json keeps them.

    Raises: ValueError: if it has none.
    """
    from results.analysis.overview import overview
    from results.analysis.repeats import is_repeat
    from results.render.report.record import steps_by_trial
    from results.store.store import Store

    with Store.open(str(runs / "pixelfront.db"), create=False, read_only=True) as store:
        found = overview(store, name)
        trials = store.trials(found.study.id, stages=["search"])
        steps = steps_by_trial(store.rungs(found.study.id))
    members = [trial for trial in found.members if trial.stage == "search"]
    if not members:
        raise ValueError(f"--study {name}: expected a study with a front, got none: let its search go on")
    repeats = {trial.id for trial in trials if is_repeat(trial)}
    again = sum(steps.get(trial, 0) for trial in repeats)
    hours = sum(trial.seconds or 0.0 for trial in trials) / 3600
    machine = found.study.environment
    told = (
        f"study {name} ({found.study.strategy}, seed {found.study.seed}): {len(trials) - len(repeats)} architectures "
        f"begun, {sum(steps.get(trial.id, 0) for trial in trials):,} training steps"
        + (f", {again:,} of them to train its front again from other seeds" if repeats else "")
        + f"; those trained to the end took {hours:.2f} worker-hours, on {machine['cpus']} CPUs ({machine['machine']})"
    )
    return {"cost": told, "members": [json.loads(trial.architecture) for trial in members]}


class Work:
    """The folder of the comparison in the making.

    Args:
        source: The folder of BSDS500, with train, test and val.
    """

    def __init__(self, folder: Path, source: Path, seeds: int = 3):
        self.folder, self.source, self.seeds = folder, source, seeds
        self.trainings_file = folder / "trainings.jsonl"
        self.search_file = folder / "search.json"

    @property
    def search(self) -> dict[str, Any]:
        """The search's front as Architecture.to_json has them, and in words what it cost."""
        return json.loads(self.search_file.read_text()) if self.search_file.exists() else {"members": []}

    def entries(self) -> list[Entry]:
        """All networks: as published first."""
        found = [Architecture.from_json(json.dumps(each)) for each in self.search["members"]]
        members = [Entry(SEARCH, chain) for chain in found if isinstance(chain, Chain)]
        return [*by_hand(skipped=False), *members, *by_hand(skipped=True)]

    def link_images(self) -> list[Path]:
        """Folders of links to the training images, those scored to choose, and the others; made where missing."""
        chosen = {
            "bsds500-train-test": [*self._images("train"), *self._images("test")],
            "bsds500-val-50": self._images("val")[::2],
            "bsds500-val-other-50": self._images("val")[1::2],
        }
        for name, files in chosen.items():
            folder = self.folder / "images" / name
            folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                if not (folder / file.name).is_symlink():
                    (folder / file.name).symlink_to(file.resolve())
        return [self.folder / "images" / name for name in chosen]

    def _images(self, split: str) -> list[Path]:
        found = sorted((self.source / split).glob("*.jpg"))
        if not found:
            raise ValueError(
                f"--data {self.source}: expected BSDS500 with pictures in '{split}', got none there; name its folder"
            )
        return found

    def bench(self) -> Bench:
        """Data and recipe, made by what makes a search's."""
        from search.config import load, resolve
        from search.study.context import prepare_bench

        train, validation, other = self.link_images()
        said = {"data.train": train, "data.validation": validation, "data.test": other}
        return prepare_bench(resolve(load(CONFIG, said)))

    def finished(self) -> Iterator[dict[str, Any]]:
        """What is on record; a line that was cut off isn't."""
        if self.trainings_file.exists():
            for line in self.trainings_file.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    yield json.loads(line)

    def todo(self) -> list[tuple[Chain, int]]:
        """(network, seed) that are missing, seed by seed; the front's members that answer no budget, and those with the
        skip, last.
        """
        entries = self.entries()
        front = [entry for entry in entries if entry.family == SEARCH]
        asked = [entry for budget in BUDGETS for entry in at_budget(front, budget).values()]
        done = {(each["digest"], each["seed"]) for each in self.finished()}
        wanted = {(seed, e.architecture.digest): e for seed in range(self.seeds) for e in entries}
        late = {
            key for key, e in wanted.items() if e.family.endswith(SKIPPED) or (e in front and e not in asked)
        }
        order = sorted(wanted, key=late.__contains__)
        return [(wanted[key].architecture, key[0]) for key in order if key[::-1] not in done]

    def train(self, processes: int) -> None:
        """Train what is missing.

        Raises: BlockingIOError: if another process trains here.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.keep_protocol()
        with open(self.trainings_file, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)  # what a kill cut off
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(processes, spawn, _start, (self.folder, self.source)) as pool:
                running = [pool.submit(_run, chain.to_json(), seed) for chain, seed in self.todo()]
                for number, done in enumerate(as_completed(running), 1):
                    found = done.result()
                    file.write(json.dumps(found, separators=(",", ":")).encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                    scores = found.get("failed") or f"{found['psnr_y']:.3f} {found['psnr_y_other']:.3f}"
                    spent = f"{found['cpu_s']:.0f} s"
                    print(
                        f"{number}/{len(running)}", found["label"], found["seed"], scores, spent, flush=True
                    )

    def keep_protocol(self) -> None:
        """Write what has to be the same for all trainings at the first start; later, check it.

        Raises: ValueError: if the folder's trainings were made otherwise.
        """
        from report import machine

        bench = self.bench()
        assert bench.test is not None
        now = {
            "recipe": bench.recipe.to_data(),
            "data": bench.data_digest,
            "other": bench.test.digest,
            "protocol": bench.objective[1],
            "trivial": {m.protocol: m.value for m in bench.baseline if m.name == bench.objective[0]},
        }
        path = self.folder / "protocol.json"
        if not path.exists():
            path.write_text(json.dumps(now | {"machine": machine()}, indent=1) + "\n")
        kept, now = json.loads(path.read_text()), json.loads(json.dumps(now))
        if differing := [key for key in now if kept.get(key) != now[key]]:
            raise ValueError(
                f"--work {self.folder}: expected the {', '.join(differing)} that its trainings were made with, got "
                "another; use another folder"
            )

    def status(self) -> str:
        """How far it is, and when it will be through at the rate of the last 10."""
        found, left = list(self.finished()), len(self.todo())
        lines = [
            f"{len(found)} trained, {left} to go, {sum(e['cpu_s'] for e in found) / 60:.0f} core-minutes"
        ]
        last = [each["finished"] for each in found[-10:]]
        if len(last) > 1 and left:
            each = (last[-1] - last[0]) / (len(last) - 1)
            lines.append(
                f"the last {time.time() - last[-1]:.0f} s ago; through in {left * each / 60:.0f} min"
            )
        return "\n".join(lines)


_worker: Bench | None = None  # of this worker process


def _start(folder: Path, source: Path) -> None:
    global _worker
    from tabular import start_worker

    start_worker()
    _worker = Work(folder, source).bench()


def _run(architecture: str, seed: int) -> dict[str, Any]:
    """Train one network: a line of the file."""
    from evaluators.training.distillation import load_bytes
    from evaluators.trial import Failed, Finished, Job, evaluate, score
    from spaces.build import build

    bench = _worker
    assert bench is not None
    assert bench.test is not None
    chain = Architecture.from_json(architecture)
    record = {"digest": chain.digest, "label": chain.label, "seed": seed}
    job = Job(architecture, TASK, bench.recipe, (bench.recipe.steps,), FIRST_SEED + seed)
    started = time.process_time()
    for event in evaluate(job, bench.data):
        if isinstance(event, Failed):
            record |= {"failed": event.reason}
        if isinstance(event, Finished):
            network = build(chain, bench.task.interface)
            load_bytes(network, event.weights)
            found = {m.name: round(m.value, 5) for m in event.measurements}
            others = {m.name: round(m.value, 5) for m in score(network, TASK, bench.test)}
            record |= found | {f"{name}_other": value for name, value in others.items()}
    spent = {"cpu_s": round(time.process_time() - started, 1), "finished": round(time.time(), 1)}
    return record | spent


# What it shows


@dataclass(frozen=True)
class Row:
    """A network at a budget.

    Attributes:
        values, chosen_on: Y PSNR by seed, on the images that nothing was chosen by and on those of the search.
        against: The search's mean less this one's, on the first; p is by Holm's method over all of the report.
    """

    budget: float
    entry: Entry
    values: tuple[float, ...]
    chosen_on: tuple[float, ...]
    against: Neighbours | None = None


def rows_of(entries: Sequence[Entry], finished: Sequence[Mapping[str, Any]]) -> list[Row]:
    """By budget, the search first, then by falling mean; networks of which no training has ended are left out."""
    scores: dict[str, list[Mapping[str, Any]]] = {}
    for each in sorted(finished, key=lambda each: each["seed"]):
        if "failed" not in each:
            scores.setdefault(each["digest"], []).append(each)
    found = []
    for budget in BUDGETS:
        rows = []
        for entry in at_budget(entries, budget).values():
            mine = scores.get(entry.architecture.digest, [])
            values, chosen_on = ([e[key] for e in mine] for key in ("psnr_y_other", "psnr_y"))
            if mine:
                rows.append(Row(budget, entry, tuple(values), tuple(chosen_on)))
        rows.sort(key=lambda row: (row.entry.family != SEARCH, -float(np.mean(row.values))))
        ours = next((row for row in rows if row.entry.family == SEARCH), None)
        found += rows if ours is None else [ours, *(_against(row, ours) for row in rows if row is not ours)]
    raised = iter(holm([p for row in found if row.against and (p := row.against.p) is not None]))
    return [_raised(row, raised) for row in found]


def _raised(row: Row, ps: Iterator[float]) -> Row:
    if row.against is None or row.against.p is None:
        return row
    p = next(ps)
    return replace(row, against=replace(row.against, p=p, apart=p < LEVEL))


def _against(row: Row, ours: Row) -> Row:
    compared = compare({row.entry.family: row.values, SEARCH: ours.values})
    return replace(row, against=compared.neighbours[0])


def half_width(rows: Sequence[Row]) -> dict[str, float]:
    """Half of the 95 % interval of each mean, by digest: of the variance of all networks together."""
    values = {row.entry.architecture.digest: row.values for row in rows}
    return {r.key: r.mean - r.low for r in compare(values).members if r.low is not None}


def markdown(rows: Sequence[Row], work: Work) -> str:
    """The table with what it means."""
    protocol = json.loads((work.folder / "protocol.json").read_text())
    halves = half_width(rows)
    lines = [
        "| GMACs at most | network | width | blocks | GMACs | Y PSNR, not chosen by | search less it | p | on the "
        "search's images |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        chain, told = row.entry.architecture, row.against
        half = halves.get(chain.digest)
        mean = f"{np.mean(row.values):.3f}" + ("" if half is None else f" ± {half:.3f}")
        less = p = ""
        if told is not None:
            less = f"{told.difference:+.3f}"
            less += "" if told.low is None else f" ({told.low:+.3f} to {told.high:+.3f})"
            p = "" if told.p is None else f"{told.p:.2g}"
        lines.append(
            f"| {row.budget:g} | {row.entry.family} | {chain.width} | {len(chain.blocks)} | {row.entry.gmacs:.3f} | "
            f"{mean} | {less} | {p} | {np.mean(row.chosen_on):.3f} |"
        )
    trivial = ", ".join(f"{value:.3f} ({name})" for name, value in protocol["trivial"].items())
    counts = sorted({len(row.values) for row in rows})
    lines += [
        "",
        f"{' to '.join(map(str, counts[:1] + counts[1:][-1:]))} seeds each; ±: half of the 95 % interval, of the "
        "variance of all networks together; differences with their own 95 % intervals, p by Student's test, Holm over "
        f"all. Bicubic: {trivial}.",
    ]
    if work.search["members"]:
        lines.append(f"The search's front has {len(work.search['members'])} networks. {work.search['cost']}.")
    return "\n".join(lines)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Y PSNR against GMACs: a line a family, bars are 95 % intervals; with the skip as without, but dashed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from results.render.plots import COLOURS, FRONT, MARKS

    figure = Figure(figsize=(9.6, 6.4), dpi=125, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.09, 0.1, 0.66, 0.82))
    halves = half_width(rows)
    for family in dict.fromkeys(row.entry.family for row in rows):
        mine = {row.entry.architecture.digest: row for row in rows if row.entry.family == family}
        name = family.removesuffix(SKIPPED)
        index = NETWORKS.index(name) if name in NETWORKS else 0
        look: dict[str, Any] = {"color": COLOURS[index], "marker": MARKS[index], "lw": 1.2, "ms": 5}
        if family == SEARCH:
            look = {"color": FRONT, "marker": "*", "lw": 2.2, "ms": 12, "zorder": 5}
        elif family != name:
            look |= {"ls": "--", "markerfacecolor": "white"}
        axes.errorbar(
            [row.entry.gmacs for row in mine.values()],
            [float(np.mean(row.values)) for row in mine.values()],
            [halves.get(digest, 0.0) for digest in mine],
            capsize=3,
            label=family,
            **look,
        )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E4E4E4", linewidth=0.8)
    axes.set_xlabel("GMACs at 3x256x256")
    axes.set_ylabel("Y PSNR [dB], on images that nothing was chosen by")
    axes.set_title("A search's front and networks designed by hand, trained alike", loc="left", weight="bold")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> int:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--work", type=Path, required=True, help="folder of the comparison in the making")
    found.add_argument("--data", type=Path, default=SHARED, help="BSDS500: a folder with train, test and val")
    found.add_argument("--processes", type=int, default=2, help="each of one thread (default 2)")
    found.add_argument("--seeds", type=int, default=3, help="trainings of each network (default 3)")
    found.add_argument("--study", help="take the search's front from this study, and train it")
    found.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the study (default runs)")
    found.add_argument("--status", action="store_true", help="say how far it is")
    found.add_argument("--report", type=Path, metavar="FILE.png", help="print the table, write the figure")
    args = found.parse_args()
    work = Work(args.work, args.data, args.seeds)
    try:
        if args.study is not None:
            taken = front_of_study(args.study, args.runs)
            work.folder.mkdir(parents=True, exist_ok=True)
            work.search_file.write_text(json.dumps(taken, indent=1) + "\n")
        if args.status:
            print(work.status())
        elif args.report is not None:
            rows = rows_of(work.entries(), list(work.finished()))
            if not rows:
                raise ValueError(f"--work {work.folder}: expected trainings, got none: run without --report")
            print(markdown(rows, work))
            draw(rows, args.report)
        else:
            work.train(args.processes)
    except BlockingIOError:
        print(f"--work {args.work}: another process trains there", file=sys.stderr)
        return 2
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A table of every network of a small space, really trained, so that search strategies are compared in seconds.

The space and the training are ``benchmarks/search/tabular_sr_x4.toml``: chains for super-resolution by 4 of up to
three blocks of four kinds at five widths, 420 architectures, each trained as a trial of a search is
(`evaluators.trial`) on the train and test images of BSDS500 and scored at steps 64, 128, 256, 512 and 1024 of its one
schedule on every second image of BSDS500's val by name. As in a search, each trial has a seed of its own:
``seed * 100_003`` plus the architecture's index.

    python benchmarks/search/tabular.py --work DIR --processes 2       # seed 0: 3 core-hours; goes on where it was
    python benchmarks/search/tabular.py --work DIR --seeds 3           # and seeds 1 and 2, the best first
    python benchmarks/search/tabular.py --work DIR --status
    python benchmarks/search/tabular.py --work DIR --pack              # writes benchmarks/data/tabular_sr_x4.json.gz

Architectures come in a fixed random order, so that a table that isn't finished is a fair sample. DIR keeps a line of
JSON for each trained network (trials.jsonl), and the images as folders of links that ``pixelfront search --config
benchmarks/search/tabular_sr_x4.toml --data DIR/images/bsds500-train-test --val DIR/images/bsds500-val-50`` takes: its
scores have the table's protocol.

The table is read by ``load``, without torch.
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import json
import multiprocessing
import os
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).parents[1]))  # report.py, which all benchmarks share

if TYPE_CHECKING:
    from evaluators.data.pairs import PairSet
    from evaluators.training.recipe import Recipe
    from search.study.context import Bench
    from spaces.space import Space

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).with_name("tabular_sr_x4.toml")
PACKED = Path(__file__).parents[1] / "data" / "tabular_sr_x4.json.gz"
RUNGS = (64, 128, 256, 512, 1024)
FEW = 10  # of the validation images
NEAR = 0.05  # dB below the front: trained first with further seeds
FIELDS = {
    "trials": "by seed",
    "psnr_y": "dB at each rung, under 'protocol'",
    "psnr_rgb": "dB at each rung, RGB, else the same protocol",
    "ssim_y": "at the last rung, else the same protocol",
    "loss": "training loss, mean of the last 4 to 16 steps before each rung: L1, at the last rung L2",
    "cpu_s": "processor seconds until each rung, scoring included, of one thread on 'machine'",
    "failed": "why there is nothing else",
    "macs": "exact, of one image of 'cost_input'; the other costs likewise",
}


@dataclass(frozen=True)
class Trial:
    """One training of one architecture; each tuple has a value for each rung.

    Attributes:
        psnr_y, psnr_rgb: In dB, higher is better.
        ssim_y: At the last rung.
        cpu_s: Processor seconds from the start, scoring included.
        failed: Why there are no values; empty if there are.
    """

    psnr_y: tuple[float, ...] = ()
    psnr_rgb: tuple[float, ...] = ()
    ssim_y: float | None = None
    loss: tuple[float, ...] = ()
    cpu_s: tuple[float, ...] = ()
    failed: str = ""


@dataclass(frozen=True)
class Record:
    """One architecture: what it is, what it costs, and its trainings by seed."""

    digest: str
    genotype: dict[str, Any]
    label: str
    macs: int
    parameters: int
    activations: int
    convolutions: int
    trials: dict[int, Trial]


@dataclass(frozen=True)
class Table:
    """All architectures by digest; ``space.decode(genotype).digest`` finds any proposal of a strategy.

    Attributes:
        rungs: Training steps at which the networks were scored.
        header: Space, training, data, protocol, machine, how many are there, and what the numbers are.
    """

    records: dict[str, Record]
    rungs: tuple[int, ...]
    header: dict[str, Any]

    def __getitem__(self, digest: str) -> Record:
        try:
            return self.records[digest]
        except KeyError:
            raise KeyError(
                f"no architecture {digest} in the table: expected one of space {self.header['space']}"
            ) from None

    def front(self, seed: int = 0, rung: int | None = None) -> list[Record]:
        """What no other record beats in Y PSNR and MACs at a rung (the last by default), by rising MACs."""
        at = self.rungs.index(self.rungs[-1] if rung is None else rung)
        front: list[Record] = []
        for record in sorted(self.trained(seed), key=lambda r: (r.macs, -r.trials[seed].psnr_y[at])):
            if not front or record.trials[seed].psnr_y[at] > front[-1].trials[seed].psnr_y[at]:
                front.append(record)
        return front

    def near_front(self, seed: int = 0, margin: float = NEAR) -> set[str]:
        """Digests of what is at most ``margin`` dB below the front at the last rung."""
        front = [(r.macs, r.trials[seed].psnr_y[-1]) for r in self.front(seed)]
        return {
            r.digest
            for r in self.trained(seed)
            if r.trials[seed].psnr_y[-1] >= max(psnr for macs, psnr in front if macs <= r.macs) - margin
        }

    def trained(self, seed: int = 0) -> list[Record]:
        """What has scores of a seed."""
        return [r for r in self.records.values() if seed in r.trials and not r.trials[seed].failed]


def load(path: Path = PACKED) -> Table:
    """The packed table.

    Raises: ValueError: if the file isn't one; OSError: if it can't be read.
    """
    try:
        data = json.loads(gzip.decompress(path.read_bytes()))
        return _table(data["header"], data["architectures"])
    except (gzip.BadGzipFile, EOFError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected a table of benchmarks/search/tabular.py, got {error!r}; make it anew with --pack"
        ) from error


def _table(header: dict[str, Any], architectures: Sequence[dict[str, Any]]) -> Table:
    records = {}
    for entry in architectures:
        trials = {int(seed): _trial(trial) for seed, trial in entry["trials"].items()}
        records[entry["digest"]] = Record(**{**entry, "trials": trials})
    return Table(records, tuple(header["rungs"]), header)


def _trial(data: dict[str, Any]) -> Trial:
    read: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return Trial(**read)


def enumerate_space(space: Space) -> dict[str, dict[str, Any]]:
    """Digest to genotype of every architecture, in the space's order; of equal ones the first genotype."""
    found: dict[str, dict[str, Any]] = {}
    for values in product(*(choice.values for choice in space)):
        genotype = dict(zip(space.by_name, values, strict=True))
        found.setdefault(space.decode(genotype).digest, genotype)
    return found


def the_space(config: Path = CONFIG) -> Space:
    """The benchmark's space, as a search of the configuration has it."""
    from search.config import load as read
    from search.config import resolve
    from spaces.catalog import named_space

    section = resolve(read(config, {})).space
    return named_space(section.name, per_position=section.per_position, **section.lists)


def few_images(bench: Bench) -> PairSet:
    """Some of the validation images, evenly spaced."""
    everything = bench.data.validation
    return everything.pick(range(0, len(everything), max(1, len(everything) // FEW)))


def recipe_of(bench: Bench, steps: int) -> Recipe:
    """The usual training of so many steps, with the bench's batches and precision."""
    from evaluators.training.recipe import two_stages

    settings = bench.config.training
    recipe = two_stages(steps, batch=settings.batch, patch=settings.patch)
    return replace(recipe, precision=bench.recipe.precision)


def parser(description: str | None, work: str) -> argparse.ArgumentParser:
    """A command line that names the folder of the work, which is what, and that of the images."""
    found = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = ROOT.parent / "shared" / "data" / "bsds500"
    found.add_argument("--work", type=Path, required=True, help=work)
    found.add_argument("--data", type=Path, default=shared, help="BSDS500: a folder with train, test and val")
    return found


class Work:
    """The folder of a table in the making.

    Args:
        folder: Made if it is missing.
        source: The folder of BSDS500, with train, test and val.
    """

    def __init__(self, folder: Path, source: Path):
        self.folder, self.source = folder, source
        self.trials_file = folder / "trials.jsonl"
        self.space = the_space()
        self.genotypes = enumerate_space(self.space)

    def link_images(self) -> tuple[Path, Path]:
        """Folders of links to the training and the scored images; made unless they are there."""
        chosen = {
            "bsds500-train-test": [*self._images("train"), *self._images("test")],
            "bsds500-val-50": self._images("val")[::2],
        }
        for name, files in chosen.items():
            folder = self.folder / "images" / name
            folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                if not (folder / file.name).is_symlink():
                    (folder / file.name).symlink_to(file.resolve())
        train, validation = (self.folder / "images" / name for name in chosen)
        return train, validation

    def _images(self, split: str) -> list[Path]:
        found = sorted((self.source / split).glob("*.jpg"))
        if not found:
            raise ValueError(
                f"--data {self.source}: expected BSDS500 with pictures in '{split}', got none there; name its folder"
            )
        return found

    def bench(self) -> Bench:
        """Data and recipe, made by what makes a search's."""
        from search.config import load as read
        from search.config import resolve
        from search.study.context import prepare_bench

        train, validation = self.link_images()
        flags = {"data.train": train, "data.validation": validation}
        return prepare_bench(resolve(read(CONFIG, flags)))

    def finished(self) -> Iterator[dict[str, Any]]:
        """What is on record; a line that was cut off isn't."""
        if self.trials_file.exists():
            for line in self.trials_file.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    yield json.loads(line)

    def todo(self, seed: int) -> list[tuple[int, str]]:
        """(index, digest) of what this seed lacks, in order: random, what is near seed 0's front first."""
        done = {trial["digest"] for trial in self.finished() if trial["seed"] == seed}
        order = list(enumerate(self.genotypes))
        random.Random(0).shuffle(order)
        if seed > 0:
            first = self.table().near_front()
            order.sort(key=lambda item: item[1] not in first)
        return [(index, digest) for index, digest in order if digest not in done]

    def table(self, header: dict[str, Any] | None = None) -> Table:
        """What is on record so far."""
        return _table(header or {"rungs": RUNGS, "space": self.space.digest}, self.architectures())

    def architectures(self) -> list[dict[str, Any]]:
        """The packed file's entries: of all architectures, also those that have no trials yet."""
        from evaluators.tasks import get_task
        from spaces.build import cost

        trials: dict[str, dict[int, dict[str, Any]]] = {digest: {} for digest in self.genotypes}
        for trial in self.finished():
            found = {key: value for key, value in trial.items() if key in Trial.__annotations__}
            trials[trial["digest"]][trial["seed"]] = found
        entries = []
        for digest, genotype in self.genotypes.items():
            architecture = self.space.decode(genotype)
            costs = asdict(cost(architecture, get_task("sr-x4").interface))
            entries.append(
                {"digest": digest, "genotype": genotype, "label": architecture.label}
                | {name: costs[name] for name in ("macs", "parameters", "activations", "convolutions")}
                | {"trials": dict(sorted(trials[digest].items()))}
            )
        return entries

    def header(self, bench: Bench) -> dict[str, Any]:
        """What has to be the same for all trials of a table."""
        from report import machine

        name, protocol = bench.objective
        return {
            "config": CONFIG.read_text(),
            "space": self.space.digest,
            "rungs": list(RUNGS),
            "recipe": bench.recipe.to_data(),
            "metric": name,
            "protocol": protocol,
            "trivial": {"name": bench.task.baseline_name, "psnr_y": bench.trivial},
            "data": bench.data_record(),
            "data_digest": bench.data_digest,
            "cost_input": "x".join(map(str, bench.task.interface.cost_input)),
            "machine": machine(),
            "fields": FIELDS,
        }

    def keep_header(self, header: dict[str, Any]) -> None:
        """Write it at the first start; later, nothing.

        Raises: ValueError: if the folder's trials were made under another one.
        """
        path = self.folder / "header.json"
        if not path.exists():
            path.write_text(json.dumps(header, indent=1) + "\n")
        kept, now = (json.loads(text) for text in (path.read_text(), json.dumps(header)))
        told = ("config", "fields", "machine")  # the configuration's effect is in the others
        if differing := [key for key in now if key not in told and kept.get(key) != now[key]]:
            raise ValueError(
                f"--work {self.folder}: expected the {', '.join(differing)} that its trials were made with, got "
                "another; use another folder"
            )

    def train(self, seeds: int, processes: int) -> None:
        """Train what is missing, each of the seeds in turn.

        Raises: BlockingIOError: if another process trains here.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.keep_header(self.header(self.bench()))
        with open(self.trials_file, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)  # what a kill cut off
            with ProcessPoolExecutor(
                processes,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start,
                initargs=(self.folder, self.source),
            ) as pool:
                for seed in range(seeds):
                    running = [pool.submit(_run, index, digest, seed) for index, digest in self.todo(seed)]
                    for number, done in enumerate(as_completed(running), 1):
                        trial = done.result()
                        file.write(json.dumps(trial, separators=(",", ":")).encode() + b"\n")
                        file.flush()
                        os.fsync(file.fileno())
                        _tell(f"seed {seed} {number}/{len(running)}", trial)

    def status(self) -> str:
        """How far each seed is, and when it will be through at the rate of the last 20."""
        trials = list(self.finished())
        seeds = sorted({trial["seed"] for trial in trials})
        lines = [
            f"seed {seed}: {sum(t['seed'] == seed for t in trials)} of {len(self.genotypes)} architectures, "
            f"{sum(t['cpu_s'][-1] for t in trials if t['seed'] == seed and 'cpu_s' in t) / 3600:.2f} core-hours"
            for seed in seeds
        ] or ["nothing yet"]
        last = [trial["finished"] for trial in trials[-20:]]
        if len(last) > 1 and last[-1] > last[0]:
            rate = (len(last) - 1) / (last[-1] - last[0])
            left = len(self.genotypes) - sum(t["seed"] == seeds[-1] for t in trials)
            ago = time.time() - last[-1]
            lines.append(
                f"{rate * 60:.1f} a minute, the last {ago:.0f} s ago; seed {seeds[-1]} in {left / rate / 60:.0f} min"
            )
        return "\n".join(lines)

    def pack(self, path: Path) -> str:
        """Write what is there as one file; says what it holds."""
        trials = list(self.finished())
        if not trials:
            raise ValueError(
                f"--work {self.folder}: expected trained networks, got none; run it without --pack"
            )
        seeds = sorted({trial["seed"] for trial in trials})
        header = json.loads((self.folder / "header.json").read_text()) | {
            "architectures": len(self.genotypes),
            "trained": {seed: sum(t["seed"] == seed for t in trials) for seed in seeds},
            "core_hours": round(sum(t["cpu_s"][-1] for t in trials if "cpu_s" in t) / 3600, 2),
            "fields": FIELDS,
            "command": f"python benchmarks/search/tabular.py --work DIR --processes 2 --seeds {len(seeds)}",
        }
        text = json.dumps({"header": header, "architectures": self.architectures()}, separators=(",", ":"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
        table = load(path)
        return (
            f"{path}: {path.stat().st_size / 1024:.0f} KiB, trained {header['trained']} of {len(table.records)}, "
            f"front of seed 0: {len(table.front())}"
        )


def _tell(where: str, trial: dict[str, Any]) -> None:
    found = trial.get("failed") or " ".join(f"{value:.3f}" for value in trial["psnr_y"])
    spent = f"{trial['cpu_s'][-1]:.1f} s" if "cpu_s" in trial else ""
    print(where, trial["digest"], trial["label"], found, spent, flush=True)


def start_worker() -> None:
    """Makes this process a worker: of one thread, and ended when its parent ends, even by a kill."""
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


_worker: tuple[Bench, Work] | None = None  # of this worker process


def _start(folder: Path, source: Path) -> None:
    global _worker
    start_worker()
    work = Work(folder, source)
    _worker = work.bench(), work


def _run(index: int, digest: str, seed: int) -> dict[str, Any]:
    """Train one architecture: a line of the file."""
    from evaluators.trial import Failed, Job, RungReached, evaluate

    assert _worker is not None
    bench, work = _worker
    architecture = work.space.decode(work.genotypes[digest])
    job = Job(architecture.to_json(), bench.config.task, bench.recipe, RUNGS, seed * 100_003 + index)
    trial: dict[str, Any] = {"digest": digest, "seed": seed, "label": architecture.label}
    curves: dict[str, list[float]] = {"psnr_y": [], "psnr_rgb": [], "loss": [], "cpu_s": []}
    started = time.process_time()
    for event in evaluate(job, bench.data):
        if isinstance(event, Failed):
            return trial | {"failed": event.reason, "finished": time.time()}
        if isinstance(event, RungReached):
            scores = {m.name: m.value for m in event.measurements}
            curves["psnr_y"].append(round(scores["psnr_y"], 5))
            curves["psnr_rgb"].append(round(scores["psnr_rgb"], 5))
            curves["loss"].append(round(event.loss, 7))
            curves["cpu_s"].append(round(time.process_time() - started, 2))
            if event.step == RUNGS[-1]:
                trial["ssim_y"] = round(scores["ssim_y"], 6)
    return trial | curves | {"finished": round(time.time(), 1)}


def main() -> int:
    found = parser(__doc__, "folder of the table in the making")
    found.add_argument("--seeds", type=int, default=1, help="trainings of each architecture (default 1)")
    found.add_argument("--processes", type=int, default=2, help="each of one thread (default 2)")
    found.add_argument("--status", action="store_true", help="say how far it is")
    found.add_argument("--pack", action="store_true", help=f"write what is there to {PACKED.name}")
    found.add_argument("--out", type=Path, default=PACKED, help="where --pack writes")
    args = found.parse_args()
    try:
        work = Work(args.work, args.data)
        if args.status:
            print(work.status())
        elif args.pack:
            print(work.pack(args.out))
        else:
            work.train(args.seeds, args.processes)
    except BlockingIOError:
        print(f"--work {args.work}: another process trains there", file=sys.stderr)
        return 2
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

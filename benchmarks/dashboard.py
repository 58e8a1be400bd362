"""The dashboard at 10,000 and 100,000 trials of 3 objectives, beside optuna-dashboard on the same trials.

    python benchmarks/dashboard.py [--optuna-python /tmp/od/bin/python] [--json FILE]

Makes the studies, in a store of ours and the same trials in an Optuna storage, and prints a table: how long a server
takes to start, how long after its page was opened the first front is drawn (in a Chromium that already runs, by a
server that has answered nothing yet), what a poll that finds nothing new takes, and the bytes. Files are in the page
cache.
The rival's environment: ``python -m venv /tmp/od && /tmp/od/bin/pip install optuna-dashboard``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
from playwright.sync_api import Browser, TimeoutError, sync_playwright
from sqlalchemy import insert

from results.store.schema import MeasurementRow, RungRow, TrialRow
from results.store.store import Store
from spaces.architecture import Block
from spaces.topologies.chain import Chain

KINDS = ("rfdb", "residual", "imdb", "ghost", "blueprint_rfdb", "efficient_rfdb")
UPSAMPLERS = ("pixelshuffle", "nearest_conv", "pixelshuffle_double")
WIDTHS = (8, 16, 24, 32, 48, 64)
COST, PARAMETERS = "exact, 3x256x256", "stored"
QUALITY = "Y, 8-bit, border 4, on synthetic (0123456789ab)"
FAILED = 0.01
STUDY = "synthetic"
BATCH = 5000
POLLS, POLLING_S = 21, 10.0  # at most
SHOWN = {
    "start_s": ("server starts", "{:.2f} s"),
    "start_processor_s": ("of which processor time", "{:.2f} s"),
    "drawn_s": ("first front drawn", "{:.2f} s"),
    "drawn_processor_s": ("the server's processor time by then", "{:.2f} s"),
    "bytes": ("bytes of the trials", "{:,.0f}"),
    "poll_ms": ("a poll, nothing new", "{:.1f} ms"),
    "poll_bytes": ("its bytes", "{:,.0f}"),
}
START = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Synthetic:
    """A made-up trial; quality grows with the logarithm of the cost, plus what its kinds are worth, plus noise."""

    architecture: Chain
    macs: float
    parameters: float
    psnr: float
    failed: bool


def synthetic_trials(count: int, seed: int = 0) -> Iterator[Synthetic]:
    """Random chains with invented costs and scores, all of distinct architectures."""
    random = np.random.default_rng(seed)
    seen: set[str] = set()
    while len(seen) < count:
        depth, width = int(random.integers(2, 13)), int(random.choice(WIDTHS))
        kinds = random.choice(len(KINDS), size=depth)
        blocks = tuple(Block(KINDS[kind]) for kind in kinds)
        architecture = Chain(width, blocks, Block(str(random.choice(UPSAMPLERS))))
        if architecture.digest in seen:
            continue
        seen.add(architecture.digest)
        parameters = float(width * width * 9 * (depth + 2) + random.integers(0, 5000))
        macs = parameters * 65536 * random.uniform(0.8, 1.2)
        psnr = 24 + 0.6 * np.log(macs / 1e8) + 0.05 * float(kinds.mean()) + random.normal(0, 0.15)
        yield Synthetic(architecture, macs, parameters, float(psnr), bool(random.random() < FAILED))


def fill_store(path: Path, name: str, count: int) -> None:
    """A complete study of that many trials with a rung each, written in bulk."""
    data = {
        "objective": ["psnr_y", QUALITY],
        "baseline": {"name": "bicubic", "measurements": [_measured(0, "psnr_y", 25.5, "dB", "max", QUALITY)]},
        "budget": [0.0, 20.0],
        "cost_input": "3x256x256",
    }
    config = {"convention": "exact", "trials": count, "training": {"steps": 100}}
    with Store.open(path) as store:
        study = store.create_study(
            name,
            task="sr-x4",
            strategy="random",
            seed=0,
            space_name="sr",
            space_digest="0" * 12,
            space={"block": list(KINDS), "width": list(WIDTHS), "depth": list(range(2, 13))},
            data_digest="0" * 12,
            data=data,
            config=config,
            environment={"pixelfront": "synthetic"},
        )
        rows: dict[Any, list[dict[str, Any]]] = {TrialRow: [], RungRow: [], MeasurementRow: []}
        for number, trial in enumerate(synthetic_trials(count)):
            _add(rows, study.id, number, trial)
            if len(rows[TrialRow]) == BATCH or number == count - 1:
                with store._write("fill") as connection:
                    for table, values in rows.items():
                        if values:
                            connection.execute(insert(table), values)
                            values.clear()
        store.set_study_state(study.id, "complete")


def _add(rows: dict[Any, list[dict[str, Any]]], study: int, number: int, trial: Synthetic) -> None:
    begun = START + timedelta(seconds=30 * number)
    done = begun + timedelta(seconds=25)
    key = number + 1
    rows[TrialRow].append(
        {
            "id": key,
            "study_id": study,
            "number": number,
            "stage": "search",
            "digest": trial.architecture.digest,
            "architecture": trial.architecture.to_json(),
            "genotype": None,
            "state": "failed" if trial.failed else "complete",
            "reason": "diverged: the loss became nan by step 3" if trial.failed else None,
            "attempts": 1,
            "created_at": begun,
            "started_at": begun,
            "finished_at": done,
            "seconds": 25.0,
        }
    )
    rows[RungRow].append({"trial_id": key, "step": 100, "attempt": 1, "loss": 0.02, "seconds": 24.0})
    final = [
        _measured(key, "macs", trial.macs, "1", "min", COST),
        _measured(key, "parameters", trial.parameters, "1", "min", PARAMETERS),
    ]
    if not trial.failed:
        final.append(_measured(key, "psnr_y", trial.psnr, "dB", "max", QUALITY))
        rows[MeasurementRow].append({**final[-1], "step": 100})
    rows[MeasurementRow].extend({**each, "step": None} for each in final)


def _measured(key: int, name: str, value: float, unit: str, direction: str, protocol: str) -> dict[str, Any]:
    number = {"name": name, "value": value, "unit": unit, "direction": direction, "protocol": protocol}
    return {"trial_id": key, **number} if key else number


def fill_optuna(path: Path, name: str, count: int) -> int:
    """The same trials in a SQLite storage of Optuna's; the study's id.

    Rows are written to its tables directly: ``add_trials`` takes minutes for thousands.
    """
    import sqlite3

    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{path}", study_name=name, directions=["minimize", "minimize", "maximize"]
    )
    width = optuna.distributions.distribution_to_json(optuna.distributions.CategoricalDistribution(WIDTHS))
    depth = optuna.distributions.distribution_to_json(optuna.distributions.IntDistribution(2, 12))
    trials, values, params = [], [], []
    for number, trial in enumerate(synthetic_trials(count)):
        begun = START + timedelta(seconds=30 * number)
        times = [(begun + timedelta(seconds=after)).strftime("%Y-%m-%d %H:%M:%S.%f") for after in (0, 25)]
        trials.append((number + 1, number, study._study_id, "FAIL" if trial.failed else "COMPLETE", *times))
        if not trial.failed:
            objectives = enumerate((trial.macs, trial.parameters, trial.psnr))
            values += [(number + 1, index, value, "FINITE") for index, value in objectives]
        architecture = trial.architecture
        params.append((number + 1, "width", WIDTHS.index(architecture.width), width))
        params.append((number + 1, "depth", len(architecture.blocks), depth))
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, datetime_complete) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            trials,
        )
        connection.executemany(
            "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (?, ?, ?, ?)", values
        )
        connection.executemany(
            "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) VALUES (?, ?, ?, ?)",
            params,
        )
    connection.close()
    return study._study_id


@dataclass(frozen=True)
class Rival:
    """A dashboard: how it is started, and where its page and its data are.

    Attributes:
        ready: What answers once the server has started.
        page: Opened in the browser; its front is drawn when the selector's element is there.
        data: What its page asks for to know the trials.
        poll: The same of what came after all of them, {revision} being the answer's.
    """

    command: list[str]
    ready: str
    page: str
    drawn: str
    data: list[str]
    poll: str


def ours(path: Path, port: int) -> Rival:
    """Our dashboard."""
    base = f"/api/v1/studies/{STUDY}"
    program = [sys.executable, "-c", "from search.cli import main; main()", "dashboard"]
    return Rival(
        [*program, "--db", str(path), "--port", str(port)],
        "/api/v1/info",
        f"/#/s/{STUDY}/front",
        "html[data-drawn]",
        [base, f"{base}/points", f"{base}/front"],
        f"{base}/points?since={{revision}}",
    )


def optunas(python: Path, path: Path, port: int, trials: int) -> Rival:
    """Optuna's; its page asks again for the trials after the last one every ten seconds."""
    program = python.with_name("optuna-dashboard")
    return Rival(
        [str(program), f"sqlite:///{path}", "--port", str(port), "--host", "127.0.0.1"],
        "/api/studies",
        "/dashboard/studies/1",
        "#graph-pareto-front .trace",
        ["/api/studies/1?after=0"],
        f"/api/studies/1?after={trials}",
    )


@contextmanager
def running(command: list[str], ready: str) -> Iterator[tuple[int, float]]:
    """A server that answers at the address; gives its process's id and the seconds until it answered."""
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while True:
                try:
                    urlopen(ready, timeout=60).close()
                    break
                except OSError:
                    if process.poll() is not None or time.perf_counter() - begun > 120:
                        raise RuntimeError(f"{command[0]} doesn't answer") from None
                    time.sleep(0.02)
            yield process.pid, time.perf_counter() - begun
        finally:
            process.kill()
            process.wait(30)


def measure(rival: Rival, port: int, browser: Browser, patience_s: float) -> dict[str, float | None]:
    """One cold start: the page in the browser first, then polls and bytes."""
    base = f"http://127.0.0.1:{port}"
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    try:
        with running(rival.command, base + rival.ready) as (process, started):
            at_start, begun = processor_seconds(process), time.perf_counter()
            page.goto(base + rival.page, wait_until="commit")
            drawn: float | None = None
            try:
                page.wait_for_selector(rival.drawn, state="attached", timeout=1e3 * patience_s)
                drawn = time.perf_counter() - begun
            except TimeoutError:
                return {"start_s": started, "drawn_s": None}
            worked = processor_seconds(process) - at_start
            page.close()  # its own polls would come in between
            answers = [fetch(base + each) for each in rival.data]
            revision = json.loads(answers[0][1]).get("revision")
            poll = base + rival.poll.format(revision=revision)
            polls = [fetch(poll)]
            while len(polls) < POLLS and sum(seconds for seconds, _ in polls) < POLLING_S:
                polls.append(fetch(poll))
    finally:
        page.close()
    return {
        "start_s": started,
        "start_processor_s": at_start,
        "drawn_s": drawn,
        "drawn_processor_s": worked,
        "bytes": sum(len(content) for _, content in answers),
        "poll_ms": 1e3 * statistics.median(seconds for seconds, _ in polls),
        "poll_bytes": len(polls[0][1]),
    }


def fetch(address: str) -> tuple[float, bytes]:
    """Seconds and content of an answer."""
    begun = time.perf_counter()
    with urlopen(address, timeout=600) as answer:
        content = answer.read()
    return time.perf_counter() - begun, content


def processor_seconds(process: int) -> float:
    """What the process has used of processors so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def medians(runs: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Of each figure; None where a run has none."""
    found: dict[str, float | None] = {}
    for name in max(runs, key=len):
        values = [run.get(name) for run in runs]
        known = [value for value in values if value is not None]
        found[name] = statistics.median(known) if len(known) == len(values) else None
    return found


def table(measured: dict[int, dict[str, Any]], patience_s: float) -> str:
    """Markdown: a row a figure and number of trials, a column a dashboard."""
    names = list(next(iter(measured.values())))
    lines = [f"| trials | | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for trials, rivals in measured.items():
        for key, (label, text) in SHOWN.items():
            cells = [shown(rivals[name].get(key), text, key, patience_s) for name in names]
            lines.append(f"| {trials:,} | {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(value: float | None, text: str, key: str, patience_s: float) -> str:
    """A cell."""
    if value is None:
        return f"not within {patience_s:g} s" if key == "drawn_s" else "-"
    return text.format(value)


def machine() -> str:
    """What it was measured on, and how busy that was."""
    model = next(
        (
            line.partition(": ")[2]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return (
        f"{model}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, {datetime.now(UTC):%Y-%m-%d}"
    )


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, default=Path("/tmp/pixelfront-bench"), help="of the studies made"
    )
    parser.add_argument(
        "--optuna-python", type=Path, help="Python of an environment that has optuna-dashboard"
    )
    parser.add_argument("--optuna-repeats", type=int, default=1, help="its page takes minutes")
    parser.add_argument("--patience", type=float, default=120, help="seconds to wait for a front")
    parser.add_argument("--browser", default=shutil.which("chromium"), help="a Chromium")
    parser.add_argument("--json", type=Path, help="write what was measured")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    begun, measured = machine(), {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.browser, args=["--no-sandbox"])
        for trials in arguments.trials:
            measured[trials] = compare(trials, arguments, browser)
        browser.close()
    print(f"Machine: {begun}\n\n{table(measured, arguments.patience)}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": begun, "measured": measured}, indent=2) + "\n")


def compare(
    trials: int, arguments: argparse.Namespace, browser: Browser
) -> dict[str, dict[str, float | None]]:
    """All dashboards' medians at that many trials."""
    path = arguments.folder / f"{trials}.db"
    if not path.exists():
        fill_store(path, STUDY, trials)
    runs = []
    for _ in range(arguments.repeats):
        port = free_port()
        runs.append(measure(ours(path, port), port, browser, arguments.patience))
    found = {"pixelfront": medians(runs)}
    if arguments.optuna_python:
        rival = arguments.folder / f"{trials}.optuna.db"
        if not rival.exists():
            fill_optuna(rival, STUDY, trials)
        runs = []
        for _ in range(arguments.optuna_repeats):
            port = free_port()
            started = optunas(arguments.optuna_python, rival, port, trials)
            runs.append(measure(started, port, browser, arguments.patience))
        found["optuna-dashboard"] = medians(runs)
    return found


if __name__ == "__main__":
    main()

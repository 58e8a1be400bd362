"""The dashboard at 10,000 and 100,000 trials, beside optuna-dashboard on the same trials.

    python benchmarks/dashboard.py --trials 10000 [--optuna-dashboard /tmp/od/bin/optuna-dashboard] [--json FILE]

Makes a synthetic study of N trials with 3 objectives in a store of ours and (the same trials) in an Optuna storage,
starts each server cold, and measures what a page needs: the first front, a poll that finds nothing new, and the bytes.
"""

from __future__ import annotations

import argparse
import json
import os
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
from sqlalchemy import insert

from results.schema import MeasurementRow, RungRow, TrialRow
from results.store import Store
from spaces.architecture import Block
from spaces.chain import Chain

KINDS = ("rfdb", "residual", "imdb", "ghost", "blueprint_rfdb", "efficient_rfdb")
UPSAMPLERS = ("pixelshuffle", "nearest_conv", "pixelshuffle_double")
WIDTHS = (8, 16, 24, 32, 48, 64)
COST, PARAMETERS = "exact, 3x256x256", "stored"
QUALITY = "Y, 8-bit, border 4, on synthetic (0123456789ab)"
FAILED = 0.01
STUDY = "synthetic"
BATCH = 5000
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


@contextmanager
def running(command: list[str], ready: str) -> Iterator[float]:
    """A server that answers at the address; gives the seconds until it did."""
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
            yield time.perf_counter() - begun
        finally:
            process.terminate()
            process.wait(30)


def timed(address: str, repeats: int = 1) -> tuple[float, int, bytes]:
    """Median seconds of a request, bytes and content of its answer."""
    seconds, content = [], b""
    for _ in range(repeats):
        begun = time.perf_counter()
        with urlopen(address, timeout=600) as answer:
            content = answer.read()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds), len(content), content


def measure_ours(path: Path, name: str, browser: str | None) -> dict[str, Any]:
    """What the page asks for to draw the first front, from a server that has just started."""
    port = free_port()
    base = f"http://127.0.0.1:{port}/api/v1"
    study = f"{base}/studies/{name}"
    pixelfront = [sys.executable, "-c", "from search.cli import main; main()"]
    command = [*pixelfront, "dashboard", "--db", str(path), "--port", str(port)]
    with running(command, f"{base}/info") as started:
        detail, _, _ = timed(study)
        points, size, content = timed(f"{study}/points")
        front, front_size, _ = timed(f"{study}/front")
        revision = json.loads(content)["revision"]
        poll, poll_size, _ = timed(f"{study}/points?since={revision}", 21)
        features, features_size, _ = timed(f"{study}/points?fields=features")
    found = {
        "start_s": started,
        "first_front_s": detail + points + front,
        "first_front_bytes": size + front_size,
        "poll_ms": 1e3 * poll,
        "poll_bytes": poll_size,
        "features_s": features,
        "features_bytes": features_size,
    }
    if browser is not None:
        with running(command, f"{base}/info"):
            found["first_front_drawn_s"] = first_front_drawn(
                f"http://127.0.0.1:{port}/#/s/{name}/front", browser
            )
    return found


def first_front_drawn(url: str, browser: str) -> float:
    """Seconds from opening the page until its first front is drawn, in a browser of that path."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        try:
            page = chromium.new_page()
            page.goto(url)
            # Asked again and again: waiting inside the page needs eval, which its policy forbids.
            while (drawn := page.evaluate("window.pixelfront?.drawn ?? null")) is None:
                page.wait_for_timeout(20)
            return drawn / 1e3
        finally:
            chromium.close()


def measure_optuna(program: str, path: Path, study: int, count: int) -> dict[str, Any]:
    """The same of optuna-dashboard: the study with all trials, then with those after the last one."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    command = [program, f"sqlite:///{path}", "--port", str(port), "--host", "127.0.0.1"]
    with running(command, f"{base}/api/studies") as started:
        load, size, _ = timed(f"{base}/api/studies/{study}?after=0")
        poll, poll_size, _ = timed(f"{base}/api/studies/{study}?after={count}", 3)
    return {
        "start_s": started,
        "load_s": load,
        "load_bytes": size,
        "poll_ms": 1e3 * poll,
        "poll_bytes": poll_size,
    }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument(
        "--folder", type=Path, default=Path("/tmp/pixelfront-bench"), help="of the made studies"
    )
    parser.add_argument("--optuna-dashboard", metavar="PROGRAM", help="of an environment of its own")
    parser.add_argument(
        "--browser", metavar="PROGRAM", help="a Chromium, to time the drawn front; needs playwright"
    )
    parser.add_argument("--json", type=Path, help="write what was measured")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    path = arguments.folder / f"{arguments.trials}.db"
    if not path.exists():
        fill_store(path, STUDY, arguments.trials)
    measured: dict[str, Any] = {"trials": arguments.trials, "load_average": os.getloadavg()}
    measured["pixelfront"] = measure_ours(path, STUDY, arguments.browser)
    if arguments.optuna_dashboard:
        rival = arguments.folder / f"{arguments.trials}.optuna.db"
        study = fill_optuna(rival, STUDY, arguments.trials) if not rival.exists() else 1
        measured["optuna-dashboard"] = measure_optuna(
            arguments.optuna_dashboard, rival, study, arguments.trials
        )
    text = json.dumps(measured, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()

"""What ``correlate`` adds to a study's record: proxies of its networks, their latency and peak memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from evaluators.measure.proxies import (
    PROXIES,
    Patches,
    ProxyError,
    draw_patches,
    measure_proxy,
    proxy_protocol,
)
from evaluators.measure.runtime import measure_latency, measure_peak_memory, place
from evaluators.tasks import get_task
from results.analysis.correlation import searched_trials
from results.store.schema import Study, Trial
from results.store.store import Store
from search.config import ConfigError, resumed
from search.networks.evaluate import resolve_device
from search.study.context import load_data
from search.study.opening import Place, only_driver
from spaces.architecture import Architecture
from spaces.build import build
from spaces.measurement import Measurement
from spaces.task import Task

SEED = 0  # of weights and patches: the same for all networks
RUNS = 10  # always as many, so that all latencies have one protocol
THREADS = 1

Advance = Callable[[int], None]
Proxies = list[tuple[str, str, dict[str, float]]]
"""Name, protocol, digest to value"""


def study_proxies(store: Store, study: Study, folder: Path, start: Callable[[int], Advance]) -> Proxies:
    """All proxies of the searched networks, kept in ``proxies.json`` of the study's folder.

    Of a network that a proxy says nothing of there is no value.

    Args:
        start: Is told how many networks are to be measured, and gives what is told how many are done.

    Raises: ConfigError: if the study's training images can't be read as they were.
    """
    patches = _patches(study)
    protocol = proxy_protocol(patches, SEED)
    file = folder / "proxies.json"
    known = _kept(file, protocol)
    trials = searched_trials(store, study)
    missing = [trial for trial in trials if not PROXIES.keys() <= known.get(trial.digest, {}).keys()]
    advance = start(len(missing))
    for done, trial in enumerate(missing, 1):
        known[trial.digest] = _proxies(trial, get_task(study.task).interface, patches)
        advance(done)
    if missing:
        _keep(file, protocol, known)
    return [(name, protocol, _column(known, name)) for name in PROXIES]


def _patches(study: Study) -> Patches:
    config, task = resumed(study.config, {}), get_task(study.task)
    train, *_ = load_data(config.data, task, patch=config.training.patch)
    if train.digest != study.data["train"]["digest"]:
        raise ConfigError(
            f"study '{study.name}': expected the training images {study.data['train']['digest']} ({train.name}), got "
            f"{train.digest}: proxies are of the study's own; put these back"
        )
    data = f"{train.name} ({train.digest})"
    return draw_patches(task.patch_source(train), patch=config.training.patch, seed=SEED, data=data)


def _proxies(trial: Trial, task: Task, patches: Patches) -> dict[str, float | None]:
    architecture = Architecture.from_json(trial.architecture)
    found: dict[str, float | None] = {}
    for name in PROXIES:
        try:
            found[name] = measure_proxy(name, architecture, task, patches, seed=SEED).value
        except ProxyError:
            found[name] = None
    return found


def _kept(file: Path, protocol: str) -> dict[str, dict[str, float | None]]:
    """What was measured before under this protocol."""
    try:
        data = json.loads(file.read_text())
        return dict(data["values"]) if data["protocol"] == protocol else {}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def _keep(file: Path, protocol: str, values: Mapping[str, Mapping[str, float | None]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({"protocol": protocol, "values": values}, indent=1) + "\n")
    temporary.replace(file)


def _column(known: Mapping[str, Mapping[str, float | None]], name: str) -> dict[str, float]:
    return {digest: value for digest, found in known.items() if (value := found.get(name)) is not None}


def record_runtimes(
    store: Store, study: Study, where: Place, device: str, start: Callable[[int], Advance]
) -> None:
    """Measures latency and peak memory of the searched networks that lack them on this device, and records them.

    One network at a time, of random weights, which take as long; of the input that costs are of. Nothing else may run
    the study meanwhile.

    Args:
        device: auto, cpu or cuda.
        start: As for ``study_proxies``.

    Raises: ConfigError: if another process runs the study. ValueError: for a device that isn't there.
        RuntimeMeasurementError: if a network's pass fails; those before it are on record.
    """
    device = resolve_device(device)
    task, here = get_task(study.task).interface, place(device, THREADS)
    with only_driver(where, study.name):
        missing = [trial for trial in searched_trials(store, study) if not _timed(trial, here)]
        advance = start(len(missing))
        for done, trial in enumerate(missing, 1):
            store.add_measurements(trial.id, _runtimes(trial, task, device))
            advance(done)


def _timed(trial: Trial, here: str) -> bool:
    return any(m.name == "latency_ms" and m.protocol.endswith(here) for m in trial.measurements)


def _runtimes(trial: Trial, task: Task, device: str) -> list[Measurement]:
    architecture, size = Architecture.from_json(trial.architecture), task.cost_input[1:]
    network = build(architecture, task)
    latency = measure_latency(
        network, task, size, device=device, threads=THREADS, runs=RUNS, limit_s=float("inf")
    )
    memory = measure_peak_memory(architecture, task, size, device=device, threads=THREADS)
    return [
        Measurement("latency_ms", latency.median_ms, "ms", "min", latency.protocol),
        Measurement("peak_memory_bytes", float(memory.bytes), "bytes", "min", memory.protocol),
    ]

"""A Ray cluster of several nodes: where trials run, what is checked, and what real deaths cost.

All nodes are of this machine; they are killed as a machine is, without a goodbye.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import ray
import typer
import yaml
from ray.cluster_utils import Cluster

from evaluators.trial import Advanced, Finished, Job, RungReached, TrialData, evaluate
from results.store.schema import Trial
from results.store.store import Store
from search.cli import app  # type: ignore[attr-defined]
from search.workers.execution import Execution
from search.workers.pool import Ended
from search.workers.ray_workers import MEBIBYTE, ClusterError, Resources, Workers
from tests.evaluators.small import TASK, TINY, pairs, recipe
from tests.search.studies import new_study
from tests.search.workers.test_ray_workers import collect

EXAMPLES = Path(__file__).parents[2] / "examples"
STORE: dict[str, Any] = {"object_store_memory": 80 * MEBIBYTE}
RUNGS = (10, 20, 30)

pytestmark = pytest.mark.slow
NICENESS = "RAY_worker_niceness"  # Ray's own spelling


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without room for trials, and two nodes with two CPUs each, whose workers don't yield to all else."""
    ray.shutdown()
    os.environ[NICENESS] = "0"  # else they look hung where other tests run beside them
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **STORE})
    for _ in range(2):
        found.add_node(num_cpus=2, **STORE)
    yield found
    ray.shutdown()
    found.shutdown()
    del os.environ[NICENESS]


@pytest.fixture(autouse=True)
def _disconnected() -> Iterator[None]:
    ray.shutdown()
    yield
    ray.shutdown()


@pytest.fixture
def node(cluster: Cluster) -> Iterator[Callable[..., Any]]:
    """Adds a node for the length of a test."""
    added: list[Any] = []

    def add(**what: Any) -> Any:
        added.append(cluster.add_node(**what, **STORE))
        return added[-1]

    yield add
    ray.shutdown()
    for each in added:
        if each in cluster.worker_nodes:
            cluster.remove_node(each)


def where(job: Any, data: Any) -> Iterator[Any]:
    """Where it runs, and what it sees of the data."""
    time.sleep(job)
    yield ray.get_runtime_context().get_node_id(), int(data.sum()), data.flags.writeable


def nodes_of(pool: Workers[Any, Any], jobs: int, seconds: float = 0.5) -> set[str]:
    for key in range(jobs):
        pool.start(key, seconds)
    return {events[0][0] for events in collect(pool, set(range(jobs)), seconds=120).values()}


# Where trials run


def which_gpu(job: float, data: Any) -> Iterator[Any]:
    """What a process of its own would have; CUDA looks once, and stays there."""
    yield os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]
    time.sleep(job)


def test_a_worker_process_never_changes_its_gpu(cluster: Cluster, node: Callable[..., Any]) -> None:
    node(num_cpus=3, num_gpus=3)
    pool: Workers[Any, Any] = Workers(which_gpu, None, Resources(gpus=1), address=cluster.address)
    seen: dict[int, set[str]] = {}
    random, key = Random(0), 0
    for _ in range(7):
        jobs = random.randint(1, 3)
        for place in range(jobs):
            pool.start(key + place, random.choice([0.05, 0.3, 0.6]))
        for (pid, gpu), *_ in collect(pool, set(range(key, key + jobs)), seconds=120).values():
            seen.setdefault(pid, set()).add(gpu)
        key += jobs
        time.sleep(random.choice([0.0, 1.5]))  # in which Ray takes GPUs back
    assert set().union(*seen.values()) == {"0", "1", "2"}
    assert max(map(len, seen.values())) == 1


def test_the_data_goes_to_each_node_once(cluster: Cluster) -> None:
    data = np.ones(30 * MEBIBYTE, np.uint8)  # a node's store would not hold three
    pool: Workers[Any, Any] = Workers(where, data, Resources(), address=cluster.address)
    assert pool.capacity == pool.free == 4
    for key in range(8):
        pool.start(key, 0.5)
    told = [events[0] for events in collect(pool, set(range(8)), seconds=120).values()]
    nodes = {node for node, _, _ in told}
    assert len(nodes) == 2
    assert {(total, writeable) for _, total, writeable in told} == {(data.size, False)}
    stored: Any = pool._shared[1]
    found = ray.experimental.get_object_locations([stored])[stored]
    assert sorted(found["node_ids"]) == sorted({*nodes, ray.get_runtime_context().get_node_id()})
    assert data.size < found["object_size"] < 1.01 * data.size
    assert not found["did_spill"]


def test_trials_run_where_what_they_need_is(cluster: Cluster, node: Callable[..., Any]) -> None:
    gpu = node(num_cpus=3, num_gpus=1)
    half: Workers[Any, Any] = Workers(where, np.ones(1), Resources(gpus=0.5), address=cluster.address)
    assert half.capacity == 2
    assert nodes_of(half, 2) == {gpu.node_id}
    half.stop()
    wide: Workers[Any, Any] = Workers(where, np.ones(1), Resources(cpus=2), address=cluster.address)
    assert wide.capacity == 3  # not 7 CPUs by 2: the third CPU of the last is left over, as it would be


def test_what_no_single_node_has_is_refused_though_all_together_have_it(cluster: Cluster) -> None:
    expected = r"a trial needs 4 CPUs and 0 GPUs, but Ray has .*2 nodes with 2 CPUs and 0 GPUs"
    with pytest.raises(ClusterError, match=expected):
        Workers(where, np.ones(1), Resources(cpus=4), address=cluster.address)
    assert not ray.is_initialized()
    with pytest.raises(ClusterError, match="a fraction of one GPU, or whole ones"):
        Workers(where, np.ones(1), Resources(gpus=1.5), address=cluster.address)


# Which nodes are used


@pytest.fixture
def other_torch(tmp_path: Path) -> dict[str, str]:
    """An environment in which another torch is installed, as far as its record tells."""
    record = tmp_path / "torch-1.13.1.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.13.1\n")
    return {"PYTHONPATH": str(tmp_path)}


def test_a_node_with_another_torch_is_named(
    cluster: Cluster, node: Callable[..., Any], other_torch: dict[str, str]
) -> None:
    wrong = node(num_cpus=1, env_vars=other_torch)
    here = version("torch").partition("+")[0]
    with pytest.raises(ClusterError, match=f"node {wrong.node_ip_address} has torch 1.13.1, not {here}\\. "):
        Workers(where, np.ones(1), Resources(), address=cluster.address)
    assert not ray.is_initialized()


def test_nodes_that_join_later_are_used_if_they_have_the_same_versions(
    cluster: Cluster, node: Callable[..., Any], other_torch: dict[str, str]
) -> None:
    told: list[str] = []
    pool: Workers[Any, Any] = Workers(
        where, np.ones(1), Resources(), address=cluster.address, tell=told.append
    )
    wrong, right = node(num_cpus=4, env_vars=other_torch), node(num_cpus=2)
    used = nodes_of(pool, 10)
    assert wrong.node_id not in used
    assert pool.capacity == 6
    assert right.node_id in nodes_of(pool, 6)
    assert len(told) == 2
    assert any("torch 1.13.1" in text and "no trials" in text for text in told)
    assert any("is new, with room for 2 trials" in text for text in told)
    cluster.remove_node(right, allow_graceful=False)
    deadline = time.monotonic() + 60
    while pool.capacity != 4:
        assert time.monotonic() < deadline
        nodes_of(pool, 1, 0)
    assert "is lost" in told[-1]


# What deaths cost


def troubled(job: Job, data: TrialData) -> Iterator[Any]:
    """A real trial; after its first rung befalls it what its folder is named after, unless that has happened."""
    folder = Path(job.cache)
    attempt = len(list(folder.iterdir()))
    log = folder / str(attempt)
    log.write_text(ray.get_runtime_context().get_node_id())
    for event in evaluate(job, data):
        if isinstance(event, Advanced):
            with log.open("a") as file:
                file.write(f" {event.step}")
        yield event
        if isinstance(event, RungReached) and event.step == RUNGS[0] and not attempt:
            time.sleep(0.5)  # lets the rung leave
            if folder.name == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            elif folder.name == "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            elif folder.name == "hangs":
                time.sleep(600)


def greedy(job: Job, data: TrialData) -> Iterator[Any]:
    """A trial that takes memory until it is killed."""
    taken = []
    for _ in range(60):
        taken.append(bytearray(os.urandom(1)) * (100 * MEBIBYTE))
        time.sleep(0.1)
        yield Advanced(len(taken), 0.0)


class Watch:
    """Observes trials; calls ``act`` at every turn."""

    def __init__(self, act: Callable[[], None] = lambda: None):
        self._act = act
        self.reasons: list[str | None] = []

    def changed(self, tally: Any) -> None:
        self._act()

    def adopted(self, values: Any) -> None: ...
    def paused(self, trial: Trial, values: Any, step: int) -> None: ...
    def finished(self, trial: Trial, values: Any, reason: str | None) -> None: ...


DATA = TrialData(pairs(), pairs("flower.jpg", 64))
JOB = Job(TINY.to_json(), TASK, recipe(20, 10), RUNGS, seed=0)


def execute(
    folder: Path,
    pool: Workers[Any, Any],
    names: list[str],
    act: Callable[[], None] = lambda: None,
    **more: Any,
) -> tuple[list[Trial], Execution, Store]:
    """Trials so named, run to their end."""
    store = Store.open(folder / "results.db")
    study = new_study(store)
    trials = [store.add_trial(study.id, digest=name, architecture_json=JOB.architecture) for name in names]

    def job(trial: Trial, checkpoint: bytes | None, seconds: float) -> Job:
        cache = folder / trial.digest
        cache.mkdir(exist_ok=True)
        return dataclasses.replace(JOB, checkpoint=checkpoint, seconds=seconds, cache=str(cache))

    execution = Execution(
        store, study.id, pool, job, folder=folder, settled=lambda *_: None, **{"retries": 1, **more}
    )
    assert execution.finish(trials, Watch(act), lambda: False)
    return list(store.trials(study.id)), execution, store


def attempts(folder: Path, name: str) -> list[tuple[str, ...]]:
    """Per attempt the node, and the steps that training came to."""
    files = sorted((folder / name).iterdir(), key=lambda path: int(path.name))
    return [tuple(path.read_text().split()) for path in files]


@pytest.fixture(scope="module")
def undisturbed() -> bytes:
    """The weights of the trial that nothing befalls."""
    last = list(evaluate(JOB, DATA))[-1]
    assert isinstance(last, Finished)
    return last.weights


def test_killed_and_hung_workers_cost_the_work_since_the_last_rung(
    cluster: Cluster, tmp_path: Path, undisturbed: bytes
) -> None:
    names = ["fine", "killed", "hangs", "stopped"]
    pool: Workers[Any, Any] = Workers(troubled, DATA, Resources(), address=cluster.address, silence_s=90)
    trials, execution, store = execute(tmp_path, pool, names)
    assert {t.digest: (t.state, t.attempts) for t in trials} == {
        "fine": ("complete", 1),
        "killed": ("complete", 2),
        "hangs": ("complete", 2),
        "stopped": ("complete", 2),
    }
    assert execution.tally.retried == 3
    assert [steps for _, *steps in attempts(tmp_path, "fine")] == [["10", "20", "30"]]
    for name in names[1:]:
        assert [steps for _, *steps in attempts(tmp_path, name)] == [["10"], ["20", "30"]]
    for trial in trials:
        assert [rung.step for rung in store.rungs(1, trial_id=trial.id)] == list(RUNGS)
        assert (
            tmp_path / f"weights/{trial.number:05d}-{trial.digest}.safetensors"
        ).read_bytes() == undisturbed


def test_a_lost_node_costs_the_work_since_the_last_rung_and_without_any_the_trial_waits_for_one(
    cluster: Cluster, node: Callable[..., Any], tmp_path: Path, undisturbed: bytes
) -> None:
    nodes = [node(num_cpus=1, num_gpus=1)]
    pool: Workers[Any, Any] = Workers(troubled, DATA, Resources(gpus=1), address=cluster.address)

    def lose_and_replace() -> None:
        """Kill the node once the trial's rung is on record; when that is known, add another."""
        if nodes[0] in cluster.worker_nodes:
            if list((tmp_path / "checkpoints").glob("00000-10.pt")):
                cluster.remove_node(nodes[0], allow_graceful=False)
        elif len(nodes) == 1 and pool.capacity == 0:
            nodes.append(node(num_cpus=1, num_gpus=1))

    (trial,), execution, _ = execute(tmp_path, pool, ["hangs"], lose_and_replace)
    assert (trial.state, trial.attempts, execution.tally.retried) == ("complete", 2, 1)
    (before, *steps), (after, *more) = attempts(tmp_path, "hangs")
    assert (steps, more) == (["10"], ["20", "30"])
    assert [before, after] == [each.node_id for each in nodes]
    assert trial.worker == nodes[1].node_ip_address
    assert (tmp_path / "weights/00000-hangs.safetensors").read_bytes() == undisturbed


def test_a_trial_that_takes_the_nodes_memory_is_tried_again_and_then_fails_with_the_reason(
    cluster: Cluster, node: Callable[..., Any], tmp_path: Path
) -> None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    memory = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    allowed = (memory["MemTotal"] - memory["MemAvailable"] + 1024 * 1024) / memory["MemTotal"]
    limits = {"RAY_memory_usage_threshold": f"{allowed:.4f}", "RAY_memory_monitor_refresh_ms": "50"}
    node(num_cpus=1, num_gpus=1, env_vars=limits)
    pool: Workers[Any, Any] = Workers(greedy, DATA, Resources(gpus=1), address=cluster.address)
    (trial,), execution, _ = execute(tmp_path, pool, ["greedy"])
    assert (trial.state, trial.attempts, execution.tally.retried) == ("failed", 2, 1)
    assert trial.reason is not None
    assert "out of memory" in trial.reason
    assert "(2 attempts)" in trial.reason


def test_trials_more_than_the_cluster_has_room_for_wait_and_do_not_count_as_hung(cluster: Cluster) -> None:
    resources = Resources(cpus=2, workers=6)
    pool: Workers[Any, Any] = Workers(where, np.ones(1), resources, address=cluster.address, silence_s=60)
    assert pool.capacity == 6
    nodes_of(pool, 6)  # so that all have imported what they need
    pool._silence_s = 5
    for key in range(6):
        pool.start(key, 3.0)
    assert [events[-1] for events in collect(pool, set(range(6)), seconds=120).values()] == [Ended()] * 6


# What is handed out


def test_the_cluster_launcher_takes_the_example() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((EXAMPLES / "cluster.yaml").read_text())
    validate_config(prepare_config(config))
    assert config["head_node_type"] in config["available_node_types"]


def test_the_job_in_kubernetes_is_a_command_that_there_is() -> None:
    (job,) = (
        each
        for each in yaml.safe_load_all((EXAMPLES / "kuberay-job.yaml").read_text())
        if each["kind"] == "RayJob"
    )
    assert job["apiVersion"] == "ray.io/v1"
    program, name, *arguments = job["spec"]["entrypoint"].split()
    assert program == "pixelfront"
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    given = command.make_context(name, arguments).params  # exits where an option is unknown
    assert given["ray_address"] == "auto"
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    containers = [group["template"]["spec"]["containers"][0] for group in (cluster["headGroupSpec"], workers)]
    assert len({container["image"] for container in containers}) == 1
    assert float(containers[1]["resources"]["limits"]["nvidia.com/gpu"]) >= given["gpus"]

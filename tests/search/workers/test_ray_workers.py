"""Real Ray workers: events, deaths, faults, addresses."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pixelfront
from search.workers.pool import Ended, Lost, Raised, Taken
from search.workers.ray_workers import (
    MEBIBYTE,
    STARTS,
    ClusterError,
    Resources,
    Workers,
    check_reachable,
    installed,
)

HANG_S = 300  # what takes so long hangs


def obeys(job: Any, data: Any) -> Iterator[Any]:
    """Does what the job says."""
    what, argument = job
    if what == "count":
        yield from range(argument)
    elif what == "data":
        yield int(data["pixels"].sum()), data["pixels"].flags.writeable, os.getpid()
    elif what == "die":
        yield "alive"
        time.sleep(0.2)  # lets the event leave before the process is gone
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "raise":
        yield "alive"
        raise ValueError(argument)
    elif what == "begin":
        seconds, mark = argument
        mark.touch()
        yield time.monotonic()
        time.sleep(seconds)
    elif what == "sleep":
        yield os.getpid()
        time.sleep(argument)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    pixels = np.full((500, 500), 2, dtype=np.uint8)
    resources = Resources(workers=2)
    pool = Workers(obeys, {"pixels": pixels}, resources, address="local", object_store_bytes=100 * MEBIBYTE)
    yield pool
    pool.stop()


def collect(pool: Workers, keys: set[int], seconds: float = HANG_S) -> dict[int, list[Any]]:
    """All events of the keys until each has ended, but for the one that a worker has it, which comes first."""
    events: dict[int, list[Any]] = {key: [] for key in keys}
    deadline = time.monotonic() + seconds
    while any(not es or not isinstance(es[-1], Ended | Raised | Lost) for es in events.values()):
        assert time.monotonic() < deadline, events
        for key, event in pool.events(timeout_s=0.2):
            events[key].append(event)
    assert all(
        isinstance(es[0], Taken) and not any(isinstance(e, Taken) for e in es[1:]) for es in events.values()
    )
    return {key: es[1:] for key, es in events.items()}


def test_events_of_two_jobs_arrive_in_order_and_end(workers: Workers) -> None:
    assert workers.capacity == 2
    assert workers.free == 4  # a job for each worker, and one for when it ends
    workers.start(1, ("count", 5))
    workers.start(2, ("count", 3))
    assert workers.free == 2
    events = collect(workers, {1, 2})
    assert events[1] == [0, 1, 2, 3, 4, Ended()]
    assert events[2] == [0, 1, 2, Ended()]
    assert workers.free == 4


def test_jobs_at_hand_begin_when_others_end_though_nobody_looks(workers: Workers, tmp_path: Path) -> None:
    marks = [tmp_path / str(key) for key in range(61, 65)]
    for key, mark in zip(range(61, 65), marks, strict=True):
        workers.start(key, ("begin", (0.5, mark)))
    assert workers.free == 0
    deadline = time.monotonic() + HANG_S
    while not all(mark.exists() for mark in marks):
        assert time.monotonic() < deadline, "a job at hand waits until somebody looks"
        time.sleep(0.1)
    looked = time.monotonic()
    began = sorted(events[0] for events in collect(workers, {61, 62, 63, 64}).values())
    assert began[0] + 0.5 <= began[2]
    assert began[1] + 0.5 <= began[3] < looked


def test_jobs_at_hand_can_be_cancelled(workers: Workers) -> None:
    for key in range(71, 75):
        workers.start(key, ("sleep", 600))
    taken: set[int] = set()
    while len(taken) < 2:
        taken |= {key for key, event in workers.events(timeout_s=0.2) if isinstance(event, int)}
    workers.cancel({71, 72, 73, 74})
    assert workers.free == 4
    workers.start(75, ("count", 1))
    assert collect(workers, {75})[75] == [0, Ended()]


def test_data_reaches_workers_read_only_that_is_without_a_copy(workers: Workers) -> None:
    workers.start(1, ("data", None))
    (total, writeable, pid), _ = collect(workers, {1})[1]
    assert (total, writeable) == (500 * 500 * 2, False)
    assert pid != os.getpid()


def test_a_killed_worker_is_reported_lost_and_the_pool_goes_on(workers: Workers) -> None:
    workers.start(1, ("die", None))
    events = collect(workers, {1})[1]
    assert events[0] == "alive"
    assert isinstance(events[-1], Lost)
    assert "worker" in events[-1].reason
    workers.start(2, ("count", 1))
    assert collect(workers, {2})[2] == [0, Ended()]


def test_an_exception_is_reported_with_its_type_and_text(workers: Workers) -> None:
    workers.start(1, ("raise", "something odd"))
    assert collect(workers, {1})[1] == ["alive", Raised("ValueError: something odd")]


def test_what_has_said_all_ends_by_itself_when_workers_stop(workers: Workers) -> None:
    """Ray aborts this process if it cancels a task that is just ending; within seconds, if all are cancelled."""
    for key in range(2000, 4000, 2):
        workers.start(key, ("count", 1))
        workers.start(key + 1, ("count", 1))
        said: set[int] = set()
        while said != {key, key + 1}:
            said |= {each for each, event in workers.events(timeout_s=1) if isinstance(event, int)}
        workers._let_end()
        assert not workers._running


def test_of_what_was_running_when_others_were_cancelled_nothing_is_heard(workers: Workers) -> None:
    workers.start(51, ("sleep", 600))
    workers.start(52, ("sleep", 1))
    alive: set[int] = set()
    while alive != {51, 52}:
        alive |= {key for key, _ in workers.events(timeout_s=1)}
    workers.cancel({51, 50})
    workers.start(52, ("count", 2))  # waits for a worker that is free
    assert collect(workers, {52}) == {52: [0, 1, Ended()]}
    until = time.monotonic() + 30
    while workers._running:
        assert time.monotonic() < until
        assert list(workers.events(timeout_s=0.2)) == []


def test_stop_ends_what_runs_at_once() -> None:
    import ray

    ray.shutdown()
    pool = Workers(obeys, {}, Resources(workers=1), object_store_bytes=100 * MEBIBYTE)
    pool.start(1, ("sleep", 600))
    pid = None
    while pid is None:
        pid = next((event for _, event in pool.events(timeout_s=1) if isinstance(event, int)), None)
    pool.stop()  # the job itself would take ten minutes
    deadline = time.monotonic() + HANG_S
    while _alive(pid):
        assert time.monotonic() < deadline, "the worker outlived the pool"
        time.sleep(0.1)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _ray_children() -> dict[int, str]:
    """Command lines of Ray's processes that this process started and that are alive."""
    import psutil

    found = {}
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if child.status() != psutil.STATUS_ZOMBIE and "/ray/" in (line := " ".join(child.cmdline())):
                found[child.pid] = line
    return found


def _sessions(temp_dir: Path) -> set[str]:
    return {path.name for path in temp_dir.glob(f"session_*_{os.getpid()}")}


@pytest.fixture
def temp_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own for Ray's sessions, with a short path."""
    import ray

    ray.shutdown()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder) / "ray"


def test_a_ray_that_never_starts_is_one_error_and_leaves_nothing(
    temp_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No time at all for its first process, so that every attempt fails with that process running."""
    monkeypatch.setenv("RAY_gcs_server_port_wait_time_s", "0")
    before = _ray_children()
    notes: list[str] = []
    with pytest.raises(ClusterError, match=f"in {STARTS} attempts: .*--ray-address") as caught:
        Workers(obeys, {}, Resources(workers=1), object_store_bytes=100 * MEBIBYTE, tell=notes.append)
    assert "\n" not in str(caught.value)
    assert len(notes) == STARTS - 1
    assert notes[0].startswith("Ray didn't start (")
    assert notes[0].endswith(f": attempt 2 of {STARTS}")
    assert not _ray_children().keys() - before.keys()
    assert not _sessions(temp_dir)


@pytest.mark.slow
def test_a_start_that_timed_out_is_cleaned_up_and_tried_again(temp_dir: Path) -> None:
    """The first raylet is stopped, as a starved one would be, for as long as Ray waits for it."""
    import psutil

    bystander = psutil.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    before = _ray_children()
    stopped: list[int] = []
    done = threading.Event()

    def stop_first_raylet() -> None:
        while not stopped and not done.is_set():
            for pid, line in _ray_children().items():
                if pid not in before and "/raylet/raylet" in line.split()[0]:
                    os.kill(pid, signal.SIGSTOP)
                    stopped.append(pid)
            time.sleep(0.001)

    watch = threading.Thread(target=stop_first_raylet)
    watch.start()
    notes: list[str] = []
    try:
        pool: Workers = Workers(
            obeys, {}, Resources(workers=1), object_store_bytes=100 * MEBIBYTE, tell=notes.append
        )
        try:
            assert (
                notes[0]
                == f"Ray didn't start (The current node timed out during startup): attempt 2 of {STARTS}"
            )
            assert len(_sessions(temp_dir)) == 1
            assert not psutil.pid_exists(stopped[0])
            assert bystander.poll() is None
            pool.start(1, ("count", 2))
            assert collect(pool, {1}, seconds=120)[1] == [0, 1, Ended()]
        finally:
            pool.stop()
    finally:
        done.set()
        watch.join()
        bystander.kill()
        bystander.wait()


def test_what_ray_refuses_is_one_error_without_another_attempt(temp_dir: Path) -> None:
    notes: list[str] = []
    with pytest.raises(ClusterError, match="^Ray can't start on this machine: ") as caught:
        Workers(obeys, {}, Resources(workers=1), object_store_bytes=1, tell=notes.append)
    assert "\n" not in str(caught.value)
    assert not notes
    assert not _sessions(temp_dir)


def test_ray_starts_where_the_folder_for_temporary_files_has_a_long_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    ray.shutdown()
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(folder))
    pool: Workers = Workers(obeys, {}, Resources(workers=1), object_store_bytes=100 * MEBIBYTE)
    try:
        pool.start(1, ("count", 1))
        assert collect(pool, {1}, seconds=120)[1] == [0, Ended()]
    finally:
        pool.stop()


def test_more_than_the_machine_has_is_refused() -> None:
    import ray

    ray.shutdown()
    with pytest.raises(ClusterError, match=r"a trial needs 1 CPUs and 3 GPUs, but Ray has .* and 0 GPUs"):
        Workers(obeys, {}, Resources(gpus=3, workers=1), object_store_bytes=100 * MEBIBYTE)
    assert not ray.is_initialized()


@contextmanager
def without_ray() -> Iterator[None]:
    """Fails where Ray is asked to connect: it would wait for minutes for what doesn't answer."""
    import ray

    def asked(*_: object, **__: object) -> None:
        raise AssertionError("Ray was asked to connect")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ray, "init", asked)
        yield


def test_an_address_where_nothing_listens_is_refused_before_ray_is_asked() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    with without_ray(), pytest.raises(ClusterError, match="no Ray cluster answers at"):
        Workers(obeys, {}, Resources(), address=address)


@pytest.mark.parametrize(
    "says",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))],
    ids=["nothing", "something else", "HTTP/2, as a proxy"],
)
def test_an_address_where_something_listens_that_is_not_ray_is_refused(says: bytes) -> None:
    def answer() -> None:
        with suppress(OSError):
            while True:
                connection, _ = other.accept()
                connection.sendall(says)
                open_ones.append(connection)

    open_ones: list[socket.socket] = []
    with socket.create_server(("127.0.0.2", 0)) as other:
        threading.Thread(target=answer, daemon=True).start()
        with (
            without_ray(),
            pytest.raises(
                ClusterError, match=r"no Ray cluster answers at '127.0.0.2:\d+' \((timed out|what listens)"
            ),
        ):
            Workers(obeys, {}, Resources(), address=f"127.0.0.2:{other.getsockname()[1]}")
        for connection in open_ones:
            connection.close()


def test_an_address_that_swallows_everything_is_refused() -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.2", 0), backlog=0))
        for _ in range(3):  # who comes now gets no answer at all
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        with without_ray(), pytest.raises(ClusterError, match="no Ray cluster answers at .* \\(timed out\\)"):
            Workers(obeys, {}, Resources(), address=f"127.0.0.2:{full.getsockname()[1]}")


def test_auto_without_a_cluster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    ray.shutdown()
    with socket.socket() as unused:
        unused.bind(("127.0.0.2", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.2:{unused.getsockname()[1]}")
    with pytest.raises(ClusterError, match="no Ray cluster answers at '127.0.0.2"):
        Workers(obeys, {}, Resources(), address="auto")


def test_a_worker_that_makes_no_progress_is_killed_and_lost() -> None:
    import ray

    ray.shutdown()
    pool: Workers = Workers(obeys, {}, Resources(workers=1), object_store_bytes=100 * MEBIBYTE, silence_s=3)
    try:
        pool.start(1, ("sleep", 600))
        events = collect(pool, {1}, seconds=120)[1]
        assert events[-1] == Lost("no progress for 0.05 minutes: killed")
        deadline = time.monotonic() + HANG_S
        while len(events) > 1 and _alive(events[0]):
            assert time.monotonic() < deadline, "the worker outlived its limit"
            time.sleep(0.1)
        assert not pool._running
    finally:
        pool.stop()


def test_what_a_node_has_tells_versions_and_source_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = installed()
    assert here == installed()
    assert here["torch"] == version("torch").partition("+")[0]
    for package in ("spaces", "evaluators"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    monkeypatch.setattr(pixelfront, "_HOME", tmp_path)
    for package in ("spaces", "evaluators"):
        monkeypatch.delitem(sys.modules, package, raising=False)
    (tmp_path / "spaces" / "block.py").write_text("width = 8")
    first = installed()
    (tmp_path / "spaces" / "block.py").write_text("width = 9")
    second = installed()
    assert len({each["source"] for each in (here, first, second)}) == 3
    assert first == second | {"source": first["source"]}


@pytest.mark.parametrize("address", ["nonsense", "host:port", "ray://host:10001"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ClusterError, match="HOST:PORT"):
        check_reachable(address)


def test_jobs_run_on_a_cluster_by_its_address() -> None:
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    node = {"num_cpus": 1, "object_store_memory": 80 * MEBIBYTE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        cluster.add_node(num_cpus=1, object_store_memory=80 * MEBIBYTE)
        pool = Workers(obeys, {"pixels": np.ones((9, 9), np.uint8)}, Resources(), address=cluster.address)
        assert pool.capacity == 2
        for key in (1, 2):
            pool.start(key, ("data", None))
        events = collect(pool, {1, 2})
        assert [events[key][0][0] for key in (1, 2)] == [81, 81]
        pool.stop()
    finally:
        cluster.shutdown()

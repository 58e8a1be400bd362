"""Evaluations on Ray: on this machine, or on a cluster by its address.

The only file that imports ray. A trial runs as one Ray task that streams its events; the data is put into Ray's
object store once, goes to each node once, and is read there without copies. Nodes are met when connecting and while
trials run: those that have other versions than the driver get none.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import pickle
import platform
import shutil
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from math import ceil
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlparse

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

# Ray waits for its first process for 30 s, which a busy machine exceeds; its wait for the second can't be set.
os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "120")

import ray
import ray.exceptions
from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import InnerGcsClient  # type: ignore[attr-defined]  # without a stub
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import psutil  # isort: skip  # Ray brings it along, and has put it on the path

from search.workers.pool import Ended, Lost, Raised, Taken

JobT = TypeVar("JobT")
DataT = TypeVar("DataT")

CONNECT_TIMEOUT_S = 3.0
MEET_EVERY_S = 5.0  # a look at which nodes there are: 0.2 ms
ANSWER_TIMEOUT_S = 60.0  # a node's, about its versions: a Python process has to start
STARTS = 3  # of Ray on this machine, before giving up
KILLED_TIMEOUT_S = 30.0  # for killed processes to be gone
SOCKET_PATH_BYTES = 103  # the longest that every system takes; Linux takes 107
SESSION_BYTES = 64  # of "/session_2026-12-01_02-24-54_123456_1234567/sockets/plasma_store" at most
SHORT_TEMP_DIR = "/tmp/ray"
MEBIBYTE = 2**20
KEPT_STREAMS = 64
LOOKS = 3  # at who has more to say: a last rung, the result and the end come at once
ENDING_S = 2.0
FIRST_GPUS = "PIXELFRONT_GPUS"  # those that a worker process was given first: CUDA stays on them
# Of a Ray on this machine: where other work starves it, a late answer isn't a dead node, whose objects are lost.
# And its workers aren't to yield to everything else, as they do by Ray's default (niceness 15): beside one busy process
# they would get a thirtieth of a processor.
PATIENCE = {"health_check_timeout_ms": 60_000, "health_check_failure_threshold": 20, "worker_niceness": 0}
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # and no settings
HTTP2_SETTINGS = 4  # the type of the frame that every HTTP/2 server, and so gRPC, answers with


class ClusterError(ValueError):
    """Workers can't be had as asked for."""


@dataclass(frozen=True)
class Resources:
    """What a trial needs.

    Attributes:
        cpus, gpus: Per trial; fractions of a GPU share it.
        workers: Trials at a time; None for as many as the machine or cluster has room for. A cluster is given so many
            even if it has less room: the rest wait, and are what makes an autoscaler add nodes.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    workers: int | None = None

    def room(self, have: Mapping[str, float]) -> int:
        """Trials that fit on one node at a time; a fraction of a GPU can't be of two."""
        cpus = int(have.get("CPU", 0) / self.cpus)
        gpus = int(have.get("GPU", 0))
        if self.gpus == 0:
            return cpus
        return min(cpus, gpus * int(1 / self.gpus) if self.gpus <= 1 else int(gpus / self.gpus))


@dataclass
class _Run:
    """A submitted evaluation.

    Attributes:
        key: None once nobody waits for what it says.
        heard: When its worker last said anything; None while it waits for one.
    """

    key: int | None
    job: bytes
    heard: float | None = None


class Workers(Generic[JobT, DataT]):
    """Runs evaluations in Ray workers and hands over their events.

    Args:
        evaluate: Generator function of a job and the data; imported by the workers.
        data: Shared by all jobs.
        address: Of a running Ray cluster; None or ``local`` starts Ray on this machine.
        silence_s: An evaluation that yields nothing for so long hangs: its process is killed, and it counts as lost.
        tell: Told of nodes that come, go or are refused.

    Raises: ClusterError: if the cluster can't be reached, hasn't what a trial needs, or has a node with other versions.
    """

    def __init__(
        self,
        evaluate: Callable[[JobT, DataT], Iterator[Any]],
        data: DataT,
        resources: Resources,
        *,
        address: str | None = None,
        object_store_bytes: int = 512 * MEBIBYTE,
        silence_s: float | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ):
        if resources.gpus > 1 and not float(resources.gpus).is_integer():
            raise ClusterError(
                f"a trial gets a fraction of one GPU, or whole ones: expected up to 1, 2, ..., got {resources.gpus:g}"
            )
        self._resources = resources
        self._silence_s = silence_s
        self._tell = tell
        self._local = address in (None, "local")
        self._rooms: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._refused: set[str] = set()
        self._met = 0.0
        self._connect(resources, address, object_store_bytes)
        try:
            self._meet(first=True)
        except BaseException:
            ray.shutdown()
            raise
        # In lists, so that a task says where it runs before it fetches and unpickles them.
        self._shared = [ray.put(evaluate), ray.put(data)]
        self._running: dict[Any, _Run] = {}
        # Ray aborts the process if a stream is dropped between its end and Ray's own note that the task is done.
        self._ended: deque[Any] = deque(maxlen=KEPT_STREAMS)

    def _connect(self, resources: Resources, address: str | None, object_store_bytes: int) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address in (None, "local"):
            cpus = _allowed_cpus()
            if resources.workers is not None:
                cpus = max(1, ceil(resources.workers * resources.cpus))
            _start_local(
                self._tell,
                address="local",  # whatever RAY_ADDRESS says
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=object_store_bytes,
                _node_ip_address="127.0.0.1",
                _system_config=PATIENCE,
                **quiet,
            )
            return
        try:
            ray.init(address=check_reachable(address), **quiet)
        except ClusterError:
            raise
        except Exception as error:
            raise ClusterError(f"Ray at '{address}' refused the connection: {_first_line(error)}") from error

    # Nodes

    @property
    def capacity(self) -> int:
        """Trials at a time."""
        room = sum(self._rooms.values())
        if self._resources.workers is None:
            return room
        return min(room, self._resources.workers) if self._local else self._resources.workers

    @property
    def free(self) -> int:
        """Trials that can be handed over now.

        On this machine also one for each that runs: it waits inside Ray, which gives it to the next worker that ends
        without asking us. Not on a cluster, where waiting trials would make an autoscaler add nodes.
        """
        room = self.capacity
        ahead = room if self._local and room == sum(self._rooms.values()) else 0
        return max(0, room + ahead - len(self._running))

    def _meet(self, *, first: bool = False) -> None:
        """Take note of nodes that came or went.

        Raises: ClusterError: if it is the first time, and none has room for a trial or one has other versions.
        """
        self._met = time.monotonic()
        with _lost_is_said():
            alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        for gone in self._rooms.keys() - alive.keys():
            del self._rooms[gone]
            self._tell(f"node {self._names[gone]} is lost; its trials go on elsewhere from their last rung")
        new = {
            name: self._resources.room(node["Resources"])
            for name, node in alive.items()
            if name not in self._rooms and name not in self._refused
        }
        new = {name: room for name, room in new.items() if room}
        if first and not new:
            raise ClusterError(self._no_room([node["Resources"] for node in alive.values()]))
        if not new:
            return
        self._names |= {name: alive[name]["NodeManagerAddress"] for name in new}
        wrong = {} if self._local else _differing(new)
        if first and wrong:
            said = "; ".join(f"node {self._names[name]} {what}" for name, what in sorted(wrong.items()))
            raise ClusterError(f"{said}. Install the driver's versions on every node.")
        for name, what in wrong.items():
            self._refused.add(name)
            self._tell(f"node {self._names[name]} {what}: it gets no trials")
        for name in new.keys() - wrong.keys():
            self._rooms[name] = new[name]
            if not first:
                self._tell(f"node {self._names[name]} is new, with room for {new[name]} trials")

    def _no_room(self, nodes: Iterable[Mapping[str, float]]) -> str:
        sizes = Counter(f"{have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs" for have in nodes)
        have = ", ".join(f"{n} node{'s' * (n > 1)} with {size}" for size, n in sizes.items())
        return (
            f"a trial needs {self._resources.cpus:g} CPUs and {self._resources.gpus:g} GPUs, but Ray has {have}, "
            f"and it has to fit on one node. Lower --cpus or --gpus."
        )

    # Trials

    def start(self, key: int, job: JobT) -> None:
        """Run a job; its events come with ``key``."""
        self._submit(key, ray.cloudpickle.dumps(job))

    def _submit(self, key: int | None, job: bytes) -> None:
        options: dict[str, Any] = {"num_cpus": self._resources.cpus, "num_gpus": self._resources.gpus}
        if self._refused:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(self._refused))})"}
        self._running[_stream.options(**options).remote(self._shared, job)] = _Run(key, job)

    def events(self, timeout_s: float) -> Iterator[tuple[int, Any]]:
        """(key, event) of what has happened, waiting up to ``timeout_s`` for the first.

        Before an evaluation's own events comes ``Taken``, after them one of ``Ended``, ``Raised`` and ``Lost``.
        """
        if not self._local and time.monotonic() - self._met > MEET_EVERY_S:
            self._meet()
        if not self._running:
            if not self.capacity:  # until a node comes
                time.sleep(timeout_s)
            return
        for stream in chain(self._ready(timeout_s), self._again()):
            run = self._running[stream]
            waited, event = run.heard is None, self._next(stream)
            run.heard = time.monotonic()
            if isinstance(event, Ended | Raised | Lost):
                self._drop(stream)
            elif waited:
                if not self._taken(stream, run, *event):
                    continue
                event = Taken(None if self._local else self._names[event[0]])
            if run.key is not None:
                yield run.key, event
        for stream, run in list(self._running.items()):
            if self._silence_s and run.heard and time.monotonic() - run.heard > self._silence_s:
                self._kill(stream)
                if run.key is not None:
                    yield run.key, Lost(f"no progress for {self._silence_s / 60:g} minutes: killed")

    def _again(self) -> Iterator[Any]:
        """Those that had more to say meanwhile: mostly that they ended, which frees their worker."""
        for _ in range(LOOKS):
            yield from self._ready(0.0) if self._running else ()

    def _ready(self, timeout_s: float) -> Iterable[Any]:
        streams = list(self._running)
        with _lost_is_said():
            ready: list[Any] = []
            if timeout_s:
                ready, _ = ray.wait(streams, num_returns=1, timeout=timeout_s, fetch_local=False)
            more, _ = ray.wait(streams, num_returns=len(streams), timeout=0, fetch_local=False)
        return dict.fromkeys((*ready, *more))

    def _taken(self, stream: Any, run: _Run, node: str, stays: bool) -> bool:
        """A worker has the job.

        One on a node that isn't to have it, or that was given other GPUs than before and can't go there, is killed, and
        the job submitted anew: False.
        """
        if node not in self._rooms and node not in self._refused:
            self._meet()
        if node in self._refused or not stays:
            self._kill(stream)
            self._submit(run.key, run.job)
            return False
        run.job = b""  # it may hold a checkpoint
        return True

    @staticmethod
    def _next(stream: Any) -> Any:
        try:
            return ray.get(next(stream))
        except StopIteration:
            return Ended()
        except ray.exceptions.RayTaskError as error:
            cause = error.cause if getattr(error, "cause", None) is not None else error
            return Raised(f"{type(cause).__name__}: {_first_line(cause)}")
        except ray.exceptions.OutOfMemoryError as error:
            return Lost(f"out of memory: {_first_line(error)}")
        except ray.exceptions.RayError as error:
            return Lost(f"worker lost: {_first_line(error)}")

    def _drop(self, stream: Any) -> None:
        del self._running[stream]
        self._ended.append(stream)

    def _kill(self, stream: Any) -> None:
        """End an evaluation's process, at once or, where it doesn't listen, within seconds."""
        with suppress(ray.exceptions.RayError):
            ray.cancel(stream, force=True)
        self._drop(stream)

    def cancel(self, keys: Container[int]) -> None:
        """End these evaluations at once, and hand over nothing of the others; new ones can be started afterwards."""
        for stream, run in list(self._running.items()):
            if run.key is not None and run.key in keys:
                self._kill(stream)
            run.key = None

    def stop(self) -> None:
        """End all evaluations and leave Ray."""
        try:
            self._let_end()
            for stream in list(self._running):
                self._kill(stream)
        finally:
            ray.shutdown()

    def _let_end(self) -> None:
        """Give those that have said all a moment: Ray aborts the process if a task ends while it is cancelled."""
        until = time.monotonic() + ENDING_S
        with suppress(ClusterError):
            while self._running and time.monotonic() < until:
                for stream in self._ready(until - time.monotonic()):
                    if isinstance(self._next(stream), Ended | Raised | Lost):
                        self._drop(stream)


def _allowed_cpus() -> int | None:
    """The number of processors that this process may run on; None where that is all, and Ray counts by itself."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = len(os.sched_getaffinity(0))
    return allowed if allowed < (os.cpu_count() or allowed) else None


@ray.remote(num_returns="streaming", max_retries=0)
def _stream(shared: list[Any], job: bytes) -> Iterator[Any]:
    import pixelfront  # noqa: F401  # Ray puts the driver's folder on the path, which may have a search.py

    context = ray.get_runtime_context()
    gpus = ",".join(context.get_accelerator_ids().get("GPU", ()))
    stays = os.environ.setdefault(FIRST_GPUS, gpus) == gpus
    yield context.get_node_id(), stays
    if not stays:
        time.sleep(ANSWER_TIMEOUT_S)  # until it is killed
    evaluate, data = ray.get(shared)
    # Not "yield from": Ray sends values into the generator, which a plain iterator inside can't take.
    for event in evaluate(pickle.loads(job), data):
        yield event


@ray.remote(num_cpus=0, max_retries=0)
def _installed_there() -> dict[str, str]:
    return installed()


def installed() -> dict[str, str]:
    """What a trial's result depends on besides its job, as found where this runs: versions, and a digest of our source.

    Builds of one version (``+cpu``, ``+cu128``) count as the same.
    """
    with suppress(ImportError):
        import pixelfront  # noqa: F401  # packages of these names may lie in the working folder
    found = {"Python": platform.python_version()}
    for name in ("ray", "torch", "pixelfront"):
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    digest = hashlib.sha256()
    for package in ("spaces", "evaluators"):  # what workers import
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations if spec else None) or ():
            for path in sorted(path for end in ("py", "toml") for path in Path(folder).rglob(f"*.{end}")):
                digest.update(
                    path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0"
                )
    return found | {"source": digest.hexdigest()[:12]}


def _differing(nodes: Iterable[str]) -> dict[str, str]:
    """What each of these nodes has otherwise than this process, in words; those that have the same aren't in it."""
    asked = {
        _installed_there.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote(): node
        for node in nodes
    }
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_TIMEOUT_S)
    wrong = {asked[ref]: f"didn't say its versions within {ANSWER_TIMEOUT_S:g} s" for ref in silent}
    for ref in answered:
        try:
            what = _difference(ray.get(ref))
        except ray.exceptions.RayError as error:
            what = f"can't say its versions ({_first_line(error)})"
        if what:
            wrong[asked[ref]] = what
    return wrong


def _difference(there: Mapping[str, str]) -> str:
    here = installed()
    versions = [f"{name} {there[name]}, not {here[name]}" for name in here if there[name] != here[name]]
    return f"has {', '.join(versions)}" if versions else ""


def _start_local(tell: Callable[[str], None], **options: Any) -> None:
    """Start Ray on this machine, up to ``STARTS`` times: where other work starves it, it gives up after 30 s.

    Args:
        tell: Told of each start that failed, but for the last.
        options: For ``ray.init``.

    Raises: ClusterError: if none succeeds, or Ray refuses what it is given.
    """
    if ray.is_initialized():
        raise ClusterError("this process is connected to Ray already: call ray.shutdown() first")
    temp_dir = _temp_dir()
    for start in range(1, STARTS + 1):
        before = {process.pid for process in psutil.Process().children()}
        sessions = set(_sessions(temp_dir))
        try:
            ray.init(_temp_dir=temp_dir, **options)
            return
        except BaseException as error:
            ray.shutdown()
            _end_started(before)
            for session in set(_sessions(temp_dir)) - sessions:
                shutil.rmtree(session, ignore_errors=True)
            if not isinstance(error, Exception):
                raise
            reason = _first_line(error).partition(". ")[0].rstrip(".")
            refused = isinstance(error, ValueError | TypeError | OSError)
            if refused and not isinstance(error, ConnectionError | TimeoutError):
                raise ClusterError(f"Ray can't start on this machine: {reason}") from error
            if start == STARTS:
                raise ClusterError(
                    f"Ray didn't start on this machine in {STARTS} attempts: {reason}. Try again when the machine is "
                    "less busy or has more free memory, or use a running cluster with --ray-address."
                ) from error
            tell(f"Ray didn't start ({reason}): attempt {start + 1} of {STARTS}")


def _temp_dir() -> str:
    """Ray's folder for sessions, where its sockets' paths aren't longer than the system takes."""
    usual = os.path.join(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp", "ray")
    too_long = len(os.fsencode(usual)) + SESSION_BYTES > SOCKET_PATH_BYTES
    return SHORT_TEMP_DIR if too_long else usual


def _sessions(temp_dir: str) -> Iterator[Path]:
    """Folders of the sessions that this process started."""
    return Path(temp_dir).glob(f"session_*_{os.getpid()}")


def _end_started(before: Container[int]) -> None:
    """Kill Ray's processes that this process has started, and theirs, but for children that were there before.

    They are killed rather than asked: one that is stopped or starved doesn't listen, and none has anything to keep.
    """
    folder = os.path.dirname(ray.__file__)
    started: list[psutil.Process] = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if child.pid not in before and any(folder in argument for argument in child.cmdline()):
                started += [child, *child.children(recursive=True)]
    for process in started:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(started, timeout=KILLED_TIMEOUT_S)


def check_reachable(address: str) -> str:
    """HOST:PORT of the Ray cluster that answers at the address; Ray itself would wait for minutes for one.

    Raises: ClusterError: if none does, within seconds.
    """
    if address.startswith("ray://"):
        raise ClusterError(
            f"'{address}': Ray's client protocol can't stream results. Run pixelfront on a node of the cluster with "
            "--ray-address auto, or give the head's HOST:PORT (6379 by default) from such a node."
        )
    start = "Start one with 'ray start --head', or give --ray-address local to run on this machine."
    if address == "auto":
        found = canonicalize_bootstrap_address("auto")
        if found is None:
            raise ClusterError(f"no Ray cluster is known on this machine. {start}")
        address = found
    parsed = urlparse(f"ray://{address}")
    try:
        host, port = parsed.hostname, parsed.port
    except ValueError:
        host, port = None, None
    if host is None or port is None:
        raise ClusterError(f"a Ray address is HOST:PORT, auto or local, got '{address}'")
    try:
        # As Ray will: of localhost it makes this machine's address.
        found = canonicalize_bootstrap_address(address)
        host, _, port_text = (found or address).rpartition(":")
        _check_http2(host.strip("[]"), int(port_text))
        _check_ray(found or address)
    except OSError as error:
        raise ClusterError(f"no Ray cluster answers at '{address}' ({error}). {start}") from error
    return address


def _check_http2(host: str, port: int) -> None:
    """Nothing, if what listens there speaks HTTP/2, as Ray does.

    Raises: OSError: if not.
    """
    with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S) as connection:
        if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
            return
        connection.sendall(HTTP2_PREFACE)
        answer = connection.recv(9)
    if len(answer) < 4 or answer[3] != HTTP2_SETTINGS:
        raise OSError("what listens there isn't Ray")


def _check_ray(address: str) -> None:
    """Nothing, if Ray answers there: a proxy speaks HTTP/2 too, and ``ray.init`` asks one for half a minute.

    Raises: OSError: if not.
    """
    try:
        with _hushed():
            InnerGcsClient.standalone(address, cluster_id=None, timeout_ms=int(1000 * CONNECT_TIMEOUT_S))
    except ray.exceptions.RayError as error:
        raise OSError(f"what listens there isn't Ray: {_first_line(error)}") from error


@contextmanager
def _lost_is_said() -> Iterator[None]:
    """Raises: ClusterError: if Ray is gone."""
    try:
        yield
    except ray.exceptions.RayError as error:
        raise ClusterError(f"Ray was lost: {_first_line(error)}. Start it again and use --resume.") from error


@contextmanager
def _hushed() -> Iterator[None]:
    """Without standard error meanwhile, where Ray's own code logs what the error says as well."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__


# Whole, not by name: a node without pixelfront can then say so.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

"""Evaluations on Ray: on this machine, or on a cluster by its address.

The only file that imports ray. A trial runs as one Ray task that streams its events; what it needs of the
data is put into Ray's object store once and read there without copies.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import Any, Generic, TypeVar
from urllib.parse import urlparse

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
import ray.exceptions

from search.pool import Ended, Lost, Raised

JobT = TypeVar("JobT")
DataT = TypeVar("DataT")

CONNECT_TIMEOUT_S = 5.0
MEBIBYTE = 2**20
KEPT_STREAMS = 64
# Of a Ray on this machine: where other work starves it, a late answer isn't a dead node, whose objects are lost.
PATIENCE = {"health_check_timeout_ms": 60_000, "health_check_failure_threshold": 20}


class ClusterError(ValueError):
    """Workers can't be had as asked for."""


@dataclass(frozen=True)
class Resources:
    """What a trial needs.

    Attributes:
        cpus, gpus: Per trial; fractions of a GPU share it.
        workers: Trials at a time; None for as many as the machine or cluster has room for.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    workers: int | None = None


class Workers(Generic[JobT, DataT]):
    """Runs evaluations in Ray workers and hands over their events.

    Args:
        evaluate: Generator function of a job and the data; imported by the workers.
        data: Shared by all jobs.
        address: Of a running Ray cluster; None or ``local`` starts Ray on this machine.

    Raises: ClusterError: if the cluster can't be reached or hasn't what a trial needs.
    """

    def __init__(
        self,
        evaluate: Callable[[JobT, DataT], Iterator[Any]],
        data: DataT,
        resources: Resources,
        *,
        address: str | None = None,
        object_store_bytes: int = 512 * MEBIBYTE,
    ):
        self._connect(resources, address, object_store_bytes)
        try:
            self.capacity = self._capacity(resources)
        except ClusterError:
            ray.shutdown()
            raise
        self._data = ray.put(data)
        self._evaluate = ray.put(evaluate)
        self._remote = _stream.options(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=0)
        self._running: dict[Any, int] = {}
        # Ray aborts the process if a stream is dropped between its end and Ray's own note that the task is done.
        self._ended: deque[Any] = deque(maxlen=KEPT_STREAMS)

    @staticmethod
    def _connect(resources: Resources, address: str | None, object_store_bytes: int) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address in (None, "local"):
            cpus = None if resources.workers is None else max(1, ceil(resources.workers * resources.cpus))
            ray.init(
                address="local",  # whatever RAY_ADDRESS says
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=object_store_bytes,
                _node_ip_address="127.0.0.1",
                _system_config=PATIENCE,
                **quiet,
            )
            return
        check_reachable(address)
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ClusterError(f"Ray at '{address}' refused the connection: {_first_line(error)}") from error

    @staticmethod
    def _capacity(resources: Resources) -> int:
        have = ray.cluster_resources()
        rooms = [
            int(have.get(kind, 0) / need)
            for kind, need in (("CPU", resources.cpus), ("GPU", resources.gpus))
            if need > 0
        ]
        room = min(rooms, default=1)
        if room < 1:
            raise ClusterError(
                f"a trial needs {resources.cpus:g} CPUs and {resources.gpus:g} GPUs, but Ray has "
                f"{have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs. Lower --cpus or --gpus."
            )
        return room if resources.workers is None else min(room, resources.workers)

    @property
    def free(self) -> int:
        """Trials that can start now."""
        return self.capacity - len(self._running)

    def start(self, key: int, job: JobT) -> None:
        """Run a job; its events come with ``key``."""
        self._running[self._remote.remote(self._evaluate, job, self._data)] = key

    def events(self, timeout_s: float) -> Iterator[tuple[int, Any]]:
        """(key, event) of what has happened, waiting up to ``timeout_s`` for the first.

        After an evaluation's own events comes one of ``Ended``, ``Raised`` and ``Lost``.
        """
        if not self._running:
            return
        streams = list(self._running)
        try:
            ready, _ = ray.wait(streams, num_returns=1, timeout=timeout_s, fetch_local=False)
            more, _ = ray.wait(streams, num_returns=len(streams), timeout=0, fetch_local=False)
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"Ray was lost: {_first_line(error)}. Start it again and use --resume."
            ) from error
        for stream in dict.fromkeys((*ready, *more)):
            key = self._running[stream]
            event = self._next(stream)
            if isinstance(event, Ended | Raised | Lost):
                del self._running[stream]
                self._ended.append(stream)
            yield key, event

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

    def cancel(self) -> None:
        """End all running evaluations at once; others can be started afterwards."""
        for stream in self._running:
            with suppress(ray.exceptions.RayError):
                ray.cancel(stream, force=True)
            self._ended.append(stream)
        self._running.clear()

    def stop(self) -> None:
        """End all running evaluations at once and leave Ray."""
        self.cancel()
        ray.shutdown()


@ray.remote(num_returns="streaming")
def _stream(evaluate: Callable[[Any, Any], Iterator[Any]], job: Any, data: Any) -> Iterator[Any]:
    # Not "yield from": Ray sends values into the generator, which a plain iterator inside can't take.
    for event in evaluate(job, data):
        yield event


def check_reachable(address: str) -> None:
    """Nothing, if something listens at the address; Ray itself would wait for minutes.

    Raises: ClusterError: if not, within seconds.
    """
    if address == "auto":
        return
    if address.startswith("ray://"):
        raise ClusterError(
            f"'{address}': Ray's client protocol can't stream results. Run pixelfront on a node of the cluster with "
            "--ray-address auto, or give the head's HOST:PORT (6379 by default) from such a node."
        )
    parsed = urlparse(f"ray://{address}")
    try:
        host, port = parsed.hostname, parsed.port
    except ValueError:
        host, port = None, None
    if host is None or port is None:
        raise ClusterError(f"a Ray address is HOST:PORT, auto or local, got '{address}'")
    try:
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at '{address}' ({error}). Start one with 'ray start --head', or give "
            "--ray-address local to run on this machine."
        ) from error


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__

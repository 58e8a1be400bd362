"""The dashboard's worker: one process of its own for whatever needs torch, started when it is first needed.

So the server starts at once, answers while a network runs, and outlives a job that takes too much time or memory.
Nothing here imports torch; the jobs (``search.dashboard.jobs``) do, in the worker.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from results.dashboard.errors import ApiError
from results.dashboard.uploads import decode

THREADS = 2  # of torch: the machine may be searching
WAITING = 8  # jobs, with the one that runs
START_SECONDS = 60.0  # for the process to start, on a busy machine
# Of the first, torch's import takes 3 s, and 15 s on a busy machine.
SECONDS = {"decode": 20.0, "parts": 60.0, "pictures": 120.0, "compare": 180.0, "export": 240.0}
RETRY_SECONDS = 5
EXIT_SECONDS = 2.0
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory")  # of torch's RuntimeError

log = logging.getLogger("pixelfront.dashboard")


class WorkerServices:
    """``results.dashboard.files.Services``: one job at a time, in one process.

    Safe to share between threads, which wait for their turn.

    Args:
        seconds: The time limit of each job.
    """

    def __init__(self, seconds: dict[str, float] | None = None, *, waiting: int = WAITING) -> None:
        self._seconds = seconds or SECONDS
        self._places = threading.BoundedSemaphore(waiting)
        self._turn = threading.Lock()
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._closed = False

    def run(self, job: str, /, **arguments: Any) -> Any:
        """What the job returns.

        Raises: ApiError: the job's own refusal; or if too many wait, it takes too long, or the worker dies.
        """
        if not self._places.acquire(blocking=False):
            raise ApiError(
                503,
                "busy",
                "expected a free worker, got one with a full queue; try again in a few seconds",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        try:
            with self._turn:
                return self._ask(job, arguments)
        finally:
            self._places.release()

    def close(self) -> None:
        """Ends the worker, and with it the job that it is at; may be called from a signal handler, and twice."""
        self._closed = True
        if self._turn.acquire(blocking=False):  # idle: it ends when its connection does, and tidies up
            try:
                if self._connection is not None and self._process is not None:
                    self._connection.close()
                    self._process.join(EXIT_SECONDS)
            finally:
                self._turn.release()
        self._stop()

    def _ask(self, job: str, arguments: dict[str, Any]) -> Any:
        if self._closed:
            raise ApiError(503, "closed", "the server is about to end: start it again")
        limit = self._seconds[job]
        try:
            connection = self._started()
            connection.send((job, arguments))
            if not connection.poll(limit):
                self._stop()
                raise ApiError(
                    504,
                    "too_slow",
                    f"{job}: expected an answer within {limit:g} s, got none, and gave up; try a smaller picture or "
                    "network, or again when the machine is idle",
                )
            done, answer = connection.recv()
        except (EOFError, OSError):
            raise self._died(job) from None
        if not done:
            raise answer
        return answer

    def _started(self) -> Connection:
        """The connection to a worker that is ready.

        Raises: EOFError, OSError: if it ended, as ``Connection.recv``.
        """
        if self._connection is None:
            context = get_context("spawn")  # a fork would copy the server's threads' locks
            self._connection, far = context.Pipe()
            self._process = context.Process(target=serve, args=(far,), name="dashboard worker", daemon=True)
            self._process.start()
            far.close()
            if not self._connection.poll(START_SECONDS):
                raise EOFError
            self._connection.recv()
        return self._connection

    def _died(self, job: str) -> ApiError:
        """Why the worker is gone, as far as its exit status says; the next job starts another."""
        process = self._process
        if process is not None:
            process.join(1)
        code = None if process is None else process.exitcode
        self._stop()
        if self._closed:
            return ApiError(503, "closed", "the server is about to end: start it again")
        killed = code == -signal.SIGKILL
        why = "the system ended it, as it does when memory runs out" if killed else f"exit status {code}"
        log.error("the worker ended during '%s': %s", job, why)
        return ApiError(
            500,
            "worker_died",
            f"{job}: the worker process ended ({why}); try a smaller picture or network: the next request starts "
            "another",
        )

    def _stop(self) -> None:
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if process is not None:
            process.kill()
            process.join()
        if connection is not None:
            connection.close()


def serve(connection: Connection) -> None:
    """The worker's life: does jobs until the server is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's, which ends its worker
    _first_to_go()
    with suppress(EOFError, OSError):
        connection.send("ready")
        while True:
            name, arguments = connection.recv()
            connection.send(_done(name, arguments))


def _job(name: str) -> Callable[..., Any]:
    """The job of that name; torch is imported for the first that needs it."""
    if name == "decode":
        return decode
    import torch

    from search.dashboard.jobs import JOBS

    torch.set_num_threads(min(THREADS, os.cpu_count() or 1))
    return JOBS[name]


def _done(name: str, arguments: dict[str, Any]) -> tuple[bool, Any]:
    """Whether the job could be done, and what it returned or an ApiError."""
    try:
        return True, _job(name)(**arguments)
    except ApiError as error:
        return False, error
    except ValueError as error:
        return False, ApiError(422, "refused", str(error))
    except (MemoryError, RuntimeError, ArithmeticError) as error:
        if isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
            told = f"{name}: expected to find enough memory, got too little; try a smaller picture or network"
            return False, ApiError(507, "out_of_memory", told)
        return False, ApiError(422, "refused", f"{name}: {error}")
    except Exception as error:  # a fault of ours: the server goes on
        log.exception("the job '%s' failed", name)
        return False, ApiError(500, "internal", f"{name}: {type(error).__name__}: {error}")


def _first_to_go() -> None:
    """Have Linux end this process rather than a search's when memory runs out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")

"""A real server on a loopback port, for the tests of what goes over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from fastapi import FastAPI

from results.dashboard.serving import listen
from tests.results.dashboard.held import hold


@contextmanager
def served(make: Callable[[int], FastAPI]) -> Iterator[httpx.Client]:
    """A client of the application that is made for a port, which is served while this lasts."""
    bound = listen("127.0.0.1", 0, others=False)
    port = bound.getsockname()[1]
    app = make(port)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        hooks = {"response": [hold(app)]}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, event_hooks=hooks) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()

"""The dashboard's server process: its socket, what it says at the start, and its end."""

from __future__ import annotations

import errno
import signal
import socket
import webbrowser
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

PORTS_TRIED = 20
GRACE_S = 1  # for answers that are on their way when the server is to end


def listen(host: str, port: int, *, others: bool) -> socket.socket:
    """A bound socket.

    Args:
        others: Whether a later port will do where this one is taken.

    Raises: OSError: if it can't be bound, with what to do.
    """
    family, kind, protocol, _, address = _resolve(host, port)
    for candidate in range(port, port + (PORTS_TRIED if others else 1)):
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((address[0], candidate, *address[2:]))
        except OSError as error:
            made.close()
            if error.errno != errno.EADDRINUSE:
                raise OSError(
                    f"can't listen on {host}:{port}: {error.strerror}; try another --host or --port"
                ) from error
        else:
            return made
    raise OSError(f"port {port} of {host} is taken by another program: end it, or name another with --port")


def _resolve(host: str, port: int) -> tuple:
    try:
        return socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise OSError(
            f"--host expects an address of this machine, got '{host}' ({error.strerror})"
        ) from error


def address(bound: socket.socket, host: str, token: str | None) -> str:
    """What to open in a browser."""
    shown = f"[{host.strip('[]')}]" if ":" in host else host
    return f"http://{shown}:{bound.getsockname()[1]}/" + (f"?token={token}" if token else "")


def serve(
    app: FastAPI, bound: socket.socket, *, started: Callable[[], None], ending: Callable[[], None]
) -> None:
    """Answers requests until Ctrl-C.

    Args:
        started: Called when the first request can be answered.
        ending: Called when the process is told to end: ends what would otherwise go on, such as event streams.

    Raises: KeyboardInterrupt: after Ctrl-C.
    """
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_S
    )
    server = _Server(config, started, ending)
    server.run(sockets=[bound])
    if server.interrupted:
        raise KeyboardInterrupt


def open_browser(url: str) -> None:
    """Shows the page, where there is a browser."""
    webbrowser.open(url)


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, started: Callable[[], None], ending: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._started = started
        self._ending = ending
        self.interrupted = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._ending()
        self.interrupted = sig == signal.SIGINT
        super().handle_exit(sig, frame)

"""Who may ask the dashboard's server for what: Host, origin, token, sizes; and what browsers may do with its pages.

A page of another site can make a browser send requests to this machine. It can't read the answers, which are of another
origin, unless its own name is pointed at this machine (DNS rebinding), and that the Host header gives away; nor can it
hide that it made them (Origin, Sec-Fetch-Site). On a loopback address that is enough. Where other machines can reach
the server, whatever makes it work needs a token too; reading doesn't.
"""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders

from results.dashboard.errors import ApiError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
UPLOADS = "/api/v1/uploads"
BODY_BYTES = 64 * 1024  # of a request that isn't an upload
CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "font-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
# A document of one file: its own styles and pictures, no scripts and no requests at all.
DOCUMENT_CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

log = logging.getLogger("pixelfront.dashboard")


@dataclass(frozen=True)
class Settings:
    """Where the server listens and what it allows.

    Attributes:
        host: The address that it is bound to.
        token: What requests that make the server work must carry; None on a loopback address (``token_for``).
        upload_bytes: Largest uploaded file.
        upload_pixels: Most pixels of an uploaded picture.
        compare: Most networks of one comparison.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = None
    upload_bytes: int = 32 * 1024**2
    upload_pixels: int = 4 * 1024**2
    compare: int = 4


def token_for(host: str) -> str | None:
    """A new token, where other machines can reach a server that is bound to this address; None on loopback."""
    return None if _is_loopback(host) else secrets.token_urlsafe(24)


def install(app: Starlette, settings: Settings) -> None:
    """Put the checks in front of the application and the headers on each of its responses.

    Add it last: what is added later runs earlier.
    """
    app.add_middleware(Guard, settings=settings)


class Guard:
    """ASGI middleware; passes bodies through as they come, so that event streams aren't held back."""

    def __init__(self, app: App, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":  # there are none
            await send({"type": "websocket.close"})
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _add_headers(message, scope["path"])
            await send(message)

        try:
            limit = _check(scope, Headers(scope=scope), self._settings)
            await self._app(scope, _limited(receive, limit), guarded)
        except ApiError as error:
            if started:
                raise
            await error.response()(scope, receive, guarded)
        except Exception:
            # Not left to Starlette, whose answer to what nobody expected would lack the headers and the shape.
            if started:
                raise
            log.exception("%s %s failed", scope["method"], scope["path"])
            failure = ApiError(500, "internal", "the server failed at this request: its terminal says why")
            await failure.response()(scope, receive, guarded)


def _check(scope: Scope, headers: Headers, settings: Settings) -> int:
    """How large the request's body may be.

    Raises: ApiError: if it isn't to be answered.
    """
    _check_host(headers, settings)
    writes = scope["method"] not in ("GET", "HEAD")
    _check_site(headers, writes=writes)
    if writes:
        _check_token(headers, settings.token)
    limit = settings.upload_bytes if scope["path"] == UPLOADS else BODY_BYTES
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length) > limit:
        raise _too_large(limit)
    return limit


def _check_host(headers: Headers, settings: Settings) -> None:
    """Nothing, if the browser was sent here by an address that is ours.

    The port may be another: a tunnel's end has its own. A server on all addresses is reached by any of them, which as
    numbers can't be rebound, and by the machine's name.
    """
    given = headers.getlist("host")
    host = _hostname(given[0]) if len(given) == 1 else None
    bound = settings.host
    anywhere = bound in ("", "0.0.0.0", "::")
    allowed = {*LOOPBACK, bound.lower().strip("[]"), *((socket.gethostname().lower(),) if anywhere else ())}
    if host not in allowed and not (anywhere and host is not None and _is_address(host)):
        raise ApiError(
            400,
            "wrong_host",
            f"expected a Host header of {settings.host} or localhost, got {', '.join(given)[:100] or 'none'}; open "
            "the address that the server printed",
        )


def _check_site(headers: Headers, *, writes: bool) -> None:
    """Nothing, if no page of another site is behind the request; following a link here is no harm."""
    site = headers.get("sec-fetch-site", "none")
    link = not writes and headers.get("sec-fetch-mode") == "navigate"
    origin = headers.get("origin")
    own = {f"{scheme}://{headers['host']}".lower() for scheme in ("http", "https")}  # https: behind a proxy
    foreign = origin is not None and origin.lower() not in own
    if (site not in ("same-origin", "none") and not link) or foreign:
        raise ApiError(
            403,
            "foreign_origin",
            "expected a request of the dashboard's own page, got one that another site made "
            f"({(origin or site)[:100]}); open the dashboard itself",
        )


def _check_token(headers: Headers, token: str | None) -> None:
    if token is None:
        return
    given = headers.get("authorization", "").encode()
    if not secrets.compare_digest(given, f"Bearer {token}".encode()):
        raise ApiError(
            401,
            "token_required",
            f"expected the token that the server printed, got {'another one' if given else 'none'}; open the address "
            "with ?token=..., or send 'Authorization: Bearer TOKEN'",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _limited(receive: Receive, limit: int) -> Receive:
    """The body, until it gets larger than was allowed or announced."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return limited


def _too_large(limit: int) -> ApiError:
    return ApiError(
        413,
        "too_large",
        f"expected at most {limit:,} bytes, got more; send a smaller file",
        # Not to have to read the rest.
        headers={"Connection": "close"},
    )


def _add_headers(message: Message, path: str) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if path.startswith("/api/"):
        headers.setdefault("Cache-Control", "no-store")


def _hostname(host: str) -> str | None:
    """The name or number in ``host:port``, without brackets; None for what is no such thing."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # which may be no number
    except ValueError:
        return None
    return parts.hostname if parts.netloc == host and "@" not in host else None


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    bare = host.strip("[]").lower()
    return bare == "localhost" or (_is_address(bare) and ip_address(bare).is_loopback)

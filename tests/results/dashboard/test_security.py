"""What the server refuses, asked over HTTP as a browser, a foreign page or a script would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from results.dashboard import errors, security
from results.dashboard.security import BODY_BYTES, UPLOADS, Settings, token_for
from tests.results.dashboard.served import served

TOKEN = "0123456789abcdef"
UPLOAD_BYTES = 200_000


def application(settings: Settings) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    errors.install(app)

    @app.get("/api/v1/read")
    def read(number: int = 0) -> dict[str, int]:
        return {"number": number}

    @app.get("/api/v1/fault")
    def fault() -> None:
        raise RuntimeError("a secret of the server's")

    @app.get("/api/v1/teapot")
    def teapot() -> None:
        raise HTTPException(418, "short and stout")

    @app.get("/api/v1/events")
    def events() -> StreamingResponse:
        async def forever() -> AsyncIterator[str]:
            yield "data: first\n\n"
            await asyncio.sleep(60)

        return StreamingResponse(forever(), media_type="text/event-stream")

    @app.post("/api/v1/work")
    def work(what: dict[str, Any]) -> dict[str, Any]:
        return what

    @app.post(UPLOADS)
    async def upload(request: Request) -> dict[str, int]:
        return {"bytes": len(b"".join([chunk async for chunk in request.stream()]))}

    security.install(app, settings)
    return app


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """Of a server on a loopback address."""
    with served(lambda port: application(Settings(port=port, upload_bytes=UPLOAD_BYTES))) as found:
        yield found


@pytest.fixture(scope="module")
def guarded() -> Iterator[httpx.Client]:
    """Of a server that thinks it is bound to all addresses."""
    with served(lambda port: application(Settings("0.0.0.0", port, TOKEN))) as found:
        yield found


def refusal(response: httpx.Response) -> str:
    """The code of an error in the one shape, with the headers that every answer has."""
    assert response.headers["content-type"] == "application/json"
    check_headers(response)
    error = response.json()["error"]
    assert list(error) == ["code", "message", "details"]
    assert len(error["message"]) > 20
    return error["code"]


def check_headers(response: httpx.Response) -> None:
    assert response.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    assert response.headers["cross-origin-opener-policy"] == "same-origin"
    assert response.headers["cache-control"] == "no-store"


def test_a_plain_request_is_answered_with_all_headers(client: httpx.Client) -> None:
    response = client.get("/api/v1/read", params={"number": 3})
    assert response.json() == {"number": 3}
    check_headers(response)


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "[::1]:8080", "LOCALHOST", "127.0.0.1:80"])
def test_every_name_of_the_loopback_address_is_ours(client: httpx.Client, host: str) -> None:
    assert client.get("/api/v1/read", headers={"Host": host}).status_code == 200


FOREIGN = (
    "evil.example 127.0.0.1.evil.example localhost.evil.example:8080 127.0.0.1@evil.example ::1 192.168.0.7 "
    "localhost:port localhost/x [localhost"
)


@pytest.mark.parametrize("host", ["", *FOREIGN.split()])
def test_a_rebound_name_is_refused(client: httpx.Client, host: str) -> None:
    for method, path in (("GET", "/api/v1/read"), ("POST", "/api/v1/work"), ("GET", "/")):
        response = client.request(method, path, headers={"Host": host})
        assert (response.status_code, refusal_or_plain(response)) == (400, "wrong_host")


def refusal_or_plain(response: httpx.Response) -> str:
    """As ``refusal``, also of what isn't under /api, which may be kept in caches."""
    response.headers.setdefault("cache-control", "no-store")
    return refusal(response)


def test_on_all_addresses_numbers_and_the_machines_name_are_ours(guarded: httpx.Client) -> None:
    import socket

    for host in ("192.168.0.7:8080", "[fe80::1]", socket.gethostname()):
        assert guarded.get("/api/v1/read", headers={"Host": host}).status_code == 200
    assert guarded.get("/api/v1/read", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_another_sites_page_can_make_nothing_work(client: httpx.Client, headers: dict[str, str]) -> None:
    response = client.post("/api/v1/work", json={}, headers=headers)
    assert (response.status_code, refusal(response)) == (403, "foreign_origin")


def test_another_sites_page_may_link_here_but_fetch_nothing(client: httpx.Client) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/api/v1/read", headers=link).status_code == 200
    fetch = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert client.get("/api/v1/read", headers=fetch).status_code == 403


def test_the_own_page_and_scripts_may_post(client: httpx.Client) -> None:
    own = {"Origin": str(client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    for headers in (own, {}):
        assert client.post("/api/v1/work", json={"a": 1}, headers=headers).json() == {"a": 1}


@pytest.mark.parametrize(
    "given", [None, "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer é{TOKEN}"]
)
def test_beyond_loopback_work_needs_the_token(guarded: httpx.Client, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given.encode()}
    response = guarded.post("/api/v1/work", json={}, headers=headers)
    assert (response.status_code, refusal(response)) == (401, "token_required")
    assert response.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in response.text
    assert guarded.get("/api/v1/read").status_code == 200


def test_the_token_opens(guarded: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.post("/api/v1/work", json={"a": 1}, headers=headers).json() == {"a": 1}


def test_only_addresses_beyond_loopback_get_a_token() -> None:
    assert [token_for(host) for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.3.2.1")] == [None] * 5
    made = {token_for(host) for host in ("0.0.0.0", "::", "192.168.0.7", "example.org", "")}
    assert None not in made
    assert len(made) == 5


def chunks(count: int) -> Iterator[bytes]:
    """A body that doesn't say how long it is."""
    for _ in range(count):
        yield b"x" * 1000


def test_bodies_are_limited_while_they_come(client: httpx.Client) -> None:
    """Whether they say their length or not."""
    for path, limit in ((UPLOADS, UPLOAD_BYTES), ("/api/v1/work", BODY_BYTES)):
        for body in (b"x" * (limit + 1), chunks(limit // 1000 + 1)):
            response = client.post(path, content=body)
            assert (response.status_code, refusal(response)) == (413, "too_large")
    for body in (b"x" * UPLOAD_BYTES, chunks(UPLOAD_BYTES // 1000)):
        assert client.post(UPLOADS, content=body).json() == {"bytes": UPLOAD_BYTES}


def test_every_refusal_has_one_shape(client: httpx.Client) -> None:
    asked = {
        "not_found": client.get("/api/v1/nothing"),
        "method_not_allowed": client.delete("/api/v1/read"),
        "invalid": client.get("/api/v1/read", params={"number": "three"}),
        "bad_request": client.get("/api/v1/teapot"),
        "internal": client.get("/api/v1/fault"),
    }
    assert {code: (refusal(r), r.status_code) for code, r in asked.items()} == {
        "not_found": ("not_found", 404),
        "method_not_allowed": ("method_not_allowed", 405),
        "invalid": ("invalid", 422),
        "bad_request": ("bad_request", 418),
        "internal": ("internal", 500),
    }
    assert "secret" not in asked["internal"].text
    assert asked["invalid"].json()["error"]["details"]["problems"][0]["where"] == "query.number"


def test_there_are_no_web_sockets() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def never(*_: Any) -> None:
        raise AssertionError("reached the application")

    asyncio.run(security.Guard(never, Settings())({"type": "websocket", "headers": []}, never, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close"}]


def test_streams_are_not_held_back(client: httpx.Client) -> None:
    """The first event arrives while the stream goes on."""
    with client.stream("GET", "/api/v1/events", timeout=5) as response:
        check_headers(response)
        assert next(response.iter_text()) == "data: first\n\n"

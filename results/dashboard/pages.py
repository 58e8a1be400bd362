"""The page's files, as they were when the server started.

Held in memory: a page asks for some forty of them at once, and no path from a request ever reaches the file system.
"""

from __future__ import annotations

import hashlib
import mimetypes
from pathlib import Path

from fastapi import FastAPI, Request, Response

from results.dashboard.errors import ApiError

STATIC = Path(__file__).parent / "static"


def install(app: FastAPI) -> None:
    """Adds ``/``, the page itself, and ``/static/...``."""
    files = {
        path.relative_to(STATIC).as_posix(): _headed(path) for path in STATIC.rglob("*") if path.is_file()
    }

    # Coroutines: they wait for nothing, and a thread for each would take longer than the answer.
    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return _answer(request, *files["index.html"])

    @app.get("/static/{name:path}", include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        if name not in files:
            raise ApiError(404, "not_found", f"the page has no file '{name[:100]}'; reload the page")
        return _answer(request, *files[name])


def _headed(path: Path) -> tuple[bytes, dict[str, str]]:
    content = path.read_bytes()
    kind = mimetypes.guess_type(path.name)[0] or "text/plain"
    digest = hashlib.sha256(content).hexdigest()[:16]
    # A browser asks each time whether its copy is still right, so that an upgrade is seen at once.
    return content, {"Content-Type": kind, "ETag": f'"{digest}"', "Cache-Control": "no-cache"}


def _answer(request: Request, content: bytes, headers: dict[str, str]) -> Response:
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers)

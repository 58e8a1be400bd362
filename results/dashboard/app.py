"""The dashboard's server: the page, the JSON API, and what guards them."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from results.dashboard import api, errors, files, pages, reference, security
from results.dashboard.files import Services
from results.dashboard.live import Live
from results.dashboard.security import Settings
from results.dashboard.views import Studies
from results.store.store import Store


def create_app(store: Store, *, runs: Path, services: Services | None = None, settings: Settings) -> FastAPI:
    """The application.

    Args:
        store: Opened to read only.
        runs: Folder of the studies' files.
        services: What needs torch, done elsewhere; without it there are no pictures and no exports.

    Returns: It; ``app.state.live`` is to be closed when the server is to end.
    """
    studies = Studies(store)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        threading.Thread(target=studies.warm, name="warm", daemon=True).start()
        yield

    app = FastAPI(
        title="pixelfront", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json"
    )
    errors.install(app)
    app.state.live = Live(studies)
    if services is not None:
        app.include_router(files.router(store, runs, services, settings))
    app.include_router(api.router(studies, app.state.live, runs, settings))

    @app.get("/api/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return reference.page(app)

    pages.install(app)
    security.install(app, settings)
    return app

"""The dashboard's server: the page, the JSON API, and what guards them."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles

from results.dashboard import api, errors, files, reference, security
from results.dashboard.files import Services
from results.dashboard.live import Live
from results.dashboard.security import Settings
from results.dashboard.views import Studies
from results.store import Store

STATIC = Path(__file__).parent / "static"


def create_app(store: Store, *, runs: Path, services: Services | None = None, settings: Settings) -> FastAPI:
    """The application.

    Args:
        store: Opened to read only.
        runs: Folder of the studies' files.
        services: What needs torch, done elsewhere; without it there are no pictures and no exports.

    Returns: It; ``app.state.live`` is to be closed when the server is to end.
    """
    app = FastAPI(title="pixelfront", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    errors.install(app)
    studies = Studies(store)
    app.state.live = Live(studies)
    if services is not None:  # first, as the addresses of studies match nearly all
        app.include_router(files.router(store, runs, services, settings))
    app.include_router(api.router(studies, app.state.live, runs, settings))

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/api/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return reference.page(app)

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    security.install(app, settings)
    return app

"""What the dashboard's page gets beyond numbers: pictures, comparisons, costs by part, exports and files.

All that needs torch is a job of ``Services``, in another process: nothing here imports it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, ConfigDict, NonNegativeInt
from starlette.concurrency import run_in_threadpool

from results.analysis.overview import find_trial
from results.dashboard import schemas
from results.dashboard.errors import ApiError
from results.dashboard.schemas import REFUSALS, answers
from results.dashboard.security import Settings
from results.dashboard.temporary import Kept, TemporaryFiles
from results.dashboard.uploads import Picture
from results.store.artifacts import verified, weights_path
from results.store.schema import Study, Trial
from results.store.store import Store

DEFAULT_RUNS = Path("runs")  # of the command line


class Services(Protocol):
    """Jobs that need torch; ``search.dashboard.worker`` does them.

    ``decode`` (content, pixels) gives a Picture. The others give what the endpoints of their names answer, with
    Pictures in place of addresses: ``parts`` (study, trial), ``pictures`` (study), ``compare`` (study, subjects: trials
    with their weights' paths, picture: an id or an upload's PNG with its role, baseline) and ``export`` (study,
    lineage, weights, path, form; paths in place of addresses).
    """

    def run(self, job: str, /, **arguments: Any) -> Any:
        """What the job returns.

        Raises: ApiError: if it can't be done, takes too long, or too many others wait.
        """

    def close(self) -> None:
        """Ends what is running."""


class CompareRequest(BaseModel):
    """What to show side by side on which picture."""

    model_config = ConfigDict(extra="forbid")
    picture: str
    trials: list[NonNegativeInt]
    baseline: bool = True


class ExportRequest(BaseModel):
    """What to write a network as."""

    model_config = ConfigDict(extra="forbid")
    format: Literal["onnx", "pt2", "safetensors"]


def router(store: Store, runs: Path, services: Services, settings: Settings) -> APIRouter:
    """The endpoints under ``/api/v1``; when the application ends, so do the services and the temporary files."""
    kept = TemporaryFiles()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            services.close()
            kept.close()

    found = APIRouter(prefix="/api/v1", lifespan=lifespan, tags=["pictures and files"])
    _Files(store, runs.resolve(), services, settings, kept).add_to(found)
    return found


def export_command(store: Store, runs: Path, study: Study, trial: Trial, form: str) -> str:
    """The command line that exports the trial as the dashboard does."""
    output = ["-o", _file_name(study, trial, form)]
    return shlex.join(
        ["pixelfront", "export", study.name, str(trial.number), *output, *whereabouts(store, runs)]
    )


def whereabouts(store: Store, runs: Path) -> list[str]:
    """The command line's options that name the folder and the store, where they aren't the usual ones.

    A password in the store's URL isn't shown.
    """
    words: list[str] = []
    if runs.resolve() != DEFAULT_RUNS.resolve():
        words += ["--runs", str(runs)]
    if Path(store.place).resolve() != (runs / "pixelfront.db").resolve():
        words += ["--db", store.place]
    return words


class _Files:
    """The endpoints' methods; each is answered in a thread, as services may take seconds."""

    def __init__(
        self, store: Store, runs: Path, services: Services, settings: Settings, kept: TemporaryFiles
    ) -> None:
        self._store = store
        self._runs = runs
        self._services = services
        self._settings = settings
        self._kept = kept

    def add_to(self, router: APIRouter) -> None:
        trial = "/studies/{study}/trials/{number}"
        router.add_api_route(f"{trial}/parts", self.parts, methods=["GET"], responses=answers(schemas.Parts))
        router.add_api_route(
            f"{trial}/export", self.export, methods=["POST"], responses=answers(schemas.Exported)
        )
        router.add_api_route(
            "/studies/{study}/pictures", self.pictures, methods=["GET"], responses=answers(schemas.Pictures)
        )
        router.add_api_route(
            "/studies/{study}/compare", self.compare, methods=["POST"], responses=answers(schemas.Comparison)
        )
        router.add_api_route("/uploads", self.upload, methods=["POST"], responses=answers(schemas.Upload))
        router.add_api_route(
            "/images/{name}.png", self.image, methods=["GET"], responses=REFUSALS, response_class=Response
        )
        router.add_api_route(
            "/files/{name}",
            self.file,
            methods=["GET"],
            response_model=None,
            responses=REFUSALS,
            response_class=Response,
        )

    def parts(self, study: str, number: str) -> Any:
        """What each part of a trial's network costs."""
        record, trial = self._find(study, number)
        return self._services.run("parts", study=record, trial=trial)

    def pictures(self, study: str) -> Any:
        """Held-out pictures that networks can be compared on."""
        return self._services.run("pictures", study=self._store.study(study))

    async def upload(
        self, request: Request, role: Annotated[Literal["target", "input"], Query(alias="as")] = "target"
    ) -> Any:
        """Take a picture: a clean one, to be degraded as the task does, or one that networks are given as it is."""
        if not request.headers.get("content-type", "").startswith("image/"):
            raise ApiError(
                415,
                "not_a_picture",
                "expected a picture as the body with its Content-Type, image/..., got "
                f"{request.headers.get('content-type', 'none')[:100]}",
            )
        content = b"".join([chunk async for chunk in request.stream()])
        picture: Picture = await run_in_threadpool(
            self._services.run, "decode", content=content, pixels=self._settings.upload_pixels
        )
        name = self._kept.add(picture.png, "upload.png", role)
        facts = {"width": picture.width, "height": picture.height, "as": role, "notes": picture.notes}
        return {"picture": {"id": name, "name": "your picture", **facts}}

    def compare(self, study: str, wanted: CompareRequest) -> Any:
        """Run networks, and the trivial method, on one picture."""
        record, most = self._store.study(study), self._settings.compare
        if not 1 <= len(wanted.trials) <= most or len(set(wanted.trials)) < len(wanted.trials):
            raise ApiError(
                422, "invalid", f"trials: expected 1 to {most} different numbers, got {wanted.trials[:10]}"
            )
        subjects = [self._with_weights(record, str(number)) for number in wanted.trials]
        upload = self._kept.get(wanted.picture)
        picture = (
            (upload.path.read_bytes(), upload.role)
            if upload is not None and upload.role in ("target", "input")
            else wanted.picture
        )
        answer = self._services.run(
            "compare", study=record, subjects=subjects, picture=picture, baseline=wanted.baseline
        )
        answer["picture"]["id"] = wanted.picture
        return self._with_addresses(answer)

    def export(self, study: str, number: str, wanted: ExportRequest) -> Any:
        """Write a trial's network to a file for download; nothing is put on record."""
        record = self._store.study(study)
        trial, weights = self._with_weights(record, number)
        path = self._kept.new_folder() / _file_name(record, trial, wanted.format)
        answer = self._services.run(
            "export",
            study=record,
            lineage=self._store.lineage(trial.id),
            weights=weights,
            path=path,
            form=wanted.format,
        )
        files = [self._adopted(file["path"], file["sha256"]) for file in answer.pop("files")]
        command = export_command(self._store, self._runs, record, trial, wanted.format)
        return {"files": files, **answer, "command": command}

    def image(self, name: str) -> Response:
        """A picture made here."""
        content = self._kept_file(name).path.read_bytes()
        return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=86400"})

    def file(self, name: str) -> FileResponse:
        """Download what was exported here, or a file on record of a trial, if it still is what was recorded."""
        recorded = self._store.file(int(name)) if re.fullmatch("[0-9]{1,18}", name) else None
        if recorded is None:
            kept = self._kept_file(name)
            return FileResponse(kept.path, filename=kept.name, media_type="application/octet-stream")
        study, artifact = recorded
        try:
            path = verified(artifact, folder=self._runs / study)
        except ValueError as error:
            raise ApiError(409, "file_changed", str(error)) from None
        return FileResponse(path, filename=path.name, media_type="application/octet-stream")

    def _find(self, study: str, number: str) -> tuple[Study, Trial]:
        record = self._store.study(study)
        try:
            return record, find_trial(self._store, record, number)
        except ValueError as error:
            raise ApiError(404, "unknown_trial", str(error)) from None

    def _with_weights(self, study: Study, number: str) -> tuple[Trial, Path]:
        _, trial = self._find(study.name, number)
        try:
            return trial, weights_path(self._store, trial, folder=self._runs / study.name)
        except ValueError as error:
            raise ApiError(409, "no_weights", str(error)) from None

    def _kept_file(self, name: str) -> Kept:
        kept = self._kept.get(name)
        if kept is None:
            raise ApiError(404, "unknown_file", "no such file, or none any more: make it again")
        return kept

    def _adopted(self, path: Path, sha256: str) -> dict[str, Any]:
        name = self._kept.adopt(path, path.name, "export")
        facts = {"id": name, "name": path.name, "bytes": path.stat().st_size, "sha256": sha256}
        return facts | {"url": f"/api/v1/files/{name}"}

    def _with_addresses(self, answer: Any) -> Any:
        """The answer with each picture kept, and its address in its place."""
        if isinstance(answer, Picture):
            name = self._kept.add(answer.png, "picture.png", "image")
            return {"url": f"/api/v1/images/{name}.png", "width": answer.width, "height": answer.height}
        if isinstance(answer, dict):
            return {key: self._with_addresses(value) for key, value in answer.items()}
        if isinstance(answer, Sequence) and not isinstance(answer, str):
            return [self._with_addresses(value) for value in answer]
        return answer


def _file_name(study: Study, trial: Trial, form: str) -> str:
    """Of an exported network; made of plain characters, whatever the study is called."""
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', study.name)[:80]}-{trial.number}.{form}"

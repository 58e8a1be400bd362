"""The JSON API's addresses that read: studies, trials, fronts, events."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from numpy.typing import NDArray

from results.dashboard import analysis, early, fronts, progress, schemas, trials, views
from results.dashboard.answers import Json
from results.dashboard.columns import STAGES, STATES, Snapshot
from results.dashboard.errors import ApiError
from results.dashboard.features import Features
from results.dashboard.live import Live
from results.dashboard.schemas import REFUSALS, answers
from results.dashboard.security import DOCUMENT_CSP, Settings
from results.dashboard.views import Axes, Opened, Studies

DOCUMENTS = {"html": "text/html", "md": "text/markdown", "csv": "text/csv", "json": "application/json"}

Since = Annotated[int | None, Query(ge=0, description="Only what changed after this revision.")]
Key = Annotated[str, Query(description="A metric's key, see the study's columns.")]
Names = Annotated[str | None, Query(description="Any of these, separated by commas.")]
Range = Annotated[str | None, Query(pattern=r"^\d*:\d*$", description="LOW:HIGH; either may be empty.")]


def router(studies: Studies, live: Live, runs: Path, settings: Settings) -> APIRouter:
    """All reading resources."""
    made = APIRouter(prefix="/api/v1", default_response_class=Json)
    _add_general(made, studies, settings)
    _add_studies(made, studies)
    _add_fronts(made, studies)
    _add_trials(made, studies, runs)
    _add_live(made, studies, live)
    return made


def _add_general(made: APIRouter, studies: Studies, settings: Settings) -> None:
    @made.get("/info", tags=["studies"], responses=answers(schemas.Info))
    def info() -> Json:
        """The server: version, whether requests that make it work need a token, limits."""
        limits = {
            "upload_bytes": settings.upload_bytes,
            "upload_pixels": settings.upload_pixels,
            "compare": settings.compare,
        }
        token = settings.token is not None
        return Json(
            {"version": version("pixelfront"), "read_only": True, "token_required": token, "limits": limits}
        )

    @made.get("/studies", tags=["studies"], responses=answers(schemas.StudyList))
    def all_studies() -> Json:
        """Every study with its counts and its best trial, oldest first."""
        return Json({"studies": [views.summary(opened) for opened in studies.all()]})


def _add_studies(made: APIRouter, studies: Studies) -> None:
    @made.get("/studies/{study}/points", tags=["trials"], responses=answers(schemas.Points))
    def points(
        study: str,
        since: Since = None,
        fields: Annotated[str, Query(description="``values``, ``features`` or both.")] = "values",
    ) -> Json:
        """Trials as columns: measurements, and with ``fields=features`` what is known of the architectures instead.

        Both together are ``fields=values,features``.
        """
        wanted = [_known(name, views.FIELDS, "field") for name in _split(fields)]
        return Json(views.points(studies.find(study), since, wanted))

    @made.get("/studies/{study}/progress", tags=["studies"], responses=answers(schemas.Progress))
    def study_progress(study: str) -> Json:
        """Running trials with their learning curves, failures with reasons, hypervolume, what was spent and is left."""
        return Json(progress.progress(studies.find(study)))

    @made.get("/studies/{study}/space", tags=["studies"], responses=answers(schemas.Choices))
    def study_space(study: str) -> Json:
        """Which choices matter at equal cost, and trials as parallel coordinates."""
        return Json(analysis.space(studies.find(study)))

    @made.get("/studies/{study}/report.{form}", tags=["studies"], responses=REFUSALS, response_class=Response)
    def report(study: str, form: Literal["html", "md", "csv", "json"]) -> Response:
        """The study as one document, as ``pixelfront report`` writes it."""
        from results.render.report import render  # draws figures, which are slow to import

        text = render(studies.store, studies.find(study).study.name, form)
        return Response(text, media_type=DOCUMENTS[form], headers={"Content-Security-Policy": DOCUMENT_CSP})

    @made.get("/studies/{study}", tags=["studies"], responses=answers(schemas.StudyRecord))
    def one_study(study: str) -> Json:
        """Everything of a study but its trials: goal, columns, counts, what was spent, how it was configured."""
        return Json(views.detail(studies.find(study)))


def _add_trials(made: APIRouter, studies: Studies, runs: Path) -> None:
    @made.get("/studies/{study}/trials", tags=["trials"], responses=answers(schemas.TrialPage))
    def page(
        study: str,
        since: Since = None,
        after: Annotated[int | None, Query(ge=0, description="``next`` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        stage: Names = None,
        state: Names = None,
        sort: Annotated[str, Query(description="``number`` or a metric's key.")] = "number",
        order: Literal["asc", "desc"] = "asc",
    ) -> Json:
        """Trials with their measurements, page by page."""
        opened = studies.find(study)
        snapshot = opened.columns.snapshot()
        chosen = trials.matching(
            snapshot,
            since=since,
            stages=[_known(name, STAGES, "stage") for name in _split(stage)],
            states=[_known(name, STATES, "state") for name in _split(state)],
            column=None if sort == "number" else Axes(opened.study, snapshot).find(sort),
            descending=order == "desc",
        )
        return Json(trials.page(opened, chosen=chosen, snapshot=snapshot, after=after, limit=limit))

    @made.get("/studies/{study}/trials/{number}", tags=["trials"], responses=answers(schemas.TrialRecord))
    def one_trial(study: str, number: str) -> Json:
        """Everything on record of a trial, by its number or ``best``."""
        return Json(trials.detail(studies.find(study), number, runs))

    @made.get("/studies/{study}/curves", tags=["trials"], responses=answers(schemas.Curves))
    def curves(
        study: str,
        numbers: Annotated[str, Query(pattern=r"^\d{1,9}(,\d{1,9}){0,99}$", description="At most 100.")],
        key: Key | None = None,
    ) -> Json:
        """Learning curves by a metric, the study's objective unless another is named."""
        opened = studies.find(study)
        axes = Axes(opened.study, opened.columns.snapshot())
        column = axes.find(key) if key else axes.objective
        return Json(trials.curves(opened, [int(number) for number in numbers.split(",")], column))


def _add_live(made: APIRouter, studies: Studies, live: Live) -> None:
    @made.get(
        "/studies/{study}/events", tags=["studies"], responses=REFUSALS, response_class=StreamingResponse
    )
    def events(
        study: str, last_event_id: Annotated[str | None, Header(pattern=r"^\d{1,18}$")] = None
    ) -> StreamingResponse:
        """Server-sent events: ``changed`` with the new points, ``progress`` with what is running.

        An event's id is the revision, so that a client that comes back is sent what it missed.
        """
        opened = studies.find(study)
        since = None if last_event_id is None else int(last_event_id)
        stream = live.stream(opened.study.name, opened.study.id, since)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _add_fronts(made: APIRouter, studies: Studies) -> None:
    @made.get("/studies/{study}/front", tags=["fronts"], responses=answers(schemas.Front))
    def front(
        study: str,
        x: Key | None = None,
        y: Key | None = None,
        stage: Names = None,
        kind: Names = None,
        kinds: Annotated[
            Literal["any", "all"], Query(description="Trials with any of the kinds, or all.")
        ] = "any",
        depth: Range = None,
        width: Range = None,
        upsampler: Names = None,
    ) -> Json:
        """The complete trials that no other beats on two axes, among those that pass the filter.

        The axes are the study's own unless others are named; only those have a reference and a hypervolume.
        """
        opened = studies.find(study)
        every = kind if kinds == "all" else None
        asked = {
            "stage": stage,
            "kind": kind,
            "every": every,
            "depth": depth,
            "width": width,
            "upsampler": upsampler,
        }
        if any(asked[name] for name in ("kind", "depth", "width", "upsampler")):
            snapshot, features = opened.columns.features()
        else:
            snapshot, features = opened.columns.snapshot(), Features()
        return Json(_front(opened, snapshot, x, y, _chosen(snapshot, features, asked)))

    @made.get("/studies/{study}/preliminary", tags=["fronts"], responses=answers(schemas.Preliminary))
    def preliminary(study: str, x: Key | None = None, y: Key | None = None) -> Json:
        """Networks that aren't trained to the end, at the highest rung where several can be compared.

        The axes are the study's own unless others are named; members are those of its own objectives.
        """
        opened = studies.find(study)
        axes = Axes(opened.study, opened.columns.snapshot())
        across, up = axes.find(x) if x else axes.x, axes.find(y) if y else axes.y
        return Json(early.early_front(opened, across, up))

    @made.get("/studies/{study}/intervals", tags=["fronts"], responses=answers(schemas.Intervals))
    def intervals(study: str, y: Key | None = None) -> Json:
        """Architectures that were trained several times in one way: mean and 95 % interval of a metric."""
        opened = studies.find(study)
        snapshot, features = opened.columns.features()
        axes = Axes(opened.study, snapshot)
        column = axes.find(y) if y else axes.objective
        return Json(trials.intervals(studies.store, opened.study, snapshot, features, column))


def _front(
    opened: Opened, snapshot: Snapshot, x: str | None, y: str | None, chosen: NDArray[np.bool_]
) -> dict[str, Any]:
    axes = Axes(opened.study, snapshot)
    across = axes.find(x) if x else axes.x
    up = axes.find(y) if y else axes.y
    found = fronts.front(opened.study, snapshot, across, up, chosen)
    first, second = fronts.means(snapshot, across), fronts.means(snapshot, up)
    reference = found.reference
    return {
        "x": across,
        "y": up,
        "members": [{"number": int(n), "x": float(first[n]), "y": float(second[n])} for n in found.numbers],
        "hypervolume": found.hypervolume,
        "unit": None if reference is None else f"MACs x {up.unit}",
        "reference": reference
        and {"x": reference.cost, "y": reference.quality, "meaning": reference.meaning},
        "worthless": found.worthless,
        "unmet": found.unmet,
        "considered": found.considered,
        "revision": snapshot.revision,
    }


def _chosen(snapshot: Snapshot, features: Features, asked: dict[str, str | None]) -> NDArray[np.bool_]:
    """Marks the trials that pass a filter."""
    chosen = np.ones(len(snapshot), dtype=bool)
    if asked["stage"]:
        wanted = [STAGES.index(_known(name, STAGES, "stage")) for name in _split(asked["stage"])]
        chosen &= np.isin(snapshot.stage, wanted)
    if asked["kind"]:
        kinds = {index for index, name in enumerate(features.kinds) if name in _split(asked["kind"])}
        chosen &= np.array([not kinds.isdisjoint(uses) for uses in features.uses], dtype=bool)
    if asked["every"]:
        wanted_kinds = set(_split(asked["every"]))
        chosen &= np.array(
            [wanted_kinds <= {features.kinds[use] for use in uses} for uses in features.uses], dtype=bool
        )
    if asked["upsampler"]:
        named = _split(asked["upsampler"])
        ups = {index for index, name in enumerate(features.upsamplers) if name in named}
        chosen &= np.array([index in ups for index in features.upsampler], dtype=bool)
    for name, column in (("depth", features.depth), ("width", features.width)):
        if asked[name]:
            low, _, high = str(asked[name]).partition(":")
            values = np.array(column, dtype=float)
            chosen &= (values >= float(low or "-inf")) & (values <= float(high or "inf"))
    return chosen


def _split(names: str | None) -> list[str]:
    return [name for name in (names or "").split(",") if name]


def _known(name: str, known: tuple[str, ...], what: str) -> str:
    if name not in known:
        raise ApiError(422, f"unknown_{what}", f"expected a {what} of {', '.join(known)}, got '{name}'")
    return name

"""The one shape in which the dashboard's server says that something can't be done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from results.store.connection import StoreError, UnknownStudy

CODES = {404: "not_found", 405: "method_not_allowed"}  # of refusals that are Starlette's own


class ApiError(HTTPException):
    """A refusal: an HTTP status, a code for programs, and a sentence for people.

    An HTTPException, so that it passes through what reads a request's body unchanged.

    Args:
        status: Of HTTP, 4xx or 5xx.
        code: Snake case and stable, such as ``unknown_study``.
        message: One sentence: what was expected, what came, what to do.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.args = status, code, message  # what it is made from again, in another process
        self.code = code
        self.details = details

    def response(self) -> Response:
        """What answers the request."""
        return _response(self.status_code, error_body(self.code, self.detail, self.details), self.headers)


def error_body(code: str, message: str, details: Mapping[str, Any] | None = None) -> bytes:
    """An error as JSON."""
    return orjson.dumps({"error": {"code": code, "message": message, "details": details}})


def install(app: FastAPI) -> None:
    """Have the application answer every refusal in this shape; what nobody expected is the middleware's
    (``results.dashboard.security``).
    """

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if isinstance(error, ApiError):
            return error.response()
        code, said = CODES.get(error.status_code, "bad_request"), f"{request.method} {request.url.path}"
        body = error_body(code, f"{said}: {error.detail}; /api/docs lists what there is")
        return _response(error.status_code, body, error.headers)

    @app.exception_handler(UnknownStudy)
    async def unknown_study(_request: Request, error: UnknownStudy) -> Response:
        return _response(404, error_body("unknown_study", str(error)), None)

    @app.exception_handler(StoreError)
    async def no_store(_request: Request, error: StoreError) -> Response:
        return _response(503, error_body("store", str(error)), None)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        problems = [
            {"where": ".".join(map(str, problem["loc"])), "problem": problem["msg"]}
            for problem in error.errors()
        ]
        told = "; ".join(f"{each['where']}: {each['problem']}" for each in problems)
        return _response(422, error_body("invalid", told, {"problems": problems}), None)


def _response(status: int, body: bytes, headers: Mapping[str, str] | None) -> Response:
    return Response(body, status, headers=dict(headers or {}), media_type="application/json")

"""Holds what a server answers to what its description says."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
from fastapi import FastAPI
from pydantic import BaseModel

from results.dashboard import schemas


def hold(app: FastAPI) -> Callable[[httpx.Response], None]:
    """What fails, as a client's hook, at the first JSON answer that isn't of the model that describes it."""

    def check(answer: httpx.Response) -> None:
        path, method = answer.request.url.path, answer.request.method.lower()
        if path.startswith("/api/v1") and answer.headers.get("content-type") == "application/json":
            answer.read()
            model = schemas.Refusal if answer.is_error else described(app, path, method)
            if model is not None:
                model.model_validate_json(answer.content)

    return check


def described(app: FastAPI, path: str, method: str) -> type[BaseModel] | None:
    """The model of an address's answer; None where that is a document or a file."""
    for template, methods in app.openapi()["paths"].items():
        if method in methods and re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)), path):
            content = methods[method]["responses"]["200"].get("content", {})
            name = content.get("application/json", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
            return getattr(schemas, name) if name else None
    raise AssertionError(f"nothing describes {method} {path}")

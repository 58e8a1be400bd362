"""The API's reference as a plain page: made from its OpenAPI description, without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

INTRODUCTION = (
    "All answers are JSON; values that are missing are null, times are in UTC. What can't be done is told as "
    '{"error": {"code", "message", "details"}}. A metric is named by its key, which the columns of a study explain. A '
    "study's revision grows with each write to it: ask again with since=REVISION for what is new."
)


def page(app: FastAPI) -> HTMLResponse:
    """The reference of all operations."""
    description = app.openapi()
    title = f"{description['info']['title']} API"
    parts = [
        f"<h1>{escape(title)}</h1><p>{escape(INTRODUCTION)}</p>",
        f'<p><a href="{app.openapi_url}">OpenAPI description</a></p>',
        *_operations(description["paths"]),
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><link rel="stylesheet" href="/static/reference.css">'
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'
    )


def _operations(paths: dict[str, Any]) -> Iterator[str]:
    for path, methods in paths.items():
        for method, operation in methods.items():
            rows = "".join(_parameter(each) for each in operation.get("parameters", []))
            table = f"<table>{rows}</table>" if rows else ""
            body = operation.get("requestBody")
            takes = f"<p>Body: {escape(', '.join(body['content']))}</p>" if body else ""
            told = escape(operation.get("description", ""))
            yield f"<section><h2><b>{method.upper()}</b> {escape(path)}</h2><p>{told}</p>{table}{takes}</section>"


def _parameter(parameter: dict[str, Any]) -> str:
    schema = parameter.get("schema", {})
    options = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    kind = " or ".join(_kind(each) for each in options)
    default = f", default {schema['default']}" if "default" in schema else ""
    cells = (parameter["name"], f"{kind}{default}", parameter.get("description", ""))
    return "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>"


def _kind(schema: dict[str, Any]) -> str:
    return " | ".join(schema["enum"]) if "enum" in schema else str(schema.get("type", ""))

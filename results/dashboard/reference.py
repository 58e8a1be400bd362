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
        "<h1>What answers hold</h1>",
        *(_model(name, schema) for name, schema in sorted(description["components"]["schemas"].items())),
    ]
    head = (
        f'<meta charset="utf-8"><title>{escape(title)}</title>'
        '<link rel="icon" href="/static/icon.svg"><link rel="stylesheet" href="/static/reference.css">'
    )
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'
    )


def _operations(paths: dict[str, Any]) -> Iterator[str]:
    for path, methods in paths.items():
        for method, operation in methods.items():
            rows = "".join(_parameter(each) for each in operation.get("parameters", []))
            table = f"<table>{rows}</table>" if rows else ""
            body = operation.get("requestBody")
            takes = f"<p>Body: {_shape(body['content']['application/json']['schema'])}</p>" if body else ""
            told = escape(operation.get("description", ""))
            answer = (
                operation["responses"]["200"].get("content", {}).get("application/json", {}).get("schema")
            )
            gives = f"<p>Answer: {_shape(answer)}</p>" if answer else ""
            title = f"<b>{method.upper()}</b> {escape(path)}"
            yield f"<section><h2>{title}</h2><p>{told}</p>{table}{takes}{gives}</section>"


def _parameter(parameter: dict[str, Any]) -> str:
    schema = parameter.get("schema", {})
    options = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    default = f", default {escape(str(schema['default']))}" if schema.get("default") is not None else ""
    return _row(parameter["name"], _shape({"anyOf": options}) + default, parameter.get("description", ""))


def _model(name: str, schema: dict[str, Any]) -> str:
    """An object's members."""
    rows = "".join(
        _row(member, _shape(each), each.get("description", ""))
        for member, each in schema["properties"].items()
    )
    told = escape(schema.get("description", ""))
    return f'<section id="{escape(name)}"><h2>{escape(name)}</h2><p>{told}</p><table>{rows}</table></section>'


def _row(name: str, shape: str, told: str) -> str:
    return f"<tr><td>{escape(name)}</td><td>{shape}</td><td>{escape(told)}</td></tr>"


def _shape(schema: dict[str, Any]) -> str:
    """A schema in words, with links to the objects that it names."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_shape(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(escape(str(each)) for each in schema["enum"])
    if "prefixItems" in schema:
        return f"[{', '.join(_shape(each) for each in schema['prefixItems'])}]"
    if "items" in schema:
        return f"list of {_shape(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"by name: {_shape(schema['additionalProperties'])}"
    return escape(schema.get("format") or schema.get("type") or "any")

"""Answers as JSON: NumPy's columns as they are, NaN as null, times in UTC."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import Response

OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


def to_json(content: Any) -> bytes:
    """The content as JSON text."""
    return orjson.dumps(content, option=OPTIONS)


class Json(Response):
    """A response whose content is JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return to_json(content)

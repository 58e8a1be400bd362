"""Wheels hold ``pixelfront.py`` as a package with ``py.typed``; an editable installation finds the file as it is."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WheelLayout(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        self._folder = TemporaryDirectory()  # until the process ends
        marker = Path(self._folder.name) / "py.typed"
        marker.touch()
        build_data["force_include"] |= {
            "pixelfront.py": "pixelfront/__init__.py",
            str(marker): "pixelfront/py.typed",
        }

"""Files that the dashboard's server makes: in a folder that is removed at the end, found by random ids alone."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

MEBIBYTE = 1024**2


@dataclass(frozen=True)
class Kept:
    """A file that is kept.

    Attributes:
        name: What a download of it is called.
        role: ``image``, ``export``, or what an upload is to be: ``target`` or ``input``.
    """

    path: Path
    name: str
    role: str
    bytes: int


class TemporaryFiles:
    """Keeps files until there are too many bytes of them: then those that were asked for longest ago go.

    Safe to share between threads. No path is made of anything that a caller says.

    Args:
        limit: Bytes; the newest file is kept whatever its size.
    """

    def __init__(self, limit: int = 512 * MEBIBYTE) -> None:
        self._limit = limit
        self._folder: TemporaryDirectory[str] | None = None  # made for the first file
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def new_folder(self) -> Path:
        """An empty folder of its own."""
        with self._lock:
            if self._folder is None:
                self._folder = TemporaryDirectory(prefix="pixelfront-dashboard-")
        folder = Path(self._folder.name) / secrets.token_urlsafe(12)
        folder.mkdir(mode=0o700)
        return folder

    def add(self, content: bytes, name: str, role: str) -> str:
        """Keep this content; its id."""
        path = self.new_folder() / "content"
        path.write_bytes(content)
        return self.adopt(path, name, role)

    def adopt(self, path: Path, name: str, role: str) -> str:
        """Keep a file that was written to a ``new_folder``; its id."""
        found = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[found] = Kept(path, name, role, path.stat().st_size)
            while len(self._kept) > 1 and sum(kept.bytes for kept in self._kept.values()) > self._limit:
                _, oldest = self._kept.popitem(last=False)
                oldest.path.unlink(missing_ok=True)
        return found

    def get(self, name: str) -> Kept | None:
        """The file of that id; None if there is none, or none any more."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)

    def close(self) -> None:
        """Removes them all."""
        with self._lock:
            self._kept.clear()
            if self._folder is not None:
                self._folder.cleanup()

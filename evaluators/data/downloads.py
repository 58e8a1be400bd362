"""Gets public image sets: resumes, verifies, unpacks.

Files are checked against the published checksum. Where none was published, the first download is trusted: its
SHA-256 is kept beside it (``NAME.sha256``, as ``sha256sum`` reads it) and later downloads must have the same.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pooch
import requests

from evaluators.data.images import SUFFIXES
from evaluators.data.public_sets import PublicSet, RemoteFile

Progress = Callable[[str, int, int | None], None]  # file, bytes done, bytes in all if known

_CHUNK = 1 << 16  # what a broken connection loses at most
_TIMEOUT_S = 30
_PAUSE_S = 1.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BROKEN_ARCHIVE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError)


class DownloadError(RuntimeError):
    """A set that can't be had, or isn't what was expected; the message says what to do."""


@dataclass(frozen=True)
class Fetched:
    """A set on disk.

    Attributes:
        trusted: Files that no checksum was published for and that were seen for the first time.
        already: It was there before, and nothing was done.
    """

    folder: Path
    trusted: tuple[str, ...] = ()
    already: bool = False

    def image_folders(self) -> dict[Path, int]:
        """The folders in it that hold images, with how many."""
        found: dict[Path, int] = {}
        for path in sorted(self.folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                found[path.parent] = found.get(path.parent, 0) + 1
        return found


def fetch(
    wanted: PublicSet, folder: Path, *, mirror: str | None = None, progress: Progress | None = None
) -> Fetched:
    """The set in ``folder/NAME``; what is there in full isn't got again.

    Archives stay in ``folder/archives/NAME``, parts of them too, so that the same call goes on where one was cut off.

    Args:
        mirror: Where the files are, in place of their own addresses.

    Raises: DownloadError: if the set has no address, or as ``download`` and ``unpack``.
    """
    target = folder / wanted.name
    if target.exists():
        return Fetched(target, already=True)
    if not wanted.files:
        raise DownloadError(
            f"'{wanted.name}' has no address that it can be got from without a person: see {wanted.page} "
            f"(terms: {wanted.terms}), and name the folder with --data"
        )
    archives = folder / "archives" / wanted.name
    _make_folder(archives)
    paths, trusted = [], []
    for remote in wanted.files:
        path, first_seen = download(remote, archives, mirror=mirror, page=wanted.page, progress=progress)
        paths.append(path)
        trusted += [remote.name] if first_seen else []
    _unpack_all(paths, target)
    return Fetched(target, tuple(trusted))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"{folder}: the folder can't be made ({error.strerror}); name another") from error


def _unpack_all(paths: list[Path], target: Path) -> None:
    """All or nothing: what is under the set's name is complete."""
    partial = target.with_name(f".{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for path in paths:
            unpack(path, partial)
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def download(
    remote: RemoteFile,
    folder: Path,
    *,
    mirror: str | None = None,
    page: str = "",
    progress: Progress | None = None,
) -> tuple[Path, bool]:
    """The file in the folder, verified; and whether it is trusted because it was seen for the first time.

    Raises: DownloadError: if the server can't be reached, hasn't the file or gives another, the disk is full, or the
        connection breaks (the next call goes on from there).
    """
    url = f"{mirror.rstrip('/')}/{remote.name}" if mirror else remote.url
    record = folder / f"{remote.name}.sha256"
    known = remote.checksum or _recorded(record)
    downloader = ResumingDownloader(
        folder / f"{remote.name}.part", progress, page=page, is_verified=bool(known)
    )
    pooch.get_logger().setLevel(logging.WARNING)
    try:
        pooch.retrieve(url, known or None, fname=remote.name, path=folder, downloader=downloader)
    except ValueError as error:  # pooch's word for a checksum that differs
        origin = "published" if remote.checksum else f"recorded in {record}"
        raise DownloadError(
            f"{url}: not the expected file: its checksum isn't the one {origin} ({known}); nothing was kept. "
            "Try again, or another --mirror"
            + ("" if remote.checksum else f"; if the change is known, delete {record}")
        ) from error
    path = folder / remote.name
    if not known:
        record.write_text(f"{pooch.file_hash(str(path))}  {remote.name}\n")
    return path, not known


def _recorded(record: Path) -> str:
    if not record.exists():
        return ""
    text = record.read_text().partition(" ")[0].strip()
    if len(text) != 64:
        raise DownloadError(
            f"{record}: expected a SHA-256 and a file name; delete it to trust the file again"
        )
    return f"sha256:{text}"


class ResumingDownloader:
    """A downloader for pooch that goes on with a part of the file.

    A part is gone on with only while the server says that the file is the same (``If-Range``), or where a checksum
    tells afterwards. After a broken connection it tries again as long as each try brings something.

    Args:
        part: Where the part is kept.
        is_verified: The caller compares a checksum.
    """

    def __init__(
        self, part: Path, progress: Progress | None = None, *, page: str = "", is_verified: bool = False
    ):
        self._part = part
        self._validator = part.with_name(f"{part.name}.version")
        self._progress = progress
        self._page = page
        self._is_verified = is_verified

    def __call__(self, url: str, output_file: Any, _pooch: Any = None) -> None:
        while True:
            before = self._size()
            try:
                self._go_on(url)
                break
            except requests.RequestException as error:
                if self._size() <= before:
                    raise DownloadError(self._broken(url, error)) from error
                time.sleep(_PAUSE_S)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                raise DownloadError(
                    f"{self._part}: {error.strerror} after {self._size():,} bytes; free some space and run the same "
                    "command again: it goes on from there"
                ) from error
        os.replace(self._part, output_file)
        self._validator.unlink(missing_ok=True)

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _go_on(self, url: str) -> None:
        have = self._size()
        headers = {"Accept-Encoding": "identity"}  # so that bytes on disk are bytes of the file
        version = self._validator.read_text() if self._validator.exists() else ""
        if have and (version or self._is_verified):
            headers["Range"] = f"bytes={have}-"
            if version:
                headers["If-Range"] = version
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
            if response.status_code == 416:  # nothing behind the part: it is all, or of another file
                if response.headers.get("Content-Range") != f"bytes */{have}":
                    self._part.unlink()
                    self._go_on(url)
                return
            self._check(response, url)
            start = have if _starts_at(response, have) else 0
            self._receive(response, start)

    def _check(self, response: requests.Response, url: str) -> None:
        if response.status_code < 400:
            return
        see = f"see {self._page}, or " if self._page else ""
        raise DownloadError(
            f"{url}: {response.status_code} {response.reason}; the file isn't there (any more): {see}name another "
            "place with --mirror URL"
        )

    def _receive(self, response: requests.Response, start: int) -> None:
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        free = shutil.disk_usage(self._part.parent).free
        if total is not None and total - start > free:
            raise DownloadError(
                f"{self._part.parent}: {_size_text(total - start)} are still to come and {_size_text(free)} are free; "
                "free some space, or name another folder with --to"
            )
        etag = response.headers.get("ETag", "")
        strong = "" if etag.startswith("W/") else etag
        self._validator.write_text(strong or response.headers.get("Last-Modified", ""))
        done = start
        with open(self._part, "ab" if start else "wb", buffering=0) as file:
            for chunk in response.iter_content(_CHUNK):
                rest = memoryview(chunk)
                while rest:  # an unbuffered write may take a part only
                    rest = rest[file.write(rest) :]
                done += len(chunk)
                if self._progress:
                    self._progress(self._part.stem, done, total)
        if total is not None and done != total:
            raise requests.ConnectionError(f"{done:,} of {total:,} bytes came")

    def _broken(self, url: str, error: Exception) -> str:
        have = self._size()
        if have:
            return f"{url}: the connection broke after {have:,} bytes; run it again: it goes on from there"
        reason = "it doesn't answer" if isinstance(error, requests.Timeout) else "it can't be reached"
        return f"{url}: {reason} ({type(error).__name__}); check the network, or name another place with --mirror URL"


def _starts_at(response: requests.Response, have: int) -> bool:
    """Whether the server gives what is behind the part, and not the whole file."""
    return response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
        f"bytes {have}-"
    )


def unpack(path: Path, folder: Path) -> None:
    """The content of a zip or tar archive in the folder; another file is copied there.

    Raises: DownloadError: for a damaged archive, one that is larger than the disk has room for, or one whose names lead
        out of the folder. What it wrote by then stays: unpack into a folder of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_zip, is_tar = path.suffix == ".zip", path.suffix in (".tar", ".tgz")
    try:
        if is_zip:
            _unzip(path, folder)
        elif is_tar:
            _untar(path, folder)
        else:
            shutil.copy2(path, folder / path.name)
    except DownloadError:
        raise
    except tarfile.FilterError as error:
        raise DownloadError(f"{path}: refused: {error}") from error
    except _BROKEN_ARCHIVE as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise DownloadError(f"{folder}: {error.strerror}; free some space and run it again") from error
        raise DownloadError(
            f"{path}: can't be unpacked ({error}); it is damaged: delete it and run the same command again"
        ) from error


def _unzip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            name = PurePosixPath(member.filename.replace("\\", "/"))
            is_link = stat.S_ISLNK(member.external_attr >> 16)
            if is_link or name.is_absolute() or ".." in name.parts or ":" in "".join(name.parts[:1]):
                raise DownloadError(f"{path}: refused: '{member.filename}' leads out of the folder")
        _check_room(folder, sum(member.file_size for member in members))
        archive.extractall(folder)


def _untar(path: Path, folder: Path) -> None:
    with tarfile.open(path) as archive:
        _check_room(folder, sum(member.size for member in archive.getmembers()))
        archive.extractall(folder, filter="data")


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{folder.parent}: unpacked it takes {_size_text(needed)} and {_size_text(free)} are free; free some space "
            "and run the same command again"
        )


def _size_text(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"

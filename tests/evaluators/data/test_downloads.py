"""Downloads from a real server on this machine that can be cut off in the middle."""

from __future__ import annotations

import hashlib
import io
import re
import resource
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluators.data import downloads
from evaluators.data.downloads import DownloadError, fetch, unpack
from evaluators.data.public_sets import PUBLIC_SETS, PublicSet, RemoteFile, public_set
from spaces.registry import UnknownNameError

NOISE = np.random.default_rng(0).bytes(3_000_000)


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = zip_of({"set/HR/a.png": NOISE, "set/HR/b.png": b"b", "set/readme.txt": b"hello"})


class Server(ThreadingHTTPServer):
    """Serves what is in ``files``; understands ranges.

    Attributes:
        cut_after: Bytes after which the next answers break off.
        ranges: What was asked for, in order; empty for a whole file.
        etag: Version of the files; empty for none.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"s.zip": ARCHIVE}
        self.cut_after: int | None = None
        self.ranges: list[str] = []
        self.etag = '"1"'
        self.has_ranges = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content = self.server.files.get(self.path.rpartition("/")[2])
        asked = self.headers.get("Range", "")
        self.server.ranges.append(asked)
        if content is None:
            self.send_error(404)
            return
        condition = self.headers.get("If-Range")
        ranged = asked and self.server.has_ranges and condition in (None, self.server.etag)
        start = int(re.findall(r"bytes=(\d+)-", asked)[0]) if ranged else 0
        if ranged and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if ranged else 200)
        if ranged:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut_after])
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(downloads, "_PAUSE_S", 0.0)
    found = Server()
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


def wanted(server: Server, *, name: str = "s.zip", checksum: str = "") -> PublicSet:
    return PublicSet("mine", "", "https://page", "free", (RemoteFile(f"{server.url}/{name}", checksum),))


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_a_set_is_got_verified_unpacked_and_not_got_again(tmp_path: Path, server: Server) -> None:
    seen: list[tuple[str, int, int | None]] = []
    found = fetch(
        wanted(server, checksum=sha256(ARCHIVE)), tmp_path, progress=lambda *told: seen.append(told)
    )
    assert found.folder == tmp_path / "mine"
    assert (found.folder / "set/HR/a.png").read_bytes() == NOISE
    assert found.image_folders() == {found.folder / "set/HR": 2}
    assert found.trusted == ()
    assert seen[-1] == ("s.zip", len(ARCHIVE), len(ARCHIVE))
    assert fetch(wanted(server), tmp_path).already
    assert len(server.ranges) == 1
    assert sorted(p.name for p in (tmp_path / "archives/mine").iterdir()) == ["s.zip"]


def test_a_complete_archive_is_unpacked_again_without_a_download(tmp_path: Path, server: Server) -> None:
    fetch(wanted(server), tmp_path)
    (tmp_path / "mine/set/readme.txt").unlink()
    (tmp_path / "mine").rename(tmp_path / "old")
    assert fetch(wanted(server), tmp_path).trusted == ()
    assert (tmp_path / "mine/set/readme.txt").exists()
    assert len(server.ranges) == 1


def test_a_mirror_takes_the_place_of_the_address(tmp_path: Path, server: Server) -> None:
    elsewhere = PublicSet("mine", "", "", "", (RemoteFile("http://127.0.0.1:1/a/b/s.zip"),))
    assert fetch(elsewhere, tmp_path, mirror=f"{server.url}/copies/").image_folders()


def test_a_broken_connection_is_gone_on_with_at_once(tmp_path: Path, server: Server) -> None:
    server.cut_after = 20 * 65536
    fetch(wanted(server), tmp_path)
    assert server.ranges == ["", "bytes=1310720-", "bytes=2621440-"]
    assert (tmp_path / "archives/mine/s.zip").read_bytes() == ARCHIVE


def test_a_server_that_dies_midway_and_comes_back(tmp_path: Path, server: Server) -> None:
    server.cut_after = 0
    part = tmp_path / "archives/mine/s.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(ARCHIVE[:1_000_000])
    part.with_name("s.zip.part.version").write_text(server.etag)
    with pytest.raises(DownloadError, match="broke after 1,000,000 bytes; run it again"):
        fetch(wanted(server), tmp_path)
    assert part.stat().st_size == 1_000_000
    server.cut_after = None
    fetch(wanted(server), tmp_path)
    assert server.ranges == ["bytes=1000000-"] * 2
    assert (tmp_path / "mine/set/HR/a.png").read_bytes() == NOISE


CHILD = """
import sys
from pathlib import Path
from evaluators.data import downloads
from evaluators.data.public_sets import PublicSet, RemoteFile
downloads.fetch(PublicSet("mine", "", "", "", (RemoteFile(sys.argv[1]),)), Path(sys.argv[2]))
"""


def test_a_killed_download_goes_on(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server holds the connection open after a part, so that the child is killed in the middle."""
    release = threading.Event()
    plain = Handler.do_GET

    def stall(handler: Handler) -> None:
        content = server.files["s.zip"]
        handler.send_response(200)
        handler.send_header("ETag", server.etag)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:2_000_000])
        release.wait(60)

    monkeypatch.setattr(Handler, "do_GET", stall)
    child = subprocess.Popen([sys.executable, "-c", CHILD, f"{server.url}/s.zip", str(tmp_path)])
    part = tmp_path / "archives/mine/s.zip.part"
    try:
        while child.poll() is None and not (part.exists() and part.stat().st_size > 500_000):
            pass
    finally:
        child.kill()
        child.wait()
        release.set()
    have = part.stat().st_size
    assert 500_000 < have < len(ARCHIVE)
    monkeypatch.setattr(Handler, "do_GET", plain)
    fetch(wanted(server), tmp_path)
    assert server.ranges == [f"bytes={have}-"]
    assert (tmp_path / "mine/set/HR/a.png").read_bytes() == NOISE


def test_a_file_that_changed_meanwhile_is_got_anew(tmp_path: Path, server: Server) -> None:
    part = tmp_path / "archives/mine/s.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"old" * 1000)
    part.with_name("s.zip.part.version").write_text('"0"')
    fetch(wanted(server), tmp_path)
    assert (tmp_path / "archives/mine/s.zip").read_bytes() == ARCHIVE


@pytest.mark.parametrize(("etag", "ranged"), [("", ""), ('"1"', "bytes=3000-")])
def test_a_server_without_ranges_or_versions_is_asked_for_all(
    tmp_path: Path, server: Server, etag: str, ranged: str
) -> None:
    server.etag, server.has_ranges = etag, False
    part = tmp_path / "archives/mine/s.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"old" * 1000)
    part.with_name("s.zip.part.version").write_text(etag)
    fetch(wanted(server), tmp_path)
    assert server.ranges == [ranged]
    assert (tmp_path / "archives/mine/s.zip").read_bytes() == ARCHIVE


def test_a_part_that_is_all_of_the_file(tmp_path: Path, server: Server) -> None:
    part = tmp_path / "archives/mine/s.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(ARCHIVE)
    fetch(wanted(server, checksum=sha256(ARCHIVE)), tmp_path)
    assert (tmp_path / "mine/set/HR/a.png").read_bytes() == NOISE


def test_a_part_longer_than_the_file_is_dropped(tmp_path: Path, server: Server) -> None:
    part = tmp_path / "archives/mine/s.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(ARCHIVE + b"more")
    fetch(wanted(server, checksum=sha256(ARCHIVE)), tmp_path)
    assert server.ranges == [f"bytes={len(ARCHIVE) + 4}-", ""]


def test_another_file_than_the_published_is_refused(tmp_path: Path, server: Server) -> None:
    with pytest.raises(DownloadError, match=r"not the expected file: .* the one published \(sha256:"):
        fetch(wanted(server, checksum=sha256(b"other")), tmp_path)
    assert not (tmp_path / "mine").exists()
    assert not list((tmp_path / "archives/mine").glob("s.zip*"))


def test_the_first_download_is_trusted_and_later_ones_compared(tmp_path: Path, server: Server) -> None:
    assert fetch(wanted(server), tmp_path).trusted == ("s.zip",)
    record = tmp_path / "archives/mine/s.zip.sha256"
    assert record.read_text() == f"{hashlib.sha256(ARCHIVE).hexdigest()}  s.zip\n"
    (tmp_path / "mine").rename(tmp_path / "old")
    (tmp_path / "archives/mine/s.zip").unlink()
    server.files["s.zip"], server.etag = zip_of({"a.png": b"another"}), '"2"'
    with pytest.raises(DownloadError, match=r"recorded in .*s\.zip\.sha256.*delete"):
        fetch(wanted(server), tmp_path)
    server.files["s.zip"] = ARCHIVE
    assert fetch(wanted(server), tmp_path).trusted == ()
    record.write_text("nonsense")
    (tmp_path / "mine").rename(tmp_path / "older")
    with pytest.raises(DownloadError, match="expected a SHA-256"):
        fetch(wanted(server), tmp_path)


def test_a_missing_file_and_a_server_that_is_not_there(tmp_path: Path, server: Server) -> None:
    with pytest.raises(DownloadError, match=r"404 Not Found; .* see https://page, or .*--mirror URL"):
        fetch(wanted(server, name="gone.zip"), tmp_path)
    nowhere = PublicSet("mine", "", "", "", (RemoteFile("http://127.0.0.1:1/s.zip"),))
    with pytest.raises(DownloadError, match="can't be reached .*--mirror URL"):
        fetch(nowhere, tmp_path)
    odd = PublicSet("mine", "", "", "", (RemoteFile("nothing://at/all.zip"),))
    with pytest.raises(DownloadError, match="can't be reached"):
        fetch(odd, tmp_path)


def test_a_disk_without_room_is_told_before_and_while(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = tmp_path / "archives/mine/s.zip.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with pytest.raises(DownloadError, match="No space left on device after 0 bytes; free some space"):
        fetch(wanted(server), tmp_path)
    part.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(DownloadError, match="File too large after 1,000,000 bytes"):
            fetch(wanted(server), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    fetch(wanted(server), tmp_path)
    assert server.ranges[-1] == "bytes=1000000-"
    (tmp_path / "mine").rename(tmp_path / "old")
    (tmp_path / "archives/mine/s.zip").unlink()
    usage = downloads.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(DownloadError, match=r"3\.0 MB are still to come and 1\.0 MB are free; .*--to"):
        fetch(wanted(server), tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.zip", zip_of({"../evil.txt": b"x"})),
        ("x.zip", zip_of({"a/../../evil.txt": b"x"})),
        ("x.zip", zip_of({"/evil.txt": b"x"})),
        ("x.zip", zip_of({"..\\evil.txt": b"x"})),
        ("x.tgz", tar_of({"../evil.txt": b"x"})),
    ],
)
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DownloadError, match="refused"):
        unpack(tmp_path / name, tmp_path / "out/in")
    assert not list(tmp_path.rglob("*evil*"))


def test_links_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(member)
    for name in ("x.zip", "x.tar"):
        with pytest.raises(DownloadError, match="refused"):
            unpack(tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz"])
def test_a_damaged_archive_leaves_nothing_under_the_sets_name(
    tmp_path: Path, server: Server, name: str
) -> None:
    whole = ARCHIVE if name == "x.zip" else tar_of({"a.png": NOISE})
    server.files[name] = whole[: len(whole) // 2]
    with pytest.raises(DownloadError, match="can't be unpacked .*delete it"):
        fetch(wanted(server, name=name), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["archives"]


def test_an_archive_larger_than_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.zip").write_bytes(ARCHIVE)
    usage = downloads.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DownloadError, match=r"unpacked it takes 3\.0 MB and 0\.0 MB are free"):
        unpack(tmp_path / "x.zip", tmp_path / "out")


def test_a_tar_and_plain_images(tmp_path: Path, server: Server) -> None:
    server.files |= {"t.tgz": tar_of({"d/a.png": b"a"}), "one.png": b"1"}
    files = tuple(RemoteFile(f"{server.url}/{name}") for name in ("t.tgz", "one.png"))
    found = fetch(replace(wanted(server), files=files), tmp_path)
    assert (found.folder / "d/a.png").read_bytes() == b"a"
    assert (found.folder / "one.png").read_bytes() == b"1"


def test_a_set_that_is_got_by_hand_says_where(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"see http://www\.manga109\.org .*--data"):
        fetch(public_set("manga109"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path: Path, server: Server) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="can't be made"):
        fetch(wanted(server), tmp_path / "file")


def test_the_catalogue_is_sound() -> None:
    for name, found in PUBLIC_SETS.items():
        assert name == found.name
        assert found.page.startswith("http")
        assert found.terms
        names = [file.name for file in found.files]
        assert len(set(names)) == len(names)
        for file in found.files:
            assert re.fullmatch(r"https?://[\w.:/-]+/[\w.-]+\.(zip|tar|tgz|png)", file.url)
            assert re.fullmatch(r"(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})?", file.checksum)
    addresses = [file.url for found in PUBLIC_SETS.values() for file in found.files]
    assert len(addresses) == len(set(addresses)) > 30
    with pytest.raises(UnknownNameError, match="did you mean 'div2k-valid'"):
        public_set("div2k-vald")

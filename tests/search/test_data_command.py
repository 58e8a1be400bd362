"""``data list`` and ``data get``, from a server on this machine."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from evaluators.data.public_sets import PUBLIC_SETS

PIXELFRONT = Path(sys.executable).parent / "pixelfront"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """Serves Kodak's 24 pictures, and a zip under the name of one with a published checksum."""
    folder = tmp_path / "server"
    folder.mkdir()
    for i in range(1, 25):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"kodim{i:02d}.png")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", b"not DIV2K")
    (folder / "DIV2K_valid_HR.zip").write_bytes(buffer.getvalue())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def run(*arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [PIXELFRONT, "data", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_list_names_all_sets(tmp_path: Path) -> None:
    text = run("list", cwd=tmp_path).stdout
    records = {record["name"]: record for record in json.loads(run("list", "--json", cwd=tmp_path).stdout)}
    assert set(records) == set(PUBLIC_SETS)
    for name, record in records.items():
        assert (name in text) or not record["files"]
    assert "www.manga109.org" in text
    assert "first download" in text


def test_a_set_is_got_and_its_folder_told(tmp_path: Path, mirror: str) -> None:
    first = run("get", "kodak24", "--mirror", mirror, "--to", "sets", cwd=tmp_path).stdout
    assert "sets/kodak24: 24 image(s)" in first
    assert "kodim01.png: no checksum was published, so this first download is trusted" in first
    assert "terms: unrestricted usage" in first
    assert len(list((tmp_path / "sets/kodak24").glob("*.png"))) == 24
    again = run("get", "kodak24", "--mirror", "http://127.0.0.1:1", "--to", "sets", cwd=tmp_path).stdout
    assert "is there already" in again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("get", "kodak"), "did you mean 'kodak24'"),
        (("get", "manga109"), "http://www.manga109.org"),
        (("get", "kodak24", "--mirror", "http://127.0.0.1:1"), "can't be reached"),
    ],
)
def test_what_cannot_be_got_is_one_message(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    error = run(*arguments, cwd=tmp_path, code=2).stderr
    assert message in error
    assert "Traceback" not in error


def test_another_file_than_the_published_one_is_refused(tmp_path: Path, mirror: str) -> None:
    error = run("get", "div2k-valid", "--mirror", mirror, cwd=tmp_path, code=2).stderr
    assert "its checksum isn't the one published" in error
    assert not (tmp_path / "data/div2k-valid").exists()
    assert "404" in run("get", "div2k-train", "--mirror", mirror, cwd=tmp_path, code=2).stderr

"""Uploads, comparisons, exports and downloads: a real server, its real worker, a real small study."""

from __future__ import annotations

import hashlib
import io
import shlex
import sqlite3
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import PIL.Image
import pytest

from results.dashboard.app import create_app
from results.dashboard.errors import ApiError
from results.dashboard.files import export_command
from results.dashboard.security import Settings
from results.dashboard.temporary import TemporaryFiles
from results.dashboard.uploads import decode
from results.store.schema import Artifact
from results.store.store import Store
from search.dashboard.worker import WorkerServices
from search.study.context import Setup
from tests.results import studies
from tests.results.dashboard.served import served

PIXELS = 100_000
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Path, Setup]]:
    """A store of this module's own, its folder of runs, and what its study was made with."""
    folder = tmp_path_factory.mktemp("runs")
    with Store.open(folder / "pixelfront.db") as store:
        yield store, folder, studies.fill(store, folder)


@pytest.fixture(scope="module")
def client(study: tuple[Store, Path, Setup]) -> Iterator[httpx.Client]:
    def make(port: int) -> Any:
        settings = Settings(port=port, upload_bytes=400_000, upload_pixels=PIXELS)
        return create_app(study[0], runs=study[1], services=WorkerServices(), settings=settings)

    with served(make) as found:
        yield found


def photograph(height: int = 60, width: int = 80) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 3 % 256, columns * 2 % 256, (rows + columns) % 256], axis=2).astype(np.uint8)


def saved(picture: PIL.Image.Image, form: str = "PNG", **options: Any) -> bytes:
    target = io.BytesIO()
    picture.save(target, form, **options)
    return target.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it is huge."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")


def upload(client: httpx.Client, content: bytes, role: str = "target", **headers: str) -> httpx.Response:
    return client.post("/api/v1/uploads", params={"as": role}, content=content, headers={**PNG, **headers})


def seen(client: httpx.Client, image: dict[str, Any]) -> np.ndarray:
    response = client.get(image["url"])
    assert response.headers["content-type"] == "image/png"
    pixels = np.array(PIL.Image.open(io.BytesIO(response.content)))
    assert pixels.shape == (image["height"], image["width"], 3)
    return pixels


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


# Reading uploads


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_each_format_is_read(form: str) -> None:
    pixels = photograph()
    options = {"lossless": True} if form == "WEBP" else {}
    found = decode(saved(PIL.Image.fromarray(pixels), form, **options), pixels=PIXELS)
    again = np.array(PIL.Image.open(io.BytesIO(found.png))).astype(int)
    assert (found.width, found.height, found.notes) == (80, 60, ())
    assert np.abs(again - pixels).mean() < (10 if form == "JPEG" else 1e-9)


def test_pictures_are_turned_upright() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    pixels = photograph()
    found = decode(saved(PIL.Image.fromarray(pixels), "PNG", exif=exif), pixels=PIXELS)
    again = PIL.Image.open(io.BytesIO(found.png))
    assert np.array_equal(np.array(again), np.rot90(pixels, -1))
    assert not again.getexif()
    assert found.notes == ("turned upright, as its EXIF data say",)


def test_deep_pictures_are_scaled_to_8_bits() -> None:
    grey = np.linspace(0, 65535, 60 * 80).reshape(60, 80).astype(np.uint16)
    for form in ("PNG", "TIFF"):
        found = decode(saved(PIL.Image.fromarray(grey), form), pixels=PIXELS)
        again = np.array(PIL.Image.open(io.BytesIO(found.png))).astype(int)
        assert np.abs(again - grey[..., None] / 257).max() <= 0.5
        assert found.notes == ("16 bits a channel reduced to 8",)


def test_deep_colour_is_reduced() -> None:
    """A 16-bit RGB PNG, which Pillow reads and doesn't write."""
    pixels = np.random.default_rng(0).integers(0, 65536, (6, 8, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", 8, 6, 16, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    found = decode(content, pixels=PIXELS)
    again = np.array(PIL.Image.open(io.BytesIO(found.png))).astype(int)
    assert np.abs(again - pixels / 257).max() <= 1
    assert found.notes == ("16 bits a channel reduced to 8",)


def test_transparency_is_dropped_and_pages_left_out() -> None:
    pixels = photograph()
    alpha = PIL.Image.fromarray(np.dstack([pixels, pixels[..., :1]]))
    found = decode(saved(alpha), pixels=PIXELS)
    assert np.array_equal(np.array(PIL.Image.open(io.BytesIO(found.png))), pixels)
    assert found.notes == ("transparency dropped",)
    pages = [PIL.Image.fromarray(255 - pixels)]
    first = decode(
        saved(PIL.Image.fromarray(pixels), "TIFF", save_all=True, append_images=pages), pixels=PIXELS
    )
    assert np.array_equal(np.array(PIL.Image.open(io.BytesIO(first.png))), pixels)
    assert first.notes == ("the first of 2 pictures",)


def test_what_has_no_8_bit_rgb_is_refused() -> None:
    cmyk = saved(PIL.Image.fromarray(photograph()).convert("CMYK"), "TIFF")
    light = saved(PIL.Image.fromarray(np.ones((20, 20), np.float32)), "TIFF")
    for content in (cmyk, light):
        with pytest.raises(ApiError, match="convert it to RGB"):
            decode(content, pixels=PIXELS)


def test_the_pixel_limit_is_inclusive() -> None:
    content = saved(PIL.Image.fromarray(photograph(10, 20)))
    assert decode(content, pixels=200).width == 20
    with pytest.raises(ApiError, match=r"at most 199 pixels, got 20x10"):
        decode(content, pixels=199)


HOSTILE = {
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", 415, "not_a_picture"),
    "html": (b"<!doctype html><script>alert(1)</script>", 415, "not_a_picture"),
    "png_then_html": (b"\x89PNG\r\n\x1a\n<script>alert(1)</script>", 415, "not_a_picture"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run", 415, "not_a_picture"),
    "gif": (saved(PIL.Image.fromarray(photograph()), "GIF"), 415, "not_a_picture"),
    "truncated": (saved(PIL.Image.fromarray(photograph()), "JPEG")[:900], 422, "broken_picture"),
    "bomb": (bomb(30_000, 30_000), 413, "too_many_pixels"),
    "smaller_bomb": (bomb(400, 400), 413, "too_many_pixels"),
    "huge_bomb": (bomb(2**31 - 1, 2**31 - 1), 413, "too_many_pixels"),
    "flat": (bomb(2**31 - 1, 0), 415, "not_a_picture"),
    "empty": (b"", 415, "not_a_picture"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_uploads_are_refused(client: httpx.Client, kind: str) -> None:
    content, status, expected = HOSTILE[kind]
    assert code(upload(client, content)) == (status, expected)


def test_uploads_say_that_they_are_pictures(client: httpx.Client) -> None:
    content = saved(PIL.Image.fromarray(photograph()))
    for kind in ("text/html", "application/json", ""):
        assert code(upload(client, content, **{"Content-Type": kind})) == (415, "not_a_picture")
    assert upload(client, content, "neither").status_code == 422


def test_uploads_are_limited_in_bytes(client: httpx.Client) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    assert code(upload(client, saved(PIL.Image.fromarray(noise)))) == (413, "too_large")


# Pictures and comparisons


def test_held_out_pictures_are_listed_and_the_embedded_ones(client: httpx.Client) -> None:
    found = client.get("/api/v1/studies/phone/pictures").json()
    assert found["notes"] == []
    assert [(p["id"], p["name"], p["width"], p["height"]) for p in found["pictures"][:2]] == [
        ("test-0", "test0.png", 64, 48),
        ("validation-0", "validation0.png", 64, 48),
    ]
    assert {p["split"] for p in found["pictures"][2:]} == {"embedded"}
    assert "chelsea.png" in [p["name"] for p in found["pictures"]]


def test_networks_are_compared_with_the_trivial_method(
    client: httpx.Client, study: tuple[Store, Path, Setup]
) -> None:
    """PSNR is what the images that are shown have."""
    asked = {"picture": "validation-0", "trials": [2, 0]}
    answer = client.post("/api/v1/studies/phone/compare", json=asked).json()
    assert [e["name"] for e in answer["entries"]] == ["bicubic", "trial 2", "trial 0"]
    assert [e["number"] for e in answer["entries"]] == [None, 2, 0]
    assert answer["picture"] == {"id": "validation-0", "name": "validation0.png", "width": 64, "height": 48}
    assert answer["protocol"] == "psnr_y: Y, 8-bit, border 2; of this picture alone"
    target, luma = seen(client, answer["target"]), np.array([65.481, 128.553, 24.966]) / 255
    original = np.array(PIL.Image.open(study[1] / "images/val/HR/validation0.png"))
    assert np.array_equal(target, original)
    assert seen(client, answer["input"]).shape == (24, 32, 3)
    for entry in answer["entries"]:
        difference = seen(client, entry["image"]).astype(float) - target
        inner = (difference @ luma)[2:-2, 2:-2]
        assert entry["psnr"] == pytest.approx(10 * np.log10(255**2 / np.mean(inner**2)))
        brightness, error = (
            seen(client, entry["error"]).astype(float).sum(axis=2),
            np.abs(difference).mean(axis=2),
        )
        assert brightness[error < 2].max(initial=0) < brightness[error > 60].min()
    # The validation set is this one picture: the trivial method's score is on record.
    assert answer["entries"][0]["psnr"] == pytest.approx(study[2].trivial)
    assert answer["entries"][1]["gmacs"] == pytest.approx(
        next(m.value for m in study[0].trial(1, 2).measurements if m.key == ("macs", "exact, 3x256x256"))
        / 1e9
    )


def test_an_upload_is_degraded_or_taken_as_it_is(client: httpx.Client) -> None:
    pixels = photograph()
    content = saved(PIL.Image.fromarray(pixels))
    for role, sizes in (("target", ((30, 40), (60, 80))), ("input", ((60, 80), (120, 160)))):
        picture = upload(client, content, role).json()["picture"]
        assert (picture["width"], picture["height"], picture["as"]) == (80, 60, role)
        asked = {"picture": picture["id"], "trials": [0], "baseline": False}
        answer = client.post("/api/v1/studies/phone/compare", json=asked).json()
        (entry,) = answer["entries"]
        given = seen(client, answer["input"])
        assert (given.shape[:2], seen(client, entry["image"]).shape[:2]) == sizes
        if role == "target":
            assert np.array_equal(seen(client, answer["target"]), pixels)
            assert entry["psnr"] > 5
        else:
            assert np.array_equal(given, pixels)
            assert (answer["target"], entry["psnr"], entry["error"]) == (None, None, None)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"picture": "validation-0", "trials": []}, (422, "invalid")),
        ({"picture": "validation-0", "trials": [0, 0]}, (422, "invalid")),
        ({"picture": "validation-0", "trials": [0, 1, 2, 3, 4]}, (422, "invalid")),
        ({"picture": "validation-0", "trials": [-1]}, (422, "invalid")),
        ({"picture": "validation-0", "trials": [0], "path": "/etc/passwd"}, (422, "invalid")),
        ({"picture": "validation-0", "trials": [77]}, (404, "unknown_trial")),
        ({"picture": "validation-0", "trials": [3]}, (409, "no_weights")),
        ({"picture": "validation-9", "trials": [0]}, (404, "unknown_picture")),
        ({"picture": "train-0", "trials": [0]}, (404, "unknown_picture")),
        ({"picture": "../../etc/passwd", "trials": [0]}, (404, "unknown_picture")),
        ({"picture": "validation-../0", "trials": [0]}, (404, "unknown_picture")),
    ],
)
def test_what_cannot_be_compared_is_refused(
    client: httpx.Client, asked: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert code(client.post("/api/v1/studies/phone/compare", json=asked)) == expected


def test_parts_add_up_to_the_cost_on_record(client: httpx.Client, study: tuple[Store, Path, Setup]) -> None:
    found = client.get("/api/v1/studies/phone/trials/2/parts").json()
    costs = {m.name: m.value for m in study[0].trial(1, 2).measurements if m.protocol != "challenge"}
    for name in ("parameters", "activations", "convolutions"):
        assert found["total"][name] == sum(p[name] for p in found["parts"]) == costs[name]
    assert sum(p["share"] for p in found["parts"]) == pytest.approx(1)
    assert [(p["name"], p["kind"], p["width_in"], p["width_out"]) for p in found["parts"][:3]] == [
        ("head", "head", 3, 16),
        ("blocks.0", "rfdb", 16, 16),
        ("blocks.1", "rfdb", 16, 16),
    ]
    assert client.get("/api/v1/studies/phone/trials/best/parts").json() == found


# Exports and downloads


def test_an_exported_file_runs_and_nothing_is_put_on_record(
    client: httpx.Client, study: tuple[Store, Path, Setup]
) -> None:
    store, folder, _ = study
    before = store.artifacts(1), sorted(folder.rglob("*"))
    made = client.post("/api/v1/studies/phone/trials/0/export", json={"format": "onnx"}).json()
    assert [f["name"] for f in made["files"]] == ["phone-0.onnx", "phone-0.onnx.md", "phone-0.json"]
    assert made["max_error"] < 1e-4
    contents = []
    for file in made["files"]:
        response = client.get(file["url"])
        assert response.headers["content-disposition"] == f'attachment; filename="{file["name"]}"'
        assert hashlib.sha256(response.content).hexdigest() == file["sha256"]
        assert len(response.content) == file["bytes"]
        contents.append(response.content)
    session = onnxruntime.InferenceSession(contents[0])
    (output,) = session.run(None, {"image": np.zeros((1, 3, 30, 40), np.float32)})
    assert output.shape == (1, 3, 60, 80)
    assert b"phone-0.onnx" in contents[1]
    assert (store.artifacts(1), sorted(folder.rglob("*"))) == before


def test_the_command_makes_the_same_file(
    client: httpx.Client, study: tuple[Store, Path, Setup], tmp_path: Path
) -> None:
    asked = {"format": "safetensors"}
    made = client.post("/api/v1/studies/phone/trials/0/export", json=asked).json()
    # In a copy of the store, as the command puts the file on record.
    copy = tmp_path / "copy.db"
    with sqlite3.connect(study[1] / "pixelfront.db") as source, sqlite3.connect(copy) as target:
        source.backup(target)
    words = shlex.split(made["command"])
    assert words[:5] == ["pixelfront", "export", "phone", "0", "-o"]
    program = "import sys; from search.cli import main; sys.exit(main())"
    run = [sys.executable, "-c", program, *words[1:], "--db", str(copy)]
    environment = {"PYTHONPATH": str(Path.cwd())}
    subprocess.run(run, check=True, capture_output=True, cwd=tmp_path, env=environment)
    digest = hashlib.sha256((tmp_path / "phone-0.safetensors").read_bytes()).hexdigest()
    assert digest == made["files"][0]["sha256"]


def test_commands_are_quoted(tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    with Store.open(folder / "pixelfront.db") as store:
        record = studies.new_study(store, studies.setup(tmp_path / "images"), "a'; rm -rf ~ #<b>")
        trial = studies.add(store, record, studies.CHEAP)
        assert export_command(store, folder, record, trial, "onnx") == (
            f"""pixelfront export 'a'"'"'; rm -rf ~ #<b>' 0 -o a___rm_-rf_____b_-0.onnx --runs '{folder}'"""
        )


def test_recorded_files_are_verified_before_they_are_sent(
    client: httpx.Client, study: tuple[Store, Path, Setup], tmp_path: Path
) -> None:
    store, folder, _ = study
    response = client.get("/api/v1/files/1")
    assert response.content == next((folder / "weights").glob("00000-*")).read_bytes()
    assert response.headers["content-disposition"].startswith("attachment")
    changed = tmp_path / "changed.onnx"
    changed.write_bytes(b"as it was")
    store.add_artifact(1, Artifact("onnx", str(changed), hashlib.sha256(b"as it was").hexdigest(), 9))
    number = len(store.artifacts(1)) + 2  # rows are numbered over all trials: three weights came first
    assert client.get(f"/api/v1/files/{number}").content == b"as it was"
    changed.write_bytes(b"now else!")
    assert code(client.get(f"/api/v1/files/{number}")) == (409, "file_changed")
    changed.unlink()
    assert code(client.get(f"/api/v1/files/{number}")) == (409, "file_changed")


@pytest.mark.parametrize(
    "name",
    [
        "..%2f..%2fetc%2fpasswd",
        "../../../etc/passwd",
        "%2e%2e/%2e%2e/pixelfront.db",
        "..",
        "....//pixelfront.db",
        "/etc/passwd",
        "99999999999999999999999",
        "999",
        "-1",
        "1.png",
        "0x1",
        "%00",
        "\uff11",  # a digit, to str.isdigit
    ],
)
def test_no_address_leads_to_another_file(client: httpx.Client, name: str) -> None:
    for address in (f"/api/v1/files/{name}", f"/api/v1/images/{name}.png"):
        response = client.get(address)
        assert response.status_code in (400, 404), address
        assert response.json()["error"]["code"] in ("not_found", "unknown_file", "unknown_study")


def test_images_are_no_downloads_of_exports_and_ids_cannot_be_guessed(client: httpx.Client) -> None:
    content = saved(PIL.Image.fromarray(photograph()))
    names = {upload(client, content).json()["picture"]["id"] for _ in range(3)}
    assert len(names) == 3
    assert all(len(name) >= 20 for name in names)


def test_without_services_there_are_no_pictures(study: tuple[Store, Path, Setup]) -> None:
    with served(lambda port: create_app(study[0], runs=study[1], settings=Settings(port=port))) as found:
        assert found.get("/api/v1/studies/phone/pictures").status_code == 404
        assert found.get("/api/v1/info").status_code == 200


# Temporary files


def test_the_oldest_temporary_files_go_first() -> None:
    kept = TemporaryFiles(limit=30)
    first, second, third = (kept.add(bytes(10), f"{n}.png", "image") for n in range(3))
    assert kept.get(first) is not None  # asked for, so the second is now the oldest
    paths = {name: kept.get(name).path for name in (second, third, first)}  # type: ignore[union-attr]
    kept.add(bytes(15), "large.png", "image")
    assert [kept.get(name) is not None for name in (first, second, third)] == [True, False, False]
    assert [paths[name].exists() for name in (first, second, third)] == [True, False, False]
    alone = kept.add(bytes(99), "larger.png", "image")
    assert kept.get(alone) is not None
    assert kept.get(first) is None
    folder = kept.new_folder().parent
    kept.close()
    assert not folder.exists()


def test_the_folder_goes_with_the_server(
    study: tuple[Store, Path, Setup], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def make(port: int) -> Any:
        return create_app(study[0], runs=study[1], services=WorkerServices(), settings=Settings(port=port))

    with served(make) as client:
        assert not list(tmp_path.iterdir())
        upload(client, saved(PIL.Image.fromarray(photograph())))
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())

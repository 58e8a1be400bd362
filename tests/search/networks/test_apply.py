"""``apply``: what it writes, prints and refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import PIL.Image
import pytest
import torch

from evaluators.data.photographs import embedded
from evaluators.data.picture_files import Picture, read_picture, write_picture
from evaluators.inference.restoration import restore
from evaluators.measure.metrics import psnr
from results.export.files import export
from search.cli import main
from search.networks.apply import find_jobs
from spaces.architecture import Block
from spaces.build import build
from spaces.parts import Network
from spaces.task import DENOISE, ISP, super_resolution
from spaces.topologies.chain import Chain

X2 = super_resolution(2)
ARCHITECTURE = Chain(8, (Block("rfdb"),), image_skip="bicubic")
PHOTOGRAPH = embedded("test").images[0].pixels


def network() -> Network:
    torch.manual_seed(0)
    return build(ARCHITECTURE, X2).eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    for form in ("safetensors", "onnx"):
        export(network(), ARCHITECTURE, X2, folder / f"m.{form}", form)  # type: ignore[arg-type]
    return folder


@pytest.fixture
def models(exported: Path, tmp_path: Path) -> Path:
    """A folder with m.safetensors and m.onnx of one network."""
    return Path(shutil.copytree(exported, tmp_path / "models"))


def save(pixels: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)
    return path


class Said(NamedTuple):
    stdout: str
    stderr: str


Apply = Callable[..., Said]


@pytest.fixture
def apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Apply:
    """Runs the command as the entry point does, in the test's folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0) -> Said:
        monkeypatch.setattr("sys.argv", ["pixelfront", "apply", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert (ended.value.code or 0) == code, said.out + said.err
        return Said(said.out, said.err)

    return run


def test_a_folder_is_restored_as_evaluate_does_it(apply: Apply, models: Path, tmp_path: Path) -> None:
    pixels = PHOTOGRAPH[:41, :57]
    save(pixels, tmp_path / "in" / "a.png")
    save(PHOTOGRAPH[:40, :40], tmp_path / "in" / "deep" / "b.bmp")
    (tmp_path / "in" / "broken.png").write_text("no picture")
    done = apply("models/m.safetensors", "in", "-o", "out", code=1)
    assert "out/a.png: 57x41 -> 114x82" in done.stdout
    assert "in/broken.png: expected a picture" in done.stderr
    assert "1 of 3 pictures failed" in done.stderr
    (expected,) = restore(network(), [pixels], scale=2)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(tmp_path / "out" / "a.png")), expected)
    assert PIL.Image.open(tmp_path / "out" / "deep" / "b.png").size == (80, 80)
    assert sorted(file.name for file in (tmp_path / "out").rglob("*")) == ["a.png", "b.png", "deep"]

    assert "2 of 3 outputs are there" in apply("models/m.safetensors", "in", "-o", "out", code=2).stderr
    (tmp_path / "out" / "a.png").unlink()
    again = apply("models/m.safetensors", "in", "-o", "out", "--resume", code=1).stdout
    assert "out/a.png" in again
    assert "b.png" not in again


def test_models_and_turns_are_averaged_and_tiled(apply: Apply, models: Path, tmp_path: Path) -> None:
    save(PHOTOGRAPH[:200, :230], tmp_path / "a.png")
    for name, more in (
        ("one", ()),
        ("onnx", ("--with", "models/m.onnx")),
        ("tiled", ("--tile", "190")),
        ("x8", ("--ensemble", "x8")),
        ("quick", ("--tile", "120", "--quick", "--overlap", "8")),
    ):
        done = apply("models/m.safetensors", "a.png", "-o", name, *more)
        if name == "tiled":
            assert "tiles, " in done.stdout
            assert "gone over 2 times" in done.stderr
        if name == "quick":
            assert "differ from the untiled picture" in done.stderr
    found = {
        name: np.asarray(PIL.Image.open(tmp_path / name / "a.png")).astype(int)
        for name in ("one", "onnx", "tiled", "x8", "quick")
    }
    for name in ("onnx", "tiled"):  # a value on the edge between two levels may go either way
        assert np.abs(found[name] - found["one"]).max() <= 1
        assert (found[name] != found["one"]).mean() < 1e-4
    assert (found["x8"] != found["one"]).mean() > 0.01
    assert (found["quick"] != found["one"]).any()


def test_depth_greyscale_and_alpha_are_kept(apply: Apply, models: Path, tmp_path: Path) -> None:
    deep = PHOTOGRAPH[:32, :40].astype(np.uint16) * 257
    alpha = np.full((32, 40), 65535, np.uint16)
    alpha[:, :20] = 0
    write_picture(Picture(deep, alpha), tmp_path / "deep.png", "png")
    save(PHOTOGRAPH[:32, :40, 1], tmp_path / "grey.png")
    save(PHOTOGRAPH[:32, :40], tmp_path / "plain.png")
    apply("models/m.safetensors", "deep.png", "grey.png", "plain.png", "-o", "out")
    found, grey, plain = (
        read_picture(tmp_path / "out" / f"{name}.png") for name in ("deep", "grey", "plain")
    )
    assert (found.pixels.shape, found.pixels.dtype) == ((64, 80, 3), np.uint16)
    assert np.abs(found.pixels / 257 - plain.pixels).max() <= 0.51
    assert len(np.unique(found.pixels % 257)) > 100
    assert found.alpha is not None
    assert (found.alpha[:, 0].max(), found.alpha[:, -1].min()) == (0, 65535)
    assert (grey.pixels.shape, grey.pixels.dtype) == ((64, 80), np.uint8)
    failed = apply("models/m.safetensors", "deep.png", "-o", "jpeg", "--format", "jpeg", code=1)
    assert "deep.png: has 16 bits a channel, jpeg holds 8" in failed.stderr


def test_raw_is_developed(apply: Apply, tmp_path: Path) -> None:
    architecture = Chain(8, (Block("residual"),), fusion="plain")
    export(build(architecture, ISP).eval(), architecture, ISP, tmp_path / "isp.safetensors", "safetensors")
    np.save(tmp_path / "raw.npy", np.random.default_rng(0).random((20, 24, 4), dtype=np.float32))
    apply("isp.safetensors", "raw.npy", "-o", "out")
    assert np.asarray(PIL.Image.open(tmp_path / "out" / "raw.png")).shape == (40, 48, 3)
    assert (
        "can't be flipped"
        in apply("isp.safetensors", "raw.npy", "-o", "o", "--ensemble", "x8", code=2).stderr
    )


def test_an_output_that_is_no_number_is_told(apply: Apply, tmp_path: Path) -> None:
    architecture = Chain(8, (Block("residual"),), fusion="plain")
    broken = build(architecture, DENOISE).eval()
    with torch.no_grad():
        next(broken.parameters()).fill_(float("inf"))
    from safetensors.torch import save_file

    notes = {"architecture": architecture.to_json(), "task": "denoise"}
    save_file(broken.state_dict(), tmp_path / "m.safetensors", notes)
    save(PHOTOGRAPH[:32, :40], tmp_path / "a.png")
    assert "a.png: the network's output is NaN" in apply("m.safetensors", "a.png", "-o", "out", code=1).stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("models/none.onnx", "a.png", "-o", "out"), "no such file"),
        (("rfdn", "a.png", "-o", "out"), "rfdn: has no weights: rfdn=WEIGHTS"),
        (("models/m.onnx", "none.png", "-o", "out"), "none.png: no such file or folder"),
        (("models/m.onnx", "models", "-o", "out"), "models: no picture in this folder"),
        (("models/m.onnx", "a.png", "-o", "."), "would replace an input"),
        (("models/m.onnx", "a.png", "-o", "a.png"), "expected a folder for the outputs"),
        (("models/m.onnx", "a.png", "-o", "out", "--resume", "--overwrite"), "expected one of"),
        (("models/m.safetensors", "a.png", "-o", "out", "--tile", "30"), "is the least"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    apply: Apply, arguments: tuple[str, ...], message: str, models: Path, tmp_path: Path
) -> None:
    save(PHOTOGRAPH[:60, :64], tmp_path / "a.png")
    done = apply(*arguments, code=2)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("out/*"))


def test_pictures_of_one_name_get_names_of_their_own(tmp_path: Path) -> None:
    for name in ("in/a.png", "in/a.jpg", "in/b.png", "in/.hidden/c.png", "in/out/a.png", "other/b.png"):
        save(PHOTOGRAPH[:8, :8], tmp_path / name)
    jobs, _ = find_jobs([str(tmp_path / "in")], tmp_path / "in" / "out", "webp")
    assert {job.target.name for job in jobs} == {"a-png.webp", "a-jpg.webp", "b.webp"}
    jobs, _ = find_jobs([str(tmp_path / "in" / "*.png")], tmp_path / "new", "png")
    assert [job.source.name for job in jobs] == ["a.png", "b.png"]
    with pytest.raises(ValueError, match="restore them to different folders"):
        find_jobs([str(tmp_path / "in" / "b.png"), str(tmp_path / "other")], tmp_path / "new", "png")


@pytest.mark.shared
def test_rfdn_has_its_published_quality(apply: Apply, shared: Path, tmp_path: Path) -> None:
    weights = shared / "weights" / "RFDN_AIM.pth"
    small = shared / "data" / "set5" / "LR_bicubic" / "X4" / "butterflyx4.png"
    apply(f"rfdn={weights}", str(small), "-o", "out")
    restored = np.asarray(PIL.Image.open(tmp_path / "out" / "butterflyx4.png"))
    target = np.asarray(PIL.Image.open(shared / "data" / "set5" / "HR" / "butterfly.png"))
    assert restored.shape == target.shape
    assert psnr(restored, target, border=4, colour="y") > 28


@pytest.mark.parametrize("task", ["denoise", "nothing"])
def test_a_file_that_is_not_for_what_it_says_is_refused(
    apply: Apply, models: Path, tmp_path: Path, task: str
) -> None:
    model = onnx.load(models / "m.onnx")
    next(each for each in model.metadata_props if each.key == "task").value = task
    onnx.save(model, models / "m.onnx")
    save(PHOTOGRAPH[:32, :40], tmp_path / "a.png")
    said = apply("models/m.onnx", "a.png", "-o", "out", code=2).stderr
    assert (
        f"models/m.onnx: it says that it is for {task}, but has 3 channels in, 3 out, and enlarges by 2"
        in said
    )


def test_a_folder_that_cannot_be_written_to_is_told_first(apply: Apply, models: Path, tmp_path: Path) -> None:
    save(PHOTOGRAPH[:32, :40], tmp_path / "a.png")
    said = apply("models/m.onnx", "a.png", "-o", "/proc/out", code=2).stderr  # root may write anywhere else
    assert "-o /proc/out: can't be written to (" in said
    assert said.count("\n") == 1

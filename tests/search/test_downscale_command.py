"""``downscale``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import save_file

from evaluators.data.photographs import embedded
from spaces.architecture import Block
from spaces.build import build
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

PIXELFRONT = Path(sys.executable).parent / "pixelfront"
FEW = ("--hr-iterations", "1", "--lr-iterations", "2")


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A small network as an export keeps it."""
    torch.manual_seed(0)
    architecture = Chain(4, (Block("residual"),), fusion="plain", image_skip="bicubic")
    notes = {"architecture": architecture.to_json(), "task": "sr-x2"}
    save_file(build(architecture, super_resolution(2)).state_dict(), tmp_path / "model.safetensors", notes)
    return "model.safetensors"


@pytest.fixture
def picture(tmp_path: Path) -> np.ndarray:
    """The pixels of a.png."""
    pixels = embedded("test").images[1].pixels[:25, :32]
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    return pixels


def downscale(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [PIXELFRONT, "downscale", *arguments], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_a_small_image_is_written_and_its_gain_told(model: str, picture: np.ndarray, tmp_path: Path) -> None:
    text = downscale(tmp_path, model, "a.png", "-o", "out", *FEW).stdout
    assert "Y, 8-bit, border 2" in text
    assert "a.png" in text
    (row,) = json.loads(downscale(tmp_path, model, "a.png", "-o", "again", *FEW, "--json").stdout)
    assert (row["image"], row["scale"], row["file"]) == ("a.png", 2, "again/ax2.png")
    scores = row["psnr_y"]
    assert f"{scores['plain']:.2f}" in text
    assert row["gain"] == pytest.approx(max(scores.values()) - scores["plain"])
    assert row["gain"] > 0
    one, other = (np.asarray(PIL.Image.open(tmp_path / folder / "ax2.png")) for folder in ("out", "again"))
    assert (one.shape, one.dtype) == ((12, 16, 3), np.uint8)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("model.safetensors", "none.png", "-o", "out"), "none.png"),
        (("model.safetensors", "a.png", "-o", "a.png"), "expected a folder for the small images"),
        (("model.safetensors", "a.png", "-o", "out", "--epsilon", "0"), "'epsilon' is a positive number"),
        (("rfdn", "a.png", "-o", "out"), "expected --weights FILE"),
        (("rfnd", "a.png", "-o", "out"), "unknown published network 'rfnd': did you mean"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    arguments: tuple[str, ...], message: str, model: str, picture: np.ndarray, tmp_path: Path
) -> None:
    done = downscale(tmp_path, *arguments, code=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()

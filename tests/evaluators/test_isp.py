"""The camera's pipeline: default RAW, folders of real ones, and what it is scored as."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from evaluators.data.images import Image, ImageError, ImageSet
from evaluators.data.pairs import PairSet
from evaluators.data.photographs import embedded
from evaluators.data.raw import develop, pack
from evaluators.measure.metrics import psnr
from evaluators.tasks.isp import MADE_BY, CameraPipeline

TASK = CameraPipeline()


def photographs(side: int = 80) -> ImageSet:
    images = (Image(i.name, i.pixels[40 : 40 + side, 60 : 60 + side].copy()) for i in embedded("validation"))
    return ImageSet("parts", tuple(images))


def test_raw_of_a_picture_is_the_same_in_any_set_and_differs_between_pictures() -> None:
    both, alone = TASK.unprocess(photographs()), TASK.unprocess(ImageSet("one", photographs().images[1:]))
    np.testing.assert_array_equal(both.inputs.images[1].pixels, alone.inputs.images[0].pixels)
    assert both.scale == 2
    assert both.inputs.images[0].pixels.shape == (40, 40, 4)
    flat = ImageSet("flat", tuple(Image(str(v), np.full((8, 8, 3), v, np.uint8)) for v in (99, 100)))
    ratios = [np.median(i.pixels[..., 0]) / np.median(i.pixels[..., 1]) for i in TASK.unprocess(flat).inputs]
    assert ratios[0] != pytest.approx(ratios[1], rel=1e-3)


def test_odd_sides_are_cropped() -> None:
    pairs = TASK.unprocess(ImageSet("odd", (Image("a", photographs(33).images[0].pixels[:, :31]),)))
    assert pairs.targets.images[0].pixels.shape == (32, 30, 3)
    assert pairs.inputs.images[0].pixels.shape == (16, 15, 4)


def test_training_remakes_raw_after_flips_but_never_flips_given_raw() -> None:
    made = TASK.unprocess(photographs())
    first, again = (TASK.patch_source(made).batch(seed=1, step=2, batch=6, patch=16) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    source, target = first
    assert (source.shape, target.shape) == ((6, 16, 16, 4), (6, 32, 32, 3))
    # Green of the mosaic follows the target's brightness at the same place, flipped or not.
    for raw, rgb in zip(source, target, strict=True):
        assert np.corrcoef(raw[..., 1].ravel(), rgb[0::2, 1::2, 1].ravel())[0, 1] > 0.7

    inputs = tuple(Image(i.name, i.pixels) for i in made.inputs)
    given = PairSet(ImageSet("RAW", inputs), made.targets, 2)
    assert TASK.degradation(given) is None
    pixels = [i.pixels for i in inputs]
    patches, _ = TASK.patch_source(given).batch(seed=1, step=2, batch=6, patch=40)
    assert all(any(np.array_equal(patch, whole) for whole in pixels) for patch in patches)


def test_baseline_develops_raw_of_any_type() -> None:
    raw = TASK.unprocess(photographs()).inputs.images[0].pixels
    np.testing.assert_array_equal(TASK.baseline(raw), develop(raw))
    stored = np.rint(raw.clip(0, 1) * 65535).astype(np.uint16)
    assert psnr(TASK.baseline(stored), TASK.baseline(raw.clip(0, 1)), border=0, colour="rgb") > 45


def test_scores_are_over_rgb_first_and_say_what_the_raw_was() -> None:
    made = TASK.unprocess(photographs())
    outputs = [TASK.baseline(i.pixels) for i in made.inputs]
    first = TASK.measure(outputs, made)[0]
    assert (first.name, TASK.objectives[0], TASK.border) == ("psnr_rgb", "psnr_rgb", 0)
    assert first.protocol.startswith("RGB, 8-bit, border 0, on parts (")
    assert first.protocol.endswith(MADE_BY)
    given = PairSet(ImageSet("RAW", tuple(Image(i.name, i.pixels) for i in made.inputs)), made.targets, 2)
    assert TASK.measure(outputs, given)[0].protocol.endswith(f"given RAW {given.inputs.digest}")


# Folders


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Targets, and mosaics of them as 10-bit PNGs of pattern GRBG with a black level."""
    rgb, raw = tmp_path / "rgb", tmp_path / "raw"
    rgb.mkdir()
    raw.mkdir()
    for image in photographs(32):
        stem = Path(image.name).stem
        PIL.Image.fromarray(image.pixels).save(rgb / f"{stem}.png")
        mosaic = image.pixels[..., 1].astype(np.uint16) * 3 + 64
        PIL.Image.fromarray(mosaic).save(raw / f"{stem}.png")
    levels = {"black_level": 64, "white_level": 1023, "pattern": "GRBG"}
    (raw / "raw.json").write_text(json.dumps(levels))
    return rgb, raw


def test_given_mosaics_are_read_by_their_levels_and_targets_cropped_alike(folders: tuple[Path, Path]) -> None:
    pairs = TASK.pairs(*folders)
    assert (pairs.name, pairs.scale, len(pairs)) == ("rgb", 2, 2)
    for source, target, original in zip(pairs.inputs, pairs.targets, photographs(32), strict=True):
        np.testing.assert_array_equal(target.pixels, original.pixels[:32, 1:31])
        assert target.source == original.digest
        np.testing.assert_allclose(
            source.pixels, pack(target.pixels[..., 1].astype(np.float32) * 3 / 959), rtol=1e-5
        )
    assert any("black 64, white 1023, GRBG: 2" in note for note in pairs.inputs.notes)


def test_given_mosaics_without_levels_are_said_to_be_guessed(folders: tuple[Path, Path]) -> None:
    rgb, raw = folders
    (raw / "raw.json").unlink()
    pairs = TASK.pairs(rgb, raw)
    np.testing.assert_array_equal(pairs.targets.images[0].pixels, photographs(32).images[0].pixels)
    assert any("black 0, white 1023, RGGB" in note for note in pairs.inputs.notes)


def test_targets_of_another_size_are_refused(folders: tuple[Path, Path]) -> None:
    rgb, raw = folders
    name = sorted(rgb.iterdir())[0]
    PIL.Image.open(name).crop((0, 0, 32, 28)).save(name)
    with pytest.raises(ImageError, match="targets as large as the RAW's mosaic, twice the packed size"):
        TASK.pairs(rgb, raw)


def test_swapped_folders_are_refused_and_bad_files_left_out(folders: tuple[Path, Path]) -> None:
    rgb, raw = folders
    with pytest.raises(ImageError, match="was it given as the input instead of the target"):
        TASK.pairs(raw, rgb)
    sorted(raw.glob("*.png"))[0].write_bytes(b"broken")
    with pytest.raises(ImageError, match="1 unusable"):
        TASK.pairs(rgb, raw)
    kept = TASK.pairs(rgb, raw, skip_bad=True)
    assert len(kept) == 1
    assert "left out 1 unusable" in " ".join(kept.targets.notes)


@pytest.mark.parametrize("where", ["zurich", "zurich/test"])
def test_the_zurich_sets_folder_is_enough(folders: tuple[Path, Path], tmp_path: Path, where: str) -> None:
    given = TASK.pairs(*folders)
    split = tmp_path / "zurich" / "test"
    split.mkdir(parents=True)
    for folder, name in zip(folders, ("canon", "huawei_raw"), strict=True):
        shutil.move(folder, split / name)
    for file in sorted((split / "canon").iterdir()):
        file.rename(file.with_suffix(".jpg"))  # read by its content
    pairs = TASK.pairs(tmp_path / where, split="test")
    assert (pairs.name, pairs.digest) == (Path(where).name, given.digest)
    assert TASK.degradation(pairs) is None
    with pytest.raises(ImageError, match="2 unusable.*at least 17x17"):
        TASK.pairs(tmp_path / where, split="test", minimum=17)
    sorted((split / "huawei_raw").glob("*.png"))[0].unlink()
    with pytest.raises(ImageError, match=r"like Zurich RAW to RGB .*expected these files.*huawei_raw"):
        TASK.pairs(tmp_path / where, split="test")


def test_subfolders_of_no_known_layout_are_told_which_are(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ImageError, match=r"no known layout for 'isp': expected Zurich RAW to RGB \("):
        TASK.pairs(folders[0].parent)

"""Rescaling: an image stored small, and what is lost on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from evaluators.data.images import ImageError
from evaluators.degradations.bicubic import downscale, upscale
from evaluators.measure.metrics import psnr
from evaluators.tasks import get_task
from evaluators.training.recipe import two_stages
from evaluators.trial import Finished, Job, TrialData, baseline_score, evaluate
from spaces.architecture import Block
from spaces.topologies.rescaler import Rescaler


@pytest.mark.parametrize("scale", [2, 4])
def test_inputs_are_the_targets_in_multiples_of_the_reduction(scale: int) -> None:
    task = get_task(f"rescale-x{scale}")
    pairs = task.embedded("validation")
    assert (task.interface.reduction, task.interface.scale, pairs.scale, task.border) == (scale, 1, 1, scale)
    for source, target in zip(pairs.inputs, pairs.targets, strict=True):
        assert source is target
        assert not any(side % scale for side in source.pixels.shape[:2])


def test_baseline_is_bicubic_down_and_up() -> None:
    task = get_task("rescale-x4")
    pixels = task.embedded("test").inputs.images[0].pixels[:64, :80]
    np.testing.assert_array_equal(task.baseline(pixels), upscale(downscale(pixels, 4), 4))


def test_baseline_takes_sides_that_the_reduction_does_not_divide() -> None:
    task = get_task("rescale-x4")
    pixels = task.embedded("test").inputs.images[0].pixels[:61, :79]
    output = task.baseline(pixels)
    assert output.shape == pixels.shape
    assert psnr(output, pixels, border=0, colour="y") > 20


def test_a_folder_of_inputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="takes a folder of images only.*leave the inputs out"):
        get_task("rescale-x2").pairs(tmp_path, tmp_path)


def test_a_short_training_beats_bicubic() -> None:
    task = get_task("rescale-x2")
    train, test = (task.embedded(split).pick([0]) for split in ("train", "validation"))
    architecture = Rescaler(8, (Block("residual"),), fusion="plain", image_skip="bicubic")
    job = Job(architecture.to_json(), "rescale-x2", two_stages(40, patch=task.patch, batch=4), (40,), seed=0)
    *_, last = evaluate(job, TrialData(train, test))
    assert isinstance(last, Finished)
    baseline = {m.name: m for m in baseline_score("rescale-x2", test)}
    for found in last.measurements:
        assert found.protocol == baseline[found.name].protocol
        if found.name == "psnr_y":
            assert found.value > baseline["psnr_y"].value + 0.1


def test_a_data_sets_folder_is_enough(tmp_path: Path) -> None:
    task = get_task("rescale-x4")
    folder = tmp_path / "DIV2K_valid_HR"
    folder.mkdir()
    for image in task.embedded("test").targets:
        PIL.Image.fromarray(image.pixels[:40, :40]).save(folder / f"{Path(image.name).stem}.png")
    pairs = task.pairs(tmp_path, split="validation")
    assert len(pairs) == 2
    assert pairs.digest == task.pairs(folder).digest
    with pytest.raises(ImageError, match=r"no known layout for 'rescale-x4': expected DIV2K"):
        task.pairs(tmp_path)

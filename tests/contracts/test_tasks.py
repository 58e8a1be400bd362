"""What every task must do: a new file in evaluators/tasks is tested here at once."""

from __future__ import annotations

import math
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import get_args

import numpy as np
import PIL.Image
import pytest
import torch

from evaluators.images import Image, ImageError, ImageSet
from evaluators.metrics import measure
from evaluators.overlap import check_disjoint
from evaluators.pairs import PairSet, PatchSource, check_patch
from evaluators.recipe import Recipe, Stage
from evaluators.restoration import restore
from evaluators.tasks import RestorationTask, Split, get_task, register, task_names
from evaluators.training import Training
from evaluators.trial import baseline_score, score
from spaces.architecture import Block
from spaces.build import build, cost
from spaces.chain import Chain
from spaces.registry import UnknownNameError

SPLITS: tuple[Split, ...] = get_args(Split)
TINY = Chain(width=8, blocks=(Block("residual"),), fusion="plain")
TASKS = pytest.mark.parametrize("name", task_names())


@cache
def embedded(name: str, split: Split) -> PairSet:
    return get_task(name).embedded(split)


def first(pairs: PairSet, side: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """The top left of the first input, and of its target."""
    scale = pairs.scale
    source, target = pairs.inputs.images[0].pixels, pairs.targets.images[0].pixels
    return source[:side, :side], target[: side * scale, : side * scale]


def test_there_are_tasks_and_each_is_known_by_its_interfaces_name() -> None:
    assert {"sr-x2", "sr-x3", "sr-x4"} <= set(task_names())
    assert task_names() == sorted(task_names())
    for name in task_names():
        assert get_task(name).interface.name == name
        assert get_task(name) is get_task(name)


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown task 'sr_x4': did you mean 'sr-x4'\?.*sr-x2, sr-x3, sr-x4"
    ):
        get_task("sr_x4")


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="'sr-x2' is registered twice"):
        register(get_task("sr-x2"))


@TASKS
@pytest.mark.parametrize("split", SPLITS)
def test_embedded_inputs_and_targets_fit(name: str, split: Split) -> None:
    task, pairs = get_task(name), embedded(name, split)
    scale = task.interface.scale
    assert pairs.scale == scale
    assert len(pairs) == len(pairs.inputs) == len(pairs.targets) > 0
    assert pairs.name == f"embedded/{split}"
    for source, target in zip(pairs.inputs, pairs.targets, strict=True):
        assert source.name == target.name
        height, width, channels = source.pixels.shape
        assert target.pixels.shape == (height * scale, width * scale, task.interface.out_channels)
        assert channels == task.interface.in_channels == task.interface.cost_input[0]
    check_patch(pairs, 64)


@TASKS
def test_embedded_splits_are_disjoint_and_the_same_each_time(name: str) -> None:
    for one, other in combinations(SPLITS, 2):
        check_disjoint(embedded(name, one).targets, embedded(name, other).targets)
    assert len({embedded(name, split).digest for split in SPLITS}) == 3
    assert get_task(name).embedded("test").digest == embedded(name, "test").digest


@TASKS
def test_the_trivial_method_has_a_name_the_targets_size_and_a_score(name: str) -> None:
    task, (source, target) = get_task(name), first(embedded(name, "validation"))
    assert task.baseline_name
    output = task.baseline(source)
    assert (output.shape, output.dtype) == (target.shape, np.uint8)
    data = ImageSet("part", (Image("part", target),))
    pairs = PairSet(ImageSet("input", (Image("part", source),)), data, task.interface.scale)
    measured = baseline_score(name, pairs)
    assert measured == measure([output], [target], border=task.border, data=data)
    assert all(math.isfinite(m.value) for m in measured)
    assert f"border {task.border}, on part" in measured[0].protocol
    assert next(m.value for m in measured if m.name == "psnr_y") > 15
    odd = source[:7, :9]
    assert task.baseline(odd).shape == (7 * pairs.scale, 9 * pairs.scale, target.shape[2])


@TASKS
def test_a_tiny_network_trains_a_step_and_restores(name: str) -> None:
    task, pairs = get_task(name), embedded(name, "train")
    torch.manual_seed(0)
    network = build(TINY, task.interface)
    assert cost(TINY, task.interface).macs > 0
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    patches = PatchSource([i.pixels for i in pairs.inputs], [i.pixels for i in pairs.targets], pairs.scale)
    training = Training(network, patches, Recipe((Stage(1, "l1", 1e-3, 2, 16),)), seed=0)
    assert [progress.step for progress in training.run(1)] == [1]
    assert not any(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
    source, target = first(embedded(name, "validation"), 21)
    (output,) = restore(training.average, [source], scale=task.interface.scale)
    assert output.shape == target.shape
    small = PairSet(
        ImageSet("input", (Image("part", source),)), ImageSet("part", (Image("part", target),)), pairs.scale
    )
    assert [m.key for m in score(training.average, name, small)] == [
        m.key for m in baseline_score(name, small)
    ]


# Folders


def save(images: ImageSet, folder: Path) -> Path:
    folder.mkdir()
    for image in images:
        PIL.Image.fromarray(image.pixels).save(folder / f"{Path(image.name).stem}.png")
    return folder


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[RestorationTask, PairSet, Path, Path]:
    """A task, pairs of it, and the same as folders of targets and inputs."""
    name = request.getfixturevalue("name")
    scale, parts = get_task(name).interface.scale, []
    for image in embedded(name, "validation").targets:
        parts.append(Image(image.name, image.pixels[: 24 * scale, : 30 * scale]))
    targets = ImageSet("targets", tuple(parts))
    save(targets, tmp_path / "targets")
    given = get_task(name).pairs(tmp_path / "targets")
    return get_task(name), given, tmp_path / "targets", save(given.inputs, tmp_path / "inputs")


@TASKS
def test_a_folder_of_targets_makes_pairs(
    folder: tuple[RestorationTask, PairSet, Path, Path], name: str
) -> None:
    task, pairs, targets, _ = folder
    assert (pairs.name, pairs.scale, len(pairs)) == ("targets", task.interface.scale, 2)
    for image in pairs.targets:
        np.testing.assert_array_equal(image.pixels, np.asarray(PIL.Image.open(targets / image.name)))
    assert all(i.pixels.shape == (24, 30, 3) for i in pairs.inputs)
    assert task.pairs(targets).digest == pairs.digest


@TASKS
def test_a_folder_of_inputs_is_used_as_it_is(
    folder: tuple[RestorationTask, PairSet, Path, Path], name: str
) -> None:
    task, made, targets, inputs = folder
    assert task.pairs(targets, inputs).digest == made.digest
    file = sorted(inputs.iterdir())[0]
    pixels = np.asarray(PIL.Image.open(file)) ^ 1
    PIL.Image.fromarray(pixels).save(file)
    changed = task.pairs(targets, inputs)
    np.testing.assert_array_equal(changed.inputs.images[0].pixels, pixels)
    assert changed.targets.digest == made.targets.digest
    assert changed.digest != made.digest


@TASKS
def test_folders_that_cannot_be_used_are_refused(
    folder: tuple[RestorationTask, PairSet, Path, Path], name: str, tmp_path: Path
) -> None:
    task, _, targets, inputs = folder
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="empty: no image in this folder"):
        task.pairs(tmp_path / "empty")
    with pytest.raises(ImageError, match="empty: no image in this folder"):
        task.pairs(targets, tmp_path / "empty")
    with pytest.raises(ImageError, match="nowhere: no such folder"):
        task.pairs(tmp_path / "nowhere")
    sorted(inputs.iterdir())[0].unlink()
    with pytest.raises(ImageError, match="1 without a partner"):
        task.pairs(targets, inputs)


@TASKS
def test_bad_and_small_images_are_refused_or_left_out(
    folder: tuple[RestorationTask, PairSet, Path, Path], name: str
) -> None:
    task, _, targets, _ = folder
    (targets / "broken.png").write_bytes(b"no image")
    scale = task.interface.scale
    PIL.Image.fromarray(np.zeros((23 * scale, 30 * scale, 3), np.uint8)).save(targets / "small.png")
    with pytest.raises(ImageError, match=r"broken\.png"):
        task.pairs(targets)
    with pytest.raises(ImageError, match=r"2 unusable.*small\.png: expected at least"):
        task.pairs(targets, minimum=24)
    kept = task.pairs(targets, minimum=24, skip_bad=True)
    assert len(kept) == 2
    assert "left out 2 unusable" in " ".join(kept.targets.notes)
    assert len(task.pairs(targets, minimum=23, skip_bad=True)) == 3


@TASKS
def test_small_inputs_are_refused_or_left_out_too(
    folder: tuple[RestorationTask, PairSet, Path, Path], name: str
) -> None:
    task, _, targets, inputs = folder
    scale = task.interface.scale
    PIL.Image.fromarray(np.zeros((23 * scale, 30 * scale, 3), np.uint8)).save(targets / "small.png")
    PIL.Image.fromarray(np.zeros((23, 30, 3), np.uint8)).save(inputs / "small.png")
    assert len(task.pairs(targets, inputs, minimum=23)) == 3
    with pytest.raises(
        ImageError, match=r"1 unusable.*small\.png: expected at least 24x24 pixels, got 30x23"
    ):
        task.pairs(targets, inputs, minimum=24)
    assert len(task.pairs(targets, inputs, minimum=24, skip_bad=True)) == 2

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

from evaluators.data.images import Image, ImageError, ImageSet
from evaluators.data.overlap import check_disjoint
from evaluators.data.pairs import PairSet, check_patch
from evaluators.degradations.corruptions import to_8_bits
from evaluators.inference.restoration import restore
from evaluators.measure.metrics import measure
from evaluators.tasks import RestorationTask, Split, get_task, register, task_names
from evaluators.training.loop import Training
from evaluators.training.recipe import Recipe, Stage
from evaluators.trial import baseline_score, score
from spaces.architecture import Architecture
from spaces.build import build, cost
from spaces.catalog import named_space
from spaces.registry import UnknownNameError

SPLITS: tuple[Split, ...] = get_args(Split)
TASKS = pytest.mark.parametrize("name", task_names())


@cache
def embedded(name: str, split: Split) -> PairSet:
    return get_task(name).embedded(split)


def tiny(task: RestorationTask) -> Architecture:
    """A small architecture of the task's own default space."""
    space = named_space(task.space, blocks=["residual"])
    return space.decode({choice.name: choice.values[0] for choice in space})


def scores_pictures(task: RestorationTask) -> bool:
    """Whether targets are 8-bit pictures, scored as such; if not, what is read and scored are arrays."""
    return embedded(task.interface.name, "validation").targets.images[0].pixels.dtype == np.uint8


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
    assert (output.shape, output.dtype) == (target.shape, target.dtype)
    data = ImageSet("part", (Image("part", target),))
    pairs = PairSet(ImageSet("input", (Image("part", source),)), data, task.interface.scale)
    measured = baseline_score(name, pairs)
    assert measured == task.measure([output], pairs)
    assert {m.name for m in measured} >= set(task.objectives)
    if scores_pictures(task):
        usual = measure([output], [target], border=task.border, data=data)
        for ours, plain in zip(measured, usual, strict=True):
            assert (ours.name, ours.value, ours.unit) == (plain.name, plain.value, plain.unit)
            assert ours.protocol.startswith(plain.protocol)
    assert all(math.isfinite(m.value) for m in measured)
    assert f"border {task.border}, on part" in measured[0].protocol
    wanted = "psnr_y" if scores_pictures(task) else task.objectives[0]
    assert next(m.value for m in measured if m.name == wanted) > 15
    odd = source[:7, :9]
    assert task.baseline(odd).shape == (7 * pairs.scale, 9 * pairs.scale, target.shape[2])


@TASKS
def test_a_tiny_network_trains_a_step_and_restores(name: str) -> None:
    task, pairs = get_task(name), embedded(name, "train")
    torch.manual_seed(0)
    network = build(tiny(task), task.interface)
    assert cost(tiny(task), task.interface).macs > 0
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    patch, _ = network.size_requirements.padded(16, 16)
    recipe = Recipe((Stage(1, task.losses[0], 1e-3, 2, patch),))
    training = Training(network, task.patch_source(pairs), recipe, seed=0)
    assert [progress.step for progress in training.run(1)] == [1]
    assert not any(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
    source, target = first(embedded(name, "validation"), 21)
    (output,) = restore(training.average, [source], scale=task.interface.scale, finish=task.finish)
    assert (output.shape, output.dtype) == (target.shape, target.dtype)
    assert (task.picture(output).shape, task.picture(output).dtype) == ((*target.shape[:2], 3), np.uint8)
    small = PairSet(
        ImageSet("input", (Image("part", source),)), ImageSet("part", (Image("part", target),)), pairs.scale
    )
    assert [m.key for m in score(training.average, name, small)] == [
        m.key for m in baseline_score(name, small)
    ]


# Folders


def write(pixels: np.ndarray, folder: Path, stem: str, *, task: RestorationTask) -> None:
    """A picture as an 8-bit PNG, whatever its type; other channels than a picture's as an array."""
    if pixels.shape[2] != 3 or not scores_pictures(task):
        np.save(folder / f"{stem}.npy", pixels)
        return
    pixels = pixels if pixels.dtype == np.uint8 else to_8_bits(pixels)
    PIL.Image.fromarray(pixels).save(folder / f"{stem}.png")


def save(images: ImageSet, folder: Path, task: RestorationTask) -> Path:
    folder.mkdir()
    for image in images:
        write(image.pixels, folder, Path(image.name).stem, task=task)
    return folder


def add_small(folder: Path, task: RestorationTask) -> None:
    """A target of which the input is 30x23."""
    scale = task.interface.scale
    pixels = np.ones((23 * scale, 30 * scale, 3), np.uint8 if scores_pictures(task) else np.float32)
    write(pixels, folder, "small", task=task)


def is_kept(image: Image) -> bool:
    """Whether ``write`` keeps every value."""
    return image.pixels.dtype == np.uint8 or image.pixels.shape[2] != 3


def takes_inputs(task: RestorationTask) -> bool:
    """Whether inputs can be given: in rescaling, an image is its own."""
    return task.interface.reduction == 1


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[RestorationTask, PairSet, Path, Path]:
    """A task, pairs of it, and the same as folders of targets and inputs."""
    name = request.getfixturevalue("name")
    scale, parts = get_task(name).interface.scale, []
    for image in embedded(name, "validation").targets:
        parts.append(Image(image.name, image.pixels[: 24 * scale, : 32 * scale]))
    targets = ImageSet("targets", tuple(parts))
    task = get_task(name)
    given = task.pairs(save(targets, tmp_path / "targets", task))
    return task, given, tmp_path / "targets", save(given.inputs, tmp_path / "inputs", task)


@TASKS
def test_a_folder_of_targets_makes_pairs(
    folder: tuple[RestorationTask, PairSet, Path, Path], name: str
) -> None:
    task, pairs, targets, _ = folder
    assert (pairs.name, pairs.scale, len(pairs)) == ("targets", task.interface.scale, 2)
    for image in pairs.targets:
        assert (targets / image.name).is_file()
        if scores_pictures(task):
            np.testing.assert_array_equal(image.pixels, np.asarray(PIL.Image.open(targets / image.name)))
    assert all(i.pixels.shape == (24, 32, task.interface.in_channels) for i in pairs.inputs)
    assert task.pairs(targets).digest == pairs.digest


@TASKS
def test_a_folder_of_inputs_is_used_as_it_is(
    folder: tuple[RestorationTask, PairSet, Path, Path], name: str
) -> None:
    task, made, targets, inputs = folder
    if not takes_inputs(task):
        with pytest.raises(ImageError, match="an image is its own input"):
            task.pairs(targets, inputs)
        return
    given = task.pairs(targets, inputs)
    assert given.targets.digest == made.targets.digest
    if all(map(is_kept, made.inputs)):
        assert given.digest == made.digest
    assert task.degradation(given) is None
    pixels = given.inputs.images[0].pixels // 2
    write(pixels, inputs, sorted(inputs.iterdir())[0].stem, task=task)
    changed = task.pairs(targets, inputs)
    np.testing.assert_array_equal(changed.inputs.images[0].pixels, pixels)
    assert changed.targets.digest == made.targets.digest
    assert changed.digest not in (made.digest, given.digest)


@TASKS
def test_folders_that_cannot_be_used_are_refused(
    folder: tuple[RestorationTask, PairSet, Path, Path], name: str, tmp_path: Path
) -> None:
    task, _, targets, inputs = folder
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="empty: no image in this folder"):
        task.pairs(tmp_path / "empty")
    with pytest.raises(ImageError, match="nowhere: no such folder"):
        task.pairs(tmp_path / "nowhere")
    if not takes_inputs(task):
        return
    with pytest.raises(ImageError, match="empty: no image in this folder"):
        task.pairs(targets, tmp_path / "empty")
    sorted(inputs.iterdir())[0].unlink()
    with pytest.raises(ImageError, match="1 without a partner"):
        task.pairs(targets, inputs)


@TASKS
def test_bad_and_small_images_are_refused_or_left_out(
    folder: tuple[RestorationTask, PairSet, Path, Path], name: str
) -> None:
    task, _, targets, _ = folder
    broken = "broken.png" if scores_pictures(task) else "broken.npy"
    (targets / broken).write_bytes(b"no image")
    add_small(targets, task)
    with pytest.raises(ImageError, match=broken):
        task.pairs(targets)
    with pytest.raises(ImageError, match=r"2 unusable.*small\.\w+: expected at least"):
        task.pairs(targets, minimum=24)
    kept = task.pairs(targets, minimum=24, skip_bad=True)
    assert len(kept) == 2
    assert "left out 2 unusable" in " ".join(kept.targets.notes)
    assert len(task.pairs(targets, minimum=23, skip_bad=True)) == 3


@TASKS
def test_small_inputs_are_refused_or_left_out_too(
    folder: tuple[RestorationTask, PairSet, Path, Path], name: str
) -> None:
    task, made, targets, inputs = folder
    if not takes_inputs(task):
        return
    add_small(targets, task)
    small = np.zeros((23, 30, task.interface.in_channels), made.inputs.images[0].pixels.dtype)
    write(small, inputs, "small", task=task)
    assert len(task.pairs(targets, inputs, minimum=23)) == 3
    with pytest.raises(
        ImageError, match=r"1 unusable.*small\.\w+: expected at least 24x24 pixels, got 30x23"
    ):
        task.pairs(targets, inputs, minimum=24)
    assert len(task.pairs(targets, inputs, minimum=24, skip_bad=True)) == 2

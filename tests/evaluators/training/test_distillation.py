"""Teachers, what is kept of them, and feature matching, with real networks."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from evaluators.data.pairs import PatchSource
from evaluators.data.tensors import to_tensor
from evaluators.tasks import get_task, task_names
from evaluators.training import distillation
from evaluators.training.distillation import (
    FeatureMatching,
    KeptOutputs,
    Lessons,
    Teacher,
    TeacherSpec,
    load_bytes,
    watch,
)
from evaluators.trial import weights_of
from spaces.architecture import Architecture, Block
from spaces.build import build
from spaces.catalog import named_space
from spaces.checkpoint import CheckpointError
from spaces.padding import run
from spaces.parts import Network
from spaces.task import DENOISE, HDR, Task, super_resolution
from spaces.topologies.chain import Chain
from spaces.topologies.hdr import HdrFusion
from spaces.topologies.unet import UNet
from tests.evaluators.small import TASK, TINY, network, pairs, task

WIDE = Chain(width=12, blocks=(Block("residual"),) * 3, fusion="plain")
SWIN = Chain(width=12, blocks=(Block("rstb", (("layers", 2), ("heads", 2))),), fusion="plain")
FACE = task().interface
IMAGES = [image.pixels for image in pairs().inputs]


def member(architecture: Architecture, seed: int = 0, interface: Task = FACE) -> tuple[str, bytes]:
    torch.manual_seed(seed)
    return architecture.to_json(), weights_of(build(architecture, interface))


def rebuilt(of: tuple[str, bytes], interface: Task = FACE) -> Network:
    found = build(Architecture.from_json(of[0]), interface).eval()
    load_bytes(found, of[1])
    return found


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def test_a_teacher_is_the_mean_of_its_networks_at_any_size() -> None:
    members = (member(WIDE), member(TINY, 1), member(SWIN, 2))
    teacher = TeacherSpec(TASK, members).build(FACE)
    for size in ((16, 16), (13, 21)):  # the transformer takes multiples of 8
        image = torch.rand(2, 3, *size)
        each = [run(rebuilt(of), image, scale=2) for of in members]
        torch.testing.assert_close(teacher(image), torch.stack(each).mean(0), rtol=0, atol=1e-6)
        assert teacher(image).shape == (2, 3, 2 * size[0], 2 * size[1])
    assert not teacher(torch.rand(1, 3, 8, 8, requires_grad=True)).requires_grad


@pytest.mark.parametrize("name", task_names())
def test_every_tasks_networks_can_teach(name: str) -> None:
    """The smallest of its default space; of a network of two stages the last output."""
    known = get_task(name)
    space = named_space(known.space)
    smallest = space.decode({choice.name: choice.values[0] for choice in space})
    teacher = TeacherSpec(name, (member(smallest, interface=known.interface),)).build(known.interface)
    output = teacher(torch.rand(1, known.interface.in_channels, 24, 20))
    scale = known.interface.scale
    assert output.shape == (1, known.interface.out_channels, 24 * scale, 20 * scale)


def test_the_digest_tells_teachers_apart() -> None:
    one, other = member(WIDE), member(WIDE, 1)
    specs = [(one,), (other,), (one, other), (other, one)]
    digests = [TeacherSpec(TASK, members).digest for members in specs]
    digests.append(TeacherSpec("sr-x4", (one,)).digest)
    assert len(set(digests)) == 5
    assert TeacherSpec(TASK, (member(WIDE),)).digest == digests[0]
    assert str(len(one[1])) not in repr(TeacherSpec(TASK, (one,)))


def test_a_teacher_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one network as a teacher, got none"):
        TeacherSpec(TASK, ()).build(FACE)
    with pytest.raises(
        ValueError, match="expected a teacher of task 'sr-x4' like the student's, got one of 'sr-x2'"
    ):
        TeacherSpec(TASK, (member(WIDE),)).build(super_resolution(4))
    wrong = (WIDE.to_json(), member(TINY)[1])
    with pytest.raises(
        CheckpointError, match=r"teacher 2 of 2: .*missing \(blocks\.1.*of another shape \(head\.weight"
    ):
        TeacherSpec(TASK, (member(WIDE), wrong)).build(FACE)
    with pytest.raises(CheckpointError, match="teacher 1 of 1: expected the bytes of a safetensors file"):
        TeacherSpec(TASK, ((WIDE.to_json(), b"nonsense"),)).build(FACE)


class Counting(Teacher):
    """A real teacher that counts the images it is shown."""

    shown = 0

    def of_image(self, pixels: np.ndarray) -> np.ndarray:
        self.shown += 1
        return super().of_image(pixels)


def test_kept_outputs_are_the_teachers_and_made_once(tmp_path: Path) -> None:
    teacher = Counting([network(3)], 2)
    mirrored = np.ascontiguousarray(IMAGES[0][:, ::-1])
    images = [IMAGES[0], IMAGES[0][:40], mirrored]
    kept = KeptOutputs(teacher, tmp_path / "new" / "folder", images)
    for _ in range(2):
        for image, output in zip(images, kept, strict=True):
            assert isinstance(output, np.memmap)
            assert output.dtype == np.float16
            expected = teacher(to_tensor(image[None]))[0].permute(1, 2, 0).numpy()
            np.testing.assert_allclose(output, expected, rtol=0, atol=1 / 2048)
    assert teacher.shown == 3
    again = KeptOutputs(teacher, tmp_path / "new" / "folder", images[::-1])
    np.testing.assert_array_equal(again[0], kept[2])
    assert teacher.shown == 3
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 3


def test_a_killed_write_leaves_nothing_that_is_taken_for_an_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = Counting([network(3)], 2)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(distillation.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            KeptOutputs(teacher, tmp_path, IMAGES)[0]
    assert os.listdir(tmp_path) == []
    assert KeptOutputs(teacher, tmp_path, IMAGES)[0].shape == (96, 96, 3)
    assert teacher.shown == 2


def test_lessons_are_of_the_batchs_places(tmp_path: Path) -> None:
    """Where the teacher sees a patch and nothing of what is around, its output differs only near the border."""
    targets = [image.pixels for image in pairs().targets]
    teacher = TeacherSpec(TASK, (member(TINY, 4),)).build(FACE, cache=str(tmp_path))
    patches = PatchSource(IMAGES, targets, 2, flips=False)
    batch = {"seed": 0, "step": 5, "batch": 6, "patch": 20}
    image = to_tensor(patches.batch(**batch)[0])
    kept, fresh = Lessons(teacher, patches, None).output(image, **batch), teacher(image)
    assert kept.shape == fresh.shape
    assert kept.dtype == torch.float32
    inner = (..., slice(14, -14), slice(14, -14))
    torch.testing.assert_close(kept[inner], fresh[inner], rtol=0, atol=1e-3)

    noisy = PatchSource(IMAGES, targets, 2, degrade=lambda clean, _: clean[:, ::2, ::2])
    assert torch.equal(Lessons(teacher, noisy, None).output(image, **batch), fresh)


def test_blocks_are_matched_at_the_same_relative_depth() -> None:
    def matched(ours: int, theirs: int) -> list[tuple[str, str]]:
        student, teacher = (
            network(0, Chain(4, (Block("residual"),) * n, fusion="plain")) for n in (ours, theirs)
        )
        pairs = FeatureMatching(student, teacher, 3, random()).pairs
        return [(a.removeprefix("blocks."), b.removeprefix("blocks.")) for a, b in pairs]

    assert matched(2, 6) == [("0", "2"), ("1", "5")]
    assert matched(3, 3) == [("0", "0"), ("1", "1"), ("2", "2")]
    assert matched(4, 2) == [("0", "0"), ("1", "0"), ("2", "1"), ("3", "1")]
    assert matched(1, 3) == [("0", "2")]


def features(of: Network, names: list[str], image: Tensor) -> dict[str, Tensor]:
    with watch(of, names) as seen:
        run(of, image)
    return seen


def test_matching_is_by_the_features_and_does_not_depend_on_their_scale() -> None:
    student, teacher = network(0), network(1, WIDE)
    matching = FeatureMatching(student, teacher, 3, random())
    image = torch.rand(2, 3, 16, 16)
    ours = features(student, [a for a, _ in matching.pairs], image)
    theirs = features(teacher, [b for _, b in matching.pairs], image)
    loss = matching(ours, theirs)
    assert 0.5 < loss.item() < 5
    larger = {name: 255 * value for name, value in theirs.items()}
    torch.testing.assert_close(matching(ours, larger), loss)
    other = {name: value.flip(0) for name, value in theirs.items()}
    assert matching(ours, other).item() != pytest.approx(loss.item(), rel=1e-4)
    loss.backward()
    assert student.get_parameter("head.weight").grad is not None
    assert all(parameter.grad is not None for parameter in matching.parameters())


def test_a_padded_teachers_features_are_cropped() -> None:
    student, teacher = network(0), network(1, SWIN)
    matching = FeatureMatching(student, teacher, 3, random())
    image = torch.rand(1, 3, 12, 20)
    ours = features(student, ["blocks.0"], image)
    theirs = features(teacher, ["blocks.0"], image)
    assert theirs["blocks.0"].shape[2:] == (16, 24)
    assert matching(ours, theirs).isfinite()


def test_topologies_without_a_list_of_blocks_are_matched_by_name() -> None:
    def unet(*widths: int) -> Network:
        level = ((Block("hin"),),) * len(widths)
        architecture = UNet(widths, level, level[:-1], skip="add", image_skip=True)
        return build(architecture, DENOISE).train()

    student, teacher = unet(4, 6), unet(8, 12, 16)
    matching = FeatureMatching(student, teacher.eval(), 3, random())
    assert all(one == other for one, other in matching.pairs)
    assert ("stage_1.encoder_0_0", "stage_1.encoder_0_0") in matching.pairs
    assert student.training


def test_hdr_networks_are_matched_and_different_resolutions_refused() -> None:
    def hdr(unshuffle: int, depth: int) -> Network:
        return build(HdrFusion(4, (Block("residual"),) * depth, unshuffle=unshuffle), HDR)

    assert len(FeatureMatching(hdr(2, 2), hdr(2, 3), 18, random()).pairs) == 2
    with pytest.raises(ValueError, match="feature matching needs a teacher with blocks like the student's"):
        FeatureMatching(hdr(2, 2), hdr(1, 2), 18, random())


def test_adapters_are_a_function_of_their_seed() -> None:
    state = torch.get_rng_state()
    one, same, other = (FeatureMatching(network(0), network(1, WIDE), 3, random(seed)) for seed in (0, 0, 1))
    weights = [m.adapters[0].weight for m in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    torch.set_rng_state(state)


def test_watching_ends_with_its_block_even_after_an_error() -> None:
    student = network()
    with pytest.raises(RuntimeError), watch(student, ["blocks.0"]):
        student(torch.rand(1, 5, 8, 8))
    assert not student.get_submodule("blocks.0")._forward_hooks

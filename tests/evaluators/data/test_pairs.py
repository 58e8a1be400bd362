"""Pairs and their patches, on images whose pixels say where they are."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.data.images import Image, ImageSet, orientations
from evaluators.data.pairs import PairSet, PatchSource, check_patch


def coordinates(height: int, width: int, number: int = 0) -> np.ndarray:
    """(H, W, 3) whose channels are row, column and the image's number."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, number)], axis=2).astype(np.uint8)


def images(scale: int, *sizes: tuple[int, int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs of these sizes and their targets; an input's pixel is the top left one of its target's block."""
    targets = [coordinates(h * scale, w * scale, n) for n, (h, w) in enumerate(sizes)]
    return [target[::scale, ::scale] for target in targets], targets


def turn_of(patch: np.ndarray) -> tuple[int, ...]:
    """The change of (row, column) along the first and the second axis of a patch: one of 8."""
    down, across = patch[1, 0].astype(int) - patch[0, 0], patch[0, 1].astype(int) - patch[0, 0]
    return tuple(np.sign([*down[:2], *across[:2]]))


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_input_and_target_show_the_same_place_in_all_orientations(scale: int) -> None:
    source = PatchSource(*images(scale, (30, 50), (60, 20)), scale)
    inputs, targets = source.batch(seed=1, step=2, batch=200, patch=5)
    assert inputs.shape == (200, 5, 5, 3)
    assert targets.shape == (200, 5 * scale, 5 * scale, 3)
    assert inputs.dtype == targets.dtype == np.uint8
    blocks = targets.reshape(200, 5, scale, 5, scale, 3)
    # The block's own top left pixel has the smallest row and column, wherever the turn put it.
    np.testing.assert_array_equal(blocks.min(axis=(2, 4)), inputs)
    assert {turn_of(a) for a in inputs} == {turn_of(view) for view in orientations(coordinates(5, 5))}
    if scale > 1:
        assert [turn_of(a) for a in inputs] == [turn_of(a) for a in targets]


def test_orientations_images_and_places_are_equally_likely() -> None:
    """Within 5 standard deviations, of images that differ much in size and up to both borders."""
    source = PatchSource(*images(1, (8, 8), (100, 120)), 1)
    batch, _ = source.batch(seed=0, step=0, batch=8000, patch=5)
    small = batch[batch[..., 2].max(axis=(1, 2)) == 0]
    assert abs(len(small) - 4000) < 5 * 45
    _, counts = np.unique([turn_of(patch) for patch in batch], axis=0, return_counts=True)
    assert len(counts) == 8
    assert abs(counts - 1000).max() < 5 * 30
    corners, counts = np.unique(small.min(axis=(1, 2))[:, :2], axis=0, return_counts=True)
    np.testing.assert_array_equal(corners, [(row, column) for row in range(4) for column in range(4)])
    assert abs(counts - len(small) / 16).max() < 5 * 16


@settings(deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(1, 9))
def test_a_batch_is_a_function_of_seed_and_step(seed: int, step: int, batch: int) -> None:
    inputs, targets = images(2, (9, 11), (12, 8))
    first, used = PatchSource(inputs, targets, 2), PatchSource(inputs, targets, 2)
    used.batch(seed=seed, step=step + 1, batch=3, patch=2)
    used.batch(seed=seed + 1, step=step, batch=3, patch=2)
    one = first.batch(seed=seed, step=step, batch=batch, patch=4)
    for a, b in zip(one, used.batch(seed=seed, step=step, batch=batch, patch=4), strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_seeds_and_steps_give_other_batches() -> None:
    source = PatchSource(*images(1, (90, 90)), 1)
    keys = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (100_003, 0)]
    batches = [source.batch(seed=s, step=t, batch=8, patch=4)[0].tobytes() for s, t in keys]
    assert len(set(batches)) == len(keys)


def test_images_that_cannot_be_written_are_used_in_place() -> None:
    """As Ray hands them out: shared and read-only; a batch takes the memory of its patches, not of images."""
    inputs, targets = ([np.zeros((side, side, 3), np.uint8)] for side in (1000, 2000))  # 3 and 12 MB
    for image in (*inputs, *targets):
        image.flags.writeable = False
    source = PatchSource(inputs, targets, 2)
    tracemalloc.start()
    batch = source.batch(seed=0, step=0, batch=16, patch=16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000
    for patches in batch:
        patches += 1  # a batch of its own
    assert not any(image.any() for image in (*inputs, *targets))


def pair_set(*arrays: np.ndarray, scale: int = 2, name: str = "set", file: str = "") -> PairSet:
    """Targets as given, inputs by leaving out pixels."""
    targets = ImageSet(name, tuple(Image(f"{file}{n}.png", a) for n, a in enumerate(arrays)))
    inputs = tuple(Image(i.name, i.pixels[::scale, ::scale]) for i in targets)
    return PairSet(ImageSet(f"{name} small", inputs), targets, scale)


ONE, TWO = coordinates(12, 16, 1), coordinates(20, 12, 2)
NOISE = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), dtype=np.uint8)


@settings(deadline=None)
@given(st.integers(0, 11), st.integers(0, 15), st.integers(0, 2), st.booleans())
def test_the_digest_changes_with_any_pixel(row: int, column: int, channel: int, of_the_input: bool) -> None:
    before = pair_set(ONE, TWO)
    inputs, targets = before.inputs.images[0].pixels.copy(), ONE.copy()
    changed = inputs if of_the_input else targets
    changed[row // (1 + of_the_input), column // (1 + of_the_input), channel] ^= 1
    after = PairSet(
        ImageSet("small", (Image("a", inputs), before.inputs.images[1])),
        ImageSet("set", (Image("a", targets), before.targets.images[1])),
        2,
    )
    assert after.digest != before.digest


def test_the_digest_does_not_change_with_names_or_order() -> None:
    digest = pair_set(ONE, TWO).digest
    assert len(digest) == 12
    assert pair_set(ONE, TWO, name="other", file="x").digest == digest
    assert pair_set(TWO, ONE).digest == digest
    assert pair_set(ONE).digest != digest


def test_the_digest_tells_who_belongs_to_whom() -> None:
    """Two inputs swapped are other data, though the images are the same."""
    data = pair_set(*NOISE)
    swapped = PairSet(ImageSet("small", data.inputs.images[::-1]), data.targets, 2)
    assert {i.digest for i in (data.inputs, swapped.inputs)} == {data.inputs.digest}
    assert swapped.digest != data.digest


def test_a_pair_set_is_named_by_its_targets() -> None:
    data = pair_set(ONE, TWO, name="Set5")
    assert (data.name, len(data)) == ("Set5", 2)


def test_a_patch_that_does_not_fit_is_refused_with_the_size_to_use() -> None:
    data = pair_set(ONE, TWO)  # inputs of 8x6 and 6x10 pixels
    check_patch(data, 6)
    with pytest.raises(
        ValueError,
        match=r"7x7 input pixels.*2 input image.*'set': 0\.png \(8x6\), 1\.png \(6x10\)\. Use --patch 6",
    ):
        check_patch(data, 7)
    with pytest.raises(ValueError, match=r"1 input image.*: 1\.png \(6x10\)\. Use --patch 6 or less"):
        check_patch(pair_set(coordinates(40, 40), TWO), 20)


def test_the_largest_patch_that_fits_covers_the_smallest_image() -> None:
    data = pair_set(coordinates(12, 12), TWO)
    source = PatchSource([i.pixels for i in data.inputs], [i.pixels for i in data.targets], 2)
    inputs, targets = source.batch(seed=0, step=0, batch=40, patch=6)
    assert inputs.shape == (40, 6, 6, 3)
    assert targets.shape == (40, 12, 12, 3)


def test_guides_are_cut_as_the_targets_are() -> None:
    inputs, targets = images(2, (9, 11), (12, 8))
    source = PatchSource(inputs, targets, 2)
    guides = [target.astype(np.float16) / 4 for target in targets]
    batch = {"seed": 3, "step": 4, "batch": 50, "patch": 4}
    _, wanted = source.batch(**batch)
    np.testing.assert_array_equal(source.guides(guides, **batch) * 4, wanted)
    assert source.fixed
    assert not PatchSource(inputs, targets, 2, degrade=lambda clean, _: clean).fixed

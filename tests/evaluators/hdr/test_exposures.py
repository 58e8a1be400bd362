"""Simulated exposures of scenes made from photographs."""

from __future__ import annotations

import numpy as np
import pytest

from evaluators.data.images import Image, content_digest
from evaluators.hdr.coding import full_scale, medium, to_coded, to_light
from evaluators.hdr.exposures import EVS, MADE_BY, expand, exposed, generator, simulate
from evaluators.tasks import get_task
from tests.evaluators.small import photograph

FULL = full_scale(EVS)


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    return expand(photograph(side=192).images[0].pixels, generator("5" * 32))


def frames(pixels: np.ndarray) -> list[np.ndarray]:
    return [pixels[..., channel : channel + 3] for channel in (0, 6, 12)]


def test_a_photograph_becomes_a_scene_with_highlights_in_the_order_of_the_photograph(
    scene: np.ndarray,
) -> None:
    pixels = photograph(side=192).images[0].pixels
    assert (scene.shape, scene.dtype) == (pixels.shape, np.float32)
    assert 0 <= scene.min() < 0.01
    over = (scene.max(axis=2) > 1).mean()
    assert 0.05 < over < 0.4
    assert 3 <= np.quantile(scene.max(axis=2), 0.997) <= 8.1
    order = np.argsort(pixels.max(axis=2), axis=None, kind="stable")
    assert (np.diff(scene.max(axis=2).ravel()[order]) >= -1e-6).all()
    assert scene.max() <= FULL


@pytest.mark.parametrize("value", [0, 1, 255])
def test_a_flat_photograph_becomes_a_scene_too(value: int) -> None:
    light = expand(np.full((20, 24, 3), value, np.uint8), generator("1" * 32))
    assert np.isfinite(light).all()
    source, target = simulate("flat", light, "1" * 64)
    assert source.pixels.shape == (20, 24, 18)
    assert np.ptp(target.pixels) == 0


def test_each_frame_shows_the_scene_as_far_as_it_can(scene: np.ndarray) -> None:
    source, target = simulate("scene", scene, "2" * 64)
    np.testing.assert_array_equal(target.pixels, to_coded(scene, FULL))
    assert (source.made_by, source.name, target.name) == (MADE_BY, "scene", "scene")
    clipped = [(frame == 1).any(axis=2).mean() for frame in frames(source.pixels)]
    assert clipped[0] < clipped[1] < clipped[2]
    assert 0 < clipped[0] < 0.1 < clipped[1] < 0.5
    for frame in frames(source.pixels):
        levels = frame * 255
        np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)
    taken = frames(source.pixels)[1]
    shown = (taken > 0.3) & (taken < 0.98)
    ratio = to_light(medium(source.pixels))[shown] * FULL / scene[shown]
    assert abs(np.median(ratio) - 1) < 0.01
    assert 0.01 < ratio.std() < 0.2


def test_something_moves_between_the_frames_and_the_medium_one_stays(scene: np.ndarray) -> None:
    source, target = simulate("scene", scene, "3" * 64)
    errors = []
    for channel in (3, 9, 15):
        taken, mapped = source.pixels[..., channel - 3 : channel], source.pixels[..., channel : channel + 3]
        usable = (taken > 0.25) & (taken < 0.98)
        errors.append(np.abs(mapped - target.pixels)[usable].mean())
    assert errors[1] < 0.25 * min(errors[0], errors[2])


def test_the_same_scene_gives_the_same_exposures_and_another_digest_others(scene: np.ndarray) -> None:
    first, again = (simulate("scene", scene, "2" * 64)[0].pixels for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = simulate("scene", scene, "4" * 64)[0].pixels
    assert (first != other).mean() > 0.3


@pytest.mark.parametrize("unit", [1e-4, 1.0, 37.0, 1e5])
def test_light_of_any_unit_is_exposed_by_whole_stops(scene: np.ndarray, unit: float) -> None:
    light = exposed(scene * np.float32(unit))
    factor = np.log2(float(light.max()) / (float(scene.max()) * unit))
    assert factor == pytest.approx(round(factor), abs=1e-5)
    assert 2**-0.51 < np.percentile(light.max(axis=2), 90) < 2**0.51
    np.testing.assert_array_equal(exposed(light), light)
    spark = np.zeros((20, 20, 3), np.float32)
    spark[3, 4] = unit
    assert 2**-0.51 < exposed(spark).max() < 2**0.51


def test_embedded_scenes_are_small() -> None:
    pairs = get_task("hdr").embedded("train")
    assert sum(image.pixels.nbytes for image in (*pairs.inputs, *pairs.targets)) < 150 * 2**20
    for image in pairs.inputs:
        assert isinstance(image, Image)
        assert image.made_by == MADE_BY
        assert 0.03 < (image.pixels[..., 6:9] == 1).any(axis=2).mean() < 0.5
    assert len({content_digest(image.pixels) for image in pairs.inputs}) == len(pairs)

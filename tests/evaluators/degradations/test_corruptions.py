"""Noise, blur and rain: their statistics, against plain loops, and as pure functions of the generator."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import io, ndimage

from evaluators.data.images import ImageError
from evaluators.data.photographs import embedded
from evaluators.degradations import corruptions as degradations
from evaluators.degradations.corruptions import (
    EXTENTS,
    GAMMA,
    SHOT,
    convolve,
    gaussian_noise,
    motion_blur,
    motion_kernels,
    noise_levels,
    rain,
    rain_streaks,
    read_kernels,
    signal_noise,
)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def photograph(side: int = 64) -> np.ndarray:
    return embedded("test").images[1].pixels[None, 40 : 40 + side, 100 : 100 + side]


def flat(value: int, side: int = 200) -> np.ndarray:
    return np.full((1, side, side, 3), value, np.uint8)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_gaussian_noise_is_white_unclipped_and_of_its_sigma(value: int) -> None:
    noisy = gaussian_noise(flat(value), 25, random())
    assert noisy.dtype == np.float32
    noise = noisy * 255.0 - value
    assert abs(noise.mean()) < 5 * 25 / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(25, rel=0.01)
    assert np.mean(np.abs(noise) > 75) == pytest.approx(0.0027, rel=0.3)
    assert abs(np.mean(noise[:, 1:] * noise[:, :-1])) < 5 * 625 / np.sqrt(noise.size)
    assert not np.allclose(noise, noise.round(), atol=0.01)
    assert noisy.min() < 0 or value
    assert noisy.max() > 1 or value < 255


@pytest.mark.parametrize("value", [100, 150, 200])
@pytest.mark.parametrize(("shot", "read"), [(2e-3, 1e-5), (8e-3, 4e-4)])
def test_signal_noise_has_the_variance_of_its_model(value: int, shot: float, read: float) -> None:
    """In linear light, at values where neither clipping nor rounding to 8 bits matters."""
    noisy = signal_noise(flat(value), shot, read, random())
    assert noisy.dtype == np.uint8
    light, clean = (noisy / 255) ** GAMMA, (value / 255) ** GAMMA
    assert light.var() == pytest.approx(shot * clean + read, rel=0.04)


def test_noise_levels_stay_in_their_range_and_fill_it() -> None:
    shot, read = noise_levels(random(), 4000)
    assert shot.min() == pytest.approx(SHOT[0], rel=0.01)
    assert shot.max() == pytest.approx(SHOT[1], rel=0.01)
    slope, offset = np.polyfit(np.log(shot), np.log(read), 1)
    assert (slope, offset) == (pytest.approx(2.18, abs=0.03), pytest.approx(1.2, abs=0.2))
    assert np.std(np.log(read) - slope * np.log(shot) - offset) == pytest.approx(0.26, rel=0.05)


def test_motion_kernels_are_thin_paths_of_the_extent_that_is_drawn() -> None:
    kernels = motion_kernels(random(), 300)
    assert kernels.shape == (300, 25, 25)
    assert kernels.min() >= 0
    np.testing.assert_allclose(kernels.sum(axis=(1, 2)), 1, rtol=1e-5)
    extent = np.hypot(span((kernels > 0).any(axis=2)), span((kernels > 0).any(axis=1)))
    assert extent.min() >= EXTENTS[0] - 1
    assert extent.max() <= EXTENTS[1] + 3
    assert extent.std() > 3
    covered = (kernels > 0).mean(axis=(1, 2))
    assert covered.max() < 0.4
    assert len({kernel.tobytes() for kernel in kernels}) == 300


def span(marks: np.ndarray) -> np.ndarray:
    """(n,) distance from the first to the last mark of each row."""
    return marks.shape[1] - 1 - np.argmax(marks[:, ::-1], axis=1) - np.argmax(marks, axis=1)


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_convolution_is_the_plain_one_with_mirrored_borders(
    h: int, w: int, height: int, width: int, seed: int
) -> None:
    values = random(seed).random((2, height, width, 3), dtype=np.float32)
    kernels = random(seed + 1).random((2, h, w), dtype=np.float32)
    output = convolve(values, kernels)
    assert output.shape == values.shape
    for picture, kernel, blurred in zip(values, kernels, output, strict=True):
        for channel in range(3):
            # An even kernel's middle is its right one of two; scipy's origin says so.
            plain = ndimage.convolve(picture[..., channel], kernel, mode="reflect")
            np.testing.assert_allclose(blurred[..., channel], plain, atol=1e-4)


def test_blur_keeps_flat_pictures_and_moves_nothing() -> None:
    kernel = np.zeros((1, 5, 5), np.float32)
    kernel[0, 2, 2] = 1
    np.testing.assert_array_equal(motion_blur(photograph(), kernel, random(), sigma=0), photograph())
    kernels = motion_kernels(random(), 1)
    np.testing.assert_array_equal(motion_blur(flat(77), kernels, random(), sigma=0), flat(77))
    noisy = motion_blur(flat(120), kernels, random(), sigma=2).astype(float)
    assert noisy.std() == pytest.approx(2, rel=0.03)


def test_light_is_averaged_and_not_its_gamma() -> None:
    """Half black and half white is as bright as half the light: 186 of 255, not 128."""
    stripes = np.zeros((1, 20, 20, 3), np.uint8)
    stripes[:, :, ::2] = 255
    blurred = motion_blur(stripes, np.full((1, 1, 2), 0.5, np.float32), random(), sigma=0)
    assert set(np.unique(blurred[:, :, 1:-1])) == {186}


def test_rain_is_bright_thin_and_leans() -> None:
    black = rain(flat(0), random())
    assert (black[..., 0] == black[..., 2]).all()
    assert 0.02 < (black > 40).mean() < 0.6
    np.testing.assert_array_equal(rain(flat(255), random()), flat(255))
    dry, wet = photograph().astype(int), rain(photograph(), random()).astype(int)
    assert (wet >= dry).all()
    assert (wet - dry).max() > 50


@pytest.mark.parametrize("most", [0, 35])
def test_streaks_lean_each_picture_its_own_way_up_to_the_most(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the structure tensor: the direction along which a picture changes most is across the streaks."""
    monkeypatch.setattr(degradations, "ANGLE", float(most))
    down, across = np.gradient(rain_streaks(random(), 30, 100, 100), axis=(1, 2))
    products = ((down * across).mean(axis=(1, 2)), (across**2 - down**2).mean(axis=(1, 2)))
    lean = np.degrees(0.5 * np.arctan2(2 * products[0], products[1]))
    assert abs(lean).max() < most + 6
    assert abs(lean).max() > most - 12
    if most:
        assert lean.std() > 10


def test_streaks_are_as_dense_at_the_borders_as_inside() -> None:
    mean = rain_streaks(random(), 60, 80, 80).mean(axis=0)
    edges = np.concatenate([mean[:8].ravel(), mean[-8:].ravel(), mean[:, :8].ravel(), mean[:, -8:].ravel()])
    assert edges.mean() == pytest.approx(mean[8:-8, 8:-8].mean(), rel=0.1)


def test_the_generator_decides_everything() -> None:
    for degrade in (
        lambda r: gaussian_noise(photograph(), 25, r),
        lambda r: signal_noise(photograph(), 0.01, 1e-4, r),
        lambda r: motion_blur(photograph(), motion_kernels(r, 1), r, sigma=2),
        lambda r: rain(photograph(), r),
    ):
        np.testing.assert_array_equal(degrade(random(3)), degrade(random(3)))
        assert (degrade(random(3)) != degrade(random(4))).mean() > 0.05


def test_kernels_of_a_mat_file(tmp_path: Path) -> None:
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = np.eye(3), np.ones((5, 7))
    io.savemat(tmp_path / "cells.mat", {"kernels": cells, "note": "text", "number": 3.0})
    one, other = read_kernels(tmp_path / "cells.mat")
    np.testing.assert_allclose(one, np.eye(3) / 3, rtol=1e-6)
    np.testing.assert_allclose(other, np.full((5, 7), 1 / 35), rtol=1e-6)
    io.savemat(tmp_path / "stack.mat", {"k": np.stack([np.eye(3), np.ones((3, 3))], axis=2)})
    assert [k.shape for k in read_kernels(tmp_path / "stack.mat")] == [(3, 3), (3, 3)]


def test_mat_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_kernels(tmp_path / "none.mat")
    (tmp_path / "text.mat").write_text("not MATLAB's " * 20)
    with pytest.raises(ImageError, match=r"text\.mat: expected a \.mat file of blur kernels, can't be read"):
        read_kernels(tmp_path / "text.mat")
    io.savemat(tmp_path / "other.mat", {"note": "text"})
    with pytest.raises(ImageError, match="expected matrices that are blur kernels, got"):
        read_kernels(tmp_path / "other.mat")
    io.savemat(tmp_path / "zero.mat", {"k": np.zeros((3, 3))})
    with pytest.raises(ImageError, match="a positive sum"):
        read_kernels(tmp_path / "zero.mat")


@pytest.mark.shared
def test_published_kernels(shared: Path) -> None:
    kernels = read_kernels(shared / "data/blur_kernels/kernels_12.mat")
    assert [k.shape for k in kernels] == [(25, 25)] * 12
    assert all(k.sum() == pytest.approx(1, abs=1e-5) for k in kernels)
    levin = shared / "data/blur_kernels/Levin09.mat"
    try:
        import h5py  # noqa: F401
    except ImportError:
        with pytest.raises(ImageError, match="saved by MATLAB 7.3 as HDF5.*Install h5py"):
            read_kernels(levin)
    else:
        measured = read_kernels(levin)
        assert len(measured) == 8
        assert all(13 <= side <= 27 for k in measured for side in k.shape)

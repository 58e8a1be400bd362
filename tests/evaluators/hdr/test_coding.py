"""The HDR domain, metrics and loss, against plain computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from evaluators.hdr import coding as hdr
from evaluators.training.losses import mu_l1, mu_law

EVS = (-3.0, -1.0, 1.0)


@pytest.fixture
def light() -> np.ndarray:
    """A scene of 8 stops, with something beyond what the short exposure shows."""
    random = np.random.default_rng(0)
    return np.float32(2.0) ** random.uniform(-5, 3, (12, 15, 3)).astype(np.float32)


def frames(light: np.ndarray) -> list[np.ndarray]:
    return [np.clip(light * 2.0**ev, 0, 1) ** (1 / 2.24) for ev in (-2, 0, 2)]


def test_a_stack_holds_each_frame_and_what_it_says_of_the_target(light: np.ndarray) -> None:
    pixels = hdr.stack(frames(light), EVS)
    target = hdr.to_coded(light, hdr.full_scale(EVS))
    assert (pixels.shape, pixels.dtype, target.dtype) == ((12, 15, 18), np.float32, np.float32)
    for index, (frame, ev) in enumerate(zip(frames(light), (-2, 0, 2), strict=True)):
        taken, mapped = pixels[..., 6 * index : 6 * index + 3], pixels[..., 6 * index + 3 : 6 * index + 6]
        np.testing.assert_array_equal(taken, frame.astype(np.float32))
        ntire = ((frame**2.24) * 2.0 ** (-ev)) ** (1 / 2.24)
        np.testing.assert_allclose(mapped, ntire / 16 ** (1 / 2.24), rtol=1e-5)
        shown = frame < 1
        np.testing.assert_allclose(mapped[shown], target[shown], rtol=1e-5)
    np.testing.assert_array_equal(hdr.medium(pixels), pixels[..., 9:12])
    assert pixels.max() <= 1


@pytest.mark.parametrize("offset", [0.0, 7.5])
def test_only_differences_of_exposures_count(light: np.ndarray, offset: float) -> None:
    moved = [ev + offset for ev in EVS]
    assert hdr.full_scale(moved) == hdr.full_scale(EVS) == 16
    np.testing.assert_array_equal(hdr.stack(frames(light), moved), hdr.stack(frames(light), EVS))


def test_light_goes_there_and_back(light: np.ndarray) -> None:
    np.testing.assert_allclose(hdr.to_light(hdr.to_coded(light, 16)) * 16, light, rtol=1e-5)
    assert hdr.to_light(np.array([-0.5], np.float32)) == 0


def plain_scores(output: np.ndarray, target: np.ndarray) -> tuple[float, float, float]:
    """PSNR-mu, linear and coded PSNR pixel by pixel, without numpy's help."""
    result = [max(float(v), 0.0) ** 2.24 for v in output.ravel()]
    wanted = [float(v) ** 2.24 for v in target.ravel()]
    place = 0.99 * (len(wanted) - 1)
    below, above = sorted(wanted)[int(place)], sorted(wanted)[int(place) + 1]
    norm = below + (above - below) * (place - int(place))

    def compressed(value: float) -> float:
        return math.log(1 + 5000 * math.tanh(value / norm)) / math.log(5001)

    def decibel(pairs: list[tuple[float, float]]) -> float:
        return 10 * math.log10(len(pairs) / sum((a - b) ** 2 for a, b in pairs))

    both = list(zip(result, wanted, strict=True))
    coded = [(max(float(a), 0.0), float(b)) for a, b in zip(output.ravel(), target.ravel(), strict=True)]
    peak = float(target.max())
    return (
        decibel([(compressed(a), compressed(b)) for a, b in both]),
        decibel([(a / norm, b / norm) for a, b in both]),
        decibel([(a / peak, b / peak) for a, b in coded]),
    )


def test_scores_equal_a_plain_computation(light: np.ndarray) -> None:
    target = hdr.to_coded(light, 16)
    noise = np.random.default_rng(1).normal(0, 0.05, target.shape)
    output = (target + noise).astype(np.float32)
    assert output.min() < 0
    expected = plain_scores(output, target)
    got = hdr.psnr_mu(output, target), hdr.psnr_linear(output, target), hdr.psnr_coded(output, target)
    assert got == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", [hdr.psnr_mu, hdr.psnr_linear, hdr.psnr_coded])
def test_scores_do_not_depend_on_the_unit(light: np.ndarray, metric) -> None:
    target, output = hdr.to_coded(light, 16), hdr.to_coded(light * 1.2, 16)
    assert metric(3 * output, 3 * target) == pytest.approx(metric(output, target), abs=1e-4)
    assert metric(target, target) == math.inf
    with pytest.raises(ValueError, match=r"target's shape \(12, 15, 3\), got \(12, 14, 3\)"):
        metric(output[:, :-1], target)
    with pytest.raises(ValueError, match="percentile is 0"):
        metric(output, np.zeros_like(target))


def test_a_picture_is_of_8_bits_and_rises_with_the_light(light: np.ndarray) -> None:
    coded = hdr.to_coded(light, 16)
    shown = hdr.picture(coded)
    assert (shown.shape, shown.dtype) == (coded.shape, np.uint8)
    order = np.argsort(coded.ravel())
    assert (np.diff(shown.ravel()[order].astype(int)) >= 0).all()
    assert shown.max() > 200 > 130 > shown.min()
    assert not hdr.picture(np.zeros((4, 4, 3), np.float32)).any()


def test_the_loss_is_of_compressed_light() -> None:
    for light in (0.0, 1e-4, 0.01, 0.3, 1.0, 2.0):
        expected = math.log1p(5000 * light) / math.log1p(5000)
        assert mu_law(torch.tensor(light ** (1 / 2.24))).item() == pytest.approx(expected, rel=1e-4)
    bright, dark = torch.full((1, 3, 2, 2), 0.5), torch.zeros(1, 3, 2, 2)
    assert mu_l1(bright, dark).item() == pytest.approx(mu_law(torch.tensor(0.5)).item())
    assert mu_l1(bright, bright) == 0


def test_the_loss_rises_everywhere_and_below_0_too() -> None:
    values = torch.linspace(-0.5, 1.5, 401, requires_grad=True)
    compressed = mu_law(values)
    compressed.sum().backward()
    assert (compressed.diff() > 0).all()
    assert values.grad is not None
    assert values.grad.isfinite().all()
    assert (values.grad[values < 0] > 0).all()

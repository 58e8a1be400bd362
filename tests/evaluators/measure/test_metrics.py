import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import peak_signal_noise_ratio

from evaluators.data.images import Image, ImageSet, read_folder, read_pairs
from evaluators.degradations.bicubic import downscale, upscale
from evaluators.measure.metrics import luma, measure, per_image, psnr, ssim, summarise

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")

RNG = np.random.default_rng(0)
TARGET = RNG.integers(0, 256, (24, 30, 3), dtype=np.uint8)
OUTPUT = np.clip(TARGET.astype(int) + RNG.integers(-20, 21, TARGET.shape), 0, 255).astype(np.uint8)
IMAGES = st.tuples(st.integers(3, 8), st.integers(3, 8), st.just(3))


def test_luma_of_known_colours() -> None:
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert luma(colours)[0] == pytest.approx([16, 235, 81.481, 144.553, 40.966])
    assert luma(np.full((1, 1, 3), 1, np.uint8))[0, 0] == pytest.approx(16 + 219 / 255)  # not rounded


@given(IMAGES.flatmap(lambda shape: st.tuples(arrays(np.uint8, shape), arrays(np.uint8, shape))))
def test_psnr_equals_scikit_image(images: tuple[np.ndarray, np.ndarray]) -> None:
    output, target = images
    inner = slice(1, -1), slice(1, -1)
    if np.array_equal(output[inner], target[inner]):
        assert psnr(output, target, border=1, colour="rgb") == math.inf
        return
    expected = peak_signal_noise_ratio(target[inner], output[inner], data_range=255)
    assert psnr(output, target, border=1, colour="rgb") == pytest.approx(expected)
    planes = luma(target)[inner], luma(output)[inner]
    if not np.array_equal(*planes):
        expected = peak_signal_noise_ratio(*planes, data_range=255)
        assert psnr(output, target, border=1, colour="y") == pytest.approx(expected)


def test_psnr_by_hand() -> None:
    target = np.full((4, 4, 3), 100, np.uint8)
    assert psnr(target + 10, target, border=0, colour="rgb") == pytest.approx(20 * math.log10(25.5))
    assert psnr(target + 10, target, border=0, colour="y") == pytest.approx(
        20 * math.log10(255 / (2190 / 255))
    )
    assert psnr(target, target, border=0, colour="y") == math.inf


def test_border_is_left_out() -> None:
    output = TARGET.copy()
    output[:2], output[-2:], output[:, :2], output[:, -2:] = 0, 0, 0, 0  # SSIM weighs its edge little
    assert psnr(output, TARGET, border=2, colour="rgb") == math.inf
    assert psnr(output, TARGET, border=1, colour="rgb") < 40
    assert ssim(output, TARGET, border=2, colour="y") == pytest.approx(1)
    assert ssim(output, TARGET, border=1, colour="y") < 0.9995


def plain_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """SSIM window by window, from the paper."""
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2
    c1, c2, values = (0.01 * 255) ** 2, (0.03 * 255) ** 2, []
    for i in range(first.shape[0] - 10):
        for j in range(first.shape[1] - 10):
            x, y = first[i : i + 11, j : j + 11], second[i : i + 11, j : j + 11]
            mx, my = (weights * x).sum(), (weights * y).sum()
            vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
            cov = (weights * (x - mx) * (y - my)).sum()
            values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(values))


def test_ssim_equals_the_plain_loop() -> None:
    inner = slice(2, -2), slice(2, -2)
    expected = plain_ssim(luma(OUTPUT)[inner], luma(TARGET)[inner])
    assert ssim(OUTPUT, TARGET, border=2, colour="y") == pytest.approx(expected, abs=1e-9)
    channels = [plain_ssim(OUTPUT[..., c].astype(float), TARGET[..., c].astype(float)) for c in range(3)]
    assert ssim(OUTPUT, TARGET, border=0, colour="rgb") == pytest.approx(np.mean(channels), abs=1e-9)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_refusals(metric) -> None:
    with pytest.raises(ValueError, match=r"target's shape \(24, 30, 3\), got \(24, 29, 3\)"):
        metric(OUTPUT[:, 1:], TARGET, border=0, colour="y")
    with pytest.raises(ValueError, match=r"output: expected \(H, W, 3\) uint8"):
        metric(OUTPUT / 255, TARGET, border=0, colour="y")
    with pytest.raises(ValueError, match=r"target: expected"):
        metric(OUTPUT, TARGET[..., 0], border=0, colour="y")
    for border in (12, -1):
        with pytest.raises(ValueError, match=f"cropping {border} pixels"):
            metric(OUTPUT, TARGET, border=border, colour="rgb")
    with pytest.raises(ValueError, match="rgb or y, got 'Y'"):
        metric(OUTPUT, TARGET, border=0, colour="Y")


def test_ssim_needs_its_window() -> None:
    assert ssim(OUTPUT[:11, :11], TARGET[:11, :11], border=0, colour="y") < 1
    with pytest.raises(ValueError, match="11x11 pixels after cropping 7 per side, got 16x10"):
        ssim(OUTPUT, TARGET, border=7, colour="y")


DATA = ImageSet("mine", (Image("a.png", TARGET), Image("b.png", OUTPUT)))


def test_measure_is_the_mean_with_its_protocol() -> None:
    outputs, targets = [OUTPUT, OUTPUT[::-1]], [TARGET, TARGET]
    scores = per_image(outputs, targets, border=2, data=DATA)
    assert list(scores) == ["a.png", "b.png"]
    assert scores["a.png"]["psnr_y"] == psnr(OUTPUT, TARGET, border=2, colour="y")
    assert scores["b.png"]["ssim_rgb"] == ssim(OUTPUT[::-1], TARGET, border=2, colour="rgb")
    measured = {m.name: m for m in measure(outputs, targets, border=2, data=DATA)}
    assert list(measured) == ["psnr_rgb", "psnr_y", "ssim_rgb", "ssim_y"]
    for name, m in measured.items():
        assert m.value == pytest.approx((scores["a.png"][name] + scores["b.png"][name]) / 2)
        assert m.direction == "max"
        assert m.unit == ("dB" if name.startswith("psnr") else "1")
        colour = "Y" if name.endswith("_y") else "RGB"
        assert m.protocol == f"{colour}, 8-bit, border 2, on mine ({DATA.digest})"
    assert summarise(scores, border=2, data=DATA) == tuple(measured.values())


def test_ssim_can_be_left_out() -> None:
    measured = measure([OUTPUT, OUTPUT], [TARGET, TARGET], border=2, data=DATA, ssim=False)
    assert [m.name for m in measured] == ["psnr_rgb", "psnr_y"]


def test_an_identical_pair_makes_the_mean_infinite() -> None:
    measured = measure([TARGET, OUTPUT], [TARGET, TARGET], border=0, data=DATA, ssim=False)
    assert [m.value for m in measured] == [math.inf, math.inf]


def test_per_image_refusals() -> None:
    with pytest.raises(ValueError, match=r"mine: expected as many .*\(2, at least 1\), got 1 and 2"):
        per_image([OUTPUT], [TARGET, TARGET], border=0, data=DATA)
    with pytest.raises(ValueError, match="at least 1"):
        per_image([], [], border=0, data=ImageSet("none", ()))
    with pytest.raises(ValueError, match=r"b\.png of mine: expected an output of"):
        per_image([OUTPUT, OUTPUT[1:]], [TARGET, TARGET], border=0, data=DATA)
    twins = ImageSet("twins", (Image("a", TARGET), Image("a", OUTPUT)))
    with pytest.raises(ValueError, match="a name for each image"):
        per_image([OUTPUT, OUTPUT], [TARGET, TARGET], border=0, data=twins)


@needs_shared
@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "psnr_y", "ssim_y", "psnr_rgb"),
    [("set5", 28.429, 0.81114, 26.692), ("set14", 26.088, 0.7048, 24.462)],
)
def test_bicubic_baselines(name: str, psnr_y: float, ssim_y: float, psnr_rgb: float) -> None:
    hr, lr = read_pairs(SHARED / name / "HR", SHARED / name / "LR_bicubic" / "X4", scale=4, name=name)
    outputs = [upscale(image.pixels, 4) for image in lr]
    measured = {m.name: m.value for m in measure(outputs, [i.pixels for i in hr], border=4, data=hr)}
    assert measured["psnr_y"] == pytest.approx(psnr_y, abs=5e-4)
    assert measured["ssim_y"] == pytest.approx(ssim_y, abs=5e-5)
    assert measured["psnr_rgb"] == pytest.approx(psnr_rgb, abs=5e-4)


@needs_shared
@pytest.mark.shared
@pytest.mark.slow
def test_bicubic_baseline_of_b100() -> None:
    """B100 is BSDS500 val without the last row and column."""
    val = read_folder(SHARED / "bsds500" / "val")
    b100 = ImageSet("b100", tuple(Image(image.name, image.pixels[:-1, :-1]) for image in val))
    targets = [image.pixels for image in b100]
    outputs = [upscale(downscale(target, 4), 4) for target in targets]
    measured = {m.name: m.value for m in measure(outputs, targets, border=4, data=b100)}
    assert measured["psnr_y"] == pytest.approx(25.9613, abs=5e-4)
    assert measured["ssim_y"] == pytest.approx(0.66807, abs=5e-5)
    assert measured["psnr_rgb"] == pytest.approx(24.6348, abs=5e-4)

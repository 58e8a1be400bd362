"""Side-by-side pictures: which part is shown, and that it is what it says."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure

from results.render.pictures import CROP, ERROR_RANGE, busiest_crop, save_comparison

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))


def detail(pixels: np.ndarray, top: int, left: int, side: int) -> float:
    """Sum of the absolute differences to the pixel above and to the left, pixel by pixel."""
    grey = pixels.astype(float).mean(axis=2)
    total = 0.0
    for row in range(top, top + side):
        for column in range(left, left + side):
            total += abs(grey[row, column] - grey[row - 1, column]) if row else 0
            total += abs(grey[row, column] - grey[row, column - 1]) if column else 0
    return total


@settings(deadline=None)
@given(SIZES.flatmap(lambda shape: arrays(np.uint8, shape)), st.integers(1, 10))
def test_the_crop_has_the_most_detail_of_all(pixels: np.ndarray, side: int) -> None:
    height, width = pixels.shape[:2]
    top, left, got = busiest_crop(pixels, side)
    assert got == min(side, height, width)
    assert 0 <= top <= height - got
    assert 0 <= left <= width - got
    everywhere = [(t, s) for t in range(height - got + 1) for s in range(width - got + 1)]
    most = max(detail(pixels, t, s, got) for t, s in everywhere)
    assert detail(pixels, top, left, got) == pytest.approx(most, abs=1e-6)


def test_detail_is_found_where_it_is() -> None:
    pixels = np.full((300, 400, 3), 90, np.uint8)
    pixels[100:200, 230:330] = np.random.default_rng(0).integers(0, 256, (100, 100, 3))
    top, left, side = busiest_crop(pixels)
    assert side == CROP
    assert top <= 100 <= 200 <= top + side
    assert left <= 230 <= 330 <= left + side


RNG = np.random.default_rng(1)
ORIGINAL = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
OUTPUTS = {
    "bicubic\n20.00 dB": ORIGINAL[::-1].copy(),
    "trial 7\n30.00 dB": np.clip(ORIGINAL.astype(int) + 9, 0, 255).astype(np.uint8),
}


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that get saved, for looking inside."""
    saved: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kw: (saved.append(self), save(self, *args, **kw))
    )
    return saved


@pytest.mark.parametrize("count", [1, 2])
def test_the_png_has_a_panel_per_picture(tmp_path: Path, count: int) -> None:
    outputs = dict(list(OUTPUTS.items())[:count])
    path = tmp_path / "new" / "comparison.png"
    assert save_comparison(path, ORIGINAL, outputs, title="t", caption="c") == path
    image = PIL.Image.open(path)
    assert image.size == ((count + 3) * 372, 468)
    assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 1000


def test_all_panels_show_the_same_place(
    tmp_path: Path, figures: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("results.render.pictures.busiest_crop", lambda pixels: (5, 11, 20))
    save_comparison(tmp_path / "c.png", ORIGINAL, OUTPUTS, title="coffee.png: sr-x4", caption="psnr_y, 8-bit")
    axes = figures[0].axes
    shown = [np.asarray(axis.images[0].get_array()) for axis in axes]
    window = np.s_[5:25, 11:31]
    bicubic, trial = OUTPUTS.values()
    for got, expected in zip(
        shown, (ORIGINAL, bicubic[window], trial[window], ORIGINAL[window]), strict=False
    ):
        np.testing.assert_array_equal(got, expected)
    error = abs(trial.astype(int) - ORIGINAL).mean(axis=2)[window]
    np.testing.assert_allclose(shown[4], error)
    assert axes[4].images[0].get_clim() == (0, ERROR_RANGE)
    titles = [axis.get_title() for axis in axes]
    assert titles == ["whole picture", *OUTPUTS, "original", "error of trial 7"]
    (frame,) = axes[0].patches
    assert (*frame.get_xy(), frame.get_width(), frame.get_height()) == (11, 5, 20, 20)
    written = " ".join(text.get_text() for text in figures[0].texts)
    assert "psnr_y, 8-bit. Crop: most detail in the original." in written
    assert figures[0].get_suptitle() == "coffee.png: sr-x4"

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evaluators.data.images import read_image
from evaluators.degradations.bicubic import crop_to_multiple, downscale, upscale
from tests.work import calls

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
PUBLISHED = [
    (name, scale, path.stem)
    for name in ("set5", "set14")
    for scale in (2, 3, 4)
    for path in sorted((SHARED / name / "HR").glob("*.png"))
]


@pytest.mark.shared
@pytest.mark.skipif(not PUBLISHED, reason="needs ../shared")
@pytest.mark.parametrize(("name", "scale", "stem"), PUBLISHED)
def test_equals_the_published_lr_images(name: str, scale: int, stem: str) -> None:
    high, _ = read_image(SHARED / name / "HR" / f"{stem}.png")
    low, _ = read_image(SHARED / name / "LR_bicubic" / f"X{scale}" / f"{stem}x{scale}.png")
    assert np.array_equal(downscale(crop_to_multiple(high, scale), scale), low)


@pytest.mark.shared
@pytest.mark.skipif(not PUBLISHED, reason="needs ../shared")
def test_all_57_published_images_are_there() -> None:
    assert len(PUBLISHED) == 57


def column(values: list[int], width: int) -> np.ndarray:
    """Values down the rows, constant over columns and channels."""
    return np.broadcast_to(np.array(values, np.uint8)[:, None, None], (len(values), width, 3))


def test_step_edge_by_hand() -> None:
    """Keys' weights at a quarter: -0.0703125, 0.8671875, 0.2265625, -0.0234375."""
    expected = [50] * 5 + [48, 43, 70, 130, 157, 152] + [150] * 5
    step = column([50] * 4 + [150] * 4, 2)
    assert upscale(step, 2)[:, 0, 0].tolist() == expected
    assert upscale(step.transpose(1, 0, 2), 2)[0, :, 0].tolist() == expected


def exact(values: list[int], out_length: int, scale: Fraction) -> list[Fraction]:
    """imresize of one line in exact fractions, one sum at a time and without rounding."""

    def kernel(x: Fraction) -> Fraction:
        x = abs(x)
        if x <= 1:
            return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
        return -Fraction(1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2 if x < 2 else Fraction(0)

    shrink, n = min(scale, Fraction(1)), len(values)
    results = []
    for i in range(out_length):
        centre = (i + Fraction(1, 2)) / scale - Fraction(1, 2)
        reach = range(int(centre - 2 / shrink) - 2, int(centre + 2 / shrink) + 3)
        weights = {j: kernel(shrink * (centre - j)) for j in reach}
        mirrored = {j: values[j % (2 * n) if j % (2 * n) < n else 2 * n - 1 - j % (2 * n)] for j in reach}
        total = sum((w * mirrored[j] for j, w in weights.items()), Fraction(0))
        results.append(total / sum(weights.values()))
    return results


@given(st.sampled_from([2, 3, 4]), st.booleans(), st.data())
def test_a_line_equals_exact_arithmetic(scale: int, up: bool, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, 6)) * (1 if up else scale)
    values = data.draw(st.lists(st.integers(0, 255), min_size=length, max_size=length))
    result = (upscale if up else downscale)(column(values, scale), scale)[:, 0, 0]
    wanted = exact(values, len(result), Fraction(scale) if up else Fraction(1, scale))
    for got, want in zip(result.tolist(), wanted, strict=True):
        if scale == 3 and (want - Fraction(1, 2)).denominator == 1:
            assert (
                abs(got - want) <= 1
            )  # thirds aren't exact in floating point, so a half may fall either way
        else:
            assert got == min(255, max(0, (want + Fraction(1, 2)).__floor__()))


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4))),
    st.sampled_from([1, 2, 3, 4]),
)
def test_shapes_and_constants(pixels: np.ndarray, scale: int) -> None:
    height, width, channels = pixels.shape
    large = upscale(pixels, scale)
    assert large.shape == (height * scale, width * scale, channels)
    assert large.dtype == np.uint8
    assert downscale(large, scale).shape == pixels.shape
    flat = np.full_like(pixels, 77)
    assert np.all(upscale(flat, scale) == 77)
    assert np.all(downscale(upscale(flat, scale), scale) == 77)
    assert np.array_equal(upscale(pixels, 1), pixels)


def test_rows_are_rounded_before_columns() -> None:
    """The order shows where rounding does: a transposed image gives another result."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    turned = downscale(np.ascontiguousarray(pixels.transpose(1, 0, 2)), 2).transpose(1, 0, 2)
    difference = np.abs(downscale(pixels, 2).astype(int) - turned)
    assert difference.max() <= 2
    assert 0.02 < (difference > 0).mean() < 0.5


# Taken from the code when it matched all 57 published images, for checkouts without ../shared.
GOLDEN = {
    "down 2": "b74ce25b55991e50",
    "down 3": "127c8646c3a1cb8b",
    "down 4": "f4c003a8804ba50d",
    "up 2": "bc36644950eb28a6",
    "up 3": "5f11177f8e066f75",
    "up 4": "9f28d520d7254003",
}


@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case: str) -> None:
    direction, scale = case.split()
    pixels = np.random.default_rng(1).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    result = (upscale if direction == "up" else downscale)(pixels, int(scale))
    assert hashlib.sha256(result.tobytes()).hexdigest()[:16] == GOLDEN[case]


def test_crop_to_multiple() -> None:
    pixels = np.arange(7 * 9 * 3, dtype=np.uint8).reshape(7, 9, 3)
    assert np.array_equal(crop_to_multiple(pixels, 4), pixels[:4, :8])
    assert crop_to_multiple(pixels, 1).shape == (7, 9, 3)
    with pytest.raises(ValueError, match="at least 8x8, got 9x7"):
        crop_to_multiple(pixels, 8)


def test_refusals() -> None:
    pixels = np.zeros((8, 6, 3), np.uint8)
    with pytest.raises(ValueError, match=r"multiples of 4, got 6x8 .*crop_to_multiple"):
        downscale(pixels, 4)
    for scale in (0, -2, 1.5):
        with pytest.raises(ValueError, match="whole-number scale"):
            upscale(pixels, scale)  # type: ignore[arg-type]
    for wrong in (pixels / 255, pixels[..., 0], pixels[:0]):
        with pytest.raises(ValueError, match=r"\(H, W, C\) uint8"):
            downscale(wrong, 2)


def test_a_megapixel_takes_fewer_calls_than_it_has_rows() -> None:
    """No loop over pixels or rows in Python, but for one over a few strips."""
    pixels = np.zeros((1000, 1000, 3), np.uint8)
    assert calls(lambda: downscale(pixels, 4)) < 250

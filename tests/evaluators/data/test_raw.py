"""Bayer RAW: packing, demosaicing, reading, and RAW made from photographs."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from evaluators.data.images import ImageError
from evaluators.data.photographs import embedded
from evaluators.data.raw import (
    BLACK_LEVEL,
    COLOUR_MATRIX,
    OFFSETS,
    WHITE_LEVEL,
    Levels,
    demosaic,
    develop,
    pack,
    read_levels,
    read_raw,
    unpack,
    unprocess,
)

COLOURS = {"R": 0, "G": 1, "B": 2}


def photograph(side: int = 96) -> np.ndarray:
    return embedded("validation").images[0].pixels[100 : 100 + side, 200 : 200 + side]


def mosaic_of(rgb: np.ndarray, pattern: str) -> np.ndarray:
    """What a sensor with that pattern keeps of (H, W, 3)."""
    mosaic = np.empty(rgb.shape[:2], rgb.dtype)
    for place, colour in enumerate(pattern):
        mosaic[place // 2 :: 2, place % 2 :: 2] = rgb[place // 2 :: 2, place % 2 :: 2, COLOURS[colour]]
    return mosaic


def test_packed_is_red_green_green_blue() -> None:
    mosaic = np.array([[10, 11], [12, 13]], np.uint16)
    assert pack(mosaic).tolist() == [[[10, 11, 12, 13]]]
    larger = np.arange(24, dtype=np.uint16).reshape(4, 6)
    assert pack(larger).shape == (2, 3, 4)
    np.testing.assert_array_equal(unpack(pack(larger)), larger)


def test_demosaicing_keeps_what_was_sampled_and_is_exact_on_planes() -> None:
    rows, columns = np.mgrid[:12, :16].astype(np.float32) / 16
    rgb = np.stack([rows, columns, rows + columns], axis=-1)
    found = demosaic(pack(mosaic_of(rgb, "RGGB")))
    np.testing.assert_allclose(found[2:-2, 2:-2], rgb[2:-2, 2:-2], atol=1e-6)
    np.testing.assert_array_equal(mosaic_of(found, "RGGB"), mosaic_of(rgb, "RGGB"))


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 2)])
def test_demosaicing_takes_the_smallest_maps(shape: tuple[int, int]) -> None:
    flat = np.ones((*shape, 4), np.float32) * np.array([0.2, 0.4, 0.4, 0.6], np.float32)
    np.testing.assert_allclose(
        demosaic(flat), np.broadcast_to([0.2, 0.4, 0.6], (2 * shape[0], 2 * shape[1], 3)), atol=1e-6
    )


def test_white_stays_white_under_the_colour_matrix() -> None:
    np.testing.assert_allclose(COLOUR_MATRIX.sum(axis=1), 1)


def test_unprocessed_picture_develops_to_itself_but_for_tone_and_colour() -> None:
    picture = photograph()
    raw = unprocess(picture[None], np.random.default_rng(0))[0]
    assert (raw.shape, raw.dtype) == ((48, 48, 4), np.float32)
    again = develop(raw)
    assert again.shape == picture.shape
    correlation = np.corrcoef(again.mean(axis=2).ravel(), picture.mean(axis=2).ravel())[0, 1]
    assert correlation > 0.95


def test_unprocessed_values_are_of_12_bits_above_the_black_level() -> None:
    dark = (photograph() // 64)[None]
    raw = unprocess(dark, np.random.default_rng(0))
    span = WHITE_LEVEL - BLACK_LEVEL
    numbers = raw.astype(np.float64) * span
    assert np.abs(numbers - np.rint(numbers)).max() < 1e-3
    assert -BLACK_LEVEL / span <= raw.min() < 0
    assert raw.max() <= 1


def test_noise_grows_with_the_signal() -> None:
    pictures = np.stack([np.full((128, 128, 3), value, np.uint8) for value in (10, 200)])
    spread = [unprocess(p[None], np.random.default_rng(5))[0, ..., 1].std() for p in pictures]
    assert spread[1] > 1.5 * spread[0] > 0


def test_unprocessing_is_a_function_of_picture_and_generator() -> None:
    pictures = np.stack([photograph(), photograph()])
    first, again = (unprocess(pictures, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])


# Files


def test_a_16_bit_png_is_read_as_a_mosaic_of_as_many_bits_as_it_needs(tmp_path: Path) -> None:
    mosaic = np.full((6, 8), 100, np.uint16)
    mosaic[0, 0] = 1000
    PIL.Image.fromarray(mosaic).save(tmp_path / "a.png")
    raw = read_raw(tmp_path / "a.png")
    np.testing.assert_allclose(raw.packed, pack(mosaic).astype(np.float32) / 1023, rtol=1e-6)
    assert raw.note == "RAW read with black 0, white 1023, RGGB"
    known = read_raw(tmp_path / "a.png", Levels(64, 1023))
    np.testing.assert_allclose(known.packed[1, 1], (100 - 64) / (1023 - 64), rtol=1e-6)


@pytest.mark.parametrize("pattern", OFFSETS)
def test_a_pattern_is_cropped_until_it_starts_with_red(pattern: str, tmp_path: Path) -> None:
    rgb = np.broadcast_to(np.array([100, 200, 300], np.uint16), (6, 8, 3))
    np.save(tmp_path / "a.npy", mosaic_of(rgb, pattern))
    raw = read_raw(tmp_path / "a.npy", Levels(0, 1000, pattern))
    top, left = raw.offset
    assert raw.packed.shape == ((6 - top) // 2, (8 - left) // 2, 4)
    np.testing.assert_allclose(raw.packed, np.broadcast_to([0.1, 0.2, 0.2, 0.3], raw.packed.shape), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_packed_arrays_are_read(dtype: type, tmp_path: Path) -> None:
    packed = (np.arange(48).reshape(3, 4, 4) * 20).astype(dtype)
    np.save(tmp_path / "a.npy", packed)
    full = 1023 if dtype == np.uint16 else 1
    np.testing.assert_allclose(read_raw(tmp_path / "a.npy").packed, packed / full, rtol=1e-6)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3), np.uint16), r"mosaic of \(H, W\) or packed RAW of \(h, w, 4\), got \(4, 4, 3\)"),
        (np.zeros((0, 4), np.uint16), "got \\(0, 4\\)"),
        (np.zeros((1, 4), np.uint16), "at least 2x2 pixels"),
        (np.zeros((4, 4), np.int64), "uint8, uint16 or float numbers, got int64"),
        (np.full((4, 4), np.nan, np.float32), "finite numbers, got NaN"),
        (np.array([None]), "can't be read"),
    ],
)
def test_arrays_that_are_no_raw_are_refused(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ImageError, match=rf"a\.npy: .*{message}"):
        read_raw(tmp_path / "a.npy")


def test_a_picture_is_no_mosaic(tmp_path: Path) -> None:
    PIL.Image.fromarray(photograph(8)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="mosaic in one channel of 8 or 16 bits, got mode RGB"):
        read_raw(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"b\.png: can't be read"):
        read_raw(tmp_path / "b.png")


def test_levels_come_from_beside_the_files(tmp_path: Path) -> None:
    assert read_levels(tmp_path) is None
    data = {"black_level": 64, "white_level": 1023, "pattern": "GRBG"}
    (tmp_path / "raw.json").write_text(json.dumps(data))
    assert read_levels(tmp_path) == Levels(64, 1023, "GRBG")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON like"),
        ("[]", "expected an object like"),
        ('{"black_level": 1}', "expected an object like"),
        ('{"black_level": "1", "white_level": 2, "pattern": "RGGB"}', "levels that are numbers"),
        ('{"black_level": 3, "white_level": 2, "pattern": "RGGB"}', "black level < white level, got 3 and 2"),
        ('{"black_level": 3, "white_level": 9, "pattern": "RGBW"}', "Bayer pattern of 2x2 .*got 'RGBW'"),
    ],
)
def test_levels_that_make_no_sense_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "raw.json").write_text(text)
    with pytest.raises(ImageError, match=rf"raw\.json: .*{message}"):
        read_levels(tmp_path)


def test_camera_files_need_rawpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(ImageError, match=r"a\.dng: reading a camera's RAW needs rawpy: pip install rawpy"):
        read_raw(tmp_path / "a.dng")


def dng(mosaic: np.ndarray, pattern: str, black: int, white: int) -> bytes:
    """The least that is a DNG: one uncompressed strip of 16 bits and the tags that say what it is."""
    height, width = mosaic.shape
    matrix = [n for value in (1, 0, 0, 0, 1, 0, 0, 0, 1) for n in (value, 1)]
    tags: list[tuple[int, int, bytes]] = [  # number, type, values
        (254, 4, struct.pack("<I", 0)),
        (256, 4, struct.pack("<I", width)),
        (257, 4, struct.pack("<I", height)),
        (258, 3, struct.pack("<H", 16)),
        (259, 3, struct.pack("<H", 1)),
        (262, 3, struct.pack("<H", 32803)),
        (271, 2, b"Nobody\0"),
        (272, 2, b"Test\0"),
        (273, 4, struct.pack("<I", 8)),
        (277, 3, struct.pack("<H", 1)),
        (278, 4, struct.pack("<I", height)),
        (279, 4, struct.pack("<I", 2 * mosaic.size)),
        (284, 3, struct.pack("<H", 1)),
        (33421, 3, struct.pack("<2H", 2, 2)),
        (33422, 1, bytes(COLOURS[c] for c in pattern)),
        (50706, 1, bytes((1, 4, 0, 0))),
        (50708, 2, b"Nobody Test\0"),
        (50714, 4, struct.pack("<I", black)),
        (50717, 4, struct.pack("<I", white)),
        (50721, 10, struct.pack("<18i", *matrix)),
    ]
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 10: 8}
    start = 8 + 2 * mosaic.size
    behind = start + 2 + 12 * len(tags) + 4
    entries, extra = b"", b""
    for number, kind, values in tags:
        place = values.ljust(4, b"\0")
        if len(values) > 4:
            place = struct.pack("<I", behind + len(extra))
            extra += values + b"\0" * (len(values) % 2)
        entries += struct.pack("<HHI", number, kind, len(values) // sizes[kind]) + place
    header = struct.pack("<2sHI", b"II", 42, start)
    return header + mosaic.astype("<u2").tobytes() + struct.pack("<H", len(tags)) + entries + bytes(4) + extra


@pytest.mark.parametrize("pattern", OFFSETS)
def test_camera_files_know_their_levels_and_pattern(pattern: str, tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    rgb = np.broadcast_to(np.array([564, 1064, 2064], np.uint16), (64, 96, 3)).copy()
    rgb[10, 20] = 4064
    (tmp_path / "a.dng").write_bytes(dng(mosaic_of(rgb, pattern), pattern, 64, 4064))
    raw = read_raw(tmp_path / "a.dng")
    top, left = raw.offset
    assert (top, left) == OFFSETS[pattern]
    expected = pack(mosaic_of((rgb - 64.0) / 4000, pattern)[top : 64 - top, left : 96 - left])
    np.testing.assert_allclose(raw.packed, expected, atol=1e-6)


def test_camera_files_of_another_pattern_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    (tmp_path / "a.dng").write_bytes(dng(np.full((64, 96), 500, np.uint16), "RBGG", 64, 4064))
    with pytest.raises(ImageError, match=r"a\.dng: expected a Bayer pattern of 2x2 .*leave it out"):
        read_raw(tmp_path / "a.dng")
    (tmp_path / "b.dng").write_bytes(b"nothing at all")
    with pytest.raises(ImageError, match=r"b\.dng: can't be read"):
        read_raw(tmp_path / "b.dng")


@pytest.mark.shared
def test_a_phones_raw_is_read_and_developed(shared: Path) -> None:
    raw = read_raw(shared / "data/raw_sample/x90_3_4.npy")
    assert raw.note == "RAW read with black 0, white 4095, RGGB"
    assert raw.packed.shape == (512, 512, 4)
    assert 0 <= raw.packed.min() < raw.packed.max() <= 1
    greens = np.corrcoef(raw.packed[..., 1].ravel(), raw.packed[..., 2].ravel())[0, 1]
    reds = np.corrcoef(raw.packed[..., 0].ravel(), raw.packed[..., 3].ravel())[0, 1]
    assert greens > 0.9
    assert greens > reds
    picture = develop(raw.packed)
    assert picture.shape == (1024, 1024, 3)
    assert 10 < picture.mean() < 245

"""Radiance pictures, made by hand and real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluators.hdr.radiance import decode_radiance

HEADER = b"#?RADIANCE\n# made by hand\nFORMAT=32-bit_rle_rgbe\n\n"
WIDTH = 9


def flat(rgbe: np.ndarray, header: bytes = HEADER) -> bytes:
    return header + f"-Y {rgbe.shape[0]} +X {rgbe.shape[1]}\n".encode() + rgbe.tobytes()


def in_runs(rgbe: np.ndarray) -> bytes:
    """Each row's four planes, in runs of equal bytes and of others in turn."""
    data = bytearray(HEADER + f"-Y {rgbe.shape[0]} +X {rgbe.shape[1]}\n".encode())
    for row in rgbe:
        data += b"\x02\x02" + rgbe.shape[1].to_bytes(2, "big")
        for plane in row.T:
            data += bytes([128 + 3, plane[0]]) + bytes([len(plane) - 3]) + plane[3:].tobytes()
    return bytes(data)


@pytest.fixture
def rgbe() -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (5, WIDTH, 4), dtype=np.uint8)
    pixels[..., 3] = np.random.default_rng(1).integers(120, 140, (5, WIDTH))
    pixels[:, :3] = pixels[:, :1]
    pixels[0, :3, 3] = 0
    return pixels


def test_flat_and_run_length_pixels_are_mantissa_times_two_to_the_exponent(rgbe: np.ndarray) -> None:
    light = decode_radiance(flat(rgbe))
    assert (light.shape, light.dtype) == ((5, WIDTH, 3), np.float32)
    for row, column in ((0, 5), (4, 8), (2, 1)):
        *mantissas, exponent = (int(v) for v in rgbe[row, column])
        assert light[row, column].tolist() == [m / 256 * 2.0 ** (exponent - 128) for m in mantissas]
    assert not light[0, :3].any()
    np.testing.assert_array_equal(decode_radiance(in_runs(rgbe)), light)


def test_exposures_in_the_header_are_undone(rgbe: np.ndarray) -> None:
    header = HEADER.replace(b"\n\n", b"\nEXPOSURE= 2.0\nEXPOSURE=4\n\n")
    np.testing.assert_array_equal(decode_radiance(flat(rgbe, header)) * 8, decode_radiance(flat(rgbe)))


def test_what_is_no_radiance_picture_or_broken_is_refused(rgbe: np.ndarray) -> None:
    good = in_runs(rgbe)
    broken = {
        "beginning with #[?]RADIANCE": b"P6\n\n" + good,
        "expected the format 32-bit_rle_rgbe, got '32-bit_rle_xyze'": good.replace(b"rgbe", b"xyze"),
        "expected a size like -Y 512": good.replace(b"-Y 5 +X", b"+Y 5 -X"),
        "the file is cut off": good[:-1],
        "bytes of pixels, got 179": flat(rgbe)[:-1],
        "row 1, got something else": good.replace(b"\x02\x02\x00\x09", b"\x02\x02\x00\x08", 2).replace(
            b"\x02\x02\x00\x08", b"\x02\x02\x00\x09", 1
        ),
        "fill a row": good.replace(bytes([WIDTH - 3]), bytes([WIDTH]), 1),
        "at most": good.replace(b"-Y 5 ", b"-Y 99999999999 "),
    }
    for message, data in broken.items():
        with pytest.raises(ValueError, match=message):
            decode_radiance(data)


@pytest.mark.shared
def test_real_pictures(shared: Path) -> None:
    """Sums of what OpenCV 5.0 reads, from which not a value differs."""
    for name, shape, total in (
        ("Bottles_Small.hdr", (688, 912, 3), 348601.1068840027),
        ("CS_Warwick.hdr", (512, 1024, 3), 677168.3673913501),
        ("Oxford_Church.hdr", (1200, 1012, 3), 260392.97790145874),
    ):
        light = decode_radiance((shared / "data/hdr_toolbox" / name).read_bytes())
        assert light.shape == shape
        assert light.sum(dtype=np.float64) == total

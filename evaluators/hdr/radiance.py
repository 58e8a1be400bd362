"""Reads Radiance's .hdr pictures (RGBE).

"Real Pixels", G. Ward, in Graphics Gems II, 1991; format: https://radsite.lbl.gov/radiance/refer/filefmts.pdf (no
code used). Deviations: only rows from the top, pixels from the left (``-Y H +X W``), as practically all files are;
no XYZE; no run lengths of before 1991. A mantissa m stands for m/256, as in most readers, and not (m+0.5)/256.
"""

from __future__ import annotations

import re

import numpy as np

_SIZE = re.compile(rb"-Y (\d+) \+X (\d+)")
_MARK = b"\x02\x02"  # begins a row in run lengths
_LARGEST = 2**15


def decode_radiance(data: bytes) -> np.ndarray:
    """(H, W, 3) float32 of light from a file's bytes, divided by the exposures that its header names.

    Raises: ValueError: saying what was expected and what came.
    """
    header, found, rest = data.partition(b"\n\n")
    if not found or not header.startswith((b"#?RADIANCE", b"#?RGBE")):
        raise ValueError("expected a Radiance picture, beginning with #?RADIANCE")
    settings = [line.partition(b"=") for line in header.split(b"\n")[1:]]
    for name, _, value in settings:
        if name.strip() == b"FORMAT" and value.strip() != b"32-bit_rle_rgbe":
            raise ValueError(
                f"expected the format 32-bit_rle_rgbe, got {value.decode(errors='replace')!r}; convert it"
            )
    exposure = np.prod([float(value) for name, _, value in settings if name.strip() == b"EXPOSURE"])
    line, _, pixels = rest.partition(b"\n")
    size = _SIZE.fullmatch(line.strip())
    if not size:
        raise ValueError(f"expected a size like -Y 512 +X 768, got {line[:40]!r}; convert it")
    height, width = int(size[1]), int(size[2])
    if not 0 < height * width <= _LARGEST**2:
        raise ValueError(f"expected at most {_LARGEST}x{_LARGEST} pixels, got {width}x{height}")
    rgbe = _rows(pixels, height, width)
    mantissas, exponents = rgbe[..., :3].astype(np.float32), rgbe[..., 3:].astype(np.int32)
    light = np.where(exponents > 0, np.ldexp(mantissas, exponents - 136), np.float32(0))
    return light if exposure == 1 else (light / exposure).astype(np.float32)


def _rows(pixels: bytes, height: int, width: int) -> np.ndarray:
    """(H, W, 4) uint8."""
    if not pixels.startswith(_MARK + width.to_bytes(2, "big")):
        _check_length(len(pixels), 4 * height * width)
        return np.frombuffer(pixels, np.uint8, 4 * height * width).reshape(height, width, 4)
    planes, place = bytearray(), 0
    for row in range(height):
        if pixels[place : place + 4] != _MARK + width.to_bytes(2, "big"):
            raise ValueError(f"expected run lengths in row {row}, got something else; the file is broken")
        place = _unpack(pixels, place + 4, planes, 4 * width * (row + 1))
    return np.frombuffer(planes, np.uint8).reshape(height, 4, width).transpose(0, 2, 1)


def _unpack(pixels: bytes, place: int, planes: bytearray, end: int) -> int:
    """Append to ``planes`` until it is ``end`` long; returns where the next row begins."""
    while len(planes) < end:
        if place + 1 >= len(pixels):
            _check_length(len(planes), end)
        count = pixels[place]
        if count > 128:
            planes += pixels[place + 1 : place + 2] * (count - 128)
            place += 2
        else:
            planes += pixels[place + 1 : place + 1 + count]
            place += 1 + count
        if count == 0 or len(planes) > end:
            raise ValueError("expected run lengths that fill a row, got others; the file is broken")
    return place


def _check_length(got: int, expected: int) -> None:
    if got < expected:
        raise ValueError(f"expected {expected} bytes of pixels, got {got}; the file is cut off")

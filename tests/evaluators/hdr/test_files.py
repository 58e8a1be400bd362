"""Folders of HDR scenes: what is read, and what is refused with which words."""

from __future__ import annotations

import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from evaluators.data.images import ImageError
from evaluators.data.pairs import PairSet
from evaluators.hdr.coding import to_coded, to_light
from evaluators.hdr.files import read_deep_png, read_light, read_pairs

EVS = (-2, 0, 2)
SIDE = 20


def read(targets: Path, inputs: Path | None = None, *, minimum: int = 1, skip_bad: bool = False) -> PairSet:
    return read_pairs(targets, inputs, minimum=minimum, skip_bad=skip_bad)


def scene(seed: int = 0) -> np.ndarray:
    """Light in units of the medium exposure's white."""
    return (2.0 ** np.random.default_rng(seed).uniform(-5, 2, (SIDE, SIDE + 4, 3))).astype(np.float32)


def frame(light: np.ndarray, ev: float) -> np.ndarray:
    return (np.clip(light * 2.0**ev, 0, 1) ** (1 / 2.24) * 255).round().astype(np.uint8)


def write_deep_png(path: Path, pixels: np.ndarray) -> None:
    """(H, W, 3) uint16 as a PNG, of which each row has another filter of the five."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    rows = pixels.astype(">u2").view(np.uint8).reshape(height, width * 6).astype(int)
    data = b""
    for y, row in enumerate(rows):
        left = np.concatenate([np.zeros(6, int), row[:-6]])
        up = rows[y - 1] if y else np.zeros_like(row)
        corner = np.concatenate([np.zeros(6, int), up[:-6]])
        estimate = left + up - corner
        away = np.abs(np.stack([left, up, corner]) - estimate)
        paeth = np.choose(away.argmin(axis=0), [left, up, corner])
        guess = [0, left, up, (left + up) // 2, paeth][y % 5]
        data += bytes([y % 5]) + ((row - guess) % 256).astype(np.uint8).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def write_radiance(path: Path, light: np.ndarray) -> None:
    _, exponents = np.frexp(light.max(axis=2, keepdims=True))
    rgb = (light * np.ldexp(np.float32(256), -exponents)).astype(np.uint8)
    rgbe = np.concatenate([rgb, (exponents + 128).astype(np.uint8)], axis=2)
    header = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {light.shape[0]} +X {light.shape[1]}\n"
    path.write_bytes(header.encode() + rgbe.tobytes())


def write_scene(folder: Path, light: np.ndarray, *, prefix: str = "", names=("0", "1", "2")) -> Path:
    """NTIRE's files: with a prefix in the folder, or the folder is the scene's own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, ev in zip(names, EVS, strict=True):
        PIL.Image.fromarray(frame(light, ev)).save(folder / f"{prefix}{name}.png")
    np.save(folder / f"{prefix}exposures.npy", np.array(EVS) - 1)
    coded = light ** (1 / 2.24)
    ratio = 65535 / coded.max()
    np.save(folder / f"{prefix}alignratio.npy", ratio)
    write_deep_png(folder / f"{prefix}gt.png", (coded * ratio).round().astype(np.uint16))
    return folder


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A folder of scenes, of which there is one."""
    write_scene(tmp_path / "scenes" / "0001", scene())
    return tmp_path / "scenes"


def test_ntires_layout_in_folders_and_with_prefixes(one: Path, tmp_path: Path) -> None:
    flat = write_scene(tmp_path / "flat", scene(), prefix="0001_", names=("short", "medium", "long"))
    for folder in (one, flat):
        pairs = read(folder)
        (source,), (target,) = pairs.inputs, pairs.targets
        assert (pairs.name, source.name, target.name, pairs.scale) == (folder.name, "0001", "0001", 1)
        assert (source.pixels.shape, source.pixels.dtype) == ((SIDE, SIDE + 4, 18), np.float32)
        for channel, ev in zip((0, 6, 12), EVS, strict=True):
            taken = source.pixels[..., channel : channel + 3]
            np.testing.assert_allclose(taken * 255, frame(scene(), ev), atol=1e-3)
        np.testing.assert_allclose(target.pixels, to_coded(scene(), 16), atol=1e-4)
        assert source.made_by == ""
    assert read(one).digest == read(flat).digest


def test_a_split_has_its_own_folder(tmp_path: Path) -> None:
    for seed, folder in enumerate(("train", "valid", "test")):
        write_scene(
            tmp_path / "ntire" / folder, scene(seed), prefix="0001_", names=("short", "medium", "long")
        )
    for split, folder in (("train", "train"), ("validation", "valid"), ("test", "test")):
        pairs = read_pairs(tmp_path / "ntire", None, minimum=1, skip_bad=False, split=split)
        assert pairs.name == "ntire"
        assert pairs.digest == read(tmp_path / "ntire" / folder).digest


def test_one_scenes_folder_is_not_taken_for_images(one: Path) -> None:
    with pytest.raises(ImageError, match="0001: no image in this folder; .*in a folder NAME each"):
        read(one / "0001")


def test_a_png_of_16_bits_keeps_both_bytes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 65536, (10, 7, 3), dtype=np.uint16)
    write_deep_png(tmp_path / "deep.png", pixels)
    got = read_deep_png(tmp_path / "deep.png")
    assert got.dtype == np.uint16
    np.testing.assert_array_equal(got, pixels)
    PIL.Image.fromarray((pixels >> 8).astype(np.uint8)).save(tmp_path / "plain.png")
    with pytest.raises(ImageError, match=r"plain\.png: expected a PNG of RGB with 16 bits a channel"):
        read_deep_png(tmp_path / "plain.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "deep.png").read_bytes()[:-60])
    with pytest.raises(ImageError, match=r"broken\.png: can't be read"):
        read_deep_png(tmp_path / "broken.png")


def test_frames_may_have_16_bits(one: Path) -> None:
    deep = (frame(scene(), 0).astype(np.uint16)) * 257
    before = read(one).digest
    write_deep_png(one / "0001/1.png", deep)
    assert read(one).inputs.images[0].pixels[..., 6:9] * 255 == pytest.approx(frame(scene(), 0), abs=1e-3)
    write_deep_png(one / "0001/1.png", deep - (deep > 600) * np.uint16(100))
    assert read(one).digest != before


@pytest.mark.parametrize("suffix", ["npy", "hdr", "exr"])
def test_a_reference_may_be_light(one: Path, suffix: str) -> None:
    (one / "0001/gt.png").unlink()
    (one / "0001/alignratio.npy").unlink()
    path = one / f"0001/gt.{suffix}"
    if suffix == "npy":
        np.save(path, scene().astype(np.float64))
    elif suffix == "hdr":
        write_radiance(path, scene())
    else:
        openexr = pytest.importorskip("OpenEXR")
        openexr.File({}, {"RGB": scene()}).write(str(path))
    light = to_light(read(one).targets.images[0].pixels) * 16
    np.testing.assert_allclose(light, scene(), rtol=1e-5, atol=scene().max() / 128 if suffix == "hdr" else 0)


def test_exposures_of_hdr_images_are_simulated_or_given(tmp_path: Path) -> None:
    targets, inputs = tmp_path / "targets", tmp_path / "inputs"
    targets.mkdir()
    np.save(targets / "a.npy", scene(1) * 300)
    write_radiance(targets / "b.hdr", scene(2))
    made = read(targets)
    assert [image.name for image in made.targets] == ["a.npy", "b.hdr"]
    assert all(image.made_by for image in made.inputs)
    assert read(targets).digest == made.digest
    write_scene(inputs / "a", scene(1))
    write_scene(inputs, scene(2), prefix="b_", names=("short", "medium", "long"))
    np.save(targets / "a.npy", scene(1))
    given = read(targets, inputs)
    assert not any(image.made_by for image in given.inputs)
    np.testing.assert_array_equal(given.targets.images[0].pixels, to_coded(scene(1), 16))
    np.testing.assert_allclose(given.inputs.images[1].pixels[..., :3] * 255, frame(scene(2), -2), atol=1e-3)
    shutil.rmtree(inputs / "a")
    with pytest.raises(ImageError, match="1 without a partner: a$"):
        read(targets, inputs)
    np.save(inputs / "a.npy", np.zeros((SIDE, SIDE + 4, 18), np.float32))
    assert not read(targets, inputs).inputs.images[0].pixels.any()
    np.save(inputs / "b.npy", np.zeros((SIDE, SIDE + 4, 18), np.float32))
    with pytest.raises(ImageError, match=r"got \.npy and frames of b; remove one"):
        read(targets, inputs)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((4, 4, 18)), r"expected \(H, W, 18\) float32 .* float64"),
        (np.zeros((4, 4, 9), np.float32), r"got \(4, 4, 9\)"),
        (np.zeros((4, 5, 18), np.float32), r"one size, got 5x4, 24x20"),
        (np.full((SIDE, SIDE + 4, 18), np.nan, np.float32), "expected finite values"),
    ],
)
def test_finished_inputs_that_do_not_fit_are_refused(
    tmp_path: Path, pixels: np.ndarray, message: str
) -> None:
    for folder in ("targets", "inputs"):
        (tmp_path / folder).mkdir()
    np.save(tmp_path / "targets/a.npy", scene())
    np.save(tmp_path / "inputs/a.npy", pixels)
    with pytest.raises(ImageError, match=rf"a\.npy.*{message}"):
        read(tmp_path / "targets", tmp_path / "inputs")


def test_light_that_is_no_light_is_refused_with_counts(tmp_path: Path) -> None:
    bad = scene()
    bad[0, 0, 0], bad[0, 1], bad[2, 2] = np.nan, np.inf, -0.5
    files = {
        r"odd\.npy: expected finite light of 0 or more, got 4 NaN or infinite and 3 negative values of 1440; set": bad,
        r"dark\.npy: expected light, got zeros only": np.zeros((4, 4, 3)),
        r"grey\.npy: expected \(H, W, 3\) floating-point light, got \(4, 4\)": np.ones((4, 4)),
        r"whole\.npy: .*got \(4, 4, 3\) uint8": np.ones((4, 4, 3), np.uint8),
        r"huge\.npy: .*got 48 NaN or infinite": np.full((4, 4, 3), 1e300),
    }
    for message, pixels in files.items():
        path = tmp_path / f"{message.partition(chr(92))[0]}.npy"
        np.save(path, pixels)
        with pytest.raises(ImageError, match=message):
            read_light(path)
    (tmp_path / "text.hdr").write_text("no picture")
    with pytest.raises(ImageError, match=r"text\.hdr: can't be read .*#\?RADIANCE"):
        read_light(tmp_path / "text.hdr")
    with pytest.raises(ImageError, match=r"a\.jpg: expected light as \.exr \.hdr \.npy"):
        read_light(tmp_path / "a.jpg")


def test_exr_files_that_cannot_be_used_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openexr = pytest.importorskip("OpenEXR")
    grey = tmp_path / "grey.exr"
    openexr.File({}, {"Y": scene()[..., 0].copy()}).write(str(grey))
    with pytest.raises(
        ImageError, match=r"grey\.exr: expected one part with channels R, G and B, got 1 with Y"
    ):
        read_light(grey)
    clear = tmp_path / "clear.exr"
    openexr.File({}, {"RGBA": np.concatenate([scene(), scene()[..., :1]], axis=2)}).write(str(clear))
    with pytest.raises(ImageError, match=r"clear\.exr: expected an opaque image"):
        read_light(clear)
    (tmp_path / "text.exr").write_text("no picture")
    with pytest.raises(ImageError, match=r"text\.exr: can't be read"):
        read_light(tmp_path / "text.exr")
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(ImageError, match=r"needs OpenEXR: pip install OpenEXR \(or pixelfront\[hdr\]\)"):
        read_light(grey)


def spoil(folder: Path, how: str) -> None:
    """Make one scene's files unusable."""
    match how:
        case "no reference":
            (folder / "gt.png").unlink()
        case "no ratio":
            (folder / "alignratio.npy").unlink()
        case "bad ratio":
            np.save(folder / "alignratio.npy", -1.0)
        case "no exposures":
            (folder / "exposures.npy").unlink()
        case "two exposures":
            np.save(folder / "exposures.npy", np.array([0.0, 2.0]))
        case "wrong order":
            np.save(folder / "exposures.npy", np.array([2, 0, -2]))
        case "words":
            np.save(folder / "exposures.npy", np.array(["short", "medium", "long"]))
        case "two frames":
            (folder / "0.png").unlink()
        case "four frames":
            shutil.copy(folder / "0.png", folder / "3.png")
        case "twice":
            shutil.copy(folder / "0.png", folder / "short.png")
        case "size":
            PIL.Image.new("RGB", (8, 9)).save(folder / "2.png")
        case "shallow":
            PIL.Image.new("RGB", (24, 20)).save(folder / "gt.png")
        case "unit":
            np.save(folder / "alignratio.npy", 100 * np.load(folder / "alignratio.npy"))
        case "broken":
            (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:300])
        case "black":
            write_deep_png(folder / "gt.png", np.zeros((SIDE, SIDE + 4, 3), np.uint16))


SPOILT = {
    "no reference": r"0001: expected a reference \(gt\.png with alignratio\.npy.*got none",
    "no ratio": r"gt\.png: expected alignratio\.npy beside it, got none; add it",
    "bad ratio": r"alignratio\.npy: expected one positive number, got -1",
    "no exposures": r"0001: expected exposures\.npy with the EVs of short, medium and long, got none",
    "two exposures": r"exposures\.npy: expected 3 exposures in EV, got an array of shape \(2,\)",
    "wrong order": r"expected EVs that rise from short to long, got \[2\.0, 0\.0, -2\.0\]; put them in order",
    "words": r"exposures\.npy: expected numbers, got <U",
    "two frames": r"0001: expected 3 frames \(short, medium, long, or 0, 1, 2\), got 2: 2\.png, 1\.png",
    "four frames": r"0001: expected 3 frames .* got 4: 3\.png",
    "twice": r"both are 'short' of 0001; remove one",
    "size": r"0001: expected frames and reference of one size, got 24x20, 24x20, 8x9, 24x20; crop them",
    "shallow": r"gt\.png: expected a PNG of RGB with 16 bits a channel",
    "unit": r"0001: expected a reference in which 1\.0 is the medium exposure's white, got one 3\.\d+e-05 times",
    "broken": r"1\.png: can't be read",
    "black": r"gt\.png: expected light, got zeros only",
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_scene_that_cannot_be_used_is_refused(one: Path, how: str) -> None:
    spoil(one / "0001", how)
    with pytest.raises(ImageError, match=SPOILT[how]):
        read(one)


def test_scenes_can_be_left_out(one: Path) -> None:
    for name in ("0002", "0003"):
        shutil.copytree(one / "0001", one / name)
    spoil(one / "0002", "no reference")
    spoil(one / "0003", "wrong order")
    with pytest.raises(ImageError, match=r"2 unusable image files: .*0002: .*0003/exposures\.npy: "):
        read(one)
    kept = read(one, skip_bad=True)
    assert [image.name for image in kept.targets] == ["0001"]
    assert "left out 2 unusable" in kept.targets.notes[0]
    with pytest.raises(ImageError, match=r"0001: expected at least 21x21 pixels, got 24x20"):
        read(one, minimum=21, skip_bad=True)


def test_folders_without_scenes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ImageError, match="empty: no image in this folder; expected HDR images .* or scenes of"
    ):
        read(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError, match="file: no such folder; .*got a file"):
        read(tmp_path / "file")
    np.save(tmp_path / "empty/a.npy", scene())
    write_radiance(tmp_path / "empty/a.hdr", scene())
    with pytest.raises(ImageError, match="expected one image per name; rename one"):
        read(tmp_path / "empty")


@pytest.mark.shared
def test_real_patches_of_ntire(shared: Path) -> None:
    pairs = read(shared / "data/hdr_ntire_patches")
    assert [image.name for image in pairs.targets] == ["000000", "000001", "000002", "000003"]
    # What OpenCV 5.0 reads, summed up.
    sums = (219655574, 722819933, 592157068, 193155699)
    for index, expected in enumerate(sums):
        pixels = read_deep_png(shared / f"data/hdr_ntire_patches/00000{index}/gt.png")
        assert int(pixels.sum(dtype=np.int64)) == expected
    for source, target in zip(pairs.inputs, pairs.targets, strict=True):
        assert source.pixels.shape == (256, 256, 18)
        taken, mapped = source.pixels[..., 6:9], source.pixels[..., 9:12]
        usable = (taken > 0.1) & (taken < 0.9)
        assert np.median(target.pixels[usable] / mapped[usable]) == pytest.approx(1, abs=0.003)


@pytest.mark.shared
def test_real_hdr_pictures(shared: Path, tmp_path: Path) -> None:
    for name in ("Bottles_Small.hdr", "CS_Warwick.hdr"):
        shutil.copy(shared / "data/hdr_toolbox" / name, tmp_path / name)
    pairs = read(tmp_path)
    assert [image.pixels.shape[:2] for image in pairs.targets] == [(688, 912), (512, 1024)]
    for source in pairs.inputs:
        assert 0.03 < (source.pixels[..., 6:9] == 1).any(axis=2).mean() < 0.2

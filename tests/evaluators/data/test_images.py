import contextlib
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evaluators.data.images import (
    Image,
    ImageError,
    ImageSet,
    content_digest,
    orientations,
    read_folder,
    read_image,
    read_pairs,
)

SMALL = arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)))
PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def picture(height: int = 9, width: int = 7, seed: int = 0) -> PIL.Image.Image:
    return PIL.Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    )


def write_png16(path: Path, colour_type: int, channels: int) -> None:
    """A 16-bit PNG, which Pillow can read but not write: 3x2 pixels of 0x1234."""
    rows = (b"\0" + b"\x12\x34" * (3 * channels)) * 2
    header = struct.pack(">IIBBBBB", 3, 2, 16, colour_type, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    path.write_bytes(data)


# One file.


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
def test_lossless_formats_keep_every_pixel(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    PIL.Image.fromarray(PIXELS).save(path, **({"lossless": True} if suffix == "webp" else {}))
    pixels, note = read_image(path)
    assert note is None
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert np.array_equal(pixels, PIXELS)


@pytest.mark.parametrize("levels", [4, 256])
def test_greyscale_is_replicated(tmp_path: Path, levels: int) -> None:
    grey = (PIXELS[..., 0].astype(int) * levels // 256 * 255 // (levels - 1)).astype(np.uint8)
    PIL.Image.fromarray(grey).save(tmp_path / "a.png")
    pixels, note = read_image(tmp_path / "a.png")
    assert note == "greyscale converted to RGB"
    assert np.array_equal(pixels, np.stack([grey] * 3, axis=-1))


def test_one_bit(tmp_path: Path) -> None:
    bits = PIXELS[..., 0] > 127
    PIL.Image.fromarray(bits).save(tmp_path / "a.png")
    pixels, note = read_image(tmp_path / "a.png")
    assert note == "1-bit converted to RGB"
    assert np.array_equal(pixels[..., 1], bits * 255)


def test_palette(tmp_path: Path) -> None:
    reduced = PIL.Image.fromarray(PIXELS).quantize(16)
    reduced.save(tmp_path / "a.png")
    pixels, note = read_image(tmp_path / "a.png")
    assert note == "palette converted to RGB"
    assert np.array_equal(pixels, np.array(reduced.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_opaque_alpha_is_dropped_and_other_alpha_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    if mode == "P":
        indexed = PIL.Image.fromarray(PIXELS).quantize(16)
        indexed.save(path, transparency=bytes([255] * 16))
    else:
        PIL.Image.fromarray(PIXELS).convert(mode).save(path)
    pixels, note = read_image(path)
    assert pixels.shape == PIXELS.shape
    assert note is not None
    assert note.endswith("opaque alpha dropped")

    if mode == "P":
        indexed.save(path, transparency=bytes([255] * 8 + [37] + [255] * 7))
    else:
        see_through = PIL.Image.fromarray(PIXELS).convert(mode)
        alpha = np.full(PIXELS.shape[:2], 255, np.uint8)
        alpha[2, 3] = 37
        see_through.putalpha(PIL.Image.fromarray(alpha))
        see_through.save(path)
    with pytest.raises(ImageError, match=r"a\.png: expected an opaque image.* down to 37 of 255; flatten"):
        read_image(path)


def test_colour_key_transparency_is_refused(tmp_path: Path) -> None:
    PIL.Image.fromarray(PIXELS).save(tmp_path / "a.png", transparency=tuple(int(v) for v in PIXELS[0, 0]))
    with pytest.raises(ImageError, match="opaque"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_is_refused(tmp_path: Path, colour_type: int, channels: int) -> None:
    path = tmp_path / "deep.png"
    write_png16(path, colour_type, channels)
    PIL.Image.open(path).load()  # a sound file: only its depth is wrong
    with pytest.raises(ImageError, match=r"deep\.png: expected 8-bit.*;16B; convert it to 8-bit RGB"):
        read_image(path)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_deep_tiff_is_refused(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], compression: str | None
) -> None:
    photometric = "rgb" if len(shape) == 3 else "minisblack"
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros(shape, dtype), compression=compression, photometric=photometric
    )
    with pytest.raises(ImageError, match=r"a\.tif"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("header", [b"P6 2 2 65535\n", b"P6 2 2 1023\n", b"P5 2 2 65535\n"])
def test_deep_ppm_is_refused(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "a.ppm").write_bytes(header + bytes(24))
    with pytest.raises(ImageError, match="expected 8-bit"):
        read_image(tmp_path / "a.ppm")


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", "jpg"), ("LAB", "tif"), ("F", "tif"), ("I", "tif")])
def test_other_modes_are_refused(tmp_path: Path, mode: str, suffix: str) -> None:
    PIL.Image.new(mode, (4, 4)).save(tmp_path / f"a.{suffix}")
    with pytest.raises(ImageError, match=f"got mode {mode}"):
        read_image(tmp_path / f"a.{suffix}")


def test_several_frames_are_refused(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.tif", save_all=True, append_images=[picture(seed=1)])
    with pytest.raises(ImageError, match="got 2 frames"):
        read_image(tmp_path / "a.tif")


def test_a_cameras_multi_picture_jpeg_gives_the_photograph(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[picture(seed=1)])
    picture().save(tmp_path / "b.jpg")
    assert np.array_equal(read_image(tmp_path / "a.jpg")[0], read_image(tmp_path / "b.jpg")[0])


def test_16_bits_per_pixel_are_not_16_per_channel(tmp_path: Path) -> None:
    """A BMP of 5, 6 and 5 bits, in which 8 bits per channel lose nothing."""
    header = struct.pack("<2sIHHI", b"BM", 74, 0, 0, 66)
    info = struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 16, 3, 8, 0, 0, 0, 0)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    (tmp_path / "a.bmp").write_bytes(header + info + masks + struct.pack("<4H", 0xF800, 0x07E0, 0x001F, 0))
    pixels, _ = read_image(tmp_path / "a.bmp")
    assert pixels[1].tolist() == [[255, 0, 0], [0, 255, 0]]  # rows are stored from the bottom


def test_orientation_tag_is_not_applied(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png")[0], PIXELS)


def test_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture().save(tmp_path / "a.png")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageError, match="too large"):
        read_image(tmp_path / "a.png")


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no\.png: can't be read"):
        read_image(tmp_path / "no.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ImageError, match=r"text\.png: expected an image"):
        read_image(tmp_path / "text.png")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on broken metadata
@given(data=st.data())
def test_broken_files_give_an_image_error_or_an_image(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("broken")
    suffix = data.draw(st.sampled_from(["png", "jpg", "bmp", "tif", "ppm", "webp"]))
    path = folder / f"a.{suffix}"
    picture().save(path)
    content = bytearray(path.read_bytes())
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=3)
    ):
        content[place] = value
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(ImageError):  # any other exception fails
        pixels, _ = read_image(path)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "ppm", "webp"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    picture(40, 40).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=rf"a\.{suffix}"):
        read_image(path)


# Identity.


@given(SMALL)
def test_digest_is_the_same_in_all_orientations(pixels: np.ndarray) -> None:
    assert {content_digest(view) for view in orientations(pixels)} == {content_digest(pixels)}


@given(SMALL, st.data())
def test_digest_changes_with_any_pixel(pixels: np.ndarray, data: st.DataObject) -> None:
    place = tuple(data.draw(st.integers(0, side - 1)) for side in pixels.shape)
    changed = pixels.copy()
    changed[place] ^= 1
    assert content_digest(changed) != content_digest(pixels)


def test_orientations_are_all_eight() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert len({view.tobytes() for view in orientations(pixels)}) == 8
    assert np.array_equal(orientations(pixels)[0], pixels)


def test_digest_depends_on_the_shape() -> None:
    flat = np.zeros((2, 8, 3), np.uint8)
    assert content_digest(flat) == content_digest(flat.reshape(8, 2, 3))  # a rotation
    assert content_digest(flat) != content_digest(flat.reshape(4, 4, 3))


def test_digest_stays_as_it_is_stored_in_studies() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    expected = hashlib.sha256(b"(2, 3, 3) uint8\n" + bytes(range(18))).hexdigest()
    assert content_digest(pixels) == expected
    data = ImageSet("a", (Image("x", pixels), Image("y", pixels + 1)))
    assert data.digest == "5277197449e1"


@given(st.lists(SMALL, min_size=1, max_size=4), st.randoms())
def test_set_digest_ignores_names_and_order(pictures: list[np.ndarray], random) -> None:
    data = ImageSet("a", tuple(Image(str(i), pixels) for i, pixels in enumerate(pictures)))
    shuffled = random.sample(pictures, len(pictures))
    other = ImageSet("b", tuple(Image(f"z{i}", pixels) for i, pixels in enumerate(shuffled)))
    assert data.digest == other.digest
    assert len(data.digest) == 12
    more = ImageSet("a", (*data.images, data.images[0]))
    assert more.digest != data.digest


def test_crop_keeps_the_top_left_and_the_digest_of_what_was_read() -> None:
    image = Image("a", PIXELS)
    assert image.source == image.digest == content_digest(PIXELS)
    assert image.cropped(*PIXELS.shape[:2]) is image
    crop = image.cropped(8, 7).cropped(8, 4)
    assert np.array_equal(crop.pixels, PIXELS[:8, :4])
    assert (crop.name, crop.source, crop.digest) == ("a", image.digest, content_digest(PIXELS[:8, :4]))
    data = ImageSet("b", (image, crop))
    assert data.sources == (image.digest, image.digest)
    assert data.digests == (image.digest, crop.digest)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.full((4, 4, 4), np.nan, np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_image_checks_its_pixels(pixels: np.ndarray) -> None:
    with pytest.raises(
        ValueError, match=r"a\.png: expected (\(H, W, C\) pixels of uint8|finite values, got 64 NaN)"
    ):
        Image("a.png", pixels)


# Folders.


def test_folder_is_sorted_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    for i, name in enumerate(["b.PNG", "a.jpeg", "c.tiff", "sub/d.png"]):
        picture(seed=i).save(folder / name)
    (folder / "readme.txt").write_text("no image")
    (folder / "._a.jpeg").write_text("macOS writes these")
    data = read_folder(folder)
    assert data.name == "mine"
    assert [image.name for image in data] == ["a.jpeg", "b.PNG", "c.tiff"]
    assert len(data) == 3
    assert data.notes == ()
    assert read_folder(folder, name="other").name == "other"


def test_folder_missing_a_file_or_empty(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such folder"):
        read_folder(tmp_path / "no")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ImageError, match=r"expected a folder of images, got a file"):
        read_folder(tmp_path / "a.txt")
    with pytest.raises(ImageError, match=r"no image in this folder; expected bmp .*webp, got 1 other files"):
        read_folder(tmp_path)


def test_all_bad_files_are_in_one_error(tmp_path: Path) -> None:
    picture().save(tmp_path / "good.png")
    for i in range(12):
        (tmp_path / f"bad{i:02}.png").write_text("x")
    with pytest.raises(ImageError) as caught:
        read_folder(tmp_path)
    message = str(caught.value)
    assert "12 unusable image files" in message
    assert "bad09.png" in message
    assert "bad10.png" not in message
    assert "and 2 more" in message
    assert "--skip-bad-images" in message


def test_bad_files_can_be_skipped_but_not_all(tmp_path: Path) -> None:
    picture().save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("x")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    data = read_folder(tmp_path, skip_bad=True)
    assert [image.name for image in data] == ["good.png"]
    assert len(data.notes) == 1
    assert data.notes[0].startswith("left out 2 unusable")
    assert "bad.png" in data.notes[0]
    (tmp_path / "good.png").unlink()
    with pytest.raises(ImageError, match="no usable image is left after skipping 2"):
        read_folder(tmp_path, skip_bad=True)


def test_minimum_size(tmp_path: Path) -> None:
    picture(height=9, width=7).save(tmp_path / "a.png")
    assert len(read_folder(tmp_path, minimum=(9, 7))) == 1
    with pytest.raises(ImageError, match=r"a\.png: expected at least 8x9 pixels, got 7x9"):
        read_folder(tmp_path, minimum=(9, 8))
    with pytest.raises(ImageError, match=r"got 7x9"):
        read_folder(tmp_path, minimum=(10, 7))


def test_conversions_are_aggregated(tmp_path: Path) -> None:
    for i in range(12):
        picture(seed=i).convert("L").save(tmp_path / f"g{i:02}.png")
    picture().save(tmp_path / "rgb.png")
    (note,) = read_folder(tmp_path).notes
    assert note.startswith("greyscale converted to RGB: 12 (g00.png, g01.png")
    assert note.endswith("g09.png, and 2 more)")


# Pairs.


def pair_folders(
    tmp_path: Path, hr: dict[str, tuple[int, int]], lr: dict[str, tuple[int, int]]
) -> tuple[Path, Path]:
    for folder, sizes in (("hr", hr), ("lr", lr)):
        (tmp_path / folder).mkdir()
        for i, (name, (height, width)) in enumerate(sizes.items()):
            picture(height, width, seed=i).save(tmp_path / folder / name)
    return tmp_path / "hr", tmp_path / "lr"


def test_pairs_match_by_stem_and_crop_hr(tmp_path: Path) -> None:
    folders = pair_folders(
        tmp_path,
        {"a.png": (8, 12), "b.png": (11, 12), "c.bmp": (8, 15)},
        {"ax4.png": (2, 3), "b_x4.png": (2, 3), "c.png": (2, 3)},
    )
    hr, lr = read_pairs(*folders, scale=4, name="mine")
    assert [image.name for image in hr] == ["a.png", "b.png", "c.bmp"]
    assert [image.name for image in lr] == ["ax4.png", "b_x4.png", "c.png"]
    assert all(image.pixels.shape == (8, 12, 3) for image in hr)
    assert np.array_equal(hr.images[1].pixels, read_image(folders[0] / "b.png")[0][:8])
    assert hr.notes == ("HR cropped to a multiple of 4: 2 (b.png, c.bmp)",)
    assert (hr.name, lr.name) == ("mine", "mine LR x4")


def test_lr_name_that_ends_like_a_suffix(tmp_path: Path) -> None:
    folders = pair_folders(tmp_path, {"sx4.png": (4, 4)}, {"sx4.png": (1, 1)})
    assert len(read_pairs(*folders, scale=4)[0]) == 1


@pytest.mark.parametrize("size", [(12, 12), (8, 16), (7, 12), (8, 11)])
def test_pairs_of_wrong_size(tmp_path: Path, size: tuple[int, int]) -> None:
    folders = pair_folders(tmp_path, {"a.png": size, "b.png": (8, 12)}, {"a.png": (2, 3), "b.png": (2, 3)})
    with pytest.raises(
        ImageError, match=rf"hr/a\.png {size[1]}x{size[0]} against .*lr/a\.png 3x2; check the scale"
    ):
        read_pairs(*folders, scale=4, skip_bad=True)


def test_files_without_partner_are_named_on_both_sides(tmp_path: Path) -> None:
    folders = pair_folders(
        tmp_path, {"a.png": (4, 4), "b.png": (4, 4)}, {"ax4.png": (1, 1), "bx3.png": (1, 1), "e.png": (1, 1)}
    )
    with pytest.raises(ImageError, match=r"3 without a partner: .*lr/bx3\.png; .*lr/e\.png; .*hr/b\.png"):
        read_pairs(*folders, scale=4)


def test_ambiguous_pairs(tmp_path: Path) -> None:
    folders = pair_folders(tmp_path, {"a.png": (4, 4)}, {"a.png": (1, 1), "ax4.png": (1, 1)})
    with pytest.raises(ImageError, match="both are LR of"):
        read_pairs(*folders, scale=4)
    picture().save(folders[0] / "a.bmp")
    with pytest.raises(ImageError, match="one HR image per name"):
        read_pairs(*folders, scale=4)


def test_a_bad_file_takes_its_pair_along(tmp_path: Path) -> None:
    folders = pair_folders(tmp_path, {"a.png": (4, 4), "b.png": (4, 4)}, {"a.png": (1, 1), "b.png": (1, 1)})
    (folders[1] / "a.png").write_text("x")
    with pytest.raises(ImageError, match=r"1 unusable image files: .*lr/a\.png"):
        read_pairs(*folders, scale=4)
    hr, lr = read_pairs(*folders, scale=4, skip_bad=True)
    assert [image.name for image in (*hr, *lr)] == ["b.png", "b.png"]
    assert "lr/a.png" in hr.notes[0]

"""What a picture's file says is still said by the restored one."""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.ImageOps
import pytest
import tifffile

from evaluators.data.images import ImageError
from evaluators.data.picture_files import Embedded, Picture, read_picture, resize_alpha, write_picture

PROFILE = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'


def noise(*shape: int, deep: bool = False) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.integers(0, 65536 if deep else 256, shape, dtype=np.uint16 if deep else np.uint8)


@pytest.mark.parametrize(
    ("form", "deep", "colour", "alpha"),
    # Pillow can't read 16-bit greyscale TIFF with alpha.
    [case for case in product(("png", "tiff"), *[(False, True)] * 3) if case != ("tiff", True, False, True)],
)
def test_every_value_comes_back(form: str, deep: bool, colour: bool, alpha: bool, tmp_path: Path) -> None:
    pixels = noise(300, 9, 3, deep=deep) if colour else noise(300, 9, deep=deep)
    picture = Picture(
        pixels, noise(300, 9, deep=deep) if alpha else None, Embedded(profile=PROFILE, dpi=(300, 300))
    )
    write_picture(picture, tmp_path / "a", form)
    again = read_picture(tmp_path / "a")
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    assert again.pixels.dtype == picture.pixels.dtype
    if picture.alpha is None:
        assert again.alpha is None
    else:
        np.testing.assert_array_equal(again.alpha, picture.alpha)
    assert again.embedded.profile == PROFILE
    assert again.embedded.dpi == pytest.approx((300, 300), abs=0.1)
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_tiffs_of_either_byte_order_are_read(
    compression: str | None, order: str, tmp_path: Path
) -> None:
    pixels = noise(8, 9, 3, deep=True)
    tifffile.imwrite(
        tmp_path / "a.tif",
        pixels,
        byteorder=order,
        compression=compression,
        photometric="rgb",  # type: ignore[arg-type]
    )
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif").pixels, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_once(orientation: int, tmp_path: Path) -> None:
    image = PIL.Image.fromarray(noise(8, 12, 3))
    exif = PIL.Image.Exif()
    exif[274], exif[271] = orientation, "Maker"
    exif.get_ifd(34665)[40962] = 12
    image.save(tmp_path / "a.png", exif=exif, pnginfo=_with_xmp())
    picture = read_picture(tmp_path / "a.png")
    with PIL.Image.open(tmp_path / "a.png") as opened:
        np.testing.assert_array_equal(picture.pixels, np.asarray(PIL.ImageOps.exif_transpose(opened)))
    for form in ("png", "tiff", "webp", "jpeg"):
        write_picture(
            Picture(np.repeat(picture.pixels, 2, axis=1), None, picture.embedded), tmp_path / form, form
        )
        with PIL.Image.open(tmp_path / form) as written:
            found = written.getexif()
            assert found.get(274, 1) == 1
            assert found[271] == "Maker"
            assert form == "tiff" or found.get_ifd(34665)[40962] == written.width
            assert b'Orientation="1"' in written.info["xmp"]


def _with_xmp() -> PIL.PngImagePlugin.PngInfo:
    info = PIL.PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return info


def test_palettes_become_their_colours(tmp_path: Path) -> None:
    image = PIL.Image.fromarray(noise(8, 9, 3)).quantize(16)
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "clear.png", transparency=3)
    opaque, clear = (read_picture(tmp_path / f"{name}.png") for name in ("opaque", "clear"))
    np.testing.assert_array_equal(opaque.pixels, np.asarray(image.convert("RGB")))
    assert opaque.alpha is None
    assert clear.alpha is not None
    np.testing.assert_array_equal(clear.alpha == 0, np.asarray(image) == 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PIL.Image.new("CMYK", (4, 4)), "got CMYK; convert it to RGB by its colour profile"),
        (lambda: PIL.Image.new("F", (4, 4)), "got F; convert it to RGB"),
    ],
)
def test_what_cannot_be_kept_is_refused(make: object, message: str, tmp_path: Path) -> None:
    make().save(tmp_path / "a.tif")  # type: ignore[operator]
    with pytest.raises(ImageError, match=message):
        read_picture(tmp_path / "a.tif")


def test_frames_text_and_broken_files_are_refused(tmp_path: Path) -> None:
    frame = PIL.Image.new("RGB", (4, 4))
    frame.save(tmp_path / "a.webp", save_all=True, append_images=[PIL.Image.new("RGB", (4, 4), "red")])
    (tmp_path / "text.png").write_text("text")
    content = io.BytesIO()
    PIL.Image.fromarray(noise(99, 99, 3)).save(content, "PNG")
    (tmp_path / "cut.png").write_bytes(content.getvalue()[:5000])
    for name, message in (
        ("a.webp", "got 2 frames"),
        ("text.png", "another kind of file"),
        ("cut.png", "can't be read"),
    ):
        with pytest.raises(ImageError, match=message):
            read_picture(tmp_path / name)


def test_formats_that_hold_less_are_refused(tmp_path: Path) -> None:
    for picture, form, message in (
        (Picture(noise(4, 4, 3, deep=True)), "jpeg", "16 bits"),
        (Picture(noise(4, 4, 3, deep=True)), "webp", "16 bits"),
        (Picture(noise(4, 4, 3), noise(4, 4)), "jpeg", "alpha"),
        (Picture(np.zeros((1, 16384, 3), np.uint8)), "webp", "16383"),
    ):
        with pytest.raises(ImageError, match=message):
            write_picture(picture, tmp_path / "a", form)
    assert not list(tmp_path.iterdir())


def test_alpha_is_enlarged_and_stays_where_it_is() -> None:
    alpha = np.zeros((8, 8), np.uint16)
    alpha[:, 4:] = 65535
    large = resize_alpha(alpha, 32, 32)
    assert large.dtype == np.uint16
    assert (large[:, 0], large[:, -1]) == (pytest.approx(0), pytest.approx(65535))
    assert resize_alpha(alpha, 8, 8) is alpha


def test_16_bit_tiffs_that_pillow_would_misread_are_refused(tmp_path: Path) -> None:
    pixels = noise(8, 9, 4, deep=True)
    tifffile.imwrite(
        tmp_path / "planes.tif", noise(3, 8, 9, deep=True), photometric="rgb", planarconfig="separate"
    )
    tifffile.imwrite(tmp_path / "multiplied.tif", pixels, photometric="rgb", extrasamples=["assocalpha"])
    for name, what in (("planes", "a plane for each channel"), ("multiplied", "colours multiplied by alpha")):
        with pytest.raises(ImageError, match=what):
            read_picture(tmp_path / f"{name}.tif")


def test_a_16_bit_tiff_whose_white_is_0_is_no_negative(tmp_path: Path) -> None:
    pixels = noise(8, 9, deep=True)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif").pixels, 65535 - pixels)


def test_what_described_the_files_arrays_is_left_out(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(8, 9, 3), photometric="rgb", software="camera")
    write_picture(read_picture(tmp_path / "a.tif"), tmp_path / "b.png", "png")
    assert dict(PIL.Image.open(tmp_path / "b.png").getexif()) == {305: "camera"}

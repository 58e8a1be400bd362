"""Deblurring: embedded blur, kernels of one's own, GoPro's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from scipy import ndimage

from evaluators.data.images import Image, ImageSet
from evaluators.data.photographs import embedded
from evaluators.degradations.corruptions import GAMMA, read_kernels
from evaluators.tasks import get_task
from evaluators.tasks.deblur import SIGMA, Deblur
from evaluators.trial import baseline_score


def part(side: int = 80) -> Image:
    return Image("cat.png", embedded("test").images[1].pixels[60 : 60 + side, 100 : 100 + side])


def test_embedded_inputs_are_blurred_and_of_8_bits() -> None:
    pairs = get_task("deblur").embedded("validation")
    for source, target in zip(pairs.inputs, pairs.targets, strict=True):
        assert source.pixels.dtype == np.uint8
        sharp, soft = (np.abs(ndimage.laplace(i.pixels.mean(axis=2))).mean() for i in (target, source))
        assert soft < 0.75 * sharp
        assert source.pixels.mean() == pytest.approx(target.pixels.mean(), rel=0.05)
    psnr = {m.name: m for m in baseline_score("deblur", pairs, ssim=False)}
    assert 20 < psnr["psnr_rgb"].value < 32
    assert psnr["psnr_rgb"].protocol.endswith(
        "border 0, on embedded/validation (e7173e0237be), blur by random motion kernels of 4 to 20 pixels and noise of "
        "sigma 2, 8-bit"
    )


def test_a_kernel_of_ones_own_is_used() -> None:
    kernel = np.zeros((3, 4), np.float32)
    kernel[1] = 0.25
    blurred = Deblur([kernel], "box").make(ImageSet("part", (part(),))).inputs.images[0]
    light = (part().pixels / 255) ** GAMMA
    plain = ndimage.convolve(light, kernel[..., None], mode="reflect") ** (1 / GAMMA) * 255
    error = blurred.pixels - plain
    assert error.std() == pytest.approx(np.hypot(SIGMA, np.sqrt(1 / 12)), rel=0.03)
    assert abs(error.mean()) < 0.1
    assert blurred.made_by == "blur by 1 box kernels and noise of sigma 2, 8-bit"


def test_kernels_of_several_sizes_are_all_drawn() -> None:
    sizes = [(1, 9), (9, 1), (3, 5), (2, 2)]
    task = Deblur([np.full(size, 1 / (size[0] * size[1]), np.float32) for size in sizes])
    dot = np.zeros((60, 41, 41, 3), np.uint8)
    dot[:, 20, 20] = 255
    spread = task.degrade(dot, np.random.default_rng(0)).astype(float) > 40
    shapes = {(int(s.any(axis=(1, 2)).sum()), int(s.any(axis=(0, 2)).sum())) for s in spread}
    assert shapes == set(sizes)


def test_a_data_set_is_read_by_its_folder(tmp_path: Path) -> None:
    pixels = part().pixels
    for split, shift in (("train", 0), ("test", 20)):
        for sequence in ("GOPR1", "GOPR2"):
            for kind, start in (("sharp", shift), ("blur", shift + 3)):
                folder = tmp_path / split / sequence / kind
                folder.mkdir(parents=True)
                PIL.Image.fromarray(pixels[start : start + 40]).save(folder / "000001.png")
    task = get_task("deblur")
    for pairs, shift in ((task.pairs(tmp_path), 0), (task.pairs(tmp_path / "test"), 20)):
        assert [image.name for image in pairs.targets] == ["GOPR1_000001.png", "GOPR2_000001.png"]
        assert [image.name for image in pairs.inputs] == ["GOPR1_000001.png", "GOPR2_000001.png"]
        np.testing.assert_array_equal(pairs.targets.images[0].pixels, pixels[shift : shift + 40])
        np.testing.assert_array_equal(pairs.inputs.images[0].pixels, pixels[shift + 3 : shift + 43])
        assert task.degradation(pairs) is None
        assert len(baseline_score("deblur", pairs)) == 4
    assert task.pairs(tmp_path, minimum=40).name == tmp_path.name
    with pytest.raises(ValueError, match=r"2 unusable image files.*expected at least 41x41"):
        task.pairs(tmp_path / "train", minimum=41)


@pytest.mark.shared
def test_measured_kernels(shared: Path) -> None:
    kernels = read_kernels(shared / "data/blur_kernels/kernels_12.mat")
    pairs = Deblur(kernels, "kernels_12").make(ImageSet("part", (part(),)))
    assert pairs.inputs.images[0].made_by == "blur by 12 kernels_12 kernels and noise of sigma 2, 8-bit"
    assert 1 < np.abs(pairs.inputs.images[0].pixels.astype(int) - part().pixels).mean() < 40

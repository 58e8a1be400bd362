"""Denoising: what its noise is, and real pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from evaluators.data.images import Image, ImageError, ImageSet
from evaluators.data.photographs import embedded
from evaluators.tasks import get_task
from evaluators.tasks.denoise import Denoise
from evaluators.tasks.synthetic import SyntheticTask
from evaluators.trial import baseline_score, score
from search.study.context import hold_out
from spaces.architecture import Block
from spaces.build import build
from spaces.catalog import named_space
from spaces.topologies.chain import Chain

SIGMAS = {"denoise": 25, "denoise-s15": 15, "denoise-s50": 50}
NAMES = (*SIGMAS, "denoise-signal")


def task(name: str) -> SyntheticTask:
    found = get_task(name)
    assert isinstance(found, SyntheticTask)
    return found


def part(count: int = 2, side: int = 64) -> ImageSet:
    pixels = embedded("test").images[1].pixels
    return ImageSet(
        "part",
        tuple(Image(f"{i}.png", pixels[i * side : (i + 1) * side, 100 : 100 + side]) for i in range(count)),
    )


@pytest.mark.parametrize("name", SIGMAS)
def test_the_noise_is_of_its_sigma_and_kept_in_full(name: str) -> None:
    pairs = task(name).embedded("validation")
    for source, target in zip(pairs.inputs, pairs.targets, strict=True):
        assert source.pixels.dtype == np.float32
        noise = source.pixels * 255 - target.pixels
        assert noise.std() == pytest.approx(SIGMAS[name], rel=0.005)
        assert source.pixels.min() < 0
    psnr = next(m for m in baseline_score(name, pairs, ssim=False) if m.name == "psnr_rgb")
    # Clipping the input to 8 bits only helps.
    assert 0 < psnr.value - 20 * np.log10(255 / SIGMAS[name]) < 1.5
    assert psnr.protocol.endswith(
        f"(e7173e0237be), white Gaussian noise of sigma {SIGMAS[name]}, neither clipped nor rounded"
    )


def test_a_pictures_noise_is_its_own() -> None:
    """Not its set's, its place in it or its name's; and another task's is another."""
    both, two = task("denoise").make(part()), part()
    turned = task("denoise").make(ImageSet("other", (Image("renamed", two.images[1].pixels), two.images[0])))
    np.testing.assert_array_equal(both.inputs.images[1].pixels, turned.inputs.images[0].pixels)
    noises = [p.pixels * 255 - t.pixels for p, t in zip(both.inputs, both.targets, strict=True)]
    assert abs(np.corrcoef(noises[0].ravel(), noises[1].ravel())[0, 1]) < 0.05
    stronger = task("denoise-s50").make(part()).inputs.images[0].pixels * 255 - part().images[0].pixels
    assert abs(np.corrcoef(noises[0].ravel(), stronger.ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("name", NAMES)
def test_training_noise_is_fresh_in_every_batch_and_the_same_for_a_seed_and_step(name: str) -> None:
    pairs = task(name).make(part(1, 32))
    source = task(name).patch_source(pairs)
    batches = [source.batch(seed=1, step=step, batch=4, patch=32) for step in (0, 1, 1)]
    for inputs, targets in batches:
        assert inputs.dtype == pairs.inputs.images[0].pixels.dtype
        assert inputs.shape == targets.shape == (4, 32, 32, 3)
    np.testing.assert_array_equal(batches[1][0], batches[2][0])
    upright = [
        [i for i, t in zip(*batch, strict=True) if np.array_equal(t, pairs.targets.images[0].pixels)]
        for batch in (source.batch(seed=s, step=0, batch=40, patch=32) for s in (1, 2))
    ]
    drawn = {patch.tobytes() for patches in upright for patch in patches}
    assert len(drawn) == sum(map(len, upright)) > 2
    assert pairs.inputs.images[0].pixels.tobytes() not in drawn


def test_signal_levels_differ_from_picture_to_picture() -> None:
    errors = []
    for source, target in zip(
        *(lambda p: (p.inputs, p.targets))(task("denoise-signal").make(part(4))), strict=True
    ):
        assert source.pixels.dtype == np.uint8
        errors.append((source.pixels.astype(float) - target.pixels).std())
    assert max(errors) > 1.2 * min(errors)


def save(images: ImageSet, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for image in images:
        PIL.Image.fromarray(image.pixels).save(folder / image.name)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_given_pairs_are_trained_on_and_scored_as_they_are(name: str, tmp_path: Path) -> None:
    clean = part(2)
    noisy = ImageSet("noisy", tuple(Image(i.name, i.pixels[:, ::-1].copy()) for i in clean))
    gt, given = save(clean, tmp_path / "gt"), save(noisy, tmp_path / "noisy")
    for pairs in (task(name).pairs(gt, given), task(name).pairs(tmp_path)):
        assert task(name).degradation(pairs) is None
        inputs, _ = task(name).patch_source(pairs).batch(seed=0, step=0, batch=3, patch=64)
        assert inputs.dtype == np.uint8
        sums = {int(i.pixels.astype(int).sum()) for i in noisy}
        assert {int(patch.astype(int).sum()) for patch in inputs} <= sums
        protocols = {m.protocol for m in baseline_score(name, pairs, ssim=False)}
        assert all(p.endswith(f", given inputs {pairs.inputs.digest}") for p in protocols)


def test_held_out_pairs_stay_given_or_made() -> None:
    pairs = task("denoise").make(part(3))
    for some in (*hold_out(pairs), pairs.pick([0])):
        assert task("denoise").degradation(some) is not None


def test_folders_of_folders_name_the_layouts(tmp_path: Path) -> None:
    save(part(1), tmp_path / "somewhere")
    with pytest.raises(ImageError, match=r"no image in this folder, .*'denoise': expected .*SIDD \(Data/"):
        get_task("denoise").pairs(tmp_path)


def test_a_data_set_of_clean_pictures_gets_noise(tmp_path: Path) -> None:
    save(part(2), tmp_path / "DIV2K_train_HR")
    pairs = task("denoise").pairs(tmp_path, minimum=64)
    assert pairs.digest == task("denoise").make(part(2)).digest
    assert task("denoise").degradation(pairs) is not None
    with pytest.raises(ImageError, match="2 unusable image files"):
        task("denoise").pairs(tmp_path, minimum=65)


def test_a_sigma_of_ones_own() -> None:
    own = Denoise(5, "denoise-s5")
    pairs = own.make(part(1, 128))
    assert (pairs.inputs.images[0].pixels * 255 - pairs.targets.images[0].pixels).std() == pytest.approx(
        5, rel=0.02
    )
    np.testing.assert_array_equal(own.picture(np.full((1, 1, 3), 1.2, np.float32)), np.full((1, 1, 3), 255))


@pytest.mark.parametrize("name", NAMES)
def test_the_default_space_is_for_it(name: str) -> None:
    assert named_space(get_task(name).space).name == "unet"


def test_a_network_that_adds_nothing_scores_as_the_identity() -> None:
    """Inputs go in unclipped and come out in 8 bits, as the trivial method's do."""
    network = build(
        Chain(width=8, blocks=(Block("residual"),), fusion="plain", image_skip="nearest"),
        get_task("denoise").interface,
    )
    for parameter in network.parameters():
        parameter.data.zero_()
    pairs = task("denoise").make(part(1))
    assert score(network, "denoise", pairs) == baseline_score("denoise", pairs)


@pytest.mark.shared
def test_real_noise(shared: Path) -> None:
    """PolyU's 100 pairs: 35.97 dB by its manifest, here against a plain computation."""
    folder = shared / "data/polyu_real_noise"
    by_layout = get_task("denoise-signal").pairs(folder)
    assert len(by_layout) == 100
    given = get_task("denoise-signal").pairs(folder / "gt", folder / "noisy")
    assert given.digest == by_layout.digest
    values = []
    for target in sorted((folder / "gt").iterdir()):
        pictures = (
            np.asarray(PIL.Image.open(p).convert("RGB"), float)
            for p in (target, folder / "noisy" / target.name)
        )
        error = ((next(pictures) - next(pictures)) ** 2).mean()
        values.append(10 * np.log10(255**2 / error))
    psnr = next(m for m in baseline_score("denoise-signal", given, ssim=False) if m.name == "psnr_rgb")
    assert psnr.value == pytest.approx(np.mean(values), abs=1e-6)
    assert psnr.value == pytest.approx(35.97, abs=0.01)

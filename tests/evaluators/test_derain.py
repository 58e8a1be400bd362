"""Deraining: drawn streaks, and pairs of a published set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from evaluators.tasks import get_task
from evaluators.trial import baseline_score


def test_embedded_inputs_are_the_targets_behind_bright_streaks() -> None:
    pairs = get_task("derain").embedded("validation")
    shares = []
    for source, target in zip(pairs.inputs, pairs.targets, strict=True):
        assert source.pixels.dtype == np.uint8
        added = source.pixels.astype(int) - target.pixels
        assert added.min() >= 0
        shares.append((added > 5).any(axis=2).mean())
    assert all(0.02 < share < 0.8 for share in shares)
    assert len(set(shares)) == len(shares)


def test_the_luma_is_scored_first_and_says_what_the_rain_is() -> None:
    task = get_task("derain")
    assert task.objectives[0] == "psnr_y"
    pairs = task.embedded("validation")
    psnr = next(m for m in baseline_score("derain", pairs, ssim=False) if m.name == "psnr_y")
    assert 20 < psnr.value < 36
    assert psnr.protocol == (
        "Y, 8-bit, border 0, on embedded/validation (e7173e0237be), rain streaks leaning up to 35 degrees, 8-bit"
    )


def test_every_batch_has_rain_of_its_own() -> None:
    task = get_task("derain")
    pairs = task.embedded("validation").pick([0])
    (one, clean), (other, _), (again, _) = (
        task.patch_source(pairs).batch(seed=0, step=step, batch=6, patch=48) for step in (3, 4, 3)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert (one >= clean).all()
    assert (one > clean).any(axis=(1, 2, 3)).all()


@pytest.mark.shared
def test_published_pairs(shared: Path) -> None:
    folder = shared / "data/rain_pairs"
    pairs = get_task("derain").pairs(folder)
    assert [image.name for image in pairs.targets] == ["1.jpg", "2.jpg", "3.jpg"]
    assert get_task("derain").pairs(folder / "synthetic").digest == pairs.digest
    assert get_task("derain").degradation(pairs) is None
    values = []
    for n in (1, 2, 3):
        clean, wet = (
            np.asarray(PIL.Image.open(folder / f"synthetic/{n}{kind}.jpg").convert("RGB"), float)
            @ [65.481 / 255, 128.553 / 255, 24.966 / 255]
            for kind in ("ground_truth", "rain")
        )
        values.append(10 * np.log10(255**2 / ((clean - wet) ** 2).mean()))
    psnr = next(m for m in baseline_score("derain", pairs, ssim=False) if m.name == "psnr_y")
    assert psnr.value == pytest.approx(np.mean(values), abs=1e-6)
    # The real thing is as far from its ground truth as our streaks are from theirs.
    ours = next(
        m
        for m in baseline_score("derain", get_task("derain").embedded("train"), ssim=False)
        if m.name == "psnr_y"
    )
    assert abs(ours.value - psnr.value) < 6

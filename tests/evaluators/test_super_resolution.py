"""Super-resolution: LR images that were made here, and others."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from evaluators.data.images import Image, ImageSet
from evaluators.data.pairs import PairSet
from evaluators.tasks import get_task, super_resolution
from evaluators.trial import baseline_score


def test_protocols_name_lr_images_that_are_not_the_bicubic_ones() -> None:
    made = get_task("sr-x2").embedded("test").pick([1])
    (low,) = made.inputs
    same, other = (
        PairSet(ImageSet("LR", (Image("low", pixels),)), made.targets, 2)
        for pixels in (low.pixels.copy(), low.pixels // 2)
    )
    plain, again, named = (
        [m.protocol for m in baseline_score("sr-x2", pairs, ssim=False)] for pairs in (made, same, other)
    )
    assert plain == again
    assert named == [f"{protocol}, given inputs {other.inputs.digest}" for protocol in plain]


def test_inputs_are_compared_with_the_bicubic_ones_once_per_set(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    downscale = super_resolution.downscale

    def counted(pixels: np.ndarray, scale: int) -> np.ndarray:
        calls.append(scale)
        return downscale(pixels, scale)

    monkeypatch.setattr(super_resolution, "_made", {})
    made = get_task("sr-x2").embedded("test").pick([0, 1])
    other = PairSet(ImageSet("LR", tuple(Image(i.name, i.pixels // 2) for i in made.inputs)), made.targets, 2)
    monkeypatch.setattr(super_resolution, "downscale", counted)
    for pairs, most in ((made, 2), (other, 1)):  # the first pair that differs settles it
        calls.clear()
        first = baseline_score("sr-x2", pairs, ssim=False)
        assert len(calls) == most
        fetched = pickle.loads(pickle.dumps(pairs))  # what a worker's next trial gets
        assert baseline_score("sr-x2", fetched, ssim=False) == first
        assert len(calls) == most

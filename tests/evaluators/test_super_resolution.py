"""Super-resolution: LR images that were made here, and others."""

from __future__ import annotations

from evaluators.images import Image, ImageSet
from evaluators.pairs import PairSet
from evaluators.tasks import get_task
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

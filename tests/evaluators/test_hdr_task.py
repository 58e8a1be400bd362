"""The HDR task: scores with their protocols, outputs, pictures, and that networks can learn it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from evaluators.data.images import ImageSet
from evaluators.data.pairs import PairSet
from evaluators.tasks import get_task
from evaluators.training.loop import Training
from evaluators.training.recipe import two_stages
from evaluators.trial import baseline_score, score
from spaces.architecture import Block
from spaces.build import build
from spaces.topologies.hdr import HdrFusion

TASK = get_task("hdr")


@pytest.fixture(scope="module")
def pairs() -> PairSet:
    """The first scene of the embedded test set, cropped."""
    made = TASK.embedded("test")
    inputs, targets = (ImageSet(s.name, (s.images[0].cropped(96, 128),)) for s in (made.inputs, made.targets))
    return PairSet(inputs, targets, 1)


def test_scores_say_what_they_are_of(pairs: PairSet) -> None:
    mu, linear, coded = baseline_score("hdr", pairs)
    assert [m.name for m in (mu, linear, coded)] == ["psnr_mu", "psnr_linear", "psnr_coded"]
    assert TASK.objectives == ("psnr_mu", "psnr_linear")
    assert {(m.unit, m.direction) for m in (mu, linear, coded)} == {("dB", "max")}
    made = f"on embedded/test ({pairs.targets.digest}), 3 exposures 2 EV apart simulated with motion and noise, 8-bit"
    assert mu.protocol == (
        "mu-law 5000 of tanh of light / reference's 99th percentile, gamma 2.24, peak 1, float32, border 0, "
        + made
    )
    assert linear.protocol.startswith(
        "linear light / reference's 99th percentile, gamma 2.24, peak 1, float32"
    )
    assert coded.protocol.startswith("gamma-coded (2.24) / reference's largest, peak 1, float32")
    plain = tuple(type(i)(i.name, i.pixels) for i in pairs.inputs)
    given = PairSet(ImageSet("exposures", plain), pairs.targets, 1)
    assert TASK.measure([TASK.baseline(plain[0].pixels)], given)[0].protocol.endswith(
        f"given exposures {given.inputs.digest}"
    )


def test_scores_are_means_over_images_and_name_what_cannot_be_scored(pairs: PairSet) -> None:
    target = pairs.targets.images[0].pixels
    worse = target * np.float32(1.1)
    two = PairSet(
        ImageSet("two", tuple(type(i)(n, i.pixels) for i in pairs.inputs for n in "ab")),
        ImageSet("two", tuple(type(i)(n, i.pixels) for i in pairs.targets for n in "ab")),
        1,
    )
    each = TASK.per_image([worse, worse * worse], two)
    means = {m.name: m.value for m in TASK.summarise(each, two)}
    assert each["a"]["psnr_mu"] > each["b"]["psnr_mu"]
    for name, mean in means.items():
        assert mean == pytest.approx((each["a"][name] + each["b"][name]) / 2)
    with pytest.raises(ValueError, match="b of two: expected an output of the target's shape"):
        TASK.measure([worse, worse[1:]], two)
    with pytest.raises(ValueError, match="two: expected an output for each image"):
        TASK.measure([worse], two)


def test_outputs_keep_their_precision_and_are_never_negative() -> None:
    output = torch.tensor([-0.25, 0.1234567, 1.5]).reshape(1, 3, 1, 1)
    finished = TASK.finish(output)
    assert finished.dtype == np.float32
    np.testing.assert_array_equal(finished, np.array([[[0, 0.1234567, 1.5]]], np.float32))
    for bad in (float("nan"), float("inf")):
        with pytest.raises(FloatingPointError, match="NaN or infinite"):
            TASK.finish(torch.full((1, 3, 2, 2), bad))


def test_pictures_of_targets_and_inputs_are_alike(pairs: PairSet) -> None:
    source, target = pairs.inputs.images[0].pixels, pairs.targets.images[0].pixels
    shown, seen = TASK.picture(source), TASK.picture(target)
    assert shown.shape == seen.shape == target.shape
    assert shown.dtype == seen.dtype == np.uint8
    assert np.corrcoef(shown.ravel(), seen.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("output", ["sigmoid", "linear", "relu"])
def test_a_network_of_each_output_learns(pairs: PairSet, output: str) -> None:
    torch.manual_seed(0)
    network = build(HdrFusion(width=8, blocks=(Block("residual"),), output=output), TASK.interface)
    assert [m.name for m in score(network, "hdr", pairs)] == ["psnr_mu", "psnr_linear", "psnr_coded"]
    recipe = two_stages(30, losses=TASK.losses, batch=4, patch=32, precision="float32")
    losses = [
        p.loss for p in Training(network, TASK.patch_source(pairs), recipe, seed=0).run(30, report_every=5)
    ]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.shared
def test_the_medium_exposure_of_real_patches(shared: Path) -> None:
    real = TASK.pairs(shared / "data/hdr_ntire_patches")
    values = {m.name: m.value for m in baseline_score("hdr", real)}
    assert values["psnr_mu"] == pytest.approx(21.510, abs=0.002)
    assert values["psnr_linear"] == pytest.approx(20.120, abs=0.002)
    assert values["psnr_coded"] == pytest.approx(22.946, abs=0.002)

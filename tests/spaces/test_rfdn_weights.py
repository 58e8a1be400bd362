"""Our RFDN is the published one: its checkpoint loads strictly and gives the published quality."""

from pathlib import Path

import pytest
import torch

from evaluators.images import read_pairs
from evaluators.metrics import measure
from evaluators.restoration import restore
from spaces.baselines import baseline
from spaces.build import build
from spaces.task import Task

NAMES = {
    "fea_conv.": "head.",
    "B1.": "blocks.0.",
    "B2.": "blocks.1.",
    "B3.": "blocks.2.",
    "B4.": "blocks.3.",
    "c.0.": "fusion.0.",
    "LR_conv.": "trunk_conv.",
    "upsampler.0.": "upsampler.conv.",
}


def ours(name: str) -> str:
    theirs = next(prefix for prefix in NAMES if name.startswith(prefix))
    return NAMES[theirs] + name.removeprefix(theirs)


@pytest.mark.shared
def test_published_checkpoint_gives_the_published_quality_on_set5(shared: Path) -> None:
    published = torch.load(shared / "weights/RFDN_AIM.pth", weights_only=True)
    network = build(baseline("rfdn"), Task("sr-x4", scale=4))
    network.load_state_dict({ours(name): tensor for name, tensor in published.items()}, strict=True)
    targets, inputs = read_pairs(shared / "data/set5/HR", shared / "data/set5/LR_bicubic/X4", scale=4)
    outputs = restore(network, [image.pixels for image in inputs], scale=4)
    found = measure(outputs, [image.pixels for image in targets], border=4, data=targets, ssim=False)
    scores = {measurement.name: measurement.value for measurement in found}
    assert scores["psnr_y"] == pytest.approx(32.1589, abs=0.005)
    assert scores["psnr_rgb"] == pytest.approx(30.2544, abs=0.005)

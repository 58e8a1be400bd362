"""Published networks as architectures of our own space, by name. Torch-free."""

from __future__ import annotations

from spaces.architecture import Architecture, Block
from spaces.chain import Chain
from spaces.registry import UnknownNameError

BASELINES: dict[str, Architecture] = {
    # The baseline of AIM 2020: https://github.com/znsc/MSRResNet
    "msrresnet": Chain(
        width=64,
        blocks=(Block("residual"),) * 16,
        upsampler=Block("pixelshuffle_steps"),
        fusion="plain",
        feature_skip=False,
        image_skip="bilinear",
        head_activation=True,
    ),
    # The winner of AIM 2020: https://github.com/njulj/RFDN
    "rfdn": Chain(width=50, blocks=(Block("rfdb"),) * 4, value_range=255),
}


def baseline(name: str) -> Architecture:
    """The published network of that name.

    Raises: ValueError: for an unknown name; the message suggests the nearest.
    """
    if name not in BASELINES:
        raise UnknownNameError("published network", name, list(BASELINES))
    return BASELINES[name]

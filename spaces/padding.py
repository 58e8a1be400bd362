"""The one place where an input is padded to what a network can take."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from spaces.parts import Network


def pad(network: Network, x: Tensor) -> Tensor:
    """The input with what the network needs added on the right and at the bottom; itself where it fits.

    Args:
        x: (N, C, H, W) in [0, 1].
    """
    height, width = x.shape[-2:]
    to_height, to_width = network.size_requirements.padded(height, width)
    bottom, right = to_height - height, to_width - width
    if not bottom and not right:
        return x
    mode = "reflect" if bottom < height and right < width else "replicate"
    return functional.pad(x, (0, right, 0, bottom), mode=mode)


def run(network: Network, x: Tensor, *, scale: int = 1) -> Tensor:
    """The network's output for an input of any size.

    Pads right and bottom by reflection (by replication where the input is too small to reflect) to the
    network's size requirements and crops the output to ``scale`` times the input. An input that already
    fits passes untouched.

    Args:
        x: (N, C, H, W) in [0, 1].
    """
    height, width = x.shape[-2:]
    return network(pad(network, x))[..., : height * scale, : width * scale]

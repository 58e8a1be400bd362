"""What a network must take and give for a task."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """The interface between a task and the networks built for it.

    Attributes:
        name: E.g. ``sr-x4``.
        scale: Output height over input height.
        in_channels, out_channels: Channels of one input and of the output.
        cost_input: (C, H, W) of the input at which costs are quoted.
        reduction: For rescaling: how much smaller the image in between is; 1 for the other tasks.
    """

    name: str
    scale: int = 1
    in_channels: int = 3
    out_channels: int = 3
    cost_input: tuple[int, int, int] = (3, 256, 256)
    reduction: int = 1


def super_resolution(scale: int) -> Task:
    """Super-resolution by 2, 3 or 4; costs are quoted at an input of 256x256."""
    return Task(f"sr-x{scale}", scale=scale)


def rescaling(scale: int) -> Task:
    """Down-scaling to a storable 8-bit image and back up; costs are of both, for a 256x256 small image."""
    return Task(f"rescale-x{scale}", reduction=scale, cost_input=(3, 256 * scale, 256 * scale))


DENOISE = Task("denoise")
DENOISE_SIGNAL = Task("denoise-signal")
DEBLUR = Task("deblur")
DERAIN = Task("derain")
# Three exposures (short, medium, long), each as the 3 channels taken and the 3 mapped to one coding of light; the
# cost input is that of NTIRE 2022.
HDR = Task("hdr", in_channels=18, cost_input=(18, 1060, 1900))
# Packed Bayer (R, Gr, Gb, B) at half the size; the cost input is a patch of the Zurich RAW to RGB set.
ISP = Task("isp", scale=2, in_channels=4, cost_input=(4, 224, 224))

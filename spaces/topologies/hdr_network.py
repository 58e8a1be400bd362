"""Builds and costs ``spaces.topologies.hdr.HdrFusion``.

"Attention-Guided Network for Ghost-Free High Dynamic Range Imaging", Yan et al., CVPR 2019,
https://arxiv.org/abs/1904.10293; original code https://github.com/qingsenyangit/AHDRNet (no licence file).
Efficient form: "NTIRE 2022 Challenge on High Dynamic Range Imaging: Methods and Results", Pérez-Pellitero et al.,
2022, https://arxiv.org/abs/2205.12633, entry of team ALONG; no code was published.

Deviations: AHDRNet's two attention layers that its code creates but never runs are left out. Of the efficient
form the text gives neither depth, width nor unshuffle factor, and doesn't say which convolutions of the
merging and the reconstruction are separable: here, with ``separable``, all outside the blocks. Where the input is
unshuffled, the last convolution gives unshuffle^2 times the output's channels and a pixel shuffle follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.blocks.rfdb import separable3x3
from spaces.layers.activations import activation
from spaces.layers.attention import convolution3x3
from spaces.parts import Network, Part
from spaces.sizes import SizeRequirements
from spaces.task import HDR, Task
from spaces.topologies.chain_network import start_small
from spaces.topologies.hdr import HdrFusion

FRAMES = 3
GLUE_ACTIVATION = "lrelu0.01"  # torch's default slope, which AHDRNet uses
_CONVOLUTIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "plain": convolution3x3,
    "separable": separable3x3,
}


class FrameGate(nn.Module):
    """A frame's features times a gate, which two 3x3 convolutions make of them and the reference's."""

    def __init__(self, width: int, convolution: Callable[[int, int], nn.Module], name: str):
        super().__init__()
        self.conv1 = convolution(2 * width, 2 * width)
        self.act = activation(name, paper=GLUE_ACTIVATION)
        self.conv2 = convolution(2 * width, width)

    def forward(self, frame: Tensor, reference: Tensor) -> Tensor:
        pair = torch.cat((frame, reference), dim=1)
        return frame * torch.sigmoid(self.conv2(self.act(self.conv1(pair))))


class Alignment(nn.Module):
    """Three frames, stacked along the channels, as merged features and the medium frame's features.

    (N, channels, H, W) gives twice (N, width, H / unshuffle, W / unshuffle). One encoder serves all frames.

    Args:
        channels: Of all frames together.
        gated: The short and the long frame are gated; otherwise the frames are only concatenated.
        convolution: ``plain`` or ``separable``.
        name: Of the activation.
    """

    def __init__(
        self, channels: int, width: int, unshuffle: int, gated: bool, convolution: str, name: str
    ) -> None:
        super().__init__()
        conv = _CONVOLUTIONS[convolution]
        self.size_requirements = SizeRequirements(unshuffle, unshuffle)
        self.unshuffle = nn.PixelUnshuffle(unshuffle)
        self.encoder = conv(channels // FRAMES * unshuffle**2, width)
        self.act = activation(name, paper=GLUE_ACTIVATION)
        if gated:
            self.short_gate = FrameGate(width, conv, name)
            self.long_gate = FrameGate(width, conv, name)
        self.merge = conv(FRAMES * width, width)
        self._gated = gated

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        frames = x.chunk(FRAMES, dim=1)
        short, medium, long = (self.act(self.encoder(self.unshuffle(frame))) for frame in frames)
        if self._gated:
            short, long = self.short_gate(short, medium), self.long_gate(long, medium)
        return self.merge(torch.cat((short, medium, long), dim=1)), medium


class Reconstruction(nn.Module):
    """Features to the output, ``enlarge`` times as high and wide, before the last non-linearity."""

    def __init__(self, width: int, out_channels: int, enlarge: int, double: bool, convolution: str) -> None:
        super().__init__()
        conv = _CONVOLUTIONS[convolution]
        self.conv_up = conv(width, width) if double else nn.Identity()
        self.conv_last = conv(width, out_channels * enlarge**2)
        self.shuffle = nn.PixelShuffle(enlarge)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.conv_last(self.conv_up(x)))


_OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "relu": torch.relu}


def parts(architecture: HdrFusion, task: Task) -> dict[str, Part]:
    """The network's parts by name, in forward order.

    Raises: ValueError: for a task that isn't the merging of three exposures, and as ``spaces.build.build``.
    """
    _check(task)
    a, width = architecture, architecture.width
    conv = _CONVOLUTIONS[a.convolution]
    arguments = (
        task.in_channels,
        width,
        a.unshuffle,
        a.alignment == "attention",
        a.convolution,
        a.activation,
    )
    found = {"alignment": Part(Alignment, arguments, task.in_channels)}
    for i, block in enumerate(a.blocks):
        options = (("activation", a.activation), *block.options)
        found[f"blocks.{i}"] = Part(BLOCKS[block.kind].create, (width,), width, options, a.unshuffle)
    if a.fusion == "concat":
        wide = width * len(a.blocks)
        found["fusion"] = Part(nn.Conv2d, (wide, width, 1), wide, shrink=a.unshuffle)
    found["trunk_conv"] = Part(conv, (width, width), width, shrink=a.unshuffle)
    last = (width, task.out_channels, a.unshuffle, a.reconstruction == "double", a.convolution)
    found["reconstruction"] = Part(Reconstruction, last, width, shrink=a.unshuffle)
    return found


def _check(task: Task) -> None:
    if (task.in_channels, task.scale) != (HDR.in_channels, HDR.scale):
        raise ValueError(
            f"topology 'hdr' expects a task of three exposures ({HDR.in_channels} channels in, scale {HDR.scale}), got "
            f"'{task.name}' ({task.in_channels} channels, scale {task.scale}): use --task {HDR.name}, or a "
            "space of another topology"
        )


def network(architecture: HdrFusion, task: Task) -> Network:
    """A new network with weights from torch's global generator."""
    return HdrNetwork(architecture, task)


class HdrNetwork(Network):
    """The module of an ``HdrFusion``: (N, 18, H, W) as ``spaces.task.HDR`` says, to (N, 3, H, W)."""

    # Where the mapped medium exposure is among the input's channels.
    _MEDIUM = slice(9, 12)
    _LEAST = 1e-3  # the logit of 0 and 1 is infinite

    def __init__(self, architecture: HdrFusion, task: Task):
        super().__init__(parts(architecture, task))
        self._architecture = architecture
        if architecture.image_skip:
            start_small(self.get_submodule("reconstruction"))

    def forward(self, exposures: Tensor) -> Tensor:
        """The HDR image in the mapped exposures' coding; non-negative unless the output is ``linear``."""
        a = self._architecture
        features, reference = self.get_submodule("alignment")(exposures)
        outputs = []
        for block in cast(nn.ModuleList, self.get_submodule("blocks")):
            features = block(features)
            outputs.append(features)
        if a.fusion == "concat":
            features = self.get_submodule("fusion")(torch.cat(outputs, dim=1))
        features = self.get_submodule("trunk_conv")(features)
        if a.reference_skip:
            features = features + reference
        image = self.get_submodule("reconstruction")(features)
        if a.image_skip:
            medium = exposures[:, self._MEDIUM]
            image = image + (torch.logit(medium, eps=self._LEAST) if a.output == "sigmoid" else medium)
        return image if a.output == "linear" else _OUTPUTS[a.output](image)

"""Builds and costs ``spaces.topologies.unet.UNet``.

The two stages follow "HINet: Half Instance Normalization Network for Image Restoration", Chen et al., CVPR
Workshops 2021, https://arxiv.org/abs/2105.06086 (SAM is MPRNet's, https://arxiv.org/abs/2102.02808); original code
https://github.com/megvii-model/HINet (MIT).

Deviations: none for HINet's own settings; every kind of block, resampler and skip is allowed.
"""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from spaces.architecture import Block
from spaces.blocks import BLOCKS
from spaces.cost import resizing_ops
from spaces.parts import Network, Part
from spaces.resamplers import DOWNS, UPS
from spaces.task import Task
from spaces.topologies.chain_network import enlarge, start_small
from spaces.topologies.unet import UNet
from spaces.upsamplers import UPSAMPLERS

FIRST, SECOND = "stage_1", "stage_2"


def parts(architecture: UNet, task: Task) -> dict[str, Part]:
    """The network's parts by name, in forward order.

    Raises: ValueError: for an image skip or two stages where the task's output isn't like its input, or
        for a block that can't change the channels where it has to.
    """
    _check(architecture, task)
    width = architecture.widths[0]
    found = _stage(FIRST, architecture, task)
    if architecture.stages == 2:
        found["sam.features"] = _conv_part(width, width)
        found["sam.image"] = _conv_part(width, task.out_channels)
        found["sam.gate"] = _conv_part(task.out_channels, width)
        found |= _stage(SECOND, architecture, task)
    upsampler = architecture.upsampler
    options = (("activation", architecture.activation), *upsampler.options)
    arguments = (width, task.out_channels, task.scale)
    skips = architecture.image_skip and task.scale > 1
    found["upsampler"] = Part(
        UPSAMPLERS[upsampler.kind].create,
        arguments,
        width,
        options,
        resizing=resizing_ops("bilinear") * task.out_channels * task.scale**2 if skips else 0,
    )
    if architecture.image_skip and _is_bayer(task):
        found["develop"] = Part(Develop, (), 4)
    return found


def _check(architecture: UNet, task: Task) -> None:
    interface = (
        f"task '{task.name}' has scale {task.scale}, {task.in_channels} channels in, {task.out_channels} out"
    )
    alike = task.in_channels == task.out_channels
    if architecture.image_skip and not (alike or _is_bayer(task)):
        raise ValueError(f"'image_skip' needs as many channels out as in, but {interface}: set it to false")
    if architecture.stages == 2 and (task.scale != 1 or not alike):
        raise ValueError(f"2 'stages' need scale 1 and as many channels out as in, but {interface}: use 1")


def _is_bayer(task: Task) -> bool:
    """Whether the input is a packed Bayer mosaic and the output RGB of twice the size."""
    return (task.in_channels, task.out_channels, task.scale) == (4, 3, 2)


class Develop(nn.Module):
    """(N, 4, H, W) packed linear RAW to (N, 3, H, W) sRGB: a colour matrix that is learned, and gamma 1/2.2.

    It starts as daylight white balance with the mean of both greens, so that training starts near the trivial
    pipeline.
    """

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Conv2d(4, 3, 1, bias=False)
        start = torch.tensor([[2.1, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1.7]])
        with torch.no_grad():
            self.matrix.weight.copy_(start.reshape(3, 4, 1, 1))

    def forward(self, raw: Tensor) -> Tensor:
        return self.matrix(raw).clamp_min(1e-3) ** (1 / 2.2)  # at 0 the power has no slope


def _conv_part(in_channels: int, out_channels: int, kernel: int = 3, *, level: int = 0) -> Part:
    options = (("padding", kernel // 2),)
    return Part(nn.Conv2d, (in_channels, out_channels, kernel), in_channels, options, shrink=2**level)


def _stage(stage: str, a: UNet, task: Task) -> dict[str, Part]:
    """The parts of one U-Net, from the image to features at full size."""
    widths, bottom = a.widths, len(a.widths) - 1
    found = {"head": _conv_part(task.in_channels, widths[0])}
    if stage == SECOND:
        found["fusion"] = _conv_part(2 * widths[0], widths[0], 1)
    for level, width in enumerate(widths):
        before = widths[max(level - 1, 0)] if a.entry == "block" else width
        found |= _blocks(f"encoder_{level}", a, a.encoder[level], before, level)
        if level == bottom:
            break
        if stage == SECOND:
            found[f"csff_encoder_{level}"] = _conv_part(width, width, level=level)
            found[f"csff_decoder_{level}"] = _conv_part(width, width, level=level)
        after = width if a.entry == "block" else widths[level + 1]
        found[f"down_{level}"] = Part(
            DOWNS[a.down.kind].create, (width, after), width, a.down.options, shrink=2**level
        )
    for level in reversed(range(bottom)):
        found |= _way_up(a, level)
    return {f"{stage}.{name}": part for name, part in found.items()}


def _way_up(a: UNet, level: int) -> dict[str, Part]:
    """The parts that lead from the next level up to this one."""
    width, below = a.widths[level], a.widths[level + 1]
    create = UPS[a.up.kind].create
    found = {f"up_{level}": Part(create, (below, width), below, a.up.options, shrink=2 ** (level + 1))}
    if a.skip_conv:
        found[f"skip_{level}"] = _conv_part(width, width, level=level)
    joined = 2 * width if a.skip == "concat" else width
    if a.entry == "conv" and joined != width:
        found[f"join_{level}"] = _conv_part(joined, width, 1, level=level)
        joined = width
    return found | _blocks(f"decoder_{level}", a, a.decoder[level], joined, level)


def _blocks(name: str, a: UNet, blocks: tuple[Block, ...], in_channels: int, level: int) -> dict[str, Part]:
    """A level's blocks; with ``entry`` of ``block`` the first takes ``in_channels``."""
    width, found = a.widths[level], {}
    for i, block in enumerate(blocks):
        arguments: tuple[int, ...] = (width,)
        if i == 0 and a.entry == "block":
            _check_changes_channels(block)
            arguments = (width, in_channels)
        options = (("activation", a.activation), *block.options)
        channels = in_channels if i == 0 else width
        found[f"{name}_{i}"] = Part(BLOCKS[block.kind].create, arguments, channels, options, shrink=2**level)
    return found


def _check_changes_channels(block: Block) -> None:
    def able(kind: str) -> bool:
        return "in_channels" in inspect.signature(BLOCKS[kind].target).parameters

    if not able(block.kind):
        kinds = ", ".join(kind for kind in BLOCKS if able(kind))
        raise ValueError(
            f"with 'entry' of 'block' a level starts with a block that can change the channels ({kinds}), "
            f"got '{block.kind}': use another, or 'entry' of 'conv'"
        )


def network(architecture: UNet, task: Task) -> Network:
    """A new network with weights from torch's global generator."""
    return UNetNetwork(architecture, task)


class UNetNetwork(Network):
    """The module of a ``UNet``: (N, C, H, W) in [0, 1] to (N, C', scale*H, scale*W).

    In training mode a network of two stages gives both images, the first stage's and the last one's.
    """

    def __init__(self, architecture: UNet, task: Task):
        super().__init__(parts(architecture, task))
        self._architecture = architecture
        self._scale = task.scale
        if architecture.image_skip:
            start_small(self.get_submodule("upsampler"))
        if architecture.stages == 2:
            start_small(self.get_submodule("sam.image"))

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The restored image, not clamped; two of them in the training of two stages."""
        first = None
        x, encoded, decoded = self._run(FIRST, self.get_submodule(f"{FIRST}.head")(image), None)
        if self._architecture.stages == 2:
            first, attended = self._attend(x, image)
            both = torch.cat((self.get_submodule(f"{SECOND}.head")(image), attended), dim=1)
            fused = self.get_submodule(f"{SECOND}.fusion")(both)
            x, _, _ = self._run(SECOND, fused, (encoded, decoded))
        y = self.get_submodule("upsampler")(x)
        if self._architecture.image_skip:
            skipped = self.get_submodule("develop")(image) if "develop" in self._modules else image
            y = y + enlarge(skipped, self._scale, "bilinear")
        return (first, y) if self.training and first is not None else y

    def _attend(self, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """The first stage's image, and its features weighed by what that image shows (SAM)."""
        restored = self.get_submodule("sam.image")(x) + image
        gate = torch.sigmoid(self.get_submodule("sam.gate")(restored))
        return restored, self.get_submodule("sam.features")(x) * gate + x

    def _run(
        self, stage: str, x: Tensor, earlier: tuple[list[Tensor], list[Tensor]] | None
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """One U-Net: its features, and those of all levels but the last on both ways, from full size down.

        Args:
            earlier: The features of the first stage, which CSFF adds.
        """
        a, of = self._architecture, self.get_submodule(stage)
        bottom = len(a.widths) - 1
        encoded: list[Tensor] = []
        decoded: list[Tensor] = []
        for level in range(bottom):
            x = _through(of, f"encoder_{level}", len(a.encoder[level]), x)
            if earlier is not None:
                x = x + of.get_submodule(f"csff_encoder_{level}")(earlier[0][level])
                x = x + of.get_submodule(f"csff_decoder_{level}")(earlier[1][level])
            encoded.append(x)
            x = of.get_submodule(f"down_{level}")(x)
        x = _through(of, f"encoder_{bottom}", len(a.encoder[bottom]), x)
        for level in reversed(range(bottom)):
            x = of.get_submodule(f"up_{level}")(x)
            x = self._join(of, level, x, encoded[level])
            x = _through(of, f"decoder_{level}", len(a.decoder[level]), x)
            decoded.insert(0, x)
        return x, encoded, decoded

    def _join(self, of: nn.Module, level: int, x: Tensor, skipped: Tensor) -> Tensor:
        """Decoder's features with the encoder's."""
        a = self._architecture
        if a.skip_conv:
            skipped = of.get_submodule(f"skip_{level}")(skipped)
        if a.skip == "add":
            return x + skipped
        x = torch.cat((x, skipped), dim=1)
        return of.get_submodule(f"join_{level}")(x) if a.entry == "conv" else x


def _through(of: nn.Module, name: str, depth: int, x: Tensor) -> Tensor:
    """A level's blocks in a row."""
    for i in range(depth):
        x = of.get_submodule(f"{name}_{i}")(x)
    return x

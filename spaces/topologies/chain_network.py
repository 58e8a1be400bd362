"""Builds and costs ``spaces.topologies.chain.Chain``."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.blocks import BLOCKS
from spaces.cost import resizing_ops
from spaces.layers.activations import activation
from spaces.layers.attention import make_attention
from spaces.layers.blueprint import BlueprintConv2d
from spaces.layers.convolutions import CONVOLUTION_NAMES, make_convolution
from spaces.layers.weight_norm import WeightNormConv2d
from spaces.parts import Network, Part
from spaces.registry import UnknownNameError
from spaces.task import Task
from spaces.topologies.chain import Chain
from spaces.upsamplers import SCALES, UPSAMPLERS

GLUE_ACTIVATION = "lrelu0.05"  # RFDN's, after the fusion
HEAD_ACTIVATION = "lrelu0.1"  # MSRResNet's
BACKWARD_ACTIVATION = "relu"  # LatticeNet's, in the backward fusion
BLUEPRINT_COPIES = 4  # of the input, for a blueprint head: BSRN's
MEAN_COLOUR = (0.4488, 0.4371, 0.4040)  # of DIV2K, as red, green, blue in [0, 1]
CONVOLUTIONS = (*CONVOLUTION_NAMES, "weight_norm", "blueprint", "blueprint_bias")


def convolution3x3(form: str, in_channels: int, out_channels: int, bias: bool = True) -> nn.Module:
    """A new size-keeping 3x3 convolution of one of the chain's forms.

    Raises:
        UnknownNameError: for another form.
        ValueError: for no bias in a form that always has one.
    """
    if form not in CONVOLUTIONS:
        raise UnknownNameError("convolution", form, list(CONVOLUTIONS))
    if not bias and form not in CONVOLUTION_NAMES:
        raise ValueError(
            f"'bias' false needs a 'convolution' of {', '.join(CONVOLUTION_NAMES)}, got '{form}'"
        )
    if form == "weight_norm":
        return WeightNormConv2d(in_channels, out_channels, 3)
    if form.startswith("blueprint"):
        return BlueprintConv2d(in_channels, out_channels, pointwise_bias=form == "blueprint_bias")
    return make_convolution(form, in_channels, out_channels, bias=bias)


class _Repeat(nn.Module):
    """Copies of the input, one behind the other along the channels."""

    def __init__(self, copies: int):
        super().__init__()
        self._copies = copies

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x] * self._copies, dim=1)


def _head(
    in_channels: int, width: int, form: str, layers: int, bias: bool, between: str, after: str
) -> nn.Module:
    """The head's convolutions; an activation is empty for none. A lone convolution isn't wrapped."""
    copies = BLUEPRINT_COPIES if form.startswith("blueprint") else 1
    pieces: list[nn.Module] = [_Repeat(copies)] if copies > 1 else []
    pieces.append(convolution3x3(form, in_channels * copies, width, bias))
    for _ in range(layers - 1):
        if between:
            pieces.append(activation(between, paper=HEAD_ACTIVATION))
        pieces.append(convolution3x3(form, width, width, bias))
    if after:
        pieces.append(activation(after, paper=HEAD_ACTIVATION))
    return pieces[0] if len(pieces) == 1 else nn.Sequential(*pieces)


def _concat_fusion(in_channels: int, width: int, act: str) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, width, 1), activation(act, paper=GLUE_ACTIVATION))


class _BackwardFusion(nn.Module):
    """LatticeNet's: from the last of the concatenated maps to the first, halves meet by 1x1 convolutions."""

    def __init__(self, width: int, maps: int, act: str):
        super().__init__()
        half = width // 2
        self.fused = nn.ModuleList(nn.Conv2d(width, width - half, 1) for _ in range(maps - 1))
        self.earlier = nn.ModuleList(nn.Conv2d(width, half, 1) for _ in range(maps - 1))
        self.act = activation(act, paper=BACKWARD_ACTIVATION)

    def forward(self, x: Tensor) -> Tensor:
        widths = [cast(nn.Conv2d, layer).in_channels for layer in reversed(self.earlier)]
        *maps, fused = torch.split(x, [*widths, x.shape[1] - sum(widths)], dim=1)
        for of_fused, of_earlier, earlier in zip(self.fused, self.earlier, reversed(maps), strict=True):
            fused = torch.cat((self.act(of_fused(fused)), self.act(of_earlier(earlier))), dim=1)
        return fused


def _pointwise(in_channels: int, out_channels: int, bias: bool) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, 1, bias=bias)


def _near(in_channels: int, scale: int) -> nn.Module:
    """SPANF's: each channel's scale^2 maps, which start as copies of it; shuffled, they are the image enlarged."""
    near = nn.Conv2d(in_channels, in_channels * scale**2, 3, padding=1, groups=in_channels, bias=False)
    with torch.no_grad():
        near.weight.zero_()
        near.weight[:, :, 1, 1] = 1
    return near


def _mean_shift(value_range: int, sign: int) -> nn.Module:
    """A 1x1 convolution that starts by adding ``sign`` times the mean colour."""
    shift = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        shift.weight.copy_(torch.eye(3).reshape(3, 3, 1, 1))
        assert shift.bias is not None
        shift.bias.copy_(sign * value_range * torch.tensor(MEAN_COLOUR))
    return shift


def _check(architecture: Chain, task: Task) -> None:
    """Nothing, if the architecture can serve the task.

    Raises: ValueError: else.
    """
    ins, outs = task.in_channels, task.out_channels
    if architecture.image_skip != "none" and ins != outs:
        raise ValueError(
            f"task '{task.name}' has {ins} input and {outs} output channels, so the input can't be added to the "
            f"output: 'image_skip' is none there, got '{architecture.image_skip}'"
        )
    if architecture.mean_shift and (ins, outs) != (3, 3):
        raise ValueError(f"'mean_shift' is for RGB input and output, got {ins} and {outs} channels")
    if architecture.centred and ins != 3:
        raise ValueError(f"'centred' is for RGB input, got {ins} channels")
    last = architecture.blocks[-1].kind
    if _selects(architecture) and "inner" in architecture.taps and not _has_inner(last):
        able = ", ".join(kind for kind in BLOCKS if _has_inner(kind))
        raise ValueError(f"'taps' with inner needs a last block of kind {able}, got '{last}'")
    if task.scale * architecture.unshuffle not in SCALES:
        raise ValueError(
            f"scale {task.scale} of task '{task.name}' times 'unshuffle' {architecture.unshuffle} is "
            f"{task.scale * architecture.unshuffle}: an upsampler enlarges by {', '.join(map(str, SCALES))}. "
            "Choose a smaller 'unshuffle'."
        )


def _selects(architecture: Chain) -> bool:
    return architecture.fusion in ("select", "stack")


def _has_inner(kind: str) -> bool:
    return getattr(BLOCKS[kind].target, "has_inner", False)


def parts(architecture: Chain, task: Task) -> dict[str, Part]:
    """The network's parts by name, in forward order.

    Raises: ValueError: for an image skip or mean shift that the task's channels don't allow, or an
        ``unshuffle`` that asks more of the upsampler than it can; as ``spaces.build.build`` else.
    """
    _check(architecture, task)
    found = _trunk(architecture, task.in_channels * architecture.unshuffle**2, task.scale)
    width = architecture.tail_width or architecture.width
    if architecture.fusion == "stack":
        width = _selected_channels(architecture, task.in_channels * architecture.unshuffle**2, task.scale)
    upsampler = architecture.upsampler
    options = (("activation", architecture.activation), *upsampler.options)
    arguments = (width, task.out_channels, task.scale * architecture.unshuffle)
    create = UPSAMPLERS[upsampler.kind].create
    resizing = resizing_ops(architecture.image_skip) * task.out_channels if task.scale > 1 else 0
    found["upsampler"] = Part(
        create,
        arguments,
        width,
        options,
        shrink=architecture.unshuffle,
        resizing=resizing * (task.scale * architecture.unshuffle) ** 2,
    )
    if architecture.mean_shift:
        value_range = architecture.value_range
        found = {"mean_in": Part(_mean_shift, (value_range, -1), 3)} | found
        found["mean_out"] = Part(_mean_shift, (value_range, 1), 3, enlarge=task.scale)
    return found


def _selected_channels(architecture: Chain, in_channels: int, scale: int) -> int:
    """Of all maps that ``select`` or ``stack`` concatenates."""
    near = in_channels * scale**2
    return sum(near if tap == "near" else architecture.width for tap in architecture.taps)


def _trunk(architecture: Chain, in_channels: int, scale: int) -> dict[str, Part]:
    """From the head to the trunk's convolution: all at 1/unshuffle of the input's height and width."""
    a, width, shrink = architecture, architecture.width, architecture.unshuffle
    between = a.activation if a.head_between else ""
    after = a.activation if a.head_activation else ""
    head = (in_channels, width, a.convolution, a.head_layers, a.bias, between, after)
    found = {"head": Part(_head, head, in_channels, shrink=shrink)}
    for i, block in enumerate(a.blocks):
        options = (("activation", a.activation), *block.options)
        found[f"blocks.{i}"] = Part(BLOCKS[block.kind].create, (width,), width, options, shrink=shrink)
        if a.attention != "paper":
            found[f"gates.{i}"] = Part(make_attention, (a.attention, width), width, shrink=shrink)
    return found | _fusion(a, in_channels, scale)


def _fusion(a: Chain, in_channels: int, scale: int) -> dict[str, Part]:
    """What joins the blocks' outputs, and the feature skip's convolution."""
    found, width, shrink = {}, a.width, a.unshuffle
    wide = width * len(a.blocks)
    if a.fusion == "concat":
        found["fusion"] = Part(_concat_fusion, (wide, width, a.activation), wide, shrink=shrink)
    if a.fusion == "backward" and len(a.blocks) > 1:
        found["fusion"] = Part(_BackwardFusion, (width, len(a.blocks), a.activation), wide, shrink=shrink)
    if a.fusion == "pairs":
        for i in range(len(a.blocks) - 1):
            found[f"pairs.{i}"] = Part(_pointwise, (2 * width, width, a.bias), 2 * width, shrink=shrink)
    if a.feature_skip and a.trunk_convolution:
        form = (a.convolution, width, width, a.bias) if a.trunk_kernel == 3 else (width, width, a.bias)
        create = convolution3x3 if a.trunk_kernel == 3 else _pointwise
        found["trunk_conv"] = Part(create, form, width, shrink=shrink)
    if _selects(a) and "near" in a.taps:
        found["near"] = Part(_near, (in_channels, scale), in_channels, shrink=shrink)
    if a.fusion == "select":
        wide = _selected_channels(a, in_channels, scale)
        found["fusion"] = Part(_pointwise, (wide, a.tail_width or width, a.bias), wide, shrink=shrink)
    return found


def network(architecture: Chain, task: Task) -> Network:
    """A new network with weights from torch's global generator."""
    return ChainNetwork(architecture, task)


class ChainNetwork(Network):
    """The module of a ``Chain``: (N, C, H, W) in [0, 1] to (N, C', scale*H, scale*W).

    H and W are multiples of the architecture's ``unshuffle``.
    """

    unprunable = ("mean_in",)  # colours
    mean: Tensor  # only where the architecture is centred

    def __init__(self, architecture: Chain, task: Task):
        super().__init__(parts(architecture, task))
        self._architecture = architecture
        self._scale = task.scale
        if architecture.centred:
            mean = torch.tensor(MEAN_COLOUR).reshape(1, -1, 1, 1)
            self.register_buffer("mean", mean, persistent=False)
        if architecture.image_skip != "none":
            start_small(self.get_submodule("upsampler"))

    def forward(self, image: Tensor) -> Tensor:
        """The restored image, not clamped."""
        a = self._architecture
        x = image - self.mean if a.centred else image
        x = x * a.value_range if a.value_range != 1 else x
        if a.mean_shift:
            x = self.get_submodule("mean_in")(x)
        if a.unshuffle != 1:
            x = functional.pixel_unshuffle(x, a.unshuffle)
        y = self.get_submodule("upsampler")(self._features(x))
        if a.mean_shift:
            y = self.get_submodule("mean_out")(y)
        if a.value_range != 1 and not a.centred:
            y = y / a.value_range
        if a.image_skip != "none":
            y = y + enlarge(image, self._scale, a.image_skip)
        return y

    def _features(self, x: Tensor) -> Tensor:
        """What the trunk makes of the (unshuffled) input."""
        a = self._architecture
        head = self.get_submodule("head")(x)
        outputs, inner = self._blocks(head)
        features = outputs[-1]
        if _selects(a):
            if "trunk_conv" in self._modules:
                features = self.get_submodule("trunk_conv")(features)
            maps = {"head": head, "first": outputs[0], "last": features, "inner": inner}
            if "near" in self._modules:
                maps["near"] = self.get_submodule("near")(x)
            selected = torch.cat([cast(Tensor, maps[tap]) for tap in a.taps], dim=1)
            return self.get_submodule("fusion")(selected) if a.fusion == "select" else selected
        if a.fusion == "pairs" and len(outputs) > 1:
            features = self._pair(-1, outputs[len(outputs) // 2 - 1], features)
        if "fusion" in self._modules:
            features = self.get_submodule("fusion")(torch.cat(outputs, dim=1))
        if "trunk_conv" in self._modules:
            features = self.get_submodule("trunk_conv")(features)
        return features + head if a.feature_skip else features

    def _blocks(self, features: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """The blocks' outputs, and the last one's inner map if it is to be concatenated."""
        a = self._architecture
        outputs: list[Tensor] = []
        inner = None
        blocks = cast(nn.ModuleList, self.get_submodule("blocks"))
        for i, block in enumerate(blocks):
            if a.fusion == "pairs" and i >= 2:
                features = self._pair(i - 2, outputs[-2], outputs[-1])
            if _selects(a) and "inner" in a.taps and i == len(blocks) - 1:
                features, inner = block(features, inner=True)
            else:
                features = block(features)
            if a.attention != "paper":
                features = self.get_submodule(f"gates.{i}")(features)
            outputs.append(features)
        return outputs, inner

    def _pair(self, number: int, first: Tensor, second: Tensor) -> Tensor:
        return cast(nn.ModuleList, self.get_submodule("pairs"))[number](torch.cat((first, second), dim=1))


@torch.no_grad()
def start_small(upsampler: nn.Module) -> None:
    """Scale the initial weights of the last convolution by 0.1, so that the network starts near its image skip.

    An upsampler whose output is a sum of several convolutions names them in ``last``.
    Measured on the embedded photographs, 400 steps: +0.1 dB for RFDB and residual chains.
    """
    layers = [m for m in upsampler.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    names = getattr(upsampler, "last", ())
    for layer in [upsampler.get_submodule(name) for name in names] or layers[-1:]:
        for parameter in layer.parameters():
            parameter.mul_(0.1)


def enlarge(image: Tensor, scale: int, mode: str) -> Tensor:
    """The image ``scale`` times larger by ``nearest``, or by ``bilinear`` or ``bicubic`` (half-pixel centres)."""
    if scale == 1:
        return image
    if mode == "nearest":
        return functional.interpolate(image, scale_factor=float(scale), mode="nearest")
    if mode == "bicubic":  # by size: torch.export refuses the factor
        size = (scale * image.shape[-2], scale * image.shape[-1])
        return functional.interpolate(image, size=size, mode=mode, align_corners=False)
    return functional.interpolate(image, scale_factor=float(scale), mode=mode, align_corners=False)

"""Builds and costs ``spaces.topologies.rescaler.Rescaler``."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.layers.activations import activation
from spaces.parts import Network, Part
from spaces.sizes import SizeRequirements
from spaces.task import Task, super_resolution
from spaces.topologies import chain_network
from spaces.topologies.chain_network import ChainNetwork
from spaces.topologies.rescaler import Rescaler

DOWN_ACTIVATION = "lrelu0.2"  # IRN's
_LEVELS = 255


def round_to_8_bits(x: Tensor) -> Tensor:
    """[0, 1] rounded to multiples of 1/255, halves up as MATLAB does; the gradient passes as if it weren't."""
    rounded = torch.floor(x * _LEVELS + 0.5) / _LEVELS
    return rounded.detach() + (x - x.detach())  # exactly on the grid: the second term is 0


class BicubicDown(nn.Module):
    """MATLAB's antialiased bicubic down-scaling as two fixed strided convolutions: (N, C, H, W) to (N, C, H/s, W/s).

    The values of ``evaluators.degradations.bicubic.downscale``, but for its rounding to 8 bits between the two passes
    and at the end: they differ by less than 1.5 levels of 255. There is nothing to train; the convolutions are
    counted.

    Args:
        channels: C.
        scale: s, 2 to 4. H and W are multiples of it.
    """

    def __init__(self, channels: int, scale: int):
        super().__init__()
        taps = _kernel(scale)
        self._channels = channels
        self._scale = scale
        self._pad = (len(taps) - scale) // 2
        kernel = torch.tensor(taps).expand(channels, 1, 1, -1).contiguous()
        self.register_buffer("kernel", kernel, persistent=False)
        least = -(-self._pad // scale) * scale
        self.size_requirements = SizeRequirements(minimum=least, multiple_of=scale)

    def forward(self, x: Tensor) -> Tensor:
        """Not clamped: bicubic overshoots [0, 1]."""
        kernel = self.get_buffer("kernel")
        with _without_autocast(x.device.type):
            rows = _mirrored(x.to(kernel.dtype), self._pad, 2)
            small = functional.conv2d(
                rows, kernel.transpose(2, 3), stride=(self._scale, 1), groups=self._channels
            )
            columns = _mirrored(small.clamp(0, 1), self._pad, 3)  # MATLAB clips between the passes, too
            return functional.conv2d(columns, kernel, stride=(1, self._scale), groups=self._channels)


def _without_autocast(device: str) -> AbstractContextManager[None]:
    """Convolutions in float32: in bfloat16, which training may run in, the result would be off by a level."""
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)


def _kernel(scale: int) -> list[float]:
    """Keys' kernel with a = -0.5, widened by the scale, at the pixels around an output pixel; sums to 1."""
    reach = 2 * scale
    # An output pixel lies in the middle of scale input pixels.
    offsets = [i + (0.5 if scale % 2 == 0 else 0) for i in range(-reach, reach + 1)]
    values = [_keys(abs(offset) / scale) for offset in offsets if abs(offset) < reach]
    return [value / sum(values) for value in values]


def _keys(x: float) -> float:
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2


def _mirrored(x: Tensor, pad: int, axis: int) -> Tensor:
    """The map with ``pad`` more pixels at both ends of an axis, mirrored with the edge itself repeated."""
    first, last = x.narrow(axis, 0, pad), x.narrow(axis, x.shape[axis] - pad, pad)
    return torch.cat((first.flip(axis), x, last.flip(axis)), dim=axis)


class LearnedDown(nn.Module):
    """What is added to the bicubic small image: (N, C, H, W) to (N, C, H/scale, W/scale) in [-1, 1].

    Convolutions on the image's pixels in groups of scale^2 as channels. The last starts at a tenth of torch's
    default, so that training starts near the bicubic image.
    """

    def __init__(self, channels: int, width: int, depth: int, scale: int, act: str):
        super().__init__()
        self._scale = scale
        ins = (channels * scale**2, *(width for _ in range(depth - 1)))
        self.hidden = nn.ModuleList(nn.Conv2d(wide, width, 3, padding=1) for wide in ins)
        self.act = activation(act, paper=DOWN_ACTIVATION)
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        with torch.no_grad():
            for parameter in self.last.parameters():
                parameter.mul_(0.1)
        self.size_requirements = SizeRequirements(minimum=scale, multiple_of=scale)

    def forward(self, x: Tensor) -> Tensor:
        """In units of the bound."""
        x = functional.pixel_unshuffle(x, self._scale)
        for layer in self.hidden:
            x = self.act(layer(x))
        return torch.tanh(self.last(x))


def _up_task(task: Task) -> Task:
    """The task of the chain.

    Raises: ValueError: if the task stores no small image.
    """
    if task.reduction == 1:
        raise ValueError(
            f"task '{task.name}' stores no small image in between, so a rescaler can't serve it: "
            "use a rescale task, or another space"
        )
    return super_resolution(task.reduction)


def parts(architecture: Rescaler, task: Task) -> dict[str, Part]:
    """The network's parts by name, in forward order.

    Raises: ValueError: for a task that isn't rescaling, or as ``spaces.topologies.chain_network.parts``.
    """
    a, scale = architecture, task.reduction
    up = chain_network.parts(a, _up_task(task))
    return _down(a, task) | {name: replace(part, shrink=part.shrink * scale) for name, part in up.items()}


def _down(architecture: Rescaler, task: Task) -> dict[str, Part]:
    a, channels, scale = architecture, task.in_channels, task.reduction
    return {
        "bicubic": Part(BicubicDown, (channels, scale), channels),
        "down": Part(LearnedDown, (channels, a.down_width, a.down_depth, scale, a.activation), channels),
    }


def network(architecture: Rescaler, task: Task) -> Network:
    """A new network with weights from torch's global generator."""
    return RescalerNetwork(architecture, task)


class RescalerNetwork(ChainNetwork):
    """The module of a ``Rescaler``: (N, C, H, W) in [0, 1] to the same shape, by way of an 8-bit image.

    H and W are multiples of ``reduction``.
    """

    def __init__(self, architecture: Rescaler, task: Task):
        super().__init__(architecture, _up_task(task))
        self.reduction = task.reduction
        self._bound = architecture.bound / _LEVELS
        for name, part in _down(architecture, task).items():
            self.add_module(name, part.build())
        needs = SizeRequirements()
        for name, part in parts(architecture, task).items():
            needs = needs & part.needs(self.get_submodule(name))
        self.size_requirements = needs

    def downscale(self, image: Tensor) -> Tensor:
        """The small image, (N, C, H/reduction, W/reduction), in multiples of 1/255 of [0, 1].

        No value is further than the bound from the rounded bicubic image; gradients pass the rounding.
        """
        return round_to_8_bits(self._small(image))

    def distance_to_tie(self, image: Tensor) -> Tensor:
        """How far the small image's value that is nearest to changing its rounding is from that, in levels: (N,).

        From 0 to 0.5. Below about 1e-4 another order of additions may give another small image.
        """
        levels = self._small(image).flatten(1) * _LEVELS
        return (levels - levels.floor() - 0.5).abs().amin(1)

    def _small(self, image: Tensor) -> Tensor:
        """The small image before it is rounded."""
        added = self.get_submodule("down")(image) * self._bound
        return (self.get_submodule("bicubic")(image) + added).clamp(0, 1)

    def upscale(self, small: Tensor) -> Tensor:
        """The image back from the small one, not clamped."""
        return super().forward(small)

    def forward(self, image: Tensor) -> Tensor:
        """The image after both, not clamped."""
        return self.upscale(self.downscale(image))

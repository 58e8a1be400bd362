"""Runs a network window by window where some of its operations look at the whole picture.

Channel attention takes means over all pixels, instance normalisation their variance too, and enhanced spatial attention
stretches a small map over the whole. Each such operation is a stage: what it needs is gathered from all windows first,
every pixel counted once, and then it is answered from that. So a picture in windows comes out as in one piece, for
one more pass up to each such operation. Operations are recognised as they run, so no block has code for this; what
isn't recognised (attention between channels) shows when ``evaluators.inference.tiling`` compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from spaces.parts import Network


class Box(NamedTuple):
    """Rows from ``top`` to before ``bottom``, columns from ``left`` to before ``right``."""

    top: int
    bottom: int
    left: int
    right: int

    def times(self, factor: Fraction | int) -> Box:
        """The same in a map that many times as large."""
        return Box(*(int(side * factor) for side in self))

    def within(self, outer: Box) -> Box:
        """The same, counted from the outer box's corner."""
        return Box(
            self.top - outer.top, self.bottom - outer.top, self.left - outer.left, self.right - outer.left
        )

    def cut(self, x: Tensor) -> Tensor:
        """This part of (N, C, H, W)."""
        return x[..., self.top : self.bottom, self.left : self.right]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left


class Frame(NamedTuple):
    """One window of a picture.

    Attributes:
        size: (height, width) of the whole picture, padded to what the network takes.
        window: What of it the network is given.
        core: What of that belongs to no other window.
    """

    size: tuple[int, int]
    window: Box
    core: Box


class _Call(NamedTuple):
    """An operation that may look at the whole picture: what it got, and how large its output is."""

    kind: str
    x: Tensor
    out: tuple[int, int]


class _Reached(Exception):  # noqa: N818  (no error: a pass ends here)
    def __init__(self, call: _Call):
        super().__init__(call)
        self.call = call


class _Moments:
    """Mean and variance of each channel over all pixels, and what operations make of them."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0

    def add(self, call: _Call, frame: Frame) -> None:
        factor = Fraction(call.x.shape[-2], frame.window.size[0])
        own = frame.core.within(frame.window).times(factor).cut(call.x).double()
        self._count += own.shape[-2] * own.shape[-1]
        self._sum = self._sum + own.sum((2, 3), keepdim=True)
        self._squares = self._squares + own.square().sum((2, 3), keepdim=True)

    def answer(self, call: _Call, arguments: dict[str, Any], frame: Frame) -> Tensor:
        mean = torch.as_tensor(self._sum / self._count)
        variance = (torch.as_tensor(self._squares / self._count) - mean.square()).clamp_min(0)
        mean, variance = mean.to(call.x), variance.to(call.x)
        if call.kind == "instance_norm":
            weight, bias, eps = (arguments.get(name) for name in ("weight", "bias", "eps"))
            return functional.batch_norm(
                call.x, mean.flatten(), variance.flatten(), weight, bias, False, 0.0, eps or 1e-5
            )
        if call.kind == "std":
            correction = arguments.get("correction", 1)
            found = (variance * (self._count / (self._count - correction))).sqrt()
        else:
            found = mean
        return found if arguments.get("keepdim") or call.kind == "pool" else found.flatten(1)


class _Map:
    """A small map over the whole picture, which is stretched to its size.

    Args:
        stride: Pixels of the stretched map for one of the small one, apart from the borders.
    """

    def __init__(self, stride: int):
        self._stride = stride
        self._whole: Tensor | None = None
        self._parts: list[tuple[Tensor, Box]] = []

    def add(self, call: _Call, frame: Frame) -> None:
        factor = Fraction(call.out[0], frame.window.size[0])
        window, core = frame.window.times(factor), frame.core.times(factor)
        last = [
            end == whole for end, whole in zip((frame.core.bottom, frame.core.right), frame.size, strict=True)
        ]
        height, width = call.x.shape[-2:]
        top, left = window.top // self._stride, window.left // self._stride
        box = Box(
            core.top // self._stride,
            top + height if last[0] else core.bottom // self._stride,
            core.left // self._stride,
            left + width if last[1] else core.right // self._stride,
        )
        # A core near the end may begin behind the small map's last pixel, which covers more than its own.
        box = Box(box.top, min(box.bottom, top + height), box.left, min(box.right, left + width))
        if box.bottom > box.top and box.right > box.left:
            self._parts.append((box.within(Box(top, 0, left, 0)).cut(call.x), box))

    def answer(self, call: _Call, arguments: dict[str, Any], frame: Frame) -> Tensor:
        if self._whole is None:
            self._whole = self._joined()
        factor = Fraction(call.out[0], frame.window.size[0])
        window = frame.window.times(factor)
        size = [int(side * factor) for side in frame.size]
        mode = arguments.get("mode", "nearest")
        rows = _samples(window.top, window.bottom, size[0], self._whole.shape[-2], mode)
        columns = _samples(window.left, window.right, size[1], self._whole.shape[-1], mode)
        return _taken(_taken(self._whole, rows, 2), columns, 3)

    def _joined(self) -> Tensor:
        first = self._parts[0][0]
        height, width = max(b.bottom for _, b in self._parts), max(b.right for _, b in self._parts)
        whole = first.new_empty(*first.shape[:2], height, width)
        for part, box in self._parts:
            box.cut(whole).copy_(part)
        self._parts = []
        return whole


def _samples(start: int, stop: int, size: int, small: int, mode: str) -> tuple[Tensor, Tensor, Tensor]:
    """For pixels of a map of ``size`` stretched from ``small``: two source pixels, and the second one's share."""
    at = torch.arange(start, stop, dtype=torch.float32)
    if mode == "nearest":
        first = (at * torch.tensor(small / size, dtype=torch.float32)).floor().long().clamp_max(small - 1)
        return first, first, torch.zeros_like(at)
    source = ((at + 0.5) * torch.tensor(small / size, dtype=torch.float32) - 0.5).clamp_min(0)
    first = source.floor().long().clamp_max(small - 1)
    return first, (first + 1).clamp_max(small - 1), source - first


def _taken(x: Tensor, samples: tuple[Tensor, Tensor, Tensor], axis: int) -> Tensor:
    first, second, share = (part.to(x.device) for part in samples)
    share = share.view(-1, 1) if axis == 2 else share
    return x.index_select(axis, first) * (1 - share) + x.index_select(axis, second) * share


Summary = _Moments | _Map | None  # None: the operation turned out to look at its neighbourhood only


class _Watch(TorchFunctionMode):
    """Hands over each operation that may look at the whole picture, with its number, and takes an answer for it.

    Several moments of one tensor, one after the other, have one number.
    """

    def __init__(self, on_call: Callable[[int, _Call, dict[str, Any]], Tensor | None]):
        super().__init__()
        self._on_call = on_call
        self._count = 0
        self._last: _Call | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        arguments = kwargs or {}
        call = _recognised(func, args, arguments)
        found = None
        if call is not None:
            last = self._last
            if last is None or call.x is not last.x or "map" in (call.kind, last.kind):
                self._count += 1
            self._last = call
            found = self._on_call(self._count - 1, call, arguments)
        return func(*args, **arguments) if found is None else found


def _recognised(func: Any, args: tuple[Any, ...], arguments: dict[str, Any]) -> _Call | None:
    x = args[0] if args else None
    if not isinstance(x, Tensor) or x.dim() != 4:
        return None
    if func in (Tensor.mean, torch.mean, Tensor.std, torch.std):
        axes = args[1] if len(args) > 1 else arguments.get("dim")
        if isinstance(axes, tuple | list) and sorted(axis % 4 for axis in axes) == [2, 3]:
            return _Call("mean" if func in (Tensor.mean, torch.mean) else "std", x, (1, 1))
    if func is functional.adaptive_avg_pool2d and args[1] in (1, (1, 1)):
        return _Call("pool", x, (1, 1))
    if func is functional.instance_norm and arguments.get("use_input_stats", True):
        return _Call("instance_norm", x, (x.shape[-2], x.shape[-1]))
    size = arguments.get("size")
    if (
        func is functional.interpolate
        and size is not None
        and arguments.get("mode") in ("nearest", "bilinear")
    ):
        return _Call("map", x, (int(size[0]), int(size[1])))
    return None


@dataclass(frozen=True)
class Operation:
    """One that looks at the whole picture, or may.

    Attributes:
        stride: For a map that is stretched: pixels of the stretched one per pixel of it; 0 where it is only
            enlarged by a whole number, and for other operations.
        period: The same in pixels of the network's input.
    """

    kind: str
    stride: int = 0
    period: int = 1

    def summary(self) -> Summary:
        """A new one, to be added to."""
        if self.kind != "map":
            return _Moments()
        return _Map(self.stride) if self.stride else None


def find_operations(network: Network, channels: int, side: int, more: int) -> tuple[Operation, ...] | None:
    """The operations in the order in which they run; None where a small map's position can't be told.

    Args:
        side: Height and width of an input that the network takes.
        more: How much higher a second one is, from which strides are told.
    """
    low, high = (_calls(network, channels, height, side) for height in (side, side + more))
    found = []
    for small, large in zip(low, high, strict=True):
        kind, x, out = small
        if kind != "map" or all(
            o % s == 0 and o // s == out[0] // x[0] for o, s in zip(large[2], large[1], strict=True)
        ):
            found.append(Operation(kind))
            continue
        stride = Fraction(large[2][0] - out[0], max(1, large[1][0] - x[0]))
        period = stride * side / out[0]
        if stride.denominator != 1 or period.denominator != 1:
            return None
        found.append(Operation(kind, int(stride), int(period)))
    return tuple(found)


@torch.inference_mode()
def _calls(
    network: Network, channels: int, height: int, width: int
) -> list[tuple[str, tuple[int, int], tuple[int, int]]]:
    """Kind, input's and output's size of each."""
    found: dict[int, tuple[str, tuple[int, int], tuple[int, int]]] = {}

    def note(index: int, call: _Call, _: dict[str, Any]) -> None:
        found[index] = (call.kind, (call.x.shape[-2], call.x.shape[-1]), call.out)

    device = next((p.device for p in network.parameters()), None)
    with _Watch(note):
        network(torch.zeros(1, channels, height, width, device=device))
    return list(found.values())


def run_known(network: Network, x: Tensor, frame: Frame, known: Sequence[Summary]) -> Tensor:
    """The network's output for a window, with what is known of the whole picture."""

    def answer(index: int, call: _Call, arguments: dict[str, Any]) -> Tensor | None:
        if index >= len(known):
            raise _Reached(call)
        summary = known[index]
        return None if summary is None else summary.answer(call, arguments, frame)

    with _Watch(answer):
        return network(x)


def next_call(network: Network, x: Tensor, frame: Frame, known: Sequence[Summary]) -> _Call:
    """The first operation that isn't known, at which the pass ends."""
    try:
        run_known(network, x, frame, known)
    except _Reached as reached:
        return reached.call
    raise AssertionError("the network has no further operation")


def gather(
    network: Network,
    windows: Callable[[], Iterable[tuple[Tensor, Frame]]],
    operations: Sequence[Operation],
    advance: Callable[[Box], None],
) -> list[Summary]:
    """What there is to know of the whole picture.

    Args:
        windows: A new pass over all windows of the picture.
        advance: Is told the core of each window that is done with.
    """
    known: list[Summary] = []
    for operation in operations:
        summary = operation.summary()
        if summary is not None:
            for x, frame in windows():
                summary.add(next_call(network, x, frame, known), frame)
                advance(frame.core)
        known.append(summary)
    return known

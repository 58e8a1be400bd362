"""Runs networks on pictures that are too large for memory, in overlapping tiles.

A tile's output equals that of the whole picture where the overlap is as wide as the network's reach, where tiles begin
at multiples of its strides, and where operations that look at the whole picture are told of it
(``evaluators.inference.whole_picture``). All three are found by running the network, and then it is tried: whether a
picture in two tiles comes out as in one. A network for which it doesn't (some ONNX files, attention between channels)
is tiled all the same, and ``Survey.exact`` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import ceil, lcm
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from evaluators.data.images import orientations
from evaluators.data.tensors import to_tensor
from evaluators.inference.ensemble import turned_back
from evaluators.inference.restoration import full_float32
from evaluators.inference.whole_picture import (
    Box,
    Frame,
    Operation,
    Summary,
    find_operations,
    gather,
    next_call,
    run_known,
)
from evaluators.measure.runtime import peak_memory, reset_peak
from spaces.padding import pad
from spaces.parts import Network
from spaces.task import Task

SAME = 1e-5  # largest difference of values in [0, 1] that counts as none: a level of 16 bits is 1.5e-5
DEFAULT_OVERLAP = 32  # where the reach is no help, because tiles differ from the whole anyway
_LENGTHS = (128, 384, 1024)  # of the strips that the reach is looked for on
_THICKNESS = 32
_SLOWER = 96  # of two strips, from which strides are told: a multiple of the usual ones
_STRIDES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_PRIME = 11  # tiles that begin at so many periods begin at no multiple of a longer one
_SMALL, _LARGE = 512, 1024  # sides: never cut, and of the largest tiles that are made unasked
_PROBED = 256

Advance = Callable[[Box], None]


@dataclass(frozen=True)
class Survey:
    """How a network can be tiled.

    Attributes:
        overlap: Pixels of input around a tile's own part, so that its own part's output is right.
        period: Tiles begin at multiples of this.
        operations: Those that look at the whole picture.
        exact: Tiles were seen to give what the whole picture gives.
    """

    overlap: int
    period: int
    operations: tuple[Operation, ...] = ()
    exact: bool = True

    @property
    def passes(self) -> int:
        """Over the picture, the last of them for the output."""
        return 1 + sum(operation.summary() is not None for operation in self.operations)


@torch.inference_mode()
def survey(network: Network, channels: int, *, device: str = "cpu", quick: bool = False) -> Survey:
    """How the network, which is on the device, can be tiled.

    Args:
        channels: Of its input.
        quick: Don't run it several times for operations that look at the whole picture: ``exact`` is False for
            networks that have them.
    """
    network.eval()
    probe = _Probe(network, channels, device)
    fixed = getattr(network, "fixed_size", None)
    if fixed:
        return Survey(min(DEFAULT_OVERLAP, min(fixed) // 4), 1, exact=False)
    step = network.size_requirements.multiple_of
    operations = probe.operations()
    if operations is not None and not (quick and any(o.summary() is not None for o in operations)):
        reach = probe.reach(operations)
        periods = [lcm(step, *(o.period for o in operations))] if operations else [s * step for s in _STRIDES]
        for period in periods if reach is not None else ():
            assert reach is not None
            found = Survey(_up(reach + period - 1, period), period, operations)
            if probe.agrees(found):
                return found
    return Survey(_up(DEFAULT_OVERLAP, step), step, exact=False)


def fixed_sizes(networks: Sequence[Network]) -> list[tuple[int, int]]:
    """(height, width) of the networks that take only that, as some ONNX files do."""
    return [size for network in networks if (size := getattr(network, "fixed_size", None))]


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


class _Probe:
    """Runs a network on strips of smooth noise: plain noise is no picture, and some networks answer it with 1e21."""

    def __init__(self, network: Network, channels: int, device: str):
        self._network, self._channels, self._device = network, channels, device
        self._random = torch.Generator().manual_seed(0)
        self._torch = any(True for _ in network.parameters())
        self._thickness, _ = network.size_requirements.padded(_THICKNESS, _THICKNESS)

    def operations(self) -> tuple[Operation, ...] | None:
        if not self._torch:
            return ()
        step = self._network.size_requirements.multiple_of
        side, _ = self._network.size_requirements.padded(2 * _THICKNESS, 2 * _THICKNESS)
        return find_operations(self._network, self._channels, side, _SLOWER * step)

    def _strip(self, length: int, axis: int) -> Tensor:
        length, _ = self._network.size_requirements.padded(length, length)
        size = (self._thickness, length) if axis == 3 else (length, self._thickness)
        coarse = torch.rand(1, self._channels, *(side // 8 + 1 for side in size), generator=self._random)
        smooth = functional.interpolate(coarse, size=size, mode="bicubic", align_corners=False)
        return smooth.clamp(0, 1).to(self._device)

    def reach(self, operations: Sequence[Operation]) -> int | None:
        """Pixels, in the worst direction; None if it is more than half the longest strip."""
        # NaN goes wherever a value can go, and through masks too: for attention in shifted windows, and for runtimes
        # of ONNX files, which lose it, other values are tried.
        tries = [(float("nan"), length) for length in _LENGTHS[:2] if self._torch]
        for fill, length in (*tries, *((None, length) for length in _LENGTHS)):
            found = [self._reach(operations, length, axis, fill) for axis in (3, 2)]
            if None not in found:
                return max(side for side in found if side is not None)
        return None

    def _reach(
        self, operations: Sequence[Operation], length: int, axis: int, fill: float | None
    ) -> int | None:
        strip = self._strip(length, axis)
        size = (strip.shape[-2], strip.shape[-1])
        whole = Box(0, size[0], 0, size[1])
        frame = Frame(size, whole, whole)
        known = gather(self._network, lambda: [(strip, frame)], operations, lambda _: None)
        half = strip.shape[axis] // 2
        worst = 0
        for first in (True, False):
            other = strip.clone()
            side = other.narrow(axis, 0 if first else half, half if first else strip.shape[axis] - half)
            side.copy_(torch.full_like(side, fill) if fill is not None else 1 - side)
            # What is gathered reaches as far as any output, or, for small maps, further.
            ends = [len(known), *(i for i, o in enumerate(operations) if o.stride)]
            for end in ends:
                clean, dirty = (self._until(x, frame, known, end) for x in (strip, other))
                found = _spread(clean, dirty, axis, first, half, size[axis - 2])
                if found is None:
                    return None
                worst = max(worst, found)
        return worst

    def _until(self, x: Tensor, frame: Frame, known: Sequence[Summary], end: int) -> Tensor:
        """The output, or what the operation with this number gets."""
        if end == len(known):
            return run_known(self._network, x, frame, known)
        return next_call(self._network, x, frame, known[:end]).x

    def agrees(self, found: Survey) -> bool:
        """Whether a strip in two tiles comes out as in one piece."""
        for axis in (3, 2):
            cut = _PRIME * found.period + found.overlap
            strip = self._strip(2 * cut + _THICKNESS, axis)
            height, width = strip.shape[-2:]
            boxes = (
                [Box(0, height, 0, cut), Box(0, height, cut, width)]
                if axis == 3
                else [Box(0, cut, 0, width), Box(cut, height, 0, width)]
            )
            pixels = strip[0].permute(1, 2, 0).contiguous().cpu().numpy()
            view = _View(self._network, pixels, 0, found, self._device)
            whole = self._network(strip)
            view.look(boxes, lambda _: None)
            for box in boxes:
                tile, scale = view.output(box), whole.shape[-1] // width
                if not float((tile - box.times(scale).cut(whole)).abs().max()) <= SAME:
                    return False
        return True


def _spread(clean: Tensor, dirty: Tensor, axis: int, first: bool, half: int, length: int) -> int | None:
    """How many pixels of the input away from the changed half something differs; None if it does to the end."""
    same = ~((dirty - clean).abs() > 1e-6) & ~dirty.isnan()
    line = same.all(dim=1).all(dim=4 - axis).flatten()  # along the axis
    if not first:
        line, half = line.flip(0), length - half
    untouched = int(line.flip(0).long().cumprod(0).sum())
    return max(0, ceil((len(line) - untouched) * Fraction(length, len(line)) - half)) if untouched else None


class _View:
    """A network and one flip or rotation of a picture.

    Args:
        pixels: (H, W, C) of the upright picture.
    """

    def __init__(self, network: Network, pixels: np.ndarray, turn: int, found: Survey, device: str):
        self._network, self._turn, self._survey, self._device = network, turn, found, device
        self._upright = pixels.shape[:2]
        self._pixels = orientations(pixels)[turn]
        self.size = (self._pixels.shape[0], self._pixels.shape[1])
        self._whole = network.size_requirements.padded(*self.size)
        self._known: list[Summary] = []

    def look(self, cores: Sequence[Box], advance: Advance) -> None:
        """Gather what is to be known of the whole picture; cores are in the turned picture, aligned."""
        self._known = gather(self._network, lambda: map(self._frame, cores), self._survey.operations, advance)

    def _frame(self, core: Box) -> tuple[Tensor, Frame]:
        """The window around a core, padded to what the network takes, and where it is."""
        period, overlap = self._survey.period, self._survey.overlap
        spans: list[int] = []
        for start, stop, size in ((*core[:2], self.size[0]), (*core[2:], self.size[1])):
            spans += [max(0, start - overlap) // period * period, min(size, _up(stop + overlap, period))]
        window = Box(*spans)
        pixels = self._pixels[window.top : window.bottom, window.left : window.right]
        x = pad(self._network, to_tensor(pixels[None], self._device))
        padded = Box(window.top, window.top + x.shape[-2], window.left, window.left + x.shape[-1])
        ends = [
            whole if end == size else end
            for end, size, whole in zip((core.bottom, core.right), self.size, self._whole, strict=True)
        ]
        return x, Frame(self._whole, padded, Box(core.top, ends[0], core.left, ends[1]))

    def output(self, core: Box) -> Tensor:
        """The upright output of a core of the upright picture."""
        turned = _turned(core, self._upright, self._turn)
        x, frame = self._frame(turned)
        found = run_known(self._network, x, frame, self._known) if self._known else self._network(x)
        scale = found.shape[-1] // x.shape[-1]
        return turned_back(turned.within(frame.window).times(scale).cut(found), self._turn)


def _turned(box: Box, size: tuple[int, int], turn: int) -> Box:
    """Where ``evaluators.inference.ensemble.turned`` puts a part of a (height, width) picture."""
    height, width = size
    if turn >= 4:
        box = box._replace(left=width - box.right, right=width - box.left)
    for _ in range(turn % 4):
        box = Box(width - box.right, width - box.left, box.top, box.bottom)
        height, width = width, height
    return box


def cut(size: tuple[int, int], side: int, step: int) -> list[Box]:
    """Parts of a (height, width) picture in reading order, at most ``side`` wide, about equal, at multiples of step."""

    def spans(length: int) -> list[tuple[int, int]]:
        each = _up(ceil(length / max(1, ceil(length / max(side // step * step, step)))), step)
        return list(pairwise([*range(0, length, each), length]))

    return [Box(*rows, *columns) for rows in spans(size[0]) for columns in spans(size[1])]


class Tiler:
    """Mean outputs of networks, and of the flips and rotations of a picture, tile by tile.

    Args:
        surveys: Of each network.
        turns: 1, or 8 for all flips and rotations.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        surveys: Sequence[Survey],
        *,
        turns: int = 1,
        device: str = "cpu",
        overlap: int | None = None,
    ):
        self._networks = [network.to(device).eval() for network in networks]
        self._surveys = surveys
        self._turns, self._device = turns, device
        self.period = lcm(*(found.period for found in surveys))
        needed = max(found.overlap for found in surveys)
        self.overlap = _up(needed if overlap is None else overlap, self.period)
        self.exact = all(found.exact for found in surveys) and self.overlap >= needed
        self.views = turns * len(surveys)
        self.passes = turns * sum(found.passes for found in surveys)
        self._fixed = fixed_sizes(networks)

    def side(self, wanted: int) -> int:
        """A tile's side: what is wanted, or what a network takes.

        Raises: ValueError: if the overlap leaves nothing of it.
        """
        least = 3 * max(self.overlap, self.period)  # below, most of the work is overlap
        side = min([wanted, *(min(size) for size in self._fixed)])
        if side < least:
            raise ValueError(
                f"--tile {side}: tiles overlap by {self.overlap} pixels on each side, so that {least} is the least: "
                "give that or more, or a smaller --overlap if the result needn't be that of the whole picture"
            )
        return side

    def outputs(
        self, pixels: np.ndarray, tile: int | None, advance: Advance = lambda _: None
    ) -> Iterator[tuple[Box, Tensor]]:
        """Each part of the picture with its (1, C, h, w) output.

        Args:
            pixels: (H, W, C) uint8, uint16 or float32.
            tile: Height and width of what a network is given at a time; None for the whole picture.
            advance: Is told each part that one network has seen once; ``passes`` times in all.
        """
        size = (pixels.shape[0], pixels.shape[1])
        views = [
            _View(network, pixels, turn, replace(found, overlap=self.overlap), self._device)
            for network, found in zip(self._networks, self._surveys, strict=True)
            for turn in range(self._turns)
        ]
        side = max(size) if tile is None else tile - 2 * self.overlap
        with torch.inference_mode(), full_float32(self._device):
            if tile is None:
                yield Box(0, size[0], 0, size[1]), self._mean(views, Box(0, size[0], 0, size[1]), advance)
                return
            for view in views:
                view.look(cut(view.size, side, self.period), advance)
            for core in cut(size, side, self.period):
                yield core, self._mean(views, core, advance)

    def _mean(self, views: Sequence[_View], core: Box, advance: Advance) -> Tensor:
        total: Tensor | None = None
        for view in views:
            output = view.output(core)
            total = output if total is None else total + output
            advance(core)
        assert total is not None
        return total if len(views) == 1 else total / len(views)


def choose_tile(
    networks: Sequence[Network], task: Task, size: tuple[int, int], device: str = "cpu"
) -> int | None:
    """The side of the tiles that a (height, width) picture is to be cut into; None if it fits into memory whole.

    Whole is what takes at most half of the memory that is free. A pass over a small tile tells what a pixel takes.
    """
    if fixed := fixed_sizes(networks):
        least = min(map(min, fixed))
        return least if max(size) > least else None
    if max(size) <= _SMALL:
        return None
    each = max(_bytes_per_pixel(network, task.in_channels, device) for network in networks)
    output = task.scale**2 * task.out_channels * 4  # while it is averaged
    room = _free_bytes(device) / 2
    if size[0] * size[1] * (each + output) <= room:
        return None
    return max(_SMALL, min(_LARGE, int((room / (each + output)) ** 0.5)))


def _bytes_per_pixel(network: Network, channels: int, device: str) -> float:
    """Of input, at the peak of a pass."""
    side, _ = network.size_requirements.padded(_PROBED, _PROBED)
    with torch.inference_mode():
        network = network.to(device).eval()
        network(torch.zeros(1, channels, side // 2, side // 2, device=device))  # libraries make their tables
        x = torch.zeros(1, channels, side, side, device=device)
        if torch.device(device).type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            network(x)
            return (torch.cuda.max_memory_allocated(device) - before) / side**2
        before = reset_peak()
        network(x)
        return max(0, peak_memory()[0] - before) / side**2


def _free_bytes(device: str) -> int:
    """Memory that may be taken; 2 GiB where the system doesn't tell."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), flags=re.MULTILINE)
        free = [int(found[1]) * 1024] if found else []
    except OSError:
        free = []
    with suppress(OSError, ValueError):  # what a container may have
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        free.append(limit - used)
    return min(free, default=2 << 30)

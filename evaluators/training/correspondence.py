"""Which channels of one part stand for which of another that differs in width.

Two channels correspond where they touch the same tensors in the same way and have the same rank among those that do. So
a narrow block has the *first* channels of a wide one in each of its roles: of an IMDB's first convolution the first
distilled and the first remaining ones, of a fused concatenation the first of each map. The roles are read off the
operations that run (``evaluators.channels.flow``), and no block has code for it. The part's own input and output
channels correspond by their index, whatever the part: that is what lets parts of different kinds follow each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from evaluators.channels.groups import Channels
from spaces.architecture import Architecture
from spaces.build import parts
from spaces.parts import Network, Part
from spaces.task import Task
from spaces.topologies.chain import Chain

NONE = -1


@dataclass(frozen=True)
class Piece:
    """A part of a network, and of how many maps of equal width its input is a concatenation."""

    part: Part
    maps: int = 1


def pieces(architecture: Architecture, task: Task) -> dict[str, Piece]:
    """The architecture's parts by name."""
    maps = len(architecture.blocks) if isinstance(architecture, Chain) else 1
    return {n: Piece(p, maps if n == "fusion" else 1) for n, p in parts(architecture, task).items()}


Sources = dict[str, tuple[np.ndarray, ...]]


@lru_cache(maxsize=16384)
def sources(piece: Piece, other: Piece) -> Sources:
    """By tensor and dimension: for each index the corresponding one of the other piece, or ``NONE``.

    Only tensors that both have, with as many dimensions. Not to be changed.
    """
    ours, theirs = _roles(piece), _roles(other)
    channel = {
        mine: match
        for role, channels in ours.by_role.items()
        for mine, match in zip(channels, theirs.by_role.get(role, ()), strict=False)
    }
    found = {}
    for name, axes in ours.places.items():
        others = theirs.places.get(name, ())
        if len(others) == len(axes):
            pairs = zip(axes, others, strict=True)
            found[name] = tuple(_indices(mine, match, channel) for mine, match in pairs)
    return found


def completed(source: np.ndarray, available: int) -> np.ndarray:
    """The source with the lowest of ``available`` indices that it doesn't have where it says ``NONE``.

    Needed where a narrow part has a channel in a role that the wide one hasn't, such as the odd one out of a Ghost
    module of odd width.
    """
    free = np.setdiff1d(np.arange(available), source)
    found = source.copy()
    found[source == NONE] = free[: (source == NONE).sum()]
    return found


@dataclass(frozen=True)
class _Roles:
    """A piece's channels in their order by what they touch: (tensor, dimension) of each place."""

    places: dict[str, tuple[np.ndarray, ...]]
    by_role: dict[tuple[tuple[str, int], ...], list[int]]


@lru_cache(maxsize=16384)
def _roles(piece: Piece) -> _Roles:
    with torch.device("meta"):
        network = _Alone(piece)
    channels = Channels.trace(network, piece.part.channels)
    places = {name.removeprefix("part."): axes for name, axes in channels.places().items()}
    touched: dict[int, list[tuple[str, int]]] = {}
    for name, axes in places.items():
        for axis, numbers in enumerate(axes):
            for number in numbers:
                touched.setdefault(int(number), []).append((name, axis))
    by_role: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for number, role in touched.items():  # in the order of the first place, then of its index
        by_role.setdefault(tuple(role), []).append(number)
    return _Roles({n: a for n, a in places.items() if not n.startswith("stems.")}, by_role)


class _Alone(Network):
    """A network of one part. Where that concatenates maps, each has a layer that makes it, as a block would be."""

    def __init__(self, piece: Piece):
        super().__init__({"part": replace(piece.part, shrink=1, enlarge=1)})
        width = piece.part.channels // piece.maps
        stems = piece.maps if piece.maps > 1 else 0
        self.stems = nn.ModuleList(nn.Conv2d(piece.part.channels, width, 1) for _ in range(stems))

    def forward(self, x: Tensor) -> Tensor:
        if self.stems:
            x = torch.cat([stem(x) for stem in self.stems], dim=1)
        return self.get_submodule("part")(x)


def _indices(ours: np.ndarray, theirs: np.ndarray, channel: dict[int, int]) -> np.ndarray:
    """For each index of a dimension the other's; a channel with several takes them in order."""
    left: dict[int, Iterator[int]] = {
        number: iter(np.flatnonzero(theirs == number).tolist()) for number in set(theirs.tolist())
    }
    return np.array([next(left.get(channel.get(int(n), NONE), iter(())), NONE) for n in ours], dtype=np.int64)

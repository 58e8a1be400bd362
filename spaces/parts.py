"""Parts: the pieces that a network is built from and whose costs add up to its cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd
from typing import Any

import torch
from torch import nn

from spaces.cost import Cost, count
from spaces.layers.convolutions import merge
from spaces.sizes import SizeRequirements


@dataclass(frozen=True)
class Part:
    """One piece of a network, as data: how to build it and what it takes.

    Attributes:
        create: Makes the module.
        arguments: Positional arguments of ``create``.
        channels: Channels of its input.
        options: Keyword arguments of ``create``.
        resizing: What fvcore charges per pixel of its input map for a resizing beside it, an image skip's.
        shrink, enlarge: Its input map is ``enlarge / shrink`` times as high and wide as the network's input.
    """

    create: Callable[..., nn.Module]
    arguments: tuple[Any, ...]
    channels: int
    options: tuple[tuple[str, Any], ...] = ()
    shrink: int = 1
    enlarge: int = 1
    resizing: int = 0

    def build(self) -> nn.Module:
        """A new module."""
        return self.create(*self.arguments, **dict(self.options))

    def map_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of its input map, for a network input of (height, width) that fits."""
        return height * self.enlarge // self.shrink, width * self.enlarge // self.shrink

    def needs(self, module: nn.Module) -> SizeRequirements:
        """What its module's own requirements, and whole numbers of pixels, ask of the network's input."""
        own = size_requirements(module)
        step = self.shrink * own.multiple_of
        return SizeRequirements(
            minimum=-(-own.minimum * self.shrink // self.enlarge), multiple_of=step // gcd(step, self.enlarge)
        )


@lru_cache(maxsize=65536)
def part_on_meta(part: Part) -> nn.Module:
    """The part's module on the meta device, in its merged form: shapes without memory; built once."""
    with torch.device("meta"):
        return merge(part.build())


@lru_cache(maxsize=65536)
def part_cost(part: Part, height: int, width: int) -> Cost:
    """Cost of one forward pass of the part on a (height, width) map; traced once, then remembered.

    Without a resizing beside it: see ``cost_with_resizing``.
    """
    return count(part_on_meta(part), torch.empty(1, part.channels, height, width, device="meta"))


def cost_with_resizing(part: Part, height: int, width: int) -> Cost:
    """``part_cost`` and what fvcore charges for a resizing beside the part."""
    if not part.resizing:
        return part_cost(part, height, width)
    cost = part_cost(replace(part, resizing=0), height, width)
    return replace(cost, fvcore_ops=cost.fvcore_ops + part.resizing * height * width)


def size_requirements(module: nn.Module) -> SizeRequirements:
    """What a module's parts need together: every submodule may state its own ``size_requirements``."""
    needs = SizeRequirements()
    for part in module.modules():
        own = getattr(part, "size_requirements", None)
        if isinstance(own, SizeRequirements):
            needs = needs & own
    return needs


@lru_cache(maxsize=65536)
def part_sizes(part: Part) -> SizeRequirements:
    """What the part needs of the size of the network's input."""
    return part.needs(part_on_meta(part))


@lru_cache(maxsize=65536)
def fitting_cost(part: Part, height: int, width: int) -> Cost | None:
    """Cost of the part in a network whose input is (height, width); None where the part can't take that."""
    if part_sizes(part).padded(height, width) != (height, width):
        return None
    return cost_with_resizing(part, *part.map_size(height, width))


class Network(nn.Module):
    """Base of the topologies' networks: takes and gives (N, C, H, W) in [0, 1].

    ``size_requirements`` holds what the input's height and width must satisfy. ``forward`` doesn't pad:
    the caller pads once (``spaces.padding.run``) and crops the output.
    """

    size_requirements = SizeRequirements()

    def __init__(self, parts: Mapping[str, Part]):
        super().__init__()
        needs = SizeRequirements()
        for name, part in parts.items():
            parent, _, leaf = name.rpartition(".")
            owner = self._child(parent) if parent else self
            module = part.build()
            owner.add_module(leaf, module)
            needs = needs & part.needs(module)
        self.size_requirements = needs

    def _child(self, name: str) -> nn.Module:
        if name not in self._modules:
            self.add_module(name, nn.ModuleList())
        return self.get_submodule(name)

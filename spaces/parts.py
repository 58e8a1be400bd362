"""Parts: the pieces that a network is built from and whose costs add up to its cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from spaces.cost import Cost, count
from spaces.sizes import SizeRequirements


@dataclass(frozen=True)
class Part:
    """One piece of a network, as data: how to build it and what it takes.

    Attributes:
        create: Makes the module.
        arguments: Positional arguments of ``create``.
        channels: Channels of its input.
        options: Keyword arguments of ``create``.
    """

    create: Callable[..., nn.Module]
    arguments: tuple[Any, ...]
    channels: int
    options: tuple[tuple[str, Any], ...] = ()

    def build(self) -> nn.Module:
        """A new module."""
        return self.create(*self.arguments, **dict(self.options))


@lru_cache(maxsize=65536)
def part_on_meta(part: Part) -> nn.Module:
    """The part's module on the meta device: shapes without memory; built once, then remembered."""
    with torch.device("meta"):
        return part.build()


@lru_cache(maxsize=65536)
def part_cost(part: Part, height: int, width: int) -> Cost:
    """Cost of one forward pass of the part on a (height, width) map; traced once, then remembered."""
    return count(part_on_meta(part), torch.empty(1, part.channels, height, width, device="meta"))


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
    """What the part needs of its input's size."""
    return size_requirements(part_on_meta(part))


class Network(nn.Module):
    """Base of the topologies' networks: takes and gives (N, C, H, W) in [0, 1].

    ``size_requirements`` holds what the input's height and width must satisfy. ``forward`` doesn't pad:
    the caller pads once (``spaces.padding.run``) and crops the output.
    """

    size_requirements = SizeRequirements()

    def __init__(self, parts: Mapping[str, Part]):
        super().__init__()
        for name, part in parts.items():
            parent, _, leaf = name.rpartition(".")
            owner = self._child(parent) if parent else self
            owner.add_module(leaf, part.build())
        self.size_requirements = size_requirements(self)

    def _child(self, name: str) -> nn.Module:
        if name not in self._modules:
            self.add_module(name, nn.ModuleList())
        return self.get_submodule(name)

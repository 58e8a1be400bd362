"""A weight-sharing supernet: all chains of a space in one set of tensors.

"Once-for-All", Cai et al., ICLR 2020, https://arxiv.org/abs/1908.09791; "BigNAS", Yu et al., ECCV 2020,
https://arxiv.org/abs/2003.11142; "Slimmable Neural Networks", Yu et al., ICLR 2019, https://arxiv.org/abs/1812.08928;
no code of theirs was used. ``evaluators.supernet.training`` trains it.

At each position every kind of block has tensors of its own, at the space's largest width. A narrower sub-network uses
the first channels of them in each of their roles (``evaluators.training.correspondence``), a shallower one the first
blocks. Deviations: what joins the blocks' outputs has tensors of its own for each depth, as its inputs aren't the
same; so have parts whose wiring differs otherwise, the upsampler for instance with and without an image skip.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from evaluators.training.correspondence import Piece, completed, pieces, sources
from spaces.architecture import Architecture
from spaces.build import build, parts
from spaces.parts import Network, Part
from spaces.space import Space
from spaces.task import Task
from spaces.topologies.chain import Chain
from spaces.topologies.chain_network import start_small

MOST_WIRINGS = 20_000
_Key = tuple[str, Part, bool]
Slices = tuple[Tensor | int | None, ...]  # per dimension: indices, the first so many, or all


class Supernet(Network):
    """All chains of a space; new tensors come from torch's global generator.

    ``forward`` takes the architecture beside the image: (N, C, H, W) in [0, 1] to (N, C', scale*H, scale*W).

    Raises: ValueError: for a space of another topology or of more wirings than a supernet holds, or a block that is
        larger at a narrower width.
    """

    def __init__(self, space: Space, task: Task):
        self.space, self.task = space, task
        layout = _layout(space, task)
        super().__init__(layout.distinct)
        for (name, _, skip), place in layout.places.items():
            if name == "upsampler" and skip:
                start_small(self.get_submodule(place))

    def forward(self, image: Tensor, architecture: Architecture) -> Tensor:
        """What the sub-network makes of an image; gradients go to the shared tensors."""
        skeleton = _skeleton(architecture, self.task).train(self.training)
        return functional_call(skeleton, self.tensors(architecture), (image,))

    def tensors(self, architecture: Architecture) -> dict[str, Tensor]:
        """The sub-network's parameters and buffers by name: parts of the shared ones, not copies where possible.

        Raises: ValueError: for an architecture that isn't of the space.
        """
        layout = _layout(self.space, self.task)
        chain = self._checked(architecture, layout.width)
        wide = pieces(replace(chain, width=layout.width), self.task)
        found: dict[str, Tensor] = {}
        for name, piece in pieces(chain, self.task).items():
            key = _key(name, wide[name].part, chain)
            if key not in layout.places:
                raise ValueError(
                    f"expected a chain of space '{self.space.name}', got {chain.label}, whose '{name}' no chain of "
                    "that space has; make the supernet of a space that holds it"
                )
            shared = self.get_submodule(layout.places[key])
            slices = _slices(piece, wide[name])
            for tensor_name, tensor in (*shared.named_parameters(), *shared.named_buffers()):
                found[f"{name}.{tensor_name}"] = _cut(tensor, slices[tensor_name])
        return found

    @torch.no_grad()
    def extract(self, architecture: Architecture) -> Network:
        """The sub-network as a network of its own, in evaluation mode, on the supernet's device.

        Raises: ValueError: for an architecture that isn't of the space.
        """
        found = self.tensors(architecture)
        network = build(architecture, self.task).to(next(self.parameters()).device).eval()
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            tensor.copy_(found[name])
        return network

    def _checked(self, architecture: Architecture, width: int) -> Chain:
        if not isinstance(architecture, Chain) or architecture.width > width:
            raise ValueError(
                f"expected a chain of space '{self.space.name}', at most {width} channels wide, got "
                f"{architecture.label}"
            )
        return architecture


@dataclass(frozen=True)
class _Layout:
    """Which tensors are where.

    Attributes:
        distinct: The supernet's parts by place.
        places: The place of each part that some chain has at the largest width.
    """

    width: int
    distinct: dict[str, Part]
    places: dict[_Key, str]


@lru_cache(maxsize=64)
def _layout(space: Space, task: Task) -> _Layout:
    distinct: dict[str, Part] = {}
    places: dict[_Key, str] = {}
    width = 0
    for chain in _wirings(space):
        width = chain.width
        for name, part in parts(chain, task).items():
            key = _key(name, part, chain)
            if key not in places:
                _check_widths(name, part, chain, space, task)
                places[key] = f"{name.replace('.', '_')}:{len(places)}"  # a dot would make lists of them
                distinct[places[key]] = part
    return _Layout(width, distinct, places)


def _wirings(space: Space) -> Iterator[Chain]:
    """Chains that have every part of the space at its largest width: each kind at all positions, in each wiring."""
    if space.topology != "chain":
        raise ValueError(
            f"expected a space of chains, got '{space.name}' of {space.topology}; a supernet is "
            "for chains only"
        )
    positions = [c for c in space if c.name == "block" or c.name.startswith("block_")]
    others = [c for c in space if c not in positions and c.name != "width"]
    kinds = positions[0].values
    count = len(kinds)
    for choice in others:
        count *= len(choice.values)
    if count > MOST_WIRINGS:
        raise ValueError(
            f"space '{space.name}' wires {len(kinds)} kinds of blocks in {count // len(kinds)} ways, and a supernet "
            f"holds at most {MOST_WIRINGS} pairs of both: give shorter lists of activations, gates, convolutions, ..."
        )
    width = max(space.by_name["width"].values)
    for kind, *values in product(kinds, *(c.values for c in others)):
        genes = dict(zip((c.name for c in others), values, strict=True)) | {"width": width}
        yield cast(Chain, space.decode(genes | {c.name: kind for c in positions}))


def _check_widths(name: str, wide: Part, chain: Chain, space: Space, task: Task) -> None:
    """Nothing, if the part is at no width larger in any dimension than at the largest one.

    Raises: ValueError: else, as for attention whose number of heads depends on the width's divisors.
    """
    sizes = dict(_shapes(wide))
    for width in space.by_name["width"].values:
        assert isinstance(width, int)
        for tensor, shape in _shapes(parts(replace(chain, width=width), task)[name]):
            if any(n > most for n, most in zip(shape, sizes[tensor], strict=True)):
                raise ValueError(
                    f"'{name}.{tensor}' of {chain.label} is of {shape} at width {width}, more than the "
                    f"{sizes[tensor]} at width {chain.width} that it has to be a part of; leave out that width or block"
                )


def _key(name: str, part: Part, chain: Chain) -> _Key:
    """What has to be equal for two chains to share a part's tensors."""
    return name, part, name == "upsampler" and chain.image_skip != "none"


@lru_cache(maxsize=16384)
def _slices(narrow: Piece, wide: Piece) -> dict[str, Slices]:
    """Of each of the wide piece's tensors what the narrow one's is."""
    shapes = dict(_shapes(wide.part))
    return {
        name: tuple(
            _simplest(completed(source, size), size) for source, size in zip(axes, shapes[name], strict=True)
        )
        for name, axes in sources(narrow, wide).items()
    }


@lru_cache(maxsize=16384)
def _shapes(part: Part) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Of its parameters and buffers, by name."""
    with torch.device("meta"):
        module = part.build()
    return tuple((name, tuple(t.shape)) for name, t in (*module.named_parameters(), *module.named_buffers()))


def _simplest(indices: np.ndarray, size: int) -> Tensor | int | None:
    if not np.array_equal(indices, np.arange(len(indices))):
        return torch.from_numpy(indices)
    return None if len(indices) == size else len(indices)


def _cut(tensor: Tensor, slices: Slices) -> Tensor:
    for axis, wanted in enumerate(slices):
        if isinstance(wanted, Tensor):
            tensor = tensor.index_select(axis, wanted.to(tensor.device))
        elif wanted is not None:
            tensor = tensor.narrow(axis, 0, wanted)
    return tensor


@lru_cache(maxsize=1024)
def _skeleton(architecture: Architecture, task: Task) -> Network:
    """The network without memory for its tensors."""
    with torch.device("meta"):
        return build(architecture, task)

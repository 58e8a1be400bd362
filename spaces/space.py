"""Search spaces: a fixed, flat tuple of named choices and their decoding to architectures.

Flat, because samplers that breed (NSGA-II, NSGA-III) work on parameters that all parents have: genes that
don't matter for a genotype are sampled all the same and dropped by ``decode``, so equal networks share a
digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

from spaces.architecture import DIGEST_LENGTH, Architecture, Block, Leaf, topology_module
from spaces.baselines import baseline
from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation
from spaces.layers.attention import ATTENTION_NAMES
from spaces.registry import Registry, UnknownNameError
from spaces.topologies.chain import FUSIONS, IMAGE_SKIPS, MAXIMUM_WIDTH, MINIMUM_WIDTH, UNSHUFFLES, Chain
from spaces.topologies.chain_network import CONVOLUTIONS
from spaces.upsamplers import UPSAMPLERS

Genotype = Mapping[str, Leaf]
MAXIMUM_DEPTH = 256


@dataclass(frozen=True)
class Choice:
    """One named decision.

    Attributes:
        values: What may be chosen, without repeats; increasing integers if ``ordered``.
        ordered: The values have an order that neighbours in it share properties by.
    """

    name: str
    values: tuple[Leaf, ...]
    ordered: bool = False

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"choice '{self.name}' needs at least one value, got none")
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"choice '{self.name}' repeats a value: {list(self.values)}")
        if self.ordered and list(self.values) != sorted(self.values):
            raise ValueError(f"ordered choice '{self.name}' needs increasing values, got {list(self.values)}")


@dataclass(frozen=True)
class Space:
    """A named search space of one topology.

    Attributes:
        topology: Name of the topology whose ``decode(genes)`` gives the architecture.
    """

    name: str
    choices: tuple[Choice, ...]
    topology: str = "chain"

    @cached_property
    def by_name(self) -> dict[str, Choice]:
        """The choices by name."""
        return {choice.name: choice for choice in self.choices}

    @cached_property
    def digest(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of ``to_json()``."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:DIGEST_LENGTH]

    @property
    def size(self) -> int:
        """How many genotypes there are; several may decode to one architecture."""
        total = 1
        for choice in self.choices:
            total *= len(choice.values)
        return total

    def to_json(self) -> str:
        """Canonical JSON of the choices, and of the topology unless it is the chain."""
        data: dict[str, object] = {
            "name": self.name,
            "choices": {c.name: list(c.values) for c in self.choices},
        }
        if self.topology != "chain":
            # Digests of spaces are on record: they keep the spelling that topologies had first.
            data["topology"] = f"spaces.{self.topology}"
        return json.dumps(data, sort_keys=True, separators=(",", ":"))

    def check(self, genotype: Genotype) -> None:
        """Nothing, if the genotype is one of this space.

        Raises: ValueError: for a missing or surplus gene, or a value that isn't offered.
        """
        if set(genotype) != set(self.by_name):
            odd = sorted(set(genotype) ^ set(self.by_name))
            raise ValueError(
                f"a genotype of space '{self.name}' has the genes {sorted(self.by_name)}; off: {odd}"
            )
        for name, value in genotype.items():
            # 1 == True == 1.0, but their architectures' JSON differs.
            if not any(value == v and type(value) is type(v) for v in self.by_name[name].values):
                raise ValueError(f"gene '{name}' of space '{self.name}' has no value {value!r}")

    def decode(self, genotype: Genotype) -> Architecture:
        """The architecture of a genotype; genes that don't matter leave no trace in it."""
        return self._decode(genotype)

    @cached_property
    def _decode(self) -> Callable[[Genotype], Architecture]:
        return topology_module(self.topology).decode

    def sample(self, random: Random) -> dict[str, Leaf]:
        """A genotype, uniform over each choice."""
        return {choice.name: random.choice(choice.values) for choice in self.choices}

    def __iter__(self) -> Iterator[Choice]:
        return iter(self.choices)


def ordered(name: str, values: Sequence[int], least: int, most: int) -> Choice:
    """A choice of integers, sorted and without repeats.

    Raises: ValueError: if there is none, or one is out of range.
    """
    found = tuple(sorted(set(values)))
    if not found or found[0] < least or found[-1] > most:
        got = f"{found[0]} to {found[-1]}" if found else "none"
        raise ValueError(f"a choice of '{name}' is from {least} to {most}, got {got}")
    return Choice(name, found, ordered=True)


def kinds(registry: Registry[Any], texts: Sequence[str]) -> tuple[str, ...]:
    """Registered kinds, with or without options (``recursive(block=rfdb,times=2)``), in one spelling, once each.

    Raises: ValueError: for an unknown name, option or value.
    """
    found = []
    for text in texts:
        block = Block.parse(text)
        registry[block.kind].check(dict(block.options))
        found.append(str(block))
    return tuple(dict.fromkeys(found))


def chain_space(
    name: str,
    *,
    blocks: Sequence[str],
    widths: Sequence[int] = tuple(range(8, 65, 2)),
    depths: Sequence[int] = tuple(range(1, 9)),
    per_position: bool = True,
    upsamplers: Sequence[str] = ("pixelshuffle", "pixelshuffle_steps", "nearest_attention", "transposed"),
    fusions: Sequence[str] = ("plain", "concat"),
    feature_skips: Sequence[bool] = (True, False),
    image_skips: Sequence[str] = ("nearest", "bilinear", "none"),
    activations: Sequence[str] = ("paper",),
    attentions: Sequence[str] = ("paper",),
    unshuffles: Sequence[int] = (1,),
    convolutions: Sequence[str] = ("plain",),
    bases: Sequence[str] = (),
) -> Space:
    """A space of chains.

    Args:
        blocks: Block kinds to choose from.
        widths, depths: Increasing.
        per_position: The kind is chosen for each position; otherwise one kind for all.
        activations: ``paper`` leaves each part its own.
        attentions: Gates after every block; ``paper`` for none but what the blocks have.
        unshuffles: Increasing, of 1, 2 and 4: how much smaller than the input the trunk runs. For
            super-resolution an upsampler must have the scale times the largest of them.
        convolutions: Forms of the head's and the trunk's 3x3 convolutions; a block's is an option of its kind.
        bases: Published chains that the fields without a list are taken from (value range, mean shift, ...).

    The choices ``attention``, ``unshuffle`` and ``convolution`` are there only where their list isn't the default.

    Raises: ValueError: for an unknown name in a list, an empty list, or a width below 4.
    """
    blocks, upsamplers = kinds(BLOCKS, blocks), kinds(UPSAMPLERS, upsamplers)
    for act in activations:
        make_activation(act, paper="relu")
    for noun, modes, known in (
        ("fusion", fusions, FUSIONS),
        ("image skip", image_skips, IMAGE_SKIPS),
        ("attention", attentions, ("paper", *ATTENTION_NAMES)),
        ("convolution", convolutions, CONVOLUTIONS),
    ):
        for mode in modes:
            if mode not in known:
                raise UnknownNameError(noun, mode, list(known))
    unshuffles = tuple(sorted(set(unshuffles)))
    if not set(unshuffles) <= set(UNSHUFFLES):
        raise ValueError(f"an unshuffle is one of {', '.join(map(str, UNSHUFFLES))}, got {list(unshuffles)}")
    depth = ordered("depth", depths, 1, MAXIMUM_DEPTH)
    width = ordered("width", widths, MINIMUM_WIDTH, MAXIMUM_WIDTH)
    positions = [f"block_{i}" for i in range(max(depths))] if per_position else ["block"]
    choices = [
        depth,
        width,
        *(Choice(position, blocks) for position in positions),
        Choice("upsampler", upsamplers),
        Choice("fusion", tuple(fusions)),
        Choice("feature_skip", tuple(feature_skips)),
        Choice("image_skip", tuple(image_skips)),
        Choice("activation", tuple(activations)),
    ]
    if tuple(attentions) != ("paper",):
        choices.append(Choice("attention", tuple(attentions)))
    if unshuffles != (1,):
        choices.append(Choice("unshuffle", unshuffles, ordered=True))
    if tuple(convolutions) != ("plain",):
        choices.append(Choice("convolution", tuple(convolutions)))
    if bases:
        for base in bases:
            if not isinstance(baseline(base), Chain):
                raise ValueError(f"'bases' names published chains, got '{base}', a {baseline(base).topology}")
        choices.append(Choice("base", tuple(bases)))
    return Space(name, tuple(choices))

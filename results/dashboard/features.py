"""What can be told of an architecture without building it: block kinds, depth, width, upsampler, a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from itertools import chain
from typing import Any

import orjson

from results.store.changes import Changes
from spaces.architecture import Architecture, Block


@dataclass(frozen=True)
class Features:
    """Lists by trial number, as they were at a revision; never changed once made.

    Attributes:
        kinds: Names of all block kinds in the order of their first use.
        uses: Of each trial the sorted indices of its kinds.
        depth: How many blocks; those on the way down of a U-Net.
        width: Channels of the trunk; of a U-Net's full size.
        upsamplers, upsampler: Names, and the index of each trial's.
    """

    revision: int = 0
    label: list[str] = field(default_factory=list)
    digest: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    uses: list[tuple[int, ...]] = field(default_factory=list)
    depth: list[int | None] = field(default_factory=list)
    width: list[int | None] = field(default_factory=list)
    upsamplers: list[str] = field(default_factory=list)
    upsampler: list[int | None] = field(default_factory=list)


def with_features(old: Features, changes: Changes) -> Features:
    """The features with those trials added; an architecture never changes, so known ones are left out."""
    made = Features(
        changes.revision,
        *(list(getattr(old, each.name)) for each in fields(Features) if each.name != "revision"),
    )
    kinds = {kind: index for index, kind in enumerate(made.kinds)}
    upsamplers = {kind: index for index, kind in enumerate(made.upsamplers)}
    for number, digest, text in changes.rows:
        if number < len(old.label):
            continue
        architecture = unchecked(text)
        network = getattr(architecture, "base", architecture)
        blocks = _blocks(network)
        made.label.append(architecture.label)
        made.digest.append(digest)
        made.uses.append(tuple(sorted({kinds.setdefault(b.kind, len(kinds)) for b in chain(*blocks)})))
        made.depth.append(len(blocks[0]))
        made.width.append(network.width if hasattr(network, "width") else network.widths[0])
        upsampler = getattr(network, "upsampler", None)
        made.upsampler.append(upsampler and upsamplers.setdefault(upsampler.kind, len(upsamplers)))
    made.kinds[:], made.upsamplers[:] = kinds, upsamplers
    return made


def _blocks(network: Any) -> tuple[list[Block], ...]:
    """Those on the way down, or all there are; then those on the way up."""
    if hasattr(network, "blocks"):
        return (network.blocks,)
    return list(chain(*network.encoder)), list(chain(*network.decoder))


def unchecked(text: str) -> Any:
    """The recorded architecture of that JSON, without the checks that it passed when it was recorded.

    They are most of what ``Architecture.from_json`` costs, which 100,000 trials would feel: 24 us each, this 4.
    """
    data = orjson.loads(text)
    if data["topology"] not in _CLASSES:
        known = Architecture.from_json(text)
        for each in (known, getattr(known, "base", known)):
            _CLASSES[each.topology] = type(each), _readers(type(each))
    return _made(data)


Readers = dict[str, Callable[[Any], Any]]
_CLASSES: dict[str, tuple[type[Architecture], Readers]] = {}


def _made(data: dict[str, Any]) -> Any:
    if data["topology"] not in _CLASSES:  # of a base that is the first of its topology
        return Architecture.from_json(orjson.dumps(data).decode())
    cls, read = _CLASSES[data["topology"]]
    made = object.__new__(cls)
    # What is left out equals its default, which the class has as an attribute.
    vars(made).update({n: read[n](value) if n in read else value for n, value in data.items()})
    return made


def _readers(cls: type[Architecture]) -> Readers:
    """How the fields are read whose values aren't as in JSON."""
    types: Readers = {
        "tuple[Block, ...]": lambda value: [_block(each) for each in value],
        "tuple[tuple[Block, ...], ...]": lambda value: [[_block(each) for each in level] for level in value],
        "Block": _block,
        "Architecture": _made,
    }
    return {each.name: types[str(each.type)] for each in fields(cls) if str(each.type) in types}  # type: ignore[arg-type]


def _block(value: Any) -> Block:
    return _plain(value) if isinstance(value, str) else Block.from_data(value)


_plain = cache(Block)

"""Architectures as data: frozen, hashable, with a canonical JSON form and a digest.

Nothing here imports torch: an architecture is known, compared and stored without being built.
"""

from __future__ import annotations

import hashlib
import json
import pkgutil
import re
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar

from spaces.registry import UnknownNameError

Leaf = int | str | bool | tuple["Leaf", ...]

DIGEST_LENGTH = 12
TOPOLOGIES = "spaces.topologies"  # the package that has NAME.py and NAME_network.py of each


@dataclass(frozen=True)
class Block:
    """One block of a network: its registered kind and the options that differ from the kind's defaults."""

    kind: str
    options: tuple[tuple[str, Leaf], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(sorted(self.options)))
        if "kind" in dict(self.options):
            raise ValueError("an option can't be named 'kind': that is the block's own key")

    def __str__(self) -> str:
        """``kind`` or ``kind(option=value,...)``, which ``parse`` reads."""
        options = ",".join(f"{name}={json.dumps(value)}" for name, value in self.options)
        return f"{self.kind}({options})" if options else self.kind

    @classmethod
    def parse(cls, text: str) -> Block:
        """A block from ``kind`` or ``kind(option=value,...)``: values are integers, true, false or names.

        Raises: ValueError: for another form.
        """
        if text.isidentifier():  # nearly always: costs are asked for thousands of times a second
            return cls(text)
        found = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", text)
        options = [part.partition("=") for part in (found[2] or "").split(",") if part] if found else []
        if found is None or not all(name.strip() and value.strip() for name, _, value in options):
            raise ValueError(f"a block is KIND or KIND(OPTION=VALUE,...), got '{text}'")
        return cls(found[1], tuple((name.strip(), _value(value.strip())) for name, _, value in options))

    def to_data(self) -> Any:
        """The kind's name, or a dict of kind and options."""
        return {"kind": self.kind, **dict(self.options)} if self.options else self.kind

    @classmethod
    def from_data(cls, data: Any) -> Block:
        """Inverse of ``to_data``."""
        if isinstance(data, str):
            return cls(data)
        if isinstance(data, dict) and isinstance(data.get("kind"), str):
            options = {
                name: _leaf(value, f"option '{name}'") for name, value in data.items() if name != "kind"
            }
            return cls(data["kind"], tuple(options.items()))
        raise ValueError(f"a block is a name or an object with a 'kind', got {json.dumps(data)}")


class Architecture:
    """Base of the topologies' frozen dataclasses.

    Fields that equal their default are left out of the JSON form, so a field added later doesn't
    change the digests of what is already stored.
    """

    topology: ClassVar[str]
    _classes: ClassVar[dict[str, type[Architecture]]] = {}

    def __init_subclass__(cls) -> None:
        Architecture._classes[cls.topology] = cls

    @property
    def label(self) -> str:
        """A short human name."""
        raise NotImplementedError

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces; equal architectures give equal text."""
        data: dict[str, Any] = {"topology": self.topology}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.default is MISSING or value != field.default:
                data[field.name] = _to_data(value)
        return json.dumps(data, sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of ``to_json()``."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:DIGEST_LENGTH]

    @staticmethod
    def from_json(text: str) -> Architecture:
        """Inverse of ``to_json``.

        Raises: ValueError: if it isn't JSON, names an unknown topology or field, lacks a field, or a
            value has the wrong type.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"an architecture is a JSON object, but this isn't JSON: {error}") from None
        if not isinstance(data, dict) or "topology" not in data:
            raise ValueError(
                'an architecture is a JSON object with a "topology", e.g. {"topology":"chain",...}'
            )
        topology = data.pop("topology")
        topology_module(topology)
        cls = Architecture._classes[topology]
        known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
        for name in data:
            if name not in known:
                raise UnknownNameError(f"field of topology '{topology}'", name, list(known))
        missing = [n for n, f in known.items() if f.default is MISSING and n not in data]
        if missing:
            raise ValueError(f"the architecture lacks {', '.join(repr(n) for n in missing)}")
        return cls(**{name: _from_data(known[name], value) for name, value in data.items()})


def topology_module(name: object) -> ModuleType:
    """The module that describes a topology, with its ``decode(genes)`` if spaces can be made of it.

    Raises: UnknownNameError: if there is none of that name.
    """
    names = topologies()
    if not isinstance(name, str) or name not in names:
        raise UnknownNameError("topology", str(name), names)
    return import_module(f"{TOPOLOGIES}.{name}")


def network_module(architecture: Architecture) -> ModuleType:
    """The module that builds an architecture: ``parts(architecture, task)`` and ``network(architecture, task)``."""
    return import_module(f"{TOPOLOGIES}.{architecture.topology}_network")


@cache
def topologies() -> list[str]:
    """The names of all topologies, sorted."""
    modules = {module.name for module in pkgutil.iter_modules(import_module(TOPOLOGIES).__path__)}
    return sorted(name for name in modules if f"{name}_network" in modules)


def _to_data(value: Any) -> Any:
    if isinstance(value, Block):
        return value.to_data()
    if isinstance(value, Architecture):
        return json.loads(value.to_json())
    return [_to_data(v) for v in value] if isinstance(value, tuple) else value


def _from_data(field: Field[Any], value: Any) -> Any:
    """The field's value from JSON, checked against its annotation."""
    if field.type == "tuple[Block, ...]":
        return _blocks(value, field.name)
    if field.type == "tuple[tuple[Block, ...], ...]":
        if not isinstance(value, list):
            raise ValueError(f"'{field.name}' is a list of lists of blocks, got {json.dumps(value)}")
        return tuple(_blocks(v, field.name) for v in value)
    if field.type == "tuple[int, ...]":
        if not isinstance(value, list) or any(type(v) is not int for v in value):
            raise ValueError(f"'{field.name}' is a list of integers, got {json.dumps(value)}")
        return tuple(value)
    if field.type == "tuple[str, ...]":
        if not isinstance(value, list) or any(type(v) is not str for v in value):
            raise ValueError(f"'{field.name}' is a list of names, got {json.dumps(value)}")
        return tuple(value)
    if field.type == "tuple[tuple[str, tuple[int, ...]], ...]":
        return _named_shapes(value, field.name)
    if field.type == "Block":
        return Block.from_data(value)
    if field.type == "Architecture":
        return Architecture.from_json(json.dumps(value))
    wanted = {"int": int, "str": str, "bool": bool}[str(field.type)]
    if type(value) is not wanted:
        raise ValueError(f"'{field.name}' is of type {field.type}, got {json.dumps(value)}")
    return value


def _blocks(value: Any, name: str) -> tuple[Block, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"'{name}' is a list of blocks, got {json.dumps(value)}")
    return tuple(Block.from_data(v) for v in value)


def _named_shapes(value: Any, name: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    try:
        pairs = [(tensor, tuple(shape)) for tensor, shape in value]
    except (TypeError, ValueError):
        pairs = [("", ())]
    if not all(
        isinstance(tensor, str) and shape and all(type(n) is int for n in shape) for tensor, shape in pairs
    ):
        raise ValueError(f"'{name}' is a list of [tensor, [size, ...]], got {json.dumps(value)[:200]}")
    return tuple(pairs)


def _value(text: str) -> Leaf:
    if re.fullmatch(r"\d+", text):
        return int(text)
    return {"true": True, "false": False}.get(text.lower(), text.strip('"'))


def _leaf(value: Any, what: str) -> Leaf:
    if isinstance(value, list):
        return tuple(_leaf(v, what) for v in value)
    if isinstance(value, bool | int | str):
        return value
    raise ValueError(f"{what} holds integers, strings, booleans and lists of such, got {json.dumps(value)}")

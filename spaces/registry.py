"""A registry filled by the files of one package: adding a file adds its entries."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Maker = TypeVar("Maker", bound=Callable[..., Any])
LARGEST = 65536  # of an integer option: more is a slip, and would exhaust memory


class UnknownNameError(ValueError):
    """A name that nothing is registered under; the message suggests the nearest one."""

    def __init__(self, noun: str, name: str, known: list[str]):
        super().__init__(noun, name, known)  # what it is made from again, in another process

    def __str__(self) -> str:
        noun, name, known = self.args
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'? " if near else ""
        return f"unknown {noun} '{name}': {hint}known are {', '.join(sorted(known))}"


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered name: the class and the options that this name fixes."""

    name: str
    target: Callable[..., T]
    fixed: tuple[tuple[str, Any], ...]

    @property
    def summary(self) -> str:
        """First line of the class's docstring."""
        return (inspect.getdoc(self.target) or "").partition("\n")[0]

    @cached_property
    def options(self) -> dict[str, inspect.Parameter]:
        """Keyword-only parameters of the class that this name leaves free."""
        parameters = inspect.signature(self.target).parameters.values()
        fixed = dict(self.fixed)
        return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in fixed}

    def create(self, *args: Any, **options: Any) -> T:
        """A new instance.

        Raises: ValueError: for an option that the class doesn't take, a value that isn't of its default's
            type, or an integer (alone or in a tuple) that is out of range: it is from 1, or from 0 where
            that is the default, to 65536.
        """
        self.check(options)
        return self.target(*args, **dict(self.fixed), **options)

    def check(self, options: Mapping[str, Any]) -> None:
        """Nothing, if ``create`` takes these options.

        Raises: ValueError: as ``create``.
        """
        for name, value in options.items():
            if name not in self.options:
                raise UnknownNameError(f"option of '{self.name}'", name, list(self.options))
            default = self.options[name].default
            if default is inspect.Parameter.empty:  # no option of an architecture: the caller's own argument
                continue
            if type(value) is not type(default):
                expected = type(default).__name__
                raise ValueError(f"option '{name}' of '{self.name}' is of type {expected}, got {value!r}")
            self._check_range(name, value, 0 if default == 0 else 1)

    def _check_range(self, name: str, value: Any, least: int) -> None:
        if type(value) is tuple:
            for item in value:
                self._check_range(name, item, 1)
        elif type(value) is int and not least <= value <= LARGEST:
            raise ValueError(f"option '{name}' of '{self.name}' is from {least} to {LARGEST}, got {value}")


def _place(target: Callable[..., Any]) -> tuple[str, str]:
    """Where a class, or what makes one, is defined: the same for one whose module is imported a second time."""
    return target.__module__, getattr(target, "__qualname__", str(target))


class Catalogue(Generic[T]):
    """Objects by name, put there by the modules of ``package``, which are imported on first use.

    Args:
        noun: What an object is called in messages.
        package: Import path of the package whose modules add objects.
    """

    def __init__(self, noun: str, package: str):
        self._noun = noun
        self._package = package
        self._found: dict[str, T] = {}
        self._loaded = False

    def add(self, named: Mapping[str, T]) -> None:
        """Make objects known by their names.

        Raises: ValueError: if a name is taken; none of them is added then.
        """
        for name in named:
            if name in self._found:
                raise ValueError(f"{self._noun} '{name}' is registered twice")
        self._found.update(named)

    def names(self) -> list[str]:
        """All names, sorted."""
        if not self._loaded:
            _import_all(self._package)
            self._loaded = True
        return sorted(self._found)

    def __getitem__(self, name: str) -> T:
        names = self.names()
        if name not in self._found:
            raise UnknownNameError(self._noun, name, names)
        return self._found[name]


def _import_all(package: str) -> None:
    """Import the files of a package; folders in it are what some of them import."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not module.ispkg:
            importlib.import_module(f"{package}.{module.name}")


class Registry(Generic[T]):
    """Names to entries; the modules of ``package`` are imported on first use.

    Args:
        noun: What an entry is called in messages.
        package: Import path of the package whose modules register entries.
    """

    def __init__(self, noun: str, package: str):
        self.noun = noun
        self._package = package
        self._entries: dict[str, Entry[T]] = {}
        self._loaded = False

    def add(self, name: str, **fixed: Any) -> Callable[[Maker], Maker]:
        """Decorator that registers ``name`` for a class, or a function that makes one, with some options fixed.

        Raises: ValueError: if the name is taken by another.
        """

        def register(target: Maker) -> Maker:
            taken = self._entries.get(name)
            if taken is not None and _place(taken.target) != _place(target):
                raise ValueError(f"{self.noun} '{name}' is registered twice: {taken.target} and {target}")
            self._entries[name] = Entry(name, target, tuple(fixed.items()))
            return target

        return register

    def __getitem__(self, name: str) -> Entry[T]:
        self._load()
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(self.noun, name, list(self._entries)) from None

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._entries))

    def _load(self) -> None:
        if self._loaded:
            return
        _import_all(self._package)
        self._loaded = True

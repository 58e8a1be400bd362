"""Named search spaces.

A file here registers its spaces; nothing else is edited.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spaces.catalog.around import AROUND, around
from spaces.registry import Catalogue, UnknownNameError
from spaces.space import Space


@dataclass(frozen=True)
class NamedSpace:
    """A space that can be asked for by name.

    Attributes:
        name: E.g. ``sr-card``.
        summary: What it holds, in a line.
        tasks: Tasks that it is meant for; costs are quoted for the first.
        make: Takes the space's name and keyword-only lists of values, each with a default; None in a list's
            place never reaches it.
    """

    name: str
    summary: str
    tasks: tuple[str, ...]
    make: Callable[..., Space]

    @property
    def lists(self) -> tuple[str, ...]:
        """Names of the lists that can be changed."""
        parameters = inspect.signature(self.make).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


_SPACES: Catalogue[NamedSpace] = Catalogue("space", __name__)


def register(*spaces: NamedSpace) -> None:
    """Make spaces known by their names.

    Raises: ValueError: if a name is taken; none of them is registered then.
    """
    _SPACES.add({space.name: space for space in spaces})


def space_names() -> list[str]:
    """Names of all spaces."""
    return _SPACES.names()


def list_names() -> list[str]:
    """Names of all lists that some space has."""
    return sorted({name for space in space_names() for name in described(space).lists} - {"per_position"})


def described(name: str) -> NamedSpace:
    """The entry of that name; ``around-NAME`` is the space around a published chain (``spaces.catalog.around``).

    Raises: UnknownNameError: with the nearest name.
    """
    if name.startswith(AROUND):
        return NamedSpace(*around(name))
    return _SPACES[name]


def named_space(
    name: str, *, per_position: bool = True, **changes: Sequence[int] | Sequence[str] | Sequence[bool] | None
) -> Space:
    """A space by name, with some of its lists changed.

    Args:
        per_position: Kinds are chosen for each position; otherwise one kind for all.
        changes: Lists of values by name; None leaves the named space's own.

    Raises: ValueError: for an unknown name of a space or list, or a value that the list can't hold.
    """
    entry = described(name)
    given: dict[str, object] = {key: value for key, value in changes.items() if value is not None}
    if not per_position:
        given["per_position"] = False
    for key in given:
        if key not in entry.lists:
            raise UnknownNameError(f"list of space '{name}'", key, list(entry.lists))
    return entry.make(f"{name} (changed)" if given else name, **given)

"""Every exception of ours arrives in another process as itself, with its message."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import evaluators
import results
import search
import spaces

# What an argument of a constructor may be, by its annotation.
ARGUMENTS: dict[str, Any] = {
    "str": "a name",
    "int": 404,
    "_Call": "a call",
    "list[str]": ["another name", "a [bracketed] name"],
    "Sequence[str]": ("another name",),
    "Study": SimpleNamespace(name="a study", state="paused", stop="time"),
}
LEFT_OUT = (
    "results.store.migrations",
    "search.strategies.nni",
)  # run by alembic; a library that may be missing


def exceptions() -> Iterator[type[Exception]]:
    for package in (spaces, evaluators, search, results):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith(LEFT_OUT):
                for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                    if issubclass(found, Exception) and found.__module__ == module.name:
                        yield found


@pytest.mark.parametrize("kind", sorted(set(exceptions()), key=lambda kind: (kind.__module__, kind.__name__)))
def test_it_survives_pickling(kind: type[Exception]) -> None:
    arguments: list[Any] = ["a message"]
    if "__init__" in vars(kind):
        parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
        needed = [parameter for parameter in parameters if parameter.default is parameter.empty]
        arguments = [ARGUMENTS[str(parameter.annotation)] for parameter in needed]
    error = kind(*arguments)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) != ""
    assert vars(again) == vars(error)

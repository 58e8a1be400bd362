"""Names of the strategies of NNI, which is imported when one is made."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from search.strategies import STRATEGIES, Strategy
from spaces.measurement import Direction
from spaces.space import Space


def nni_strategy(space: Space, *, directions: Sequence[Direction], seed: int, kind: str) -> Strategy:
    """A strategy of NNI.

    Args:
        kind: Module and class in `search.strategies.nni`.

    Raises: ValueError: if NNI isn't installed; says how to.
    """
    module, _, name = kind.partition(".")
    try:
        made = getattr(import_module(f"search.strategies.nni.{module}"), name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"strategies of NNI: {error.name} isn't installed: pip install 'pixelfront[nni]'"
        ) from error
    return made(space, directions=directions, seed=seed)


for _name, _kind in {
    "nni-random": "tuners.Random",
    "nni-grid": "tuners.Grid",
    "nni-tpe": "tuners.TPE",
    "nni-evolution": "tuners.Evolution",
    "nni-nas-random": "nas.Random",
    "nni-nas-tpe": "nas.TPE",
    "nni-regularized-evolution": "nas.RegularizedEvolution",
    "nni-filtered-evolution": "nas.FilteredEvolution",
}.items():
    STRATEGIES.add(_name, kind=_kind)(nni_strategy)

"""Names of the strategies of NNI, which is imported when one is made."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from search.strategies import STRATEGIES, Strategy, StrategyProblem


@dataclass(frozen=True)
class NNIStrategyClass:
    """A class of `search.strategies.nni`, imported on first use."""

    module: str
    name: str

    def load(self) -> type[Strategy]:
        """The class.

        Raises: ValueError: if NNI isn't installed; says how to install it.
        """
        try:
            return getattr(import_module(f"search.strategies.nni.{self.module}"), self.name)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"strategies of NNI: {error.name} isn't installed: pip install 'pixelfront[nni]'"
            ) from error

    def __call__(self, problem: StrategyProblem) -> Strategy:
        return self.load()(problem)


for _name, _class in {
    "nni-random": NNIStrategyClass("tuners", "Random"),
    "nni-grid": NNIStrategyClass("tuners", "Grid"),
    "nni-tpe": NNIStrategyClass("tuners", "TPE"),
    "nni-evolution": NNIStrategyClass("tuners", "Evolution"),
    "nni-nas-random": NNIStrategyClass("nas", "Random"),
    "nni-nas-tpe": NNIStrategyClass("nas", "TPE"),
    "nni-regularized-evolution": NNIStrategyClass("nas", "RegularizedEvolution"),
    "nni-filtered-evolution": NNIStrategyClass("nas", "FilteredEvolution"),
}.items():
    STRATEGIES.add(_name)(_class)

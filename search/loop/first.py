"""What a search begins with: published networks, before its strategy is asked.

A designer's knowledge is where a search may start from: its strategy is told of them, and breeds from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from search.config import ConfigError
from spaces.architecture import Leaf
from spaces.baselines import published
from spaces.budget import Budget
from spaces.space import Space
from spaces.topologies import chain


def first_genotypes(wanted: Sequence[str], space: Space, budget: Budget) -> tuple[dict[str, Leaf], ...]:
    """The space's genotypes nearest to published networks, each as wide as its budget allows.

    Args:
        wanted: ``NAME``, or ``NAME@GMACS`` for one within a budget of its own.

    Raises: ConfigError: for a network that the space has nothing like, or a budget that it can't meet.
    """
    return tuple(_first(each, space, budget) for each in wanted)


def _first(wanted: str, space: Space, budget: Budget) -> dict[str, Leaf]:
    name, at, text = wanted.partition("@")
    architecture = published(name).architecture
    if space.topology != "chain" or not isinstance(architecture, chain.Chain):
        raise ConfigError(
            f"first '{wanted}': expected a chain, and a space of chains, got space '{space.name}'"
        )
    try:
        genotype = chain.encode(architecture, {choice.name: choice.values for choice in space})
    except ValueError as error:
        raise ConfigError(f"first '{wanted}': in space '{space.name}' {error}") from None
    if not at:
        return genotype
    try:
        gmacs = float(text)
    except ValueError:
        raise ConfigError(f"first '{wanted}': expected NAME or NAME@GMACS, such as rfdn@1.5") from None
    if not budget.min_gmacs < gmacs <= budget.max_gmacs:
        raise ConfigError(f"first '{wanted}': expected a budget within the search's, {budget}")
    found = replace(budget, max_gmacs=gmacs).fit(
        space, {**genotype, "width": space.by_name["width"].values[-1]}
    )
    if found is None:
        raise ConfigError(
            f"first '{wanted}': no width of space '{space.name}' brings it within {gmacs:g} GMACs"
        )
    return dict(found.genotype)

"""What a search begins with: published networks, each the widest of its space within a budget."""

from __future__ import annotations

import pytest

from search.config import ConfigError, load, resolve
from search.loop.first import first_genotypes
from search.study.context import prepare
from spaces.baselines import published
from spaces.budget import Budget
from spaces.catalog import named_space
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

SPACE = named_space("sr-card", blocks=("rfdb", "imdb"), widths=tuple(range(4, 65)), depths=(2, 4, 6))
BUDGET = Budget(super_resolution(4), 4.0, 0.5)


@pytest.mark.parametrize("gmacs", [1.0, 2.5, 4.0])
def test_it_is_the_widest_within_its_budget(gmacs: float) -> None:
    (genotype,) = first_genotypes([f"rfdn@{gmacs:g}"], SPACE, BUDGET)
    SPACE.check(genotype)
    chain, rfdn = SPACE.decode(genotype), published("rfdn").architecture
    assert isinstance(chain, Chain)
    assert isinstance(rfdn, Chain)
    assert chain.blocks == rfdn.blocks
    width = genotype["width"]
    assert isinstance(width, int)
    assert BUDGET.gmacs(SPACE, genotype) <= gmacs < BUDGET.gmacs(SPACE, {**genotype, "width": width + 1})


def test_without_a_budget_of_its_own_it_is_as_published_as_far_as_the_search_allows() -> None:
    (genotype,) = first_genotypes(["imdn"], SPACE, BUDGET)
    found = BUDGET.fit(SPACE, genotype)
    assert found is not None
    assert found.gmacs <= 4.0
    assert found.genotype == first_genotypes(["imdn@4"], SPACE, BUDGET)[0]


def test_a_budget_below_the_smallest_width_is_refused() -> None:
    narrow = named_space("sr-card", blocks=("rfdb",), widths=(32, 64), depths=(4,))
    with pytest.raises(ConfigError, match="no width of space 'sr-card.*' brings it within 1 GMACs"):
        first_genotypes(["rfdn@1"], narrow, BUDGET)


def test_a_search_is_set_up_with_them() -> None:
    said = {"max_gmacs": 2.0, "first": ["rfdn@1", "rfdn"], "training.steps": 8, "training.rungs": 2}
    setup = prepare(resolve(load(None, said)))
    assert [setup.budget.gmacs(setup.space, each) <= 1.0 for each in setup.first] == [True, False]
    assert setup.config.first == ("rfdn@1", "rfdn")

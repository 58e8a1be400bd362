from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spaces.budget import Budget, BudgetError, extreme
from spaces.build import cost
from spaces.cost import CONVENTIONS, Convention
from spaces.space import Genotype, Space, chain_space, named_space
from spaces.task import Task

TASK = Task("tiny", scale=2, cost_input=(3, 17, 19))
SPACE = chain_space(
    "tiny",
    blocks=("ghost", "rfdb", "mscb"),
    widths=(4, 5, 8, 12, 16),
    depths=(1, 2, 4),
    activations=("paper", "relu"),
)
WIDTHS = SPACE.by_name["width"].values
GENOTYPES = st.fixed_dictionaries({choice.name: st.sampled_from(choice.values) for choice in SPACE})
GMACS = st.floats(0.0002, 0.02)
convention = st.sampled_from(CONVENTIONS)


def at_each_width(budget: Budget, genes: Genotype) -> dict[object, float]:
    return {width: budget.gmacs(SPACE, {**genes, "width": width}) for width in WIDTHS}


def all_costs(budget: Budget, space: Space) -> list[float]:
    names = [choice.name for choice in space]
    values = product(*(choice.values for choice in space))
    return [budget.gmacs(space, dict(zip(names, genes, strict=True))) for genes in values]


@settings(deadline=None)
@given(GENOTYPES, GMACS, GMACS, convention)
def test_only_what_is_within_the_band_comes_out(
    genes: Genotype, one: float, other: float, how: Convention
) -> None:
    low, high = sorted((one, other + 1e-6))
    budget = Budget(TASK, high, low, how)
    found = budget.fit(SPACE, genes)
    if found is None:
        assert not any(low <= gmacs <= high for gmacs in at_each_width(budget, genes).values())
    else:
        assert low <= found.gmacs <= high
        assert found.cost == cost(found.architecture, TASK)
        assert found.gmacs == found.cost.gmacs(how)


@settings(deadline=None)
@given(GENOTYPES, GMACS, convention)
def test_repair_gives_the_widest_that_fits_and_keeps_all_other_genes(
    genes: Genotype, limit: float, how: Convention
) -> None:
    budget = Budget(TASK, limit, convention=how)
    found = budget.fit(SPACE, genes)
    fitting = [width for width, gmacs in at_each_width(budget, genes).items() if gmacs <= limit]
    if genes["width"] in fitting:
        assert found is not None
        assert not found.repaired
        assert found.architecture == SPACE.decode(genes)
    elif fitting:
        assert found is not None
        assert found.repaired
        assert found.architecture == SPACE.decode({**genes, "width": fitting[-1]})
    else:
        assert found is None


@settings(deadline=None)
@given(GENOTYPES)
def test_limit_itself_is_within_the_budget(genes: Genotype) -> None:
    gmacs = Budget(TASK, 1).gmacs(SPACE, genes)
    found = Budget(TASK, max_gmacs=gmacs).fit(SPACE, genes)
    assert found is not None
    assert (found.gmacs, found.repaired) == (gmacs, False)


def test_architecture_below_the_band_is_widened_to_the_widest_that_fits() -> None:
    genes = {**SPACE.sample(Random(0)), "width": WIDTHS[0]}
    costs = list(at_each_width(Budget(TASK, 1), genes).values())
    found = Budget(TASK, max_gmacs=costs[3], min_gmacs=costs[2]).fit(SPACE, genes)
    assert found is not None
    assert found.repaired
    assert found.gmacs == costs[3]


def test_band_between_two_widths_is_rejected() -> None:
    genes = SPACE.sample(Random(0))
    costs = list(at_each_width(Budget(TASK, 1), genes).values())
    step = (costs[3] - costs[2]) / 4
    assert Budget(TASK, max_gmacs=costs[3] - step, min_gmacs=costs[2] + step).fit(SPACE, genes) is None


def test_budget_counts_as_its_convention_does() -> None:
    genes = {**SPACE.sample(Random(0)), "block_0": "rfdb", "activation": "relu"}
    exact = Budget(TASK, 1).gmacs(SPACE, genes)
    assert Budget(TASK, exact, convention="exact").fit(SPACE, genes).gmacs == exact  # type: ignore[union-attr]
    for how in ("challenge", "bias"):
        found = Budget(TASK, exact, convention=how).fit(SPACE, genes)
        assert found is None or found.repaired


def test_budget_counts_at_the_tasks_cost_input() -> None:
    genes = SPACE.sample(Random(0)) | {"block_0": "ghost", "depth": 1}
    twice = Task("tiny", scale=2, cost_input=(3, 34, 19))
    assert Budget(twice, 1).gmacs(SPACE, genes) == pytest.approx(2 * Budget(TASK, 1).gmacs(SPACE, genes))


@pytest.mark.parametrize("how", CONVENTIONS)
@pytest.mark.parametrize(
    "blocks",
    [("rfdb", "ghost"), ("mscb", "ghost"), ("ghost", "mscb"), ("efficient_rfdb", "hin", "idle")],
    ids=str,
)
@pytest.mark.parametrize("per_position", [True, False])
def test_extremes_are_those_of_all_genotypes(
    how: Convention, blocks: tuple[str, ...], per_position: bool
) -> None:
    space = chain_space(
        "small",
        blocks=blocks,
        widths=(4, 5),
        depths=(1, 2),
        per_position=per_position,
        upsamplers=("transposed", "pixelshuffle"),
        image_skips=("none",),
        activations=("relu", "paper", "silu"),
    )
    budget = Budget(TASK, 1, convention=how)
    costs = all_costs(budget, space)
    smallest, largest = (extreme(space, budget, largest=largest) for largest in (False, True))
    space.check(smallest)
    assert budget.gmacs(space, smallest) == min(costs)
    assert budget.gmacs(space, largest) == max(costs)


def test_check_states_the_smallest_cost_and_the_fix() -> None:
    space = chain_space("two", blocks=("ghost",), widths=(8, 12), depths=(2,))
    smallest = min(all_costs(Budget(TASK, 1), space))
    with pytest.raises(BudgetError) as caught:
        Budget(TASK, smallest * 0.99).check(space)
    assert "no architecture of space 'two' fits; the smallest, 2x8 ghost|2" in str(caught.value)
    assert f"costs {smallest:.4g} GMACs at 3x17x19. Raise the budget" in str(caught.value)
    Budget(TASK, smallest).check(space)


def test_check_states_the_largest_cost_below_the_band() -> None:
    space = chain_space("two", blocks=("ghost",), widths=(8, 12), depths=(2,))
    largest = max(all_costs(Budget(TASK, 1), space))
    with pytest.raises(BudgetError) as caught:
        Budget(TASK, 1, min_gmacs=largest * 1.01).check(space)
    assert f"costs {largest:.4g} GMACs at 3x17x19. Lower the band" in str(caught.value)
    Budget(TASK, 1, min_gmacs=largest).check(space)


def test_named_spaces_reach_from_under_a_gmac_to_over_a_hundred() -> None:
    task = Task("sr-x4", scale=4)
    for name in ("sr-card", "sr-all"):
        Budget(task, 0.25).check(named_space(name))
        Budget(task, 1000, min_gmacs=100).check(named_space(name))


@pytest.mark.parametrize(
    ("low", "high"), [(0, 0), (0, -1), (-1, 1), (2, 1), (1, 1), (0, float("nan")), (float("nan"), 1)]
)
def test_impossible_band_is_refused(low: float, high: float) -> None:
    with pytest.raises(BudgetError, match="0 <= lower < upper"):
        Budget(TASK, high, low)


def test_budget_reads_as_text() -> None:
    assert str(Budget(TASK, 0.5)) == "at most 0.5 GMACs at 3x17x19 (exact)"
    assert str(Budget(TASK, 0.5, 0.25, "challenge")) == "0.25 to 0.5 GMACs at 3x17x19 (challenge)"

from dataclasses import replace
from itertools import product
from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.tasks import get_task
from spaces.architecture import Leaf
from spaces.budget import Budget, BudgetError, extreme
from spaces.build import cost
from spaces.catalog import described, named_space
from spaces.cost import CONVENTIONS, Convention
from spaces.objectives import Limit
from spaces.space import Genotype, Space, chain_space
from spaces.task import Task
from spaces.topologies.chain import Chain

TASK = Task("tiny", scale=2, cost_input=(3, 17, 19))
SPACE = chain_space(
    "tiny",
    blocks=("ghost", "rfdb", "mscb"),
    widths=(4, 5, 8, 12, 16),
    depths=(1, 2, 3, 5),
    activations=("paper", "relu"),
)
SAME_BLOCK = chain_space(
    "same", blocks=("rfdb", "ghost"), widths=(4, 6, 9), depths=(1, 3, 4), per_position=False
)
ONE_DEPTH = chain_space("one", blocks=("rfdb", "ghost"), widths=(4, 6, 9), depths=(2,))
WIDTHS = SPACE.by_name["width"].values


def genotypes(space: Space) -> st.SearchStrategy[dict[str, Leaf]]:
    return st.fixed_dictionaries({choice.name: st.sampled_from(choice.values) for choice in space})


GENOTYPES = genotypes(SPACE)
GMACS = st.floats(0.0002, 0.02)
BREADTH = st.sampled_from([0.01, 0.05, 0.3, 1.0])  # of the band, as a share of its upper end
convention = st.sampled_from(CONVENTIONS)


def at_each_width(budget: Budget, genes: Genotype) -> dict[Leaf, float]:
    return {width: budget.gmacs(SPACE, {**genes, "width": width}) for width in WIDTHS}


def expected(budget: Budget, space: Space, genes: Genotype) -> Genotype | None:
    """What the budget makes of a genotype, by trying every width of every depth."""

    def fits(candidate: Genotype) -> bool:
        return budget.min_gmacs <= budget.gmacs(space, candidate) <= budget.max_gmacs

    if fits(genes):
        return genes
    depths, widths = (space.by_name[name].values for name in ("depth", "width"))
    for depth in sorted(depths, key=lambda d: (abs(d - genes["depth"]), d)):  # type: ignore[operator]
        fitting = [w for w in widths if fits({**genes, "depth": depth, "width": w})]
        if fitting:
            return {**genes, "depth": depth, "width": fitting[-1]}
    return None


def all_costs(budget: Budget, space: Space) -> list[float]:
    names = [choice.name for choice in space]
    values = product(*(choice.values for choice in space))
    return [budget.gmacs(space, dict(zip(names, genes, strict=True))) for genes in values]


@pytest.mark.parametrize("space", [SPACE, SAME_BLOCK, ONE_DEPTH], ids=lambda space: space.name)
@given(st.data(), GMACS, BREADTH, convention)
def test_repair_finds_what_trying_every_width_of_every_depth_finds(
    space: Space, data: st.DataObject, high: float, breadth: float, how: Convention
) -> None:
    genes = data.draw(genotypes(space))
    budget = Budget(TASK, high, high * (1 - breadth), how)
    found, wanted = budget.fit(space, genes), expected(budget, space, genes)
    if wanted is None:
        assert found is None
    else:
        assert found is not None
        assert found.architecture == space.decode(wanted)
        assert found.cost == cost(found.architecture, TASK)
        assert found.gmacs == found.cost.gmacs(how)
        assert budget.min_gmacs <= found.gmacs <= budget.max_gmacs
        assert found.repaired == (wanted is not genes)


@given(GENOTYPES, GMACS, BREADTH)
def test_depth_stays_where_another_width_is_enough(genes: Genotype, high: float, breadth: float) -> None:
    budget = Budget(TASK, high, high * (1 - breadth))
    if any(budget.min_gmacs <= gmacs <= high for gmacs in at_each_width(budget, genes).values()):
        found = budget.fit(SPACE, genes)
        assert found is not None
        assert len(found.architecture.blocks) == genes["depth"]  # type: ignore[attr-defined]


def plain_genes(depth: int, width: Leaf) -> dict[str, Leaf]:
    return {choice.name: choice.values[0] for choice in SPACE} | {"depth": depth, "width": width}


def repaired(genes: Genotype, high: float, low: float = 0.0) -> tuple[int, int] | None:
    """Depth and width of what comes out."""
    found = Budget(TASK, high, low).fit(SPACE, genes)
    if found is None:
        return None
    assert isinstance(found.architecture, Chain)
    return len(found.architecture.blocks), found.architecture.width


def gmacs_of(depth: int, width: Leaf) -> float:
    return Budget(TASK, 1).gmacs(SPACE, plain_genes(depth, width))


def test_architecture_too_dear_at_every_width_becomes_shallower() -> None:
    assert repaired(plain_genes(5, 16), gmacs_of(5, 4)) == (5, 4)
    assert repaired(plain_genes(5, 16), gmacs_of(5, 4) * 0.999) == (3, 4)
    assert repaired(plain_genes(5, 16), gmacs_of(1, 4)) == (1, 4)
    assert repaired(plain_genes(5, 16), gmacs_of(1, 4) * 0.999) is None


def test_architecture_below_the_band_at_every_width_becomes_deeper() -> None:
    for depth in (2, 3, 5):
        limit = gmacs_of(depth, 16)
        assert repaired(plain_genes(1, 4), limit, limit * 0.999) == (depth, 16)
    assert repaired(plain_genes(1, 4), 1, gmacs_of(5, 16) * 1.001) is None


def test_band_between_two_widths_is_met_by_another_depth_the_smaller_of_two_as_near() -> None:
    alone = Budget(TASK, gmacs_of(1, 12) * 1.0001, gmacs_of(1, 12) * 0.9999)
    assert repaired(plain_genes(3, 8), alone.max_gmacs, alone.min_gmacs) == (1, 12)
    both = sorted((gmacs_of(1, 12), gmacs_of(3, 8)))
    assert not any(both[0] <= gmacs_of(2, width) <= both[1] for width in WIDTHS)
    assert repaired(plain_genes(2, 4), both[1], both[0]) == (1, 12)
    assert repaired(plain_genes(2, 4), gmacs_of(3, 8), gmacs_of(3, 8) * 0.9999) == (3, 8)


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


FEW = {"widths": (4, 7), "depths": (1, 3), "per_position": False}
TINY_SPACES = {
    "hdr": {**FEW, "blocks": ("ghost", "efficient_rfdb"), "unshuffles": (1, 2)},
    "rescale": {
        **FEW,
        "blocks": ("ghost", "rfdb"),
        "down_widths": (4, 9),
        "bounds": (4,),
        "image_skips": ("bicubic",),
        "attentions": ("paper", "esa"),
    },
    "unet": {
        **FEW,
        "blocks": ("ghost", "hin"),
        "levels": (2, 3),
        "downs": ("strided", "haar"),
        "ups": ("transposed", "nearest"),
    },
    "sr-all": {
        **FEW,
        "blocks": ("imdb(convolution=acb)", "recursive(block=scpa,times=2)"),
        "upsamplers": ("pixelshuffle",),
        "image_skips": ("none",),
        "activations": ("paper",),
    },
}
SMALL_INPUTS = {"hdr": (18, 33, 31), "rescale": (3, 61, 70), "unet": (3, 33, 31), "sr-all": (3, 17, 19)}


@pytest.mark.parametrize("name", TINY_SPACES)
def test_extremes_and_repair_of_other_topologies_are_what_trying_all_finds(name: str) -> None:
    space = named_space(name, **TINY_SPACES[name])  # type: ignore[arg-type]
    task = replace(get_task(described(name).tasks[0]).interface, cost_input=SMALL_INPUTS[name])
    anything = Budget(task, inf)
    costs = all_costs(anything, space)
    low, high = min(costs), max(costs)
    ends = [anything.gmacs(space, extreme(space, anything, largest=largest)) for largest in (False, True)]
    assert ends == [low, high]
    with pytest.raises(BudgetError, match="no architecture of space .* fits"):
        Budget(task, low * 0.99).check(space)
    random, repaired = Random(0), 0
    for share in (0.1, 0.3, 0.6):
        limit = low + share * (high - low)
        budget = Budget(task, limit, 0.5 * limit)
        for _ in range(15):
            genes = space.sample(random)
            wanted, found = expected(budget, space, genes), budget.fit(space, genes)
            assert (found and found.architecture) == (wanted and space.decode(wanted))
            repaired += found is not None and found.repaired
    assert repaired


def test_check_states_the_smallest_cost_and_the_fix() -> None:
    space = chain_space("two", blocks=("ghost",), widths=(8, 12), depths=(2,))
    smallest = min(all_costs(Budget(TASK, 1), space))
    with pytest.raises(BudgetError) as caught:
        Budget(TASK, smallest * 0.99).check(space)
    assert "no architecture of space 'two' fits; the smallest, 2x8 ghost*2, " in str(caught.value)
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


def parameters_of(budget: Budget, genes: Genotype) -> float:
    return budget.cost_of("parameters", SPACE, genes)


def test_a_limit_on_parameters_is_repaired_to_as_that_on_gmacs() -> None:
    anything = Budget(TASK, inf)
    genes = plain_genes(3, SPACE.by_name["width"].values[-1])
    own, least = parameters_of(anything, genes), parameters_of(anything, plain_genes(1, 4))
    bound = (own + least) / 2
    limited = Budget(TASK, inf, limits=(Limit("parameters", bound),))
    found = limited.fit(SPACE, genes)
    assert found is not None
    assert found.repaired
    assert found.cost.parameters <= bound < own
    assert str(limited) == f"parameters<={bound:.10g}"


def test_a_limit_that_no_architecture_meets_is_refused_and_names_itself() -> None:
    limited = Budget(TASK, inf, limits=(Limit("parameters", 3.0),))
    with pytest.raises(
        BudgetError, match=r"limit parameters<=3: no architecture of space .* meets it; the smallest"
    ):
        limited.check(SPACE)
    genes = SPACE.sample(Random(0))
    assert limited.fit(SPACE, genes) is None
    assert limited.refusal(SPACE, genes)[0] == "parameters"

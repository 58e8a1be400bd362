"""The space around a published chain."""

from random import Random

import pytest

from spaces.baselines import baseline, baseline_names, published
from spaces.budget import Budget
from spaces.build import build
from spaces.catalog import described, named_space
from spaces.registry import UnknownNameError
from spaces.topologies.chain import Chain

CHAINS = [name for name in baseline_names() if isinstance(baseline(name), Chain)]


@pytest.mark.parametrize("name", CHAINS)
def test_the_network_is_a_point_of_its_space_and_others_keep_its_wiring(name: str) -> None:
    chain = baseline(name)
    assert isinstance(chain, Chain)
    space = named_space(f"around-{name}")
    genes = {**space.sample(Random(0)), "depth": len(chain.blocks), "width": chain.width}
    genes |= {f"block_{i}": str(block) for i, block in enumerate(chain.blocks)}
    space.check(genes)
    assert space.decode(genes) == chain
    other = space.decode({**genes, "depth": 1})
    assert isinstance(other, Chain)
    assert (other.value_range, other.mean_shift, other.head_layers) == (
        chain.value_range,
        chain.mean_shift,
        chain.head_layers,
    )


def test_a_budget_narrows_the_network() -> None:
    task = published("rfdn").task
    space = named_space("around-rfdn")
    genes = {**space.sample(Random(0)), "depth": 4, "width": 50}
    found = Budget(task, 15.0).fit(space, genes)
    assert found is not None
    assert isinstance(found.architecture, Chain)
    assert (found.architecture.value_range, len(found.architecture.blocks)) == (255, 4)
    assert 14 < found.gmacs <= 15
    build(found.architecture, task)


def test_lists_can_be_changed() -> None:
    space = named_space("around-imdn", widths=(32, 48), blocks=("imdb", "rlfb"))
    assert space.by_name["width"].values == (32, 48)
    assert space.by_name["block_0"].values == ("imdb", "rlfb")
    assert described("around-imdn").tasks == ("sr-x4",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("around-rfdnn", "unknown published chain 'rfdnn': did you mean 'rfdn'"),
        ("around-hinet", "unknown published chain 'hinet'"),
    ],
)
def test_what_is_no_published_chain_is_refused(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        named_space(name)


def test_a_base_is_a_chain() -> None:
    with pytest.raises(ValueError, match="'bases' names published chains, got 'hinet', a unet"):
        named_space("sr-card", bases=("hinet",))

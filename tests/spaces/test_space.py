from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spaces.architecture import Architecture, Block
from spaces.blocks import BLOCKS
from spaces.budget import Budget
from spaces.build import build, cost
from spaces.catalog import named_space, space_names
from spaces.catalog.sr import CARD_BLOCKS
from spaces.layers.attention import ATTENTION_NAMES
from spaces.padding import run
from spaces.parts import part_cost
from spaces.space import Choice, Genotype, Space, chain_space
from spaces.task import Task
from spaces.topologies.chain import FUSIONS, IMAGE_SKIPS, Chain
from spaces.upsamplers import UPSAMPLERS

TASK = Task("sr-x2", scale=2)
ALL = named_space("sr-all")
CARD = named_space("sr-card")
SMALL = chain_space("small", blocks=("ghost", "idle"), widths=(8, 12), depths=(1, 3))
GENOTYPES = st.fixed_dictionaries({choice.name: st.sampled_from(choice.values) for choice in ALL})
SEEDS = st.integers(0, 10**9)


def genotype(**changes: object) -> dict[str, object]:
    return SMALL.sample(Random(0)) | changes


@settings(deadline=None)
@given(GENOTYPES)
def test_every_genotype_is_accepted_and_decodes_to_what_it_says(genes: Genotype) -> None:
    ALL.check(genes)
    chain = ALL.decode(genes)
    assert isinstance(chain, Chain)
    assert (chain.width, len(chain.blocks)) == (genes["width"], genes["depth"])
    assert [str(block) for block in chain.blocks] == [genes[f"block_{i}"] for i in range(len(chain.blocks))]
    assert chain.upsampler.kind == genes["upsampler"]
    for name in ("fusion", "feature_skip", "image_skip", "activation", "attention", "convolution"):
        assert getattr(chain, name) == genes[name]
    assert Architecture.from_json(chain.to_json()) == chain


@settings(deadline=None)
@given(GENOTYPES, st.data())
def test_genes_beyond_the_depth_leave_no_trace(genes: Genotype, data: st.DataObject) -> None:
    depth = genes["depth"]
    assert isinstance(depth, int)
    unused = {f"block_{i}": data.draw(st.sampled_from(list(BLOCKS))) for i in range(depth, 8)}
    assert ALL.decode({**genes, **unused}).digest == ALL.decode(genes).digest


@settings(max_examples=12, deadline=None)
@given(SEEDS)
def test_sampled_genotypes_build_and_run(seed: int) -> None:
    space = named_space("sr-all", widths=(4, 7, 8), depths=(1, 2, 3))
    genes = space.sample(Random(seed))
    space.check(genes)
    network = build(space.decode(genes), TASK)
    assert run(network, torch.rand(1, 3, 9, 21), scale=2).shape == (1, 3, 18, 42)


@settings(deadline=None)
@given(SEEDS)
def test_sampling_is_repeatable_and_offers_only_what_the_space_holds(seed: int) -> None:
    genes = CARD.sample(Random(seed))
    assert genes == CARD.sample(Random(seed))
    CARD.check(genes)


def test_sampling_reaches_every_value() -> None:
    random = Random(0)
    samples = [SMALL.sample(random) for _ in range(200)]
    for choice in SMALL:
        assert {genes[choice.name] for genes in samples} == set(choice.values)


@pytest.mark.parametrize(
    ("genes", "message"),
    [
        ({}, "has the genes .*; off: "),
        ({"depth": 1}, r"off: \['activation', 'block_0'"),
        (genotype(surplus=1), r"off: \['surplus'\]"),
        (genotype(width=9), "gene 'width' of space 'small' has no value 9"),
        (genotype(width=8.0), "gene 'width' of space 'small' has no value 8.0"),
        (genotype(depth=True), "gene 'depth' of space 'small' has no value True"),
        (genotype(feature_skip=0), "gene 'feature_skip' of space 'small' has no value 0"),
        (genotype(block_2="rfdb"), "gene 'block_2' of space 'small' has no value 'rfdb'"),
        (genotype(block_2=["ghost"]), "gene 'block_2'"),
    ],
)
def test_genotype_of_another_space_is_refused(genes: Genotype, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SMALL.check(genes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": ("rfdbb",)}, "unknown block 'rfdbb': did you mean 'rfdb'"),
        ({"upsamplers": ("transposd",)}, "unknown upsampler 'transposd': did you mean 'transposed'"),
        ({"activations": ("paper", "sliu")}, "unknown activation 'sliu': did you mean 'silu'"),
        ({"fusions": ("concatenate",)}, "unknown fusion 'concatenate': did you mean 'concat'"),
        ({"image_skips": ("bilinaer",)}, "unknown image skip 'bilinaer': did you mean 'bilinear'"),
        ({"attentions": ("paper", "pixle")}, "unknown attention 'pixle': did you mean 'pixel'"),
        ({"convolutions": ("plain", "bassis")}, "unknown convolution 'bassis': did you mean 'basis'"),
        ({"convolutions": ()}, "choice 'convolution' needs at least one value"),
        ({"unshuffles": (1, 3)}, r"an unshuffle is one of 1, 2, 4, got \[1, 3\]"),
        ({"attentions": ()}, "choice 'attention' needs at least one value"),
        ({"unshuffles": ()}, "choice 'unshuffle' needs at least one value"),
        ({"blocks": ()}, "needs at least one value"),
        ({"fusions": ()}, "choice 'fusion' needs at least one value"),
        ({"fusions": ("plain", "plain")}, "choice 'fusion' repeats a value"),
        ({"widths": (3, 8)}, "'width' is from 4 to 4096, got 3 to 8"),
        ({"widths": ()}, "'width' is from 4 to 4096, got none"),
        ({"depths": (0, 1)}, "'depth' is from 1 to 256"),
    ],
)
def test_impossible_lists_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chain_space("odd", **({"blocks": ("ghost",)} | changes))  # type: ignore[arg-type]


def test_ordered_choice_needs_increasing_values() -> None:
    with pytest.raises(ValueError, match="'width' needs increasing values, got \\[8, 4\\]"):
        Choice("width", (8, 4), ordered=True)


def test_unknown_space_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown space 'sr-crd': did you mean 'sr-card'"):
        named_space("sr-crd")


def test_named_spaces_offer_the_card_and_everything() -> None:
    assert {"sr-card", "sr-all"} <= set(space_names())
    assert CARD.by_name["block_0"].values == CARD_BLOCKS
    kinds = [Block.parse(str(value)) for value in ALL.by_name["block_7"].values]
    assert {block.kind for block in kinds} == set(BLOCKS)
    forms = {dict(block.options).get("convolution") for block in kinds if block.kind == "residual"}
    assert forms == {None, "acb", "basis"}
    assert set(ALL.by_name["attention"].values) == {"paper", *ATTENTION_NAMES}
    offered = set(CARD.by_name["upsampler"].values)
    assert offered == set(ALL.by_name["upsampler"].values) == set(UPSAMPLERS) - {"pixelshuffle_two_scale"}


def test_one_kind_for_all_positions() -> None:
    space = chain_space("one", blocks=("ghost", "idle"), widths=(8,), depths=(2, 3), per_position=False)
    assert [name for name in space.by_name if name.startswith("block")] == ["block"]
    genes = space.sample(Random(0)) | {"depth": 3, "block": "idle"}
    chain = space.decode(genes)
    assert isinstance(chain, Chain)
    assert [block.kind for block in chain.blocks] == ["idle"] * 3


def test_lists_are_sorted_and_repeats_dropped() -> None:
    space = chain_space("lists", blocks=("idle", "ghost", "idle"), widths=(12, 8, 12), depths=(2, 1))
    assert space.by_name["width"] == Choice("width", (8, 12), ordered=True)
    assert space.by_name["depth"] == Choice("depth", (1, 2), ordered=True)
    assert space.by_name["block_1"] == Choice("block_1", ("idle", "ghost"))


def test_size_counts_the_genotypes() -> None:
    space = chain_space(
        "counted",
        blocks=("ghost", "idle", "hin"),
        widths=(8, 12),
        depths=(1, 2),
        upsamplers=("pixelshuffle",),
        image_skips=("none",),
    )
    assert space.size == 2 * 2 * 3**2 * 1 * 2 * 2 * 1


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"blocks": ("ghost",)},
        {"blocks": ("idle", "ghost")},
        {"widths": (8, 16)},
        {"depths": (1, 2)},
        {"per_position": False},
        {"upsamplers": ("pixelshuffle",)},
        {"fusions": ("plain",)},
        {"feature_skips": (True,)},
        {"image_skips": ("none",)},
        {"activations": ("paper", "gelu")},
        {"attentions": ("paper", "cea")},
        {"unshuffles": (1, 2)},
    ],
    ids=str,
)
def test_digest_changes_with_every_list(changes: dict[str, object]) -> None:
    same = {"name": "small", "blocks": ("ghost", "idle"), "widths": (8, 12), "depths": (1, 3)}
    assert chain_space(**same).digest == SMALL.digest  # type: ignore[arg-type]
    assert chain_space(**(same | changes)).digest != SMALL.digest  # type: ignore[arg-type]


def test_changed_named_space_is_another_space() -> None:
    changed = named_space("sr-card", widths=(8, 12), depths=None)
    assert changed.name == "sr-card (changed)"
    assert changed.digest != CARD.digest
    assert changed.by_name["depth"] == CARD.by_name["depth"]
    assert named_space("sr-card", per_position=False).digest != CARD.digest
    assert named_space("sr-card", widths=None).digest == CARD.digest


def test_space_may_leave_the_wiring_genes_out() -> None:
    space = Space("bare", (Choice("depth", (1,)), Choice("width", (8,)), Choice("block", ("ghost",))))
    assert (
        space.decode(space.sample(Random(0))).to_json() == '{"blocks":["ghost"],"topology":"chain","width":8}'
    )


def test_parts_are_traced_once_for_all_architectures() -> None:
    """What lets thousands of architectures be costed in a second."""
    random = Random(0)
    task = Task("traced once", scale=2, cost_input=(3, 40, 41))
    before = part_cost.cache_info().misses
    for _ in range(300):
        cost(SMALL.decode(SMALL.sample(random)), task)
    # Per width: the head, 2 blocks, the fusion at 2 depths, the trunk's convolution, 4 upsamplers.
    assert part_cost.cache_info().misses - before == 2 * (1 + 2 + 2 + 1 + 4)


WIDE = chain_space(
    "wide",
    blocks=("ghost", "rfdb"),
    widths=(4, 7, 12),
    depths=(1, 2, 3),
    fusions=FUSIONS,
    image_skips=IMAGE_SKIPS,
    activations=("paper", "gelu"),
    attentions=("paper", *ATTENTION_NAMES),
    unshuffles=(4, 1, 2),
)


def test_default_lists_add_no_choice() -> None:
    """What keeps the digests of stored studies' spaces."""
    given = chain_space(
        "small", blocks=("ghost", "idle"), widths=(8, 12), depths=(1, 3), attentions=("paper",)
    )
    assert given.digest == SMALL.digest
    assert {"attention", "unshuffle"}.isdisjoint(SMALL.by_name)
    assert WIDE.by_name["unshuffle"] == Choice("unshuffle", (1, 2, 4), ordered=True)


@given(st.fixed_dictionaries({choice.name: st.sampled_from(choice.values) for choice in WIDE}))
def test_decoding_and_costing_never_fail_with_all_wirings(genes: Genotype) -> None:
    WIDE.check(genes)
    chain = WIDE.decode(genes)
    assert isinstance(chain, Chain)
    assert (chain.attention, chain.unshuffle) == (genes["attention"], genes["unshuffle"])
    assert Architecture.from_json(chain.to_json()) == chain
    widths = (4, 7, 12)
    costs = [cost(WIDE.decode({**genes, "width": width}), TASK, size=(64, 64)).macs for width in widths]
    assert costs == sorted(costs)


@settings(max_examples=8)
@given(SEEDS)
def test_networks_with_all_wirings_build_and_run(seed: int) -> None:
    network = build(WIDE.decode(WIDE.sample(Random(seed))), TASK)
    assert run(network, torch.rand(1, 3, 9, 21), scale=2).shape == (1, 3, 18, 42)


def test_budget_repairs_genotypes_with_the_new_choices() -> None:
    budget = Budget(TASK, max_gmacs=0.05)
    for seed in range(20):
        candidate = budget.fit(WIDE, WIDE.sample(Random(seed)))
        assert candidate is None or candidate.gmacs <= 0.05
    assert any(budget.fit(WIDE, WIDE.sample(Random(seed))) for seed in range(20))

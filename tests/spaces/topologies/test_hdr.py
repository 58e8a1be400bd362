import json
import re
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from results.export.files import Format, export
from spaces.architecture import Architecture, Block
from spaces.baselines import baseline, published
from spaces.blocks import BLOCKS
from spaces.budget import Budget
from spaces.build import build, cost, part_costs, size_requirements
from spaces.catalog import named_space
from spaces.catalog.hdr import BUDGETS, hdr_space
from spaces.cost import count
from spaces.padding import run
from spaces.parts import Network
from spaces.sizes import SizeRequirements
from spaces.space import Genotype
from spaces.task import HDR, super_resolution
from spaces.topologies.hdr import HdrFusion

SPACE = hdr_space(
    "small",
    blocks=("efficient_rfdb", "drdb", "residual", "mscb", "rstb"),
    widths=(4, 7, 8, 12),
    depths=(1, 2, 3),
    unshuffles=(1, 2, 3, 4),
    outputs=("sigmoid", "relu", "linear"),
    activations=("paper", "silu"),
)
NAMED = named_space("hdr")
GENOTYPES = st.fixed_dictionaries({choice.name: st.sampled_from(choice.values) for choice in SPACE})
RESIDUAL = (Block("residual"),)


def efficient(width: int, depth: int, unshuffle: int = 2) -> HdrFusion:
    """The winner's layout as we read it."""
    blocks = (Block("efficient_rfdb"),) * depth
    return HdrFusion(width, blocks, unshuffle, convolution="separable", reconstruction="single")


def made(architecture: Architecture) -> Network:
    torch.manual_seed(0)
    return build(architecture, HDR).eval().requires_grad_(False)


def exposures(height: int = 16, width: int = 20) -> Tensor:
    return torch.rand(1, 18, height, width, generator=torch.Generator().manual_seed(0))


# AHDRNet


def test_ahdrnet_costs_what_is_published_and_what_its_code_measures() -> None:
    small, full = (cost(baseline("ahdrnet"), HDR, size=size) for size in ((256, 256), (1060, 1900)))
    assert small.parameters == 1_441_283
    assert small.gmacs() == pytest.approx(94.8122, abs=5e-5)
    assert small.gmacs("challenge") == pytest.approx(94.8416, abs=5e-5)
    assert small.activations / 1e6 == pytest.approx(105.0542, abs=5e-5)
    assert small.convolutions == 33
    assert full == cost(baseline("ahdrnet"), HDR)
    assert full.gmacs() == pytest.approx(2913.69, abs=5e-3)
    assert full.gmacs("bias") == pytest.approx(2916.9225, abs=5e-5)
    assert published("ahdrnet").figures.gmacs == round(full.gmacs("bias"), 2)


@pytest.mark.shared
def test_ahdrnets_tensors_are_ours_but_for_the_layers_it_never_runs(shared: Path) -> None:
    theirs = json.loads((shared / "facts/state_dicts.json").read_text())["AHDRNet"]["tensors"]
    ours = {name: list(tensor.shape) for name, tensor in made(baseline("ahdrnet")).state_dict().items()}
    renamed, unused = {}, []
    for name, shape in theirs.items():
        new = name
        for pattern, replacement in published("ahdrnet").renames:
            new = re.sub(pattern, replacement, new)
        if new:
            renamed[new] = shape
        else:
            unused.append(name)
    assert unused == [f"attConv{i}.{leaf}" for i in (1, 3) for leaf in ("weight", "bias")]
    assert renamed == ours


def test_ahdrnet_computes_what_its_paper_says() -> None:
    net, x = made(HdrFusion(8, (Block("drdb"),) * 2)), exposures()
    part = net.get_submodule

    def conv(name: str, value: Tensor) -> Tensor:
        return functional.conv2d(value, part(name).weight, part(name).bias, padding=1)

    def gate(name: str, frame: Tensor, reference: Tensor) -> Tensor:
        inner = functional.leaky_relu(conv(f"{name}.conv1", torch.cat((frame, reference), 1)), 0.01)
        return frame * torch.sigmoid(conv(f"{name}.conv2", inner))

    encoded = [
        functional.leaky_relu(conv("alignment.encoder", x[:, i : i + 6]), 0.01) for i in range(0, 18, 6)
    ]
    short = gate("alignment.short_gate", encoded[0], encoded[1])
    long = gate("alignment.long_gate", encoded[2], encoded[1])
    first = part("blocks.0")(conv("alignment.merge", torch.cat((short, encoded[1], long), 1)))
    fused = part("fusion")(torch.cat((first, part("blocks.1")(first)), 1))
    merged = conv("trunk_conv", fused) + encoded[1]
    image = torch.sigmoid(conv("reconstruction.conv_last", conv("reconstruction.conv_up", merged)))
    torch.testing.assert_close(net(x), image)


def test_drdb_is_dense_and_dilated() -> None:
    torch.manual_seed(0)
    block = BLOCKS["drdb"].create(5, growth=3, layers=2).requires_grad_(False)
    x = torch.rand(1, 5, 9, 9)
    dense = x
    for i in range(2):
        conv = block.get_submodule(f"dense_layers.{i}.conv")
        new = functional.conv2d(dense, conv.weight, conv.bias, padding=2, dilation=2)
        dense = torch.cat((dense, functional.relu(new)), 1)
    torch.testing.assert_close(block(x), x + block.get_submodule("conv_1x1")(dense))


# The topology


@settings(max_examples=30, deadline=None)
@given(GENOTYPES, st.integers(5, 50), st.integers(5, 50))
def test_sum_of_the_parts_is_the_cost_of_the_whole_network(genes: Genotype, height: int, width: int) -> None:
    architecture = SPACE.decode(genes)
    with torch.device("meta"):
        network = build(architecture, HDR)
    size = network.size_requirements.padded(height, width)
    assert network.size_requirements == size_requirements(architecture, HDR)
    x = torch.empty(1, 18, *size, device="meta")
    found = cost(architecture, HDR, size=(height, width))
    assert found == count(network, x)
    with FlopCounterMode(display=False) as flops:
        network(x)
    assert found.macs == flops.get_total_flops() / 2


@settings(deadline=None)
@given(GENOTYPES)
def test_every_genotype_decodes_to_what_it_says_and_survives_json(genes: Genotype) -> None:
    SPACE.check(genes)
    found = SPACE.decode(genes)
    assert isinstance(found, HdrFusion)
    depth = genes["depth"]
    assert isinstance(depth, int)
    assert [block.kind for block in found.blocks] == [genes[f"block_{i}"] for i in range(depth)]
    for name in set(genes) - {"depth"}:
        assert name.startswith("block_") or getattr(found, name) == genes[name]
    assert Architecture.from_json(found.to_json()) == found


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**9))
def test_sampled_networks_run_at_odd_sizes(seed: int) -> None:
    architecture = SPACE.decode(SPACE.sample(Random(seed)))
    output = run(made(architecture), exposures(9, 21))
    assert output.shape == (1, 3, 9, 21)
    assert output.isfinite().all()


@settings(max_examples=15, deadline=None)
@given(GENOTYPES)
def test_costs_grow_with_the_width(genes: Genotype) -> None:
    found = [cost(SPACE.decode({**genes, "width": w}), HDR, size=(48, 48)).macs for w in (4, 5, 7, 8, 12)]
    assert found == sorted(set(found))


def test_every_parameter_gets_a_gradient() -> None:
    for architecture in (efficient(24, 2), HdrFusion(8, (Block("rstb"), Block("drdb")))):
        network = made(architecture).requires_grad_(True)
        (run(network, exposures(48, 32)) * torch.rand(1, 3, 48, 32)).sum().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name


@pytest.mark.parametrize("frame", [0, 12], ids=["short", "long"])
def test_a_closed_gate_hides_its_frame(frame: int) -> None:
    network, x = made(HdrFusion(8, RESIDUAL)), exposures()
    changed = x.clone()
    changed[:, frame : frame + 6] = 0.5
    assert not torch.equal(network(changed), network(x))
    name = "short_gate" if frame == 0 else "long_gate"
    network.get_submodule(f"alignment.{name}.conv2").bias.fill_(-200.0)  # type: ignore[union-attr, operator]
    assert torch.equal(network(changed), network(x))


def test_without_alignment_frames_are_only_concatenated() -> None:
    network = made(HdrFusion(8, RESIDUAL, alignment="none"))
    assert "short_gate" not in dict(network.get_submodule("alignment").named_children())
    gated, plain = (
        cost(HdrFusion(8, RESIDUAL, alignment=a), HDR, size=(8, 8)) for a in ("attention", "none")
    )
    assert gated.macs - plain.macs == 64 * 2 * 9 * (16 * 16 + 16 * 8)


@pytest.mark.parametrize("unshuffle", [1, 2, 4])
def test_pixels_stay_in_their_places(unshuffle: int) -> None:
    """A change of one input pixel is seen around it, so that unshuffling and shuffling are inverses."""
    network = made(HdrFusion(8, RESIDUAL, unshuffle))
    x = exposures(64, 64)
    changed = x.clone()
    changed[..., 24, 40] += 0.5
    moved = (network(changed) - network(x)).abs().sum(1)[0]
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    centre = ((moved * rows).sum() / moved.sum(), (moved * columns).sum() / moved.sum())
    assert float(centre[0]) == pytest.approx(24.5, abs=unshuffle)
    assert float(centre[1]) == pytest.approx(40.5, abs=unshuffle)


def test_reference_skip_passes_the_medium_frame() -> None:
    x = exposures()
    other = x.clone()
    other[:, 6:12] = 0.25
    for skip in (True, False):
        network = made(HdrFusion(8, RESIDUAL, reference_skip=skip))
        for parameter in network.get_submodule("trunk_conv").parameters():
            parameter.zero_()
        assert torch.equal(network(x), network(other)) is not skip


@pytest.mark.parametrize("output", ["sigmoid", "relu", "linear"])
def test_output_has_its_range(output: str) -> None:
    network = made(HdrFusion(8, RESIDUAL, output=output))
    last = network.get_submodule("reconstruction.conv_last")
    last.bias.copy_(torch.tensor((-20.0, 0.0, 20.0)))  # type: ignore[union-attr, operator]
    image = network(exposures())
    assert (float(image.min()) >= 0) is (output != "linear")
    assert (float(image.max()) > 1) is (output != "sigmoid")


def test_costs_come_part_by_part_at_the_size_of_their_maps() -> None:
    found = part_costs(HdrFusion(8, (Block("residual"), Block("drdb")), unshuffle=2), HDR, size=(16, 16))
    names = ["alignment", "blocks.0", "blocks.1", "fusion", "trunk_conv", "reconstruction"]
    assert list(found) == names
    assert found["trunk_conv"].macs == 8 * 8 * 9 * 8 * 8
    assert found["reconstruction"].macs == 8 * 8 * 9 * (8 * 8 + 8 * 12)
    assert found["alignment"].convolutions == 3 + 4 + 1


def test_size_requirements_are_of_the_input() -> None:
    assert size_requirements(efficient(8, 1, unshuffle=4), HDR) == SizeRequirements(60, 4)
    rstb = HdrFusion(8, (Block("rstb"),), unshuffle=2)
    assert size_requirements(rstb, HDR) == SizeRequirements(16, 16)


def test_label_says_what_differs_from_ahdrnet() -> None:
    assert baseline("ahdrnet").label == "3x64 drdb*3"
    assert efficient(40, 7).label == "7x40 efficient_rfdb*7, unshuffle 2, separable, single reconstruction"
    bare = HdrFusion(
        8, RESIDUAL, 1, "none", fusion="plain", reference_skip=False, output="relu", activation="silu"
    )
    assert bare.label == "1x8 residual, no alignment, plain fusion, no reference skip, relu output, silu"


def test_fields_at_their_defaults_are_left_out_of_the_json() -> None:
    assert baseline("ahdrnet").to_json() == '{"blocks":["drdb","drdb","drdb"],"topology":"hdr","width":64}'


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 3}, "'width' is from 4 to 4096, got 3"),
        ({"blocks": ()}, "at least one block"),
        ({"unshuffle": 0}, "'unshuffle' is from 1 to 8, got 0"),
        ({"alignment": "atention"}, "unknown alignment 'atention': did you mean 'attention'"),
        ({"convolution": "separabel"}, "did you mean 'separable'"),
        ({"output": "tanh"}, "unknown output 'tanh': .*linear, relu, sigmoid"),
    ],
    ids=str,
)
def test_bad_fields_are_refused(changes: dict[str, object], message: str) -> None:
    fields: dict[str, object] = {"width": 8, "blocks": RESIDUAL}
    with pytest.raises(ValueError, match=message):
        HdrFusion(**(fields | changes))  # type: ignore[arg-type]


def test_another_task_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"three exposures \(18 channels in, scale 1\), got 'sr-x4' \(3 channels"
    ):
        build(HdrFusion(8, RESIDUAL), super_resolution(4))


@pytest.mark.parametrize(("form", "kind", "least"), [("pt2", "efficient_rfdb", 48), ("onnx", "residual", 24)])
def test_unshuffled_network_exports(form: Format, kind: str, least: int, tmp_path: Path) -> None:
    """ESA's smallest size is of its own map, here of half the input's size."""
    architecture = HdrFusion(6, (Block(kind),), 2, convolution="separable", fusion="plain")
    done = export(made(architecture), architecture, HDR, tmp_path / f"hdr.{form}", form)
    assert (done.minimum_size, done.multiple_of) == (least, 2)
    assert min(min(size) for size in done.sizes) == least


# The catalogue


def test_the_named_space_is_for_hdr_and_can_be_changed() -> None:
    changed = named_space("hdr", blocks=("rstb",), widths=(8, 12), depths=(2,), per_position=False)
    genes = changed.sample(Random(0))
    found = changed.decode(genes)
    assert isinstance(found, HdrFusion)
    assert [block.kind for block in found.blocks] == ["rstb", "rstb"]
    assert cost(NAMED.decode(NAMED.sample(Random(1))), HDR).macs > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": ("drbd",)}, "unknown block 'drbd': did you mean 'drdb'"),
        ({"unshuffles": ()}, "'unshuffle' is from 1 to 8, got none"),
        ({"unshuffles": (2, 16)}, "'unshuffle' is from 1 to 8, got 2 to 16"),
        ({"widths": (2, 8)}, "'width' is from 4 to 4096, got 2 to 8"),
        ({"alignments": ("flow",)}, "unknown alignment 'flow'"),
        ({"activations": ("rellu",)}, "unknown activation 'rellu'"),
    ],
    ids=str,
)
def test_bad_lists_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hdr_space("bad", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("ntire22-hdr-1", {(72, 6): 197.08, (64, 8): 196.63, (54, 12): 198.40, (47, 16): 193.98}),
        ("ntire22-hdr-2", {(61, 2): 72.54, (42, 6): 71.59, (38, 8): 74.00, (31, 12): 69.87, (27, 16): 69.36}),
    ],
)
def test_efficient_trunks_reach_the_winners_budgets(name: str, sizes: dict[tuple[int, int], float]) -> None:
    low, high = BUDGETS[name]
    for (width, depth), gmacs in sizes.items():
        found = cost(efficient(width, depth), HDR).gmacs("bias")
        assert found == pytest.approx(gmacs, abs=5e-3)
        assert low <= found <= high


@pytest.mark.parametrize("name", list(BUDGETS))
def test_budget_repair_lands_in_the_band(name: str) -> None:
    low, high = BUDGETS[name]
    budget = Budget(HDR, high, low, "bias")
    budget.check(NAMED)
    space = named_space("hdr", blocks=("efficient_rfdb",), per_position=False)
    wanted = {"block": "efficient_rfdb", "unshuffle": 2, "convolution": "separable", "alignment": "attention"}
    for depth in (4, 8, 16):
        genes = space.sample(Random(depth)) | wanted | {"depth": depth}
        candidate = budget.fit(space, genes)
        assert candidate is not None
        assert low <= candidate.gmacs <= high
        assert {block.kind for block in candidate.architecture.blocks} == {"efficient_rfdb"}  # type: ignore[attr-defined]

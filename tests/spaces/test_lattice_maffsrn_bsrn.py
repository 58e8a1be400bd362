"""LatticeNet, MAFFSRN, BSRN and BSRN-S are the published ones, in structure, cost and quality."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.baselines import published
from spaces.blocks import BLOCKS
from spaces.blocks.lattice import CombinationCoefficient
from spaces.build import build, cost
from spaces.upsamplers import UPSAMPLERS

WIDTH = 12
# Parameters, MACs and operations as the challenges count them, activations, convolutions; at 3x256x256.
COSTS = {
    "latticenet": (776_968, 49_582_522_368, 49_678_991_488, 132_319_360, 104),
    "maffsrn": (441_706, 27_048_593_408, 27_116_132_608, 212_242_688, 159),
    "bsrn": (352_400, 21_819_937_280, 21_819_937_312, 404_960_672, 206),
    "bsrn-s": (156_288, 9_430_089_300, 9_430_089_300, 209_190_948, 121),
}


def block(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return BLOCKS[kind].create(WIDTH)


def image() -> Tensor:
    return torch.rand(2, WIDTH, 17, 19, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", COSTS)
def test_costs_are_the_original_codes(name: str) -> None:
    network = published(name)
    found = cost(network.architecture, network.task)
    counted = (found.parameters, found.macs, found.operations("challenge"), found.activations)
    assert (*counted, found.convolutions) == COSTS[name]


@pytest.mark.parametrize("name", ["latticenet", "maffsrn"])
def test_costs_are_the_published_ones_cut_off(name: str) -> None:
    network = published(name)
    figures, found = network.figures, cost(network.architecture, network.task)
    assert figures.parameters is not None
    assert figures.gmacs is not None
    assert figures.activations is not None
    assert figures.convolutions == found.convolutions
    assert found.parameters == pytest.approx(figures.parameters, abs=1000)
    assert 0 <= found.gmacs("challenge") - figures.gmacs < 0.01
    assert 0 <= found.activations - figures.activations < 0.01e6


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "facts"),
    [("latticenet", "LatticeNet"), ("maffsrn", "MAFFSRN"), ("bsrn", "BSRN"), ("bsrn-s", "BSRN_S")],
)
def test_costs_are_those_measured_with_the_original_code(shared: Path, name: str, facts: str) -> None:
    measured = json.loads((shared / "facts/facts.json").read_text())["architectures"][facts]["measured"]
    network = published(name)
    found = cost(network.architecture, network.task)
    assert found.parameters == measured["params"]
    assert found.gmacs() == pytest.approx(measured["conv_macs_g"], abs=5e-5)
    if name != "bsrn-s":  # whose linear layers the challenges' script doesn't see
        assert found.gmacs("challenge") == pytest.approx(measured["kair_flops_g"], abs=5e-5)
        assert found.activations / 1e6 == pytest.approx(measured["acts_m"], abs=5e-5)
        assert found.convolutions == measured["convs"]


@pytest.mark.shared
def test_bsrns_tensors_are_ours_renamed(shared: Path) -> None:
    """Its weights aren't at hand; names and shapes of its checkpoint are."""
    theirs = json.loads((shared / "facts/state_dicts.json").read_text())["BSRN_x4"]["tensors"]
    known = published("bsrn")
    with torch.device("meta"):
        ours = build(known.architecture, known.task).state_dict()
    renamed = {}
    for name, shape in theirs.items():
        for pattern, replacement in known.renames:
            name = re.sub(pattern, replacement, name)
        renamed[name] = shape
    assert renamed == {name: list(tensor.shape) for name, tensor in ours.items()}


@torch.no_grad()
def test_lattice_block_is_two_butterflies() -> None:
    net, x = block("lattice"), image()
    part = net.get_submodule
    first = part("branch1")(x)
    upper, lower = x + part("branch1_weight")(first) * first, first + part("input_weight")(x) * x
    second = part("branch2")(upper)
    above = second + part("lower_weight")(lower) * lower
    below = lower + part("branch2_weight")(second) * second
    expected = part("compress")(torch.cat((above, below), 1))
    torch.testing.assert_close(net(x), expected)
    assert part("branch1.0").out_channels == 9  # 3/4 of the width, as 48 of 64


@torch.no_grad()
def test_combination_coefficient_is_the_mean_of_a_gate_on_mean_and_one_on_the_samples_deviation() -> None:
    net, x = CombinationCoefficient(WIDTH), image()
    mean, deviation = x.mean((2, 3), keepdim=True), x.flatten(2).std(2)[..., None, None]
    expected = (net.of_mean(mean) + net.of_deviation(deviation)) / 2
    torch.testing.assert_close(net(x), expected)


def test_lattice_block_takes_a_single_pixel_and_a_constant_map() -> None:
    net = block("lattice")
    for x in (torch.rand(1, WIDTH, 1, 1), torch.full((1, WIDTH, 8, 8), 0.5)):
        x.requires_grad_()
        output = net(x)
        output.sum().backward()
        assert output.isfinite().all()
        assert x.grad is not None
        assert x.grad.isfinite().all()


@torch.no_grad()
def test_ffg_fuses_step_by_step_after_a_channel_shuffle() -> None:
    net, x = block("ffg"), image()
    part = net.get_submodule
    x0 = part("blocks.0")(x)
    x1 = part("blocks.1")(x0) + x0
    x2 = part("blocks.2")(x1) + x1
    x3 = part("blocks.3")(x2)
    fused = x0
    for i, features in enumerate((x1, x2, x3)):
        fused = part(f"fusions.{i}")(functional.channel_shuffle(torch.cat((fused, features), 1), 2))
    torch.testing.assert_close(net(x), fused + x)


@torch.no_grad()
def test_mab_multiplies_by_both_gates() -> None:
    mab, x = block("ffg").get_submodule("blocks.0"), image()
    features = mab.get_submodule("conv2")(mab.get_submodule("act")(mab.get_submodule("conv1")(x)))
    cea, spatial = mab.get_submodule("cea"), mab.get_submodule("spatial")
    torch.testing.assert_close(mab(x) * features, spatial(features) * cea(features))
    gate = spatial(features) / features
    assert gate.min() >= 0.5 - 1e-4  # a ReLU comes before the sigmoid


@torch.no_grad()
def test_esdb_distils_three_times_and_has_a_skip() -> None:
    for kind in ("esdb", "esdb_small"):
        net, x = block(kind), image()
        part = net.get_submodule
        distilled, features = [], x
        for i in (1, 2, 3):
            distilled.append(functional.gelu(part(f"c{i}_d")(features)))
            features = functional.gelu(part(f"c{i}_r")(features) + features)
        distilled.append(functional.gelu(part("c4")(features)))
        expected = x + part("cca")(part("esa")(part("c5")(torch.cat(distilled, 1))))
        torch.testing.assert_close(net(x), expected)


def test_small_esdb_differs_as_documented() -> None:
    plain, small = block("esdb"), block("esdb_small")
    assert isinstance(small.get_submodule("esa.conv2"), nn.Conv2d)
    assert not isinstance(plain.get_submodule("esa.conv2"), nn.Conv2d)
    assert small.get_submodule("c1_r.pw").bias is not None
    assert plain.get_submodule("c1_r.pw").bias is None
    assert small.get_parameter("cca.cw").shape == (1, WIDTH)


@torch.no_grad()
def test_two_scale_upsampler_adds_a_3x3_and_a_5x5_convolution_weighed() -> None:
    upsampler, x = UPSAMPLERS["pixelshuffle_two_scale"].create(WIDTH, 3, 2), image()
    three, five = upsampler.get_submodule("conv3"), upsampler.get_submodule("conv5")
    upsampler.get_parameter("scale5").fill_(2.0)
    expected = functional.pixel_shuffle(0.5 * three(x) + 2 * five(x), 2)
    torch.testing.assert_close(upsampler(x), expected)
    assert (three.weight_v.shape[-1], five.weight_v.shape[-1]) == (3, 5)


@torch.no_grad()
def test_second_convolution_before_the_pixel_shuffle() -> None:
    upsampler, x = UPSAMPLERS["pixelshuffle"].create(WIDTH, 3, 2, convolutions=2), image()
    inner = upsampler.get_submodule("before.0")
    expected = functional.pixel_shuffle(upsampler.get_submodule("conv")(inner(x)), 2)
    torch.testing.assert_close(upsampler(x), expected)

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spaces.architecture import Block
from spaces.baselines import baseline
from spaces.blocks import BLOCKS
from spaces.build import build, cost, part_costs
from spaces.cost import Cost, count, total
from spaces.space import Genotype, chain_space
from spaces.task import Task
from spaces.topologies.chain import Chain
from spaces.upsamplers import UPSAMPLERS

TASK = Task("sr-x4", scale=4)
SPACE = chain_space(
    "all",
    blocks=tuple(BLOCKS),
    widths=range(4, 14),
    depths=(1, 2, 3),
    upsamplers=tuple(UPSAMPLERS),
    activations=("paper", "relu", "silu"),
)
GENOTYPES = st.fixed_dictionaries({choice.name: st.sampled_from(choice.values) for choice in SPACE})
SIDES = st.integers(9, 41)


def on_meta(module: nn.Module, *shape: int) -> Cost:
    return count(module.to("meta"), torch.empty(shape, device="meta"))


@pytest.mark.parametrize(
    ("name", "gmacs", "challenge", "parameters", "activations", "convolutions"),
    [
        ("msrresnet", 166.2077, 166.3629, 1_517_571, 292.5527, 37),
        ("rfdn", 27.0336, 27.1026, 433_448, 112.0342, 64),
    ],
)
def test_published_networks_cost_what_their_challenge_reports(
    name: str, gmacs: float, challenge: float, parameters: int, activations: float, convolutions: int
) -> None:
    assert TASK.cost_input == (3, 256, 256)
    found = cost(baseline(name), TASK)
    assert found.gmacs() == pytest.approx(gmacs, abs=1e-4)
    assert found.gmacs("challenge") == pytest.approx(challenge, abs=1e-4)
    assert found.parameters == parameters
    assert found.activations / 1e6 == pytest.approx(activations, abs=1e-4)
    assert found.convolutions == convolutions


@settings(max_examples=40, deadline=None)
@given(genotype=GENOTYPES, scale=st.integers(1, 4), height=SIDES, width=SIDES)
def test_sum_of_the_parts_is_the_cost_of_the_whole_network(
    genotype: Genotype, scale: int, height: int, width: int
) -> None:
    architecture, task = SPACE.decode(genotype), Task("any", scale=scale)
    with torch.device("meta"):
        network = build(architecture, task)
    size = network.size_requirements.padded(height, width)
    whole = count(network, torch.empty(1, 3, *size, device="meta"))
    assert cost(architecture, task, size=(height, width)) == whole


def test_costs_come_part_by_part_in_forward_order() -> None:
    chain = Chain(8, (Block("ghost"), Block("rfdb")))
    found = part_costs(chain, TASK, size=(16, 16))
    assert list(found) == ["head", "blocks.0", "blocks.1", "fusion", "trunk_conv", "upsampler"]
    assert found["head"] == Cost(
        macs=3 * 8 * 9 * 256, parameters=224, activations=8 * 256, convolutions=1, bias_ops=8 * 256
    )


def test_default_size_is_the_tasks_cost_input() -> None:
    chain = Chain(8, (Block("ghost"),))
    small = Task("small", scale=2, cost_input=(3, 20, 33))
    assert cost(chain, small) == cost(chain, Task("other", scale=2), size=(20, 33))


def test_size_below_the_minimum_costs_what_its_padded_size_does() -> None:
    chain = Chain(8, (Block("rfdb"),))
    assert cost(chain, TASK, size=(5, 20)) == cost(chain, TASK, size=(15, 20))


def test_transposed_convolution_counts_on_the_input_grid() -> None:
    found = on_meta(nn.ConvTranspose2d(5, 3, 4, stride=2, padding=1), 1, 5, 7, 9)
    assert found.macs == 7 * 9 * 5 * 3 * 16
    assert found.operations("challenge") == 14 * 18 * 5 * 3 * 16
    assert found.activations == found.bias_ops == 3 * 14 * 18
    assert found.convolutions == 1


def test_grouped_transposed_convolution() -> None:
    found = on_meta(nn.ConvTranspose2d(6, 4, 3, stride=3, groups=2, bias=False), 1, 6, 7, 9)
    assert found.macs == 7 * 9 * 6 * (4 // 2) * 9
    assert found.operations("challenge") == 21 * 27 * (6 // 2) * 4 * 9
    assert found.bias_ops == 0


def test_grouped_strided_convolution() -> None:
    found = on_meta(nn.Conv2d(6, 8, 3, stride=2, groups=2), 1, 6, 9, 11)
    assert found.macs == 4 * 5 * 8 * 3 * 9
    assert found.operations("challenge") == found.macs


def test_linear_layers_count_on_all_leading_dimensions() -> None:
    found = on_meta(nn.Linear(5, 7), 1, 3, 4, 5)
    assert found == Cost(macs=12 * 5 * 7, parameters=42, activations=84, bias_ops=84)


def test_linear_layer_on_channels_last_maps_counts_in_full() -> None:
    class ChannelsLast(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.permute(0, 2, 3, 1))

    found = on_meta(ChannelsLast(5, 7), 1, 5, 3, 4)
    assert (found.macs, found.activations) == (12 * 5 * 7, 84)


def test_matrix_products_count() -> None:
    class Products(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x @ x.transpose(-2, -1)) @ x

    found = on_meta(Products(), 2, 3, 4, 5)
    assert found == Cost(macs=2 * 6 * 4 * 4 * 5, activations=6 * (16 + 20))


@pytest.mark.parametrize("bias", [True, False])
def test_bias_convention_adds_one_per_biased_output(bias: bool) -> None:
    found = on_meta(nn.Conv2d(3, 8, 3, padding=1, bias=bias), 1, 3, 5, 6)
    assert found.macs == 30 * 3 * 8 * 9
    assert found.operations("bias") - found.macs == (30 * 8 if bias else 0)


def test_challenge_convention_charges_activation_modules_per_call() -> None:
    class Activations(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.LeakyReLU(0.1)
            self.free = nn.SiLU()

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.relu(self.free(self.shared(self.shared(x))))

    found = on_meta(Activations(), 1, 2, 3, 4)
    assert found.operations("challenge") == 2 * 24
    assert found.operations("exact") == found.operations("bias") == 0


def test_total_adds_each_count_and_is_nothing_for_no_costs() -> None:
    one, ten = Cost(1, 2, 3, 4, 5, 6, 7), Cost(10, 20, 30, 40, 50, 60, 70)
    assert total([one, ten]) == Cost(11, 22, 33, 44, 55, 66, 77)
    assert total([]) == Cost()


def test_unknown_convention_is_refused() -> None:
    with pytest.raises(ValueError, match="one of exact, challenge, bias, fvcore, got 'flops'"):
        Cost().operations("flops")  # type: ignore[arg-type]


def test_counting_leaves_the_module_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()).to("meta")
    assert count(module, torch.empty(1, 3, 4, 4, device="meta")) == count(
        module, torch.empty(1, 3, 4, 4, device="meta")
    )
    assert not module[1]._forward_hooks

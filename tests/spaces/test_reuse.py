"""Blocks that reuse weights, and blocks with a choice of convolution or attention."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.architecture import Architecture, Block
from spaces.blocks import BLOCKS
from spaces.build import build, cost
from spaces.cost import Cost, count
from spaces.layers.attention import ATTENTION_NAMES, SE
from spaces.layers.convolutions import CONVOLUTION_NAMES
from spaces.padding import run
from spaces.registry import UnknownNameError
from spaces.task import Task
from spaces.topologies.chain import Chain

WIDTH = 12
SIZE = (16, 17)
PIXELS = 16 * 17
TASK = Task("sr-x2", scale=2)


def block(kind: str, width: int = WIDTH, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return BLOCKS[kind].create(width, **options).requires_grad_(False)


def image(width: int = WIDTH) -> Tensor:
    return torch.rand(2, width, *SIZE, generator=torch.Generator().manual_seed(0))


def cost_of(kind: str, width: int = WIDTH, **options: object) -> Cost:
    with torch.device("meta"):
        return count(BLOCKS[kind].create(width, **options), torch.empty(1, width, *SIZE))


@pytest.mark.parametrize("kind", ["residual", "rfdb", "inverted_residual", "mccb"])
def test_recursive_block_applies_one_block_again_and_again(kind: str) -> None:
    net, expected = block("recursive", block=kind, times=4), image()
    for _ in range(4):
        expected = net.get_submodule("block")(expected)
    torch.testing.assert_close(net(image()), expected)


def test_recursive_block_is_charged_for_each_application_but_stored_once() -> None:
    once, five = cost_of("residual"), cost_of("recursive", times=5)
    assert five == Cost(
        5 * once.macs,
        once.parameters,
        5 * once.activations,
        5 * once.convolutions,
        5 * once.activation_ops,
        0,
        5 * once.bias_ops,
    )


def test_recursive_block_starts_as_the_block_that_it_repeats() -> None:
    repeated = {f"block.{name}": tensor for name, tensor in block("ghost").state_dict().items()}
    recursive = block("recursive", block="ghost").state_dict()
    assert recursive.keys() == repeated.keys()
    assert all(torch.equal(recursive[name], repeated[name]) for name in repeated)


def test_recursive_block_passes_the_activation_on() -> None:
    assert (
        cost_of("recursive", block="rfdb", activation="silu").activation_ops
        < cost_of("recursive", block="rfdb").activation_ops
    )
    with pytest.raises(UnknownNameError, match="unknown activation 'rellu'"):
        BLOCKS["recursive"].create(8, activation="rellu")


def test_unknown_and_nested_kinds_of_recursive_block_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown block 'residul': did you mean 'residual'"):
        BLOCKS["recursive"].create(8, block="residul")
    with pytest.raises(ValueError, match="another kind, got 'recursive': raise 'times' instead"):
        BLOCKS["recursive"].create(8, block="recursive")
    with pytest.raises(ValueError, match="option 'times' of 'recursive' is from 1 to 65536, got 0"):
        BLOCKS["recursive"].create(8, times=0)


def test_recursive_chain_survives_json_and_takes_odd_sizes() -> None:
    chain = Chain(8, (Block("recursive", (("block", "rfdb"), ("times", 2))), Block("recurrent")))
    assert Architecture.from_json(chain.to_json()) == chain
    network = build(chain, TASK).eval()
    assert run(network, torch.rand(1, 3, 7, 9), scale=2).shape == (1, 3, 14, 18)
    with pytest.raises(UnknownNameError):
        cost(Chain(8, (Block("recursive", (("block", "nothing"),)),)), TASK)


def test_recurrent_block_follows_the_cells_equations() -> None:
    net, x = block("recurrent", times=2), image()
    part = net.get_submodule
    hidden, memory = x, torch.zeros_like(x)
    for _ in range(2):
        i, f, o, g = (part("from_input")(x) + part("from_hidden")(hidden)).split(WIDTH, dim=1)
        memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * memory.tanh()
    torch.testing.assert_close(net(x), x + part("project")(hidden))


def test_each_step_of_a_recurrent_block_costs_one_more_state_convolution() -> None:
    costs = [cost_of("recurrent", times=times) for times in (1, 2, 3, 4)]
    assert {cost.parameters for cost in costs} == {2 * 36 * WIDTH**2 + 4 * WIDTH + WIDTH**2 + WIDTH}
    assert {b.macs - a.macs for a, b in pairwise(costs)} == {36 * WIDTH**2 * PIXELS}
    assert costs[0].macs == 73 * WIDTH**2 * PIXELS


def test_inverted_residual_follows_mobilenetv3() -> None:
    net, x = block("inverted_residual", kernel=5, expansion=3), image()
    part = net.get_submodule
    assert isinstance(part("attention"), SE)
    expanded = functional.hardswish(part("expand")(x))
    depthwise = part("depthwise")
    assert isinstance(depthwise, nn.Conv2d)
    assert (depthwise.groups, depthwise.kernel_size) == (3 * WIDTH, (5, 5))
    gated = part("attention")(functional.hardswish(depthwise(expanded)))
    torch.testing.assert_close(net(x), x + part("project")(gated))


def test_inverted_residual_costs_what_its_convolutions_do() -> None:
    found = cost_of("inverted_residual", attention="none")
    assert found.macs == PIXELS * (2 * 4 * WIDTH**2 + 9 * 4 * WIDTH)
    assert found.operations("challenge") == found.macs, "h-swish is not charged"
    assert found.convolutions == 3


def test_inverted_residual_refuses_an_even_kernel_and_unknown_attention() -> None:
    with pytest.raises(ValueError, match="odd kernel, which keeps the size, got 4"):
        BLOCKS["inverted_residual"].create(8, kernel=4)
    with pytest.raises(UnknownNameError, match="unknown attention 'see': did you mean 'se'"):
        BLOCKS["inverted_residual"].create(8, attention="see")


@pytest.mark.parametrize("attention", ["none", *ATTENTION_NAMES])
@pytest.mark.parametrize("kind", ["inverted_residual", "residual"])
def test_every_attention_suits_every_block_that_takes_one(kind: str, attention: str) -> None:
    net = block(kind, 7, attention=attention)
    assert net(image(7)).shape == (2, 7, *SIZE)
    assert (cost_of(kind, attention=attention).macs > cost_of(kind, attention="none").macs) == (
        attention != "none"
    )


def test_residual_block_gates_what_it_adds() -> None:
    net, x = block("residual", attention="se"), image()
    part = net.get_submodule
    inner = part("conv2")(functional.relu(part("conv1")(x)))
    torch.testing.assert_close(net(x), x + part("attention")(inner))


def test_options_of_the_residual_block_leave_its_default_as_it_was() -> None:
    assert list(block("residual").state_dict()) == [
        "conv1.weight",
        "conv1.bias",
        "conv2.weight",
        "conv2.bias",
    ]
    chain = Chain(64, (Block("residual"),) * 2)
    assert '"blocks":["residual","residual"]' in chain.to_json()
    assert cost_of("residual", 64).macs == 2 * 9 * 64**2 * PIXELS


@pytest.mark.parametrize("kind", ["residual", "uestc"])
@pytest.mark.parametrize("convolution", CONVOLUTION_NAMES)
def test_every_convolution_trains_in_a_block_and_costs_the_same_deployed(kind: str, convolution: str) -> None:
    chain = Chain(8, (Block(kind, (("convolution", convolution),)),))
    assert cost(chain, TASK) == cost(Chain(8, (Block(kind),)), TASK)
    network = build(chain, TASK)
    (network(torch.rand(2, 3, 9, 9)) * torch.rand(2, 3, 18, 18)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_uestc_unit_doubles_the_channels_in_groups_and_weighs_both_paths() -> None:
    net, x = block("uestc"), image()
    part = net.get_submodule
    grouped = part("grouped")
    assert isinstance(grouped, nn.Conv2d)
    assert (grouped.groups, grouped.out_channels) == (2, 2 * WIDTH)
    unit = part("fuse")(functional.prelu(grouped(x), torch.tensor([0.25])))
    torch.testing.assert_close(net(x), x + unit)
    net.get_parameter("skip_weight").fill_(0.5)
    net.get_parameter("unit_weight").fill_(-2)
    torch.testing.assert_close(net(x), 0.5 * x - 2 * unit)


@pytest.mark.parametrize(("width", "groups", "padded"), [(7, 2, 8), (12, 5, 15), (4, 9, 4)])
def test_uestc_unit_pads_a_width_that_is_no_multiple_of_its_groups(
    width: int, groups: int, padded: int
) -> None:
    grouped = block("uestc", width, groups=groups).get_submodule("grouped")
    assert isinstance(grouped, nn.Conv2d)
    assert grouped.in_channels == padded
    assert grouped.groups == min(groups, width)
    assert block("uestc", width, groups=groups)(image(width)).shape == (2, width, *SIZE)

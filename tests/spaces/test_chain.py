from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.architecture import Block
from spaces.build import build, parts
from spaces.chain import FUSIONS, IMAGE_SKIPS, Chain
from spaces.parts import Network
from spaces.sizes import SizeRequirements
from spaces.task import Task

TASK = Task("sr-x3", scale=3)
BLOCKS = (Block("ghost"), Block("residual"))


def network(**changes: object) -> Network:
    torch.manual_seed(0)
    return build(Chain(**({"width": 8, "blocks": BLOCKS} | changes)), TASK)  # type: ignore[arg-type]


def image(height: int = 9, width: int = 11) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("fusion", "feature_skip", "image_skip", "value_range"),
    list(product(FUSIONS, (True, False), IMAGE_SKIPS, (1, 255))),
)
@torch.no_grad()
def test_forward_is_the_documented_wiring(
    fusion: str, feature_skip: bool, image_skip: str, value_range: int
) -> None:
    net = network(fusion=fusion, feature_skip=feature_skip, image_skip=image_skip, value_range=value_range)
    part = net.get_submodule
    head = part("head")(image() * value_range)
    first = part("blocks.0")(head)
    features = part("blocks.1")(first)
    if fusion == "concat":
        features = part("fusion")(torch.cat((first, features), 1))
    if feature_skip:
        features = head + part("trunk_conv")(features)
    expected = part("upsampler")(features) / value_range
    if image_skip == "nearest":
        expected = expected + image().repeat_interleave(3, 2).repeat_interleave(3, 3)
    if image_skip == "bilinear":
        expected = expected + functional.interpolate(image(), scale_factor=3, mode="bilinear")
    torch.testing.assert_close(net(image()), expected)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@torch.no_grad()
def test_with_a_silent_upsampler_only_the_image_skip_is_left(mode: str) -> None:
    net = network(image_skip=mode)
    for parameter in net.get_submodule("upsampler").parameters():
        parameter.zero_()
    expected = functional.interpolate(
        image(), size=(27, 33), mode=mode, align_corners=None if mode == "nearest" else False
    )
    torch.testing.assert_close(net(image()), expected)


@torch.no_grad()
def test_without_an_image_skip_a_silent_upsampler_gives_black() -> None:
    net = network()
    for parameter in net.get_submodule("upsampler").parameters():
        parameter.zero_()
    assert not net(image()).any()


@pytest.mark.parametrize(
    ("changes", "added"),
    [
        ({"fusion": "concat", "feature_skip": True}, {"fusion", "trunk_conv"}),
        ({"fusion": "concat", "feature_skip": False}, {"fusion"}),
        ({"fusion": "plain", "feature_skip": True}, {"trunk_conv"}),
        ({"fusion": "plain", "feature_skip": False, "image_skip": "bilinear"}, set()),
    ],
)
def test_options_add_their_parts_and_no_others(changes: dict[str, object], added: set[str]) -> None:
    chain = Chain(8, BLOCKS, **changes)  # type: ignore[arg-type]
    assert set(parts(chain, TASK)) == {"head", "blocks.0", "blocks.1", "upsampler"} | added


def test_fusion_takes_the_outputs_of_all_blocks() -> None:
    convolution = network().get_submodule("fusion")[0]  # type: ignore[index]
    assert (convolution.in_channels, convolution.out_channels, convolution.kernel_size) == (16, 8, (1, 1))


def test_head_activation_follows_the_head() -> None:
    assert isinstance(network().get_submodule("head"), nn.Conv2d)
    _, act = network(head_activation=True).get_submodule("head")  # type: ignore[misc]
    assert act.negative_slope == 0.1


@torch.no_grad()
def test_value_range_only_rescales_what_the_network_sees() -> None:
    plain, scaled = network(), network(value_range=255)
    scaled.load_state_dict(plain.state_dict())
    torch.testing.assert_close(scaled(image()), plain(image() * 255) / 255)


def test_activation_replaces_every_parts_own() -> None:
    everywhere = {
        "blocks": (Block("hin"), Block("mccb"), Block("idle"), Block("efficient_rfdb")),
        "upsampler": Block("nearest_attention"),
        "head_activation": True,
    }

    def kinds(**changes: object) -> set[str]:
        modules = network(**everywhere, **changes).modules()
        return {type(m).__name__ for m in modules if type(m).__module__ == "torch.nn.modules.activation"}

    assert kinds() == {"LeakyReLU", "GELU", "ReLU", "SiLU"}
    assert kinds(activation="gelu") == {"GELU", "ReLU"}  # ReLU is ESA's


def test_block_options_reach_the_block_and_overrule_the_chains_activation() -> None:
    net = network(
        blocks=(Block("rfdb", (("activation", "gelu"), ("distilled", 3))), Block("rfdb")), activation="silu"
    )
    assert net.get_submodule("blocks.0.c1_d").out_channels == 3
    assert net.get_submodule("blocks.1.c1_d").out_channels == 4
    assert isinstance(net.get_submodule("blocks.0.act"), nn.GELU)
    assert isinstance(net.get_submodule("blocks.1.act"), nn.SiLU)


@pytest.mark.parametrize("kind", ["pixelshuffle", "pixelshuffle_steps", "nearest_attention", "transposed"])
def test_networks_with_an_image_skip_start_near_it(kind: str) -> None:
    plain = network(upsampler=Block(kind)).get_submodule("upsampler").state_dict()
    small = network(upsampler=Block(kind), image_skip="nearest").get_submodule("upsampler").state_dict()
    *others, weight, bias = plain
    for name in others:
        assert torch.equal(small[name], plain[name])
    for name in (weight, bias):
        torch.testing.assert_close(small[name], 0.1 * plain[name])


def test_channels_are_the_tasks() -> None:
    task = Task("raw", scale=2, in_channels=4, out_channels=3)
    assert build(Chain(8, BLOCKS), task)(torch.rand(1, 4, 9, 8)).shape == (1, 3, 18, 16)


def test_size_requirements_are_those_of_all_blocks_together() -> None:
    assert network().size_requirements == SizeRequirements()
    assert network(blocks=(Block("hin"), Block("ghost"))).size_requirements.minimum == 2
    assert network(blocks=(Block("hin"), Block("rfdb"))).size_requirements.minimum == 15


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 3}, "'width' is at least 4, got 3"),
        ({"width": 4097}, "'width' is at most 4096, got 4097"),
        ({"blocks": ()}, "'blocks' holds at least one block"),
        ({"value_range": 0}, "'value_range' is at least 1"),
        ({"fusion": "sum"}, "'fusion' is one of plain, concat, got 'sum'"),
        ({"image_skip": "bicubic"}, "'image_skip' is one of none, nearest, bilinear, got 'bicubic'"),
    ],
)
def test_impossible_descriptions_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**changes)

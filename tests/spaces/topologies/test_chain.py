from itertools import product
from random import Random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.architecture import Architecture, Block
from spaces.baselines import published
from spaces.build import build, cost, part_costs, parts, size_requirements
from spaces.catalog import named_space
from spaces.cost import count
from spaces.layers.attention import ATTENTION_NAMES
from spaces.padding import run
from spaces.parts import Network
from spaces.sizes import SizeRequirements
from spaces.task import DENOISE, HDR, ISP, Task, super_resolution
from spaces.topologies.chain import FUSIONS, IMAGE_SKIPS, Chain, encode

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
    if fusion == "backward":
        fused, earlier = part("fusion.fused.0"), part("fusion.earlier.0")
        features = functional.relu(torch.cat((fused(features), earlier(first)), 1))
    if fusion == "pairs":
        features = part("pairs.0")(torch.cat((first, features), 1))
    if feature_skip:
        last = part("trunk_conv")(features)
        features = last if fusion in ("select", "stack") else head + last
    if fusion in ("select", "stack"):
        features = torch.cat((head, first, features), 1)
    if fusion == "select":
        features = part("fusion")(features)
    expected = part("upsampler")(features) / value_range
    if image_skip == "nearest":
        expected = expected + image().repeat_interleave(3, 2).repeat_interleave(3, 3)
    if image_skip in ("bilinear", "bicubic"):
        expected = expected + functional.interpolate(image(), scale_factor=3, mode=image_skip)
    torch.testing.assert_close(net(image()), expected)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
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
        ({"fusion": "pairs", "feature_skip": False}, {"pairs.0"}),
        ({"fusion": "select", "feature_skip": False, "taps": ("near", "last")}, {"near", "fusion"}),
        ({"fusion": "stack", "feature_skip": True}, {"trunk_conv"}),
        ({"fusion": "concat", "feature_skip": True}, {"fusion", "trunk_conv"}),
        ({"fusion": "concat", "feature_skip": False}, {"fusion"}),
        ({"fusion": "plain", "feature_skip": True}, {"trunk_conv"}),
        ({"fusion": "plain", "feature_skip": False, "image_skip": "bilinear"}, set()),
        ({"fusion": "backward", "feature_skip": True, "trunk_convolution": False}, {"fusion"}),
        ({"fusion": "plain", "feature_skip": False, "attention": "cea"}, {"gates.0", "gates.1"}),
        ({"fusion": "plain", "feature_skip": False, "mean_shift": True}, {"mean_in", "mean_out"}),
        ({"fusion": "plain", "feature_skip": False, "unshuffle": 2}, set()),
    ],
)
def test_options_add_their_parts_and_no_others(changes: dict[str, object], added: set[str]) -> None:
    chain = Chain(8, BLOCKS, **changes)  # type: ignore[arg-type]
    assert set(parts(chain, Task("sr-x2", scale=2))) == {"head", "blocks.0", "blocks.1", "upsampler"} | added


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
        ({"fusion": "sum"}, "'fusion' is one of plain, concat, backward, pairs, select, stack, got 'sum'"),
        ({"image_skip": "lanczos"}, "'image_skip' is one of none, nearest, bilinear, bicubic, got 'lanczos'"),
        ({"unshuffle": 3}, "'unshuffle' is one of 1, 2, 4, got 3"),
        (
            {"unshuffle": 4},
            "scale 3 of task 'sr-x3' times 'unshuffle' 4 is 12: an upsampler enlarges by 1, 2,",
        ),
        ({"head_layers": 0}, "'head_layers' is one of 1, 2, 3, got 0"),
        (
            {"feature_skip": False, "trunk_convolution": False},
            "'trunk_convolution' false needs 'feature_skip'",
        ),
        ({"trunk_kernel": 5}, "'trunk_kernel' is one of 1, 3, got 5"),
        ({"taps": ("head", "fist")}, "unknown map in 'taps' 'fist': did you mean 'first'"),
        ({"taps": ("head", "head")}, "'taps' names at least one map, and none twice"),
        (
            {"fusion": "select", "taps": ("inner",)},
            "inner needs a last block of kind spab, spab_guided, got 'residual'",
        ),
        ({"tail_width": 8}, "'tail_width' needs 'fusion' select, got 'concat'"),
        ({"centred": True, "mean_shift": True}, "'centred' and 'mean_shift' exclude each other"),
        ({"bias": False, "convolution": "blueprint"}, "'bias' false needs a 'convolution' of plain"),
        ({"convolution": "blueprnt"}, "unknown convolution 'blueprnt': did you mean 'blueprint'"),
        ({"attention": "pixl"}, "unknown attention 'pixl': did you mean 'pixel'"),
    ],
)
def test_impossible_descriptions_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**changes)


def test_new_fields_leave_the_json_of_old_architectures_alone() -> None:
    assert Chain(8, BLOCKS).to_json() == '{"blocks":["ghost","residual"],"topology":"chain","width":8}'


NEW = {
    "attention": "se",
    "unshuffle": 2,
    "convolution": "blueprint",
    "head_layers": 2,
    "trunk_convolution": False,
    "mean_shift": True,
    "fusion": "backward",
    "image_skip": "bicubic",
}
OF_THE_CHALLENGE_PACK = {
    "head_layers": 3,
    "head_between": True,
    "trunk_kernel": 1,
    "bias": False,
    "fusion": "select",
    "taps": ("near", "last"),
    "centred": True,
}


@pytest.mark.parametrize(("name", "value"), [*NEW.items(), *OF_THE_CHALLENGE_PACK.items()])
def test_new_fields_are_in_json_and_label(name: str, value: object) -> None:
    chain = Chain(8, BLOCKS, **{name: value})  # type: ignore[arg-type]
    assert Architecture.from_json(chain.to_json()) == chain
    assert chain.digest != Chain(8, BLOCKS).digest
    assert chain.label != Chain(8, BLOCKS).label


def test_networks_of_two_last_convolutions_start_near_the_image_skip() -> None:
    upsampler = Block("pixelshuffle_two_scale")
    plain, small = network(upsampler=upsampler), network(upsampler=upsampler, image_skip="bicubic")
    features = torch.rand(1, 8, 6, 6)
    torch.testing.assert_close(
        small.get_submodule("upsampler")(features), 0.1 * plain.get_submodule("upsampler")(features)
    )


def test_backward_fusion_of_a_single_block_is_none() -> None:
    assert "fusion" not in parts(Chain(8, BLOCKS[:1], fusion="backward"), TASK)
    assert network(blocks=BLOCKS[:1], fusion="backward")(image()).shape == (2, 3, 27, 33)


@torch.no_grad()
def test_near_map_starts_as_the_image_enlarged_by_nearest() -> None:
    net = network(fusion="stack", feature_skip=False, taps=("near", "last"))
    near = functional.pixel_shuffle(net.get_submodule("near")(image()), 3)
    torch.testing.assert_close(near, functional.interpolate(image(), scale_factor=3.0, mode="nearest"))


@torch.no_grad()
def test_inner_map_is_the_last_blocks_first_activation() -> None:
    blocks = (Block("spab"),) * 2
    net = network(blocks=blocks, fusion="stack", feature_skip=False, taps=("inner", "last"))
    part = net.get_submodule
    first = part("blocks.0")(part("head")(image()))
    inner = functional.silu(part("blocks.1.convs.0")(first))
    expected = part("upsampler")(torch.cat((inner, part("blocks.1")(first)), 1))
    torch.testing.assert_close(net(image()), expected)


@torch.no_grad()
def test_centred_input_has_no_mean_colour_and_the_output_is_as_it_is() -> None:
    net = network(centred=True, value_range=255, fusion="plain", feature_skip=False)
    part = net.get_submodule
    mean = torch.tensor([0.4488, 0.4371, 0.4040]).reshape(1, 3, 1, 1)
    features = part("blocks.1")(part("blocks.0")(part("head")((image() - mean) * 255)))
    torch.testing.assert_close(net(image()), part("upsampler")(features))
    assert not any("mean" in name for name in net.state_dict())


@torch.no_grad()
def test_third_block_of_pairs_takes_the_two_before_it() -> None:
    net = network(blocks=(Block("residual"),) * 4, fusion="pairs", trunk_convolution=False)
    part = net.get_submodule
    head = part("head")(image())
    one = part("blocks.0")(head)
    two = part("blocks.1")(one)
    three = part("blocks.2")(part("pairs.0")(torch.cat((one, two), 1)))
    four = part("blocks.3")(part("pairs.1")(torch.cat((two, three), 1)))
    features = part("pairs.2")(torch.cat((two, four), 1)) + head
    torch.testing.assert_close(net(image()), part("upsampler")(features))


@torch.no_grad()
def test_triple_head_with_activations_between() -> None:
    net = network(head_layers=3, head_between=True, activation="silu")
    kinds = [type(layer).__name__ for layer in net.get_submodule("head")]  # type: ignore[arg-type]
    assert kinds == ["Conv2d", "SiLU", "Conv2d", "SiLU", "Conv2d"]


def test_tail_width_is_what_the_upsampler_takes() -> None:
    pieces = parts(Chain(8, BLOCKS, fusion="select", tail_width=5), TASK)
    assert pieces["upsampler"].channels == 5
    assert pieces["fusion"].channels == 24


def test_without_bias_there_is_none_outside_blocks_and_upsampler() -> None:
    net = network(bias=False, fusion="select", taps=("near", "last"))
    biased = {name.split(".")[0] for name, _ in net.named_parameters() if name.endswith("bias")}
    assert biased == {"blocks", "upsampler"}


@torch.no_grad()
def test_double_head_is_two_convolutions_in_a_row() -> None:
    net = network(head_layers=2)
    first, second = net.get_submodule("head")  # type: ignore[misc]
    assert (first.in_channels, first.out_channels, second.in_channels) == (3, 8, 8)


@torch.no_grad()
def test_blueprint_head_takes_four_copies_of_the_input() -> None:
    net = network(convolution="blueprint")
    pointwise, depthwise = net.get_submodule("head.1.pw"), net.get_submodule("head.1.dw")
    expected = depthwise(pointwise(image().repeat(1, 4, 1, 1)))
    torch.testing.assert_close(net.get_submodule("head")(image()), expected)
    assert net.get_submodule("trunk_conv.pw").bias is None
    assert network(convolution="blueprint_bias").get_submodule("trunk_conv.pw").bias is not None


@torch.no_grad()
def test_weight_norm_starts_as_the_plain_convolution_and_stores_a_length_per_channel() -> None:
    head = network(convolution="weight_norm").get_submodule("head")
    plain = functional.conv2d(image(), head.weight_v, head.bias, padding=1)  # type: ignore[arg-type]
    torch.testing.assert_close(head(image()), plain)
    head.weight_g.mul_(2)  # type: ignore[operator]
    bias = head.bias.reshape(1, -1, 1, 1)  # type: ignore[union-attr,operator]
    torch.testing.assert_close(head(image()) - bias, 2 * (plain - bias))


@torch.no_grad()
def test_mean_shift_starts_by_taking_the_mean_colour_off_and_adding_it_back() -> None:
    net = network(mean_shift=True, value_range=255)
    shifted = net.get_submodule("mean_in")(image() * 255)
    mean = 255 * torch.tensor([0.4488, 0.4371, 0.4040]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(shifted, image() * 255 - mean)
    torch.testing.assert_close(net.get_submodule("mean_out")(shifted), image() * 255)
    for parameter in net.get_submodule("upsampler").parameters():
        parameter.zero_()
    torch.testing.assert_close(net(image()), (mean / 255).expand(2, 3, 27, 33))


@pytest.mark.parametrize("name", ATTENTION_NAMES)
@torch.no_grad()
def test_gates_follow_every_block(name: str) -> None:
    net, x = network(attention=name, fusion="plain", feature_skip=False), image(16, 17)
    part = net.get_submodule
    features = part("head")(x)
    for i in range(2):
        features = part(f"gates.{i}")(part(f"blocks.{i}")(features))
    torch.testing.assert_close(net(x), part("upsampler")(features))


@pytest.mark.parametrize("unshuffle", [1, 2, 4])
@pytest.mark.parametrize("task", [DENOISE, super_resolution(2), HDR, ISP], ids=lambda task: task.name)
def test_unshuffled_networks_fit_the_task_at_every_size(task: Task, unshuffle: int) -> None:
    chain = Chain(8, BLOCKS, unshuffle=unshuffle)
    assert size_requirements(chain, task) == SizeRequirements(minimum=unshuffle, multiple_of=unshuffle)
    net = build(chain, task)
    assert net.size_requirements == size_requirements(chain, task)
    x = torch.rand(1, task.in_channels, 9, 14)
    expected = (1, task.out_channels, 9 * task.scale, 14 * task.scale)
    assert run(net, x, scale=task.scale).shape == expected


def test_minimum_size_of_a_block_counts_at_the_trunks_resolution() -> None:
    chain = Chain(8, (Block("rfdb"),), unshuffle=2)
    assert size_requirements(chain, DENOISE) == SizeRequirements(minimum=30, multiple_of=2)
    assert build(chain, DENOISE)(torch.rand(1, 3, 30, 30)).shape == (1, 3, 30, 30)


@torch.no_grad()
def test_unshuffled_network_sees_groups_of_pixels_as_channels() -> None:
    task = DENOISE
    net = build(Chain(8, BLOCKS, unshuffle=2, image_skip="nearest"), task)
    x = image(8, 10)
    seen: list[Tensor] = []
    net.get_submodule("head").register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(x)
    torch.testing.assert_close(seen[0][:, 1::4], x[..., 0::2, 1::2])
    for parameter in net.get_submodule("upsampler").parameters():
        parameter.zero_()
    assert torch.equal(net(x), x)


@pytest.mark.parametrize(
    "changes",
    [
        {"unshuffle": 2, "image_skip": "nearest"},
        {"unshuffle": 4, "attention": "esa", "fusion": "backward"},
        {"mean_shift": True, "head_layers": 2, "trunk_convolution": False},
        {"mean_shift": True, "unshuffle": 2},
        {"convolution": "blueprint_bias", "upsampler": Block("pixelshuffle_steps"), "unshuffle": 4},
        {"convolution": "weight_norm", "upsampler": Block("pixelshuffle_two_scale")},
    ],
    ids=str,
)
def test_costs_of_the_parts_add_up_to_the_networks(changes: dict[str, object]) -> None:
    chain, task = Chain(12, BLOCKS, **changes), super_resolution(2)  # type: ignore[arg-type]
    with torch.device("meta"):
        net = build(chain, task)
    whole = count(net, torch.empty(1, 3, 64, 72, device="meta"))
    assert cost(chain, task, size=(64, 72)) == whole


def test_trunk_at_half_resolution_costs_a_quarter() -> None:
    full, half = (part_costs(Chain(8, BLOCKS, unshuffle=u), DENOISE) for u in (1, 2))
    for name in ("blocks.0", "blocks.1", "fusion", "trunk_conv"):
        assert 4 * half[name].macs == full[name].macs
    for name in ("head", "upsampler"):
        assert half[name].macs == full[name].macs


@pytest.mark.parametrize("skip", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("task", [HDR, ISP], ids=lambda task: task.name)
def test_image_skip_needs_as_many_input_as_output_channels(skip: str, task: Task) -> None:
    with pytest.raises(
        ValueError, match=f"'{task.name}' has .* input and 3 output .*'image_skip' is none there"
    ):
        cost(Chain(8, BLOCKS, image_skip=skip), task)


def test_mean_shift_is_for_rgb() -> None:
    with pytest.raises(ValueError, match="'mean_shift' is for RGB input and output, got 18 and 3 channels"):
        build(Chain(8, BLOCKS, mean_shift=True), HDR)


@pytest.mark.parametrize(
    "changes", [{"attention": "esa"}, {"unshuffle": 2}, {"fusion": "backward"}, NEW], ids=str
)
def test_costs_grow_with_the_width(changes: dict[str, object]) -> None:
    chains = [Chain(width, BLOCKS, **changes) for width in range(4, 41, 3)]  # type: ignore[arg-type]
    for convention in ("exact", "challenge", "bias"):
        costs = [cost(chain, super_resolution(2), size=(64, 64)).operations(convention) for chain in chains]
        assert costs == sorted(costs)


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    net = build(Chain(8, BLOCKS, **NEW), super_resolution(2))  # type: ignore[arg-type]
    net(image(16, 18)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_genes_of_a_chain_decode_to_it() -> None:
    space, random = named_space("sr-all"), Random(0)
    offered = {choice.name: choice.values for choice in space}
    for _ in range(200):
        chain = space.decode(space.sample(random))
        assert isinstance(chain, Chain)
        genes = encode(chain, offered)
        space.check(genes)
        assert space.decode(genes) == chain


def test_genes_of_what_a_space_does_not_offer_are_the_nearest_but_for_the_blocks() -> None:
    space = named_space(
        "sr-card", blocks=("rfdb", "residual"), widths=(8, 16), image_skips=("nearest",), depths=(2, 3)
    )
    offered = {choice.name: choice.values for choice in space}
    rfdn = published("rfdn").architecture
    assert isinstance(rfdn, Chain)
    genes = encode(rfdn, offered)
    space.check(genes)
    found = space.decode(genes)
    assert isinstance(found, Chain)
    assert (found.width, found.image_skip, found.fusion) == (16, "nearest", rfdn.fusion)
    assert [block.kind for block in found.blocks] == ["rfdb"] * 3
    imdn = published("imdn").architecture
    assert isinstance(imdn, Chain)
    with pytest.raises(ValueError, match="no block 'imdb' is offered, only rfdb, residual"):
        encode(imdn, offered)

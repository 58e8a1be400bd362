"""Convolutions that train in a richer form are exactly their plain form."""

import copy
from pathlib import Path
from typing import Any, cast

import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from results.export.files import export, load_network
from spaces.architecture import Block
from spaces.build import build, cost
from spaces.layers.convolutions import (
    CONVOLUTION_NAMES,
    AsymmetricConvolution,
    KernelBasisConvolution,
    MergeableConvolution,
    check_form,
    convert,
    forms,
    make_convolution,
    merge,
)
from spaces.layers.reparameterised import ECB, EDBB, Conv3XC, RepVGGConvolution
from spaces.parts import Part, part_cost
from spaces.registry import UnknownNameError
from spaces.task import Task
from spaces.topologies.chain import Chain

RICH = ("acb", "basis", "conv3xc", "ecb", "edbb", "repvgg")
TASK = Task("sr-x2", scale=2)


def features(channels: int, *, batch: int = 2) -> Tensor:
    return torch.rand(batch, channels, 9, 11, generator=torch.Generator().manual_seed(0))


def randomised(module: nn.Module) -> nn.Module:
    """All parameters, and batch normalisation's statistics, away from their special starting values."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and name != "coefficients":
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + (0.1 if "running" in name else -0.4))
    return module


def assert_same(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


def trained_form(name: str) -> Chain:
    return Chain(8, (Block("residual", (("convolution", name),)),), fusion="plain")


OPTIONS: tuple[dict[str, Any], ...] = ({}, {"kernel": 5, "groups": 2}, {"bias": False, "groups": 2})
CASES: list[tuple[type[MergeableConvolution], dict[str, Any]]] = [
    (AsymmetricConvolution, {}),
    (AsymmetricConvolution, {"kernel": 5, "groups": 2}),
    (AsymmetricConvolution, {"normalised": True}),
    (AsymmetricConvolution, {"normalised": True, "groups": 2}),
    (KernelBasisConvolution, {}),
    (KernelBasisConvolution, {"kernel": 5, "groups": 2, "bases": 4}),
    (KernelBasisConvolution, {"learned": True, "bases": 1}),
    (AsymmetricConvolution, {"bias": False}),
    (KernelBasisConvolution, {"bias": False, "groups": 2}),
    *((kind, options) for kind in (Conv3XC, ECB, EDBB, RepVGGConvolution) for options in OPTIONS),
]


@pytest.mark.parametrize(("kind", "options"), CASES, ids=str)
def test_merged_form_is_equivalent(kind: type[MergeableConvolution], options: dict[str, Any]) -> None:
    convolution = cast(MergeableConvolution, randomised(kind(6, 8, **options).double().eval()))
    plain, x = convolution.merged(), features(6).double()
    assert type(plain) is nn.Conv2d
    assert_same(plain(x), convolution(x))
    assert convolution(x).shape == (2, 8, 9, 11)


@torch.no_grad()
def test_asymmetric_convolution_adds_a_square_a_vertical_and_a_horizontal_one() -> None:
    acb, x = randomised(AsymmetricConvolution(5, 7).double()), features(5).double()
    one = acb.get_submodule
    assert one("ver_conv").kernel_size == (3, 1)
    assert one("hor_conv").kernel_size == (1, 3)
    assert_same(acb(x), one("square_conv")(x) + one("ver_conv")(x) + one("hor_conv")(x))


def test_gradients_are_those_of_three_convolutions() -> None:
    acb, x = AsymmetricConvolution(3, 4).double(), features(3).double()
    acb(x).square().sum().backward()
    got = {name: parameter.grad for name, parameter in acb.named_parameters()}
    acb.zero_grad()
    sum(acb.get_submodule(f"{side}_conv")(x) for side in ("square", "ver", "hor")).square().sum().backward()
    for name, parameter in acb.named_parameters():
        torch.testing.assert_close(got[name], parameter.grad, msg=name)


def test_normalised_branches_use_their_batch_in_training_and_their_statistics_once_merged() -> None:
    acb, x = AsymmetricConvolution(4, 4, normalised=True), features(4)
    in_training = acb.train()(x)
    assert not torch.allclose(in_training, acb.eval()(x), atol=0.1)
    assert_same(acb.merged()(x), acb(x))


@torch.no_grad()
def test_basis_convolution_is_the_mean_of_its_bases() -> None:
    basis, x = KernelBasisConvolution(4, 6), features(4)
    randomised(basis)
    assert basis.weight.shape == (3 * 6, 4, 3, 3)
    bases = zip(basis.weight.split(6), basis.bias, strict=True)
    outputs = [functional.conv2d(x, w, b, padding=1) for w, b in bases]
    assert_same(basis(x), torch.stack(outputs).mean(0))


@torch.no_grad()
def test_conv3xc_is_its_four_convolutions_on_a_padded_input() -> None:
    convolution, x = randomised(Conv3XC(5, 7).double()), features(5).double()
    one = convolution.get_submodule
    expected = one("conv3")(one("conv2")(one("conv1")(functional.pad(x, (1, 1, 1, 1))))) + one("skip")(x)
    assert_same(convolution(x), expected)


@pytest.mark.parametrize("kind", [ECB, EDBB])
@torch.no_grad()
def test_edge_convolution_is_the_sum_of_its_branches(kind: type[MergeableConvolution]) -> None:
    convolution, x = kind(6, 6).double(), features(6).double()
    for parameter in convolution.parameters():
        parameter.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(parameter.numel()))
    padded = functional.pad(x, (1, 1, 1, 1))
    one = convolution.get_submodule
    expected = one("square")(padded)
    masks = {
        "sobel_x": [[1, 0, -1], [2, 0, -2], [1, 0, -1]],
        "sobel_y": [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],
        "laplacian": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    }
    for edge, mask in masks.items():
        branch = one(f"edges.{edge}")
        kernel = branch.scale * torch.tensor(mask).double()
        expected = expected + functional.conv2d(branch.conv(padded), kernel, branch.bias, groups=6)
    if kind is ECB:
        expand, reduce = one("expand"), one("reduce")
        wide = expand(padded)  # padded with its bias, as published: a padded input gives just that
        expected = expected + reduce(wide)
    else:
        expected = expected + one("pointwise")(x) + x
    assert_same(convolution(x), expected)


@torch.no_grad()
def test_repvgg_adds_a_square_a_pointwise_and_the_input() -> None:
    convolution, x = randomised(RepVGGConvolution(6, 6).double()), features(6).double()
    convolution.get_buffer("identity").copy_(torch.eye(6).reshape(6, 6, 1, 1))
    one = convolution.get_submodule
    padded = functional.pad(x, (1, 1, 1, 1))
    assert_same(convolution(x), one("square")(padded) + one("pointwise")(x) + x)
    assert "identity" not in RepVGGConvolution(6, 5).state_dict()


@pytest.mark.parametrize("name", sorted(set(RICH) - {"basis"}))
def test_what_a_converted_convolution_gains_can_be_trained(name: str) -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1))
    convert(network, name)
    start = {key: value.clone() for key, value in network.named_parameters()}
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        network(features(4)).square().sum().backward()
        optimiser.step()
    for key, value in network.named_parameters():
        assert not torch.equal(value, start[key]), key


@pytest.mark.parametrize("learned", [False, True])
@torch.no_grad()
def test_adding_bases_leaves_the_output_and_gives_all_the_same_coefficient(learned: bool) -> None:
    basis, x = KernelBasisConvolution(4, 6, learned=learned).double(), features(4).double()
    randomised(basis)
    if learned:
        basis.coefficients.copy_(torch.tensor([0.9, -0.2, 0.4]))
    before = basis(x)
    basis.add_bases(2)
    assert_same(basis(x), before)
    assert torch.equal(basis.coefficients, torch.full((5,), 0.2, dtype=torch.float64))
    assert basis.weight.shape == (5 * 6, 4, 3, 3)
    assert basis.weight[3 * 6 :].std() > 0.01
    assert ("coefficients" in dict(basis.named_parameters())) == learned
    basis.add_bases(1)
    assert_same(basis(x), before)


def test_added_bases_are_trained() -> None:
    basis = KernelBasisConvolution(3, 3)
    basis.add_bases(2)
    basis(features(3)).square().sum().backward()
    assert basis.weight.grad is not None
    assert all(grad.any() for grad in basis.weight.grad.split(3))


@pytest.mark.parametrize("number", [0, -1])
def test_at_least_one_basis_is_needed(number: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1, got {number}"):
        KernelBasisConvolution(3, 3, bases=number)
    with pytest.raises(ValueError, match=f"at least 1 new basis, got {number}"):
        KernelBasisConvolution(3, 3).add_bases(number)


@pytest.mark.parametrize("name", CONVOLUTION_NAMES)
def test_convolutions_by_name_keep_the_size_and_refuse_what_does_not(name: str) -> None:
    assert make_convolution(name, 4, 6, 5, groups=2)(features(4)).shape == (2, 6, 9, 11)
    with pytest.raises(ValueError, match="expected an odd kernel, which keeps the size, got 4"):
        make_convolution(name, 4, 6, 4)


@pytest.mark.parametrize("name", CONVOLUTION_NAMES)
def test_convolutions_train_in_bfloat16_and_channels_last(name: str) -> None:
    network = nn.Sequential(make_convolution(name, 4, 6), nn.ReLU())
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(features(4).to(memory_format=torch.channels_last))
    assert output.dtype == torch.bfloat16
    output.float().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_unknown_convolution_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match="unknown convolution 'abc': did you mean 'acb'"):
        make_convolution("abc", 3, 3)


def test_merge_replaces_in_place_at_any_depth_and_keeps_what_is_shared_shared() -> None:
    shared = make_convolution("acb", 4, 4)
    inner = nn.Sequential(make_convolution("basis", 4, 4), nn.ReLU(), shared)
    network = nn.Sequential(nn.Conv2d(4, 4, 1), inner, shared).eval()
    expected = network(features(4))
    assert merge(network) is network
    assert_same(network(features(4)), expected)
    assert network[2] is inner[2]
    assert not any(isinstance(module, MergeableConvolution) for module in network.modules())
    assert merge(network) is network


def test_merging_draws_no_random_numbers_and_keeps_mode_and_training() -> None:
    convolution = make_convolution("acb", 3, 3).eval().requires_grad_(False)
    state = torch.get_rng_state()
    plain = cast(MergeableConvolution, convolution).merged()
    assert torch.equal(torch.get_rng_state(), state)
    assert not plain.training
    assert not any(parameter.requires_grad for parameter in plain.parameters())
    assert next(
        cast(MergeableConvolution, make_convolution("basis", 3, 3)).merged().parameters()
    ).requires_grad


@pytest.mark.parametrize("name", RICH)
def test_cost_is_that_of_the_merged_network(name: str) -> None:
    rich, plain = cost(trained_form(name), TASK), cost(trained_form("plain"), TASK)
    assert rich == plain
    assert sum(p.numel() for p in build(trained_form(name), TASK).parameters()) > plain.parameters


def test_a_part_that_is_itself_mergeable_is_merged() -> None:
    part = Part(AsymmetricConvolution, (5, 7), 5)
    assert part_cost(part, 8, 9).parameters == 5 * 7 * 9 + 7
    assert isinstance(part.build(), AsymmetricConvolution)


@pytest.mark.parametrize("name", RICH)
def test_onnx_holds_the_merged_network_and_safetensors_the_trained_one(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    chain = trained_form(name)
    network = build(chain, TASK).eval().requires_grad_(False)
    for name_of, parameter in network.named_parameters():
        if name_of.endswith("bias"):  # the exporter would store equal biases once
            parameter.uniform_(-0.1, 0.1)
    before = copy.deepcopy(network.state_dict())
    export(network, chain, TASK, tmp_path / "n.onnx", "onnx")
    graph = onnx.load(tmp_path / "n.onnx").graph
    deployed = cost(chain, TASK)
    assert sum(node.op_type == "Conv" for node in graph.node) == deployed.convolutions
    numbers = sum(
        onnx.numpy_helper.to_array(tensor).size for tensor in graph.initializer if len(tensor.dims) in (1, 4)
    )
    assert deployed.parameters <= numbers < deployed.parameters + 20
    assert network.state_dict().keys() == before.keys()

    done = export(network, chain, TASK, tmp_path / "n.safetensors", "safetensors")
    assert load_file(done.path).keys() == before.keys()
    image = torch.rand(1, 3, 29, 31)
    assert torch.equal(load_network(chain, TASK, done.path)(image), network(image))


def test_pt2_holds_the_merged_network(tmp_path: Path) -> None:
    chain = trained_form("acb")
    network = build(chain, TASK).eval().requires_grad_(False)
    done = export(network, chain, TASK, tmp_path / "n.pt2", "pt2")
    program = torch.export.load(done.path)
    assert sum(tensor.numel() for tensor in program.state_dict.values()) == cost(chain, TASK).parameters


ROUTES = [
    ("acb", "plain"),
    ("basis:3", "basis:5", "plain"),
    ("basis:5", "basis:2", "acb", "basis:1"),
    ("conv3xc", "edbb", "ecb", "repvgg", "plain"),
]


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
@pytest.mark.parametrize("name", ["plain", *RICH])
@torch.no_grad()
def test_converting_changes_no_output_and_leads_back_to_the_same_tensors(
    name: str, route: tuple[str, ...]
) -> None:
    network = randomised(build(trained_form(name), TASK)).eval()
    own, image = forms(network), torch.rand(1, 3, 9, 11)
    before, expected = network.state_dict(), network(image)
    for form in route:
        convert(network, form)
        assert set(forms(network).values()) == {form}
        torch.testing.assert_close(network(image), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    convert(network, own)
    after = network.state_dict()
    assert {k: v.shape for k, v in after.items()} == {k: v.shape for k, v in before.items()}
    torch.testing.assert_close(network(image), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_only_convolutions_that_keep_the_size_are_converted() -> None:
    """And none of those inside a rich form, nor one with batch normalisation; biases or none stay as they are."""
    normalised = AsymmetricConvolution(4, 4, normalised=True)
    network = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, bias=False),
        nn.Conv2d(4, 4, 5, padding=2, groups=2),
        make_convolution("acb", 4, 4),
        make_convolution("basis", 4, 4),
        nn.Conv2d(4, 4, 3, padding=1, stride=2),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding=0),
        nn.Conv2d(4, 4, (3, 1), padding=(1, 0)),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 1),
        nn.ConvTranspose2d(4, 4, 3, padding=1),
        normalised,
    )
    assert forms(network) == {"0": "plain", "1": "plain", "2": "acb", "3": "basis:3"}
    convert(network, "acb")
    assert set(forms(network).values()) == {"acb"}
    assert network[11] is normalised
    assert not [name for name, _ in network[0].named_parameters() if name.endswith("bias")]
    convert(network, {"0": "plain", "1": "plain"})
    assert type(network[0]) is type(network[1]) is nn.Conv2d
    assert network[0].bias is None
    assert network[1].bias is not None


def test_a_shared_convolution_is_converted_once_and_stays_shared() -> None:
    shared = nn.Conv2d(4, 4, 3, padding=1)
    network = nn.Sequential(shared, nn.ReLU(), nn.Sequential(shared)).eval()
    expected = network(features(4))
    convert(network, "basis:2")
    assert isinstance(network[0], KernelBasisConvolution)
    assert network[0] is network[2][0]
    assert_same(network(features(4)), expected)


def test_converting_keeps_mode_and_training_and_draws_only_from_its_generator() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1)).eval().requires_grad_(False)
    twin = copy.deepcopy(network)
    state = torch.get_rng_state()
    for one in (network, twin):
        convert(one, "acb")
        assert not any(module.training for module in one.modules())
        assert not any(p.requires_grad for p in one.parameters())
        convert(one, "basis:4", torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(network[0].weight, twin[0].weight)
    assert network[0].weight.std() > 0.01


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("abc", "unknown form 'abc': did you mean 'acb'"),
        ("basis", "expected the number of bases, as in 'basis:3', got 'basis'"),
        ("basis:0", "got 'basis:0'"),
        ("acb:2", "form 'acb' takes no number, got 'acb:2'"),
    ],
)
def test_a_wrong_form_is_refused(form: str, message: str) -> None:
    for refuse in (check_form, lambda form: convert(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1)), form)):
        with pytest.raises(ValueError, match=message):
            refuse(form)

"""Gates that blocks and chains can choose by name."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.cost import count
from spaces.layers.attention import ATTENTION_NAMES, SE, make_attention, optional_attention
from spaces.parts import size_requirements
from spaces.registry import UnknownNameError

every_gate = pytest.mark.parametrize("name", ATTENTION_NAMES)


def features(width: int, *size: int) -> Tensor:
    return torch.rand(2, width, *size, generator=torch.Generator().manual_seed(0))


def test_there_are_five_gates() -> None:
    assert ATTENTION_NAMES == ("esa", "cca", "cea", "pixel", "se")


@every_gate
@pytest.mark.parametrize("width", [4, 7, 48])
def test_gates_keep_the_shape_at_their_minimum_size(name: str, width: int) -> None:
    gate = make_attention(name, width)
    height, breadth = size_requirements(gate).padded(2, 3)
    x = features(width, height, breadth)
    assert gate(x).shape == x.shape
    assert gate(x).isfinite().all()


@every_gate
def test_every_parameter_of_a_gate_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    gate = make_attention(name, 12)
    (gate(features(12, 17, 19)) * features(12, 17, 19)).sum().backward()
    for key, parameter in gate.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.any(), key


@every_gate
@torch.no_grad()
def test_gates_scale_their_input_and_add_nothing(name: str) -> None:
    x = features(12, 17, 19)
    gate = make_attention(name, 12)
    factor = gate(x) / x
    assert factor.min() >= 0
    assert factor.max() <= 1
    assert factor.std() > 0


@every_gate
def test_cost_of_a_gate_grows_with_the_width(name: str) -> None:
    macs = []
    for width in range(4, 100):
        with torch.device("meta"):
            macs.append(count(make_attention(name, width), torch.empty(1, width, 16, 16)).macs)
    assert macs == sorted(macs)
    assert macs[-1] > macs[0] > 0


def test_enhanced_spatial_attention_has_rfdns_inner_width() -> None:
    inner = make_attention("esa", 50).get_submodule("conv1")
    assert isinstance(inner, nn.Conv2d)
    assert inner.out_channels == 12


@pytest.mark.parametrize(
    ("width", "inner"),
    [(16, 8), (72, 24), (96, 24), (120, 32), (240, 64), (480, 120), (672, 168), (960, 240), (4, 8)],
)
def test_squeeze_and_excitation_has_mobilenetv3s_hidden_widths(width: int, inner: int) -> None:
    reduce = SE(width).get_submodule("reduce")
    assert isinstance(reduce, nn.Conv2d)
    assert reduce.out_channels == inner


@torch.no_grad()
def test_squeeze_and_excitation_gates_channels_by_the_hard_sigmoid_of_their_means() -> None:
    se, x = SE(12), features(12, 5, 6)
    part = se.get_submodule
    hidden = functional.relu(part("reduce")(x.mean((2, 3), keepdim=True)))
    gate = functional.relu6(part("expand")(hidden) + 3) / 6
    torch.testing.assert_close(se(x), x * gate)


def test_no_attention_passes_its_input() -> None:
    x = features(4, 3, 3)
    assert torch.equal(optional_attention("none", 4)(x), x)


def test_unknown_attention_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match="unknown attention 'pixels': did you mean 'pixel'"):
        make_attention("pixels", 8)
    with pytest.raises(
        UnknownNameError, match=r"unknown attention 'non': did you mean 'none'.*known are cca"
    ):
        optional_attention("non", 8)
    with pytest.raises(UnknownNameError):
        make_attention("none", 8)

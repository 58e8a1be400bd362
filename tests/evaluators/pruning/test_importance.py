"""Scores against the papers' formulas, worked out tensor by tensor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from evaluators.channels.groups import Channels, Group
from evaluators.pruning.importance import CRITERIA, importance
from spaces.architecture import Block
from spaces.build import build
from spaces.parts import Network
from spaces.registry import UnknownNameError
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

X2 = super_resolution(2)


@pytest.fixture
def network() -> Network:
    torch.manual_seed(3)
    return build(Chain(6, (Block("residual"),), fusion="plain"), X2).eval()


@pytest.fixture
def channels(network: Network) -> Channels:
    return Channels.trace(network, 3)


def inner(channels: Channels) -> Group:
    """The channels between the block's two convolutions."""
    return next(group for group in channels.groups if group.name == "blocks.0.conv1")


def slices(network: Network) -> Tensor:
    """(channel, all weights that it touches)."""
    first, second = (network.get_parameter(f"blocks.0.conv{i}.weight").detach() for i in (1, 2))
    return torch.cat((first.flatten(1), second.transpose(0, 1).flatten(1)), dim=1)


def relative(values: Tensor) -> np.ndarray:
    return (values / values.mean()).numpy()


def test_l1(network: Network, channels: Channels) -> None:
    scores = importance("l1", network, channels)[inner(channels).channels]
    np.testing.assert_allclose(scores, relative(slices(network).abs().sum(1)), rtol=1e-5)


def test_l2(network: Network, channels: Channels) -> None:
    scores = importance("l2", network, channels)[inner(channels).channels]
    np.testing.assert_allclose(scores, relative(slices(network).norm(dim=1)), rtol=1e-5)


def test_fpgm(network: Network, channels: Channels) -> None:
    scores = importance("fpgm", network, channels)[inner(channels).channels]
    weights = slices(network)
    np.testing.assert_allclose(scores, relative(torch.cdist(weights, weights).sum(1)), rtol=1e-5)


def test_fpgm_of_channels_that_touch_a_layer_twice() -> None:
    torch.manual_seed(0)
    network = build(Chain(8, (Block("residual"),), Block("pixelshuffle_steps"), fusion="plain"), X2)
    channels = Channels.trace(network, 3)
    group = next(g for g in channels.groups if g.name == "upsampler.steps.0")
    wide = network.get_parameter("upsampler.steps.0.weight").detach().reshape(8, -1)
    narrow = network.get_parameter("upsampler.hr_conv.weight").detach().transpose(0, 1).flatten(1)
    weights = torch.cat((wide, narrow), dim=1)
    scores = importance("fpgm", network, channels)[group.channels]
    np.testing.assert_allclose(scores, relative(torch.cdist(weights, weights).sum(1)), rtol=1e-5)


def test_taylor(network: Network, channels: Channels) -> None:
    random = np.random.default_rng(0)
    batches = [
        (random.random((2, 9, 9, 3), np.float32), random.random((2, 18, 18, 3), np.float32)) for _ in range(3)
    ]
    expected = torch.zeros(6)
    for source, target in batches:
        x, y = (torch.from_numpy(side).permute(0, 3, 1, 2) for side in (source, target))
        network.zero_grad()
        functional.l1_loss(network(x), y).backward()
        first, second = (network.get_parameter(f"blocks.0.conv{i}.weight") for i in (1, 2))
        change = (first * first.grad).sum((1, 2, 3)) + (second * second.grad).sum((0, 2, 3))
        expected += change.detach() ** 2 / 3
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    network.requires_grad_(False)
    scores = importance("taylor", network, channels, batches=batches)[inner(channels).channels]
    np.testing.assert_allclose(scores, expected.numpy(), rtol=1e-4)
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None
        assert not parameter.requires_grad


@pytest.mark.parametrize("name", [name for name, criterion in CRITERIA.items() if criterion.needs_data])
@pytest.mark.parametrize("batches", [None, []])
def test_data_is_asked_for(name: str, batches: list | None, network: Network, channels: Channels) -> None:
    with pytest.raises(ValueError, match="expected at least one batch, got none"):
        importance(name, network, channels, batches=batches)


def test_unknown_criterion(network: Network, channels: Channels) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'taylor'"):
        importance("tailor", network, channels)

"""Zero-cost proxies: by hand on networks that can be worked out, and on every block."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from evaluators.measure.proxies import (
    PROXIES,
    Patches,
    ProxyError,
    draw_patches,
    gradient_norm,
    measure_proxy,
    naswot,
    synflow,
)
from spaces.architecture import Block
from spaces.blocks import BLOCKS
from spaces.build import build
from spaces.registry import UnknownNameError
from spaces.topologies.chain import Chain
from tests.evaluators.small import TINY, pairs, source, task

every_proxy = pytest.mark.parametrize("name", PROXIES)


@pytest.fixture(scope="module")
def patches() -> Patches:
    return draw_patches(source(pairs()), patch=24, seed=0, data="a photograph")


def images(n: int = 4, side: int = 5) -> Patches:
    torch.manual_seed(1)
    return Patches(torch.rand(n, 2, side, side), torch.rand(n, 2, side, side), "noise")


def layers(*activations: nn.Module) -> Any:
    torch.manual_seed(0)
    made: list[nn.Module] = []
    for activation in activations:
        made += [nn.Conv2d(2, 2, 3, padding=1, bias=False), activation]
    return nn.Sequential(*made)


@every_proxy
@pytest.mark.parametrize("kind", list(BLOCKS))
def test_every_block_has_a_finite_score_that_only_the_seed_changes(
    kind: str, name: str, patches: Patches
) -> None:
    architecture = Chain(width=8, blocks=(Block(kind),))

    def measured(seed: int) -> float:
        return measure_proxy(name, architecture, task().interface, patches, seed=seed).value

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = measured(0), measured(0), measured(1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert math.isfinite(first)
    assert first == again != other


@every_proxy
def test_takes_no_more_than_a_few_steps_of_training(name: str, patches: Patches) -> None:
    architecture = Chain(width=24, blocks=(Block("rfdb"),) * 3)
    network = build(architecture, task().interface)
    with FlopCounterMode(display=False) as step:
        network(patches.inputs).sum().backward()
    with FlopCounterMode(display=False) as spent:
        measure_proxy(name, architecture, task().interface, patches)
    assert 0 < spent.get_total_flops() <= 3 * step.get_total_flops()


@every_proxy
def test_what_it_is_of_is_told(name: str, patches: Patches) -> None:
    found = measure_proxy(name, TINY, task().interface, patches, seed=3)
    assert (found.name, found.unit, found.direction) == (name, "1", "max")
    assert found.protocol == "untrained, seed 3, 16 patches of 24x24 of a photograph"


def test_flow_is_the_same_through_each_layer() -> None:
    """So that the sum over layers without biases is the number of layers times the output's sum."""
    network = layers(nn.ReLU(), nn.ReLU(), nn.Identity())
    expected = nn.Sequential(*(module for module in layers(*[nn.Identity()] * 3)))
    for weight in expected.parameters():
        weight.data.abs_()
    total = 3 * expected(torch.ones(1, 2, 5, 5)).sum().item()
    assert synflow(network, images()) == pytest.approx(math.log10(total), rel=1e-6)


def test_flow_ignores_signs_and_leaves_the_network_as_it_was() -> None:
    network = layers(nn.ReLU(), nn.Identity())
    first = synflow(network, images())
    weight = next(network.parameters())
    assert weight.dtype == torch.float32
    assert (weight < 0).any()
    weight.data.neg_()
    assert synflow(network, images()) == first


def test_gradient_norm_is_the_sum_over_layers() -> None:
    network, batch = layers(nn.ReLU(), nn.Identity()), images()
    found = gradient_norm(network, batch)
    functional.l1_loss(network(batch.inputs), batch.targets).backward()
    assert found == pytest.approx(math.log10(sum(float(w.grad.norm()) for w in network.parameters())))


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU(), nn.ReLU(inplace=True), nn.LeakyReLU(0.1), nn.PReLU(), nn.SiLU(), nn.GELU(), nn.Hardswish()],
)
def test_naswot_counts_agreeing_units_pair_by_pair(activation: nn.Module) -> None:
    network, batch = layers(activation, nn.Identity()), images()
    on = (network[0](batch.inputs) > 0).flatten(1)
    expected = torch.tensor([[(a == b).sum().item() for b in on] for a in on], dtype=torch.float64)
    assert naswot(network, batch) == pytest.approx(torch.linalg.slogdet(expected)[1].item())


def test_naswot_sees_activations_that_are_no_modules() -> None:
    class Function(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return functional.leaky_relu(x, 0.2)

    assert naswot(layers(Function()), images()) == naswot(layers(nn.LeakyReLU(0.2)), images())


def test_what_says_nothing_has_no_score() -> None:
    with pytest.raises(ProxyError, match="no ReLU or its like"):
        naswot(layers(nn.Sigmoid()), images())
    same = Patches(torch.ones(2, 2, 5, 5), torch.ones(2, 2, 5, 5), "white")
    with pytest.raises(ProxyError, match="singular"):
        naswot(layers(nn.ReLU()), same)
    flat = layers(nn.Identity())
    nn.init.zeros_(flat[0].weight)
    with pytest.raises(ProxyError, match=r"0\.0, which has no logarithm"):
        synflow(flat, images())


def test_an_unknown_proxy_and_patches_that_are_too_small_are_refused(patches: Patches) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'synflow'"):
        measure_proxy("sinflow", TINY, task().interface, patches)
    small = draw_patches(source(pairs()), patch=8, seed=0, data="a photograph")
    with pytest.raises(ProxyError, match="takes patches of .* got 8"):
        measure_proxy("synflow", Chain(width=8, blocks=(Block("rfdb"),)), task().interface, small)

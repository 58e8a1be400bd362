"""Pruning a network: exactness, data types, repetition, sparse training, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from evaluators.channels.groups import Channels
from evaluators.pruning.prune import PrunedNetwork, prune, remove_zero, smallest
from evaluators.tasks import get_task
from evaluators.training.loop import Training
from evaluators.training.recipe import Recipe, Stage
from evaluators.trial import score
from spaces.architecture import Architecture, Block
from spaces.baselines import published
from spaces.build import build, cost
from spaces.checkpoint import load_published
from spaces.task import super_resolution
from spaces.topologies.chain import Chain
from spaces.topologies.pruned import Pruned
from tests.evaluators.small import TINY, task

X4 = super_resolution(4)
WIDE = Chain(20, (Block("rfdb"), Block("imdb")), image_skip="bilinear")


def test_rebuilt_from_json_and_safetensors_it_gives_the_same_bits() -> None:
    torch.manual_seed(0)
    found = prune(build(WIDE, X4), WIDE, X4, target=0.5 * cost(WIDE, X4).macs, criterion="l2")
    text, weights = found.architecture.to_json(), save(dict(found.network.state_dict()))
    again = build(Architecture.from_json(text), X4).eval()
    again.load_state_dict(load(weights))
    image = torch.rand(1, 3, 21, 34)
    with torch.no_grad():
        assert torch.equal(again(image), found.network(image))


def test_a_pruned_network_is_pruned_again() -> None:
    torch.manual_seed(0)
    macs = cost(WIDE, X4).macs
    once = prune(build(WIDE, X4), WIDE, X4, target=0.7 * macs, criterion="l1")
    twice = prune(once.network, once.architecture, X4, target=0.4 * macs, criterion="fpgm")
    assert isinstance(twice.architecture, Pruned)
    assert twice.architecture.base == WIDE
    assert 0.995 * 0.4 * macs <= cost(twice.architecture, X4).macs <= 0.4 * macs


@pytest.mark.parametrize("convention", ["exact", "challenge", "bias"])
def test_the_target_is_in_the_convention(convention: str) -> None:
    torch.manual_seed(0)
    whole = cost(WIDE, X4).operations(convention)
    found = prune(build(WIDE, X4), WIDE, X4, target=0.6 * whole, criterion="l1", convention=convention)
    assert 0.995 * 0.6 * whole <= cost(found.architecture, X4).operations(convention) <= 0.6 * whole


def test_targets_that_make_no_sense() -> None:
    network = build(WIDE, X4)
    macs = cost(WIDE, X4).macs
    with pytest.raises(ValueError, match=rf"isn't below what the network costs, {macs / 1e9:.4g} GMACs"):
        prune(network, WIDE, X4, target=1.1 * macs, criterion="l1")
    least = smallest(network, X4)
    with pytest.raises(ValueError, match=rf"network costs {least / 1e9:.4g} GMACs"):
        prune(network, WIDE, X4, target=0.9 * least, criterion="l1")
    with pytest.raises(ValueError, match="expected at least one batch"):
        prune(network, WIDE, X4, target=0.5 * macs)
    found = prune(network, WIDE, X4, target=least, criterion="l1")
    assert found.operations == least


@pytest.mark.parametrize("round_to", [3, 4, 8, 16])
@pytest.mark.parametrize("upsampler", ["pixelshuffle", "pixelshuffle_steps"])
def test_the_least_target(upsampler: str, round_to: int) -> None:
    """It is named exactly, also for groups narrower than the rounding and for r^2 channels that go together."""
    torch.manual_seed(0)
    uneven = Chain(18, (Block("rfdb"), Block("uestc")), Block(upsampler))
    network = build(uneven, X4)
    least = smallest(network, X4, round_to=round_to)

    def pruned(target: float) -> PrunedNetwork:
        return prune(network, uneven, X4, target=target, criterion="l1", round_to=round_to)

    for target in (least, least + 1):
        assert pruned(target).operations == least
    with pytest.raises(ValueError, match=rf"network costs {least / 1e9:.4g} GMACs"):
        pruned(least - 1)
    assert pruned(cost(uneven, X4).macs - 1).operations < cost(uneven, X4).macs


def test_every_layer_has_a_multiple() -> None:
    torch.manual_seed(0)
    wide = Chain(32, (Block("rfdb"),), Block("pixelshuffle_steps"))
    target = 0.6 * cost(wide, X4).macs
    found = prune(build(wide, X4), wide, X4, target=target, criterion="l1", round_to=8)
    layers = {n: m for n, m in found.network.named_modules() if isinstance(m, nn.Conv2d)}
    for name, layer in layers.items():
        assert layer.in_channels % 8 == 0 or name == "head", name
        assert layer.out_channels % 8 == 0 or name == "upsampler.conv_last", name


def test_rounded_widths_that_cannot_come_near_say_so() -> None:
    torch.manual_seed(0)
    narrow = Chain(16, (Block("residual"),), fusion="plain")
    found = prune(
        build(narrow, X4), narrow, X4, target=0.8 * cost(narrow, X4).macs, criterion="l1", round_to=8
    )
    assert any("in multiples of 8" in note for note in found.notes)
    assert all(after in (8, 16) for _, _, after in found.widths)


def test_sparse_training_brings_channels_to_zero_and_they_can_go() -> None:
    """Fine-grained pruning: what the group lasso brought to zero is removed, and the function stays."""
    torch.manual_seed(0)
    network = build(TINY, task().interface)
    pairs = task().embedded("validation")
    recipe = Recipe(
        (Stage(60, "l1", 2e-3, 4, 16, schedule="constant", sparsity=6.0),), ema=0.0, precision="float32"
    )
    training = Training(network, task().patch_source(pairs), recipe, seed=0)
    list(training.run(60))
    sparse = training.result()
    channels = Channels.trace(sparse, 3)
    zero = (channels.norms()[np.concatenate([g.channels for g in channels.groups])] == 0).sum()
    assert zero > 0
    found = remove_zero(sparse, TINY, task().interface)
    assert sum(before - after for _, before, after in found.widths) > 0
    image = torch.rand(1, 3, 24, 24)
    with torch.no_grad():
        assert (found.network(image) - sparse(image)).abs().max() < 1e-5


def test_soft_threshold_by_hand() -> None:
    torch.manual_seed(0)
    network = build(Chain(6, (Block("residual"),), fusion="plain"), X4)
    channels = Channels.trace(network, 3)
    group = next(g for g in channels.groups if g.name == "blocks.0.conv1")
    first, second = (network.get_submodule(f"blocks.0.conv{i}") for i in (1, 2))
    w, b, v = first.weight.detach(), first.bias.detach(), second.weight.detach()
    slices = [torch.cat((w[i].flatten(), b[i : i + 1], v[:, i].flatten())) for i in range(6)]
    norms, before = [s.norm() for s in slices], b.clone()
    np.testing.assert_allclose(channels.norms()[group.channels], norms, rtol=1e-5)
    amount = float(norms[2]) / len(slices[2]) ** 0.5
    channels.soft_threshold(amount)
    for i in range(6):
        factor = max(0.0, 1 - amount * len(slices[i]) ** 0.5 / float(norms[i]))
        assert b[i].item() == pytest.approx(factor * before[i].item(), rel=1e-4, abs=1e-7)
    assert float(w[2].abs().max()) < 1e-6


def test_a_weight_norm_of_a_channel_that_went_to_zero() -> None:
    torch.manual_seed(0)
    architecture = Chain(8, (Block("ffg"),), convolution="weight_norm")
    network = build(architecture, X4)
    channels = Channels.trace(network, 3)
    least = min(channels.norms()[group.channels].min() for group in channels.groups)
    channels.soft_threshold(float(least))
    assert (channels.norms()[np.concatenate([g.channels for g in channels.groups])] == 0).any()
    image = torch.rand(1, 3, 16, 16)
    before = network(image)
    before.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
    found = remove_zero(network, architecture, X4)
    assert sum(was - left for _, was, left in found.widths) > 0
    with torch.no_grad():
        assert (found.network(image) - before).abs().max() < 1e-5


@pytest.mark.shared
def test_published_rfdn_at_65_percent(shared: Path) -> None:
    """A regression guard: what Taylor leaves without any training is far from chance."""
    rfdn, sr = published("rfdn"), get_task("sr-x4")
    network = load_published("rfdn", shared / "weights" / "RFDN_AIM.pth")
    source = sr.patch_source(sr.embedded("train"))
    batches = [source.batch(seed=0, step=i, batch=4, patch=48) for i in range(2)]
    macs = cost(rfdn.architecture, rfdn.task).macs
    found = prune(network, rfdn.architecture, rfdn.task, target=0.65 * macs, batches=batches)
    assert found.operations <= 0.65 * macs
    pairs = sr.pairs(shared / "data" / "set5" / "HR")
    psnr = next(m.value for m in score(found.network, "sr-x4", pairs, ssim=False) if m.name == "psnr_y")
    assert psnr > 28.5

"""Every network that can be built can be pruned: the pruned one is the masked one, at the cost that was foreseen."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evaluators.channels.groups import Channels
from evaluators.pruning.prune import prune
from evaluators.tasks import get_task, task_names
from spaces.architecture import Architecture, Block
from spaces.baselines import published
from spaces.blocks import BLOCKS
from spaces.build import build, cost
from spaces.catalog import named_space
from spaces.layers.attention import ATTENTION_NAMES
from spaces.layers.convolutions import merge
from spaces.layers.norms import ChannelNorm
from spaces.layers.weight_norm import WeightNormConv2d
from spaces.measurement import CONVENTIONS
from spaces.parts import Network
from spaces.resamplers import DOWNS, UPS
from spaces.task import DENOISE, Task, super_resolution
from spaces.topologies.chain import FUSIONS, Chain
from spaces.topologies.chain_network import CONVOLUTIONS
from spaces.topologies.pruned import Pruned
from spaces.topologies.unet import UNet
from spaces.upsamplers import UPSAMPLERS

X4 = super_resolution(4)


def check(architecture: Architecture, task: Task, *, share: float = 0.6) -> tuple[Channels, Pruned]:
    """Prune at random, twice; compare with the masked network and with the foreseen cost.

    All in float64, the pruned weights too: the lengths of weight-normalised convolutions are computed, and rounded
    to float32 they'd differ from the masked network's by more than what a processor's arithmetic does.

    Args:
        share: Of each group's channels that is kept; at least one is.
    """
    torch.manual_seed(0)
    network = build(architecture, task).eval().double()
    channels = trace(network, architecture, task)
    assert channels.groups
    pruned, small = prune_at_random(network, architecture, channels, task, share)
    again = trace(small, pruned, task)
    prune_at_random(small, architecture, again, task, share)
    return channels, pruned


def trace(network: Network, architecture: Architecture, task: Task) -> Channels:
    channels = Channels.trace(network, task.in_channels, size=task.cost_input[1:])
    for convention in CONVENTIONS:
        foreseen = channels.operations(channels.widths, convention)
        assert foreseen == cost(architecture, task).operations(convention)
    return channels


def prune_at_random(
    network: Network, base: Architecture, channels: Channels, task: Task, share: float
) -> tuple[Pruned, Network]:
    random = np.random.default_rng(0)
    chosen = [
        np.sort(random.choice(g.channels, size=max(1, int(share * len(g))), replace=False))
        for g in channels.groups
    ]
    kept = channels.kept(chosen)
    tensors = channels.take(kept)
    state = build(base, task).state_dict()
    shapes = tuple(sorted((n, tuple(t.shape)) for n, t in tensors.items() if t.shape != state[n].shape))
    pruned = Architecture.from_json(Pruned(base, shapes).to_json())
    assert isinstance(pruned, Pruned)
    small = build(pruned, task).eval().double()
    small.load_state_dict(tensors)
    widths = np.array([len(c) for c in chosen])
    for convention in CONVENTIONS:
        foreseen = channels.operations(widths, convention)
        assert foreseen == cost(pruned, task).operations(convention)
    image = torch.rand(1, task.in_channels, *network.size_requirements.padded(24, 33)).double()
    with torch.no_grad():
        masked = channels.masked(kept, image)
        whole, ours = network(image), small(image)
    if channels.groups:
        assert (whole - masked).abs().max() > 1e-5, "nothing was masked"
    assert (ours - masked).abs().max() < 1e-9
    return pruned, small


@pytest.mark.parametrize(("width", "activation"), [(16, "paper"), (17, "relu"), (12, "prelu")])
@pytest.mark.parametrize("kind", list(BLOCKS))
def test_block(kind: str, width: int, activation: str) -> None:
    channels, pruned = check(Chain(width, (Block(kind),) * 2, activation=activation), X4)
    assert channels.opaque == ()
    for block in ("blocks.0.", "blocks.1."):
        assert any(name.startswith(block) for name, _ in pruned.shapes)


@pytest.mark.parametrize("kind", list(BLOCKS))
def test_block_of_the_fewest_channels(kind: str) -> None:
    check(Chain(12, (Block(kind),)), X4, share=0)


def rows_left(weight: Tensor, left: Tensor) -> Tensor:
    """Which rows of a weight are left, told from their values: each occurs once."""
    values, order = weight.flatten().sort()
    places = order[torch.searchsorted(values, left.flatten())]
    assert torch.equal(weight.flatten()[places], left.flatten())
    return torch.unravel_index(places, weight.shape)[0].unique()


def counts_channels(kind: str) -> bool:
    """Norms over channels see how many there are, and a weight norm sees its inputs: zeros aren't nothing to them."""
    layers = (nn.LayerNorm, ChannelNorm, WeightNormConv2d)
    return any(isinstance(module, layers) for module in BLOCKS[kind].create(8).modules())


@pytest.mark.parametrize("kind", [kind for kind in BLOCKS if not counts_channels(kind)])
@torch.no_grad()
def test_a_removed_channel_is_zeros_in_the_original(kind: str) -> None:
    """Independent of how channels are followed: the rows that are gone are found by value, and zeroed."""
    torch.manual_seed(0)
    architecture = Chain(12, (Block(kind),) * 2)
    original = build(architecture, X4).eval()
    for parameter in original.parameters():
        most, count = max(float(parameter.abs().max()), 0.1), parameter.numel()
        parameter.copy_(most * (2 * torch.randperm(count) / count - 1).reshape(parameter.shape))
    found = prune(original, architecture, X4, target=0.5 * cost(architecture, X4).macs, criterion="l1")
    for name, module in original.named_modules():
        weight = getattr(module, "weight", None)
        if weight is not None and weight.numel() > 1:  # the one slope of a PReLU is everyone's
            gone = torch.ones(len(weight), dtype=torch.bool)
            gone[rows_left(weight, found.network.get_parameter(f"{name}.weight"))] = False
            for parameter in module.parameters(recurse=False):
                parameter[gone] = 0
    image = torch.rand(1, 3, 24, 33).double()
    assert (original.double()(image) - found.network.double()(image)).abs().max() < 1e-9


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("kind", list(UPSAMPLERS))
def test_upsampler(kind: str, scale: int) -> None:
    check(Chain(12, (Block("residual"),), Block(kind)), super_resolution(scale))


@pytest.mark.parametrize("name", ATTENTION_NAMES)
def test_gate(name: str) -> None:
    check(Chain(12, (Block("rlfb"),), attention=name), X4)


@pytest.mark.parametrize("form", CONVOLUTIONS)
def test_convolution(form: str) -> None:
    _, pruned = check(Chain(12, (Block("residual"),), convolution=form), X4)
    network = build(pruned, X4).eval()
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        before = network(image)
        assert (merge(network)(image) - before).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["residual", "imdb", "uestc"])
@pytest.mark.parametrize("form", ["acb", "basis"])
def test_block_of_mergeable_convolutions(kind: str, form: str) -> None:
    architecture = Chain(13, (Block(kind, (("convolution", form),)),) * 2)
    for share in (0.6, 0):
        check(architecture, X4, share=share)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fusion(fusion: str) -> None:
    check(Chain(12, (Block("rfdb"),) * 3, fusion=fusion), X4)


@pytest.mark.parametrize(
    "wiring",
    [
        {"mean_shift": True},
        {"unshuffle": 2},
        {"head_layers": 2, "head_activation": True},
        {"feature_skip": False},
        {"trunk_convolution": False},
        {"image_skip": "bilinear", "value_range": 255},
        {"activation": "prelu"},
    ],
    ids=lambda wiring: "-".join(wiring),
)
def test_wiring(wiring: dict) -> None:
    _, pruned = check(Chain(12, (Block("imdb"),) * 2, **wiring), super_resolution(2))
    assert not any(name.startswith("mean_") for name, _ in pruned.shapes if name.endswith("bias"))


@pytest.mark.parametrize("down", list(DOWNS))
@pytest.mark.parametrize("up", list(UPS))
def test_resamplers(down: str, up: str) -> None:
    levels = ((Block("hin"),), (Block("hin"),))
    check(UNet((8, 12), levels, levels[:1], down=Block(down), up=Block(up)), DENOISE)


@pytest.mark.parametrize("task", task_names())
def test_task(task: str) -> None:
    """Random networks of each task's own space: all topologies."""
    interface, space = get_task(task).interface, named_space(get_task(task).space)
    random = Random(task)
    found = (space.decode(space.sample(random)) for _ in range(1000))
    light = [a for a in (next(found) for _ in range(40)) if cost(a, interface).parameters < 1e6]
    for architecture in light[:3]:
        check(architecture, interface)


@pytest.mark.parametrize(
    "name", ["imdn", "pan", "latticenet", "maffsrn", "bsrn", "rlfn", "metaisp", "hinet-0.5x"]
)
def test_published(name: str) -> None:
    found = published(name)
    check(found.architecture, found.task)


@pytest.mark.parametrize("kind", list(BLOCKS))
def test_target(kind: str) -> None:
    """One call lands at most 0.5 % under the target; in float64, where nothing that is stored is rounded."""
    torch.manual_seed(0)
    architecture = Chain(24, (Block(kind),) * 2)
    network = build(architecture, X4).double()
    target = 0.7 * cost(architecture, X4).macs
    found = prune(network, architecture, X4, target=target, criterion="l2")
    assert 0.995 * target <= found.operations <= target
    assert found.operations == cost(found.architecture, X4).macs
    assert found.max_error < 1e-9

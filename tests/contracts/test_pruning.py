"""Every network that can be built can be pruned: the pruned one is the masked one, at the cost that was foreseen."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch

from evaluators.channels import Channels
from evaluators.pruning import prune
from evaluators.tasks import get_task, task_names
from spaces.architecture import Architecture, Block
from spaces.attention import ATTENTION_NAMES
from spaces.baselines import published
from spaces.blocks import BLOCKS
from spaces.build import build, cost
from spaces.catalog import named_space
from spaces.chain import FUSIONS, Chain
from spaces.chain_network import CONVOLUTIONS
from spaces.convolutions import merge
from spaces.measurement import CONVENTIONS
from spaces.pruned import Pruned
from spaces.resamplers import DOWNS, UPS
from spaces.task import DENOISE, Task, super_resolution
from spaces.unet import UNet
from spaces.upsamplers import UPSAMPLERS

X4 = super_resolution(4)
# What arithmetic ties to a number of channels: attention's heads, a table of positions.
OPAQUE = {"rstb": ("__getitem__",)}


def check(architecture: Architecture, task: Task) -> tuple[Channels, Pruned]:
    """Prune at random, and compare with the masked network and with the foreseen cost."""
    torch.manual_seed(0)
    network = build(architecture, task).eval()
    channels = Channels.trace(network, task.in_channels, size=task.cost_input[1:])
    for convention in CONVENTIONS:
        foreseen = channels.operations(channels.widths, convention)
        assert foreseen == pytest.approx(cost(architecture, task).operations(convention), rel=1e-12)
    assert channels.groups
    random = np.random.default_rng(0)
    chosen = [
        np.sort(random.choice(g.channels, size=max(1, int(0.6 * len(g))), replace=False))
        for g in channels.groups
    ]
    kept = channels.kept(chosen)
    tensors = channels.take(kept)
    state = network.state_dict()
    shapes = tuple(sorted((n, tuple(t.shape)) for n, t in tensors.items() if t.shape != state[n].shape))
    pruned = Architecture.from_json(Pruned(architecture, shapes).to_json())
    assert isinstance(pruned, Pruned)
    small = build(pruned, task).eval()
    small.load_state_dict(tensors)
    widths = np.array([len(c) for c in chosen])
    for convention in CONVENTIONS:
        foreseen = channels.operations(widths, convention)
        assert foreseen == pytest.approx(cost(pruned, task).operations(convention), rel=1e-12)
    image = torch.rand(1, task.in_channels, *network.size_requirements.padded(24, 33))
    with torch.no_grad():
        masked, whole, ours = channels.masked(kept, image), network(image), small(image)
    assert (whole - masked).abs().max() > 1e-4, "nothing was masked"
    assert (ours - masked).abs().max() < 1e-5
    # A pruned network can be pruned again: everything is still tied as it was.
    again = Channels.trace(small, task.in_channels)
    assert sum(len(g) for g in again.groups) <= int(widths.sum())
    return channels, pruned


@pytest.mark.parametrize("width", [16, 17])
@pytest.mark.parametrize("kind", list(BLOCKS))
def test_block(kind: str, width: int) -> None:
    channels, pruned = check(Chain(width, (Block(kind),) * 2), X4)
    assert channels.opaque == OPAQUE.get(kind, ())
    for block in ("blocks.0.", "blocks.1."):
        assert any(name.startswith(block) for name, _ in pruned.shapes)


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
    check(Chain(13, (Block(kind, (("convolution", form),)),) * 2), X4)


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
    """One call lands at most 0.5 % under the target."""
    torch.manual_seed(0)
    architecture = Chain(24, (Block(kind),) * 2)
    network = build(architecture, X4)
    target = 0.7 * cost(architecture, X4).macs
    found = prune(network, architecture, X4, target=target, criterion="l2")
    assert 0.995 * target <= found.operations <= target
    assert found.operations == cost(found.architecture, X4).macs
    assert found.max_error < 1e-9

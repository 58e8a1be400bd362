"""What a child has of its parent, and what it then computes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from evaluators.training.distillation import load_bytes
from evaluators.training.inheritance import inherit
from evaluators.trial import Job, TrialData, evaluate, score, weights_of
from spaces.architecture import Block
from spaces.build import build
from spaces.parts import Network
from spaces.topologies.chain import Chain
from spaces.topologies.unet import UNet
from tests.evaluators.small import TASK, network, pairs, recipe, task

X2 = task().interface
PARENT = Chain(8, (Block("residual"), Block("imdb")), fusion="concat", image_skip="nearest")
IMAGE = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def parent(architecture: Chain = PARENT) -> Network:
    return network(7, architecture).eval()


def child(architecture: Chain, of: Chain = PARENT) -> Network:
    torch.manual_seed(1)
    tensors = inherit(architecture, of, parent(of).state_dict(), X2)
    found = build(architecture, X2).eval()
    found.load_state_dict(tensors)
    return found


def same(one: Network, other: Network) -> bool:
    with torch.no_grad():
        return torch.allclose(one(IMAGE), other(IMAGE), rtol=0, atol=1e-5)


@pytest.mark.parametrize("width", [9, 12, 16])
@pytest.mark.parametrize("fusion", ["plain", "concat"])
@pytest.mark.parametrize("upsampler", ["pixelshuffle", "transposed"])
def test_a_wider_child_computes_the_same_and_all_of_it_can_learn(
    width: int, fusion: str, upsampler: str
) -> None:
    base = replace(
        PARENT, fusion=fusion, upsampler=Block(upsampler), blocks=(Block("residual"), Block("rlfb"))
    )
    wider = child(replace(base, width=width), base)
    assert same(parent(base), wider)
    weight: Tensor = wider.get_parameter("blocks.0.conv1.weight")
    assert not weight[:8, 8:].any()  # old channels don't read new ones
    assert weight[8:].abs().min() > 0  # new ones read all
    optimizer = torch.optim.SGD(wider.parameters(), lr=0.1)
    wider.train()(IMAGE).square().mean().backward()
    optimizer.step()
    assert weight[:8, 8:].any()


def test_a_deeper_child_computes_the_same() -> None:
    blocks = (*PARENT.blocks, Block("residual"), Block("rlfb"))
    assert same(parent(), child(replace(PARENT, blocks=blocks)))
    assert same(parent(), child(replace(PARENT, blocks=blocks, width=12)))
    plain = replace(PARENT, fusion="plain")
    assert same(parent(plain), child(replace(plain, blocks=blocks[:3]), plain))
    assert not same(parent(plain), child(replace(plain, blocks=blocks), plain))  # RLFB is no residual block


def test_a_block_of_another_kind_starts_as_the_identity() -> None:
    changed = child(replace(PARENT, blocks=(Block("scpa"), Block("imdb"))))
    features = torch.rand(1, 8, 20, 20)
    assert torch.allclose(changed.get_submodule("blocks.0")(features), features, atol=1e-6)
    mine, theirs = changed.state_dict(), parent().state_dict()
    for name in ("head.weight", "blocks.1.c1.weight", "fusion.0.weight", "upsampler.conv.weight"):
        assert torch.equal(mine[name], theirs[name]), name


def test_a_narrower_child_has_the_first_channels_in_each_role() -> None:
    mine, theirs = child(replace(PARENT, width=4)).state_dict(), parent().state_dict()
    maps = [0, 1, 2, 3, 8, 9, 10, 11]
    assert torch.equal(mine["fusion.0.weight"], theirs["fusion.0.weight"][:4][:, maps])
    assert torch.equal(mine["blocks.1.c1.bias"], theirs["blocks.1.c1.bias"][[0, 2, 3, 4]])  # 1 of 2 distilled


def test_the_same_architecture_has_the_same_tensors() -> None:
    for name, tensor in child(PARENT).state_dict().items():
        assert torch.equal(tensor, parent().state_dict()[name]), name


def test_other_topologies_inherit_part_by_part() -> None:
    unet = UNet((8, 12), encoder=((Block("residual"),),) * 2, decoder=((Block("residual"),),))
    wider = replace(unet, widths=(12, 16))
    torch.manual_seed(0)
    tensors = build(unet, X2).state_dict()
    mine = inherit(wider, unet, tensors, X2)
    build(wider, X2).load_state_dict(mine)
    shared = [
        n for n, t in tensors.items() if t.ndim == 4 and torch.equal(mine[n][: t.shape[0], : t.shape[1]], t)
    ]
    assert len(shared) > 4


@pytest.mark.parametrize("change", ["missing", "narrow"])
def test_tensors_that_are_not_the_parents_are_refused(change: str) -> None:
    tensors = dict(parent().state_dict())
    kept = tensors.pop("fusion.0.weight")
    if change == "narrow":
        tensors["fusion.0.weight"] = kept[:4]
    with pytest.raises(ValueError, match=r"expected the parent's tensors, got .*'fusion\.0\.weight'"):
        inherit(PARENT, PARENT, tensors, X2)


def test_a_trained_parent_gives_its_child_a_start() -> None:
    """After as many steps of its own, the child is ahead of one that starts at random."""
    data = TrialData(pairs(), pairs())
    job = Job(PARENT.to_json(), TASK, recipe(120), (120,), seed=0)
    *_, trained = evaluate(job, data)
    tensors = parent()
    load_bytes(tensors, trained.weights)  # type: ignore[union-attr]
    wider = replace(PARENT, width=12, blocks=(*PARENT.blocks, Block("residual")))
    fresh = network(3, wider)
    given = network(3, wider)
    given.load_state_dict(inherit(wider, PARENT, tensors.state_dict(), X2))
    quality = []
    for start in (fresh, given):
        job = Job(wider.to_json(), TASK, recipe(20), (20,), seed=1, start=weights_of(start))
        *_, rung, _ = evaluate(job, data)
        quality.append(next(m.value for m in rung.measurements if "psnr" in m.name))  # type: ignore[union-attr]
    alone = next(m.value for m in score(tensors, TASK, pairs(), ssim=False) if "psnr" in m.name)
    assert quality[1] > alone - 0.1
    assert quality[1] > quality[0] + 0.5

"""Every block and upsampler can be narrower in a supernet, and lends its tensors to children: without code for it."""

from __future__ import annotations

import pytest
import torch

from evaluators.supernet.network import Supernet
from evaluators.training.inheritance import inherit
from spaces.architecture import Block
from spaces.blocks import BLOCKS
from spaces.build import build
from spaces.space import Space, chain_space
from spaces.task import super_resolution
from spaces.topologies.chain import Chain
from spaces.upsamplers import UPSAMPLERS

X2 = super_resolution(2)
Shapes = list[tuple[int, ...]]
IMAGE = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def check(supernet: Supernet, chain: Chain) -> None:
    """The path is the extracted network; all its tensors come from the shared ones and get gradients."""
    network = supernet.extract(chain)
    supernet.eval()
    supernet.zero_grad()
    output = supernet(IMAGE, chain)
    output.square().mean().backward()
    with torch.no_grad():
        assert torch.equal(network(IMAGE), output)
    shared = torch.cat([p.detach().flatten() for p in supernet.parameters()])
    own = torch.cat([p.detach().flatten() for p in network.parameters()])
    assert torch.isin(own, shared).all()
    touched = sum(int((p.grad != 0).sum()) for p in supernet.parameters() if p.grad is not None)
    assert 0.4 * network.head.weight.numel() < touched <= sum(p.numel() for p in network.parameters())  # type: ignore[union-attr,operator]


def fits(shapes: Shapes, into: Shapes) -> bool:
    """Not so where the wide block has fewer attention heads."""
    return all(n <= most for a, b in zip(shapes, into, strict=True) for n, most in zip(a, b, strict=True))


def space_of(kind: str, widths: list[int]) -> Space:
    return chain_space("one", blocks=[kind], widths=widths, depths=[1, 2], upsamplers=["pixelshuffle"])


@pytest.mark.parametrize("kind", list(BLOCKS))
def test_a_narrow_block_is_part_of_a_wide_one(kind: str) -> None:
    torch.manual_seed(0)
    widths = [6, 8, 11, 16]
    sizes = [[tuple(t.shape) for t in BLOCKS[kind].create(width).parameters()] for width in widths]
    widths = [w for w, shapes in zip(widths, sizes, strict=True) if fits(shapes, sizes[-1])]
    assert len(widths) > 2
    supernet = Supernet(space_of(kind, widths), X2)
    for width in widths:
        check(supernet, Chain(width, (Block(kind),) * 2, fusion="concat", image_skip="nearest"))


@pytest.mark.parametrize("kind", list(UPSAMPLERS))
def test_a_narrow_upsampler_is_part_of_a_wide_one(kind: str) -> None:
    space = chain_space("one", blocks=["residual"], widths=[8, 11, 16], depths=[1], upsamplers=[kind])
    torch.manual_seed(0)
    supernet = Supernet(space, X2)
    for width in (8, 11, 16):
        check(supernet, Chain(width, (Block("residual"),), Block(kind), fusion="plain"))


@pytest.mark.parametrize("kind", list(BLOCKS))
@pytest.mark.parametrize("fusion", ["plain", "concat"])
def test_children_of_every_shape_inherit(kind: str, fusion: str) -> None:
    """And a deeper one computes the same where its new block's output is only concatenated."""
    torch.manual_seed(0)
    parent = Chain(8, (Block(kind),) * 2, fusion=fusion)
    network = build(parent, X2).eval()
    for width, depth in ((8, 3), (11, 2), (6, 1)):
        child = Chain(width, (Block(kind),) * depth, fusion=fusion)
        grown = build(child, X2).eval()
        grown.load_state_dict(inherit(child, parent, network.state_dict(), X2))
        with torch.no_grad():
            apart = (grown(IMAGE) - network(IMAGE)).abs().max()
        assert torch.isfinite(apart)
        if fusion == "concat" and depth == 3:
            assert apart < 1e-6

"""A supernet of a small space: sub-networks, what they share, and taking them out."""

from __future__ import annotations

import copy
from random import Random

import pytest
import torch

from evaluators.supernet.network import Supernet
from evaluators.trial import Finished, Job, RungReached, TrialData, evaluate, score, weights_of
from spaces.architecture import Block
from spaces.space import Space, chain_space
from spaces.task import super_resolution
from spaces.topologies.chain import Chain
from tests.evaluators.small import TASK, pairs, recipe, task

SMALL = chain_space(
    "small",
    blocks=["residual", "imdb"],
    widths=[4, 6, 8],
    depths=[1, 2, 3],
    upsamplers=["pixelshuffle", "transposed"],
    image_skips=["none", "nearest"],
)
IMAGE = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def supernet(space: Space = SMALL) -> Supernet:
    torch.manual_seed(0)
    return Supernet(space, task().interface)


def samples(count: int) -> list[Chain]:
    random = Random(0)
    found = [SMALL.decode(SMALL.sample(random)) for _ in range(count)]
    assert len(set(found)) > count / 2
    return found  # type: ignore[return-value]


def test_a_path_is_its_extracted_network() -> None:
    net = supernet().eval()
    for chain in samples(20):
        assert torch.equal(net(IMAGE, chain), net.extract(chain)(IMAGE)), chain.label


def test_a_step_on_one_path_changes_what_is_shared_and_nothing_else() -> None:
    net = supernet()
    narrow = Chain(4, (Block("residual"),), fusion="plain", image_skip="nearest")
    wide = Chain(8, (Block("residual"), Block("imdb")), fusion="plain", image_skip="nearest")
    other = Chain(8, (Block("imdb"),), Block("transposed"), fusion="concat", feature_skip=False)
    before = {chain: net.extract(chain).state_dict() for chain in (wide, other)}
    net(IMAGE, narrow).mean().backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    first = before[wide]["blocks.0.conv1.weight"] != net.extract(wide).state_dict()["blocks.0.conv1.weight"]
    assert first[:4, :4].any()
    assert not first[4:].any()
    assert not first[:, 4:].any()
    for name, tensor in net.extract(wide).state_dict().items():
        if name.startswith("blocks.1"):
            assert torch.equal(tensor, before[wide][name])
    after = net.extract(other).state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[other][name])}
    assert changed == {"head.weight", "head.bias"}


def test_what_is_taken_out_is_a_copy() -> None:
    net, chain = supernet(), samples(1)[0]
    with torch.no_grad():
        for parameter in net.extract(chain).parameters():
            parameter.zero_()
    assert all(p.abs().sum() > 0 for p in net.extract(chain).parameters() if p.ndim == 4)


def test_a_copy_has_its_own_tensors() -> None:
    net, chain = supernet(), samples(1)[0]
    twin = copy.deepcopy(net)
    output = net(IMAGE, chain)
    assert torch.equal(output, twin(IMAGE, chain))
    with torch.no_grad():
        next(twin.parameters()).zero_()
    assert torch.equal(output, net(IMAGE, chain))


def test_only_upsamplers_onto_an_image_skip_start_small() -> None:
    net = supernet()
    skip, none = (Chain(8, (Block("residual"),), image_skip=s) for s in ("nearest", "none"))
    small, whole = (
        next(m for m in net.extract(c).get_submodule("upsampler").modules() if isinstance(m, torch.nn.Conv2d))
        for c in (skip, none)
    )
    assert float(small.weight.detach().abs().mean()) < 0.2 * float(whole.weight.detach().abs().mean())


def test_a_sub_network_is_scored_and_trained_on_as_any_other() -> None:
    """Its weights start a trial."""
    net, chain = supernet(), samples(1)[0]
    network = net.extract(chain)
    job = Job(chain.to_json(), TASK, recipe(2, learning_rate=1e-9), (1, 2), seed=0, start=weights_of(network))
    events = list(evaluate(job, TrialData(pairs(), pairs())))
    assert isinstance(events[-1], Finished)
    rungs = [event for event in events if isinstance(event, RungReached)]
    expected = {m.key: m.value for m in score(network, TASK, pairs())}
    for measured in rungs[-1].measurements:
        assert measured.value == pytest.approx(expected[measured.key], abs=1e-4)


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        (
            Chain(16, (Block("residual"),)),
            "expected a chain of space 'small', at most 8 channels wide, got 1x16",
        ),
        (Chain(8, (Block("rfdb"),)), "whose 'blocks.0' no chain of that space has"),
        (Chain(8, (Block("residual"),) * 4), "no chain of that space has"),
    ],
)
def test_what_is_not_in_the_space_is_refused(chain: Chain, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        supernet()(IMAGE, chain)


def test_spaces_that_cannot_share_are_refused() -> None:
    from spaces.catalog import named_space

    with pytest.raises(ValueError, match="expected a space of chains, got 'unet"):
        Supernet(named_space("unet"), super_resolution(2))
    with pytest.raises(ValueError, match="space 'sr-all' wires .* kinds of blocks in .* ways"):
        Supernet(named_space("sr-all"), super_resolution(2))
    heads = chain_space("heads", blocks=["rstb"], widths=[6, 16], depths=[1])
    with pytest.raises(ValueError, match="at width 6, more than the .* at width 16"):
        Supernet(heads, super_resolution(2))


def test_one_kind_for_all_positions() -> None:
    space = chain_space("same", blocks=["residual", "imdb"], widths=[4, 8], depths=[1, 2], per_position=False)
    torch.manual_seed(0)
    net = Supernet(space, task().interface).eval()
    chain = space.decode(space.sample(Random(1)))
    assert torch.equal(net(IMAGE, chain), net.extract(chain)(IMAGE))

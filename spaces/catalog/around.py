"""The space around a published chain: its blocks and wiring, with other widths and depths.

What isn't searched (value range, mean shift, the head's form) stays the published network's, so that the network itself
is a point of the space.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from spaces.baselines import baseline_names, published
from spaces.registry import UnknownNameError
from spaces.space import Space, chain_space
from spaces.topologies.chain import MINIMUM_WIDTH, Chain

AROUND = "around-"


def around(name: str) -> tuple[str, str, tuple[str, ...], Callable[..., Space]]:
    """Name, summary, tasks and maker (``spaces.catalog.NamedSpace``) of ``around-NAME``.

    Widths are from a half to one and a half of the network's, depths from one block to half as many again.

    Raises: ValueError: for an unknown network, or one that isn't a chain.
    """
    chains = [n for n in baseline_names() if isinstance(published(n).architecture, Chain)]
    network = name.removeprefix(AROUND)
    if network not in chains:
        raise UnknownNameError("published chain", network, chains)
    found = published(network)
    chain = found.architecture
    assert isinstance(chain, Chain)
    most = len(chain.blocks) + max(1, len(chain.blocks) // 2)
    make = partial(
        chain_space,
        bases=(network,),
        blocks=tuple(dict.fromkeys(map(str, chain.blocks))),
        widths=tuple(range(max(MINIMUM_WIDTH, chain.width // 2), chain.width * 3 // 2 + 1)),
        depths=tuple(range(1, most + 1)),
        upsamplers=(str(chain.upsampler),),
        fusions=(chain.fusion,),
        feature_skips=(chain.feature_skip,),
        image_skips=(chain.image_skip,),
        activations=(chain.activation,),
        attentions=(chain.attention,),
        convolutions=(chain.convolution,),
    )
    return name, f"{network}, narrower and wider, shallower and deeper", (found.task.name,), make

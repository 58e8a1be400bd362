"""Operations that channels go through, one at a time: followed, or left alone and said."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from evaluators.channels.groups import Channels
from spaces.parts import Network
from spaces.topologies.pruned_network import shrink

WIDTH = 8


class Between(Network):
    """An operation between two convolutions."""

    def __init__(self, operation: Callable[[Tensor], Tensor], out: int):
        super().__init__({})
        self.head = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.tail = nn.Conv2d(out, 3, 3, padding=1)
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.operation(self.head(x)))


def assigned(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 0] = 0
    return x


def swapped(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=1)
    return torch.cat((second, first.abs()), dim=1)


# (operation, channels that it gives, groups of channels, what isn't known)
OPERATIONS: dict[str, tuple[Callable[[Tensor], Tensor], int, list[int], tuple[str, ...]]] = {
    "flip of columns": (lambda x: x.flip(3), 8, [8], ()),
    "flip of channels": (lambda x: x.flip(1), 8, [], ("flip",)),
    "roll of rows": (lambda x: torch.roll(x, 1, dims=2), 8, [8], ()),
    "roll of channels": (lambda x: torch.roll(x, shifts=1, dims=1), 8, [], ("roll",)),
    "einsum": (lambda x: torch.einsum("nchw->ncwh", x), 8, [], ("einsum",)),
    "assignment": (assigned, 8, [], ("__setitem__",)),
    "deviation of pixels": (lambda x: x.std((2, 3), keepdim=True), 8, [8], ()),
    "deviation of channels": (lambda x: x / x.std(1, keepdim=True), 8, [], ("std",)),
    "mean of channels": (lambda x: x - x.mean(1, keepdim=True), 8, [8], ()),
    "softmax of channels": (lambda x: x.softmax(1), 8, [], ()),
    "every other channel": (lambda x: torch.cat((x[:, ::2], x[:, 1::2]), dim=1), 8, [], ()),
    "chunks that change places": (swapped, 8, [4], ()),
    "three chunks of eight": (lambda x: torch.cat(x.chunk(3, dim=1), dim=1), 8, [], ("chunk",)),
    "a dimension more and less": (lambda x: x.unsqueeze(2).squeeze(2), 8, [8], ()),
    "one of the channels": (lambda x: x - x[:, 2, None], 8, [], ()),
    "crop": (lambda x: functional.pad(x, (-1, -1)), 8, [], ("pad",)),
    "unshuffle": (lambda x: functional.pixel_unshuffle(x, 2), 32, [8], ()),
    "shuffle": (lambda x: functional.pixel_shuffle(x, 2), 2, [2], ()),
}


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_operation(name: str) -> None:
    operation, out, groups, opaque = OPERATIONS[name]
    torch.manual_seed(0)
    network = Between(operation, out).eval()
    channels = Channels.trace(network, 3)
    assert channels.opaque == opaque
    assert [len(group) for group in channels.groups] == groups
    kept = channels.kept([group.channels[len(group) // 2 :] for group in channels.groups])
    tensors = channels.take(kept)
    small = shrink(copy.deepcopy(network), {n: tuple(t.shape) for n, t in tensors.items()})
    small.load_state_dict(tensors)
    image = torch.rand(1, 3, 8, 8).double()
    with torch.no_grad():
        assert (small.double()(image) - channels.masked(kept, image)).abs().max() < 1e-9

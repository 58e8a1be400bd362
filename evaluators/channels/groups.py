"""The channel groups of a network: what can be pruned, what goes together, and what it then costs.

A *channel* here is everything that has to go at once: a trunk channel with its slice of every layer on the trunk, the
r^2 channels before a pixel shuffle, a Ghost module's channel with its copy. Channels that touch the same tensors in the
same way are interchangeable but for their weights: a *group*. A pruned network keeps a number of each group, in their
order; its cost follows from these numbers alone.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from evaluators.channels.flow import FIXED, ChannelFlow, Term, charge_activations
from spaces.cost import Convention
from spaces.layers.weight_norm import WeightNormConv2d
from spaces.parts import Network

_COUNTED = {
    "exact": ("macs",),
    "challenge": ("macs", "activation_ops", "transposed_excess"),
    "bias": ("macs", "bias_ops"),
    "fvcore": ("macs", "fvcore_ops"),
}
_COUNTS = sorted({counts for counted in _COUNTED.values() for counts in counted})


@dataclass(frozen=True)
class Group:
    """Interchangeable channels.

    Attributes:
        name: The first layer that makes them; a second group of a layer has ``/2`` behind it.
        channels: Their numbers in ``Channels``, in the layer's order.
        multiplicity: Every layer that has them has a multiple of this of each.
    """

    name: str
    channels: np.ndarray
    multiplicity: int

    def __len__(self) -> int:
        return len(self.channels)


class Channels:
    """What can be pruned of a network.

    Attributes:
        groups: In forward order.
        opaque: Operations that channels couldn't be followed through; what meets them stays.
    """

    def __init__(self, network: Network, flow: ChannelFlow):
        self._network = network
        self._numbers = flow.numbers
        self.opaque = tuple(sorted(flow.opaque))
        self._channel = _connected(flow)
        self.count = int(self._channel.max()) + 1
        movable = np.zeros(self.count, bool)
        for ids in flow.consumed:
            movable[self._channel[ids[ids != FIXED]]] = True
        for ids in flow.fixed:
            movable[self._channel[ids]] = False
        self.groups = self._grouped(movable)
        self._sum(flow.terms)

    @classmethod
    def trace(cls, network: Network, channels_in: int, *, size: tuple[int, int] = (64, 64)) -> Channels:
        """The channels of a network, traced without arithmetic.

        Args:
            channels_in: Of its input.
            size: Height and width that costs are counted at; padded to what the network takes.
        """
        shadow = copy.deepcopy(network).to("meta").eval()
        height, width = network.size_requirements.padded(*size)
        flow = ChannelFlow(_tensors(shadow))
        image = torch.empty(
            1, channels_in, height, width, device="meta", dtype=next(shadow.parameters()).dtype
        )
        hooks = charge_activations(flow, shadow)
        with torch.no_grad(), flow:
            out = shadow(image)
        for hook in hooks:
            hook.remove()
        for tensor in out if isinstance(out, tuple) else (out,):
            flow.fix(flow.labels(tensor).at(1))
        for path, module in shadow.named_modules():
            for name in getattr(module, "unprunable", ()):
                layer = f"{path}.{name}.weight" if path else f"{name}.weight"
                if layer in flow.numbers:
                    flow.fix(flow.numbers[layer][0])
        return cls(network, flow)

    def _grouped(self, movable: np.ndarray) -> tuple[Group, ...]:
        """Channels by what they touch: the same slots (a tensor's dimension), as often."""
        touched: dict[int, list[int]] = {}
        slots = [(name, axis) for name, ids in self._numbers.items() for axis in range(len(ids))]
        for slot, (name, axis) in enumerate(slots):
            for channel in self._channel[self._numbers[name][axis]]:
                if movable[channel]:
                    touched.setdefault(int(channel), []).append(slot)
        alike: dict[tuple[int, ...], list[int]] = {}
        for channel, found in touched.items():  # in the order of the first slot, then of its index
            alike.setdefault(tuple(found), []).append(channel)
        groups: list[Group] = []
        taken: dict[str, int] = {}
        for found_slots, channels in alike.items():
            if len(channels) < 2:
                continue
            layer = slots[found_slots[0]][0].rpartition(".")[0] or slots[found_slots[0]][0]
            taken[layer] = taken.get(layer, 0) + 1
            name = layer if taken[layer] == 1 else f"{layer}/{taken[layer]}"
            groups.append(Group(name, np.array(channels), gcd(*Counter(found_slots).values())))
        return tuple(groups)

    def _sum(self, terms: Sequence[Term]) -> None:
        """Bring the cost to the form that ``operations`` takes."""
        of = np.full(self.count, -1)  # the group of each channel
        for number, group in enumerate(self.groups):
            of[group.channels] = number
        # The first dimension is of length 1: it fills up terms of fewer dimensions than others.
        lengths: dict[tuple[int, ...], int] = {(1, *(0 for _ in self.groups)): 0}
        summed: dict[tuple[int, ...], dict[str, float]] = {}
        for term in terms:
            constant, product = term.constant, []
            for ids in term.dimensions:
                groups = of[self._channel[ids[ids != FIXED]]]
                each = np.bincount(groups[groups >= 0], minlength=len(self.groups)) // self.widths
                if each.any():
                    length = (len(ids) - int(each @ self.widths), *map(int, each))
                    product.append(lengths.setdefault(length, len(lengths)))
                else:
                    constant *= len(ids)
            counts = summed.setdefault(tuple(sorted(product)), dict.fromkeys(_COUNTS, 0.0))
            counts[term.counts] += constant
        self._stays, self._each = np.split(np.array(list(lengths), dtype=np.float64).T, [1])
        most = max(map(len, summed))
        self._products = np.array([(*p, *[0] * (most - len(p))) for p in summed], dtype=np.int64)
        self._constants = {name: np.array([c[name] for c in summed.values()]) for name in _COUNTS}

    @property
    def widths(self) -> np.ndarray:
        """How many channels each group has."""
        return np.array([len(group) for group in self.groups], dtype=np.int64)

    def operations(self, widths: np.ndarray, convention: Convention = "exact") -> Any:
        """Cost with so many channels of each group kept, as ``spaces.cost`` counts it.

        Args:
            widths: (groups,), or (n, groups) for n costs at once.

        Raises: KeyError: for an unknown convention.
        """
        constants = sum(self._constants[counts] for counts in _COUNTED[convention])
        lengths = self._stays[0] + widths @ self._each
        total = lengths[..., self._products].prod(-1) @ constants
        return total if widths.ndim > 1 else float(total)

    def places(self) -> dict[str, tuple[np.ndarray, ...]]:
        """The channel of each index of each dimension of every parameter and buffer, by name."""
        return {name: tuple(self._channel[ids] for ids in axes) for name, axes in self._numbers.items()}

    def slices(self) -> list[tuple[Tensor, int, np.ndarray]]:
        """(parameter, dimension, channel of each index) wherever something can be pruned."""
        wanted = np.zeros(self.count, bool)
        for group in self.groups:
            wanted[group.channels] = True
        return [
            (tensor, axis, self._channel[ids])
            for name, tensor in self._network.named_parameters()
            for axis, ids in enumerate(self._numbers[name])
            if wanted[self._channel[ids]].any()
        ]

    @torch.no_grad()
    def norms(self) -> np.ndarray:
        """Each channel's Euclidean norm over all its slices, biases and norms included; 0 where nothing can go."""
        return np.sqrt(self._squares().cpu().numpy())

    def _squares(self) -> Tensor:
        total = torch.zeros(self.count, device=next(self._network.parameters()).device)
        for tensor, axis, numbers in self._indexed:
            axes = [i for i in range(tensor.ndim) if i != axis]
            total.index_add_(0, numbers, tensor.square().sum(axes) if axes else tensor.square())
        return total

    @cached_property
    def _indexed(self) -> list[tuple[Tensor, int, Tensor]]:
        return [(t, axis, torch.from_numpy(numbers).to(t.device)) for t, axis, numbers in self.slices()]

    @torch.no_grad()
    def soft_threshold(self, amount: float) -> None:
        """One proximal step of a group lasso on the channels, in place.

        A channel's slices are scaled by max(0, 1 - amount * sqrt(their size) / their norm); a weight between two
        channels by both factors (overlapping groups). "Learning Structured Sparsity in Deep Neural Networks", Wen et
        al., NeurIPS 2016, https://arxiv.org/abs/1608.03665; deviation: by proximal steps on coupled channels.
        """
        norms = self._squares().sqrt()
        shrunk = (1 - amount * self._root_sizes / norms.clamp_min(1e-30)).clamp_min(0)
        factors = torch.where(self._movable, shrunk, 1.0)
        for tensor, axis, numbers in self._indexed:
            tensor.mul_(factors[numbers].reshape([-1 if i == axis else 1 for i in range(tensor.ndim)]))

    @cached_property
    def _root_sizes(self) -> Tensor:
        sizes = torch.zeros(self.count, device=next(self._network.parameters()).device)
        for tensor, axis, numbers in self._indexed:
            sizes.index_add_(0, numbers, torch.full_like(sizes[numbers], tensor.numel() / tensor.shape[axis]))
        return sizes.sqrt()

    @cached_property
    def _movable(self) -> Tensor:
        movable = torch.zeros(self.count, dtype=torch.bool, device=next(self._network.parameters()).device)
        for group in self.groups:
            movable[torch.from_numpy(group.channels).to(movable.device)] = True
        return movable

    def kept(self, chosen: Sequence[np.ndarray]) -> np.ndarray:
        """For every channel whether it is kept: the chosen ones of each group, and all that can't go."""
        kept = np.ones(self.count, bool)
        for group, channels in zip(self.groups, chosen, strict=True):
            kept[group.channels] = False
            kept[channels] = True
        return kept

    @torch.no_grad()
    def take(self, kept: np.ndarray) -> dict[str, Tensor]:
        """The kept slices of every tensor of the network's state, by name."""
        found = {}
        for name, tensor in self._network.state_dict().items():
            for axis, ids in enumerate(self._numbers[name]):
                index = torch.from_numpy(np.flatnonzero(kept[self._channel[ids]])).to(tensor.device)
                tensor = tensor.index_select(axis, index)
            found[name] = tensor.clone()
        for path, layer in self._network.named_modules():
            if isinstance(layer, WeightNormConv2d):  # what is left of a direction keeps its length
                short, whole = (_length(v) for v in (found[f"{path}.weight_v"], layer.weight_v))
                whole = whole[torch.from_numpy(kept[self._channel[self._numbers[f"{path}.weight_v"][0]]])]
                length = found[f"{path}.weight_g"]
                found[f"{path}.weight_g"] = (length.double() * short / whole).to(length)
        return found

    @torch.no_grad()
    def masked(self, kept: np.ndarray, image: Tensor) -> Tensor:
        """What the network makes of an image with the other channels' activations zero, unpruned.

        Means and normalisations over channels are over the kept ones. In the image's precision.
        """
        network = copy.deepcopy(self._network).eval().to(image)
        with ChannelFlow(_tensors(network), kept[self._channel]):
            return network(image)


def _length(direction: Tensor) -> Tensor:
    """In float64: processors add in different orders, and what is stored is rounded once, to the same."""
    return direction.double().square().sum((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)


def _tensors(network: nn.Module) -> Mapping[str, Tensor]:
    """Parameters and buffers, also those that aren't saved."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _connected(flow: ChannelFlow) -> np.ndarray:
    """The channel of each id."""
    first, second = (np.concatenate([pair[i] for pair in flow.ties] or [np.empty(0, int)]) for i in (0, 1))
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(flow.count, flow.count))
    return connected_components(graph, directed=False)[1]

"""How much each channel of a network matters: a score per channel, the least to go first.

A channel's slices are those of every layer that it passes through (``evaluators.channels.groups``), as in "DepGraph:
Towards Any Structural Pruning", Fang et al., CVPR 2023, https://arxiv.org/abs/2301.12900; biases and norms don't
count.

- ``l1``: sum of absolute weights: "Pruning Filters for Efficient ConvNets", Li et al., ICLR 2017,
  https://arxiv.org/abs/1608.08710.
- ``l2``: their Euclidean norm, the group norm of DepGraph.
- ``fpgm``: distance to the group's other channels: "Filter Pruning via Geometric Median for Deep Convolutional Neural
  Networks Acceleration", He et al., CVPR 2019, https://arxiv.org/abs/1811.00250.
- ``taylor``: squared first-order change of the loss when the channel goes, averaged over batches: "Importance
  Estimation for Neural Network Pruning", Molchanov et al., CVPR 2019, https://arxiv.org/abs/1906.10771.

Deviations: all four on whole coupled channels, where the papers but DepGraph score one layer's filters. For comparison
across groups the first three are divided by their group's mean. Taylor's scores are changes of the same loss
everywhere, and channels go in the order of their score per operation saved: from RFDN's published checkpoint at 65 % of
its GMACs that left 29.4 dB on Set5 before any training instead of 28.6, while the relative criteria then cut the trunk
to a few channels (below 9 dB either way).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evaluators.channels.groups import Channels
from evaluators.data.tensors import to_tensor
from evaluators.training.losses import total_loss
from spaces.parts import Network
from spaces.registry import UnknownNameError

Batches = Iterable[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Criterion:
    """A way to score channels.

    Attributes:
        needs_data: ``score`` takes gradients of these batches' loss.
        relative: Scores are only comparable within a group; otherwise they are weighed by what channels cost.
    """

    score: Callable[[Channels], np.ndarray]
    needs_data: bool = False
    relative: bool = True


def importance(
    name: str, network: Network, channels: Channels, *, batches: Batches | None = None, loss: str = "l1"
) -> np.ndarray:
    """A score per channel of ``channels``, comparable across groups; higher matters more.

    Args:
        batches: (N, h, w, C) inputs and targets, for criteria that need data.
        loss: Of these, by its name in ``evaluators.training.losses``.

    Raises:
        UnknownNameError: for an unknown criterion.
        ValueError: if a criterion needs data and got none.
    """
    if name not in CRITERIA:
        raise UnknownNameError("criterion", name, list(CRITERIA))
    criterion = CRITERIA[name]
    if criterion.needs_data:
        scores = _squared_changes(network, channels, batches or (), loss, name)
    else:
        with torch.no_grad():
            scores = criterion.score(channels)
    if criterion.relative:
        for group in channels.groups:
            scores[group.channels] /= max(scores[group.channels].mean(), 1e-30)
    return scores


def _added(channels: Channels, quantity: Callable[[Tensor], Tensor]) -> np.ndarray:
    """The sum of a quantity over each channel's weights."""
    total = np.zeros(channels.count)
    for tensor, axis, numbers in channels.slices():
        if tensor.ndim > 1:
            summed = quantity(tensor).sum([i for i in range(tensor.ndim) if i != axis])
            np.add.at(total, numbers, summed.double().cpu().numpy())
    return total


def _distances(channels: Channels) -> np.ndarray:
    """Each channel's summed distance to the others of its group."""
    squares = [np.zeros((len(group), len(group))) for group in channels.groups]
    place = np.full(channels.count, -1)
    for group in channels.groups:
        place[group.channels] = np.arange(len(group))
    for tensor, axis, numbers in channels.slices():
        if tensor.ndim < 2:
            continue
        rows = tensor.movedim(axis, 0).flatten(1).double().cpu()
        for squared, group in zip(squares, channels.groups, strict=True):
            here = np.flatnonzero(np.isin(numbers, group.channels))
            for nth in _turns(numbers[here], len(group)):
                index = here[nth][np.argsort(place[numbers[here[nth]]])]
                squared += torch.cdist(rows[index], rows[index]).square().numpy()
    total = np.zeros(channels.count)
    for squared, group in zip(squares, channels.groups, strict=True):
        total[group.channels] = np.sqrt(squared).sum(1)
    return total


def _turns(numbers: np.ndarray, size: int) -> list[np.ndarray]:
    """Indices of the first slice of every channel, of the second, ...: each list holds all ``size`` channels once."""
    order = np.argsort(numbers, kind="stable")
    return list(order.reshape(size, -1).T) if len(numbers) else []


def _squared_changes(
    network: Network, channels: Channels, batches: Batches, loss: str, name: str
) -> np.ndarray:
    total, count = np.zeros(channels.count), 0
    slices = [entry for entry in channels.slices() if entry[0].ndim > 1]
    device = next(network.parameters()).device
    wanted = {parameter: parameter.requires_grad for parameter in network.parameters()}
    try:
        network.requires_grad_(True)
        for source, target in batches:
            network.zero_grad(set_to_none=True)
            total_loss(loss, network(to_tensor(source, device)), to_tensor(target, device)).backward()
            change = np.zeros(channels.count)
            for tensor, axis, numbers in slices:
                if tensor.grad is not None:
                    product = (tensor.detach() * tensor.grad).sum(
                        [i for i in range(tensor.ndim) if i != axis]
                    )
                    np.add.at(change, numbers, product.double().cpu().numpy())
            total += change**2
            count += 1
    finally:
        network.zero_grad(set_to_none=True)
        for parameter, before in wanted.items():
            parameter.requires_grad_(before)
    if count == 0:
        raise ValueError(
            f"criterion '{name}' scores channels on training data: expected at least one batch, got none"
        )
    return total / count


CRITERIA: dict[str, Criterion] = {
    "l1": Criterion(lambda channels: _added(channels, torch.abs)),
    "l2": Criterion(lambda channels: np.sqrt(_added(channels, torch.square))),
    "fpgm": Criterion(_distances),
    "taylor": Criterion(lambda channels: np.zeros(channels.count), needs_data=True, relative=False),
}

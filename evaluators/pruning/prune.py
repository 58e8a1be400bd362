"""Structured pruning: a trained network with fewer channels, at an exact cost.

The result is a new architecture (``spaces.topologies.pruned``) with the kept weights; it is compared to the original
network with the removed channels masked before it is handed out.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evaluators.channels.groups import Channels
from evaluators.pruning.allocation import CLOSE, allocate, sizes
from evaluators.pruning.importance import CRITERIA as CRITERIA
from evaluators.pruning.importance import Batches, importance
from spaces.architecture import Architecture
from spaces.build import build
from spaces.cost import Convention
from spaces.parts import Network
from spaces.task import Task
from spaces.topologies.pruned import Pruned

MAX_ERROR = 1e-5
CHECK_SIZE = (48, 64)  # of the image that pruned and masked network are compared on
GIGA = 1e9


class PruningError(RuntimeError):
    """A pruned network that isn't what the masked one is: a fault of a rule in ``evaluators.channels.flow``."""


@dataclass(frozen=True)
class PrunedNetwork:
    """A pruned network, in evaluation mode on the CPU and in the original's precision, not trained yet.

    Attributes:
        operations: Its cost, at the task's cost input, as the convention counts.
        widths: (group, channels before, channels after), in forward order.
        max_error: Largest absolute difference to the masked original, in float64, outputs being in [0, 1].
        notes: What wasn't as asked for.
    """

    architecture: Architecture
    network: Network
    operations: float
    widths: tuple[tuple[str, int, int], ...]
    max_error: float
    notes: tuple[str, ...] = ()


def prune(
    network: Network,
    architecture: Architecture,
    task: Task,
    *,
    target: float,
    criterion: str = "taylor",
    convention: Convention = "exact",
    round_to: int = 1,
    batches: Batches | None = None,
    loss: str = "l1",
) -> PrunedNetwork:
    """The network without its least important channels, at most ``CLOSE`` under a target cost.

    Args:
        architecture: The network's; may be pruned already.
        target: Operations at the task's cost input, as the convention counts.
        criterion: A name of ``evaluators.pruning.importance.CRITERIA``.
        round_to: Layers keep multiples of this many channels, where they have as many.
        batches, loss: For criteria that need data.

    Raises:
        ValueError: for a target above the network's cost or below that of its smallest widths; unknown names; a
            criterion that needs data and got none; a ``round_to`` below 1.
        PruningError: if the result isn't what the masked network is.
    """
    if round_to < 1:
        raise ValueError(f"'round_to' is at least 1, got {round_to}")
    channels = _trace(network, task)
    now = channels.operations(channels.widths, convention)
    if target >= now:
        raise ValueError(
            f"a target of {target / GIGA:.4g} GMACs isn't below what the network costs, {now / GIGA:.4g} GMACs: "
            "give a smaller one"
        )
    scores = importance(criterion, network, channels, batches=batches, loss=loss)
    chosen = allocate(
        channels,
        scores,
        target,
        lambda widths: channels.operations(widths, convention),
        round_to=round_to,
        per_cost=not CRITERIA[criterion].relative,
    )
    found = _taken(network, architecture, task, channels, chosen, convention)
    gap = 1 - found.operations / target
    notes = list(found.notes)
    if gap > CLOSE:
        wide = f" in multiples of {round_to}" if round_to > 1 else ""
        notes.append(
            f"no combination of widths{wide} was found nearer than {100 * gap:.2f} % under the target"
        )
    return PrunedNetwork(
        found.architecture, found.network, found.operations, found.widths, found.max_error, tuple(notes)
    )


def smallest(network: Network, task: Task, convention: Convention = "exact", *, round_to: int = 1) -> float:
    """Operations of the network with the fewest channels in every group: ``prune`` takes no lower target."""
    channels = _trace(network, task)
    return channels.operations(np.array([sizes(group, round_to)[0] for group in channels.groups]), convention)


def remove_zero(
    network: Network, architecture: Architecture, task: Task, *, convention: Convention = "exact"
) -> PrunedNetwork:
    """The network without the channels that sparse training brought to zero.

    What it computes stays, but for norms over channels: their means are then over fewer.

    Raises: PruningError: as ``prune``.
    """
    channels = _trace(network, task)
    norms = channels.norms()
    chosen = []
    for group in channels.groups:
        alive = group.channels[norms[group.channels] > 0]
        chosen.append(alive if len(alive) else group.channels[:1])
    return _taken(network, architecture, task, channels, chosen, convention)


def _trace(network: Network, task: Task) -> Channels:
    return Channels.trace(network, task.in_channels, size=task.cost_input[1:])


def _taken(
    network: Network,
    architecture: Architecture,
    task: Task,
    channels: Channels,
    chosen: list[np.ndarray],
    convention: Convention,
) -> PrunedNetwork:
    """The network with only the chosen channels, checked."""
    kept = channels.kept(chosen)
    tensors = channels.take(kept)
    base = architecture.base if isinstance(architecture, Pruned) else architecture
    before = {name: tuple(t.shape) for name, t in build_on_meta(base, task).items()}
    shapes = tuple(sorted((n, tuple(t.shape)) for n, t in tensors.items() if tuple(t.shape) != before[n]))
    smaller = Pruned(base, shapes) if shapes else base
    result = build(smaller, task).eval().to(next(network.parameters()).dtype)
    result.load_state_dict(tensors)
    error = _difference(network, result, channels, kept, task)
    if not error <= MAX_ERROR:
        raise PruningError(
            f"the pruned network differs from the masked one by {error:.2g}, more than {MAX_ERROR:g}: please report "
            f"the architecture {architecture.to_json()[:500]}"
        )
    widths = np.array([len(c) for c in chosen])
    notes = (
        (f"channels couldn't be followed through {', '.join(channels.opaque)}: what meets them was kept",)
        if channels.opaque
        else ()
    )
    return PrunedNetwork(
        smaller,
        result,
        channels.operations(widths, convention),
        tuple((g.name, len(g), len(c)) for g, c in zip(channels.groups, chosen, strict=True)),
        error,
        notes,
    )


def build_on_meta(architecture: Architecture, task: Task) -> dict[str, Tensor]:
    """The state of the architecture's network, without memory."""
    with torch.device("meta"):
        return build(architecture, task).state_dict()


@torch.no_grad()
def _difference(network: Network, result: Network, channels: Channels, kept: np.ndarray, task: Task) -> float:
    """Between the pruned and the masked network on a random image.

    In float64: in float32 the order of the additions alone makes up to 1e-4 in a network that works on [0, 255].
    """
    size = network.size_requirements.padded(*CHECK_SIZE)
    image = torch.rand(1, task.in_channels, *size, generator=torch.Generator().manual_seed(0)).double()
    masked = channels.masked(kept, image.to(next(network.parameters()).device)).cpu()
    return float((copy.deepcopy(result).double()(image) - masked).abs().max())

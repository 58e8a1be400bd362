"""A child's first tensors, taken from its parent's: a network that differs a little needn't learn all anew.

"Net2Net: Accelerating Learning via Knowledge Transfer", Chen et al., ICLR 2016, https://arxiv.org/abs/1511.05641; no
code of it was used. Deviations: new channels are random instead of copies, and what reads them starts at zero; a new
block starts as the identity where a zero in its last convolution makes it one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from evaluators.training.correspondence import NONE, Sources, pieces, sources
from spaces.architecture import Architecture
from spaces.build import build
from spaces.parts import size_requirements
from spaces.task import Task


@torch.no_grad()
def inherit(
    child: Architecture, parent: Architecture, tensors: Mapping[str, Tensor], task: Task
) -> dict[str, Tensor]:
    """Initial tensors for a child; those that nothing is inherited for come from torch's global generator.

    Parts of the same kind at the same place are matched, and in them the first channels in each role. A child that is
    only wider than its parent computes the same, but for parts that normalise or gate over channels; one that is only
    deeper too, if its fusion concatenates or its new blocks are residual.

    Args:
        tensors: The parent's, by name.

    Raises: ValueError: if a tensor of the parent is missing or of another shape.
    """
    network = build(child, task)
    ours, theirs = pieces(child, task), pieces(parent, task)
    for name, piece in ours.items():
        module = network.get_submodule(name)
        other = theirs.get(name)
        if other is not None and other.part.create == piece.part.create:
            found = {n.removeprefix(f"{name}."): t for n, t in tensors.items() if n.startswith(f"{name}.")}
            _take(module, found, sources(piece, other), of=name)
        elif name.startswith("blocks."):
            _start_as_identity(module, piece.part.channels)
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _take(module: nn.Module, tensors: Mapping[str, Tensor], origin: Sources, *, of: str) -> None:
    """Copy what corresponds; what the old channels read from new ones becomes zero."""
    state = module.state_dict()
    for name, axes in origin.items():
        if name not in state:  # a buffer that isn't saved
            continue
        mine = state[name]
        if name not in tensors:
            raise ValueError(f"expected the parent's tensors, got none for '{of}.{name}'; give all of them")
        theirs = tensors[name].to(mine)
        old = [np.flatnonzero(source != NONE) for source in axes]
        taken = [source[source != NONE] for source in axes]
        if any(len(t) and t.max() >= size for t, size in zip(taken, theirs.shape, strict=True)):
            raise ValueError(
                f"expected the parent's tensors, got '{of}.{name}' of shape {tuple(theirs.shape)}; give those of the "
                "parent's architecture"
            )
        if theirs.shape[2:] != mine.shape[2:]:  # another kernel
            continue
        if mine.ndim > 1:
            transposed = isinstance(module.get_submodule(name.rpartition(".")[0]), nn.ConvTranspose2d)
            outs, ins = (1, 0) if transposed else (0, 1)
            unread: list[np.ndarray] = [np.arange(size) for size in mine.shape]
            unread[outs] = old[outs]
            unread[ins] = np.flatnonzero(axes[ins] == NONE)
            mine[np.ix_(*unread)] = 0
        mine[np.ix_(*old)] = theirs[np.ix_(*taken)]


def _start_as_identity(block: nn.Module, channels: int) -> None:
    """Bring a convolution to zero that makes the block the identity; if there is none, nothing."""
    image = torch.rand(1, channels, *size_requirements(block).padded(16, 16))
    training = block.training
    block.eval()
    for layer in reversed([m for m in block.modules() if isinstance(m, nn.Conv2d)]):
        kept = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
        for parameter in layer.parameters():
            parameter.zero_()
        if torch.allclose(block(image), image, atol=1e-6):
            break
        layer.load_state_dict(kept)
    block.train(training)

"""Averages outputs: of the flips and rotations of an image, and of several networks.

Seven ways to improve example-based single image super resolution. R. Timofte, R. Rothe, L. Van Gool, 2016.
https://arxiv.org/abs/1511.02228 (section 3.6, "enhanced prediction"; no original code.)
Deviations: several networks can be averaged too; the mean is over outputs before they are clamped and rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from evaluators.data.tensors import to_tensor
from evaluators.inference.restoration import full_float32, quantise
from spaces.padding import run
from spaces.parts import Network

TURNS = 8


def turned(x: Tensor, turn: int) -> Tensor:
    """One of the 8 flips and rotations of (N, C, H, W); the first is the tensor itself."""
    return torch.rot90(x.flip(3) if turn >= 4 else x, turn % 4, dims=(2, 3))


def turned_back(x: Tensor, turn: int) -> Tensor:
    """What ``turned`` made this from."""
    x = torch.rot90(x, -(turn % 4), dims=(2, 3))
    return x.flip(3) if turn >= 4 else x


def average(networks: Sequence[Network], x: Tensor, *, scale: int, turns: int = 1) -> Tensor:
    """Mean output over the networks and the first ``turns`` flips and rotations of the input.

    Args:
        x: (N, C, H, W).
        turns: 1, or 8 for all.
    """
    if not networks or not 1 <= turns <= TURNS:
        raise ValueError(f"expected networks and 1 to {TURNS} turns, got {len(networks)} and {turns}")
    total: Tensor | None = None
    for network in networks:
        for turn in range(turns):
            # Of one memory layout with all else that runs networks: another rounds differently.
            view = turned(x, turn).contiguous(memory_format=torch.channels_last)
            output = turned_back(run(network, view, scale=scale), turn)
            total = output if total is None else total + output
    assert total is not None
    return total if len(networks) * turns == 1 else total / (len(networks) * turns)


def restore_averaged(
    networks: Sequence[Network],
    images: Sequence[np.ndarray],
    *,
    scale: int,
    turns: int = 1,
    device: str = "cpu",
    finish: Callable[[Tensor], np.ndarray] = quantise,
) -> Iterator[np.ndarray]:
    """One output per image, as ``evaluators.inference.restoration.restore`` gives, of the ``average``.

    Raises: FloatingPointError: if an output is NaN.
    """
    networks = [network.to(device).eval() for network in networks]
    for pixels in images:
        with torch.inference_mode(), full_float32(device):
            output = average(networks, to_tensor(pixels[None], device), scale=scale, turns=turns)
            finished = finish(output)
        yield finished

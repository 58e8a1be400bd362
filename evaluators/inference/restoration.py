"""Runs a network on whole images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from evaluators.data.tensors import to_tensor
from spaces.padding import run
from spaces.parts import Network


def quantise(output: Tensor) -> np.ndarray:
    """(H, W, C) uint8 from (1, C, H, W): clamped to [0, 1] and rounded to 8 bits.

    Raises: FloatingPointError: where a value is NaN, which no 8-bit number stands for.
    """
    if output.isnan().any():
        raise FloatingPointError("the network's output is NaN")
    pixels = output[0].float().clamp(0, 1).mul(255).round().byte()
    return pixels.permute(1, 2, 0).contiguous().cpu().numpy()


def full_float32(device: str) -> AbstractContextManager[None]:
    """Convolutions without TF32, which cuDNN uses for them by default: it keeps 10 of 23 bits."""
    if torch.device(device).type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


@torch.inference_mode()
def restore(
    network: Network,
    images: Sequence[np.ndarray],
    *,
    scale: int,
    device: str = "cpu",
    finish: Callable[[Tensor], np.ndarray] = quantise,
) -> list[np.ndarray]:
    """The network's outputs, in float32 arithmetic, one image at a time.

    Args:
        images: (H, W, C) uint8, uint16 or float32, of any sizes.
        finish: From a (1, C, H, W) output to what is scored: 8 bits by default.

    Raises: FloatingPointError: if an output is NaN.
    """
    network = network.to(device).eval()
    outputs = []
    with full_float32(device):
        for pixels in images:
            outputs.append(finish(run(network, to_tensor(pixels[None], device), scale=scale)))
    return outputs

"""From pixels to tensors: the one place that knows what a pixel type's full scale is."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

FULL_SCALE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(np.float32): 1.0}


def to_tensor(pixels: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """(N, C, H, W) float32, channels last, from (N, H, W, C) uint8 or uint16, which become [0, 1], or float32.

    A contiguous, writable float32 array shares its memory with a result on the CPU.
    """
    full = FULL_SCALE[pixels.dtype]
    own = pixels if pixels.flags.writeable and pixels.flags.c_contiguous else pixels.copy()
    # As a view, because NumPy gives a new axis the stride 0, by which torch doesn't know channels last.
    tensor = torch.from_numpy(own).view(own.shape).to(device).permute(0, 3, 1, 2)
    return tensor if full == 1 else tensor.float().div_(full)

"""Residual Swin transformer block (RSTB) of SwinIR: attention within windows, which every other layer shifts.

"SwinIR: Image Restoration Using Swin Transformer", Liang et al., 2021, https://arxiv.org/abs/2108.10257; original
code https://github.com/JingyunLiang/SwinIR (Apache-2.0). Layers from "Swin Transformer: Hierarchical Vision
Transformer using Shifted Windows", Liu et al., ICCV 2021, https://arxiv.org/abs/2103.14030.

Deviations: no stochastic depth (the original drops up to a tenth of the layers in training). Inputs are
multiples of the window; the original shrinks the window to smaller training patches. Where the number of
heads doesn't divide the width, the largest smaller one that does is used.
The matrix products of the attention are written out, so that they are counted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation
from spaces.sizes import SizeRequirements

FORBIDDEN = -100.0  # added to the attention between regions that a shift brought together
INITIAL_DEVIATION = 0.02


def to_windows(x: Tensor, side: int) -> Tensor:
    """(N, H, W, C) as windows: (N, H*W / side^2, side^2, C), row by row."""
    cells = x.unflatten(2, (-1, side)).unflatten(1, (-1, side))
    return cells.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def from_windows(windows: Tensor, height: int, width: int, side: int) -> Tensor:
    """Inverse of ``to_windows``: (N, height, width, C)."""
    cells = windows.unflatten(2, (side, side)).unflatten(1, (height // side, width // side))
    return cells.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def relative_positions(side: int) -> Tensor:
    """(side^2, side^2) indices of the offsets between a window's pixels, each from 0 to (2*side - 1)^2 - 1."""
    axis = torch.arange(side)
    offsets = axis[:, None] - axis[None, :] + side - 1
    index = offsets[:, None, :, None] * (2 * side - 1) + offsets[None, :, None, :]
    return index.reshape(side * side, side * side)


def shift_mask(x: Tensor, side: int, shift: int) -> Tensor:
    """What to add to the attention of shifted windows: (windows, side^2, side^2), 0 or ``FORBIDDEN``.

    Rolling the map by ``shift`` puts its first rows and columns beside its last; these don't see each other.

    Args:
        x: (N, H, W, C); only its size matters.
    """

    def regions(size: int) -> Tensor:
        place = torch.arange(size, device=x.device)
        return (place >= size - side).to(x.dtype) + (place >= size - shift).to(x.dtype)

    labels = 3 * regions(x.shape[1])[:, None] + regions(x.shape[2])[None, :]
    windows = to_windows(labels[None, :, :, None], side)[0, :, :, 0]
    return FORBIDDEN * (windows[:, :, None] != windows[:, None, :]).to(x.dtype)


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows (N, windows, side^2, width), with a bias by relative position."""

    position: Tensor

    def __init__(self, width: int, heads: int, side: int):
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5  # of the scores; a pruned network keeps it
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * side - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=INITIAL_DEVIATION)
        self.register_buffer("position", relative_positions(side), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        scores = (query * self.scale) @ key.transpose(-2, -1)
        scores = scores + self.relative_position_bias_table[self.position].permute(2, 0, 1)
        if mask is not None:
            scores = scores + mask[:, None]
        attended = scores.softmax(dim=-1) @ value
        # With heads of one channel the map isn't contiguous yet; torch then adds the bias out of the cost's sight.
        return self.proj(attended.transpose(2, 3).flatten(3).contiguous())


class SwinLayer(nn.Module):
    """Window attention, then a two-layer perceptron per pixel, each normalised before and added: (N, H, W, width)."""

    def __init__(self, width: int, heads: int, side: int, shift: int, hidden: int, activation: str):
        super().__init__()
        self.side, self.shift = side, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, side)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), make_activation(activation, paper="gelu"), nn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def _attend(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        mask = None
        if self.shift:
            x = x.roll((-self.shift, -self.shift), dims=(1, 2))
            mask = shift_mask(x, self.side, self.shift)
        attended = from_windows(self.attn(to_windows(x, self.side), mask), height, width, self.side)
        return attended.roll((self.shift, self.shift), dims=(1, 2)) if self.shift else attended


@BLOCKS.add("rstb")
class RSTB(nn.Module):
    """Swin transformer layers and a 3x3 convolution, added to the input (SwinIR).

    Args:
        layers: Swin layers; the second, fourth, ... shift their windows by half a window.
        heads: Attention heads; the largest number up to this that divides the width is used.
        window: Height and width of a window, in pixels; inputs are multiples of it.
        mlp_ratio: Hidden channels of the perceptrons, in multiples of the width.
    """

    def __init__(
        self,
        width: int,
        *,
        activation: str = "paper",
        layers: int = 6,
        heads: int = 6,
        window: int = 8,
        mlp_ratio: int = 2,
    ):
        super().__init__()
        self.size_requirements = SizeRequirements(minimum=window, multiple_of=window)
        heads = next(h for h in range(min(heads, width), 0, -1) if width % h == 0)
        shifts = [window // 2 * (i % 2) for i in range(layers)]
        self.layers = nn.ModuleList(
            SwinLayer(width, heads, window, shift, mlp_ratio * width, activation) for shift in shifts
        )
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.layers.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        y = x.permute(0, 2, 3, 1)
        for layer in self.layers:
            y = layer(y)
        return x + self.conv(y.permute(0, 3, 1, 2))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=INITIAL_DEVIATION)
        nn.init.zeros_(module.bias)

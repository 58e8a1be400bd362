"""RSTB against a direct reading of the papers: attention between all pixels, with those of other windows left out."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.architecture import Block
from spaces.blocks import BLOCKS
from spaces.blocks.rstb import SwinLayer, from_windows, relative_positions, to_windows
from spaces.build import cost, size_requirements
from spaces.cost import Cost, count
from spaces.sizes import SizeRequirements
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

SIDE, WIDTH, HEADS = 4, 6, 3
SWINIR_LIGHT = 929_628  # parameters at x4, published code
SWINIR_NORMS = 2 * (2 * 60)  # SwinIR normalises before and after its trunk, outside of the RSTBs


def parameters(width: int, layers: int, heads: int, window: int, ratio: int) -> int:
    norms = 2 * 2 * width
    attention = 4 * width**2 + 4 * width + (2 * window - 1) ** 2 * heads
    perceptron = 2 * ratio * width**2 + ratio * width + width
    return layers * (norms + attention + perceptron) + 9 * width**2 + width


def macs_per_pixel(width: int, layers: int, window: int, ratio: int) -> int:
    attention = 4 * width**2 + 2 * window**2 * width
    return layers * (attention + 2 * ratio * width**2) + 9 * width**2


def on_meta(size: tuple[int, int], width: int, **options: int) -> Cost:
    with torch.device("meta"):
        return count(BLOCKS["rstb"].create(width, **options), torch.empty(1, width, *size))


def layer(shift: int) -> SwinLayer:
    torch.manual_seed(0)
    made = SwinLayer(WIDTH, HEADS, SIDE, shift, 2 * WIDTH, "paper").requires_grad_(False)
    for parameter in made.parameters():
        parameter.add_(torch.randn_like(parameter) / 4)
    return made


@pytest.mark.parametrize(
    "options", [(60, 6, 6, 8, 2), (12, 1, 4, 4, 3), (7, 2, 1, 8, 2)], ids=["swinir-light", "small", "prime"]
)
def test_parameters_and_macs_are_those_of_the_formula(options: tuple[int, int, int, int, int]) -> None:
    width, layers, heads, window, ratio = options
    found = on_meta((16, 24), width, layers=layers, heads=heads, window=window, mlp_ratio=ratio)
    assert found.parameters == parameters(width, layers, heads, window, ratio)
    assert found.macs == 16 * 24 * macs_per_pixel(width, layers, window, ratio)


def test_swinir_light_has_its_published_parameters() -> None:
    chain = Chain(60, (Block("rstb"),) * 4, Block("pixelshuffle"), fusion="plain")
    assert cost(chain, super_resolution(4)).parameters == SWINIR_LIGHT - SWINIR_NORMS


def test_cost_input_is_padded_to_the_window() -> None:
    chain, task = Chain(8, (Block("rstb", (("layers", 2), ("window", 5))),)), super_resolution(2)
    assert size_requirements(chain, task) == SizeRequirements(minimum=5, multiple_of=5)
    assert cost(chain, task, size=(11, 3)) == cost(chain, task, size=(15, 5))


@pytest.mark.parametrize(
    ("width", "heads", "used"), [(60, 6, 6), (8, 6, 4), (7, 6, 1), (4, 6, 4), (12, 5, 4)]
)
def test_heads_divide_the_width(width: int, heads: int, used: int) -> None:
    block = BLOCKS["rstb"].create(width, heads=heads, layers=1)
    assert block.get_submodule("layers.0.attn").heads == used


def test_every_second_layer_shifts_by_half_a_window() -> None:
    layers = BLOCKS["rstb"].create(8, layers=5).get_submodule("layers")
    assert [part.shift for part in layers] == [0, 4, 0, 4, 0]  # type: ignore[attr-defined]


def test_windows_hold_their_pixels_row_by_row() -> None:
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(12), indexing="ij")
    x = torch.stack((rows, columns), dim=-1)[None]
    windows = to_windows(x, SIDE)
    assert windows.shape == (1, 6, 16, 2)
    for number, (top, left) in enumerate([(0, 0), (0, 4), (0, 8), (4, 0), (4, 4), (4, 8)]):
        assert torch.equal(windows[0, number], x[0, top : top + 4, left : left + 4].reshape(16, 2))
    assert torch.equal(from_windows(windows, 8, 12, SIDE), x)


def test_relative_positions_number_the_offsets() -> None:
    index = relative_positions(SIDE)
    assert index.unique().numel() == (2 * SIDE - 1) ** 2
    same = [index[y * SIDE + x, (y + 1) * SIDE + x + 2] for y in range(SIDE - 1) for x in range(SIDE - 2)]
    assert len({int(i) for i in same}) == 1


def attention_between_all_pixels(part: SwinLayer, x: Tensor) -> Tensor:
    """What the layer's attention gives for (1, H, W, C), without windows, rolling or masks of regions.

    Two pixels see each other if they lie in one cell of a grid of windows that starts at (-shift, -shift).
    """
    height, width = x.shape[1:3]
    rows, columns = (
        m.flatten() for m in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    )
    start = part.side - part.shift
    cell = (rows + start) // part.side * 1000 + (columns + start) // part.side
    near = cell[:, None] == cell[None, :]
    down, right = rows[:, None] - rows[None, :], columns[:, None] - columns[None, :]
    span = part.side - 1
    offset = (down.clamp(-span, span) + span) * (2 * part.side - 1) + right.clamp(-span, span) + span
    attn = part.attn
    bias = attn.relative_position_bias_table[offset].permute(2, 0, 1).masked_fill(~near, -torch.inf)
    query, key, value = (
        t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in attn.qkv(x.flatten(1, 2)).chunk(3, dim=-1)
    )
    seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])
    return attn.proj(seen.transpose(1, 2).flatten(2)).unflatten(1, (height, width))


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(12, 8), (4, 4), (8, 4)], ids=str)
def test_layer_attends_within_its_windows(shift: int, size: tuple[int, int]) -> None:
    part = layer(shift)
    x = torch.randn(1, *size, WIDTH, generator=torch.Generator().manual_seed(1))
    after = x + attention_between_all_pixels(part, part.norm1(x))
    torch.testing.assert_close(part(x), after + part.mlp(part.norm2(after)), rtol=1e-4, atol=1e-5)


def test_block_adds_its_convolution_to_the_input() -> None:
    block = BLOCKS["rstb"].create(8)
    conv = block.get_submodule("conv")
    assert isinstance(conv, nn.Conv2d)
    nn.init.zeros_(conv.weight)
    nn.init.constant_(conv.bias, 0.25)  # type: ignore[arg-type]
    x = torch.rand(1, 8, 16, 8)
    torch.testing.assert_close(block(x), x + 0.25)


def test_size_that_is_no_multiple_is_refused() -> None:
    with pytest.raises((RuntimeError, ValueError)):
        BLOCKS["rstb"].create(8)(torch.rand(1, 8, 16, 17))

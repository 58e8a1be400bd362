import pytest
import torch
from torch import Tensor

from spaces.layers.haar import dwt, iwt

SHAPES = [(1, 1, 2, 2), (2, 3, 8, 10), (1, 5, 6, 4)]


def image(shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_inverse_reconstructs_perfectly_both_ways(shape: tuple[int, ...]) -> None:
    x = image(shape)
    bands = dwt(x)
    n, c, h, w = shape
    assert bands.shape == (n, 4 * c, h // 2, w // 2)
    torch.testing.assert_close(iwt(bands), x, rtol=0, atol=1e-14)
    torch.testing.assert_close(dwt(iwt(bands)), bands, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_energy_is_preserved(shape: tuple[int, ...]) -> None:
    x = image(shape)
    assert dwt(x).square().sum().item() == pytest.approx(x.square().sum().item(), rel=1e-14)


def test_bands_are_grouped_and_have_mwcnns_signs() -> None:
    cell = torch.tensor([[1.0, 2.0], [4.0, 8.0]])  # even row: a, c; odd row: b, d
    bands = dwt(torch.stack((cell, 10 * cell))[None]).flatten()
    a, c, b, d = 1.0, 2.0, 4.0, 8.0
    expected = [(a + b + c + d) / 2, (-a - b + c + d) / 2, (-a + b - c + d) / 2, (a - b - c + d) / 2]
    assert bands.tolist() == [value for band in expected for value in (band, 10 * band)]


def test_constant_image_has_no_details() -> None:
    bands = dwt(torch.full((1, 2, 4, 4), 0.3))
    torch.testing.assert_close(bands[:, :2], torch.full((1, 2, 2, 2), 0.6))
    assert not bands[:, 2:].any()


def test_odd_size_is_refused() -> None:
    with pytest.raises(RuntimeError, match="divisible"):
        dwt(torch.rand(1, 1, 4, 5))

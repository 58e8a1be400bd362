"""What every upsampler guarantees besides ``test_parts``."""

import pytest
import torch

from spaces.parts import size_requirements
from spaces.upsamplers import UPSAMPLERS

every_upsampler = pytest.mark.parametrize("kind", list(UPSAMPLERS))


@every_upsampler
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("width", [4, 7, 12])
@pytest.mark.parametrize("size", [(17, 19), (16, 23)], ids=str)
def test_output_is_scale_times_as_large(kind: str, scale: int, width: int, size: tuple[int, int]) -> None:
    output = UPSAMPLERS[kind].create(width, 3, scale)(torch.rand(1, width, *size))
    assert output.shape == (1, 3, scale * size[0], scale * size[1])
    assert output.isfinite().all()


@every_upsampler
def test_works_at_its_minimum_size(kind: str) -> None:
    upsampler = UPSAMPLERS[kind].create(8, 1, 2)
    height, width = size_requirements(upsampler).padded(1, 1)
    assert upsampler(torch.rand(1, 8, height, width)).shape == (1, 1, 2 * height, 2 * width)


@every_upsampler
def test_impossible_scale_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="scale is 1, 2, 3, 4, 6 or 8, got 5"):
        UPSAMPLERS[kind].create(8, 3, 5)

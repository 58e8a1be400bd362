import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from spaces.architecture import Block
from spaces.build import build
from spaces.padding import run
from spaces.parts import Network, Part
from spaces.sizes import SizeRequirements
from spaces.task import Task
from spaces.topologies.chain import Chain

SIZES = st.integers(1, 300)
NEEDS = st.builds(SizeRequirements, st.integers(1, 40), st.integers(1, 40))


class Halves(nn.Module):
    """Goes to half the size and back, so that odd sizes fail."""

    size_requirements = SizeRequirements(minimum=4, multiple_of=2)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2] % 2 == x.shape[-1] % 2 == 0
        return functional.interpolate(functional.avg_pool2d(x, 2), scale_factor=2.0)


class HalvesNetwork(Network):
    def __init__(self) -> None:
        super().__init__({"halves": Part(Halves, (), 3)})

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule("halves")(x)


def rfdb(scale: int = 2) -> Network:
    torch.manual_seed(0)
    return build(Chain(8, (Block("rfdb"),)), Task("any", scale=scale)).eval()


@torch.no_grad()
def test_fitting_input_passes_untouched() -> None:
    network, x = rfdb(), torch.rand(1, 3, 15, 17)
    assert torch.equal(run(network, x, scale=2), network(x))


@pytest.mark.parametrize(
    ("size", "mode"),
    [((5, 9), "replicate"), ((1, 1), "replicate"), ((8, 20), "reflect"), ((20, 8), "reflect")],
)
@torch.no_grad()
def test_small_input_is_padded_right_and_bottom_and_cropped(size: tuple[int, int], mode: str) -> None:
    network, x = rfdb(), torch.rand(2, 3, *size)
    height, width = size
    below, right = max(0, 15 - height), max(0, 15 - width)
    padded = functional.pad(x, (0, right, 0, below), mode=mode)
    output = run(network, x, scale=2)
    assert output.shape == (2, 3, 2 * height, 2 * width)
    assert torch.equal(output, network(padded)[..., : 2 * height, : 2 * width])


@torch.no_grad()
def test_single_pixel_is_repeated_where_reflection_has_nothing_to_show() -> None:
    network = build(Chain(8, (Block("hin"),)), Task("any")).eval()
    x = torch.rand(1, 3, 1, 5)
    assert torch.equal(run(network, x), network(x.repeat(1, 1, 2, 1))[..., :1, :])


@pytest.mark.parametrize("size", [(4, 6), (5, 9), (1, 2), (7, 4)])
def test_input_is_padded_to_multiples(size: tuple[int, int]) -> None:
    network = HalvesNetwork()
    assert network.size_requirements == SizeRequirements(4, 2)
    assert run(network, torch.rand(1, 3, *size)).shape == (1, 3, *size)


@settings(deadline=None)
@given(NEEDS, NEEDS, SIZES, SIZES)
def test_padded_size_is_the_smallest_that_satisfies_both_parts(
    one: SizeRequirements, other: SizeRequirements, height: int, width: int
) -> None:
    def fits(size: int) -> bool:
        return all(size >= needs.minimum and size % needs.multiple_of == 0 for needs in (one, other))

    for size, found in zip((height, width), (one & other).padded(height, width), strict=True):
        assert found == next(s for s in range(size, 2000) if fits(s))

"""Tiles give what the whole picture gives, whatever the network looks at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evaluators.data.photographs import embedded
from evaluators.data.tensors import to_tensor
from evaluators.inference.ensemble import average
from evaluators.inference.tiling import SAME, Tiler, choose_tile, cut, survey
from spaces.architecture import Architecture, Block
from spaces.build import build
from spaces.parts import Network
from spaces.sizes import SizeRequirements
from spaces.task import DENOISE, Task, super_resolution
from spaces.topologies.chain import Chain
from spaces.topologies.unet import UNet

X2, X4 = super_resolution(2), super_resolution(4)
PICTURE = embedded("test").images[0].pixels[:151, :187]

NETWORKS: dict[str, tuple[Architecture, Task]] = {
    "residual": (Chain(8, (Block("residual"),) * 2, fusion="plain", image_skip="bicubic"), X2),
    "transposed": (Chain(8, (Block("residual"),), Block("transposed"), fusion="plain"), X4),
    "unshuffled": (Chain(8, (Block("residual"),), fusion="plain", unshuffle=2), DENOISE),
    "rfdn-like (ESA)": (Chain(12, (Block("rfdb"),) * 2), X2),
    "ESA at half the size": (Chain(12, (Block("rfdb"),), unshuffle=2), DENOISE),
    "rlfn-like (reduced ESA)": (Chain(12, (Block("rlfb"),), fusion="plain"), X2),
    "maffsrn-like (nearest)": (Chain(12, (Block("ffg"),)), X2),
    "imdn-like (contrast)": (Chain(12, (Block("imdb"),) * 2), X2),
    "squeeze and excitation": (Chain(12, (Block("inverted_residual"),) * 2), X2),
    "lattice": (Chain(12, (Block("lattice"),)), X2),
    "instance normalisation": (Chain(12, (Block("hin"),) * 2), X2),
    "shifted windows": (Chain(8, (Block("rstb", (("layers", 2), ("window", 4))),)), X2),
    "U-Net": (UNet((8, 8), ((Block("hin"),), (Block("hin"),)), ((Block("double_conv"),),)), DENOISE),
}


def new(name: str) -> tuple[Network, Task]:
    torch.manual_seed(0)
    architecture, task = NETWORKS[name]
    network = build(architecture, task).eval()
    with torch.no_grad():  # gates that say something, and an output that shows it
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return network, task


def tiled(tiler: Tiler, tile: int, scale: int, pixels: np.ndarray = PICTURE) -> tuple[Tensor, int]:
    height, width = pixels.shape[:2]
    output = torch.full((1, 3, height * scale, width * scale), float("nan"))
    count = 0
    for box, part in tiler.outputs(pixels, tile):
        box.times(scale).cut(output).copy_(part)
        count += 1
    return output, count


@torch.inference_mode()
def whole(network: nn.Module, scale: int, turns: int = 1, pixels: np.ndarray = PICTURE) -> Tensor:
    return average([network], to_tensor(pixels[None]), scale=scale, turns=turns)  # type: ignore[list-item]


@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_give_what_the_whole_picture_gives(name: str) -> None:
    network, task = new(name)
    found = survey(network, 3)
    assert found.exact
    tiler = Tiler([network], [found])
    output, count = tiled(tiler, 2 * tiler.overlap + max(24, tiler.period), task.scale)
    assert count > 2
    assert float((output - whole(network, task.scale)).abs().max()) <= SAME


def test_the_overlap_is_what_the_network_needs_and_no_more() -> None:
    network, _ = new("residual")
    found = survey(network, 3)
    # Head, two blocks of two and the trunk's convolution: 6; half a pixel of the upsampler's, and bicubic's 2.
    assert 6 <= found.overlap <= 8
    less = Tiler([network], [found], overlap=3)
    assert not less.exact
    output, _ = tiled(less, 48, 2)
    difference = (output - whole(network, 2)).abs()
    assert float(difference.max()) > SAME
    assert float((difference > SAME).float().mean()) < 0.5


@pytest.mark.parametrize("name", ["rfdn-like (ESA)", "instance normalisation"])
def test_one_pass_differs_and_is_said_to(name: str) -> None:
    network, task = new(name)
    found = survey(network, 3, quick=True)
    assert (found.exact, found.passes) == (False, 1)
    assert survey(network, 3).passes == 3
    output, _ = tiled(Tiler([network], [found]), 104, task.scale)
    assert not output.isnan().any()
    assert float((output - whole(network, task.scale)).abs().max()) > SAME


@pytest.mark.parametrize("name", ["unshuffled", "rlfn-like (reduced ESA)"])
def test_ensembles_are_tiled_too(name: str) -> None:
    """A turned picture has its tiles at other phases of a stride."""
    network, task = new(name)
    found = survey(network, 3)
    tiler = Tiler([network, network], [found, found], turns=8)
    picture = PICTURE[:97, :121]
    seen = 0

    def advance(core: object) -> None:
        nonlocal seen
        seen += core.size[0] * core.size[1]  # type: ignore[attr-defined]

    output = torch.empty(1, 3, 97 * task.scale, 121 * task.scale)
    for box, part in tiler.outputs(picture, 2 * tiler.overlap + 36, advance):
        box.times(task.scale).cut(output).copy_(part)
    expected = whole(network, task.scale, turns=8, pixels=picture)
    assert float((output - expected).abs().max()) <= SAME
    assert seen == tiler.passes * 97 * 121


class Odd(Network):
    """Attention between channels, which nothing recognises."""

    size_requirements = SizeRequirements(4, 4)

    def __init__(self) -> None:
        super().__init__({})
        self.mix = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        flat = self.mix(x).flatten(2)
        attention = (flat @ flat.transpose(1, 2) / flat.shape[2]).softmax(dim=-1)
        return (attention @ flat).view_as(x)


def test_what_nothing_recognises_is_said_to_differ() -> None:
    network = Odd()
    found = survey(network, 3)
    assert not found.exact
    output, count = tiled(Tiler([network], [found]), 112, 1)
    assert count > 1
    assert not output.isnan().any()


def test_parts_cover_a_picture_once_and_are_about_equal() -> None:
    for size, side, step in (((1000, 37), 100, 6), ((64, 64), 64, 1), ((7, 2000), 8, 16)):
        seen = np.zeros(size, int)
        for box in cut(size, side, step):
            seen[box.top : box.bottom, box.left : box.right] += 1
            assert box.top % step == box.left % step == 0
            assert max(box.size) <= max(side, step)
        assert (seen == 1).all()


def test_small_pictures_stay_whole_and_endless_ones_do_not() -> None:
    network, task = new("residual")
    assert choose_tile([network], task, (500, 500)) is None
    side = choose_tile([network], task, (10**6, 10**6))
    assert side is not None
    assert 512 <= side <= 1024


def test_a_tile_that_is_all_overlap_is_refused() -> None:
    network, _ = new("residual")
    with pytest.raises(ValueError, match="is the least"):
        Tiler([network], [survey(network, 3)]).side(10)

"""The rescaler topology: its small image, its costs, its description."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor

from evaluators.data.photographs import embedded
from evaluators.degradations.bicubic import crop_to_multiple, downscale
from spaces.architecture import Architecture, Block
from spaces.baselines import baseline
from spaces.budget import Budget, extreme
from spaces.build import build, cost, part_costs, size_requirements
from spaces.catalog import named_space
from spaces.cost import total
from spaces.task import rescaling, super_resolution
from spaces.topologies.chain import Chain
from spaces.topologies.rescaler import Rescaler, decode
from spaces.topologies.rescaler_network import BicubicDown, RescalerNetwork, round_to_8_bits

SMALL = Rescaler(8, (Block("residual"),), fusion="plain", image_skip="bicubic")


def built(architecture: Rescaler = SMALL, scale: int = 2) -> RescalerNetwork:
    torch.manual_seed(0)
    network = build(architecture, rescaling(scale))
    assert isinstance(network, RescalerNetwork)
    return network


def photograph(scale: int) -> tuple[np.ndarray, Tensor]:
    pixels = crop_to_multiple(embedded("validation").images[0].pixels[:101, :147], scale)
    return pixels, torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_fixed_convolutions_are_matlabs_bicubic_but_for_the_rounding_between_passes(scale: int) -> None:
    pixels, image = photograph(scale)
    expected = downscale(pixels, scale).astype(float)
    found = BicubicDown(3, scale)(image).clamp(0, 1)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(found - expected).max() < 1.5
    assert (np.rint(found) == expected).mean() > 0.8
    assert np.abs((found - expected).mean()) < 0.02


def test_bicubic_of_a_flat_image_is_that_image_up_to_its_edges() -> None:
    torch.testing.assert_close(
        BicubicDown(3, 4)(torch.full((1, 3, 12, 16), 0.3)), torch.full((1, 3, 3, 4), 0.3)
    )


def test_bicubic_keeps_float32_where_training_runs_in_bfloat16() -> None:
    _, image = photograph(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = BicubicDown(3, 2)(image)
    assert torch.equal(inside, BicubicDown(3, 2)(image))


def test_rounding_gives_8_bits_and_passes_the_gradient() -> None:
    x = torch.tensor([0.0, 0.5 / 255, 0.4, 1.0], requires_grad=True)
    rounded = round_to_8_bits(x)
    assert (rounded * 255).tolist() == [0, 1, 102, 255]
    rounded.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1, 1, 1]


def test_distance_to_a_tie_says_which_images_a_small_change_rounds_otherwise() -> None:
    network = built()
    flat = torch.linspace(0.2, 0.9, 40)[:, None, None, None].expand(40, 3, 16, 16)
    with torch.no_grad():
        distance, before = network.distance_to_tie(flat), network.downscale(flat)
        bias = network.get_submodule("down.last").bias
        assert isinstance(bias, Tensor)
        bias.add_(0.01)  # moves values up by less than 0.01 * 8 levels
        changed = (network.downscale(flat) != before).flatten(1).any(1)
    assert distance.min() >= 0
    assert distance.max() <= 0.5
    assert changed.any()
    assert not changed[distance > 0.08].any()
    assert (distance > 0.08).any()


@pytest.mark.parametrize("bound", [1, 8])
@pytest.mark.parametrize("scale", [2, 4])
def test_small_image_is_8_bits_and_within_the_bound_of_bicubic_however_trained(
    bound: int, scale: int
) -> None:
    network = built(Rescaler(8, SMALL.blocks, bound=bound), scale)
    with torch.no_grad():
        network.get_submodule("down.last").weight.mul_(1000)  # type: ignore[operator, union-attr]
    pixels, image = photograph(scale)
    with torch.no_grad():
        small = network.downscale(image) * 255
        plain = round_to_8_bits(BicubicDown(3, scale)(image).clamp(0, 1)) * 255
    torch.testing.assert_close(small, small.round(), rtol=0, atol=1e-4)
    off = (small - plain).abs().max()
    assert bound - 0.01 < off < bound + 0.01
    theirs = torch.from_numpy(downscale(pixels, scale).copy()).permute(2, 0, 1)[None]
    assert (small - theirs).abs().max() < bound + 1.01


def test_training_starts_near_the_bicubic_image() -> None:
    _, image = photograph(2)
    with torch.no_grad():
        off = built().downscale(image) - round_to_8_bits(BicubicDown(3, 2)(image).clamp(0, 1))
    assert off.square().mean().sqrt() * 255 < 1


def test_network_restores_from_nothing_but_its_small_image() -> None:
    network = built().requires_grad_(False)
    _, image = photograph(2)
    assert torch.equal(network(image), network.upscale(network.downscale(image)))
    assert network(image).shape == image.shape
    assert network.downscale(image).shape == (1, 3, image.shape[2] // 2, image.shape[3] // 2)


def test_every_parameter_gets_a_gradient() -> None:
    network = built(Rescaler(8, (Block("rfdb"),), down_depth=2, activation="prelu"), 4)
    network(torch.rand(1, 3, 80, 80)).square().mean().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("scale", [2, 4])
def test_cost_is_that_of_the_chain_at_the_small_size_and_of_the_way_down(scale: int) -> None:
    up = Chain(8, SMALL.blocks, fusion="plain", image_skip="bicubic")
    whole = part_costs(SMALL, rescaling(scale))
    down = total([whole.pop("bicubic"), whole.pop("down")])
    assert whole == part_costs(up, super_resolution(scale))
    positions, taps = 256 * 256, 4 * scale
    bicubic = 3 * taps * (positions * scale + positions)
    learned = positions * 9 * (3 * scale**2 * 16 + 16 * 3)
    assert down.macs == bicubic + learned
    assert cost(SMALL, rescaling(scale)).parameters == sum(
        p.numel() for p in built(SMALL, scale).parameters()
    )


@pytest.mark.parametrize(("kind", "least"), [("residual", 8), ("rfdb", 60)])
def test_sizes_are_those_of_the_large_image(kind: str, least: int) -> None:
    architecture = Rescaler(8, (Block(kind),))
    needs = size_requirements(architecture, rescaling(4))
    assert (needs.minimum, needs.multiple_of) == (least, 4)
    assert built(architecture, 4).size_requirements == needs
    side = -(-least // 4) * 4
    assert built(architecture, 4)(torch.rand(1, 3, side, side + 4)).shape == (1, 3, side, side + 4)


def test_weights_hold_nothing_that_is_not_trained() -> None:
    network = built()
    assert network.state_dict().keys() == dict(network.named_parameters()).keys()


def test_only_rescalers_serve_rescaling_and_only_that() -> None:
    for other in (Chain(8, SMALL.blocks), named_space("unet").decode(named_space("unet").sample(Random(0)))):
        with pytest.raises(
            ValueError, match="'rescale-x2' wants a network that stores the image 2 times smaller"
        ):
            build(other, rescaling(2))
        with pytest.raises(ValueError, match="Use topology 'rescaler'"):
            cost(other, rescaling(2))
    with pytest.raises(ValueError, match="'sr-x2' stores no small image in between"):
        build(SMALL, super_resolution(2))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("bound", 0, "'bound' is from 1 to 255, got 0"),
        ("bound", 256, "'bound' is from 1 to 255, got 256"),
        ("down_width", 3, "'down_width' is from 4 to 4096, got 3"),
        ("down_depth", 0, "'down_depth' is from 1 to 16, got 0"),
        ("width", 3, "'width' is at least 4, got 3"),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rescaler(**{"width": 8, "blocks": SMALL.blocks, field: value})  # type: ignore[arg-type]


def test_json_tells_a_rescaler_from_its_chain() -> None:
    architecture = Rescaler(8, SMALL.blocks, down_width=24)
    text = '{"blocks":["residual"],"down_width":24,"topology":"rescaler","width":8}'
    assert architecture.to_json() == text
    assert Architecture.from_json(text) == architecture
    assert architecture.digest != Chain(8, SMALL.blocks).digest
    assert architecture.label == "down 1x24 within 8, up 1x8 residual, pixelshuffle"
    assert Architecture.from_json(baseline("rfdn").to_json()) == baseline("rfdn")


def test_space_decodes_to_rescalers_that_differ_where_their_genes_do() -> None:
    space = named_space("rescale", depths=[1, 2], widths=[8, 10])
    genes = space.sample(Random(3))
    assert decode(genes) == space.decode(genes)
    found = {space.decode({**genes, "bound": b, "down_width": w}) for b in (2, 8) for w in (8, 32)}
    assert {(a.bound, a.down_width) for a in found if isinstance(a, Rescaler)} == {
        (2, 8),
        (2, 32),
        (8, 8),
        (8, 32),
    }


def test_budget_reaches_from_the_smallest_to_the_largest_and_repairs_by_width() -> None:
    space = named_space("rescale", depths=[1, 2], widths=[8, 12, 16], blocks=["residual"], per_position=False)
    task = rescaling(4)
    budget = Budget(task, max_gmacs=4.0)
    budget.check(space)
    genes = {**extreme(space, budget, largest=True), "down_width": 8}
    fitted = budget.fit(space, genes)
    assert fitted is not None
    assert fitted.repaired
    assert fitted.gmacs <= 4.0
    assert isinstance(fitted.architecture, Rescaler)
    assert fitted.architecture.down_width == 8


@pytest.mark.parametrize(
    "changes", [{"bounds": [0]}, {"bounds": []}, {"down_widths": [2]}, {"blocks": ["rfbd"]}]
)
def test_space_refuses_what_no_rescaler_can_be(changes: dict[str, list[int]]) -> None:
    with pytest.raises(ValueError, match=r"is from|unknown block"):
        named_space("rescale", **changes)

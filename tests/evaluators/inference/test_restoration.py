"""Whole images through networks, as 8-bit images."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evaluators.inference.restoration import full_float32, quantise, restore
from spaces.architecture import Block
from spaces.build import build
from spaces.parts import Network, Part
from spaces.sizes import SizeRequirements
from spaces.task import Task
from spaces.topologies.chain import Chain
from tests.evaluators.small import network

RNG = np.random.default_rng(0)


def image(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def plain(net: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """The network on one image, in NumPy terms, without padding."""
    with torch.no_grad():
        output = net(torch.from_numpy(pixels.transpose(2, 0, 1)[None] / np.float32(255)))
    return np.rint(np.clip(output[0].numpy().transpose(1, 2, 0), 0, 1) * 255).astype(np.uint8)


def test_every_8_bit_value_survives_and_halves_go_to_the_nearest() -> None:
    levels = torch.arange(256.0)
    for offset in (-0.49, 0.0, 0.49):
        values = ((levels + offset) / 255).reshape(1, 1, 16, 16)
        np.testing.assert_array_equal(quantise(values)[..., 0], np.arange(256).reshape(16, 16))


def test_values_outside_are_clamped_and_nan_is_refused() -> None:
    values = torch.tensor([-1e30, -0.1, 0.999, 1.001, 2.0, float("inf"), -float("inf")]).reshape(1, 1, 1, 7)
    assert quantise(values).ravel().tolist() == [0, 0, 255, 255, 255, 255, 0]
    values[..., 3] = float("nan")
    with pytest.raises(FloatingPointError, match="output is NaN"):
        quantise(values)


def test_channels_come_last_and_any_float_is_taken() -> None:
    output = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    pixels = quantise(output)
    assert (pixels.shape, pixels.dtype, pixels.flags.c_contiguous) == ((4, 5, 3), np.uint8, True)
    assert pixels[2, 3, 1] == round(float(output[0, 1, 2, 3]) * 255)
    assert abs(quantise(output.bfloat16()).astype(int) - pixels).max() <= 1


def test_restoring_is_running_the_network() -> None:
    net, pixels = network(), image(17, 23)
    pixels.flags.writeable = False  # as Ray's are
    (restored,) = restore(net, [pixels], scale=2)
    assert restored.shape == (34, 46, 3)
    np.testing.assert_array_equal(restored, plain(net, pixels))
    assert len(np.unique(restored)) > 50


def rfdb() -> Network:
    """Takes 15x15 pixels or more."""
    torch.manual_seed(0)
    return build(Chain(8, (Block("rfdb"),), image_skip="bilinear"), Task("any", scale=3))


def test_an_image_below_the_networks_minimum_is_restored() -> None:
    net = rfdb()
    assert net.size_requirements.minimum == 15
    sizes = [(1, 1), (3, 40), (14, 15), (16, 9)]
    inputs = [image(*size) for size in sizes]
    for pixels, restored in zip(inputs, restore(net, inputs, scale=3), strict=True):
        assert restored.shape == (pixels.shape[0] * 3, pixels.shape[1] * 3, 3)
    flat = np.full((2, 2, 3), 128, np.uint8)  # padding a flat image makes a larger flat image
    small, large = restore(net, [flat, np.full((15, 15, 3), 128, np.uint8)], scale=3)
    np.testing.assert_array_equal(small, large[:6, :6])


class Unshuffle(nn.Module):
    """A 3x3 convolution at a quarter of the size: needs multiples of 4, sees 4 to 8 pixels around each."""

    size_requirements = SizeRequirements(minimum=8, multiple_of=4)

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.PixelUnshuffle(4), nn.PixelShuffle(4)
        self.conv = nn.Conv2d(48, 48, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(self.conv(self.down(x)))


class UnshuffleNetwork(Network):
    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__({"only": Part(Unshuffle, (), 3)})

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule("only")(x)


def test_odd_sizes_equal_the_unpadded_run_away_from_the_padding() -> None:
    net, pixels = UnshuffleNetwork(), image(37, 43)
    (restored,) = restore(net, [pixels], scale=1)
    assert restored.shape == pixels.shape
    unpadded = plain(net, pixels[:36, :40])
    np.testing.assert_array_equal(restored[:32, :36], unpadded[:32, :36])
    assert (restored[:36, :40] != unpadded).any()  # the last block saw padding in one, image in the other
    (fitting,) = restore(net, [pixels[:36, :40]], scale=1)
    np.testing.assert_array_equal(fitting, unpadded)


def test_an_image_is_restored_the_same_whatever_comes_with_it() -> None:
    net = rfdb()
    inputs = [image(20, 31), image(5, 5), image(33, 18)]
    together = restore(net, inputs, scale=3)
    again = restore(net, inputs[::-1], scale=3)[::-1]
    alone = [restore(net, [pixels], scale=3)[0] for pixels in inputs]
    for a, b, c in zip(together, again, alone, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_restoring_leaves_weights_alone_and_builds_no_graph() -> None:
    net = network()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    restore(net, [image(8, 8)], scale=2)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert restore(net, [], scale=2) == []


def test_cudnn_does_not_round_convolutions_to_tf32_while_restoring_on_cuda() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled
    for device in ("cuda", "cuda:0"):
        with full_float32(device):
            assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled) == (False, True)
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled) == before
    with full_float32("cpu"):
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_restores_what_the_cpu_does() -> None:
    net, pixels = network(), image(64, 64)
    (here,), (there,) = (restore(net, [pixels], scale=2, device=device) for device in ("cpu", "cuda"))
    difference = np.abs(here.astype(int) - there)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3

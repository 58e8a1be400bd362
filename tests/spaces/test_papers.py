"""What the papers say of their blocks, beyond shapes and costs."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.blocks import BLOCKS
from spaces.cost import count
from spaces.upsamplers import UPSAMPLERS

WIDTH = 12


def block(kind: str, width: int = WIDTH, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return BLOCKS[kind].create(width, **options).requires_grad_(False)


def image(width: int = WIDTH, *, batch: int = 2) -> Tensor:
    return torch.rand(batch, width, 16, 17, generator=torch.Generator().manual_seed(0))


def silence(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.zero_()


@pytest.mark.parametrize(
    ("kind", "act"),
    [("rfdb", lambda x: functional.leaky_relu(x, 0.05)), ("efficient_rfdb", functional.silu)],
    ids=["rfdb", "efficient_rfdb"],
)
def test_rfdb_distils_and_refines_as_published(kind: str, act: Callable[[Tensor], Tensor]) -> None:
    net, x = block(kind), image()
    part = net.get_submodule
    r1 = act(part("c1_r")(x) + x)
    r2 = act(part("c2_r")(r1) + r1)
    r3 = act(part("c3_r")(r2) + r2)
    distilled = [act(part("c1_d")(x)), act(part("c2_d")(r1)), act(part("c3_d")(r2)), act(part("c4")(r3))]
    torch.testing.assert_close(net(x), part("esa")(part("c5")(torch.cat(distilled, 1))))


def test_nafblock_is_as_published() -> None:
    net, x = block("nafblock"), image()
    for parameter in net.parameters():  # scales start at 0, shifts too
        parameter.copy_(torch.rand(parameter.shape, generator=torch.Generator().manual_seed(1)) - 0.5)
    conv = {name: net.get_submodule(name) for name in ("conv1", "conv2", "sca", "conv3", "conv4", "conv5")}
    beta, gamma = net.get_parameter("beta"), net.get_parameter("gamma")

    def norm(number: int, of: Tensor) -> Tensor:
        scale, shift = net.get_parameter(f"norm{number}.weight"), net.get_parameter(f"norm{number}.bias")
        last = functional.layer_norm(of.movedim(1, -1), (WIDTH,), scale, shift, eps=1e-6)
        return last.movedim(-1, 1)

    hidden = conv["conv2"](conv["conv1"](norm(1, x)))
    gated = hidden[:, :WIDTH] * hidden[:, WIDTH:]
    y = x + beta * conv["conv3"](gated * conv["sca"](functional.adaptive_avg_pool2d(gated, 1)))
    hidden = conv["conv4"](norm(2, y))
    expected = y + gamma * conv["conv5"](hidden[:, :WIDTH] * hidden[:, WIDTH:])
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize("kind", ["rfdb", "efficient_rfdb"])
def test_rfdb_has_no_skip_around_it(kind: str) -> None:
    net = block(kind)
    silence(net.get_submodule("c5"))
    assert not net(image()).any()


def test_efficient_rfdb_costs_what_the_published_budget_implies() -> None:
    """7.56 C^2 + 36 C MACs per pixel, ESA's low-resolution branch left out (it adds up to 2 %)."""
    width = 48
    with torch.device("meta"):
        found = count(BLOCKS["efficient_rfdb"].create(width), torch.empty(1, width, 96, 96))
    assert found.macs / 96**2 == pytest.approx(7.56 * width**2 + 36 * width, rel=0.02)


def test_hin_normalises_the_first_half_of_the_channels_per_image() -> None:
    x = image()
    normalised = block("hin").get_submodule("norm")(3 * x + 1)
    assert torch.equal(normalised[:, 6:], 3 * x[:, 6:] + 1)
    torch.testing.assert_close(normalised[:, :6].mean((2, 3)), torch.zeros(2, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        normalised[:, :6].var((2, 3), correction=0), torch.ones(2, 6), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize(("kind", "kept"), [("idle_left", slice(6, 12)), ("idle_right", slice(0, 6))])
def test_idle_block_passes_half_of_the_channels_untouched(kind: str, kept: slice) -> None:
    x, output = image(), block(kind)(image())
    untouched = [i for i in range(WIDTH) if torch.equal(x[:, i], output[:, i])]
    assert untouched == list(range(WIDTH))[kept]


@pytest.mark.parametrize("kind", ["idle", "idle_multiscale"])
def test_left_and_right_idle_blocks_together_change_every_channel(kind: str) -> None:
    x, output = image(), block(kind)(image())
    assert not any(torch.equal(x[:, i], output[:, i]) for i in range(WIDTH))


def test_idle_halves_meet_only_outside_the_block() -> None:
    x = image().requires_grad_()
    block("idle")(x)[:, :6].sum().backward()
    assert x.grad is not None
    assert x.grad[:, :6].any()
    assert not x.grad[:, 6:].any()


@pytest.mark.parametrize(("kind", "far"), [("idle", 1), ("idle_multiscale", 3)])
def test_idle_block_sees_as_far_as_its_widest_depthwise_kernel(kind: str, far: int) -> None:
    x = torch.rand(1, WIDTH, 17, 17, requires_grad=True)
    block(kind)(x)[..., 8, 8].sum().backward()
    assert x.grad is not None
    rows = x.grad.abs().sum((0, 1, 3)).nonzero()
    assert (rows.min(), rows.max()) == (8 - far, 8 + far)


@pytest.mark.parametrize(("width", "primary"), [(12, 6), (7, 4)])
def test_ghost_module_makes_half_of_its_features_by_a_depthwise_convolution(width: int, primary: int) -> None:
    module = block("ghost", width).get_submodule("ghost1")
    features, copies = module(image(width)), width - primary
    cheap = module.get_submodule("cheap")
    torch.testing.assert_close(features[:, primary:], functional.relu(cheap(features[:, :copies])))
    assert cheap.groups == copies


def test_asymmetric_ghost_block_has_1x3_and_3x1_kernels() -> None:
    net = block("ghost_1x3")
    kernels = [net.get_submodule(f"{name}.primary").kernel_size for name in ("ghost1", "ghost2")]
    assert kernels == [(1, 3), (3, 1)]


def composed(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of one image: X, Y and the predictor's weights, straight from the description."""
    part = net.get_submodule
    features = functional.gelu(part("conv")(part("norm")(x)))
    mean = features.mean((2, 3), keepdim=True)
    return features, part("expand")(features), part("predictor")(mean).flatten().softmax(0)


def test_mccb_mixes_channels_by_a_matrix_composed_per_image() -> None:
    net = block("mccb", channels=5, bases=3)
    for x in image().split(1):
        _, y, weights = composed(net, x)
        matrix = sum(w * basis for w, basis in zip(weights, net.bases, strict=True))
        assert matrix.shape == (WIDTH, 5)
        mixed = torch.einsum("ck,nkhw->nchw", matrix, y)
        torch.testing.assert_close(net(x), x + net.get_submodule("project")(mixed))


def test_mscb_weighs_pixels_by_the_cosine_with_a_vector_composed_per_image() -> None:
    net = block("mscb", channels=5, bases=3)
    for x in image().split(1):
        _, y, weights = composed(net, x)
        vector = sum(w * basis for w, basis in zip(weights, net.bases, strict=True))
        cosine = functional.cosine_similarity(y, vector.reshape(1, 5, 1, 1), dim=1)
        assert cosine.abs().max() <= 1
        torch.testing.assert_close(net(x), x + net.get_submodule("project")(y * cosine[:, None]))


@pytest.mark.parametrize("kind", ["mccb", "mscb", "ghost", "residual"])
def test_residual_blocks_pass_their_input_when_the_last_layer_is_silent(kind: str) -> None:
    net = block(kind)
    last = {"mccb": "project", "mscb": "project", "ghost": "ghost2", "residual": "conv2"}[kind]
    silence(net.get_submodule(last))
    assert torch.equal(net(image()), image())


def test_nearest_attention_has_pans_width_at_pans_trunk() -> None:
    upsampler = UPSAMPLERS["nearest_attention"].create(40, 3, 4)
    assert upsampler.get_submodule("conv_last").in_channels == 24
    assert len(upsampler.get_submodule("steps")) == 2  # type: ignore[arg-type]


def test_transposed_is_fsrcnns_9x9_deconvolution() -> None:
    deconvolution = UPSAMPLERS["transposed"].create(12, 3, 3).get_submodule("deconv")
    assert (deconvolution.kernel_size, deconvolution.stride) == ((9, 9), (3, 3))

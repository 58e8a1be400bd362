import json
import re
from dataclasses import replace
from itertools import cycle, product
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from results.export.files import export
from spaces.architecture import Architecture, Block, Leaf
from spaces.baselines import baseline, published
from spaces.baselines.hinet import hinet
from spaces.blocks import BLOCKS
from spaces.budget import Budget, extreme
from spaces.build import build, cost, part_costs, size_requirements
from spaces.catalog import named_space
from spaces.catalog.unet import unet_space
from spaces.cost import count
from spaces.padding import run
from spaces.parts import Network
from spaces.resamplers import DOWNS, UPS
from spaces.sizes import SizeRequirements
from spaces.space import Genotype, Space
from spaces.task import DENOISE, HDR, ISP, Task, super_resolution
from spaces.topologies.unet import UNet, level_widths

SMALL_LISTS = {"depths": (1, 2), "levels": (2, 3), "activations": ("paper", "silu")}
SMALL = unet_space("small", blocks=tuple(BLOCKS), widths=range(4, 9), **SMALL_LISTS)  # type: ignore[arg-type]
ISP_SMALL = named_space("isp", widths=(4, 6, 7), **SMALL_LISTS)  # type: ignore[arg-type]
UNET_SMALL = named_space("unet", widths=(4, 6, 7), **SMALL_LISTS)  # type: ignore[arg-type]
SPACES = {"denoise": (SMALL, DENOISE), "isp": (ISP_SMALL, ISP)}
every_space = pytest.mark.parametrize(("space", "task"), SPACES.values(), ids=SPACES)
SEEDS = st.integers(0, 10**9)
HIN = ((Block("hin"),),)
PLAIN = UNet((4, 8), encoder=HIN * 2, decoder=HIN)


def image(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def sampled(space: Space, seed: int, **genes: Leaf) -> UNet:
    genotype = space.sample(Random(seed)) | genes
    space.check(genotype)
    architecture = space.decode(genotype)
    assert isinstance(architecture, UNet)
    return architecture


def on_meta(architecture: Architecture, task: Task) -> Network:
    with torch.device("meta"):
        return build(architecture, task)


@pytest.mark.parametrize(
    ("name", "gmacs", "challenge", "parameters", "activations"),
    [
        ("hinet-0.5x", 39.5418, 42.795, 22_176_518, 84.4104),
        ("hinet", 157.601, 170.5498, 88_669_702, 168.4275),
        ("hinet-2x", 629.2714, 680.939, 354_606_086, 336.4618),
        ("hinet-gopro", 157.601, 170.5498, 88_668_806, 168.4275),
    ],
)
def test_hinet_costs_what_the_original_code_does(
    name: str, gmacs: float, challenge: float, parameters: int, activations: float
) -> None:
    network = published(name)
    assert network.task.cost_input == (3, 256, 256)
    found = cost(network.architecture, network.task)
    assert found.gmacs() == pytest.approx(gmacs, abs=1e-4)
    assert found.gmacs("challenge") == pytest.approx(challenge, abs=1e-4)
    assert found.parameters == parameters
    assert found.activations / 1e6 == pytest.approx(activations, abs=1e-4)
    assert found.convolutions == 93
    assert size_requirements(network.architecture, network.task) == SizeRequirements(32, 16)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "original"),
    [("hinet-0.5x", "HINet_0.5x"), ("hinet", "HINet_1x"), ("hinet-gopro", "HINet_1x_hin3-4_GoPro_REDS")],
)
def test_hinets_tensors_are_those_of_the_official_checkpoint(name: str, original: str, shared: Path) -> None:
    network = published(name)
    theirs = json.loads((shared / "facts" / "state_dicts.json").read_text())[original]["tensors"]
    renamed = {}
    for tensor, shape in theirs.items():
        for pattern, replacement in network.renames:
            tensor = re.sub(pattern, replacement, tensor)
        renamed[tensor] = tuple(shape)
    ours = on_meta(network.architecture, network.task).state_dict()
    assert renamed == {tensor: tuple(values.shape) for tensor, values in ours.items()}


class Reference:
    """HINet written down once more from its description, in plain function calls on our tensors."""

    def __init__(self, network: Network, first_level: int):
        self.tensors = network.state_dict()
        self.first_level = first_level

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.tensors[f"{name}.weight"]
        padding = (weight.shape[-1] - 1) // 2
        return functional.conv2d(x, weight, self.tensors.get(f"{name}.bias"), stride, padding)

    def block(self, name: str, x: Tensor, *, halves: bool) -> Tensor:
        y = self.conv(f"{name}.conv_1", x)
        if halves:
            first, second = y.chunk(2, dim=1)
            scale, shift = (
                self.tensors[f"{name}.norm.norm.{n}"].view(1, -1, 1, 1) for n in ("weight", "bias")
            )
            mean, variance = first.mean((2, 3), keepdim=True), first.var((2, 3), correction=0, keepdim=True)
            y = torch.cat(((first - mean) / (variance + 1e-5).sqrt() * scale + shift, second), dim=1)
        y = functional.leaky_relu(self.conv(f"{name}.conv_2", functional.leaky_relu(y, 0.2)), 0.2)
        return y + self.conv(f"{name}.identity", x)

    def stage(
        self, s: str, x: Tensor, earlier: tuple[list[Tensor], list[Tensor]] | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        ways_down: list[Tensor] = []
        ways_up: list[Tensor] = []
        for i in range(5):
            x = self.block(f"{s}.encoder_{i}_0", x, halves=i >= self.first_level)
            if i < 4:
                if earlier:
                    x = x + self.conv(f"{s}.csff_encoder_{i}", earlier[0][i])
                    x = x + self.conv(f"{s}.csff_decoder_{i}", earlier[1][i])
                ways_down.append(x)
                x = self.conv(f"{s}.down_{i}.conv", x, stride=2)
        for i in (3, 2, 1, 0):
            up = f"{s}.up_{i}.deconv"
            x = functional.conv_transpose2d(x, self.tensors[f"{up}.weight"], self.tensors[f"{up}.bias"], 2)
            x = torch.cat((x, self.conv(f"{s}.skip_{i}", ways_down[i])), dim=1)
            x = self.block(f"{s}.decoder_{i}_0", x, halves=False)
            ways_up.insert(0, x)
        return ways_down, ways_up

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        earlier = self.stage("stage_1", self.conv("stage_1.head", x), None)
        last = earlier[1][0]
        first_image = self.conv("sam.image", last) + x
        attended = self.conv("sam.features", last) * self.conv("sam.gate", first_image).sigmoid() + last
        both = torch.cat((self.conv("stage_2.head", x), attended), dim=1)
        _, ways_up = self.stage("stage_2", self.conv("stage_2.fusion", both), earlier)
        return first_image, self.conv("upsampler.conv", ways_up[0]) + x


@pytest.mark.parametrize("first_level", [0, 3])
def test_hinet_is_wired_as_published(first_level: int) -> None:
    torch.manual_seed(0)
    network = build(hinet(4, first_level), DENOISE).requires_grad_(False)
    x = image(2, 3, 32, 48)
    first, second = Reference(network, first_level)(x)
    found = network.train()(x)
    assert isinstance(found, tuple)
    torch.testing.assert_close(found[0], first, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[1], second, rtol=1e-5, atol=1e-6)
    assert torch.equal(network.eval()(x), found[1])
    assert not torch.allclose(first, second, atol=1e-3)


def test_metaisp_has_about_a_million_parameters_and_doubles_the_size() -> None:
    network = published("metaisp")
    found = cost(network.architecture, network.task)
    assert found.parameters == pytest.approx(1e6, rel=0.02)
    assert size_requirements(network.architecture, network.task).multiple_of == 8
    small = replace(network.architecture, widths=(4, 4, 4, 8))
    assert run(build(small, ISP).eval(), image(1, 4, 13, 18), scale=2).shape == (1, 3, 26, 36)


@every_space
@settings(max_examples=25)
@given(seed=SEEDS)
def test_sampled_unets_go_through_json_and_restore_odd_sizes(space: Space, task: Task, seed: int) -> None:
    genes = space.sample(Random(seed))
    unet = space.decode(genes)
    assert isinstance(unet, UNet)
    assert Architecture.from_json(unet.to_json()) == unet
    assert (len(unet.widths), len(unet.encoder[0]), unet.widths[0]) == (
        genes["levels"],
        genes["depth"] + genes["more_0"],
        genes["width"],
    )
    assert [len(level) for level in unet.encoder] == [
        genes["depth"] + genes[f"more_{i}"] for i in range(len(unet.widths))
    ]
    assert [level[0].kind for level in unet.encoder] == [genes[f"block_{i}"] for i in range(len(unet.widths))]
    network = build(unet, task).eval()
    restored = run(network, image(1, task.in_channels, 9, 21), scale=task.scale)
    assert restored.shape == (1, 3, 9 * task.scale, 21 * task.scale)
    assert restored.isfinite().all()
    assert network.size_requirements == size_requirements(unet, task)


@pytest.mark.parametrize(("space", "task"), [(UNET_SMALL, DENOISE), (ISP_SMALL, ISP)], ids=SPACES)
@settings(max_examples=12)
@given(seed=SEEDS)
def test_every_parameter_gets_a_gradient(space: Space, task: Task, seed: int) -> None:
    torch.manual_seed(0)
    unet = sampled(space, seed, activation="silu")  # a ReLU of a few channels may be dead at the start
    network = build(unet, task).train()
    side = network.size_requirements.padded(16, 16)
    found = network(image(2, task.in_channels, *side))
    outputs = found if isinstance(found, tuple) else (found,)
    assert len(outputs) == unet.stages
    sum((output * torch.rand_like(output)).sum() for output in outputs).backward()  # type: ignore[union-attr]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@every_space
@settings(max_examples=12)
@given(seed=SEEDS, height=st.integers(9, 41), width=st.integers(9, 41))
def test_sum_of_the_parts_is_the_cost_of_the_whole_network(
    space: Space, task: Task, seed: int, height: int, width: int
) -> None:
    unet = sampled(space, seed)
    network = on_meta(unet, task).eval()
    size = network.size_requirements.padded(height, width)
    x = torch.empty(1, task.in_channels, *size, device="meta")
    found = cost(unet, task, size=(height, width))
    assert found == count(network, x)
    with FlopCounterMode(display=False) as flops:
        network(x)
    assert found.macs * 2 == flops.get_total_flops()


@every_space
@settings(max_examples=6)
@given(seed=SEEDS)
def test_cost_grows_with_width_depth_and_levels(space: Space, task: Task, seed: int) -> None:
    genes = space.sample(Random(seed))
    if genes["growth"] == "last":  # a level more moves the one that is twice as wide to fewer pixels
        genes["growth"] = "double"
    for name in ("width", "depth", "levels", "stages"):
        values = space.by_name[name].values
        costs = [cost(space.decode({**genes, name: v}), task, size=(64, 64)).macs for v in values]
        assert costs == sorted(set(costs)), name


@every_space
@settings(max_examples=15)
@given(seed=SEEDS)
def test_levels_beyond_the_networks_leave_no_trace(space: Space, task: Task, seed: int) -> None:
    genes = {**space.sample(Random(seed)), "levels": 2}
    kinds = space.by_name["block_2"].values
    assert len({space.decode({**genes, "block_2": kind}).digest for kind in kinds}) == 1
    kinds = space.by_name["block_1"].values
    assert len({space.decode({**genes, "block_1": kind}).digest for kind in kinds}) == len(kinds)


TINY = unet_space(
    "tiny",
    blocks=("ghost", "hin"),
    widths=(4, 6, 9),
    depths=(1, 2),
    levels=(2, 3),
    growths=("constant", "double"),
    downs=("strided", "maxpool"),
    ups=("transposed",),
    per_position=False,
)


def test_budgets_extremes_are_those_of_all_genotypes() -> None:
    budget = Budget(Task("tiny", cost_input=(3, 16, 24)), 1.0)
    names = [choice.name for choice in TINY]
    every = product(*(choice.values for choice in TINY))
    costs = [budget.gmacs(TINY, dict(zip(names, genes, strict=True))) for genes in every]
    for largest, expected in ((False, min(costs)), (True, max(costs))):
        assert budget.gmacs(TINY, extreme(TINY, budget, largest=largest)) == expected


@settings(max_examples=20)
@given(seed=SEEDS, limit=st.floats(0.001, 0.02))
def test_budget_repairs_width_and_depth(seed: int, limit: float) -> None:
    task = Task("tiny", cost_input=(3, 16, 24))
    budget = Budget(task, limit)
    genes = TINY.sample(Random(seed))
    fits = [
        {**genes, "width": width, "depth": depth}
        for depth in (1, 2)
        for width in (4, 6, 9)
        if budget.gmacs(TINY, {**genes, "width": width, "depth": depth}) <= limit
    ]
    found = budget.fit(TINY, genes)
    assert (found is None) == (not fits)
    if found is not None:
        assert found.gmacs <= limit
        assert found.architecture in [TINY.decode(candidate) for candidate in fits]


@pytest.mark.parametrize("growth", ["constant", "last", "double"])
def test_widths_grow_as_said(growth: str) -> None:
    expected = {"constant": (6, 6, 6, 6), "last": (6, 6, 6, 12), "double": (6, 12, 24, 48)}
    assert level_widths(6, 4, growth) == expected[growth]


@pytest.mark.parametrize("kind", [*DOWNS])
def test_down_sampler_halves(kind: str) -> None:
    part = DOWNS[kind].create(5, 7)
    output = part(image(2, 5, 6, 10))
    assert output.shape == (2, 7, 3, 5)
    (output * torch.rand_like(output)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in part.parameters())
    assert part.size_requirements == SizeRequirements(2, 2)


@pytest.mark.parametrize("kind", [*UPS])
def test_up_sampler_doubles(kind: str) -> None:
    part = UPS[kind].create(5, 7)
    output = part(image(2, 5, 3, 4))
    assert output.shape == (2, 7, 6, 8)
    (output * torch.rand_like(output)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in part.parameters())


@pytest.mark.parametrize(("down", "up"), list(zip(sorted(DOWNS), cycle(sorted(UPS)), strict=False)), ids=str)
def test_onnx_file_does_what_the_network_does(down: str, up: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    stages = 2 if down == "strided" else 1
    unet = replace(PLAIN, down=Block(down), up=Block(up), stages=stages)
    network = build(unet, DENOISE).eval().requires_grad_(False)
    done = export(network, unet, DENOISE, tmp_path / "network.onnx", "onnx")
    assert (done.minimum_size % done.multiple_of, done.multiple_of) == (0, 2)


def test_pt2_and_safetensors_files_do_what_the_network_does(tmp_path: Path) -> None:
    unet = replace(PLAIN, stages=2, down=Block("haar"), up=Block("haar"))
    network = build(unet, DENOISE).eval().requires_grad_(False)
    assert export(network, unet, DENOISE, tmp_path / "network.pt2", "pt2").max_error < 1e-4
    done = export(network, unet, DENOISE, tmp_path / "network.safetensors", "safetensors")
    assert done.max_error == 0


def test_minimum_of_a_low_level_counts_in_pixels_of_the_input() -> None:
    deep = UNet((4, 4, 4), encoder=HIN * 3, decoder=HIN * 2)
    assert size_requirements(deep, DENOISE) == SizeRequirements(minimum=8, multiple_of=4)
    least = image(1, 3, 8, 8)
    assert build(deep, DENOISE)(least).shape == least.shape


@pytest.mark.parametrize("task", [DENOISE, super_resolution(2)], ids=lambda task: task.name)
def test_training_starts_near_the_image_skip(task: Task) -> None:
    torch.manual_seed(0)
    x = functional.interpolate(image(1, 3, 4, 4), size=(16, 16), mode="bilinear")
    wide = functional.interpolate(x, scale_factor=float(task.scale), mode="bilinear")
    with_skip = build(PLAIN, task).eval()(x)
    without = build(replace(PLAIN, image_skip=False), task).eval()(x)
    assert (with_skip - wide).abs().mean() < 0.1 < (without - wide).abs().mean()


def test_two_stages_learn_to_denoise_a_photograph() -> None:
    torch.manual_seed(0)
    random = Random(0)
    clean = torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255
    noisy = clean + 0.1 * torch.randn(clean.shape)
    network = build(replace(PLAIN, widths=(8, 16), stages=2), DENOISE).train()
    optimizer = torch.optim.Adam(network.parameters(), 4e-3)
    for _ in range(60):  # on the upper half
        corners = [(random.randrange(220), random.randrange(480)) for _ in range(4)]
        source, target = (
            torch.stack([pixels[:, y : y + 24, x : x + 24] for y, x in corners]) for pixels in (noisy, clean)
        )
        loss = torch.stack([(output - target).square().mean() for output in network(source)]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    source, target = noisy[None, :, 300:428, 128:384], clean[None, :, 300:428, 128:384]
    with torch.no_grad():
        restored = network.eval()(source)
    assert (restored - target).square().mean() < 0.6 * (source - target).square().mean()


def test_parts_are_named_and_cost_at_their_own_size() -> None:
    unet = UNet((4, 8), encoder=HIN * 2, decoder=HIN, skip="concat", skip_conv=True)
    found = part_costs(unet, DENOISE, size=(8, 8))
    assert list(found) == [
        "stage_1.head",
        "stage_1.encoder_0_0",
        "stage_1.down_0",
        "stage_1.encoder_1_0",
        "stage_1.up_0",
        "stage_1.skip_0",
        "stage_1.join_0",
        "stage_1.decoder_0_0",
        "upsampler",
    ]
    assert found["stage_1.down_0"].macs == 4 * 8 * 16 * 4 * 4
    assert found["stage_1.encoder_1_0"].macs == (9 + 9 + 1) * 8 * 8 * 4 * 4
    assert found["stage_1.join_0"].macs == 8 * 4 * 8 * 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (8,)}, r"'widths' has 2 to 5 levels, got 1: \[8\]"),
        ({"widths": (3, 8)}, "a level's width is from 4 to 4096, got 3"),
        ({"widths": (8, 5000)}, "a level's width is from 4 to 4096, got 5000"),
        ({"encoder": HIN}, r"'encoder' holds the blocks of 2 levels .*, got \[1\]"),
        ({"decoder": HIN * 2}, r"'decoder' holds the blocks of 1 levels .*, got \[1, 1\]"),
        ({"decoder": ((),)}, r"'decoder' .* at least one each, got \[0\]"),
        ({"skip": "sum"}, "'skip' is one of concat, add, got 'sum'"),
        ({"entry": "down"}, "'entry' is one of conv, block, got 'down'"),
        ({"stages": 3}, "'stages' is from 1 to 2, got 3"),
    ],
    ids=str,
)
def test_impossible_unets_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PLAIN, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("unet", "task", "message"),
    [
        (
            PLAIN,
            HDR,
            "'image_skip' needs as many channels out as in, but task 'hdr' has scale 1, 18 channels in",
        ),
        (replace(PLAIN, image_skip=False, stages=2), ISP, "2 'stages' need scale 1 .*: use 1"),
        (replace(PLAIN, stages=2), super_resolution(2), "2 'stages' need scale 1"),
        (
            replace(PLAIN, entry="block", encoder=((Block("ghost"),),) * 2),
            DENOISE,
            r"can change the channels \(.*double_conv, hin.*\), got 'ghost'",
        ),
        (replace(PLAIN, down=Block("strode")), DENOISE, "unknown down-sampler of levels 'strode'"),
        (replace(PLAIN, up=Block("haar", (("taps", 3),))), DENOISE, "unknown option of 'haar' 'taps'"),
        (replace(PLAIN, activation="rellu"), DENOISE, "unknown activation 'rellu': did you mean"),
    ],
    ids=str,
)
def test_what_a_task_or_block_can_not_do_is_refused(unet: UNet, task: Task, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cost(unet, task)


@pytest.mark.parametrize("entry", ["conv", "block"])
@pytest.mark.parametrize("skip", ["concat", "add"])
@pytest.mark.parametrize("stages", [1, 2])
def test_all_wirings_run(entry: str, skip: str, stages: int) -> None:
    unet = UNet((4, 6, 10), HIN * 3, HIN * 2, entry=entry, skip=skip, stages=stages, skip_conv=True)
    assert Architecture.from_json(unet.to_json()) == unet
    assert run(build(unet, DENOISE).eval(), image(1, 3, 9, 14)).shape == (1, 3, 9, 14)


def test_json_holds_only_what_differs_from_the_defaults() -> None:
    assert json.loads(PLAIN.to_json()) == {
        "topology": "unet",
        "widths": [4, 8],
        "encoder": [["hin"], ["hin"]],
        "decoder": [["hin"]],
    }
    assert PLAIN.label == "U-Net 4/8 hin*3, strided-transposed"
    assert baseline("metaisp").label == "U-Net 42/42/42/84 residual mccb_mscb*7, haar, add, no image skip"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": ("hni",)}, "unknown block 'hni': did you mean 'hin'"),
        ({"downs": ("haa",)}, "unknown down-sampler of levels 'haa': did you mean 'haar'"),
        ({"ups": ("nearst",)}, "unknown up-sampler of levels 'nearst': did you mean 'nearest'"),
        ({"upsamplers": ("pixelshufle",)}, "unknown upsampler 'pixelshufle'"),
        ({"skips": ("concatenate",)}, "unknown skip 'concatenate': did you mean 'concat'"),
        ({"growths": ("doubled",)}, "unknown growth 'doubled': did you mean 'double'"),
        ({"growths": ()}, "choice 'growth' needs at least one value"),
        ({"activations": ("sliu",)}, "unknown activation 'sliu'"),
        ({"levels": (1, 2)}, "'levels' is from 2 to 5, got 1 to 2"),
        ({"levels": ()}, "'levels' is from 2 to 5, got none"),
        ({"stages": (1, 3)}, "'stages' is from 1 to 2, got 1 to 3"),
        ({"widths": (3, 8)}, "'width' is from 4 to 341, got 3 to 8"),
        ({"widths": (8, 600)}, "'width' is from 4 to 341, got 8 to 600"),
        ({"depths": (0, 1)}, "'depth' is from 1 to 256, got 0 to 1"),
    ],
    ids=str,
)
def test_impossible_lists_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unet_space("odd", **({"blocks": ("ghost",)} | changes))  # type: ignore[arg-type]


def test_named_spaces_can_be_changed_and_have_one_kind_for_all_levels() -> None:
    space = named_space("unet", per_position=False, widths=(8, 12), blocks=("ghost", "hin"))
    assert [name for name in space.by_name if name.startswith("block")] == ["block"]
    unet = sampled(space, 0, block="hin")
    assert {block.kind for level in (*unet.encoder, *unet.decoder) for block in level} == {"hin"}
    assert space.digest != named_space("unet").digest
    assert json.loads(space.to_json())["topology"] == "spaces.unet"


def test_isp_space_holds_metaisps_pairs_and_decoded_genes_say_so() -> None:
    space = named_space("isp")
    genes: Genotype = {
        **space.sample(Random(0)),
        "levels": 4,
        "depth": 1,
        "width": 40,
        "growth": "last",
        "down": "haar",
        "up": "haar",
        "skip": "add",
        **{f"block_{i}": "mccb_mscb" for i in range(4)},
        **{f"more_{i}": 0 for i in range(4)},
        **{f"percent_{i}": 100 for i in range(1, 4)},
        "upsampler": "pixelshuffle",
    }
    space.check(genes)
    unet = baseline("metaisp")
    assert isinstance(unet, UNet)
    without_mfeb = ((Block("mccb_mscb"),), *unet.encoder[1:])
    assert space.decode(genes) == replace(
        unet, widths=(40, 40, 40, 80), encoder=without_mfeb, image_skip=True
    )


def test_a_level_has_its_own_depth_and_width() -> None:
    space = named_space("unet")
    genes: Genotype = {
        **space.sample(Random(0)),
        "levels": 3,
        "depth": 1,
        "width": 20,
        "growth": "double",
        "stages": 1,
        "more_0": 0,
        "more_1": 2,
        "more_2": 1,
        "percent_1": 150,
        "percent_2": 75,
    }
    space.check(genes)
    unet = space.decode(genes)
    assert isinstance(unet, UNet)
    assert unet.widths == (20, 60, 60)
    assert [len(level) for level in unet.encoder] == [1, 3, 2]
    assert [len(level) for level in unet.decoder] == [1, 3]


def test_a_raw_image_skip_starts_at_the_developed_mosaic() -> None:
    unet = replace(PLAIN, image_skip=True)
    network = build(unet, ISP).eval()
    last = [m for m in network.get_submodule("upsampler").modules() if isinstance(m, nn.Conv2d)][-1]
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    grey = torch.tensor([0.18 / 2.1, 0.18, 0.18, 0.18 / 1.7]).reshape(1, 4, 1, 1).expand(1, 4, 16, 16)
    torch.testing.assert_close(network(grey), torch.full((1, 3, 32, 32), 0.18 ** (1 / 2.2)))
    assert cost(unet, ISP).macs - cost(replace(unet, image_skip=False), ISP).macs == 12 * 224 * 224

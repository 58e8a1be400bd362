"""INT8 files: what is quantised, what it costs, and what is put back where that is too much."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from results.export.files import ExportError, Run, export
from results.export.quantisation import latencies_ms, open_onnx, quantise
from spaces.architecture import Architecture, Block
from spaces.build import build
from spaces.parts import Network
from spaces.task import DENOISE, HDR, Task
from spaces.topologies.chain import Chain
from spaces.topologies.hdr import HdrFusion
from spaces.topologies.unet import UNet

TASK = Task("sr-x2", scale=2)
CHAIN = Chain(8, (Block("rfdb"), Block("residual")), image_skip="nearest")


def float_file(architecture: Architecture, folder: Path, task: Task = TASK) -> tuple[Network, Path, int]:
    """A network with random weights, its ONNX file, and the smallest side that the file takes."""
    torch.manual_seed(0)
    network = build(architecture, task).eval().requires_grad_(False)
    done = export(network, architecture, task, folder / "float.onnx", "onnx")
    return network, done.path, done.minimum_size


def images(count: int = 4, side: int = 32, channels: int = 3) -> list[np.ndarray]:
    """Smooth pictures: the sum of a few waves."""
    random = np.random.default_rng(0)
    at = np.linspace(0, 6, side, dtype=np.float32)
    waves = random.uniform(0.3, 3, (count, channels, 2, 1, 1)).astype(np.float32)
    pictures = 0.5 + 0.25 * np.sin(waves[:, :, 0] * at[:, None]) + 0.25 * np.sin(waves[:, :, 1] * at)
    return [picture[None] for picture in pictures.astype(np.float32)]


def closeness(expected: Network | Run, shown: Sequence[np.ndarray]) -> Callable[[Run], float]:
    """PSNR in dB to what the network gives, which is 99 dB from itself."""
    inputs = [torch.from_numpy(image) for image in shown]
    targets = [expected(image) for image in inputs]

    def score(run: Run) -> float:
        error = np.mean([float((run(x) - y).square().mean()) for x, y in zip(inputs, targets, strict=True)])
        return min(99.0, -10 * float(np.log10(max(error, 1e-12))))

    return score


def in_8_bits(path: Path) -> set[str]:
    """Weights that the file holds as signed 8-bit integers."""
    graph = onnx.load(path).graph
    return {
        tensor.name.removesuffix(".weight_quantized")
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and tensor.name.endswith(".weight_quantized")
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Path]:
    network, path, _ = float_file(CHAIN, tmp_path_factory.mktemp("float"))
    return network, path


def test_every_convolution_computes_in_8_bits_and_little_is_lost(
    made: tuple[Network, Path], tmp_path: Path
) -> None:
    network, path = made
    output = tmp_path / "new" / "int8.onnx"
    done = quantise(path, output, images(), closeness(network, images()))
    kinds = Counter(node.op_type for node in onnx.load(path).graph.node)
    assert done.layers == kinds["Conv"] == len(in_8_bits(output))
    assert done.float_layers == ()
    assert done.score_before > 90 > done.score_after > 30
    content = output.read_bytes()
    assert (done.sha256, done.bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert done.images == 4
    assert [file.name for file in output.parent.iterdir()] == ["int8.onnx"]


def test_the_score_is_the_written_files(made: tuple[Network, Path], tmp_path: Path) -> None:
    network, path = made
    score = closeness(network, images())
    done = quantise(path, tmp_path / "int8.onnx", images(), score, max_drop=55)
    assert done.score_after == pytest.approx(score(open_onnx(done.path)), abs=1e-9)
    assert done.score_before == pytest.approx(score(open_onnx(path)), abs=1e-9)


def test_weights_have_a_scale_for_each_output_channel(made: tuple[Network, Path], tmp_path: Path) -> None:
    network, path = made
    done = quantise(path, tmp_path / "int8.onnx", images(), closeness(network, images()))
    graph = onnx.load(done.path).graph
    scales = {t.name: tuple(t.dims) for t in graph.initializer if t.name.endswith("weight_scale")}
    assert scales["head.weight_scale"] == (8,)
    assert len(scales) == done.layers


def test_the_file_still_says_what_the_network_is(made: tuple[Network, Path], tmp_path: Path) -> None:
    network, path = made
    done = quantise(path, tmp_path / "int8.onnx", images(), closeness(network, images()))
    notes = {p.key: p.value for p in onnx.load(done.path).metadata_props}
    assert Architecture.from_json(notes["architecture"]) == CHAIN
    assert notes == {p.key: p.value for p in onnx.load(path).metadata_props}


@pytest.mark.parametrize("drop", [20.0, 50.0])
def test_layers_go_back_to_floating_point_until_the_loss_is_met(
    drop: float, made: tuple[Network, Path], tmp_path: Path
) -> None:
    network, path = made
    score = closeness(network, images())
    whole = quantise(path, tmp_path / "whole.onnx", images(), score)
    allowed = (whole.score_before - whole.score_after) * drop / 60
    done = quantise(path, tmp_path / "some.onnx", images(), score, max_drop=allowed)
    assert done.score_before - done.score_after <= allowed
    assert 0 < len(done.float_layers) < done.layers
    assert len(in_8_bits(done.path)) == done.layers - len(done.float_layers)
    assert not in_8_bits(done.path) & set(done.float_layers)


def test_a_loss_that_is_met_puts_nothing_back(made: tuple[Network, Path], tmp_path: Path) -> None:
    network, path = made
    assert (
        quantise(path, tmp_path / "i.onnx", images(), closeness(network, images()), max_drop=90).float_layers
        == ()
    )


def test_the_most_sensitive_layer_goes_back_first(tmp_path: Path) -> None:
    """Channels of very unequal size share one scale of the second convolution's input, so that it suffers most."""
    torch.manual_seed(0)
    network = build(CHAIN, TASK).eval().requires_grad_(False)
    network.get_submodule("blocks.1.conv1").weight *= 1e-3  # type: ignore[operator]
    network.get_submodule("blocks.1.conv2").weight *= 1e-3  # type: ignore[operator]
    done = export(network, CHAIN, TASK, tmp_path / "float.onnx", "onnx")
    score = closeness(network, images())
    whole = quantise(done.path, tmp_path / "whole.onnx", images(), score)
    some = quantise(
        done.path,
        tmp_path / "some.onnx",
        images(),
        score,
        max_drop=whole.score_before - whole.score_after - 0.1,
    )
    # What adds next to nothing to the trunk is the last to be missed.
    assert not {"blocks.1.conv1", "blocks.1.conv2"} & set(some.float_layers)


def test_a_loss_that_cannot_be_met_is_told_with_figures(made: tuple[Network, Path], tmp_path: Path) -> None:
    path, image = made[1], torch.from_numpy(images()[0])
    output = tmp_path / "int8.onnx"
    output.write_text("earlier")
    exact = open_onnx(path)(image)
    words = r"--max-drop 0\.01: 1\.000 dB .*; INT8 gives 0\.000 dB in all (\d+) .* at best 0\.000 dB with up to (\d+) "
    with pytest.raises(ExportError, match=words) as caught:
        quantise(path, output, images(), lambda run: float(torch.equal(run(image), exact)), max_drop=0.01)
    found = re.search(words, str(caught.value))
    assert found
    assert int(found[1]) == int(found[2]) + 1
    assert output.read_text() == "earlier"
    assert [file.name for file in tmp_path.iterdir()] == ["int8.onnx"]


@pytest.mark.parametrize("drop", [-0.1, float("nan"), float("inf")])
def test_a_loss_that_is_none_is_refused(drop: float, made: tuple[Network, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--max-drop is a loss in dB of at least 0"):
        quantise(made[1], tmp_path / "i.onnx", images(), lambda run: 0.0, max_drop=drop)


def test_without_calibration_images_nothing_is_written(made: tuple[Network, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no calibration images: expected at least 1"):
        quantise(made[1], tmp_path / "i.onnx", [], lambda run: 0.0)
    assert list(tmp_path.iterdir()) == []


def test_other_images_have_another_digest(made: tuple[Network, Path], tmp_path: Path) -> None:
    network, path = made
    score = closeness(network, images())
    digests = {
        quantise(path, tmp_path / "i.onnx", some, score).digest for some in (images(), images()[:3], images())
    }
    assert len(digests) == 2


BODIES = (("rfdb", "imdb", "ghost", "lattice"), ("hin", "mscb"))


@pytest.mark.parametrize("kinds", BODIES, ids="-".join)
def test_blocks_of_every_sort_can_be_quantised_and_run_at_any_size(
    kinds: tuple[str, ...], tmp_path: Path
) -> None:
    """ESA's pooling, splits, depthwise convolutions, instance normalisation, attention over kernels."""
    network, path, low = float_file(Chain(8, tuple(map(Block, kinds))), tmp_path)
    step = network.size_requirements.multiple_of
    shown = images(2, low + 2 * step)
    done = quantise(path, tmp_path / "int8.onnx", shown, closeness(network, shown))
    weights = [t for t in onnx.load(done.path).graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert len([t for t in weights if len(t.dims) == 4]) == done.layers
    assert done.score_after > 20
    runs = open_onnx(done.path), open_onnx(path)
    for height, width in ((low, low), (low + step, low + 3 * step)):
        image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        got, expected = (run(image) for run in runs)
        assert got.shape == expected.shape
        assert got.isfinite().all()


def test_a_layer_is_called_as_its_module_is(tmp_path: Path) -> None:
    """Also where the exporter made one tensor of a normalised weight's two."""
    network, path, _ = float_file(Chain(8, (Block("ffg"),)), tmp_path)
    score = closeness(network, images())
    done = quantise(path, tmp_path / "int8.onnx", images(2), score, max_drop=1)
    assert any("fusions" in name for name in done.float_layers)
    for name in done.float_layers:
        network.get_submodule(name)


OTHERS = {
    "unet": (UNet((8, 8), ((Block("hin"),), (Block("double_conv"),)), ((Block("hin"),),)), DENOISE),
    "hdr": (HdrFusion(8, (Block("rfdb"),)), HDR),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_topologies_can_be_quantised(name: str, tmp_path: Path) -> None:
    architecture, task = OTHERS[name]
    network, path, low = float_file(architecture, tmp_path, task)
    shown = images(2, network.size_requirements.padded(max(low, 32), 32)[0], task.in_channels)
    done = quantise(path, tmp_path / "int8.onnx", shown, closeness(network, shown))
    assert done.float_layers == ()
    assert done.score_after > 20


def test_latencies_are_of_as_many_runs_as_are_said() -> None:
    calls = Counter[str]()

    def counted(name: str) -> Run:
        def run(image: Tensor) -> Tensor:
            assert image.shape == (1, 3, 4, 5)
            calls[name] += 1
            return image

        return run

    times, count = latencies_ms([counted("a"), counted("b")], (1, 3, 4, 5), repeats=5)
    assert (count, len(times)) == (5, 2)
    assert calls == {"a": 6, "b": 6}
    assert latencies_ms([counted("c")], (1, 3, 4, 5), repeats=50, limit_s=0)[1] == 3

"""``pixelfront supernet``: trained, cut off, taken from, and used by a search and by ``evaluate``."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from typer.testing import CliRunner

from evaluators.supernet.file import read_supernet
from search.cli import app
from search.config import ConfigError
from search.networks.subjects import find_subject
from search.supernet import train_supernet
from spaces.architecture import Block
from spaces.topologies.chain import Chain
from tests.results.studies import photographs

SAID: dict[str, Any] = {
    "task": "sr-x2",
    "space.blocks": "residual,rfdb",
    "space.widths": "8,12",
    "space.depths": "1:2",
    "space.upsamplers": "pixelshuffle",
    "training.patch": 16,
    "training.batch": 2,
    "training.precision": "float32",
}
SOME = Chain(12, (Block("rfdb"), Block("residual")), image_skip="nearest")
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return photographs(tmp_path_factory.mktemp("images"))


def trained(output: Path, said: dict[str, Any], **options: Any) -> Any:
    return train_supernet(said, output, **{"steps": 30, "device": "cpu", "console": QUIET, **options})


def test_a_training_that_was_cut_off_goes_on_to_the_same_file(tmp_path: Path, images: dict[str, str]) -> None:
    said = SAID | images
    trained(tmp_path / "straight.safetensors", said)
    output = tmp_path / "cut.safetensors"
    steps: list[int] = []

    def stop(step: int, loss: float) -> None:
        steps.append(step)
        if len(steps) == 1:
            os.kill(os.getpid(), signal.SIGINT)

    first = trained(output, said, moved=stop)
    assert (first.step, first.file, output.exists()) == (10, None, False)
    assert trained(output, said, moved=stop).file == output
    assert steps == [10, 20, 30]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.safetensors", "straight.safetensors"]
    assert output.read_bytes() == (tmp_path / "straight.safetensors").read_bytes()
    found = read_supernet(output)
    assert (found.task, found.training["steps"], found.training["random"]) == ("sr-x2", 30, 2)
    with pytest.raises(ConfigError, match="it is there already"):
        trained(output, said)


def test_a_configuration_of_a_search_is_that_of_its_supernet(tmp_path: Path, images: dict[str, str]) -> None:
    """What is about the search alone doesn't count, not even the supernet that is yet to be made."""
    search = {
        "max_gmacs": 0.5,
        "eta": 2,
        "training.rungs": "10,40",
        "training.steps": 40,
        "train_steps": 9000,
    }
    search |= {"filter": "supernet:0.5", "supernet": tmp_path / "s.safetensors", "limits": ["gmacs<=1"]}
    assert trained(tmp_path / "s.safetensors", SAID | images | search, steps=2).file is not None
    assert trained(tmp_path / "t.safetensors", SAID | images, steps=2).file is not None
    first, second = (load_file(tmp_path / f"{name}.safetensors") for name in "st")
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_anothers_checkpoint_and_places_that_cant_be_written_are_refused(
    tmp_path: Path, images: dict[str, str]
) -> None:
    output = tmp_path / "s.safetensors"
    (tmp_path / "s.safetensors.checkpoint").write_bytes(b"no checkpoint")
    with pytest.raises(ConfigError, match=r"s.safetensors.checkpoint: it can't be read; remove it"):
        trained(output, SAID | images)
    with pytest.raises(ConfigError, match="no such folder"):
        trained(tmp_path / "none" / "s.safetensors", SAID | images)
    with pytest.raises(ValueError, match="a supernet is for chains only"):
        trained(tmp_path / "u.safetensors", images | {"task": "denoise", "space.widths": "8,12"})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, images: dict[str, str]) -> Path:
    output = tmp_path_factory.mktemp("made") / "s.safetensors"
    trained(output, SAID | images)
    return output


def said(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_network_taken_out_is_one_that_evaluate_accepts(tmp_path: Path, file: Path) -> None:
    (tmp_path / "a.json").write_text(SOME.to_json())
    weights = tmp_path / "w.safetensors"
    assert "12 " in said("supernet", "take", file, tmp_path / "a.json", "-o", weights)
    image = torch.rand(1, 3, 24, 24)
    expected = read_supernet(file).network.extract(SOME)(image)
    for model in (str(weights), f"{tmp_path / 'a.json'}={weights}"):
        (network,) = find_subject([model], task="sr-x2").networks
        assert torch.equal(network.eval()(image), expected), model


@pytest.mark.parametrize(
    ("architecture", "output", "message"),
    [
        (Chain(16, (Block("rfdb"),), image_skip="nearest"), "w.safetensors", "at most 12 channels wide"),
        (Chain(12, (Block("imdb"),), image_skip="nearest"), "w.safetensors", "no chain of that space has"),
        (SOME, "w.onnx", r"a name that ends in .safetensors"),
        (None, "w.safetensors", "expected a file with its JSON"),
    ],
)
def test_what_cant_be_taken_is_refused(
    tmp_path: Path, file: Path, architecture: Chain | None, output: str, message: str
) -> None:
    if architecture is not None:
        (tmp_path / "a.json").write_text(architecture.to_json())
    with pytest.raises(ValueError, match=message):
        said("supernet", "take", file, tmp_path / "a.json", "-o", tmp_path / output)
    assert not (tmp_path / "w.safetensors").exists()


@pytest.mark.slow
def test_a_search_filters_by_it_and_correlate_shows_it(
    tmp_path: Path, file: Path, images: dict[str, str]
) -> None:
    space = [f"--{name}={SAID[f'space.{name}']}" for name in ("blocks", "widths", "depths", "upsamplers")]
    folders = ["--data", images["data.train"], "--val", images["data.validation"]]
    small = ["--steps=4", "--patch=16", "--batch=2", "--rungs=1", "--trials=7", "--strategy=random"]
    store = ["--runs", tmp_path, "--no-finish", "--workers=1"]
    with_it = ["--filter=supernet:0.5", "--warm-start", "--supernet", file]
    text = said("search", "--task=sr-x2", "--max-gmacs=9", *space, *folders, *small, *store, *with_it)
    assert "trained for 30 steps that their own don't count" in text
    assert "candidates before training" in text
    assert "supernet against psnr_y over 7 fully trained networks: Spearman" in text
    found = json.loads(said("correlate", "sr-x2-1", "--runs", tmp_path, "--json"))
    (link,) = [each for each in found["with_objective"] if each["key"] == "supernet"]
    assert link["n"] == 7
    (quantity,) = [each for each in found["quantities"] if each["key"] == "supernet"]
    assert (quantity["kind"], quantity["unit"]) == ("proxy", "dB")

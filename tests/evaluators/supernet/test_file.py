"""A supernet's file: what comes back, what is refused, and which spaces it holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from evaluators.supernet.file import TrainedSupernet, few_images, lacking, read_supernet, write_supernet
from evaluators.supernet.network import Supernet
from evaluators.trial import score
from spaces.architecture import Block
from spaces.checkpoint import CheckpointError
from spaces.space import Space, chain_space
from spaces.topologies.chain import Chain
from tests.evaluators.small import TASK, pairs, task


def space(
    blocks: tuple[str, ...] = ("residual", "imdb"),
    widths: tuple[int, ...] = (4, 8),
    depths: tuple[int, ...] = (1, 2),
    per_position: bool = True,
) -> Space:
    return chain_space(
        "small",
        blocks=blocks,
        widths=widths,
        depths=depths,
        upsamplers=["pixelshuffle"],
        fusions=["plain"],
        feature_skips=[True, False],
        image_skips=["nearest"],
        per_position=per_position,
    )


SOME = Chain(4, (Block("imdb"), Block("residual")), fusion="plain", image_skip="nearest")


@pytest.fixture
def made(tmp_path: Path) -> tuple[TrainedSupernet, Path]:
    torch.manual_seed(0)
    trained = TrainedSupernet(Supernet(space(), task().interface), TASK, pairs().digest, {"steps": 7})
    write_supernet(tmp_path / "s.safetensors", trained)
    return trained, tmp_path / "s.safetensors"


def test_a_supernet_comes_back_as_it_was(made: tuple[TrainedSupernet, Path]) -> None:
    trained, path = made
    before = torch.random.get_rng_state()
    again = read_supernet(path)
    assert torch.equal(before, torch.random.get_rng_state())
    assert again.network.space == trained.network.space
    assert (again.task, again.train, again.training) == (TASK, pairs().digest, {"steps": 7})
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again.network.extract(SOME)(image), trained.network.extract(SOME)(image))


def test_a_score_is_that_of_the_network_taken_out(made: tuple[TrainedSupernet, Path]) -> None:
    trained = read_supernet(made[1])
    found = trained.score(SOME, pairs(), metric="psnr_y")
    plain = next(
        m for m in score(trained.network.extract(SOME), TASK, pairs(), ssim=False) if m.name == "psnr_y"
    )
    assert (found.name, found.value, found.unit) == ("supernet", plain.value, "dB")
    assert found.protocol == f"untrained, weights of supernet {trained.digest}, {plain.protocol}"


def test_other_files_are_refused(tmp_path: Path, made: tuple[TrainedSupernet, Path]) -> None:
    other = tmp_path / "other.safetensors"
    with pytest.raises(CheckpointError, match=r"other.safetensors: can't be read: No such file"):
        read_supernet(other)
    other.write_bytes(b"not a file of tensors")
    with pytest.raises(CheckpointError, match="expected a file that 'pixelfront supernet train' wrote"):
        read_supernet(other)
    save_file({"x": torch.zeros(1)}, other)
    with pytest.raises(CheckpointError, match="expected a file that 'pixelfront supernet train' wrote"):
        read_supernet(other)
    other.write_bytes(made[1].read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="can't be read"):
        read_supernet(other)


def test_a_supernet_holds_smaller_spaces_of_the_same_kind() -> None:
    assert lacking(space(), space()) == []
    assert lacking(space(depths=(1, 2, 3)), space(("residual",), (4,), (1,))) == []
    assert lacking(space(), space(("residual", "rfdb"), (4, 16))) == [
        "width: the supernet has [4, 8], not [16]",
        "block_0: the supernet has ['residual', 'imdb'], not ['rfdb']",
        "block_1: the supernet has ['residual', 'imdb'], not ['rfdb']",
    ]
    assert "block: the supernet has []" in lacking(space(), space(per_position=False))[0]
    wider = chain_space("wider", blocks=["residual"], attentions=["paper", "se"])
    assert any(line.startswith("attention") for line in lacking(wider, chain_space("x", blocks=["residual"])))
    unet = Space("u", space().choices, "unet")
    assert lacking(unet, space()) == ["topology: the supernet has unet, wanted chain"]


def test_few_images_are_evenly_spaced() -> None:
    one = pairs()
    assert len(few_images(one)) == 1
    many = type(one)(
        type(one.inputs)("m", one.inputs.images * 11), type(one.targets)("m", one.targets.images * 11), 2
    )
    assert len(few_images(many)) == 4

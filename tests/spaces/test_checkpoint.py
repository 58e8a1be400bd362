"""Checkpoints load strictly, wrong ones are named, and nothing in a file is ever run."""

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from spaces.architecture import Block
from spaces.baselines import baseline_names, published
from spaces.build import build
from spaces.checkpoint import CheckpointError, load_published, load_weights, read_tensors
from spaces.parts import Network
from spaces.registry import UnknownNameError
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

SMALL, TASK = Chain(8, (Block("residual"),), fusion="plain"), super_resolution(2)
# Networks whose checkpoints aren't at hand: their names and shapes in facts/state_dicts.json.
LISTED = {
    "ahdrnet": "AHDRNet",
    "bsrn": "BSRN_x4",
    "hinet-0.5x": "HINet_0.5x",
    "rlfn": "RLFN_x4",
    "rlfn-prune": "RLFN_Prune_ntire_x4",
}


def small() -> Network:
    torch.manual_seed(0)
    return build(SMALL, TASK)


def tensors() -> dict[str, Tensor]:
    return dict(small().state_dict())


def saved(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[n], t) for n, t in expected.items())


def official(shared: Path, name: str) -> Path:
    file = shared / "weights" / published(name).checkpoint
    if not file.exists():
        pytest.skip(f"needs {file}")
    return file


@pytest.mark.shared
@pytest.mark.parametrize("name", [name for name in baseline_names() if published(name).checkpoint])
def test_official_checkpoint_loads_to_the_last_number(name: str, shared: Path) -> None:
    """In order: no tensor is changed or taken for another of its shape."""
    file = official(shared, name)
    network = load_published(name, file)
    theirs, ours = read_tensors(file).values(), network.state_dict().values()
    assert sorted(t.double().sum().item() for t in ours) == sorted(t.double().sum().item() for t in theirs)


@pytest.mark.shared
@pytest.mark.parametrize("name", LISTED)
def test_official_names_and_shapes_fit(name: str, shared: Path, tmp_path: Path) -> None:
    listed = json.loads((shared / "facts/state_dicts.json").read_text())[LISTED[name]]["tensors"]
    zeros = {tensor: torch.zeros(1).expand(shape) for tensor, shape in listed.items()}
    network = load_published(name, saved(zeros, tmp_path / "w.pth"))
    assert not any(tensor.any() for tensor in network.state_dict().values())


@pytest.mark.shared
def test_network_that_the_file_looks_like_is_named(shared: Path) -> None:
    with pytest.raises(CheckpointError, match="It looks like the published network 'imdn': name that one$"):
        load_published("rfdn", official(shared, "imdn"))


def test_damaged_file_of_the_right_network_suggests_no_other(tmp_path: Path) -> None:
    weights = build(published("pan").architecture, published("pan").task).state_dict()
    del weights["head.bias"]
    with pytest.raises(CheckpointError, match=r"doesn't fit 'pan': 1 missing \(head\.bias\)$"):
        load_published("pan", saved(weights, tmp_path / "w.pth"))


def test_file_in_our_own_names_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = build(published("rlfn-prune").architecture, published("rlfn-prune").task).state_dict()
    network = load_published("rlfn-prune", saved(weights, tmp_path / "w.pth"))
    assert same(network.state_dict(), weights)


def test_mismatch_is_told_in_the_files_own_names(tmp_path: Path) -> None:
    weights = {"fea_conv.weight": torch.zeros(40, 3, 3, 3), "B9.c5.bias": torch.zeros(1)}
    with pytest.raises(
        CheckpointError,
        match=r"127 missing \(.* and 124 more\); 1 surplus \(B9\.c5\.bias\); 1 of another shape "
        r"\(fea_conv\.weight: expected \(50, 3, 3, 3\), got \(40, 3, 3, 3\)\)",
    ):
        load_published("rfdn", saved(weights, tmp_path / "w.pth"))


def test_two_names_of_one_tensor_are_refused(tmp_path: Path) -> None:
    weights = {"fea_conv.bias": torch.zeros(50), "head.bias": torch.ones(50)}
    with pytest.raises(CheckpointError, match=r"'fea_conv\.bias' and 'head\.bias' are the same tensor"):
        load_published("rfdn", saved(weights, tmp_path / "w.pth"))


def test_unknown_network_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'rfdn'"):
        load_published("rfdm", tmp_path / "w.pth")


def test_weights_of_another_network_leave_this_one_unchanged() -> None:
    network, given = small(), {name: torch.zeros_like(tensor) for name, tensor in tensors().items()}
    del given["head.weight"]
    given |= {"head.bias": torch.zeros(9), "tail.bias": torch.zeros(3)}
    with pytest.raises(
        CheckpointError,
        match=r"1 missing \(head\.weight\); 1 surplus \(tail\.bias\); 1 of another shape "
        r"\(head\.bias: expected \(8,\), got \(9,\)\)",
    ):
        load_weights(network, given)
    assert same(network.state_dict(), tensors())


def test_weights_survive_a_file_of_each_kind(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "w.safetensors")
    files = [tmp_path / "w.safetensors"]
    files += [saved(tensors(), tmp_path / name) for name in ("w.pth", "w.pt", "w.ckpt")]
    for file in files:
        network = build(SMALL, TASK)
        load_weights(network, read_tensors(file))
        assert same(network.state_dict(), tensors())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: {"params": {n: x + 1 for n, x in t.items()}, "params_ema": t},
        lambda t: {"epoch": 3, "state_dict": t, "optimizer": {"lr": 0.1}},
        lambda t: {"model": {"net": t}},
        lambda t: {f"module.{n}": x for n, x in t.items()},
        lambda t: {"state_dict": {f"module.{n}": x for n, x in t.items()}},
        lambda t: {n: torch.nn.Parameter(x) for n, x in t.items()},
    ],
    ids=["averaged", "beside others", "two deep", "module", "module within", "parameters"],
)
def test_wrappers_are_taken_off(wrap: Any, tmp_path: Path) -> None:
    found = read_tensors(saved(wrap(tensors()), tmp_path / "w.pth"))
    assert same(found, tensors())
    assert not any(tensor.requires_grad for tensor in found.values())


class Malicious:
    def __init__(self, victim: Path):
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.victim}'",)


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
@pytest.mark.parametrize("suffix", ["pth", "pt", "ckpt"])
def test_code_in_a_file_is_refused_and_not_executed(write: Any, suffix: str, tmp_path: Path) -> None:
    victim, file = tmp_path / "victim", tmp_path / f"w.{suffix}"
    write({**tensors(), "more": Malicious(victim)}, file)
    with pytest.raises(
        CheckpointError, match="expected a file of plain tensors, got .* nothing was executed"
    ):
        read_tensors(file)
    assert not victim.exists()
    pickle.loads(pickle.dumps(Malicious(victim)))
    assert victim.exists(), "the file would have done harm"


def test_what_is_refused_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"got a reference to posix\.system "):
        read_tensors(saved({"more": Malicious(tmp_path)}, tmp_path / "w.pth"))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_file_that_is_cut_off_anywhere_is_an_error(suffix: str, tmp_path: Path) -> None:
    whole = tmp_path / f"whole.{suffix}"
    save_file(tensors(), whole) if suffix == "safetensors" else torch.save(tensors(), whole)
    content, cut = whole.read_bytes(), tmp_path / f"cut.{suffix}"
    for length in range(0, len(content), len(content) // 20):
        cut.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=re.escape(str(cut))):
            read_tensors(cut)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "got none"),
        (torch.zeros(3), "expected tensors by name, got type Tensor (torch.strided)"),
        ([torch.zeros(3)], "expected tensors by name, got type list"),
        (
            {"epoch": 3, "weight": torch.zeros(3)},
            "'epoch' is of type int; save the network's state_dict alone",
        ),
        ({0: torch.zeros(3)}, "0 is no text"),
        ({"weight": torch.eye(3).to_sparse()}, "'weight' is of type Tensor (torch.sparse_coo)"),
    ],
)
def test_other_content_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape(message)):
        read_tensors(saved(content, tmp_path / "w.pth"))


def test_missing_file_folder_and_picture_are_refused(tmp_path: Path) -> None:
    picture = tmp_path / "picture.pth"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    for path, message in (
        (tmp_path / "none.pth", "no such file"),
        (tmp_path, "no such file"),
        (picture, "expected a file of plain tensors"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read_tensors(path)

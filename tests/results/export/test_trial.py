"""Weights are verified before they are used, and what is exported goes on record."""

import hashlib
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from results.export.files import Format, load_network
from results.export.trial import export_trial
from results.store.artifacts import verified, weights_path
from results.store.schema import Artifact, Trial
from results.store.store import Store
from spaces.architecture import Architecture
from spaces.build import build
from tests.results.studies import DEAR, NAME, TASK


def trial(store: Store, number: int = 2) -> Trial:
    return store.trial(store.study(NAME).id, number)


def test_the_weights_are_the_recorded_ones(small_store: Store) -> None:
    path = weights_path(small_store, trial(small_store))
    torch.manual_seed(2)  # as the study was filled
    expected = build(DEAR, TASK).state_dict()
    network = load_network(DEAR, TASK, path)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (3, r"trial 3 is failed \(diverged: .* step 3\): it has no weights"),
        (4, "trial 4 is running: it has no weights"),
        (5, "trial 5 is waiting: it has no weights"),
    ],
)
def test_a_trial_without_weights_says_why(small_store: Store, number: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        weights_path(small_store, trial(small_store, number))


def test_changed_and_missing_weights_are_refused(own_store: Store, tmp_path: Path) -> None:
    chosen = trial(own_store)
    path = weights_path(own_store, chosen)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for use in (
        lambda: weights_path(own_store, chosen),
        lambda: export_trial(
            own_store, own_store.study(NAME), chosen, TASK, tmp_path / "x.safetensors", "safetensors"
        ),
    ):
        with pytest.raises(ValueError, match=rf"weights {path} has changed since it was recorded \(SHA-256"):
            use()
    path.unlink()
    with pytest.raises(ValueError, match=rf"weights {path} is missing; does --runs name the folder"):
        weights_path(own_store, chosen)
    assert not (tmp_path / "x.safetensors").exists()
    assert own_store.artifacts(chosen.id, kind="safetensors") == ()


def test_the_latest_weights_count(own_store: Store, tmp_path: Path) -> None:
    chosen = trial(own_store)
    newer = tmp_path / "newer.safetensors"
    newer.write_bytes(b"newer")
    digest = hashlib.sha256(b"newer").hexdigest()
    own_store.add_artifact(chosen.id, Artifact("weights", str(newer), digest, 5))
    assert weights_path(own_store, chosen) == newer
    with pytest.raises(ValueError, match="changed"):
        verified(Artifact("weights", str(newer), "0" * 64, 5))


def test_an_export_leaves_a_file_a_card_and_a_record(own_store: Store, tmp_path: Path) -> None:
    chosen, path = trial(own_store), tmp_path / "out" / "best.safetensors"
    study = own_store.study(NAME)
    exported, card = export_trial(own_store, study, chosen, TASK, path, "safetensors")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (exported.sha256, exported.bytes) == (digest, path.stat().st_size)
    assert sorted(path.parent.iterdir()) == [path.with_name("best.json"), path, card]
    assert card.name == "best.safetensors.md"
    assert Architecture.from_json(path.with_name("best.json").read_text()) == DEAR
    assert digest in card.read_text()
    assert card.read_text().startswith("# best.safetensors\n")
    assert own_store.artifacts(chosen.id, kind="safetensors") == (
        Artifact("safetensors", str(path), digest, exported.bytes),
    )
    assert [a.kind for a in own_store.artifacts(chosen.id)] == ["weights", "safetensors"]
    tensors, network = load_file(path), load_network(DEAR, TASK, weights_path(own_store, chosen))
    assert all(torch.equal(tensors[name], tensor) for name, tensor in network.state_dict().items())


def test_exports_of_one_name_keep_their_cards(own_store: Store, tmp_path: Path) -> None:
    study, chosen = own_store.study(NAME), trial(own_store)
    forms: tuple[Format, ...] = ("safetensors", "pt2")
    cards = [
        export_trial(own_store, study, chosen, TASK, tmp_path / "out" / f"best.{form}", form)[1]
        for form in forms
    ]
    assert [card.name for card in cards] == ["best.safetensors.md", "best.pt2.md"]
    assert cards[0].read_text().startswith("# best.safetensors\n")


def test_an_export_over_its_own_card_is_refused(own_store: Store, tmp_path: Path) -> None:
    chosen = trial(own_store)
    with pytest.raises(ValueError, match=r"best\.md': expected a network's file"):
        export_trial(own_store, own_store.study(NAME), chosen, TASK, tmp_path / "out" / "best.md", "onnx")
    assert not (tmp_path / "out").exists()


def test_an_export_is_found_from_any_folder(
    own_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--output winner.onnx` is relative; the record must not be."""
    monkeypatch.chdir(tmp_path)
    chosen = trial(own_store)
    export_trial(own_store, own_store.study(NAME), chosen, TASK, Path("winner.safetensors"), "safetensors")
    monkeypatch.chdir(os.sep)
    (record,) = own_store.artifacts(chosen.id, kind="safetensors")
    assert verified(record) == tmp_path / "winner.safetensors"

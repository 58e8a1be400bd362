"""``evaluate``: quality, cost, runtime and memory of published and own networks."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from evaluators.tasks import get_task
from results.export.files import export
from search.cli import main
from search.networks.evaluation_tables import _same
from spaces.architecture import Block
from spaces.baselines import published
from spaces.build import build
from spaces.checkpoint import load_published
from spaces.task import super_resolution
from spaces.topologies.chain import Chain
from tests.evaluators.measure.test_onnx_network import foreign

NETWORK = Chain(width=8, blocks=(Block("ghost"),))
TASK = super_resolution(2)

Said = Callable[..., tuple[str, str]]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a command in an empty folder; what it says on standard output and standard error."""

    def call(*arguments: object, code: int = 0) -> tuple[str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["pixelfront", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        said = capsys.readouterr()
        assert exit_.value.code == code, said.err
        return said.out, said.err

    return call


def smooth(path: Path, seed: int, size: tuple[int, int] = (48, 40)) -> Path:
    """A picture that bicubic up-scaling does well on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(60, 200, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network that exports as it was trained: here, not at all."""
    torch.manual_seed(0)
    export(build(NETWORK, TASK).eval(), NETWORK, TASK, tmp_path / "m.safetensors", "safetensors")
    return tmp_path / "m.safetensors"


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    for i in range(2):
        smooth(tmp_path / f"mine/HR/{i}.png", i)
    return tmp_path / "mine/HR"


def test_an_exported_network_on_a_folder(said: Said, model: Path, photographs: Path, tmp_path: Path) -> None:
    text, _ = said(
        "evaluate", model, "--data", photographs, "--json", "--timed-runs", 1, "--input", "3x32x32",
        "--threads", 1, "--save", "out",
    )  # fmt: skip
    record = json.loads(text)
    assert (record["name"], record["task"], record["passes"]) == ("m", "sr-x2", 1)
    (network,) = record["networks"]
    assert network["digest"] == NETWORK.digest
    assert network["value_range"] == 1
    (data,) = record["data"]
    assert (data["name"], data["images"]) == ("mine/HR", 2)
    found = {m["name"]: m for m in data["measurements"]}
    assert found["psnr_y"]["unit"] == "dB"
    assert re.fullmatch(r"Y, 8-bit, border 2, on mine/HR \([0-9a-f]{12}\)", found["psnr_y"]["protocol"])
    each = [scores["psnr_y"] for scores in data["per_image"].values()]
    assert found["psnr_y"]["value"] == pytest.approx(np.mean(each))
    costs = {m["name"]: m for m in network["costs"]}
    assert costs["gmacs_challenge"]["value"] >= costs["gmacs_exact"]["value"] > 0
    assert costs["runtime"]["unit"] == "ms"
    assert costs["runtime"]["value"] > 0
    assert "of 1 runs after 2, float32, 1x3x32x32, 1 thread(s)" in costs["runtime"]["protocol"]
    assert costs["peak_memory"]["value"] > 4 * costs["parameters"]["value"]
    for i in range(2):
        assert Image.open(tmp_path / f"out/mine-HR/{i}.png").size == (48, 40)


def test_the_table_has_all_and_a_bad_network_is_warned_of(
    said: Said, model: Path, photographs: Path, tmp_path: Path
) -> None:
    tensors = {name: 30 * tensor for name, tensor in build(NETWORK, TASK).state_dict().items()}
    bad = tmp_path / "bad.safetensors"
    save_file(tensors, bad, {"architecture": NETWORK.to_json(), "task": "sr-x2"})
    text, warning = said(
        "evaluate", bad, "--data", photographs, "--per-image", "--timed-runs", 1, "--input", "3x32x32"
    )
    for part in ("psnr_y [dB]", "ssim_rgb", "bicubic", "0.png", "runtime", "peak_memory", "border 2"):
        assert part in text
    assert re.search(
        r"warning: mine/HR: worse than bicubic \(psnr_y [-\d.]+ against [\d.]+ dB\): is the value range right\? "
        r"bad works on 0\.\.1",
        warning,
    )


def test_ensembles_count_their_passes(said: Said, photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text(NETWORK.to_json())
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save({"params_ema": build(NETWORK, TASK).state_dict()}, tmp_path / f"{seed}.pth")
        weights += [f"net.json={seed}.pth"]
    common = ("evaluate", "--task", "sr-x2", "--data", photographs, "--json")
    values = {}
    for name, more in {
        "first": weights[:1],
        "both": weights,
        "x8": [*weights, "--ensemble", "x8"],
    }.items():
        record = json.loads(said(*common, "--timed-runs", 0, *more)[0])
        values[name] = record["data"][0]["measurements"][0]["value"]
        assert record["passes"] == {"first": 1, "both": 2, "x8": 16}[name]
        (network,) = record["networks"]
        assert len(network["weights"]) == 2 - (name == "first")
        assert "runtime" not in {m["name"] for m in network["costs"]}
    assert len(set(values.values())) == 3
    assert ", one of 16 passes" in network["costs"][1]["protocol"]


def test_different_networks_are_averaged(said: Said, model: Path, photographs: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = Chain(width=4, blocks=(Block("rfdb"),), value_range=255)
    export(build(other, TASK).eval(), other, TASK, tmp_path / "other.safetensors", "safetensors")
    both = (model, "other.safetensors")
    common = ("evaluate", "--data", photographs, "--timed-runs", 0, "--json", "--save")
    record = json.loads(said(*common, "both", *both)[0])
    assert (record["name"], record["passes"]) == ("m + other", 2)
    assert [network["digest"] for network in record["networks"]] == [NETWORK.digest, other.digest]
    assert [network["value_range"] for network in record["networks"]] == [1, 255]
    for name, file in (("m", model), ("other", "other.safetensors")):
        said(*common, name, file)
    pictures = [
        np.asarray(Image.open(tmp_path / folder / "mine-HR/0.png"), dtype=float)
        for folder in ("m", "other", "both")
    ]
    inside = np.logical_and.reduce([(p > 0) & (p < 255) for p in pictures])  # clamping comes after the mean
    assert inside.mean() > 0.1
    assert np.abs((pictures[0] + pictures[1]) / 2 - pictures[2])[inside].max() <= 1
    text, _ = said("evaluate", "--data", photographs, "--timed-runs", 0, *both)
    assert text.count("gmacs_exact") == 2
    assert "m + other: sr-x2, mean of 2 passes" in text


@pytest.mark.shared
def test_different_published_networks_are_averaged(said: Said, shared: Path, tmp_path: Path) -> None:
    """More of it is better: two networks of like quality give more than either."""
    files = {"rfdn": "RFDN_AIM.pth", "pan": "PANx4_DF2K.pth"}
    arguments = [f"{name}={shared / 'weights' / file}" for name, file in files.items()]
    text, error = said("evaluate", *arguments, "--timed-runs", 0, "--data", shared / "data/set5", "--json")
    record = json.loads(text)
    found = {m["name"]: m["value"] for m in record["data"][0]["measurements"]}
    assert found["psnr_y"] > max(published(name).measured["psnr_y of Set5"] for name in files)
    assert any(note.startswith("pan: ") for note in record["notes"])
    assert "warning" not in error


def test_several_sets_keep_their_names_apart(said: Said, model: Path, tmp_path: Path) -> None:
    arguments = []
    for name in ("a", "b"):
        smooth(tmp_path / name / "images/0.png", 5)
        arguments += ["--data", tmp_path / name / "images"]
    record = json.loads(said("evaluate", model, "--timed-runs", 0, "--json", *arguments)[0])
    assert [data["name"] for data in record["data"]] == ["a/images", "b/images"]


def test_a_data_set_with_its_inputs_inside_is_understood(said: Said, model: Path, tmp_path: Path) -> None:
    smooth(tmp_path / "Set9/HR/0.png", 0, (48, 40))
    smooth(tmp_path / "Set9/LR_bicubic/X2/0x2.png", 7, (24, 20))
    (data,) = json.loads(said("evaluate", model, "--timed-runs", 0, "--json", "--data", "Set9")[0])["data"]
    assert (data["name"], data["images"]) == ("Set9", 1)
    # The inputs are of another picture: they are read, not made.
    assert {m["name"]: m["value"] for m in data["baseline"]["measurements"]}["psnr_y"] < 25


def test_of_a_split_data_set_the_test_pictures_are_scored(said: Said, tmp_path: Path) -> None:
    """GoPro keeps a folder for each sequence."""
    for split, sequences in {"train": 3, "test": 2}.items():
        for i in range(sequences):
            for kind in ("sharp", "blur"):
                smooth(tmp_path / f"GoPro/{split}/GOPR{i}/{kind}/0.png", i)
    torch.manual_seed(0)
    task = get_task("deblur").interface
    export(build(NETWORK, task).eval(), NETWORK, task, tmp_path / "d.safetensors", "safetensors")
    text, _ = said("evaluate", "d.safetensors", "--timed-runs", 0, "--json", "--data", "GoPro")
    (data,) = json.loads(text)["data"]
    assert (data["name"], data["images"]) == ("GoPro", 2)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("set5", "Set5"),
        ("set14/HR", "Set14"),
        ("bsds500/val", "B100"),
        ("BSD100", "B100"),
        ("mine/B100/HR", "B100"),
    ],
)
def test_a_published_set_is_known_by_its_folders(data: str, name: str) -> None:
    assert [known for known in ("Set5", "Set14", "B100") if _same(known, data)] == [name]
    assert not _same(name, "mine/val")


def test_a_published_network_without_weights_gives_costs_only(said: Said) -> None:
    text, _ = said("evaluate", "rfdn", "--timed-runs", 0)
    assert "Costs only: quality needs trained weights, rfdn=FILE" in text
    assert "RFDN_AIM.pth" in text
    assert re.search(r"gmacs_challenge\W+27\.10\d+\W+27\.1 ", text)
    assert "psnr" not in text
    record = json.loads(said("evaluate", "rfdn", "--timed-runs", 0, "--json")[0])
    assert record["data"] == []


def test_the_embedded_photographs_are_the_default(said: Said, model: Path) -> None:
    record = json.loads(said("evaluate", model, "--timed-runs", 0, "--json")[0])
    assert record["data"][0]["images"] > 1


@pytest.mark.shared
def test_rfdns_checkpoint_gives_what_was_measured_and_published(said: Said, shared: Path) -> None:
    set5 = shared / "data/set5"
    text, error = said(
        "evaluate", f"rfdn={shared / 'weights/RFDN_AIM.pth'}", "--timed-runs", 0,
        "--data", set5, "--json",
    )  # fmt: skip
    found = {m["name"]: m["value"] for m in json.loads(text)["data"][0]["measurements"]}
    measured = published("rfdn").measured
    assert found["psnr_y"] == pytest.approx(measured["psnr_y of Set5"], abs=0.005)
    assert found["psnr_rgb"] == pytest.approx(measured["psnr_rgb of Set5"], abs=0.005)
    assert "warning" not in error


@pytest.mark.shared
def test_what_was_published_and_measured_stands_beside(said: Said, shared: Path) -> None:
    weights, set5 = shared / "weights/IMDN_x4.pth", shared / "data/set5"
    text, _ = said("evaluate", f"imdn={weights}", "--timed-runs", 0, "--data", set5)
    assert re.search(r"published\W+32\.2100", text)
    assert re.search(r"original code\W+30\.3005\W+32\.2096", text)


@pytest.mark.shared
def test_a_wrong_value_range_is_warned_of(said: Said, shared: Path, tmp_path: Path) -> None:
    rfdn = json.loads(published("rfdn").architecture.to_json())
    (tmp_path / "net.json").write_text(json.dumps(rfdn | {"value_range": 1}))
    network = load_published("rfdn", shared / "weights/RFDN_AIM.pth")
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    _, error = said(
        "evaluate", "net.json=w.safetensors", "--timed-runs", 0,
        "--data", shared / "data/set5/HR",
    )  # fmt: skip
    assert "worse than bicubic" in error
    assert "net works on 0..1" in error


BAD = {
    "unknown network": (("rfdm",), "got 'rfdm': did you mean 'rfdn'?"),
    "weights of an unknown network": (("rfdm=x.pth",), "did you mean 'rfdn'?"),
    "weights alone": (("RFDN_AIM.pth",), "weights alone don't say of what; rfdn=RFDN_AIM.pth?"),
    "no model": (("no.safetensors",), "no.safetensors: can't be read"),
    "no onnx": (("no.onnx",), "no.onnx: no such file"),
    "junk onnx": (("junk.onnx",), "junk.onnx: can't be opened as ONNX"),
    "no architecture": (("no.json",), "no.json: no such file"),
    "broken architecture": (("junk.json",), "architecture junk.json"),
    "no weights": (("rfdn=no.pth",), "checkpoint no.pth: no such file"),
    "junk weights": (("rfdn=junk.json",), "can't be read"),
    "foreign model": (("plain.safetensors",), "that 'pixelfront export' wrote"),
    "other weights": (
        ("net.json=plain.safetensors", "--task", "sr-x2"),
        "checkpoint plain.safetensors: the weights don't fit",
    ),
    "model's task": (("m.safetensors", "--task", "sr-x3"), "m.safetensors is for sr-x2"),
    "baseline's task": (("rfdn", "--task", "sr-x2"), "was published for sr-x4"),
    "unknown task": (("rfdn", "--task", "sr-x5"), "did you mean 'sr-x"),
    "no folder": (("m.safetensors", "--data", "nowhere"), "nowhere: no such folder"),
    "no images": (("m.safetensors", "--data", "empty"), "no image"),
    "inputs alone": (("m.safetensors", "--data-lr", "empty"), "--data-lr needs --data"),
    "too few inputs": (
        ("m.safetensors", "--data", "a", "--data", "b", "--data-lr", "c"),
        "one --data-lr for each --data, in the same order, got 1 for 2",
    ),
    "models of two tasks": (
        ("m.safetensors", "x4.safetensors"),
        "x4.safetensors: it is for sr-x4, the first one for sr-x2; an ensemble is of one task",
    ),
    "compared models of two tasks": (
        ("m.safetensors", "pan", "--compare"),
        "--compare: pan is for sr-x4, m for sr-x2; compare networks of one task",
    ),
    "baselines of two tasks": (("pan", "pan-x2"), "pan-x2: it is for sr-x2, the first one for sr-x4"),
    "some weights": (
        ("m.safetensors", "net.json", "--task", "sr-x2"),
        "net: an ensemble needs weights for each",
    ),
    "no store": (("s:3",), "runs/pixelfront.db"),
    "bad size": (("rfdn", "--input", "256"), "CxHxW"),
    "bad device": (("rfdn", "--device", "tpu"), "auto, cpu or cuda, got 'tpu'"),
    "unknown challenge": (("rfdn", "--challenge", "ntire2042"), "did you mean 'ntire202"),
    "challenge of another task": (
        ("m.safetensors", "--challenge", "ntire2024", "--timed-runs", "0"),
        "expected networks for sr-x4, m is for sr-x2",
    ),
    "baseline without a challenge": (("rfdn", "--against", "pan"), "give --challenge too"),
    "challenge of an ensemble": (
        ("rfdn", "pan", "--challenge", "ntire2024", "--timed-runs", "0"),
        "leave ensembles out",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_exit_code_2(said: Said, model: Path, tmp_path: Path, case: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk.json").write_text("junk")
    (tmp_path / "junk.onnx").write_text("junk")
    (tmp_path / "net.json").write_text(NETWORK.to_json())
    save_file({"x": torch.zeros(1)}, tmp_path / "plain.safetensors")
    for_x4 = build(NETWORK, super_resolution(4)).state_dict()
    save_file(for_x4, tmp_path / "x4.safetensors", {"architecture": NETWORK.to_json(), "task": "sr-x4"})
    arguments, message = BAD[case]
    _, error = said("evaluate", *arguments, code=2)
    assert message in error
    assert error.startswith("pixelfront: ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA")
def test_cuda_where_there_is_none(said: Said) -> None:
    assert "no CUDA device" in said("evaluate", "rfdn", "--device", "cuda", code=2)[1]


def test_an_output_of_nan_names_the_image(said: Said, photographs: Path, tmp_path: Path) -> None:
    tensors = {
        name: torch.full_like(tensor, float("nan"))
        for name, tensor in build(NETWORK, TASK).state_dict().items()
    }
    save_file(tensors, tmp_path / "nan.safetensors", {"architecture": NETWORK.to_json(), "task": "sr-x2"})
    _, error = said("evaluate", "nan.safetensors", "--data", photographs, code=2)
    assert "0.png of mine/HR: the network's output is NaN" in error


def test_a_perfect_network_is_infinite_in_json(said: Said, model: Path, tmp_path: Path) -> None:
    """White stays white under bicubic up-scaling."""
    (tmp_path / "white").mkdir()
    Image.new("RGB", (40, 40), "white").save(tmp_path / "white/0.png")
    record = json.loads(said("evaluate", model, "--data", "white", "--timed-runs", 0, "--json")[0])
    trivial = {m["name"]: m["value"] for m in record["data"][0]["baseline"]["measurements"]}
    assert trivial["psnr_y"] == "inf"


def exported_onnx(path: Path, network: Chain = NETWORK, scale: int = 2) -> Path:
    torch.manual_seed(0)
    task = super_resolution(scale)
    export(build(network, task).eval(), network, task, path, "onnx")
    return path


def test_an_onnx_file_measures_as_the_network_that_it_was_exported_from(
    said: Said, model: Path, tmp_path: Path
) -> None:
    exported_onnx(tmp_path / "m.onnx")
    smooth(tmp_path / "large/0.png", 0, (96, 80))  # smaller ones are padded to what the file takes
    common = ("--data", "large", "--json", "--timed-runs", 1, "--input", "3x32x32", "--threads", 1)
    mine, its = (json.loads(said("evaluate", m, *common)[0]) for m in (tmp_path / "m.onnx", model))
    assert (mine["name"], mine["task"]) == ("m.onnx", "sr-x2")
    values = [
        {m["name"]: m["value"] for m in record["data"][0]["measurements"] if m["name"] != "runtime"}
        for record in (mine, its)
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-3)
    costs = [
        {m["name"]: m for m in r["networks"][0]["costs"] if m["name"] not in ("runtime", "peak_memory")}
        for r in (mine, its)
    ]
    assert costs[0] == costs[1]
    taken = {m["name"]: m for m in mine["networks"][0]["costs"]}
    assert "of 1 runs after 2, onnxruntime, 1x3x32x32, 1 thread(s)" in taken["runtime"]["protocol"]
    assert taken["peak_memory"]["value"] > 1e5
    low, high = mine["networks"][0]["runtime_quartiles_ms"]
    assert 0 < low <= taken["runtime"]["value"] <= high


def test_runtime_is_given_per_picture_and_as_their_mean(said: Said, model: Path, photographs: Path) -> None:
    common = ("evaluate", model, "--data", photographs, "--input", "3x32x32", "--timed-runs", 1)
    (data,) = json.loads(said(*common, "--json")[0])["data"]
    each = [scores["runtime"] for scores in data["per_image"].values()]
    (found,) = (m for m in data["measurements"] if m["name"] == "runtime")
    assert len(each) == 2
    assert min(each) > 0
    assert found["value"] == pytest.approx(np.mean(each))
    assert found["protocol"].startswith("mean over the images of one run each after 2, float32, ")
    assert "runtime [ms]" in said(*common, "--per-image")[0]


def test_compared_networks_stand_in_one_table(
    said: Said, model: Path, photographs: Path, tmp_path: Path
) -> None:
    exported_onnx(tmp_path / "m.onnx")
    common = ("evaluate", model, "m.onnx", "--compare", "--data", photographs, "--input", "3x32x32")
    text, _ = said(*common, "--timed-runs", 1)
    assert "sr-x2: 2 networks" in text
    assert re.search(r"m \W+\d+\.\d{4}", text)
    assert re.search(r"m\.onnx \W+\d+\.\d{4}", text)
    assert "in turns with 1 other(s)" in text
    records = json.loads(said(*common, "--timed-runs", 0, "--json", "--save", "out")[0])
    assert [record["name"] for record in records] == ["m", "m.onnx"]
    assert [record["passes"] for record in records] == [1, 1]
    assert (tmp_path / "out/m.onnx/mine-HR/0.png").is_file()


def test_networks_compared_at_different_sizes_say_so(said: Said, model: Path, tmp_path: Path) -> None:
    foreign(tmp_path / "fixed.onnx", size=(64, 48))
    smooth(tmp_path / "mine/0.png", 0)
    text, _ = said("evaluate", model, "fixed.onnx", "--compare", "--data", "mine", "--timed-runs", 0)
    assert "m (256x256)" in text
    assert "fixed.onnx (64x48)" in text
    assert "fixed.onnx: takes only 64x48; smaller images are padded to it" in text


def test_a_network_against_itself_scores_what_the_challenges_say(
    said: Said, photographs: Path, tmp_path: Path
) -> None:
    file = exported_onnx(tmp_path / "m.onnx", scale=4)
    common = ("--challenge", "ntire2026", "--against", "m.onnx", "--data", photographs, "--timed-runs", 0)
    record = json.loads(said("evaluate", file, *common, "--json")[0])["challenge"]
    assert record["score"]["gmacs"] == record["score"]["parameters"] == pytest.approx(7.3891, abs=1e-4)
    assert record["weights"] == {"runtime": 0.8, "gmacs": 0.1, "parameters": 0.1}
    parts = sum(record["score"][name] * weight for name, weight in record["weights"].items())
    assert record["score"]["final"] == pytest.approx(parts)
    assert "the 2 inputs of mine/HR of the median of 5 rounds, in turns" in record["runtime_protocol"]
    assert all("not checked" in condition for condition in record["conditions"])
    text, _ = said("evaluate", file, *common)
    assert "ntire2026's score against m.onnx" in text


@pytest.mark.parametrize(("challenge", "gmacs"), [("ntire2025", 16.703470848), ("ntire2026", 9.833807872)])
def test_a_challenge_knows_its_baseline_and_counts_as_the_organisers_do(
    said: Said, tmp_path: Path, challenge: str, gmacs: float
) -> None:
    file = exported_onnx(tmp_path / "m.onnx", scale=4)
    record = json.loads(said("evaluate", file, "--challenge", challenge, "--timed-runs", 0, "--json")[0])
    ranked = record["challenge"]
    assert ranked["baseline"]["gmacs"] == pytest.approx(gmacs, abs=1e-9)


def test_the_challenges_set_is_checked_where_it_is_at_hand(said: Said, tmp_path: Path) -> None:
    smooth(tmp_path / "DIV2K_LSDIR_valid_HR/0.png", 0)
    exported_onnx(tmp_path / "m.onnx", scale=4)
    record = json.loads(
        said(
            "evaluate", "m.onnx", "--challenge", "ntire2025", "--against", "m.onnx", "--json", "--timed-runs", 0,
            "--data", "DIV2K_LSDIR_valid_HR",
        )[0]
    )["challenge"]  # fmt: skip
    valid, test = record["conditions"]
    assert re.search(
        r"at least 26\.90 dB .* on DIV2K_LSDIR_valid to be ranked: (reached|missed) with \d", valid
    )
    assert "DIV2K_LSDIR_test to be ranked: not checked" in test


@pytest.mark.shared
def test_rfdn_as_an_onnx_file_has_its_published_quality(said: Said, shared: Path, tmp_path: Path) -> None:
    known = published("rfdn")
    network = load_published("rfdn", shared / "weights/RFDN_AIM.pth").eval()
    export(network, known.architecture, known.task, tmp_path / "rfdn.onnx", "onnx")
    text, _ = said("evaluate", "rfdn.onnx", "--timed-runs", 0, "--data", shared / "data/set5", "--json")
    found = {m["name"]: m["value"] for m in json.loads(text)["data"][0]["measurements"]}
    assert found["psnr_y"] == pytest.approx(known.measured["psnr_y of Set5"], abs=1e-3)
    assert found["psnr_rgb"] == pytest.approx(known.measured["psnr_rgb of Set5"], abs=1e-3)

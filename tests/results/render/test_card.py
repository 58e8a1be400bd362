"""The model card says everything that its network's numbers need."""

from dataclasses import replace
from pathlib import Path

from results.export.files import Exported
from results.render.card import Int8, model_card
from results.store.store import Store
from search.study.context import Setup
from spaces.build import cost
from spaces.measurement import Measurement
from tests.results.studies import DEAR, NAME, TASK, complete, new_study, scores, setup

FILE = Exported(
    path=Path("/somewhere/best.onnx"),
    format="onnx",
    sha256="0123abcd" * 8,
    bytes=123_456,
    sizes=((24, 24), (37, 53)),
    max_error=2.5e-7,
    minimum_size=24,
    multiple_of=1,
)


def card(store: Store, file: Exported = FILE) -> str:
    study = store.study(NAME)
    trial = store.trial(study.id, 2)
    return model_card(study, trial, file, trial.measurements)


def table(text: str) -> dict[tuple[str, str], tuple[str, str]]:
    """(measurement, protocol) to (value, unit)."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {(name, protocol): (value, unit) for name, value, unit, protocol in lines[1:]}


def test_every_number_stands_with_its_unit_and_protocol(small_store: Store, small_setup: Setup) -> None:
    shown, exact = table(card(small_store)), cost(DEAR, TASK)
    assert shown["macs", "exact, 3x256x256"] == (f"{exact.macs:,}", "1")
    assert shown["macs", "bias, 3x256x256"] == (f"{exact.operations('bias'):,}", "1")
    assert shown["parameters", "stored"] == (f"{exact.parameters:,}", "1")
    for test in (False, True):
        for m in scores(small_setup, 1.375 if test else 1.5, test=test):
            assert shown[m.name, m.protocol] == (f"{m.value:.4f}", m.unit)
    for m in small_setup.baseline:
        assert shown[f"{m.name} of bicubic", m.protocol] == (f"{m.value:.4f}", m.unit)
    assert len(shown) == 7 + 8 + 8  # MACs in four conventions, parameters, activations, convolutions


def test_the_file_can_be_told_and_used(small_store: Store) -> None:
    text = card(small_store)
    assert text.startswith("# best.onnx\n")
    assert f"- file: SHA-256 `{FILE.sha256}`, 123,456 bytes" in text
    assert "Checked: onnx against PyTorch at 24x24, 37x53; largest difference 2.5e-07." in text
    assert "H and W at least 24: pad" in text
    assert "at least 24 and multiples of 4: pad" in card(small_store, replace(FILE, multiple_of=4))


def test_the_search_can_be_repeated_from_it(small_store: Store, small_setup: Setup) -> None:
    text = card(small_store)
    study = small_store.study(NAME)
    assert f"{DEAR.label}, for sr-x2. Trial 2 of study `phone`." in text
    assert f"- architecture `{DEAR.digest}`: `{DEAR.to_json()}`" in text
    space = f"space sr-card (changed) ({study.space_digest})"
    assert f"tpe, seed 0, {space}, budget at most 2 GMACs (exact, 3x256x256)" in text
    assert "20 steps of 16 patches of 16x16 input pixels" in text
    assert "learning rate 0.002" in text
    assert "weights 0.999, float32" in text
    sets = {
        "train": small_setup.data.train,
        "validation": small_setup.data.validation,
        "test": small_setup.test,
    }
    for split, data in sets.items():
        assert data is not None
        assert f"- {split}: {data.name}, {len(data)} image(s), digest {data.digest}" in text
    for name in ("torch", "optuna", "ray"):
        assert f"{name} {study.environment['packages'][name]}" in text


def test_a_band_and_a_single_set_are_said_as_they_were(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        made = setup(tmp_path / "images", gmacs="0.5:2.5", convention="bias")
        study = new_study(store, made)
        trial = complete(store, study, DEAR, scores(made, 1.0), tmp_path)
        whole = Measurement("latency", 12.0, "ms", "min", "on a phone")
        text = model_card(study, trial, FILE, [whole])
    assert "budget 0.5 to 2.5 GMACs (bias, 3x256x256)" in text
    assert table(text)["latency", "on a phone"] == ("12", "ms")


def test_an_int8_file_stands_beside_the_floating_point_one(small_store: Store) -> None:
    study = small_store.study(NAME)
    trial = small_store.trial(study.id, 2)
    said = "Y, 8-bit, border 2, on some (0123)"
    psnr = Measurement("psnr_y", 30.5, "dB", "max", said), Measurement("psnr_y", 30.25, "dB", "max", said)
    size = (
        Measurement("file", 2000.0, "bytes", "min", "ONNX"),
        Measurement("file", 900.0, "bytes", "min", "ONNX"),
    )
    int8 = Int8(5, ("head", "blocks.0.c1"), "3 patches", (psnr, size))
    text = model_card(study, trial, FILE, trial.measurements, int8)
    assert "3 of 5 convolutions compute in 8 bits" in text
    assert "the most sensitive first: `head`, `blocks.0.c1`." in text
    assert "Calibration: 3 patches." in text
    assert f"| psnr_y | 30.5000 | 30.2500 | dB | {said} |" in text
    assert "| file | 2,000 | 900 | bytes | ONNX |" in text
    assert "## Cost and quality in floating point" in text
    whole = model_card(study, trial, FILE, trial.measurements, replace(int8, float_layers=()))
    assert "5 of 5 convolutions compute in 8 bits" in whole
    assert "most sensitive" not in whole
    assert "INT8" not in card(small_store)

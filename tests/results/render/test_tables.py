"""Tables as they are printed."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from results.analysis.overview import overview, rows
from results.render.tables import front_csv, front_table, studies_table, trial_view
from results.store.store import Store
from search.study.context import Setup
from spaces.architecture import Block
from spaces.topologies.chain import Chain
from tests.results.studies import CHEAP, DEAR, NAME, add, complete, fill_stages, new_study, scores, setup


def printed(table: RenderableType, width: int = 160) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(table)
    return text.getvalue()


def cells(text: str) -> list[list[str]]:
    """The table's lines, heading first, split at its rules."""
    lines = [line for line in text.splitlines() if line.startswith(("│", "┃"))]
    return [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in lines]


def test_the_front_is_printed_with_units_and_protocols(small_store: Store, small_setup: Setup) -> None:
    text = printed(front_table(overview(small_store, NAME)))
    assert "phone: sr-x2, tpe, seed 0, 3 of 6 trials complete, 1 failed" in text
    heading, cheap, dear = cells(text)
    assert heading == [
        "trial",
        "architecture",
        "GMACs",
        "params",
        "acts [M]",
        "psnr_y [dB]",
        "over bicubic [dB]",
        "test psnr_y [dB]",
    ]
    name, protocol = small_setup.objective
    bicubic, tested = (m.value for m in small_setup.baseline if m.name == name)
    assert cheap[:2] == ["0", CHEAP.label]
    quality = [f"{bicubic + 1.5:.3f}", "+1.500", f"{tested + 1.375:.3f}"]
    assert dear == ["2", DEAR.label, "1.844", "29,564", "21.9", *quality]
    assert "best for at most 2 GMACs: trial 2" in text
    assert f"psnr_y: {protocol}; bicubic {bicubic:.3f}" in text
    assert "GMACs: exact, 3x256x256" in text
    assert small_setup.test is not None
    test = f"Y, 8-bit, border 2, on HR ({small_setup.test.targets.digest})"
    assert f"test psnr_y: {test}; bicubic {tested:.3f}; never used to choose" in text
    assert re.search(
        rf"hypervolume 1\.0616 GMACs x dB from \(2 GMACs, {bicubic:.3f} dB\): the budget of 2 GMACs; bicubic",
        text,
    )


def test_without_test_images_there_is_no_test_column(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        made = setup(tmp_path / "images", **{"data.test": None})
        assert made.test is None
        study = new_study(store, made)
        complete(store, study, CHEAP, scores(made, 1.0), tmp_path)
        text = printed(front_table(overview(store, NAME)))
    assert cells(text)[0][-1] == "over bicubic [dB]"
    assert "test" not in text
    assert "failed" not in text


def test_an_empty_study_says_so(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        study = new_study(store, setup(tmp_path / "images"))
        add(store, study, CHEAP)
        found = overview(store, NAME)
        text = printed(front_table(found))
        assert "phone: sr-x2, tpe, seed 0, 0 of 1 trials complete" in text
        assert "no complete trial yet, so there is no front" in text
        assert front_csv(found) == ""


def test_csv_parses_back(small_store: Store) -> None:
    found = overview(small_store, NAME)
    records = list(csv.DictReader(io.StringIO(front_csv(found), newline="")))
    expected = rows(found)
    assert len(records) == 2
    for record, row in zip(records, expected, strict=True):
        assert record == {key: "" if value is None else str(value) for key, value in row.items()}
        assert float(record["psnr_y"]) == row["psnr_y"]


def test_studies_are_listed_with_what_came_of_them(
    own_store: Store, small_setup: Setup, tmp_path: Path
) -> None:
    made = setup(tmp_path / "more", gmacs="0.5:1.5", strategy="random")
    own_store.set_study_state(new_study(own_store, made, "empty [new]").id, "paused")
    heading, one, two = cells(printed(studies_table(own_store.studies())))
    bicubic = next(m.value for m in small_setup.baseline if m.key == small_setup.objective)
    assert heading == ["study", "task", "strategy", "goal", "state", "trials", "failed", "best", "made"]
    best = f"{bicubic + 1.5:.3f} dB"  # on the validation images, of complete trials
    assert one[:8] == [NAME, "sr-x2", "tpe", "at most 2 GMACs", "running", "3/6", "1", best]
    assert two[:8] == ["empty [new]", "sr-x2", "random", "0.5 to 1.5 GMACs", "paused", "0/0", "0", ""]
    assert one[8] == f"{own_store.study(NAME).created_at:%Y-%m-%d %H:%M}"


def view(store: Store, number: int) -> str:
    study = store.study(NAME)
    trial = store.trial(study.id, number)
    rungs, artifacts = store.rungs(study.id, trial_id=trial.id), store.artifacts(trial.id)
    lineage, children = store.lineage(trial.id), store.children(trial.id)
    return printed(trial_view(study, lineage, rungs, artifacts, children), width=250)


def test_a_trial_is_shown_with_everything_on_record(small_store: Store, small_setup: Setup) -> None:
    text = view(small_store, 2)
    study = small_store.study(NAME)
    trial = small_store.trial(study.id, 2)
    assert f"trial 2  {DEAR.label}  [{DEAR.digest}]" in text
    assert "search, complete" in text
    assert "attempts 1, trained 3.2 s" in text
    assert DEAR.to_json() in text
    lines = cells(text)
    assert lines[0] == ["measurement", "value", "unit", "protocol"]
    shown = [(name, unit, protocol) for name, _, unit, protocol in lines[1 : 1 + len(trial.measurements)]]
    assert shown == [(m.name, m.unit, m.protocol) for m in trial.measurements]
    assert lines[1][1] == "1,844,251,264"
    first, second = scores(small_setup, 1.5)[:2]
    rung = f"psnr_rgb {first.value:.3f}, psnr_y {second.value:.3f}"
    assert lines[-2:] == [["step", "loss", "seconds", "scores"], ["20", "0.06250", "1.5", rung]]
    (weights,) = small_store.artifacts(trial.id)
    assert f"weights: {weights.path} ({weights.bytes:,} bytes, SHA-256 {weights.sha256})" in text


@pytest.mark.parametrize(
    ("number", "what"), [(3, "search, failed: diverged: the loss became nan"), (5, "search, waiting")]
)
def test_a_trial_without_results_is_shown_too(small_store: Store, number: int, what: str) -> None:
    text = view(small_store, number)
    assert what in text
    assert "trained" not in text
    assert "psnr" not in text
    assert "weights" not in text


def test_several_stages_are_told_apart_with_their_lineage(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        bicubic = next(m for m in fill_stages(store, tmp_path).baseline if m.name == "psnr_y")
        front = printed(front_table(overview(store, NAME)))
        pruned, distilled = view(store, 3), view(store, 5)
    heading, *lines = cells(front)
    assert heading[:4] == ["trial", "stage", "parent", "architecture"]
    assert [line[:3] for line in lines] == [
        ["7", "distil", "6"],
        ["5", "distil", "3"],
        ["0", "published", ""],
    ]
    assert "best for at most 2 GMACs: trial 5" in front
    assert "parent 3\n" in distilled.replace(" \n", "\n")
    assert 'recipe {"stage": [{"steps": 2000, "loss": "l2"' in distilled
    assert 'teacher [{"study": "phone", "trial": 0}]' in distilled
    assert cells(distilled)[:4] == [
        ["trial", "stage", "state", "GMACs", "psnr_y [dB]"],
        ["0", "published", "complete", "4.043", f"{bicubic.value + 2.5:.3f}"],
        ["3", "prune", "complete", "1.844", f"{bicubic.value - 6:.3f}"],
        ["5", "distil", "complete", "1.844", f"{bicubic.value + 2:.3f}"],
    ]
    assert f"psnr_y: {bicubic.protocol}" in distilled
    assert "children 4 (finetune), 5 (distil)" in pruned
    assert "criterion l1" in pruned


def test_a_floor_that_none_reaches_is_said(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        fill_stages(store, tmp_path, goal={"quality": 99.0, "label": "rfdn"})
        text = printed(front_table(overview(store, NAME)), width=250)
        (study,) = cells(printed(studies_table(store.studies())))[1:]
    assert "best: none; study 'phone' looks for psnr_y of at least 99 dB (rfdn); the best reached is " in text
    assert study[3] == "psnr_y of at least 99 dB (rfdn)"


def test_a_long_architecture_is_cut(small_store: Store) -> None:
    study = small_store.study(NAME)
    trial = replace(
        small_store.trial(study.id, 0), architecture=Chain(8, (Block("residual"),) * 200).to_json()
    )
    text = printed(trial_view(study, [trial], (), ()), width=2000)
    assert f"... ({len(trial.architecture):,} characters; an export writes it whole)" in text
    assert trial.architecture[:1000] in text
    assert trial.architecture[:1001] not in text

"""The preliminary front: networks at one rung, never mixed with those that were trained to the end."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from results.analysis.overview import NoResultError, as_json, overview, state_text
from results.analysis.preliminary import (
    Preliminary,
    finish_command,
    finishing_seconds,
    preliminary,
    remainders_of,
    why_no_front,
    workers_of,
)
from results.render.figures import save_preliminary_figure
from results.render.report import render
from results.render.tables import front_csv, front_table, studies_table, trial_view
from results.store.schema import Trial
from results.store.store import Store
from search.study.context import Setup
from spaces.architecture import Block
from spaces.topologies.chain import Chain
from tests.results.studies import CHEAP, DEAR, NAME, add, complete, new_study, scores, setup

WIDTHS = (8, 12, 16, 20)  # of trials 0 to 3, by rising cost
STEPS = 20


@pytest.fixture
def made(tmp_path: Path) -> Setup:
    return setup(tmp_path / "images")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "results.db") as opened:
        yield opened


def rest(store: Store, made: Setup, number: int, gains: dict[int, float], *, seconds: float = 1.0) -> Trial:
    """A trial that rests at the last of these steps, with bicubic's scores and a gain at each."""
    study = store.study(NAME)
    trial = add(store, study, Chain(width=WIDTHS[number], blocks=(Block("residual"),)))
    store.start_trial(trial.id)
    for step, gain in gains.items():
        store.add_rung(trial.id, step, 0.125, seconds * step, scores(made, gain)[:2])
    store.pause_trial(trial.id)
    return store.trial(study.id, trial.number)


def found_of(store: Store) -> Preliminary:
    early = preliminary(store, overview(store, NAME))
    assert early is not None
    return early


def printed(renderable: object) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_it_is_over_the_highest_rung_that_as_many_as_there_are_objectives_have(
    store: Store, made: Setup
) -> None:
    """Trial 2 alone went on: it is compared by what it had at step 5, not by its later score."""
    new_study(store, made)
    rest(store, made, 0, {5: 0.5})
    rest(store, made, 1, {5: 0.25})
    rest(store, made, 2, {5: 1.0, 10: 3.0})
    early = found_of(store)
    assert (early.step, early.steps) == (5, STEPS)
    assert [t.number for t in early.members] == [0, 2]
    assert early.best.number == 2
    gains = [record["psnr_y_gain"] for record in early.rows]
    assert gains == [pytest.approx(0.5), pytest.approx(1.0)]
    assert [(r["step"], r["steps"], r["complete"]) for r in early.rows] == [(5, STEPS, False)] * 2
    rest(store, made, 3, {5: 0.0, 10: 4.0})
    assert found_of(store).step == 10
    assert [t.number for t in found_of(store).members] == [2, 3]


def test_one_network_alone_is_a_preliminary_front(store: Store, made: Setup) -> None:
    new_study(store, made)
    assert preliminary(store, overview(store, NAME)) is None
    add(store, store.study(NAME), DEAR)
    assert preliminary(store, overview(store, NAME)) is None  # it hasn't been scored
    rest(store, made, 0, {5: -2.0, 10: -1.0})
    early = found_of(store)
    assert (early.step, [t.number for t in early.members]) == (10, [1])
    assert "none of them beats bicubic yet" in printed(front_table(overview(store, NAME), early))


def test_complete_networks_are_a_front_of_their_own_and_beat_others_at_the_rung(
    store: Store, made: Setup, tmp_path: Path
) -> None:
    """The complete one had 0.5 dB at step 10; what was worse and dearer there isn't worth finishing."""
    study = new_study(store, made)
    trial = add(store, study, CHEAP)
    store.start_trial(trial.id)
    store.add_rung(trial.id, 10, 0.125, 1.0, scores(made, 0.5)[:2])
    store.finish_trial(trial.id, scores(made, 2.0), seconds=2.0)
    rest(store, made, 1, {10: 0.25})
    rest(store, made, 2, {10: 1.0})
    found, early = overview(store, NAME), found_of(store)
    assert [t.number for t in found.members] == [0]
    assert [t.number for t in early.members] == [2]
    assert [r["complete"] for r in json.loads(as_json(found, early.record))["front"]] == [True]
    text = printed(front_table(found, early))
    assert text.index("best for") < text.index("preliminary front at step 10 of 20")
    assert "preliminary" not in printed(front_table(found))


def test_what_does_not_beat_the_trivial_method_yet_may_still(store: Store, made: Setup) -> None:
    new_study(store, made)
    rest(store, made, 0, {5: -2.0})
    rest(store, made, 1, {5: -1.0})
    rest(store, made, 2, {5: 0.5})
    assert [t.number for t in found_of(store).members] == [0, 1, 2]
    assert [each.trial.number for each in found_of(store).remainders] == [2, 1, 0]


def test_limits_on_costs_hold_and_those_on_quality_are_for_the_end(store: Store, made: Setup) -> None:
    limited = setup(Path(store.place).parent / "more", limits=("psnr>=60", "parameters<=5k"))
    new_study(store, limited)
    rest(store, made, 0, {5: 0.5})
    rest(store, made, 3, {5: 1.0})
    costs = {
        t.number: m.value
        for t in overview(store, NAME).trials
        for m in t.measurements
        if m.name == "parameters"
    }
    assert costs[0] < 5000 < costs[1]
    assert [t.number for t in found_of(store).members] == [0]


def test_tables_csv_and_json_say_that_it_is_preliminary(store: Store, made: Setup, tmp_path: Path) -> None:
    new_study(store, made)
    rest(store, made, 0, {5: 0.5})
    rest(store, made, 1, {5: 1.0})
    found, early = overview(store, NAME), found_of(store)
    text = printed(front_table(found, early))
    assert "no complete trial yet, so there is no front" in text
    assert "pixelfront finish phone --time" in text
    assert "preliminary front at step 5 of 20" in text
    records = list(csv.DictReader(io.StringIO(front_csv(found, early), newline="")))
    assert [(r["trial"], r["step"], r["steps"], r["complete"]) for r in records] == [
        ("0", "5", "20", "False"),
        ("1", "5", "20", "False"),
    ]
    assert front_csv(found) == ""
    record = json.loads(as_json(found, early.record))
    assert record["front"] == []
    assert (record["preliminary"]["step"], record["preliminary"]["steps"]) == (5, 20)
    assert [m["trial"] for m in record["preliminary"]["members"]] == [0, 1]
    assert json.loads(as_json(found))["preliminary"] is None
    figure = save_preliminary_figure(early, tmp_path / "early.svg")
    assert figure.read_text().startswith("<?xml")
    rungs = store.rungs(found.study.id, trial_id=found.trials[0].id)
    assert "preliminary, step 5 of 20: " in printed(trial_view(found.study, [found.trials[0]], rungs, []))


def test_why_there_is_no_front_says_what_gives_one(store: Store, made: Setup) -> None:
    study = new_study(store, made)
    assert "no trial yet" in why_no_front(overview(store, NAME), None)
    assert "pixelfront search --study phone --resume" in why_no_front(overview(store, NAME), None)
    for width in WIDTHS[:2]:
        trial = add(store, study, Chain(width=width, blocks=(Block("residual"),)))
        store.start_trial(trial.id)
        store.fail_trial(trial.id, "diverged: the loss became nan")
    text = why_no_front(overview(store, NAME), None)
    assert "all 2 trials failed: diverged: the loss became nan (2)" in text
    with pytest.raises(NoResultError, match="no complete trial yet"):
        _ = overview(store, NAME).best
    rest(store, made, 2, {5: 1.0}, seconds=60.0)
    early = found_of(store)
    # 15 steps of a minute each, a quarter more, and the start of the workers
    assert "pixelfront finish phone --time 20m trains 1 network to the end" in why_no_front(
        overview(store, NAME), early
    )


def test_what_is_left_is_by_a_trials_own_seconds_a_step(store: Store, made: Setup) -> None:
    study = new_study(store, made)
    slow = rest(store, made, 0, {5: 0.5, 10: 0.75}, seconds=3.0)
    quick = rest(store, made, 1, {5: 1.0}, seconds=1.0)
    unknown = add(store, study, DEAR)
    left = remainders_of(study, [slow, quick, unknown], store.rungs(study.id))
    assert [(r.step, r.steps, r.seconds) for r in left] == [(10, 20, 30.0), (5, 20, 15.0), (0, 20, 40.0)]
    assert finishing_seconds(left, 1) == [30.0, 45.0, 85.0]
    assert finishing_seconds(left, 2) == [30.0, 15.0, 55.0]
    assert workers_of(study) >= 1


def test_a_study_that_rests_says_why(store: Store, made: Setup, tmp_path: Path) -> None:
    study = new_study(store, made)
    rest(store, made, 0, {5: 0.5})
    store.set_study_state(study.id, "paused", "time")
    assert "paused: time limit, 1 paused" in printed(studies_table(store.studies()))
    store.set_study_state(study.id, "paused")
    assert state_text(store.study(NAME), 0) == "paused"
    store.set_study_state(study.id, "complete", "trials")
    assert state_text(store.study(NAME), 3) == "complete"
    complete(store, study, DEAR, scores(made, 1.0), tmp_path)
    assert store.studies()[0].paused == 1


@pytest.mark.parametrize("form", ["md", "html", "json", "csv"])
def test_reports_show_it(store: Store, made: Setup, form: str) -> None:
    new_study(store, made)
    rest(store, made, 0, {5: 0.5})
    rest(store, made, 1, {5: 1.0})
    text = render(store, NAME, form)  # type: ignore[arg-type]
    if form == "json":
        record = json.loads(text)
        assert [m["trial"] for m in record["preliminary"]["members"]] == [0, 1]
    elif form == "csv":
        records = list(csv.DictReader(io.StringIO(text, newline="")))
        assert [(r["steps"], r["complete"]) for r in records] == [("5", "0")] * 2
    else:
        assert "step 5 of 20" in text
        assert "pixelfront finish phone" in text


def test_where_none_has_been_scored_the_cheapest_is_the_quickest(store: Store, made: Setup) -> None:
    study = new_study(store, made)
    add(store, study, DEAR)
    add(store, study, CHEAP)
    store.set_study_state(study.id, "paused", "time")
    text = why_no_front(overview(store, NAME), None)
    assert (
        "none has been scored, so that nothing tells how long one takes: pixelfront finish phone --trials 1 "
        in text
    )
    left = remainders_of(study, overview(store, NAME).trials, ())
    assert [each.seconds for each in left] == [None, None]
    assert finish_command(study, left, named=True) == "pixelfront finish phone --trials 0,1"

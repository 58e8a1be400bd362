"""What the pipeline chooses, and what it refuses before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evaluators.trial import evaluate
from results.analysis.overview import overview
from results.store.store import Store
from search.config import ConfigError, resolve, resumed
from search.stages.pipeline import check_stages, choose_members, run_stages
from search.study.opening import Opened, Place, open_study
from tests.results.studies import (
    BEATEN,
    GAINS,
    NAME,
    complete,
    fill,
    fill_stages,
    new_study,
    scores,
    setup,
)
from tests.search.studies import InProcess

LIMIT = {"max_gmacs": 2.0}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """A study whose search is over: trials 0 and 2 are its front."""
    with Store.open(tmp_path / "results.db") as store:
        fill(store, tmp_path)
    place = Place(str(tmp_path / "results.db"), tmp_path / "runs")
    said: dict[str, Any] = {"prune.ratios": (0.6, 0.001), "distil.steps": 3}
    with open_study(said, place=place, study=NAME, resume=True, searching=False) as found:
        pool = InProcess(partial(evaluate, data=found.bench.data))
        yield replace(found, pool=lambda: pool)


def test_members_are_the_best_of_the_front_before_any_pruning(opened: Opened) -> None:
    assert [t.number for t in choose_members(opened, 1)] == [2]
    assert [t.number for t in choose_members(opened, 5)] == [2, 0]
    assert choose_members(opened, 0) == []


@pytest.mark.parametrize(("gain", "numbers"), [(0.25, [1, 2, 0]), (1.0, [2, 0, 1]), (9.0, [0, 2, 1])])
def test_for_the_fewest_gmacs_members_are_first_the_cheapest_that_reach_the_quality(
    tmp_path: Path, gain: float, numbers: list[int]
) -> None:
    with Store.open(tmp_path / "results.db") as store:
        made = fill_stages(store, tmp_path, goal={"label": "rfdn", "quality": 0.0})
        goal = {"label": "rfdn", "quality": made.trivial + gain}
        study = store.study(NAME)
        found = Opened(
            store,
            replace(study, data={**study.data, "goal": goal}),
            made,
            Place("-", tmp_path),
            None,  # type: ignore[arg-type]
            lambda: pytest.fail("no worker is needed"),
        )
        assert [t.number for t in choose_members(found, 3)] == numbers


def test_members_are_of_the_front_over_the_studys_objectives_and_limits_on_quality_come_first(
    tmp_path: Path,
) -> None:
    with Store.open(tmp_path / "results.db") as store:
        objectives = {"objectives": ("ssim", "parameters"), "limits": ("ssim>=0.5",)}
        made = setup(tmp_path / "images", **objectives)
        study = new_study(store, made)
        for architecture, gain in GAINS.items():
            # What is beaten in PSNR isn't in SSIM.
            measured = [
                replace(m, value=0.7 if architecture == BEATEN else 0.4) if m.name == "ssim_y" else m
                for m in scores(made, gain)
            ]
            complete(store, study, architecture, measured, tmp_path)
        place = Place("-", tmp_path)
        found = Opened(store, study, made, place, None, lambda: pytest.fail("no worker is needed"))  # type: ignore[arg-type]
        assert [t.number for t in choose_members(found, 3)] == [1, 0]


def test_all_stages_end_in_one_front_and_are_not_run_twice(
    opened: Opened, capsys: pytest.CaptureFixture[str]
) -> None:
    store, study = opened.store, opened.study
    # Something was built upon the search: that it is over isn't asked again.
    from search.stages.trials import Stages

    stages = Stages(opened)
    stages.prune(stages.chosen("2"), 0.6 * stages.gmacs(stages.chosen("2")))
    run_stages(opened)
    later = [t for t in store.trials(study.id) if t.stage != "search"]
    assert sorted(t.stage for t in later) == ["distil", "distil", "prune", "prune"]
    assert {t.state for t in later} == {"complete"}
    roots = {store.lineage(t.id)[0].number for t in later}
    assert roots == {0, 2}
    distilled = [t for t in later if t.stage == "distil"]
    assert [(t.origin or {})["teacher"][0]["trial"] for t in distilled] == [
        store.lineage(t.id)[0].number for t in distilled
    ]
    assert len(overview(store, NAME).front.points) == 3 + 4
    run_stages(opened)
    assert [t for t in store.trials(study.id) if t.stage != "search"] == later


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": "phoney:1"}, "no study 'phoney'"),
        ({"teacher": f"{NAME}:3"}, "it has no weights"),
        ({"recipe": "hinet"}, "a recipe whose stages have a 'patch' of 24 or less"),
    ],
)
def test_a_teacher_or_recipe_that_cannot_be_used_costs_no_search(
    opened: Opened, change: dict[str, str], message: str
) -> None:
    config = opened.bench.config
    changed = config.model_copy(update={"distil": config.distil.model_copy(update=change)})
    bench = replace(opened.bench, config=changed)
    with pytest.raises(ValueError, match=message):
        run_stages(replace(opened, bench=bench, pool=lambda: pytest.fail("searched first")))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({**LIMIT, "prune.criterion": "taylr"}, "unknown criterion 'taylr': did you mean 'taylor'"),
        ({**LIMIT, "distil.recipe": "distill"}, "unknown recipe 'distill': did you mean 'distil'"),
        ({**LIMIT, "prune.recovery": "distil"}, "prune.recovery 'distil' needs a teacher"),
        ({"start.baseline": "rfdn", "start.weights": "x.pth"}, "a run from 'rfdn' needs its goal"),
        ({**LIMIT, "export.max_drop": 0.1}, "export.max_drop needs export.int8"),
    ],
)
def test_what_later_stages_need_is_asked_for_first(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_stages(resolve(said))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({**LIMIT, "prune.ratios": [0.5], "prune.budgets": [1]}, "expected one of budgets .* got both"),
        ({**LIMIT, "prune.ratios": [1.5]}, r"prune.ratios.0: Input should be less than 1, got 1.5"),
        ({**LIMIT, "start.baseline": "rfdn"}, "a start needs both"),
        ({**LIMIT, "start.baseline": "rfdnn", "start.weights": "x"}, "did you mean 'rfdn'"),
        ({"min_psnr": 28.0}, "give the compute budget"),
        ({**LIMIT, "prune.membrs": 1}, "did you mean 'prune.members'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(said)


def test_a_published_start_brings_its_task_and_needs_no_budget() -> None:
    config = resolve({"start.baseline": "pan-x2", "start.weights": "pan.pth"})
    assert config.task == "sr-x2"
    assert config.band == (0.0, None)


def test_targets_are_a_falling_ladder_below_the_networks_own_cost() -> None:
    section = resolve({**LIMIT, "prune.budgets": [1, 3, 2]}).prune
    assert section.targets(2.5) == (2, 1)
    assert section.targets(1.0) == ()
    assert resolve(LIMIT).prune.targets(4.0) == (3.0, 2.0)
    assert resolve(LIMIT).prune.targets(4.0, limit=4.0) == (3.0, 2.0)
    # A published network above the limit is first of all to be brought to it.
    assert resolve(LIMIT).prune.targets(9.0, limit=4.0) == (4.0, 3.0, 2.0)
    assert section.targets(2.5, limit=1.5) == (2, 1)


def test_later_stages_may_be_changed_on_resuming_but_not_the_goal() -> None:
    made = resolve({**LIMIT, "min_psnr": 28.0}).model_dump(mode="json")
    assert resumed(made, {"prune.members": 3, "distil.steps": 7}).prune.members == 3
    with pytest.raises(ConfigError, match=r"min_psnr: the study has 28.0, now 29.0"):
        resumed(made, {"min_psnr": 29.0})

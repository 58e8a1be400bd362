from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from search.config import ConfigError, SearchConfig, band, difference, integers, load, resolve, resumed


def test_flags_override_the_file_and_the_rest_is_default(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('max_gmacs = 3\nseed = 5\n[training]\nsteps = 70\n[space]\nblocks = ["rfdb"]\n')
    config = resolve(load(file, {"seed": 6, "training.batch": 4, "trials": None}))
    assert (config.max_gmacs, config.seed, config.training.steps, config.training.batch) == (3, 6, 70, 4)
    assert config.space.blocks == ("rfdb",)
    assert config.training.patch == 24


def test_a_limit_given_as_a_flag_replaces_the_files_of_either_kind(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("max_gmacs = 3\n")
    assert resolve(load(file, {"gmacs": "1:2"})).band == (1.0, 2.0)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, "give the compute budget: either --max-gmacs G or --gmacs A:B, got neither"),
        ({"max_gmacs": 1, "gmacs": "1:2"}, "got both"),
        ({"max_gmacs": -1}, "max_gmacs: Input should be greater than 0, got -1"),
        ({"gmacs": "2:1"}, "needs 0 <= A < B"),
        ({"max_gmacs": 1, "training.stepz": 5}, "did you mean 'training.steps'"),
        ({"max_gmacs": 1, "time": "soon"}, "a time is like 90s"),
        ({"max_gmacs": 1, "space.widths": "8-64"}, "a range is FIRST:LAST"),
        ({"max_gmacs": 1, "trials": 0}, "trials: Input should be greater than or equal to 1"),
        ({"max_gmacs": float("inf")}, "max_gmacs: Input should be"),
        ({"gmacs": "0.1:inf"}, "a band A:B needs"),
        ({"max_gmacs": 1, "seed": 2**40}, "seed: Input should be less than"),
        ({"max_gmacs": 1, "seed": 1.5}, "seed: Input should be a valid integer"),
        ({"max_gmacs": 1, "objective": "ssim"}, "objective: of sr-x4 it is one of psnr_y, psnr_rgb"),
    ],
)
def test_what_does_not_fit_is_named(said: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=r".*") as error:
        resolve(said)
    assert message in str(error.value)


@pytest.mark.parametrize("content", ["max_gmacs = ", "= 3", "[a\n"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"bad\.toml: not TOML"):
        load(file, {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: can't be read"):
        load(tmp_path / "none.toml", {})


def test_resuming_may_change_limits_and_workers_only() -> None:
    study = resolve({"max_gmacs": 2, "trials": 8, "training.steps": 50}).model_dump(mode="json")
    config = resumed(study, {"trials": 20, "workers.number": 4})
    assert (config.trials, config.workers.number, config.training.steps) == (20, 4, 50)
    with pytest.raises(ConfigError, match=r"training\.steps: the study has 50, now 60"):
        resumed(study, {"training.steps": 60})
    with pytest.raises(ConfigError, match=r"max_gmacs: the study has 2\.0, now 3\.0"):
        resumed(study, {"max_gmacs": 3})
    # Folders may have moved, what "auto" stands for was settled when the study was made.
    resumed(study, {"data.train": "/elsewhere", "training.precision": "auto"})
    assert len(difference(study, {"gmacs": "1:2", "space.blocks": "rfdb"})) == 3


def test_a_recorded_configuration_resolves_to_itself() -> None:
    config = resolve(
        {
            "gmacs": "1:2",
            "time": "5m",
            "space.widths": "8:16:4",
            "space.blocks": "rfdb, hin",
            "data.train": "/x",
        }
    )
    assert config.space.widths == (8, 12, 16)
    assert config.space.blocks == ("rfdb", "hin")
    assert resumed(config.model_dump(mode="json"), {}) == config


def test_ranges_and_bands() -> None:
    assert integers("8:16:4") == (8, 12, 16)
    assert integers("1:3") == (1, 2, 3)
    assert integers("8,32") == (8, 32)
    assert band("0.5:2") == (0.5, 2.0)
    for text in ("16:8", "8:16:0", "a", "8;9", ""):
        with pytest.raises(ValueError, match="range"):
            integers(text)
    for text in ("2", "2:2", "a:b", "1:2:3", "-1:2"):
        with pytest.raises(ValueError, match="band"):
            band(text)


def test_the_task_fills_in_what_was_not_said() -> None:
    config = resolve({"max_gmacs": 1, "task": "sr-x4"})
    assert (config.objective, config.space.name) == ("psnr_y", "sr-card")
    assert (config.training.patch, config.training.losses) == (24, ("l1", "l2"))
    said = resolve({"max_gmacs": 1, "training.patch": 32, "training.losses": ["charbonnier", "l1"]})
    assert (said.training.patch, said.training.losses) == (32, ("charbonnier", "l1"))


def test_a_band_by_name_brings_its_convention() -> None:
    config = resolve({"gmacs": "ntire22-hdr-2", "task": "hdr"})
    assert (config.gmacs, config.band, config.convention) == ("66:74.02", (66.0, 74.02), "bias")


def test_lists_of_a_space_are_ranges_names_or_blocks_with_options() -> None:
    space = resolve(
        {
            "max_gmacs": 1,
            "space.widths": "8:16:4",
            "space.blocks": "rfdb, recursive(block=ghost,times=2)",
            "space.feature_skips": [True],
            "space.levels": "2,3",
        }
    ).space
    assert space.lists == {
        "widths": (8, 12, 16),
        "blocks": ("rfdb", "recursive(block=ghost,times=2)"),
        "feature_skips": (True,),
        "levels": (2, 3),
    }


def test_an_older_record_without_lists_is_resumed() -> None:
    config = resolve({"max_gmacs": 1})
    record = config.model_dump(mode="json")
    record["space"] |= {"blocks": None, "widths": None}
    del record["training"]["losses"]
    assert difference(record, {"training.losses": ["l1", "l2"]}) != []
    assert resumed(record, {}).space.lists == {}


def stopping(**said: Any) -> SearchConfig:
    return resolve({"max_gmacs": 1.0, "strategy": "random", "training.steps": 540, **said})


def test_rungs_are_evenly_spaced_or_by_eta_or_as_named() -> None:
    assert stopping().rungs == (135, 270, 405, 540)
    assert stopping(eta=3).rungs == (20, 60, 180, 540)
    assert stopping(eta=3, **{"training.rungs": 2}).rungs == (180, 540)
    assert stopping(eta=2, **{"training.rungs": "60,180,540"}).rungs == (60, 180, 540)
    assert stopping(eta=2, **{"training.rungs": [60]}).rungs == (60, 540)
    assert stopping(**{"training.rungs": "3"}).rungs == (180, 360, 540)
    # A later stage has other steps: its rungs are at the same parts.
    assert stopping(**{"training.rungs": "60,180"}).training.rungs_of(54) == (6, 18, 54)
    assert stopping(eta=3).training.rungs_of(54) == (13, 27, 40, 54)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"eta": 0.9}, "eta: Input should be greater than or equal to 1, got 0.9"),
        ({"eta": 3, "training.rungs": 1}, "expected at least 2 rungs with an eta, got 1"),
        ({"eta": 9, "training.rungs": 4}, "4 rungs with an eta of 9 need at least 729 steps, got 540"),
        ({"training.rungs": "60,541"}, "expected rungs within the 540 steps of a trial, got one at 541"),
        ({"training.rungs": []}, "expected steps, such as 60,180,540, got none"),
        ({"training.rungs": "60,0"}, "training.rungs"),
        ({"train_steps": 539}, "train_steps: 539 aren't enough for one trial of 540"),
        ({"worker_hours": 0}, "worker_hours: Input should be greater than 0"),
    ],
)
def test_rungs_and_budgets_that_cannot_be_are_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        stopping(**said)


def test_a_study_goes_on_with_other_budgets_but_the_same_rule() -> None:
    study = stopping(eta=3).model_dump(mode="json")
    assert resumed(study, {"train_steps": 5400, "worker_hours": 2.0}).train_steps == 5400
    named = stopping(eta=3, **{"training.rungs": "60,540"}).model_dump(mode="json")
    assert resumed(named, {"training.rungs": "60,540"}).rungs == (60, 540)
    for said in ({"eta": 2.0}, {"ordered": False}, {"training.rungs": "3"}):
        with pytest.raises(ConfigError, match=f"{next(iter(said))}: the study has"):
            resumed(study, said)


def test_more_rungs_than_steps_are_refused_unless_nobody_asked_for_them() -> None:
    with pytest.raises(ConfigError, match="expected no more rungs than the 20 steps of a trial, got 50"):
        resolve({"max_gmacs": 1, "training.steps": 20, "training.rungs": 50})
    few = resolve({"max_gmacs": 1, "training.steps": 2})
    assert few.rungs == (1, 2)
    assert resumed(few.model_dump(mode="json"), {}).rungs == (1, 2)


def test_objectives_and_limits_are_read_from_text_and_lists() -> None:
    said = {"objectives": "psnr, latency", "limits": ["latency<=0.02s", "gmacs<=3"]}
    config = resolve(said)
    assert config.objectives == ("psnr", "latency")
    assert config.limits == ("latency<=20ms", "gmacs<=3")
    assert config.band == (0.0, 3.0)
    assert resumed(config.model_dump(mode="json"), {}) == config
    assert resolve({"limits": "parameters<=9k"}).band == (0.0, None)
    assert resolve({"max_gmacs": 1}).objectives == ("psnr", "gmacs")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"max_gmacs": 1, "objectives": "psnr,speed"}, "unknown objective 'speed'"),
        ({"max_gmacs": 1, "objectives": "psnr,psnr"}, "expected different objectives"),
        (
            {"max_gmacs": 1, "limits": ["latency<=2ms", "latency<=3ms"]},
            "expected one limit on latency, got 2",
        ),
        ({"max_gmacs": 1, "limits": ["gmacs<=2"]}, "give the compute budget: .* got --limit too"),
        ({"limits": ["psnr>=28"]}, "give the compute budget: .* got neither"),
        (
            {"max_gmacs": 1, "limits": ["psnr>=28"], "min_psnr": 28},
            "expected one of min_psnr and a limit on psnr",
        ),
    ],
)
def test_objectives_and_limits_that_cannot_be_are_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(said)


def test_auto_is_ours_with_inheritance_and_early_stopping_unless_something_else_is_said() -> None:
    def auto(**said: Any) -> tuple[str, bool | None, float | None, tuple[int, ...]]:
        config = resolve({"max_gmacs": 1, "training.steps": 540, **said})
        return config.strategy, config.inherit, config.eta, config.ladder

    assert auto() == auto(strategy="auto") == ("pareto", True, 3.0, (135, 540))
    assert auto(inherit=False) == ("pareto", False, 3.0, (135, 540))
    assert auto(eta=1) == ("pareto", True, None, (540,))
    assert auto(eta=2) == ("pareto", True, 2.0, (68, 135, 270, 540))
    assert auto(pauses=[60]) == ("pareto", True, 3.0, (60, 540))
    assert auto(**{"training.rungs": "60,180"}) == ("pareto", True, 3.0, (60, 180, 540))
    assert auto(**{"training.rungs": 1}) == ("pareto", True, None, (540,))
    for steps in range(1, 9):
        pauses = (steps // 4,) if steps >= 4 else ()
        assert auto(**{"training.steps": steps})[3] == (*pauses, steps)
    assert auto(strategy="pareto") == ("pareto", False, None, (540,))
    assert auto(strategy="tpe", inherit=True) == ("tpe", True, None, (540,))


def test_trials_are_scored_more_often_than_they_pause() -> None:
    config = resolve({"max_gmacs": 1, "training.steps": 540})
    assert (config.ladder, config.rungs) == ((135, 540), (135, 270, 405, 540))
    config = stopping(eta=3, pauses=[60, 200])
    assert (config.ladder, config.rungs) == ((60, 200, 540), (60, 135, 200, 270, 405, 540))
    with pytest.raises(ConfigError, match="pauses: expected some before the end, 540 steps, got"):
        stopping(eta=3, pauses=[60, 540])


def test_auto_goes_on_record_as_the_strategy_it_stands_for() -> None:
    study = resolve({"max_gmacs": 1}).model_dump(mode="json")
    assert study["strategy"] == resolve({"max_gmacs": 1, "strategy": "auto"}).strategy != "auto"
    other = {**study, "strategy": "random"}  # what auto stood for when the study was made
    assert resumed(other, {"strategy": "auto"}).strategy == "random"
    assert difference(other, {"strategy": "tpe"})

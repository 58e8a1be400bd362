"""Learning rates, stages and what a recipe refuses."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.tasks import get_task, task_names
from evaluators.training.losses import LOSSES
from evaluators.training.recipe import BUILT_IN, Loss, Recipe, Stage, load_recipe, recipe_names, two_stages


@settings(deadline=None)
@given(st.integers(1, 5000), st.floats(1e-6, 1.0))
def test_the_rate_falls_along_a_half_cosine_to_a_hundredth(steps: int, rate: float) -> None:
    stage = Stage(steps, "l1", rate)
    rates = [stage.rate(step) for step in range(0, steps + 1, max(1, steps // 50))]
    assert rates[0] == pytest.approx(rate)
    assert stage.rate(steps) == pytest.approx(rate / 100)
    assert all(a > b for a, b in pairwise(rates))
    assert stage.rate(steps / 2) == pytest.approx(rate * 1.01 / 2)  # type: ignore[arg-type]


def test_the_rate_is_flat_at_both_ends_and_steep_in_the_middle() -> None:
    stage = Stage(100, "l1", 1.0)
    first, middle, last = (stage.rate(n) - stage.rate(n + 1) for n in (0, 50, 99))
    assert middle > 50 * first
    assert first == pytest.approx(last)


def test_each_step_belongs_to_its_stage() -> None:
    one, two, three = Stage(3, "l1", 1e-3), Stage(1, "l2", 1e-4), Stage(2, "l1", 1e-5, patch=32)
    recipe = Recipe((one, two, three))
    assert (recipe.steps, recipe.largest_patch) == (6, 32)
    expected = [(one, 0), (one, 1), (one, 2), (two, 0), (three, 0), (three, 1)]
    assert [recipe.at(step) for step in range(6)] == expected
    with pytest.raises(IndexError, match="beyond the recipe"):
        recipe.at(6)


@pytest.mark.parametrize("name", ["steps", "batch", "patch"])
def test_a_stage_of_nothing_is_refused(name: str) -> None:
    options = {"steps": 1, "batch": 1, "patch": 1}
    Stage(loss="l1", learning_rate=1e-3, **options)
    with pytest.raises(ValueError, match=f"'{name}' is at least 1, got 0"):
        Stage(loss="l1", learning_rate=1e-3, **{**options, name: 0})


@pytest.mark.parametrize("rate", [0.0, -1e-3, float("nan")])
def test_a_rate_that_teaches_nothing_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="'learning_rate' is positive, got"):
        Stage(1, "l1", rate)


def test_a_recipe_without_stages_or_average_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one stage"):
        Recipe(())
    for ema in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"'ema' is in \[0, 1\), got"):
            Recipe((Stage(1, "l1", 1e-3),), ema=ema)
    assert Recipe((Stage(1, "l1", 1e-3),), ema=0.0).ema == 0


@settings(deadline=None)
@given(st.integers(1, 10_000))
def test_two_stages_shares_the_steps_nine_to_one(steps: int) -> None:
    recipe = two_stages(steps, learning_rate=1e-2, batch=3, patch=5)
    assert recipe.steps == steps
    assert [stage.loss for stage in recipe.stages] == ["l1", "l2"][: len(recipe.stages)]
    assert [stage.steps for stage in recipe.stages[1:]] == ([steps // 10] if steps >= 10 else [])
    assert [stage.learning_rate for stage in recipe.stages] == pytest.approx(
        [1e-2, 1e-3][: len(recipe.stages)]
    )
    assert {(stage.batch, stage.patch) for stage in recipe.stages} == {(3, 5)}


def test_two_stages_passes_options_on_and_no_typos() -> None:
    recipe = two_stages(10, ema=0.5)
    assert (recipe.ema, recipe.precision) == (0.5, "auto")
    with pytest.raises(TypeError, match="emma"):
        two_stages(10, emma=0.5)


def test_a_schedule_is_the_stages_own() -> None:
    constant = Stage(100, "l1", 1e-3, schedule="constant")
    assert {constant.rate(step) for step in range(100)} == {1e-3}
    halved = Stage(100, "l1", 8.0, schedule="halve:30")
    assert [halved.rate(step) for step in (0, 29, 30, 59, 60, 99)] == [8, 8, 4, 4, 2, 1]
    to_a_rate = Stage(100, "psnr", 2e-4, schedule="cosine:1e-7")
    assert (to_a_rate.rate(0), to_a_rate.rate(100)) == pytest.approx((2e-4, 1e-7))
    assert to_a_rate.rate(50) == pytest.approx((2e-4 + 1e-7) / 2)


STAGE: dict[str, Any] = {"steps": 10, "loss": "l1", "learning_rate": 1e-3}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"loss": "charbonier"}, "unknown loss 'charbonier': did you mean 'charbonnier'"),
    ({"schedule": "cosin"}, "unknown schedule 'cosin': did you mean 'cosine'"),
    ({"schedule": "halve"}, "as in 'halve:1000', got 'halve'"),
    ({"schedule": "halve:0"}, "got 'halve:0'"),
    ({"schedule": "constant:2"}, "'constant' takes no number"),
    (
        {"schedule": "cosine:x"},
        "the last learning rate, from 0 to 0.001, as in 'cosine:1e-6', got 'cosine:x'",
    ),
    ({"schedule": "cosine:1"}, "from 0 to 0.001"),
    ({"schedule": "cosine:"}, "got 'cosine:'"),
    ({"distil": 1.5}, "'distil' is from 0 to 1, got 1.5"),
    ({"features": -1.0}, "'features' is at least 0, got -1.0"),
    ({"sparsity": float("nan")}, "'sparsity' is at least 0, got nan"),
    ({"form": "ac"}, "unknown form 'ac': did you mean 'acb'"),
    ({"learning_rate": float("inf")}, "'learning_rate' is positive, got inf"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=str)
def test_a_stage_that_cannot_be_trained_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stage(**(STAGE | change))
    with pytest.raises(ValueError, match=f"^stage 2: .*{message}"):
        Recipe.from_data({"stage": [STAGE, STAGE | change]})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"stage": [STAGE, STAGE | {"learning_rat": 1}]},
            "^stage 2: unknown key 'learning_rat': did you mean",
        ),
        ({"stage": [{"loss": "l1"}]}, "^stage 1: lacks 'steps', 'learning_rate'$"),
        ({"stage": [STAGE | {"steps": 2.5}]}, "^stage 1: 'steps' is an integer, got 2.5"),
        ({"stage": [STAGE | {"steps": True}]}, "'steps' is an integer, got True"),
        ({"stage": [STAGE | {"loss": ["l1"]}]}, "'loss' is a text"),
        ({"stage": [STAGE | {"distil": "0.5"}]}, "'distil' is a number, got '0.5'"),
        ({"stage": [STAGE], "emma": 0.9}, "^unknown key 'emma': did you mean 'ema'"),
        ({"stages": [STAGE]}, "unknown key 'stages': did you mean 'stage'"),
        ({"stage": [STAGE], "precision": "float16"}, "unknown precision 'float16'"),
        ({"stage": STAGE}, r"\[\[stage\]\]"),
        ({}, "at least one stage"),
    ],
    ids=str,
)
def test_a_wrong_recipe_is_refused_with_stage_and_key(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.from_data(data)


def test_a_recipe_survives_json_and_leaves_out_defaults() -> None:
    recipe = Recipe((Stage(5, "l1", 1e-3), Stage(6, "l2", 1e-4, distil=0.5, form="acb")), ema=0.0)
    data = json.loads(json.dumps(recipe.to_data()))
    assert Recipe.from_data(data) == recipe
    assert data["stage"][0] == {"steps": 5, "loss": "l1", "learning_rate": 1e-3}
    assert set(data) == {"stage", "ema"}


def test_a_file_is_read_and_what_is_wrong_with_it_told(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('ema = 0.99\n[[stage]]\nsteps = 7\nloss = "last"\nlearning_rate = 1e-3\n')
    assert load_recipe(file, losses=("psnr", "charbonnier"), patch=32) == Recipe(
        (Stage(7, "charbonnier", 1e-3, patch=32),), ema=0.99
    )
    assert load_recipe(str(file)).stages[0].loss == "l2"
    file.write_text("[[stage]\n")
    with pytest.raises(ValueError, match=r"^recipe .*mine\.toml: .*line 1"):
        load_recipe(file)
    file.write_text("[[stage]]\nstep = 7\n")
    with pytest.raises(
        ValueError, match=r"^recipe .*mine\.toml: stage 1: unknown key 'step': did you mean 'steps'"
    ):
        load_recipe(file)
    with pytest.raises(ValueError, match=r"^recipe .*none\.toml: can't be read \(No such file"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(ValueError, match="unknown recipe 'finetun': did you mean 'finetune'"):
        load_recipe("finetun")


@pytest.mark.parametrize("name", recipe_names())
def test_a_built_in_recipe_suits_every_task_and_says_what_is_published(name: str) -> None:
    for task in map(get_task, task_names()):
        recipe = load_recipe(name, losses=task.losses, patch=task.patch)
        for stage in recipe.stages:
            assert 0 < stage.rate(stage.steps - 1) <= stage.learning_rate
        assert recipe.scaled(len(recipe.stages)).steps == len(recipe.stages)
    text = (BUILT_IN / f"{name}.toml").read_text()
    opening = text.partition("[[stage]]")[0]
    assert "ublished" in opening
    assert all(line.startswith("#") for line in opening.strip().splitlines())


def test_the_built_in_recipes_are_those_of_the_papers() -> None:
    hdr = load_recipe("ntire22-hdr").stages
    assert [(s.loss, s.patch, s.distil > 0) for s in hdr] == [
        ("mu_l1", 128, False),
        ("mu_l2", 128, False),
        ("mu_l2", 256, False),
        ("mu_l2", 256, True),
    ]
    rfdn = load_recipe("rfdn").stages
    assert [s.loss for s in rfdn] == ["l1", "l2"]
    assert rfdn[1].learning_rate == 1e-4
    assert [s.form for s in load_recipe("fimdn").stages] == ["acb", "acb", "plain"]
    assert [s.form for s in load_recipe("uestc").stages] == ["basis:3", "basis:5", "basis:7"]
    (hinet,) = load_recipe("hinet").stages
    assert (hinet.steps, hinet.loss, hinet.batch, hinet.patch) == (400_000, "psnr", 64, 256)
    assert (hinet.rate(0), hinet.rate(hinet.steps)) == pytest.approx((2e-4, 1e-7))
    assert not load_recipe("finetune").taught
    assert load_recipe("distil").taught


@settings(deadline=None)
@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=6), st.integers(0, 20_000))
def test_a_scaled_recipe_has_the_steps_and_the_stages(lengths: list[int], more: int) -> None:
    recipe = Recipe(tuple(Stage(n, "l1", 1e-3) for n in lengths))
    steps = len(lengths) + more
    scaled = recipe.scaled(steps)
    assert scaled.steps == steps
    for before, after in zip(recipe.stages, scaled.stages, strict=True):
        assert after.steps >= 1
        if more > 20 * len(lengths):
            assert abs(after.steps - before.steps * steps / recipe.steps) <= len(lengths)
    assert recipe.scaled(recipe.steps) == recipe


def test_halving_is_scaled_with_its_stage_and_too_few_steps_are_refused() -> None:
    recipe = Recipe((Stage(1000, "l1", 1e-3, schedule="halve:200"), Stage(100, "l2", 1e-4)))
    assert recipe.scaled(110).stages[0].schedule == "halve:20"
    with pytest.raises(ValueError, match="at least 2 steps, one for each stage of the recipe, got 1"):
        recipe.scaled(1)


def test_a_form_lasts_until_the_next_and_ends_with_the_recipe() -> None:
    stages = ("", "acb", "", "basis:3")
    recipe = Recipe(tuple(Stage(2, "l1", 1e-3, form=form) for form in stages))
    assert [recipe.form_at(step) for step in range(9)] == ["", "", *["acb"] * 4, *["basis:3"] * 2, ""]
    assert Recipe((Stage(2, "l1", 1e-3),)).form_at(0) == ""


def test_every_loss_of_a_recipe_exists() -> None:
    assert set(get_args(Loss)) == set(LOSSES)


def test_recipes_are_read_without_torch() -> None:
    read = "from evaluators.training.recipe import load_recipe; load_recipe('distil')"
    code = f"import sys; {read}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

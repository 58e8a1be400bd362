"""Learning rates, stages and what a recipe refuses."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.recipe import Recipe, Stage, two_stages


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

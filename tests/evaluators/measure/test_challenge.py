"""The NTIRE challenges' scores: the organisers' examples, and the formula by hand."""

from __future__ import annotations

from math import exp

import pytest

from evaluators.measure.challenge import CHALLENGES, Figures

# The baselines' figures that the organisers' READMEs calculate with.
EXAMPLES = {
    "ntire2024": Figures(13.54, 19.70, 317_000),
    "ntire2025": Figures(16.69, 16.70, 276_000),
    "ntire2026": Figures(5.59, 9.83, 151_000),
}


@pytest.mark.parametrize("name", CHALLENGES)
def test_the_baseline_itself_scores_e_squared(name: str) -> None:
    score = CHALLENGES[name].score(EXAMPLES[name], EXAMPLES[name])
    for value in (score.runtime, score.gmacs, score.parameters, score.final):
        assert value == pytest.approx(7.3891, abs=1e-4)


@pytest.mark.parametrize(("name", "weights"), [("ntire2024", (0.7, 0.15)), ("ntire2026", (0.8, 0.1))])
def test_each_figure_counts_with_its_weight(name: str, weights: tuple[float, float]) -> None:
    score = CHALLENGES[name].score(Figures(5, 20, 600_000), Figures(10, 10, 200_000))
    assert (score.runtime, score.gmacs, score.parameters) == pytest.approx((exp(1), exp(4), exp(6)))
    assert score.final == pytest.approx(weights[0] * exp(1) + weights[1] * (exp(4) + exp(6)))


@pytest.mark.parametrize("nothing", [Figures(0, 1, 1), Figures(1, 0, 1), Figures(1, 1, 0)])
def test_a_baseline_without_a_figure_is_refused(nothing: Figures) -> None:
    with pytest.raises(ValueError, match="expected a baseline with runtime, GMACs and parameters"):
        CHALLENGES["ntire2024"].score(Figures(1, 1, 1), nothing)


@pytest.mark.parametrize(("gmacs", "final"), [(1.591738368, 3.8733), (9.107931136, 4.3725)])
def test_the_winner_of_2026_by_the_organisers_table_and_by_its_true_cost(gmacs: float, final: float) -> None:
    span = Figures(7.736398064196109, 9.833807872, 150_688)
    assert CHALLENGES["ntire2026"].score(Figures(5.24145, gmacs, 139_104), span).final == pytest.approx(
        final, abs=5e-4
    )

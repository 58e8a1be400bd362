"""What choices are worth, on trials whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from results.analysis.estimates import difference, mean_interval
from results.dashboard import analysis
from results.dashboard.views import Studies
from results.store.store import Store
from spaces.architecture import Block
from spaces.measurement import Measurement
from spaces.topologies.chain import Chain
from tests.results import studies
from tests.results.studies import NAME

GHOST, DB_PER_DECADE = -0.3, 2.0


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Of 300 trials whose quality grows with the cost, is 0.3 dB worse with a ghost block, and has noise of 0.1 dB."""
    folder = tmp_path_factory.mktemp("space")
    random = np.random.default_rng(0)
    with Store.open(folder / "results.db") as store:
        made = studies.setup(folder / "images")
        study = studies.new_study(store, made)
        metric, protocol = study.data["objective"]
        seen = set()
        while len(seen) < 300:
            width, depth = int(random.integers(8, 64)), int(random.integers(1, 4))
            kinds = random.choice(["residual", "ghost", "rfdb"], size=depth)
            skip = str(random.choice(["nearest", "bilinear"]))
            chain = Chain(width, tuple(Block(str(kind)) for kind in kinds), image_skip=skip)
            if chain.digest in seen:
                continue
            seen.add(chain.digest)
            macs = 1e5 * width**2 * depth
            quality = 20 + DB_PER_DECADE * np.log10(macs) + GHOST * ("ghost" in kinds) + random.normal(0, 0.1)
            trial = store.add_trial(
                study.id,
                digest=chain.digest,
                architecture_json=chain.to_json(),
                measurements=[Measurement("macs", macs, "1", "min", f"exact, {study.data['cost_input']}")],
            )
            store.start_trial(trial.id)
            store.finish_trial(trial.id, [Measurement(metric, quality, "dB", "max", protocol)], seconds=1.0)
        yield analysis.space(Studies(store).find(NAME))


def effect(found, choice: str, value: str):
    return next(each for each in found["effects"] if (each["choice"], each["value"]) == (choice, value))


def test_a_true_effect_is_in_its_interval(found):
    ghost = effect(found, "block", "ghost")
    assert ghost["low"] < GHOST < ghost["high"]
    assert ghost["high"] - ghost["low"] < 0.1
    assert ghost["note"] is None
    assert found["fit"]["n"] == 300
    assert found["fit"]["r2"] > 0.8


def test_what_does_not_matter_is_about_nothing(found):
    for choice in ("image_skip", "width"):
        for each in (each for each in found["effects"] if each["choice"] == choice):
            assert abs(each["effect"]) < 0.15, each


def test_many_values_are_taken_together(found):
    widths = [each for each in found["effects"] if each["choice"] == "width"]
    assert 4 <= len(widths) <= analysis.MOST_VALUES
    assert sum(each["n"] for each in widths) == 300


def test_parallel_coordinates_are_whole(found):
    parallel = found["parallel"]
    names = [dimension["name"] for dimension in parallel["dimensions"]]
    assert names == ["main block", "depth", "width", "image_skip", "macs", "psnr_y"]
    assert len(parallel["rows"]) == len(parallel["numbers"]) == 300
    assert all(len(row) == len(names) for row in parallel["rows"])
    assert parallel["left_out"] == 0


def test_front_members_are_kept_where_trials_are_left_out(found, monkeypatch, tmp_path):
    monkeypatch.setattr(analysis, "MOST_ROWS", 10)
    with Store.open(tmp_path / "results.db") as store:
        made = studies.setup(tmp_path / "images")
        study = studies.new_study(store, made)
        for width in range(8, 40):
            chain = Chain(width, (Block("residual"),))
            studies.complete(
                store, study, chain, studies.scores(made, 1.0 if width in (8, 21) else -1.0), tmp_path
            )
        parallel = analysis.space(Studies(store).find(NAME))["parallel"]
    assert 0 in parallel["numbers"]
    assert (len(parallel["rows"]), parallel["left_out"]) == (10, 22)


def test_few_trials_are_told_as_few(tmp_path):
    with Store.open(tmp_path / "results.db") as store:
        studies.fill(store, tmp_path)
        found = analysis.space(Studies(store).find(NAME))
    assert found["effects"]
    assert all("too few" in each["note"] for each in found["effects"])


def test_intervals_are_those_of_the_books():
    mean, low, high = mean_interval(np.array([1.0, 2.0, 3.0]))
    assert (mean, high - mean, mean - low) == pytest.approx((2.0, 2.48414, 2.48414), abs=1e-4)
    ours, others = (
        np.array([27.5, 21.0, 19.0, 23.6, 17.0, 17.9]),
        np.array([27.1, 22.0, 20.8, 23.4, 23.4, 23.5]),
    )
    scipy_stats = pytest.importorskip("scipy.stats")
    expected = scipy_stats.ttest_ind(ours, others, equal_var=False).confidence_interval(0.95)
    effect, low, high = difference(ours, others)
    assert effect == pytest.approx(ours.mean() - others.mean())
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert difference(ours[:1], others)[1:] == (None, None)

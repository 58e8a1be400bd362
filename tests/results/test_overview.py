"""What a study found, from a store filled as a search leaves it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from results.overview import as_json, baseline_value, cost_key, limits, overview, rows, value
from results.store import Store, UnknownStudy
from search.setup import Setup
from spaces.architecture import Block
from spaces.build import cost
from spaces.chain import Chain
from tests.results.studies import (
    BEATEN,
    BUDGET,
    CHEAP,
    DEAR,
    NAME,
    TASK,
    add,
    complete,
    new_study,
    scores,
    setup,
)

GIGA = 1e9


def baseline(made: Setup) -> float:
    return next(m.value for m in made.baseline if m.key == made.objective)


def test_the_front_is_what_nothing_beats_by_rising_cost(small_store: Store) -> None:
    found = overview(small_store, NAME)
    assert [trial.digest for trial in found.members] == [CHEAP.digest, DEAR.digest]
    assert [point.number for point in found.front.points] == [0, 1, 2]  # complete trials only
    assert len(found.trials) == 6
    assert found.best.digest == DEAR.digest


def test_hypervolume_is_measured_from_the_budget_and_the_trivial_method(
    small_store: Store, small_setup: Setup
) -> None:
    found = overview(small_store, NAME)
    reference = found.front.reference
    assert reference is not None
    assert (reference.cost, reference.quality) == (BUDGET * GIGA, baseline(small_setup))
    assert reference.meaning == "the budget of 2 GMACs; bicubic"
    cheap, dear = (cost(architecture, TASK).macs for architecture in (CHEAP, DEAR))
    expected = (BUDGET * GIGA - cheap) * 0.5 + (BUDGET * GIGA - dear) * 1.0
    assert found.front.hypervolume == pytest.approx(expected)


def test_the_axes_are_the_studys_own(small_store: Store, small_setup: Setup) -> None:
    found = overview(small_store, NAME)
    assert found.front.cost is not None
    assert found.front.quality is not None
    assert (found.front.cost.name, found.front.cost.protocol) == ("macs", "exact, 3x256x256")
    assert cost_key(found.study) == ("macs", "exact, 3x256x256")
    assert (found.front.quality.name, found.front.quality.protocol) == small_setup.objective
    assert found.baseline == ("bicubic", baseline(small_setup))
    assert found.budget == (0.0, BUDGET)


def test_another_convention_counts_other_costs(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        made = setup(tmp_path / "images", convention="challenge", gmacs="0.1:2.5", objective="psnr_rgb")
        study = new_study(store, made)
        trial = complete(store, study, DEAR, scores(made, 1.0), tmp_path)
        store.add_measurements(trial.id, scores(made, 0.5, test=True))
        found = overview(store, NAME)
    assert found.front.members[0].cost == cost(DEAR, TASK).operations("challenge") > cost(DEAR, TASK).macs
    assert found.budget == (0.1, 2.5)
    assert found.front.reference is not None
    assert found.front.reference.cost == 2.5 * GIGA
    (record,) = rows(found)
    assert record["cost_protocol"] == "challenge, 3x256x256"
    assert record["psnr_rgb_gain"] == pytest.approx(1.0)
    assert record["protocol"].startswith("RGB, ")
    assert record["test_protocol"].startswith("RGB, ")
    assert record["test_psnr_rgb_gain"] == pytest.approx(0.5)
    assert "test_psnr_y_gain" not in record


def test_a_row_holds_costs_and_scores_with_their_protocols(small_store: Store, small_setup: Setup) -> None:
    first, second = rows(overview(small_store, NAME))
    exact = cost(DEAR, TASK)
    expected = {
        "trial": 2,
        "digest": DEAR.digest,
        "architecture": "3x16 rfdb*2 residual, pixelshuffle",
        "gmacs": exact.macs / GIGA,
        "cost_protocol": "exact, 3x256x256",
        "parameters": exact.parameters,
        "activations": exact.activations,
        "convolutions": exact.convolutions,
        "psnr_y": baseline(small_setup) + 1.5,
        "protocol": small_setup.objective[1],
        "psnr_y_gain": pytest.approx(1.5),
        "training_seconds": 3.25,
    }
    assert {key: second[key] for key in expected} == expected
    assert first["trial"] == 0
    assert first.keys() == second.keys()


def test_test_scores_are_told_from_validation_by_their_images(small_store: Store, small_setup: Setup) -> None:
    """Both folders are called HR; only the digest in the protocol differs."""
    assert small_setup.test is not None
    found = overview(small_store, NAME)
    digest = small_setup.test.targets.digest
    (record, _) = rows(found)
    told = {key: record[key] for key in record if key.startswith("test_")}
    expected: dict[str, object] = {f"test_{m.name}": m.value for m in scores(small_setup, 0.375, test=True)}
    expected["test_psnr_y_gain"] = pytest.approx(0.375)
    assert told == {**expected, "test_protocol": f"Y, 8-bit, border 2, on HR ({digest})"}
    assert digest not in record["protocol"]


def test_without_test_scores_there_are_no_test_columns(own_store: Store) -> None:
    study = own_store.study(NAME)
    beaten = own_store.trial(study.id, 1)
    found = overview(own_store, NAME)
    alone = replace(found.front, members=tuple(p for p in found.front.points if p.id == beaten.id))
    (record,) = rows(replace(found, front=alone))
    assert record["digest"] == BEATEN.digest
    assert not [key for key in record if key.startswith("test_")]


def test_json_has_everything_needed_to_read_it(small_store: Store, small_setup: Setup) -> None:
    found = overview(small_store, NAME)
    record = json.loads(as_json(found))
    assert record["front"] == rows(found)
    assert record["hypervolume"] == found.front.hypervolume
    assert record["hypervolume_unit"] == "MACs x dB"
    assert record["reference"] == {
        "cost": BUDGET * GIGA,
        "quality": baseline(small_setup),
        "meaning": "the budget of 2 GMACs; bicubic",
    }
    assert record["baseline"] == {"name": "bicubic", "value": baseline(small_setup)}
    assert (record["study"], record["task"], record["seed"], record["trials"]) == (NAME, "sr-x2", 0, 6)
    assert record["budget_gmacs"] == [0.0, BUDGET]


def test_json_counts_what_the_trivial_method_beats(
    own_store: Store, small_setup: Setup, tmp_path: Path
) -> None:
    assert json.loads(as_json(overview(own_store, NAME)))["not_better_than_baseline"] == 0
    study = own_store.study(NAME)
    complete(own_store, study, Chain(8, (Block("ghost"),)), scores(small_setup, -0.5), tmp_path)
    record = json.loads(as_json(overview(own_store, NAME)))
    assert (record["not_better_than_baseline"], len(record["front"])) == (1, 2)


def test_a_study_without_complete_trials_has_an_empty_front(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        study = new_study(store, setup(tmp_path / "images"))
        for _ in range(2):  # without trials, then with a waiting one
            found = overview(store, NAME)
            assert (found.members, rows(found)) == ([], [])
            record = json.loads(as_json(found))
            assert (record["front"], record["hypervolume"], record["hypervolume_unit"]) == ([], 0.0, None)
            with pytest.raises(ValueError, match="study 'phone' has no complete trial yet"):
                _ = found.best
            if not found.trials:
                add(store, study, CHEAP)


def test_an_unknown_study_is_named(small_store: Store) -> None:
    with pytest.raises(UnknownStudy, match="did you mean 'phone'"):
        overview(small_store, "phon")


def test_values_are_found_by_name_and_protocol(small_store: Store, small_setup: Setup) -> None:
    found = overview(small_store, NAME)
    measured = found.best.measurements
    assert value(measured, "psnr_y") == pytest.approx(baseline(small_setup) + 1.5)
    assert value(measured, "psnr_y", "Y, on the moon") is None
    assert value(measured, "macs", "bias, 3x256x256") == cost(DEAR, TASK).operations("bias")
    assert baseline_value(found.study, *small_setup.objective) == baseline(small_setup)
    with pytest.raises(KeyError):
        baseline_value(found.study, "psnr_y", "Y, on the moon")


def test_limits_come_from_either_kind_of_budget() -> None:
    assert limits({"gmacs": None, "max_gmacs": 0.5}) == (0.0, 0.5)
    assert limits({"gmacs": "0.25:1", "max_gmacs": None}) == (0.25, 1.0)

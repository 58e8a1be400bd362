"""What a study found, from a store filled as a search leaves it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from results.analysis.overview import (
    as_json,
    baseline_value,
    cost_key,
    floor_of,
    goal_text,
    overview,
    rows,
    value,
)
from results.store.store import Store, UnknownStudy
from search.study.context import Setup
from spaces.architecture import Block
from spaces.build import cost
from spaces.topologies.chain import Chain
from tests.results.studies import (
    BEATEN,
    BUDGET,
    CHEAP,
    DEAR,
    NAME,
    PUBLISHED,
    TASK,
    add,
    complete,
    fill_stages,
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
        "stage": "search",
        "parent": None,
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


def test_a_goal_is_told_in_words(small_store: Store) -> None:
    study = small_store.study(NAME)

    def told(budget: list[float | None], **said: object) -> str:
        config = study.config | {"min_psnr": said.get("min_psnr")}
        return goal_text(replace(study, config=config, data=study.data | {"budget": budget} | said))

    assert told([0.0, 2.0]) == "at most 2 GMACs"
    assert told([0.25, 1.0]) == "0.25 to 1 GMACs"
    assert told([0.0, None], min_psnr=28.125) == "psnr_y of at least 28.125 dB"
    assert told([0.0, None]) == "the highest psnr_y"
    assert told([0.5, None]) == "at least 0.5 GMACs"
    rfdn = {"quality": 32.0412, "label": "rfdn"}
    assert (
        told([0.0, 20.0], goal=rfdn, min_psnr="rfdn")
        == "at most 20 GMACs, psnr_y of at least 32.041 dB (rfdn)"
    )


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[tuple[Store, float]]:
    """A study of several stages, and bicubic's score."""
    with Store.open(tmp_path / "results.db") as store:
        yield store, baseline(fill_stages(store, tmp_path))


def test_one_front_is_over_all_stages(staged: tuple[Store, float]) -> None:
    store, bicubic = staged
    found = overview(store, NAME)
    assert [(trial.number, trial.stage) for trial in found.members] == [
        (7, "distil"),
        (5, "distil"),
        (0, "published"),
    ]
    assert [(r["trial"], r["stage"], r["parent"]) for r in rows(found)] == [
        (7, "distil", 6),
        (5, "distil", 3),
        (0, "published", None),
    ]
    assert len(found.front.points) == 8
    assert found.front.worthless == 2  # pruned, and not yet trained again
    cheap, dear = (cost(architecture, TASK).macs for architecture in (CHEAP, DEAR))
    volume = (BUDGET * GIGA - cheap) * 1.0 + (
        BUDGET * GIGA - dear
    ) * 1.0  # published: past the budget, adds nothing
    assert found.front.hypervolume == pytest.approx(volume)
    assert found.front.reference is not None
    assert found.front.reference.quality == bicubic


def test_the_best_is_the_highest_quality_within_the_budget(staged: tuple[Store, float]) -> None:
    found = overview(staged[0], NAME)
    assert found.floor is None
    assert found.best.number == 5  # the published network is better, and costs too much
    assert json.loads(as_json(found))["best"] == 5
    none = replace(found, budget=(0.0, 0.1))
    with pytest.raises(
        ValueError, match=r"the cheapest trial of its front, 7, costs 0\.1882 GMACs: prune it"
    ):
        _ = none.best
    assert json.loads(as_json(none))["best"] is None
    worthless = replace(found.front, members=tuple(p for p in found.front.members if p.cost > 0.5 * GIGA))
    with pytest.raises(ValueError, match="no trial that costs so little beats bicubic: train longer"):
        _ = replace(found, budget=(0.0, 0.5), front=worthless).best


@pytest.mark.parametrize(("above", "number"), [(0.5, 7), (1.0, 7), (1.25, 5), (2.25, 0)])
def test_the_best_is_the_cheapest_that_reaches_a_floor(
    staged: tuple[Store, float], above: float, number: int
) -> None:
    store, bicubic = staged
    found = replace(overview(store, NAME), floor=("rfdn", bicubic + above), budget=(0.0, None))
    assert found.best.number == number
    if number == 0:
        with pytest.raises(ValueError, match=rf"the best reached is {bicubic + 2:.3f} \(trial 5\)"):
            _ = replace(found, budget=(0.0, BUDGET)).best


def test_without_a_limit_hypervolume_is_measured_from_the_dearest_trial(tmp_path: Path) -> None:
    goal = {"quality": 99.0, "label": "rfdn"}
    with Store.open(tmp_path / "results.db") as store:
        made = fill_stages(store, tmp_path, goal=goal)
        found = overview(store, NAME)
        empty = overview(store, new_study(store, made, "empty", goal).name)
    assert (found.budget, found.floor) == ((0.0, None), ("rfdn", 99.0))
    assert found.front.reference is not None
    assert found.front.reference.cost == cost(PUBLISHED, TASK).macs
    assert found.front.reference.meaning == "the dearest trial, 4.043 GMACs; bicubic"
    with pytest.raises(ValueError, match=r"psnr_y of at least 99 dB \(rfdn\); the best reached is "):
        _ = found.best
    record = json.loads(as_json(found))
    assert (record["budget_gmacs"], record["best"]) == ([0.0, None], None)
    assert record["floor"] == {"name": "rfdn", "value": 99.0}
    assert (empty.front.reference, empty.front.hypervolume) == (None, None)
    assert json.loads(as_json(empty))["reference"] is None


def test_a_plain_number_is_a_floor(small_store: Store) -> None:
    study = small_store.study(NAME)
    assert floor_of(study) is None
    assert floor_of(replace(study, config=study.config | {"min_psnr": 28.5})) == ("", 28.5)

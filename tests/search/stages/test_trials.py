"""Stages after the search, on a real store and tiny real trainings that run in this process."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from evaluators.training.recipe import Recipe
from evaluators.training.recipe import Stage as TrainingStage
from evaluators.trial import Failed, RungReached, evaluate, score, weights_of
from results.analysis.overview import overview
from results.render.card import stage_text
from results.store.schema import Trial
from results.store.store import Store
from search.config import ConfigError, resolve
from search.stages.prune import PruneOptions, prune_trial, report
from search.stages.teachers import find_teacher, trial_teacher
from search.stages.trials import InterruptedStage, Order, Plan, StageError, Stages, prune_all, recipe_of
from search.stages.winner import score_on_test, trial_network
from search.study.opening import Opened, Place, open_study
from spaces.architecture import Architecture
from spaces.baselines import published
from spaces.build import build
from spaces.topologies.pruned import Pruned
from tests.results.studies import DEAR as DEAR_CHAIN
from tests.results.studies import NAME, complete, new_study, scores, setup
from tests.search.studies import InProcess, noting, with_pool

CHEAP, DEAR, FAILED = 0, 2, 3  # trials of the study that ``fill`` makes
SHORT = Recipe((TrainingStage(4, "l1", 1e-3, 2, 16),), precision="float32")
TAUGHT = Recipe((TrainingStage(4, "l1", 1e-3, 2, 16, distil=0.5),), precision="float32")


def made(trial: Trial) -> dict[str, Any]:
    """How a trial was made."""
    assert trial.origin is not None
    return trial.origin


def test_a_pruned_trial_is_on_record_with_what_it_was_made_from(opened: Opened) -> None:
    stages = Stages(opened)
    parent = stages.chosen(str(DEAR))
    target = 0.6 * stages.gmacs(parent)
    found = stages.prune(parent, target, criterion="l1")
    assert (found.stage, found.state, found.parent_id) == ("prune", "complete", parent.id)
    assert 0.99 * target < stages.gmacs(found) <= target
    assert made(found)["criterion"] == "l1"
    assert made(found)["target_gmacs"] == target
    assert made(found)["max_error"] < 1e-5
    architecture = Architecture.from_json(found.architecture)
    assert isinstance(architecture, Pruned)
    assert architecture.base.digest == parent.digest
    again = score(trial_network(opened, found), "sr-x2", opened.bench.data.validation)
    assert {m.key: m.value for m in again}[opened.bench.objective] == stages.quality(found)


def test_what_is_on_record_is_not_made_again(opened: Opened) -> None:
    stages = Stages(opened)
    parent = stages.chosen(str(DEAR))
    first = stages.prune(parent, 1.0, criterion="taylor")
    (trained,) = stages.train([Order(first, SHORT)])
    assert trained.state == "complete"
    count = len(opened.store.trials(opened.study.id))
    later = Stages(with_pool(opened, lambda job: pytest.fail("trained again")))
    assert later.prune(parent, 1.0, criterion="taylor") == first
    assert later.train([Order(first, SHORT)]) == [trained]
    assert len(opened.store.trials(opened.study.id)) == count
    assert later.prune(parent, 1.0, criterion="l1").number == count  # another way is another trial


def test_a_pruning_that_was_cut_off_is_done_again(opened: Opened) -> None:
    class Killed(Stages):
        def _complete(self, trial: Any, *rest: Any) -> None:
            self._store.start_trial(trial.id)
            raise KeyboardInterrupt

    parent = Stages(opened).chosen(str(DEAR))
    with pytest.raises(KeyboardInterrupt):
        Killed(opened).prune(parent, 1.0)
    assert [t.state for t in opened.store.children(parent.id)] == ["running"]
    found = Stages(opened).prune(parent, 1.0)
    assert opened.store.children(parent.id) == (found,)
    assert found.state == "complete"


def test_training_starts_from_the_parents_weights_and_has_its_teacher(opened: Opened) -> None:
    noted, jobs = noting(opened)
    stages = Stages(noted)
    parent = stages.chosen(str(DEAR))
    teacher = trial_teacher(parent, opened)
    assert teacher.quality == pytest.approx(_scored(opened, parent))
    pruned = stages.prune(parent, 1.0)
    finetuned, distilled = stages.train([Order(pruned, SHORT), Order(pruned, TAUGHT, teacher)])
    assert [finetuned.stage, distilled.stage] == ["finetune", "distil"]
    assert {t.parent_id for t in (finetuned, distilled)} == {pruned.id}
    assert all(job.start == weights_of(trial_network(opened, pruned)) for job in jobs)
    assert [job.teacher is not None for job in jobs] == [False, True]
    assert made(distilled)["teacher"][0]["trial"] == DEAR
    assert finetuned.digest == pruned.digest
    assert [t.number for t in opened.store.lineage(distilled.id)] == [DEAR, pruned.number, distilled.number]
    assert list((opened.folder / "teachers").rglob("*.npy"))


def test_training_from_scratch_takes_the_architecture_alone(opened: Opened) -> None:
    noted, jobs = noting(opened)
    stages = Stages(noted)
    parent = stages.chosen(str(DEAR))
    own = recipe_of(stages, None, 4)
    assert own == opened.bench.recipe.scaled(4)
    tuned, anew = stages.train([Order(parent, own), Order(parent, own, from_scratch=True)])
    assert [job.start is None for job in jobs] == [False, True]
    assert (anew.stage, anew.digest, anew.parent_id) == ("finetune", parent.digest, parent.id)
    assert tuned.number != anew.number
    study = opened.store.study(opened.study.name)
    assert "; from random weights" in stage_text(study, anew)
    assert "from random weights" not in stage_text(study, tuned)
    assert stages.train([Order(parent, own, from_scratch=True)]) == [anew]


def _scored(opened: Opened, trial: Any) -> float:
    scores = score(trial_network(opened, trial), "sr-x2", opened.bench.data.validation)
    return {m.key: m.value for m in scores}[opened.bench.objective]


def test_an_interrupted_training_goes_on_from_its_rung(opened: Opened) -> None:
    stages = Stages(opened)
    parent = stages.chosen(str(CHEAP))

    class Stopping(InProcess):
        def events(self, timeout_s: float) -> Any:
            for key, event in super().events(timeout_s):
                stages._interrupt() if isinstance(event, RungReached) else None
                yield key, event

    pool = Stopping(partial(evaluate, data=opened.bench.data))
    stages.opened = replace(opened, pool=lambda: pool)
    with pytest.raises(InterruptedStage):
        stages.train([Order(parent, SHORT)])
    (waiting,) = opened.store.trials(opened.study.id, stages=["finetune"])
    assert waiting.state == "waiting"
    noted, jobs = noting(opened)
    (found,) = Stages(noted).train([Order(parent, SHORT)])
    assert (found.number, found.state) == (waiting.number, "complete")
    starts = [job.checkpoint for job in jobs]
    assert len(starts) == 1
    assert starts[0] is not None


def test_a_failed_training_is_on_record_and_tried_anew_by_the_next_run(
    opened: Opened, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = Stages(opened).chosen(str(CHEAP))
    failing = Stages(with_pool(opened, lambda job: iter([Failed("diverged")])))
    (failed,) = failing.train([Order(parent, SHORT)])
    assert (failed.state, failed.reason) == ("failed", "diverged")
    (again,) = failing.train([Order(parent, SHORT)])
    assert (again.state, made(again)["after_failure"]) == ("failed", failed.number)
    with pytest.raises(StageError, match=f"trial {again.number} failed: diverged"):
        report(failing, parent, [again], json=True)
    record = json.loads(capsys.readouterr().out)
    assert ([t["state"] for t in record["trials"]], record["next"]) == (["complete", "failed"], None)
    (found,) = Stages(opened).train([Order(parent, SHORT)])
    assert found.state == "complete"
    assert made(found)["after_failure"] == again.number
    assert Stages(opened).train([Order(parent, SHORT)]) == [found]


def test_iterations_go_down_by_the_same_factor_with_recovery_between(opened: Opened) -> None:
    stages = Stages(opened)
    parent = stages.chosen(str(DEAR))
    cost = stages.gmacs(parent)
    plan = Plan("l1", iterations=2, recovery=SHORT, recover_last=False)
    (chain,) = prune_all(stages, [(parent, 0.25 * cost)], plan)
    assert [t.stage for t in chain] == ["prune", "finetune", "prune"]
    assert made(chain[0])["target_gmacs"] == pytest.approx(0.5 * cost)
    assert made(chain[2])["target_gmacs"] == pytest.approx(0.25 * cost)
    assert opened.store.lineage(chain[2].id) == (parent, *chain)
    again = prune_all(stages, [(parent, 0.25 * cost)], replace(plan, recover_last=True))[0]
    assert again[:3] == chain
    assert again[3].stage == "finetune"
    with pytest.raises(ConfigError, match="2 iterations need a recovery between them"):
        prune_all(stages, [(parent, 1.0)], replace(plan, recovery=None))


def test_a_chain_ends_where_its_recovery_fails(opened: Opened) -> None:
    stages = Stages(with_pool(opened, lambda job: iter([Failed("diverged")])))
    wanted = [(stages.chosen(str(DEAR)), 0.5)]
    (chain,) = prune_all(stages, wanted, Plan(iterations=3, recovery=SHORT))
    assert [(t.stage, t.state) for t in chain] == [("prune", "complete"), ("finetune", "failed")]


def test_channels_at_zero_are_removed_for_free(opened: Opened) -> None:
    sparse = replace(TrainingStage(3, "l1", 1e-3, 2, 16, "constant"), sparsity=200.0)
    stages = Stages(opened)
    parent = stages.chosen(str(DEAR))
    (trained,) = stages.train([Order(parent, Recipe((sparse,), ema=0.0, precision="float32"))])
    found = stages.remove_zero(trained)
    assert stages.gmacs(found) < stages.gmacs(parent)
    assert stages.quality(found) == pytest.approx(stages.quality(trained), abs=1e-3)


@pytest.mark.parametrize(
    ("weight", "stages_made"), [(1e-3, ["finetune", "prune", "prune"]), (200.0, ["finetune", "prune"])]
)
def test_sparse_training_comes_before_pruning_and_may_be_enough(
    opened: Opened, weight: float, stages_made: list[str]
) -> None:
    stages = Stages(opened)
    parent = stages.chosen(str(DEAR))
    options = PruneOptions(ratio=0.7, criterion="l1", sparsity=weight, sparse_steps=6)
    found = prune_trial(stages, parent, options)
    assert [trial.stage for trial in found] == stages_made
    assert made(found[0])["recipe"]["stage"][0]["sparsity"] == weight
    assert stages.gmacs(found[-1]) <= 0.7 * stages.gmacs(parent)
    if weight < 1:
        assert stages.gmacs(found[-1]) > 0.995 * 0.7 * stages.gmacs(parent)


def test_a_published_network_starts_a_lineage(opened: Opened, tmp_path: Path) -> None:
    known = published("pan-x2")
    torch.manual_seed(0)
    file = tmp_path / "pan.safetensors"
    file.write_bytes(weights_of(build(known.architecture, known.task)))
    stages = Stages(opened)
    found = stages.publish("pan-x2", file)
    assert (found.stage, found.state, found.parent_id) == ("published", "complete", None)
    assert stages.publish("pan-x2", file) == found
    assert stages.gmacs(found) > 1


def test_weights_that_are_not_finite_fail_and_fail_again(opened: Opened, tmp_path: Path) -> None:
    known = published("pan-x2")
    network = build(known.architecture, known.task)
    next(network.parameters()).data.fill_(float("nan"))
    file = tmp_path / "pan.safetensors"
    file.write_bytes(weights_of(network))
    for _ in range(2):
        with pytest.raises(StageError, match="failed: the network's output is NaN"):
            Stages(opened).publish("pan-x2", file)
    assert [t.state for t in opened.store.trials(opened.study.id, stages=["published"])] == ["failed"]
    with pytest.raises(ValueError, match="teacher pan-x2: the network's output is NaN: check its weights"):
        find_teacher([f"pan-x2={file}"], opened)


def test_workers_that_cannot_be_had_leave_no_trial(opened: Opened) -> None:
    def none() -> Any:
        raise ConfigError("no Ray cluster answers")

    before = opened.store.trials(opened.study.id)
    stages = Stages(replace(opened, pool=none))
    with pytest.raises(ConfigError, match="no Ray cluster"):
        stages.train([Order(stages.chosen(str(CHEAP)), SHORT)])
    assert opened.store.trials(opened.study.id) == before


def test_the_workers_of_one_command_are_not_the_studys(place: Place) -> None:
    said = {"workers.ray_address": "nowhere:1", "workers.retries": 7}
    with open_study(said, place=place, study=NAME, resume=True, searching=False) as opened:
        assert opened.bench.config.workers.ray_address == "nowhere:1"
        assert opened.study.config["workers"] == resolve({"max_gmacs": 1}).workers.model_dump(mode="json")


def test_a_teacher_worse_than_the_student_is_told_of_once(
    opened: Opened, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = Stages(replace(opened, console=Console(width=160)))
    parent = stages.chosen(str(DEAR))
    teacher = replace(trial_teacher(parent, opened), quality=1.5)
    for told in (1, 0):
        stages.train([Order(parent, TAUGHT, teacher)])
        assert capsys.readouterr().out.count(f"1.500 dB against {stages.quality(parent):.3f} dB") == told


def test_targets_and_trials_that_cannot_be_are_refused(opened: Opened) -> None:
    stages = Stages(opened)
    parent = stages.chosen(str(DEAR))
    own = stages.gmacs(parent)
    with pytest.raises(ValueError, match=rf"isn't below what trial {DEAR} costs, {own:.4g} GMACs"):
        stages.check_target(parent, own)
    with pytest.raises(
        ValueError, match=f"smallest widths of trial {DEAR} cost, {stages.least(parent):.4g} GMACs"
    ):
        stages.check_target(parent, 1e-6)
    stages.check_target(parent, 1.001 * stages.least(parent))
    assert stages.least(parent, round_to=4) > stages.least(parent)
    with pytest.raises(ValueError, match=r"trial 3 is failed \(diverged.*\): choose a complete one"):
        stages.chosen(str(FAILED))
    with pytest.raises(ValueError, match="a patch of 999x999 input pixels is larger"):
        stages.train([Order(parent, Recipe((TrainingStage(4, "l1", 1e-3, 2, 999),)))])


def test_recipes_get_the_studys_losses_patch_and_precision(opened: Opened) -> None:
    recipe = recipe_of(Stages(opened), "distil", 50)
    assert recipe.steps == 50
    assert recipe.precision == "float32"
    assert {stage.patch for stage in recipe.stages} == {16}


def test_teachers_are_trials_published_networks_and_exported_files(opened: Opened, tmp_path: Path) -> None:
    from results.export.trial import export_trial

    known = published("pan-x2")
    weights = tmp_path / "pan.safetensors"
    weights.write_bytes(weights_of(build(known.architecture, known.task)))
    stages = Stages(opened)
    best = overview(opened.store, NAME).best
    file = tmp_path / "exported.safetensors"
    task = opened.bench.task.interface
    export_trial(opened.store, opened.study, best, task, file, "safetensors", folder=opened.folder)
    same = [find_teacher([spec], opened) for spec in (f"{NAME}:best", f"{NAME}:{best.number}", str(file))]
    assert len({t.spec.digest for t in same}) == 1
    assert same[0].quality == pytest.approx(_scored(opened, best))
    both = find_teacher([f"{NAME}:{CHEAP}", f"pan-x2={weights}"], opened)
    assert both.name == f"{NAME}:{CHEAP} + pan-x2"
    assert len(both.spec.members) == 2
    (trained,) = stages.train([Order(stages.chosen(str(CHEAP)), TAUGHT, both)])
    assert [m.get("published") for m in made(trained)["teacher"]] == [None, "pan-x2"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nonsense", "a teacher is STUDY:TRIAL, NAME=WEIGHTS"),
        (f"{NAME}:99", "no trial 99"),
        (f"{NAME}:{FAILED}", "it has no weights"),
        ("phoney:1", "phone"),
        ("rfdn=RFDN.pth", "'rfdn' was published for sr-x4, the study is of sr-x2"),
        ("rfdnn=RFDN.pth", "did you mean 'rfdn'"),
        ("none.safetensors", "none.safetensors: can't be read"),
    ],
)
def test_other_teachers_are_refused(opened: Opened, spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_teacher([spec], opened)


def test_a_teacher_of_another_task_is_refused(opened: Opened) -> None:
    columns = ("strategy", "seed", "space_name", "space_digest", "space", "data_digest", "data", "config")
    same = {name: getattr(opened.study, name) for name in (*columns, "environment")}
    opened.store.create_study("other", task="denoise", **same)
    with pytest.raises(ValueError, match="teacher other:0 is for denoise, the student for sr-x2"):
        find_teacher(["other:0"], opened)


def test_test_images_are_scored_once(opened: Opened) -> None:
    pruned = Stages(opened).prune(Stages(opened).chosen(str(DEAR)), 1.0)
    before = len(pruned.measurements)
    for _ in range(2):
        score_on_test(opened, [opened.store.trial(opened.study.id, pruned.number)])
    after = opened.store.trial(opened.study.id, pruned.number).measurements
    assert len(after) == before + 4


def test_what_pruning_makes_is_measured_as_the_study_goes_for_it(tmp_path: Path) -> None:
    """Latency of a pruned network; of what is trained on from it the same, without another measurement."""
    with Store.open(tmp_path / "results.db") as store:
        made_with = setup(tmp_path / "images", objectives=("psnr", "gmacs", "latency"))
        study = new_study(store, made_with)
        parent = complete(store, study, DEAR_CHAIN, scores(made_with, 1.5), tmp_path)
    place = Place(str(tmp_path / "results.db"), tmp_path / "runs")
    with open_study({}, place=place, study=NAME, resume=True, searching=False) as opened:
        opened = with_pool(opened)
        counted: list[str] = []
        measure = opened.bench.runtimes.measure

        def counting(architecture: Architecture, names: Any, **more: Any) -> Any:
            counted.append(architecture.digest)
            return measure(architecture, names, **more)

        opened.bench.runtimes.measure = counting  # type: ignore[method-assign]
        stages = Stages(opened)
        pruned = stages.prune(parent, 0.6 * stages.gmacs(parent), criterion="l1")
        (tuned,) = stages.train([Order(pruned, SHORT)])
        latency = opened.bench.objective_of("latency")
        assert latency.find(pruned.measurements) == latency.find(tuned.measurements)
        assert (latency.find(pruned.measurements) or 0) > 0
        assert counted == [pruned.digest]
        found = overview(opened.store, NAME)
        assert {point.number for point in found.front.points} == {pruned.number, tuned.number}

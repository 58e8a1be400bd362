"""The store: one contract on SQLite and PostgreSQL; then faults, processes and growing work on real files."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.command import downgrade, upgrade
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, create_engine, text

from results.store import migrations
from results.store.rows import variant_of
from results.store.schema import SCHEMA_VERSION, Artifact, Base, Stage, Study, Trial
from results.store.store import Store, StoreError, StudyExists, UnknownStudy
from spaces.measurement import Measurement
from tests.work import DatabaseWork, calls, database_work

NOBODY = 65534
PROTOCOL = "Y, 8-bit, border 4, on set5 (1a2b3c4d5e6f)"
COSTS = (
    Measurement("macs", 1.5e8, "1", "min", "MACs without bias, 3x256x256"),
    Measurement("parameters", 12_000, "1", "min", "all"),
)
WEIGHTS = Artifact("weights", "study/0.safetensors", "ab" * 32, 3_000_000_000)


def psnr(value: float) -> Measurement:
    return Measurement("psnr_y", value, "dB", "max", PROTOCOL)


def new_study(store: Store, name: str = "mobile-x4") -> Study:
    return store.create_study(
        name,
        task="sr-x4",
        strategy="nsga2",
        seed=7,
        space_name="sr",
        space_digest="5face",
        space={"genes": [["width", [8, 16]]]},
        data_digest="da7a",
        data={"train": 800},
        config={"budget": {"gmacs": 0.2}},
        environment={"torch": "2.9"},
    )


def new_trial(store: Store, study: Study, n: int, **options):
    options = {"ask_number": n, "genotype": [n, "relu"], "measurements": COSTS, **options}
    return store.add_trial(study.id, digest=f"{n:012x}", architecture_json=f'{{"n":{n}}}', **options)


def new_child(store: Store, study: Study, n: int, parent: Trial | None, stage: Stage, **options):
    """A trial that no strategy asked for."""
    parent_id = None if parent is None else parent.id
    options = {"ask_number": None, "genotype": None, **options}
    return new_trial(store, study, n, stage=stage, parent_id=parent_id, **options)


def complete_trial(store: Store, study: Study, n: int, value: float = 30.0):
    trial = new_trial(store, study, n)
    store.start_trial(trial.id, "worker-1")
    store.add_rung(trial.id, 100, 0.05, 2.0, [psnr(value - 1)])
    store.finish_trial(trial.id, [psnr(value)], seconds=4.0)
    return store.trial(study.id, trial.number)


# Databases


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path) -> str:
    """An empty database: a path or a URL."""
    if request.param == "sqlite":
        return str(tmp_path / "deep" / "results.db")
    return request.getfixturevalue("postgresql").new_database()


@pytest.fixture
def store(place) -> Iterator[Store]:
    with Store.open(place) as opened:
        yield opened


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "results.db"


class TestContract:
    """What every database must do alike."""

    def test_every_write_counts_and_marks_its_trial(self, store):
        study = new_study(store)
        other = new_study(store, "other")
        trial, second = new_trial(store, study, 0), new_trial(store, study, 1)
        writes = (
            lambda: store.start_trial(trial.id),
            lambda: store.requeue_trial(trial.id),
            lambda: store.start_trial(trial.id),
            lambda: store.pause_trial(trial.id),
            lambda: store.start_trial(trial.id),
            lambda: store.add_rung(trial.id, 10, 0.5, 1.0, [psnr(20.0)]),
            lambda: store.finish_trial(trial.id, [psnr(21.0)], seconds=1.0),
            lambda: store.add_measurements(trial.id, [replace(psnr(22.0), name="ssim")]),
            lambda: store.add_artifact(trial.id, WEIGHTS),
        )
        revision = store.revision(study.id)
        for number, write in enumerate(writes, 1):
            write()
            assert store.revision(study.id) == store.trial(study.id, 0).revision == revision + number
        store.record_ask(study.id, 2, [2], "rejected", reason="too dear")
        store.set_config(study.id, {})
        store.set_study_state(study.id, "complete")
        assert store.revision(study.id) == store.study("mobile-x4").revision == revision + len(writes) + 3
        assert store.trial(study.id, 1).revision == second.revision == revision
        assert store.revisions() == {study.id: revision + len(writes) + 3, other.id: 1}

    def test_a_refused_write_counts_for_nothing(self, store):
        study = new_study(store)
        trial = complete_trial(store, study, 0)
        revision = store.revision(study.id)
        for write in (
            lambda: store.start_trial(trial.id),
            lambda: store.finish_trial(trial.id, [], seconds=1.0),
            lambda: store.add_measurements(trial.id, [psnr(1.0)]),
        ):
            with pytest.raises(StoreError):
                write()
        assert store.revision(study.id) == revision

    def test_what_changed_since_a_revision(self, store):
        study = new_study(store)
        first = complete_trial(store, study, 0, 31.0)
        revision = store.revision(study.id)
        child = new_child(store, study, 1, first, "prune")
        found = store.changed_values(study.id, since=revision)
        assert found.revision == store.revision(study.id)
        assert found.rows == [(1, child.id, 0, "prune", "waiting", revision + 1, 1)]
        assert {kind[0]: (list(ids), list(values)) for kind, (ids, values) in found.finals.items()} == {
            "macs": ([child.id], [1.5e8]),
            "parameters": ([child.id], [12_000.0]),
        }
        assert [row[0] for row in store.changed_values(study.id).rows] == [0, 1]
        assert store.changed_architectures(study.id, since=revision).rows == [(1, child.digest, '{"n":1}')]
        ended = store.trial(study.id, 0).finished_at.timestamp()
        (number, at, step), (_, *open_yet) = store.changed_times(study.id).rows
        assert (number, step, open_yet) == (0, 100, [None, None])
        assert store.spent(study.id) == (4.0, 100)
        assert abs(float(at) - ended) <= 1

    def test_a_store_to_read_refuses_every_write(self, store, place):
        study = new_study(store)
        with Store.open(place, create=False, read_only=True) as reader:
            assert reader.study("mobile-x4") == study
            with pytest.raises(StoreError, match="read-?only"):
                reader.set_study_state(study.id, "paused")
            complete_trial(store, study, 0)  # the writer isn't kept from it
            assert len(reader.trials(study.id)) == 1
        assert store.study("mobile-x4").state == "running"

    def test_a_study_comes_back_as_it_was(self, store, place):
        study = new_study(store)
        with Store.open(place, create=False) as reader:
            found = reader.study("mobile-x4")
        assert found == study
        assert found.space == {"genes": [["width", [8, 16]]]}
        assert (found.state, found.finished_at, found.seed) == ("running", None, 7)
        assert found.created_at.tzinfo is not None
        assert abs(datetime.now(UTC) - found.created_at) < timedelta(minutes=1)

    def test_a_taken_name_is_refused(self, store):
        new_study(store)
        with pytest.raises(StudyExists, match=r"'mobile-x4' already exists.*--resume.*--study"):
            new_study(store)
        assert len(store.studies()) == 1

    def test_an_unknown_study_names_the_nearest(self, store):
        with pytest.raises(UnknownStudy, match="none yet"):
            store.study("mobile")
        new_study(store, "mobile-x4")
        new_study(store, "server")
        with pytest.raises(UnknownStudy, match=r"mean 'mobile-x4'.*It has: mobile-x4, server"):
            store.study("mobil-x4")

    def test_study_states(self, store):
        study = new_study(store)
        store.set_study_state(study.id, "complete")
        assert store.study(study.name).finished_at is not None
        store.set_study_state(study.id, "running")
        assert store.study(study.name).finished_at is None
        with pytest.raises(StoreError, match="no study has id 99"):
            store.set_study_state(99, "paused")

    def test_summary_counts_and_best(self, store):
        study, other = new_study(store), new_study(store, "other")
        for n, value in enumerate((30.0, 32.0, 31.0)):
            complete_trial(store, study, n, value)
        store.fail_trial(new_trial(store, study, 3).id, "did not fit")
        new_trial(store, study, 4, measurements=[Measurement("macs", 1, "1", "min", COSTS[0].protocol)])
        dear = new_trial(
            store, study, 5, measurements=[Measurement("macs", 9e9, "1", "min", COSTS[0].protocol)]
        )
        store.start_trial(dear.id)
        store.finish_trial(dear.id, [], seconds=1)
        complete_trial(store, other, 0, 40.0)
        first, second = store.studies()
        assert (first.study, first.trials, first.complete, first.failed) == (study, 6, 4, 1)
        assert first.best == (*COSTS, psnr(32.0))
        assert (second.trials, second.best[-1].value) == (1, 40.0)

    def test_a_trial_goes_its_way(self, store):
        study = new_study(store)
        added = new_trial(store, study, 0)
        assert (added.number, added.state, added.attempts, added.measurements) == (0, "waiting", 0, COSTS)
        assert added == store.trial(study.id, 0)
        store.start_trial(added.id, "worker-1")
        running = store.trial(study.id, 0)
        assert (running.state, running.attempts, running.worker) == ("running", 1, "worker-1")
        store.finish_trial(added.id, [psnr(30.5)], [WEIGHTS], seconds=4.5)
        done = store.trial(study.id, 0)
        assert (done.state, done.seconds, done.measurements) == ("complete", 4.5, (*COSTS, psnr(30.5)))
        assert done.created_at <= done.started_at <= done.finished_at
        assert (done.genotype, done.architecture) == ([0, "relu"], '{"n":0}')
        assert store.artifacts(done.id) == (WEIGHTS,)

    def test_records_are_frozen(self, store):
        with pytest.raises(FrozenInstanceError):
            new_trial(store, new_study(store), 0).state = "complete"

    def test_numbers_count_per_study_and_stages_follow_parents(self, store):
        study, other = new_study(store), new_study(store, "other")
        parent = complete_trial(store, study, 0)
        new_trial(store, other, 0)
        pruned = new_trial(
            store, study, 0, stage="prune", parent_id=parent.id, ask_number=None, genotype=None
        )
        assert (pruned.number, pruned.parent_id, pruned.genotype) == (1, parent.id, None)
        assert [trial.number for trial in store.trials(other.id)] == [0]

    def test_an_architecture_is_at_a_stage_once_a_variant(self, store):
        study = new_study(store)
        parent = complete_trial(store, study, 0)
        made = [{"criterion": "l1", "target_gmacs": 1.5}, {"criterion": "taylor", "target_gmacs": 1.5}]
        pruned = [
            new_child(store, study, 1, parent, "prune", origin=origin, variant=variant_of(origin, parent))
            for origin in made
        ]
        assert [store.find_trial(study.id, "prune", t.variant) for t in pruned] == pruned
        assert [t.origin for t in store.trials(study.id, stages=["prune"])] == made
        assert store.find_trial(study.id, "distil", pruned[0].variant) is None
        with pytest.raises(StoreError, match="nothing is counted twice"):
            new_child(store, study, 1, parent, "prune", variant=pruned[0].variant)

    def test_lineage_and_children(self, store):
        study = new_study(store)
        root = new_child(store, study, 0, None, "published")
        pruned = [new_child(store, study, n, root, "prune") for n in (1, 2)]
        distilled = new_child(store, study, 1, pruned[0], "distil")
        assert store.lineage(distilled.id) == (root, pruned[0], distilled)
        assert store.lineage(root.id) == (root,)
        assert store.children(root.id) == tuple(pruned)
        assert store.children(distilled.id) == ()
        with pytest.raises(StoreError, match="no trial has id 99"):
            store.lineage(99)

    def test_a_parent_is_of_the_same_study(self, store):
        study, other = new_study(store), new_study(store, "other")
        foreign = new_trial(store, other, 0)
        for parent_id in (foreign.id, 99):
            with pytest.raises(StoreError, match=f"no trial of this study has id {parent_id}"):
                new_trial(store, study, 1, stage="prune", parent_id=parent_id)
        assert store.trials(study.id) == ()
        assert store.asks(study.id) == ()

    def test_a_published_network_is_not_what_came_of_a_study(self, store):
        study = new_study(store)
        for n, stage, value in ((0, "published", 32.0), (1, "search", 30.0)):
            trial = new_child(store, study, n, None, stage)
            store.start_trial(trial.id)
            store.finish_trial(trial.id, [psnr(value)], seconds=0.0)
        (summary,) = store.studies()
        assert (summary.complete, summary.best[-1]) == (2, psnr(30.0))

    def test_no_architecture_is_trained_twice(self, store):
        study = new_study(store)
        new_trial(store, study, 0)
        with pytest.raises(StoreError, match=r"add architecture 000000000000.*nothing is counted twice"):
            new_trial(store, study, 0, ask_number=1)
        assert [len(store.trials(study.id)), len(store.asks(study.id))] == [1, 1]

    def test_a_trial_and_its_ask_are_one(self, store):
        """The ask's number is taken: the trial must not stay behind alone, nor its costs."""
        study = new_study(store)
        store.record_ask(study.id, 0, [1], "rejected", reason="0.3 GMACs, budget 0.2")
        with pytest.raises(StoreError, match="nothing is counted twice"):
            new_trial(store, study, 0)
        assert store.trials(study.id) == ()
        assert new_trial(store, study, 1).number == 0

    def test_asks_replay_in_order(self, store):
        study = new_study(store)
        store.record_ask(study.id, 1, {"w": 8}, "rejected", reason="too big")
        trial = new_trial(store, study, 0)
        store.record_ask(study.id, 2, [0, "relu"], "duplicate", trial_id=trial.id)
        asks = store.asks(study.id)
        assert [ask.number for ask in asks] == [0, 1, 2]
        assert [ask.outcome for ask in asks] == ["trial", "rejected", "duplicate"]
        assert [ask.trial_id for ask in asks] == [trial.id, None, trial.id]
        assert (asks[1].genotype, asks[1].reason) == ({"w": 8}, "too big")

    @pytest.mark.parametrize(
        ("outcome", "options"),
        [("duplicate", {}), ("rejected", {}), ("rejected", {"reason": "x", "trial_id": 1})],
    )
    def test_half_an_ask_is_refused(self, store, outcome, options):
        study = new_study(store)
        with pytest.raises(ValueError, match="a duplicate needs the trial_id"):
            store.record_ask(study.id, 0, [1], outcome, **options)
        assert store.asks(study.id) == ()

    def test_illegal_moves_change_nothing(self, store):
        study = new_study(store)
        trial = new_trial(store, study, 0)
        with pytest.raises(StoreError, match="is waiting; only a running one can be set to complete"):
            store.finish_trial(trial.id, [psnr(30)], seconds=1)
        with pytest.raises(StoreError, match="is waiting; only a running one can be given a rung"):
            store.add_rung(trial.id, 1, 0.1, 1, [])
        store.start_trial(trial.id)
        with pytest.raises(StoreError, match="is running; only a waiting or paused one"):
            store.start_trial(trial.id)
        store.finish_trial(trial.id, [psnr(30)], seconds=1)
        done = store.trial(study.id, 0)
        for move in (
            lambda: store.finish_trial(trial.id, [psnr(31)], [WEIGHTS], seconds=2),
            lambda: store.fail_trial(trial.id, "late"),
            lambda: store.requeue_trial(trial.id),
            lambda: store.pause_trial(trial.id),
            lambda: store.start_trial(trial.id),
        ):
            with pytest.raises(StoreError, match="is complete; only a"):
                move()
        assert store.trial(study.id, 0) == done
        assert store.artifacts(trial.id) == ()

    def test_a_trial_rests_at_a_rung_and_goes_on(self, store):
        study = new_study(store)
        trial = new_trial(store, study, 0)
        store.start_trial(trial.id, "w1")
        store.add_rung(trial.id, 10, 0.5, 1.0, [psnr(28)])
        store.pause_trial(trial.id)
        resting = store.trial(study.id, 0)
        assert (resting.state, resting.worker, resting.attempts) == ("paused", None, 1)
        assert resting.measurements == COSTS
        assert store.trials(study.id, states=["paused"]) == (resting,)
        with pytest.raises(StoreError, match="is paused; only a running one"):
            store.add_rung(trial.id, 20, 0.4, 2.0)
        store.start_trial(trial.id, "w2")
        store.add_rung(trial.id, 20, 0.4, 2.0, [psnr(29)])
        store.finish_trial(trial.id, [psnr(29)], seconds=2.0)
        assert [rung.step for rung in store.rungs(study.id)] == [10, 20]
        assert store.trial(study.id, 0).attempts == 2

    def test_an_ask_keeps_what_was_told_before_it(self, store):
        study = new_study(store)
        new_trial(store, study, 0, told=[(0, 0), (2, 1)])
        store.record_ask(study.id, 1, [1], "rejected", reason="too dear", told=())
        store.record_ask(study.id, 2, [1], "rejected", reason="too dear")
        assert [ask.told for ask in store.asks(study.id)] == [((0, 0), (2, 1)), (), None]

    def test_an_unknown_trial(self, store):
        study = new_study(store)
        with pytest.raises(StoreError, match="no trial has id 99"):
            store.start_trial(99)
        with pytest.raises(StoreError, match="no trial has id 99"):
            store.add_rung(99, 1, 0.1, 1)
        with pytest.raises(ValueError, match="no trial 3; it has none yet"):
            store.trial(study.id, 3)
        new_trial(store, study, 0)
        with pytest.raises(ValueError, match="no trial 3; it has 0 to 0"):
            store.trial(study.id, 3)

    def test_a_failure_keeps_its_reason_and_gets_no_score(self, store):
        study = new_study(store)
        trial = new_trial(store, study, 0)
        with pytest.raises(ValueError, match="needs its reason"):
            store.fail_trial(trial.id, " ")
        store.start_trial(trial.id)
        store.fail_trial(trial.id, "diverged at step 3: \0 \udc80 π", seconds=2.0)
        failed = store.trial(study.id, 0)
        assert (failed.state, failed.reason) == ("failed", "diverged at step 3: \\0 \\udc80 π")
        assert failed.measurements == COSTS

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_no_number_is_made_up(self, store, value):
        study = new_study(store)
        with pytest.raises(ValueError, match=r"psnr_y .* is -?(nan|inf)"):
            new_trial(store, study, 0, measurements=[psnr(value)])
        trial = new_trial(store, study, 0)
        store.start_trial(trial.id)
        with pytest.raises(ValueError, match="psnr_y"):
            store.add_rung(trial.id, 1, 0.1, 1, [psnr(value)])
        with pytest.raises(ValueError, match="the loss is"):
            store.add_rung(trial.id, 1, value, 1)
        with pytest.raises(ValueError, match="psnr_y"):
            store.finish_trial(trial.id, [psnr(value)], seconds=1)
        assert store.trial(study.id, 0).state == "running"
        assert store.rungs(study.id) == ()

    def test_a_final_measurement_is_there_once(self, store):
        study = new_study(store)
        trial = new_trial(store, study, 0)
        store.start_trial(trial.id)
        with pytest.raises(StoreError, match="nothing is counted twice"):
            store.finish_trial(trial.id, [COSTS[0]], seconds=1)
        with pytest.raises(StoreError, match="nothing is counted twice"):
            store.finish_trial(trial.id, [psnr(30), psnr(31)], seconds=1)
        assert store.trial(study.id, 0).state == "running"

    def test_a_learning_curve(self, store):
        study = new_study(store)
        trial, other = new_trial(store, study, 0), new_trial(store, study, 1)
        for each in (trial, other):
            store.start_trial(each.id)
        store.add_rung(trial.id, 200, 0.1, 2.0, [psnr(29)])
        store.add_rung(trial.id, 100, 0.2, 1.0, [psnr(28)])
        store.add_rung(other.id, 100, 0.3, 1.0)
        with pytest.raises(StoreError, match="nothing is counted twice"):
            store.add_rung(trial.id, 100, 0.2, 1.0, [psnr(28)])
        curve = store.rungs(study.id, trial_id=trial.id)
        assert [(rung.step, rung.loss, rung.measurements) for rung in curve] == [
            (100, 0.2, (psnr(28),)),
            (200, 0.1, (psnr(29),)),
        ]
        assert [rung.trial_id for rung in store.rungs(study.id)] == [trial.id, trial.id, other.id]
        assert store.trial(study.id, 0).measurements == COSTS

    def test_a_later_attempt_replaces_the_steps_it_repeats(self, store):
        study = new_study(store)
        trial = new_trial(store, study, 0)
        store.start_trial(trial.id)
        for step in (100, 200):
            store.add_rung(trial.id, step, 0.2, 1.0, [psnr(28)])
        store.requeue_trial(trial.id)
        waiting = store.trial(study.id, 0)
        assert (waiting.state, waiting.attempts, waiting.worker) == ("waiting", 1, None)
        assert len(store.rungs(study.id)) == 2
        store.start_trial(trial.id)
        store.add_rung(trial.id, 200, 0.1, 2.0, [psnr(29)])
        curve = store.rungs(study.id)
        assert [(rung.step, rung.attempt, rung.measurements) for rung in curve] == [
            (100, 1, (psnr(28),)),
            (200, 2, (psnr(29),)),
        ]
        with pytest.raises(StoreError, match="nothing is counted twice"):
            store.add_rung(trial.id, 200, 0.1, 2.0)

    def test_trials_are_chosen_and_paged(self, store):
        study = new_study(store)
        complete_trial(store, study, 0)
        store.fail_trial(new_trial(store, study, 1).id, "x")
        new_trial(store, study, 2)
        new_trial(store, study, 3, stage="prune", ask_number=None)

        def numbers(**options):
            return [trial.number for trial in store.trials(study.id, **options)]

        assert numbers() == [0, 1, 2, 3]
        assert numbers(states=["complete", "failed"]) == [0, 1]
        assert numbers(stages=["prune"]) == [3]
        assert numbers(states=[]) == []
        page = store.trials(study.id, limit=2)
        assert [trial.measurements for trial in page] == [(*COSTS, psnr(30.0)), COSTS]
        assert numbers(since_id=page[-1].id, limit=1) == [2]

    def test_artifacts(self, store):
        trial = complete_trial(store, new_study(store), 0)
        onnx = Artifact("onnx", "0.onnx", "cd" * 32, 10)
        store.add_artifact(trial.id, WEIGHTS)
        store.add_artifact(trial.id, onnx)
        assert store.artifacts(trial.id) == (WEIGHTS, onnx)
        assert store.artifacts(trial.id, kind="onnx") == (onnx,)
        with pytest.raises(StoreError, match="not in this store"):
            store.add_artifact(99, onnx)

    def test_a_complete_trial_can_be_measured_again(self, store):
        trial = complete_trial(store, new_study(store), 0, 30.0)
        test = Measurement("psnr_y", 27.5, "dB", "max", "Y, 8-bit, border 4, on test (0123456789ab)")
        ssim = Measurement("ssim_y", 0.8, "1", "max", test.protocol)
        store.add_measurements(trial.id, [test, ssim])
        measured = store.trial(trial.study_id, 0)
        assert measured.measurements == (*COSTS, psnr(30.0), test, ssim)
        assert (measured.state, measured.seconds) == (trial.state, trial.seconds)
        assert set(store.studies()[0].best) == {*COSTS, psnr(30.0), test, ssim}

    def test_measuring_again_adds_all_or_nothing(self, store):
        """The second number is there already: the first must not stay behind."""
        trial = complete_trial(store, new_study(store), 0, 30.0)
        other = Measurement("psnr_y", 27.5, "dB", "max", "Y, 8-bit, border 4, on test (0123456789ab)")
        with pytest.raises(StoreError, match=f"can't measure trial {trial.id}.*nothing is counted twice"):
            store.add_measurements(trial.id, [other, psnr(31.0)])
        with pytest.raises(ValueError, match=r"psnr_y .* is inf: only finite numbers"):
            store.add_measurements(trial.id, [other, psnr(float("inf"))])
        assert store.trial(trial.study_id, 0) == trial

    def test_only_a_complete_trial_can_be_measured_again(self, store):
        study = new_study(store)
        trial = new_trial(store, study, 0)
        with pytest.raises(StoreError, match="is waiting; only a complete one can be measured again"):
            store.add_measurements(trial.id, [psnr(30)])
        store.fail_trial(trial.id, "diverged")
        with pytest.raises(StoreError, match="is failed; only a complete one can be measured again"):
            store.add_measurements(trial.id, [psnr(30)])
        with pytest.raises(StoreError, match="no trial has id 99"):
            store.add_measurements(99, [psnr(30)])
        assert store.trial(study.id, 0).measurements == COSTS

    def test_the_configuration_is_replaced(self, store, place):
        study, other = new_study(store), new_study(store, "other")
        store.set_study_state(study.id, "paused")
        config = {"trials": 40, "space": {"widths": [8, 16]}, "time": None, "odd": "é\0"}
        store.set_config(study.id, config)
        with Store.open(place, create=False) as reader:
            found = reader.study(study.name)
            assert reader.study(other.name) == other
        assert (found.config, found.state, found.data) == (config, "paused", study.data)
        with pytest.raises(StoreError, match="no study has id 99"):
            store.set_config(99, {})
        with pytest.raises(ValueError, match="JSON"):
            store.set_config(study.id, {"rate": float("nan")})
        assert store.study(study.name).config == config

    def test_an_interrupted_write_leaves_nothing(self, store):
        study = new_study(store)
        with pytest.raises(KeyboardInterrupt), store._write("test") as connection:  # noqa: PT012
            connection.execute(text("UPDATE studies SET state = 'failed'"))
            raise KeyboardInterrupt
        assert store.study(study.name).state == "running"

    def test_models_and_migrations_agree(self, store):
        with store._engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": migrations.VERSION_TABLE})
            assert compare_metadata(context, Base.metadata) == []

    def test_an_older_schema_is_upgraded(self, store, place):
        with store._engine.execution_options(begin="BEGIN IMMEDIATE").begin() as connection:
            downgrade(migrations.config(connection), "base")
            assert migrations.version(connection) is None
        with Store.open(place) as upgraded:
            assert new_study(upgraded).name == "mobile-x4"

    def test_why_a_study_stopped_is_on_record(self, store):
        study = new_study(store)
        assert study.stop is None
        store.set_study_state(study.id, "paused", "worker_hours")
        assert (store.study(study.name).state, store.study(study.name).stop) == ("paused", "worker_hours")
        trial = new_trial(store, study, 0)
        store.start_trial(trial.id)
        store.pause_trial(trial.id)
        (summary,) = store.studies()
        assert (summary.study.stop, summary.paused) == ("worker_hours", 1)
        store.set_study_state(study.id, "running")
        assert store.study(study.name).stop is None

    def test_an_older_study_of_which_nothing_is_complete_is_not_complete(self, store, place):
        """Older versions called a search complete that had left all of its networks at a rung."""
        empty, rested, done = (new_study(store, name) for name in ("empty", "rested", "done"))
        for study, ends in ((rested, False), (done, True)):
            trial = new_trial(store, study, 0)
            store.start_trial(trial.id)
            if ends:
                store.finish_trial(trial.id, [], seconds=1.0)
            else:
                store.pause_trial(trial.id)
        for study in (empty, rested, done):
            store.set_study_state(study.id, "complete")
        with store._engine.execution_options(begin="BEGIN IMMEDIATE").begin() as connection:
            downgrade(migrations.config(connection), "0004")
        with Store.open(place) as upgraded:
            states = {s.study.name: (s.study.state, s.study.finished_at is None) for s in upgraded.studies()}
        assert states == {"empty": ("paused", True), "rested": ("paused", True), "done": ("complete", False)}

    def test_an_upgrade_keeps_everything(self, place):
        if "://" not in place:
            Path(place).parent.mkdir()
        old_store(place, 2)
        with Store.open(place, create=False) as store:
            studies = [summary.study for summary in store.studies()]
            assert [study.data.get("budget") for study in studies] == [
                [0.25, 1.0],
                [0.0, 0.5],
                [0.5, None],
                None,
            ]
            assert [study.data["train"] for study in studies] == [1, 1, 1, 1]
            assert [study.config for study in studies] == list(OLD_CONFIGS)
            first, second, pruned = store.trials(1)
            assert [first.number, second.number, pruned.number] == [0, 1, 2]
            assert {(trial.origin, trial.variant) for trial in (first, second, pruned)} == {(None, "")}
            assert store.lineage(pruned.id) == (second, pruned)
            assert first.measurements == second.measurements == (psnr(30.5),)
            assert [(r.trial_id, r.measurements) for r in store.rungs(1)] == [
                (n, (psnr(30.5),)) for n in (1, 2)
            ]
            assert [ask.trial_id for ask in store.asks(1)] == [1, 2]
            assert store.artifacts(second.id) == (Artifact("weights", "w", "ab", 3),)
            # Its constraints hold as in a new one.
            new_child(store, studies[0], 0, first, "prune", variant="x")
            with pytest.raises(StoreError, match="nothing is counted twice"):
                new_child(store, studies[0], 0, first, "prune", variant="x")
            with pytest.raises(StoreError, match="It refers to a study, trial or rung"):
                store.add_artifact(99, WEIGHTS)
            with store._engine.connect() as connection:
                context = MigrationContext.configure(
                    connection, opts={"version_table": migrations.VERSION_TABLE}
                )
                assert compare_metadata(context, Base.metadata) == []

    def test_a_newer_schema_is_refused(self, store, place):
        with store._write("test") as connection:
            connection.execute(text(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'"))
        with pytest.raises(StoreError, match=r"made by a newer pixelfront .schema 9999.*upgrade pixelfront"):
            Store.open(place)

    def test_a_reader_wants_a_store_that_exists(self, place):
        with pytest.raises(StoreError, match="run a search first"):
            Store.open(place, create=False)
        assert "://" in place or not Path(place).parent.exists()

    def test_two_processes_may_create_it_at_once(self, place):
        code = f"from results.store.store import Store\nStore.open({place!r}).close()"
        processes = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(2)]
        assert [process.communicate(timeout=60)[1] for process in processes] == [b"", b""]
        with Store.open(place, create=False) as store:
            assert store.studies() == ()

    def test_another_programs_tables_are_left_alone(self, place):
        Store.open(place).close()
        engine = create_engine(place if "://" in place else f"sqlite:///{place}")
        with engine.begin() as connection:
            connection.execute(text(f"DROP TABLE {migrations.VERSION_TABLE}"))
        engine.dispose()
        with pytest.raises(StoreError, match=r"belongs to another program.*studies"):
            Store.open(place)


# Schema


OLD_CONFIGS = (
    {"gmacs": "0.25:1"},
    {"gmacs": None, "max_gmacs": 0.5},
    {"gmacs": "0.5:inf", "max_gmacs": None},
    {},
)


def old_store(place: str, count: int) -> None:
    """A store of version 0001: studies, of which the first has complete trials and one pruned from the last."""
    engine = create_engine(place if "://" in place else f"sqlite:///{place}")
    made = datetime(2026, 1, 1, tzinfo=UTC)
    digests = {"space_digest": "s", "data_digest": "d"}
    study = {
        "task": "t",
        "strategy": "s",
        "seed": 0,
        "space_name": "s",
        "space": "{}",
        "environment": "{}",
    } | digests
    trial = {"study_id": 1, "architecture": "{}", "state": "complete", "attempts": 1, "created_at": made}
    psnr_y = {"name": "psnr_y", "value": 30.5, "unit": "dB", "direction": "max", "protocol": PROTOCOL}
    with engine.begin() as connection:
        upgrade(migrations.config(connection), "0001")
        tables = MetaData()
        tables.reflect(connection)

        def add(table: str, rows: Iterable[dict]) -> None:
            connection.execute(tables.tables[table].insert(), list(rows))

        texts = [json.dumps(config) for config in OLD_CONFIGS]
        named = [{"name": f"study-{n}", "config": config} for n, config in enumerate(texts)]
        add(
            "studies",
            ({**study, **n, "data": '{"train":1}', "created_at": made, "state": "paused"} for n in named),
        )
        searched = [
            {"number": n, "digest": f"{n:x}", "stage": "search", "genotype": "[1]"} for n in range(count)
        ]
        add("trials", ({**trial, **each} for each in searched))
        add("trials", [{**trial, "number": count, "digest": "0", "stage": "prune", "parent_id": count}])
        ids = range(1, count + 1)
        add(
            "asks",
            ({"study_id": 1, "number": n, "genotype": "[1]", "outcome": "trial", "trial_id": n} for n in ids),
        )
        add("rungs", ({"trial_id": n, "step": 100, "attempt": 1, "loss": 0.5, "seconds": 2.0} for n in ids))
        add("measurements", ({**psnr_y, "trial_id": n, "step": step} for n in ids for step in (100, None)))
        file = {"kind": "weights", "path": "w", "sha256": "ab", "bytes": 3, "created_at": made}
        add("artifacts", ({**file, "trial_id": n} for n in ids))
    engine.dispose()


def test_schema_version_is_the_head():
    assert ScriptDirectory.from_config(migrations.config()).get_heads() == [SCHEMA_VERSION]


def test_migrations_write_the_same_ddl_as_the_models(file):
    """Stricter than compare_metadata, which sees neither checks nor where an index is partial."""

    def ddl(engine) -> set[str]:
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))
            found = {clauses(sql) for (sql,) in rows}
        engine.dispose()
        return {lines for lines in found if migrations.VERSION_TABLE not in " ".join(lines)}

    def clauses(sql: str) -> tuple[str, ...]:
        """In any order, a column a line, without quotes: migrations rebuild tables, and SQLite adds to a line."""
        lines = re.sub(", (revision|told|stop) ", r",\n\1 ", sql.replace('"', "")).splitlines()
        return tuple(sorted(line.strip(" \t,") for line in lines))

    Store.open(file).close()
    models = create_engine("sqlite://")
    Base.metadata.create_all(models)
    expected = ddl(models)
    assert len(expected) > 8
    assert ddl(create_engine(f"sqlite:///{file}")) == expected


def test_an_older_version_has_no_paused_trials(file):
    with Store.open(file) as store:
        study = new_study(store)
        trial = new_trial(store, study, 0)
        store.start_trial(trial.id)
        store.pause_trial(trial.id)
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        downgrade(migrations.config(connection), "0003")
        assert connection.scalar(text("SELECT state FROM trials")) == "waiting"
    engine.dispose()
    with Store.open(file) as store:
        assert store.trial(study.id, 0).state == "waiting"


def test_sqlite_settings(file):
    with Store.open(file) as store, store._read() as connection:
        values = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert values == ["wal", 1, 1, 10_000]


def test_a_path_may_hold_anything(tmp_path):
    odd = tmp_path / "a b%20?#'é" / "r%s.db"
    with Store.open(odd) as store:
        new_study(store)
    assert odd.exists()
    with Store.open(str(odd), create=False) as store:
        assert len(store.studies()) == 1


# Faults


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write anywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """A folder that holds a store, readable by all and writable by none."""
    folder = Path(tempfile.mkdtemp(prefix="pf-ro-"))
    with Store.open(folder / "results.db") as store:
        new_study(store)
    (folder / "results.db").chmod(0o444)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_read_only_folder_can_be_read_but_not_written(locked_folder):
    with as_nobody():
        with Store.open(locked_folder / "results.db", create=False) as reader:
            assert reader.study("mobile-x4").seed == 7
            with pytest.raises(StoreError, match=r"results\.db: can't create study.*readonly.*writable"):
                new_study(reader, "other")
        with pytest.raises(StoreError, match=r"new\.db: can't open the store: unable to open.*folder"):
            Store.open(locked_folder / "new.db")
        with pytest.raises(StoreError, match=r"can't open the store: .*Permission denied"):
            Store.open(locked_folder / "sub" / "new.db")


def test_an_older_store_that_cannot_be_written_says_so(tmp_path):
    folder = Path(tempfile.mkdtemp(prefix="pf-old-"))
    old_store(str(folder / "results.db"), 1)
    before = (folder / "results.db").read_bytes()
    (folder / "results.db").chmod(0o444)
    folder.chmod(0o555)
    try:
        reason = r"results\.db: can't upgrade it from schema 0001 to 0005: .*readonly.*writable"
        with as_nobody(), pytest.raises(StoreError, match=reason):
            Store.open(folder / "results.db", create=False)
        assert (folder / "results.db").read_bytes() == before
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_killed_upgrade_starts_over(file):
    """In one transaction: the old version stays until the new one is complete."""
    old_store(str(file), 2)
    code = f"""
import os
from results.store import migrations
from results.store.store import Store
upgrade = migrations.upgrade
migrations.upgrade = lambda connection: (upgrade(connection), os._exit(9))
Store.open({str(file)!r})
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 9
    with sqlite3.connect(file) as old:
        assert old.execute(f"SELECT version_num FROM {migrations.VERSION_TABLE}").fetchone() == ("0001",)
    old.close()
    with Store.open(file) as store:
        assert [trial.number for trial in store.trials(1)] == [0, 1, 2]


def test_a_full_disk_rolls_back_and_says_so(file):
    with Store.open(file) as store:
        study = new_study(store)
        with store._read() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
        reason = r"can't add architecture .*disk is full.*Free some disk space"
        with pytest.raises(StoreError, match=reason):  # noqa: PT012
            for n in range(1000):
                new_trial(store, study, n)
        assert 0 < len(store.trials(study.id)) == len(store.asks(study.id)) < 1000
        assert all(trial.measurements == COSTS for trial in store.trials(study.id))
        with store._read() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 100}")
        assert new_trial(store, study, n).number == n


def test_a_lock_held_by_another_is_reported(file):
    with Store.open(file, timeout_s=0.05) as store:
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            StoreError, match=r"can't create study 'mobile-x4': database is locked.*Another process"
        ):
            new_study(store)
        assert store.studies() == ()
        other.execute("ROLLBACK")
        other.close()
        assert new_study(store).id == 1


def test_a_file_of_another_kind_is_refused(file):
    file.write_bytes(b"PNG" * 1000)
    with pytest.raises(StoreError, match=r"results\.db: .*not a database.*Name another file"):
        Store.open(file)
    assert file.read_bytes() == b"PNG" * 1000


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@127.0.0.1:1/pixelfront",
        "postgresql://me@127.0.0.1:1/pixelfront?password=secret",
        "nosuch://me:secret@host/pixelfront",
        "postgresql://me:secret@host:port/pixelfront",
    ],
)
def test_an_unreachable_server_is_reported_without_the_password(url):
    """Without psycopg the message names the extra to install instead."""
    with pytest.raises(
        StoreError, match=r"can't .*(Check that the server runs|pixelfront\[postgresql\]|write)"
    ) as caught:
        Store.open(url, timeout_s=1)
    assert "secret" not in str(caught.value)


# Other processes


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


READER = """
import sys
import tempfile
from results.store.store import Store
with Store.open(sys.argv[1], create=False) as store:
    study = store.study("mobile-x4")
    for line in sys.stdin:
        print(len(store.trials(study.id)), flush=True)
"""


def test_another_process_reads_while_this_one_writes(file):
    with Store.open(file) as store:
        study = new_study(store)
        reader = python(READER, file)

        def seen() -> int:
            reader.stdin.write("\n")
            reader.stdin.flush()
            return int(reader.stdout.readline())

        assert seen() == 0
        complete_trial(store, study, 0)
        assert seen() == 1
        with store._write("test") as connection:
            connection.execute(text("UPDATE trials SET worker = 'x'"))
            assert seen() == 1  # reads past an open transaction
        reader.stdin.close()
        assert reader.wait(timeout=30) == 0


WRITER = """
import sys, time
from sqlalchemy import text
from results.store.store import Store
from spaces.measurement import Measurement
store = Store.open(sys.argv[1])
study = store.study("mobile-x4")
costs = [Measurement("macs", 1.0, "1", "min", "p"), Measurement("parameters", 1.0, "1", "min", "p")]
for n in range(int(sys.argv[2])):
    ask = {"ask_number": n, "genotype": [n], "measurements": costs}
    store.add_trial(study.id, digest=str(n), architecture_json="{}", **ask)
    print(n, flush=True)
with store._write("hang") as connection:
    connection.execute(text("UPDATE trials SET state = 'failed'"))
    connection.execute(text("DELETE FROM asks"))
    print("inside", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("count", [3, 100_000])
def test_a_killed_writer_leaves_a_consistent_store(file, count):
    """In mid-transaction (3), and somewhere in a busy loop (100,000)."""
    with Store.open(file) as store:
        new_study(store)
    writer = python(WRITER, file, count)
    acknowledged = [writer.stdout.readline().strip() for _ in range(4 if count == 3 else 25)]
    writer.kill()
    acknowledged += writer.stdout.read().split()
    writer.wait()
    assert ("inside" in acknowledged) == (count == 3)
    with Store.open(file) as store:
        study = store.study("mobile-x4")
        trials, asks = store.trials(study.id), store.asks(study.id)
        told = [int(n) for n in acknowledged if n.isdigit()]
        assert len(told) <= len(trials) <= len(told) + 1
        assert [ask.trial_id for ask in asks] == [trial.id for trial in trials]
        assert {(trial.state, len(trial.measurements)) for trial in trials} == {("waiting", 2)}
        with store._read() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        assert new_trial(store, study, len(asks)).number == len(trials)


# Speed: bounds from the design, several times what was measured (2.8 ms, 0.5 s, 2 ms on two shared cores);
# of the processor's time, for beside other programs the clock's is theirs too.


def fill(store: Store, study: Study, count: int) -> None:
    """Complete trials with 6 measurements each, past the API."""
    with store._write("fill") as connection:
        connection.execute(
            text(
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :last) "
                "INSERT INTO trials (study_id, number, stage, digest, architecture, genotype, state, "
                "attempts, created_at) SELECT :study, i, 'search', printf('x%d', i), '{}', '[1,2,3]', "
                "'complete', 1, '2026-01-01 00:00:00.000000' FROM n"
            ),
            {"study": study.id, "last": count - 1},
        )
        for name in ("macs", "parameters", "activations", "psnr_y", "psnr_rgb", "ssim_y"):
            connection.execute(
                text(
                    "INSERT INTO measurements (trial_id, name, value, unit, direction, protocol) "
                    "SELECT id, :name, number, '1', 'max', 'p' FROM trials WHERE study_id = :study"
                ),
                {"name": name, "study": study.id},
            )


def test_writing_a_trial_takes_as_much_work_with_thousands_as_with_few(file):
    with Store.open(file) as store:
        study = new_study(store)
        fill(store, study, 20)
        few = written(store, study, 0)
        store._engine.clear_compiled_cache()
        other = new_study(store, "larger")
        fill(store, other, 4000)
        many = written(store, other, 1)
        assert store.studies()[1].complete == 4001
    assert few.commits == many.commits == 4  # each waits for the disk: added, started, a rung, finished
    assert few.statements == many.statements
    assert many.instructions < 1.5 * few.instructions  # 200 times as many rows


def written(store: Store, study: Study, n: int) -> DatabaseWork:
    with database_work(store) as work:
        trial = new_trial(store, study, n)
        store.start_trial(trial.id, "w")
        store.add_rung(trial.id, 100, 0.1, 1.0, [psnr(29)])
        store.finish_trial(trial.id, [psnr(30)], seconds=1.0)
    return work


def test_loading_trials_takes_work_in_proportion_to_their_number(file):
    with Store.open(file) as store:
        small, large = new_study(store), new_study(store, "larger")
        fill(store, small, 500)
        fill(store, large, 2000)
        spent = []
        for study in (small, large):
            store.trials(study.id)  # compiles statements
            with database_work(store) as work:
                store.trials(study.id)
            spent.append((work, calls(partial(store.trials, study.id))))
        (few, few_calls), (many, many_calls) = spent
        assert few.statements == many.statements  # none for each trial
        assert many.instructions < 5 * few.instructions
        assert many_calls < 5 * few_calls
        loaded = store.trials(large.id)
        assert len(loaded) == 2000
        assert {len(trial.measurements) for trial in loaded} == {6}
        assert {measurement.value for measurement in loaded[777].measurements} == {777}


def test_opening_a_current_store_looks_at_its_version_only(file, monkeypatch):
    """The migrations are not loaded."""
    Store.open(file).close()
    monkeypatch.setattr(migrations, "config", lambda *_: pytest.fail("migrations were loaded"))
    with Store.open(file) as store:
        assert store.studies() == ()

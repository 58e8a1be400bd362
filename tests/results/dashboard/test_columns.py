"""Columns brought up to date step by step are those that are read at once."""

from __future__ import annotations

import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from results.dashboard.columns import StudyColumns, columns_of
from results.dashboard.features import unchecked
from results.store.store import Store
from spaces.architecture import Architecture, Block
from spaces.baselines import baseline, baseline_names
from spaces.measurement import Measurement
from spaces.topologies.chain import Chain
from spaces.topologies.pruned import Pruned
from spaces.topologies.unet import UNet
from tests.results import studies
from tests.results.studies import NAME
from tests.work import calls, database_work


def architectures() -> list[Chain]:
    return [Chain(width=8 + 4 * n, blocks=(Block("residual"),) * (1 + n % 3)) for n in range(12)]


def same(one: StudyColumns, other: StudyColumns) -> None:
    (first, known), (second, learnt) = one.features(), other.features()
    for name in ("revision", "ids", "parent", "state", "stage", "changed"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    assert first.values.keys() == second.values.keys()
    for metric, column in first.values.items():
        assert np.array_equal(column, second.values[metric], equal_nan=True), metric
    assert known == learnt
    assert np.array_equal(one.times()[1].table, other.times()[1].table, equal_nan=True)


def test_step_by_step_and_at_once_are_the_same(tmp_path):
    with Store.open(tmp_path / "results.db") as store:
        made = studies.setup(tmp_path / "images")
        study = studies.new_study(store, made)
        followed = StudyColumns(store, study.id)
        for number, architecture in enumerate(architectures()):
            parent = {} if number < 4 else {"parent_id": store.trial(study.id, 1).id, "stage": "prune"}
            trial = studies.add(store, study, architecture, **parent)
            followed.features()
            store.start_trial(trial.id)
            followed.times()
            if number % 3 == 2:
                store.fail_trial(trial.id, "lost")
            elif number % 3 == 1:
                store.add_rung(trial.id, 5, 0.5, 1.0)
                store.finish_trial(trial.id, studies.scores(made, number / 10), seconds=2.0)
                if number > 6:
                    store.add_measurements(trial.id, studies.scores(made, 0.0, test=True))
            same(followed, StudyColumns(store, study.id))
        snapshot = followed.snapshot()
        assert len(snapshot) == 12
        assert snapshot.parent.tolist() == [-1] * 4 + [1] * 8
        assert snapshot is followed.snapshot()


def test_a_snapshot_is_whole_while_another_thread_writes(tmp_path):
    with Store.open(tmp_path / "results.db") as store:
        made = studies.setup(tmp_path / "images")
        study = studies.new_study(store, made)
        done = threading.Event()

        def write() -> None:
            for architecture in architectures():
                trial = studies.add(store, study, architecture)
                store.start_trial(trial.id)
                store.finish_trial(trial.id, studies.scores(made, 1.0), seconds=1.0)
            done.set()

        followed = StudyColumns(store, study.id)
        writer = threading.Thread(target=write)
        writer.start()
        deadline = time.monotonic() + 60
        while not done.is_set() and time.monotonic() < deadline:
            snapshot, features = followed.features()
            scored = np.isfinite(
                snapshot.values.get(tuple(study.data["objective"]), np.full(len(snapshot), np.nan))
            )
            assert np.array_equal(scored, snapshot.complete)
            assert len(features.label) >= len(snapshot)
        writer.join()
        same(followed, StudyColumns(store, study.id))


def test_a_study_s_own_metrics_come_first_among_their_like(tmp_path):
    with Store.open(tmp_path / "results.db") as store:
        study = studies.new_study(store, studies.setup(tmp_path / "images"))
        name, protocol = study.data["objective"]
        others = [
            Measurement(name, 1.0, "dB", "max", f"{protocol[0]}, 8-bit, border 2, on aaa (0)"),
            Measurement(name, 2.0, "dB", "max", protocol),
            Measurement("latency_ms", 3.0, "ms", "min", "cpu"),
        ]
        trial = store.add_trial(study.id, digest="0", architecture_json=architectures()[0].to_json())
        store.start_trial(trial.id)
        store.finish_trial(trial.id, others, seconds=1.0)
        columns = columns_of(study, StudyColumns(store, study.id).snapshot())
    assert [column.key for column in columns] == ["macs", "psnr_y@1", "psnr_y@2", "latency_ms"]
    assert columns[1].protocol == protocol
    assert [column.kind for column in columns] == ["cost", "quality", "quality", "runtime"]
    assert columns[2].label == "PSNR (Y), aaa"


@pytest.mark.parametrize("name", baseline_names())
def test_features_are_the_architecture_s_own(name):
    original = baseline(name)
    pruned = Pruned(original, (("some.weight", (3, 2)),))
    for architecture in (
        original,
        pruned,
        UNet((8, 16), ((Block("hin"),), (Block("ghost"),)), ((Block("hin"),),)),
    ):
        found = unchecked(architecture.to_json())
        assert found.label == architecture.label
        base = getattr(found, "base", found)
        expected = getattr(architecture, "base", architecture)
        assert isinstance(base, type(expected))
        assert isinstance(base, Architecture)
        for part in ("blocks", "encoder", "decoder"):
            assert as_tuples(getattr(base, part, ())) == as_tuples(getattr(expected, part, ()))


def as_tuples(blocks):
    """Blocks as (kind, options), in tuples as deep as they lie; the unchecked ones are in lists."""
    if isinstance(blocks, list | tuple):
        return tuple(as_tuples(block) for block in blocks)
    return (blocks.kind, as_tuples(blocks.options)) if isinstance(blocks, Block) else blocks


def test_memory_and_work_stay_small(tmp_path: Path):
    """A guard against keeping texts or objects per row, and against reading again what didn't change."""
    from benchmarks.dashboard import fill_store

    kept, metrics = [], 0
    for count in (5000, 10_000):
        file = tmp_path / f"{count}.db"
        fill_store(file, NAME, count)
        with Store.open(file, create=False) as store:
            study = store.study(NAME)
            StudyColumns(store, study.id).snapshot()  # compiles statements
            columns = StudyColumns(store, study.id)
            tracemalloc.start()
            try:
                snapshot = columns.snapshot()
                kept.append(tracemalloc.get_traced_memory()[0])
            finally:
                tracemalloc.stop()
            assert len(snapshot) == count
            metrics = len(snapshot.values)
            with database_work(store) as first:
                fresh = StudyColumns(store, study.id)
                read = calls(fresh.snapshot)
            with database_work(store) as again:
                unchanged = calls(fresh.snapshot)
            assert again.instructions < first.instructions / 100
            assert unchanged < read / 5
    assert (kept[1] - kept[0]) / 5000 < 8 * metrics + 80  # bytes; an object of Python's takes as many again

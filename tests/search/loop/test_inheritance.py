"""Who starts from whose tensors, and that it is the same after a crash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluators.trial import Finished, Job, Paused, RungReached
from results.store.store import Store, StoreError
from search.loop.inheritance import Relatives, heir, inheriting, start_path, trained_steps
from tests.search.studies import LADDER, InProcess, job_of_ladder, new_search, new_study, psnr, small_space


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "study.db") as opened:
        yield opened


def chain(**genes: Any) -> Any:
    space = small_space()
    genotype = {choice.name: choice.values[0] for choice in space}
    return space.decode({**genotype, **genes})


def test_the_nearest_is_who_differs_in_fewest_decisions_then_who_was_trained_longest() -> None:
    relatives = Relatives()
    child = chain(depth=2, width=12)
    assert relatives.nearest(child) is None
    relatives.tell(0, chain(depth=3, width=24, block_1="ghost", upsampler="transposed"), 2)
    assert relatives.nearest(child) is None  # too unlike
    relatives.tell(1, chain(depth=2, width=16, block_0="ghost"), 2)
    assert relatives.nearest(child) == (1, 2)
    relatives.tell(2, chain(depth=2, width=16), 0)
    relatives.tell(3, chain(depth=2, width=24), 1)
    assert relatives.nearest(child) == (3, 1)
    relatives.tell(2, chain(depth=2, width=16), 1)
    assert relatives.nearest(child) == (2, 1)  # the first of equals


def learning(job: Job, data: Any = None) -> Iterator[Any]:
    """Scores and weights follow from the architecture and all that was trained before."""
    begun = int((job.checkpoint or b"0").split()[0])
    made = hashlib.sha256(f"{job.architecture} {job.seed}".encode() + (job.start or b"")).hexdigest()
    if job.checkpoint:
        made = job.checkpoint.decode().split()[1]
    scores = (psnr(job.architecture),)
    for rung in job.rungs:
        if rung > begun:
            weights = f"{made} {rung}".encode() if rung in job.keeps else b""
            yield RungReached(rung, 0.1, 0.01 * rung, scores, f"{rung} {made}".encode(), weights)
    yield Finished(0.2, scores, made.encode()) if job.rungs[-1] == job.recipe.steps else Paused()


def search(store: Store, folder: Path, name: str, pool: Any) -> Any:
    known = {summary.study.name: summary.study for summary in store.studies()}
    study = known.get(name) or new_study(store, name)
    made = new_search(store, study, pool, folder / name, strategy="pareto", trials=24, eta=3, inherit=True)
    return study, made


def state(store: Store, study: Any, folder: Path) -> list[Any]:
    trials = store.trials(study.id)
    files = sorted((folder / study.name / "starts").iterdir())
    return [
        [(t.digest, t.origin, t.state) for t in trials],
        [(path.name, path.read_bytes()) for path in files],
    ]


def test_children_start_from_the_weights_of_a_rung_that_was_told(store: Store, tmp_path: Path) -> None:
    jobs: dict[str, Job] = {}

    def noting(job: Job) -> Iterator[Any]:
        jobs.setdefault(job.architecture, job)
        yield from learning(job)

    study, run = search(store, tmp_path, "one", InProcess(noting))
    assert run.run() == "trials"
    trials = {trial.number: trial for trial in store.trials(study.id)}
    heirs = [trial for trial in trials.values() if trial.origin]
    assert len(heirs) > 8
    assert {trial.origin["inherits_step"] for trial in heirs if trial.origin} > {LADDER[0]}
    for trial in heirs:
        assert trial.origin is not None
        parent = trials[trial.origin["inherits"]]
        assert parent.number < trial.number
        path = start_path(tmp_path / "one", parent.number, trial.origin["inherits_step"])
        assert jobs[trial.architecture].start == path.read_bytes()
        assert jobs[trial.architecture].parent == parent.architecture
    assert trials[0].origin is None
    assert jobs[trials[0].architecture].start is None


def test_a_search_that_was_cut_off_inherits_as_one_that_was_not(store: Store, tmp_path: Path) -> None:
    study, run = search(store, tmp_path, "straight", InProcess(learning, capacity=3))
    assert run.run() == "trials"
    straight = state(store, study, tmp_path)
    for stop_after in (2, 9, 5, 30, 1000):

        class Stopping(InProcess):
            left = stop_after

            def events(self, timeout_s: float) -> Any:
                for key, event in super().events(timeout_s):
                    yield key, event
                    self.left -= isinstance(event, RungReached)
                    if self.left == 0:
                        raise KeyboardInterrupt  # as hard as it gets without a process

        study, run = search(store, tmp_path, "cut", Stopping(learning, seed=stop_after))
        if stop_after == 1000:
            assert run.run() == "trials"
        else:
            with pytest.raises(KeyboardInterrupt):
                run.run()
    assert state(store, study, tmp_path) == straight


def test_weights_that_are_gone_are_named(store: Store, tmp_path: Path) -> None:
    study, run = search(store, tmp_path, "one", InProcess(learning))
    run.run()
    child = next(trial for trial in store.trials(study.id) if trial.origin)
    assert child.origin is not None
    start_path(tmp_path / "one", child.origin["inherits"], child.origin["inherits_step"]).unlink()
    make = inheriting(job_of_ladder, store, study.id, tmp_path / "one", LADDER)
    with pytest.raises(StoreError, match=f"trial {child.number} starts from weights of trial"):
        make(child, None, 0.0)
    assert make(child, b"2", 0.0).start is None  # it has begun


def test_steps_behind_a_network_add_up_along_its_ancestors(store: Store) -> None:
    study = new_study(store)

    def add(width: int, origin: Any) -> Any:
        architecture = chain(width=width)
        return store.add_trial(
            study.id, digest=architecture.digest, architecture_json=architecture.to_json(), origin=origin
        )

    first = add(8, None)
    second = add(12, heir(first, 6))
    add(16, heir(second, 18))
    assert trained_steps(store.trials(study.id), 18) == {0: 18, 1: 24, 2: 42}


def test_a_warm_start_is_in_each_trials_origin_and_in_the_steps_of_its_heirs(
    store: Store, tmp_path: Path
) -> None:
    study = new_study(store)
    warm = {"supernet": "abc", "supernet_steps": 4000, "steps_before": 4000}
    more: dict[str, Any] = {"strategy": "pareto", "trials": 24, "eta": 3, "inherit": True}
    new_search(store, study, InProcess(learning), tmp_path, origin=warm, **more).run()
    trials = store.trials(study.id)
    origins = [trial.origin or {} for trial in trials]
    assert {origin.get("supernet") for origin in origins if "inherits" not in origin} == {"abc"}
    heirs = [origin for origin in origins if "inherits" in origin]
    assert heirs
    for origin in heirs:
        before = origins[origin["inherits"]]["steps_before"]
        assert origin["steps_before"] == before + origin["inherits_step"] > 4000

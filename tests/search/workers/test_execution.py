"""Trials from a queue onto a pool, without a strategy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluators.trial import Job, RungReached
from results.store.schema import Trial
from results.store.store import Store
from search.workers.execution import Execution
from search.workers.pool import Lost
from tests.search.studies import InProcess, instant, job, new_study, psnr, small_space


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "study.db") as opened:
        yield opened


class Queue:
    """An execution of trials of different widths, and what it says of them."""

    def __init__(self, store: Store, folder: Path, evaluate: Any = instant, **options: Any):
        self.store, self.study = store, new_study(store)
        self.pool = InProcess(evaluate, capacity=2)
        self.settled: list[tuple[int, bool]] = []
        self.execution = Execution(
            store,
            self.study.id,
            self.pool,
            job,
            folder=folder,
            settled=lambda trial, measured, reason: self.settled.append((trial.number, measured is not None)),
            **options,
        )

    def add(self, trials: int) -> list[Trial]:
        space = small_space()
        genotype = {choice.name: choice.values[0] for choice in space}
        added = []
        for width in space.by_name["width"].values[:trials]:
            network = space.decode({**genotype, "width": width})
            added.append(
                self.store.add_trial(
                    self.study.id, digest=network.digest, architecture_json=network.to_json()
                )
            )
            self.execution.add(added[-1])
        return added

    def work(self) -> None:
        self.execution.start()
        while not self.execution.idle:
            self.execution.handle(timeout_s=0.0)

    @property
    def states(self) -> list[str]:
        return [trial.state for trial in self.store.trials(self.study.id)]


def test_all_of_a_queue_is_trained_and_said_once(store: Store, tmp_path: Path) -> None:
    queue = Queue(store, tmp_path)
    queue.add(4)
    assert (queue.execution.free, queue.execution.idle) == (0, False)
    queue.work()
    assert queue.states == ["complete"] * 4
    assert sorted(queue.settled) == [(number, True) for number in range(4)]
    assert (queue.execution.free, queue.execution.idle) == (2, True)


def test_who_is_put_first_starts_first(store: Store, tmp_path: Path) -> None:
    begun: list[str] = []

    def noted(job: Job) -> Iterator[Any]:
        begun.append(job.architecture)
        return instant(job)

    queue = Queue(store, tmp_path, noted)
    trials = queue.add(3)
    (last,) = [trial for trial in queue.execution.hold() if trial.number == 2]
    queue.execution.add(trials[0])
    queue.execution.add(last, first=True)
    queue.work()
    assert begun == [last.architecture, trials[0].architecture]
    assert queue.states == ["complete", "waiting", "complete"]


def test_what_may_not_start_waits_in_the_store(store: Store, tmp_path: Path) -> None:
    queue = Queue(store, tmp_path, may_start=lambda trial: trial.number != 1)
    queue.add(3)
    queue.work()
    assert queue.states == ["complete", "waiting", "complete"]


def test_a_lost_trial_goes_on_from_its_rung_before_all_others(store: Store, tmp_path: Path) -> None:
    jobs: list[Job] = []

    def loses(job: Job) -> Iterator[Any]:
        jobs.append(job)
        if job.seed == 0 and job.checkpoint is None:
            yield RungReached(10, 0.1, 1.5, (psnr(job.architecture),), b"at 10")
            yield Lost("worker lost: killed")
        else:
            yield from instant(job)

    queue = Queue(store, tmp_path, loses)
    queue.add(4)
    queue.work()
    assert queue.states == ["complete"] * 4
    assert [job.checkpoint for job in jobs if job.seed == 0] == [None, b"at 10"]
    assert queue.execution.tally.retried == 1


def test_what_runs_when_it_is_closed_waits_again(store: Store, tmp_path: Path) -> None:
    queue = Queue(store, tmp_path)
    queue.add(3)
    queue.execution.start()
    queue.execution.handle(timeout_s=0.0)
    assert "running" in queue.states
    queue.execution.close()
    assert queue.states == ["waiting"] * 3
    assert queue.pool.cancelled
    assert queue.settled == []

"""The engine's promises, with evaluations that take no time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluators.trial import Failed, Finished, Job, RungReached
from results.store import Store, StoreError
from search.execution import EvaluationError
from search.pool import Ended, Lost, Raised
from spaces.measurement import Measurement
from spaces.space import chain_space
from tests.search.studies import (
    BUDGET,
    PROTOCOL,
    InProcess,
    genotypes,
    instant,
    new_search,
    new_study,
    psnr,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "study.db") as opened:
        yield opened


def finish(store: Store, folder: Path, name: str, **options: Any) -> list[Any]:
    study = new_study(store, name)
    pool = InProcess(capacity=options.pop("capacity", 2), seed=options.pop("order", 0))
    assert new_search(store, study, pool, folder / name, **options).run() == "trials"
    assert pool.cancelled
    return genotypes(store, study)


@pytest.mark.parametrize("strategy", ["tpe", "nsga2"])
def test_the_sequence_is_the_same_for_any_number_of_workers_and_order_of_finishing(
    store: Store, tmp_path: Path, strategy: str
) -> None:
    first = finish(store, tmp_path, "one", capacity=1, strategy=strategy, trials=30)
    assert finish(store, tmp_path, "two", capacity=2, order=1, strategy=strategy, trials=30) == first
    assert finish(store, tmp_path, "many", capacity=9, order=2, strategy=strategy, trials=30) == first


def test_no_architecture_is_trained_twice_and_none_is_over_the_budget(store: Store, tmp_path: Path) -> None:
    study = new_study(store)
    pool = InProcess()
    search = new_search(store, study, pool, tmp_path, strategy="nsga2", trials=60)
    search.run()
    trials = store.trials(study.id)
    assert len(trials) == 60 == len({t.digest for t in trials}) == len(pool.started)
    outcomes = [ask.outcome for ask in store.asks(study.id)]
    assert "duplicate" in outcomes
    macs = [m.value for t in trials for m in t.measurements if m.key == ("macs", "exact, 3x256x256")]
    assert len(macs) == 60
    assert max(macs) <= BUDGET.max_gmacs * 1e9
    assert (search.tally.trials, search.tally.complete) == (60, 60)
    assert search.tally.duplicates == outcomes.count("duplicate")
    assert search.tally.rejected == outcomes.count("rejected")


@pytest.mark.parametrize("strategy", ["tpe", "nsga2"])
def test_an_interrupted_search_goes_on_to_the_same_end(store: Store, tmp_path: Path, strategy: str) -> None:
    straight = finish(store, tmp_path, "straight", strategy=strategy, trials=30)
    study = new_study(store, "cut")
    for stop_after in (3, 1, 7, 2):
        search = new_search(store, study, None, tmp_path / "cut", strategy=strategy, trials=30)

        class Stopping(InProcess):
            left = stop_after

            def events(self, timeout_s: float, search: Any = search) -> Any:
                for key, event in super().events(timeout_s):
                    self.left -= isinstance(event, Finished)
                    if self.left == 0:
                        search.interrupt()
                    yield key, event

        search._execution._pool = Stopping(seed=stop_after)
        assert search.run() == "interrupted"
        assert {t.state for t in store.trials(study.id)} <= {"complete", "waiting"}
        assert store.study("cut").state == "paused"
    assert (
        new_search(store, study, InProcess(), tmp_path / "cut", strategy=strategy, trials=30).run()
        == "trials"
    )
    assert genotypes(store, study) == straight
    assert all(t.state == "complete" for t in store.trials(study.id))


def test_more_trials_continue_the_sequence_of_a_finished_study(store: Store, tmp_path: Path) -> None:
    straight = finish(store, tmp_path, "straight", trials=30)
    study = new_study(store, "longer")
    for trials in (8, 30):
        assert new_search(store, study, InProcess(), tmp_path / "longer", trials=trials).run() == "trials"
    assert genotypes(store, study) == straight


def test_a_trial_cut_off_goes_on_from_its_last_rung(store: Store, tmp_path: Path) -> None:
    study = new_study(store)
    jobs: list[Job] = []

    def dies_once(job: Job) -> Iterator[Any]:
        jobs.append(job)
        if len(jobs) == 1:
            yield RungReached(10, 0.1, 1.5, (psnr(job.architecture),), b"at 10")
            yield Lost("worker lost: killed")
        else:
            yield from instant(job)

    search = new_search(store, study, LosesStreams(dies_once), tmp_path, trials=1)
    assert search.run() == "trials"
    assert [job.checkpoint for job in jobs] == [None, b"at 10"]
    trial = store.trials(study.id)[0]
    assert (trial.state, trial.attempts, search.tally.retried) == ("complete", 2, 1)
    assert not list((tmp_path / "checkpoints").iterdir())


class LosesStreams(InProcess):
    """As a real pool, delivers nothing after a lost worker."""

    def start(self, key: int, job: Job) -> None:
        super().start(key, job)
        events = self._streams[key]
        if any(isinstance(event, Lost | Raised) for event in events):
            events.pop()


def test_a_worker_lost_too_often_fails_the_trial_with_the_reason(store: Store, tmp_path: Path) -> None:
    study = new_study(store)
    pool = LosesStreams(lambda job: iter([Lost("out of memory: node")]))
    assert new_search(store, study, pool, tmp_path, trials=2, retries=1).run() == "trials"
    assert len(pool.started) == 4
    for trial in store.trials(study.id):
        assert (trial.state, trial.attempts) == ("failed", 2)
        assert trial.reason == "out of memory: node (2 attempts)"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (Failed("diverged: the loss became nan by step 20"), "diverged: the loss became nan by step 20"),
        (Raised("ValueError: odd"), "ValueError: odd"),
        (Ended(), "the evaluation ended without a result"),
        (Finished(1.0, (Measurement("psnr_y", float("inf"), "dB", "max", PROTOCOL),), b"w"), "psnr_y"),
    ],
)
def test_a_failed_trial_is_recorded_and_the_search_goes_on(
    store: Store, tmp_path: Path, event: Any, reason: str
) -> None:
    study = new_study(store)
    first: list[str] = []

    def fails_first(job: Job) -> Iterator[Any]:
        if not first:
            first.append(job.architecture)
            yield event
        else:
            yield from instant(job)

    pool = LosesStreams(fails_first)
    assert new_search(store, study, pool, tmp_path, trials=6).run() == "trials"
    failed = store.trials(study.id, states=["failed"])
    assert [t.architecture for t in failed] == first
    assert reason in str(failed[0].reason)
    assert len(store.trials(study.id, states=["complete"])) == 5
    assert len(list((tmp_path / "weights").iterdir())) == 5


def test_evaluations_that_all_raise_end_the_search_and_stay_in_the_queue(
    store: Store, tmp_path: Path
) -> None:
    study = new_study(store)
    pool = LosesStreams(lambda job: iter([Raised("ImportError: no module")]))
    with pytest.raises(EvaluationError, match="the first 3 evaluations failed, none succeeded: ImportError"):
        new_search(store, study, pool, tmp_path, trials=9).run()
    assert {t.state for t in store.trials(study.id)} == {"waiting"}
    assert new_search(store, study, InProcess(), tmp_path, trials=9).run() == "trials"
    assert len(store.trials(study.id, states=["complete"])) == 9


def test_one_fault_among_few_trials_is_recorded(store: Store, tmp_path: Path) -> None:
    study = new_study(store)
    pool = LosesStreams(lambda job: iter([Raised("ValueError: odd")]))
    assert new_search(store, study, pool, tmp_path, trials=2).run() == "trials"
    assert [t.reason for t in store.trials(study.id)] == ["ValueError: odd"] * 2


def test_a_score_at_a_rung_that_is_not_finite_fails_the_trial(store: Store, tmp_path: Path) -> None:
    study = new_study(store)

    def infinite(job: Job) -> Iterator[Any]:
        yield RungReached(10, 0.1, 1.0, (Measurement("psnr_y", float("inf"), "dB", "max", PROTOCOL),), b"s")
        yield from instant(job)

    assert new_search(store, study, InProcess(infinite), tmp_path, trials=2).run() == "trials"
    assert {t.state for t in store.trials(study.id)} == {"failed"}


def test_a_slow_strategy_lets_an_interrupt_through(store: Store, tmp_path: Path) -> None:
    """A used-up space makes the strategy answer hundreds of questions in a row."""
    tiny = chain_space("tiny", blocks=("ghost",), widths=(8,), depths=(1,), upsamplers=("pixelshuffle",))
    study = new_study(store)
    search = new_search(store, study, InProcess(), tmp_path, trials=1000, space=tiny, seconds=0.7)
    original = search._asktell._strategy.ask
    search._asktell._strategy.ask = lambda number: (time.sleep(0.05), original(number))[1]  # type: ignore[method-assign]
    started = time.monotonic()
    assert search.run() == "time"
    assert time.monotonic() - started < 3


def test_a_space_that_is_used_up_ends_the_search(store: Store, tmp_path: Path) -> None:
    tiny = chain_space("tiny", blocks=("ghost",), widths=(8, 12), depths=(1,), upsamplers=("pixelshuffle",))
    study = new_study(store)
    search = new_search(store, study, InProcess(), tmp_path, trials=1000, space=tiny, strategy="random")
    assert search.run() == "exhausted"
    assert len(store.trials(study.id)) == 2 * 2 * 2 * 3  # widths, fusions, feature skips, image skips
    assert store.study("test").state == "complete"


def test_the_time_limit_ends_the_search_and_keeps_what_ran(store: Store, tmp_path: Path) -> None:
    study = new_study(store)

    class Slow(InProcess):
        def events(self, timeout_s: float) -> Any:
            time.sleep(0.05)
            yield from super().events(timeout_s)

    assert new_search(store, study, Slow(), tmp_path, trials=1000, seconds=0.5).run() == "time"
    trials = store.trials(study.id)
    assert any(t.state == "waiting" and t.attempts for t in trials)
    assert store.study("test").state == "paused"


def test_a_store_that_fails_ends_the_search_and_stops_the_workers(store: Store, tmp_path: Path) -> None:
    study = new_study(store)
    pool = InProcess()

    def breaks(job: Job) -> Iterator[Any]:
        yield RungReached(10, 0.1, 1.0, (), b"s")
        yield RungReached(10, 0.1, 1.0, (), b"s")  # one attempt may not record a step twice

    pool._evaluate = breaks
    with pytest.raises(StoreError):
        new_search(store, study, pool, tmp_path, trials=3).run()
    assert pool.cancelled
    assert not store.trials(study.id, states=["running"])

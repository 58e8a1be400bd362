"""The engine's promises, with evaluations that take no time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluators.trial import Failed, Finished, Job, Paused, RungReached
from results.store.store import Store, StoreError
from search.outcomes import Failure, Outcome
from search.strategies.optuna_samplers import TPEStrategy
from search.workers.execution import EvaluationError
from search.workers.pool import Ended, Lost, Raised
from spaces.measurement import Measurement
from spaces.space import chain_space
from tests.search.studies import (
    BUDGET,
    LADDER,
    PROTOCOL,
    InProcess,
    genotypes,
    instant,
    learning,
    new_search,
    new_study,
    psnr,
)
from tests.search.virtual import Machine, VirtualClock, VirtualPool, by_gmacs


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
        pool = Interrupts(stop_after, instant)
        search = new_search(store, study, pool, tmp_path / "cut", strategy=strategy, trials=30)
        pool.interrupt = search.interrupt
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
        events = self._streams[len(self.started), key]
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
    clock, asked = VirtualClock(), []

    class Slow(TPEStrategy):
        def ask(self, number: int) -> Any:
            asked.append(number)
            clock.now += 0.05
            return super().ask(number)

    options: dict[str, Any] = {"strategy": Slow, "space": tiny, "seconds": 0.7, "clock": clock}
    search = new_search(store, study, InProcess(), tmp_path, trials=1000, **options)
    assert search.run() == "time"
    assert len(asked) == 14  # not the 500 that end a search for want of new architectures


def test_a_space_that_is_used_up_ends_the_search(store: Store, tmp_path: Path) -> None:
    tiny = chain_space("tiny", blocks=("ghost",), widths=(8, 12), depths=(1,), upsamplers=("pixelshuffle",))
    study = new_study(store)
    search = new_search(store, study, InProcess(), tmp_path, trials=1000, space=tiny, strategy="random")
    assert search.run() == "exhausted"
    assert len(store.trials(study.id)) == 2 * 2 * 2 * 3  # widths, fusions, feature skips, image skips
    assert store.study("test").state == "complete"


def test_the_time_limit_ends_the_search_and_keeps_what_ran(store: Store, tmp_path: Path) -> None:
    study = new_study(store)
    clock = VirtualClock()
    # Ten times as slow from half of the time on: the trainings that run then take longer than could be known.
    machine = Machine(by_gmacs(0.5), slower_at=100, slower_by=10)
    pool = VirtualPool(machine, clock, deadline=200)
    search = new_search(store, study, pool, tmp_path, trials=1000, seconds=200, clock=clock)
    assert search.run() == "time"
    assert clock() <= 200
    trials = store.trials(study.id)
    assert any(t.state == "complete" for t in trials)
    assert any(t.state == "waiting" and t.attempts for t in trials)
    assert store.study("test").state == "paused"


def test_no_training_is_begun_that_there_is_no_time_for(store: Store, tmp_path: Path) -> None:
    study = new_study(store)
    clock = VirtualClock()
    pool = VirtualPool(Machine(by_gmacs(0.5)), clock, capacity=4, deadline=300)
    search = new_search(store, study, pool, tmp_path, trials=1000, eta=3, seconds=300, clock=clock)
    assert search.run() == "time"
    assert 200 < clock() < 300
    assert {trial.state for trial in store.trials(study.id)} == {"complete", "paused"}
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


# Early stopping


def climb(store: Store, folder: Path, name: str, *, order: int = 0, capacity: int = 2, **options: Any) -> Any:
    """All that a search with early stopping leaves behind."""
    study = new_study(store, name)
    pool = InProcess(learning, capacity=capacity, seed=order)
    search = new_search(store, study, pool, folder / name, **{"eta": 3, "trials": 30, **options})
    search.run()
    return what_is_there(store, study)


def what_is_there(store: Store, study: Any) -> Any:
    reached = {trial.id: [] for trial in store.trials(study.id)}  # type: ignore[var-annotated]
    for rung in store.rungs(study.id):
        reached[rung.trial_id].append(rung.step)
    trials = [(trial.digest, trial.state, reached[trial.id]) for trial in store.trials(study.id)]
    return genotypes(store, study), trials


@pytest.mark.parametrize("strategy", ["random", "tpe", "nsga2"])
def test_promotions_are_the_same_for_any_number_of_workers_and_order_of_finishing(
    store: Store, tmp_path: Path, strategy: str
) -> None:
    first = climb(store, tmp_path, "one", capacity=1, strategy=strategy)
    assert climb(store, tmp_path, "two", capacity=2, order=1, strategy=strategy) == first
    assert climb(store, tmp_path, "many", capacity=9, order=2, strategy=strategy) == first
    states = Counter(state for _, state, _ in first[1])
    assert states["complete"] + states["paused"] == 30
    assert 3 <= states["complete"] <= 8
    for _, state, steps in first[1]:
        assert steps == list(LADDER[: len(steps)])
        assert (state == "complete") == (len(steps) == len(LADDER))
    # A third, and those that were among the best before others came.
    assert 10 <= sum(len(steps) > 1 for _, _, steps in first[1]) <= 16


def test_a_seed_means_the_sequence_that_it_meant_before(store: Store, tmp_path: Path) -> None:
    """Recorded when this was written: the architectures, and how many rungs each trial came to."""
    _, trials = climb(store, tmp_path, "golden", strategy="random", trials=24)
    assert [digest for digest, _, _ in trials[:3]] == ["79bcfda82652", "1b441c93837a", "78f96eba3f44"]
    assert "".join(str(len(steps)) for _, _, steps in trials) == "231213211112211121113122"


def test_paused_trials_keep_their_checkpoints_and_no_others_do(store: Store, tmp_path: Path) -> None:
    climb(store, tmp_path, "kept")
    trials = store.trials(store.study("kept").id)
    kept = {path.name for path in (tmp_path / "kept" / "checkpoints").iterdir()}
    last = {rung.trial_id: rung.step for rung in store.rungs(store.study("kept").id)}
    assert kept == {f"{t.number:05d}-{last[t.id]}.pt" for t in trials if t.state == "paused"}
    assert {t.state for t in trials} == {"complete", "paused"}


@pytest.mark.parametrize("strategy", ["tpe", "nsga2"])
def test_an_interrupted_climb_goes_on_to_the_same_end(store: Store, tmp_path: Path, strategy: str) -> None:
    straight = climb(store, tmp_path, "straight", strategy=strategy)
    study = new_study(store, "cut")
    for stop_after in (5, 1, 17, 2, 9):
        pool = Interrupts(stop_after)
        search = new_search(store, study, pool, tmp_path / "cut", strategy=strategy, trials=30, eta=3)
        pool.interrupt = search.interrupt
        assert search.run() == "interrupted"
        assert {t.state for t in store.trials(study.id)} <= {"complete", "paused", "waiting"}
    last = new_search(
        store, study, InProcess(learning), tmp_path / "cut", strategy=strategy, trials=30, eta=3
    )
    assert last.run() == "trials"
    assert what_is_there(store, study) == straight
    assert last.tally.steps == sum(steps[-1] for _, _, steps in straight[1])


class Interrupts(InProcess):
    """Calls ``interrupt`` after so many results."""

    interrupt: Callable[[], None]

    def __init__(self, after: int, evaluate: Any = learning):
        super().__init__(evaluate, seed=after)
        self._left = after

    def events(self, timeout_s: float) -> Any:
        for key, event in super().events(timeout_s):
            self._left -= isinstance(event, Finished | Paused)
            if self._left == 0:
                self.interrupt()
            yield key, event


class Dies(Interrupts):
    """Ends the driver as a kill does: nothing is put back in the queue."""

    def interrupt(self) -> None:
        raise KeyboardInterrupt

    def cancel(self, keys: Any) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("ordered", [True, False])
def test_a_killed_climb_goes_on(store: Store, tmp_path: Path, ordered: bool) -> None:
    straight = climb(store, tmp_path, "straight")
    study = new_study(store, "killed")
    for dies_after in (4, 11, 3, 8):
        pool = Dies(dies_after)
        search = new_search(store, study, pool, tmp_path / "killed", trials=30, eta=3, ordered=ordered)
        with pytest.raises(KeyboardInterrupt):
            search.run()
        assert store.trials(study.id, states=["running"])
    new_search(
        store, study, InProcess(learning), tmp_path / "killed", trials=30, eta=3, ordered=ordered
    ).run()
    found = what_is_there(store, study)
    if ordered:
        assert found == straight
    assert len({digest for digest, _, _ in found[1]}) == 30
    assert {state for _, state, _ in found[1]} == {"complete", "paused"}
    assert all(steps == list(LADDER[: len(steps)]) for _, _, steps in found[1])


def test_told_as_they_come_results_are_on_record_with_the_questions(store: Store, tmp_path: Path) -> None:
    climb(store, tmp_path, "async", ordered=False, capacity=5)
    asks = store.asks(store.study("async").id)
    told = [each for ask in asks for each in ask.told or ()]
    assert len(told) == len(set(told)) >= 25
    assert [rung for _, rung in told] != sorted(rung for _, rung in told)
    assert all(ask.told is not None for ask in asks)
    climb(store, tmp_path, "ordered")
    assert all(ask.told is None for ask in store.asks(store.study("ordered").id))


def test_more_trials_continue_a_climb_as_if_they_had_been_asked_for_at_once(
    store: Store, tmp_path: Path
) -> None:
    straight = climb(store, tmp_path, "straight")
    study = new_study(store, "longer")
    for trials in (10, 30):
        search = new_search(store, study, InProcess(learning), tmp_path / "longer", trials=trials, eta=3)
        assert search.run() == "trials"
    found, trials_found = what_is_there(store, study)
    assert found == straight[0]
    # What was promoted for want of new ones, when there were to be ten, isn't undone.
    assert all(len(a[2]) >= len(b[2]) for a, b in zip(trials_found, straight[1], strict=True))


def test_training_steps_are_a_hard_limit_that_leaves_nothing_half_done(store: Store, tmp_path: Path) -> None:
    study = new_study(store)
    search = new_search(store, study, InProcess(learning), tmp_path, trials=1000, eta=3, steps=150)
    assert search.run() == "steps"
    spent = sum(max(steps) for _, _, steps in what_is_there(store, study)[1])
    assert 150 - LADDER[-1] < spent == search.tally.steps <= 150
    assert store.study("test").state == "complete"
    assert store.trials(study.id, states=["complete"])


def test_hours_of_workers_end_the_search(store: Store, tmp_path: Path) -> None:
    study = new_study(store)
    clock = VirtualClock()
    pool = VirtualPool(Machine(by_gmacs(0.5)), clock, capacity=4)
    search = new_search(store, study, pool, tmp_path, trials=1000, eta=3, worker_hours=0.2, clock=clock)
    assert search.run() == "worker_hours"
    spent = search.tally.worker_hours
    assert clock() < 3600 * spent  # four of them
    assert 0.1 < spent <= 0.2
    # What couldn't have come to its end wasn't begun.
    assert {trial.state for trial in store.trials(study.id)} == {"complete", "paused"}
    assert store.study("test").state == "paused"


def test_a_trial_that_goes_on_before_its_worker_said_that_it_ended_is_trained(
    store: Store, tmp_path: Path
) -> None:
    class EndsLate(InProcess):
        """Says that an evaluation ended once another was started, or nothing else is left to say."""

        def events(self, timeout_s: float) -> Any:
            begun, ended = (
                [each for each, left in self._streams.items() if len(left) == length] for length in (3, 1)
            )
            chosen = max(self._streams, key=lambda each: len(self._streams[each]))
            if begun and ended:
                chosen = ended[0]
            event = self._streams[chosen].popleft()
            if not self._streams[chosen]:
                del self._streams[chosen]
            yield chosen[1], event

    study = new_study(store)
    pool = EndsLate(learning, capacity=9)
    search = new_search(store, study, pool, tmp_path, trials=12, eta=3)
    assert search.run() == "trials"
    assert {(t.state, t.reason) for t in store.trials(study.id)} == {("complete", None), ("paused", None)}
    assert search.tally.retried == 0


def test_a_trial_that_fails_on_the_way_up_is_told_as_failed(store: Store, tmp_path: Path) -> None:
    study = new_study(store)

    def fails_later(job: Job) -> Iterator[Any]:
        if job.checkpoint is None:
            yield from learning(job)
        else:
            yield Failed("diverged: the loss became nan by step 5")

    told: list[Any] = []

    class Noting(TPEStrategy):
        def tell(self, number: int, outcome: Outcome) -> None:
            told.append((number, outcome))
            super().tell(number, outcome)

    search = new_search(store, study, InProcess(fails_later), tmp_path, trials=12, eta=3, strategy=Noting)
    assert search.run() == "trials"
    states = Counter(t.state for t in store.trials(study.id))
    assert states["failed"] >= 4
    assert states["failed"] + states["paused"] == 12
    failed = {number for number, outcome in told if outcome == Failure()}
    assert {n for n in failed if any(n == number and outcome != Failure() for number, outcome in told)}
    assert search.tally.failed == states["failed"]


def test_a_trial_that_failed_on_the_way_up_is_not_taken_there_again(store: Store, tmp_path: Path) -> None:
    """Told as they come, promotions aren't chosen in a replay."""
    study = new_study(store)
    begun: list[str] = []

    def fails_later(job: Job) -> Iterator[Any]:
        if job.checkpoint is None:
            yield from learning(job)
        else:
            begun.append(job.architecture)
            yield Failed("diverged: the loss became nan by step 5")

    for trials in (12, 20):
        pool = InProcess(fails_later)
        search = new_search(store, study, pool, tmp_path, trials=trials, eta=3, ordered=False)
        assert search.run() == "trials"
    assert len(begun) == len(set(begun)) == len(store.trials(study.id, states=["failed"]))


def test_a_worker_lost_on_the_way_up_is_retried_from_the_rung(store: Store, tmp_path: Path) -> None:
    study = new_study(store)
    begun: list[tuple[str, bytes | None]] = []

    def loses(job: Job) -> Iterator[Any]:
        begun.append((job.architecture, job.checkpoint))
        if job.checkpoint is not None and begun.count(begun[-1]) == 1:
            yield Lost("worker lost: killed")
        else:
            yield from learning(job)

    search = new_search(store, study, LosesStreams(loses), tmp_path, trials=9, eta=3)
    assert search.run() == "trials"
    assert search.tally.retried >= 3
    lost = [each for each in set(begun) if each[1] is not None]
    assert lost
    assert all(begun.count(each) == 2 for each in lost)
    assert {t.state for t in store.trials(study.id)} == {"complete", "paused"}
    assert search.tally.paused == len(store.trials(study.id, states=["paused"]))


@pytest.mark.parametrize("trials", [1, 2, 4])
def test_a_climb_of_few_trials_ends_with_complete_ones(store: Store, tmp_path: Path, trials: int) -> None:
    found = climb(store, tmp_path, "few", trials=trials, eta=9)
    assert sum(state == "complete" for _, state, _ in found[1]) == min(2, trials)

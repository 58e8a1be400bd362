"""A search within a time, over virtual time: whatever the machine, it ends with a front, and in time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from results.store.store import Store
from search.planning.pace import Line, Pace, PaceMeter, makespan
from search.planning.plan import Ladder, Plan, PlanError, Stock, make_plan, whole_s
from search.planning.timing import sample_costs
from spaces.cost import Cost
from tests.search.studies import BUDGET, genotypes, new_search, new_study, small_space
from tests.search.virtual import Machine, VirtualClock, VirtualPool, by_gmacs, timed

COSTS = tuple(candidate.cost for candidate in sample_costs(small_space(), BUDGET))
CHEAPEST = COSTS[0]
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # shrinking a search takes minutes


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "study.db") as opened:
        yield opened


def ladder_of(eta: float, parts: int) -> Any:
    """Ladders of so many pauses, each eta times as far as the one before."""

    def made(steps: int) -> Ladder:
        if steps < 4:
            raise ValueError("too few")
        pauses = sorted({max(1, round(steps / max(eta, 2) ** k)) for k in range(parts)})
        return Ladder(tuple(pauses), tuple(pauses), eta if len(pauses) > 1 else 1.0)

    return made


def planned(machine: Machine, seconds: float, workers: int, ladder: Any, **options: Any) -> Plan:
    return make_plan(Stock(seconds, workers, timed(machine, COSTS[:6]), COSTS), ladder, **options)


def run(
    store: Store,
    folder: Path,
    machine: Machine,
    plan: Plan,
    *,
    name: str = "test",
    seconds: float | None = None,
    strategy: str = "random",
    seed: int = 0,
    order: int = 0,
    fresh: bool = True,
    clock: VirtualClock | None = None,
    **options: Any,
) -> tuple[Any, VirtualPool, VirtualClock]:
    """A search by the plan; its study, the pool and the clock at its end."""
    clock = clock or VirtualClock()
    seconds = plan.search_s if seconds is None else seconds
    pool = VirtualPool(machine, clock, plan.workers, order, deadline=clock() + seconds)
    study = new_study(store, name) if fresh else store.study(name)
    budget = BUDGET if plan.ceiling_gmacs is None else replace(BUDGET, max_gmacs=plan.ceiling_gmacs)
    search, began, rounds = None, clock(), 0
    while search is None or search.ended_early:
        search = new_search(
            store,
            study,
            pool,
            folder / name,
            strategy=strategy,
            seed=seed,
            trials=10**6,
            seconds=seconds - (clock() - began),
            window=plan.window,
            budget=budget,
            ladder=plan.ladder,
            pace=plan.pace if search is None else search.meter,
            clock=clock,
            **options,
        )
        search.run()
        rounds += 1
        assert rounds < 20
    return store.study(name), pool, clock


machines = st.builds(
    Machine,
    step_s=st.builds(by_gmacs, st.floats(0.05, 5), st.floats(0, 1)),
    score_s=st.floats(0, 3),
    start_s=st.floats(0, 3),
    noise=st.floats(1, 1.3),
)


@given(
    machine=machines,
    times=st.floats(1.5, 14),
    workers=st.integers(1, 5),
    eta=st.sampled_from([1.0, 2.0, 3.0, 4.0]),
    parts=st.integers(1, 3),
    window=st.none() | st.integers(1, 10),
    strategy=st.sampled_from(["random", "nsga2"]),
    steps=st.sampled_from([24, 100, 400]),
    seed=st.integers(0, 5),
)
@settings(max_examples=40, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
@example(Machine(by_gmacs(1.0)), 1.5, 1, 3.0, 2, None, "random", 100, 0)
@example(Machine(by_gmacs(1.0), score_s=100.0), 3.0, 2, 3.0, 2, 8, "random", 100, 0)
# Seven rested when the eighth's end had just fitted, and taking one to its end took a little longer than foreseen.
@example(
    Machine(by_gmacs(1.8456, 0.0691), score_s=1.0, start_s=1.1175, noise=1.0486),
    4.8184,
    1,
    4.0,
    3,
    None,
    "nsga2",
    24,
    2,
)
def test_whenever_one_training_fits_the_search_ends_with_a_complete_network_in_time(
    machine: Machine,
    times: float,
    workers: int,
    eta: float,
    parts: int,
    window: int | None,
    strategy: str,
    steps: int,
    seed: int,
) -> None:
    ladder = ladder_of(eta, parts if eta > 1 else 1)
    shortest = whole_s(timed(machine, COSTS[:6]), CHEAPEST, ladder(steps))
    plan = planned(machine, times * shortest, workers, ladder, steps=steps, window=window)
    with TemporaryDirectory() as folder, Store.open(Path(folder) / "study.db") as store:
        study, _, clock = run(store, Path(folder), machine, plan, strategy=strategy, seed=seed, order=seed)
        states = [trial.state for trial in store.trials(study.id)]
        assert "complete" in states
        assert clock() <= plan.search_s
        assert "running" not in states
        # Its questions are a beginning of those that the same plan asks on a faster machine.
        faster = replace(machine, step_s=lambda cost: machine.step_s(cost) / 2)
        other, *_ = run(
            store, Path(folder), faster, plan, name="faster", strategy=strategy, seed=seed, order=seed + 1
        )
        few, many = sorted((genotypes(store, study), genotypes(store, other)), key=len)
        assert many[: len(few)] == few


@given(
    machine=machines,
    slower_at=st.floats(0.4, 0.9),
    slower_by=st.floats(2, 10),
    workers=st.integers(1, 4),
    seed=st.integers(0, 3),
    eta=st.sampled_from([1.0, 3.0]),
)
@settings(max_examples=20, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
@example(Machine(by_gmacs(1.0)), 0.5, 10.0, 2, 0, 3.0)
def test_a_machine_that_slows_down_half_way_has_a_front_and_is_in_time(
    machine: Machine, slower_at: float, slower_by: float, workers: int, seed: int, eta: float
) -> None:
    ladder = ladder_of(eta, 2 if eta > 1 else 1)
    # Enough for some of the dearest: the first front is planned for a quarter of it then.
    dearest = max(COSTS, key=lambda cost: cost.macs)
    seconds = 12 * whole_s(timed(machine, COSTS[:6]), dearest, ladder(100))
    plan = planned(machine, seconds, workers, ladder)
    assert plan.front_s <= plan.search_s * 0.26
    slow = replace(machine, slower_at=slower_at * plan.search_s, slower_by=slower_by)
    with TemporaryDirectory() as folder, Store.open(Path(folder) / "study.db") as store:
        study, _, clock = run(store, Path(folder), slow, plan, seed=seed)
        assert store.trials(study.id, states=["complete"])
        assert clock() <= plan.search_s * 1.0001


def test_a_search_goes_on_when_what_slowed_the_machine_down_has_passed(store: Store, tmp_path: Path) -> None:
    machine = Machine(by_gmacs(0.2, 0.02), score_s=0.3, start_s=0.2)
    plan = planned(machine, 600, 2, ladder_of(3.0, 2))
    slow = replace(machine, slower_at=0.1 * plan.search_s, slower_by=10.0, slower_until=0.4 * plan.search_s)
    _, _, clock = run(store, tmp_path, slow, plan)
    assert 0.75 * plan.search_s <= clock() <= plan.search_s  # it was 0.58


def test_a_front_exists_after_about_a_quarter_of_the_time(store: Store, tmp_path: Path) -> None:
    for number, (workers, eta) in enumerate([(1, 3.0), (2, 3.0), (4, 3.0), (2, 1.0)]):
        machine = Machine(by_gmacs(0.2, 0.02), score_s=0.3, start_s=0.2)
        plan = planned(machine, 600, workers, ladder_of(eta, 2 if eta > 1 else 1))
        study, pool, _ = run(store, tmp_path, machine, plan, name=f"study{number}")
        assert min(pool.finished_at) <= 0.35 * plan.search_s
        complete = len(store.trials(study.id, states=["complete"]))
        assert complete >= 4
        assert plan.finished / 2 <= complete <= 2 * plan.finished + 2


def test_a_worker_that_is_lost_costs_no_front(store: Store, tmp_path: Path) -> None:
    machine = Machine(by_gmacs(0.2, 0.02), score_s=0.3, start_s=0.2, lost_at=(40.0, 90.0, 95.0))
    plan = planned(machine, 300, 2, ladder_of(3.0, 2))
    study, _, clock = run(store, tmp_path, machine, plan)
    assert store.trials(study.id, states=["complete"])
    assert clock() <= plan.search_s


def test_a_search_that_was_cut_off_by_its_time_goes_on_with_the_same_sequence(
    store: Store, tmp_path: Path
) -> None:
    machine = Machine(by_gmacs(0.2, 0.02), score_s=0.3, start_s=0.2)
    plan = planned(machine, 400, 2, ladder_of(3.0, 2))
    straight, *_ = run(store, tmp_path, machine, plan, name="straight", seconds=1200.0, strategy="tpe")
    clock = VirtualClock()
    for number, seconds in enumerate((130.0, 300.0, 500.0)):
        study, *_ = run(
            store,
            tmp_path,
            machine,
            plan,
            name="cut",
            seconds=seconds,
            strategy="tpe",
            fresh=number == 0,
            clock=clock,
        )
        assert store.trials(study.id, states=["complete"])
    few, many = sorted((genotypes(store, study), genotypes(store, straight)), key=len)
    assert len(few) > 10
    assert many[: len(few)] == few


def test_a_search_of_a_faster_machine_begins_more_networks(store: Store, tmp_path: Path) -> None:
    counts = []
    for number, per_gmac in enumerate((0.4, 0.1)):
        machine = Machine(by_gmacs(0.2), score_s=0.1)
        plan = planned(machine, 300, 2, ladder_of(3.0, 2))
        real = replace(machine, step_s=by_gmacs(per_gmac))
        study, *_ = run(store, tmp_path, real, plan, name=f"study{number}")
        counts.append(len(store.trials(study.id)))
    assert counts[1] > 2 * counts[0]


# Plans


def test_the_plan_grows_with_the_time() -> None:
    machine = Machine(by_gmacs(0.1, 0.02), score_s=0.2, start_s=0.2)
    plans = [planned(machine, seconds, 2, ladder_of(3.0, 2)) for seconds in (60, 600, 6000, 60_000)]
    steps, finished = [p.ladder.steps for p in plans], [p.finished for p in plans]
    assert steps == sorted(steps)
    assert finished[1:] == sorted(finished[1:])
    assert finished[0] >= 4  # of a narrower space
    assert steps[-1] > 1000 > steps[0]
    assert finished[-1] > 20
    for plan in plans[1:]:
        assert plan.front_s <= plan.search_s / 3
        assert plan.ceiling_gmacs is None


def test_a_short_time_leaves_larger_networks_out_before_trainings_get_too_short() -> None:
    machine = Machine(by_gmacs(1.0, 0.01), score_s=0.2, start_s=0.2)
    plan = planned(machine, 150, 1, ladder_of(3.0, 2))
    assert plan.ceiling_gmacs is not None
    assert plan.ceiling_gmacs < max(cost.gmacs() for cost in COSTS)
    assert plan.ladder.steps >= 50
    assert plan.finished >= 2


def test_given_steps_that_do_not_fit_are_refused_with_the_figures() -> None:
    machine = Machine(by_gmacs(1.0), score_s=0.2)
    ladder = ladder_of(3.0, 2)
    shortest = whole_s(timed(machine, COSTS[:6]), CHEAPEST, ladder(10_000))
    with pytest.raises(
        PlanError, match=r"aren't enough for one training: 10000 steps .* Give --time .* or --steps \d+"
    ):
        planned(machine, shortest / 3, 2, ladder, steps=10_000)
    planned(machine, shortest * 1.3, 2, ladder, steps=10_000)


def test_a_time_too_short_for_any_training_is_refused() -> None:
    with pytest.raises(PlanError, match="aren't enough for one training"):
        planned(Machine(by_gmacs(100.0)), 1.0, 2, ladder_of(3.0, 2))


def test_a_plan_reads_back_as_it_was() -> None:
    plan = planned(Machine(by_gmacs(0.1)), 600, 2, ladder_of(3.0, 2))
    assert Plan.from_data(plan.to_data()) == plan
    assert str(plan.ladder.steps) in str(plan)


# Pace


def test_the_fit_finds_the_seconds_of_networks_that_it_has_not_seen() -> None:
    truth = Line(0.01, 0.03, 0.002, 0.0005)
    pace = timed(Machine(truth, score_s=0.5), COSTS[:8])
    for cost in COSTS[8:]:
        assert pace.step(cost) == pytest.approx(truth(cost), rel=0.05)
        assert pace.scoring(cost) == pytest.approx(0.5, rel=0.05)


def test_the_meter_follows_the_machine() -> None:
    meter = PaceMeter(Pace(Line(per_gmac=0.1), Line()), memory_s=10.0)
    cost = Cost(macs=10**9)
    for trial in range(40):
        meter.observe(trial, cost, 20, 2 * 20 * 0.1)
    assert meter.drift == pytest.approx(2, rel=0.05)
    meter.observe(99, cost, 20, 6 * 20 * 0.1)
    assert meter.step_s(cost, 99) == pytest.approx(0.6, rel=0.05)
    assert meter.step_s(cost) > 0.2


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=12), st.integers(1, 6))
def test_no_list_of_jobs_takes_longer_than_foreseen(seconds: list[float], workers: int) -> None:
    free = [0.0] * workers
    for job in seconds:
        free.sort()
        free[0] += job
    assert max(free) <= makespan(seconds, workers) * (1 + 1e-9)

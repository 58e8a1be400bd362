"""Several objectives and hard limits, with evaluations and measurements that take no time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evaluators.tasks import get_task
from evaluators.trial import Finished, Job, evaluate
from results.store.store import Store
from search.loop.asktell import AskTell
from search.loop.engine import Limits, Search
from search.loop.runtimes import RuntimeJudge, Runtimes
from search.stages.search import run_search
from search.strategies import STRATEGIES, Strategy, check_strategy
from search.study.context import Bench
from search.study.opening import Place
from spaces.architecture import Architecture
from spaces.budget import Budget
from spaces.build import cost
from spaces.measurement import Direction, Measurement
from spaces.objectives import Limit, Objective
from spaces.registry import Entry
from spaces.space import chain_space
from tests.results.studies import photographs
from tests.search.studies import OBJECTIVES, TASK, InProcess, genotypes, is_of, job, new_study, problem

LATENCY = Objective("latency", "latency_ms", "of a stub")
AXES = (*OBJECTIVES, LATENCY)
DIRECTIONS: tuple[Direction, ...] = ("max", "min", "min")


class Stub(Runtimes):
    """Latency as a function of the architecture; each is counted, and none is taken while something runs."""

    def __init__(self) -> None:
        self.measured: list[str] = []
        self.pool: InProcess | None = None

    def measure(
        self, architecture: Architecture, names: Sequence[str], *, give_up_ms: float = 0
    ) -> tuple[Measurement, ...]:
        streams = self.pool._streams.values() if self.pool else ()
        assert not any(isinstance(event, Finished) for stream in streams for event in stream)
        self.measured.append(architecture.digest)
        value = 1000 * cost(architecture, TASK).parameters / 1e5
        return (Measurement("latency_ms", value, "ms", "min", LATENCY.protocol),)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "study.db") as opened:
        yield opened


def search(
    store: Store, study: Any, folder: Path, stub: Stub, *, trials: int, bound: float = 200.0
) -> Search:
    asks = store.asks(study.id)
    asktell = AskTell(
        STRATEGIES["nsga2"].create(problem(directions=DIRECTIONS)),
        window=4,
        recorded=[ask.genotype for ask in asks],
        judge=RuntimeJudge(stub, [LATENCY], [Limit("latency", bound)], asks),
    )
    stub.pool = InProcess(capacity=2)
    return Search(
        store,
        study.id,
        asktell,
        stub.pool,
        job,
        task=TASK,
        objectives=AXES,
        folder=folder,
        limits=Limits(trials),
        batches=True,
    )


def test_what_is_over_a_limit_is_turned_away_untrained_with_its_reason(store: Store, tmp_path: Path) -> None:
    study, stub = new_study(store), Stub()
    running = search(store, study, tmp_path, stub, trials=20)
    assert running.run() == "trials"
    away = [ask for ask in store.asks(study.id) if ask.outcome == "rejected"]
    assert away
    assert len(away) == running.tally.turned_away["latency"]
    assert all("is over the limit of 200 ms" in str(ask.reason) for ask in away)
    trials = store.trials(study.id)
    assert running.tally.failed == 0
    assert len(trials) == 20
    assert all((LATENCY.find(t.measurements) or 999) <= 200 for t in trials)
    assert len(stub.measured) == len(set(stub.measured))


def test_a_batch_begins_as_a_whole_however_long_its_measuring_takes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.loop.engine.LONGEST_ABSENCE_S", 0.0)
    stub = Stub()
    study = new_study(store)
    running = search(store, study, tmp_path, stub, trials=20)
    waiting: list[int] = []
    assert stub.pool is not None
    original = stub.pool.start

    def start(key: int, job: Job) -> None:
        waiting.append(len(store.trials(study.id, states=["waiting"])))
        original(key, job)

    stub.pool.start = start  # type: ignore[method-assign]
    assert running.run() == "trials"
    assert waiting[0] == 4  # all of the window, when the first is started


def test_a_resumed_search_measures_nothing_again_and_ends_the_same(store: Store, tmp_path: Path) -> None:
    straight, cut = new_study(store, "straight"), new_study(store, "cut")
    search(store, straight, tmp_path / "a", Stub(), trials=20).run()
    first, second = Stub(), Stub()
    search(store, cut, tmp_path / "b", first, trials=9).run()
    search(store, cut, tmp_path / "b", second, trials=20).run()
    assert genotypes(store, cut) == genotypes(store, straight)
    assert second.measured
    assert not set(first.measured) & set(second.measured)


def test_measured_latency_and_memory_have_the_protocol_that_the_study_says() -> None:
    task = get_task("sr-x4").interface
    small = type(task)("sr-x4", scale=4, cost_input=(3, 16, 16))
    space = chain_space("one", blocks=("ghost",), widths=(8,), depths=(1,))
    genotype = {choice.name: choice.values[0] for choice in space}
    runtimes = Runtimes(small, "cpu")
    found = runtimes.measure(space.decode(genotype), ["latency", "memory"])
    assert {m.name: m.protocol for m in found} == {
        "latency_ms": runtimes.protocol("latency"),
        "latency_iqr_ms": runtimes.protocol("latency"),
        "peak_memory_bytes": runtimes.protocol("memory"),
    }
    assert all(m.value > 0 for m in found)


@pytest.mark.parametrize("name", list(STRATEGIES))
@pytest.mark.parametrize("number", [1, 3])
def test_strategies_take_as_many_objectives_as_they_say(name: str, number: int) -> None:
    directions = DIRECTIONS[:number]
    strategy = STRATEGIES[name].create(problem(directions=directions))
    if number not in strategy.objectives:
        with pytest.raises(ValueError, match="expected one of"):
            check_strategy(name, number)
        return
    check_strategy(name, number)
    for question in range(12):
        assert is_of(strategy.space, strategy.ask(question))
        strategy.tell(question, (28.0 + question % 5, 1.0 + question % 3, 10.0 - question % 4)[:number])


def test_a_strategy_that_cannot_take_them_says_which_can(monkeypatch: pytest.MonkeyPatch) -> None:
    class Single(Strategy):
        objectives = range(1, 2)

    monkeypatch.setitem(STRATEGIES._entries, "single", Entry("single", Single, ()))
    with pytest.raises(ValueError, match=r"'single' can't take 2 objectives: expected one of .*tpe"):
        check_strategy("single", 2)


def test_a_network_far_over_the_limit_is_given_up_after_few_passes() -> None:
    small = type(TASK)("sr-x4", scale=4, cost_input=(3, 16, 16))
    space = chain_space("one", blocks=("ghost",), widths=(8,), depths=(1,))
    architecture = space.decode({choice.name: choice.values[0] for choice in space})
    runtimes = Runtimes(small, "cpu")
    latency = Objective("latency", "latency_ms", runtimes.protocol("latency"))
    (early,) = runtimes.measure(architecture, ["latency", "memory"], give_up_ms=1e-6)
    assert "of 3 runs" in early.protocol
    budget = Budget(small, 2.0)
    candidate = budget.fit(space, {choice.name: choice.values[0] for choice in space})
    assert candidate is not None
    verdict = RuntimeJudge(runtimes, [latency], [Limit("latency", 1e-6)])(0, candidate)
    assert verdict.by == "latency"
    assert "is over the limit of 1e-06 ms" in str(verdict.reason)
    assert RuntimeJudge(runtimes, [latency], [Limit("latency", 1e6)])(0, candidate).reason is None


def test_onnxruntime_measures_under_the_protocol_that_the_study_says() -> None:
    small = type(TASK)("sr-x4", scale=4, cost_input=(3, 32, 32))
    space = chain_space("one", blocks=("ghost",), widths=(8,), depths=(1,))
    runtimes = Runtimes(small, "onnx")
    found = runtimes.measure(
        space.decode({choice.name: choice.values[0] for choice in space}), ["latency", "memory"]
    )
    assert {m.name: m.protocol for m in found} == {
        "latency_ms": runtimes.protocol("latency"),
        "latency_iqr_ms": runtimes.protocol("latency"),
        "peak_memory_bytes": runtimes.protocol("memory"),
    }
    assert "onnxruntime" in found[0].protocol
    assert all(m.value > 0 for m in found)


def test_a_search_for_ssim_scores_it_at_every_rung_and_ends_in_its_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real trainings of a few steps, paused and taken on by their SSIM."""

    @contextmanager
    def here(bench: Bench, console: Any) -> Iterator[InProcess]:
        yield InProcess(partial(evaluate, data=bench.data), capacity=1)

    monkeypatch.setattr("search.study.opening.workers", here)
    said = {
        "task": "sr-x2",
        "max_gmacs": 2.0,
        "strategy": "tpe",
        "objectives": ("ssim", "gmacs"),
        "trials": 3,
        "space.blocks": "residual",
        "space.widths": "8,12",
        "space.depths": "1:2",
        "training.steps": 4,
        "training.batch": 1,
        "training.patch": 16,
        "training.rungs": (2, 4),
        "eta": 2.0,
        "training.precision": "float32",
        **photographs(tmp_path),
    }
    place = Place(str(tmp_path / "results.db"), tmp_path / "runs")
    found = run_search(said, place=place, study="ssim", finish=False)
    ssim, gmacs = found.objectives
    with Store.open(tmp_path / "results.db", create=False) as store:
        rungs = store.rungs(found.study.id)
    assert rungs
    assert all(ssim.find(rung.measurements) is not None for rung in rungs)
    assert (ssim.metric, gmacs.name) == ("ssim_y", "gmacs")
    rows = [point.values for point in found.front.points]
    best = max(rows, key=lambda row: (row[0], -row[1]))
    assert found.front.members
    assert best in [point.values for point in found.front.members]

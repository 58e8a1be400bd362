"""Searches and runs within a time: the timing of workers, what is left for later stages, and the commands."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from evaluators.measure.timing import NetworkTime, Timed, TimingJob, time_networks
from evaluators.tasks import get_task
from evaluators.training.recipe import two_stages
from evaluators.trial import TrialData
from search.config import ConfigError, chooses_steps, resolve
from search.planning.plan import Ladder, Plan, duration, whole_s
from search.planning.stage_time import StageTime, Training
from search.planning.timing import Measured, TimingError, sample_costs, time_workers, to_time
from search.workers.pool import Ended, Lost, Raised, Taken
from spaces.build import cost
from tests.search.studies import BUDGET, TASK, small_space
from tests.search.test_cli import PIXELFRONT, run
from tests.search.virtual import Machine, VirtualClock, by_gmacs, timed

CANDIDATES = sample_costs(small_space(), BUDGET, count=12)
RECIPE = two_stages(20, batch=2, patch=16)


class Answering:
    """A pool whose workers answer a timing with what is given, after some virtual seconds."""

    def __init__(self, clock: VirtualClock, *answers: Any, up_s: float = 0.0, capacity: int = 2):
        self._clock, self._answers, self._up_s = clock, answers, up_s
        self.capacity, self._keys = capacity, list[int]()
        self.jobs: list[TimingJob] = []

    def start(self, key: int, job: TimingJob) -> None:
        self._keys.append(key)
        self.jobs.append(job)

    def events(self, timeout_s: float) -> Iterable[tuple[int, Any]]:
        self._clock.now += timeout_s
        if self._clock.now < self._up_s or not self._keys:
            return
        key = self._keys.pop(0)
        for event in (Taken(), *self._answers):
            yield key, event

    def cancel(self, keys: Any) -> None:
        self._keys.clear()


def measured_by(pool: Answering, clock: VirtualClock, seconds: float | None = None) -> Measured:
    return time_workers(pool, to_time(CANDIDATES), TASK, RECIPE, seconds=seconds, clock=clock)  # type: ignore[arg-type]


def times(seconds: float) -> Timed:
    networks = tuple(
        NetworkTime(each.to_json(), 0.5, 0.1 * cost(each, TASK).gmacs(), 0.2, 0.1)
        for each in to_time(CANDIDATES)
    )
    return Timed(networks, seconds, 10**6)


def test_all_workers_are_timed_at_once_on_networks_from_cheap_to_dear() -> None:
    clock = VirtualClock()
    pool = Answering(clock, times(1.0), Ended(), up_s=5.0)
    found = measured_by(pool, clock, 100.0)
    assert len(pool.jobs) == 2
    assert pool.jobs[0].limit_s == 5.0
    costs = [cost(each, TASK).gmacs() for each in to_time(CANDIDATES)]
    assert costs[0] == min(candidate.gmacs for candidate in CANDIDATES)
    for candidate in CANDIDATES:
        assert found.pace.step(candidate.cost) == pytest.approx(0.1 * candidate.gmacs, rel=0.02)
    assert 4 <= found.up_s <= 5.5


@pytest.mark.parametrize("event", [Raised("ValueError: odd"), Lost("ValueError: odd")])
def test_a_worker_that_fails_the_timing_is_said(event: Any) -> None:
    clock = VirtualClock()
    with pytest.raises(TimingError, match="a worker that was to be timed failed: ValueError: odd"):
        measured_by(Answering(clock, event), clock)


def test_a_worker_that_never_answers_the_timing_is_said_once_the_time_is_over() -> None:
    clock = VirtualClock()
    with pytest.raises(TimingError, match=r"2 of 2 workers didn't say within 60 s .* a longer --time"):
        measured_by(Answering(clock, up_s=1e9), clock, 60.0)


def test_the_first_network_is_timed_however_short_the_time() -> None:
    task = get_task("sr-x4")
    data = TrialData(task.embedded("train"), task.embedded("validation"))
    architectures = tuple(each.to_json() for each in to_time(CANDIDATES))
    found = time_networks(TimingJob(architectures, "sr-x4", RECIPE, 1e-6), data)
    assert [each.architecture for each in found.networks] == [architectures[0]]
    one = found.networks[0]
    assert min(one.step_s, one.score_s) > 0
    assert min(one.start_s, one.ssim_s) >= 0
    assert found.memory_bytes > 10**7
    more = time_networks(TimingJob(architectures, "sr-x4", RECIPE, 60.0), data)
    assert len(more.networks) == len(architectures)


# What is left for later stages


def stage_time(seconds: float, **options: Any) -> StageTime:
    pace = timed(Machine(by_gmacs(0.2), score_s=0.5), [candidate.cost for candidate in CANDIDATES])
    return StageTime(time.monotonic() + seconds, pace, **options)


def test_later_trainings_are_as_long_as_the_time_allows() -> None:
    trainings = [Training(candidate.cost) for candidate in CANDIDATES[:4]]
    search = Ladder((100, 400), (100, 400))
    steps = stage_time(600, workers=2).steps(trainings, search)
    assert steps is not None
    ladder = Ladder(tuple(steps * k // 4 for k in range(1, 5)), (steps,))
    left = stage_time(600, workers=2)
    assert left.fitting(trainings, ladder) == 4
    assert stage_time(600, workers=2, drift=2.0).steps(trainings, search) < steps  # type: ignore[operator]
    assert stage_time(1200, workers=2).steps(trainings, search) > steps  # type: ignore[operator]
    assert stage_time(1, workers=2).steps(trainings, search) is None
    assert stage_time(1, workers=2).fitting(trainings, ladder) == 0
    taught = [Training(candidate.cost, CANDIDATES[1].cost) for candidate in CANDIDATES[:4]]
    assert stage_time(600, workers=2).steps(taught, search) < steps  # type: ignore[operator]


def test_without_a_limit_all_is_trained_and_pruned() -> None:
    left = StageTime(float("inf"), None)
    assert not left.limited
    assert left.fitting([Training(CANDIDATES[0].cost)] * 9, Ladder((400,), (400,))) == 9
    assert left.may_prune(9)


def test_pruning_leaves_time_to_train_what_was_pruned() -> None:
    left = stage_time(100)
    assert left.may_prune(0)
    left.pruned(30.0)
    assert left.may_prune(0)  # one in any case
    assert not left.may_prune(1)
    quick = stage_time(100)
    quick.pruned(1.0)
    assert quick.may_prune(1)


# The configuration


@pytest.mark.parametrize(
    ("said", "chosen"),
    [
        ({"time": "2h"}, True),
        ({"time": "2h", "training.steps": "auto"}, True),
        ({"time": "2h", "training.steps": 500}, False),
        ({"time": "2h", "training.rungs": "500,1500"}, False),
    ],
)
def test_within_a_time_the_plan_chooses_the_steps_unless_they_are_given(
    said: dict[str, Any], chosen: bool
) -> None:
    assert chooses_steps(said) == chosen
    resolve({"max_gmacs": 2.0, **said})


def test_named_rungs_within_a_time_give_the_steps() -> None:
    assert resolve({"max_gmacs": 2.0, "time": "2h", "training.rungs": "500,1500,4500"}).training.steps == 4500
    with pytest.raises(ConfigError, match="one at 4500"):
        resolve({"max_gmacs": 2.0, "training.rungs": "500,1500,4500"})


def test_times_are_written_as_people_do() -> None:
    assert [duration(s) for s in (0, 59.4, 60, 140, 3600, 3900)] == [
        "0s",
        "59s",
        "1m",
        "2m20s",
        "1h00m",
        "1h05m",
    ]


# The commands

SPACE = ("--max-gmacs", "0.6", "--depths", "1:2", "--widths", "8:16:4", "--blocks", "rfdb,ghost,mscb")
SMALL = (*SPACE, "--upsamplers", "pixelshuffle,transposed", "--batch", "4", "--patch", "16", "--seed", "3")


def search_within(folder: Path, time: str) -> str:
    """What a search of that time prints; where its short trainings don't beat bicubic its exit code is 1."""
    arguments = [PIXELFRONT, "search", *SMALL, "--time", time, "--study", "timed"]
    made = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=600)
    assert made.returncode in (0, 1), made.stderr
    return made.stdout


@pytest.mark.slow
def test_a_search_within_a_time_has_a_front_keeps_its_plan_and_says_when_it_is_spent(tmp_path: Path) -> None:
    assert "plan: this machine: about" in search_within(tmp_path, "90s")
    with closing(sqlite3.connect(tmp_path / "runs" / "pixelfront.db")) as connection:
        (data, config) = connection.execute("SELECT data, config FROM studies").fetchone()
        (complete,) = connection.execute("SELECT count(*) FROM trials WHERE state = 'complete'").fetchone()
    plan = Plan.from_data(json.loads(data)["plan"])
    assert json.loads(config)["training"]["steps"] == plan.ladder.steps
    assert json.loads(config)["window"] == plan.window
    assert complete >= 1
    clock = json.loads(data)["clock"]
    assert clock["began"] is None
    assert clock["spent_s"] > 0
    # What is left of the time is what a resume has, unless it is given more.
    with closing(sqlite3.connect(tmp_path / "runs" / "pixelfront.db")) as connection:
        spent = json.dumps({**json.loads(data), "clock": {"spent_s": 90.0, "began": None}})
        connection.execute("UPDATE studies SET data = ?", (spent,))
        connection.commit()
    refused = run("search", "--resume", "--study", "timed", code=2, cwd=tmp_path)
    assert "study 'timed' has spent its time, 1m30s: give --time for more" in refused.stderr


@pytest.mark.slow
def test_a_time_that_is_too_short_leaves_no_study(tmp_path: Path) -> None:
    refused = run("search", *SMALL, "--time", "1s", code=2, cwd=tmp_path)
    assert "pixelfront: " in refused.stderr
    assert "--time" in refused.stderr
    assert "Traceback" not in refused.stderr
    long = run("search", *SMALL, "--time", "2m", "--steps", "10000000", code=2, cwd=tmp_path)
    assert "aren't enough for one training: 10000000 steps" in long.stderr
    zero = run("search", *SMALL, "--time", "0", code=2, cwd=tmp_path)
    assert "a time budget is positive, got '0'" in zero.stderr
    assert not list((tmp_path / "runs").glob("sr-x4*"))


@pytest.mark.slow
def test_the_plan_command_says_what_fits_and_trains_nothing(tmp_path: Path) -> None:
    said = run("plan", *SMALL, "--time", "30m", "--json", cwd=tmp_path)
    record = json.loads(said.stdout)
    plan = Plan.from_data(record["plan"])
    assert plan.finished >= 4
    assert plan.ceiling_gmacs is None
    assert [row["name"] for row in record["networks"]] == ["cheapest", "median", "dearest"]
    cheapest, _, dearest = record["networks"]
    assert cheapest["whole_s"] <= dearest["whole_s"]
    assert record["worker_memory_bytes"] > 10**7
    assert not (tmp_path / "runs").exists()
    pace = plan.pace
    assert whole_s(pace, CANDIDATES[0].cost, plan.ladder) > 0
    plain = run("plan", *SMALL, cwd=tmp_path).stdout
    assert "give --time or --worker-hours" in plain

"""Trackers: what is in TensorBoard's files and MLflow's database, read back by their own libraries."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from results.store.store import Store
from search.config import ConfigError, resolve
from search.study.opening import Place, open_study
from search.trackers import Known, _Follower, find_tracker, tracked
from spaces.architecture import Block
from spaces.topologies.chain import Chain
from tests.results import studies

pytest.importorskip("tensorboard")
pytest.importorskip("mlflow")

Runs = Mapping[str, Mapping[str, list[tuple[int, float]]]]


def tensorboard_runs(runs: Path) -> Runs:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for folder in sorted((runs / studies.NAME / "tensorboard").iterdir()):
        events = EventAccumulator(str(folder)).Reload()
        names = [name for name in events.Tags()["scalars"] if name != "ended"]
        found[folder.name] = {n: [(e.step, e.value) for e in events.Scalars(n)] for n in names}
    return found


def mlflow_runs(runs: Path) -> Runs:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    found = {}
    for run in client.search_runs([client.get_experiment_by_name(studies.NAME).experiment_id]):
        histories = {n: client.get_metric_history(run.info.run_id, n) for n in run.data.metrics}
        found[run.data.tags["pixelfront.run"]] = {
            n: [(m.step, m.value) for m in h] for n, h in histories.items()
        }
    return found


READERS = {"tensorboard": tensorboard_runs, "mlflow": mlflow_runs}


@pytest.fixture(params=READERS)
def name(request, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return request.param


@pytest.fixture
def own_study(tmp_path: Path):
    with Store.open(tmp_path / "results.db") as store:
        made = studies.fill(store, tmp_path)
        yield store, store.study(studies.NAME), made, tmp_path


def track(name: str, store: Store, runs: Path) -> None:
    """As one process does, from its beginning to its end."""
    study = store.study(studies.NAME)
    tracker = find_tracker(name)(study, runs / study.name, runs)
    with tracked(store, study, tracker, pytest.fail):
        pass


def test_runs_have_curves_and_final_scores(name, own_study):
    store, study, _, runs = own_study
    track(name, store, runs)
    found = READERS[name](runs)
    assert sorted(found) == ["study", *(f"trial-{n:05d}" for n in range(5))]  # the last hasn't begun
    best = store.trial(study.id, 2)
    scored = {m.key: m.value for m in best.measurements}
    run = found["trial-00002"]
    assert [step for step, _ in run["curve/loss"]] == [20]
    assert run["validation/psnr_y"][0][1] == pytest.approx(scored[tuple(study.data["objective"])], rel=1e-6)
    assert "test/psnr_y" in run
    assert run["cost/gmacs"][0][1] < studies.BUDGET
    assert "validation/psnr_y" not in found["trial-00003"]  # it failed
    assert [step for step, _ in found["trial-00004"]["curve/psnr_y"]] == [10]  # it runs
    assert [step for step, _ in found["study"]["curve/hypervolume"]] == [1, 3]  # the second trial is beaten


def test_what_is_there_is_not_written_again(name, own_study):
    """Another process goes on: a running trial gets its next rung and its end, a complete one new scores."""
    store, study, made, runs = own_study
    track(name, store, runs)
    before = READERS[name](runs)
    running, beaten = store.trial(study.id, 4), store.trial(study.id, 1)
    store.add_rung(running.id, 20, 0.1, 1.5, studies.scores(made, 9.5)[:2])
    store.finish_trial(running.id, studies.scores(made, 9.5), seconds=1.5)
    store.add_measurements(beaten.id, studies.scores(made, 0.2, test=True))
    track(name, store, runs)
    after = READERS[name](runs)
    assert [step for step, _ in after["trial-00004"]["curve/loss"]] == [10, 20]
    assert len(after["trial-00004"]["validation/psnr_y"]) == 1
    assert after["trial-00001"].keys() - before["trial-00001"].keys() == {
        f"test/{metric}" for metric in ("psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb")
    }
    for run in ("trial-00000", "trial-00002", "trial-00003"):
        assert after[run] == before[run]
    assert all(len(after["trial-00001"][n]) == 1 for n in after["trial-00001"])


def test_mlflow_has_parameters_parents_and_states(own_study, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store, _, _, runs = own_study
    track("mlflow", store, runs)
    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name(studies.NAME).experiment_id])
    by_name = {run.data.tags["pixelfront.run"]: run for run in found}
    assert by_name["trial-00002"].info.status == "FINISHED"
    assert by_name["trial-00003"].info.status == "FAILED"
    assert by_name["trial-00004"].info.status == "RUNNING"
    assert "diverged" in by_name["trial-00003"].data.tags["reason"]
    assert by_name["trial-00002"].data.params["architecture"].startswith("3x16")
    assert by_name["trial-00002"].data.tags["mlflow.parentRunId"] == by_name["study"].info.run_id


def test_tensorboard_has_hyperparameters(own_study):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    store, _, _, runs = own_study
    track("tensorboard", store, runs)
    (path,) = (runs / studies.NAME / "tensorboard" / "trial-00002").iterdir()
    tags = [v.tag for event in EventFileLoader(str(path)).Load() for v in event.summary.value]
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= set(tags)


class Unreachable:
    """A server that is away for its first calls."""

    errors = (ConnectionError,)
    place = "a server"

    def __init__(self, away: int):
        self.away = away
        self.calls: list[Any] = []

    def begin(self, run: str, about: Any, at: Any) -> Known:
        self.away -= 1
        if self.away >= 0:
            raise ConnectionError("no answer")
        self.calls.append(run)
        return Known()

    def log(self, run: str, step: int, values: Any, at: Any) -> None:
        self.calls.append((run, step))

    def end(self, run: str, step: int, scores: Any, failure: Any, at: Any) -> None:
        self.calls.append((run, failure))

    def close(self) -> None:
        self.calls.append("closed")


def test_a_tracker_that_is_away_is_told_of_once_and_gets_all_later(own_study):
    store, study, _, _ = own_study
    tracker, told = Unreachable(away=2), []
    follower = _Follower(store, study, tracker, told.append)
    for _ in range(4):
        follower._try()
    assert [t for t in told if "a server: no answer; the study goes on" in t] == told
    assert len(told) == 1
    assert tracker.calls.count("trial-00000") == 1
    assert ("trial-00000", 20) in tracker.calls
    assert ("trial-00003", "diverged: the loss became nan by step 3") in tracker.calls


def test_the_end_is_written_before_the_tracker_is_closed(own_study):
    store, study, _, _ = own_study
    tracker = Unreachable(away=0)
    with tracked(store, study, tracker, pytest.fail):
        new = studies.add(store, study, Chain(width=8, blocks=(Block("ghost"),)))
        store.start_trial(new.id)
        store.fail_trial(new.id, "late")
    assert (f"trial-{new.number:05d}", "late") in tracker.calls
    assert tracker.calls[-1] == "closed"
    assert not [t for t in threading.enumerate() if t.name == "tracker"]


@pytest.mark.usefixtures("own_study")
def test_a_study_that_goes_on_can_be_logged_from_then_on(tmp_path):
    """By configuration, which may change on resuming."""
    place = Place(str(tmp_path / "results.db"), tmp_path / "runs")
    said = {"logging.to": ["tensorboard"]}
    with open_study(said, place=place, study=studies.NAME, resume=True, searching=False) as opened:
        assert opened.bench.config.logging.to == ("tensorboard",)
    assert len(tensorboard_runs(tmp_path / "runs")) == 6


def test_other_trackers_are_refused():
    with pytest.raises(ConfigError, match="logging.to.*'tensorboard' or 'mlflow', got 'wandb'"):
        resolve({"max_gmacs": 1.0, "logging.to": ["wandb"]})


@pytest.mark.parametrize("library", READERS)
def test_a_library_that_is_not_installed_says_how_to_get_it(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    for module in [m for m in sys.modules if m.startswith((f"{library}.", f"search.trackers.{library}"))]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ConfigError, match=rf"--log {library}: .*pip install 'pixelfront\[{library}\]'"):
        find_tracker(library)

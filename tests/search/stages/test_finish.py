"""Finishing what a search left at its rungs: real tiny trainings in this process, on a real store."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from safetensors import safe_open

from evaluators.measure.onnx_network import OnnxNetwork
from evaluators.trial import Paused, RungReached, evaluate, score
from results.analysis.overview import NoResultError, overview
from results.analysis.preliminary import Remainder, preliminary
from results.export.files import load_network
from results.export.trial import export_trial
from results.store.schema import Stop
from results.store.store import Store
from search.config import ConfigError
from search.stages.early_export import export_early, find_early
from search.stages.finish import finish, run_finish, within
from search.stages.pipeline import CutOffSearch, run_stages
from search.stages.search import search
from search.study.opening import Opened, Place
from spaces.architecture import Architecture
from tests.results.studies import NAME, fill, new_study, setup
from tests.search.studies import InProcess

SAID: dict[str, Any] = {
    "strategy": "random",
    "eta": 3,
    "window": 4,
    "training.rungs": (3, 6),  # and at the end, at 12 steps
    "training.steps": 12,
    "training.batch": 2,
    "trials": 6,
}


class Interrupting(InProcess):
    """Sends this process Ctrl-C after so many events of a kind."""

    def __init__(self, work: Callable[..., Any], kind: type, after: int):
        super().__init__(work, capacity=1)
        self._kind, self._left = kind, after

    def events(self, timeout_s: float) -> Iterator[Any]:
        for key, event in super().events(timeout_s):
            yield key, event
            self._left -= isinstance(event, self._kind)
            if self._left == 0 and isinstance(event, self._kind):
                os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def study_of(folder: Path, *, pool: Callable[..., Any] | None = None, **said: Any) -> Iterator[Opened]:
    """The study in the folder, made if there is none, with a pool that trains in this process."""
    with Store.open(folder / "results.db") as store:
        made = setup(folder / f"images{len(list(folder.iterdir()))}", **{**SAID, **said})
        known = {summary.study.name for summary in store.studies()}
        study = store.study(NAME) if NAME in known else new_study(store, made)
        console = Console(file=io.StringIO(), width=400)
        run = (pool or InProcess)(partial(evaluate, data=made.data))
        yield Opened(store, study, made, Place(store.place, folder / "runs"), console, lambda: run)


def cut_off(folder: Path) -> Stop:
    """A search that is interrupted when three networks have paused and none was trained to the end."""
    with study_of(folder, pool=partial(Interrupting, kind=Paused, after=3)) as opened:
        stop = search(opened)
        states = [trial.state for trial in opened.store.trials(opened.study.id)]
        assert states.count("paused") >= 3
        assert "complete" not in states
        return stop


def said_by(opened: Opened) -> str:
    file = opened.console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def weights(opened: Opened) -> dict[int, str]:
    """Number of each complete trial to the digest of its weights."""
    trials = opened.store.trials(opened.study.id, states=["complete"])
    return {t.number: opened.store.artifacts(t.id, kind="weights")[-1].sha256 for t in trials}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Weights of the same networks, each trained at a stretch."""
    with study_of(tmp_path_factory.mktemp("straight"), eta=None) as opened:
        assert search(opened) == "trials"
        return weights(opened)


def test_the_preliminary_front_is_trained_to_its_end_as_at_a_stretch_and_handed_over(
    tmp_path: Path, straight: dict[int, str]
) -> None:
    assert cut_off(tmp_path) == "interrupted"
    with study_of(tmp_path) as opened:
        before = opened.store.study(NAME)
        assert (before.state, before.stop) == ("paused", "interrupted")
        early = preliminary(opened.store, overview(opened.store, NAME))
        assert early is not None
        members = {trial.number for trial in early.members}
        found = finish(opened)
        assert weights(opened) == {number: straight[number] for number in members}
        assert {trial.number for trial in found.members} <= members
        assert found.members
        assert {m.key for m in opened.bench.baseline} <= {m.key for m in found.best.measurements}
        for name in ("front.png", "comparison.png", "winner.onnx", "winner.onnx.md"):
            assert (opened.folder / name).stat().st_size > 0
        assert f"preliminary front at step {early.step} of 12" in said_by(opened)
        after = opened.store.study(NAME)
        assert (after.state, after.stop) == ("paused", "interrupted")  # of the search, which may go on


def test_a_search_goes_on_after_it_with_the_same_questions(tmp_path: Path) -> None:
    (tmp_path / "cut").mkdir()
    (tmp_path / "whole").mkdir()
    with study_of(tmp_path / "whole") as whole:
        assert search(whole) == "trials"
        asked = [ask.genotype for ask in whole.store.asks(whole.study.id)]
        expected = weights(whole)
    cut_off(tmp_path / "cut")
    with study_of(tmp_path / "cut") as opened:
        numbers = [t.number for t in opened.store.trials(opened.study.id, states=["paused"])]
        finish(opened, numbers)  # more of them than the ladder lets go on
        finished = weights(opened)
        assert finished.keys() == set(numbers)
    with study_of(tmp_path / "cut") as opened:
        assert search(opened) == "trials"
        assert [ask.genotype for ask in opened.store.asks(opened.study.id)] == asked
        both = expected | finished
        assert weights(opened) == both
        assert opened.store.study(NAME).state == "complete"


def test_it_is_interrupted_and_goes_on(tmp_path: Path, straight: dict[int, str]) -> None:
    cut_off(tmp_path)
    with study_of(tmp_path, pool=partial(Interrupting, kind=RungReached, after=1)) as opened:
        found = finish(opened)
        assert found.members == []
        assert "Interrupted; the same command goes on with it." in said_by(opened)
        assert not (opened.folder / "winner.onnx").exists()
        assert "running" not in {t.state for t in opened.store.trials(opened.study.id)}
        assert (opened.store.study(NAME).state, opened.store.study(NAME).stop) == ("paused", "interrupted")
    with study_of(tmp_path) as opened:
        assert finish(opened).members
        done = weights(opened)
        assert done == {number: straight[number] for number in done}


def test_a_killed_drivers_trials_go_on_from_their_rungs(tmp_path: Path, straight: dict[int, str]) -> None:
    cut_off(tmp_path)
    with study_of(tmp_path) as opened:
        early = preliminary(opened.store, overview(opened.store, NAME))
        assert early is not None
        for trial in early.members:
            opened.store.start_trial(trial.id)
        opened.store.set_study_state(opened.study.id, "running")
    with study_of(tmp_path) as opened:
        finish(opened)
        assert weights(opened) == {trial.number: straight[trial.number] for trial in early.members}
        assert opened.store.study(NAME).state == "paused"


def test_a_time_that_is_enough_for_none_says_which_would_be(tmp_path: Path) -> None:
    cut_off(tmp_path)
    with study_of(tmp_path) as opened:
        for rung in opened.store.rungs(opened.study.id):  # as of a network that takes long
            trial = next(t for t in opened.store.trials(opened.study.id) if t.id == rung.trial_id)
            opened.store.start_trial(trial.id)
            opened.store.add_rung(trial.id, rung.step, rung.loss, 3600.0, rung.measurements)
            opened.store.pause_trial(trial.id)
        with pytest.raises(
            NoResultError, match=r"60s is enough for none of \d trainings: pixelfront finish phone"
        ):
            finish(opened, time="60s")
        assert weights(opened) == {}


def test_those_that_fit_are_taken_best_first(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        fill(store, tmp_path)
        trials = store.trials(store.study(NAME).id)
    left = [
        Remainder(trial, 5, 20, seconds)
        for trial, seconds in zip(trials, (40.0, 90.0, 30.0, 10.0), strict=False)
    ]

    def numbers(limit: float, workers: int) -> tuple[list[int], list[int]]:
        chosen, others = within(left, limit, workers)
        return [each.trial.number for each in chosen], [each.trial.number for each in others]

    assert numbers(70.0, 1) == ([0, 2], [1, 3])
    assert numbers(80.0, 2) == ([0, 2, 3], [1])
    assert numbers(9.0, 2) == ([], [0, 1, 2, 3])
    assert numbers(1000.0, 1) == ([0, 1, 2, 3], [])


def test_what_cannot_be_finished_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        fill(store, tmp_path)
    place = Place(str(tmp_path / "results.db"), tmp_path / "runs")
    with pytest.raises(ConfigError, match="trial 0 is complete: name unfinished ones"):
        run_finish(NAME, [0], place=place)
    with pytest.raises(ConfigError, match="trial 3 is failed .diverged"):
        run_finish(NAME, [3], place=place)
    with pytest.raises(ValueError, match="no trial 77"):
        run_finish(NAME, [77], place=place)
    with pytest.raises(ValueError, match="a time is like"):
        run_finish(NAME, place=place, time="soon")


def test_a_run_builds_upon_no_search_that_was_cut_off(tmp_path: Path) -> None:
    """Its search ends by its time at once: nothing was trained, so nothing can be pruned."""
    with study_of(tmp_path, time="1s", trials=None) as opened:
        slow = InProcess(lambda job: iter([Paused()]))
        slow.events = lambda timeout_s: ()  # type: ignore[method-assign]
        with pytest.raises(CutOffSearch) as raised:
            run_stages(
                Opened(opened.store, opened.study, opened.bench, opened.place, opened.console, lambda: slow)
            )
        assert (raised.value.state, raised.value.stop) == ("paused", "time")
        assert opened.store.trials(opened.study.id, stages=["prune", "distil", "finetune"]) == ()


def test_an_unfinished_network_is_exported_as_what_it_is(tmp_path: Path) -> None:
    cut_off(tmp_path)
    with study_of(tmp_path) as opened:
        early = find_early(opened.store, opened.study, "best")
        task, folder = opened.bench.task.interface, opened.folder
        rung = opened.store.rungs(opened.study.id, trial_id=early.id)[-1]
        for form in ("onnx", "safetensors"):
            path = tmp_path / f"early.{form}"
            export_early(opened.store, opened.study, early, task, path, form, folder=folder)  # type: ignore[arg-type]
            card = path.with_name(path.name + ".md").read_text()
            assert f"Preliminary: step {rung.step} of 12, not trained to the end." in card
        # What was scored at the rung are these weights.
        network = load_network(
            Architecture.from_json(early.architecture), task, tmp_path / "early.safetensors"
        )
        data = opened.bench.data.validation
        assert score(network, opened.bench.config.task, data, ssim=False) == rung.measurements
        with safe_open(tmp_path / "early.safetensors", "pt") as file:
            assert file.metadata()["note"].startswith("Preliminary: step ")
        stated = OnnxNetwork(tmp_path / "early.onnx").session.get_modelmeta().custom_metadata_map
        assert stated["note"].startswith("Preliminary: step ")
        assert opened.store.artifacts(early.id) == ()
        with pytest.raises(
            NoResultError, match=rf"no weights yet; pixelfront finish phone --trials {early.number} "
        ):
            export_trial(opened.store, opened.study, early, task, tmp_path / "x.onnx", "onnx", folder=folder)
        finish(opened)
        ended = opened.store.trial(opened.study.id, early.number)
        with pytest.raises(NoResultError, match="is complete"):
            export_early(opened.store, opened.study, ended, task, tmp_path / "x.onnx", "onnx", folder=folder)
        assert not (tmp_path / "x.onnx").exists()

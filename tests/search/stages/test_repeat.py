"""Repeats of a front's members, on a real store and tiny real trainings that run in this process."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from evaluators.trial import Finished, Job, RungReached, evaluate, weights_of
from results.analysis.overview import overview
from results.analysis.repeats import is_repeat
from results.store.schema import Trial
from results.store.store import Store
from search.config import ConfigError
from search.loop.inheritance import start_path
from search.stages.pipeline import choose_members
from search.stages.repeat import repeat_front, run_repeat
from search.stages.trials import InterruptedStage, Stages
from search.stages.winner import trial_network
from search.study.opening import Opened, Place
from spaces.architecture import Architecture, Block
from spaces.measurement import Measurement
from spaces.topologies.chain import Chain
from tests.results.studies import NAME, complete, new_study, setup
from tests.search import studies
from tests.search.studies import InProcess, new_search, noting, with_pool

NEW = Chain(width=12, blocks=(Block("residual"),))
CHEAP, BEATEN_TRIAL, DEAR, FAILED = 0, 1, 2, 3  # trials of the study that ``fill`` makes


def scored(opened: Opened, gain: dict[str, float]) -> Any:
    """Evaluations without training: the trivial method's scores and a gain by digest, in dB."""
    baseline = [m for m in opened.bench.baseline if m.protocol == opened.bench.objective[1]]

    def work(job: Job) -> Any:
        extra = gain[Architecture.from_json(job.architecture).digest]
        scores: tuple[Measurement, ...] = tuple(
            replace(m, value=m.value + (extra if m.unit == "dB" else 0.0)) for m in baseline
        )
        yield RungReached(job.rungs[-1], 0.1, 1.0, scores, b"state")
        yield Finished(1.0, scores, b"weights")

    return work


def repeats(opened: Opened) -> list[Trial]:
    return [trial for trial in opened.store.trials(opened.study.id) if is_repeat(trial)]


def test_a_repeat_is_the_same_training_from_another_seed(opened: Opened) -> None:
    noted, jobs = noting(opened)
    stages = Stages(noted)
    first = stages.chosen(str(DEAR))
    made = stages.repeat([first], 3)
    assert [trial.origin for trial in made] == [{"repeat": 1}, {"repeat": 2}]
    assert {(t.stage, t.digest, t.parent_id, t.state) for t in made} == {
        ("search", first.digest, None, "complete")
    }
    again = opened.bench.job(first, None, 0.0)
    assert [replace(job, seed=0) for job in jobs] == [replace(again, seed=0)] * 2
    assert len({job.seed for job in (again, *jobs)}) == 3
    assert len({stages.quality(trial) for trial in made}) == 2
    assert trial_network(opened, made[0])
    assert stages.repeat([first], 3) == made  # on record: not made again
    assert len(jobs) == 2
    assert len(stages.repeat([first], 4)) == 3
    assert len(jobs) == 3


def test_one_that_inherited_its_first_tensors_does_so_again(opened: Opened) -> None:
    parent = Stages(opened).chosen(str(CHEAP))
    path = start_path(opened.folder, parent.number, 10)
    path.parent.mkdir(parents=True)
    path.write_bytes(weights_of(trial_network(opened, parent)))
    origin = {"inherits": parent.number, "inherits_step": 10}
    protocol = opened.bench.objective[1]
    measured = [m for m in opened.bench.baseline if m.protocol == protocol]
    first = complete(opened.store, opened.study, NEW, measured, opened.folder, origin=origin, variant="heir")
    noted, jobs = noting(opened)
    (made,) = Stages(noted).repeat([first], 2)
    assert made.origin == {**origin, "repeat": 1}
    assert (jobs[0].start, jobs[0].parent) == (path.read_bytes(), parent.architecture)
    assert made.state == "complete"


def test_the_front_is_of_means_and_others_that_come_to_it_are_repeated_too(opened: Opened) -> None:
    before = overview(opened.store, NAME)
    assert [trial.number for trial in before.members] == [CHEAP, DEAR]
    digests = {trial.number: trial.digest for trial in before.trials}
    # DEAR was lucky: by its mean it is below CHEAP, as BEATEN is.
    gains = {digests[CHEAP]: 0.5, digests[DEAR]: -0.75, digests[BEATEN_TRIAL]: 0.75}
    repeat_front(with_pool(opened, scored(opened, gains)), 3)
    found = overview(opened.store, NAME)
    # 0.5; (1.5 - 2 x 0.75) / 3 = 0 for DEAR, so BEATEN (0.25) is still below CHEAP.
    assert [trial.number for trial in found.members] == [CHEAP]
    assert {trial.digest for trial in repeats(opened)} == {digests[CHEAP], digests[DEAR]}
    assert found.front.members[0].quality == pytest.approx(found.baseline[1] + 0.5)
    assert choose_members(opened, 2) == [found.by_id[found.front.members[0].id]]


def test_who_comes_to_the_front_by_the_means_is_repeated(opened: Opened) -> None:
    digests = {trial.number: trial.digest for trial in opened.store.trials(opened.study.id)}
    # CHEAP falls to (0.5 - 2 x 0.5) / 3 = -0.17, below the trivial method: BEATEN, at 0.25, is next.
    gains = {digests[CHEAP]: -0.5, digests[DEAR]: 1.5, digests[BEATEN_TRIAL]: 0.25}
    repeat_front(with_pool(opened, scored(opened, gains)), 3)
    found = overview(opened.store, NAME)
    assert [trial.number for trial in found.members] == [BEATEN_TRIAL, DEAR]
    assert found.comparison is not None
    assert [len(member.values) for member in found.comparison.members] == [3, 3]
    assert {trial.digest for trial in repeats(opened)} == set(digests.values()) - {
        digests[n] for n in (3, 4, 5)
    }


def test_interrupted_repeats_go_on_from_their_rung(opened: Opened) -> None:
    stages = Stages(opened)

    class Stopping(InProcess):
        def events(self, timeout_s: float) -> Any:
            for key, event in super().events(timeout_s):
                stages._interrupt() if isinstance(event, RungReached) else None
                yield key, event

    pool = Stopping(partial(evaluate, data=opened.bench.data))
    stages.opened = replace(opened, pool=lambda: pool)
    first = stages.chosen(str(CHEAP))
    with pytest.raises(InterruptedStage):
        stages.repeat([first], 3)
    assert {trial.state for trial in repeats(opened)} == {"waiting"}
    begun = [
        rung.step for t in repeats(opened) for rung in opened.store.rungs(opened.study.id, trial_id=t.id)
    ]
    noted, resumed = noting(opened)
    made = Stages(noted).repeat([first], 3)
    assert [trial.state for trial in made] == ["complete"] * 2
    assert sum(job.checkpoint is not None for job in resumed) == len(begun) == 1


@pytest.mark.parametrize(("number", "message"), [(FAILED, "is failed"), (6, "is a repeat itself")])
def test_what_cannot_be_repeated_is_refused(opened: Opened, number: int, message: str) -> None:
    stages = Stages(opened)
    (made,) = stages.repeat([stages.chosen(str(CHEAP))], 2)
    assert made.number == 6
    with pytest.raises(ConfigError, match=message):
        stages.repeat([opened.store.trial(opened.study.id, number)], 2)


def test_a_single_training_is_no_repeat(place: Place) -> None:
    with pytest.raises(ConfigError, match="--repeats 1: expected at least 2"):
        run_repeat(NAME, times=1, place=place, console=Console(quiet=True), said={})


def test_a_study_without_a_front_has_nothing_to_repeat(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        new_study(store, setup(tmp_path / "images"))
    with pytest.raises(ConfigError, match=f"'{NAME}': expected a front with networks that a search trained"):
        run_repeat(
            NAME,
            times=2,
            place=Place(str(tmp_path / "results.db"), tmp_path / "runs"),
            console=Console(quiet=True),
            said={},
        )


def test_a_search_goes_on_as_if_there_were_no_repeats(tmp_path: Path) -> None:
    def asked(store: Store, study: Any) -> list[Any]:
        return [ask.genotype for ask in store.asks(study.id)]

    with Store.open(tmp_path / "plain.db") as store:
        study = studies.new_study(store)
        new_search(store, study, InProcess(), tmp_path / "plain", trials=12).run()
        expected = asked(store, study)
    with Store.open(tmp_path / "repeated.db") as store:
        study = studies.new_study(store)
        new_search(store, study, InProcess(), tmp_path / "repeated", trials=6).run()
        for first in store.trials(study.id, states=["complete"]):
            made = store.add_trial(
                study.id,
                digest=first.digest,
                architecture_json=first.architecture,
                origin={"repeat": 1},
                variant=f"of {first.number}",
                measurements=first.measurements[:4],
            )
            store.start_trial(made.id)
        new_search(store, study, InProcess(seed=1), tmp_path / "repeated", trials=12).run()
        assert asked(store, study) == expected
        searched = [t for t in store.trials(study.id) if not is_repeat(t)]
        assert [t.state for t in searched] == ["complete"] * 12
        assert {t.state for t in store.trials(study.id) if is_repeat(t)} == {"running"}  # left alone

"""A study in Optuna's storages, read back by Optuna."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from results.analysis.overview import overview
from results.store.store import Store
from search.strategies import STRATEGIES
from search.trackers.optuna_export import OptunaExportError, export_to_optuna
from spaces.architecture import Block
from spaces.topologies.chain import Chain
from tests.results import studies

GENES = {"depth": 1, "width": 12, "block_0": "rfdb"}


@pytest.fixture
def store(tmp_path: Path):
    """Stages, and of the search a trial with genes, one that failed, one that waits, one no better than bicubic."""
    with Store.open(tmp_path / "results.db") as store:
        made = studies.fill_stages(store, tmp_path)
        study = store.study(studies.NAME)

        def chain(width: int) -> Chain:
            return Chain(width=width, blocks=(Block("rfdb"),))

        asked = {**{name: values[0] for name, values in study.space.items()}, "width": 12, "depth": 3}
        studies.complete(store, study, chain(12), studies.scores(made, 0.9), tmp_path, genotype=asked)
        studies.complete(store, study, chain(4), studies.scores(made, -1.0), tmp_path)
        failed = studies.add(store, study, chain(10))
        store.start_trial(failed.id)
        store.fail_trial(failed.id, "diverged")
        studies.add(store, study, chain(9))
        yield store


def storage(url: str):
    return (
        JournalStorage(JournalFileBackend(url.removeprefix("journal:")))
        if url.startswith("journal:")
        else url
    )


@pytest.fixture(params=["sqlite:///{}", "journal:{}"])
def url(request, tmp_path):
    return request.param.format(tmp_path / "optuna.storage")


def test_optunas_front_is_ours_within_the_budget(store, url):
    export_to_optuna(store, studies.NAME, url)
    study = optuna.load_study(study_name=studies.NAME, storage=storage(url))
    found = overview(store, studies.NAME)
    ours = {
        m.number: (m.cost / 1e9, m.quality) for m in found.front.members if m.cost / 1e9 <= studies.BUDGET
    }
    assert {t.user_attrs["trial"]: tuple(t.values) for t in study.best_trials} == ours
    assert len(ours) < len(found.front.members)  # the published network costs too much
    assert study.metric_names[1] == "psnr_y"


def test_a_study_with_objectives_and_limits_of_its_own_keeps_them(tmp_path):
    """SSIM first, then parameters, and a limit that rules the best out; one trial was repeated."""
    with Store.open(tmp_path / "results.db") as store:
        said = {"objectives": ("ssim", "parameters", "gmacs"), "limits": ("parameters<=12k",)}
        made = studies.setup(tmp_path / "images", **said)
        study = studies.new_study(store, made)
        for chain, gain in studies.GAINS.items():
            studies.complete(store, study, chain, studies.scores(made, gain), tmp_path)
        again = {"stage": "search", "origin": {"repeat": 1}, "variant": "again"}
        studies.complete(store, study, studies.CHEAP, studies.scores(made, 0.7), tmp_path, **again)
        url = f"sqlite:///{tmp_path / 'o.db'}"
        export_to_optuna(store, studies.NAME, url)
        found = overview(store, studies.NAME)
    written = optuna.load_study(study_name=studies.NAME, storage=url)
    assert [direction.name for direction in written.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert written.metric_names[1:] == ["parameters", "GMACs"]
    ours = {m.number: pytest.approx(m.values) for m in found.front.members}
    assert {t.user_attrs["trial"]: tuple(t.values) for t in written.best_trials} == ours
    assert found.front.unmet > 0
    assert len(written.trials) == 4


def test_trials_keep_what_is_on_record(store, url):
    written = export_to_optuna(store, studies.NAME, url)
    study = optuna.load_study(study_name=studies.NAME, storage=storage(url))
    assert (written.trials, written.open) == (len(study.trials), 1) == (11, 1)
    trials = {t.user_attrs["trial"]: t for t in study.trials}
    record = store.study(studies.NAME)
    asked, failed, distilled = trials[8], trials[10], trials[5]
    assert asked.params == store.trial(record.id, 8).genotype
    assert asked.distributions["width"].low == 8
    assert asked.distributions["block_0"].choices == ("residual", "rfdb")
    assert failed.state == TrialState.FAIL
    assert failed.user_attrs["reason"] == "diverged"
    assert (distilled.user_attrs["stage"], distilled.user_attrs["parent"], distilled.params) == (
        "distil",
        3,
        {},
    )
    assert [step for step, _ in asked.user_attrs["curve"]] == [20]
    began = store.trial(record.id, 8).started_at
    assert abs(asked.datetime_start.astimezone() - began).total_seconds() < 1e-3
    assert asked.datetime_complete >= asked.datetime_start


def test_optunas_samplers_go_on_from_it(store, tmp_path):
    """Parameters are of the space's choices: what Optuna suggests next, the space can decode."""
    url = f"sqlite:///{tmp_path / 'o.db'}"
    export_to_optuna(store, studies.NAME, url)
    study = optuna.load_study(
        study_name=studies.NAME, storage=url, sampler=optuna.samplers.TPESampler(seed=0)
    )
    distributions = next(t.distributions for t in study.trials if t.params)
    suggested = study.ask(distributions).params
    assert set(suggested) == set(store.study(studies.NAME).space)
    assert "tpe" in STRATEGIES


def test_a_study_of_that_name_is_replaced_only_if_asked_to(store, url):
    export_to_optuna(store, studies.NAME, url)
    with pytest.raises(OptunaExportError, match="has a study 'phone' already: give --replace"):
        export_to_optuna(store, studies.NAME, url)
    export_to_optuna(store, studies.NAME, url, replace=True)
    assert len(optuna.load_study(study_name=studies.NAME, storage=storage(url)).trials) == 11


def test_an_export_that_is_cut_off_leaves_no_study(store, url):
    def stop(done: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_to_optuna(store, studies.NAME, url, advanced=stop)
    assert optuna.get_all_study_names(storage(url)) == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("optuna.db", "expected sqlite:///FILE, another database's URL or journal:FILE, got 'optuna.db'"),
        ("sqlite:////nowhere/at/all/o.db", "can't be opened: .*unable to open"),
        ("journal:/nowhere/at/all/o.log", "there is no folder /nowhere/at/all"),
        ("nosql://x", "can't be opened"),
    ],
)
def test_storages_that_cannot_be_opened(store, url, reason):
    with pytest.raises(OptunaExportError, match=reason):
        export_to_optuna(store, studies.NAME, url)


def test_our_own_store_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "pixelfront.db"
    with Store.open(path) as own:
        studies.fill(own, tmp_path)
        before = path.read_bytes()
        for replace in (False, True):
            with pytest.raises(OptunaExportError, match="it is pixelfront's own store; name another"):
                export_to_optuna(own, studies.NAME, f"sqlite:///{path}", replace=replace)
        assert path.read_bytes() == before


def test_a_file_that_is_no_journal_is_refused_and_left_alone(store, tmp_path):
    (tmp_path / "text").write_text("something else")
    for name in ("text", ""):
        with pytest.raises(OptunaExportError, match="no journal of Optuna's"):
            export_to_optuna(store, studies.NAME, f"journal:{tmp_path / name}")
    assert (tmp_path / "text").read_text() == "something else"

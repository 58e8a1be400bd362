"""Searches that really train: a study that was run is read back as its jobs went."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import pytest

from results.store.store import Store
from search.config import load as read
from search.stages.search import Place, run_search

sys.path.append(str(Path(__file__).parents[3] / "benchmarks" / "search"))  # a folder of scripts

from strategies import Replay
from tabular import CONFIG, PACKED, load
from trained_searches import Ended, ended, name_of, report, run_of

STEPS = 40


@pytest.fixture(scope="module")
def replay() -> Replay:
    if not PACKED.exists():
        pytest.skip("needs benchmarks/data")
    return Replay(load())


@pytest.mark.slow
def test_a_search_is_read_back_in_the_order_of_its_jobs(replay: Replay, tmp_path: Path) -> None:
    few = {
        "training.steps": 8,
        "training.batch": 2,
        "training.rungs": (2, 4, 8),
        "eta": 3,
        "strategy": "random",
        "train_steps": STEPS,
        "workers.number": 1,
    }
    name = name_of("random", 0)
    place = Place(str(tmp_path / f"{name}.db"), tmp_path / "runs")
    run_search(read(CONFIG, few), place=place, study=name, finish=False)
    with Store.open(place.db, create=False) as store:
        study = store.study(name)
        metric, protocol = study.data["objective"]
        replay.table.header.update(metric=metric, protocol=protocol)
        found = ended(store, study, replay)
        complete = store.trials(study.id, states=["complete"])
        psnr = sorted(next(m.value for m in t.measurements if m.key == (metric, protocol)) for t in complete)
    assert psnr
    assert sorted(each.measured for each in found) == psnr
    spent = [each.spent for each in found]
    assert spent == sorted(spent)
    assert 8 < spent[-1] <= STEPS
    cells = report(Namespace(work=tmp_path, seeds=2, trainings=1), replay)
    assert [next(iter(column.cells)) for column in cells.columns[:3]] == ["random", "in the search", "1"]


def test_what_the_table_lacks_adds_nothing(replay: Replay) -> None:
    found = [Ended(10, 1.0, 26.5, None), Ended(20, 2.0, 26.6, 26.4), Ended(30, 1.5, 26.7, 26.5)]
    measured = run_of(found, replay, lambda each: each.measured)
    scratch = run_of(found, replay, lambda each: each.scratch)
    assert [spent for spent, _ in measured] == [0, 10, 20, 30]
    assert [spent for spent, _ in scratch] == [0, 20, 30]
    cost, floor = replay.reference
    assert scratch[1][1] == pytest.approx((cost - 2.0) * (26.4 - floor) / replay.best)
    assert 0 < measured[1][1] < measured[2][1] < measured[3][1]

"""Filters by proxy: which candidates go on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load

from evaluators.measure.proxies import ProxyError
from evaluators.supernet.file import TrainedSupernet, read_supernet, write_supernet
from evaluators.supernet.network import Supernet
from evaluators.trial import Finished, RungReached, evaluate
from results.store.schema import Study
from results.store.store import Store
from search.config import resolve
from search.loop.engine import Search
from search.loop.screening import Filter, Screen, Screening, Sieve, foretold, read_filter, recorded
from search.study.context import Setup, prepare
from spaces.architecture import Architecture
from spaces.measurement import Measurement
from spaces.space import chain_space
from tests.results.studies import setup
from tests.search.studies import InProcess, new_search, new_study, psnr

OTHER = chain_space("many", blocks=("rfdb", "ghost", "residual"), widths=(8, 12, 16, 24), depths=(1, 2, 3, 4))
KNOWN = ("synflow", "naswot")


def test_a_filter_is_a_proxy_and_a_share() -> None:
    assert read_filter("synflow:0.5", KNOWN) == Filter("synflow", 0.5)
    assert read_filter("naswot:.25", KNOWN) == Filter("naswot", 0.25)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("synflow", "expected PROXY:SHARE such as synflow:0.5, got 'synflow'"),
        ("synflow:half", "expected PROXY:SHARE"),
        ("synflow:-1", "expected PROXY:SHARE"),
        ("sinflow:0.5", "did you mean 'synflow'"),
        ("synflow:0.0", "above 0 and below 1 to keep, got 0"),
        ("synflow:1.0", "above 0 and below 1 to keep, got 1"),
    ],
)
def test_other_filters_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_filter(text, KNOWN)


@pytest.mark.parametrize("keep", [0.25, 0.5, 0.75])
def test_about_the_share_is_kept_and_it_is_the_better_one(keep: float) -> None:
    random, screen = Random(0), Screen(Filter("synflow", keep))
    values = [random.random() for _ in range(1000)]
    kept = [v for n, v in enumerate(values) if screen.verdict(str(n), random.uniform(1e8, 2e9), v) is None]
    assert keep - 0.06 < len(kept) / 1000 < keep + 0.06
    assert sum(kept) / len(kept) > 0.5 + 0.3 * (1 - keep)


def test_a_proxy_that_says_the_same_of_all_turns_none_away() -> None:
    screen = Screen(Filter("synflow", 0.5))
    assert [screen.verdict(str(n), 1e9 + n, 0.7) for n in range(20)] == [None] * 20


def test_small_networks_are_compared_with_small_ones() -> None:
    """A proxy that is nothing but the size keeps as many of the small half as of the large one."""
    random, screen = Random(0), Screen(Filter("synflow", 0.5))
    kept = []
    for n in range(600):
        macs = random.uniform(1e8, 2e9)
        if screen.verdict(str(n), macs, macs * random.uniform(0.98, 1.02)) is None:
            kept.append(macs)
    small = sum(macs < 1.05e9 for macs in kept)
    assert 0.4 < small / len(kept) < 0.6


def test_decisions_are_the_same_again_and_a_candidate_that_comes_again_is_told_the_same() -> None:
    random = Random(0)
    shown = [(str(n % 40), 1e9 + n % 7, random.random()) for n in range(60)]
    first, again = (
        [screen.verdict(*candidate) for candidate in shown]
        for screen in (Screen(Filter("synflow", 0.5)), Screen(Filter("synflow", 0.5)))
    )
    assert first == again
    assert first[40:] == first[:20]
    assert first[:4] == [None] * 4
    reason = next(verdict for verdict in first if verdict)
    assert reason.startswith("--filter synflow:0.5: synflow 0.")
    assert reason.endswith("candidates nearest in MACs")


PROTOCOL = "untrained, drawn from the digest"


def drawn(calls: Counter[str]) -> Sieve:
    """A filter by a proxy that is a number drawn from the architecture's digest, and says nothing of some."""

    def measure(architecture: Architecture) -> Measurement:
        calls[architecture.digest] += 1
        value = Random(architecture.digest).random()
        if value < 0.1:
            raise ProxyError("nothing")
        return Measurement("synflow", value, "1", "max", PROTOCOL)

    return Sieve(Filter("synflow", 0.5), PROTOCOL, measure)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "study.db") as opened:
        yield opened


class Stopping(InProcess):
    """Ctrl-C after so many trials."""

    search: Search

    def __init__(self, after: int):
        super().__init__(seed=after)
        self._left = after

    def events(self, timeout_s: float) -> Any:
        for key, event in super().events(timeout_s):
            self._left -= isinstance(event, Finished)
            if self._left == 0:
                self.search.interrupt()
            yield key, event


def asked(store: Store, study: Study) -> list[Any]:
    return [(a.genotype, a.outcome, a.reason) for a in store.asks(study.id)]


def test_a_search_trains_only_what_passes_and_keeps_the_reasons(store: Store, tmp_path: Path) -> None:
    study, calls = new_study(store), Counter[str]()
    screening = Screening(sieve := drawn(calls), {})
    search = new_search(
        store, study, InProcess(), tmp_path, judge=screening, trials=20, space=OTHER, strategy="random"
    )
    assert search.run() == "trials"
    asks, trials = store.asks(study.id), store.trials(study.id)
    assert len(trials) == 20
    reasons = [a.reason for a in asks if a.outcome == "rejected" and a.reason]
    away = [reason for reason in reasons if reason.startswith("--filter synflow:0.5: synflow 0.")]
    assert search.tally.turned_away == {"synflow": len(away)}
    assert len(away) > 5
    assert search.tally.rejected == len(reasons) - len(away)
    values = [m for trial in trials for m in trial.measurements if m.protocol == PROTOCOL]
    assert screening.silent == len(calls) - len(set(away)) - len(values) > 0
    assert len(values) == 20 - screening.silent
    assert {m.value for m in values} == {float(f"{m.value:.6g}") for m in values}
    assert set(calls.values()) == {1}
    assert len(recorded(store, study, sieve)) == len(values) + len(away)
    assert "synflow against psnr_y over" in foretold(store, study, sieve)


@pytest.mark.parametrize("strategy", ["tpe", "random"])
@pytest.mark.parametrize("ordered", [True, False])
def test_a_search_that_was_cut_off_judges_again_as_it_did_and_measures_nothing_twice(
    store: Store, tmp_path: Path, strategy: str, ordered: bool
) -> None:
    options: dict[str, Any] = {"trials": 16, "strategy": strategy, "ordered": ordered, "space": OTHER}
    straight, calls = new_study(store, "straight"), Counter[str]()
    judge = Screening(drawn(calls), {})
    assert new_search(store, straight, InProcess(), tmp_path / "a", judge=judge, **options).run() == "trials"
    cut, again = new_study(store, "cut"), Counter[str]()
    for after in (1, 5, 3, 1000):
        before = asked(store, cut)
        judge = Screening(sieve := drawn(again), recorded(store, cut, drawn(again)))
        pool = Stopping(after)
        pool.search = search = new_search(store, cut, pool, tmp_path / "b", judge=judge, **options)
        assert search.run() == ("trials" if after == 1000 else "interrupted")
        assert asked(store, cut)[: len(before)] == before
    silent = {digest for digest, times in again.items() if times > 1}
    assert all(Random(digest).random() < 0.1 for digest in silent)
    assert any(outcome == "rejected" for _, outcome, _ in asked(store, cut))
    if ordered:
        assert asked(store, cut) == asked(store, straight)
        assert foretold(store, cut, sieve) == foretold(store, straight, sieve)


def test_what_a_proxy_foretold_is_told_with_its_number_of_networks(store: Store, tmp_path: Path) -> None:
    for number, (trials, told) in enumerate([(4, r"over 4 fully trained networks: too few"), (12, OVER_12)]):
        study = new_study(store, f"s{number}")

        def measure(architecture: Architecture) -> Measurement:
            return Measurement("synflow", psnr(architecture.to_json()).value, "1", "max", PROTOCOL)

        sieve = Sieve(Filter("synflow", 0.9), PROTOCOL, measure)
        judge = Screening(sieve, {})
        folder = tmp_path / str(number)
        new_search(store, study, InProcess(), folder, judge=judge, trials=trials, strategy="random").run()
        assert re.fullmatch(f"synflow against psnr_y {told}.*", foretold(store, study, sieve))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], Path]:
    """The configuration of a small study, and an untrained supernet of its space."""
    folder = tmp_path_factory.mktemp("supernet")
    bench = setup(folder / "images")
    said = bench.config.model_dump(mode="json")
    network = Supernet(bench.space, bench.task.interface)
    write_supernet(
        folder / "s.safetensors", TrainedSupernet(network, "sr-x2", bench.data.train.digest, {"steps": 0})
    )
    data = {f"data.{key}": said["data"][key] for key in ("train", "validation", "test")}
    return data, folder / "s.safetensors"


SPACE = {"space.blocks": "residual,rfdb", "space.widths": "8,12,16", "space.depths": "1:3"}
OVER_12 = (
    r"over 12 fully trained networks: Spearman \+1.00 \(\+0.\d\d to \+1.00\), \+1.00 \(.*\) at equal MACs"
)


def prepared(data: Mapping[str, object], **said: object) -> Setup:
    training = {"training.steps": 20, "training.patch": 16, "max_gmacs": 2.0}
    return prepare(resolve({"task": "sr-x2", **SPACE, **training, **data, **said}))


def test_a_supernet_is_a_filter_whose_proxy_is_its_networks_score(
    made: tuple[dict[str, object], Path],
) -> None:
    data, path = made
    bench = prepared(data, filter="supernet:0.5", supernet=str(path))
    assert bench.sieve is not None
    assert bench.sieve.wanted == Filter("supernet", 0.5)
    found = bench.sieve.measure(bench.space.decode(bench.space.sample(Random(0))))
    assert (found.name, found.unit, found.protocol) == ("supernet", "dB", bench.sieve.protocol)
    assert bench.data_record()["filter"] == bench.sieve.protocol
    assert "filter" not in prepared(data).data_record()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"filter": "supernet:0.5"}, "train one with 'pixelfront supernet train'"),
        ({"filter": None, "warm_start": True}, "--warm-start needs a supernet of the space: train one"),
        ({"supernet": "FILE"}, "nothing uses it; give --filter supernet:SHARE, --warm-start or both"),
        ({"filter": "naswot:0.5", "supernet": "FILE"}, "nothing uses it"),
        ({"filter": "supernetz:0.5"}, "did you mean 'supernet'"),
        (
            {"space.widths": "8,20"},
            r"doesn't hold the study's space .*\n  width: the supernet has .*, not \[20\]",
        ),
        ({"task": "sr-x3"}, "it is for sr-x2, the study for sr-x3"),
        ({"data.train": "OTHER"}, "it was trained on other images"),
    ],
)
def test_filters_that_a_study_cant_use_are_refused(
    made: tuple[dict[str, object], Path], said: dict[str, object], message: str
) -> None:
    data, path = made
    if not {"filter", "supernet"} & said.keys():
        said = {**said, "filter": "supernet:0.5", "supernet": "FILE"}
    names = {"FILE": str(path), "OTHER": data["data.test"]}
    extra = {"data.test": None} if "data.train" in said else {}
    with pytest.raises(ValueError, match=message):
        prepared(data, **{k: names.get(str(v), v) for k, v in said.items()}, **extra)


def test_a_warm_start_is_from_the_networks_weights_in_the_supernet(
    made: tuple[dict[str, object], Path], store: Store
) -> None:
    data, path = made
    bench = prepared(data, warm_start=True, supernet=str(path))
    architecture = bench.space.decode(bench.space.sample(Random(1)))
    trial = store.add_trial(
        new_study(store).id,
        ask_number=0,
        genotype={},
        architecture_json=architecture.to_json(),
        digest=architecture.digest,
    )
    job = bench.job(trial, None, 0.0)
    assert job.start is not None
    expected = read_supernet(path).network.extract(architecture).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load(job.start).items())
    first = next(event for event in evaluate(job, bench.data) if isinstance(event, RungReached))
    cold = next(e for e in evaluate(replace(job, start=None), bench.data) if isinstance(e, RungReached))
    assert first.checkpoint != cold.checkpoint
    assert bench.job(trial, first.checkpoint, 1.0).start is None
    assert bench.sieve is None
    assert bench.data_record()["supernet"] == read_supernet(path).digest

"""MODELs become networks: foreign ONNX files, trials, and what they are for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from onnx import TensorProto

from results.export.files import load_network
from results.store.artifacts import weights_path
from results.store.store import Store
from search.networks.evaluate import evaluate, network_cost, read_sets, resolve_device, with_latencies
from search.networks.subjects import Studies, find_subject
from spaces.architecture import Architecture
from spaces.cost import Cost
from tests.evaluators.measure.test_onnx_network import foreign
from tests.results.studies import NAME, TASK, fill


@pytest.fixture
def studies(tmp_path: Path) -> Studies:
    place = tmp_path / "runs"
    place.mkdir()
    with Store.open(place / "pixelfront.db") as store:
        fill(store, place / NAME)
    return Studies(lambda: Store.open(place / "pixelfront.db", create=False), place)


def test_a_trial_is_named_by_study_and_number_or_best(studies: Studies) -> None:
    with studies.open() as store:
        study = store.study(NAME)
        trial = store.trial(study.id, 2)
        path = weights_path(store, trial)
    expected = load_network(Architecture.from_json(trial.architecture), TASK, path).state_dict()
    for name in (f"{NAME}:2", f"{NAME}:best"):
        subject = find_subject([name], studies=studies)
        assert subject.task.interface.name == study.task
        (network,) = subject.networks
        assert all(torch.equal(tensor, expected[key]) for key, tensor in network.state_dict().items())
    (member,) = subject.members
    assert (member.name, member.weights) == (f"{NAME}:2", str(path))


def test_unknown_trials_and_studies_are_refused(studies: Studies) -> None:
    with pytest.raises(ValueError, match="99"):
        find_subject([f"{NAME}:99"], studies=studies)
    with pytest.raises(ValueError, match="nope"):
        find_subject(["nope:1"], studies=studies)
    with pytest.raises(ValueError, match=r"expected FILE\.onnx, .* got 'phone:2'"):
        find_subject([f"{NAME}:2"])


def test_a_foreign_file_is_for_the_task_that_alone_fits(tmp_path: Path) -> None:
    path = foreign(tmp_path / "x3.onnx", scale=3)
    subject = find_subject([str(path)])
    assert subject.task.interface.name == "sr-x3"
    (member,) = subject.members
    assert (member.architecture, member.label) == (None, "ONNX file")
    assert network_cost(member, subject.task.interface, (20, 24)).cost == Cost(
        macs=27 * 27 * 480, parameters=27 * 27, activations=27 * 480, convolutions=1
    )
    with pytest.raises(ValueError, match="3 times as large; it can be for sr-x3: say which, --task"):
        find_subject([str(path)], task="sr-x2")


def test_where_several_tasks_fit_it_has_to_be_said(tmp_path: Path) -> None:
    path = str(foreign(tmp_path / "same.onnx", scale=1))
    with pytest.raises(ValueError, match=r"1 times as large; it can be for .*deblur.*: say which, --task"):
        find_subject([path])
    assert find_subject([path], task="derain").task.interface.name == "derain"
    with pytest.raises(ValueError, match="5 channels in, 5 out, 1 times as large; no task has that"):
        find_subject([str(foreign(tmp_path / "five.onnx", scale=1, channels=5))])


def test_files_of_other_contents_are_different_members(tmp_path: Path) -> None:
    first = foreign(tmp_path / "a.onnx")
    again = tmp_path / "b.onnx"
    again.write_bytes(first.read_bytes())
    half = foreign(tmp_path / "half.onnx", kind=TensorProto.FLOAT16)
    subject = find_subject([str(path) for path in (first, again, half)])
    assert [member.name for member in subject.different] == ["a.onnx", "half.onnx"]
    assert len(subject.networks) == 3


def test_a_file_of_one_size_is_measured_at_that(tmp_path: Path) -> None:
    subject = find_subject([str(foreign(tmp_path / "fixed.onnx", size=(128, 96)))], threads=1)
    sets = read_sets(subject.task, [])
    found = evaluate(subject, [], threads=1)
    (timed,) = with_latencies([found], threads=1, runs=1)
    (costs,) = timed.costs
    assert costs.input == (128, 96)
    assert costs.cost.macs == 12 * 27 * 128 * 96
    assert costs.latency is not None
    assert costs.memory is not None
    assert "1x3x128x96" in costs.latency.protocol
    with pytest.raises(ValueError, match="takes only 128x96, got .* tiles"):
        evaluate(subject, sets, threads=1, measured=False)


def test_onnx_files_run_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, network = (find_subject([name]) for name in (str(foreign(tmp_path / "f.onnx")), "rfdn"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto", [network]) == "cuda"
    assert resolve_device("auto", [network, file]) == "cpu"
    with pytest.raises(ValueError, match=r"f\.onnx is an ONNX file, which runs on the CPU"):
        resolve_device("cuda", [file])

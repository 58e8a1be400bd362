"""The dashboard's worker process: it starts late, is killed when it is slow, comes back, and ends with the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import PIL.Image
import pytest

from results.dashboard.errors import ApiError
from results.dashboard.uploads import encoded
from results.store.artifacts import weights_path
from results.store.schema import Study, Trial
from results.store.store import Store
from search.dashboard import jobs as dashboard_jobs
from search.dashboard.worker import SECONDS, WorkerServices
from search.study.context import Setup
from tests.results import studies


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Study, Setup]]:
    """A small study with every stage; trial 6 is pruned, 7 distilled."""
    folder = tmp_path_factory.mktemp("study")
    with Store.open(folder / "results.db") as store:
        made = studies.fill_stages(store, folder)
        yield store, store.study(studies.NAME), made


@pytest.fixture
def worker() -> Iterator[WorkerServices]:
    services = WorkerServices()
    yield services
    services.close()


def picture(size: int = 20) -> bytes:
    return encoded(np.zeros((size, size, 3), np.uint8)).png


def process_of(services: WorkerServices) -> Any:
    return services._process


def refused(call: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value


# The process


def test_the_server_side_imports_no_torch() -> None:
    code = (
        "import sys, results.dashboard.app, search.dashboard.worker as w\n"
        "services = w.WorkerServices(); services.close()\n"
        "print([m for m in ('torch', 'ray', 'matplotlib', 'evaluators') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_one_process_does_all_jobs_and_ends_with_the_services(
    worker: WorkerServices, filled: tuple[Store, Study, Setup]
) -> None:
    store, study, _ = filled
    assert process_of(worker) is None  # until it is needed
    assert worker.run("decode", content=picture(), pixels=400).width == 20
    process = process_of(worker)
    with ThreadPoolExecutor(4) as threads:
        trials = [store.trial(study.id, number) for number in (0, 2, 3, 6)]
        found = list(threads.map(lambda t: worker.run("parts", study=study, trial=t), trials))
    for trial, answer in zip(trials, found, strict=True):
        macs = next(m.value for m in trial.measurements if m.protocol.startswith("exact"))
        assert answer["total"]["macs"] == sum(part["macs"] for part in answer["parts"]) == macs
    assert process_of(worker) is process
    worker.close()
    assert process.exitcode in (0, -signal.SIGKILL)  # by itself, unless the machine is too busy for that
    worker.close()
    assert refused(lambda: worker.run("decode", content=picture(), pixels=400)).code == "closed"


def test_a_refusal_comes_through_the_pipe_as_it_is(worker: WorkerServices) -> None:
    error = refused(lambda: worker.run("decode", content=b"<svg/>", pixels=400))
    assert (error.status_code, error.code) == (415, "not_a_picture")
    error = refused(lambda: worker.run("decode", content=picture(21), pixels=400))
    assert (error.status_code, error.details) == (413, {"pixels": 400})


def test_a_slow_job_is_ended_and_the_next_one_done(filled: tuple[Store, Study, Setup]) -> None:
    services = WorkerServices({**SECONDS, "pictures": 0.0})
    try:
        error = refused(lambda: services.run("pictures", study=filled[1]))
        assert (error.status_code, error.code) == (504, "too_slow")
        assert "within 0 s" in error.detail
        assert process_of(services) is None
        assert services.run("decode", content=picture(), pixels=400).height == 20
    finally:
        services.close()


def test_a_killed_worker_is_told_and_replaced(
    worker: WorkerServices, filled: tuple[Store, Study, Setup]
) -> None:
    """As the system kills one that takes too much memory, in the middle of a job."""
    worker.run("decode", content=picture(), pixels=400)
    first = process_of(worker).pid
    os.kill(first, signal.SIGSTOP)  # so that the job can't be done before
    killer = threading.Timer(0.3, os.kill, (first, signal.SIGKILL))
    killer.start()
    error = refused(lambda: worker.run("decode", content=picture(), pixels=400))
    assert (error.status_code, error.code) == (500, "worker_died")
    assert "memory" in error.detail
    assert worker.run("decode", content=picture(), pixels=400).width == 20
    assert process_of(worker).pid != first


def test_the_system_takes_the_worker_first(worker: WorkerServices) -> None:
    worker.run("decode", content=picture(), pixels=400)
    with open(f"/proc/{process_of(worker).pid}/oom_score_adj") as file:
        assert file.read() == "1000\n"


def test_a_full_queue_says_when_to_come_back() -> None:
    services = WorkerServices(waiting=1)
    try:
        services.run("decode", content=picture(), pixels=400)
        os.kill(process_of(services).pid, signal.SIGSTOP)
        first = threading.Thread(
            target=services.run, args=("decode",), kwargs={"content": picture(), "pixels": 400}
        )
        first.start()
        deadline = time.monotonic() + 10
        while services._places._value and time.monotonic() < deadline:  # type: ignore[attr-defined]
            time.sleep(0.01)
        error = refused(lambda: services.run("decode", content=picture(), pixels=400))
        assert (error.status_code, error.code) == (503, "busy")
        assert int((error.headers or {})["Retry-After"]) > 0
        os.kill(process_of(services).pid, signal.SIGCONT)
        first.join(20)
        assert services.run("decode", content=picture(), pixels=400).width == 20
    finally:
        services.close()


def test_closing_ends_a_job_that_waits(worker: WorkerServices) -> None:
    worker.run("decode", content=picture(), pixels=400)
    os.kill(process_of(worker).pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        job = threads.submit(worker.run, "decode", content=picture(), pixels=400)
        time.sleep(0.2)
        worker.close()
        error = job.exception(10)
    assert isinstance(error, ApiError)
    assert error.code == "closed"


def test_a_worker_outlives_no_server() -> None:
    """Not even one that is killed."""
    code = (
        "import os, time\n"
        "from search.dashboard.worker import WorkerServices\n"
        "if __name__ == '__main__':\n"
        "    services = WorkerServices()\n"
        f"    services.run('decode', content={picture()!r}, pixels=400)\n"
        "    print(services._process.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    pid, deadline = int(done.stdout), time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}/exe") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{pid}/exe")


# The jobs, in this process


def subject(store: Store, study: Study, number: int) -> tuple[Trial, Any]:
    trial = store.trial(study.id, number)
    return trial, weights_path(store, trial)


def test_missing_images_are_told_and_the_embedded_ones_stay(tmp_path: Any) -> None:
    with Store.open(tmp_path / "results.db") as store:
        studies.fill(store, tmp_path)
        study = store.study(studies.NAME)
        (tmp_path / "images/val/HR/validation0.png").unlink()
        PIL.Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "images/test/HR/test0.png")
        found = dashboard_jobs.pictures(study)
        assert {p["split"] for p in found["pictures"]} == {"embedded"}
        assert len(found["notes"]) == 2
        assert "aren't those of the study" in found["notes"][0]
        assert "no image in this folder" in found["notes"][1]
        assert "embedded-3" in [p["id"] for p in found["pictures"]]
        answer = dashboard_jobs.compare(study, [subject(store, study, 0)], "embedded-3", True)
        assert [entry["psnr"] > 5 for entry in answer["entries"]] == [True, True]


def test_held_out_images_are_read_without_the_training_images(tmp_path: Any) -> None:
    """Which may take minutes and gigabytes."""
    with Store.open(tmp_path / "results.db") as store:
        studies.fill(store, tmp_path)
        for path in (tmp_path / "images/train").iterdir():
            path.unlink()
        found = dashboard_jobs.pictures(store.study(studies.NAME))
        assert [p["id"] for p in found["pictures"][:2]] == ["test-0", "validation-0"]
        assert found["notes"] == []


def test_pictures_with_too_large_an_output_are_refused(
    filled: tuple[Store, Study, Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, study, _ = filled
    monkeypatch.setattr(dashboard_jobs, "OUTPUT_PIXELS", 64 * 48 - 1)
    with pytest.raises(ValueError, match="at most 3,071 pixels, got 64x48"):
        dashboard_jobs.compare(study, [subject(store, study, 2)], "validation-0", False)


TASKS = ("sr-x4", "denoise", "deblur", "derain", "isp", "rescale-x2", "hdr")


@pytest.mark.parametrize("name", TASKS)
def test_every_task_takes_uploads_or_says_why_not(name: str) -> None:
    """A clean picture is degraded as the task does; an input is what the networks take."""
    task = dashboard_jobs.get_task(name)
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    png = encoded(pixels).png
    if name == "hdr":
        with pytest.raises(ValueError, match="task 'hdr' can't take an upload: choose a held-out picture"):
            dashboard_jobs._uploaded(task, png, "target")
    else:
        shown = dashboard_jobs._uploaded(task, png, "target")
        assert shown.pair is not None
        target = shown.pair.targets.images[0].pixels
        assert np.array_equal(target, pixels)
        assert task.baseline(shown.pixels).shape == target.shape
    if name in ("hdr", "isp"):
        with pytest.raises(ValueError, match="channels, which no plain picture has"):
            dashboard_jobs._uploaded(task, png, "input")
    else:
        shown = dashboard_jobs._uploaded(task, png, "input")
        assert shown.pair is None
        assert np.array_equal(shown.pixels, pixels)


def test_pictures_that_are_too_small_are_refused() -> None:
    task = dashboard_jobs.get_task("sr-x4")
    for role, side in (("target", 96), ("input", 24)):
        assert dashboard_jobs._uploaded(task, picture(side), role).pixels.shape == (24, 24, 3)
        with pytest.raises(ValueError, match=f"sides of at least {side} pixels, got {side - 1}x{side - 1}"):
            dashboard_jobs._uploaded(task, picture(side - 1), role)


def test_jobs_are_those_that_have_a_time_limit() -> None:
    assert {*dashboard_jobs.JOBS, "decode"} == {*SECONDS}

"""The server as its user starts it: the command, events while a study is written to, and its end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from results.dashboard.app import create_app
from results.dashboard.security import Settings
from results.dashboard.serving import listen
from results.store.store import Store
from tests.results import studies
from tests.results.dashboard.served import served
from tests.results.postgres import running_server
from tests.results.studies import CHEAP, DEAR, NAME

ROOT = Path(__file__).parents[3]


def command(folder: Path, *more: str) -> list[str]:
    code = "from search.cli import main; main()"
    return [sys.executable, "-c", code, "dashboard", "--db", str(folder / "results.db"), *more]


@contextmanager
def dashboard(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command's process and its address, once it has said it."""
    with subprocess.Popen(
        command(folder, "--port", "0"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == str(folder / "results.db")
            yield process, process.stdout.readline().split()[0]
        finally:
            process.kill()


class Events:
    """What an EventSource would see."""

    def __init__(self, client: httpx.Client, address: str, **headers: str) -> None:
        self.seen: list[tuple[str, dict]] = []
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(client, address, headers), daemon=True)
        self._thread.start()

    def _read(self, client: httpx.Client, address: str, headers: dict[str, str]) -> None:
        with suppress(httpx.HTTPError), client.stream("GET", address, headers=headers, timeout=60) as answer:
            name = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    self.seen.append((name, json.loads(line[6:])))
        self.ended.set()

    def wait_for(self, name: str, wanted: Callable[[dict], bool] = bool) -> dict:
        """The first event of the name that is as wanted."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for kind, content in list(self.seen):
                if kind == name and wanted(content):
                    return content
            time.sleep(0.01)
        raise AssertionError(f"no {name} in {self.seen}")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Store, Path]]:
    """A store with a study that is written to."""
    with Store.open(tmp_path / "results.db") as store:
        made = studies.setup(tmp_path / "images")
        studies.complete(store, studies.new_study(store, made), CHEAP, studies.scores(made, 0.5), tmp_path)
        yield store, tmp_path


def test_a_trial_arrives_at_every_listener_and_a_late_one_is_sent_what_it_missed(running):
    store, folder = running
    study = store.study(NAME)
    with dashboard(folder) as (_, address), httpx.Client(base_url=address) as client:
        stream = f"/api/v1/studies/{NAME}/events"
        first, second = Events(client, stream), Events(client, stream)
        for each in (first, second):
            assert each.wait_for("progress")["running"] == []
        trial = studies.add(store, study, DEAR)
        store.start_trial(trial.id, "worker 7")
        changed = first.wait_for("changed")
        assert changed["points"]["number"] == [1]
        assert changed["points"]["label"] == [DEAR.label]
        assert changed["changed"] == 1
        assert second.wait_for("changed") == changed
        store.add_rung(trial.id, 10, 0.25, 1.0)
        told = first.wait_for("progress", lambda event: any(each["steps"] for each in event["running"]))
        (busy,) = told["running"]
        assert (busy["number"], busy["worker"], busy["steps"], busy["of"]) == (1, "worker 7", 10, 20)
        late = Events(client, stream, **{"Last-Event-ID": str(study.revision)})
        missed = late.wait_for("changed")
        assert missed["points"]["number"] == [1]
        assert missed["points"]["since"] == study.revision
        late.wait_for("changed", lambda event: event["revision"] == store.revision(study.id))


def test_a_data_base_that_goes_away_is_said_and_its_return_noticed(tmp_path, caplog):
    with running_server() as server:
        url = server.new_database()
        with Store.open(url) as store:
            made = studies.setup(tmp_path / "images")
            studies.complete(
                store, studies.new_study(store, made), CHEAP, studies.scores(made, 0.5), tmp_path
            )
        with Store.open(url, create=False, read_only=True) as reader:

            def app(port: int) -> FastAPI:
                return create_app(reader, runs=tmp_path, settings=Settings(port=port))

            with served(app) as client:
                events = Events(client, f"/api/v1/studies/{NAME}/events")
                events.wait_for("progress")
                server.stop()
                refused = client.get(f"/api/v1/studies/{NAME}/points")
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store")
                assert "Check that" in refused.json()["error"]["message"]
                wait_until(lambda: "Trying again" in caplog.text)
                server.start()
                wait_until(lambda: "answers again" in caplog.text)
                with Store.open(url) as store:
                    studies.add(store, store.study(NAME), DEAR)
                assert events.wait_for("changed")["points"]["number"] == [1]
                assert client.get(f"/api/v1/studies/{NAME}/points").json()["count"] == 2
        assert caplog.text.count("Trying again") == 1


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_many_changes_are_fetched_not_pushed(running, monkeypatch):
    from results.dashboard import live
    from results.dashboard.views import Studies

    store, _ = running
    monkeypatch.setattr(live, "MOST_POINTS", 0)
    revision, event = live.Live(Studies(store))._changed(NAME, 0)
    content = json.loads(event.split(b"data: ")[1].split(b"\n")[0])
    assert content["points"] is None
    assert content["changed"] == 1
    assert f"id: {revision}".encode() in event


def test_ctrl_c_ends_it_at_once_though_streams_are_open(running):
    _, folder = running
    with dashboard(folder) as (process, address), httpx.Client(base_url=address) as client:
        events = Events(client, f"/api/v1/studies/{NAME}/events")
        events.wait_for("progress")
        process.send_signal(signal.SIGINT)
        process.wait(120)
        assert events.ended.wait(120)
        _, errors = process.communicate()
        assert "Traceback" not in errors


def test_a_taken_port_is_said_and_the_default_one_gives_way(running):
    _, folder = running
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = subprocess.run(
            command(folder, "--port", str(port)), cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2
        assert done.stderr.startswith(f"pixelfront: port {port} of 127.0.0.1 is taken")
        with listen("127.0.0.1", port, others=True) as bound:
            assert bound.getsockname()[1] > port


def test_a_missing_store_is_said(tmp_path):
    done = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "no results store" in done.stderr
    assert done.stderr.count("\n") == 1

"""MLflow: an experiment a study, a run a trial below the study's own run.

On the server or database that MLFLOW_TRACKING_URI names; else in ``mlflow.db``, beside the studies.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

# MLflow tells its makers of its use, and looks for a git repository; neither is ours to start.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from results.store.schema import Study
from search.trackers import CURVE, STUDY, Known
from spaces.architecture import Leaf

logging.getLogger("mlflow").setLevel(logging.WARNING)

TAG = "pixelfront.run"
PAGE = 1000
LONGEST = 500  # characters of a parameter that every server takes


def make(study: Study, folder: Path, runs: Path) -> MLflow:
    """Writes to the experiment of the study's name."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs.resolve() / 'mlflow.db'}"
    return MLflow(uri, study.name)


class MLflow:
    """Runs of one experiment; which there are, the server says."""

    errors: tuple[type[Exception], ...] = (MlflowException, OSError)

    def __init__(self, uri: str, experiment: str):
        self.place = f"MLflow at {uri}"
        self._uri = uri
        self._name = experiment
        self._client: MlflowClient | None = None
        self._experiment = ""
        self._ids: dict[str, str] = {}

    def begin(self, run: str, about: Mapping[str, Leaf | float], at: datetime) -> Known:
        """Opens a run, new or from before; says what it has."""
        client = self._connected()
        if run in self._ids:
            if run == STUDY:
                client.update_run(self._ids[run], status="RUNNING")
            return self._known(run)
        self._create(run, at)
        params = [Param(name, str(said)[:LONGEST]) for name, said in about.items()]
        client.log_batch(self._ids[run], params=params)
        return Known()

    def log(self, run: str, step: int, values: Mapping[str, float], at: datetime) -> None:
        """Values along a training, at a time."""
        self._connected().log_batch(self._ids[run], metrics=_metrics(values, step, at))

    def end(
        self, run: str, step: int, scores: Mapping[str, float], failure: str | None, at: datetime
    ) -> None:
        """Final scores; called again for those measured later."""
        client, identity = self._connected(), self._ids[run]
        client.log_batch(identity, metrics=_metrics(scores, step, at))
        if failure is not None:
            client.set_tag(identity, "reason", failure)
        client.set_terminated(identity, "FINISHED" if failure is None else "FAILED", _milliseconds(at))

    def close(self) -> None:
        """Nothing more will come."""
        if self._client is not None and STUDY in self._ids:
            try:
                self._client.set_terminated(self._ids[STUDY])
            except self.errors:
                return  # it was told of when the last values couldn't be written

    def _connected(self) -> MlflowClient:
        if self._client is None:
            client = MlflowClient(self._uri)
            found = client.get_experiment_by_name(self._name)
            self._experiment = found.experiment_id if found else client.create_experiment(self._name)
            self._ids, token = {}, None
            while token is None or token:
                page = client.search_runs([self._experiment], max_results=PAGE, page_token=token)
                self._ids |= {each.data.tags[TAG]: each.info.run_id for each in page if TAG in each.data.tags}
                token = page.token or ""
            self._client = client
        return self._client

    def _create(self, run: str, at: datetime) -> None:
        tags = {TAG: run} | ({} if run == STUDY else {"mlflow.parentRunId": self._ids[STUDY]})
        name = self._name if run == STUDY else run
        made = self._connected().create_run(self._experiment, _milliseconds(at), tags, name)
        self._ids[run] = made.info.run_id

    def _known(self, run: str) -> Known:
        client = self._connected()
        found = client.get_run(self._ids[run])
        names = found.data.metrics
        curves = [name for name in names if name.startswith(CURVE)]
        steps = [
            each.step for name in curves[:1] for each in client.get_metric_history(found.info.run_id, name)
        ]
        scores = {name for name in names if not name.startswith(CURVE)}
        return Known(max(steps, default=-1), scores, found.info.status != "RUNNING")


def _metrics(values: Mapping[str, float], step: int, at: datetime) -> list[Metric]:
    return [Metric(name, number, _milliseconds(at), step) for name, number in values.items()]


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)

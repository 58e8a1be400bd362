"""TensorBoard: event files in the study's folder, a folder a run, with hyperparameters and their metrics."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from results.store.schema import Study
from search.trackers import CURVE, Known
from spaces.architecture import Leaf

FAILED = "failed"
ENDED = "ended"


def make(study: Study, folder: Path, runs: Path) -> TensorBoard:
    """Writes to the study's folder, ``tensorboard``."""
    return TensorBoard(folder / "tensorboard")


class TensorBoard:
    """Runs as folders of event files; what a run has is read back from them."""

    errors: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, folder: Path):
        self.place = f"tensorboard --logdir {folder}"
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}
        self._about: dict[str, dict[str, Leaf | float]] = {}

    def begin(self, run: str, about: Mapping[str, Leaf | float], at: datetime) -> Known:
        """Opens a run, new or from before; says what it has."""
        self._about[run] = dict(about)
        if not (self._folder / run).is_dir():
            return Known()
        events = EventAccumulator(str(self._folder / run), size_guidance={"scalars": 0}).Reload()
        names = set(events.Tags()["scalars"])
        steps = [event.step for name in names if name.startswith(CURVE) for event in events.Scalars(name)]
        scores = {name for name in names if not name.startswith(CURVE) and name != ENDED}
        return Known(max(steps, default=-1), scores, ENDED in names)

    def log(self, run: str, step: int, values: Mapping[str, float], at: datetime) -> None:
        """Values along a training, at a time."""
        writer = self._writer(run)
        for name, number in values.items():
            writer.add_scalar(name, number, step, walltime=at.timestamp())
        writer.flush()

    def end(
        self, run: str, step: int, scores: Mapping[str, float], failure: str | None, at: datetime
    ) -> None:
        """Final scores; called again for those measured later."""
        writer, wall = self._writer(run), at.timestamp()
        for name, score in scores.items():
            writer.add_scalar(name, score, step, walltime=wall)
        if failure is not None:
            writer.add_text(FAILED, failure, step, walltime=wall)
        about = {
            name: said if isinstance(said, bool | int | float) else str(said)
            for name, said in self._about[run].items()
        }
        files = writer._get_file_writer()  # add_hparams would make another run of them
        for summary in hparams(about, dict(scores)):
            files.add_summary(summary, walltime=wall)
        writer.add_scalar(
            ENDED, 1.0, step, walltime=wall
        )  # the last, so that what was cut off is written again
        self._writers.pop(run).close()

    def close(self) -> None:
        """Nothing more will come."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _writer(self, run: str) -> SummaryWriter:
        if run not in self._writers:
            self._writers[run] = SummaryWriter(str(self._folder / run))
        return self._writers[run]

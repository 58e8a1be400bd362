"""Progress of trials: a line per finished one and, in a terminal, what is going on below them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from results.analysis.front import hypervolume
from results.store.schema import Trial
from search.loop.engine import UNLIMITED, Limits
from search.workers.execution import Tally
from spaces.architecture import Architecture
from spaces.objectives import Objective


class TerminalProgress:
    """Shows results, budget spent, running trials and the front's hypervolume.

    Args:
        objectives: What the values that it is told are of.
        worst: Of each, what hypervolume is measured from; None for the worst seen.
        trivial: The trivial method's PSNR.
    """

    def __init__(
        self,
        console: Console,
        limits: Limits,
        objectives: Sequence[Objective],
        worst: Sequence[float | None],
        trivial: float,
    ):
        self._console = console
        self._limits = limits
        self._objectives = tuple(objectives)
        self._worst = tuple(worst)
        self._trivial = trivial
        self._started = time.monotonic()
        self._tally = Tally()
        self._values: list[Sequence[float]] = []
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._view, transient=True)

    def __enter__(self) -> TerminalProgress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._live.stop()
        if self._tally.trials:
            self._console.print(self._summary(), soft_wrap=True)

    def changed(self, tally: Tally) -> None:
        """Remember where the run stands; the display refreshes itself."""
        self._tally = tally

    def adopted(self, values: Sequence[float]) -> None:
        """A trial that was complete before this run counts for the hypervolume."""
        self._values.append(values)

    def paused(self, trial: Trial, values: Sequence[float], step: int) -> None:
        """Say what a trial came to at a rung; it doesn't count for the hypervolume."""
        line = f"trial {trial.number:>3}  {self._said(values, f' at step {step}')}  {_label(trial)}"
        self._console.print(Text(line, style="dim"), soft_wrap=True)

    def finished(self, trial: Trial, values: Sequence[float] | None, reason: str | None) -> None:
        """Add a trial to the latest results."""
        label = _label(trial)
        if values is None:
            line = Text(f"trial {trial.number:>3}  failed  {label}: {reason}", style="red")
        else:
            self._values.append(values)
            line = Text(f"trial {trial.number:>3}  {self._said(values)}  {label}")
        self._console.print(line, soft_wrap=True)  # above the live part, if there is one

    def _view(self) -> RenderableType:
        return Group(self._summary(), self._running())

    def _summary(self) -> RenderableType:
        tally = self._tally
        limits = self._limits
        done = tally.complete + tally.failed + tally.paused
        elapsed = time.monotonic() - self._started
        limit = f"/{limits.trials}" if limits.trials < UNLIMITED else ""
        parts = [f"{done}{limit} trials", f"{_clock(elapsed)} elapsed"]
        if limits.seconds is not None:
            parts.append(f"{_clock(max(0.0, limits.seconds - elapsed))} left")
        if tally.steps:  # a search's
            of = f", {max(0, limits.steps - tally.steps):,} left" if limits.steps is not None else ""
            parts.append(f"{tally.steps:,} steps spent{of}")
        if limits.worker_hours is not None:
            left = max(0.0, limits.worker_hours - tally.worker_hours)
            parts.append(f"{tally.worker_hours:.2f} worker-hours spent, {left:.2f} left")
        if tally.paused:
            parts.append(f"{tally.paused} of them paused, {tally.complete} complete")
        if tally.trials:  # of a search: nothing else asks questions
            parts.append(f"{tally.rejected} over budget, {tally.duplicates} duplicates turned away for free")
        parts += [f"{n} turned away by {by}, free" for by, n in tally.turned_away.items()]
        if tally.repaired:
            parts.append(f"{tally.repaired} repaired")
        if tally.retried:
            parts.append(f"{tally.retried} retried")
        if tally.failed:
            parts.append(f"{tally.failed} failed")
        parts.append(f"hypervolume {self._hypervolume():.4g}")
        return Text("  ".join(parts), style="bold")

    def _running(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        for running in list(self._tally.running.values()):
            if running.since is None:
                continue
            loss = "" if running.loss is None else f"loss {running.loss:.4f}"
            table.add_row(
                f"trial {running.trial.number:>3}",
                ProgressBar(total=running.steps, completed=running.step, width=30),
                f"{running.step}/{running.steps}",
                loss,
                _label(running.trial),
            )
        return table

    def _said(self, values: Sequence[float], after: str = "") -> str:
        """The values in words; what is said after PSNR is its gain over the trivial method, unless given."""
        parts = []
        for each, value in zip(self._objectives, values, strict=True):
            if each.name == "psnr":
                parts.append(f"{value:6.2f} dB" + (after or f" ({value - self._trivial:+.2f})"))
            elif each.name == "gmacs":
                parts.append(f"{value:8.3f} GMACs")
            elif each.name == "ssim":
                parts.append(f"SSIM {value:.4f}")
            else:
                parts.append(f"{value:9,.4g} {each.kind.unit or each.name}")
        return "  ".join(
            parts if "psnr" in {each.name for each in self._objectives} else [*parts, after.strip()]
        )

    def _hypervolume(self) -> float:
        if not self._values:
            return 0.0
        directions = [each.direction for each in self._objectives]
        seen = [
            max(column) if direction == "min" else min(column)
            for column, direction in zip(zip(*self._values, strict=True), directions, strict=True)
        ]
        corner = [last if bound is None else bound for bound, last in zip(self._worst, seen, strict=True)]
        return hypervolume(self._values, directions, corner)


def _label(trial: Trial) -> str:
    """The architecture's, after the stage where that isn't the search."""
    label = Architecture.from_json(trial.architecture).label
    return label if trial.stage == "search" else f"{trial.stage}: {label}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"

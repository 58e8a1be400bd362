"""How long training takes here, by what a network costs: measured before a search, kept up to date during it.

Seconds a step follow a network's GMACs, activations and convolutions closely on one machine, and hardly from one
machine to another; so a few networks are timed on the workers that will train, and a non-negative least-squares fit of
the three says what others take. While trials run, their progress tells how far the machine has drifted from that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import exp, log
from typing import Any

import numpy as np
from scipy.optimize import nnls

from spaces.cost import Cost

LEAST_SPREAD = 0.1  # what is believed of the fit at best
MOST_SPREAD = 0.5
LAGS = 8  # jobs whose lag is averaged
REPORT_STEPS = 20  # a training says where it stands this often (``evaluators.training.loop.Training.run``)
LEAST_RATIO, MOST_RATIO = 1e-3, 1e3  # of measured and expected time, so that nothing overflows


Clock = Callable[[], float]
"""Seconds, from any beginning."""


@dataclass(frozen=True)
class Line:
    """Seconds as a non-negative combination of a network's costs."""

    fixed: float = 0.0
    per_gmac: float = 0.0
    per_mega_activation: float = 0.0
    per_convolution: float = 0.0

    def __call__(self, cost: Cost) -> float:
        """Seconds for a network of this cost."""
        return float(np.dot(_features(cost), list(asdict(self).values())))


@dataclass(frozen=True)
class Pace:
    """Seconds that training takes on one worker, all workers being busy.

    Attributes:
        step: A training step.
        scoring: Scoring the validation images by PSNR.
        ssim_s: What SSIM takes on top, for one scoring.
        start_s: From handing a job to a worker that is up until its first step is done.
        spread: Standard deviation of the logarithm of measured over fitted step times.
    """

    step: Line
    scoring: Line
    ssim_s: float = 0.0
    start_s: float = 0.0
    spread: float = LEAST_SPREAD

    def seconds(
        self, cost: Cost, steps: int, scorings: int = 0, *, ssim: int = 0, start: bool = True
    ) -> float:
        """What training a network for so many steps takes, with its scorings.

        Args:
            ssim: Scorings that include SSIM.
        """
        return (
            self.start_s * start
            + steps * self.step(cost)
            + scorings * self.scoring(cost)
            + ssim * self.ssim_s
        )

    def to_data(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Pace:
        """From what ``to_data`` gives."""
        lines = {name: Line(**data[name]) for name in ("step", "scoring")}
        return cls(**{**data, **lines})


@dataclass(frozen=True)
class Sample:
    """One network's measured seconds."""

    cost: Cost
    start_s: float
    step_s: float
    score_s: float
    ssim_s: float


def fit(samples: Sequence[Sample], *, start_s: float = 0.0) -> Pace:
    """The pace that measured networks show.

    Args:
        samples: At least one.
        start_s: What starting a job takes beside building its network.
    """
    step = _line([s.cost for s in samples], [s.step_s for s in samples])
    scoring = _line([s.cost for s in samples], [s.score_s for s in samples])
    ratios = [log(max(s.step_s, 1e-9) / max(step(s.cost), 1e-9)) for s in samples]
    spread = float(np.std(ratios)) if len(ratios) > 2 else MOST_SPREAD / 2
    return Pace(
        step,
        scoring,
        ssim_s=float(np.median([s.ssim_s for s in samples])),
        start_s=start_s + float(np.median([s.start_s for s in samples])),
        spread=min(MOST_SPREAD, max(LEAST_SPREAD, spread)),
    )


def _features(cost: Cost) -> list[float]:
    return [1.0, cost.macs / 1e9, cost.activations / 1e6, float(cost.convolutions)]


def _line(costs: Sequence[Cost], seconds: Sequence[float]) -> Line:
    """The fit whose relative errors are least."""
    measured = np.maximum(np.array(seconds, dtype=float), 1e-9)
    rows = np.array([_features(cost) for cost in costs]) / measured[:, None]
    scale = np.maximum(rows.max(axis=0), 1e-30)
    found, _ = nnls(rows / scale, np.ones(len(measured)))
    return Line(*(found / scale).tolist())


@dataclass
class _Course:
    """One trial's own pace: ratio to the fit, and the machine's drift when it was measured."""

    ratio: float
    drift: float
    weight: float


@dataclass
class PaceMeter:
    """The pace as trials show it while they run.

    Args:
        pace: As it was measured before; None to take it from the first observation, in proportion to GMACs.
        memory_s: Of trials' seconds, how far back the drift looks: older ones count less and less.
    """

    pace: Pace | None
    memory_s: float
    drift: float = 1.0
    lag_s: float = 0.0  # of a job, beyond what was foreseen
    _jobs: int = 0
    _weight: float = 0.0
    _courses: dict[int, _Course] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether anything is known of the pace."""
        return self.pace is not None

    def observe(self, trial: int, cost: Cost, steps: int, seconds: float) -> None:
        """So many steps of a trial took so long."""
        if steps <= 0 or seconds <= 0:
            return
        if self.pace is None:
            self.pace = Pace(Line(per_gmac=seconds / steps / max(cost.macs / 1e9, 1e-9)), Line())
        expected = max(steps * self.pace.step(cost), 1e-12)
        ratio = min(MOST_RATIO, max(LEAST_RATIO, seconds / expected))
        fade = exp(-seconds / self.memory_s)
        # The timing itself counts for a part of the memory, so that one step doesn't overrule it.
        before = max(self._weight, self.memory_s / 4) * fade
        self.drift = exp((log(self.drift) * before + log(ratio) * seconds) / (before + seconds))
        self._weight = before + seconds
        course = self._courses.get(trial)
        if course is None:
            self._courses[trial] = _Course(ratio, self.drift, seconds)
            return
        kept = course.weight * fade
        course.ratio = exp((log(course.ratio) * kept + log(ratio) * seconds) / (kept + seconds))
        course.drift, course.weight = self.drift, kept + seconds

    def observe_overhead(self, cost: Cost, scorings: int, seconds: float, *, ssim: int = 0) -> None:
        """A job took so long beside its steps."""
        if self.pace is None:
            return
        late = max(0.0, seconds - self.drift * self.pace.seconds(cost, 0, scorings, ssim=ssim))
        self._jobs += 1
        self.lag_s += (late - self.lag_s) / min(self._jobs, LAGS)

    def step_s(self, cost: Cost, trial: int | None = None) -> float:
        """Seconds a step of a trial that was observed, or of a network of this cost that wasn't.

        Of the latter with a margin, as it may be slower than most of its cost. 0 while nothing is known.
        """
        if self.pace is None:
            return 0.0
        expected = self.pace.step(cost)
        course = None if trial is None else self._courses.get(trial)
        if course is not None:
            return expected * course.ratio * max(1.0, self.drift / course.drift)
        return expected * self.drift * exp(0.5 * self.pace.spread)

    def silent(self, trial: int, cost: Cost, seconds: float) -> float:
        """Seconds a step of a trial that has said nothing for so long, although it says where it stands."""
        return max(self.step_s(cost, trial), seconds / REPORT_STEPS)

    def overhead_s(self, cost: Cost, scorings: int, *, ssim: int = 0, start: bool = True) -> float:
        """Seconds of a job beside its steps."""
        if self.pace is None:
            return 0.0
        return self.drift * self.pace.seconds(cost, 0, scorings, ssim=ssim, start=start) + self.lag_s * start


def makespan(seconds: Sequence[float], workers: int) -> float:
    """No more than this do independent jobs take, each begun as a worker becomes free (Graham 1969)."""
    if not seconds:
        return 0.0
    workers = max(1, workers)
    return sum(seconds) / workers + (1 - 1 / workers) * max(seconds)

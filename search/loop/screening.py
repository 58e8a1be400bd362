"""A filter before training: of candidates that cost about the same, the better share by a proxy goes on.

A proxy is a zero-cost one of the untrained network (``evaluators.measure.proxies``), or the score of its sub-network
of a supernet. Measured in the driver: on chains of the default space 0.1 to 0.4 s of one processor, U-Nets take
seconds.

The rule looks at candidates of like MACs alone. A proxy that ranks by size, as all do to a good part, would otherwise
turn away the small networks that a front needs.
"""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evaluators.measure.proxies import PROXIES, ProxyError, draw_patches, measure_proxy, proxy_protocol
from evaluators.supernet.file import TrainedSupernet, few_images, lacking, read_supernet
from evaluators.tasks import RestorationTask
from evaluators.trial import TrialData, baseline_score
from results.analysis.correlation import Estimate, partial_correlation, rank_correlation, searched_trials
from results.analysis.overview import cost_key
from results.store.schema import Study
from results.store.store import Store
from search.config import ConfigError, SearchConfig
from search.loop.question import Verdict
from spaces.architecture import Architecture
from spaces.budget import Candidate
from spaces.measurement import Measurement
from spaces.registry import UnknownNameError
from spaces.space import Space

SUPERNET = "supernet"
SEED = 0  # of proxies' weights and patches: the same for all networks and studies
NEIGHBOURS = 16  # candidates of the nearest MACs that a candidate is compared with
LEAST = 4  # before so many were seen, every candidate goes on
DIGITS = ".6g"  # what a proxy is rounded to, so that the record has just what was judged


@dataclass(frozen=True)
class Filter:
    """A proxy, and the share of candidates that is kept by it."""

    proxy: str
    keep: float

    def __str__(self) -> str:
        return f"{self.proxy}:{self.keep:g}"


def read_filter(text: str, proxies: tuple[str, ...]) -> Filter:
    """``PROXY:SHARE``, such as ``synflow:0.5``.

    Raises: ValueError: for another form, an unknown proxy, or a share that isn't above 0 and below 1.
    """
    found = re.fullmatch(r"(?P<proxy>\w+):(?P<keep>\d*\.?\d+)", text)
    if found is None:
        raise ValueError(f"--filter: expected PROXY:SHARE such as {proxies[0]}:0.5, got '{text}'")
    if found["proxy"] not in proxies:
        raise UnknownNameError("proxy", found["proxy"], list(proxies))
    keep = float(found["keep"])
    if not 0 < keep < 1:
        raise ValueError(f"--filter {text}: expected a share above 0 and below 1 to keep, got {keep:g}")
    return Filter(found["proxy"], keep)


class Screen:
    """Decides about one candidate after the other; the same for the same candidates in the same order.

    So a search that is resumed decides again as it did, if it shows its recorded candidates first.
    """

    def __init__(self, wanted: Filter):
        self._wanted = wanted
        self._seen: list[tuple[float, float]] = []  # (MACs, value) by MACs
        self._told: dict[str, str | None] = {}

    def verdict(self, digest: str, macs: float, value: float) -> str | None:
        """None for a candidate that goes on, else why it doesn't; a candidate that comes again is told the same.

        Args:
            value: Its proxy; higher is better.
        """
        if digest not in self._told:
            self._told[digest] = self._judged(macs, value)
            insort(self._seen, (macs, value))
        return self._told[digest]

    def _judged(self, macs: float, value: float) -> str | None:
        """Whether so few of its neighbours are better that it is in the share that is kept, itself counted."""
        like = sorted(self._seen, key=lambda seen: abs(seen[0] - macs) / max(seen[0], macs))[:NEIGHBOURS]
        better = sum(other > value for _, other in like)
        if len(like) < LEAST or better < self._wanted.keep * (len(like) + 1):
            return None
        return (
            f"--filter {self._wanted}: {self._wanted.proxy} {value:{DIGITS}} is exceeded by "
            f"{better} of the {len(like)} candidates nearest in MACs"
        )


@dataclass(frozen=True)
class Sieve:
    """A filter as one study measures it.

    Attributes:
        protocol: How its proxy is taken.
        measure: The proxy of an untrained network. Raises: ProxyError: where it says nothing.
    """

    wanted: Filter
    protocol: str
    measure: Callable[[Architecture], Measurement]


def find_supernet(config: SearchConfig, space: Space, data: TrialData) -> TrainedSupernet | None:
    """The supernet of a study; None for one without.

    Raises: ValueError: for a supernet that isn't used, or that the study can't use; a use without a supernet.
    """
    scores = (config.filter or "").startswith(f"{SUPERNET}:")
    if config.supernet is None:
        if scores or config.warm_start:
            use = f"--filter {config.filter}" if scores else "--warm-start"
            raise ConfigError(
                f"{use} needs a supernet of the space: train one with 'pixelfront supernet train', then give "
                "--supernet FILE"
            )
        return None
    if not (scores or config.warm_start):
        raise ConfigError(
            "--supernet FILE: nothing uses it; give --filter supernet:SHARE, --warm-start or both, or leave it out"
        )
    trained = read_supernet(config.supernet)
    check_supernet(config.supernet, trained, config.task, space, data)
    return trained


def find_sieve(
    config: SearchConfig, task: RestorationTask, data: TrialData, supernet: TrainedSupernet | None
) -> Sieve | None:
    """The filter of a study; None for one without.

    Raises: ValueError: for a filter that can't be used.
    """
    if config.filter is None:
        return None
    wanted = read_filter(config.filter, (*PROXIES, SUPERNET))
    if wanted.proxy == SUPERNET:
        assert supernet is not None  # ``find_supernet``
        return _supernet_sieve(wanted, supernet, config.objective, data)
    train = data.train
    source, patch = task.patch_source(train), config.training.patch
    patches = draw_patches(source, patch=patch, seed=SEED, data=f"{train.name} ({train.digest})")
    return Sieve(
        wanted,
        proxy_protocol(patches, SEED),
        lambda architecture: measure_proxy(wanted.proxy, architecture, task.interface, patches, seed=SEED),
    )


def _supernet_sieve(wanted: Filter, supernet: TrainedSupernet, metric: str, data: TrialData) -> Sieve:
    few = few_images(data.validation)
    scored = next(m for m in baseline_score(supernet.task, few, ssim="ssim" in metric) if m.name == metric)
    return Sieve(
        wanted,
        supernet.protocol(scored.protocol),
        lambda architecture: supernet.score(architecture, few, metric=metric),
    )


def check_supernet(path: Path, trained: TrainedSupernet, task: str, space: Space, data: TrialData) -> None:
    """Nothing, if a study can use the supernet.

    Raises: ConfigError: if it is of another task or space, or was trained on other images, which may be those that
        the study scores on.
    """
    if trained.task != task:
        raise ConfigError(
            f"--supernet {path}: it is for {trained.task}, the study for {task}; train one for it"
        )
    if lines := lacking(trained.network.space, space):
        raise ConfigError(
            f"--supernet {path}: it doesn't hold the study's space '{space.name}'; train one with the same lists:\n  "
            + "\n  ".join(lines)
        )
    if trained.train != data.train.digest:
        raise ConfigError(
            f"--supernet {path}: it was trained on other images ({trained.train}) than the study's ({data.train.name}, "
            f"{data.train.digest}); train one with the study's --data and --val"
        )


class Screening:
    """The judge of a search with a filter.

    Args:
        known: Of questions on record what the proxy was, so that nothing is measured twice.
    """

    def __init__(self, sieve: Sieve, known: Mapping[int, float]):
        self._sieve = sieve
        self._known = known
        self._screen = Screen(sieve.wanted)
        self._values: dict[str, float] = {}
        self.silent = 0  # networks that the proxy said nothing of

    @property
    def note(self) -> str:
        """How many it let through unjudged, if any."""
        return f"; it says nothing of {self.silent} others" if self.silent else ""

    def __call__(self, question: int, candidate: Candidate) -> Verdict:
        """What a search does with a candidate; one that the proxy says nothing of goes on."""
        digest, name = candidate.architecture.digest, self._sieve.wanted.proxy
        measured: tuple[Measurement, ...] = ()
        value = self._values.get(digest, self._known.get(question))
        if value is None:
            try:
                found = self._sieve.measure(candidate.architecture)
            except ProxyError:
                self.silent += 1
                return Verdict()
            value = float(f"{found.value:{DIGITS}}")
            measured = (replace(found, value=value),)
        self._values[digest] = value
        reason = self._screen.verdict(digest, candidate.gmacs, value)
        return Verdict(measured=measured) if reason is None else Verdict(name, reason)


def recorded(store: Store, study: Study, sieve: Sieve) -> dict[int, float]:
    """What the proxy was by question: of trials among their measurements, of others in the reason."""
    name = sieve.wanted.proxy
    trials = {
        trial.id: m.value
        for trial in store.trials(study.id, stages=["search"])
        for m in trial.measurements
        if m.key == (name, sieve.protocol)
    }
    found: dict[int, float] = {}
    for ask in store.asks(study.id):
        said = re.match(
            rf"--filter {re.escape(str(sieve.wanted))}: {name} (\S+) is exceeded", ask.reason or ""
        )
        if said:
            found[ask.number] = float(said[1])
        elif ask.outcome == "trial" and ask.trial_id in trials:
            found[ask.number] = trials[ask.trial_id]
    return found


def foretold(store: Store, study: Study, sieve: Sieve) -> str:
    """What the filter's proxy had to do with the quality of the study's trials, in words."""
    name, (quality, protocol) = sieve.wanted.proxy, study.data["objective"]
    keys = ((name, sieve.protocol), (quality, protocol), cost_key(study))
    trials = [{m.key: m.value for m in trial.measurements} for trial in searched_trials(store, study)]
    rows = [[values[key] for key in keys] for values in trials if all(key in values for key in keys)]
    columns = np.array(rows).reshape(-1, len(keys)).T
    found, equal = rank_correlation(*columns[:2]), partial_correlation(*columns)
    told = f"{name} against {quality} over {len(rows)} fully trained networks: "
    if found is None:
        return told + "too few to tell"
    return told + f"Spearman {_shown(found.spearman)}" + (f", {_shown(equal)} at equal MACs" if equal else "")


def _shown(found: Estimate) -> str:
    return f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"

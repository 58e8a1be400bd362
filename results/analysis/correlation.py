"""What goes with what in a study: rank correlations of costs, runtimes, proxies and quality, and between rungs.

After the analysis of "AIM 2020 Challenge on Efficient Super-Resolution", Zhang et al., ECCVW 2020,
https://arxiv.org/abs/2009.06943: Spearman's correlation of parameters, MACs, activations, memory and runtime.

Deviations: with Kendall's, intervals, and quality at equal MACs (partial correlation), as what only tells large
networks from small ones needs no proxy. They are of the trials that a strategy chose within a budget, not of the whole
space: where networks cost nearly the same, correlations with cost are near 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import atanh, sqrt, tanh
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from results.analysis.overview import cost_key
from results.store.schema import Study, Trial
from results.store.store import Store

LEAST = 5  # pairs; with fewer an interval can't be told
NORMAL = 1.959964  # of a two-sided 95 % interval
COSTS = ("parameters", "macs", "activations", "convolutions")
RUNTIMES = ("latency_ms", "peak_memory_bytes")

Kind = Literal["quality", "cost", "runtime", "proxy"]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A correlation and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Correlation:
    """How far two rankings of ``n`` networks agree: 1 fully, 0 not, -1 one is the other turned over."""

    n: int
    spearman: Estimate
    kendall: Estimate


@dataclass(frozen=True)
class Quantity:
    """Something that was measured of each network.

    Attributes:
        values: (networks,), NaN where it is missing.
    """

    key: str
    kind: Kind
    unit: str
    protocol: str
    values: Values


@dataclass(frozen=True)
class Link:
    """What a quantity has to do with the study's quality.

    Attributes:
        correlation: None where there are too few networks, or all have the same value.
        at_equal_macs: Spearman's partial correlation given the MACs; None also for the MACs themselves.
    """

    quantity: Quantity
    correlation: Correlation | None
    at_equal_macs: Estimate | None


@dataclass(frozen=True)
class RungLink:
    """What the quality at a step has to do with that at the last step; as for ``Link``."""

    step: int
    correlation: Correlation | None
    at_equal_macs: Estimate | None


@dataclass(frozen=True)
class Analysis:
    """All rank correlations of one set of networks, trained alike.

    Attributes:
        name: Of the study.
        networks: How many there are.
        quantities: The first is the quality that the study goes by.
        links: Of all others with it.
        matrix: (quantities, quantities) of Spearman's, NaN where it can't be told.
        rungs: By step, without the last.
        last_step: None without learning curves.
    """

    name: str
    networks: int
    quantities: tuple[Quantity, ...]
    links: tuple[Link, ...]
    matrix: Values
    rungs: tuple[RungLink, ...] = ()
    last_step: int | None = None


def rank_correlation(x: ArrayLike, y: ArrayLike) -> Correlation | None:
    """Spearman's and Kendall's (tau-b) correlation of two columns, over the rows that have both.

    Intervals are by Fisher's z with the standard errors of Bonett and Wright (2000) and of Fieller, Hartley and
    Pearson (1957). At 1 and -1, where z has no end, the bound is that of the next correlation that so
    many ranks can have.

    Args:
        x, y: (n,), NaN where a value is missing.

    Returns: None with fewer than 5 rows, or where a column is constant.
    """
    from scipy.stats import kendalltau, spearmanr  # 0.5 s to import

    first, second = _both(x, y)
    n = len(first)
    if n < LEAST or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    rho, tau = (float(found(first, second).statistic) for found in (spearmanr, kendalltau))
    swapped = 1 - 12 / (n * (n**2 - 1)), 1 - 4 / (n * (n - 1))  # two neighbours have changed places
    return Correlation(
        n,
        _estimate(rho, swapped[0], sqrt((1 + rho**2 / 2) / (n - 3))),
        _estimate(tau, swapped[1], sqrt(0.437 / (n - 4))),
    )


def partial_correlation(x: ArrayLike, y: ArrayLike, given: ArrayLike) -> Estimate | None:
    """Spearman's correlation of what the ranks of a third column leave of two; None where it can't be told.

    Nothing is left of a column that ranks as the third does.
    """
    columns = np.array([np.asarray(each, dtype=float) for each in (x, y, given)])
    rows = columns[:, np.isfinite(columns).all(axis=0)]
    n = rows.shape[1]
    if n <= LEAST or (np.ptp(rows, axis=1) == 0).any():
        return None
    ranks = np.corrcoef([_ranks(row) for row in rows])
    shares = 1 - ranks[0, 2] ** 2, 1 - ranks[1, 2] ** 2
    if min(shares) < 1e-9:
        return None
    rho = float((ranks[0, 1] - ranks[0, 2] * ranks[1, 2]) / sqrt(shares[0] * shares[1]))
    return _estimate(rho, 1 - 12 / (n * (n**2 - 1)), sqrt((1 + rho**2 / 2) / (n - 4)))


def analyse(
    store: Store, name: str, proxies: Sequence[tuple[str, str, Mapping[str, float]]] = ()
) -> Analysis:
    """The rank correlations of a study's searched trials, which are trained alike.

    Of an architecture that was trained several times the first trial counts; scores on test images don't.

    Args:
        proxies: Name, protocol, and digest to value.

    Raises: ValueError: with fewer than 5 complete trials of the search. UnknownStudy: if there is none of that name.
    """
    study = store.study(name)
    trials = searched_trials(store, study)
    if len(trials) < LEAST:
        raise ValueError(
            f"study '{name}': expected at least {LEAST} complete trials of a search, got {len(trials)}; "
            "search on, fewer say nothing"
        )
    given = {(key, protocol) for key, protocol, _ in proxies}
    measured = [each for each in _measured(study, trials) if (each.key, each.protocol) not in given]
    quantities = [*measured, *(_proxy(trials, *proxy) for proxy in proxies)]
    quantities.sort(key=lambda each: ("quality", "cost", "runtime", "proxy").index(each.kind))
    return _with_rungs(analysis_of(name, quantities), study, trials, store)


def searched_trials(store: Store, study: Study) -> list[Trial]:
    """The complete trials of the search, the first of each architecture."""
    first: dict[str, Trial] = {}
    for trial in store.trials(study.id, states=("complete",), stages=("search",)):
        first.setdefault(trial.digest, trial)
    return list(first.values())


def analysis_of(name: str, quantities: Sequence[Quantity]) -> Analysis:
    """The correlations of quantities of which the first is the quality."""
    quality, *others = quantities
    macs = next((each.values for each in others if each.key == "macs"), None)
    links = tuple(
        Link(
            each,
            rank_correlation(each.values, quality.values),
            None if macs is None else partial_correlation(each.values, quality.values, macs),
        )
        for each in others
    )
    matrix = np.full((len(quantities),) * 2, np.nan)
    np.fill_diagonal(matrix, 1.0)
    for i, j in combinations(range(len(quantities)), 2):
        found = rank_correlation(quantities[i].values, quantities[j].values)
        matrix[i, j] = matrix[j, i] = np.nan if found is None else found.spearman.value
    return Analysis(name, len(quality.values), tuple(quantities), links, matrix)


def rung_links(
    curves: Sequence[Mapping[int, float]], macs: ArrayLike
) -> tuple[tuple[RungLink, ...], int | None]:
    """Each step with the last, over the networks that reached both; and the last step.

    Args:
        curves: Step to quality, of each network.
        macs: (networks,)
    """
    steps = sorted({step for curve in curves for step in curve})
    if not steps:
        return (), None
    table = np.array([[curve.get(step, np.nan) for step in steps] for curve in curves])
    links = [
        RungLink(
            step, rank_correlation(column, table[:, -1]), partial_correlation(column, table[:, -1], macs)
        )
        for step, column in zip(steps, table.T, strict=True)
    ]
    return tuple(links[:-1]), steps[-1]


def _with_rungs(found: Analysis, study: Study, trials: Sequence[Trial], store: Store) -> Analysis:
    key = tuple(study.data["objective"])
    macs = next(each.values for each in found.quantities if each.key == "macs")
    curves: dict[int, dict[int, float]] = defaultdict(dict)
    for rung in store.rungs(study.id):
        for m in rung.measurements:
            if m.key == key:
                curves[rung.trial_id][rung.step] = m.value
    links, last = rung_links([curves[trial.id] for trial in trials], macs)
    return replace(found, rungs=links, last_step=last)


def _measured(study: Study, trials: Sequence[Trial]) -> list[Quantity]:
    """What is on record of the trials, the study's quality first.

    Of MACs only the study's convention, of qualities only those of the images that networks are chosen by.
    """
    name, protocol = study.data["objective"]
    images = _images(protocol)
    found: dict[tuple[str, str], Values] = {}
    units: dict[tuple[str, str], str] = {}
    for row, trial in enumerate(trials):
        for m in trial.measurements:
            if m.name in COSTS:
                wanted = m.name != "macs" or m.key == cost_key(study)
            else:
                wanted = m.name in RUNTIMES or _untrained(m.protocol) or _images(m.protocol) == images
            if wanted:
                found.setdefault(m.key, np.full(len(trials), np.nan))[row] = m.value
                units[m.key] = m.unit
    order = sorted(found, key=lambda key: (key != (name, protocol), _rank(key[0]), key))
    return [
        Quantity(label, _kind(*key), units[key], key[1], found[key])
        for label, key in zip(_labels([key[0] for key in order]), order, strict=True)
    ]


def _labels(names: Sequence[str]) -> list[str]:
    """Names, those that occur several times (such as latencies on several machines) numbered."""
    seen: dict[str, int] = defaultdict(int)
    made = []
    for name in names:
        seen[name] += 1
        made.append(name if names.count(name) == 1 else f"{name}@{seen[name]}")
    return made


def _rank(name: str) -> int:
    known = (*COSTS, *RUNTIMES)
    return known.index(name) if name in known else len(known)


def _kind(name: str, protocol: str) -> Kind:
    if _untrained(protocol):
        return "proxy"
    return "cost" if name in COSTS else "runtime" if name in RUNTIMES else "quality"


def _untrained(protocol: str) -> bool:
    """Whether it was measured of a network without training of its own, as the proxy of a search's filter."""
    return protocol.startswith("untrained, ")


def _images(protocol: str) -> str:
    return protocol.partition(" on ")[2]


def _proxy(trials: Iterable[Trial], key: str, protocol: str, values: Mapping[str, float]) -> Quantity:
    column = np.array([values.get(trial.digest, np.nan) for trial in trials], dtype=float)
    return Quantity(key, "proxy", "1", protocol, column)


def _both(x: ArrayLike, y: ArrayLike) -> tuple[Values, Values]:
    first, second = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"expected two columns of one length, got {first.shape} and {second.shape}")
    rows = np.isfinite(first) & np.isfinite(second)
    return first[rows], second[rows]


def _ranks(values: Values) -> Values:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values), dtype=float)


def _estimate(value: float, nearest: float, error: float) -> Estimate:
    """The interval by Fisher's z.

    Args:
        nearest: The largest correlation below 1 that there can be.
    """
    z = atanh(max(-nearest, min(nearest, value)))
    low, high = tanh(z - NORMAL * error), tanh(z + NORMAL * error)
    return Estimate(value, min(low, value), max(high, value))

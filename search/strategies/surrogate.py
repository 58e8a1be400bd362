"""What an architecture would score, predicted from a few that were trained: Gaussian processes on plain features.

Carl Edward Rasmussen and Christopher K. I. Williams, "Gaussian Processes for Machine Learning", 2006,
http://gaussianprocess.org/gpml. No code of it was used. Our deviations: no kernel is chosen; a few of fixed
length scales are averaged, each weighed by its marginal likelihood under an inverse gamma prior of the variance, which
is deterministic, has nothing to diverge, and doesn't trust itself on a handful of results.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from math import log, log1p
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spaces.budget import Candidate

Array = NDArray[np.float64]
LINEAR = 4.0  # variance of the mean and of the slope over the price, beside 1 of what bends
SHAPES = (0.0, 0.3, 1.0)  # variance of what the architecture adds to its price
SCALES = ((1.0, 1.0), (1.0, 2.0), (2.5, 1.0), (2.5, 2.0))  # of the price, of all features
NOISES = (0.03, 0.1, 0.3, 1.0, 3.0)
PRIOR = (1.0, 0.3)  # inverse gamma, of the variance of standardised values


def features(candidate: Candidate) -> dict[str, float]:
    """What predictions are made from, by name: log GMACs first, then costs, kinds with their counts, and sizes.

    Read from the architecture's canonical description, so that any topology has them.
    """
    cost = candidate.cost
    found: defaultdict[str, float] = defaultdict(float)
    found["gmacs"] = log(max(candidate.gmacs, 1e-12))
    found["parameters"], found["activations"] = log1p(cost.parameters), log1p(cost.activations)
    for path, value in _leaves(json.loads(candidate.architecture.to_json())):
        if isinstance(value, str | bool):
            found[f"{path}={value}"] += 1.0
            found[f"count {path}"] += 1.0
        elif value is not None:
            found[path] += log1p(abs(value))
    return dict(found)


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of a JSON value's leaves; places in a list share a path, and its ends have their own as well."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _leaves(value, f"{path}.{name}")
    elif isinstance(node, list):
        for value in node:
            yield from _leaves(value, path)
        if len(node) > 1:
            yield from _leaves(node[0], f"{path} first")
            yield from _leaves(node[-1], f"{path} last")
    else:
        yield path, node


def matrix(rows: Sequence[dict[str, float]]) -> Array:
    """(n, d) of features by name, 0 where one has none; the first column is the price."""
    names = sorted({name for row in rows for name in row} - {"gmacs"})
    return np.array([[row["gmacs"], *(row.get(name, 0.0) for name in names)] for row in rows])


class Surrogate:
    """Predicts one objective.

    Args:
        inputs: (n, d), the price first; n is at least 2.
        values: (n,).
        shapes: Variances of what features beside the price add; (0,) for the price alone.
    """

    def __init__(self, inputs: ArrayLike, values: ArrayLike, shapes: Sequence[float] = SHAPES):
        given, found = np.asarray(inputs, dtype=float), np.asarray(values, dtype=float)
        spread = given.std(axis=0)
        self._used = np.flatnonzero((spread > 1e-12) | (np.arange(len(spread)) == 0))
        self._middle, self._spread = given.mean(axis=0), np.where(spread > 1e-12, spread, 1.0)
        self._level, self._unit = found.mean(), found.std() or 1.0
        self._inputs = self._scaled(given)
        self._models: list[tuple[float, tuple[float, float, float], float, float, Array, Array]] = []
        self._fit((found - self._level) / self._unit, shapes)

    def predict(self, inputs: ArrayLike) -> tuple[Array, Array]:
        """Mean and standard deviation, (p,) each, of what would be measured: noise included."""
        wanted = self._scaled(np.asarray(inputs, dtype=float))
        mean, square = np.zeros(len(wanted)), np.zeros(len(wanted))
        kernels: dict[tuple[float, float, float], tuple[Array, Array]] = {}
        for weight, kernel, noise, variance, values, vectors in self._models:
            if kernel not in kernels:
                kernels[kernel] = _kernel(wanted, self._inputs, *kernel) @ vectors, _prior(wanted, kernel)
            seen, prior = kernels[kernel]
            own = (seen / (values + noise)) @ (vectors.T @ self._targets)
            spread = variance * (prior + noise - (seen**2 / (values + noise)).sum(axis=1))
            mean += weight * own
            square += weight * (np.maximum(spread, 1e-12) + own**2)
        deviation = np.sqrt(np.maximum(square - mean**2, 1e-12))
        return mean * self._unit + self._level, deviation * self._unit

    def _scaled(self, given: Array) -> Array:
        return ((given - self._middle) / self._spread)[:, self._used]

    def _fit(self, targets: Array, shapes: Sequence[float]) -> None:
        self._targets = targets
        count, (alpha, beta) = len(targets), PRIOR
        evidence = []
        kernels = [(s, *scales) for s, scales in product(shapes, SCALES) if s or scales[1] == 1.0]
        for kernel in kernels:
            values, vectors = np.linalg.eigh(_kernel(self._inputs, self._inputs, *kernel))
            values = np.maximum(values, 0.0)
            seen = (vectors.T @ targets) ** 2
            for noise in NOISES:
                fit = beta + (seen / (values + noise)).sum() / 2
                variance = fit / (alpha + count / 2)
                evidence.append(-(alpha + count / 2) * log(fit) - np.log(values + noise).sum() / 2)
                self._models.append((0.0, kernel, noise, variance, values, vectors))
        weights = np.exp(np.array(evidence) - max(evidence))
        weights /= weights.sum()
        self._models = [
            (float(weight), *model[1:])
            for weight, model in zip(weights, self._models, strict=True)
            if weight > 1e-3
        ]


def _kernel(one: Array, other: Array, shape: float, price_scale: float, scale: float) -> Array:
    """(n, p): a line over the price, what bends over it, and what all features add, of variance ``shape``."""
    prices = one[:, :1], other[:, :1]
    found = LINEAR * (1.0 + prices[0] @ prices[1].T) + _bell(*prices, price_scale)
    return found + shape * _bell(one, other, scale) if shape else found


def _prior(points: Array, kernel: tuple[float, float, float]) -> Array:
    return LINEAR * (1.0 + points[:, 0] ** 2) + 1.0 + kernel[0]


def _bell(one: Array, other: Array, scale: float) -> Array:
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    return np.exp(-np.maximum(squares, 0.0) / (2 * scale**2 * max(one.shape[1], 1)))

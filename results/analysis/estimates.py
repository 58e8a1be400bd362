"""Means and their differences with 95 % intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TAIL = 0.975  # of two-sided 95 % intervals


def mean_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean, low and high of Student's interval; of at least two values, independent and about normal."""
    half = quantile(len(values) - 1) * np.sqrt(values.var(ddof=1) / len(values))
    mean = float(values.mean())
    return mean, mean - float(half), mean + float(half)


def difference(
    ours: NDArray[np.float64], others: NDArray[np.float64]
) -> tuple[float, float | None, float | None]:
    """Difference of the means, and low and high of Welch's interval; None where either has fewer than two values."""
    effect = float(ours.mean() - others.mean())
    if min(len(ours), len(others)) < 2:
        return effect, None, None
    error, freedom = welch(ours, others)
    half = quantile(freedom) * error
    return effect, effect - half, effect + half


def welch(ours: NDArray[np.float64], others: NDArray[np.float64]) -> tuple[float, float]:
    """Standard error of the difference of the means, and its degrees of freedom; of at least two values each."""
    a, b = ours.var(ddof=1) / len(ours), others.var(ddof=1) / len(others)
    freedom = (a + b) ** 2 / (a**2 / (len(ours) - 1) + b**2 / (len(others) - 1)) if a + b > 0 else 1.0
    return float(np.sqrt(a + b)), float(freedom)


def quantile(freedom: float) -> float:
    """Student's of a two-sided 95 % interval, of as many degrees of freedom."""
    from scipy.special import stdtrit  # 0.2 s to import, which the server's start does without

    return float(stdtrit(freedom, TAIL))

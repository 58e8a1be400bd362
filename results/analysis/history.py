"""How a front grew: hypervolume after each trial that changed it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from results.analysis.front import hypervolume
from spaces.measurement import Direction

POINTS = 200


def hypervolume_history(
    x: Sequence[float],
    values: Sequence[tuple[float, float]],
    reference: tuple[float, float],
    directions: tuple[Direction, Direction],
    *,
    most: int = POINTS,
) -> list[tuple[float, float]]:
    """(x, hypervolume) where it changed, then at the last x; at most ``most`` of them, the last among them.

    In O(n log n) as long as fronts are short: each trial costs the members that it passes.

    Args:
        x: When each trial ended, rising: seconds, steps, ...
        values: Of each trial, finite.
        most: 0 for all.
    """
    signs = tuple(1.0 if direction == "min" else -1.0 for direction in directions)
    corner = reference[0] * signs[0], reference[1] * signs[1]
    front: list[tuple[float, float]] = []  # both minimised: the first rises, the second falls
    volume = 0.0
    history: list[tuple[float, float]] = []
    for when, (first, second) in zip(x, values, strict=True):
        gained = _insert(front, (first * signs[0], second * signs[1]), corner)
        if gained > 0:
            volume += gained
            history.append((when, volume))
    if x and (not history or history[-1][0] < x[-1]):
        history.append((x[-1], volume))
    stride = -(-len(history) // most) if most else 1
    return history[::-1][::stride][::-1] if stride > 1 else history


def sampled_history(
    x: Sequence[float],
    values: Sequence[Sequence[float]],
    reference: Sequence[float],
    directions: Sequence[Direction],
    *,
    most: int = POINTS,
) -> list[tuple[float, float]]:
    """As ``hypervolume_history`` for any number of objectives: (x, hypervolume) after each of ``most`` trials."""
    stride = max(1, -(-len(x) // most))
    ends = range(len(x), 0, -stride)
    return [(x[end - 1], hypervolume(values[:end], directions, reference)) for end in ends][::-1]


def _insert(
    front: list[tuple[float, float]], point: tuple[float, float], corner: tuple[float, float]
) -> float:
    """Puts a point on the front unless it is dominated; the area that it adds within the corner."""
    if point[0] >= corner[0] or point[1] >= corner[1]:
        return 0.0
    start = bisect_left(front, point)
    ceiling = front[start - 1][1] if start else corner[1]
    if ceiling <= point[1] or (start < len(front) and front[start] == point):
        return 0.0
    # Steps to the right, down to where the front is as low as the point.
    area, left, end = 0.0, point[0], start
    while end < len(front) and front[end][1] >= point[1]:
        area += (front[end][0] - left) * (ceiling - point[1])
        left, ceiling = front[end]
        end += 1
    right = front[end][0] if end < len(front) else corner[0]
    area += (right - left) * (ceiling - point[1])
    front[start:end] = [point]
    return area

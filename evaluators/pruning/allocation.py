"""How many channels of each group to keep, so that the cost comes just under a target.

Channels go in the order of their scores over all groups, until the cost is at most the target. What the last one
overshot is filled again by the best channels that still fit; where a gap remains, exchanges of a few channels close it.
A group keeps at least one channel (or ``round_to``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, product
from math import gcd
from typing import Any

import numpy as np

from evaluators.channels.groups import Channels, Group

CLOSE = 0.005  # of the target: how far below it the cost may end
# An exchange: so many groups change, of the first so many, by so many steps each way.
_EXCHANGES = ((2, 16, 24), (3, 12, 6), (4, 6, 4))


def sizes(group: Group, round_to: int = 1) -> range:
    """The numbers of channels that a group may keep.

    Args:
        round_to: The layers' channels come in multiples of this where they have as many.
    """
    unit = min(round_to // gcd(round_to, group.multiplicity), len(group))
    return range(unit, len(group) + 1, unit)


class Steps:
    """A group's sizes, its channels from the best down, and what each step from one size to the next gains."""

    def __init__(self, group: Group, scores: np.ndarray, round_to: int):
        self.sizes = sizes(group, round_to)
        order = np.argsort(-scores[group.channels], kind="stable")
        self.ranked = group.channels[order]
        ranked_scores = scores[self.ranked]
        # Of a step up: the mean score of the channels that it brings.
        self.gains = [
            float(ranked_scores[low:high].mean())
            for low, high in zip(self.sizes, self.sizes[1:], strict=False)
        ]
        self.worth = np.cumsum([0.0, *self.gains])  # at each size; not weighed by cost

    @property
    def top(self) -> int:
        """The index of the largest size."""
        return len(self.sizes) - 1


Cost = Callable[[Sequence[int]], float]
Operations = Callable[[np.ndarray], Any]


def allocate(
    channels: Channels,
    scores: np.ndarray,
    target: float,
    operations: Operations,
    *,
    round_to: int = 1,
    per_cost: bool = False,
) -> list[np.ndarray]:
    """The channels to keep of each group, in the layer's order.

    Args:
        operations: Cost from the number of channels of each group, (groups,) or many, (n, groups).
        per_cost: Channels go in the order of their score per operation that they cost in the whole network.

    Returns: As near below the target as was found: within ``CLOSE`` wherever the groups' sizes allow it.
    Raises: ValueError: if the smallest sizes cost more than the target.
    """
    steps = [Steps(group, scores, round_to) for group in channels.groups]

    def cost(levels: Sequence[int]) -> float:
        return operations(np.array([s.sizes[level] for s, level in zip(steps, levels, strict=True)]))

    if per_cost:
        _weigh(steps, cost)
    least = cost([0] * len(steps))
    if least > target:
        raise ValueError(
            f"a target of {target / 1e9:.4g} GMACs can't be reached: with the fewest channels in every layer the "
            f"network costs {least / 1e9:.4g} GMACs. Give at least that, or prune a shallower network."
        )
    levels = _by_score(steps, target, cost)
    levels = _filled(steps, levels, target, cost)
    if cost(levels) < (1 - CLOSE) * target:
        levels = _closer(steps, levels, target, operations)
    return [np.sort(s.ranked[: s.sizes[level]]) for s, level in zip(steps, levels, strict=True)]


def _weigh(steps: list[Steps], cost: Cost) -> None:
    """Divide the gains by what a channel of their group costs."""
    full = [s.top for s in steps]
    whole = cost(full)
    for index, s in enumerate(steps):
        if s.gains:
            less = [level - (i == index) for i, level in enumerate(full)]
            saved = (whole - cost(less)) / (s.sizes[-1] - s.sizes[-2])
            s.gains = [gain / max(saved, 1.0) for gain in s.gains]


def _by_score(steps: list[Steps], target: float, cost: Cost) -> list[int]:
    """Levels after removing the fewest steps, least score first, that bring the cost to the target."""
    # Channels are ranked, so a group's steps have falling gains and go from the top down.
    removals = sorted((gain, index) for index, s in enumerate(steps) for gain in s.gains)
    order = [index for _, index in removals]

    def after(count: int) -> list[int]:
        gone = np.bincount(np.array(order[:count], dtype=np.int64), minlength=len(steps))
        return [s.top - int(g) for s, g in zip(steps, gone, strict=True)]

    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        if cost(after(middle)) <= target:
            high = middle
        else:
            low = middle + 1
    return after(low)


def _filled(steps: list[Steps], levels: list[int], target: float, cost: Cost) -> list[int]:
    """Levels with the best steps up that still fit."""
    levels = list(levels)
    closed: set[int] = set()
    while True:
        open_ = [i for i, s in enumerate(steps) if levels[i] < s.top and i not in closed]
        if not open_:
            return levels
        best = max(open_, key=lambda i: steps[i].gains[levels[i]])
        levels[best] += 1
        if cost(levels) > target:
            levels[best] -= 1
            closed.add(best)


def _closer(steps: list[Steps], levels: list[int], target: float, operations: Operations) -> list[int]:
    """Near the levels those that cost between ``CLOSE`` below the target and it; the nearest below if none do.

    First two groups change; where no two are enough, three, then four. Of all such levels those worth most.
    """
    sizes = [np.array(s.sizes) for s in steps]
    best, best_cost = np.array(levels), -np.inf
    for together, most, reach in _EXCHANGES:
        found: list[tuple[float, list[int]]] = []
        for chosen in combinations(range(min(len(steps), most)), together):
            moved = _neighbours(steps, levels, chosen, reach)
            widths = np.stack([size[moved[:, i]] for i, size in enumerate(sizes)], axis=1)
            costs = operations(widths)
            costs = np.where(costs <= target, costs, -np.inf)
            near = costs >= (1 - CLOSE) * target
            if near.any():
                worth = sum(s.worth[moved[near, i]] for i, s in enumerate(steps))
                found.append((float(np.max(worth)), list(moved[near][np.argmax(worth)])))
            elif costs.max() > best_cost:
                best, best_cost = moved[np.argmax(costs)], costs.max()
        if found:
            return max(found)[1]
    return list(best)


def _neighbours(steps: list[Steps], levels: list[int], chosen: tuple[int, ...], reach: int) -> np.ndarray:
    """(n, groups) levels, of which the chosen groups' differ by up to ``reach``."""
    ranges = [range(max(0, levels[i] - reach), min(steps[i].top, levels[i] + reach) + 1) for i in chosen]
    grid = np.array(list(product(*ranges)))
    moved = np.tile(np.array(levels), (len(grid), 1))
    moved[:, chosen] = grid
    return moved

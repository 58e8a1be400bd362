"""The compute budget, enforced before anything trains.

An architecture whose cost is over the budget (or below the band), or over another limit on exact costs (parameters,
activations), is repaired by solving for the width; where
no width of the space fits, for width and depth, the nearest depth first. The genotype's other genes are kept.
It is rejected only where no depth has a width that fits. Repair is a function of the genotype, so a strategy may
keep thinking in genotypes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import isinf
from typing import cast

from spaces.architecture import Architecture, Leaf
from spaces.build import cost
from spaces.cost import Convention, Cost
from spaces.objectives import Limit
from spaces.space import Choice, Genotype, Space
from spaces.task import Task


@dataclass(frozen=True)
class Candidate:
    """An architecture within the budget.

    Attributes:
        genotype: Its genes, after a repair.
        gmacs: Its cost as the budget counts.
        repaired: Its width, or width and depth, were solved for.
    """

    architecture: Architecture
    genotype: Genotype
    cost: Cost
    gmacs: float
    repaired: bool


class BudgetError(ValueError):
    """A budget that no architecture of the space meets."""


@dataclass(frozen=True)
class Budget:
    """A hard limit on GMACs, or a band.

    Attributes:
        max_gmacs: Nothing above this is built.
        min_gmacs: Nothing below this is built; 0 for none.
        task: Says at which input size costs are quoted.
        convention: How MACs are counted (``spaces.cost``).
        limits: Further upper limits on exact costs; they grow with the width, as GMACs do.
    """

    task: Task
    max_gmacs: float
    min_gmacs: float = 0.0
    convention: Convention = "exact"
    limits: tuple[Limit, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.min_gmacs < self.max_gmacs:
            raise BudgetError(
                f"a budget needs 0 <= lower < upper GMACs, got {self.min_gmacs:g} and {self.max_gmacs:g}"
            )

    def __str__(self) -> str:
        band = (
            f"{self.min_gmacs:g} to {self.max_gmacs:g}" if self.min_gmacs else f"at most {self.max_gmacs:g}"
        )
        shape = "x".join(map(str, self.task.cost_input))
        gmacs = f"{band} GMACs at {shape} ({self.convention})"
        parts = [*([] if isinf(self.max_gmacs) and not self.min_gmacs else [gmacs]), *map(str, self.limits)]
        return ", ".join(parts) or f"any GMACs at {shape} ({self.convention})"

    def gmacs(self, space: Space, genotype: Genotype) -> float:
        """What the genotype's architecture costs."""
        return self.cost_of("gmacs", space, genotype)

    def cost_of(self, name: str, space: Space, genotype: Genotype) -> float:
        """An exact cost of the genotype's architecture, by the name that objectives have."""
        return self.amount(name, cost(space.decode(genotype), self.task))

    def amount(self, name: str, found: Cost) -> float:
        """What a cost is by the name that objectives have, as the budget counts."""
        return found.gmacs(self.convention) if name == "gmacs" else float(getattr(found, name))

    def _broken(self, space: Space, genotype: Genotype) -> list[str]:
        """Names of the upper limits that the genotype's architecture is over."""
        found = cost(space.decode(genotype), self.task)
        own = [Limit("gmacs", self.max_gmacs), *self.limits]
        return [limit.name for limit in own if not limit.met(self.amount(limit.name, found))]

    def fit(self, space: Space, genotype: Genotype) -> Candidate | None:
        """The genotype's architecture if it is within the budget; else the widest one that is at its depth,
        or at the nearest depth of the space that has one (of two as near, the smaller); None if none has."""
        within = self.allows(space, genotype)
        genes = genotype if within else self._repair(space, genotype)
        if genes is None:
            return None
        architecture = space.decode(genes)
        found = cost(architecture, self.task)
        return Candidate(architecture, genes, found, found.gmacs(self.convention), repaired=not within)

    def allows(self, space: Space, genotype: Genotype) -> bool:
        """Whether the genotype's architecture is within the budget as it is."""
        return not self._broken(space, genotype) and self.min_gmacs <= self.gmacs(space, genotype)

    def refusal(self, space: Space, genotype: Genotype) -> tuple[str, str]:
        """(by, reason) of a genotype that ``fit`` gives nothing for; GMACs are called by an empty name."""
        least = {**genotype, "width": space.by_name["width"].values[0], "depth": min(_depths(space))}
        broken = self._broken(space, least)
        if not broken or broken[0] == "gmacs":
            return "", "no width of the space brings it within the budget"
        limit = next(str(each) for each in self.limits if each.name == broken[0])
        return broken[0], f"no width of the space brings it within {limit}"

    def _repair(self, space: Space, genotype: Genotype) -> Genotype | None:
        """The genotype with another width or, where none is within the budget, width and depth."""
        widths, own = space.by_name["width"].values, cast(int, genotype["depth"])
        depths = sorted(_depths(space), key=lambda d: (abs(d - own), d))
        while depths:
            depth = depths.pop(0)
            genes = {**genotype, "depth": depth}
            count = self._count_affordable(space, genes, widths)
            if count == 0:  # so that greater depths cost too much at every width as well
                depths = [other for other in depths if other < depth]
                continue
            genes["width"] = widths[count - 1]
            if self.allows(space, genes):
                return genes
            if count == len(widths):  # smaller depths are below the band as well
                depths = [other for other in depths if other > depth]
        return None

    def _count_affordable(self, space: Space, genotype: Genotype, widths: Sequence[Leaf]) -> int:
        """How many of the widths, from the smallest on, don't cost too much.

        Costs grow with the width (a property test holds every block to it), so bisection is exact.
        """
        return bisect_right(
            widths, False, key=lambda width: bool(self._broken(space, {**genotype, "width": width}))
        )

    def check(self, space: Space) -> None:
        """Nothing, if the space's range of costs reaches into the budget.

        Raises: BudgetError: if the smallest architecture costs more, or the largest less; says how much.
        """
        shape = "x".join(map(str, self.task.cost_input))
        smallest = extreme(space, self, largest=False)
        low = self.gmacs(space, smallest)
        if low > self.max_gmacs:
            raise BudgetError(
                f"budget of {self.max_gmacs:g} GMACs: no architecture of space '{space.name}' fits; the "
                f"smallest, {space.decode(smallest).label}, costs {low:.4g} GMACs at {shape}. "
                "Raise the budget, or allow smaller widths, depths or other upsamplers."
            )
        for limit in self.limits:
            smallest = extreme(space, self, largest=False, of=limit.name)
            low = self.cost_of(limit.name, space, smallest)
            if not limit.met(low):
                raise BudgetError(
                    f"limit {limit}: no architecture of space '{space.name}' meets it; the smallest, "
                    f"{space.decode(smallest).label}, has {low:,.0f} {limit.name}. Raise the limit, or allow smaller "
                    "widths, depths or other upsamplers."
                )
        if self.min_gmacs:
            largest = extreme(space, self, largest=True)
            high = self.gmacs(space, largest)
            if high < self.min_gmacs:
                raise BudgetError(
                    f"band from {self.min_gmacs:g} GMACs: no architecture of space '{space.name}' is that "
                    f"large; the largest, {space.decode(largest).label}, costs {high:.4g} GMACs at {shape}. "
                    "Lower the band, or allow larger widths and depths."
                )


def _depths(space: Space) -> tuple[int, ...]:
    return cast(tuple[int, ...], space.by_name["depth"].values)


def extreme(space: Space, budget: Budget, *, largest: bool, of: str = "gmacs") -> dict[str, Leaf]:
    """The genotype of least (or greatest) cost, of the kind that ``of`` names.

    Every part grows with the width, so the width stays at its end; with the activation fixed, parts add up,
    so that one gene at a time is enough. The activation touches all parts (the challenges charge some and
    not others): each is tried. Tests compare the result with all genotypes of small spaces.
    """
    pick = max if largest else min
    end = -1 if largest else 0
    corner: dict[str, Leaf] = {choice.name: choice.values[end] for choice in space}
    starts = [corner]
    if "activation" in corner:
        starts = [{**corner, "activation": name} for name in space.by_name["activation"].values]
    free = [choice for choice in space if choice.name not in ("width", "activation")]
    found = [_improve(space, budget, free, start, of, largest=largest) for start in starts]
    return pick(found, key=lambda genotype: budget.cost_of(of, space, genotype))


def _improve(
    space: Space, budget: Budget, free: Sequence[Choice], start: dict[str, Leaf], of: str, *, largest: bool
) -> dict[str, Leaf]:
    """The start after setting one gene at a time to its best value until none helps."""
    pick = max if largest else min
    best = start
    while True:
        before = dict(best)
        for choice in free:
            costs = {
                value: budget.cost_of(of, space, {**best, choice.name: value}) for value in choice.values
            }
            best[choice.name] = pick(costs, key=costs.__getitem__)
        if best == before:
            return best

"""The plan of a search within a time: how long networks train, how many, and what is kept for afterwards.

Made from the pace that was measured on the workers, before the first step. What it decides (steps, rungs, window, the
largest network) goes on record with the study, so that the sequence of architectures is a function of it and the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil, floor
from typing import Any

from search.planning.pace import Pace
from spaces.cost import Convention, Cost

USED = 0.9  # of the workers' time; the rest is starts, ends and networks that are slower than expected
LEAST_FINISHED = 4  # networks, where the time is enough for so many
FRONT_AT = 0.25  # of the time, when the first networks are finished
AMPLE_STEPS = 1000  # from here on more time goes to more networks as well as to longer trainings
FEW_STEPS = 100  # rather fewer networks than shorter trainings
LEAST_STEPS = 20
MOST_STEPS = 10**8
LARGEST_SHARE = 0.6  # of the time, that one network may take
MOST = 0.8  # of networks
WINDOW = 8
AFTER_SEARCH = 0.35  # of a run's time, for pruning, distilling and the hand-over
HAND_OVER_MOST = 0.15  # of the time
HAND_OVER_STARTS = 3.0  # the hand-over takes as long as so many starts of a worker, which import the same
SHARES = (
    1.0,
    0.7,
    0.45,
    0.25,
)  # of the space's networks by their GMACs, of which more are left out as time is shorter


class PlanError(ValueError):
    """The time isn't enough; the message has the figures and what would do."""


@dataclass(frozen=True)
class Ladder:
    """How one network trains: scored at ``rungs``, paused at ``pauses``; one in ``eta`` goes on from a pause.

    Attributes:
        pauses: Rising; the last is the end.
        eta: 1 where every network trains to the end.
    """

    rungs: tuple[int, ...]
    pauses: tuple[int, ...]
    eta: float = 1.0

    @property
    def steps(self) -> int:
        """Of a whole training."""
        return self.pauses[-1]

    @property
    def share(self) -> float:
        """Of the trials that pause, how many go on in the end.

        Twice 1/eta: those go on, too, that were among the best before others came, and those that time is left for at
        the end; 0.62 to 0.80 with an eta of 3 in searches of one to three minutes (benchmarks/search/plans.py).
        """
        return min(1.0, 2 / self.eta)

    def part(self, start: int, end: int) -> tuple[int, int]:
        """(steps, scorings) of the training between two steps."""
        return end - start, sum(start < rung <= end for rung in self.rungs)


@dataclass(frozen=True)
class Stock:
    """What a plan is made for.

    Attributes:
        seconds: Of wall time until the command is to end.
        elapsed_s: That it has taken already.
        convention: How GMACs count.
        workers: That train at a time.
        up_s: Until a worker is up.
        costs: Of architectures that the space offers within the budget; the cheapest first, the dearest second.
        proposed: What the strategy's networks cost, as a share of random ones'.
        later: Share of the time for stages after the search.
        scored_at_end: Images' pixels scored after the search, as a multiple of the validation images'.
        trials: Limit on architectures; None for none.
    """

    seconds: float
    workers: int
    pace: Pace
    costs: tuple[Cost, ...]
    up_s: float = 0.0
    later: float = 0.0
    scored_at_end: float = 0.0
    trials: int | None = None
    repeats: int = 1
    elapsed_s: float = 0.0
    convention: Convention = "exact"
    proposed: float = 1.0


@dataclass(frozen=True)
class Plan:
    """How a time is spent.

    Attributes:
        seconds: Of wall time, from the command's beginning to its end.
        search_s, later_s, hand_over_s: Its parts: the search, stages after it, and what ends it.
        ladder: Of each training.
        window: Trainings chosen and not yet told.
        ceiling_gmacs: Networks above this would take too long; None where all fit.
        begun, finished: Networks expected to be begun and trained to the end.
        front_s: When the first networks are expected to be at their end.
        steps_per_s: Of typical networks, all workers together.
    """

    seconds: float
    search_s: float
    later_s: float
    hand_over_s: float
    workers: int
    ladder: Ladder
    window: int
    ceiling_gmacs: float | None
    begun: int
    finished: int
    front_s: float
    steps_per_s: float
    pace: Pace

    def to_data(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Plan:
        """From what ``to_data`` gives."""
        rungs, pauses, eta = (data["ladder"][name] for name in ("rungs", "pauses", "eta"))
        ladder = Ladder(tuple(rungs), tuple(pauses), eta)
        return cls(**{**data, "ladder": ladder, "pace": Pace.from_data(data["pace"])})

    def __str__(self) -> str:
        pause, steps = self.ladder.pauses[0], self.ladder.steps
        if len(self.ladder.pauses) > 1:
            counts = f"{_networks(self.begun)} begun at {pause} steps, {self.finished} finished at {steps}"
        else:
            counts = f"{_networks(self.finished)} of {steps} steps"
        parts = [
            f"this machine: about {self.steps_per_s:.3g} steps a second on {self.workers} "
            f"worker{'s' * (self.workers != 1)}; in {duration(self.seconds)}: {counts}, the first "
            f"after {duration(self.front_s)}"
        ]
        if self.later_s:
            parts.append(f"{duration(self.later_s)} for the stages after it")
        parts.append(f"{duration(self.hand_over_s)} for scoring and export")
        if self.ceiling_gmacs is not None:
            parts.append(
                f"networks above {self.ceiling_gmacs:.3g} GMACs are left out: they would take too long"
            )
        return ", ".join(parts)


def _networks(count: int) -> str:
    return f"{count} network{'s' * (count != 1)}"


def duration(seconds: float) -> str:
    """Time as people write it: 45s, 2m20s, 1h05m."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s" if rest else f"{minutes}m"
    return f"{minutes // 60}h{minutes % 60:02d}m"


Costs = tuple[Cost, ...]
LadderOf = Callable[[int], Ladder]
"""The ladder of trainings of so many steps.

Raises: ValueError: for fewer than it takes.
"""


def make_plan(
    stock: Stock,
    ladder_of: LadderOf,
    *,
    steps: int | None = None,
    window: int | None = None,
    may_narrow: bool = True,
) -> Plan:
    """How the time is best spent.

    Args:
        steps: Of each training; None to choose them.
        window: None to choose it.
        may_narrow: Networks that would take too long may be left out.

    Raises: PlanError: if not one training fits.
    """
    hand_over = _hand_over_s(stock)
    usable = (stock.seconds - hand_over) * (1 - stock.later)
    searching = usable / (1 + (stock.repeats - 1) * 0.6)
    cheapest = stock.costs[0]
    kept = stock.costs
    if steps is None:
        steps, kept = _choose_steps(stock, ladder_of, searching, may_narrow=may_narrow)
    ladder = ladder_of(steps)
    shortest = whole_s(stock.pace, cheapest, ladder)
    if shortest > searching:
        raise PlanError(_too_short(stock, ladder, shortest, hand_over, searching))
    ceiling = _ceiling(stock, ladder, searching) if may_narrow else None
    if len(kept) < len(stock.costs):
        narrower = kept[-1].gmacs(stock.convention)
        ceiling = narrower if ceiling is None else min(ceiling, narrower)
    if ceiling is not None:
        kept = tuple(cost for cost in stock.costs if cost.gmacs(stock.convention) <= ceiling)
    mean = _Mean(stock, ladder, kept or (cheapest,))
    finished = max(1, floor(mean.finished(searching)))
    begun = max(1, round(finished / ladder.share ** (len(ladder.pauses) - 1)))
    if stock.trials is not None and begun > stock.trials:
        begun = stock.trials
        finished = max(1, round(begun * ladder.share ** (len(ladder.pauses) - 1)))
    if window is None:
        window = min(WINDOW, max(stock.workers, begun // 3)) if stock.workers < WINDOW else stock.workers
    return Plan(
        stock.seconds + stock.elapsed_s,
        searching,
        stock.seconds - hand_over - searching,
        hand_over,
        stock.workers,
        ladder,
        window,
        ceiling,
        begun,
        finished,
        mean.first_front(),
        stock.workers / mean.step_s,
        stock.pace,
    )


def whole_s(pace: Pace, cost: Cost, ladder: Ladder) -> float:
    """Seconds of one network's whole training, with its pauses."""
    return sum(part_s(pace, cost, ladder, rung) for rung in range(len(ladder.pauses)))


def part_s(pace: Pace, cost: Cost, ladder: Ladder, rung: int) -> float:
    """Seconds of one network's job to a pause from the one before."""
    start = ladder.pauses[rung - 1] if rung else 0
    steps, scorings = ladder.part(start, ladder.pauses[rung])
    return pace.seconds(cost, steps, scorings, ssim=rung == len(ladder.pauses) - 1)


class _Mean:
    """The mean network of the space, on a ladder."""

    def __init__(self, stock: Stock, ladder: Ladder, costs: Sequence[Cost] | None = None):
        costs = costs or stock.costs
        pace = stock.pace
        self._workers = stock.workers
        self._share, self._eta, self._proposed = ladder.share, ladder.eta, stock.proposed
        self._parts = [
            sum(part_s(pace, cost, ladder, rung) for cost in costs) / len(costs)
            for rung in range(len(ladder.pauses))
        ]
        self.step_s = max(1e-9, sum(pace.step(cost) for cost in costs) / len(costs))

    def finished(self, seconds: float) -> float:
        """Networks at their end after so many seconds of all workers."""
        top = len(self._parts) - 1
        each = sum(part / self._share ** (top - rung) for rung, part in enumerate(self._parts))
        return seconds * self._workers * USED / max(self._proposed * each, 1e-9)

    def first_front(self) -> float:
        """Seconds until the first are at their end."""
        rounds = ceil(self._eta / self._workers)
        if len(self._parts) > 1:  # of jobs that are at hand when the first may go on
            rounds += 1
        return sum(
            part * (rounds if rung < len(self._parts) - 1 else 1) for rung, part in enumerate(self._parts)
        )


def _choose_steps(
    stock: Stock, ladder_of: LadderOf, seconds: float, *, may_narrow: bool
) -> tuple[int, Costs]:
    """Steps of a training, such that enough networks are finished and the first of them early; and which networks.

    Where the time is short, larger networks are left out before trainings become too short to tell them apart, and
    fewer networks are finished only after that.
    """
    least = _least_steps(ladder_of)
    ranked = sorted(stock.costs, key=lambda cost: cost.gmacs(stock.convention))
    shares = SHARES if may_narrow else (1.0,)
    tries = [(share, LEAST_FINISHED, FRONT_AT) for share in shares]
    tries += [(shares[-1], count, front_at) for count, front_at in ((4, 0.4), (3, 0.5), (2, 0.6), (1, USED))]
    steps, costs = 0, tuple(ranked)
    for enough in (FEW_STEPS, FEW_STEPS // 2, least):
        for share, finished, front_at in tries:
            costs = tuple(ranked[: max(1, round(share * len(ranked)))])
            steps = _most_steps(stock, ladder_of, seconds, costs, finished, front_at, least)
            if steps >= enough:
                break
        if steps >= enough:
            first = (share, finished, front_at) == tries[0]
            steps = steps if first else min(steps, max(enough, least))
            break
    else:
        return least, (ranked[0],) if may_narrow else tuple(ranked)
    if stock.trials is not None and len(costs) == len(
        ranked
    ):  # nothing is won by time that no network may use
        few = max(1.0, stock.trials * ladder_of(max(steps, least)).share)
        steps = max(steps, _most_steps(stock, ladder_of, seconds, costs, few, 2 * FRONT_AT, least))
    if steps > AMPLE_STEPS:
        steps = round((AMPLE_STEPS * steps) ** 0.5)
    return max(least, rounded(max(steps, least))), costs


def _least_steps(ladder_of: LadderOf) -> int:
    """The least that makes a ladder, of 20, 40, 80, ..."""
    steps = LEAST_STEPS
    while True:
        try:
            ladder_of(steps)
        except ValueError:
            if steps > MOST_STEPS:
                raise
            steps *= 2
        else:
            return steps


def _most_steps(
    stock: Stock,
    ladder_of: LadderOf,
    seconds: float,
    costs: Costs,
    finished: float,
    front_at: float,
    least: int,
) -> int:
    """The most steps with which so many networks are finished, and the first within a share of the time; 0 if
    the least are too many."""

    def fits(steps: int) -> bool:
        mean = _Mean(stock, ladder_of(steps), costs)
        return mean.finished(seconds) >= finished and mean.first_front() <= front_at * seconds

    low, high = 0, least
    while high <= MOST_STEPS and fits(high):
        low, high = high, 2 * high
    if low == 0:
        return 0
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def rounded(steps: int) -> int:
    """At most so many steps, as a number that people would write, divisible by 4."""
    digits = 10 ** max(0, len(str(steps)) - 2)
    unit = 4 if digits <= 4 else digits if digits % 4 == 0 else 2 * digits
    return max(4, steps // unit * unit)


def _ceiling(stock: Stock, ladder: Ladder, seconds: float) -> float | None:
    """GMACs above which networks would take too large a share of the time; None if most of the space wouldn't.

    Some networks take longer than others of their GMACs, so a few below it may, too; those aren't begun late.
    """
    longest = LARGEST_SHARE * seconds
    ranked = sorted((cost.gmacs(stock.convention), whole_s(stock.pace, cost, ladder)) for cost in stock.costs)
    within, ceiling = 0, ranked[0][0]
    for count, (gmacs, whole) in enumerate(ranked, 1):
        within += whole <= longest
        if within >= MOST * count:
            ceiling = gmacs
    return None if ceiling == ranked[-1][0] else ceiling


def _hand_over_s(stock: Stock) -> float:
    members = LEAST_FINISHED * 2
    mean = sum(stock.pace.scoring(cost) for cost in stock.costs) / len(stock.costs) + stock.pace.ssim_s
    return min(
        HAND_OVER_MOST * stock.seconds, HAND_OVER_STARTS * stock.up_s + members * mean * stock.scored_at_end
    )


def _too_short(stock: Stock, ladder: Ladder, shortest: float, hand_over: float, searching: float) -> str:
    share = searching / max(1e-9, stock.seconds - hand_over)
    needed = 1.25 * shortest / max(share, 1e-9) + hand_over if share > 0 else shortest + hand_over
    own = stock.pace.step(stock.costs[0])
    fixed = shortest - ladder.steps * own
    steps = floor((searching / 1.25 - fixed) / max(own, 1e-9))
    enough = f", or --steps {steps}" if steps >= 1 and steps < ladder.steps else ""
    limit, spent = duration(stock.seconds + stock.elapsed_s), duration(stock.elapsed_s)
    return (
        f"{limit} aren't enough for one training: {ladder.steps} steps of the cheapest network take "
        f"{duration(shortest)} here ({1 / max(own, 1e-9):.3g} steps a second), {spent} have gone into "
        f"images and workers, and {duration(hand_over)} are kept for scoring and export. Give --time "
        f"{duration(ceil(needed + stock.elapsed_s))} or more{enough}."
    )

"""Plans against reality: searches of several times, what each planned and what came of it.

    python benchmarks/search/plans.py --work DIR                       # 12 searches, about an hour
    python benchmarks/search/plans.py --work DIR --times 1m 2m --json plans.json

Each search runs as its user would run it (`pixelfront search --max-gmacs G --time T`, the embedded photographs,
hand-over included). DIR keeps the studies; a search that is there isn't run again. Each row: networks begun and
finished, when the first was finished, and the command's wall time, as planned and as it was.
"""

from __future__ import annotations

import subprocess
import sys
import time
from argparse import Namespace
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from results.durations import seconds
from results.store.store import Store
from search.planning.plan import Plan

sys.path.append(str(Path(__file__).parents[1]))

from report import Report, parser  # what all benchmarks share

TIMES = ("1m", "1m", "1m30s", "2m", "2m", "3m", "3m", "4m", "5m", "6m", "10m", "20m")
GMACS = (2.0, 6.0)  # in turn


@dataclass(frozen=True)
class Outcome:
    """What one search planned and did."""

    time: str
    max_gmacs: float
    steps: int
    workers: int
    planned_begun: int
    begun: int
    planned_finished: int
    finished: int
    planned_front_s: float
    front_s: float | None
    limit_s: float
    took_s: float


def main() -> None:
    """Run what is missing, and print the table."""
    args, report = _arguments(), Report("plans")
    args.work.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for number, text in enumerate(args.times):
        outcome = _search(args.work, number, text, GMACS[number % len(GMACS)])
        if outcome is not None:
            outcomes.append(outcome)
            report.console.print(
                f"{outcome.time}: {outcome.begun} begun, {outcome.finished} finished", style="dim"
            )
    report.show({"searches": [asdict(outcome) for outcome in outcomes]}, [_table(outcomes)], args)


def _arguments() -> Namespace:
    found = parser(__doc__)
    found.add_argument("--work", type=Path, required=True, metavar="DIR", help="where the studies are kept")
    found.add_argument("--times", nargs="+", default=list(TIMES), metavar="TIME")
    args = found.parse_args()
    for text in args.times:
        try:
            seconds(text)
        except ValueError as error:
            found.error(str(error))
    return args


def _search(work: Path, number: int, text: str, gmacs: float) -> Outcome | None:
    name, took = f"plan-{number}-{text}", work / f"plan-{number}-{text}.seconds"
    if not took.exists():
        command = ["pixelfront", "search", "--max-gmacs", f"{gmacs:g}", "--time", text, "--study", name]
        started = time.monotonic()
        ended = subprocess.run([*command, "--seed", str(number)], cwd=work, capture_output=True, text=True)
        if ended.returncode not in (0, 1):
            print(f"{name}: {ended.stderr.strip()}", file=sys.stderr)
            return None
        took.write_text(str(time.monotonic() - started))
    with Store.open(str(work / "runs" / "pixelfront.db"), create=False) as store:
        study = store.study(name)
        plan = Plan.from_data(study.data["plan"])
        trials = store.trials(study.id, stages=["search"])
        ends = [trial.finished_at for trial in trials if trial.state == "complete" and trial.finished_at]
        begun = [trial for trial in trials if store.rungs(study.id, trial_id=trial.id)]
    return Outcome(
        text,
        gmacs,
        plan.ladder.steps,
        plan.workers,
        plan.begun,
        len(begun),
        plan.finished,
        len(ends),
        plan.front_s,
        _since(study.created_at, min(ends)) if ends else None,
        seconds(text),
        float(took.read_text()),
    )


def _since(beginning: datetime, moment: datetime) -> float:
    return (moment - beginning).total_seconds()


def _table(outcomes: list[Outcome]) -> Table:
    table = Table()
    columns = (
        "time",
        "GMACs",
        "steps",
        "begun: plan",
        "real",
        "finished: plan",
        "real",
        "first: plan [s]",
        "real",
    )
    for column in (*columns, "took [s]", "of the time"):
        table.add_column(column, justify="right")
    for one in outcomes:
        cells: tuple[Any, ...] = (
            one.time,
            f"{one.max_gmacs:g}",
            one.steps,
            one.planned_begun,
            one.begun,
            one.planned_finished,
            one.finished,
            f"{one.planned_front_s:.0f}",
            "" if one.front_s is None else f"{one.front_s:.0f}",
            f"{one.took_s:.0f}",
            f"{one.took_s / one.limit_s:.1%}",
        )
        table.add_row(*map(str, cells))
    return table


if __name__ == "__main__":
    main()

"""``pixelfront finish``: the preliminary front's networks, trained to their end.

A search that is resumed afterwards takes them for results that it needn't train for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from results.analysis.overview import NoResultError, Overview, overview
from results.analysis.preliminary import (
    Preliminary,
    Remainder,
    finish_command,
    finishing_seconds,
    preliminary,
    remainders_of,
    why_no_front,
)
from results.analysis.repeats import is_repeat
from results.durations import rounded_up, seconds
from results.store.schema import Stop, StudyState, Trial
from results.store.store import Store
from search.config import ConfigError
from search.stages.trials import UNFINISHED, InterruptedStage, Stages
from search.stages.winner import present
from search.study.opening import Opened, Place, open_study


def run_finish(
    study: str,
    numbers: Sequence[int] = (),
    *,
    place: Place,
    time: str | None = None,
    said: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> Overview:
    """Train the members of the study's preliminary front, or the named trials, to their end, and hand over the winner.

    The best come first. What is cut off goes on from its last rung when asked for again.

    Args:
        numbers: Of unfinished trials of the search.
        time: As in a configuration. Begins none that can't be finished within it by the seconds a step on record, and
            cuts off what turns out slower.
        said: Dotted configuration keys of what may change on a resume, such as workers.

    Raises:
        ValueError: for a time, a study or trials that can't be used; nothing is started then.
        NoResultError: if there is nothing to finish and no front, or the time is enough for none.
    """
    if time is not None:
        seconds(time)
    with Store.open(place.db, create=False) as store:  # before workers are started
        _remainders(store, study, numbers)
    with open_study(said or {}, place=place, study=study, resume=True, console=console) as opened:
        return finish(opened, numbers, time=time)


def finish(opened: Opened, numbers: Sequence[int] = (), *, time: str | None = None) -> Overview:
    """As `run_finish`, of an opened study."""
    study, limit = opened.study.name, None if time is None else seconds(time)
    early, wanted = _remainders(opened.store, study, numbers)
    chosen: Sequence[Remainder] = wanted
    left: Sequence[Remainder] = ()
    if limit is not None:
        chosen, left = within(wanted, limit, opened.pool().capacity)
    _introduce(opened, early, chosen, left, time)
    if wanted and not chosen:
        quickest = min(wanted, key=lambda each: each.seconds or 0.0)
        enough = finish_command(opened.study, [quickest], named=True)
        raise NoResultError(f"--time {time} is enough for none of {len(wanted)} trainings: {enough} is")
    interrupted = chosen and not _train(opened, [each.trial for each in chosen], limit)
    found = present(opened, hand_over=not interrupted)
    if left:
        opened.tell(
            f"left out, as {time} isn't enough for all: {finish_command(opened.study, left, named=True)}"
        )
    return found


def within(
    remainders: Sequence[Remainder], limit: float, workers: int
) -> tuple[tuple[Remainder, ...], tuple[Remainder, ...]]:
    """Those that end within so many seconds, taken in their order, and the others.

    One that is too long is passed over for a shorter one behind it.
    """
    chosen: list[Remainder] = []
    for each in remainders:
        if finishing_seconds([*chosen, each], workers)[-1] <= limit:
            chosen.append(each)
    kept = {each.trial.id for each in chosen}
    return tuple(chosen), tuple(each for each in remainders if each.trial.id not in kept)


def _remainders(
    store: Store, study: str, numbers: Sequence[int]
) -> tuple[Preliminary | None, tuple[Remainder, ...]]:
    """The preliminary front, and what is to be trained, the best first.

    Raises: ConfigError: for a trial that the search didn't train, or that has ended.
        NoResultError: if none is left to be finished, and there is no front.
    """
    found = overview(store, study)
    early = preliminary(store, found)
    if numbers:
        trials = [store.trial(found.study.id, number) for number in dict.fromkeys(numbers)]
        for trial in trials:
            _check(trial)
        return early, remainders_of(found.study, trials, store.rungs(found.study.id))
    if (early is None or not early.remainders) and not found.front.members:
        raise NoResultError(f"study '{study}': nothing to finish: {why_no_front(found, early)}")
    return early, early.remainders if early else ()


def _check(trial: Trial) -> None:
    """Nothing, if the trial is one of the search that hasn't ended.

    Raises: ConfigError: else.
    """
    if trial.stage != "search" or is_repeat(trial):
        what = "a repeat" if is_repeat(trial) else f"of stage '{trial.stage}'"
        raise ConfigError(f"trial {trial.number} is {what}: name trials that the search left unfinished")
    if trial.state not in UNFINISHED:
        reason = f" ({trial.reason})" if trial.reason else ""
        raise ConfigError(f"trial {trial.number} is {trial.state}{reason}: name unfinished ones, or none")


def _introduce(
    opened: Opened,
    early: Preliminary | None,
    chosen: Sequence[Remainder],
    left: Sequence[Remainder],
    time: str | None,
) -> None:
    """Say what is trained, from where, and about how long that takes."""
    if not chosen:
        if not left:
            opened.tell("Nothing to finish: complete networks beat all others, or all are complete.")
        return
    needed = max(finishing_seconds(chosen, opened.pool().capacity))
    time_text = f", in about {rounded_up(needed)}" if needed else ""
    names = ", ".join(f"{each.trial.number} from step {each.step:,}" for each in chosen)
    where = f"preliminary front at {early.text}; " if early is not None else ""
    opened.tell(f"{where}trained to step {chosen[0].steps:,}{time_text}: trial {names}", style="dim")


def _train(opened: Opened, trials: Sequence[Trial], limit: float | None) -> bool:
    """Train them, in the study's state ``running``; False if it was interrupted."""
    store, study = opened.store, opened.store.study(opened.study.name)
    store.set_study_state(study.id, "running")
    ended: tuple[StudyState, Stop | None] = ("paused", "interrupted")
    try:
        done = Stages(opened).finish(trials, seconds=limit)
        cut = [trial for trial in done if trial.state in UNFINISHED]
        # Else as the search left it; one whose driver was killed left it running.
        before: StudyState = "paused" if study.state == "running" else study.state
        ended = ("paused", "time") if cut else (before, study.stop)
        if cut:
            opened.tell(
                f"Cut off by the time: {', '.join(str(t.number) for t in cut)}; the same command goes on."
            )
    except InterruptedStage:
        opened.tell("Interrupted; the same command goes on with it.")
        return False
    finally:
        store.set_study_state(study.id, *ended)
    return True

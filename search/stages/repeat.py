"""Repeats: the front's members trained again from other seeds, so that its numbers carry intervals.

Who is on the front by one training was in part lucky: the mean of several is lower, and others may come to the front.
These are trained again too, until every member that the search trained has as many trainings.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from results.analysis.overview import as_json, overview
from results.render.figures import save_front_figure
from results.render.tables import front_table
from results.store.schema import Stop, StudyState, Trial
from search.config import ConfigError
from search.stages.trials import InterruptedStage, Stages, check_repeatable
from search.study.opening import Opened, Place, open_study

TIMES = 3  # where neither the command nor the study says


def repeat_front(opened: Opened, times: int) -> None:
    """Train the front's members that the search trained until each has ``times`` trainings.

    What is on record isn't made again. Of the search's limits only the command's time bounds it, but it counts in what
    the study spent.

    Raises: InterruptedStage: on Ctrl-C; what was cut off goes on from its last rung when asked for again.
    """
    stages, done = Stages(opened, keep_time=True), set[int]()
    while True:
        members = _searched(opened)
        if times < 2 or {trial.id for trial in members} <= done:
            return
        _repeat(opened, stages, [trial.number for trial in members if trial.id not in done], times)
        done |= {trial.id for trial in members}


def _searched(opened: Opened) -> list[Trial]:
    """The front's members that a search trained."""
    return [t for t in overview(opened.store, opened.study.name).members if t.stage == "search"]


def _repeat(opened: Opened, stages: Stages, numbers: Sequence[int], times: int) -> None:
    """Train these again, in the study's state ``running``."""
    store, study = opened.store, opened.store.study(opened.study.name)
    names = f"{len(numbers)} trial{'s' * (len(numbers) != 1)}"
    opened.tell(
        f"Repeats: {names}, until each has {times} trainings of {opened.bench.recipe.steps} steps ...",
        style="dim",
    )
    store.set_study_state(study.id, "running")
    ended: tuple[StudyState, Stop | None] = ("paused", "interrupted")
    try:
        stages.repeat([store.trial(study.id, number) for number in numbers], times)
        ended = (study.state, study.stop)
    finally:
        store.set_study_state(study.id, *ended)


def run_repeat(
    study: str,
    trials: Sequence[str] = (),
    *,
    times: int | None,
    place: Place,
    console: Console,
    said: dict[str, object],
    json: bool = False,
) -> None:
    """Repeat the study's front, or the named trials, and print the front with its intervals.

    Args:
        times: Trainings in all, kept for the study's next resume; by default what the study says, or 3.
        trials: Numbers, or ``best``.

    Raises: ValueError: for a study or a trial that can't be repeated, or where there is nothing to repeat; nothing is
        started then.
    """
    if times is not None and times < 2:
        raise ConfigError(f"--repeats {times}: expected at least 2 trainings in all, the first included")
    kept = {"repeats": times} if times is not None and not trials else {}
    # With all that a search has, such as the supernet that its trials started from.
    with open_study({**said, **kept}, place=place, study=study, resume=True, console=console) as opened:
        configured = opened.bench.config.repeats
        wanted = times or (configured if configured > 1 else TIMES)
        stages = Stages(opened)
        named = [stages.chosen(name) for name in trials]
        for trial in named:
            check_repeatable(trial)
        if not named and not _searched(opened):
            raise ConfigError(
                f"study '{study}': expected a front with networks that a search trained, got none: let its search go "
                "on, or name the trials to be repeated"
            )
        try:
            if named:
                _repeat(opened, stages, list(dict.fromkeys(trial.number for trial in named)), wanted)
            else:
                repeat_front(opened, wanted)
        except InterruptedStage:
            opened.tell("Interrupted; the same command goes on with it.")
            return
        found = overview(opened.store, opened.study.name)
        if json:
            print(as_json(found))
            return
        opened.console.print(front_table(found))
        if found.front.members:
            opened.tell(f"front       {save_front_figure(found, opened.folder / 'front.png')}")

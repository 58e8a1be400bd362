"""The order of asking and telling, without a store, workers or training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from search.loop.asktell import BARREN_AT_FIRST, BARREN_QUESTIONS, AskTell, in_turn
from search.loop.halving import Halving
from search.loop.question import Promotion, Question, Verdict
from search.outcomes import Failure, Outcome
from search.strategies import ReplayError, Strategy
from spaces.architecture import Leaf
from spaces.budget import Budget
from spaces.space import Genotype
from tests.search.studies import TASK, problem, small_space

AMPLE = Budget(TASK, 100.0)  # for all of the space
SMALL = {choice.name: choice.values[0] for choice in small_space()}


def sized(number: int) -> dict[str, Leaf]:
    """The first 12 are different architectures, the others repeat them."""
    space = small_space()
    widths, depths = space.by_name["width"].values, space.by_name["depth"].values
    return {**SMALL, "width": widths[number % 4], "depth": depths[number // 4 % 3]}


class Listed(Strategy):
    """Answers from a list, and notes what it is told."""

    takes_given = True

    def __init__(self, answers: Any = sized, *, budget: Budget = AMPLE):
        super().__init__(problem(budget=budget))
        self.answers = answers
        self.told: list[tuple[int, Outcome]] = []
        self.restored: list[int] = []
        self.given: list[int] = []

    def ask(self, number: int) -> dict[str, Leaf]:
        return dict(self.answers(number))

    def restore(self, number: int, genotype: Genotype) -> None:
        self.restored.append(number)

    def give(self, number: int, genotype: Genotype) -> None:
        self.given.append(number)

    def tell(self, number: int, outcome: Outcome) -> None:
        self.told.append((number, outcome))


def asked(asktell: AskTell, trials: int, **options: Any) -> list[Question]:
    return [job for job in asktell.advance(trials, **options) if isinstance(job, Question)]


def test_at_most_a_window_of_jobs_is_chosen_and_they_are_told_in_their_order() -> None:
    strategy = Listed()
    asktell = AskTell(strategy, window=3)
    first, second, third = asked(asktell, 12)
    second.outcomes[0] = (2.0, 2.0)
    assert asked(asktell, 12) == []
    assert strategy.told == []
    first.outcomes[0] = (1.0, 1.0)
    assert [question.number for question in asked(asktell, 12)] == [3, 4]
    assert strategy.told == [(0, (1.0, 1.0)), (1, (2.0, 2.0))]
    assert [q.state for q in (first, second, third)] == ["complete", "complete", "running"]
    assert (asktell.trials, asktell.steps, len(asktell.questions)) == (5, 5, 5)


def test_told_as_they_come_each_question_keeps_what_was_told_before_it() -> None:
    strategy = Listed()
    asktell = AskTell(strategy, window=2, ordered=False)
    first, second = asked(asktell, 12)
    second.outcomes[0] = (2.0, 2.0)
    (third,) = asked(asktell, 12)
    assert third.reports == ((1, 0),)
    assert (first.state, second.state) == ("running", "complete")
    first.outcomes[0] = Failure()
    (fourth,) = asked(asktell, 12)
    assert fourth.reports == ((0, 0),)
    assert first.state == "failed"
    assert strategy.told == [(1, (2.0, 2.0)), (0, Failure())]


def test_a_duplicate_is_told_what_the_first_is_told() -> None:
    strategy = Listed(lambda number: sized(0 if number == 1 else number))
    asktell = AskTell(strategy, window=2)
    first, duplicate, third = asked(asktell, 12)
    assert duplicate.state == "duplicate"
    assert duplicate.original is first
    assert (third.state, asktell.trials) == ("running", 2)
    first.outcomes[0] = (1.0, 1.0)
    asked(asktell, 12)
    assert strategy.told == [(0, (1.0, 1.0)), (1, (1.0, 1.0))]


def test_a_duplicate_of_one_that_was_told_is_told_at_once() -> None:
    strategy = Listed(lambda number: sized(0 if number == 1 else number))
    asktell = AskTell(strategy, window=1)
    (first,) = asked(asktell, 12)
    first.outcomes[0] = (1.0, 1.0)
    duplicate, third = asked(asktell, 12)
    assert (duplicate.state, third.state) == ("duplicate", "running")
    assert strategy.told == [(0, (1.0, 1.0)), (1, (1.0, 1.0))]


def test_what_is_over_the_budget_or_turned_away_fails_at_once_and_costs_nothing() -> None:
    strategy = Listed()

    def odd(number: int, candidate: Any) -> Verdict:
        return Verdict("judge", "odd") if number % 2 else Verdict()

    asktell = AskTell(strategy, window=2, judge=odd)
    questions = asked(asktell, 12)
    assert [q.state for q in questions] == ["running", "rejected", "running"]
    assert questions[1].verdict == Verdict("judge", "odd")
    assert strategy.told == [(1, Failure())]
    assert (asktell.trials, asktell.steps) == (2, 2)
    dear = Listed(budget=Budget(TASK, 1e-6))
    asktell = AskTell(dear, window=2)
    assert {q.state for q in asked(asktell, 12)} == {"rejected"}
    assert asktell.exhausted
    assert len(dear.told) == BARREN_QUESTIONS


def test_the_first_judge_that_turns_away_is_the_last_asked() -> None:
    calls: list[str] = []

    def judge(name: str, reason: str | None) -> Any:
        def judged(number: int, candidate: Any) -> Verdict:
            calls.append(name)
            return Verdict(name, reason)

        return judged

    verdict = in_turn(judge("a", None), judge("b", "too slow"), judge("c", None))(0, None)  # type: ignore[arg-type]
    assert (verdict, calls) == (Verdict("b", "too slow"), ["a", "b"])


def test_a_search_begins_with_given_networks_and_a_replay_has_to_as_well() -> None:
    strategy, first = Listed(), [sized(5), sized(6)]
    questions = asked(AskTell(strategy, window=3, first=first), 12)
    assert [q.genotype for q in questions] == [*first, sized(2)]
    assert strategy.given == [0, 1]
    with pytest.raises(ReplayError, match="question 1, a network that the search begins with"):
        asked(AskTell(Listed(), window=3, first=first, recorded=[first[0], sized(0)]), 12)


def test_recorded_questions_are_restored_and_then_it_is_asked() -> None:
    strategy = Listed()
    asktell = AskTell(strategy, window=4, recorded=[sized(3), sized(7)])
    questions = [q for q in asked(asktell, 12) if q.state == "running"]
    assert [q.genotype for q in questions] == [sized(3), sized(7), sized(2), sized(4)]
    assert questions[3].number == 4  # question 3 repeats the first
    assert strategy.restored == [0, 1]


def test_the_cheapest_network_helps_a_strategy_that_finds_nothing_at_first() -> None:
    wide = {**SMALL, "width": 24, "depth": 3}
    strategy = Listed(lambda number: wide)

    def only_small(number: int, candidate: Any) -> Verdict:
        return Verdict() if candidate.genotype["width"] == 8 else Verdict("judge", "wide")

    asktell = AskTell(strategy, window=1, judge=only_small, cheapest=SMALL)
    questions = asked(asktell, 12)
    assert [q.state for q in questions] == ["rejected"] * BARREN_AT_FIRST + ["running"]
    assert strategy.given == [BARREN_AT_FIRST]


def jobs_of(asktell: AskTell, values: Sequence[float], trials: int) -> list[tuple[str, int, int]]:
    """(kind, question, rung) of all jobs, whose results are there at once: a value a trial, more at each rung."""
    jobs = []
    for job in asktell.advance(trials):
        question, rung = (job.question, job.rung) if isinstance(job, Promotion) else (job, 0)
        assert question.rung == rung
        jobs.append((type(job).__name__, question.number, rung))
        question.outcomes[rung] = (values[question.number] + rung, 1.0)
    return jobs


def test_the_best_of_a_rung_are_promoted_and_paused_ones_told_what_they_would_come_to() -> None:
    strategy = Listed()
    asktell = AskTell(strategy, window=1, halving=Halving((1, 3), 3, ("max", "min")))
    jobs = jobs_of(asktell, [3.0, 1.0, 2.0, 5.0, 4.0, 0.0], 6)
    promoted = [number for kind, number, _ in jobs if kind == "Promotion"]
    assert promoted[0] == 0
    assert 3 in promoted
    assert {q.state for q in asktell.questions.values()} == {"paused", "complete"}
    assert asktell.steps == 6 + 2 * len(promoted)
    # One step up was worth 1: the paused second trial is told again with so much more.
    assert (1, (1.0, 1.0)) in strategy.told
    assert (1, (2.0, 1.0)) in strategy.told


def test_what_is_not_afforded_ends_the_choosing_and_what_comes_later_is_for_the_ladder_alone() -> None:
    strategy = Listed()
    asktell = AskTell(strategy, window=4, halving=Halving((1, 3), 3, ("max", "min")))
    questions = asked(asktell, 12, affords=lambda job, rung: asktell.trials < 3)
    assert (len(questions), asktell.cut) == (3, True)
    for question in questions:
        question.outcomes[0] = (1.0 + question.number, 1.0)
    asktell.finish()
    assert strategy.told == []
    assert [asktell.halving.rung_of(q.number) for q in questions] == [0, 0, 0]
    assert next(iter(asktell.unfinished())).number == 2
    assert asked(asktell, 12) == []


def test_no_job_is_chosen_that_the_steps_are_not_enough_for() -> None:
    asktell = AskTell(Listed(), window=9, halving=Halving((1, 3), 3, ("max", "min")))
    assert len(asked(asktell, 12, steps=5)) == 3  # 2 more, and 3 for one to its end

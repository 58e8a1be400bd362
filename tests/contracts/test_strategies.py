"""What every registered strategy guarantees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from search.loop.asktell import AskTell
from search.loop.halving import Halving
from search.loop.question import Question
from search.outcomes import Failure, Outcome, Values
from search.strategies import STRATEGIES, ReplayError, Strategy, check_strategy
from spaces.budget import Budget
from spaces.space import Genotype, chain_space
from tests.search.studies import TASK, is_of, problem

every_strategy = pytest.mark.parametrize("name", list(STRATEGIES))


def make(name: str, **options: Any) -> Strategy:
    return STRATEGIES[name].create(problem(**{"seed": 3, **options}))


def quality(question: Question) -> Values:
    """A stand-in for PSNR that depends on the architecture alone, with its cost."""
    assert question.candidate is not None
    noise = Random(question.candidate.architecture.digest).random()
    return 28 + 0.3 * question.candidate.gmacs + noise, question.candidate.gmacs


def sequence(
    strategy: Strategy,
    trials: int = 40,
    recorded: Sequence[Genotype] = (),
    first: Sequence[Genotype] = (),
) -> Iterator[Genotype]:
    """All answers of a search whose trials finish at once; fewer of a slow strategy."""
    asktell = AskTell(strategy, window=4, recorded=recorded, first=first)
    for question in asktell.advance(trials if strategy.fast else 14):
        assert isinstance(question, Question)
        if question.state == "running":
            question.outcomes[0] = quality(question)
        yield question.genotype


@every_strategy
def test_answers_are_genotypes_of_the_space(name: str) -> None:
    strategy = make(name)
    assert all(is_of(strategy.space, strategy.ask(number)) for number in range(4))


@every_strategy
def test_a_seed_means_one_sequence_and_another_seed_another(name: str) -> None:
    first = list(sequence(make(name)))
    assert first == list(sequence(make(name)))
    assert first != list(sequence(make(name, seed=4)))


@every_strategy
@pytest.mark.parametrize("cut", [1, 9, 13])
def test_replayed_questions_lead_to_the_same_next_ones(name: str, cut: int) -> None:
    straight = list(sequence(make(name)))
    assert list(sequence(make(name), recorded=straight[:cut])) == straight


@every_strategy
def test_begins_with_networks_that_it_did_not_choose_or_says_that_it_cannot(name: str) -> None:
    random, strategy = Random(1), make(name)
    first = [strategy.space.sample(random) for _ in range(3)]
    if not strategy.takes_given:
        with pytest.raises(ValueError, match=f"strategy '{name}' can't begin with networks"):
            check_strategy(name, 2, given=True)
        with pytest.raises(ValueError, match="it only knows of answers of its own"):
            strategy.give(0, first[0])
        return
    check_strategy(name, 2, given=True)
    straight = list(sequence(strategy, 24, first=first))
    assert straight[:3] == first
    if strategy.learns:
        assert straight[-3:] != list(sequence(make(name), 24))[-3:]
    assert list(sequence(make(name), 24, recorded=straight[:9], first=first)) == straight
    with pytest.raises(ReplayError, match="question 1"):
        list(sequence(make(name), 24, recorded=straight[:9], first=[first[0], first[2]]))


@every_strategy
def test_failed_questions_are_accepted(name: str) -> None:
    strategy = make(name)
    for number in range(6):
        strategy.ask(number)
        strategy.tell(number, Failure())
    assert is_of(strategy.space, strategy.ask(6))


@every_strategy
def test_learns_what_random_search_does_not(name: str) -> None:
    """With PSNR growing in depth alone, later proposals are deeper than uniform ones (mean depth 2)."""
    deep = chain_space("deep", blocks=("ghost",), widths=(8,), depths=tuple(range(1, 17)))
    told = replace(problem(deep, budget=Budget(TASK, 100.0)), exact=None)
    strategy = STRATEGIES[name].create(told)
    if not strategy.learns or not strategy.fast:
        pytest.skip("proposes whatever it is told, or takes long")
    depths = []
    for number in range(90):
        depth = strategy.ask(number)["depth"]
        assert isinstance(depth, int)
        depths.append(depth)
        strategy.tell(number, (float(depth), 0.0))
    assert sum(depths[60:]) / 30 > 8.5 + 2


@every_strategy
def test_values_told_again_count_as_if_they_had_been_the_first(name: str) -> None:
    """Early stopping tells a trial again when it has been trained further."""
    once, again = make(name), make(name)
    if not once.takes_back:
        pytest.skip("keeps the first")
    random = Random(0)
    for number in range(20):
        assert once.ask(number) == again.ask(number)
    late: dict[int, Outcome] = {}
    for number in range(20):
        early = (random.random(), 1.0)
        late[number] = Failure() if number == 5 else (random.random(), 1.0)
        once.tell(number, late[number])
        again.tell(number, early)
    for number in range(20):
        again.tell(number, late[number])
    assert [once.ask(number) for number in (20, 21)] == [again.ask(number) for number in (20, 21)]


@every_strategy
def test_a_climb_under_any_strategy_is_one_sequence_also_when_replayed(name: str) -> None:
    straight = climb(make(name))
    assert climb(make(name)) == straight
    asked = [genotype for genotype, _ in straight if genotype is not None]
    assert climb(make(name), recorded=asked[: len(asked) // 2]) == straight


def climb(strategy: Strategy, recorded: Sequence[Genotype] = ()) -> list[tuple]:
    """(genotype, None) of each question and (None, (question, rung)) of each promotion."""
    asktell = AskTell(
        strategy, window=4, halving=Halving((1, 3, 9), 3, strategy.directions), recorded=recorded
    )
    jobs: list[tuple] = []
    for job in asktell.advance(24 if strategy.fast else 10):
        if isinstance(job, Question):
            question, rung = job, 0
            jobs.append((question.genotype, None))
        else:
            question, rung = job.question, job.rung
            jobs.append((None, (question.number, rung)))
        if question.state == "running":
            psnr, gmacs = quality(question)
            question.outcomes[rung] = (psnr - (2 - rung) * (0.5 + gmacs), gmacs)
    assert {rung for _, promoted in jobs if promoted for rung in promoted[1:]} == {1, 2}
    return jobs

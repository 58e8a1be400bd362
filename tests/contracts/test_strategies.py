"""What every registered strategy guarantees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import pytest

from search.loop.asktell import Answer, AskTell
from search.loop.first import check_first
from search.loop.halving import Halving
from search.strategies import STRATEGIES, ReplayError, Strategy
from spaces.space import Genotype, chain_space
from tests.search.studies import BUDGET, small_space

DIRECTIONS = ("max", "min")
CHEAP = [name for name in STRATEGIES if name != "gp"]


def make(name: str, seed: int = 3) -> Strategy:
    return STRATEGIES[name].create(small_space(), directions=DIRECTIONS, seed=seed)


def quality(answer: Answer) -> tuple[float, float]:
    """A stand-in for PSNR that depends on the architecture alone, with its cost."""
    assert answer.candidate is not None
    noise = Random(answer.candidate.architecture.digest).random()
    return 28 + 0.3 * answer.candidate.gmacs + noise, answer.candidate.gmacs


def sequence(
    strategy: Strategy, trials: int, recorded: Sequence[Genotype] = (), first: Sequence[Genotype] = ()
) -> Iterator[Answer]:
    """All answers of a search whose trials finish at once."""
    asktell = AskTell(strategy, BUDGET, window=4, recorded=recorded, first=first)
    values: dict[int, tuple] = {}
    for answer in asktell.advance(lambda question, rung: values.get(question), trials):
        assert isinstance(answer, Answer)
        if answer.outcome == "trial":
            values[answer.question] = (quality(answer),)
        yield answer


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_answers_are_genotypes_of_the_space(name: str) -> None:
    strategy = make(name)
    for number in range(4):
        strategy.space.check(strategy.ask(number))


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_a_seed_means_one_sequence_and_another_seed_another(name: str) -> None:
    trials = 14 if name == "gp" else 40
    first = [a.genotype for a in sequence(make(name), trials)]
    assert first == [a.genotype for a in sequence(make(name), trials)]
    assert first != [a.genotype for a in sequence(make(name, seed=4), trials)]


@pytest.mark.parametrize("name", list(STRATEGIES))
@pytest.mark.parametrize("cut", [1, 9, 13])
def test_replayed_questions_lead_to_the_same_next_ones(name: str, cut: int) -> None:
    trials = 14 if name == "gp" else 40
    straight = [a.genotype for a in sequence(make(name), trials)]
    again = [a.genotype for a in sequence(make(name), trials, recorded=straight[:cut])]
    assert again == straight


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_begins_with_networks_that_it_did_not_choose_or_says_that_it_cannot(name: str) -> None:
    random, space = Random(1), small_space()
    first = [space.sample(random) for _ in range(3)]
    if name.startswith("nni-"):  # they are rebuilt by asking again
        with pytest.raises(ValueError, match=f"strategy '{name}' can't begin with networks"):
            check_first(first, name)
        return
    check_first(first, name)
    trials = 14 if name == "gp" else 24
    straight = [a.genotype for a in sequence(make(name), trials, first=first)]
    assert straight[:3] == first
    if make(name).learns:
        assert straight[-3:] != [a.genotype for a in sequence(make(name), trials)][-3:]
    again = [a.genotype for a in sequence(make(name), trials, recorded=straight[:9], first=first)]
    assert again == straight
    with pytest.raises(ReplayError, match="question 1"):
        list(sequence(make(name), trials, recorded=straight[:9], first=[first[0], first[2]]))


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_failed_questions_are_accepted(name: str) -> None:
    strategy = make(name)
    for number in range(6):
        strategy.ask(number)
        strategy.tell(number, None)
    strategy.space.check(strategy.ask(6))


@pytest.mark.parametrize("name", CHEAP)
def test_learns_what_random_search_does_not(name: str) -> None:
    """With PSNR growing in depth alone, later proposals are deeper than uniform ones (mean depth 2)."""
    deep = chain_space("deep", blocks=("ghost",), widths=(8,), depths=tuple(range(1, 17)))
    strategy = STRATEGIES[name].create(deep, directions=("max", "min"), seed=0)
    if not strategy.learns:
        pytest.skip("proposes whatever it is told")
    depths = []
    for number in range(90):
        depth = strategy.ask(number)["depth"]
        assert isinstance(depth, int)
        depths.append(depth)
        strategy.tell(number, (float(depth), 0.0))
    assert sum(depths[60:]) / 30 > 8.5 + 2


@pytest.mark.parametrize("name", [n for n in ("random", "tpe", "nsga2", "nsga3", "gp") if n in STRATEGIES])
def test_values_told_again_count_as_if_they_had_been_the_first(name: str) -> None:
    """Early stopping tells a trial again when it has been trained further."""
    once, again = make(name), make(name)
    random = Random(0)
    for number in range(20):
        assert once.ask(number) == again.ask(number)
    for number in range(20):
        early, late = (random.random(), 1.0), None if number == 5 else (random.random(), 1.0)
        once.tell(number, late)
        again.tell(number, early)
    random = Random(0)
    for number in range(20):
        random.random()
        again.tell(number, None if number == 5 else (random.random(), 1.0))
    assert [once.ask(number) for number in (20, 21)] == [again.ask(number) for number in (20, 21)]


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_a_climb_under_any_strategy_is_one_sequence_also_when_replayed(name: str) -> None:
    trials = 10 if name == "gp" else 24
    straight = climb(make(name), trials)
    assert climb(make(name), trials) == straight
    asked = [genotype for genotype, _ in straight if genotype is not None]
    assert climb(make(name), trials, recorded=asked[: len(asked) // 2]) == straight


def climb(strategy: Strategy, trials: int, recorded: Sequence[Genotype] = ()) -> list[tuple]:
    """(genotype, None) of each question and (None, (question, rung)) of each promotion."""
    halving = Halving((1, 3, 9), 3, DIRECTIONS)
    asktell = AskTell(strategy, BUDGET, window=4, halving=halving, recorded=recorded)
    values: dict[int, tuple[float, float]] = {}

    def result(question: int, rung: int) -> tuple[tuple[float, float]]:
        quality, gmacs = values[question]
        return ((quality - (2 - rung) * (0.5 + gmacs), gmacs),)

    found: list[tuple] = []
    for job in asktell.advance(result, trials):
        if isinstance(job, Answer):
            found.append((job.genotype, None))
            if job.outcome == "trial":
                values[job.question] = quality(job)
        else:
            found.append((None, (job.question, job.rung)))
    assert {rung for _, promoted in found if promoted for rung in promoted[1:]} == {1, 2}
    return found

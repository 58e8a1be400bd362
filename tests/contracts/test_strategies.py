"""What every registered strategy guarantees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import pytest

from search.asktell import Answer, AskTell
from search.strategies import STRATEGIES, Strategy
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


def sequence(strategy: Strategy, trials: int, recorded: Sequence[Genotype] = ()) -> Iterator[Answer]:
    """All answers of a search whose trials finish at once."""
    asktell = AskTell(strategy, BUDGET, window=4, recorded=recorded)
    values: dict[int, tuple] = {}
    for answer in asktell.advance(values.get, trials):
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
def test_failed_questions_are_accepted(name: str) -> None:
    strategy = make(name)
    for number in range(6):
        strategy.ask(number)
        strategy.tell(number, None)
    strategy.space.check(strategy.ask(6))


@pytest.mark.parametrize("name", [n for n in CHEAP if n != "random"])
def test_learns_what_random_search_does_not(name: str) -> None:
    """With PSNR growing in depth alone, later proposals are deeper than uniform ones (mean depth 2)."""
    deep = chain_space("deep", blocks=("ghost",), widths=(8,), depths=tuple(range(1, 17)))
    strategy = STRATEGIES[name].create(deep, directions=("max", "min"), seed=0)
    depths = []
    for number in range(90):
        depth = strategy.ask(number)["depth"]
        assert isinstance(depth, int)
        depths.append(depth)
        strategy.tell(number, (float(depth), 0.0))
    assert sum(depths[60:]) / 30 > 8.5 + 2

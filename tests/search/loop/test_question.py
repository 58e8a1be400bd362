"""The states of a question."""

from __future__ import annotations

import pytest

from search.loop.question import Question, State


@pytest.mark.parametrize(
    "states",
    [
        ("rejected",),
        ("duplicate",),
        ("running", "complete"),
        ("running", "paused", "running", "paused", "running", "failed"),
    ],
)
def test_states_follow_one_another(states: tuple[State, ...]) -> None:
    question = Question(0, {})
    for state in states:
        question.become(state)
    assert question.state == states[-1]


@pytest.mark.parametrize(
    ("states", "refused"),
    [
        ((), "paused"),
        ((), "complete"),
        (("rejected",), "running"),
        (("duplicate",), "running"),
        (("running",), "running"),
        (("running", "paused"), "complete"),
        (("running", "complete"), "running"),
        (("running", "failed"), "paused"),
    ],
)
def test_no_state_is_skipped_and_the_last_ones_stay(states: tuple[State, ...], refused: State) -> None:
    question = Question(7, {})
    for state in states:
        question.become(state)
    with pytest.raises(ValueError, match=f"question 7 is {question.state}: it can't become {refused}"):
        question.become(refused)

"""``baselines``: published networks, ours beside what was published."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from search.cli import app
from spaces.baselines import baseline_names, published


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["baselines", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_every_published_network_is_listed_with_its_costs() -> None:
    text, records = said(), json.loads(said("--json"))
    assert [record["name"] for record in records] == baseline_names()
    for record in records:
        assert record["name"] in text
        assert record["parameters"] > 0
        assert record["gmacs"] > 0
        assert record["paper"]
        assert record["weights"] == published(record["name"]).checkpoint


def test_ours_are_what_was_published() -> None:
    records = {record["name"]: record for record in json.loads(said("--json", "--task", "sr-x4"))}
    rfdn = records["rfdn"]
    assert rfdn["convention"] == "challenge"
    assert rfdn["gmacs"] == pytest.approx(rfdn["published"]["gmacs"], abs=0.005)
    assert rfdn["activations"] == pytest.approx(rfdn["published"]["activations"], abs=0.005e6)
    assert rfdn["convolutions"] == rfdn["published"]["convolutions"] == 64
    assert rfdn["gmacs_exact"] < rfdn["gmacs"] == rfdn["gmacs_challenge"]
    assert rfdn["input"] == "3x256x256"
    assert "27.10 / 27.1 challenge" in said("--task", "sr-x4")


def test_only_those_of_a_task() -> None:
    records = json.loads(said("--json", "--task", "sr-x2"))
    assert {record["task"] for record in records} == {"sr-x2"}
    assert "msrresnet" not in said("--task", "sr-x2")


def test_an_unknown_task_is_refused() -> None:
    result = CliRunner().invoke(app, ["baselines", "--task", "sr-x44"])
    assert "did you mean 'sr-x4'" in str(result.exception)

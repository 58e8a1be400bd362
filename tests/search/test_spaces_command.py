"""``spaces``: the named spaces, their range of costs and their choices."""

from __future__ import annotations

import json
from random import Random

import pytest
from typer.testing import CliRunner

from evaluators.tasks import get_task
from search.cli import app
from search.networks.inspect import space_record
from spaces.build import cost
from spaces.catalog import described, named_space, space_names


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["spaces", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_every_space_is_listed_for_tasks_that_exist() -> None:
    text, records = said(), json.loads(said("--json"))
    assert [record["name"] for record in records] == space_names()
    for record in records:
        assert record["name"] in text
        assert [get_task(task).interface.name for task in record["tasks"]] == record["tasks"]


@pytest.mark.parametrize("name", space_names())
def test_random_architectures_cost_what_the_range_says(name: str) -> None:
    record, space, random = space_record(name), named_space(name), Random(0)
    task = get_task(described(name).tasks[0]).interface
    low, high = record["gmacs"]
    assert 0 < low < high
    for _ in range(20):
        assert low <= cost(space.decode(space.sample(random)), task).gmacs() <= high
    assert record["genotypes"] == space.size


def test_one_space_shows_its_choices() -> None:
    text, record = said("sr-card"), json.loads(said("sr-card", "--json"))
    assert record["choices"]["width"][0] == 8
    assert record["gmacs_at"] == "sr-x4, 3x256x256"
    for choice in record["choices"]:
        assert choice in text
    assert "efficient_rfdb" in text
    assert f"{record['genotypes']:,} genotypes of topology chain" in text


def test_an_unknown_space_is_refused() -> None:
    result = CliRunner().invoke(app, ["spaces", "sr-car"])
    assert "did you mean 'sr-card'" in str(result.exception)

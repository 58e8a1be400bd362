"""Limits as people write them."""

from __future__ import annotations

import re

import pytest

from spaces.measurement import Measurement
from spaces.objectives import Limit, Objective, parse_limit


@pytest.mark.parametrize(
    ("text", "name", "bound", "canonical"),
    [
        ("latency<=30ms", "latency", 30.0, "latency<=30ms"),
        ("latency <= 0.5 s", "latency", 500.0, "latency<=500ms"),
        ("parameters<=500k", "parameters", 500_000.0, "parameters<=500000"),
        ("memory<=1GB", "memory", 1000.0, "memory<=1000MB"),
        ("psnr>=28.5", "psnr", 28.5, "psnr>=28.5dB"),
        ("gmacs<=2", "gmacs", 2.0, "gmacs<=2"),
    ],
)
def test_a_limit_is_read_in_its_unit_and_written_so_that_it_is_read_again(
    text: str, name: str, bound: float, canonical: str
) -> None:
    assert parse_limit(text) == Limit(name, bound)
    assert str(parse_limit(text)) == canonical
    assert parse_limit(canonical) == parse_limit(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latency=30", "expected a limit such as latency<=30ms"),
        ("speed<=3", "unknown objective 'speed': expected any of psnr, ssim"),
        ("psnr<=30", "expected psnr>=VALUE"),
        ("gmacs>=1", "there is --gmacs A:B"),
        ("latency<=30MB", "expected latency with ms, s, us, got 'MB'"),
        ("latency<=1.2.3ms", "expected a number, got '1.2.3'"),
        ("memory<=0MB", "expected a limit above 0"),
    ],
)
def test_what_is_no_limit_is_refused_with_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_limit(text)


def test_an_upper_limit_holds_costs_and_a_lower_one_quality() -> None:
    assert Limit("latency", 30).met(30)
    assert not Limit("latency", 30).met(30.1)
    assert Limit("psnr", 28).met(28)
    assert not Limit("psnr", 28).met(27.9)


def test_an_objective_finds_its_own_measurement_in_its_unit() -> None:
    objective = Objective("gmacs", "macs", "exact, 3x8x8")
    other = Measurement("macs", 9e9, "1", "min", "bias, 3x8x8")
    own = Measurement("macs", 2e9, "1", "min", "exact, 3x8x8")
    assert objective.find([other, own]) == 2.0
    assert objective.find([other]) is None

"""What ``profile`` and ``blocks`` take for granted, and what they list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from search.cli import app
from search.networks.inspect import default_task
from spaces.architecture import Architecture, Block
from spaces.baselines import baseline, baseline_names, published
from spaces.catalog import described, named_space, space_names
from spaces.resamplers import DOWNS, UPS
from spaces.topologies.chain import Chain


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("name", baseline_names())
def test_a_published_network_is_profiled_for_its_own_task(name: str) -> None:
    assert default_task(name, baseline(name)) == published(name).task.name


@pytest.mark.parametrize("name", [name for name in space_names() if name not in ("restore", "isp")])
def test_a_description_is_profiled_for_the_first_task_of_its_topology(name: str) -> None:
    space = named_space(name)
    genes = {choice.name: choice.values[0] for choice in space}
    assert default_task("mine", space.decode(genes)) == described(name).tasks[0]


def test_a_chain_too_small_inside_for_super_resolution_is_profiled_for_denoising(tmp_path: Path) -> None:
    chain: Architecture = Chain(8, (Block("residual"),), unshuffle=4)
    (tmp_path / "mine.json").write_text(chain.to_json())
    record = json.loads(said("profile", str(tmp_path / "mine.json"), "--json"))
    assert (record["task"], record["input"]) == ("denoise", "3x256x256")


def test_an_architecture_for_no_task_says_why() -> None:
    with pytest.raises(ValueError, match="unknown block 'residul'"):
        default_task("mine", Chain(8, (Block("residul"),)))


def test_blocks_lists_resamplers_and_options_at_any_tasks_input() -> None:
    text = said("blocks", "--task", "hdr", "--widths", "8")
    for name in (*DOWNS, *UPS):
        assert name in text
    assert "18x1060x1900" in text
    assert "convolution=plain" in text

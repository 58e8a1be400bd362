"""What every block guarantees besides ``test_parts``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spaces.blocks import BLOCKS
from spaces.parts import size_requirements

every_block = pytest.mark.parametrize("kind", list(BLOCKS))


@every_block
@pytest.mark.parametrize("width", [4, 7, 12])
@pytest.mark.parametrize("size", [(17, 19), (16, 23)], ids=str)
def test_output_has_the_shape_of_the_input(kind: str, width: int, size: tuple[int, int]) -> None:
    block = BLOCKS[kind].create(width)
    x = torch.rand(2, width, *size_requirements(block).padded(*size))
    output = block(x)
    assert output.shape == x.shape
    assert output.isfinite().all()


@every_block
def test_unknown_activation_is_refused_with_the_nearest_one(kind: str) -> None:
    with pytest.raises(ValueError, match="unknown activation 'rellu': did you mean '(l?relu[0-9.]*)'"):
        BLOCKS[kind].create(8, activation="rellu")


@every_block
def test_works_at_its_minimum_size_and_at_multiples(kind: str) -> None:
    block = BLOCKS[kind].create(8)
    height, width = size_requirements(block).padded(1, 1)
    step = size_requirements(block).multiple_of
    for size in ((height, width), (height + step, width), (height, width + 3 * step)):
        assert block(torch.rand(1, 8, *size)).shape[-2:] == size


@pytest.mark.parametrize(
    "kind", [kind for kind in BLOCKS if size_requirements(BLOCKS[kind].create(8)).minimum > 1]
)
def test_stated_minimum_is_needed(kind: str) -> None:
    block = BLOCKS[kind].create(8)
    below = size_requirements(block).minimum - 1
    with pytest.raises((RuntimeError, ValueError)):
        block(torch.rand(1, 8, below, below))


DROPPED = '''
"""A block that nothing else knows of."""
from torch import nn
from spaces.blocks import BLOCKS

@BLOCKS.add("dropped")
class Dropped(nn.Module):
    """One convolution."""
    def __init__(self, width, *, activation="paper"):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
    def forward(self, x):
        return self.conv(x)
'''
SCRIPT = """
import json, sys
import torch
import spaces.blocks
spaces.blocks.__path__.append(sys.argv[1])
from spaces.architecture import Block
from spaces.blocks import BLOCKS
from spaces.build import build, cost
from spaces.topologies.chain import Chain
from spaces.catalog import named_space
from spaces.task import Task
chain, task = Chain(8, (Block("dropped"),), fusion="plain", feature_skip=False), Task("sr-x2", scale=2)
print(json.dumps({
    "registered": "dropped" in list(BLOCKS),
    "offered": "dropped" in named_space("sr-all").by_name["block_0"].values,
    "output": list(build(chain, task)(torch.rand(1, 3, 9, 11)).shape),
    "convolutions": cost(chain, task).convolutions,
}))
"""


def test_new_file_is_all_that_a_new_block_needs(tmp_path: Path) -> None:
    (tmp_path / "dropped_block.py").write_text(DROPPED)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == {
        "registered": True,
        "offered": True,
        "output": [1, 3, 18, 22],
        "convolutions": 3,
    }

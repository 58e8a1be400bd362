"""What the space offers and what an architecture costs, for the command line."""

from __future__ import annotations

import json
import re
from math import inf
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evaluators.tasks import get_task
from search.config import integers
from spaces.architecture import Architecture
from spaces.baselines import baseline, baseline_names
from spaces.blocks import BLOCKS
from spaces.budget import Budget, extreme
from spaces.build import part_costs, size_requirements
from spaces.catalog import described, named_space, space_names
from spaces.chain import MAXIMUM_WIDTH, MINIMUM_WIDTH
from spaces.cost import CONVENTIONS, Cost
from spaces.parts import Part, part_cost
from spaces.registry import Entry, UnknownNameError
from spaces.task import Task
from spaces.upsamplers import UPSAMPLERS

LARGEST_SIDE = 65536


def find_architecture(text: str) -> tuple[str, Architecture]:
    """A published network by name, or the architecture in a JSON file; with what to call it.

    Raises: ValueError: if it is neither.
    """
    path = Path(text)
    if path.suffix == ".json" or path.exists():
        try:
            return path.stem, Architecture.from_json(path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"architecture {path}: can't be read: {error}") from error
        except ValueError as error:
            raise ValueError(f"architecture {path}: {error}") from error
    if text not in baseline_names():
        raise UnknownNameError("published network (and no such file)", text, baseline_names())
    return text, baseline(text)


def input_size(text: str | None, task: Task) -> tuple[int, int]:
    """(H, W) of ``CxHxW``; the task's own without a text.

    Raises: ValueError: for another form, other channels than the task's, or a side that isn't from 1 to 65536.
    """
    if text is None:
        return task.cost_input[1:]
    found = re.fullmatch(r"([0-9]+)x([0-9]{1,9})x([0-9]{1,9})", text)
    if found is None or found[1] != str(task.in_channels) or not _sides_fit(int(found[2]), int(found[3])):
        raise ValueError(
            f"--input is CxHxW with {task.in_channels} channels and sides from 1 to {LARGEST_SIDE}, "
            f"e.g. 3x256x256, got '{text}'"
        )
    return int(found[2]), int(found[3])


def _sides_fit(height: int, width: int) -> bool:
    return all(1 <= side <= LARGEST_SIDE for side in (height, width))


def _padded_to(architecture: Architecture, task: Task, height: int, width: int) -> str | None:
    """The CxHxW that the input is padded to, and that costs are of; None where the network takes it as it is."""
    padded = size_requirements(architecture, task).padded(height, width)
    return None if padded == (height, width) else f"{task.in_channels}x{padded[0]}x{padded[1]}"


def _profile(
    text: str, task_name: str, size: str | None
) -> tuple[str, Architecture, Task, tuple[int, int], dict[str, Cost]]:
    """What to call the architecture, itself, the task, the input's (H, W), and the cost per part."""
    task = get_task(task_name).interface
    height_width = input_size(size, task)
    name, architecture = find_architecture(text)
    return name, architecture, task, height_width, part_costs(architecture, task, size=height_width)


def profile_json(text: str, task_name: str, size: str | None, convention: str) -> str:
    """The cost as JSON: total and per part."""
    name, architecture, task, (height, width), costs = _profile(text, task_name, size)
    total = sum(costs.values(), Cost())
    record = {
        "name": name,
        "architecture": json.loads(architecture.to_json()),
        "digest": architecture.digest,
        "task": task_name,
        "input": f"{task.in_channels}x{height}x{width}",
        "padded_to": _padded_to(architecture, task, height, width),
        "convention": convention,
        "total": _record(total, convention),
        "parts": {part: _record(found, convention) for part, found in costs.items()},
    }
    return json.dumps(record, indent=2)


def profile_table(text: str, task_name: str, size: str | None, convention: str) -> RenderableType:
    """The cost as a table: a line per part and the total."""
    name, architecture, task, (height, width), costs = _profile(text, task_name, size)
    total = sum(costs.values(), Cost())
    table = Table(
        title=f"{name}: {architecture.label} at {task.in_channels}x{height}x{width}", title_justify="left"
    )
    for heading in ("part", "GMACs", "%", "parameters", "activations [M]", "convolutions"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for part, found in costs.items():
        table.add_row(*_cells(part, found, total, convention))
    table.add_section()
    table.add_row(*_cells("total", total, total, convention), style="bold")
    other = ", ".join(f"{c} {total.gmacs(c):.4f}" for c in CONVENTIONS)
    notes = [f"GMACs by convention: {other}; shown: {convention}"]
    if padded := _padded_to(architecture, task, height, width):
        notes.append(f"the network can't take that size: costs are of the input padded to {padded}")
    return Group(table, Text("\n".join(notes), style="dim"))


def blocks_table(task_name: str, widths: str) -> RenderableType:
    """Blocks and upsamplers with their cost per width at the task's input size.

    Raises: ValueError: if the widths aren't a range or list of integers that a chain can have.
    """
    task = get_task(task_name).interface
    columns = integers(",".join(part.strip() for part in widths.split(",")))
    for width in columns:
        if not MINIMUM_WIDTH <= width <= MAXIMUM_WIDTH:
            raise ValueError(f"--widths: a width is from {MINIMUM_WIDTH} to {MAXIMUM_WIDTH}, got {width}")
    at = "x".join(map(str, task.cost_input))
    block_table = Table(title=f"Blocks: GMACs at {at}, per width", title_justify="left")
    upsampler_table = Table(
        title=f"Upsamplers: GMACs of {task_name} at {at}, per width", title_justify="left"
    )
    for table, names, registry in ((block_table, BLOCKS, BLOCKS), (upsampler_table, UPSAMPLERS, UPSAMPLERS)):
        table.add_column("name", no_wrap=True)
        for width in columns:
            table.add_column(str(width), justify="right")
        table.add_column("what it is")
        for name in names:
            arguments = (task.out_channels, task.scale) if registry is UPSAMPLERS else ()
            costs = [_part_gmacs(registry[name], width, arguments, task) for width in columns]
            table.add_row(name, *(f"{gmacs:.3f}" for gmacs in costs), _told(registry[name]))
    return Group(block_table, upsampler_table)


def space_record(name: str) -> dict[str, Any]:
    """What is known of a named space: tasks, topology, choices, and its range of costs at its first task's input size.

    Raises: UnknownNameError: with the nearest name.
    """
    entry, space = described(name), named_space(name)
    task = get_task(entry.tasks[0]).interface
    budget = Budget(task, max_gmacs=inf)
    ends = [extreme(space, budget, largest=largest) for largest in (False, True)]
    return {
        "name": name,
        "summary": entry.summary,
        "tasks": list(entry.tasks),
        "topology": space.topology.rpartition(".")[2],
        "genotypes": space.size,
        "gmacs": [budget.gmacs(space, end) for end in ends],
        "gmacs_at": f"{task.name}, {'x'.join(map(str, task.cost_input))}",
        "digest": space.digest,
        "choices": {choice.name: list(choice.values) for choice in space},
        "smallest": space.decode(ends[0]).label,
        "largest": space.decode(ends[1]).label,
    }


def spaces_json(name: str | None) -> str:
    """One named space, or all, as JSON."""
    found = space_record(name) if name else [space_record(each) for each in space_names()]
    return json.dumps(found, indent=2)


def spaces_table(name: str | None) -> RenderableType:
    """All named spaces, or the choices of one."""
    if name:
        return _choices_table(space_record(name))
    table = Table(title="Named search spaces", title_justify="left")
    for heading in ("name", "topology", "genotypes", "exact GMACs", "at", "tasks", "what it holds"):
        table.add_column(heading, justify="right" if heading in ("genotypes", "exact GMACs") else "left")
    for found in map(space_record, space_names()):
        low, high = found["gmacs"]
        table.add_row(
            found["name"],
            found["topology"],
            f"{found['genotypes']:.3g}",
            f"{low:.4g} to {high:.4g}",
            found["gmacs_at"],
            ", ".join(found["tasks"]),
            found["summary"],
        )
    return table


def _choices_table(found: dict[str, Any]) -> RenderableType:
    table = Table(title=f"{found['name']}: {found['summary']}", title_justify="left")
    table.add_column("choice", no_wrap=True)
    table.add_column("values")
    for choice, values in found["choices"].items():
        table.add_row(choice, ", ".join(map(str, values)))
    low, high = found["gmacs"]
    notes = [
        f"{found['genotypes']:,} genotypes of topology {found['topology']}, for {', '.join(found['tasks'])}",
        f"exact GMACs for {found['gmacs_at']}: {low:.4g} ({found['smallest']}) to {high:.4g} ({found['largest']})",
    ]
    return Group(table, Text("\n".join(notes), style="dim"))


def _part_gmacs(entry: Entry, width: int, arguments: tuple[int, ...], task: Task) -> float:
    part = Part(entry.create, (width, *arguments), width)
    return part_cost(part, *task.cost_input[1:]).gmacs()


def _told(entry: Entry) -> str:
    fixed = ", ".join(f"{name}={value}" for name, value in entry.fixed)
    return entry.summary + (f" [dim]{fixed}[/dim]" if fixed else "")


def _record(found: Cost, convention: str) -> dict[str, float]:
    return {
        "gmacs": found.gmacs(convention),  # type: ignore[arg-type]
        "parameters": found.parameters,
        "activations": found.activations,
        "convolutions": found.convolutions,
    }


def _cells(name: str, found: Cost, total: Cost, convention: str) -> tuple[str, ...]:
    gmacs, whole = found.gmacs(convention), total.gmacs(convention)  # type: ignore[arg-type]
    return (
        name,
        f"{gmacs:.4f}",
        f"{100 * gmacs / whole:.1f}",
        f"{found.parameters:,}",
        f"{found.activations / 1e6:.4f}",
        str(found.convolutions),
    )

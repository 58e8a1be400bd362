"""What the space offers and what an architecture costs, for the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evaluators.tasks import get_task
from search.config import integers
from spaces.architecture import Architecture
from spaces.baselines import baseline, baseline_names, published
from spaces.blocks import BLOCKS
from spaces.budget import Budget, extreme
from spaces.build import part_costs, size_requirements
from spaces.catalog import described, named_space, space_names
from spaces.cost import CONVENTIONS, Cost, total
from spaces.parts import Part, part_cost, part_sizes
from spaces.registry import Entry, Registry, UnknownNameError
from spaces.resamplers import DOWNS, UPS
from spaces.task import Task
from spaces.topologies.chain import MAXIMUM_WIDTH, MINIMUM_WIDTH
from spaces.topologies.pruned import unpruned
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
            f"e.g. {'x'.join(map(str, task.cost_input))}, got '{text}'"
        )
    return int(found[2]), int(found[3])


def _sides_fit(height: int, width: int) -> bool:
    return all(1 <= side <= LARGEST_SIDE for side in (height, width))


def _padded_to(architecture: Architecture, task: Task, height: int, width: int) -> str | None:
    """The CxHxW that the input is padded to, and that costs are of; None where the network takes it as it is."""
    padded = size_requirements(architecture, task).padded(height, width)
    return None if padded == (height, width) else f"{task.in_channels}x{padded[0]}x{padded[1]}"


def default_task(name: str, architecture: Architecture) -> str:
    """The task that an architecture is meant for: a published network's own; else the first that it can be built
    for, of super-resolution by 4 for chains, and of the spaces of its topology, the one of the topology's name first.
    A pruned network is taken for what it was pruned from.

    Raises: ValueError: if it can be built for none; says why not for the first.
    """
    if name in baseline_names() and baseline(name) == architecture:
        return published(name).task.name
    topology = unpruned(architecture).topology
    tasks = ["sr-x4"] if topology == "chain" else []
    for space in sorted(space_names(), key=lambda space: space != topology):
        if named_space(space).topology == topology:
            tasks.extend(described(space).tasks)
    reasons = []
    for task in tasks:
        try:
            part_costs(architecture, get_task(task).interface)
        except ValueError as error:
            reasons.append(error)
        else:
            return task
    raise reasons[0]


def _profile(
    text: str, task_name: str | None, size: str | None
) -> tuple[str, Architecture, Task, tuple[int, int], dict[str, Cost]]:
    """What to call the architecture, itself, the task, the input's (H, W), and the cost per part."""
    given = get_task(task_name) if task_name else None
    name, architecture = find_architecture(text)
    task = (given or get_task(default_task(name, architecture))).interface
    height_width = input_size(size, task)
    return name, architecture, task, height_width, part_costs(architecture, task, size=height_width)


def profile_json(text: str, task_name: str | None, size: str | None, convention: str) -> str:
    """The cost as JSON: total and per part."""
    name, architecture, task, (height, width), costs = _profile(text, task_name, size)
    whole = total(costs.values())
    record = {
        "name": name,
        "architecture": json.loads(architecture.to_json()),
        "digest": architecture.digest,
        "task": task.name,
        "input": f"{task.in_channels}x{height}x{width}",
        "padded_to": _padded_to(architecture, task, height, width),
        "convention": convention,
        "total": _record(whole, convention),
        "parts": {part: _record(found, convention) for part, found in costs.items()},
    }
    return json.dumps(record, indent=2)


def profile_table(text: str, task_name: str | None, size: str | None, convention: str) -> RenderableType:
    """The cost as a table: a line per part and the total."""
    name, architecture, task, (height, width), costs = _profile(text, task_name, size)
    whole = total(costs.values())
    table = Table(
        title=f"{name}: {architecture.label} for {task.name} at {task.in_channels}x{height}x{width}",
        title_justify="left",
    )
    for heading in ("part", "GMACs", "%", "parameters", "activations [M]", "convolutions"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for part, found in costs.items():
        table.add_row(*_cells(part, found, whole, convention))
    table.add_section()
    table.add_row(*_cells("total", whole, whole, convention), style="bold")
    other = ", ".join(f"{c} {whole.gmacs(c):.4f}" for c in CONVENTIONS)
    notes = [f"GMACs by convention: {other}; shown: {convention}"]
    if padded := _padded_to(architecture, task, height, width):
        notes.append(f"the network can't take that size: costs are of the input padded to {padded}")
    return Group(table, Text("\n".join(notes), style="dim"))


def blocks_table(task_name: str, widths: str) -> RenderableType:
    """Blocks, upsamplers and a U-Net's resamplers with their cost per width at the task's input size.

    A size that a kind can't take is padded for it.

    Raises: ValueError: if the widths aren't a range or list of integers that a chain can have.
    """
    task = get_task(task_name).interface
    columns = integers(",".join(part.strip() for part in widths.split(",")))
    for width in columns:
        if not MINIMUM_WIDTH <= width <= MAXIMUM_WIDTH:
            raise ValueError(f"--widths: a width is from {MINIMUM_WIDTH} to {MAXIMUM_WIDTH}, got {width}")
    at = "x".join(map(str, task.cost_input))
    listed: tuple[tuple[str, Registry[Any], Callable[[int], tuple[int, ...]]], ...] = (
        (f"Blocks: GMACs at {at}", BLOCKS, lambda width: (width,)),
        (
            f"Upsamplers: GMACs of {task_name} at {at}",
            UPSAMPLERS,
            lambda width: (width, task.out_channels, task.scale),
        ),
        (f"Ways down a U-Net: GMACs at {at}, to twice the channels", DOWNS, lambda width: (width, 2 * width)),
        (f"Ways up a U-Net: GMACs at {at}, to half the channels", UPS, lambda width: (width, width // 2)),
    )
    return Group(*(_kinds_table(title, registry, columns, take, task) for title, registry, take in listed))


def _kinds_table(
    title: str,
    registry: Registry[Any],
    widths: Sequence[int],
    take: Callable[[int], tuple[int, ...]],
    task: Task,
) -> Table:
    """A line per registered kind: its cost at each width; ``take`` gives the positional arguments of its class."""
    table = Table(title=f"{title}, per width", title_justify="left")
    table.add_column("name", no_wrap=True)
    for width in widths:
        table.add_column(str(width), justify="right")
    table.add_column("what it is")
    for name in registry:
        costs = [_part_gmacs(Part(registry[name].create, take(width), width), task) for width in widths]
        table.add_row(name, *(f"{gmacs:.3f}" for gmacs in costs), _told(registry[name]))
    return table


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
        "topology": space.topology,
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


def _part_gmacs(part: Part, task: Task) -> float:
    return part_cost(part, *part_sizes(part).padded(*task.cost_input[1:])).gmacs()


def _told(entry: Entry) -> str:
    """What a kind is, what its name fixes, and the options that it may be given, as an option's default."""
    fixed = [f"{name}={_written(value)}" for name, value in entry.fixed]
    free = [f"{name}={_written(o.default)}" for name, o in entry.options.items() if name != "activation"]
    notes = [", ".join(fixed), f"options {', '.join(free)}" if free else ""]
    return " ".join([entry.summary, *(f"[dim]{note}[/dim]" for note in notes if note)])


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _record(found: Cost, convention: str) -> dict[str, float]:
    return {
        "gmacs": found.gmacs(convention),  # type: ignore[arg-type]
        "parameters": found.parameters,
        "activations": found.activations,
        "convolutions": found.convolutions,
    }


def _cells(name: str, found: Cost, whole: Cost, convention: str) -> tuple[str, ...]:
    gmacs = found.gmacs(convention)  # type: ignore[arg-type]
    share = gmacs / whole.gmacs(convention)  # type: ignore[arg-type]
    return (
        name,
        f"{gmacs:.4f}",
        f"{100 * share:.1f}",
        f"{found.parameters:,}",
        f"{found.activations / 1e6:.4f}",
        str(found.convolutions),
    )

"""From an architecture and a task to a network, and to its exact cost."""

from __future__ import annotations

from typing import cast

from spaces.architecture import Architecture, network_module
from spaces.cost import Cost, total
from spaces.parts import Network, Part, cost_with_resizing, fitting_cost, part_sizes
from spaces.sizes import SizeRequirements
from spaces.task import Task
from spaces.topologies.pruned import unpruned
from spaces.topologies.rescaler import Rescaler


def build(architecture: Architecture, task: Task) -> Network:
    """A new network; its initial weights come from torch's global generator.

    Raises: ValueError: for an unknown block, upsampler, activation or option, a scale that the
        upsampler doesn't have, or a rescaling task and another topology than the rescaler.
    """
    _check(architecture, task)
    return network_module(architecture).network(architecture, task)


def parts(architecture: Architecture, task: Task) -> dict[str, Part]:
    """The network's parts by name, in forward order.

    Raises: ValueError: as ``build``.
    """
    _check(architecture, task)
    return network_module(architecture).parts(architecture, task)


def _check(architecture: Architecture, task: Task) -> None:
    """Nothing, unless the task stores a small image that the network would pass by.

    Raises: ValueError: then.
    """
    if task.reduction != 1 and not isinstance(unpruned(architecture), Rescaler):
        raise ValueError(
            f"task '{task.name}' wants a network that stores the image {task.reduction} times smaller in between; "
            f"topology '{architecture.topology}' would copy its input. Use topology 'rescaler' (space 'rescale')"
        )


def part_costs(
    architecture: Architecture, task: Task, *, size: tuple[int, int] | None = None
) -> dict[str, Cost]:
    """Exact cost of one forward pass, part by part.

    Args:
        size: Height and width of the input; the task's stated cost input by default. A size that the
            network can't take is first padded as ``spaces.padding.run`` does.

    Raises: ValueError: as ``build``.
    """
    pieces = parts(architecture, task)
    height, width = size or task.cost_input[1:]
    found = {name: fitting_cost(part, height, width) for name, part in pieces.items()}
    if None in found.values():
        height, width = _together(pieces).padded(height, width)
        return {
            name: cost_with_resizing(part, *part.map_size(height, width)) for name, part in pieces.items()
        }
    return cast(dict[str, Cost], found)


def size_requirements(architecture: Architecture, task: Task) -> SizeRequirements:
    """Which input sizes the network can take, without allocating it."""
    return _together(parts(architecture, task))


def _together(pieces: dict[str, Part]) -> SizeRequirements:
    needs = SizeRequirements()
    for part in pieces.values():
        needs = needs & part_sizes(part)
    return needs


def cost(architecture: Architecture, task: Task, *, size: tuple[int, int] | None = None) -> Cost:
    """Exact cost of one forward pass: the sum of ``part_costs``."""
    return total(part_costs(architecture, task, size=size).values())

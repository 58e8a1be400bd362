"""Writes what the published networks cost, for the dashboard, which counts nothing: it runs without torch.

    python benchmarks/published_costs.py

Run it after adding a published network; tests/results/dashboard/test_published.py says so.
"""

from __future__ import annotations

import json

from results.dashboard.published import COSTS
from search.workers.execution import cost_measurements
from spaces.baselines import baseline_names, published
from spaces.build import cost


def published_costs() -> dict[str, list[list[str | float]]]:
    """By network [name, protocol, value] of every cost at its task's input size."""
    found = {}
    for name in baseline_names():
        network = published(name)
        measured = cost_measurements(cost(network.architecture, network.task), network.task)
        found[name] = [[each.name, each.protocol, each.value] for each in measured]
    return found


if __name__ == "__main__":
    lines = (f"{json.dumps(name)}: {json.dumps(costs)}" for name, costs in published_costs().items())
    COSTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")

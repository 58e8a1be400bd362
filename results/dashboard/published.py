"""Published networks beside a study's own: what they cost, and what they score where that can be compared.

Costs are ours, counted beforehand (benchmarks/published_costs.py). A score belongs on an axis only if the axis is of
the same metric, under the protocol that published PSNR follows, on images of the same data set.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from results.dashboard.columns import Column
from spaces.baselines import Published, baseline_names, published

COSTS = Path(__file__).with_name("published_costs.json")


def stars(task: str, columns: Iterable[Column]) -> list[dict[str, Any]]:
    """The networks published for a task, with values by the keys of the columns that they can be compared on."""
    columns = list(columns)
    found = []
    for name in baseline_names():
        network = published(name)
        if network.task.name == task:
            costs = {(metric, protocol): value for metric, protocol, value in _costs().get(name, ())}
            counted = {each.key: costs.get((each.name, each.protocol)) for each in columns}
            values = {key: float(value) for key, value in counted.items() if value is not None}
            scores = {each.key: _score(network, each) for each in columns if each.kind == "quality"}
            known = {key: score for key, score in scores.items() if score is not None}
            source = "; ".join(dict.fromkeys(["costs: counted by us", *(text for _, text in known.values())]))
            values |= {key: value for key, (value, _) in known.items()}
            found.append({"name": name, "values": values, "source": f"{_paper(network)}; {source}"})
    return found


def _score(network: Published, column: Column) -> tuple[float, str] | None:
    """The network's value of a metric on a column's images, and where it is from; None where it can't be compared."""
    scale = network.task.scale
    usual = re.fullmatch(rf"(?:Y|RGB), 8-bit, border {scale}, on (.+) \(\w+\)", column.protocol)
    if usual is None:  # other borders, or degraded otherwise, which is said after the images
        return None
    images = re.split(r"[/_ -]", usual[1].lower())
    for what, value in network.measured.items():
        metric, _, data = what.partition(" of ")
        if metric == column.name and data.lower() in images:
            return value, f"{data}: the official weights, measured by us"
    for data, value in network.figures.psnr_y.items():
        if column.name == "psnr_y" and data.lower() in images:
            return value, f"{data}: {network.figures.source}"
    return None


def _paper(network: Published) -> str:
    return network.paper.split(", http")[0]


@cache
def _costs() -> dict[str, list[tuple[str, str, float]]]:
    return json.loads(COSTS.read_text())

"""What ``evaluate`` and ``baselines`` print: tables for people, records for programs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evaluators.downscaling import Downscaled
from search.networks.challenge import Ranked
from search.networks.evaluate import BaselineRow, Evaluation, NetworkCosts, SetResult
from spaces.baselines import Published
from spaces.measurement import Measurement

# Other names of a published set: of folders, or of a folder and the one above it.
_ALSO = {"b100": ("bsd100", "bsds100", "bsds500/val")}


def evaluation_json(found: Evaluation, ranked: Ranked | None = None) -> str:
    """All that was found; infinite PSNR (identical images) is the text ``inf``."""
    return _dumped(_evaluation_record(found, ranked))


def comparison_json(found: Sequence[Evaluation], ranked: Sequence[Ranked | None]) -> str:
    """A list of what ``evaluation_json`` says of each."""
    return _dumped([_evaluation_record(e, r) for e, r in zip(found, ranked, strict=True)])


def _dumped(record: Any) -> str:
    return json.dumps(record, indent=2, allow_nan=False)


def _evaluation_record(found: Evaluation, ranked: Ranked | None) -> dict[str, Any]:
    subject = found.subject
    record = {
        "name": subject.name,
        "task": subject.task.interface.name,
        "passes": found.passes,
        "networks": [_network_record(found, costs) for costs in found.costs],
        "data": [_set_record(found, result) for result in found.sets],
        "notes": list(found.notes),
        "warnings": list(found.warnings),
    }
    return record | ({"challenge": _ranked_record(ranked)} if ranked else {})


def _ranked_record(ranked: Ranked) -> dict[str, Any]:
    return {
        "name": ranked.challenge.name,
        "against": ranked.against,
        "weights": dict(zip(("runtime", "gmacs", "parameters"), ranked.challenge.weights, strict=True)),
        "score": asdict(ranked.score),
        "figures": asdict(ranked.figures),
        "baseline": asdict(ranked.baseline),
        "runtime_protocol": ranked.runtime_protocol,
        "conditions": list(ranked.conditions),
    }


def _network_record(found: Evaluation, costs: NetworkCosts) -> dict[str, Any]:
    member = costs.member
    members = [m for m in found.subject.members if m.digest == member.digest]
    timed = costs.latency
    return {
        "name": member.name,
        "architecture": json.loads(member.architecture.to_json()) if member.architecture else None,
        "digest": member.digest,
        "value_range": member.value_range,
        "weights": [m.weights for m in members if m.weights],
        "costs": [_measurement(m) for m in cost_measurements(found, costs)],
        "runtime_quartiles_ms": [timed.lower_quartile_ms, timed.upper_quartile_ms] if timed else None,
    }


def _set_record(found: Evaluation, result: SetResult) -> dict[str, Any]:
    return {
        "name": result.data,
        "images": result.images,
        "measurements": [_measurement(m) for m in set_measurements(result)],
        "baseline": {
            "name": found.subject.task.baseline_name,
            "measurements": [_measurement(m) for m in result.trivial],
        },
        "per_image": {
            image: {name: _number(value) for name, value in _with_runtime(result, image).items()}
            for image in result.scores
        },
        "notes": list(result.notes),
    }


def set_measurements(result: SetResult) -> tuple[Measurement, ...]:
    """Quality on a set, and the mean runtime over its images where it was measured."""
    if result.runtime_ms is None:
        return result.measurements
    timed = Measurement("runtime", result.runtime_ms, "ms", "min", result.runtime_protocol)
    return (*result.measurements, timed)


def _with_runtime(result: SetResult, image: str) -> dict[str, float]:
    timed = {"runtime": result.runtimes_ms[image]} if result.runtimes_ms else {}
    return result.scores[image] | timed


def _measurement(m: Measurement) -> dict[str, Any]:
    return {"name": m.name, "value": _number(m.value), "unit": m.unit, "protocol": m.protocol}


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def cost_measurements(found: Evaluation, costs: NetworkCosts) -> list[Measurement]:
    """One network's parameters, GMACs, activations, convolutions, runtime and memory, with unit and protocol."""
    at = "x".join(map(str, (found.subject.task.interface.in_channels, *costs.input)))
    each = "" if found.passes == 1 else f", one of {found.passes} passes"
    count = costs.cost
    rows = [
        Measurement("parameters", count.parameters, "1", "min", "stored numbers of one network"),
        Measurement("gmacs_exact", count.gmacs(), "GMACs", "min", f"without bias, {at}{each}"),
        Measurement(
            "gmacs_challenge",
            count.gmacs("challenge"),
            "GMACs",
            "min",
            f"as the challenges count (with activation layers), {at}{each}",
        ),
        Measurement("gmacs_bias", count.gmacs("bias"), "GMACs", "min", f"with bias, {at}{each}"),
        Measurement("activations", count.activations, "1", "min", f"outputs of convolutions, {at}{each}"),
        Measurement("convolutions", count.convolutions, "1", "min", f"calls{each}"),
    ]
    if costs.uncounted:
        del rows[1:]
    if costs.latency:
        rows.append(
            Measurement("runtime", costs.latency.median_ms, "ms", "min", costs.latency.protocol + each)
        )
    if costs.memory:
        rows.append(Measurement("peak_memory", costs.memory.bytes, "bytes", "min", costs.memory.protocol))
    return rows


def evaluation_table(
    found: Evaluation, ranked: Ranked | None = None, *, per_image: bool = False
) -> RenderableType:
    """Quality and cost, each number with its protocol, and what was published of it."""
    parts: list[RenderableType] = []
    if found.sets:
        parts += [_quality_table(found), _lines(_protocols(found))]
    if per_image:
        parts += [_image_table(result) for result in found.sets]
    parts += [_cost_table(found, costs) for costs in found.costs]
    if ranked:
        parts += [_ranked_table(ranked), _lines([ranked.runtime_protocol, *ranked.conditions])]
    notes = [*found.notes, *(f"{result.data}: {note}" for result in found.sets for note in result.notes)]
    if notes:
        parts.append(_lines(notes))
    return Group(*parts)


def _lines(texts: Sequence[str]) -> Text:
    return Text("\n".join(texts), style="dim")


def _quality_table(found: Evaluation) -> Table:
    subject = found.subject
    passes = f", mean of {found.passes} passes" if found.passes > 1 else ""
    table = Table(title=f"{subject.name}: {subject.task.interface.name}{passes}", title_justify="left")
    names = list(dict.fromkeys(m.name for result in found.sets for m in set_measurements(result)))
    units = {m.name: m.unit for result in found.sets for m in set_measurements(result)}
    for heading in ("data", "images", "method"):
        table.add_column(heading, justify="right" if heading == "images" else "left")
    for name in names:
        table.add_column(
            name + ("" if units[name] == "1" else f" [{units[name]}]").replace("[", r"\["), justify="right"
        )
    for result in found.sets:
        table.add_section()
        methods = [
            (subject.name, {m.name: m.value for m in set_measurements(result)}),
            (subject.task.baseline_name, {m.name: m.value for m in result.trivial}),
            *_known(found, result.data),
        ]
        for i, (method, values) in enumerate(methods):
            where = (result.data, str(result.images)) if i == 0 else ("", "")
            table.add_row(*where, method, *(f"{values[n]:.4f}" if n in values else "" for n in names))
    return table


def _known(found: Evaluation, data: str) -> list[tuple[str, dict[str, float]]]:
    """What was published of the network on a set of that name, and what its own code gives under our protocol."""
    different = found.subject.different
    network = different[0].published if len(different) == 1 else None
    if network is None:
        return []
    figures, measured = {}, {}
    for name, value in network.figures.psnr_y.items():
        if _same(name, data):
            figures["psnr_y"] = value
    for text, value in network.measured.items():
        metric, _, name = text.partition(" of ")
        if _same(name, data):
            measured[metric] = value
    return [(k, v) for k, v in (("published", figures), ("original code", measured)) if v]


def _same(name: str, data: str) -> bool:
    """``Set5`` is ``set5``, and ``set5/HR``; B100 is also called BSDS500's val."""
    plain = re.sub(r"[^a-z0-9/]", "", data.lower())
    known = {name.lower(), *_ALSO.get(name.lower(), ())}
    return plain in known or not known.isdisjoint(plain.split("/"))


def _protocols(found: Evaluation) -> list[str]:
    """The protocols that the metrics share, each once."""
    lines: dict[str, list[str]] = {}
    for result in found.sets:
        for m in set_measurements(result):
            lines.setdefault(m.protocol, []).append(m.name)
    return [f"{', '.join(names)}: {protocol}" for protocol, names in lines.items()]


def _image_table(result: SetResult) -> Table:
    table = Table(title=f"{result.data}, per image", title_justify="left")
    table.add_column("image")
    names = list(_with_runtime(result, next(iter(result.scores))))
    for name in names:
        table.add_column("runtime \\[ms]" if name == "runtime" else name, justify="right")
    for image in result.scores:
        values = _with_runtime(result, image)
        table.add_row(image, *(f"{values[name]:.4f}" for name in names))
    return table


def _ranked_table(ranked: Ranked) -> Table:
    """Both networks' figures, their ratio, and what it scores."""
    challenge = ranked.challenge
    table = Table(
        title=f"{ranked.network}: {challenge.name}'s score against {ranked.against}, lower is better, 7.389 is "
        f"{ranked.against}'s own",
        title_justify="left",
    )
    for heading in ("", ranked.network, ranked.against, "ratio", "sub-score", "weight"):
        table.add_column(heading, justify="right" if heading else "left")
    rows = zip(
        ("runtime \\[ms]", "GMACs (exact)", "parameters"),
        astuple(ranked.figures),
        astuple(ranked.baseline),
        astuple(ranked.score),
        challenge.weights,
        strict=False,
    )
    for name, mine, its, part, weight in rows:
        digits = ",.0f" if name == "parameters" else ",.3f"
        table.add_row(
            name, format(mine, digits), format(its, digits), f"{mine / its:.3f}", f"{part:.3f}", f"{weight:g}"
        )
    table.add_section()
    table.add_row("score", "", "", "", f"{ranked.score.final:.3f}", "", style="bold")
    return table


_HEADINGS = {
    "gmacs_exact": "GMACs",
    "activations": "acts \\[M]",
    "convolutions": "convs",
    "runtime": "runtime \\[ms]",
    "peak_memory": "memory \\[MB]",
}


def comparison_table(found: Sequence[Evaluation], ranked: Sequence[Ranked | None]) -> RenderableType:
    """A row for each network: quality on every set, and what it costs."""
    task = found[0].subject.task
    sets = list(dict.fromkeys(result.data for e in found for result in e.sets))
    quality = [(data, name) for data in sets for name in _compared(found, len(sets))]
    costs = list(dict.fromkeys(m.name for e in found for m in _compared_costs(e)))
    scored = ["score"] if any(ranked) else []
    sizes = {c.input for e in found for c in e.costs}
    table = Table(title=f"{task.interface.name}: {len(found)} networks", title_justify="left")
    table.add_column("network")
    for data, name in quality:
        table.add_column(f"{name}, {data}" if len(sets) > 1 else name, justify="right")
    for name in [*costs, *scored]:
        table.add_column(_HEADINGS.get(name, name), justify="right")
    for evaluation, score in zip(found, ranked, strict=True):
        values = {(r.data, m.name): f"{m.value:.4f}" for r in evaluation.sets for m in r.measurements}
        cost = {m.name: _short(m) for m in _compared_costs(evaluation)}
        cost |= {"score": f"{score.score.final:.3f}"} if score else {}
        cells = [*(values.get(q, "") for q in quality), *(cost.get(n, "") for n in [*costs, *scored])]
        (own,) = evaluation.costs
        at = f" ({own.input[0]}x{own.input[1]})" if len(sizes) > 1 else ""
        table.add_row(evaluation.subject.name + at, *cells)
    return Group(table, _lines(_comparison_notes(found, ranked)))


def _compared(found: Sequence[Evaluation], sets: int) -> list[str]:
    """On one set all metrics; of several sets the objective."""
    if sets > 1:
        return [found[0].subject.task.objectives[0]]
    return list(dict.fromkeys(m.name for e in found for result in e.sets for m in result.measurements))


def _compared_costs(found: Evaluation) -> list[Measurement]:
    """The costs of a network, in one convention."""
    (costs,) = found.costs
    return [m for m in cost_measurements(found, costs) if m.name not in ("gmacs_challenge", "gmacs_bias")]


def _short(m: Measurement) -> str:
    value = _shown(m)[0]
    return f"{float(value):.2f}" if m.name in ("activations", "gmacs_exact", "runtime") else value


def _comparison_notes(found: Sequence[Evaluation], ranked: Sequence[Ranked | None]) -> list[str]:
    """Every protocol once."""
    lines = [f"{m.name}: {m.protocol}" for e in found for r in e.sets for m in r.measurements]
    lines += [f"{m.name}: {m.protocol}" for e in found for m in _compared_costs(e)]
    for score in filter(None, ranked):
        lines += [f"score: {score.challenge.name} against {score.against}, lower is better, 7.389 is its own"]
        lines += [score.runtime_protocol, *score.conditions]
    return list(dict.fromkeys([*lines, *(note for e in found for note in e.notes)]))


def _cost_table(found: Evaluation, costs: NetworkCosts) -> Table:
    member = costs.member
    table = Table(title=f"{member.name}: {member.label}", title_justify="left")
    known = _published_costs(member.published, costs.input)
    headings = ["measurement", "value", *(["published"] if known else []), "unit", "protocol"]
    for heading in headings:
        table.add_column(heading, justify="right" if heading in ("value", "published") else "left")
    for m in cost_measurements(found, costs):
        value, unit = _shown(m)
        if m.name == "runtime" and costs.latency:
            value += f" ({costs.latency.lower_quartile_ms:.4f} to {costs.latency.upper_quartile_ms:.4f})"
        beside = [known.get(m.name, "")] if known else []
        table.add_row(m.name, value, *beside, unit, m.protocol)
    return table


def _shown(m: Measurement) -> tuple[str, str]:
    if m.name == "peak_memory":
        return f"{m.value / 1e6:.1f}", "MB"
    if m.name == "activations":
        return f"{m.value / 1e6:.4f}", "M"
    unit = "" if m.unit == "1" else m.unit
    return (f"{m.value:,.0f}" if m.unit == "1" else f"{m.value:.4f}"), unit


def _published_costs(network: Published | None, size: tuple[int, int]) -> dict[str, str]:
    """What was published, where it is of the same input size."""
    if network is None or size != network.task.cost_input[1:]:
        return {}
    figures = network.figures
    given = {
        "parameters": _count(figures.parameters),
        f"gmacs_{figures.convention}": _decimals(figures.gmacs),
        "activations": _decimals(figures.activations, 1e6),
        "convolutions": _count(figures.convolutions),
    }
    return {name: text for name, text in given.items() if text}


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _decimals(value: float | None, unit: float = 1) -> str:
    return "" if value is None else f"{value / unit:g}"


def baselines_table(rows: Sequence[BaselineRow]) -> RenderableType:
    """Published networks: ours and, behind a slash, what was published."""
    table = Table(title="Published networks: ours / published", title_justify="left")
    for heading in (
        "name",
        "task",
        "parameters",
        "GMACs",
        "exact GMACs",
        "activations \\[M]",
        "convolutions",
        "weights",
    ):
        table.add_column(heading, justify="left" if heading in ("name", "task", "weights") else "right")
    for row in rows:
        network, figures, count = row.published, row.published.figures, row.cost
        table.add_row(
            network.name,
            network.task.name,
            _beside(f"{count.parameters:,}", _count(figures.parameters)),
            _beside(f"{row.gmacs:.2f}", _decimals(figures.gmacs)) + f" {figures.convention}",
            f"{count.gmacs():.2f}",
            _beside(f"{count.activations / 1e6:.2f}", _decimals(figures.activations, 1e6)),
            _beside(str(count.convolutions), _count(figures.convolutions)),
            network.checkpoint or "-",
        )
    sizes = sorted(
        {f"{row.published.task.name} {'x'.join(map(str, row.published.task.cost_input))}" for row in rows}
    )
    note = f"at {', '.join(sizes)}; GMACs by the convention of the published figure; --json tells sources and notes"
    return Group(table, _lines([note]))


def _beside(ours: str, figure: str) -> str:
    return f"{ours} / {figure}" if figure else ours


def baselines_json(rows: Sequence[BaselineRow]) -> str:
    """The same with papers, sources, PSNR and notes."""
    return json.dumps([row.record() for row in rows], indent=2)


def downscaled_table(rows: Sequence[Downscaled]) -> RenderableType:
    """The PSNR of each image as it comes back from its small image, without and with the search."""
    table = Table(title="PSNR in dB of the enlarged image", title_justify="left")
    for heading in ("image", "plain", "LR stage", "HR and LR stage", "gain", "small image"):
        table.add_column(heading, justify="left" if heading in ("image", "small image") else "right")
    for row in rows:
        gain = f"{row.best - row.plain:+.2f}"
        values = (f"{value:.2f}" for value in (row.plain, row.after_lr, row.after_both))
        table.add_row(row.name, *values, gain, str(row.file))
    if len(rows) > 1:
        columns = [(r.plain, r.after_lr, r.after_both, r.best - r.plain) for r in rows]
        *means, gain_mean = (sum(column) / len(rows) for column in zip(*columns, strict=True))
        table.add_section()
        table.add_row("mean", *(f"{value:.2f}" for value in means), f"{gain_mean:+.2f}", "", style="bold")
    protocol = f"Y, 8-bit, border {rows[0].scale}; the small images are 8-bit PNGs" if rows else ""
    return Group(table, Text(protocol, style="dim"))


def downscaled_json(rows: Sequence[Downscaled]) -> str:
    """The same as JSON."""
    records = [
        {
            "image": row.name,
            "scale": row.scale,
            "protocol": f"Y, 8-bit, border {row.scale}",
            "psnr_y": {"plain": row.plain, "lr_stage": row.after_lr, "hr_and_lr_stage": row.after_both},
            "gain": row.best - row.plain,
            "file": str(row.file),
        }
        for row in rows
    ]
    return json.dumps(records, indent=2)

"""Published networks, ours against what was published: writes docs/published.md.

Costs of all; PSNR (Y) on Set5, Set14 and B100 of those whose checkpoint is in --weights. Results are kept in --cache,
so that a run that was cut off goes on. Exit code 1 means that a quality differs by more than 0.005 dB from what the
original code measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from report import Report, describe, machine, parser

from evaluators.data.images import Image, ImageSet, read_folder
from evaluators.data.pairs import PairSet
from evaluators.tasks import get_task
from evaluators.tasks.super_resolution import SuperResolution
from evaluators.trial import score
from search.networks.evaluate import BaselineRow, baseline_rows
from spaces.baselines import Published
from spaces.checkpoint import load_published

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE_DB = 0.005
SETS = ("Set5", "Set14", "B100")
UNUSED_WEIGHTS = (
    "Two checkpoints are of networks that aren't among these. PrunedMSRResNetx4_ciplab.pth "
    "(https://github.com/kingsj0405/ciplab-aim2020-esr) is MSRResNet with 6 of 64 channels left in the trunk and "
    "in the last convolutions but 64 in the up-sampler, which no up-sampler of the space has; its own code gives "
    "27.56 dB on Set5 with it, less than bicubic's 28.43. GSANet_hdr.pth (https://github.com/gkyAiLab/GSANet) fuses "
    "exposures by a topology of its own, with a denoiser that scales down and up, which isn't that of the HDR space."
)
Row = list[str]


def arguments() -> argparse.Namespace:
    found = parser(__doc__)
    shared = ROOT.parent / "shared"
    found.add_argument("--weights", type=Path, default=shared / "weights", help="folder of the checkpoints")
    found.add_argument("--data", type=Path, default=shared / "data", help="folder with set5, set14, bsds500")
    found.add_argument("--cache", type=Path, default=Path("/tmp/pixelfront-published.json"))
    found.add_argument("--output", type=Path, default=ROOT / "docs" / "published.md")
    found.add_argument("--threads", type=int, default=1)
    return found.parse_args()


def main() -> int:
    args = arguments()
    torch.set_num_threads(args.threads)
    report, origin = Report("published"), describe(machine())
    rows = baseline_rows()
    quality: dict[str, dict[str, float]] = {}
    for row in rows:
        network = row.published
        if network.checkpoint and (args.weights / network.checkpoint).exists():
            quality[network.name] = dict(measured(network, args, report.console.print))
    problems = disagreements(rows, quality)
    args.output.write_text(page(rows, quality, origin))
    report.console.print(f"{args.output}: {len(rows)} networks, {len(quality)} with weights")
    for problem in problems:
        report.console.print(problem, style="bold")
    if args.json is not None:
        args.json.write_text(json.dumps({"quality": quality, "problems": problems}, indent=2) + "\n")
    return 1 if problems else 0


def measured(
    network: Published, args: argparse.Namespace, tell: Callable[[str], None]
) -> Iterator[tuple[str, float]]:
    """Set to PSNR (Y) of the official weights in our network."""
    weights = args.weights / network.checkpoint
    cache = json.loads(args.cache.read_text()) if args.cache.exists() else {}
    file = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    loaded = load_published(network.name, weights)
    for name in SETS:
        key = f"{network.name} {network.architecture.digest} {file} {name}"
        if key not in cache:
            pairs = read_set(name, args.data, network.task.scale)
            found = {m.name: m.value for m in score(loaded, network.task.name, pairs, ssim=False)}
            cache[key] = found["psnr_y"]
            args.cache.write_text(json.dumps(cache, indent=2))
            tell(f"{network.name} on {name}: {cache[key]:.4f} dB")
        yield name, cache[key]


def read_set(name: str, data: Path, scale: int) -> PairSet:
    """Set5 and Set14 with their LR images; B100: BSDS500's val without the last row and column, LR made here."""
    task = get_task(f"sr-x{scale}")
    assert isinstance(task, SuperResolution)
    if name == "B100":
        val = read_folder(data / "bsds500" / "val")
        return task.degrade(ImageSet("b100", tuple(Image(i.name, i.pixels[:-1, :-1].copy()) for i in val)))
    folder = data / name.lower()
    return task.pairs(folder / "HR", folder / "LR_bicubic" / f"X{scale}")


def disagreements(rows: list[BaselineRow], quality: dict[str, dict[str, float]]) -> list[str]:
    """Where ours isn't what the original code measured."""
    found = []
    for row in rows:
        for name, ours in quality.get(row.published.name, {}).items():
            theirs = row.published.measured.get(f"psnr_y of {name}")
            if theirs is not None and abs(ours - theirs) > TOLERANCE_DB:
                found.append(
                    f"{row.published.name} on {name}: {ours:.4f} dB, its own code gave {theirs:.4f} dB"
                )
    return found


def page(rows: list[BaselineRow], quality: dict[str, dict[str, float]], origin: str) -> str:
    """docs/published.md."""
    parts = [
        "# Published networks: ours against what was published",
        "Written by `python benchmarks/published.py`. Qualities are of the first run with these weights. "
        + origin
        + ".",
        "## Cost",
        "Ours / published, at the task's input size (3x256x256; HDR 18x1060x1900; ISP 4x224x224). GMACs are counted by "
        "the convention in the same column, which is that of the published figure; *exact* leaves out activations and "
        "bias and counts transposed convolutions on their input. A published figure has the digits of its source; the "
        "difference is the largest of the row's four. Where no note explains it, it is the source's rounding: to two "
        "decimals, and of parameters to thousands (to ten thousands for ahdrnet).",
        table(
            [
                "network",
                "task",
                "parameters",
                "GMACs",
                "convention",
                "exact",
                "activations [M]",
                "convolutions",
                "difference",
            ],
            [cost_row(row) for row in rows],
        ),
        "## Quality",
        "PSNR on Y in dB: our network with the official weights / what the original code gives with them under our "
        "protocol / what was published. Y of BT.601 not rounded, output rounded to 8 bits, a border of the scale left "
        "out. Set5 and Set14 with their published LR images; B100 is BSDS500's val without the last row and column, "
        "which for x2 and x4 `pixelfront evaluate --data bsds500/val` scores on too. A dash at the first place: the "
        "weights were not at hand; at the others: not measured, not published.",
        table(
            ["network", "task", *SETS],
            [
                quality_row(row, quality.get(row.published.name, {}))
                for row in rows
                if has_quality(row, quality)
            ],
        ),
        UNUSED_WEIGHTS,
        "## Notes",
        "\n".join(note_lines(rows)),
    ]
    return "\n\n".join(parts) + "\n"


def table(headings: Row, rows: list[Row]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cost_row(row: BaselineRow) -> Row:
    network, figures, count = row.published, row.published.figures, row.cost
    return [
        network.name,
        network.task.name,
        beside(f"{count.parameters:,}", figures.parameters, "{:,.0f}"),
        beside(f"{row.gmacs:.2f}", figures.gmacs, "{:g}"),
        figures.convention,
        f"{count.gmacs():.2f}",
        beside(f"{count.activations / 1e6:.2f}", figures.activations and figures.activations / 1e6, "{:g}"),
        beside(str(count.convolutions), figures.convolutions, "{}"),
        largest_difference(row),
    ]


def beside(ours: str, figure: float | None, form: str) -> str:
    return f"{ours} / {form.format(figure)}" if figure else f"{ours} / -"


def largest_difference(row: BaselineRow) -> str:
    """Of the four figures, relative to the published one; empty where nothing was published."""
    figures, count = row.published.figures, row.cost
    pairs = (
        (count.parameters, figures.parameters),
        (row.gmacs, figures.gmacs),
        (count.activations, figures.activations),
        (count.convolutions, figures.convolutions),
    )
    found = [abs(ours - figure) / figure for ours, figure in pairs if figure]
    return f"{100 * max(found):.2f} %" if found else "-"


def has_quality(row: BaselineRow, quality: dict[str, dict[str, float]]) -> bool:
    """Whether anything is known of its PSNR on the sets."""
    network = row.published
    return bool(network.name in quality or network.measured or network.figures.psnr_y)


def quality_row(row: BaselineRow, found: dict[str, float]) -> Row:
    network = row.published
    cells = []
    for name in SETS:
        code, paper = network.measured.get(f"psnr_y of {name}"), network.figures.psnr_y.get(name)
        cells.append(f"{decimals(found.get(name), 4)} / {decimals(code, 4)} / {decimals(paper, 2)}")
    return [network.name, network.task.name, *cells]


def decimals(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def note_lines(rows: list[BaselineRow]) -> Iterator[str]:
    """Paper, source of the figures, and what explains a difference."""
    for row in rows:
        network = row.published
        figures = [f"Figures: {network.figures.source}."] if network.figures.source else []
        yield f"- **{network.name}**: {' '.join([f'{network.paper}.', *figures, *network.notes])}"


if __name__ == "__main__":
    sys.exit(main())

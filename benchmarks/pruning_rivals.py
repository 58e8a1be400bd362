"""Channel pruning to a share of the GMACs: pixelfront and today's libraries on the same network.

Two networks: the published RFDN (--weights), whose distilled maps are concatenated and whose ESA gates a residual
sum, and a plain residual chain of width 32 that is trained here for --plain-steps. All get the same target and rank
channels by the norm of their weights (or, where it says so, by first-order Taylor on the same batches), and none may
touch the output of the convolution before the pixel shuffle.

What is reported of each:
- exact GMACs at 3x256x256 by our counter, and how far they are from the target (+ is over it);
- from masked: largest difference between the outputs of the pruned network and of the original with zeros for the
  removed channels, on a part of Set5's first picture, values in [0, 1], in double precision: only a fault shows;
- from its masks: the same against the masks that the tool made before its surgery, where it makes some;
- PSNR (Y) on Set5 right away, and after --steps of the same training: Adam, L1, the same batches of 8 patches of 32
  from BSDS500's train and test.

The libraries are none of pixelfront's dependencies, and NNI pins old versions of some: install them beside pixelfront
in an environment of their own, `pip install -c constraints.txt -e . torch-pruning==1.6.1 nni==3.0 tensorboard` (NNI's
dependency groups import tensorboard without requiring it). A tool that is absent or fails has its reason in its row.
Exit code 1 means that a row of pixelfront's is over its target, more than 0.5 % under it, or further than 1e-5 from
masked.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import logging
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import Report, parser
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from evaluators.data.images import ImageSet, read_folder
from evaluators.data.pairs import PairSet, PatchSource
from evaluators.data.tensors import to_tensor
from evaluators.pruning.prune import prune
from evaluators.tasks import get_task
from evaluators.tasks.super_resolution import SuperResolution
from evaluators.training.loop import Training
from evaluators.training.recipe import Recipe, Stage
from evaluators.trial import score
from spaces.architecture import Architecture, Block
from spaces.baselines import published
from spaces.build import build
from spaces.checkpoint import load_published
from spaces.cost import count
from spaces.padding import run
from spaces.parts import Network
from spaces.topologies.chain import Chain

SHARED = Path(__file__).resolve().parents[2] / "shared"
TASK = "sr-x4"
PLAIN = Chain(width=32, blocks=(Block("residual"),) * 4, fusion="plain", image_skip="bilinear")
TAYLOR_BATCHES = 8
BISECTIONS = 10  # a thousandth of the channels
WITHIN_PERCENT = 0.5  # what pixelfront promises
MAX_DIFFERENCE = 1e-5
RIVALS = {"torch_pruning": "torch-pruning==1.6.1", "nni": "nni==3.0"}


@dataclass(frozen=True)
class Pruned:
    """What a tool made of a network.

    Attributes:
        promised: The original under the tool's own masks, as they were before the surgery; None without masks.
    """

    network: Network
    promised: Network | None = None


Batches = list[tuple[np.ndarray, np.ndarray]]
# Both take the network, which is left as it is; the one the share of channels to remove, the other the GMACs to reach.
AtRatio = Callable[[Network, float], Pruned]
Method = Callable[[Network, float], Pruned]


@dataclass(frozen=True)
class Row:
    """One tool at one target.

    Attributes:
        distance_percent: GMACs above (+) or below (-) the target.
        seconds: Of pruning, to the network or to the failure.
        difference: Between the outputs of the pruned network and of the original without what was removed, at most.
        broken_promise: Between the outputs of the pruned network and of the original under the tool's masks.
        psnr, recovered: PSNR (Y) on Set5 in dB, without training and after it.
        failure: Why the rest is missing.
    """

    network: str
    ratio: float
    tool: str
    seconds: float = 0.0
    gmacs: float | None = None
    distance_percent: float | None = None
    difference: float | None = None
    broken_promise: float | None = None
    psnr: float | None = None
    recovered: float | None = None
    failure: str = ""


class Bench:
    """The data, and what is measured of a pruned network.

    Args:
        data: Folder with set5 and bsds500.
        steps: Of training after pruning; 0 for none.
    """

    def __init__(self, data: Path, *, steps: int, learning_rate: float, device: str):
        task = get_task(TASK)
        assert isinstance(task, SuperResolution)
        self.held_out = task.pairs(data / "set5" / "HR", data / "set5" / "LR_bicubic" / "X4")
        self.patches = training_patches(task, data / "bsds500")
        self._steps = steps
        self._learning_rate = learning_rate
        self._device = device

    def row(self, name: str, network: Network, ratio: float, tool: str, method: Method) -> Row:
        """Prune by one tool and measure what came of it; whatever a library raises becomes the row's failure."""
        target = ratio * gmacs(network)
        started = time.perf_counter()
        try:
            pruned = method(network, target)
            row = Row(name, ratio, tool, time.perf_counter() - started)
            return self._measured(row, network, pruned, target)
        except Exception as error:  # noqa: BLE001
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            return Row(name, ratio, tool, time.perf_counter() - started, failure=why)

    def _measured(self, row: Row, original: Network, pruned: Pruned, target: float) -> Row:
        network = pruned.network.eval()
        reached = gmacs(network)
        return replace(
            row,
            gmacs=reached,
            distance_percent=100 * (reached / target - 1),
            difference=self.difference(network, masked_original(original, network)),
            broken_promise=self.difference(network, pruned.promised) if pruned.promised else None,
            psnr=self.psnr(network),
            recovered=self.recover(network, self._steps) if self._steps else None,
        )

    def difference(self, first: Network, second: Network) -> float:
        """The largest between their outputs, in double precision."""
        x = to_tensor(self.held_out.inputs.images[0].pixels[None, :64, :64]).double()
        with torch.inference_mode():
            ours, theirs = (run(copy.deepcopy(network).double(), x, scale=4) for network in (first, second))
            return float((ours - theirs).abs().max())

    def psnr(self, network: Network) -> float:
        """PSNR (Y) on Set5 in dB."""
        found = score(network, TASK, self.held_out, ssim=False, device=self._device)
        network.cpu()
        return {m.name: m.value for m in found}["psnr_y"]

    def recover(self, network: Network, steps: int) -> float:
        """PSNR (Y) on Set5 in dB after training a copy, the same way and on the same batches whatever the network."""
        return self.psnr(train(network, self.patches, steps, self._learning_rate, self._device))


def training_patches(task: SuperResolution, folder: Path) -> PatchSource:
    """Of BSDS500's train and test."""
    images = tuple(image for split in ("train", "test") for image in read_folder(folder / split))
    pairs: PairSet = task.degrade(ImageSet("bsds500", images))
    return PatchSource([i.pixels for i in pairs.inputs], [i.pixels for i in pairs.targets], pairs.scale)


def train(
    network: Network, patches: PatchSource, steps: int, learning_rate: float, device: str = "cpu"
) -> Network:
    """The averaged weights of a trained copy: Adam, L1, 8 patches of 32, seed 0."""
    recipe = Recipe((Stage(steps, "l1", learning_rate, batch=8, patch=32),))
    training = Training(copy.deepcopy(network).requires_grad_(), patches, recipe, seed=0, device=device)
    for _ in training.run(steps):
        pass
    return training.average


def gmacs(network: nn.Module) -> float:
    """Exact, at 3x256x256."""
    on_meta = copy.deepcopy(network).to("meta")
    return count(on_meta, torch.empty(1, 3, 256, 256, device="meta")).gmacs()


@torch.no_grad()
def masked_original(network: Network, pruned: nn.Module) -> Network:
    """A copy of the network with zeros for the weights and biases of the output channels that the pruned one lacks.

    No tool needs to tell which those are: weights that pruning left are found again in the original by value.

    Raises: ValueError: where a layer's weights aren't a part of the original's.
    """
    masked = copy.deepcopy(network)
    for name, layer in masked.named_modules():
        if isinstance(layer, nn.Conv2d):
            rows = _kept_rows(name, layer.weight, pruned.get_submodule(name).weight)  # type: ignore[arg-type]
            removed = torch.ones(len(layer.weight), dtype=torch.bool)
            removed[rows] = False
            layer.weight[removed] = 0
            if layer.bias is not None:
                layer.bias[removed] = 0
    return masked


def _kept_rows(name: str, weight: Tensor, left: Tensor) -> Tensor:
    """Which output channels of a convolution are left.

    Most of a channel's values name its place: a few occur twice.
    """
    values, order = weight.flatten().sort()
    places = order[torch.searchsorted(values, left.flatten()).clamp_max(len(values) - 1)].view(left.shape)
    kernel = weight[0, 0].numel()
    rows = (places // (kernel * weight.shape[1])).flatten(1).mode().values
    columns = (places // kernel % weight.shape[1]).transpose(0, 1).flatten(1).mode().values
    if not torch.equal(weight[rows][:, columns], left):
        raise ValueError(f"expected the weights of '{name}' to be a part of the original's, got others")
    return rows


def last_convolution(network: nn.Module) -> str:
    """The name of the one before the pixel shuffle, whose channels are the picture's: no tool may prune it."""
    return [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)][-1]


def rival(module: str) -> Any:
    """The module of a rival library.

    Raises: ModuleNotFoundError: saying what to install.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}; install {RIVALS[package]} (see --help) and run this with that environment's Python"
        ) from error


def rule_of_thumb(remove: AtRatio) -> Method:
    """A single try: GMACs fall with the square of the channels."""
    return lambda network, target: remove(network, 1 - (target / gmacs(network)) ** 0.5)


def bisected(remove: AtRatio) -> Method:
    """What a user does who needs the target met: the smallest ratio found whose GMACs aren't above it."""

    def method(network: Network, target: float) -> Pruned:
        low, high, best = 0.0, 1.0, None
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            found = remove(network, middle)
            if gmacs(found.network) <= target:
                high, best = middle, found
            else:
                low = middle
        if best is None:
            raise ValueError(f"no ratio met {target:.2f} GMACs")
        return best

    return method


def pixelfront(architecture: Architecture, criterion: str, batches: Batches | None = None) -> Method:
    """Ours, one shot."""

    def method(network: Network, target: float) -> Pruned:
        task = get_task(TASK).interface
        ours = copy.deepcopy(network)
        found = prune(ours, architecture, task, target=target * 1e9, criterion=criterion, batches=batches)
        return Pruned(found.network)

    return method


def torch_pruner(network: Network, norm: int, *, batches: Batches | None = None, **options: Any) -> Any:
    """Torch-Pruning's pruner, by Taylor where there are batches; what it prunes is ``.model``, a copy."""
    tp = rival("torch_pruning")
    ours = copy.deepcopy(network)
    importance = tp.importance.GroupMagnitudeImportance(p=norm)
    if batches:
        importance = tp.importance.GroupTaylorImportance()
        for source, target in batches:
            functional.l1_loss(ours(to_tensor(source)), to_tensor(target)).backward()
    return tp.pruner.BasePruner(
        ours,
        torch.rand(1, 3, 48, 48),
        importance,
        ignored_layers=[ours.get_submodule(last_convolution(ours))],
        **options,
    )


def torch_pruning(norm: int, *, uniform: bool = False, batches: Batches | None = None) -> AtRatio:
    """One shot; channels are ranked across layers, or (``uniform``) the same share of every layer's is removed."""

    def remove(network: Network, ratio: float) -> Pruned:
        pruner = torch_pruner(network, norm, batches=batches, pruning_ratio=ratio, global_pruning=not uniform)
        pruner.step()
        return Pruned(pruner.model)

    return remove


def torch_pruning_steps(norm: int, steps: int) -> Method:
    """The library's own way to a speed-up: steps towards no channels at all, until the target is met."""

    def method(network: Network, target: float) -> Pruned:
        pruner = torch_pruner(network, norm, pruning_ratio=1.0, iterative_steps=steps, global_pruning=True)
        for _ in range(steps):
            pruner.step()
            if gmacs(pruner.model) <= target:
                break
        return Pruned(pruner.model)

    return method


def nni_speedup(norm: int, *, groups: bool = True, leave: str = "") -> AtRatio:
    """NNI's norm pruner and ``ModelSpeedup``.

    Args:
        groups: With the dependency groups that NNI finds.
        leave: Convolutions whose names hold this aren't pruned.
    """

    def remove(network: Network, ratio: float) -> Pruned:
        ours, example = copy.deepcopy(network), torch.rand(1, 3, 48, 48)
        last = last_convolution(ours)
        names = [name for name, module in ours.named_modules() if isinstance(module, nn.Conv2d)]
        names = [name for name in names if name != last and not (leave and leave in name)]
        settings = [{"op_names": names, "sparse_ratio": ratio}]
        if groups:
            find = rival("nni.compression.utils").auto_set_denpendency_group_ids
            settings = find(ours, settings, example)
        pruner = getattr(rival("nni.compression.pruning"), f"L{norm}NormPruner")(ours, settings)
        _, masks = pruner.compress()
        pruner.unwrap_model()
        promised = _masked_by(network, masks)  # now: the surgery takes back masks that it can't carry out
        traced = torch.fx.symbolic_trace(ours)  # its own tracer fails on today's torch
        surgery = rival("nni.compression.speedup").ModelSpeedup(ours, example, masks, graph_module=traced)
        return Pruned(surgery.speedup_model(), promised)

    return quiet(remove)


def quiet(remove: AtRatio) -> AtRatio:
    """Without the hundreds of lines that NNI logs and prints."""

    def method(network: Network, ratio: float) -> Pruned:
        logging.disable(logging.CRITICAL)
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                return remove(network, ratio)
        finally:
            logging.disable(logging.NOTSET)

    return method


@torch.no_grad()
def _masked_by(network: Network, masks: dict[str, dict[str, Tensor | None]]) -> Network:
    masked = copy.deepcopy(network)
    for name, of_layer in masks.items():
        for kind, mask in of_layer.items():
            if mask is not None:
                masked.get_submodule(name).get_parameter(kind).mul_(mask)
    return masked


def methods(architecture: Architecture, norm: int, batches: Batches) -> dict[str, Method]:
    """Everything that is compared, by the name in the table."""
    found = {
        "pixelfront": pixelfront(architecture, f"l{norm}"),
        "pixelfront, Taylor": pixelfront(architecture, "taylor", batches),
        "Torch-Pruning, one shot": rule_of_thumb(torch_pruning(norm)),
        "Torch-Pruning, 10 steps": torch_pruning_steps(norm, 10),
        "Torch-Pruning, 400 steps": torch_pruning_steps(norm, 400),
        "Torch-Pruning, bisected": bisected(torch_pruning(norm)),
        "Torch-Pruning, uniform, bisected": bisected(torch_pruning(norm, uniform=True)),
        "Torch-Pruning, Taylor, bisected": bisected(torch_pruning(norm, batches=batches)),
        "NNI, one shot": rule_of_thumb(nni_speedup(norm)),
        "NNI, bisected": bisected(nni_speedup(norm)),
        "NNI without groups": rule_of_thumb(nni_speedup(norm, groups=False)),
    }
    if architecture != PLAIN:
        found["NNI, ESA left, one shot"] = rule_of_thumb(nni_speedup(norm, leave=".esa."))
        found["NNI, ESA left, bisected"] = bisected(nni_speedup(norm, leave=".esa."))
    return found


def arguments() -> argparse.Namespace:
    found = parser(__doc__)
    found.add_argument(
        "--weights", type=Path, default=SHARED / "weights" / "RFDN_AIM.pth", help="of the RFDN"
    )
    found.add_argument("--data", type=Path, default=SHARED / "data", help="folder with set5 and bsds500")
    found.add_argument("--ratio", type=float, nargs="+", default=[0.5, 0.65], help="of the GMACs to keep")
    found.add_argument("--networks", default="rfdn,plain", help="comma-separated: rfdn, plain")
    found.add_argument("--methods", default="", help="only those whose names hold this")
    found.add_argument("--norm", type=int, choices=(1, 2), default=1, help="of the channels' weights")
    found.add_argument("--steps", type=int, default=0, help="of training after pruning (default none)")
    found.add_argument("--learning-rate", type=float, default=2e-4, help="of that training")
    found.add_argument("--plain-steps", type=int, default=500, help="of training the plain chain")
    found.add_argument("--device", default="cpu", help="that trains and scores")
    found.add_argument("--threads", type=int, default=1)
    return found.parse_args()


def subject(name: str, bench: Bench, args: argparse.Namespace) -> tuple[Network, Architecture]:
    """A network to prune.

    Raises: ValueError: for an unknown name.
    """
    if name == "rfdn":
        return load_published("rfdn", args.weights).eval(), published("rfdn").architecture
    if name == "plain":
        torch.manual_seed(0)
        start = build(PLAIN, get_task(TASK).interface)
        trained = train(start, bench.patches, args.plain_steps, 1e-3, args.device).cpu()
        # Torch-Pruning follows gradients: without them it finds no layers, and prunes nothing without a word.
        return trained.requires_grad_(), PLAIN
    raise ValueError(f"--networks: expected rfdn or plain, got '{name}'")


def main() -> int:
    args = arguments()
    torch.set_num_threads(args.threads)
    report = Report("pruning_rivals")
    bench = Bench(args.data, steps=args.steps, learning_rate=args.learning_rate, device=args.device)
    batches = [bench.patches.batch(seed=1, step=step, batch=8, patch=32) for step in range(TAYLOR_BATCHES)]
    tables, rows, originals = [], [], {}
    for name in args.networks.split(","):
        network, architecture = subject(name, bench, args)
        originals[name] = {"gmacs": gmacs(network), "psnr": bench.psnr(network)}
        for ratio in args.ratio:
            found = []
            for tool, method in methods(architecture, args.norm, batches).items():
                if args.methods in tool:
                    found.append(bench.row(name, network, ratio, tool, method))
                    report.console.print(name, ratio, *cells(found[-1]), style="dim", highlight=False)
            tables.append(table(name, originals[name], ratio, found, args))
            rows += found
    result = {
        "versions": {package: installed(package) for package in ("torch-pruning", "nni")},
        "norm": args.norm,
        "steps": args.steps,
        "originals": originals,
        "rows": [asdict(row) for row in rows],
    }
    report.show(result, tables, args)
    broken = [row for row in rows if row.tool.startswith("pixelfront") and not keeps_promise(row)]
    for row in broken:
        report.console.print(
            f"{row.tool} on {row.network} to {row.ratio}: not what it promises", style="bold"
        )
    return 1 if broken else 0


def keeps_promise(row: Row) -> bool:
    """Whether a row of ours is near its target, and the masked network."""
    if row.distance_percent is None or row.difference is None:
        return False
    return -WITHIN_PERCENT <= row.distance_percent <= 0 and row.difference <= MAX_DIFFERENCE


def installed(package: str) -> str | None:
    """Its version; None where it is absent."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def table(
    name: str, original: dict[str, float], ratio: float, rows: list[Row], args: argparse.Namespace
) -> Table:
    title = (
        f"{name} ({original['gmacs']:.3f} GMACs, {original['psnr']:.3f} dB) to {100 * ratio:g} % of its GMACs "
        f"({ratio * original['gmacs']:.3f}), channels by L{args.norm}"
    )
    found = Table(title=title, title_justify="left")
    found.add_column("tool")
    after = [f"dB after {args.steps} steps"] if args.steps else []
    for heading in ("GMACs", "from target", "seconds", "from masked", "from its masks", "dB", *after):
        found.add_column(heading, justify="right")
    found.add_column("failure", overflow="fold")
    for row in rows:
        found.add_row(*cells(row, recovered=bool(after)))
    return found


def cells(row: Row, *, recovered: bool = True) -> tuple[str, ...]:
    return (
        row.tool,
        form(row.gmacs, "{:.3f}"),
        form(row.distance_percent, "{:+.2f} %"),
        f"{row.seconds:.1f}",
        form(row.difference, "{:.1e}"),
        form(row.broken_promise, "{:.1e}"),
        form(row.psnr, "{:.3f}"),
        *([form(row.recovered, "{:.3f}")] if recovered else []),
        row.failure,
    )


def form(value: float | None, template: str) -> str:
    return "-" if value is None else template.format(value)


if __name__ == "__main__":
    sys.exit(main())

"""What ``pixelfront supernet`` does: train a weight-sharing supernet of a space, and take networks out of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from rich.console import Console

from evaluators.supernet.file import TrainedSupernet, few_images, read_supernet, write_supernet
from evaluators.supernet.network import Supernet
from evaluators.supernet.training import EXTREMES, Sandwich, SupernetTraining
from evaluators.tasks import get_task
from evaluators.trial import baseline_score
from results.export.files import export
from search.config import ConfigError, resolve
from search.networks.evaluate import resolve_device
from search.networks.inspect import find_architecture
from search.study.context import Setup, prepare
from search.study.driver import stops_on_signal
from spaces.architecture import Architecture

CHUNK = 10  # steps between looks at the clock and at Ctrl-C
SAVE_EVERY_S = 60.0
ANYTHING = 1e9  # GMACs: a budget limits what a search tries, not what its supernet holds
# What a study's configuration says that a supernet's training has nothing to do with.
OF_A_SEARCH = (
    "first",
    "filter",
    "supernet",
    "warm_start",
    "eta",
    "pauses",
    "trials",
    "train_steps",
    "training.rungs",
    "objectives",
    "limits",
)

Moved = Callable[[int, float], None]


@dataclass(frozen=True)
class Outcome:
    """Where a supernet's training stands, and the file if it is done."""

    step: int
    steps: int
    file: Path | None


def train_supernet(
    said: Mapping[str, Any],
    output: Path,
    *,
    steps: int,
    device: str = "auto",
    random: int | None = None,
    console: Console,
    moved: Moved = lambda step, loss: None,
) -> Outcome:
    """Train a supernet of the space that is said, on the images that a study of it trains on, into a file.

    Its checkpoint is beside the file meanwhile; the same call goes on from there.

    Args:
        said: As of a search; what is about the search alone doesn't count.
        random: Sub-networks a step beside the largest and the smallest [default: ``Sandwich``'s].
        moved: Is told the step and the loss.

    Raises: ValueError: for what can't be used, a file that is there already, or a checkpoint of another training.
    """
    if output.exists():
        raise ConfigError(f"--output {output}: it is there already; name another file, or remove it")
    if not output.resolve().parent.is_dir():
        raise ConfigError(f"--output {output}: no such folder; make it, or name another file")
    setup = _setup(said, steps, resolve_device(device))
    training = _training(setup, Sandwich() if random is None else Sandwich(random))
    checkpoint = output.with_name(f"{output.name}.checkpoint")
    if checkpoint.exists():
        _go_on(training, checkpoint)
    _introduce(setup, training, console)
    interrupted = []
    saved = time.monotonic()
    with stops_on_signal(lambda: interrupted.append(True), console):
        while training.step < steps and not interrupted:
            until = min(training.step + CHUNK, steps)
            for progress in training.run(until, report_every=CHUNK):
                moved(progress.step, progress.loss)
            if time.monotonic() - saved > SAVE_EVERY_S:
                _save(training, checkpoint)
                saved = time.monotonic()
    if training.step < steps:
        _save(training, checkpoint)
        return Outcome(training.step, steps, None)
    trained = TrainedSupernet(
        training.result(), setup.config.task, setup.data.train.digest, _told(setup, training)
    )
    write_supernet(output, trained)
    checkpoint.unlink(missing_ok=True)
    console.print(_quality(trained, setup), markup=False, highlight=False, soft_wrap=True)
    return Outcome(steps, steps, output)


def _setup(said: Mapping[str, Any], steps: int, device: str) -> Setup:
    told = {key: value for key, value in said.items() if key not in OF_A_SEARCH}
    if told.get("max_gmacs") is None and told.get("gmacs") is None:
        told["max_gmacs"] = ANYTHING
    where = {"workers.device": device} | ({"workers.gpus": 1.0} if device == "cuda" else {})
    return prepare(resolve({**told, **where, "training.steps": steps}))


def _training(setup: Setup, sandwich: Sandwich) -> SupernetTraining:
    config = setup.config
    torch.set_num_threads(config.workers.threads)
    torch.manual_seed(config.seed)
    network = Supernet(setup.space, setup.task.interface)
    patches = setup.task.patch_source(setup.data.train)
    return SupernetTraining(
        network, patches, setup.recipe, seed=config.seed, device=setup.device, sandwich=sandwich
    )


def _go_on(training: SupernetTraining, checkpoint: Path) -> None:
    try:
        training.restore(checkpoint.read_bytes())
    except Exception as error:  # torch raises all kinds for a file that isn't its own
        reason = str(error) if isinstance(error, ValueError) else "it can't be read; remove it to start anew"
        raise ConfigError(f"checkpoint {checkpoint}: {reason}") from error


def _save(training: SupernetTraining, checkpoint: Path) -> None:
    part = checkpoint.with_name(f".{checkpoint.name}.part")
    part.write_bytes(training.checkpoint())
    os.replace(part, checkpoint)


def _introduce(setup: Setup, training: SupernetTraining, console: Console) -> None:
    numbers = sum(p.numel() for p in training.network.parameters())
    begun = f", from step {training.step}" if training.step else ""
    console.print(
        f"supernet of space {setup.space.name}: {setup.space.size:.3g} genotypes in {numbers / 1e6:.2f} M parameters; "
        f"{setup.recipe.steps} steps on {len(setup.data.train)} images of {setup.data.train.name}, {setup.device}, "
        f"{setup.recipe.precision}{begun}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _told(setup: Setup, training: SupernetTraining) -> dict[str, Any]:
    """How it was trained, for the file."""
    section = setup.config.training.model_dump(mode="json", exclude={"rungs"})
    return section | {
        "precision": setup.recipe.precision,
        "seed": setup.config.seed,
        "random": training.sandwich.random,
    }


def _quality(trained: TrainedSupernet, setup: Setup) -> str:
    """What the largest and the smallest sub-networks come to."""
    space, few, metric = setup.space, few_images(setup.data.validation), setup.objective[0]
    found = []
    for word, end in (("largest", -1), ("smallest", 0)):
        genes = space.sample(Random(0)) | {name: space.by_name[name].values[end] for name in EXTREMES}
        found.append(f"{word} {trained.score(space.decode(genes), few, metric=metric).value:.3f}")
    trivial = next(
        m.value for m in baseline_score(setup.config.task, few, ssim="ssim" in metric) if m.name == metric
    )
    found.append(f"{setup.task.baseline_name} {trivial:.3f}")
    return f"{metric} on {len(few)} images, without training of their own: {', '.join(found)} dB"


def take(file: Path, architecture: str, output: Path) -> tuple[Architecture, Path]:
    """Write the sub-network of an architecture, as ``pixelfront export`` writes networks.

    Args:
        architecture: A file with its JSON.

    Raises: ValueError: for another file, or an architecture that isn't of the supernet's space.
    """
    if output.suffix != ".safetensors":
        raise ConfigError(f"--output {output}: expected a name that ends in .safetensors")
    if not architecture.endswith(".json") or not Path(architecture).is_file():
        raise ConfigError(
            f"architecture {architecture}: expected a file with its JSON, as 'pixelfront export' writes"
        )
    trained = read_supernet(file)
    wanted = find_architecture(architecture)[1]
    network = trained.network.extract(wanted).requires_grad_(False)
    export(network, wanted, get_task(trained.task).interface, output, "safetensors")
    return wanted, output

"""A trained supernet as a file: its averaged tensors as safetensors, and in the metadata what they are of."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from evaluators.data.pairs import PairSet
from evaluators.supernet.network import Supernet
from evaluators.tasks import get_task
from evaluators.trial import score
from spaces.architecture import Architecture
from spaces.checkpoint import CheckpointError
from spaces.measurement import Measurement
from spaces.space import Choice, Space

FORMAT = "pixelfront supernet 1"
FEW = 4  # validation images that a sub-network is scored on


@dataclass(frozen=True)
class TrainedSupernet:
    """A supernet and how it came to be.

    Attributes:
        task: Its name.
        train: Digest of the training images.
        training: How it was trained, as JSON; ``steps`` among it.
        digest: Of the file's content, 12 hexadecimal digits.
    """

    network: Supernet
    task: str
    train: str
    training: dict[str, Any] = field(default_factory=dict)
    digest: str = ""

    def score(self, architecture: Architecture, pairs: PairSet, *, metric: str) -> Measurement:
        """How good the sub-network is on these images without training of its own.

        Args:
            metric: Such as ``psnr_y``.

        Raises: ValueError: for an architecture that isn't of the space.
        """
        scores = score(self.network.extract(architecture), self.task, pairs, ssim="ssim" in metric)
        found = next(m for m in scores if m.name == metric)
        return Measurement(
            "supernet", found.value, found.unit, found.direction, self.protocol(found.protocol)
        )

    def protocol(self, metric: str) -> str:
        """How its scores under a metric's protocol are taken."""
        return f"untrained, weights of supernet {self.digest}, {metric}"


def few_images(pairs: PairSet) -> PairSet:
    """Some of the images, evenly spaced, that sub-networks are scored on."""
    return pairs.pick(range(0, len(pairs), -(-len(pairs) // FEW)))


def write_supernet(path: Path, trained: TrainedSupernet) -> None:
    """Write it whole or not at all.

    Raises: OSError: if the file can't be written.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in trained.network.state_dict().items()}
    about = {
        "space": _space_data(trained.network.space),
        "task": trained.task,
        "train": trained.train,
        "training": trained.training,
    }
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(
        save(tensors, {FORMAT: json.dumps(about)})
    )  # of several, the order isn't always the same
    os.replace(part, path)


def read_supernet(path: Path) -> TrainedSupernet:
    """What ``write_supernet`` wrote, in evaluation mode on the CPU.

    Raises: CheckpointError: if the file can't be read or isn't of a supernet.
    """
    try:
        content = path.read_bytes()
        about = _about(content)
        if about is None:
            raise CheckpointError(
                f"supernet {path}: expected a file that 'pixelfront supernet train' wrote, got another; train one first"
            )
        network = _empty(_space(about["space"]), about["task"])
        network.load_state_dict(load(content))
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"supernet {path}: can't be read: {reason}") from error
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"supernet {path}: its tensors aren't those of its space: made by another version? Train it anew"
        ) from error
    network.eval().requires_grad_(False)
    digest = hashlib.sha256(content).hexdigest()[:12]
    return TrainedSupernet(network, about["task"], about["train"], about["training"], digest)


def lacking(supernet: Space, wanted: Space) -> list[str]:
    """What of the wanted space the supernet doesn't hold, a line each."""
    lines = []
    if supernet.topology != wanted.topology:
        return [f"topology: the supernet has {supernet.topology}, wanted {wanted.topology}"]
    for choice in wanted:
        have = supernet.by_name[choice.name].values if choice.name in supernet.by_name else ()
        if missing := [value for value in choice.values if value not in have]:
            lines.append(f"{choice.name}: the supernet has {list(have)}, not {missing}")
    for choice in supernet:
        if choice.name not in wanted.by_name and not choice.name.startswith("block_"):  # of greater depths
            lines.append(f"{choice.name}: the supernet has {list(choice.values)}, wanted no such choice")
    return lines


def _about(content: bytes) -> dict[str, Any] | None:
    """What a file says of its supernet; None for another file."""
    end = 8 + int.from_bytes(content[:8], "little")
    try:
        return dict(json.loads(json.loads(content[8:end])["__metadata__"][FORMAT]))
    except (ValueError, TypeError, KeyError):
        return None


def _empty(space: Space, task: str) -> Supernet:
    with torch.random.fork_rng(devices=[]):
        return Supernet(space, get_task(task).interface)


def _space_data(space: Space) -> dict[str, Any]:
    """With the order of the choices, which ``Space.to_json`` leaves out."""
    choices = [{"name": c.name, "values": list(c.values), "ordered": c.ordered} for c in space]
    return {"name": space.name, "topology": space.topology, "choices": choices}


def _space(data: dict[str, Any]) -> Space:
    choices = tuple(Choice(c["name"], tuple(c["values"]), c["ordered"]) for c in data["choices"])
    topology = data["topology"].removeprefix("spaces.")  # as files had it first
    return Space(data["name"], choices, topology)

"""Teachers: trained networks whose outputs and features a student learns from.

The loss lambda * ||student - teacher|| + (1 - lambda) * ||student - target|| is that of the winner of NTIRE 2022's HDR
challenge (https://arxiv.org/abs/2205.12633). Feature matching through 1x1 convolutions that are thrown away after
training follows "FitNets: Hints for Thin Deep Nets", Romero et al., ICLR 2015, https://arxiv.org/abs/1412.6550; no
code of either was used. Deviations: features are matched all along the training instead of before it, at every block,
and after dividing both sides by their root mean square, so that the weight means the same for networks on 0..255
and on 0..1.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn
from torch.nn import functional

from evaluators.data.pairs import PatchSource
from evaluators.data.tensors import to_tensor
from spaces.architecture import Architecture
from spaces.build import build
from spaces.checkpoint import CheckpointError, load_weights
from spaces.padding import run
from spaces.parts import Network
from spaces.task import Task


def load_bytes(network: Network, weights: bytes) -> None:
    """Copy safetensors, under our own names, into the network; all of them, and nothing is left out.

    Raises: CheckpointError: if these are no safetensors; else as ``load_weights``.
    """
    try:
        tensors = load_safetensors(weights)
    except SafetensorError as error:
        raise CheckpointError(f"expected the bytes of a safetensors file, got others ({error})") from None
    load_weights(network, tensors)


@dataclass(frozen=True)
class TeacherSpec:
    """A teacher as data: what it was trained for, and the architecture (JSON) and safetensors of each member."""

    task: str
    members: tuple[tuple[str, bytes], ...] = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of all that its outputs depend on."""
        content = hashlib.sha256(self.task.encode())
        for architecture, weights in self.members:
            for part in (architecture.encode(), weights):
                content.update(hashlib.sha256(part).digest())
        return content.hexdigest()[:16]

    def build(self, task: Task, *, device: str = "cpu", cache: str = "") -> Teacher:
        """The teacher, for a student of this task.

        Args:
            cache: A folder to keep its outputs for whole training images in; empty for none.

        Raises: ValueError: if there is no member, the task is another, or weights don't fit (naming tensors).
        """
        if not self.members:
            raise ValueError("expected at least one network as a teacher, got none")
        if self.task != task.name:
            raise ValueError(
                f"expected a teacher of task '{task.name}' like the student's, got one of '{self.task}'; give one "
                "of that task"
            )
        networks = []
        for number, (architecture, weights) in enumerate(self.members, 1):
            network = build(Architecture.from_json(architecture), task)
            try:
                load_bytes(network, weights)
            except CheckpointError as error:
                raise CheckpointError(f"teacher {number} of {len(self.members)}: {error}") from None
            networks.append(network)
        return Teacher(
            networks, task.scale, device=device, cache=Path(cache) / self.digest if cache else None
        )


class Teacher:
    """Networks in evaluation mode whose outputs are averaged; in float32, without gradients.

    Args:
        networks: All of one task; moved to the device.
        cache: A folder of this teacher's alone for ``of_images``.
    """

    def __init__(
        self, networks: Sequence[Network], scale: int, *, device: str = "cpu", cache: Path | None = None
    ):
        self.networks = [n.to(device).eval().requires_grad_(False) for n in networks]
        for network in self.networks:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.cache = cache
        self._scale = scale
        self._device = device

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """The mean output for (N, C, H, W) inputs of any size."""
        outputs = [run(network, x, scale=self._scale) for network in self.networks]
        return outputs[0] if len(outputs) == 1 else torch.stack(outputs).mean(0)

    def of_image(self, pixels: np.ndarray) -> np.ndarray:
        """(scale*H, scale*W, C) float16 output for an (H, W, C) image: within 1/4096 of a value up to 1."""
        output = self(to_tensor(pixels[None], self._device))[0]
        return output.permute(1, 2, 0).contiguous().cpu().numpy().astype(np.float16)


class KeptOutputs(Sequence[np.ndarray]):
    """A teacher's outputs for whole images, worked out when they are first asked for and kept on disk.

    A file is written under another name and then renamed, so that a killed run leaves none that is cut off, and
    workers may share the folder. Files are memory-mapped for each access and not held open: a data set may have more
    images than a process may have files.

    Args:
        images: (H, W, C) inputs. Orientation counts: a mirrored image has another output.
    """

    def __init__(self, teacher: Teacher, folder: Path, images: Sequence[np.ndarray]):
        self._teacher = teacher
        self._folder = folder
        self._images = images
        self._files: dict[int, Path] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]  # no slices
        if index not in self._files:
            image = self._images[index]
            content = hashlib.sha256(f"{image.shape} {image.dtype}\n".encode())
            content.update(np.ascontiguousarray(image).data)
            path = self._folder / f"{content.hexdigest()[:24]}.npy"
            if not path.exists():
                _write(path, self._teacher.of_image(image))
            self._files[index] = path
        return np.load(self._files[index], mmap_mode="r")


def _write(path: Path, pixels: np.ndarray) -> None:
    part = path.with_name(f"{path.stem}.{uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            np.save(file, pixels)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class FeatureMatching(nn.Module):
    """How unlike a student's features are to a teacher's, after 1x1 convolutions that make their channels equal.

    Where both networks have a list of modules named ``blocks``, each of the student's blocks is matched with the
    teacher's at the same relative depth; in other networks those with equal names in both.

    Small weights do: in a network that starts near its image skip the pixels' gradients are small in its blocks. On the
    embedded photographs (two RFDBs, RFDN as teacher, 300 steps, one seed) 1e-4 gained 0.01 dB and 3e-3 lost 0.07 dB.

    Args:
        channels: Of both networks' input.
        generator: What the adapters' initial weights are drawn from.

    Raises: ValueError: if no two features of the same size can be matched.
    """

    def __init__(self, student: Network, teacher: Network, channels: int, generator: torch.Generator):
        super().__init__()
        size = (student.size_requirements & teacher.size_requirements).padded(16, 16)
        example = next(student.parameters()).new_zeros(1, channels, *size)
        ours, theirs = _features(student, example), _features(teacher, example)
        self.pairs = [
            (one, other)
            for one, other in _matches(list(ours), list(theirs))
            if ours[one].shape[2:] == theirs[other].shape[2:]
        ]
        if not self.pairs:
            raise ValueError(
                "feature matching needs a teacher with blocks like the student's, got networks whose features have "
                f"neither names nor sizes in common ({type(student).__name__} and {type(teacher).__name__}): set "
                "'features' to 0 or use another teacher"
            )
        self.adapters = nn.ModuleList(
            _adapter(ours[one].shape[1], theirs[other].shape[1], generator) for one, other in self.pairs
        )

    def forward(self, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Tensor:
        """The mean squared difference of what ``watch`` saw in both; 1 where an adapter finds nothing in common."""
        losses = []
        for (one, other), adapter in zip(self.pairs, self.adapters, strict=True):
            x, wanted = ours[one].float(), theirs[other].float()
            wanted = wanted[..., : x.shape[2], : x.shape[3]]  # without the teacher's padding
            losses.append(functional.mse_loss(adapter(_normalised(x)), _normalised(wanted)))
        return torch.stack(losses).mean()


@contextmanager
def watch(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """The outputs of the named submodules in the forward passes made within, by name; the last one's count."""
    seen: dict[str, Tensor] = {}

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            seen[name] = output

    hooks = [
        network.get_submodule(name).register_forward_hook(lambda _m, _x, y, name=name: note(name, y))
        for name in dict.fromkeys(names)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def _features(network: Network, example: Tensor) -> dict[str, Tensor]:
    """The maps that the members of the network's lists of modules put out, by name."""
    lists = [name for name, module in network.named_modules() if isinstance(module, nn.ModuleList)]
    top = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    names = [f"{name}.{child}" for name in top for child, _ in network.get_submodule(name).named_children()]
    training = network.training
    with watch(network.eval(), names) as seen:
        network(example)
    network.train(training)
    return seen


def _matches(ours: list[str], theirs: list[str]) -> list[tuple[str, str]]:
    """Blocks at the same relative depth, or equal names where one of the networks has no ``blocks``."""
    mine, other = ([name for name in names if name.startswith("blocks.")] for names in (ours, theirs))
    if not (mine and other):
        return [(name, name) for name in ours if name in theirs]
    return [(name, other[-(-(i + 1) * len(other) // len(mine)) - 1]) for i, name in enumerate(mine)]


def _adapter(channels: int, wanted: int, generator: torch.Generator) -> nn.Module:
    adapter = nn.utils.skip_init(nn.Conv2d, channels, wanted, 1)
    nn.init.kaiming_normal_(adapter.weight, nonlinearity="linear", generator=generator)
    nn.init.zeros_(adapter.bias)
    return adapter


def _normalised(x: Tensor) -> Tensor:
    """Divided by its root mean square, which counts as a constant."""
    return x / (x.detach().square().mean().sqrt() + 1e-12)


class Lessons:
    """What a teacher says about a training's batches.

    Args:
        matching: For the stages with feature matching, which uses the features of the first of the teacher's networks.
    """

    def __init__(self, teacher: Teacher, patches: PatchSource, matching: FeatureMatching | None):
        self.matching = matching
        self._teacher = teacher
        self._patches = patches
        self._kept: KeptOutputs | None = None
        if teacher.cache is not None and patches.fixed:
            self._kept = KeptOutputs(teacher, teacher.cache, patches.inputs)

    def output(self, x: Tensor, **batch: int) -> Tensor:
        """The teacher's output for a batch; from the whole images' where they are kept.

        Args:
            x: The batch's inputs.
            batch: Which batch it is, as ``PatchSource.batch`` takes it.
        """
        if self._kept is None:
            return self._teacher(x)
        return to_tensor(self._patches.guides(self._kept, **batch).astype(np.float32), x.device)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """The features of the teacher's first network that are matched."""
        assert self.matching is not None
        with (
            watch(self._teacher.networks[0], [other for _, other in self.matching.pairs]) as seen,
            torch.no_grad(),
        ):
            run(self._teacher.networks[0], x)
        return seen

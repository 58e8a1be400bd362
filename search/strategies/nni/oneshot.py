"""One-shot training of a supernet by ``nni.nas``: DARTS and RandomOneShot choose the kind of block at each position.

DARTS (Liu et al., "DARTS: Differentiable Architecture Search", 2019, https://arxiv.org/abs/1806.09055) weighs the
kinds while it trains; RandomOneShot (Guo et al., "Single Path One-Shot Neural Architecture Search", 2020,
https://arxiv.org/abs/1904.00420) trains a path at a time and then compares paths. In-process on PyTorch Lightning.

Our deviations: depth, width and wiring are fixed beforehand, and the blocks of one position have one width; paths are
drawn and compared by loss on held-out patches, not bred.
"""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from evaluators.data.pairs import PairSet, PatchSource
from evaluators.data.tensors import to_tensor
from evaluators.tasks import RestorationTask
from evaluators.training.losses import total_loss
from spaces.architecture import Architecture, Leaf
from spaces.build import build
from spaces.space import Genotype, Space
from spaces.topologies.chain_network import ChainNetwork

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # NNI looks at all of torch.nn, and finds things that it doesn't know
    import nni
    from nni.nas.evaluator.pytorch import DataLoader, Lightning, LightningModule, Trainer
    from nni.nas.execution import SequentialExecutionEngine
    from nni.nas.nn.pytorch import LayerChoice, ModelSpace
    from nni.nas.oneshot.pytorch.sampling import RandomSamplingLightningModule
    from nni.nas.space import RawFormatModelSpace
    from nni.nas.strategy import DARTS, RandomOneShot

Method = Literal["darts", "random"]

CPU = torch.device("cpu")
COMPARED = 32  # paths of RandomOneShot, on as many held-out batches as
COMPARED_ON = 4


@dataclass(frozen=True)
class Chosen:
    """What the supernet says is best.

    Attributes:
        genotype: Of the space, with the kinds chosen.
        losses: L1 of each batch; DARTS takes a held-out one before each one of training.
    """

    genotype: dict[str, Leaf]
    architecture: Architecture
    losses: tuple[float, ...]


def train_one_shot(
    space: Space,
    task: RestorationTask,
    train: PairSet,
    held_out: PairSet,
    *,
    method: Method = "darts",
    steps: int = 200,
    batch: int = 8,
    patch: int = 24,
    learning_rate: float = 1e-3,
    seed: int = 0,
    fixed: Genotype | None = None,
) -> Chosen:
    """Train a supernet of the space's kinds of blocks with L1, and choose a kind for each position.

    Args:
        space: Of chains, with a choice of kind for each position.
        held_out: What DARTS learns its weights on, and paths are compared on.
        fixed: Other genes; by default the largest of ordered choices and the first of others.

    Raises: ValueError: if the space doesn't have such choices.
    """
    genotype = _fixed(space, fixed or {})
    with _seeded(seed):
        supernet = _Supernet(space, genotype, task)
        training = _Training(learning_rate)
        loaders = [
            DataLoader(_Batches(task.patch_source(pairs), seed, steps, batch, patch), batch_size=None)
            for pairs in (train, held_out)
        ]
        trainer = Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
        )
        evaluator = Lightning(training, trainer, train_dataloaders=loaders[0], val_dataloaders=loaders[1])
        strategy = DARTS(arc_learning_rate=3e-3) if method == "darts" else _Paths()
        strategy(RawFormatModelSpace(supernet, evaluator), SequentialExecutionEngine())
        module = strategy.oneshot_module
        sample = module.export() if method == "darts" else _best_path(module, supernet, loaders[1])
    found = {**genotype, **sample}
    return Chosen(found, space.decode(found), tuple(training.losses))


def _fixed(space: Space, fixed: Genotype) -> dict[str, Any]:
    """A genotype whose kinds of blocks are yet to be chosen.

    Raises: ValueError: if the space has none to choose, or the genes aren't its own.
    """
    if "block_0" not in space.by_name:
        raise ValueError(
            f"one-shot training chooses a kind for each position of a chain; space '{space.name}' has no choice "
            "'block_0': take a space with a kind per position"
        )
    genotype: dict[str, Any] = {c.name: c.values[-1 if c.ordered else 0] for c in space} | dict(fixed)
    space.check(genotype)
    return genotype


class _Supernet(ModelSpace):
    """A chain with all of the space's kinds at each position."""

    def __init__(self, space: Space, genotype: dict[str, Any], task: RestorationTask):
        super().__init__()
        names = [f"block_{i}" for i in range(genotype["depth"])]
        kinds = {name: space.by_name[name].values for name in names}
        network = build(space.decode(genotype), task.interface)
        if not isinstance(network, ChainNetwork):
            raise ValueError(f"one-shot training is for chains, got space '{space.name}' of {space.topology}")
        blocks = cast(nn.ModuleList, network.get_submodule("blocks"))
        for i, name in enumerate(names):
            candidates = {}
            for kind in kinds[name]:
                other = build(space.decode({**genotype, name: kind}), task.interface)
                candidates[str(kind)] = other.get_submodule(f"blocks.{i}")
            blocks[i] = LayerChoice(candidates, label=name)
        self.network: nn.Module = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)


class _PathTraining(RandomSamplingLightningModule):
    """Draws paths from Python's generator; NNI does from one that can't be seeded."""

    def resample(self) -> dict[str, Leaf]:
        layers = list(self.supernet_modules())
        sample = {layer.label: random.choice(layer.choice.values) for layer in layers}
        for layer in layers:
            layer.resample(memo=sample)
        return sample


class _Paths(RandomOneShot):
    def configure_oneshot_module(self, training_module: Any) -> _PathTraining:
        return _PathTraining(training_module)


@nni.trace
class _Training(LightningModule):
    def __init__(self, learning_rate: float):
        super().__init__()
        self.learning_rate = learning_rate
        self.losses: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        loss = total_loss("l1", self.model(batch[0]), batch[1])
        self.losses.append(float(loss.detach()))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Nothing: Lightning asks for it."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


class _Batches(torch.utils.data.Dataset):
    """So many batches, each a function of the seed and its number."""

    def __init__(self, patches: PatchSource, seed: int, steps: int, batch: int, patch: int):
        self._patches, self._steps = patches, steps
        self._what = {"seed": seed, "batch": batch, "patch": patch}

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        source, target = self._patches.batch(step=step, **self._what)
        return to_tensor(source, CPU), to_tensor(target, CPU)


@torch.no_grad()
def _best_path(module: Any, supernet: nn.Module, loader: Any) -> dict[str, Leaf]:
    """The path of least loss on held-out batches, of some that are drawn."""
    batches = [loader.dataset[step] for step in range(min(COMPARED_ON, len(loader.dataset)))]
    seen: dict[tuple[Leaf, ...], tuple[float, dict[str, Leaf]]] = {}
    supernet.eval()
    for _ in range(COMPARED):
        sample = module.resample()
        path = tuple(sample.values())
        if path not in seen:
            seen[path] = (
                sum(float(total_loss("l1", supernet(source), target)) for source, target in batches),
                sample,
            )
    return min(seen.values(), key=lambda found: found[0])[1]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """All that NNI, Lightning and torch draw comes from the seed, and others' numbers stay as they are; quietly."""
    log = logging.getLogger("pytorch_lightning")
    before, level = random.getstate(), log.level
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        torch.manual_seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before)
            log.setLevel(level)

"""Training a supernet: in each step a few sub-networks, the largest and the smallest among them, on one batch.

The sandwich rule and in-place distillation are those of "Universally Slimmable Networks and Improved Training
Techniques", Yu and Huang, ICCV 2019, https://arxiv.org/abs/1903.05134; no code of theirs was used. Deviations: with
several kinds of blocks there is no largest network, so each member of the sandwich has kinds of its own, drawn at
random; what the others learn from the largest's output is mixed with the target, and by default they learn from the
target alone. With L1 and lambda = 1/2 both gradients cancel wherever an output is between the two, so that nothing is
drawn past the largest. Measured on the tabular benchmark (benchmarks/search/supernet.py, 46 architectures, one seed):
lambda of 1/2, 4000 steps: scores from 26.75 to 26.78 dB, Spearman 0.52 with stand-alone training; lambda of 0, 1500
steps: 26.78 to 26.93 dB, Spearman 0.77.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from random import Random
from typing import cast

import torch
from torch import Tensor

from evaluators.data.pairs import PatchSource
from evaluators.data.tensors import to_tensor
from evaluators.supernet.network import Supernet
from evaluators.training.loop import Training
from evaluators.training.losses import total_loss
from evaluators.training.recipe import Recipe, Stage
from spaces.architecture import Architecture, Leaf

EXTREMES = ("depth", "width")


@dataclass(frozen=True)
class Sandwich:
    """What is trained in a step.

    Attributes:
        random: Sub-networks beside the largest and the smallest.
        distil: lambda, from 0 to 1: lambda * loss(output, the largest's) + (1 - lambda) * loss(output, target).
    """

    random: int = 2
    distil: float = 0.0

    def __post_init__(self) -> None:
        if self.random < 0:
            raise ValueError(f"expected at least 0 random sub-networks a step, got {self.random}")
        if not 0 <= self.distil <= 1:
            raise ValueError(f"a sandwich's 'distil' is from 0 to 1, got {self.distil}")


class SupernetTraining(Training):
    """The state of a supernet's training; stops, goes on and averages as ``Training`` does.

    The loss is the mean over the step's sub-networks, which are a pure function of (seed, step).

    Raises: ValueError: for a recipe with a teacher, sparsity or forms of convolutions.
    """

    network: Supernet

    def __init__(
        self,
        network: Supernet,
        patches: PatchSource,
        recipe: Recipe,
        *,
        seed: int,
        device: str = "cpu",
        sandwich: Sandwich = Sandwich(),
    ):
        for number, stage in enumerate(recipe.stages, 1):
            if stage.taught or stage.sparsity or stage.form:
                raise ValueError(
                    f"stage {number} of the recipe has a teacher, sparsity or a form, which a supernet isn't trained "
                    "with; give a plain recipe"
                )
        self.sandwich = sandwich
        super().__init__(network, patches, recipe, seed=seed, device=device)

    def paths(self, step: int) -> list[Architecture]:
        """The sub-networks that a step trains: the largest, random ones, the smallest."""
        random = Random(self._seed * 1_000_003 + step)
        space = self.network.space
        ends: list[dict[str, Leaf]] = [
            {name: space.by_name[name].values[end] for name in EXTREMES} for end in (-1, 0)
        ]
        overrides = [ends[0], *({} for _ in range(self.sandwich.random)), ends[1]]
        return [space.decode(space.sample(random) | changed) for changed in overrides]

    def result(self) -> Supernet:
        """The averaged supernet; not a copy."""
        return cast(Supernet, super().result())

    def _loss(self, stage: Stage) -> Tensor:
        source, target = (
            to_tensor(side, self.device)
            for side in self._patches.batch(
                seed=self._seed, step=self.step, batch=stage.batch, patch=stage.patch
            )
        )
        largest: Tensor | None = None
        losses = []
        for path in self.paths(self.step):
            with self._autocast:
                output = self.network(source, path)
            distil = 0.0 if largest is None else self.sandwich.distil
            taught = largest if distil else None
            losses.append(total_loss(stage.loss, output, target, taught=taught, distil=distil))
            if largest is None:
                largest = output.detach().float()
        return torch.stack(losses).mean()

    def checkpoint(self) -> bytes:
        """The whole state, and what it belongs to."""
        buffer = io.BytesIO()
        torch.save({"of": self._identity(), "training": super().checkpoint()}, buffer)
        return buffer.getvalue()

    def restore(self, checkpoint: bytes) -> None:
        """Go on from a checkpoint.

        Raises: ValueError: if it is of another space, recipe, sandwich or seed.
        """
        state = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or state.get("of") != self._identity():
            raise ValueError(
                "expected a checkpoint of a supernet of the same space, task, recipe, sandwich and seed, got another; "
                "start anew, or go on as it was started"
            )
        super().restore(state["training"])

    def _identity(self) -> str:
        net = self.network
        told = (net.space.digest, net.task, self._recipe, self.sandwich, self._seed)
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]

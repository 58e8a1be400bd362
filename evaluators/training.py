"""Training one network: a loop that can stop after any step and go on exactly.

Batches are a pure function of (seed, step), so weights, their average, the optimiser and the step number
are all the state there is. On a CPU an interrupted and resumed run ends with the same bits as one that
wasn't interrupted.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evaluators.losses import total_loss
from evaluators.pairs import PatchSource
from evaluators.recipe import Precision, Recipe
from evaluators.tensors import to_tensor
from spaces.parts import Network


class TrainingDivergedError(RuntimeError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands: steps done and the mean loss since the last report."""

    step: int
    loss: float


def training_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """What ``precision`` means on the device."""
    if precision == "float32":
        return torch.float32
    if precision == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # Without AMX, bfloat16 on a CPU is emulated and slower than float32.
    return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32


class Training:
    """The state of one network's training.

    Args:
        network: Trained in place, moved to the device.
        patches: Where batches come from.
        seed: Of the batches; the initial weights are the caller's.
    """

    def __init__(
        self, network: Network, patches: PatchSource, recipe: Recipe, *, seed: int, device: str = "cpu"
    ):
        self.device = torch.device(device)
        self.network = network.to(self.device).train()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.step = 0
        self._patches = patches
        self._recipe = recipe
        self._seed = seed
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=1.0, foreach=True)
        dtype = training_dtype(recipe.precision, self.device)
        self._autocast: AbstractContextManager[Any] = (
            nullcontext() if dtype == torch.float32 else torch.autocast(self.device.type, dtype=dtype)
        )

    def run(self, until: int, *, report_every: int = 20) -> Iterator[Progress]:
        """Train until ``until`` steps are done, reporting on the way and at the end.

        Raises: TrainingDivergedError: when the loss is no longer finite.
        """
        total, count = torch.zeros((), device=self.device), 0
        while self.step < until:
            total += self._advance()
            count += 1
            if self.step == until or self.step % report_every == 0:
                loss = float(total) / count
                if loss != loss or loss == float("inf"):
                    raise TrainingDivergedError(f"the loss became {loss} by step {self.step}")
                yield Progress(self.step, loss)
                total, count = torch.zeros((), device=self.device), 0

    def _advance(self) -> Tensor:
        """One optimiser step; its loss."""
        stage, step = self._recipe.at(self.step)
        source, target = self._patches.batch(
            seed=self._seed, step=self.step, batch=stage.batch, patch=stage.patch
        )
        for group in self._optimizer.param_groups:
            group["lr"] = stage.rate(step)
        with self._autocast:
            output = self.network(to_tensor(source, self.device))
        loss = total_loss(stage.loss, output, to_tensor(target, self.device))
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self.step += 1
        decay = min(self._recipe.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            ours: list[Tensor] = list(self.average.parameters())
            theirs: list[Tensor] = list(self.network.parameters())
            torch._foreach_lerp_(ours, theirs, 1 - decay)
        return loss.detach()

    def checkpoint(self) -> bytes:
        """The whole state."""
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        return buffer.getvalue()

    def restore(self, checkpoint: bytes) -> None:
        """Go on from a checkpoint."""
        state = torch.load(io.BytesIO(checkpoint), map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

"""Training one network: a loop that can stop after any step and go on exactly.

Batches are a pure function of (seed, step), so weights, their average, the optimiser and the step number
are all the state there is; with feature matching its adapters too. On a CPU an interrupted and resumed run ends with
the same bits as one that wasn't interrupted.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor

from evaluators.data.pairs import PatchSource
from evaluators.data.tensors import to_tensor
from evaluators.training.distillation import FeatureMatching, Lessons, Teacher, watch
from evaluators.training.losses import total_loss
from evaluators.training.recipe import Precision, Recipe, Stage
from spaces.layers.convolutions import convert, forms
from spaces.parts import Network

if TYPE_CHECKING:
    from evaluators.channels.groups import Channels


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
        seed: Of the batches, new kernel bases and adapters; the initial weights are the caller's.
        teacher: For recipes that distil.

    Raises: ValueError: if a stage needs a teacher and there is none, or none whose features match.
    """

    def __init__(
        self,
        network: Network,
        patches: PatchSource,
        recipe: Recipe,
        *,
        seed: int,
        device: str = "cpu",
        teacher: Teacher | None = None,
    ):
        _check_teacher(recipe, teacher)
        self.device = torch.device(device)
        self.network = network.to(self.device).train()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.step = 0
        self._patches = patches
        self._recipe = recipe
        self._seed = seed
        self._lessons = self._learn_from(teacher) if teacher is not None and recipe.taught else None
        self._own_forms = forms(network)
        self._form = ""  # the architecture's own
        self._channels: Channels | None = None
        self._optimizer = self._new_optimizer()
        self._take_form()
        dtype = training_dtype(recipe.precision, self.device)
        self._autocast: AbstractContextManager[Any] = (
            nullcontext() if dtype == torch.float32 else torch.autocast(self.device.type, dtype=dtype)
        )

    def _learn_from(self, teacher: Teacher) -> Lessons:
        matching = None
        if any(stage.features for stage in self._recipe.stages):
            channels = self._patches.inputs[0].shape[2]
            random = _generator(self._seed)
            matching = FeatureMatching(self.network, teacher.networks[0], channels, random).to(self.device)
        return Lessons(teacher, self._patches, matching)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        parameters = list(self.network.parameters())
        if self._lessons is not None and self._lessons.matching is not None:
            parameters += self._lessons.matching.parameters()
        return torch.optim.Adam(parameters, lr=1.0, foreach=True)

    def _take_form(self) -> None:
        """Bring network and average to the form that the next step trains in; the optimiser starts anew then."""
        form = self._recipe.form_at(self.step)
        if form == self._form:
            return
        for network in (self.network, self.average):  # both get the same new bases
            random = _generator(self._seed * 1_000_003 + self.step)
            convert(network, form or self._own_forms, random)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._form = form
        self._channels = None
        self._optimizer = self._new_optimizer()

    def result(self) -> Network:
        """The averaged network in the architecture's own form; not a copy if it has that form already."""
        if not self._form:
            return self.average
        network = copy.deepcopy(self.average)
        convert(network, self._own_forms)
        return network

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
        rate = stage.rate(step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = self._loss(stage)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        if stage.sparsity:
            self._shrink(stage.sparsity * rate)
        self.step += 1
        decay = min(self._recipe.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            ours: list[Tensor] = list(self.average.parameters())
            theirs: list[Tensor] = list(self.network.parameters())
            torch._foreach_lerp_(ours, theirs, 1 - decay)
            # Running statistics are averages already, and counts can't be averaged.
            for mine, current in zip(self.average.buffers(), self.network.buffers(), strict=True):
                mine.copy_(current)
        self._take_form()
        return loss.detach()

    def _loss(self, stage: Stage) -> Tensor:
        """Of the next batch."""
        batch = {"seed": self._seed, "step": self.step, "batch": stage.batch, "patch": stage.patch}
        source, target = (to_tensor(side, self.device) for side in self._patches.batch(**batch))
        lessons = self._lessons if stage.taught else None
        matching = lessons.matching if lessons and stage.features else None
        with (
            self._autocast,
            watch(self.network, [one for one, _ in matching.pairs] if matching else []) as seen,
        ):
            output = self.network(source)
        taught = lessons.output(source, **batch) if lessons and stage.distil else None
        loss = total_loss(stage.loss, output, target, taught=taught, distil=stage.distil)
        if lessons and matching:
            loss = loss + stage.features * matching(seen, lessons.features(source))
        return loss

    def _shrink(self, amount: float) -> None:
        """The group lasso's proximal step: channels' norms fall by ``amount``, at most to 0."""
        if self._channels is None:
            from evaluators.channels.groups import Channels

            self._channels = Channels.trace(self.network, self._patches.inputs[0].shape[2])
        self._channels.soft_threshold(amount)

    def checkpoint(self) -> bytes:
        """The whole state."""
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        if self._lessons is not None and self._lessons.matching is not None:
            state["adapters"] = self._lessons.matching.state_dict()
        buffer = io.BytesIO()
        torch.save(state, buffer)
        return buffer.getvalue()

    def restore(self, checkpoint: bytes) -> None:
        """Go on from a checkpoint of the same recipe."""
        state = torch.load(io.BytesIO(checkpoint), map_location=self.device, weights_only=True)
        self.step = state["step"]
        self._take_form()
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._lessons is not None and self._lessons.matching is not None:
            self._lessons.matching.load_state_dict(state["adapters"])


def averaged_weights(checkpoint: bytes) -> bytes:
    """The averaged weights of a checkpoint as safetensors, in the form that was trained in at its step."""
    average = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)["average"]
    return save_safetensors({name: tensor.contiguous() for name, tensor in average.items()})


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed % 2**63)  # what torch takes


def _check_teacher(recipe: Recipe, teacher: Teacher | None) -> None:
    """Nothing, if no stage needs a teacher, or there is one.

    Raises: ValueError: else, naming the stage.
    """
    for number, stage in enumerate(recipe.stages, 1):
        if stage.taught and teacher is None:
            keys = " and ".join(
                f"'{key}' of {value:g}" for key in ("distil", "features") if (value := getattr(stage, key))
            )
            raise ValueError(
                f"stage {number} of the recipe has {keys}, which needs a teacher, but none is given: give one, or "
                "another recipe"
            )

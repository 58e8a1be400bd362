"""Training losses by name: from (N, C, H, W) output and target to a number that falls as they become alike."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from evaluators.hdr.coding import GAMMA, MU


def charbonnier(output: Tensor, target: Tensor) -> Tensor:
    """Mean of sqrt(difference^2 + 1e-6): L1, smooth at 0."""
    return ((output - target).square() + 1e-6).sqrt().mean()


def negative_psnr(output: Tensor, target: Tensor) -> Tensor:
    """Minus the images' mean PSNR in dB for a peak of 1: HINet's loss (https://arxiv.org/abs/2105.06086)."""
    errors = (output - target).square().mean(dim=(1, 2, 3))
    return 10 / math.log(10) * (errors + 1e-8).log().mean()


def mu_law(coded: Tensor) -> Tensor:
    """log(1 + 5000 x) / log(1 + 5000) of the light x that HDR images are coded from; below 0 of slope 1.

    ``evaluators.hdr.coding`` says how they are coded. PSNR-mu divides light by a level of the whole reference, which a
    patch doesn't tell, and takes its tanh; here light is of ``full_scale``. Dividing by the medium exposure's white
    instead made no clear difference (-0.1 dB PSNR-mu and -0.4 dB linear: one small network, one seed, 1200 steps).
    """
    light = coded.clamp_min(0) ** GAMMA
    return torch.log1p(MU * light) / math.log1p(MU) + coded.clamp_max(0)


def mu_l1(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error after the mu-law: for HDR images coded as ``evaluators.hdr.coding`` says."""
    return functional.l1_loss(mu_law(output), mu_law(target))


def mu_l2(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error after the mu-law."""
    return functional.mse_loss(mu_law(output), mu_law(target))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": functional.l1_loss,
    "l2": functional.mse_loss,
    "charbonnier": charbonnier,
    "psnr": negative_psnr,
    "mu_l1": mu_l1,
    "mu_l2": mu_l2,
}


def total_loss(
    name: str,
    outputs: Tensor | tuple[Tensor, ...],
    target: Tensor,
    *,
    taught: Tensor | None = None,
    distil: float = 0.0,
) -> Tensor:
    """The loss in float32; of a network with several stages' outputs, the sum over them.

    Args:
        taught: A teacher's output; the last output is also held against it, and the loss is
            ``distil`` * loss(last output, taught) + (1 - ``distil``) * the loss without a teacher.
    """
    stages = outputs if isinstance(outputs, tuple) else (outputs,)
    losses = [LOSSES[name](output.float(), target) for output in stages]
    loss = torch.stack(losses).sum() if len(losses) > 1 else losses[0]
    if taught is None:
        return loss
    return distil * LOSSES[name](stages[-1].float(), taught) + (1 - distil) * loss

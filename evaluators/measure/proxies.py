"""Zero-cost proxies: numbers of an untrained network that are said to foretell how well it does when trained.

Nobody has to believe them: what ranks of a proxy have to do with ranks of PSNR is measured wherever one is shown
(``results.analysis.correlation``). They were made for classifiers; "Zero-Cost Proxies for Lightweight NAS",
Abdelfattah et al., ICLR 2021, https://arxiv.org/abs/2101.08134 (code Apache-2.0) compares them there. Each function
names its paper and what differs for networks that restore images. Common to all: a few patches of the task's own
training data in place of a batch of classes, weights as our networks begin with from one seed, no batch norm to take
care of (our networks have none), and the logarithm, which changes no rank and keeps products over many layers
readable. Zen-NAS's score, which rests on batch norm, was tried without it and left out: over 46 networks of the
tabular benchmark, two seeds each, its rank correlation with PSNR was +0.19 (-0.11 to +0.45).

Parameters and MACs, which are proxies too and hard to beat, are on record of every trial exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from evaluators.data.pairs import PatchSource
from evaluators.data.tensors import to_tensor
from evaluators.training.losses import total_loss
from spaces.architecture import Architecture
from spaces.build import build, size_requirements
from spaces.measurement import Measurement
from spaces.parts import Network
from spaces.registry import UnknownNameError
from spaces.task import Task

BATCH = 16
_ATEN = torch.ops.aten
RECTIFIERS = {
    getattr(_ATEN, name) for name in ("relu", "leaky_relu", "_prelu_kernel", "silu", "gelu", "hardswish")
} | {getattr(_ATEN, name) for name in ("relu_", "leaky_relu_", "silu_", "gelu_", "hardswish_")}


class ProxyError(ValueError):
    """A proxy that says nothing of a network; the message says why."""


@dataclass(frozen=True)
class Patches:
    """A batch of input and target patches, and what they are in words.

    Attributes:
        inputs, targets: (N, C, H, W) float32.
    """

    inputs: Tensor
    targets: Tensor
    origin: str


def draw_patches(source: PatchSource, *, patch: int, seed: int, data: str) -> Patches:
    """The first training batch of a seed.

    Args:
        patch: Side of an input patch in pixels.
        data: The images' name and digest, for the protocol.
    """
    inputs, targets = source.batch(seed=seed, step=0, batch=BATCH, patch=patch)
    origin = f"{BATCH} patches of {patch}x{patch} of {data}"
    return Patches(to_tensor(inputs).contiguous(), to_tensor(targets).contiguous(), origin)


def synflow(network: Network, patches: Patches) -> float:
    """log10 of the sum over parameters of |w| dR/d|w|, where R is the output's sum for an image of ones.

    "Pruning neural networks without any data by iteratively conserving synaptic flow", Tanaka et al., NeurIPS 2020,
    https://arxiv.org/abs/2006.05467. All parameters, biases too, take their absolute values first.

    Deviations: the sum is over all output pixels; of the skip from input to output, which has no parameters, there is
    no gradient, and gates keep their sigmoids, so that the flow through them is damped; in float64.
    """
    network = deepcopy(network).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    ones = torch.ones_like(patches.inputs[:1], dtype=torch.float64)
    gradients = _gradients(network, network(ones).sum())
    return _log10(sum(float((w * g).abs().sum()) for w, g in gradients))


def gradient_norm(network: Network, patches: Patches) -> float:
    """log10 of the sum over weights of the Euclidean norm of the loss's gradient.

    From Abdelfattah et al. (above): the norms of convolutions' and linear layers' weights are added.

    Deviations: L1 loss to the real target patches instead of cross-entropy, and every parameter that isn't a vector.
    """
    network.train()
    loss = total_loss("l1", network(patches.inputs), patches.targets)
    return _log10(sum(float(g.norm()) for w, g in _gradients(network, loss) if w.ndim > 1))


def naswot(network: Network, patches: Patches) -> float:
    """Log-determinant of how alike images are in which units are on: high where they are told apart.

    "Neural Architecture Search without Training", Mellor et al., ICML 2021, https://arxiv.org/abs/2006.04647, original
    code MIT. Entry (i, j) of the matrix is the number of units that are both on or both off for images i and j.

    Deviations: a unit is on where what goes into its activation is above 0. That is the paper's own of ReLU, the same
    kink of LeakyReLU and PReLU, and of SiLU, GELU and Hardswish, which have none, where they turn from nearly shut to
    nearly linear. Units are all positions of all feature maps, so that wide and deep networks and large patches have
    more; a gate's sigmoid has none.

    Raises: ProxyError: for a network without these activations, or if two patches turn on the same units.
    """
    codes = _Codes(len(patches.inputs))
    with torch.no_grad(), codes:
        network.eval()(patches.inputs)
    if codes.units == 0:
        raise ProxyError("it has no ReLU or its like, whose on and off naswot compares")
    sign, logarithm = torch.linalg.slogdet(codes.agreeing)
    if sign <= 0 or not math.isfinite(float(logarithm)):
        raise ProxyError("two patches turn the same units on, so that naswot's matrix is singular")
    return float(logarithm)


PROXIES: dict[str, Callable[[Network, Patches], float]] = {
    "synflow": synflow,
    "gradient_norm": gradient_norm,
    "naswot": naswot,
}


def measure_proxy(
    name: str, architecture: Architecture, task: Task, patches: Patches, *, seed: int = 0
) -> Measurement:
    """A proxy of an untrained network; higher is said to be better. The same for the same seed; torch's is untouched.

    Raises:
        ProxyError: where it says nothing of this network.
        UnknownNameError: for an unknown proxy.
    """
    if name not in PROXIES:
        raise UnknownNameError("proxy", name, list(PROXIES))
    side = patches.inputs.shape[-1]
    if (least := size_requirements(architecture, task).padded(side, side)[0]) != side:
        raise ProxyError(f"it takes patches of {least} pixels, got {side}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        value = PROXIES[name](build(architecture, task), patches)
    return Measurement(name, value, "1", "max", proxy_protocol(patches, seed))


def proxy_protocol(patches: Patches, seed: int) -> str:
    """How all proxies of these patches and this seed are taken."""
    return f"untrained, seed {seed}, {patches.origin}"


def _gradients(network: Network, scalar: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    """(parameter, gradient) of the parameters that the scalar depends on."""
    parameters = list(network.parameters())
    found = torch.autograd.grad(scalar, parameters, allow_unused=True)
    return [(w.detach(), g) for w, g in zip(parameters, found, strict=True) if g is not None]


def _log10(value: float) -> float:
    if not (value > 0 and math.isfinite(value)):
        raise ProxyError(f"it comes to {value}, which has no logarithm")
    return math.log10(value)


class _Codes(TorchDispatchMode):
    """Counts for each two images the rectified units that agree, whichever module or function rectifies.

    Attributes:
        agreeing: (images, images).
        units: Of one image.
    """

    def __init__(self, images: int):
        super().__init__()
        self.agreeing = torch.zeros(images, images, dtype=torch.float64)
        self.units = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func.overloadpacket in RECTIFIERS:
            on = (args[0] > 0).flatten(1).float()
            self.units += on.shape[1]
            self.agreeing += (on @ on.T + (1 - on) @ (1 - on).T).double()
        return func(*args, **(kwargs or {}))

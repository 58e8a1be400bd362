"""Convolutions that train in a richer form and are deployed as one plain convolution.

``acb``: "ACNet: Strengthening the Kernel Skeletons for Powerful CNN via Asymmetric Convolution Blocks", Ding et
al., ICCV 2019, https://arxiv.org/abs/1908.03930; original code https://github.com/DingXiaoH/ACNet (MIT).
Deviations: by default no batch normalisation, as in super-resolution (team AiriA_CG of AIM 2020,
https://arxiv.org/abs/2009.06943). The kernels then add up before the convolution, not their outputs after it:
the same function and gradient for one convolution's work instead of three.

``basis``: the multi-kernel merging of team UESTC-MediaLab in AIM 2020 (https://arxiv.org/abs/2009.06943); from the
text, no code is public. Deviations: what happens to the old bases when a stage adds new ones isn't stated; here the
merged kernel stays what it was (``KernelBasisConvolution.add_bases``). Biases are merged as kernels are and start
at zero.

Other forms, ``conv3xc``, ``edbb``, ``ecb`` and ``repvgg``, are in ``spaces.layers.reparameterised``.

The cost of an architecture is that of its merged form: ``spaces.parts`` merges before it counts,
``results.export.files`` before it writes ONNX or PT2.

A form may also be the training's and not the architecture's: ``convert`` changes the convolutions of any network from
one form to another, and what the network does stays the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.layers.mergeable import MergeableConvolution as MergeableConvolution
from spaces.layers.mergeable import check_odd
from spaces.layers.reparameterised import ECB, EDBB, Conv3XC, RepVGGConvolution
from spaces.registry import UnknownNameError

BASES = 3  # UESTC-MediaLab's first stage


class AsymmetricConvolution(MergeableConvolution):
    """A square, a vertical (kernel x 1) and a horizontal (1 x kernel) convolution, added up (ACNet).

    Args:
        normalised: Each of the three is followed by its own batch normalisation and has no bias, as in ACNet's
            image classifiers; the merged form then uses the running statistics.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        *,
        groups: int = 1,
        bias: bool = True,
        normalised: bool = False,
    ):
        super().__init__(in_channels, out_channels, kernel, groups=groups, bias=bias or normalised)
        self.normalised = normalised
        make = partial(nn.Conv2d, in_channels, out_channels, groups=groups, bias=bias and not normalised)
        self.square_conv = make(kernel, padding=kernel // 2)
        self.ver_conv = make((kernel, 1), padding=(kernel // 2, 0))
        self.hor_conv = make((1, kernel), padding=(0, kernel // 2))
        if normalised:
            self.square_bn = nn.BatchNorm2d(out_channels)
            self.ver_bn = nn.BatchNorm2d(out_channels)
            self.hor_bn = nn.BatchNorm2d(out_channels)

    @property
    def form(self) -> str:
        return "acb"

    def forward(self, x: Tensor) -> Tensor:
        if not self.normalised:
            return super().forward(x)
        square, vertical = self.square_bn(self.square_conv(x)), self.ver_bn(self.ver_conv(x))
        return square + vertical + self.hor_bn(self.hor_conv(x))

    def merged_tensors(self) -> tuple[Tensor, Tensor | None]:
        square, bias_square = self._folded("square")
        vertical, bias_vertical = self._folded("ver")
        horizontal, bias_horizontal = self._folded("hor")
        far = self.kernel // 2
        weight = square + functional.pad(vertical, (far, far)) + functional.pad(horizontal, (0, 0, far, far))
        if bias_square is None or bias_vertical is None or bias_horizontal is None:
            return weight, None
        return weight, bias_square + bias_vertical + bias_horizontal

    @torch.no_grad()
    def take(self, weight: Tensor, bias: Tensor | None) -> None:
        for parameter in self.parameters():
            parameter.zero_()
        square = self.square_conv
        square.weight.copy_(weight)
        if square.bias is not None and bias is not None:
            square.bias.copy_(bias)

    def _folded(self, name: str) -> tuple[Tensor, Tensor | None]:
        """Kernel and bias of one of the three, its normalisation included."""
        convolution = cast(nn.Conv2d, self.get_submodule(f"{name}_conv"))
        if not self.normalised:
            return convolution.weight, convolution.bias
        norm = cast(nn.BatchNorm2d, self.get_submodule(f"{name}_bn"))
        mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        gain = norm.weight / torch.sqrt(variance + norm.eps)
        return convolution.weight * gain.reshape(-1, 1, 1, 1), norm.bias - mean * gain


class KernelBasisConvolution(MergeableConvolution):
    """One kernel merged from several bases in each forward pass (UESTC-MediaLab).

    ``weight`` is (bases * out_channels, in_channels / groups, kernel, kernel), one basis after the other, because
    torch's channels-last format takes four dimensions only; ``bias`` is (bases, out_channels). The merged kernel is
    the bases' sum weighted by ``coefficients``, (bases,), which start at 1 / bases.

    Args:
        bases: How many, at least 1.
        learned: The coefficients are trained; otherwise they stay 1 / bases, as published.

    Raises: ValueError: for no basis.
    """

    coefficients: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        *,
        groups: int = 1,
        bias: bool = True,
        bases: int = BASES,
        learned: bool = False,
    ):
        super().__init__(in_channels, out_channels, kernel, groups=groups, bias=bias)
        if bases < 1:
            raise ValueError(f"'bases' is at least 1, got {bases}")
        self.weight = nn.Parameter(_random_bases(self._shape(bases)))
        self.bias = nn.Parameter(torch.zeros(bases, out_channels)) if bias else None
        start = torch.full((bases,), 1 / bases)
        if learned:
            self.coefficients = nn.Parameter(start)
        else:
            self.register_buffer("coefficients", start)

    @property
    def form(self) -> str:
        return f"basis:{len(self.coefficients)}"

    def merged_tensors(self) -> tuple[Tensor, Tensor | None]:
        bases = self.weight.unflatten(0, (len(self.coefficients), self.out_channels))
        bias = None if self.bias is None else _weighted(self.coefficients, self.bias).sum(0)
        return _weighted(self.coefficients, bases).sum(0), bias

    @torch.no_grad()
    def take(self, weight: Tensor, bias: Tensor | None) -> None:
        number = len(self.coefficients)
        self.coefficients.fill_(1 / number)
        self.weight.copy_(weight.repeat(number, 1, 1, 1))
        if self.bias is not None and bias is not None:
            self.bias.copy_(bias.expand(number, -1))

    def _shape(self, bases: int) -> tuple[int, ...]:
        return bases, self.out_channels, self.in_channels // self.groups, self.kernel, self.kernel

    @torch.no_grad()
    def add_bases(self, number: int, generator: torch.Generator | None = None) -> None:
        """Add random bases, as a later stage of training does, and leave the merged kernel as it is.

        All coefficients become 1 / (old + number), as published. That alone would change the merged kernel, so
        each old basis is scaled to keep its part, and the new bases' sum is taken off the old ones in equal
        shares: the new directions count for the training from here on, not for the output now. The parameters
        are new tensors: make the optimiser and any average of the weights anew. Their shapes are then no longer
        the architecture's, so keep the merged weights.

        Args:
            generator: What the new bases are drawn from, on the CPU; torch's global one by default.

        Raises: ValueError: if ``number`` is below 1.
        """
        if number < 1:
            raise ValueError(f"expected at least 1 new basis, got {number}")
        old = len(self.coefficients)
        fresh = _random_bases(self._shape(number), generator).to(self.weight)
        scale = (old + number) * self.coefficients
        kept = _weighted(scale, self.weight.unflatten(0, (old, -1)))
        kept = kept - fresh.unflatten(0, (number, -1)).sum(0) / old
        if self.bias is not None:
            biases = torch.cat((_weighted(scale, self.bias), self.bias.new_zeros(number, self.out_channels)))
            self.bias = nn.Parameter(biases, requires_grad=self.bias.requires_grad)
        weights = torch.cat((kept.flatten(0, 1), fresh))
        self.weight = nn.Parameter(weights, requires_grad=self.weight.requires_grad)
        equal = self.coefficients.new_full((old + number,), 1 / (old + number))
        if isinstance(self.coefficients, nn.Parameter):
            equal = nn.Parameter(equal, requires_grad=self.coefficients.requires_grad)
        self.coefficients = equal


def plain_convolution(
    in_channels: int, out_channels: int, kernel: int = 3, *, groups: int = 1, bias: bool = True
) -> nn.Module:
    """A plain size-keeping convolution.

    Raises: ValueError: for an even kernel.
    """
    check_odd(kernel)
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, groups=groups, bias=bias)


_CONVOLUTIONS: dict[str, Callable[..., nn.Module]] = {
    "plain": plain_convolution,
    "acb": AsymmetricConvolution,
    "basis": KernelBasisConvolution,
    "conv3xc": Conv3XC,
    "edbb": EDBB,
    "ecb": ECB,
    "repvgg": RepVGGConvolution,
}
CONVOLUTION_NAMES = tuple(_CONVOLUTIONS)


def make_convolution(
    name: str, in_channels: int, out_channels: int, kernel: int = 3, *, groups: int = 1, bias: bool = True
) -> nn.Module:
    """A new size-keeping convolution (N, in_channels, H, W) to (N, out_channels, H, W).

    Args:
        name: One of ``CONVOLUTION_NAMES``; all of one shape cost the same once merged.
        kernel: Side in pixels, odd.

    Raises:
        UnknownNameError: for another name.
        ValueError: for an even kernel.
    """
    if name not in _CONVOLUTIONS:
        raise UnknownNameError("convolution", name, list(_CONVOLUTIONS))
    return _CONVOLUTIONS[name](in_channels, out_channels, kernel, groups=groups, bias=bias)


def merge(module: nn.Module) -> nn.Module:
    """The module with every mergeable convolution in it replaced, in place, by its plain form.

    A convolution that is used in several places stays shared. A module that is itself mergeable isn't
    changed; its plain form is returned.
    """
    return _merge(module, {})


def check_form(form: str) -> None:
    """Nothing, if ``convert`` knows the form.

    Raises: ValueError: else, with the nearest one.
    """
    kind, _, bases = form.partition(":")
    if kind not in _CONVOLUTIONS:
        known = [f"basis:{BASES}" if name == "basis" else name for name in _CONVOLUTIONS]
        raise UnknownNameError("form", form, known)
    if kind == "basis" and not re.fullmatch("[1-9][0-9]{0,2}", bases):
        raise ValueError(f"expected the number of bases, as in 'basis:{BASES}', got '{form}'")
    if kind != "basis" and bases:
        raise ValueError(f"form '{kind}' takes no number, got '{form}'")


def forms(network: nn.Module) -> dict[str, str]:
    """The convolutions that ``convert`` changes, by name, and the form of each.

    These are convolutions of an odd kernel from 3x3 on that keep the size. One that is used in several places
    has the name of the first. Left out: those with batch normalisation, which no plain one can be turned back into.
    """
    found: dict[str, str] = {}
    inside: set[nn.Module] = set()  # a rich form's own convolutions
    for name, module in network.named_modules():
        if isinstance(module, MergeableConvolution):
            inside.update(module.modules())
            if not getattr(module, "normalised", False):
                found[name] = module.form
        elif module not in inside and _keeps_size(module):
            found[name] = "plain"
    return found


def convert(
    network: nn.Module, form: str | Mapping[str, str], generator: torch.Generator | None = None
) -> None:
    """Bring convolutions to another form, in place; what the network computes stays the same up to rounding.

    A form is ``basis:N`` or another of ``CONVOLUTION_NAMES``. Bases are added as
    ``KernelBasisConvolution.add_bases`` does. Parameters of what changed are new tensors: make the optimiser anew.

    Args:
        form: Of all that ``forms`` names, or of each by name, as ``forms`` gave it.
        generator: What new bases are drawn from.

    Raises: ValueError: for an unknown form.
    """
    now = forms(network)
    wanted = dict.fromkeys(now, form) if isinstance(form, str) else form
    for name in dict.fromkeys(wanted.values()):
        check_form(name)
    changed = {
        network.get_submodule(name): _converted(network.get_submodule(name), to, generator)
        for name, to in wanted.items()
        if now[name] != to
    }
    for module in list(network.modules()):
        for name, child in module._modules.items():
            if child in changed:
                module._modules[name] = changed[child]


def _keeps_size(module: nn.Module) -> bool:
    """Whether this is a plain convolution that the rich forms can replace."""
    if type(module) is not nn.Conv2d:  # a subclass may do more
        return False
    side = module.kernel_size[0]
    return (
        module.kernel_size == (side, side)
        and side >= 3
        and side % 2 == 1
        and (module.stride, module.dilation) == ((1, 1), (1, 1))
        and module.padding == (side // 2, side // 2)
        and module.padding_mode == "zeros"
    )


def _converted(layer: nn.Module, form: str, generator: torch.Generator | None) -> nn.Module:
    """The layer in another form; only a layer that gets more bases stays the same object."""
    kind, _, bases = form.partition(":")
    if isinstance(layer, KernelBasisConvolution) and kind == "basis":
        more = int(bases) - len(layer.coefficients)
        if more > 0:
            layer.add_bases(more, generator)
            return layer
    plain = cast(nn.Conv2d, layer.merged() if isinstance(layer, MergeableConvolution) else layer)
    if kind == "plain":
        return plain
    weight = plain.weight
    make = partial(KernelBasisConvolution, bases=1) if kind == "basis" else _CONVOLUTIONS[kind]
    with torch.device("meta"):  # draws no random numbers
        rich = make(
            plain.in_channels,
            plain.out_channels,
            plain.kernel_size[0],
            groups=plain.groups,
            bias=plain.bias is not None,
        )
    assert isinstance(rich, MergeableConvolution)
    rich = rich.to(weight.dtype).to_empty(device=weight.device)
    rich.take(weight, plain.bias)
    rich.requires_grad_(weight.requires_grad).train(plain.training)
    if isinstance(rich, KernelBasisConvolution) and int(bases) > 1:
        rich.add_bases(int(bases) - 1, generator)
    return rich


def _merge(module: nn.Module, done: dict[nn.Module, nn.Module]) -> nn.Module:
    if module not in done:
        done[module] = module.merged() if isinstance(module, MergeableConvolution) else module
        for name, child in module._modules.items() if done[module] is module else ():
            if child is not None:
                module._modules[name] = _merge(child, done)
    return done[module]


def _random_bases(shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Xavier-uniform bases, one after the other along the first dimension."""
    bases = torch.empty(shape)
    for basis in bases:
        nn.init.xavier_uniform_(basis, generator=generator)
    return bases.flatten(0, 1)


def _weighted(coefficients: Tensor, tensors: Tensor) -> Tensor:
    return coefficients.reshape(-1, *[1] * (tensors.ndim - 1)) * tensors

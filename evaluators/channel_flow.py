"""Follows channels through a network: which slices of which tensors have to go when one channel goes.

Every index of every dimension of every parameter and buffer has a number. Running the network, each operation says
which numbers are one channel (a convolution's input and its kernel's second dimension, the summands of a skip, the
r^2 channels of a pixel shuffle) and what it costs in terms of them. ``evaluators.channels`` makes groups of that.

The same run can mask: with some channels removed, every activation is zero there, and means and normalisations over
channels are over the kept ones. That is what a pruned network must be equal to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from spaces.cost import CHARGED_ACTIVATIONS

Ids = np.ndarray  # of a dimension: a number per index, FIXED where nothing can be removed
FIXED = -1


@dataclass(frozen=True)
class Term:
    """A part of the cost: ``constant`` times, per dimension, how many of its channels are kept.

    Attributes:
        counts: Which field of ``spaces.cost.Cost`` it belongs to.
    """

    counts: str
    constant: float
    dimensions: tuple[Ids, ...]


@dataclass(frozen=True)
class _Labels:
    """The ids of a tensor's dimensions, and whether the tensor depends on the input."""

    dimensions: tuple[Ids, ...]
    activation: bool

    def at(self, axis: int) -> Ids:
        return self.dimensions[axis]


class ChannelFlow(TorchFunctionMode):
    """Labels every tensor that is made while it is active.

    Args:
        tensors: The network's parameters and buffers by name.
        kept: For each id whether it is kept; masks the activations then.

    Attributes:
        numbers: Per tensor's name the ids of each dimension.
        ties: Pairs of arrays of ids that are one channel, elementwise.
        fixed: Ids that can't be removed.
        consumed: Ids that some operation sums over; others lead nowhere.
        terms: The cost.
        opaque: Names of operations that no rule knows; what goes through them is fixed.
    """

    def __init__(self, tensors: Mapping[str, Tensor], kept: np.ndarray | None = None):
        super().__init__()
        self.numbers: dict[str, tuple[Ids, ...]] = {}
        self.ties: list[tuple[Ids, Ids]] = []
        self.fixed: list[Ids] = []
        self.consumed: list[Ids] = []
        self.terms: list[Term] = []
        self.opaque: set[str] = set()
        self.count = 0
        self._kept = kept
        self._labels: dict[int, tuple[Tensor, _Labels]] = {}
        for name, tensor in tensors.items():
            self.numbers[name] = tuple(self._new(size) for size in tensor.shape)
            self._labels[id(tensor)] = tensor, _Labels(self.numbers[name], activation=False)

    def _new(self, size: int) -> Ids:
        self.count += size
        return np.arange(self.count - size, self.count)

    def labels(self, tensor: Tensor) -> _Labels:
        """Of a tensor; one that was never seen is an input or a constant."""
        if id(tensor) in self._labels:
            return self._labels[id(tensor)][1]
        return _Labels(tuple(np.full(size, FIXED) for size in tensor.shape), activation=True)

    def tie(self, first: Ids, second: Ids) -> None:
        """Both are the same channels, elementwise."""
        assert len(first) == len(second), (len(first), len(second))
        both = (first != FIXED) & (second != FIXED)
        self.ties.append((first[both], second[both]))
        self.fix(first[second == FIXED])
        self.fix(second[first == FIXED])

    def fix(self, ids: Ids) -> None:
        """None of these can be removed."""
        self.fixed.append(ids[ids != FIXED])

    def cost(self, counts: str, total: float, *dimensions: Ids) -> None:
        """Add a term that is ``total`` with all channels."""
        self.terms.append(Term(counts, total / prod(len(d) for d in dimensions), dimensions))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        rule = RULES.get(name)
        if self._kept is not None and name in _MASKED:
            out = _MASKED[name](self, func, *args, **kwargs)
        else:
            out = func(*args, **kwargs)
        made = [out] if isinstance(out, Tensor) else out
        if not isinstance(made, tuple | list) or not all(isinstance(t, Tensor) for t in made) or not made:
            return out
        taken = list(_tensors((*args, *kwargs.values())))
        if rule is None:
            found = self._unknown(name, taken, made)
        else:
            found = rule(self, made, *args, **kwargs)
        activation = any(self.labels(t).activation for t in taken)
        for tensor, dimensions in zip(made, found, strict=True):
            assert tuple(map(len, dimensions)) == tuple(tensor.shape), name
            self._labels[id(tensor)] = tensor, _Labels(tuple(dimensions), activation)
        if self._kept is not None and activation:
            made = [self._masked(tensor) for tensor in made]
            return made[0] if isinstance(out, Tensor) else type(out)(made)
        return out

    def _unknown(self, name: str, taken: Sequence[Tensor], made: Sequence[Tensor]) -> list[tuple[Ids, ...]]:
        """Nothing that goes in can be removed; nothing that comes out either."""
        ids = [d for t in taken for d in self.labels(t).dimensions if (d != FIXED).any()]
        if ids:
            self.opaque.add(name)
        for dimension in ids:
            self.fix(dimension)
        return [tuple(np.full(size, FIXED) for size in t.shape) for t in made]

    def keeps(self, ids: Ids) -> np.ndarray:
        """Which of a dimension's indices are kept."""
        assert self._kept is not None
        return np.where(ids == FIXED, True, self._kept[ids])

    def _masked(self, tensor: Tensor) -> Tensor:
        labels = self.labels(tensor)
        with torch._C.DisableTorchFunction():
            for axis, ids in enumerate(labels.dimensions):
                keep = self.keeps(ids)
                if not keep.all():
                    shape = [1] * tensor.ndim
                    shape[axis] = -1
                    tensor = tensor.masked_fill(~torch.from_numpy(keep).reshape(shape), 0.0)
        self._labels[id(tensor)] = tensor, labels
        return tensor


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


def charge_activations(flow: ChannelFlow, network: nn.Module) -> list[Any]:
    """Hooks that add what the challenges charge for activation modules; remove them afterwards."""

    def charge(_module: nn.Module, _args: Any, out: Tensor) -> None:
        flow.cost("activation_ops", out.numel(), flow.labels(out).at(min(1, out.ndim - 1)))

    return [m.register_forward_hook(charge) for m in network.modules() if isinstance(m, CHARGED_ACTIVATIONS)]


# Rules: from what an operation took and made to the ids of what it made.
Rule = Callable[..., list[tuple[Ids, ...]]]
RULES: dict[str, Rule] = {}
_MASKED: dict[str, Callable[..., Any]] = {}


def _rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers a rule for operations of these names, several in a text."""

    def add(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(" ".join(names).split(), function))
        return function

    return add


def _masked_rule(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        _MASKED[name] = function
        return function

    return add


def _fixed(size: int) -> Ids:
    return np.full(size, FIXED)


@_rule(
    "relu leaky_relu gelu silu sigmoid tanh hardswish hardsigmoid hardtanh relu6 elu clamp clamp_min",
    "square sqrt rsqrt abs neg exp log softplus contiguous to float bfloat16 detach clone dropout",
    "zeros_like ones_like normalize __neg__ type_as type requires_grad_ mish logit floor round",
    "roll flip",  # of height and width
)
def _elementwise(flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, *_: Any, **__: Any) -> list[Any]:
    return [flow.labels(x).dimensions]


@_rule(
    "add sub mul div __add__ __radd__ __iadd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__",
    "__rdiv__ __pow__ pow maximum minimum lerp",
)
def _broadcast(flow: ChannelFlow, made: Sequence[Tensor], *args: Any, **kwargs: Any) -> list[Any]:
    taken = [flow.labels(t) for t in _tensors((*args, *kwargs.values()))]
    return [tuple(_together(flow, taken, size, -axis) for axis, size in _from_last(made[0]))]


def _from_last(tensor: Tensor) -> list[tuple[int, int]]:
    """(distance from the end, size) of each dimension, in order."""
    return [(tensor.ndim - i, size) for i, size in enumerate(tensor.shape)]


def _together(flow: ChannelFlow, taken: Sequence[_Labels], size: int, axis: int) -> Ids:
    """The ids of one dimension of a sum or product; a dimension of 1 that is stretched stays."""
    ids = [t.at(axis) for t in taken if len(t.dimensions) >= -axis]
    for stretched in (i for i in ids if len(i) == 1 < size):
        flow.fix(stretched)
    whole = [i for i in ids if len(i) == size]
    if size == 1:  # an unlabelled 1 may be stretched to anything
        whole = [i for i in whole if i[0] != FIXED] or whole
    for other in whole[1:]:
        flow.tie(whole[0], other)
    return whole[0] if whole else _fixed(size)


@_rule("conv2d")
def _conv2d(
    flow: ChannelFlow,
    made: Sequence[Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> list[Any]:
    out = made[0]
    outs, ins = _kernel(flow, weight)
    per_group = weight.shape[1]
    taken = flow.labels(x).at(1)
    if groups == 1:
        flow.tie(taken, ins)
    elif per_group == 1:  # depthwise: a group goes with its channel
        flow.tie(np.repeat(taken, weight.shape[0] // groups), outs)
        flow.fix(ins)
    else:  # the number of groups stays: the same channels of each go
        for group in taken.reshape(groups, -1):
            flow.tie(group, ins)
        first, *others = outs.reshape(groups, -1)
        for group in others:
            flow.tie(first, group)
    flow.consumed.append(taken)
    macs = out.numel() * prod(weight.shape[1:])
    flow.cost("macs", macs, *((outs,) if per_group == 1 else (outs, ins)))
    _add_bias(flow, out, outs, bias)
    return [(flow.labels(x).at(0), outs, _fixed(out.shape[2]), _fixed(out.shape[3]))]


def _kernel(flow: ChannelFlow, weight: Tensor) -> tuple[Ids, Ids]:
    """The ids of the first two dimensions; those of the kernel's sides are fixed."""
    labels = flow.labels(weight)
    for ids in labels.dimensions[2:]:
        flow.fix(ids)
    return labels.at(0), labels.at(1)


def _add_bias(flow: ChannelFlow, out: Tensor, outs: Ids, bias: Tensor | None) -> None:
    if bias is not None:
        flow.tie(outs, flow.labels(bias).at(-1))
        flow.cost("bias_ops", out.numel(), outs)


@_rule("conv_transpose2d")
def _conv_transpose2d(
    flow: ChannelFlow,
    made: Sequence[Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> list[Any]:
    out = made[0]
    ins, outs = _kernel(flow, weight)
    taken = flow.labels(x).at(1)
    if groups != 1:
        for ids in (taken, ins, outs):
            flow.fix(ids)
        outs = _fixed(out.shape[1])
    else:
        flow.tie(taken, ins)
        flow.consumed.append(taken)
    macs = x.numel() * prod(weight.shape[1:])
    on_output = out.numel() * weight.shape[0] // groups * prod(weight.shape[2:])
    flow.cost("macs", macs, ins, outs)
    flow.cost("transposed_excess", on_output - macs, ins, outs)
    _add_bias(flow, out, outs, bias)
    return [(flow.labels(x).at(0), outs, _fixed(out.shape[2]), _fixed(out.shape[3]))]


@_rule("linear")
def _linear(
    flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> list[Any]:
    outs, ins = flow.labels(weight).dimensions
    taken = flow.labels(x)
    flow.tie(taken.at(-1), ins)
    flow.consumed.append(ins)
    flow.cost("macs", made[0].numel() * len(ins), outs, ins)
    _add_bias(flow, made[0], outs, bias)
    return [(*taken.dimensions[:-1], outs)]


@_rule("matmul", "__matmul__", "bmm")
def _matmul(flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, y: Tensor) -> list[Any]:
    a, b = flow.labels(x), flow.labels(y)
    flow.tie(a.at(-1), b.at(-2))
    flow.consumed += [a.at(-1), b.at(-2)]
    flow.cost("macs", made[0].numel() * y.shape[-2], a.at(-2), a.at(-1), b.at(-1))
    batch = [
        _together(flow, [a, b], size, -distance) for distance, size in _from_last(made[0]) if distance > 2
    ]
    return [(*batch, a.at(-2), b.at(-1))]


@_rule("tensordot")
def _tensordot(
    flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, y: Tensor, dims: int = 2, **_: Any
) -> list[Any]:
    if dims != 1:
        return flow._unknown("tensordot", [x, y], made)
    a, b = flow.labels(x), flow.labels(y)
    flow.tie(a.at(-1), b.at(0))
    flow.consumed += [a.at(-1), b.at(0)]
    rest = (*a.dimensions[:-1], *b.dimensions[1:])
    flow.cost("macs", made[0].numel() * y.shape[0], a.at(-1), *rest)
    return [rest]


@_rule("prelu")
def _prelu(flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, weight: Tensor) -> list[Any]:
    labels = flow.labels(x)
    slopes = flow.labels(weight).at(0)
    if len(slopes) == 1:
        flow.fix(slopes)
    else:
        flow.tie(labels.at(1), slopes)
    return [labels.dimensions]


@_rule("instance_norm", "batch_norm")
def _channel_norm(
    flow: ChannelFlow,
    made: Sequence[Tensor],
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *_: Any,
    **__: Any,
) -> list[Any]:
    labels = flow.labels(x)
    for tensor in (running_mean, running_var, weight, bias):
        if tensor is not None:
            flow.tie(labels.at(1), flow.labels(tensor).at(0))
    return [labels.dimensions]


@_rule("layer_norm")
def _layer_norm(
    flow: ChannelFlow,
    made: Sequence[Tensor],
    x: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *_: Any,
    **__: Any,
) -> list[Any]:
    labels = flow.labels(x)
    if len(normalized_shape) != 1:
        return flow._unknown("layer_norm", [x], made)
    for tensor in (weight, bias):
        if tensor is not None:
            flow.tie(labels.at(-1), flow.labels(tensor).at(0))
    return [labels.dimensions]


@_masked_rule("layer_norm")
def _masked_layer_norm(
    flow: ChannelFlow,
    func: Any,
    x: Tensor,
    shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    keep = torch.from_numpy(flow.keeps(flow.labels(x).at(-1)))
    small = [t if t is None else t[keep] for t in (weight, bias)]
    out = torch.zeros_like(x)
    out[..., keep] = func(x[..., keep], (int(keep.sum()),), *small, eps)
    return out


@_rule("softmax", "log_softmax")
def _softmax(
    flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, dim: int | None = None, **_: Any
) -> list[Any]:
    labels = flow.labels(x)
    assert dim is not None
    flow.fix(labels.at(dim))  # zero isn't nothing here
    return [labels.dimensions]


def _axes(dim: Any, ndim: int) -> set[int]:
    if dim is None:
        return set(range(ndim))
    return {d % ndim for d in (dim if isinstance(dim, tuple | list) else (dim,))}


@_rule("mean sum std var amax amin")
def _reduce(
    flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any
) -> list[Any]:
    labels, axes = flow.labels(x), _axes(dim, x.ndim)
    kept = [
        _fixed(1) if axis in axes else ids
        for axis, ids in enumerate(labels.dimensions)
        if keepdim or axis not in axes
    ]
    return [tuple(kept)]


@_masked_rule("mean")
def _masked_mean(flow: ChannelFlow, func: Any, x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    labels = flow.labels(x)
    out = func(x, dim=dim, keepdim=keepdim)
    if labels.activation:
        for axis in _axes(dim, x.ndim):
            keep = flow.keeps(labels.at(axis))
            out = out * (len(keep) / max(1, keep.sum()))
    return out


@_rule("cat", "concat")
def _cat(flow: ChannelFlow, made: Sequence[Tensor], tensors: Sequence[Tensor], dim: int = 0) -> list[Any]:
    taken = [flow.labels(t) for t in tensors]
    axis = dim % made[0].ndim
    found = []
    for i, size in enumerate(made[0].shape):
        if i == axis:
            found.append(np.concatenate([t.at(i) for t in taken]))
        else:
            found.append(_together(flow, taken, size, i - made[0].ndim))
    return [tuple(found)]


@_rule("stack")
def _stack(flow: ChannelFlow, made: Sequence[Tensor], tensors: Sequence[Tensor], dim: int = 0) -> list[Any]:
    taken = [flow.labels(t) for t in tensors]
    axis = dim % made[0].ndim
    ndim = made[0].ndim - 1
    rest = [_together(flow, taken, tensors[0].shape[i], i - ndim) for i in range(ndim)]
    rest.insert(axis, _fixed(len(tensors)))
    return [tuple(rest)]


@_rule("split", "chunk", "tensor_split", "split_with_sizes")
def _split(
    flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, _sizes: Any = None, dim: int = 0, **__: Any
) -> list[Any]:
    labels, axis = flow.labels(x), dim % x.ndim
    places = np.cumsum([t.shape[axis] for t in made])[:-1]
    pieces = np.split(labels.at(axis), places)
    return [(*labels.dimensions[:axis], piece, *labels.dimensions[axis + 1 :]) for piece in pieces]


@_rule("unbind")
def _unbind(flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, dim: int = 0) -> list[Any]:
    labels, axis = flow.labels(x), dim % x.ndim
    flow.fix(labels.at(axis))
    return [(*labels.dimensions[:axis], *labels.dimensions[axis + 1 :])] * len(made)


@_rule("__getitem__")
def _getitem(flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, index: Any) -> list[Any]:
    labels = flow.labels(x)
    items = list(index) if isinstance(index, tuple) else [index]
    if any(isinstance(i, Tensor) for i in items):
        return flow._unknown("__getitem__", [x], made)
    missing = x.ndim - sum(i is not None and i is not Ellipsis for i in items)
    place = items.index(Ellipsis) if Ellipsis in items else len(items)
    items[place : place + 1] = [slice(None)] * missing
    found: list[Ids] = []
    axis = 0
    for item in items:
        if item is None:
            found.append(_fixed(1))
            continue
        if isinstance(item, slice):
            found.append(labels.at(axis)[item])
        else:
            flow.fix(labels.at(axis)[[item]])
        axis += 1
    return [tuple(found)]


@_rule("narrow")
def _narrow(
    flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, dim: int, start: int, length: int
) -> list[Any]:
    found = list(flow.labels(x).dimensions)
    found[dim] = found[dim][start : start + length]
    return [tuple(found)]


@_rule("pad")
def _pad(flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, pad: Sequence[int], *_: Any, **__: Any) -> Any:
    found = list(flow.labels(x).dimensions)
    for i, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        found[-1 - i] = np.concatenate((_fixed(before), found[-1 - i], _fixed(after)))
    return [tuple(found)]


@_rule("pixel_shuffle")
def _pixel_shuffle(flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, factor: int) -> list[Any]:
    labels = flow.labels(x)
    cells = labels.at(1).reshape(-1, factor**2)
    for other in cells.T[1:]:
        flow.tie(cells[:, 0], other)
    return [(labels.at(0), cells[:, 0], *map(_fixed, made[0].shape[2:]))]


@_rule("pixel_unshuffle")
def _pixel_unshuffle(flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, factor: int) -> list[Any]:
    labels = flow.labels(x)
    return [(labels.at(0), np.repeat(labels.at(1), factor**2), *map(_fixed, made[0].shape[2:]))]


@_rule("interpolate max_pool2d avg_pool2d adaptive_avg_pool2d upsample")
def _resample(flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, *_: Any, **__: Any) -> list[Any]:
    labels = flow.labels(x)
    return [(labels.at(0), labels.at(1), *map(_fixed, made[0].shape[2:]))]


@_rule("permute")
def _permute(flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, *dims: Any) -> list[Any]:
    order = dims[0] if isinstance(dims[0], tuple | list) else dims
    return [tuple(flow.labels(x).at(d) for d in order)]


@_rule("transpose", "swapaxes")
def _transpose(flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, first: int, second: int) -> list[Any]:
    found = list(flow.labels(x).dimensions)
    found[first], found[second] = found[second], found[first]
    return [tuple(found)]


@_rule("flatten")
def _flatten(
    flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, start_dim: int = 0, end_dim: int = -1
) -> list[Any]:
    labels, first, last = flow.labels(x), start_dim % x.ndim, end_dim % x.ndim
    merged = labels.dimensions[first : last + 1]
    free = [i for i, ids in enumerate(merged) if (ids != FIXED).any()]
    if len(free) > 1:
        return flow._unknown("flatten", [x], made)
    ids = _fixed(prod(map(len, merged)))
    if free:
        shape = [-1 if i == free[0] else 1 for i in range(len(merged))]
        ids = np.broadcast_to(merged[free[0]].reshape(shape), [len(m) for m in merged]).reshape(-1)
    return [(*labels.dimensions[:first], ids, *labels.dimensions[last + 1 :])]


@_rule("unflatten")
def _unflatten(flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, dim: int, sizes: Any) -> list[Any]:
    labels, axis = flow.labels(x), dim % x.ndim
    count = made[0].ndim - x.ndim + 1
    grid = labels.at(axis).reshape(made[0].shape[axis : axis + count])
    return [(*labels.dimensions[:axis], *_spread(flow, grid), *labels.dimensions[axis + 1 :])]


def _spread(flow: ChannelFlow, grid: np.ndarray) -> list[Ids]:
    """A grid of ids as ids of its axes: all on the one that they vary along, or tied to be all on the last."""
    found = [_fixed(size) for size in grid.shape]
    varying = [i for i in range(grid.ndim) if (grid != np.take(grid, [0], axis=i)).any()]
    axis = varying[0] if len(varying) == 1 else grid.ndim - 1
    lines = np.moveaxis(grid, axis, -1).reshape(-1, grid.shape[axis])
    for line in lines[1:]:
        flow.tie(lines[0], line)
    found[axis] = lines[0]
    return found


@_rule("reshape", "view")
def _reshape(flow: ChannelFlow, made: Sequence[Tensor], x: Tensor, *_: Any, **__: Any) -> list[Any]:
    """Only where dimensions of 1 come or go."""
    if [s for s in x.shape if s != 1] != [s for s in made[0].shape if s != 1]:
        return flow._unknown("reshape", [x], made)
    rest = iter(ids for ids in flow.labels(x).dimensions if len(ids) != 1)
    return [tuple(_fixed(1) if size == 1 else next(rest) for size in made[0].shape)]

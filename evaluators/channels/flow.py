"""Follows channels through a network: which slices of which tensors have to go when one channel goes.

Every index of every dimension of every parameter and buffer has a number. Running the network, each operation says
which numbers are one channel (a convolution's input and its kernel's second dimension, the summands of a skip, the r^2
channels of a pixel shuffle) and what it costs in terms of them. ``evaluators.channels.groups`` makes groups of that.

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

from spaces.cost import CHARGED_ACTIVATIONS, resizing_ops

Ids = np.ndarray  # of a dimension: a number per index, FIXED where nothing can be removed
Dimensions = tuple[Ids, ...]  # of a tensor
FIXED = -1


@dataclass(frozen=True)
class Term:
    """A part of the cost: ``constant`` times, per dimension, how many of its channels are kept.

    Attributes:
        counts: Which field of ``spaces.cost.Cost`` it belongs to.
    """

    counts: str
    constant: float
    dimensions: Dimensions


@dataclass(frozen=True)
class _Labels:
    """The ids of a tensor's dimensions, and whether the tensor depends on the input."""

    dimensions: Dimensions
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
        self.numbers: dict[str, Dimensions] = {}
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
            # Of a dimension of 1 nothing can go: the tensor would be left empty.
            dimensions = tuple(_fixed(1) if len(ids) == 1 else ids for ids in self.numbers[name])
            self._labels[id(tensor)] = tensor, _Labels(dimensions, activation=False)

    def _new(self, size: int) -> Ids:
        self.count += size
        return np.arange(self.count - size, self.count)

    def labels(self, tensor: Tensor) -> _Labels:
        """Of a tensor; one that was never seen is an input or a constant."""
        if id(tensor) in self._labels:
            return self._labels[id(tensor)][1]
        return _Labels(tuple(map(_fixed, tensor.shape)), activation=True)

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
        if self._kept is not None and name in _MASKED:
            out = _MASKED[name](self, func, *args, **kwargs)
        else:
            out = func(*args, **kwargs)
        taken = list(_tensors((*args, *kwargs.values())))
        if out is None:  # an assignment to a part
            self.unknown(name, taken)
        made = [out] if isinstance(out, Tensor) else out
        if not isinstance(made, tuple | list) or not all(isinstance(t, Tensor) for t in made) or not made:
            return out
        found = RULES[name](self, made, *args, **kwargs) if name in RULES else None
        if found is None:
            self.unknown(name, taken)
            found = [tuple(map(_fixed, tensor.shape)) for tensor in made]
        activation = any(self.labels(t).activation for t in taken)
        for tensor, dimensions in zip(made, found, strict=True):
            assert tuple(map(len, dimensions)) == tuple(tensor.shape), name
            self._labels[id(tensor)] = tensor, _Labels(tuple(dimensions), activation)
        if self._kept is not None and activation:
            made = [self._masked(tensor) for tensor in made]
            return made[0] if isinstance(out, Tensor) else type(out)(made)
        return out

    def unknown(self, name: str, taken: Sequence[Tensor]) -> None:
        """Nothing that goes into this operation can be removed."""
        for ids in (ids for tensor in taken for ids in self.labels(tensor).dimensions):
            if _free(ids):
                self.opaque.add(name)
                self.fix(ids)

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


def _fixed(size: int) -> Ids:
    return np.full(size, FIXED)


def _free(ids: Ids) -> bool:
    """Whether any of them may be removed."""
    return bool((ids != FIXED).any())


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


def charge_activations(flow: ChannelFlow, network: nn.Module) -> list[Any]:
    """Hooks that add what the challenges charge for activation modules; remove them afterwards."""

    def charge(_module: nn.Module, _args: Any, out: Tensor) -> None:
        flow.cost("activation_ops", out.numel(), *flow.labels(out).dimensions)

    return [m.register_forward_hook(charge) for m in network.modules() if isinstance(m, CHARGED_ACTIVATIONS)]


# Rules: from what an operation took and made to the ids of what it made; None where a rule can't tell.
Made = Sequence[Tensor]
Found = list[Dimensions] | None
Bias = Tensor | None
Rule = Callable[..., Found]
RULES: dict[str, Rule] = {}
_MASKED: dict[str, Callable[..., Any]] = {}


def _rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers a rule for operations of these names, several in a text."""

    def add(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(" ".join(names).split(), function))
        return function

    return add


@_rule(
    "relu leaky_relu gelu silu sigmoid tanh hardswish hardsigmoid hardtanh relu6 elu mish softplus clamp clamp_min",
    "square sqrt rsqrt abs neg __neg__ exp log logit floor round normalize dropout zeros_like ones_like",
    "to type type_as float bfloat16 contiguous detach clone requires_grad_",
)
def _elementwise(flow: ChannelFlow, made: Made, x: Tensor, *_: Any, **__: Any) -> Found:
    return [flow.labels(x).dimensions]


@_rule("roll")
def _roll(flow: ChannelFlow, made: Made, x: Tensor, shifts: Any, dims: Any = None) -> Found:
    return _kept_in_place(flow, x, dims)


@_rule("flip")
def _flip(flow: ChannelFlow, made: Made, x: Tensor, *dims: Any, **named: Any) -> Found:
    return _kept_in_place(flow, x, named.get("dims", _one_tuple(dims)))


def _one_tuple(dims: tuple[Any, ...]) -> Any:
    """Of dimensions given one by one, or as a tuple."""
    return dims[0] if len(dims) == 1 and isinstance(dims[0], tuple | list) else dims


def _kept_in_place(flow: ChannelFlow, x: Tensor, moved: Any) -> Found:
    """Only where nothing can go along the moved dimensions."""
    dimensions = flow.labels(x).dimensions
    return None if any(_free(dimensions[axis]) for axis in _axes(moved, x.ndim)) else [dimensions]


@_rule(
    "add sub mul div __add__ __radd__ __iadd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__",
    "__rdiv__ __pow__ pow maximum minimum lerp",
)
def _broadcast(flow: ChannelFlow, made: Made, *args: Any, **kwargs: Any) -> Found:
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
    flow: ChannelFlow, made: Made, x: Tensor, weight: Tensor, bias: Bias = None, *_: Any, **__: Any
) -> Found:
    out = made[0]
    outs, ins = _kernel(flow, weight)
    taken = flow.labels(x).at(1)
    groups = len(taken) // len(ins)
    if groups == 1:
        flow.tie(taken, ins)
    elif groups == len(taken) == len(outs):  # depthwise: a group goes with its channel
        flow.tie(taken, outs)
    else:  # the number of groups stays: the same channels of each go
        for group in taken.reshape(groups, -1):
            flow.tie(group, ins)
        first, *others = outs.reshape(groups, -1)
        for group in others:
            flow.tie(first, group)
    flow.consumed.append(taken)
    flow.cost("macs", out.numel() * prod(weight.shape[1:]), outs, ins)
    return [_convolved(flow, x, out, outs, bias)]


def _kernel(flow: ChannelFlow, weight: Tensor) -> tuple[Ids, Ids]:
    """The ids of the first two dimensions; those of the kernel's sides are fixed."""
    first, second, *sides = flow.labels(weight).dimensions
    for ids in sides:
        flow.fix(ids)
    return first, second


def _convolved(flow: ChannelFlow, x: Tensor, out: Tensor, outs: Ids, bias: Bias) -> Dimensions:
    dimensions = (flow.labels(x).at(0), outs, *map(_fixed, out.shape[2:]))
    _add_bias(flow, out, dimensions, outs, bias)
    return dimensions


def _add_bias(flow: ChannelFlow, out: Tensor, dimensions: Dimensions, outs: Ids, bias: Bias) -> None:
    if bias is not None:
        flow.tie(outs, flow.labels(bias).at(-1))
        flow.cost("bias_ops", out.numel(), *dimensions)


@_rule("conv_transpose2d")
def _conv_transpose2d(
    flow: ChannelFlow, made: Made, x: Tensor, weight: Tensor, bias: Bias = None, *_: Any, **__: Any
) -> Found:
    out = made[0]
    if out.shape[1] != weight.shape[1]:  # in groups
        return None
    ins, outs = _kernel(flow, weight)
    taken = flow.labels(x).at(1)
    flow.tie(taken, ins)
    flow.consumed.append(taken)
    macs = x.numel() * prod(weight.shape[1:])
    flow.cost("macs", macs, ins, outs)
    flow.cost("transposed_excess", out.numel() * prod((len(ins), *weight.shape[2:])) - macs, ins, outs)
    return [_convolved(flow, x, out, outs, bias)]


@_rule("linear")
def _linear(flow: ChannelFlow, made: Made, x: Tensor, weight: Tensor, bias: Bias = None) -> Found:
    outs, ins = flow.labels(weight).dimensions
    *batch, taken = flow.labels(x).dimensions
    flow.tie(taken, ins)
    flow.consumed.append(ins)
    dimensions = (*batch, outs)
    flow.cost("macs", made[0].numel() * len(ins), *dimensions, ins)
    _add_bias(flow, made[0], dimensions, outs, bias)
    return [dimensions]


@_rule("matmul __matmul__ bmm")
def _matmul(flow: ChannelFlow, made: Made, x: Tensor, y: Tensor) -> Found:
    if min(x.ndim, y.ndim) < 2:
        return None
    a, b = flow.labels(x), flow.labels(y)
    _summed(flow, a.at(-1), b.at(-2))
    rest = [_together(flow, [a, b], size, -axis) for axis, size in _from_last(made[0]) if axis > 2]
    dimensions = (*rest, a.at(-2), b.at(-1))
    if a.activation or b.activation:  # kernels are merged before the network runs
        flow.cost("macs", made[0].numel() * y.shape[-2], *dimensions, a.at(-1))
    return [dimensions]


@_rule("tensordot")
def _tensordot(flow: ChannelFlow, made: Made, x: Tensor, y: Tensor, dims: Any = 2, **_: Any) -> Found:
    if dims != 1:
        return None
    a, b = flow.labels(x), flow.labels(y)
    _summed(flow, a.at(-1), b.at(0))
    dimensions = (*a.dimensions[:-1], *b.dimensions[1:])
    flow.cost("macs", made[0].numel() * y.shape[0], *dimensions, a.at(-1))
    return [dimensions]


def _summed(flow: ChannelFlow, first: Ids, second: Ids) -> None:
    """Products of these two are added up."""
    flow.tie(first, second)
    flow.consumed += [first, second]


@_rule("prelu")
def _prelu(flow: ChannelFlow, made: Made, x: Tensor, weight: Tensor) -> Found:
    if len(weight) > 1:
        flow.tie(flow.labels(x).at(1), flow.labels(weight).at(0))
    return [flow.labels(x).dimensions]


@_rule("instance_norm batch_norm")
def _channel_norm(
    flow: ChannelFlow,
    made: Made,
    x: Tensor,
    mean: Bias = None,
    variance: Bias = None,
    weight: Bias = None,
    bias: Bias = None,
    own_statistics: bool = True,
    *_: Any,
    **named: Any,
) -> Found:
    for tensor in _tensors((mean, variance, weight, bias)):
        flow.tie(flow.labels(x).at(1), flow.labels(tensor).at(0))
    own = named.get("training", named.get("use_input_stats", own_statistics))
    each = (4 if own else 1) + (weight is not None)
    flow.cost("fvcore_ops", each * x.numel(), *flow.labels(x).dimensions)
    return [flow.labels(x).dimensions]


@_rule("layer_norm")
def _layer_norm(flow: ChannelFlow, made: Made, x: Tensor, shape: Any, *args: Any, **kwargs: Any) -> Found:
    if len(shape) != 1:
        return None
    for tensor in _tensors((*args, *kwargs.values())):  # scale and shift
        flow.tie(flow.labels(x).at(-1), flow.labels(tensor).at(0))
    scaled = any(isinstance(t, Tensor) for t in (*args[:1], kwargs.get("weight")))
    flow.cost("fvcore_ops", (5 if scaled else 4) * x.numel(), *flow.labels(x).dimensions)
    return [flow.labels(x).dimensions]


def _masked_layer_norm(
    flow: ChannelFlow,
    func: Any,
    x: Tensor,
    shape: Any,
    weight: Bias = None,
    bias: Bias = None,
    eps: float = 1e-5,
) -> Tensor:
    """Over the kept channels."""
    keep = torch.from_numpy(flow.keeps(flow.labels(x).at(-1)))
    small = [t if t is None else t[keep] for t in (weight, bias)]
    out = torch.zeros_like(x)
    out[..., keep] = func(x[..., keep], (int(keep.sum()),), *small, eps)
    return out


@_rule("softmax")
def _softmax(flow: ChannelFlow, made: Made, x: Tensor, dim: int = -1, **_: Any) -> Found:
    flow.fix(flow.labels(x).at(dim))  # zero isn't nothing here
    return [flow.labels(x).dimensions]


def _axes(dim: Any, ndim: int) -> set[int]:
    if dim is None:
        return set(range(ndim))
    return {d % ndim for d in (dim if isinstance(dim, tuple | list) else (dim,))}


@_rule("mean sum")
def _reduce(
    flow: ChannelFlow, made: Made, x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any
) -> Found:
    axes = _axes(dim, x.ndim)
    dimensions = enumerate(flow.labels(x).dimensions)
    return [tuple(_fixed(1) if i in axes else ids for i, ids in dimensions if keepdim or i not in axes)]


@_rule("std var amax amin")
def _statistic(flow: ChannelFlow, made: Made, x: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Found:
    """Not over channels: zero isn't nothing here."""
    if any(_free(flow.labels(x).at(axis)) for axis in _axes(dim, x.ndim)):
        return None
    return _reduce(flow, made, x, dim, kwargs.get("keepdim", args[-1] if args else False))


def _masked_mean(flow: ChannelFlow, func: Any, x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Over the kept channels."""
    labels = flow.labels(x)
    out = func(x, dim=dim, keepdim=keepdim)
    if labels.activation:
        for axis in _axes(dim, x.ndim):
            keep = flow.keeps(labels.at(axis))
            out = out * (len(keep) / max(1, keep.sum()))
    return out


_MASKED |= {"layer_norm": _masked_layer_norm, "mean": _masked_mean}


@_rule("cat concat")
def _cat(flow: ChannelFlow, made: Made, tensors: Sequence[Tensor], dim: int = 0) -> Found:
    taken = [flow.labels(t) for t in tensors]
    axis = dim % made[0].ndim
    found = [
        _together(flow, taken, size, -i)
        if made[0].ndim - i != axis
        else np.concatenate([t.at(axis) for t in taken])
        for i, size in _from_last(made[0])
    ]
    return [tuple(found)]


@_rule("stack")
def _stack(flow: ChannelFlow, made: Made, tensors: Sequence[Tensor], dim: int = 0) -> Found:
    taken = [flow.labels(t) for t in tensors]
    found = [_together(flow, taken, size, -i) for i, size in _from_last(tensors[0])]
    found.insert(dim % made[0].ndim, _fixed(len(tensors)))
    return [tuple(found)]


@_rule("split")
def _split(flow: ChannelFlow, made: Made, x: Tensor, _sizes: Any, dim: int = 0) -> Found:
    dimensions, axis = flow.labels(x).dimensions, dim % x.ndim
    pieces = np.split(dimensions[axis], np.cumsum([t.shape[axis] for t in made])[:-1])
    return [(*dimensions[:axis], piece, *dimensions[axis + 1 :]) for piece in pieces]


@_rule("chunk")
def _chunk(flow: ChannelFlow, made: Made, x: Tensor, chunks: int, dim: int = 0) -> Found:
    """Chunks are equally large, so the same channels of each go."""
    found = _split(flow, made, x, chunks, dim)
    assert found is not None
    first, *others = (dimensions[dim] for dimensions in found)
    if _free(flow.labels(x).at(dim)):
        for other in others:
            if len(first) != len(other):
                return None
            flow.tie(first, other)
    return found


@_rule("unbind")
def _unbind(flow: ChannelFlow, made: Made, x: Tensor, dim: int = 0) -> Found:
    found = list(flow.labels(x).dimensions)
    flow.fix(found.pop(dim))
    return [tuple(found)] * len(made)


@_rule("__getitem__")
def _getitem(flow: ChannelFlow, made: Made, x: Tensor, index: Any) -> Found:
    labels = flow.labels(x)
    if isinstance(index, Tensor) and index.dtype == torch.long:  # a table's rows
        flow.fix(labels.at(0))
        return [(*map(_fixed, index.shape), *labels.dimensions[1:])]
    items = list(index) if isinstance(index, tuple) else [index]
    if not all(item is None or item is Ellipsis or isinstance(item, int | slice) for item in items):
        return None
    missing = x.ndim - sum(i is not None and i is not Ellipsis for i in items)
    place = items.index(Ellipsis) if Ellipsis in items else len(items)
    items[place : place + 1] = [slice(None)] * missing
    rest = iter(labels.dimensions)
    found: list[Ids] = []
    for item in items:
        if item is None:
            found.append(_fixed(1))
            continue
        ids = next(rest)
        if isinstance(item, int) or item.step not in (None, 1):  # another channel once some are gone
            flow.fix(ids)
        if isinstance(item, slice):
            found.append(ids[item])
    return [tuple(found)]


@_rule("narrow")
def _narrow(flow: ChannelFlow, made: Made, x: Tensor, dim: int, start: int, length: int) -> Found:
    found = list(flow.labels(x).dimensions)
    found[dim] = found[dim][start : start + length]
    return [tuple(found)]


@_rule("pad")
def _pad(flow: ChannelFlow, made: Made, x: Tensor, pad: Sequence[int], *_: Any, **__: Any) -> Found:
    found = list(flow.labels(x).dimensions)
    for i, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        if min(before, after) < 0:
            return None
        found[-1 - i] = np.concatenate((_fixed(before), found[-1 - i], _fixed(after)))
    return [tuple(found)]


@_rule("pixel_shuffle")
def _pixel_shuffle(flow: ChannelFlow, made: Made, x: Tensor, factor: int) -> Found:
    labels = flow.labels(x)
    cells = labels.at(1).reshape(-1, factor**2)
    for other in cells.T[1:]:
        flow.tie(cells[:, 0], other)
    return [(labels.at(0), cells[:, 0], *map(_fixed, made[0].shape[2:]))]


@_rule("pixel_unshuffle")
def _pixel_unshuffle(flow: ChannelFlow, made: Made, x: Tensor, factor: int) -> Found:
    labels = flow.labels(x)
    return [(labels.at(0), np.repeat(labels.at(1), factor**2), *map(_fixed, made[0].shape[2:]))]


@_rule("interpolate")
def _interpolate(
    flow: ChannelFlow,
    made: Made,
    x: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    *args: Any,
    **kwargs: Any,
) -> Found:
    found = _resample(flow, made, x)
    if found and resizing_ops(mode):
        flow.cost("fvcore_ops", resizing_ops(mode) * made[0].numel(), *found[0])
    return found


@_rule("adaptive_avg_pool2d")
def _pool(flow: ChannelFlow, made: Made, x: Tensor, *_: Any, **__: Any) -> Found:
    flow.cost("fvcore_ops", x.numel(), *flow.labels(x).dimensions)
    return _resample(flow, made, x)


@_rule("max_pool2d avg_pool2d")
def _resample(flow: ChannelFlow, made: Made, x: Tensor, *_: Any, **__: Any) -> Found:
    labels = flow.labels(x)
    return [(labels.at(0), labels.at(1), *map(_fixed, made[0].shape[2:]))]


@_rule("permute")
def _permute(flow: ChannelFlow, made: Made, x: Tensor, *dims: Any) -> Found:
    return [tuple(flow.labels(x).at(d) for d in _one_tuple(dims))]


@_rule("transpose")
def _transpose(flow: ChannelFlow, made: Made, x: Tensor, first: int, second: int) -> Found:
    found = list(flow.labels(x).dimensions)
    found[first], found[second] = found[second], found[first]
    return [tuple(found)]


@_rule("flatten")
def _flatten(flow: ChannelFlow, made: Made, x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Found:
    labels, first, last = flow.labels(x), start_dim % x.ndim, end_dim % x.ndim
    merged = labels.dimensions[first : last + 1]
    free = [i for i, ids in enumerate(merged) if _free(ids)]
    if len(free) > 1:
        return None
    ids = _fixed(prod(map(len, merged)))
    if free:
        shape = [-1 if i == free[0] else 1 for i in range(len(merged))]
        ids = np.broadcast_to(merged[free[0]].reshape(shape), [len(m) for m in merged]).reshape(-1)
    return [(*labels.dimensions[:first], ids, *labels.dimensions[last + 1 :])]


@_rule("unflatten")
def _unflatten(flow: ChannelFlow, made: Made, x: Tensor, dim: int, sizes: Any) -> Found:
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


@_rule("reshape view squeeze unsqueeze")
def _reshape(flow: ChannelFlow, made: Made, x: Tensor, *_: Any, **__: Any) -> Found:
    """Only where dimensions of 1 come or go."""
    if [s for s in x.shape if s != 1] != [s for s in made[0].shape if s != 1]:
        return None
    rest = iter(ids for ids in flow.labels(x).dimensions if len(ids) != 1)
    return [tuple(_fixed(1) if size == 1 else next(rest) for size in made[0].shape)]

"""Reads checkpoints, ours and published ones, into networks: strictly, and without running what is in them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from spaces.baselines import Published, baseline_names, published
from spaces.build import build
from spaces.parts import Network

# Under which keys training programs keep the network's tensors; averaged weights come first.
WRAPPERS = (
    "params_ema",
    "params",
    "state_dict_ema",
    "model_ema",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "generator",
    "netG",
    "net_g",
    "weights",
)
_DEPTH = 3  # of wrappers
_NAMED = 3  # tensors of each sort that a message names
_ALIKE = 0.8  # share of tensors in common from which a network is suggested

Shapes = dict[str, tuple[int, ...]]


class CheckpointError(ValueError):
    """A file that holds no plain tensors, or not those of the network."""


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU.

    ``.safetensors`` is read as such, all else as what ``torch.save`` writes. Wrappers (``params_ema``,
    ``state_dict``, ...) and the prefix ``module.`` are taken off. Nothing in the file is executed.

    Raises: CheckpointError: if the file is missing, damaged or no checkpoint, or holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"checkpoint {path}: no such file; expected a .pth, .pt, .ckpt or .safetensors file"
        )
    content = _safetensors(path) if path.suffix.lower() == ".safetensors" else _pickled(path)
    tensors = _unwrapped(content, path)
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"checkpoint {path}: can't be read ({error}); it is damaged or no safetensors file, fetch it again"
        ) from error


def _pickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings():  # on pickle's protocol
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise CheckpointError(
            f"checkpoint {path}: expected a file of plain tensors, got {_content(str(error))} (refused, nothing was "
            "executed); convert it to safetensors where you trust it"
        ) from error
    except Exception as error:  # the reader of a damaged file may stumble over anything
        why = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"checkpoint {path}: can't be read ({why}); it is cut off, damaged or no checkpoint, fetch it again"
        ) from error


def _content(message: str) -> str:
    """What torch's refusal says that the file holds."""
    found = re.search(r"GLOBAL ([\w.]+)", message)
    return f"a reference to {found[1]}" if found else "other content"


def _unwrapped(content: Any, path: Path) -> dict[str, Tensor]:
    for _ in range(_DEPTH):
        if not isinstance(content, Mapping) or (content and all(map(_is_plain, content.values()))):
            break
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping):
        raise CheckpointError(f"checkpoint {path}: expected tensors by name, got {_kind(content)}")
    if not content:
        raise CheckpointError(f"checkpoint {path}: expected tensors by name, got none")
    odd = [f"'{name}' is of {_kind(value)}" for name, value in content.items() if not _is_plain(value)]
    odd += [f"{name!r} is no text" for name in content if not isinstance(name, str)]
    if odd:
        raise CheckpointError(
            f"checkpoint {path}: expected dense tensors by name, perhaps under one of {', '.join(WRAPPERS)}, got "
            f"{_some(odd)}; save the network's state_dict alone"
        )
    return dict(content)


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        and not value.is_meta
    )


def _kind(value: Any) -> str:
    return f"type {type(value).__name__}" + (f" ({value.layout})" if isinstance(value, Tensor) else "")


def load_weights(network: Network, tensors: Mapping[str, Tensor]) -> None:
    """Copy the tensors, under our own names, into the network; all of them, and nothing is left out.

    Raises: CheckpointError: naming missing, surplus and mis-shaped tensors; the network is unchanged then.
    """
    problems = _differences(_shapes(network.state_dict()), _shapes(tensors), {})
    if problems:
        raise CheckpointError(f"the weights don't fit the network: {problems}")
    network.load_state_dict(dict(tensors))


def load_published(name: str, path: str | Path) -> Network:
    """The published network of that name with its weights from a file, under their names or ours.

    A tensor whose name ``Published.renames`` turns to nothing is left out; all others must fit.

    Raises:
        UnknownNameError: for an unknown network.
        CheckpointError: as ``read_tensors`` and ``load_weights``; says which network the file looks like.
    """
    known = published(name)
    tensors = read_tensors(path)
    network = build(known.architecture, known.task)
    expected, got = _shapes(network.state_dict()), _shapes(tensors)
    names = _our_names(known, got, expected, path)
    theirs = {ours: theirs for theirs, ours in names.items()}
    problems = _differences(expected, _renamed(got, names, expected), theirs)
    if problems:
        raise CheckpointError(
            f"checkpoint {path} doesn't fit '{name}': {problems}{_suggestion(name, got, path)}"
        )
    network.load_state_dict({ours: tensors[theirs[ours]].reshape(shape) for ours, shape in expected.items()})
    return network


def _our_names(known: Published, got: Iterable[str], expected: Shapes, path: str | Path) -> dict[str, str]:
    """The file's names to ours; a name that ``renames`` empties is of a tensor that isn't used, and left out.

    Raises: CheckpointError: if two names become one.
    """
    if set(got) == expected.keys():
        return {name: name for name in got}
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    for theirs in got:
        ours = theirs
        for pattern, replacement in known.renames:
            ours = re.sub(pattern, replacement, ours)
        if ours in taken:
            raise CheckpointError(f"checkpoint {path}: '{taken[ours]}' and '{theirs}' are the same tensor")
        if ours:
            found[theirs], taken[ours] = ours, theirs
    return found


def _shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _renamed(got: Shapes, names: Mapping[str, str], expected: Shapes) -> Shapes:
    """The file's shapes under our names; a linear layer over channels is the 1x1 convolution that is expected."""
    found = {ours: got[theirs] for theirs, ours in names.items()}
    for name, shape in found.items():
        if len(shape) == 2 and expected.get(name) == (*shape, 1, 1):
            found[name] = expected[name]
    return found


def _differences(expected: Shapes, got: Shapes, theirs: Mapping[str, str]) -> str:
    """What is missing, surplus and of another shape, a few of each, in the file's own names where it has them."""
    missing = [name for name in expected if name not in got]
    surplus = [theirs.get(name, name) for name in got if name not in expected]
    shapes = [
        f"{theirs.get(name, name)}: expected {shape}, got {got[name]}"
        for name, shape in expected.items()
        if name in got and got[name] != shape
    ]
    sorts = (("missing", missing), ("surplus", surplus), ("of another shape", shapes))
    return "; ".join(f"{len(found)} {sort} ({_some(found)})" for sort, found in sorts if found)


def _suggestion(name: str, got: Shapes, path: str | Path) -> str:
    """The published network that most of the file's tensors belong to, if it is another one."""
    scores = {other: _likeness(other, got, path) for other in baseline_names()}
    best = max(scores, key=lambda other: scores[other])
    if scores[best] < _ALIKE or scores[best] <= scores[name]:
        return ""
    return f". It looks like the published network '{best}': name that one"


def _likeness(name: str, got: Shapes, path: str | Path) -> float:
    """The share of the file's and the network's tensors that are the same by name and shape."""
    known = published(name)
    with torch.device("meta"):
        expected = _shapes(build(known.architecture, known.task).state_dict())
    try:
        found = _renamed(got, _our_names(known, got, expected, path), expected)
    except CheckpointError:
        return 0.0
    same = expected.items() & found.items()
    return len(same) / len(expected.items() | found.items())


def _some(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")

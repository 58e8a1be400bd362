"""Exports a trained network to a file that runs without this project, and checks it before it is kept.

Needs torch; nothing that only reads results imports this module.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import onnx
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from spaces.architecture import Architecture
from spaces.build import build
from spaces.layers.attention import ESA_MINIMUM_SIZE
from spaces.layers.convolutions import merge
from spaces.parts import Network
from spaces.sizes import SizeRequirements
from spaces.task import Task
from spaces.topologies.rescaler_network import RescalerNetwork

Format = Literal["onnx", "pt2", "safetensors"]
FORMATS: tuple[Format, ...] = ("onnx", "pt2", "safetensors")
MAX_ERROR = 1e-4
# Below this torch.export specialises ESA's pooling; smaller inputs are padded by the caller. Where ESA runs on a
# map that is smaller than the input, it is as many times more.
MINIMUM_SIZE = 24
CHECK_SIZES = ((24, 24), (37, 53), (64, 48))
ROUNDED_DRAWS = 64  # of a check image, where a network rounds in the middle
# What is written beside an export.
CARD_SUFFIX, ARCHITECTURE_SUFFIX = ".md", ".json"


class ExportError(RuntimeError):
    """An exported file that doesn't do what the network does, or can't be made."""


@dataclass(frozen=True)
class Exported:
    """An exported file that passed its check.

    Attributes:
        sizes: (height, width) of the inputs that it was checked at.
        max_error: Largest absolute difference to the PyTorch network, outputs being in [0, 1].
    """

    path: Path
    format: Format
    sha256: str
    bytes: int
    sizes: tuple[tuple[int, int], ...]
    max_error: float
    minimum_size: int
    multiple_of: int


def format_of(path: Path) -> Format:
    """The format that a file's suffix stands for.

    Raises: ValueError: for another suffix.
    """
    check_output(path)
    for form in FORMATS:
        if path.suffix == f".{form}":
            return form
    raise ValueError(f"'{path}': give --format {', '.join(FORMATS)}, or a file with such a suffix")


def check_output(path: Path) -> None:
    """Nothing, if a network may be written there.

    Raises: ValueError: for a suffix that the files beside an export have.
    """
    if path.suffix.lower() in (CARD_SUFFIX, ARCHITECTURE_SUFFIX):
        raise ValueError(
            f"'{path}': expected a network's file, e.g. {path.stem}.onnx, got the suffix {path.suffix}: "
            "the model card (.md) and the architecture (.json) are written beside it"
        )


def load_network(architecture: Architecture, task: Task, weights: Path) -> Network:
    """The network with its weights, on the CPU, for inference.

    Raises: ExportError: if the file's tensors aren't the architecture's; names them.
    """
    network = build(architecture, task).eval().requires_grad_(False)
    try:
        tensors = load_file(weights)
    except (OSError, ValueError, SafetensorError) as error:
        raise ExportError(f"weights {weights}: can't be read: {error}") from error
    expected = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    got = {name: tuple(t.shape) for name, t in tensors.items()}
    if expected != got:
        odd = [
            f"{n}: expected {expected.get(n)}, got {got.get(n)}" for n in sorted(expected.keys() | got.keys())
        ]
        odd = [line for line in odd if not line.endswith(f"{expected.get(line.partition(':')[0])}")] or odd
        raise ExportError(f"weights {weights} don't fit {architecture.label}: " + "; ".join(odd[:5]))
    network.load_state_dict(tensors)
    return network


def export(
    network: Network,
    architecture: Architecture,
    task: Task,
    path: Path,
    form: Format,
    *,
    max_error: float = MAX_ERROR,
    note: str = "",
) -> Exported:
    """Write the network as a file, run that file at three sizes, and keep it if it agrees.

    ``onnx`` and ``pt2`` take (1, C, H, W) float32 in [0, 1] with any H and W of at least ``minimum_size``
    (both multiples of ``multiple_of``) and give the output unclamped; convolutions that train in a richer form
    are merged in them (``spaces.layers.convolutions``). ``safetensors`` holds the weights as trained, which is the form
    that the architecture describes.
    The architecture's JSON is in the file's metadata (not in ``pt2``) and beside it, as ``m.json`` for ``m.onnx``.
    So is the note, if there is one, as ``note``.

    Raises:
        ExportError: if the outputs differ by more than ``max_error``; nothing is left behind then.
        ValueError: if the path ends in .md or .json, which the card and the architecture are written to.
    """
    check_output(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    needs = network.size_requirements
    low = _smallest(needs)
    sizes = tuple(needs.padded(h * low // MINIMUM_SIZE, w * low // MINIMUM_SIZE) for h, w in CHECK_SIZES)
    written = network if form == "safetensors" else cast(Network, merge(copy.deepcopy(network)))
    try:
        run = _WRITERS[form](written, architecture, task, partial, low, {"note": note} if note else {})
        with torch.inference_mode():
            # numpy's max keeps a NaN, Python's may lose it.
            worst = float(np.max([_difference(network, run, task, size) for size in sizes]))
        if not worst <= max_error:
            raise ExportError(
                f"the {form} file's output differs from PyTorch's by {worst:.2g}, more than {max_error:g} allowed; "
                "it wasn't kept"
            )
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    path.with_suffix(ARCHITECTURE_SUFFIX).write_text(architecture.to_json() + "\n")
    content = path.read_bytes()
    return Exported(
        path,
        form,
        hashlib.sha256(content).hexdigest(),
        len(content),
        sizes,
        worst,
        low,
        needs.multiple_of,
    )


def _smallest(needs: SizeRequirements) -> int:
    """The least height and width that a file may be asked for."""
    side = max(MINIMUM_SIZE, -(-needs.minimum * MINIMUM_SIZE // ESA_MINIMUM_SIZE))
    return needs.padded(side, side)[0]


Run = Callable[[Tensor], Tensor]


def check_image(network: Network, task: Task, size: tuple[int, int]) -> Tensor:
    """A random image of that size.

    A rescaler rounds in the middle, where the last bit of a sum may decide on a whole level: for it, of many
    random images the one whose small image is furthest from that.
    """
    random = torch.Generator().manual_seed(size[0])
    if not isinstance(network, RescalerNetwork):
        return torch.rand(1, task.in_channels, *size, generator=random)
    images = (torch.rand(1, task.in_channels, *size, generator=random) for _ in range(ROUNDED_DRAWS))
    return max(images, key=lambda image: float(network.distance_to_tie(image)))


def _difference(network: Network, run: Run, task: Task, size: tuple[int, int]) -> float:
    """Largest absolute difference on a random image."""
    image = check_image(network, task, size)
    expected, got = network(image), run(image)
    if got.shape != expected.shape:
        raise ExportError(
            f"expected an output of shape {tuple(expected.shape)}, the file gives {tuple(got.shape)}"
        )
    return float((got - expected).abs().max())


def _dynamic(task: Task, low: int, multiple_of: int) -> tuple[Tensor, tuple[dict[int, Any], ...]]:
    """An example input and which of its dimensions are free."""
    side = max(48, 2 * low) // multiple_of * multiple_of
    example = torch.rand(1, task.in_channels, side, side + 2 * multiple_of)
    if multiple_of == 1:
        free = {2: torch.export.Dim("height", min=low), 3: torch.export.Dim("width", min=low)}
    else:
        units = -(-low // multiple_of)
        free = {
            axis: multiple_of * torch.export.Dim(name, min=units)
            for axis, name in ((2, "height"), (3, "width"))
        }
    return example, (free,)


def _write_onnx(
    network: Network, architecture: Architecture, task: Task, path: Path, low: int, more: Mapping[str, str]
) -> Run:
    import onnxruntime

    example, shapes = _dynamic(task, low, network.size_requirements.multiple_of)
    with _quiet():
        torch.onnx.export(
            network,
            (example,),
            str(path),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=["image"],
            output_names=["restored"],
            external_data=False,
            verbose=False,
        )
    _tidy(path, architecture, task, SizeRequirements(low, network.size_requirements.multiple_of), more)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(np.asarray(session.run(None, {"image": image.numpy()})[0]))


def _tidy(
    path: Path, architecture: Architecture, task: Task, sizes: SizeRequirements, more: Mapping[str, str]
) -> None:
    """Drop the exporter's notes on every node (source lines, local paths); say what the network is."""
    model = onnx.load(path)
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for proto in (model.graph, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del proto.metadata_props[:]
    notes = {
        "architecture": architecture.to_json(),
        "task": task.name,
        "scale": str(task.scale),
        "minimum_size": str(sizes.minimum),
        "multiple_of": str(sizes.multiple_of),
        **more,
    }
    onnx.helper.set_model_props(model, notes)
    onnx.save(model, path)


def _write_pt2(
    network: Network, architecture: Architecture, task: Task, path: Path, low: int, more: Mapping[str, str]
) -> Run:
    example, shapes = _dynamic(task, low, network.size_requirements.multiple_of)
    program = torch.export.export(network, (example,), dynamic_shapes=shapes)
    with open(path, "wb") as file:
        torch.export.save(program, file)
    with open(path, "rb") as file:
        module = torch.export.load(file).module()
    return lambda image: module(image)


def _write_safetensors(
    network: Network, architecture: Architecture, task: Task, path: Path, low: int, more: Mapping[str, str]
) -> Run:
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    # Not save_file: it makes a file that only its owner may read, whatever the umask.
    path.write_bytes(
        _reproducible(save(tensors, {"architecture": architecture.to_json(), "task": task.name, **more}))
    )
    again = load_network(architecture, task, path)
    return lambda image: again(image)


def _reproducible(content: bytes) -> bytes:
    """A safetensors file with its metadata sorted, which the library writes in another order each time."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors are aligned to 8 bytes
    return len(text).to_bytes(8, "little") + text + content[end:]


_WRITERS = {"onnx": _write_onnx, "pt2": _write_pt2, "safetensors": _write_safetensors}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's chatter away from the terminal."""
    names = ("torch.onnx", "onnxscript", "onnx_ir")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)

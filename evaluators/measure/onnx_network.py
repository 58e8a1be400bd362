"""Runs an ONNX file in a network's place, so that it is padded, scored and timed as one.

Files that ``pixelfront export`` wrote say what they are; of others the input sizes that they take, and how much they
enlarge, are found by running them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor
from torch.nn import functional

from spaces.architecture import Architecture
from spaces.parts import Network
from spaces.sizes import SizeRequirements

PROBE = 64  # side of the image that a file is tried with
MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
MINIMA = (16, 32, 64)
# Below this our own files weren't checked where they don't say so (results.export.files.MINIMUM_SIZE).
_OWN_MINIMUM = 24
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxError(ValueError):
    """A file that can't be run as an image-restoration network; the message says why."""


class OnnxNetwork(Network):
    """An ONNX file with one image in and one out; takes and gives (N, C, H, W) float32, on the CPU.

    Attributes:
        in_channels, out_channels: Of the images.
        scale: Output height over input height.
        task: The task's name that the file states; None in a foreign file.
        architecture: The one that the file states; None in a foreign file.
        fixed_size: (height, width) where the file takes only that: smaller images are padded to it and cropped
            again, larger ones refused.
    """

    def __init__(self, path: Path, *, threads: int | None = None):
        """Open a file.

        Args:
            threads: Of one pass; as many as torch uses by default.

        Raises: OnnxError: unless it is an ONNX file with one (N, C, H, W) image in and one out.
        """
        super().__init__({})
        self.path = path
        self.session = open_session(path, threads)
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
            got = ", ".join(f"{x.name} {x.shape}" for x in inputs)
            raise OnnxError(
                f"{path}: expected one image (N, C, H, W) in and one out, got in: {got}; out: {len(outputs)}"
            )
        if inputs[0].type not in _TYPES:
            raise OnnxError(f"{path}: expected an input of floating point, got {inputs[0].type}")
        self._input, self._type = inputs[0].name, _TYPES[inputs[0].type]
        channels, height, width = inputs[0].shape[1:]
        self.fixed_size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        self.in_channels = channels if isinstance(channels, int) else 3
        stated = self.session.get_modelmeta().custom_metadata_map
        self.task = stated.get("task")
        text = stated.get("architecture")
        self.scale, self.out_channels = self._measured_scale()
        try:
            self.architecture = Architecture.from_json(text) if text else None
            self.size_requirements = self._sizes(stated)
        except OnnxError:
            raise
        except ValueError as error:
            raise OnnxError(f"{path}: its metadata isn't what 'pixelfront export' writes: {error}") from error

    def forward(self, x: Tensor) -> Tensor:
        """The file's output; raises OnnxError for a size that it can't take."""
        height, width = x.shape[-2:]
        if self.fixed_size:
            x = self._filled(x, *self.fixed_size)
        # A file may be made for one image at a time.
        parts = [self._run(image.cpu().numpy().astype(self._type, copy=False)) for image in x.split(1)]
        output = torch.from_numpy(np.concatenate(parts))
        output = output.to(x.device, torch.float32)
        if self.fixed_size:
            output = output[..., : height * self.scale, : width * self.scale]
        return output

    def _filled(self, x: Tensor, to_height: int, to_width: int) -> Tensor:
        height, width = x.shape[-2:]
        if height > to_height or width > to_width:
            raise OnnxError(
                f"{self.path}: takes only {to_height}x{to_width}, got {height}x{width}; use a file with free height "
                "and width, or tiles ('pixelfront apply')"
            )
        return functional.pad(x, (0, to_width - width, 0, to_height - height), mode="replicate")

    def _measured_scale(self) -> tuple[int, int]:
        """Scale and channels of the output, from a run."""
        height, width = self.fixed_size or (PROBE, PROBE)
        shape = self._run(self._blank(height, width)).shape
        scale = shape[2] // height if len(shape) == 4 else 0
        if scale < 1 or shape[2:] != (height * scale, width * scale):
            raise OnnxError(
                f"{self.path}: expected an image 1, 2, ... times as large out, got {shape} for an input of "
                f"{(1, self.in_channels, height, width)}"
            )
        return scale, shape[1]

    def _sizes(self, stated: dict[str, str]) -> SizeRequirements:
        if self.fixed_size:
            return SizeRequirements()
        if "minimum_size" in stated and "multiple_of" in stated:
            return SizeRequirements(int(stated["minimum_size"]), int(stated["multiple_of"]))
        multiple = next((m for m in MULTIPLES if self._takes(PROBE + m)), PROBE)
        low = (_OWN_MINIMUM,) if self.architecture else MINIMA
        minimum = next((m for m in low if self._takes(-(-m // multiple) * multiple)), PROBE)
        return SizeRequirements(minimum, multiple)

    def _takes(self, side: int) -> bool:
        try:
            shape = self._run(self._blank(side, side)).shape
        except OnnxError:
            return False
        return shape == (1, self.out_channels, side * self.scale, side * self.scale)

    def _blank(self, height: int, width: int) -> np.ndarray:
        return np.zeros((1, self.in_channels, height, width), self._type)

    def _run(self, image: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(self.session.run(None, {self._input: image})[0])
        except Exception as error:  # what onnxruntime raises has no base class of its own
            raise OnnxError(
                f"{self.path}: can't take an input of {image.shape}: {_first_line(error)}"
            ) from error


def open_session(path: Path | bytes, threads: int | None = None) -> onnxruntime.InferenceSession:
    """A session on the CPU, silent.

    Raises: OnnxError: if it can't be opened.
    """
    if isinstance(path, Path) and not path.is_file():
        raise OnnxError(f"{path}: no such file; expected an ONNX file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads or torch.get_num_threads()
    content = path if isinstance(path, bytes) else str(path)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        name = "the changed graph" if isinstance(path, bytes) else path
        raise OnnxError(f"{name}: can't be opened as ONNX: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

"""Down-scaling an image for the network that will enlarge it: the small image is searched for, nothing is trained.

"Downscaled Representation Matters: Improving Image Rescaling with Collaborative Downscaled Images", Xu, Guo, Jiang,
Yu, Chen, ICCV 2023, https://arxiv.org/abs/2211.10643; code: https://github.com/xubingna/HCD (no licence; none of
it is used). Down-scaler and up-scaler are frozen. The large image is changed (HR stage) so that what comes out at
the end is nearer to it, then the small image is (LR stage), each within a ball around where it started. The default
settings are the official code's.

Deviations: a stage starts at its image, not at a random point of the ball, so that a result depends on no seed; of all
iterates the one of least error is kept; the LR stage's target is the true large image (the official ``my_train.py``
takes the changed one); of the three small images (plain, after the LR stage alone, after both) the best is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional

from evaluators.data.images import ImageError, read_image
from evaluators.data.tensors import to_tensor
from evaluators.degradations.bicubic import crop_to_multiple, downscale
from evaluators.inference.restoration import quantise
from evaluators.measure.metrics import psnr
from evaluators.tasks import get_task
from spaces.architecture import Architecture
from spaces.baselines import published
from spaces.build import build
from spaces.checkpoint import CheckpointError, load_published, load_weights, read_tensors
from spaces.padding import run
from spaces.parts import Network
from spaces.sizes import SizeRequirements
from spaces.task import Task
from spaces.topologies.rescaler_network import BicubicDown, RescalerNetwork, round_to_8_bits

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Settings:
    """How the small image is searched for.

    Attributes:
        hr_iterations, lr_iterations: Gradient steps on the large and then on the small image; 0 leaves a stage out.
        epsilon: How far an image may get from where it starts: the root of the sum of squares over the whole image,
            values being in [0, 1].
        step: Length of a gradient step, measured alike.
    """

    hr_iterations: int = 15
    lr_iterations: int = 15
    epsilon: float = 0.3
    step: float = 20 / 255

    def __post_init__(self) -> None:
        for name in ("hr_iterations", "lr_iterations"):
            if getattr(self, name) < 0:
                raise ValueError(f"'{name}' is at least 0, got {getattr(self, name)}")
        for name in ("epsilon", "step"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"'{name}' is a positive number, got {getattr(self, name)}")


@dataclass(frozen=True)
class Scalers:
    """A frozen down-scaler and a frozen up-scaler; gradients pass both.

    Attributes:
        scale: How much smaller the image in between is.
        start: (H, W, 3) uint8 to the small image that is stored without a search, uint8.
        down: (1, 3, H, W) in [0, 1] to (1, 3, H/scale, W/scale) in [0, 1], in multiples of 1/255.
        up: (1, 3, h, w) in [0, 1] to (1, 3, scale*h, scale*w).
    """

    scale: int
    start: Callable[[np.ndarray], np.ndarray]
    down: Map
    up: Map


@dataclass(frozen=True, eq=False)
class Downscaled:
    """A small image, and how well the large one comes back from it.

    PSNRs are in dB over the luma of 8-bit images, ``scale`` pixels cropped per side, from small images of 8 bits.

    Attributes:
        name: Of the large image's file.
        small: (h, w, 3) uint8: the best of the three.
        scale: How much smaller it is.
        plain: PSNR without a search.
        after_lr: After the LR stage alone.
        after_both: After the HR stage and then the LR stage.
        file: Where it was written.
    """

    name: str
    small: np.ndarray
    scale: int
    plain: float
    after_lr: float
    after_both: float
    file: Path | None = None

    @property
    def best(self) -> float:
        """PSNR from ``small``."""
        return max(self.plain, self.after_lr, self.after_both)


class _UpScaler(Network):
    """The half of a rescaler that enlarges, with its own requirements."""

    def __init__(self, rescaler: RescalerNetwork):
        super().__init__({})
        self.rescaler = rescaler
        whole, scale = rescaler.size_requirements, rescaler.reduction
        self.size_requirements = SizeRequirements(-(-whole.minimum // scale), -(-whole.multiple_of // scale))

    def forward(self, small: Tensor) -> Tensor:
        return self.rescaler.upscale(small)


def scalers(network: Network, task: Task) -> Scalers:
    """What the network stands for; it is frozen.

    A rescaler does both; a super-resolution network enlarges what MATLAB's bicubic made small.

    Raises: ValueError: for a network of another task.
    """
    network = network.eval().requires_grad_(False)
    if isinstance(network, RescalerNetwork):
        scale, down, up = network.reduction, network.downscale, partial(run, _UpScaler(network))
        return Scalers(scale, partial(_stored, down), down, partial(up, scale=scale))
    if task.scale == 1 or (task.in_channels, task.out_channels) != (3, 3):
        raise ValueError(
            f"task '{task.name}' doesn't enlarge RGB images: expected a network for super-resolution or rescaling"
        )
    bicubic = BicubicDown(3, task.scale)
    return Scalers(
        task.scale,
        partial(downscale, scale=task.scale),
        lambda image: round_to_8_bits(bicubic(image).clamp(0, 1)),
        partial(run, network, scale=task.scale),
    )


@torch.inference_mode()
def _stored(down: Map, pixels: np.ndarray) -> np.ndarray:
    return quantise(down(to_tensor(pixels[None])))


def downscale_image(pixels: np.ndarray, pair: Scalers, settings: Settings, name: str = "image") -> Downscaled:
    """The small image from which the up-scaler restores the large one best; whole images, no tiles.

    Args:
        pixels: (H, W, 3) uint8; sides that aren't multiples of the scale are cropped, top left kept.

    Raises: ImageError: for an image of which nothing is left to score.
    """
    scale = pair.scale
    _check_size(pixels, scale, name)
    pixels = np.ascontiguousarray(crop_to_multiple(pixels, scale))
    image = to_tensor(pixels[None]).contiguous()
    plain = to_tensor(pair.start(pixels)[None]).contiguous()
    changed = _search(lambda x: _error(pair.up(pair.down(x)), image), image, settings.hr_iterations, settings)
    with torch.inference_mode():
        start = plain if torch.equal(changed, image) else pair.down(changed)
    # The search goes without rounding, as in the official code: measured on Set5, 0.04 dB better than through it.
    after_lr, after_both = (
        _search(lambda y: _error(pair.up(y), image), first, settings.lr_iterations, settings)
        for first in (plain, start.clone())
    )
    candidates = [quantise(small) for small in (plain, after_lr, after_both)]
    scores = [_score(small, pixels, pair) for small in candidates]
    best = candidates[int(np.argmax(scores))]
    return Downscaled(name, best, scale, plain=scores[0], after_lr=scores[1], after_both=scores[2])


def _check_size(pixels: np.ndarray, scale: int, name: str) -> None:
    if min(pixels.shape[:2]) <= 3 * scale:
        raise ImageError(
            f"{name}: expected more than {3 * scale} pixels on each side for scale {scale}, got "
            f"{pixels.shape[1]}x{pixels.shape[0]}; leave it out"
        )


def _error(output: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(output, target)


def _search(error: Map, start: Tensor, iterations: int, settings: Settings) -> Tensor:
    """The image of least error among those that projected gradient steps visit; itself if none is better.

    Each step is along the gradient's direction, of a fixed length; then back into the ball and into [0, 1].
    """
    best, least = start, float("inf")
    change = torch.zeros_like(start)
    for step in range(iterations + 1):
        image = (start + change).requires_grad_(step < iterations)
        found = error(image)
        if (value := float(found.detach())) < least:
            best, least = start + change if step else start, value
        if step == iterations:
            break
        (gradient,) = torch.autograd.grad(found, image)
        length = gradient.norm()
        if not length > 0:
            break
        change = change - settings.step * gradient / length
        change = change * (settings.epsilon / change.norm().clamp_min(settings.epsilon))
        change = (start + change).clamp(0, 1) - start
    return best.detach()


@torch.inference_mode()
def _score(small: np.ndarray, pixels: np.ndarray, pair: Scalers) -> float:
    output = quantise(pair.up(to_tensor(small[None])))
    return psnr(output, pixels, border=pair.scale, colour="y")


def load_model(model: str, weights: Path | None = None) -> tuple[Network, Task]:
    """A network that can be down-scaled for, and its task.

    Args:
        model: Name of a published network, or a safetensors file that an export wrote.
        weights: The published network's checkpoint.

    Raises:
        ValueError: for an unknown name, a missing or surplus ``weights``, or a file that isn't such an export.
    """
    if Path(model).suffix.lower() != ".safetensors":
        known = published(model)
        if weights is None:
            raise ValueError(
                f"'{model}' is a published network without its weights: expected --weights FILE "
                f"({known.checkpoint or 'its checkpoint'})"
            )
        return load_published(model, weights), known.task
    if weights is not None:
        raise ValueError(f"{model} holds its weights: expected no --weights, got {weights}")
    tensors = read_tensors(model)
    notes = _notes(Path(model))
    task = get_task(notes["task"]).interface
    network = build(Architecture.from_json(notes["architecture"]), task)
    load_weights(network, tensors)
    return network, task


def _notes(path: Path) -> dict[str, str]:
    """What an export says of itself.

    Raises: CheckpointError: if it says nothing.
    """
    try:
        with safe_open(path, "pt") as file:
            notes = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: can't be read ({error}); export it again") from error
    if not {"architecture", "task"} <= notes.keys():
        raise CheckpointError(
            f"{path}: expected a file that `pixelfront export` wrote, with architecture and task in it, got "
            f"{', '.join(sorted(notes)) or 'neither'}"
        )
    return notes


def downscale_files(
    model: str,
    images: Sequence[Path],
    output: Path,
    *,
    weights: Path | None = None,
    settings: Settings | None = None,
    done: Callable[[Downscaled], None] = lambda row: None,
) -> list[Downscaled]:
    """Write a small PNG for each image, ``<name>x<scale>.png``, as ``read_pairs`` finds it.

    Args:
        model, weights: As ``load_model``.
        output: Folder; made if it is missing.
        done: Called after each image, for a progress display.

    Raises:
        ValueError: as ``load_model`` and ``scalers``.
        ImageError: for no image, two of one name, one that can't be read or is too small, or an output that isn't
            a folder; nothing is written then.
    """
    network, task = load_model(model, weights)
    pair = scalers(network, task)
    pictures = _read(images)
    for path, pixels in pictures:
        _check_size(pixels, pair.scale, path.name)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ImageError(
            f"{output}: expected a folder for the small images, got a file; name another"
        ) from None
    rows = []
    for path, pixels in pictures:
        found = downscale_image(pixels, pair, settings or Settings(), path.name)
        file = output / f"{path.stem}x{pair.scale}.png"
        PIL.Image.fromarray(found.small).save(file)
        rows.append(replace(found, file=file))
        done(rows[-1])
    return rows


def _read(images: Sequence[Path]) -> list[tuple[Path, np.ndarray]]:
    stems: dict[str, Path] = {}
    for path in images:
        if path.stem in stems:
            raise ImageError(
                f"{stems[path.stem]} and {path}: their small images would have one name; rename one"
            )
        stems[path.stem] = path
    if not stems:
        raise ImageError("expected at least one image, got none")
    return [(path, read_image(path)[0]) for path in images]

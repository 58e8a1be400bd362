"""Sets of (degraded input, target) image pairs, and random patches of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from evaluators.data.images import ImageSet

Array = np.ndarray
Degrade = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class PairSet:
    """Inputs and targets in the same order; targets are ``scale`` times as large."""

    inputs: ImageSet
    targets: ImageSet
    scale: int

    @property
    def name(self) -> str:
        """The targets' name."""
        return self.targets.name

    @cached_property
    def digest(self) -> str:
        """Digest of the contents of inputs and targets and of which belongs to which; names don't count."""
        pairs = sorted(zip(self.inputs.digests, self.targets.digests, strict=True))
        text = "\n".join([str(self.scale), *(" ".join(pair) for pair in pairs)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def origin(self, noun: str) -> str:
        """What the inputs were made by, for a protocol; ``given NOUN DIGEST`` where they weren't made here."""
        made = all(image.made_by for image in self.inputs)
        return self.inputs.images[0].made_by if made else f"given {noun} {self.inputs.digest}"

    def pick(self, indices: Sequence[int]) -> PairSet:
        """Only the pairs at these indices, under the same names."""
        inputs, targets = (
            ImageSet(s.name, tuple(s.images[i] for i in indices), s.notes)
            for s in (self.inputs, self.targets)
        )
        return PairSet(inputs, targets, self.scale)

    def __len__(self) -> int:
        return len(self.targets.images)


class _Cut(NamedTuple):
    """A patch: of which image, where in its input, and in which of the 8 orientations."""

    image: int
    top: int
    left: int
    patch: int
    turn: int


class PatchSource:
    """Batches of random patches, flipped and rotated: a pure function of (seed, step).

    That makes resuming exact without saving a random state. Images are used in place, so arrays that
    live in shared memory are never copied.

    Args:
        inputs, targets: (H, W, C) images, the targets ``scale`` times as large.
        degrade: Makes (batch, h, w, C) inputs anew from the targets, such as fresh noise for every batch; without
            it they are cut from ``inputs``.
        flips: Patches are flipped and rotated; False where an input has a direction (a Bayer pattern).
    """

    def __init__(
        self,
        inputs: Sequence[Array],
        targets: Sequence[Array],
        scale: int,
        *,
        degrade: Degrade | None = None,
        flips: bool = True,
    ):
        self.inputs = inputs
        self._targets = targets
        self._scale = scale
        self._degrade = degrade
        self._flips = flips

    def batch(self, *, seed: int, step: int, batch: int, patch: int) -> tuple[Array, Array]:
        """(batch, patch, patch, C) inputs and (batch, scale*patch, scale*patch, C) targets.

        Every image is as likely as another, whatever its size.

        Args:
            patch: Side of the input patch in pixels; fits into every image (``check_patch``).
        """
        random, cuts = self._draw(seed, step, batch, patch)
        wanted = self._cut(self._targets, self._scale, cuts)
        return self._degrade(wanted, random) if self._degrade else self._cut(self.inputs, 1, cuts), wanted

    def guides(self, images: Sequence[Array], *, seed: int, step: int, batch: int, patch: int) -> Array:
        """The patches of the same places in the same orientations as a batch's targets, from other images.

        Args:
            images: Of the targets' sizes and in their order, such as a teacher's outputs.
        """
        _, cuts = self._draw(seed, step, batch, patch)
        return self._cut(images, self._scale, cuts)

    @property
    def fixed(self) -> bool:
        """Whether inputs are cut from ``inputs``, so that what another network makes of those can be kept."""
        return self._degrade is None

    def _draw(self, seed: int, step: int, batch: int, patch: int) -> tuple[np.random.Generator, list[_Cut]]:
        """A batch's patches, and the generator, as it is behind them."""
        random = np.random.Generator(np.random.Philox(key=[seed, step]))
        picked = random.integers(len(self.inputs), size=batch)
        places = random.random((batch, 2))
        turns = random.integers(8, size=batch) if self._flips else np.zeros(batch, int)
        cuts = []
        for index, (down, across), turn in zip(picked, places, turns, strict=True):
            height, width = self.inputs[index].shape[:2]
            top, left = int(down * (height - patch + 1)), int(across * (width - patch + 1))
            cuts.append(_Cut(int(index), top, left, patch, int(turn)))
        return random, cuts

    @staticmethod
    def _cut(images: Sequence[Array], scale: int, cuts: Sequence[_Cut]) -> Array:
        """(batch, scale*patch, scale*patch, C) patches of images that are ``scale`` times the inputs' size."""
        found = []
        for image, top, left, patch, turn in cuts:
            rows, columns = (slice(start * scale, (start + patch) * scale) for start in (top, left))
            found.append(_orient(images[image][rows, columns], turn))
        return np.stack(found)


def _orient(pixels: Array, turn: int) -> Array:
    """One of the 8 flips and rotations."""
    pixels = np.rot90(pixels, turn % 4)
    return pixels[:, ::-1] if turn >= 4 else pixels


def check_patch(pairs: PairSet, patch: int, *, setting: str = "--patch") -> None:
    """Nothing, if the patch fits into every input image.

    Args:
        setting: What the user says the patch with.

    Raises: ValueError: naming the images that are too small.
    """
    small = [image for image in pairs.inputs.images if min(image.pixels.shape[:2]) < patch]
    if small:
        sizes = ", ".join(f"{i.name} ({i.pixels.shape[1]}x{i.pixels.shape[0]})" for i in small[:5])
        smallest = min(min(i.pixels.shape[:2]) for i in small)
        raise ValueError(
            f"a patch of {patch}x{patch} input pixels is larger than {len(small)} input image(s) of "
            f"'{pairs.name}': {sizes}. Use {setting} {smallest} or less, or larger images."
        )

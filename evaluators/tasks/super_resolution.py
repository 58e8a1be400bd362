"""Super-resolution by 2, 3 and 4 of MATLAB-bicubic down-scaled images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluators.data.images import Image, ImageSet, read_pairs
from evaluators.data.layouts import read_data
from evaluators.data.pairs import PairSet
from evaluators.data.photographs import embedded
from evaluators.degradations.bicubic import crop_to_multiple, downscale, upscale
from evaluators.tasks import RestorationTask, Split, register
from spaces.measurement import Measurement
from spaces.task import super_resolution

# Whether a set's inputs are what ``degrade`` makes, by the set's digest. Not kept on the set: a worker that
# lives for many trials gets a new object of the same pixels with each.
_made: dict[str, bool] = {}


class SuperResolution(RestorationTask):
    """Undo a bicubic down-scaling; scored with ``scale`` pixels cropped per side."""

    baseline_name = "bicubic"

    def __init__(self, scale: int):
        self.interface = super_resolution(scale)
        self.border = scale

    def embedded(self, split: Split) -> PairSet:
        """The embedded photographs and their down-scaled versions."""
        return self.degrade(embedded(split))

    def pairs(
        self,
        targets: Path,
        inputs: Path | None = None,
        *,
        minimum: int = 1,
        skip_bad: bool = False,
        split: Split = "train",
    ) -> PairSet:
        """Pairs from HR images alone (down-scaled here), with their LR images, or from a known data set's folder."""
        scale = self.interface.scale
        if inputs is None:
            found = read_data(targets, self.interface, split, minimum=minimum, skip_bad=skip_bad)
            return self.degrade(found) if isinstance(found, ImageSet) else found
        hr, lr = read_pairs(targets, inputs, scale=scale, minimum=(minimum, minimum), skip_bad=skip_bad)
        return PairSet(lr, hr, scale)

    def degrade(self, images: ImageSet) -> PairSet:
        """Targets cropped to multiples of the scale, and their down-scaled versions."""
        scale = self.interface.scale
        targets = tuple(i.cropped(*crop_to_multiple(i.pixels, scale).shape[:2]) for i in images.images)
        inputs = tuple(Image(i.name, downscale(i.pixels, scale)) for i in targets)
        return PairSet(
            ImageSet(f"{images.name} bicubic/{scale}", inputs),
            ImageSet(images.name, targets, images.notes),
            scale,
        )

    def summarise(self, scores: dict[str, dict[str, float]], pairs: PairSet) -> tuple[Measurement, ...]:
        """The means, under protocols that name the inputs where they aren't what ``degrade`` makes."""
        means = super().summarise(scores, pairs)
        if self._is_made(pairs):
            return means
        return tuple(replace(m, protocol=f"{m.protocol}, given inputs {pairs.inputs.digest}") for m in means)

    def _is_made(self, pairs: PairSet) -> bool:
        """Whether the inputs are the targets down-scaled as here; decided once per process for the same pixels."""
        key = f"{self.interface.scale} {pairs.digest}"
        if key not in _made:
            _made[key] = all(
                np.array_equal(source.pixels, downscale(target.pixels, self.interface.scale))
                for source, target in zip(pairs.inputs, pairs.targets, strict=True)
            )
        return _made[key]

    def baseline(self, pixels: np.ndarray) -> np.ndarray:
        """Bicubic up-scaling."""
        return upscale(pixels, self.interface.scale)


for _scale in (2, 3, 4):
    register(SuperResolution(_scale))

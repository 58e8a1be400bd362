"""Super-resolution by 2, 3 and 4 of MATLAB-bicubic down-scaled images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluators.bicubic import crop_to_multiple, downscale, upscale
from evaluators.images import Image, ImageSet, read_folder, read_pairs
from evaluators.layouts import read_known
from evaluators.pairs import PairSet
from evaluators.photographs import embedded
from evaluators.tasks import RestorationTask, Split, register
from spaces.task import super_resolution


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
            known = read_known(targets, self.interface, split, minimum=minimum, skip_bad=skip_bad)
            if known is None:
                known = read_folder(targets, minimum=(minimum * scale,) * 2, skip_bad=skip_bad)
            return self.degrade(known) if isinstance(known, ImageSet) else known
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

    def baseline(self, pixels: np.ndarray) -> np.ndarray:
        """Bicubic up-scaling."""
        return upscale(pixels, self.interface.scale)


for _scale in (2, 3, 4):
    register(SuperResolution(_scale))

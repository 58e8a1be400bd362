"""Rescaling by 2 and 4: an image is made small to be stored in 8 bits, and made large again.

The network does both, so its input is the image itself, and the score tells what is lost on the way. What is between
is stored: a network that could pass it by is refused (``spaces.build``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluators.data.images import ImageError, ImageSet
from evaluators.data.layouts import read_data
from evaluators.data.pairs import PairSet
from evaluators.data.photographs import embedded
from evaluators.degradations.bicubic import crop_to_multiple, downscale, upscale
from evaluators.tasks import RestorationTask, Split, register
from spaces.task import rescaling


class Rescaling(RestorationTask):
    """Store an image at 1/``reduction`` of its size; scored with ``reduction`` pixels cropped per side."""

    baseline_name = "bicubic"
    space = "rescale"

    def __init__(self, reduction: int):
        self.interface = rescaling(reduction)
        self.border = reduction
        self.patch = 24 * reduction

    def embedded(self, split: Split) -> PairSet:
        """The embedded photographs, as inputs and targets."""
        return self.store(embedded(split))

    def pairs(
        self,
        targets: Path,
        inputs: Path | None = None,
        *,
        minimum: int = 1,
        skip_bad: bool = False,
        split: Split = "train",
    ) -> PairSet:
        """Each image of the folder, or of a known data set's, with itself.

        Raises: ImageError: if a folder of inputs is given, or as ``evaluators.data.layouts.read_data``.
        """
        if inputs is not None:
            raise ImageError(
                f"{inputs}: task '{self.interface.name}' takes a folder of images only, got a folder of inputs too: "
                "an image is its own input; leave the inputs out"
            )
        smallest = max(minimum, self.interface.reduction)
        found = read_data(targets, self.interface, split, minimum=smallest, skip_bad=skip_bad)
        return self.store(found.targets if isinstance(found, PairSet) else found)

    def store(self, images: ImageSet) -> PairSet:
        """The images, cropped to multiples of the reduction, as inputs and as targets."""
        reduction = self.interface.reduction
        cropped = tuple(i.cropped(*crop_to_multiple(i.pixels, reduction).shape[:2]) for i in images)
        same = ImageSet(images.name, cropped, images.notes)
        return PairSet(same, same, 1)

    def baseline(self, pixels: np.ndarray) -> np.ndarray:
        """Bicubic down-scaling and up-scaling, both MATLAB's."""
        reduction, (height, width) = self.interface.reduction, pixels.shape[:2]
        missing = ((0, -height % reduction), (0, -width % reduction), (0, 0))
        small = downscale(np.pad(pixels, missing, mode="symmetric"), reduction)
        return np.ascontiguousarray(upscale(small, reduction)[:height, :width])


for _reduction in (2, 4):
    register(Rescaling(_reduction))

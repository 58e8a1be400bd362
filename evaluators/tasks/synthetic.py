"""Tasks whose inputs are as large as their targets: made from clean pictures, or given."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluators.data.images import Image, ImageSet, read_pairs
from evaluators.data.layouts import read_data
from evaluators.data.pairs import Degrade, PairSet
from evaluators.data.photographs import embedded
from evaluators.degradations.corruptions import to_8_bits
from evaluators.tasks import RestorationTask, Split
from spaces.measurement import Measurement


class SyntheticTask(RestorationTask):
    """Undo what ``degrade`` does, or what was done to given pairs of images.

    All images of a set are read at once, and float32 inputs are kept beside their 8-bit targets: a picture of
    2040x1356 takes 8 MiB, and its noisy input 32 MiB.

    Attributes:
        made_by: What ``degrade`` does, with all that changes a number; part of the protocol.
    """

    border = 0
    baseline_name = "identity"
    patch = 48
    # Against L1 then L2, 1500 steps of one network on the embedded photographs: denoise +0.3 dB, derain +0.2 dB.
    losses = ("psnr", "psnr")
    space = "unet"
    made_by: str

    @abstractmethod
    def degrade(self, pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """(N, H, W, 3) inputs from (N, H, W, 3) uint8 targets: uint8, or float32 of full scale 1."""

    def embedded(self, split: Split) -> PairSet:
        """The embedded photographs and their degraded versions."""
        return self.make(embedded(split))

    def make(self, images: ImageSet) -> PairSet:
        """Targets and their degraded versions: the same for the same pictures, in any order and of any name."""
        inputs = tuple(
            Image(i.name, self.degrade(i.pixels[None], self._random(i))[0], made_by=self.made_by)
            for i in images
        )
        return PairSet(ImageSet(f"{images.name} with {self.made_by}", inputs), images, 1)

    def _random(self, image: Image) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.made_by} {image.digest}".encode()).hexdigest()
        return np.random.Generator(np.random.Philox(int(digest[:32], 16)))

    def pairs(
        self,
        targets: Path,
        inputs: Path | None = None,
        *,
        minimum: int = 1,
        skip_bad: bool = False,
        split: Split = "train",
    ) -> PairSet:
        """Pairs from two folders, from a data set of a known layout, or from a folder of clean pictures.

        Args:
            targets: Clean pictures, whose inputs are made here unless ``inputs`` is given; or a data set's
                folder (``evaluators.data.layouts``).
            split: Of such a data set, where its folder holds several.
        """
        if inputs is not None:
            clean, given = read_pairs(targets, inputs, scale=1, minimum=(minimum, minimum), skip_bad=skip_bad)
            return PairSet(given, clean, 1)
        found = read_data(targets, self.interface, split, minimum=minimum, skip_bad=skip_bad)
        return self.make(found) if isinstance(found, ImageSet) else found

    def degradation(self, pairs: PairSet) -> Degrade | None:
        """Made anew for every batch, unless the inputs were given."""
        return self.degrade if all(image.made_by == self.made_by for image in pairs.inputs) else None

    def baseline(self, pixels: np.ndarray) -> np.ndarray:
        """The input itself, in 8 bits."""
        return pixels if pixels.dtype == np.uint8 else to_8_bits(pixels)

    def picture(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8; of inputs too."""
        return self.baseline(pixels)

    def summarise(self, scores: dict[str, dict[str, float]], pairs: PairSet) -> tuple[Measurement, ...]:
        """The means, under protocols that say what the inputs were."""
        source = pairs.origin("inputs")
        return tuple(replace(m, protocol=f"{m.protocol}, {source}") for m in super().summarise(scores, pairs))

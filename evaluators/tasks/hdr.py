"""HDR from three exposures, by the protocol of NTIRE 2022.

Inputs, targets and outputs are coded as ``evaluators.hdr.coding`` says. The default data are made from photographs
(``evaluators.hdr.exposures``); ``evaluators.hdr.files`` says which folders are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from evaluators.data.images import ImageSet
from evaluators.data.pairs import PairSet
from evaluators.data.photographs import embedded
from evaluators.hdr import coding as hdr
from evaluators.hdr.exposures import expand, generator, simulate
from evaluators.hdr.files import has_split, read_pairs
from evaluators.tasks import RestorationTask, Split, register
from spaces.measurement import Measurement
from spaces.task import HDR

SIDE = 384  # of the embedded scenes: an input of 18 float32 channels then takes 10 MiB
_METRICS = {
    "psnr_mu": (
        hdr.psnr_mu,
        "mu-law 5000 of tanh of light / reference's 99th percentile, gamma 2.24, peak 1",
    ),
    "psnr_linear": (
        hdr.psnr_linear,
        "linear light / reference's 99th percentile, gamma 2.24, peak 1",
    ),
    "psnr_coded": (hdr.psnr_coded, "gamma-coded (2.24) / reference's largest, peak 1"),
}


class HighDynamicRange(RestorationTask):
    """Merge a short, a medium and a long exposure to the HDR image at the moment of the medium one."""

    interface = HDR
    border = 0
    baseline_name = "medium exposure"
    objectives = ("psnr_mu", "psnr_linear")
    losses = ("mu_l1", "mu_l1")
    patch = 64
    space = "hdr"

    def embedded(self, split: Split) -> PairSet:
        """The middle of each embedded photograph as a scene, with simulated exposures."""
        photographs = embedded(split)
        made = []
        for photograph in photographs:
            pixels = _middle(photograph.pixels, SIDE)
            light = expand(pixels, generator(photograph.digest[32:]))
            made.append(simulate(photograph.name, light, photograph.digest))
        inputs, targets = (tuple(images) for images in zip(*made, strict=True))
        return PairSet(
            ImageSet(f"{photographs.name} exposures", inputs), ImageSet(photographs.name, targets), 1
        )

    def pairs(
        self,
        targets: Path,
        inputs: Path | None = None,
        *,
        minimum: int = 1,
        skip_bad: bool = False,
        split: Split = "train",
    ) -> PairSet:
        """Pairs from NTIRE's folders, or from HDR images with or without their exposures (``hdr_files``)."""
        return read_pairs(targets, inputs, minimum=minimum, skip_bad=skip_bad, split=split)

    def has_split(self, folder: Path, split: Split) -> bool:
        """Whether the folder holds one for the split."""
        return has_split(folder, split)

    def baseline(self, pixels: np.ndarray) -> np.ndarray:
        """The medium exposure, as light."""
        return hdr.medium(pixels)

    def finish(self, output: Tensor) -> np.ndarray:
        """(H, W, 3) coded float32, not rounded; what is below 0 is 0.

        Raises: FloatingPointError: where a value isn't finite.
        """
        if not output.isfinite().all():
            raise FloatingPointError("the network's output is NaN or infinite")
        return output[0].float().clamp_min(0).permute(1, 2, 0).contiguous().cpu().numpy()

    def picture(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8: tone mapped; of an input, its medium exposure."""
        return hdr.picture(hdr.medium(pixels) if pixels.shape[2] == hdr.CHANNELS else pixels)

    def per_image(
        self, outputs: Sequence[np.ndarray], pairs: PairSet, *, ssim: bool = True
    ) -> dict[str, dict[str, float]]:
        """Image name to ``psnr_mu``, ``psnr_linear`` and ``psnr_coded``; SSIM isn't part of the protocol."""
        names = [image.name for image in pairs.targets]
        if not len(outputs) == len(names) > 0 or len(set(names)) < len(names):
            raise ValueError(
                f"{pairs.name}: expected an output for each image and a name of its own for each, "
                f"got {len(outputs)} outputs for {names}"
            )
        scores = {}
        for output, target in zip(outputs, pairs.targets, strict=True):
            try:
                scores[target.name] = {
                    name: metric(output, target.pixels) for name, (metric, _) in _METRICS.items()
                }
            except ValueError as error:
                raise ValueError(f"{target.name} of {pairs.name}: {error}") from error
        return scores

    def summarise(self, scores: dict[str, dict[str, float]], pairs: PairSet) -> tuple[Measurement, ...]:
        """The means, under protocols that say what the inputs were."""
        source = pairs.origin("exposures")
        data = f"border {self.border}, on {pairs.name} ({pairs.targets.digest}), {source}"
        return tuple(
            Measurement(
                name,
                float(np.mean([score[name] for score in scores.values()])),
                "dB",
                "max",
                f"{protocol}, float32, {data}",
            )
            for name, (_, protocol) in _METRICS.items()
        )


def _middle(pixels: np.ndarray, side: int) -> np.ndarray:
    """The middle of at most side x side."""
    top, left = (max(0, (n - side) // 2) for n in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


register(HighDynamicRange())

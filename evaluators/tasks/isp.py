"""A camera's image pipeline: from Bayer RAW to sRGB of twice the packed size.

The default data are photographs turned back into RAW (``evaluators.data.raw.unprocess``); pairs of folders hold real
ones, such as the Zurich RAW to RGB set's (Ignatov et al., 2020, https://arxiv.org/abs/2002.05509) or those of Mobile
AI 2021.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluators.data.images import (
    Image,
    ImageError,
    ImageSet,
    as_notes,
    image_files,
    match_files,
    name_some,
    note_left_out,
    read_folder,
    read_image,
)
from evaluators.data.layouts import check_plain, find_pairs
from evaluators.data.pairs import Degrade, PairSet, PatchSource
from evaluators.data.photographs import embedded
from evaluators.data.raw import (
    BLUE_GAINS,
    BRIGHTNESS,
    RED_GAINS,
    SHOT_NOISE,
    SUFFIXES,
    Raw,
    develop,
    read_levels,
    read_raw,
    unprocess,
)
from evaluators.data.tensors import FULL_SCALE
from evaluators.tasks import RestorationTask, Split, register
from spaces.measurement import Measurement
from spaces.task import ISP

# With all that changes a number; part of the protocol.
MADE_BY = (
    "RAW unprocessed from sRGB: one camera, red gain {:g} to {:g}, blue {:g} to {:g}, brightness {:g} +- {:g}, "
    "shot noise {:g} to {:g}, 12-bit"
).format(*RED_GAINS, *BLUE_GAINS, *BRIGHTNESS, *SHOT_NOISE)


class CameraPipeline(RestorationTask):
    """Demosaic, denoise and develop RAW; scored over the three channels of the whole 8-bit image."""

    interface = ISP
    border = 0
    baseline_name = "demosaicing and gamma"
    objectives = ("psnr_rgb", "psnr_y")
    patch = 32
    space = "isp"
    flips = False  # a flipped mosaic has another pattern

    def embedded(self, split: Split) -> PairSet:
        """The embedded photographs and RAW that they could have been made from."""
        return self.unprocess(embedded(split))

    def pairs(
        self,
        targets: Path,
        inputs: Path | None = None,
        *,
        minimum: int = 1,
        skip_bad: bool = False,
        split: Split = "train",
    ) -> PairSet:
        """Pairs from sRGB images alone (turned back into RAW here), with their RAWs, or from a known data set's folder.

        RAWs have their target's name. They are what ``read_raw`` reads, and ``raw.json`` beside them may say their
        levels and pattern. A target is cropped as its RAW is.
        """
        if inputs is not None:
            partners = match_files(image_files(targets), _raw_files(inputs), 1)
            return _read(partners, targets, f"{targets}, {inputs}", minimum, skip_bad)
        if known := find_pairs(targets, self.interface.name, split):
            partners = {target: source for _, source, target in known if source}
            return _read(partners, targets, str(targets), minimum, skip_bad)
        check_plain(targets, self.interface.name)
        side = 2 * minimum
        return self.unprocess(read_folder(targets, minimum=(side, side), skip_bad=skip_bad))

    def unprocess(self, images: ImageSet) -> PairSet:
        """Targets cropped to even sides, and RAW made from each; the same RAW each time for the same picture."""
        targets = tuple(
            image.cropped(*(side // 2 * 2 for side in image.pixels.shape[:2])) for image in images
        )
        inputs = tuple(
            Image(i.name, unprocess(i.pixels[None], _random(i))[0], made_by=MADE_BY) for i in targets
        )
        return PairSet(
            ImageSet(f"{images.name} unprocessed", inputs), ImageSet(images.name, targets, images.notes), 2
        )

    def baseline(self, pixels: np.ndarray) -> np.ndarray:
        """Bilinear demosaicing, daylight white balance and gamma 1/2.2."""
        return develop(pixels / np.float32(FULL_SCALE[pixels.dtype]))

    def degradation(self, pairs: PairSet) -> Degrade | None:
        """White balance, brightness and noise anew for every batch, where the RAWs were made from the targets."""
        return unprocess if all(image.made_by == MADE_BY for image in pairs.inputs) else None

    def patch_source(self, pairs: PairSet) -> PatchSource:
        """As other tasks'; flipped where the mosaic is taken after the flip."""
        inputs, targets = ([image.pixels for image in s] for s in (pairs.inputs, pairs.targets))
        degrade = self.degradation(pairs)
        return PatchSource(inputs, targets, pairs.scale, degrade=degrade, flips=degrade is not None)

    def summarise(self, scores: dict[str, dict[str, float]], pairs: PairSet) -> tuple[Measurement, ...]:
        """The means, under protocols that say what the RAWs were."""
        source = pairs.origin("RAW")
        return tuple(replace(m, protocol=f"{m.protocol}, {source}") for m in super().summarise(scores, pairs))


def _random(image: Image) -> np.random.Generator:
    return np.random.default_rng(int(image.digest[:16], 16))


def _read(partners: Mapping[Path, Path], folder: Path, where: str, minimum: int, skip_bad: bool) -> PairSet:
    """The pairs of these files.

    Args:
        partners: The RAW of each target.
        folder: That names the set.
        where: The folders, for messages.

    Raises: ImageError: as ``evaluators.data.images.read_file_pairs``.
    """
    pictures, conversions, problems = _read_pictures(partners)
    raws, raw_problems = _read_raws(list(partners.values()), minimum)
    good = {rgb: raw for rgb, raw in partners.items() if rgb in pictures and raw in raws}
    left_out = note_left_out(problems + raw_problems, len(good), where, skip_bad)
    found, misfits = [], []
    for rgb, raw in good.items():
        cropped = _fitting(pictures[rgb], raws[raw])
        if cropped is None:
            height, width = raws[raw].packed.shape[:2]
            misfits.append(f"{rgb} against {raw}, {2 * width}x{2 * height} without a margin")
        else:
            found.append((cropped, Image(cropped.name, raws[raw].packed)))
    if misfits:
        raise ImageError(
            "expected targets as large as the RAW's mosaic, twice the packed size, got "
            f"{name_some(misfits)}; check which folder is which"
        )
    told = [(raw.name, raws[raw].note) for raw in good.values() if raws[raw].note]
    name = folder.resolve().name
    return PairSet(
        ImageSet(f"{name} RAW", tuple(raw for _, raw in found), as_notes(told)),
        ImageSet(name, tuple(rgb for rgb, _ in found), as_notes(conversions) + left_out),
        2,
    )


def _fitting(picture: Image, raw: Raw) -> Image | None:
    """The part of the picture that the packed RAW shows; None if they can't be of one size."""
    (height, width), (top, left) = (2 * side for side in raw.packed.shape[:2]), raw.offset
    pixels = picture.pixels[top:, left:]
    if not all(0 <= have - want < 2 for have, want in zip(pixels.shape[:2], (height, width), strict=True)):
        return None
    if not top and not left:
        return picture.cropped(height, width)
    return Image(picture.name, np.ascontiguousarray(pixels[:height, :width]), picture.source)


def _raw_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder; expected a folder of RAWs ({_suffixes()})")
    files = [f for f in sorted(folder.iterdir()) if f.suffix.lower() in SUFFIXES and f.name[0] != "."]
    if not files:
        raise ImageError(f"{folder}: no image in this folder; expected RAWs ({_suffixes()})")
    return files


def _suffixes() -> str:
    return " ".join(suffix[1:] for suffix in SUFFIXES)


def _read_pictures(files: Iterable[Path]) -> tuple[dict[Path, Image], list[tuple[str, str]], list[str]]:
    """The usable pictures, the (name, conversion) pairs, and what is wrong with the others."""
    found, conversions, problems = {}, [], []
    for file in files:
        try:
            pixels, conversion = read_image(file)
        except ImageError as error:
            problems.append(str(error))
            continue
        found[file] = Image(file.name, pixels)
        if conversion:
            conversions.append((file.name, conversion))
    return found, conversions, problems


def _read_raws(files: list[Path], minimum: int) -> tuple[dict[Path, Raw], list[str]]:
    """The usable RAWs, and what is wrong with the others."""
    levels = read_levels(files[0].parent)
    found, problems = {}, []
    for file in files:
        try:
            raw = read_raw(file, levels)
        except ImageError as error:
            problems.append(str(error))
            continue
        height, width = raw.packed.shape[:2]
        if min(height, width) < minimum:
            problems.append(f"{file}: expected at least {minimum}x{minimum} pixels, got {width}x{height}")
        else:
            found[file] = raw
    return found, problems


register(CameraPipeline())

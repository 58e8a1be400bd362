"""Refuses training images that are also in a validation or test set.

Two checks: equal content (``content_digest``: file names don't count, flips and rotations are found), of the
images as they are used and as they were read, before a crop to a multiple of the scale; and near-duplicates:
the same picture with a few rows cut off, re-compressed or rescaled. For these, 16x16 grey thumbnails with the
mean removed are correlated in all 8 orientations.

The threshold of 0.97 is measured on 533 images (BSDS500, Set5, Set14 and the embedded photographs):

* BSDS500 val cut by one row and column (how B100 is made) and saved as JPEG of quality 75: all of 100
  found, the lowest at 0.988 (so also for all 533). JPEG of quality 30: 0.994; a quarter of the size: 0.994.
* Different pictures: all 141,776 pairs are below 0.91 but one at 0.950 (55067 and 223061 of BSDS500).
* Two pairs above it are real: ``woman`` of Set5 is 302003 of BSDS500 train, scaled down (0.990), and
  ``head`` of Set5 is ``face`` of Set14 (0.999).

What it can't find: a picture with more cut off (2 % of both sides is found in 99 % of cases if cut all
round and in 64 % if cut from one corner, 5 % mostly not), one part of a picture used as an image of its
own, and images whose thumbnails are almost without contrast, which are only compared by content.
"""

from __future__ import annotations

import numpy as np
import PIL.Image

from evaluators.data.images import ImageSet, orientations, viewable

THRESHOLD = 0.97
_SIDE = 16
_LEAST_CONTRAST = 2.0  # standard deviation in grey levels; the flattest of the 533 images has 4.7
_NAMED = 10


class OverlapError(ValueError):
    """Training images are also held out; the message names each pair and says how to go on."""


def check_disjoint(train: ImageSet, *held_out: ImageSet, allow_near: bool = False) -> None:
    """Make sure that no image of ``train`` is in a held-out set.

    Args:
        train: Images that are trained on.
        held_out: Sets for validation and test; they aren't compared with each other.
        allow_near: Accept near-duplicates; equal content is never accepted.

    Raises:
        OverlapError: naming each offending pair and its set.
    """
    equal, near = [], []
    for data in held_out:
        same = _same_content(train, data)
        equal += [_pair(train, data, *where) for where in zip(*np.nonzero(same), strict=True)]
        if not allow_near:
            similar = _similarity(train, data)
            alike = (similar >= THRESHOLD) & ~same
            near += [
                f"{_pair(train, data, *where)}: correlation {similar[where]:.3f}"
                for where in zip(*np.nonzero(alike), strict=True)
            ]
    messages = []
    if equal:
        messages.append(
            f"expected no training image in a held-out set, got {_listed(equal, 'with equal content')}"
        )
        messages.append("Remove them from one of the two; equal content is never accepted.")
    if near:
        messages.append(
            f"expected no near-duplicates between training and held-out, got {_listed(near, 'alike')}"
        )
        messages.append("Remove them from one, or accept them with `--allow-near-duplicates`.")
    if messages:
        raise OverlapError(" ".join(messages))


def _same_content(train: ImageSet, data: ImageSet) -> np.ndarray:
    """(train, held out) whether the two are equal as they are used, or were as they were read."""
    return _equal(train.digests, data.digests) | _equal(train.sources, data.sources)


def _equal(some: tuple[str, ...], others: tuple[str, ...]) -> np.ndarray:
    return np.array(some, dtype=str)[:, None] == np.array(others, dtype=str)[None, :]


def _similarity(train: ImageSet, data: ImageSet) -> np.ndarray:
    """(train, held out) highest correlation of the thumbnails over the 8 orientations, in [-1, 1]."""
    fixed = _thumbnails(train).reshape(len(train), _SIDE * _SIDE)
    turned = np.stack(orientations(np.moveaxis(_thumbnails(data), 0, -1)))
    return np.max([fixed @ view.reshape(_SIDE * _SIDE, len(data)) for view in turned], axis=0)


def _thumbnails(data: ImageSet) -> np.ndarray:
    """(n, side, side) grey thumbnails of zero mean and unit norm; all zero where there is no contrast."""
    small = np.array([_shrink(image.pixels) for image in data]).reshape(-1, _SIDE, _SIDE)
    small -= small.mean(axis=(1, 2), keepdims=True)
    norm = np.sqrt((small**2).sum(axis=(1, 2), keepdims=True))
    flat = norm < _LEAST_CONTRAST * _SIDE
    return np.where(flat, 0.0, small / np.where(flat, 1.0, norm))


def _shrink(pixels: np.ndarray) -> np.ndarray:
    grey = PIL.Image.fromarray(viewable(pixels)).convert("L")
    return np.asarray(grey.resize((_SIDE, _SIDE), PIL.Image.Resampling.BOX), dtype=np.float64)


def _pair(train: ImageSet, data: ImageSet, i: int, j: int) -> str:
    return f"{train.images[i].name} of {train.name} and {data.images[j].name} of {data.name}"


def _listed(pairs: list[str], how: str) -> str:
    rest = len(pairs) - _NAMED
    more = f"; and {rest} more" if rest > 0 else ""
    return f"{len(pairs)} {'pairs' if len(pairs) > 1 else 'pair'} {how}: {'; '.join(pairs[:_NAMED])}{more}."

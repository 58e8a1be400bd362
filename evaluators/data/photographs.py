"""The default images: photographs that scikit-image and scikit-learn ship in their wheels.

Nothing is downloaded. They are few, so that a first search runs anywhere; figures to report need a real
set (DIV2K, Set5). The files are read from the installed packages without importing these, which
takes longer than reading them. JPEGs decode to slightly different pixels under another libjpeg; the set's
digest tells.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from evaluators.data.images import Image, ImageError, ImageSet, read_image

_SKIMAGE = ("scikit-image", "skimage", "data")
_SKLEARN = ("scikit-learn", "sklearn", "datasets/images")

# The split is by content: the two motorcycles are one scene, and flower and china stay apart.
SPLITS: dict[str, tuple[tuple[tuple[str, str, str], str], ...]] = {
    "train": (
        (_SKIMAGE, "astronaut.png"),
        (_SKIMAGE, "motorcycle_left.png"),
        (_SKIMAGE, "motorcycle_right.png"),
        (_SKLEARN, "flower.jpg"),
        (_SKIMAGE, "camera.png"),
        (_SKIMAGE, "brick.png"),
        (_SKIMAGE, "grass.png"),
        (_SKIMAGE, "gravel.png"),
        (_SKIMAGE, "coins.png"),
        (_SKIMAGE, "hubble_deep_field.jpg"),
    ),
    "validation": ((_SKIMAGE, "coffee.png"), (_SKIMAGE, "rocket.jpg")),
    "test": ((_SKLEARN, "china.jpg"), (_SKIMAGE, "chelsea.png")),
}


def embedded(split: str) -> ImageSet:
    """The photographs of ``train``, ``validation`` or ``test``, as the set ``embedded/<split>``.

    Raises:
        ValueError: if there is no such split.
        ImageError: if a photograph isn't in the installed package, naming package and version.
    """
    if split not in SPLITS:
        raise ValueError(f"expected a split of the embedded images ({', '.join(SPLITS)}), got {split!r}")
    images = tuple(Image(file, read_image(_locate(*source, file))[0]) for source, file in SPLITS[split])
    return ImageSet(f"embedded/{split}", images)


def _locate(distribution: str, package: str, folder: str, file: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImageError(f"{file}: expected in the package {distribution}, which isn't installed; install it")
    path = Path(spec.submodule_search_locations[0], folder, file)
    if not path.is_file():
        raise ImageError(
            f"{path}: no such file; expected this photograph in {distribution} "
            f"(installed: {version(distribution)}). "
            "Install the version of constraints.txt, or give folders of your own images"
        )
    return path

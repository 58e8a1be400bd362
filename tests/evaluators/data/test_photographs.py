import subprocess
import sys

import pytest

from evaluators.data.images import ImageError
from evaluators.data.overlap import check_disjoint
from evaluators.data.photographs import SPLITS, embedded


@pytest.mark.parametrize(("split", "count"), [("train", 10), ("validation", 2), ("test", 2)])
def test_splits(split: str, count: int) -> None:
    data = embedded(split)
    assert data.name == f"embedded/{split}"
    assert len(data) == count
    assert all(min(image.pixels.shape[:2]) >= 300 for image in data)


def test_greyscale_photographs_become_rgb() -> None:
    camera = next(image for image in embedded("train") if image.name == "camera.png")
    assert (camera.pixels[..., 0] == camera.pixels[..., 2]).all()


def test_splits_share_no_content() -> None:
    check_disjoint(embedded("train"), embedded("validation"), embedded("test"))
    check_disjoint(embedded("validation"), embedded("test"))


def test_unknown_split() -> None:
    with pytest.raises(ValueError, match=r"train, validation, test\), got 'val'"):
        embedded("val")


def test_missing_photograph_and_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPLITS, "test", ((("scikit-image", "skimage", "data"), "gone.png"),))
    with pytest.raises(
        ImageError, match=r"gone\.png.*expected this photograph in scikit-image \(installed: 0\."
    ):
        embedded("test")
    monkeypatch.setitem(SPLITS, "test", ((("nothing", "no_such_package", "data"), "a.png"),))
    with pytest.raises(ImageError, match="package nothing, which isn't installed"):
        embedded("test")


def test_reading_imports_no_heavy_package() -> None:
    code = (
        "import sys, evaluators.data.overlap, evaluators.degradations.bicubic; "
        "from evaluators.data.photographs import embedded; "
        "embedded('validation'); print(sorted({'torch', 'skimage', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

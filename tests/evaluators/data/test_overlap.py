import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from evaluators.data import overlap
from evaluators.data.images import Image, ImageSet, orientations, read_folder
from evaluators.data.overlap import OverlapError, check_disjoint
from evaluators.data.photographs import embedded
from evaluators.tasks.super_resolution import SuperResolution
from tests.work import calls

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")

TRAIN = embedded("train")


def one(pixels: np.ndarray, name: str = "held.png") -> ImageSet:
    return ImageSet("held-out", (Image(name, np.ascontiguousarray(pixels)),))


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.array(PIL.Image.open(buffer))


def rescaled(pixels: np.ndarray, factor: float) -> np.ndarray:
    size = round(pixels.shape[1] * factor), round(pixels.shape[0] * factor)
    return np.array(PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.BICUBIC))


@pytest.mark.parametrize("turn", range(8))
def test_equal_content_is_found_in_every_orientation(turn: int) -> None:
    held = one(orientations(TRAIN.images[1].pixels)[turn])
    for allow_near in (False, True):
        with pytest.raises(OverlapError) as caught:
            check_disjoint(TRAIN, held, allow_near=allow_near)
        message = str(caught.value)
        assert (
            "1 pair with equal content: motorcycle_left.png of embedded/train and held.png of held-out"
            in message
        )
        assert "never accepted" in message
        assert "alike" not in message


def random_pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def assert_equal_after_cropping(train: ImageSet, held: ImageSet) -> None:
    """Each image is found in the other set though both were cropped to a multiple of the scale."""
    with pytest.raises(OverlapError) as caught:
        check_disjoint(train, held, allow_near=True)
    assert f"got {len(train)} pair" in str(caught.value)
    assert "with equal content" in str(caught.value)


@pytest.mark.parametrize("turn", range(8))
def test_equal_content_is_found_though_each_is_cropped_at_another_edge(turn: int) -> None:
    pixels, task = random_pixels(131, 130), SuperResolution(4)
    train = task.degrade(one(pixels, "train.png")).targets
    held = task.degrade(one(orientations(pixels)[turn])).targets
    assert train.images[0].pixels.shape == (128, 128, 3)
    # The fifth is the transpose, which keeps the top left.
    assert (train.digests == held.digests) == (turn in (0, 5))
    assert_equal_after_cropping(train, held)


def test_equal_content_is_found_in_pairs_of_folders(tmp_path: Path) -> None:
    pixels, task = random_pixels(131, 130), SuperResolution(4)
    sets = []
    for name, picture in (("train", pixels), ("held", pixels[:, ::-1])):
        for kind, saved in (("hr", picture), ("lr", picture[:128:4, :128:4])):
            (tmp_path / name / kind).mkdir(parents=True)
            PIL.Image.fromarray(np.ascontiguousarray(saved)).save(tmp_path / name / kind / "a.png")
        sets.append(task.pairs(tmp_path / name / "hr", tmp_path / name / "lr").targets)
    assert sets[0].digests != sets[1].digests
    assert_equal_after_cropping(*sets)


def test_equal_content_is_found_where_one_is_stored_cropped() -> None:
    pixels, task = random_pixels(131, 130), SuperResolution(4)
    held = task.degrade(one(pixels)).targets
    train = one(np.rot90(pixels[:128, :128]), "train.png")
    assert_equal_after_cropping(task.degrade(train).targets, held)


CHANGES = {
    "one row and column less": lambda pixels: pixels[:-1, :-1],
    "cropped all round": lambda pixels: pixels[4:-4, 4:-4],
    "jpeg": lambda pixels: jpeg(pixels, 50),
    "half the size": lambda pixels: rescaled(pixels, 0.5),
    "twice the size": lambda pixels: rescaled(pixels, 2),
    "one value changed": lambda pixels: np.where(
        np.arange(pixels.size).reshape(pixels.shape) == 5, 7, pixels
    ),
    "turned jpeg": lambda pixels: jpeg(np.rot90(pixels)[:, ::-1], 50),
}


@pytest.mark.parametrize("change", CHANGES)
def test_near_duplicates_are_found_unless_allowed(change: str) -> None:
    held = one(CHANGES[change](TRAIN.images[0].pixels).astype(np.uint8))
    with pytest.raises(
        OverlapError, match=r"1 pair alike: astronaut\.png .*correlation.*--allow-near-duplicates"
    ):
        check_disjoint(TRAIN, held)
    check_disjoint(TRAIN, held, allow_near=True)


def test_each_held_out_set_is_checked() -> None:
    clean, dirty = embedded("test"), one(TRAIN.images[3].pixels)
    check_disjoint(TRAIN, clean)
    for sets in ((clean, dirty), (dirty, clean)):
        with pytest.raises(OverlapError, match=r"flower\.jpg"):
            check_disjoint(TRAIN, *sets)


def test_both_kinds_and_many_pairs_in_one_message() -> None:
    held = ImageSet("h", (*TRAIN.images, *(Image(i.name, i.pixels[1:]) for i in TRAIN.images)))
    many = ImageSet("t", TRAIN.images * 2)
    with pytest.raises(OverlapError) as caught:
        check_disjoint(many, held)
    assert "20 pairs with equal content" in str(caught.value)
    assert "and 10 more" in str(caught.value)
    assert "alike" in str(caught.value)


def test_flat_images_are_compared_by_content_only() -> None:
    grey = np.full((32, 32, 3), 128, np.uint8)
    nearly = grey.copy()
    nearly[:16] += 1
    check_disjoint(one(grey), one(nearly))
    check_disjoint(one(nearly), one(nearly + 10))
    with pytest.raises(OverlapError, match="alike"):
        check_disjoint(one(128 + 10 * (nearly - 128)), one(138 + 10 * (nearly - 128)))
    with pytest.raises(OverlapError, match="equal content"):
        check_disjoint(one(nearly), one(nearly[::-1]))


def test_empty_sets_overlap_with_nothing() -> None:
    empty = ImageSet("empty", ())
    check_disjoint(TRAIN, empty)
    check_disjoint(empty, TRAIN)


def test_each_image_is_made_small_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And pairs are compared by numpy: twice the pairs take as many calls as twice the images."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1100, 16, 16, 3), dtype=np.uint8)
    images = tuple(Image(str(i), picture) for i, picture in enumerate(pixels))
    shrunk: list[int] = []
    shrink = overlap._shrink

    def counted(pixels: np.ndarray) -> np.ndarray:
        shrunk.append(id(pixels))
        return shrink(pixels)

    monkeypatch.setattr(overlap, "_shrink", counted)

    def work(train: int, held: int) -> int:
        sets = ImageSet("train", images[:train]), ImageSet("held", images[1000 : 1000 + held])
        return calls(lambda: check_disjoint(*sets))

    work(1000, 100)
    assert len(shrunk) == len(set(shrunk)) == 1100
    assert work(200, 100) < 2.5 * work(100, 50)  # 4 times the pairs


@pytest.fixture(scope="module")
def bsds() -> dict[str, ImageSet]:
    return {split: read_folder(SHARED / "bsds500" / split, name=split) for split in ("train", "val", "test")}


@needs_shared
@pytest.mark.shared
def test_bsds_splits_are_disjoint(bsds: dict[str, ImageSet]) -> None:
    check_disjoint(bsds["train"], bsds["val"], bsds["test"])
    check_disjoint(bsds["test"], bsds["val"])


@needs_shared
@pytest.mark.shared
def test_every_b100_image_is_found_after_jpeg(bsds: dict[str, ImageSet]) -> None:
    val = bsds["val"]
    for image in val:
        with pytest.raises(OverlapError, match=image.name):
            check_disjoint(val, one(jpeg(image.pixels[:-1, :-1], 75)))


@needs_shared
@pytest.mark.shared
def test_every_turned_benchmark_image_is_found_by_content() -> None:
    images = tuple(i for name in ("set5", "set14") for i in read_folder(SHARED / name / "HR"))
    turned = tuple(Image(i.name, np.ascontiguousarray(np.rot90(i.pixels)[:, ::-1])) for i in images)
    task = SuperResolution(4)
    train, held = (task.degrade(ImageSet("benchmarks", some)).targets for some in (images, turned))
    assert not set(train.digests) >= set(held.digests), "crops that differ"
    for image in held:
        with pytest.raises(OverlapError, match=rf"1 pair with equal content: {image.name} of"):
            check_disjoint(train, ImageSet("turned", (image,)), allow_near=True)


@needs_shared
@pytest.mark.shared
def test_the_real_duplicates_among_the_benchmarks_are_the_only_ones(bsds: dict[str, ImageSet]) -> None:
    set5, set14 = (read_folder(SHARED / name / "HR", name=name) for name in ("set5", "set14"))
    with pytest.raises(OverlapError, match=r"got 1 pair alike: 302003\.jpg of train and woman\.png of set5"):
        check_disjoint(bsds["train"], set5, set14)
    check_disjoint(bsds["test"], set5, set14)
    check_disjoint(bsds["val"], set5, set14)
    with pytest.raises(OverlapError, match=r"got 1 pair alike: head\.png of set5 and face\.png of set14"):
        check_disjoint(set5, set14)
    check_disjoint(TRAIN, set5, set14, bsds["val"], bsds["test"])

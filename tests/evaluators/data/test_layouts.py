"""Data sets' layouts, as small trees of real photographs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import PIL.Image
import pytest

from evaluators.data.images import ImageError
from evaluators.data.layouts import LAYOUTS, Layout, expected, find_pairs
from evaluators.data.photographs import embedded


@cache
def photograph() -> PIL.Image.Image:
    return PIL.Image.fromarray(embedded("test").images[1].pixels[:16, :16])


def tree(root: Path, *files: str) -> Path:
    """Small pictures at these paths."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph().save(path)
    return root


# Task, split, what the files are, and (name, input, target).
CASES = {
    "DIV2K": (
        "sr-x4",
        "train",
        [
            "DIV2K_train_HR/0001.png",
            "DIV2K_train_LR_bicubic/X4/0001x4.png",
            "DIV2K_train_LR_bicubic/X2/0001x2.png",
            "DIV2K_valid_HR/0801.png",
        ],
        ("0001.png", "DIV2K_train_LR_bicubic/X4/0001x4.png", "DIV2K_train_HR/0001.png"),
    ),
    "DIV2K validation": (
        "sr-x2",
        "validation",
        ["DIV2K_train_HR/0001.png", "DIV2K_valid_HR/0801.png", "DIV2K_valid_LR_bicubic/X2/0801x2.png"],
        ("0801.png", "DIV2K_valid_LR_bicubic/X2/0801x2.png", "DIV2K_valid_HR/0801.png"),
    ),
    "DIV2K of another scale": (
        "sr-x3",
        "train",
        ["DIV2K_train_HR/0001.png", "DIV2K_train_LR_bicubic/X4/0001x4.png"],
        ("0001.png", None, "DIV2K_train_HR/0001.png"),
    ),
    "DIV2K to denoise": (
        "denoise",
        "train",
        ["DIV2K_train_HR/0001.png", "DIV2K_train_LR_bicubic/X4/0001x4.png"],
        ("0001.png", None, "DIV2K_train_HR/0001.png"),
    ),
    "Flickr2K": (
        "sr-x4",
        "train",
        ["Flickr2K_HR/000001.png", "Flickr2K_LR_bicubic/X4/000001x4.png"],
        ("000001.png", "Flickr2K_LR_bicubic/X4/000001x4.png", "Flickr2K_HR/000001.png"),
    ),
    "REDS sharp": (
        "sr-x4",
        "train",
        ["train/train_sharp/000/00000000.png", "train/train_sharp_bicubic/X4/000/00000000.png"],
        (
            "000_00000000.png",
            "train/train_sharp_bicubic/X4/000/00000000.png",
            "train/train_sharp/000/00000000.png",
        ),
    ),
    "REDS": (
        "deblur",
        "validation",
        [
            "train/train_sharp/000/00000000.png",
            "val/val_sharp/003/00000007.png",
            "val/val_blur/003/00000007.png",
        ],
        ("003_00000007.png", "val/val_blur/003/00000007.png", "val/val_sharp/003/00000007.png"),
    ),
    "REDS without folders of splits": (
        "deblur",
        "train",
        ["train_sharp/000/00000000.png", "train_blur/000/00000000.png", "train_blur_bicubic/X4/000/0.png"],
        ("000_00000000.png", "train_blur/000/00000000.png", "train_sharp/000/00000000.png"),
    ),
    "GoPro": (
        "deblur",
        "train",
        [
            "train/GOPR0372_07_00/sharp/000047.png",
            "train/GOPR0372_07_00/blur/000047.png",
            "train/GOPR0372_07_00/blur_gamma/000047.png",
            "test/GOPR0384_11_00/sharp/000001.png",
        ],
        (
            "GOPR0372_07_00_000047.png",
            "train/GOPR0372_07_00/blur/000047.png",
            "train/GOPR0372_07_00/sharp/000047.png",
        ),
    ),
    "SIDD Small": (
        "denoise",
        "train",
        [
            "Data/0001_001_S6_00100_00060_3200_L/GT_SRGB_010.PNG",
            "Data/0001_001_S6_00100_00060_3200_L/NOISY_SRGB_010.PNG",
        ],
        (
            "0001_001_S6_00100_00060_3200_L_010.PNG",
            "Data/0001_001_S6_00100_00060_3200_L/NOISY_SRGB_010.PNG",
            "Data/0001_001_S6_00100_00060_3200_L/GT_SRGB_010.PNG",
        ),
    ),
    "SIDD Medium": (
        "denoise-signal",
        "train",
        [
            "Data/0001_001_S6/0001_GT_SRGB_011.PNG",
            "Data/0001_001_S6/0001_NOISY_SRGB_011.PNG",
            "readme.txt.png",
        ],
        (
            "0001_001_S6_0001_011.PNG",
            "Data/0001_001_S6/0001_NOISY_SRGB_011.PNG",
            "Data/0001_001_S6/0001_GT_SRGB_011.PNG",
        ),
    ),
    "PolyU": (
        "denoise",
        "train",
        ["Canon5D2_chair_mean.JPG", "Canon5D2_chair_real.JPG"],
        ("Canon5D2_chair.JPG", "Canon5D2_chair_real.JPG", "Canon5D2_chair_mean.JPG"),
    ),
    "Rain13K": (
        "derain",
        "train",
        ["train/target/1.jpg", "train/input/1.jpg", "test/Rain100H/target/9.png"],
        ("1.jpg", "train/input/1.jpg", "train/target/1.jpg"),
    ),
    "Rain13K test": (
        "derain",
        "test",
        ["train/target/1.jpg", "test/Rain100H/target/9.png", "test/Rain100H/input/9.png"],
        ("Rain100H_9.png", "test/Rain100H/input/9.png", "test/Rain100H/target/9.png"),
    ),
    "Removing_Rain": (
        "derain",
        "train",
        ["synthetic/1ground_truth.jpg", "synthetic/1rain.jpg", "real_world/1.jpg"],
        ("1.jpg", "synthetic/1rain.jpg", "synthetic/1ground_truth.jpg"),
    ),
    "Set5": (
        "sr-x4",
        "train",
        ["HR/baby.png", "LR_bicubic/X4/babyx4.png", "LR_bicubic/X2/babyx2.png"],
        ("baby.png", "LR_bicubic/X4/babyx4.png", "HR/baby.png"),
    ),
    "GTmod12": (
        "sr-x3",
        "train",
        ["GTmod12/baby.png", "LRbicx3/baby.png", "original/baby.png"],
        ("baby.png", "LRbicx3/baby.png", "GTmod12/baby.png"),
    ),
    "image_SRF": (
        "sr-x4",
        "train",
        ["image_SRF_4/img_001_SRF_4_HR.png", "image_SRF_4/img_001_SRF_4_LR.png"],
        ("img_001.png", "image_SRF_4/img_001_SRF_4_LR.png", "image_SRF_4/img_001_SRF_4_HR.png"),
    ),
    "Zurich": (
        "isp",
        "test",
        ["train/canon/0.jpg", "test/canon/5.jpg", "test/huawei_raw/5.png"],
        ("5.jpg", "test/huawei_raw/5.png", "test/canon/5.jpg"),
    ),
    "MAI21": (
        "isp",
        "train",
        ["train/fujifilm/0.png", "train/mediatek_raw/0.png"],
        ("0.png", "train/mediatek_raw/0.png", "train/fujifilm/0.png"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_data_set_is_known_by_its_files(case: str, tmp_path: Path) -> None:
    task, split, files, (name, source, target) = CASES[case]
    root = tree(tmp_path, *files)
    wanted = [(name, None if source is None else root / source, root / target)]
    assert find_pairs(root, task, split) == wanted


@pytest.mark.parametrize(
    ("case", "folder"),
    [
        ("REDS", "val"),
        ("GoPro", "train"),
        ("SIDD Small", "Data"),
        ("Rain13K", "train"),
        ("Rain13K test", "test"),
        ("Rain13K test", "test/Rain100H"),
        ("Removing_Rain", "synthetic"),
        ("image_SRF", "image_SRF_4"),
        ("Zurich", "test"),
        ("MAI21", "train"),
    ],
)
def test_a_part_can_be_named_whatever_split_is_asked_for(case: str, folder: str, tmp_path: Path) -> None:
    task, _, files, (_, source, target) = CASES[case]
    root = tree(tmp_path, *files)
    assert source is not None
    for split in ("train", "validation", "test"):
        found = find_pairs(root / folder, task, split)
        assert found is not None
        assert [paths for _, *paths in found] == [[root / source, root / target]]


def test_every_layout_has_a_case(tmp_path: Path) -> None:
    """Or one of its own below."""
    found = set()
    for i, (task, split, files, _) in enumerate(CASES.values()):
        root = tree(tmp_path / str(i), *files)
        found |= {layout.name for layout in LAYOUTS if layout.fits(task) and _holds(layout, root, split)}
    elsewhere = {"gt and noisy", "sharp and blur"}
    assert found | elsewhere == {layout.name for layout in LAYOUTS}


def _holds(layout: Layout, root: Path, split: str) -> bool:
    word = layout.splits.get(split, "")
    start = layout.folder.replace("{split}", word)
    first = layout.paths[layout.target].split("/")[0].replace("{split}", word)
    return (root / start / first).exists() or "{" in first


def test_pictures_come_in_order_under_names_of_their_own(tmp_path: Path) -> None:
    frames = [f"train/{s}/{kind}/{n}.png" for s in "ba" for kind in ("sharp", "blur") for n in (2, 1)]
    pairs = find_pairs(tree(tmp_path, *frames), "deblur")
    assert pairs is not None
    assert [name for name, *_ in pairs] == ["a_1.png", "a_2.png", "b_1.png", "b_2.png"]
    for name, source, target in pairs:
        assert source is not None
        assert "_".join([target.parts[-3], target.name]) == "_".join([source.parts[-3], source.name]) == name


def test_missing_files_are_named(tmp_path: Path) -> None:
    frames = [f"train/a/{kind}/{n}.png" for kind in ("sharp", "blur") for n in range(9)]
    root = tree(tmp_path, *frames)
    for n in range(2, 9):
        (root / f"train/a/blur/{n}.png").unlink()
    with pytest.raises(
        ImageError, match=r"like GoPro .*expected these files.*blur/2\.png.*blur/6\.png and 2 more"
    ):
        find_pairs(root, "deblur")


def test_an_optional_role_is_there_for_all_or_for_none(tmp_path: Path) -> None:
    root = tree(tmp_path, "HR/a.png", "HR/b.png", "LR_bicubic/X4/ax4.png")
    with pytest.raises(ImageError, match=r"HR and LR_bicubic.*LR_bicubic/X4/bx4\.png\. Complete"):
        find_pairs(root, "sr-x4")
    assert find_pairs(root, "sr-x2") == [
        ("a.png", None, root / "HR/a.png"),
        ("b.png", None, root / "HR/b.png"),
    ]


def test_what_is_no_known_data_set(tmp_path: Path) -> None:
    root = tree(tmp_path, "a.png", "train/a/sharp/.hidden.png", "other/b.png")
    for folder in (root, root / "other", root / "nowhere"):
        assert find_pairs(folder, "deblur") is None
    tree(root, "train/a/sharp/1.png", "train/a/blur/1.png")
    assert find_pairs(root, "derain") is None
    assert find_pairs(root, "deblur", "test") is None


def test_messages_can_list_what_a_task_knows() -> None:
    listed = expected("deblur")
    assert "GoPro ({split}/{sequence}/sharp/{frame}.{ext}, {split}/{sequence}/blur/{frame}.{ext})" in listed
    assert "REDS" in listed
    assert "SIDD" not in listed
    assert "SIDD" in expected("denoise-signal")


@pytest.mark.shared
def test_real_folders(shared: Path) -> None:
    data = shared / "data"
    for name, task, count in (
        ("polyu_real_noise", "denoise-signal", 100),
        ("rain_pairs", "derain", 3),
        ("set5", "sr-x4", 5),
        ("set14", "sr-x2", 14),
    ):
        pairs = find_pairs(data / name, task)
        assert pairs is not None
        assert len(pairs) == count
        assert all(source is not None and source.is_file() for _, source, _ in pairs)

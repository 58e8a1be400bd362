"""The usual data sets by their folders and file names: which file is the input of which target.

A layout is data: one more is one more entry of ``LAYOUTS``. HDR scenes, whose files have many forms, are found by
``evaluators.hdr.files``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evaluators.data.images import ImageError, ImageSet, has_images, read_file_pairs, read_files, read_folder
from evaluators.data.pairs import PairSet
from spaces.task import Task

Files = tuple[str, dict[str, Path]]
_LISTED = 5  # missing files named in one message
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Layout:
    """Where a data set keeps its files.

    In paths, ``{split}`` is the data set's own word for a split and ``{scale}`` the task's scale; any other
    ``{name}`` is what it happens to be, the same in all paths of one picture, and never holds a ``/``.

    Attributes:
        name: The data set's.
        tasks: The tasks that it is for: ``sr`` stands for all whose names begin with ``sr-``.
        paths: Role to path below ``folder``; the first role is the target, of which there is one for each picture.
        folder: Where the paths start; it may also be the folder that was named.
        splits: Our name of a split (train, validation, test) to the data set's; empty where it isn't split.
        optional: Roles that may be missing from all pictures.
    """

    name: str
    tasks: tuple[str, ...]
    paths: Mapping[str, str]
    folder: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()

    def fits(self, task: str) -> bool:
        """Whether it is for this task."""
        return any(task == family or task.startswith(f"{family}-") for family in self.tasks)

    @property
    def target(self) -> str:
        """The role of the target."""
        return next(iter(self.paths))

    def starts(self, split: str) -> Iterator[tuple[str, str]]:
        """(folder, the data set's word) to look in, in order.

        Whoever names the folder of a split means that split, whatever was asked for.
        """
        words = [self.splits[split]] if split in self.splits else [] if self.splits else [""]
        yield from ((self.folder, word) for word in words)
        if self.folder:
            named = self.splits.values() if "{split}" in self.folder else ()
            yield from (("", word) for word in (*words, *named))

    def __str__(self) -> str:
        """E.g. ``GoPro ({split}/{sequence}/sharp/{frame}.{ext}, ...)``."""
        return f"{self.name} ({', '.join(_join(self.folder, path) for path in self.paths.values())})"


_SPLITS = {"train": "train", "validation": "val", "test": "test"}
_CLEAN = ("denoise", "deblur", "derain", "rescale")
_PAIRS = ("denoise", "deblur", "derain")

LAYOUTS = (
    Layout(
        "DIV2K",
        ("sr",),
        {
            "target": "DIV2K_{split}_HR/{name}.{ext}",
            "input": "DIV2K_{split}_LR_bicubic/X{scale}/{name}x{scale}.{ext}",
        },
        splits={"train": "train", "validation": "valid"},
        optional=("input",),
    ),
    Layout(
        "DIV2K",
        _CLEAN,
        {"target": "DIV2K_{split}_HR/{name}.{ext}"},
        splits={"train": "train", "validation": "valid"},
    ),
    Layout(
        "Flickr2K",
        ("sr",),
        {
            "target": "Flickr2K_HR/{name}.{ext}",
            "input": "Flickr2K_LR_bicubic/X{scale}/{name}x{scale}.{ext}",
        },
        optional=("input",),
    ),
    Layout("Flickr2K", _CLEAN, {"target": "Flickr2K_HR/{name}.{ext}"}),
    Layout(
        "REDS",
        ("sr",),
        {
            "target": "{split}_sharp/{sequence}/{frame}.{ext}",
            "input": "{split}_sharp_bicubic/X{scale}/{sequence}/{frame}.{ext}",
        },
        folder="{split}",
        splits={"train": "train", "validation": "val"},
        optional=("input",),
    ),
    Layout(
        "REDS",
        ("deblur",),
        {
            "target": "{split}_sharp/{sequence}/{frame}.{ext}",
            "input": "{split}_blur/{sequence}/{frame}.{ext}",
        },
        folder="{split}",
        splits={"train": "train", "validation": "val"},
    ),
    Layout(
        "GoPro",
        ("deblur",),
        {"target": "{sequence}/sharp/{frame}.{ext}", "input": "{sequence}/blur/{frame}.{ext}"},
        folder="{split}",
        splits={"train": "train", "test": "test"},
    ),
    Layout(
        "SIDD",
        ("denoise",),
        {
            "target": "{scene}/{instance}GT_SRGB_{number}.{ext}",
            "input": "{scene}/{instance}NOISY_SRGB_{number}.{ext}",
        },
        folder="Data",
    ),
    Layout("PolyU", ("denoise",), {"target": "{name}_mean.{ext}", "input": "{name}_real.{ext}"}),
    Layout("gt and noisy", ("denoise",), {"target": "gt/{name}.{ext}", "input": "noisy/{name}.{ext}"}),
    Layout(
        "sharp and blur",
        ("deblur",),
        {"target": "sharp/{name}.{ext}", "input": "blur/{name}.{ext}"},
        "{split}",
        _SPLITS,
    ),
    Layout(
        "Rain13K (train), or input and target",
        _PAIRS,
        {"target": "target/{name}.{ext}", "input": "input/{name}.{ext}"},
        folder="{split}",
        splits=_SPLITS,
    ),
    Layout(
        "Rain13K (test sets)",
        _PAIRS,
        {"target": "{set}/target/{name}.{ext}", "input": "{set}/input/{name}.{ext}"},
        folder="{split}",
        splits=_SPLITS,
    ),
    Layout(
        "Removing_Rain",
        ("derain",),
        {"target": "{number}ground_truth.{ext}", "input": "{number}rain.{ext}"},
        folder="synthetic",
    ),
    Layout(
        "HR and LR_bicubic",
        ("sr",),
        {"target": "HR/{name}.{ext}", "input": "LR_bicubic/X{scale}/{name}x{scale}.{ext}"},
        optional=("input",),
    ),
    Layout(
        "GTmod12 and LRbic",
        ("sr",),
        {"target": "GTmod12/{name}.{ext}", "input": "LRbicx{scale}/{name}.{ext}"},
        optional=("input",),
    ),
    Layout(
        "image_SRF",
        ("sr",),
        {"target": "{name}_SRF_{scale}_HR.{ext}", "input": "{name}_SRF_{scale}_LR.{ext}"},
        folder="image_SRF_{scale}",
    ),
    Layout(
        "Zurich RAW to RGB",
        ("isp",),
        {"rgb": "canon/{number}.jpg", "raw": "huawei_raw/{number}.png"},
        folder="{split}",
        splits={"train": "train", "test": "test"},
    ),
    Layout(
        "MAI21 learned ISP",
        ("isp",),
        {"rgb": "fujifilm/{number}.png", "raw": "mediatek_raw/{number}.png"},
        folder="{split}",
        splits=_SPLITS,
    ),
)


def find_files(folder: str | Path, task: str, split: str = "train") -> list[Files] | None:
    """The files of a data set of a known layout; None where the folder has none of this task's.

    Args:
        folder: The data set's, or that of one of its splits.
        task: A task's name.
        split: ``train``, ``validation`` or ``test``.

    Returns: (name, role to file) per picture, sorted by the target's path; names are unique.

    Raises: ImageError: naming files that the layout's other files ask for and that are missing.
    """
    scale = int(found[1]) if (found := re.search(r"-x(\d+)$", task)) else 1
    for layout in LAYOUTS:
        if layout.fits(task):
            for start, word in layout.starts(split):
                known = {"split": word, "scale": str(scale)}
                files = _find(layout, Path(folder), start, known)
                if files:
                    return files
    return None


def find_pairs(
    folder: str | Path, task: str, split: str = "train"
) -> list[tuple[str, Path | None, Path]] | None:
    """As ``find_files``, for tasks with one input: (name, input, target); input None where there are only targets."""
    files = find_files(folder, task, split)
    if files is None:
        return None
    pairs: list[tuple[str, Path | None, Path]] = []
    for name, roles in files:
        target, *inputs = roles.values()
        pairs.append((name, inputs[0] if inputs else None, target))
    return pairs


def read_data(
    folder: Path, task: Task, split: str, *, minimum: int = 1, skip_bad: bool = False
) -> PairSet | ImageSet:
    """The pairs of a data set's folder, or its targets where it has no inputs; of another folder, its images.

    Args:
        minimum: Smallest height and width of an input image.

    Raises: ImageError: as ``read_file_pairs``, ``read_folder`` and ``check_plain``.
    """
    least = minimum * task.scale, minimum * task.scale
    found = find_pairs(folder, task.name, split)
    if found is None:
        check_plain(folder, task.name)
        return read_folder(folder, minimum=least, skip_bad=skip_bad)
    names = {file: name for name, *both in found for file in both if file}
    where, name = str(folder), folder.resolve().name
    pairs = {target: source for _, source, target in found if source}
    if not pairs:
        return read_files(names, name=name, where=where, minimum=least, skip_bad=skip_bad)
    targets, inputs = read_file_pairs(
        pairs, names, scale=task.scale, name=name, where=where, minimum=(minimum, minimum), skip_bad=skip_bad
    )
    return PairSet(inputs, targets, task.scale)


def expected(task: str) -> str:
    """The layouts that a task's folder may have, for messages."""
    return "; ".join(str(layout) for layout in LAYOUTS if layout.fits(task))


def check_plain(folder: Path, task: str) -> None:
    """Nothing, unless a folder of none of the task's layouts holds only subfolders.

    Raises: ImageError: with the layouts that are known.
    """
    if not folder.is_dir() or has_images(folder) or not any(entry.is_dir() for entry in folder.iterdir()):
        return
    raise ImageError(
        f"{folder}: no image in this folder, and its subfolders have no known layout for '{task}': expected "
        f"{expected(task)}. Name the folder that the images are in (and that of the inputs, if there is one)"
    )


def _find(layout: Layout, folder: Path, start: str, known: Mapping[str, str]) -> list[Files]:
    """Empty where no target is."""
    paths = {role: _fill(_join(start, path), known) for role, path in layout.paths.items()}
    target = paths.pop(layout.target)
    pattern = re.compile(_regex(target))
    matches = []
    for file in sorted(folder.glob(_FIELD.sub("*", target))):
        relative = file.relative_to(folder).as_posix()
        if (match := pattern.fullmatch(relative)) and not file.name.startswith("."):
            matches.append((match.groupdict(), file))
    partners = {role: [folder / _fill(path, fields) for fields, _ in matches] for role, path in paths.items()}
    there = {role: [file.is_file() for file in files] for role, files in partners.items()}
    partners = {r: files for r, files in partners.items() if any(there[r]) or r not in layout.optional}
    missing = [
        str(file)
        for r, files in partners.items()
        for file, is_there in zip(files, there[r], strict=True)
        if not is_there
    ]
    if missing:
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise ImageError(
            f"{folder}: a data set like {layout}: expected these files next to its {layout.target} files, got none: "
            f"{'; '.join(missing[:_LISTED])}{more}. Complete the data set, or name a folder of pictures"
        )
    return [
        (_name(fields, file), {layout.target: file, **{r: files[i] for r, files in partners.items()}})
        for i, (fields, file) in enumerate(matches)
    ]


def _name(fields: Mapping[str, str], file: Path) -> str:
    parts = [value.strip("_") for key, value in fields.items() if key != "ext"]
    return "_".join(part for part in parts if part) + file.suffix


def _join(start: str, path: str) -> str:
    return f"{start}/{path}" if start else path


def _fill(path: str, values: Mapping[str, str]) -> str:
    """The path with the fields that are known; others stay."""
    return _FIELD.sub(lambda found: values.get(found[1], found[0]), path)


def _regex(path: str) -> str:
    """What matches the path; a field's second use is what its first was."""
    seen: set[str] = set()
    parts = []
    for i, part in enumerate(_FIELD.split(path)):
        if i % 2 == 0:
            parts.append(re.escape(part))
        else:
            parts.append(f"(?P={part})" if part in seen else f"(?P<{part}>[^/]*)")
            seen.add(part)
    return "".join(parts)

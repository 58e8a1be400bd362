"""Restores pictures: what ``apply`` does with files and folders."""

from __future__ import annotations

import glob
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from evaluators.data import raw
from evaluators.data.images import SUFFIXES, ImageError, name_some
from evaluators.data.picture_files import (
    FORMATS,
    Picture,
    check_format,
    read_picture,
    resize_alpha,
    size_of,
    write_picture,
)
from evaluators.data.tensors import FULL_SCALE
from evaluators.inference.ensemble import TURNS
from evaluators.inference.tiling import Survey, Tiler, choose_tile, fixed_sizes, survey
from evaluators.measure.onnx_network import OnnxError
from search.networks.subjects import Studies, Subject, find_subject
from spaces.task import ISP

Advance = Callable[[float], None]  # pixels of input done with


@dataclass(frozen=True)
class Job:
    """One picture to restore."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Done:
    """One that is restored; sizes are (height, width).

    Attributes:
        tiles: 1 for the whole picture.
    """

    job: Job
    size: tuple[int, int]
    output_size: tuple[int, int]
    tiles: int
    seconds: float

    def __str__(self) -> str:
        sizes = " -> ".join(f"{width}x{height}" for height, width in (self.size, self.output_size))
        tiles = f", {self.tiles} tiles" if self.tiles > 1 else ""
        return f"{self.job.target}: {sizes}{tiles}, {self.seconds:.1f} s"


@dataclass(frozen=True)
class Failed:
    """One that isn't, and why."""

    job: Job
    reason: str


def find_jobs(
    inputs: Sequence[str], output: Path, form: str, *, raws: bool = False, replace: str = ""
) -> tuple[list[Job], int]:
    """The pictures to restore, and how many were left out because they are there.

    A folder's sub-folders are searched, and kept below ``output``. Pictures of one name get their suffix into it.

    Args:
        inputs: Files, folders and patterns.
        raws: Look for RAWs.
        replace: What to do where an output is there: ``overwrite`` it, ``skip`` the picture, or raise.

    Raises: ValueError: for what doesn't exist, a folder without pictures, outputs that would replace each other or an
        input, and outputs that are there.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"-o {output}: expected a folder for the outputs, got a file")
    suffixes = raw.SUFFIXES if raws else SUFFIXES
    places: dict[Path, Path] = {}  # each picture's path below the output
    for text in inputs:
        for source, place in _expanded(text, output, suffixes):
            places.setdefault(source, place)
    jobs = _named(places, output, FORMATS[form])
    sources = {job.source.resolve() for job in jobs}
    if own := [str(job.target) for job in jobs if job.target.resolve() in sources]:
        raise ValueError(f"-o {output}: {name_some(own)} would replace an input; name another folder")
    there = [job for job in jobs if job.target.exists()]
    if there and not replace:
        raise ValueError(
            f"{len(there)} of {len(jobs)} outputs are there, such as {there[0].target}: --resume leaves them and makes "
            "the others, --overwrite makes all anew"
        )
    return [job for job in jobs if replace == "overwrite" or job not in there], (
        len(there) if replace == "skip" else 0
    )


def check_folder(output: Path) -> None:
    """Nothing, if files can be written to the outputs' folder, or where it is to be made.

    Raises: ValueError: else, which is better known before an hour's work.
    """
    there = next(folder for folder in (output, *output.resolve().parents) if folder.exists())
    try:
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ValueError(
            f"-o {output}: can't be written to ({error.strerror}); name another folder"
        ) from error


def _expanded(text: str, output: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[Path, Path]]:
    path = Path(text)
    if path.is_dir():
        files = [
            file
            for file in sorted(path.rglob("*"))
            if file.suffix.lower() in suffixes
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
            and output.resolve() not in file.resolve().parents
            and file.is_file()
        ]
        if not files:
            raise ValueError(
                f"{path}: no picture in this folder; expected {' '.join(s[1:] for s in suffixes)}"
            )
        yield from ((file, file.relative_to(path)) for file in files)
    elif path.is_file():
        yield path, Path(path.name)
    else:
        found = sorted(Path(name) for name in glob.glob(text, recursive=True) if Path(name).is_file())
        if not found:
            raise ValueError(f"{text}: no such file or folder")
        yield from ((file, Path(file.name)) for file in found)


def _named(places: dict[Path, Path], output: Path, suffix: str) -> list[Job]:
    groups: dict[Path, list[Path]] = defaultdict(list)
    for source, place in places.items():
        groups[place.with_suffix(suffix)].append(source)
    jobs: dict[Path, Path] = {}
    for source, place in places.items():
        target = place.with_suffix(suffix)
        if len(groups[target]) > 1:
            target = place.with_name(f"{place.stem}-{place.suffix[1:].lower()}{suffix}")
        if target in jobs:
            raise ValueError(
                f"{jobs[target]} and {source}: both would become {output / target}; restore them to different folders"
            )
        jobs[target] = source
    return [Job(source, output / target) for target, source in jobs.items()]


@dataclass(frozen=True)
class Settings:
    """How pictures are restored.

    Attributes:
        form: Of ``evaluators.data.picture_files.FORMATS``.
        turns: 1, or 8 for the self-ensemble.
        tile: Side of what a network is given at a time; 0: the whole picture; None: as memory allows.
        overlap: None: what the networks need.
        quick: Tile in one pass, whatever looks at the whole picture.
    """

    form: str = "png"
    turns: int = 1
    tile: int | None = None
    overlap: int | None = None
    quick: bool = False
    device: str = "cpu"


class Restorer:
    """Networks that restore pictures.

    Args:
        say: Is told once what a reader should know of how they are tiled.

    Raises: ValueError: if there are no weights, or the networks don't take and give pictures.
    """

    def __init__(self, subject: Subject, settings: Settings, say: Callable[[str], None]):
        self._task, self._networks = subject.task.interface, subject.networks
        self._settings, self._say = settings, say
        self._name = subject.name
        self._tiler: Tiler | None = None
        if not subject.networks:
            raise ValueError(f"{subject.name}: has no weights: {subject.name}=WEIGHTS")
        self.raws = self._task.name == ISP.name
        if (self._task.in_channels, self._task.out_channels) != (3, 3) and not self.raws:
            raise ValueError(
                f"{subject.name}: expected a network from RGB to RGB (or RAW), this one, for {self._task.name}, takes "
                f"{self._task.in_channels} channels and gives {self._task.out_channels}; 'pixelfront evaluate --save' "
                "runs it on its task's data"
            )
        if settings.turns == TURNS and not subject.task.flips:
            raise ValueError(
                f"--ensemble x8: inputs of {self._task.name} can't be flipped, because their pixels have an order"
            )

    def restore(self, job: Job, advance: Advance = lambda _: None) -> Done:
        """Read one picture, restore it and write it.

        Raises:
            ImageError: if it can't be read, or the format can't hold it.
            FloatingPointError: if an output is NaN.
        """
        started = time.perf_counter()
        picture = read_raw(job.source) if self.raws else read_picture(job.source)
        check_format(picture, self._settings.form)
        pixels, tiles = self._restored(picture, advance)
        height, width = pixels.shape[:2]
        alpha = None if picture.alpha is None else resize_alpha(picture.alpha, height, width)
        write_picture(Picture(pixels, alpha, picture.embedded), job.target, self._settings.form)
        size = (picture.pixels.shape[0], picture.pixels.shape[1])
        return Done(job, size, (height, width), tiles, time.perf_counter() - started)

    def _restored(self, picture: Picture, advance: Advance) -> tuple[np.ndarray, int]:
        grey = picture.pixels.ndim == 2
        pixels = np.repeat(picture.pixels[..., None], 3, axis=2) if grey else picture.pixels
        scale, (height, width) = self._task.scale, pixels.shape[:2]
        kind = np.dtype(np.uint8) if self.raws else pixels.dtype
        output = np.empty((height * scale, width * scale) + (() if grey else (3,)), kind)
        tiler, tile = self._tiler_for(height, width)
        passes = tiler.passes if tile else tiler.views
        count = 0
        for box, values in tiler.outputs(
            pixels, tile, lambda core: advance(core.size[0] * core.size[1] / passes)
        ):
            place = box.times(scale)
            output[place.top : place.bottom, place.left : place.right] = to_pixels(values, kind, grey=grey)
            count += 1
        return output, count

    def _tiler_for(self, height: int, width: int) -> tuple[Tiler, int | None]:
        """What runs a picture of this size, and in tiles of which side (None: whole)."""
        chosen = self._settings
        whole = Tiler(
            self._networks, [Survey(0, 1)] * len(self._networks), turns=chosen.turns, device=chosen.device
        )
        if chosen.tile == 0 or (chosen.tile and max(height, width) <= chosen.tile):
            return whole, None
        wanted = chosen.tile or choose_tile(self._networks, self._task, (height, width), chosen.device)
        if wanted is None:
            return whole, None
        if self._tiler is None:
            surveys = [
                survey(n.to(chosen.device), self._task.in_channels, device=chosen.device, quick=chosen.quick)
                for n in self._networks
            ]
            self._tiler = Tiler(
                self._networks, surveys, turns=chosen.turns, device=chosen.device, overlap=chosen.overlap
            )
            self._tiler.side(wanted)  # raises before anything is said
            if note := self._note(surveys, self._tiler.exact):
                self._say(note)
        return self._tiler, self._tiler.side(wanted)

    def _note(self, surveys: Sequence[Survey], exact: bool) -> str:
        """What a reader should know of the tiles; empty where there is nothing."""
        passes = max(found.passes for found in surveys)
        if exact and passes > 1:
            return (
                f"{self._name} looks at the whole picture, so tiles are gone over {passes} times to give what the "
                "untiled picture gives; --quick goes over them once, and differs"
            )
        if exact:
            return ""
        if all(found.exact for found in surveys):
            needed = max(found.overlap for found in surveys)
            return (
                f"tiles of {self._name} differ from the untiled picture: it needs --overlap {needed}, not "
                f"{self._settings.overlap}"
            )
        if fixed := fixed_sizes(self._networks):
            return f"{self._name} takes {fixed[0][1]}x{fixed[0][0]} only, so that larger pictures are tiled"
        return (
            f"tiles of {self._name} differ from the untiled picture, because it looks at the whole picture; --tile 0 "
            "gives the untiled one, if memory allows"
        )


def to_pixels(output: Tensor, kind: np.dtype, *, grey: bool = False) -> np.ndarray:
    """(H, W, 3) uint8 or uint16 from (1, 3, H, W), clamped and rounded; (H, W), the channels' mean, for grey.

    Raises: FloatingPointError: where a value is NaN.
    """
    if output.isnan().any():
        raise FloatingPointError("the network's output is NaN")
    values = output[0].float().clamp(0, 1)
    values = values.mean(0) if grey else values.permute(1, 2, 0)
    return values.mul(FULL_SCALE[kind]).round().cpu().numpy().astype(kind)


def read_raw(path: Path) -> Picture:
    """Packed RAW, by the levels beside it."""
    return Picture(raw.read_raw(path, raw.read_levels(path.parent)).packed)


def apply(
    restorer: Restorer, jobs: Sequence[Job], advance: Advance, begin: Callable[[Job], None]
) -> Iterator[Done | Failed]:
    """Restore pictures one after the other; what can't be is told, and the others go on.

    Args:
        begin: Is told of each picture before it is restored.
    """
    for job in jobs:
        begin(job)
        try:
            yield restorer.restore(job, advance)
        except (ImageError, OnnxError, FloatingPointError, OSError) as error:
            yield Failed(job, _worded(job, error))
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "memory" not in str(error):
                raise
            yield Failed(job, "memory ran out: give a smaller --tile")


def _worded(job: Job, error: Exception) -> str:
    text = str(error)
    return text.removeprefix(f"{job.source}: ") if isinstance(error, ImageError) else text


def restore_all(
    models: Sequence[str],
    inputs: Sequence[str],
    output: Path,
    settings: Settings,
    *,
    replace: str = "",
    task: str | None = None,
    threads: int | None = None,
    studies: Studies | None = None,
) -> int:
    """Do what the command line says, telling of each picture; the number of those that failed.

    Raises: ValueError: as ``find_subject``, ``find_jobs`` and ``Restorer``, before anything is done.
    """
    if threads:
        torch.set_num_threads(threads)
    subject = find_subject(models, task=task, studies=studies, threads=threads)
    console = Console(stderr=True)
    restorer = Restorer(
        subject, settings, lambda note: console.print(f"note: {note}", highlight=False, soft_wrap=True)
    )
    jobs, there = find_jobs(inputs, output, settings.form, raws=restorer.raws, replace=replace)
    check_folder(output)
    if there:
        print(f"{there} outputs are there and were left")
    failed = 0
    with _progress(console, jobs) as (begin, advance):
        for number, found in enumerate(apply(restorer, jobs, advance, begin), 1):
            if isinstance(found, Done):
                print(f"[{number}/{len(jobs)}] {found}", flush=True)
            else:
                failed += 1
                console.print(f"{found.job.source}: {found.reason}", highlight=False, soft_wrap=True)
    if failed:
        console.print(f"{failed} of {len(jobs)} pictures failed", highlight=False)
    return failed


@contextmanager
def _progress(
    console: Console, jobs: Sequence[Job]
) -> Iterator[tuple[Callable[[Job], None], Callable[[float], None]]]:
    """A bar over the pixels of all pictures, if there is a terminal: what begins a picture, and what moves it."""
    pixels = {job.source: size_of(job.source) for job in jobs} if console.is_terminal else {}
    done, before = 0.0, 0.0
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("", total=sum(pixels.values()) or None)

        def begin(job: Job) -> None:
            nonlocal done, before
            done = before
            before += pixels.get(job.source, 0)
            bars.update(bar, completed=done, description=job.source.name)

        def advance(more: float) -> None:
            nonlocal done
            done += more
            bars.update(bar, completed=done)

        yield begin, advance

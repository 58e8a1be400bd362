"""The dashboard worker's jobs: costs by part, held-out pictures, comparisons, exports."""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import PIL.Image
import torch
from matplotlib import colormaps

from evaluators.data.images import ImageError, ImageSet
from evaluators.data.pairs import PairSet
from evaluators.inference.restoration import restore
from evaluators.tasks import RestorationTask, get_task
from results.analysis.overview import GIGA, cost_key, value
from results.dashboard.errors import ApiError
from results.dashboard.uploads import encoded
from results.export.files import ARCHITECTURE_SUFFIX, Format, load_network
from results.export.trial import export_with_card
from results.render.pictures import ERROR_RANGE
from results.store.schema import Study, Trial
from search.config import ConfigError, resumed
from search.study.context import held_out
from spaces.architecture import Architecture
from spaces.build import part_costs, size_requirements
from spaces.build import parts as parts_of
from spaces.cost import Cost, total
from spaces.parts import Network, Part, part_on_meta
from spaces.registry import Entry

Split = Literal["test", "validation"]
Subject = tuple[Trial, Path]  # with its weights, verified
SPLITS: tuple[Split, ...] = ("test", "validation")
EMBEDDED = "embedded"  # their split's name here
UPLOAD = "your picture"
LEAST_SIDE = 24  # of an upload, in pixels of the networks' input
OUTPUT_PIXELS = 16 * 1024**2  # of one network's output: 5 s at 20 GMACs per 256x256, and 4 GB at width 64
ERROR_SCALE = (
    "error of the pictures as shown, mean of the channels: black 0 to pale yellow "
    f"{ERROR_RANGE} of 255 and more"
)


# Costs


def parts(study: Study, trial: Trial) -> dict[str, Any]:
    """What each part costs at the task's input size, under the study's convention, in forward order."""
    task, architecture = get_task(study.task).interface, Architecture.from_json(trial.architecture)
    costs, pieces = part_costs(architecture, task), parts_of(architecture, task)
    height, width = size_requirements(architecture, task).padded(*task.cost_input[1:])
    convention = study.config["convention"]
    whole = total(costs.values())
    found = []
    for name, part in pieces.items():
        cost = _record(costs[name], convention)
        kind, share = _kind(part), cost["macs"] / max(whole.operations(convention), 1)
        widths = {
            "width_in": part.channels,
            "width_out": _width_out(part, part.map_size(height, width)),
        }
        found.append(
            {"name": name, "label": f"{name}: {kind}", "kind": kind, **widths, **cost, "share": share}
        )
    return {
        "input": f"{task.in_channels}x{height}x{width}",
        "convention": convention,
        "parts": found,
        "total": _record(whole, convention),
    }


def _record(cost: Cost, convention: Any) -> dict[str, int]:
    return {
        "macs": cost.operations(convention),
        "parameters": cost.parameters,
        "activations": cost.activations,
        "convolutions": cost.convolutions,
    }


def _kind(part: Part) -> str:
    """The registered name of what the part is, or that of the function that makes it."""
    entry = getattr(part.create, "__self__", None)
    if isinstance(entry, Entry):
        return entry.name
    if part.arguments and isinstance(part.arguments[0], Part):  # pruned: made from the part that it was
        return _kind(part.arguments[0])
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", part.create.__name__.strip("_")).lower()


def _width_out(part: Part, size: tuple[int, int]) -> int:
    """Channels of its output; of several (HDR's fusion also gives the medium exposure's features) the first's."""
    output = part_on_meta(part)(torch.empty(1, part.channels, *size, device="meta"))
    return int((output[0] if isinstance(output, tuple) else output).shape[1])


# Pictures


def pictures(study: Study) -> dict[str, Any]:
    """The held-out pictures, those of the test first, and the embedded photographs; ``notes`` on what can't be read."""
    listed, notes = [], []
    for split in (*SPLITS, EMBEDDED):
        try:
            pairs = _pairs(study, split)
        except ImageError as error:
            notes.append(str(error))
            continue
        for index, image in enumerate(pairs.targets if pairs else ()):
            height, width = image.pixels.shape[:2]
            facts = {"id": f"{split}-{index}", "name": image.name, "set": pairs.name if pairs else ""}
            listed.append({**facts, "width": width, "height": height, "split": split})
    return {"pictures": listed, "notes": notes}


def _pairs(study: Study, split: str) -> PairSet | None:
    """A study's held-out pairs; None without any. ``embedded`` are the photographs that ship with the packages,
    where the study hasn't them already.

    Raises: ImageError: if they can't be read, or aren't what the study was made with.
    """
    if split == EMBEDDED:
        return None if resumed(study.config, {}).data.train is None else _embedded(study.task)
    recorded = (study.data.get(split) or {}).get("digest")
    return _read(study.task, json.dumps(study.config), split, recorded) if recorded else None


@lru_cache(maxsize=2)  # a study's two splits: large sets take gigabytes
def _read(task: str, config: str, split: Split, digest: str) -> PairSet:
    resolved = resumed(json.loads(config), {})
    try:
        found = held_out(resolved.data, get_task(task), split, patch=resolved.training.patch)
    except ConfigError as error:
        raise ImageError(str(error)) from error
    if found is None or found.digest != digest:
        got = found.digest if found else None
        raise ImageError(
            f"the {split} images aren't those of the study: expected digest {digest}, got {got}; put back the images "
            "that it was made with"
        )
    return found


@lru_cache(maxsize=1)
def _embedded(task: str) -> PairSet:
    found = [get_task(task).embedded(split) for split in SPLITS]
    inputs, targets = (
        ImageSet("embedded photographs", tuple(image for images in sets for image in images))
        for sets in zip(*((pairs.inputs, pairs.targets) for pairs in found), strict=True)
    )
    return PairSet(inputs, targets, found[0].scale)


# Comparisons


@dataclass(frozen=True)
class _Shown:
    """A picture to compare on.

    Attributes:
        pixels: What networks are given.
        pair: With its target; None where that isn't known.
    """

    name: str
    pixels: np.ndarray
    pair: PairSet | None = None


def compare(
    study: Study, subjects: Sequence[Subject], picture: str | tuple[bytes, str], baseline: bool
) -> dict[str, Any]:
    """What networks, and the trivial method, make of one picture, with each one's PSNR and error.

    Args:
        picture: A held-out one's id, or an uploaded PNG and whether it is a ``target`` or an ``input``.

    Raises: ApiError, ValueError: if there is no such picture, the task can't take it, or it is too large.
    """
    task = get_task(study.task)
    shown = _held_out_picture(study, picture) if isinstance(picture, str) else _uploaded(task, *picture)
    height, width = (side * task.interface.scale for side in shown.pixels.shape[:2])
    if height * width > OUTPUT_PIXELS:
        raise ValueError(
            f"{shown.name}: expected outputs of at most {OUTPUT_PIXELS:,} pixels, got {width}x{height}; take a smaller "
            "picture"
        )
    metric, protocol = study.data["objective"]
    target = None if shown.pair is None else task.picture(shown.pair.targets.images[0].pixels)
    entries = []
    if baseline:
        facts = {"number": None, "name": task.baseline_name, "label": None, "gmacs": None}
        entries.append(facts | _tried(task, task.baseline, shown, target, metric))
    for trial, weights in subjects:
        network = _network(trial.architecture, study.task, str(weights), weights.stat().st_mtime_ns)
        entries.append(_facts(study, trial) | _tried(task, _runner(task, network), shown, target, metric))
    return {
        "picture": {"name": shown.name, "width": width, "height": height},
        "input": encoded(task.picture(shown.pixels)),
        "target": None if target is None else encoded(target),
        "protocol": f"{metric}: {protocol.partition(', on ')[0]}; of this picture alone",
        "error_scale": ERROR_SCALE,
        "entries": entries,
    }


def _tried(
    task: RestorationTask,
    method: Callable[[np.ndarray], np.ndarray],
    shown: _Shown,
    target: np.ndarray | None,
    metric: str,
) -> dict[str, Any]:
    """A method's output on the picture, its error and PSNR where the target is known, and how long it took."""
    began = time.perf_counter()
    output = method(shown.pixels)
    seconds = time.perf_counter() - began
    seen = task.picture(output)
    answer = {"image": encoded(seen), "error": None, "psnr": None, "seconds": seconds}
    if shown.pair is not None and target is not None:
        (scores,) = task.per_image([output], shown.pair, ssim=False).values()
        psnr = scores[metric]
        answer |= {"error": encoded(_error_map(seen, target)), "psnr": psnr if isfinite(psnr) else None}
    return answer


def _runner(task: RestorationTask, network: Network) -> Callable[[np.ndarray], np.ndarray]:
    scale = task.interface.scale
    return lambda pixels: restore(network, [pixels], scale=scale, finish=task.finish)[0]


def _facts(study: Study, trial: Trial) -> dict[str, Any]:
    macs = value(trial.measurements, *cost_key(study))
    return {
        "number": trial.number,
        "name": f"trial {trial.number}",
        "label": Architecture.from_json(trial.architecture).label,
        "gmacs": None if macs is None else macs / GIGA,
    }


def _error_map(seen: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, as ``ERROR_SCALE`` says."""
    error = np.abs(seen.astype(np.int16) - target).mean(axis=2) / ERROR_RANGE
    return colormaps["magma"](error.clip(0, 1), bytes=True)[..., :3].copy()


@lru_cache(maxsize=8)
def _network(architecture: str, task: str, weights: str, _changed: int) -> Network:
    return load_network(Architecture.from_json(architecture), get_task(task).interface, Path(weights))


def _held_out_picture(study: Study, name: str) -> _Shown:
    """Raises: ApiError: if the study has none of that id."""
    split, _, index = name.rpartition("-")
    pairs = _pairs(study, split) if split in (*SPLITS, EMBEDDED) else None
    if pairs is None or not re.fullmatch("[0-9]{1,6}", index) or int(index) >= len(pairs):
        raise ApiError(
            404,
            "unknown_picture",
            "expected the id of a held-out picture of the study or of an upload, got neither; uploads are forgotten "
            "after a while: upload it again",
        )
    return _shown(pairs.pick([int(index)]))


def _shown(pair: PairSet) -> _Shown:
    return _Shown(pair.targets.images[0].name, pair.inputs.images[0].pixels, pair)


def _uploaded(task: RestorationTask, png: bytes, role: str) -> _Shown:
    """An upload as the task takes it.

    Raises: ValueError: if it can't.
    """
    name = task.interface.name
    pixels = np.array(PIL.Image.open(io.BytesIO(png)).convert("RGB"))
    least = LEAST_SIDE * task.interface.scale if role == "target" else LEAST_SIDE
    if min(pixels.shape[:2]) < least:
        got = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise ValueError(f"{UPLOAD}: expected sides of at least {least} pixels, got {got}; take a larger one")
    if role == "target":
        return _degraded(task, png)
    if task.interface.in_channels != 3:
        raise ValueError(
            f"task '{name}' takes inputs of {task.interface.in_channels} channels, which no plain picture has; choose "
            "a held-out picture"
        )
    return _Shown(UPLOAD, pixels)


def _degraded(task: RestorationTask, png: bytes) -> _Shown:
    """A clean picture and what the task makes of it, which each task knows for folders of pictures."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "upload.png").write_bytes(png)
        try:
            return replace(_shown(task.pairs(Path(folder))), name=UPLOAD)
        except ImageError as error:
            told = str(error).replace(f"{folder}/", "").replace(folder, "the upload")
            raise ValueError(
                f"task '{task.interface.name}' can't take an upload: choose a held-out picture ({told})"
            ) from error


# Exports


def export(study: Study, lineage: Sequence[Trial], weights: Path, path: Path, form: Format) -> dict[str, Any]:
    """Write the network, its model card and its architecture; what ``results.export.files`` found checking it.

    Raises: ExportError, ValueError: as ``results.export.files.export``.
    """
    began = time.perf_counter()
    exported, card = export_with_card(study, lineage, get_task(study.task).interface, weights, path, form)
    made = (path, card, path.with_suffix(ARCHITECTURE_SUFFIX))
    return {
        "files": [{"path": file, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()} for file in made],
        "max_error": exported.max_error,
        "sizes": exported.sizes,
        "seconds": time.perf_counter() - began,
    }


JOBS: Mapping[str, Callable[..., Any]] = {
    "compare": compare,
    "export": export,
    "parts": parts,
    "pictures": pictures,
}

"""From a configuration to everything that a search needs: data checked and loaded, space, budget, baseline."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from math import ceil, inf, isfinite
from random import Random
from typing import Any, Literal

import torch
from threadpoolctl import threadpool_limits

from evaluators.data.images import ImageSet
from evaluators.data.overlap import check_disjoint
from evaluators.data.pairs import PairSet, check_patch
from evaluators.supernet.file import TrainedSupernet
from evaluators.tasks import RestorationTask, Split, get_task
from evaluators.training.loop import training_dtype
from evaluators.training.recipe import Recipe, two_stages
from evaluators.trial import Job, TrialData, baseline_score, weights_of
from results.store.schema import Trial
from search.config import ConfigError, DataSection, SearchConfig
from search.loop.first import first_genotypes
from search.loop.runtimes import Runtimes
from search.loop.screening import Sieve, find_sieve, find_supernet
from spaces.architecture import Architecture
from spaces.budget import Budget, BudgetError, Candidate
from spaces.build import size_requirements
from spaces.catalog import named_space
from spaces.measurement import Measurement
from spaces.objectives import COSTS, QUALITIES, RUNTIMES, Objective
from spaces.space import Genotype, Space
from spaces.task import Task

REACHING_SAMPLES = 500
SSIM_WINDOW = 11  # pixels a side
HELD_OUT_SHARE = 10  # without a validation folder, one image in so many is held out ...
HELD_OUT_MOST = 10  # ... but no more than this


@dataclass(frozen=True)
class Bench:
    """What the networks of a study are trained and scored on.

    Attributes:
        test: Scored at the end, never to choose by; None without test images.
        baseline: The trivial method's scores on the validation and test images.
        recipe: Of a search's trials, with the precision resolved for the device.
    """

    config: SearchConfig
    task: RestorationTask
    data: TrialData
    test: PairSet | None
    baseline: tuple[Measurement, ...]
    recipe: Recipe
    device: str

    @property
    def objective(self) -> tuple[str, str]:
        """Key of the quality that is searched for."""
        name = self.data.validation.targets.name
        key = next(
            m.key for m in self.baseline if m.name == self.config.objective and f" on {name} (" in m.protocol
        )
        return key

    @cached_property
    def runtimes(self) -> Runtimes:
        """What measures latency and memory as the study says.

        Raises: ValueError: if this machine lacks the device.
        """
        return Runtimes(self.task.interface, self.config.latency_on)

    def objective_of(self, name: str) -> Objective:
        """What one of the names of ``spaces.objectives`` means in this study.

        Raises: ConfigError: if the task doesn't measure it.
        """
        shape = "x".join(map(str, self.task.interface.cost_input))
        if name == "psnr":
            return Objective(name, *self.objective)
        if name == "ssim":
            metric = self.config.objective.replace("psnr", "ssim")
            key = (metric, self.objective[1])
            if key not in {m.key for m in self.baseline}:
                raise ConfigError(f"objective ssim: {self.config.task} has no {metric}")
            return Objective(name, *key)
        if name == "gmacs":
            return Objective(name, "macs", f"{self.config.convention}, {shape}")
        if name in RUNTIMES:
            metric = {"latency": "latency_ms", "memory": "peak_memory_bytes"}[name]
            return Objective(name, metric, self.runtimes.protocol(name))
        return Objective(name, name, "stored" if name == "parameters" else shape)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What the search goes for."""
        return tuple(self.objective_of(name) for name in self.config.objectives)

    @property
    def measured(self) -> tuple[Objective, ...]:
        """Latency and memory, where they are objectives or limited."""
        wanted = {*self.config.objectives, *(limit.name for limit in self.config.parsed_limits)}
        return tuple(self.objective_of(name) for name in RUNTIMES if name in wanted)

    @property
    def worst(self) -> tuple[float | None, ...]:
        """What hypervolume is measured from, per objective: a limit, or the trivial method; None where nothing says."""
        bounds = {limit.name: limit.bound for limit in self.config.parsed_limits}
        bounds |= {"gmacs": high} if (high := self.config.band[1]) is not None else {}
        return tuple(
            self._worst(each, bounds.get(each.name)) if each.name in QUALITIES else bounds.get(each.name)
            for each in self.objectives
        )

    def _worst(self, quality: Objective, bound: float | None) -> float:
        trivial = next(m.value for m in self.baseline if m.key == quality.key)
        return trivial if bound is None else max(trivial, bound)

    @property
    def trivial(self) -> float:
        """The trivial method's value of the objective."""
        return next(m.value for m in self.baseline if m.key == self.objective)

    @property
    def notes(self) -> tuple[str, ...]:
        """What reading the images changed or left out."""
        sets = (self.data.train, self.data.validation, *((self.test,) if self.test else ()))
        told = (
            f"{images.name}: {note}"
            for pairs in sets
            for images in (pairs.targets, pairs.inputs)
            for note in images.notes
        )
        return tuple(dict.fromkeys(told))

    def data_record(self) -> dict[str, Any]:
        """What the study keeps of its data, as JSON."""
        sets = {"train": self.data.train, "validation": self.data.validation, "test": self.test}
        return {
            **{k: {"name": s.name, "images": len(s), "digest": s.digest} for k, s in sets.items() if s},
            "cost_input": "x".join(map(str, self.task.interface.cost_input)),
            "budget": list(self.config.band),
            "objective": list(self.objective),
            "objectives": [asdict(each) for each in self.objectives],
            "limits": [
                asdict(self.objective_of(limit.name)) | {"bound": limit.bound}
                for limit in self.config.parsed_limits
            ],
            "baseline": {"name": self.task.baseline_name, "measurements": [asdict(m) for m in self.baseline]},
        }

    @property
    def data_digest(self) -> str:
        """Digest of training and validation images together."""
        return f"{self.data.train.digest}-{self.data.validation.digest}"

    def job(self, trial: Trial, checkpoint: bytes | None, seconds: float) -> Job:
        """The job of a trial of the search; its seed is the study's and the trial's number."""
        return self.job_of(trial, self.recipe, checkpoint, seconds, rungs=self.config.rungs)

    def job_of(
        self, trial: Trial, recipe: Recipe, checkpoint: bytes | None, seconds: float, **more: Any
    ) -> Job:
        """The job of a trial under another recipe; ``more`` are Job's own."""
        return Job(
            architecture=trial.architecture,
            task=self.config.task,
            recipe=recipe,
            seed=self.config.seed * 100_003 + trial.number,
            device=self.device,
            threads=self.config.workers.threads,
            ssim="ssim" in self.config.objectives,
            checkpoint=checkpoint,
            seconds=seconds,
            **{"rungs": self.config.training.rungs_of(recipe.steps), **more},
        )


@dataclass(frozen=True)
class Setup(Bench):
    """A search's checked configuration with its data.

    Attributes:
        sieve: What new candidates have to pass before training; None where all go on.
        supernet: Where the sieve, or a warm start, has weights from.
        first: Genotypes that the search begins with.
    """

    space: Space
    budget: Budget
    first: tuple[Genotype, ...] = ()
    sieve: Sieve | None = None
    supernet: TrainedSupernet | None = None

    def exact_values(self, candidate: Candidate) -> tuple[float | None, ...]:
        """Its values of the objectives; None for what has to be measured."""
        return tuple(
            self.budget.amount(name, candidate.cost) if name in COSTS else None
            for name in self.config.objectives
        )

    def data_record(self) -> dict[str, Any]:
        """As a bench's, with how the filter's proxy is taken, and which supernet is used."""
        sieve = {"filter": self.sieve.protocol} if self.sieve else {}
        return super().data_record() | sieve | ({"supernet": self.supernet.digest} if self.supernet else {})

    @property
    def origin(self) -> dict[str, Any] | None:
        """What goes on record as that of each trial of the search: where a warm start's weights are from."""
        if self.supernet is None or not self.config.warm_start:
            return None
        steps = int(self.supernet.training.get("steps", 0))
        return {"supernet": self.supernet.digest, "supernet_steps": steps, "steps_before": steps}

    def job(self, trial: Trial, checkpoint: bytes | None, seconds: float) -> Job:
        """As a bench's; with a warm start, from the network's weights in the supernet."""
        job = super().job(trial, checkpoint, seconds)
        if self.supernet is None or not self.config.warm_start or checkpoint is not None:
            return job
        network = self.supernet.network.extract(Architecture.from_json(trial.architecture))
        return replace(job, start=weights_of(network))


def prepare(config: SearchConfig) -> Setup:
    """Load and check everything; nothing has been written or started yet.

    Raises: ValueError: for anything in the configuration or the images that can't be used.
    """
    if config.start.baseline:
        raise ConfigError(
            f"start.baseline '{config.start.baseline}': a search doesn't start from a published network; 'pixelfront "
            "run' does, and 'pixelfront prune --baseline'"
        )
    task = get_task(config.task)
    section = config.space
    space = named_space(section.name, per_position=section.per_position, **section.lists)
    budget = budget_of(config, task.interface)
    budget.check(space)
    _check_reachable(budget, space)
    first = first_genotypes(config.first, space, budget)
    bench = prepare_bench(config)
    check_patch_fits_networks(space, task.interface, config.training.patch)
    supernet = find_supernet(config, space, bench.data)
    sieve = find_sieve(config, task, bench.data, supernet)
    return Setup(**vars(bench), space=space, budget=budget, first=first, sieve=sieve, supernet=supernet)


def budget_of(config: SearchConfig, task: Task) -> Budget:
    """What networks of the study may cost."""
    low, high = config.band
    limit = min(inf if high is None else high, inf if config.time_gmacs is None else config.time_gmacs)
    return Budget(task, limit, low, config.convention, config.cost_limits)


def with_settings(bench: Bench, config: SearchConfig) -> Bench:
    """The bench under a configuration that trains otherwise, or within a narrower budget, on the same data."""
    changed = replace(bench, config=config, recipe=_recipe(config, bench.device))
    if isinstance(changed, Setup):
        return replace(changed, budget=budget_of(config, bench.task.interface))
    return changed


def prepare_bench(config: SearchConfig) -> Bench:
    """Load and check the images.

    Raises: ValueError: for anything in the configuration or the images that can't be used.
    """
    task = get_task(config.task)
    train, validation, test = load_data(config.data, task, patch=config.training.patch)
    check_patch(train, config.training.patch)
    check_disjoint(
        train.targets,
        validation.targets,
        *((test.targets,) if test else ()),
        allow_near=config.data.allow_near_duplicates,
    )
    if test:
        check_disjoint(validation.targets, test.targets, allow_near=True)
    baseline = _baseline(config.task, validation) + (_baseline(config.task, test) if test else ())
    device = _device(config)
    recipe = _recipe(config, device)
    return Bench(config, task, TrialData(train, validation), test, baseline, recipe, device)


def load_data(
    section: DataSection, task: RestorationTask, *, patch: int
) -> tuple[PairSet, PairSet, PairSet | None]:
    """Training, validation and test pairs; training images hold a patch, held-out ones can be scored.

    Without a training folder the embedded photographs; without a validation folder, a tenth of the training
    images (at least 1, at most 10), chosen by content.

    Raises: ValueError: as the task's ``pairs``, or if one image is to be split.
    """
    if section.train is None:
        odd = [
            n for n in ("train_inputs", "validation", "validation_inputs") if getattr(section, n) is not None
        ]
        if odd:
            raise ConfigError(
                f"data.{odd[0]} is given, but no folder of training images: give --data DIR too"
            )
        train = task.embedded("train")
    else:
        train = _read(section, task, "train", patch=patch)
    if section.train is not None and section.validation is None:
        return *hold_out(train), held_out(section, task, "test", patch=patch)
    validation = held_out(section, task, "validation", patch=patch)
    assert validation is not None  # embedded, where there is no folder
    return train, validation, held_out(section, task, "test", patch=patch)


def held_out(
    section: DataSection, task: RestorationTask, split: Literal["validation", "test"], *, patch: int
) -> PairSet | None:
    """Validation or test pairs as ``load_data`` gives them; training images are read only where some are held out.

    Raises: ValueError: as ``load_data``.
    """
    if getattr(section, split) is not None:
        return _read(section, task, split, patch=patch)
    if section.train is None:
        return task.embedded(split)
    return hold_out(_read(section, task, "train", patch=patch))[1] if split == "validation" else None


def _read(section: DataSection, task: RestorationTask, split: Split, *, patch: int) -> PairSet:
    """The pairs of a split's folders."""
    minimum = ceil((SSIM_WINDOW + 2 * task.border) / task.interface.scale)
    if split == "train":
        # Without a validation folder, training images are held out and have to be scored.
        minimum = patch if section.validation is not None else max(patch, minimum)
    targets, inputs = getattr(section, split), getattr(section, f"{split}_inputs")
    return task.pairs(targets, inputs, minimum=minimum, skip_bad=section.skip_bad_images, split=split)


def check_patch_fits_networks(space: Space, task: Task, patch: int) -> None:
    """Nothing, if every network of the space can train on patches of this side.

    Raises: ConfigError: naming what needs a larger one.
    """
    # The largest of what is ordered (levels, unshuffling), as that multiplies what a block needs.
    genotype = {choice.name: choice.values[-1 if choice.ordered else 0] for choice in space}
    positions = [name for name in genotype if name == "block" or name.startswith("block_")]
    groups = [positions, *([choice.name] for choice in space if choice.name not in (*positions, "width"))]
    for genes in groups:
        for value in space.by_name[genes[0]].values:
            # A block fills all positions, so that none but it can be at fault.
            needs = size_requirements(space.decode({**genotype, **dict.fromkeys(genes, value)}), task)
            least = needs.padded(patch, patch)[0]
            if least != patch:
                raise ConfigError(
                    f"--patch {patch}: networks with {genes[0].partition('_')[0]} '{value}' take inputs of at least "
                    f"{needs.minimum} pixels in multiples of {needs.multiple_of}. Use --patch {least}, or leave these "
                    "out of the space."
                )


def _check_reachable(budget: Budget, space: Space) -> None:
    """Nothing, if random genotypes come within the budget.

    Raises: BudgetError: if none of many does, as in a band between the costs of neighbouring widths.
    """
    random = Random(0)
    if not any(budget.fit(space, space.sample(random)) for _ in range(REACHING_SAMPLES)):
        raise BudgetError(
            f"{budget}: none of {REACHING_SAMPLES} random architectures of space '{space.name}' could be brought into "
            "it. Widen the budget, or allow more widths and depths."
        )


def _baseline(task: str, pairs: PairSet) -> tuple[Measurement, ...]:
    """The trivial method's scores.

    Raises: ConfigError: naming images that it restores perfectly: no network can be told from it there.
    """
    scores = baseline_score(task, pairs)
    if all(isfinite(m.value) for m in scores):
        return scores
    flat = []
    for i, image in enumerate(pairs.targets):
        if not all(isfinite(m.value) for m in baseline_score(task, pairs.pick([i]), ssim=False)):
            flat.append(image.name)
    raise ConfigError(
        f"'{pairs.name}': {get_task(task).baseline_name} restores {', '.join(flat)} without any error, so a mean PSNR "
        "would be infinite; remove such flat pictures"
    )


def hold_out(pairs: PairSet) -> tuple[PairSet, PairSet]:
    """The pairs without, and only, a tenth of them (1 to 10), chosen by content digest."""
    if len(pairs) < 2:
        raise ConfigError(
            f"'{pairs.name}' holds one image, too few to hold one out for validation: give --val DIR"
        )
    count = min(HELD_OUT_MOST, max(1, len(pairs) // HELD_OUT_SHARE))
    chosen = set(sorted(range(len(pairs)), key=lambda i: pairs.targets.digests[i])[:count])

    def subset(suffix: str, held: bool) -> PairSet:
        keep = [i for i in range(len(pairs)) if (i in chosen) == held]
        inputs, targets = (
            ImageSet(f"{s.name}/{suffix}", tuple(s.images[i] for i in keep), s.notes if not held else ())
            for s in (pairs.inputs, pairs.targets)
        )
        return PairSet(inputs, targets, pairs.scale)

    return subset("train", False), subset("held-out", True)


def _device(config: SearchConfig) -> str:
    wanted = config.workers.device
    if wanted == "auto":
        return "cuda" if config.workers.gpus > 0 else "cpu"
    if wanted == "cuda" and config.workers.gpus == 0:
        raise ConfigError("--device cuda needs --gpus per trial (a fraction shares a GPU)")
    return wanted


def _recipe(config: SearchConfig, device: str) -> Recipe:
    section = config.training
    precision = section.precision
    if precision == "auto" and (device == "cpu" or torch.cuda.is_available()):
        # Resolved once, so that a resumed study goes on in the same arithmetic.
        precision = (
            "bfloat16" if training_dtype("auto", torch.device(device)) == torch.bfloat16 else "float32"
        )
    assert section.losses is not None  # filled in by ``search.config.resolve``
    recipe = two_stages(
        section.steps,
        losses=section.losses,
        learning_rate=section.learning_rate,
        batch=section.batch,
        patch=section.patch,
    )
    return Recipe(recipe.stages, ema=section.ema, precision=precision)


def use_one_thread() -> None:
    """Do this process's arithmetic on one thread: on busy cores a second would spin against the workers'."""
    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    packages = ("pixelfront", "torch", "optuna", "ray", "numpy", "moocore")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": {name: version(name) for name in packages},
    }

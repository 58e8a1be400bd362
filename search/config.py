"""The configuration of a study: TOML, flags and defaults, checked and resolved in one place."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import ceil, inf, isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
    field_validator,
    model_validator,
)

from evaluators.tasks import get_task
from evaluators.training.recipe import Loss
from results.durations import seconds
from spaces.baselines import published
from spaces.catalog import list_names
from spaces.catalog.hdr import BUDGETS as BANDS
from spaces.measurement import Convention
from spaces.objectives import COSTS, DEFAULT, Limit, check_name, parse_limit
from spaces.registry import UnknownNameError

STEPS = 1000  # of a trial, unless something else is said or a plan is made
RUNGS = 4  # of a trial, unless something else is said
RATIOS = (0.75, 0.5)  # of a network's GMACs, what it is pruned to unless something else is said


AUTO = "pareto"  # what the strategy `auto` stands for, with inheritance and early stopping: docs/evidence.md
AUTO_ETA = 3.0
AUTO_PAUSE = 4  # at this part of a training


class ConfigError(ValueError):
    """A configuration that can't be used; the message names the key."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SpaceSection(_Section):
    """What is searched: a named space (the task's own by default), or one with some of its lists changed.

    Which lists a space has, ``spaces.catalog`` says; one that it doesn't have is refused.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = ""
    per_position: bool = True

    @model_validator(mode="before")
    @classmethod
    def _read_lists(cls, said: Any) -> Any:
        if not isinstance(said, Mapping):
            return said
        own = cls.model_fields
        return {k: v if k in own else values(k, v) for k, v in said.items() if k in own or v is not None}

    @property
    def lists(self) -> dict[str, tuple[Any, ...]]:
        """The lists that were changed."""
        return dict(self.model_extra or {})


class DataSection(_Section):
    """Folders of images; without any, the embedded photographs."""

    train: Path | None = None
    train_inputs: Path | None = None
    validation: Path | None = None
    validation_inputs: Path | None = None
    test: Path | None = None
    test_inputs: Path | None = None
    skip_bad_images: bool = False
    allow_near_duplicates: bool = False

    @field_validator("train", "train_inputs", "validation", "validation_inputs", "test", "test_inputs")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        # A study is resumed from any folder.
        return None if value is None else value.absolute()


class TrainingSection(_Section):
    """How every trial is trained."""

    steps: int = Field(
        STEPS, ge=1
    )  # "auto", the default within a time: the plan's (``search.planning.plan``)
    batch: int = Field(16, ge=1)
    patch: int = Field(0, ge=0)  # 0: the task's
    learning_rate: float = Field(2e-3, gt=0)
    losses: tuple[Loss, Loss] | None = (
        None  # of the first 9/10 of the steps and of the last; None: the task's
    )
    ema: float = Field(0.999, ge=0, lt=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    # How often a trial is scored and saved, or at which steps; with early stopping, where it may pause.
    rungs: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], ...] = RUNGS

    @field_validator("rungs", mode="before")
    @classmethod
    def _read_rungs(cls, said: Any) -> Any:
        if isinstance(said, str):
            found = integers(said.replace(" ", ""))
            return found if "," in said else found[0] if len(found) == 1 else found
        if isinstance(said, list | tuple) and not said:
            raise ValueError("expected steps, such as 60,180,540, got none")
        return said

    @model_validator(mode="before")
    @classmethod
    def _fewer_rungs_of_few_steps(cls, said: Any) -> Any:
        steps = said.get("steps") if isinstance(said, Mapping) else None
        if isinstance(steps, int) and 1 <= steps < RUNGS and "rungs" not in said:
            return {**said, "rungs": steps}
        return said

    @model_validator(mode="after")
    def _within_steps(self) -> TrainingSection:
        if isinstance(self.rungs, int) and self.rungs > self.steps:
            raise ValueError(
                f"expected no more rungs than the {self.steps} steps of a trial, got {self.rungs}: lower --rungs or "
                "raise --steps"
            )
        if isinstance(self.rungs, tuple) and max(self.rungs) > self.steps:
            raise ValueError(
                f"expected rungs within the {self.steps} steps of a trial, got one at {max(self.rungs)}: lower it or "
                "raise --steps"
            )
        return self

    def rungs_of(self, steps: int, eta: float | None = None) -> tuple[int, ...]:
        """Where a training of so many steps is scored, rising; the last is its end.

        Args:
            eta: Spaces them by this factor; by default they are evenly spaced, unless the steps were named.

        Raises: ValueError: if there are fewer than two with an eta, or not so many different ones.
        """
        if isinstance(self.rungs, tuple):
            found = {max(1, round(rung * steps / self.steps)) for rung in self.rungs} | {steps}
        elif eta is None:
            found = {max(1, steps * (i + 1) // self.rungs) for i in range(self.rungs)}
        else:
            found = {round(steps / eta**i) for i in range(self.rungs)}
            needed = ceil(eta ** (self.rungs - 1))
            if len(found) < self.rungs or steps < needed:
                raise ValueError(
                    f"{self.rungs} rungs with an eta of {eta:g} need at least {needed} steps, got {steps}: raise "
                    "--steps or lower --rungs"
                )
        if eta is not None and len(found) < 2:
            raise ValueError(
                f"expected at least 2 rungs with an eta, got {len(found)}: raise --rungs, or leave out --eta"
            )
        return tuple(sorted(found))


class WorkersSection(_Section):
    """Where trials run. These may change when a study is resumed."""

    number: int | None = Field(None, ge=1)
    cpus: float = Field(1.0, gt=0)
    gpus: float = Field(0.0, ge=0)
    threads: int = Field(1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    ray_address: str | None = None
    retries: int = Field(2, ge=0)
    hung_after: str = "30m"  # without progress; scoring large images on a CPU takes minutes

    @field_validator("hung_after")
    @classmethod
    def _duration(cls, value: str) -> str:
        seconds(value)
        return value


class StartSection(_Section):
    """A published network to start from, in place of a search."""

    baseline: str = ""
    weights: Path | None = None

    @field_validator("weights")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.absolute()

    @model_validator(mode="after")
    def _whole(self) -> StartSection:
        if bool(self.baseline) != (self.weights is not None):
            raise ValueError(
                "a start needs both: baseline (a published network's name) and its weights (a file)"
            )
        return self


class PruneSection(_Section):
    """What ``run`` prunes, and to what; the ladder is of GMACs (``budgets``) or of shares of the network's own."""

    members: int = Field(2, ge=0)  # of the front; 0 prunes nothing
    budgets: tuple[PositiveFloat, ...] = ()
    ratios: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    criterion: str = "taylor"
    round_to: int = Field(1, ge=1)
    iterations: int = Field(1, ge=1)
    recovery: str = "finetune"  # between iterations
    recovery_steps: int | None = Field(None, ge=1)  # None: as a trial of the search

    @model_validator(mode="after")
    def _one_ladder(self) -> PruneSection:
        if self.budgets and self.ratios:
            raise ValueError(
                "expected one of budgets (GMACs) and ratios (shares of the network's GMACs), got both"
            )
        return self

    def targets(self, gmacs: float, limit: float | None = None) -> tuple[float, ...]:
        """What a network of that cost is to be pruned to, falling; budgets that it meets already are left out.

        Args:
            limit: The study's upper limit. Of a network above it, the ladder that nobody asked for starts there.
        """
        if self.budgets or self.ratios or limit is None or gmacs <= limit:
            wanted = self.budgets or [ratio * gmacs for ratio in self.ratios or RATIOS]
        else:
            wanted = [limit, *(ratio * limit for ratio in RATIOS)]
        return tuple(sorted({target for target in wanted if target < gmacs}, reverse=True))


class DistilSection(_Section):
    """How ``run`` trains what it pruned."""

    recipe: str = "distil"
    steps: int | None = Field(None, ge=1)  # None: as a trial of the search
    teacher: str = "parent"  # the network that was pruned; "best", or a teacher as of ``pixelfront distill``


class ExportSection(_Section):
    """What ``run`` writes of the winner beside the ONNX file."""

    int8: bool = False
    max_drop: float | None = Field(None, ge=0)


class LoggingSection(_Section):
    """Which trackers get the runs as well."""

    to: tuple[Literal["tensorboard", "mlflow"], ...] = ()


class SearchConfig(_Section):
    """Everything that a study is a function of."""

    task: str = "sr-x4"
    strategy: str = "auto"
    seed: int = Field(0, ge=0, le=2**31 - 1)
    objective: str = ""  # what psnr means among the objectives; the task's first
    objectives: tuple[str, ...] = DEFAULT  # by the names of ``spaces.objectives``
    limits: tuple[str, ...] = ()  # such as ``latency<=30ms``
    latency_on: Literal["cpu", "onnx", "cuda"] = "cpu"
    max_gmacs: float | None = Field(None, gt=0)
    gmacs: str | None = None
    time_gmacs: float | None = Field(
        None, gt=0
    )  # the plan's: networks above it would take too long for the time
    convention: Convention = "exact"
    trials: int | None = Field(None, ge=1)
    time: str | None = None
    train_steps: int | None = Field(None, ge=1)
    worker_hours: float | None = Field(None, gt=0)
    window: int = Field(8, ge=1)
    repeats: int = Field(1, ge=1)  # trainings of each member of the front, from different seeds
    eta: float | None = Field(None, ge=1)  # early stopping: one in so many goes on from a rung; 1 is none
    pauses: tuple[Annotated[int, Field(ge=1)], ...] | None = None  # the rungs it is decided at; all of them
    ordered: bool = True  # results are told in the order of the trials, so that a seed is one sequence
    inherit: bool | None = None  # new architectures start from the tensors of those most like them
    first: tuple[str, ...] = ()  # published networks that a search begins with, NAME or NAME@GMACS
    filter: str | None = None  # PROXY:SHARE, ``search.loop.screening``
    supernet: Path | None = None  # of the filter, and of the warm start
    warm_start: bool = False  # networks start from their weights in the supernet
    min_psnr: float | str | None = (
        None  # a number, or a published network's name: the fewest GMACs that reach it
    )
    min_psnr_weights: Path | None = None
    start: StartSection = StartSection()
    space: SpaceSection = SpaceSection()
    data: DataSection = DataSection()
    training: TrainingSection = TrainingSection()
    workers: WorkersSection = WorkersSection()
    prune: PruneSection = PruneSection()
    distil: DistilSection = DistilSection()
    export: ExportSection = ExportSection()
    logging: LoggingSection = LoggingSection()

    @field_validator("objectives", mode="before")
    @classmethod
    def _read_objectives(cls, said: Any) -> Any:
        names = [part.strip() for part in said.split(",")] if isinstance(said, str) else said
        if isinstance(names, list | tuple):
            for name in names:
                check_name(str(name))
            if not names or len(set(names)) < len(names):
                raise ValueError(f"expected different objectives, such as psnr,gmacs,latency, got {said!r}")
        return names

    @field_validator("limits", mode="before")
    @classmethod
    def _read_limits(cls, said: Any) -> Any:
        texts = [said] if isinstance(said, str) else said
        if not isinstance(texts, list | tuple):
            raise ValueError("expected a list, as ['latency<=30ms', 'parameters<=500k']")
        found = [parse_limit(str(text)) for text in texts]
        names = [limit.name for limit in found]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"expected one limit on {twice[0]}, got {names.count(twice[0])}")
        return [str(limit) for limit in found]

    @field_validator("min_psnr", mode="before")
    @classmethod
    def _quality(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        if not (value is None or isinstance(value, str) or number):
            raise ValueError("expected a quality in dB or a published network's name")
        return value

    @field_validator("min_psnr_weights", "supernet")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.absolute()

    @field_validator("time")
    @classmethod
    def _time(cls, value: str | None) -> str | None:
        if value is not None:
            seconds(value)
        return value

    @field_validator("gmacs")
    @classmethod
    def _gmacs(cls, value: str | None) -> str | None:
        if value is not None:
            band(value)
        return value

    @model_validator(mode="after")
    def _budget(self) -> SearchConfig:
        limited = {limit.name for limit in self.parsed_limits}
        said = [self.max_gmacs is not None, self.gmacs is not None, "gmacs" in limited]
        if sum(said) > 1:
            got = "--limit too" if said[2] else "both"
            raise ValueError(f"give the compute budget: either --max-gmacs G or --gmacs A:B, got {got}")
        # A published network is a start without one, and another limit on what a network costs is one.
        if not any(said) and not self.start.baseline and not limited - {"psnr", "ssim"}:
            raise ValueError("give the compute budget: either --max-gmacs G or --gmacs A:B, got neither")
        if "psnr" in limited and self.min_psnr is not None:
            raise ValueError("expected one of min_psnr and a limit on psnr, got both")
        return self

    @property
    def parsed_limits(self) -> tuple[Limit, ...]:
        """All of ``limits``."""
        return tuple(map(parse_limit, self.limits))

    @property
    def cost_limits(self) -> tuple[Limit, ...]:
        """Those on exact costs beside GMACs."""
        return tuple(limit for limit in self.parsed_limits if limit.name in COSTS[1:])

    @field_validator("eta")
    @classmethod
    def _eta(cls, value: float | None) -> float | None:
        return None if value == 1 else value

    @model_validator(mode="after")
    def _early_stopping(self) -> SearchConfig:
        if self.pauses is not None and max(self.pauses, default=0) >= self.training.steps:
            raise ValueError(
                f"pauses: expected some before the end, {self.training.steps} steps, got {self.pauses}"
            )
        if self.eta is not None and self.pauses is None:
            self.training.rungs_of(self.training.steps, self.eta)
        if self.train_steps is not None and self.train_steps < self.training.steps:
            raise ValueError(
                f"train_steps: {self.train_steps} aren't enough for one trial of {self.training.steps}: raise "
                "--train-steps or lower --steps"
            )
        return self

    @property
    def rungs(self) -> tuple[int, ...]:
        """Where a trial of the search is scored and saved."""
        if self.pauses is None:
            return self.training.rungs_of(self.training.steps, self.eta)
        return tuple(sorted({*self.pauses, *self.training.rungs_of(self.training.steps)}))

    @property
    def ladder(self) -> tuple[int, ...]:
        """Where, with early stopping, it may pause, and the end."""
        if self.eta is None:
            return (self.training.steps,)
        return self.rungs if self.pauses is None else (*sorted(set(self.pauses)), self.training.steps)

    @property
    def band(self) -> tuple[float, float | None]:
        """Lower (0 for none) and upper limit in GMACs; None for no upper one."""
        if self.gmacs is not None:
            return band(self.gmacs)
        limit = next((limit.bound for limit in self.parsed_limits if limit.name == "gmacs"), None)
        return 0.0, self.max_gmacs or limit

    @property
    def seconds(self) -> float | None:
        """The wall-time budget."""
        return None if self.time is None else seconds(self.time)


# What may differ when a study is resumed: how far and where, not what. Folders may have moved: digests tell.
FOLDERS = ("train", "train_inputs", "validation", "validation_inputs", "test", "test_inputs")
FILES = {*(f"data.{name}" for name in FOLDERS), "start.weights", "min_psnr_weights", "supernet"}
# What later stages do is on record with each of their trials.
RESUMABLE = {"trials", "time", "train_steps", "worker_hours", "repeats", *FILES}
RESUMABLE_SECTIONS = ("workers.", "prune.", "distil.", "export.", "logging.")


def load(path: Path | None, flags: Mapping[str, Any]) -> dict[str, Any]:
    """What a TOML file and flags say, flags first; keys are dotted (``training.steps``).

    Args:
        flags: None means "not given".

    Raises: ConfigError: if the file can't be read or isn't TOML.
    """
    said: dict[str, Any] = {}
    if path is not None:
        try:
            said = _flat(tomllib.loads(path.read_text()))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--config {path}: can't be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"--config {path}: not TOML: {error}") from error
    given = {key: value for key, value in flags.items() if value is not None}
    # A limit given as a flag replaces the file's, of either kind.
    if {"max_gmacs", "gmacs"} & given.keys():
        said = {key: value for key, value in said.items() if key not in ("max_gmacs", "gmacs")}
    return said | given


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` texts as a dict; a value is read as TOML (``0.5``, ``true``, ``["psnr", "l2"]``) or else as text.

    Raises: ConfigError: for a text without ``=``.
    """
    said = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set is KEY=VALUE, e.g. space.levels=2:4, got '{pair}'")
        try:
            said[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            said[key.strip()] = value.strip()
    return said


def resolve(said: Mapping[str, Any]) -> SearchConfig:
    """The whole configuration.

    Raises: ConfigError: for an unknown key (with the nearest) or a value that doesn't fit.
    """
    known = [*_keys(SearchConfig), *(f"space.{name}" for name in list_names())]
    for key in said:
        if key not in known:
            raise ConfigError(str(UnknownNameError("configuration key", key, known)))
    said = _with_steps(said)
    if "task" not in said and isinstance(name := said.get("start.baseline"), str) and name:
        said = {**said, "task": published(name).task.name}
    try:
        return _named_band(_with_task_defaults(SearchConfig.model_validate(_nested(said))))
    except ValidationError as error:
        raise ConfigError("; ".join(_told(problem) for problem in error.errors())) from None


def chooses_steps(said: Mapping[str, Any]) -> bool:
    """Whether the length of a training is left to the plan, where one is made."""
    return "training.steps" not in _with_steps(said)


def _with_steps(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was said, without a length of trainings that is left open; within a time, named rungs give one."""
    if said.get("training.steps", "auto") != "auto":
        return said
    said = {key: value for key, value in said.items() if key != "training.steps"}
    if not {"time", "worker_hours"} & said.keys():
        return said
    rungs = said.get("training.rungs")
    with suppress(ValueError):
        named = integers(rungs.replace(" ", "")) if isinstance(rungs, str) and "," in rungs else rungs
        if isinstance(named, list | tuple) and all(isinstance(step, int) for step in named) and named:
            return {**said, "training.steps": max(named)}
    return said


def _named_band(config: SearchConfig) -> SearchConfig:
    """The configuration with a band's name (``ntire22-hdr-1``) replaced by its two numbers and its convention."""
    if config.gmacs not in BANDS:
        return config
    low, high = BANDS[config.gmacs]
    return config.model_copy(update={"gmacs": f"{low:g}:{high:g}", "convention": "bias"})


def _with_task_defaults(config: SearchConfig) -> SearchConfig:
    """The configuration with what the task decides filled in, so that it goes on record."""
    task = get_task(config.task)
    objective = config.objective or task.objectives[0]
    if objective not in task.objectives:
        raise ConfigError(
            f"objective: of {config.task} it is one of {', '.join(task.objectives)}, got '{objective}'"
        )
    config = _with_auto(config)
    training, space = config.training, config.space
    return config.model_copy(
        update={
            "objective": objective,
            "inherit": bool(config.inherit),
            "space": space.model_copy(update={"name": space.name or task.space}),
            "training": training.model_copy(
                update={"patch": training.patch or task.patch, "losses": training.losses or task.losses}
            ),
        }
    )


def _with_auto(config: SearchConfig) -> SearchConfig:
    """The configuration with what the strategy ``auto`` stands for filled in, where nothing else was said."""
    if config.strategy != "auto":
        return config
    found: dict[str, Any] = {"strategy": AUTO, "inherit": config.inherit is None or config.inherit}
    if "eta" not in config.model_fields_set:
        training, pauses = config.training, config.pauses
        if pauses is None and "rungs" not in training.model_fields_set and training.steps >= AUTO_PAUSE:
            pauses = (training.steps // AUTO_PAUSE,)
        with suppress(ValueError):  # one rung, or too few steps: networks are trained to the end
            if pauses is None:
                training.rungs_of(training.steps, AUTO_ETA)
            found |= {"eta": AUTO_ETA, "pauses": pauses}
    return config.model_copy(update=found)


def difference(study: Mapping[str, Any], said: Mapping[str, Any]) -> list[str]:
    """What was said that the study's recorded configuration contradicts, a line each."""
    wanted = _flat(resolve(_continued(study, said)).model_dump(mode="json"))
    have = _flat(study)
    return [
        f"{key}: the study has {have.get(key)!r}, now {wanted[key]!r}"
        for key in wanted
        # What the record doesn't know wasn't there yet when the study was made: a default isn't a difference.
        if (key in have or key in said)
        and key not in RESUMABLE
        and not key.startswith(RESUMABLE_SECTIONS)
        and wanted[key] != have.get(key)
    ]


def _continued(study: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What was said over the study's values; a limit of one kind replaces that of the other."""
    limits = {"max_gmacs", "gmacs"} if {"max_gmacs", "gmacs"} & set(said) else set()
    have = {key: value for key, value in _flat(study).items() if value is not None and key not in limits}
    if said.get("training.precision") == "auto":  # resolved when the study was made
        said = {key: value for key, value in said.items() if key != "training.precision"}
    if said.get("strategy") == "auto":
        said = {key: value for key, value in said.items() if key != "strategy"}
    return {**have, **said}


def resumed(study: Mapping[str, Any], said: Mapping[str, Any]) -> SearchConfig:
    """The study's configuration with what may change on resuming taken from ``said``.

    Raises: ConfigError: if something else differs; shows the difference.
    """
    differing = difference(study, said)
    if differing:
        raise ConfigError("the study can't be resumed with another setting:\n  " + "\n  ".join(differing))
    return resolve(_continued(study, said))


def values(name: str, said: Any) -> tuple[Any, ...]:
    """The values of a space's list: of integers ``8:64:4`` or ``8,16``, of names ``rfdb,ghost``, or a real list.

    A comma inside parentheses belongs to a block's options: ``rfdb,recursive(block=ghost,times=2)``.

    Raises: ValueError: for anything else.
    """
    if isinstance(said, str):
        if re.match(r"[0-9 ]", said):
            return integers(said.replace(" ", ""))
        return tuple(part.strip() for part in re.split(r",(?![^(]*\))", said))
    if isinstance(said, list | tuple) and all(type(v) in (int, str, bool) for v in said):
        return tuple(said)
    raise ValueError(
        f"'{name}' is a list of integers, names or booleans, or text like '8:64' or 'rfdb,ghost', got {said!r}"
    )


def integers(text: str) -> tuple[int, ...]:
    """``8:64:4`` (both ends included), ``8:64``, or ``8,16,32``.

    Raises: ValueError: for anything else.
    """
    if re.fullmatch(r"\d+( *, *\d+)*", text):
        return tuple(int(part) for part in text.split(","))
    found = re.fullmatch(r"(\d+):(\d+)(?::(\d+))?", text)
    if found is None or int(found[1]) > int(found[2]) or found[3] == "0":
        raise ValueError(f"a range is FIRST:LAST[:STEP] or a list A,B,C, got '{text}'")
    return tuple(range(int(found[1]), int(found[2]) + 1, int(found[3] or 1)))


def band(text: str) -> tuple[float, float]:
    """Both ends of ``A:B``, or of a named band.

    Raises: ValueError: unless 0 <= A < B.
    """
    if text in BANDS:
        return BANDS[text]
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise ValueError(f"a band is A:B in GMACs, or one of {', '.join(BANDS)}, got '{text}'") from None
    if not 0 <= low < high < inf:
        raise ValueError(f"a band A:B needs 0 <= A < B, got '{text}'")
    return low, high


def _keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _keys(field.annotation, f"{name}.")
        else:
            keys.append(prefix + name)
    return keys


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        section, _, name = key.rpartition(".")
        if section:
            nested.setdefault(section, {})[name] = value
        else:
            nested[name] = value
    return nested


def _told(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "tuple_type":
        message = "expected a list, as [A, B]"
    given = "" if ", got" in message or not where else f", got {problem['input']!r}"
    return f"{where}: {message}{given}" if where else message

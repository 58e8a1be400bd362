"""What the JSON API answers, as models: its OpenAPI description is made from them, and tests hold answers to them.

Nothing is validated on the way out: the large answers are columns that go from NumPy to JSON as they are.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Key = Annotated[str, Field(description="A metric's key, see the study's columns.")]
Revision = Annotated[
    int, Field(description="Grows with each write to the study; ask again with since=REVISION.")
]
Number = Annotated[int, Field(description="A trial's number.")]
Values = list[float | None]
Indices = list[int]


def answers(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """A route's ``responses``: the model where it can be done, a refusal where it can't."""
    return {200: {"model": model}, **REFUSALS}


class Model(BaseModel):
    """An object with these members and no others."""

    model_config = ConfigDict(extra="forbid")


class Refused(Model):
    code: str = Field(description="For programs; stable.")
    message: str = Field(description="One sentence: what was expected, what came, what to do.")
    details: dict[str, Any] | None


class Refusal(Model):
    """Why something can't be done; all refusals have this shape."""

    error: Refused


REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Refusal, "description": "It can't be done as it was asked"},
    "5XX": {"model": Refusal, "description": "The server or its data base failed; asking again may help"},
}


# Studies


class Limits(Model):
    upload_bytes: int
    upload_pixels: int
    compare: int = Field(description="Most networks of one comparison.")


class Info(Model):
    version: str
    read_only: bool
    token_required: bool = Field(description="Whether POSTs need 'Authorization: Bearer TOKEN'.")
    limits: Limits


class Best(Model):
    """The trial that the study looked for."""

    key: Key
    value: float
    unit: str
    trial: Number


class StudySummary(Model):
    name: str
    task: str
    strategy: str
    seed: int
    space: str
    state: str
    stop: str | None = Field(description="Why its last run ended: a limit that was reached, or interrupted.")
    status: str = Field(description="State, reason and how many trials rest, in words.")
    created_at: datetime
    finished_at: datetime | None
    trials: int
    complete: int
    failed: int
    running: int
    paused: int = Field(description="Trials that rest at a rung.")
    goal: str
    best: Best | None
    revision: Revision


class StudyList(Model):
    """Oldest first."""

    studies: list[StudySummary]


class Measured(Model):
    name: str
    value: float
    unit: str
    direction: Literal["min", "max"]
    protocol: str = Field(
        description="Under which conditions: images, border, colour space, input size, device."
    )


class BaselineMeasured(Measured):
    key: Key | None


class Baseline(Model):
    """The trivial method."""

    name: str
    value: float | None = Field(description="Of the study's objective.")
    measurements: list[BaselineMeasured]


class Column(Model):
    """A metric under one protocol."""

    key: str = Field(description="Its name, with @N where the trials have it under several protocols.")
    name: str
    label: str
    unit: str = Field(description="Of value / scale.")
    direction: Literal["min", "max"]
    protocol: str
    scale: float
    kind: Literal["cost", "quality", "runtime"]
    count: int = Field(description="Trials that have it.")


class PublishedNetwork(Model):
    name: str
    values: dict[str, float] = Field(description="By column key, where protocols agree.")
    source: str


class Space(Model):
    name: str
    digest: str
    choices: Any


class Budget(Model):
    low: float
    high: float | None
    unit: str


class Floor(Model):
    """What a study for the fewest GMACs has to reach."""

    name: str
    value: float


class Counts(Model):
    by_state: dict[str, int]
    by_stage: dict[str, int]


class Asks(Model):
    """What became of the strategy's questions."""

    trials: int
    duplicates: int
    rejected: int = Field(description="Turned away before any training.")
    turned_away: dict[str, int] = Field(
        description="Of these how many, by who did it: budget, limit or filter."
    )


class Spent(Model):
    """By all trials that ended, in whatever state."""

    trials: int
    seconds: float
    steps: int


class StudyLimits(Model):
    """Null is no limit."""

    trials: int | None
    seconds: float | None
    steps: int | None = Field(description="Of a trial.")


class AxisKeys(Model):
    x: Key
    y: Key


class Bound(Model):
    """A hard limit beside the budget."""

    key: Key | None = Field(description="Of its column; null before anything was measured.")
    value: float = Field(description="In the column's own unit.")
    text: str


class StudyRecord(Model):
    """Everything of a study but its trials."""

    name: str
    task: str
    strategy: str
    seed: int
    space: Space
    data: Any
    config: Any
    environment: Any
    state: str
    stop: str | None = Field(description="Why its last run ended: a limit that was reached, or interrupted.")
    status: str = Field(description="State, reason and how many trials rest, in words.")
    created_at: datetime
    finished_at: datetime | None
    goal: str
    budget: Budget
    floor: Floor | None
    objective: Key
    cost: Key
    objectives: list[str] = Field(description="What the study goes for; ``best`` goes by the first.")
    axes: AxisKeys = Field(description="Of its front, where none are named.")
    bounds: list[Bound]
    baseline: Baseline
    columns: list[Column]
    published: list[PublishedNetwork]
    best: Number | None = Field(description="Of the trial that the study looked for.")
    counts: Counts
    asks: Asks
    spent: Spent
    limits: StudyLimits
    revision: Revision


# Trials as columns


class Points(Model):
    """A column has an item for each trial in ``number``; names are told once and pointed at by index."""

    revision: Revision
    since: int | None
    count: int
    number: list[Number]
    states: list[str] | None = None
    stages: list[str] | None = None
    state: Indices | None = None
    stage: Indices | None = None
    parent: list[int | None] | None = Field(None, description="Number of the trial that each was made from.")
    values: dict[str, Values] | None = Field(None, description="By column key.")
    label: list[str] | None = None
    digest: list[str] | None = None
    kinds: list[str] | None = Field(None, description="Names of the block kinds.")
    uses: list[Indices] | None = Field(None, description="Of each trial, indices of its kinds.")
    depth: list[int | None] | None = None
    width: list[int | None] | None = None
    upsamplers: list[str] | None = None
    upsampler: list[int | None] | None = None


class Member(Model):
    number: Number
    x: float
    y: float


class ReferencePoint(Model):
    x: float
    y: float
    meaning: str


class Front(Model):
    """The trials that no other beats."""

    x: Column
    y: Column
    members: list[Member] = Field(description="By rising x.")
    hypervolume: float | None = Field(
        description="From the reference; null on other axes than the study's own."
    )
    unit: str | None
    reference: ReferencePoint | None
    worthless: int = Field(description="Complete trials that don't beat the trivial method.")
    unmet: int = Field(description="Complete trials beyond a hard limit of the study's; never members.")
    considered: int
    revision: Revision


class EarlyPoint(Model):
    number: Number
    x: float
    y: float
    member: bool = Field(description="Whether it is on the preliminary front, by the study's own objectives.")


class Preliminary(Model):
    """Networks that aren't trained to the end, as they were at one rung; not comparable with those that are."""

    step: int | None = Field(description="Of the rung; null where no unfinished network has been scored.")
    steps: int = Field(description="Of a whole training.")
    x: Column
    y: Column
    points: list[EarlyPoint]
    command: str | None = Field(description="What trains the members to the end.")
    revision: Revision


class Interval(Model):
    numbers: list[Number]
    digest: str
    stage: str
    n: int
    mean: float
    low: float
    high: float


class Intervals(Model):
    """Architectures that were trained several times: mean and 95 % interval of Student's t."""

    groups: list[Interval]


# Single trials


class TrialLite(Model):
    number: Number
    stage: str
    state: str
    parent: Number | None
    label: str


class Trial(TrialLite):
    digest: str
    reason: str | None = Field(description="Why it failed.")
    attempts: int
    worker: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None
    measurements: list[Measured]
    origin: dict[str, Any] | None = Field(description="How it was made; null where a strategy asked for it.")


class TrialPage(Model):
    revision: Revision
    total: int
    next: Number | None = Field(description="Give it as ``after`` for the next page; null on the last.")
    trials: list[Trial]


class Rung(Model):
    step: int
    attempt: int
    loss: float
    seconds: float
    measurements: list[Measured]


class RecordedFile(Model):
    id: int
    kind: str
    name: str
    bytes: int
    sha256: str
    created_at: datetime
    available: bool


class Commands(Model):
    """Command lines that do the same."""

    export: str
    show: str
    evaluate: str


class TrialRecord(Trial):
    """Everything on record of a trial."""

    architecture: dict[str, Any]
    genotype: Any
    lineage: list[TrialLite] = Field(description="From the root to the trial itself.")
    children: list[TrialLite]
    rungs: list[Rung]
    files: list[RecordedFile]
    command: Commands


class Curve(Model):
    number: Number
    steps: list[int]
    values: Values
    seconds: list[float]
    loss: list[float]


class Curves(Model):
    curves: list[Curve]


# How a study gets on


class Running(Model):
    number: Number
    stage: str
    label: str
    worker: str | None
    started_at: datetime | None
    steps: int
    of: int | None
    curve: list[tuple[int, float | None]] = Field(description="(step, value)")
    key: Key


class Failure(Model):
    number: Number
    stage: str
    label: str
    reason: str | None
    at: datetime | None


class Hypervolume(Model):
    unit: str
    reference: ReferencePoint
    by_time: list[tuple[float, float]] = Field(description="(seconds since the study's start, hypervolume)")
    by_steps: list[tuple[float, float]] = Field(description="(steps of all trials, hypervolume)")


class Progress(Model):
    state: str
    stop: str | None = Field(description="Why its last run ended: a limit that was reached, or interrupted.")
    status: str = Field(description="State, reason and how many trials rest, in words.")
    revision: Revision
    running: list[Running]
    waiting: int
    spent: Spent
    asks: Asks
    failures: list[Failure] = Field(description="The last 500, the last one first.")
    hypervolume: Hypervolume | None
    limits: StudyLimits


class SpaceAxes(Model):
    y: Key
    at_equal: Key


class Fit(Model):
    text: str
    r2: float | None
    n: int


class Effect(Model):
    """What trials with a choice score above others at equal cost, with its 95 % interval."""

    choice: str
    value: str
    n: int
    effect: float
    low: float | None
    high: float | None
    unit: str
    note: str | None


class Dimension(Model):
    name: str
    kind: Literal["category", "value"]
    values: list[str] | None = None
    unit: str | None = None


class Parallel(Model):
    """A row has an item for each dimension."""

    dimensions: list[Dimension]
    rows: list[list[float | str | None]]
    numbers: list[Number]
    left_out: int


class Choices(Model):
    """Which choices matter."""

    axes: SpaceAxes
    fit: Fit
    effects: list[Effect]
    parallel: Parallel


# Pictures, costs by part, exports


class CostRecord(Model):
    macs: int
    parameters: int
    activations: int
    convolutions: int


class Part(CostRecord):
    name: str
    label: str
    kind: str
    width_in: int
    width_out: int
    share: float = Field(description="Of all MACs.")


class Parts(Model):
    input: str
    convention: str
    parts: list[Part]
    total: CostRecord


class HeldOut(Model):
    id: str
    name: str
    set: str
    width: int
    height: int
    split: str


class Pictures(Model):
    pictures: list[HeldOut]
    notes: list[str] = Field(description="Why some can't be read.")


class Uploaded(Model):
    id: str
    name: str
    width: int
    height: int
    role: str = Field(alias="as")
    notes: list[str]


class Upload(Model):
    picture: Uploaded


class Image(Model):
    url: str
    width: int
    height: int


class Compared(Model):
    number: Number | None = Field(description="Null for the trivial method.")
    name: str
    label: str | None
    gmacs: float | None
    image: Image
    error: Image | None
    psnr: float | None
    seconds: float


class ComparedPicture(Model):
    id: str
    name: str
    width: int
    height: int


class Comparison(Model):
    picture: ComparedPicture
    input: Image
    target: Image | None
    protocol: str
    error_scale: Any
    entries: list[Compared]


class ExportedFile(Model):
    id: str
    name: str
    bytes: int
    sha256: str
    url: str


class Exported(Model):
    files: list[ExportedFile]
    max_error: float = Field(description="Largest difference to PyTorch's output, which is in [0, 1].")
    sizes: list[tuple[int, int]] = Field(description="(height, width) of the inputs that it was checked at.")
    seconds: float
    command: str

"""A small study in a real store, as a search leaves it: real data, costs and weights, and chosen scores."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from evaluators.trial import weights_of
from results.store.rows import variant_of
from results.store.schema import Artifact, Stage, Study, Trial
from results.store.store import Store
from search.config import resolve
from search.study.context import Setup, environment, prepare
from search.workers.execution import cost_measurements
from spaces.architecture import Block
from spaces.build import build, cost
from spaces.measurement import Measurement
from spaces.task import Task
from spaces.topologies.chain import Chain

NAME = "phone"
TASK = Task("sr-x2", scale=2)
BUDGET = 2.0
CHEAP = Chain(width=8, blocks=(Block("residual"),))
BEATEN = Chain(width=12, blocks=(Block("rfdb"), Block("residual")))
DEAR = Chain(width=16, blocks=(Block("rfdb"), Block("rfdb"), Block("residual")))
PUBLISHED = Chain(width=24, blocks=(Block("rfdb"), Block("rfdb"), Block("residual")))  # above the budget
GAINS = {CHEAP: 0.5, BEATEN: 0.25, DEAR: 1.5}  # dB over bicubic; BEATEN costs more than CHEAP


def photographs(folder: Path) -> dict[str, str]:
    """Folders of noise, as configuration; validation and test images lie in folders of one name."""
    random = np.random.default_rng(0)
    said = {}
    for key, count, place in (("train", 2, "train"), ("validation", 1, "val/HR"), ("test", 1, "test/HR")):
        (folder / place).mkdir(parents=True)
        for n in range(count):
            pixels = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(folder / place / f"{key}{n}.png")
        said[f"data.{key}"] = str(folder / place)
    return said


def setup(folder: Path, **said: object) -> Setup:
    """A checked configuration with its data."""
    space = {
        "strategy": "tpe",
        "space.blocks": "residual,rfdb",
        "space.widths": "8,12,16",
        "space.depths": "1:3",
    }
    training = {"training.steps": 20, "training.patch": 16, "training.precision": "float32"}
    limit = {} if "gmacs" in said else {"max_gmacs": BUDGET}
    return prepare(resolve({"task": TASK.name, **limit, **space, **training, **photographs(folder), **said}))


def new_study(store: Store, made: Setup, name: str = NAME, goal: dict[str, Any] | None = None) -> Study:
    """The study as ``search.stages.search`` records it; with a goal, it has no upper limit."""
    data = made.data_record()
    if goal is not None:
        data |= {"goal": goal, "budget": [0.0, None]}
    return store.create_study(
        name,
        task=made.config.task,
        strategy=made.config.strategy,
        seed=made.config.seed,
        space_name=made.space.name,
        space_digest=made.space.digest,
        space={choice.name: list(choice.values) for choice in made.space},
        data_digest=made.data_digest,
        data=data,
        config=made.config.model_dump(mode="json"),
        environment=environment(),
    )


def scores(made: Setup, gain: float, *, test: bool = False) -> list[Measurement]:
    """Bicubic's scores plus a gain, on the validation or the test images."""
    chosen = made.baseline[4:] if test else made.baseline[:4]
    return [replace(m, value=m.value + (gain if m.unit == "dB" else gain / 100)) for m in chosen]


def add(store: Store, study: Study, architecture: Chain, **made: Any) -> Trial:
    """A waiting trial with its exact costs.

    Args:
        made: Its stage, parent, origin and variant.
    """
    return store.add_trial(
        study.id,
        digest=architecture.digest,
        architecture_json=architecture.to_json(),
        measurements=cost_measurements(cost(architecture, TASK), TASK),
        **made,
    )


def complete(
    store: Store,
    study: Study,
    architecture: Chain,
    measured: Sequence[Measurement],
    folder: Path,
    **made: Any,
) -> Trial:
    """A complete trial with a rung and weights."""
    trial = add(store, study, architecture, **made)
    store.start_trial(trial.id, "worker")
    store.add_rung(trial.id, 20, 0.0625, 1.5, measured[:2])
    torch.manual_seed(trial.number)
    content = weights_of(build(architecture, TASK))
    path = folder / "weights" / f"{trial.number:05d}-{trial.digest}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    weights = Artifact("weights", str(path), hashlib.sha256(content).hexdigest(), len(content))
    store.finish_trial(trial.id, measured, [weights], seconds=3.25)
    return store.trial(study.id, trial.number)


def fill(store: Store, folder: Path) -> Setup:
    """Three complete trials, of which two are the front and scored on the test images; three others."""
    made = setup(folder / "images")
    study = new_study(store, made)
    for architecture, gain in GAINS.items():
        trial = complete(store, study, architecture, scores(made, gain), folder)
        if architecture != BEATEN:
            store.add_measurements(trial.id, scores(made, gain - 0.125, test=True))
    failed, running, _ = (
        add(store, study, Chain(width=w, blocks=(Block("residual"),))) for w in (20, 24, 28)
    )
    store.start_trial(failed.id)
    store.fail_trial(failed.id, "diverged: the loss became nan by step 3")
    store.start_trial(running.id)
    store.add_rung(running.id, 10, 0.125, 0.75, scores(made, 9.0)[:2])
    return made


def fill_stages(store: Store, folder: Path, *, goal: dict[str, Any] | None = None) -> Setup:
    """A published network, a search, and what was pruned from both, with and without recovery.

    Narrower chains stand for pruned networks. By number: 0 published; 1 and 2 searched; 3 pruned from 0 to DEAR's
    cost; 4 and 5 the same, trained on and distilled; 6 pruned from 2 to CHEAP's, and 7 distilled.

    Args:
        goal: The quality to reach at the fewest GMACs, in place of a budget.
    """
    made = setup(folder / "images")
    study = new_study(store, made, goal=goal)
    trials: list[Trial] = []

    def stage(
        name: Stage, architecture: Chain, gain: float, parent: int | None = None, **origin: Any
    ) -> None:
        source = None if parent is None else trials[parent]
        variant = variant_of(origin, source) if origin else ""
        links = {"parent_id": source and source.id, "origin": origin or None, "variant": variant}
        trials.append(complete(store, study, architecture, scores(made, gain), folder, stage=name, **links))

    stage("published", PUBLISHED, 2.5, weights="RFDN_AIM.pth", sha256="ab" * 32)
    stage("search", BEATEN, 0.75)
    stage("search", DEAR, 1.5)
    stage("prune", DEAR, -6.0, 0, criterion="l1", target_gmacs=1.85)
    stage("finetune", DEAR, 1.75, 3, recipe={"stage": [{"steps": 2000, "loss": "l1"}]})
    taught = {"stage": [{"steps": 2000, "loss": "l2", "distil": 0.5}]}
    stage("distil", DEAR, 2.0, 3, recipe=taught, teacher=[{"study": NAME, "trial": 0}])
    stage("prune", CHEAP, -2.0, 2, criterion="taylor", target_gmacs=0.7)
    teachers = [{"study": NAME, "trial": 0}, {"study": NAME, "trial": 2}]
    stage("distil", CHEAP, 1.0, 6, recipe=taught, teacher=teachers)
    return made

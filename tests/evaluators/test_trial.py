"""One architecture from start to end, with real training on a part of a photograph."""

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load as load_safetensors

from evaluators.data.images import Image, ImageSet
from evaluators.data.pairs import PairSet
from evaluators.tasks import get_task
from evaluators.training.distillation import TeacherSpec
from evaluators.training.recipe import Precision, Recipe, Stage
from evaluators.trial import (
    Advanced,
    Event,
    Failed,
    Finished,
    Job,
    Paused,
    RungReached,
    TrialData,
    baseline_score,
    evaluate,
    score,
    weights_of,
)
from spaces.architecture import Block
from spaces.build import build
from spaces.checkpoint import CheckpointError
from spaces.topologies.chain import Chain
from tests.evaluators.small import TASK, TINY, network, pairs, recipe, task

DATA = TrialData(pairs(), pairs("flower.jpg", 64))
JOB = Job(TINY.to_json(), TASK, recipe(20, 10), rungs=(10, 20, 30), seed=3)


def job(**changes: object) -> Job:
    return dataclasses.replace(JOB, **changes)  # type: ignore[arg-type]


def rungs(events: Iterable[Event]) -> list[RungReached]:
    return [event for event in events if isinstance(event, RungReached)]


def finished(events: Iterable[Event]) -> Finished:
    last = list(events)[-1]
    assert isinstance(last, Finished)
    return last


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """Those of a job that nothing goes wrong with."""
    return list(evaluate(JOB, DATA))


def test_a_trial_advances_reaches_its_rungs_and_finishes(events: list[Event]) -> None:
    kinds = [(type(event), getattr(event, "step", None)) for event in events]
    assert kinds == [
        (Advanced, 10),
        (RungReached, 10),
        (Advanced, 20),
        (RungReached, 20),
        (Advanced, 30),
        (RungReached, 30),
        (Finished, None),
    ]
    for told, rung in zip(events[0:6:2], events[1:6:2], strict=True):
        assert isinstance(told, Advanced)
        assert isinstance(rung, RungReached)
        assert told.loss == rung.loss > 0
    seconds = [event.seconds for event in events if isinstance(event, RungReached | Finished)]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_measurements_say_how_they_were_taken(events: list[Event]) -> None:
    first, second, last = rungs(events)
    for early in (first, second):
        assert [m.name for m in early.measurements] == ["psnr_rgb", "psnr_y"]
    assert [m.name for m in last.measurements] == ["psnr_rgb", "psnr_y", "ssim_rgb", "ssim_y"]
    assert finished(events).measurements == last.measurements
    data = f"on part of flower.jpg ({DATA.validation.targets.digest})"
    protocols = {m.name: m.protocol for m in last.measurements}
    assert protocols["psnr_rgb"] == protocols["ssim_rgb"] == f"RGB, 8-bit, border 2, {data}"
    assert protocols["psnr_y"] == protocols["ssim_y"] == f"Y, 8-bit, border 2, {data}"
    assert [m.key for m in first.measurements] == [m.key for m in last.measurements[:2]]
    assert first.measurements != last.measurements[:2]
    assert {m.unit for m in last.measurements} == {"dB", "1"}


def test_the_weights_rebuild_the_network_that_was_scored(events: list[Event]) -> None:
    end = finished(events)
    rebuilt = network(99)
    rebuilt.load_state_dict(load_safetensors(end.weights))
    assert score(rebuilt, TASK, DATA.validation) == end.measurements
    assert weights_of(rebuilt) == end.weights


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("rung", [0, 1])
def test_going_on_from_a_rung_ends_with_the_same_bytes(precision: Precision, rung: int) -> None:
    plain = job(recipe=recipe(20, 10, precision=precision))
    straight = list(evaluate(plain, DATA))
    at = rungs(straight)[rung]
    resumed = list(evaluate(dataclasses.replace(plain, checkpoint=at.checkpoint, seconds=100.0), DATA))
    assert [event.step for event in rungs(resumed)] == [10, 20, 30][rung + 1 :]
    for before, after in zip(rungs(straight)[rung + 1 :], rungs(resumed), strict=True):
        assert (after.measurements, after.loss) == (before.measurements, before.loss)
        assert after.seconds > 100
    assert finished(resumed).weights == finished(straight).weights
    assert finished(resumed).measurements == finished(straight).measurements


def test_a_job_may_pause_at_a_rung_and_another_goes_on_from_it_exactly(events: list[Event]) -> None:
    paused = list(evaluate(job(rungs=(10,)), DATA))
    assert paused[-1] == Paused()
    (at,) = rungs(paused)
    on = list(evaluate(job(checkpoint=at.checkpoint, rungs=(10, 20)), DATA))
    assert on[-1] == Paused()
    rest = list(evaluate(job(checkpoint=rungs(on)[-1].checkpoint), DATA))
    assert finished(rest).weights == finished(events).weights
    assert [r.measurements for r in (*rungs(paused), *rungs(on), *rungs(rest))] == [
        r.measurements for r in rungs(events)
    ]
    # Its worker was lost between the rung and the end.
    assert list(evaluate(job(checkpoint=at.checkpoint, rungs=(10,)), DATA)) == [Paused()]


def test_a_checkpoint_between_rungs_goes_on_too(events: list[Event]) -> None:
    """The rungs of a resumed study may lie elsewhere; what comes out is the same."""
    at = rungs(events)[0]
    resumed = list(evaluate(job(checkpoint=at.checkpoint, rungs=(5, 15, 30)), DATA))
    assert [event.step for event in rungs(resumed)] == [15, 30]
    assert finished(resumed).weights == finished(events).weights


def test_a_job_killed_behind_its_last_rung_finishes_without_telling_it_again(events: list[Event]) -> None:
    """Told again, the rung would replace the one on record, with no loss to give."""
    last = rungs(events)[-1]
    resumed = list(evaluate(job(checkpoint=last.checkpoint, seconds=last.seconds), DATA))
    assert [type(event) for event in resumed] == [Finished]
    end = finished(resumed)
    assert end.weights == finished(events).weights
    assert end.measurements == last.measurements
    assert end.seconds > last.seconds


def test_a_trial_is_a_function_of_its_seed(events: list[Event]) -> None:
    short = job(recipe=recipe(3), rungs=(3,))
    once = finished(evaluate(short, DATA))
    torch.rand(5)
    assert finished(evaluate(short, DATA)).weights == once.weights
    other = finished(evaluate(dataclasses.replace(short, seed=4), DATA))
    assert other.weights != once.weights
    assert other.measurements != once.measurements


def test_divergence_is_a_failure_with_its_step() -> None:
    told = list(evaluate(job(recipe=recipe(30, learning_rate=1e30)), DATA))
    assert [type(event) for event in told] == [Failed]
    assert re.fullmatch(r"diverged: the loss became (nan|inf) by step 10", told[0].reason)  # type: ignore[union-attr]


def test_divergence_in_the_very_last_step_gets_no_score() -> None:
    """The loss was fine; the update behind it wasn't."""
    told = list(evaluate(job(recipe=recipe(1, learning_rate=1e30), rungs=(1,)), DATA))
    assert [type(event) for event in told] == [Advanced, Failed]
    assert told[-1] == Failed("diverged: the network's output is NaN")


OUT_OF_MEMORY = """
import json, resource
from evaluators.training.recipe import Recipe, Stage
from evaluators.trial import Failed, Job, TrialData, evaluate
from tests.evaluators.small import TASK, TINY, pairs

DATA = TrialData(pairs(), pairs())

def run(batch):
    recipe = Recipe((Stage(1, "l1", 1e-3, batch, 32),), precision="float32")
    end = list(evaluate(Job(TINY.to_json(), TASK, recipe, (1,), 0), DATA))[-1]
    return end.reason if isinstance(end, Failed) else type(end).__name__

told = [run(1)]
for left, batch in ((30 << 20, 10_000), (100 << 20, 1000)):
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + left, resource.RLIM_INFINITY))
    told.append(run(batch))
told.append(run(1))
print(json.dumps(told))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_running_out_of_memory_is_a_failure_that_the_process_survives() -> None:
    """For real, in NumPy and in torch: the process may take little more address space than it has."""
    command = [sys.executable, "-c", OUT_OF_MEMORY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    before, in_numpy, in_torch, after = json.loads(done.stdout)
    assert before == after == "Finished"
    assert in_numpy.startswith("out of memory: Unable to allocate")
    assert re.match("out of memory: .*can't allocate memory", in_torch)


def test_what_is_not_expected_is_not_swallowed() -> None:
    with pytest.raises(ValueError, match="unknown block 'nosuch'"):
        list(evaluate(job(architecture=TINY.to_json().replace("residual", "nosuch")), DATA))
    other = next(iter(rungs(evaluate(job(rungs=(1,)), DATA)))).checkpoint
    wide = Chain(width=12, blocks=(Block("residual"),), fusion="plain").to_json()
    with pytest.raises(RuntimeError, match="size mismatch"):
        list(evaluate(job(architecture=wide, checkpoint=other), DATA))
    flipped = Image("a", DATA.validation.targets.images[0].pixels[:-2])
    broken = PairSet(DATA.validation.inputs, ImageSet("broken", (flipped,)), 2)
    with pytest.raises(ValueError, match="a of broken: expected an output of the target's shape"):
        list(evaluate(job(rungs=(1,)), TrialData(DATA.train, broken)))


def test_scoring_leaves_room_for_less_than_ssim() -> None:
    full = score(network(), TASK, DATA.validation)
    assert score(network(), TASK, DATA.validation, ssim=False) == full[:2]


def test_the_trivial_method_is_scored_as_networks_are() -> None:
    """An untrained network near its bilinear image skip is near bicubic, under the same protocols."""
    trivial, ours = baseline_score(TASK, DATA.validation), score(network(), TASK, DATA.validation)
    assert [m.key for m in trivial] == [m.key for m in ours]
    for a, b in zip(trivial, ours, strict=True):
        assert a.value > b.value
    assert baseline_score(TASK, DATA.validation, ssim=False) == trivial[:2]


def test_weights_hold_every_tensor_of_the_network() -> None:
    net = build(TINY, task().interface)
    held = load_safetensors(weights_of(net))
    assert held.keys() == net.state_dict().keys()
    assert all(torch.equal(held[name], tensor) for name, tensor in net.state_dict().items())


@pytest.mark.shared
def test_the_baseline_of_set5_is_the_published_one(shared: Path) -> None:
    """Bicubic x4: 28.42 dB on Y in the literature, from the published LR images."""
    folder = shared / "data" / "set5"
    published = get_task("sr-x4").pairs(folder / "HR", folder / "LR_bicubic" / "X4")
    made = get_task("sr-x4").pairs(folder / "HR")
    for data in (published, made):
        measured = {m.name: m for m in baseline_score("sr-x4", data, ssim=False)}
        assert measured["psnr_y"].value == pytest.approx(28.429, abs=5e-4)
        assert measured["psnr_y"].protocol.startswith("Y, 8-bit, border 4, on HR (")
    assert published.digest == made.digest


WIDE = Chain(width=12, blocks=(Block("residual"),), fusion="plain", image_skip="bilinear")
TAUGHT = Recipe(
    (
        Stage(10, "l1", 2e-3, 4, 16, distil=0.5, form="acb"),
        Stage(10, "l2", 2e-4, 4, 16, distil=0.5, features=0.1, form="plain"),
    ),
    precision="float32",
)
TEACHER = TeacherSpec(TASK, ((WIDE.to_json(), weights_of(network(5, WIDE))),))


def test_a_trial_starts_from_given_weights(events: list[Event]) -> None:
    before = finished(events)
    start = job(start=before.weights, recipe=recipe(1, learning_rate=1e-9), rungs=(1,), seed=8)
    (rung,) = rungs(evaluate(start, DATA))
    for one, other in zip(rung.measurements, before.measurements, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-3)
    assert len(repr(start)) < 2000  # without the bytes


def test_weights_that_do_not_fit_are_refused_by_the_tensors_names() -> None:
    with pytest.raises(
        CheckpointError, match=r"the weights don't fit the network: .*of another shape \(head\.weight"
    ):
        list(evaluate(job(start=weights_of(network(0, WIDE))), DATA))
    with pytest.raises(CheckpointError, match="expected the bytes of a safetensors file"):
        list(evaluate(job(start=b"PK"), DATA))


@pytest.mark.parametrize("cached", [False, True])
def test_a_taught_trial_goes_on_from_any_rung_with_the_same_bytes(cached: bool, tmp_path: Path) -> None:
    plain = job(
        recipe=TAUGHT,
        rungs=(5, 10, 15, 20),
        teacher=TEACHER,
        start=weights_of(network(2)),
        cache=str(tmp_path) if cached else "",
    )
    told = list(evaluate(plain, DATA))
    assert len(list(tmp_path.glob(f"{TEACHER.digest}/*.npy"))) == cached
    for rung in rungs(told):
        resumed = list(evaluate(dataclasses.replace(plain, checkpoint=rung.checkpoint), DATA))
        assert finished(resumed).weights == finished(told).weights
    network(0).load_state_dict(load_safetensors(finished(told).weights))


def test_weights_are_the_architectures_after_a_pause_within_another_form() -> None:
    """A job may pause within a stage that trains in another form."""
    plain = job(recipe=TAUGHT, rungs=(5,), teacher=TEACHER)
    (paused,) = rungs(evaluate(plain, DATA))
    end = finished(
        evaluate(dataclasses.replace(plain, rungs=(TAUGHT.steps,), checkpoint=paused.checkpoint), DATA)
    )
    rebuilt = network(99)
    rebuilt.load_state_dict(load_safetensors(end.weights))
    assert score(rebuilt, TASK, DATA.validation) == end.measurements


def test_a_recipe_with_lessons_and_no_teacher_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"stage 1 of the recipe has 'distil' of 0\.5, which needs a teacher"
    ):
        list(evaluate(job(recipe=TAUGHT), DATA))
    other = dataclasses.replace(TEACHER, task="sr-x4")
    with pytest.raises(
        ValueError, match="expected a teacher of task 'sr-x2' like the student's, got one of 'sr-x4'"
    ):
        list(evaluate(job(recipe=TAUGHT, teacher=other), DATA))


def test_a_child_starts_from_what_corresponds_in_its_parent(events: list[Event]) -> None:
    """A wider child at learning rate 0 scores as its parent did, and goes on from a rung to the same bytes."""
    kept = finished(evaluate(job(rungs=(30,), keeps=(30,)), DATA)).weights
    wider = dataclasses.replace(TINY, width=12)
    still = recipe(2, 2, learning_rate=1e-12, ema=0.0)
    child = Job(wider.to_json(), TASK, still, rungs=(2, 4), seed=7, start=kept, parent=TINY.to_json())
    *_, last = found = list(evaluate(child, DATA))
    assert isinstance(last, Finished)
    for ours, parents in zip(last.measurements, finished(events).measurements, strict=True):
        assert ours.value == pytest.approx(parents.value, abs=2e-3)
    halfway = rungs(found)[0].checkpoint
    assert finished(evaluate(dataclasses.replace(child, checkpoint=halfway), DATA)).weights == last.weights


def test_only_the_rungs_that_are_kept_come_with_weights(events: list[Event]) -> None:
    kept = list(evaluate(job(keeps=(10, 30)), DATA))
    assert [bool(rung.weights) for rung in rungs(kept)] == [True, False, True]
    assert rungs(kept)[-1].weights == finished(kept).weights
    assert not any(rung.weights for rung in rungs(events))

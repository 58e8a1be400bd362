"""The training loop, on a part of a photograph."""

import copy
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from evaluators.channels.groups import Channels
from evaluators.data.pairs import PatchSource
from evaluators.data.tensors import to_tensor
from evaluators.training.distillation import Teacher, TeacherSpec, load_bytes
from evaluators.training.loop import Training, TrainingDivergedError, training_dtype
from evaluators.training.losses import total_loss
from evaluators.training.recipe import Precision, Recipe, Stage
from evaluators.trial import score, weights_of
from spaces.architecture import Block
from spaces.layers.convolutions import AsymmetricConvolution, KernelBasisConvolution, forms
from spaces.topologies.chain import Chain
from tests.evaluators.small import TASK, TINY, network, pairs, recipe, source, task

CPU = torch.device("cpu")


def training(how: Recipe, *, seed: int = 0, weights: int = 0) -> Training:
    """A training whose every object is new."""
    return Training(network(weights), source(pairs()), how, seed=seed)


def run(state: Training, until: int) -> None:
    for _ in state.run(until):
        pass


def tensors(state: Training) -> dict[str, Tensor]:
    """Everything that the further training depends on."""
    content = torch.load(io.BytesIO(state.checkpoint()), weights_only=True)
    return dict(flat(content))


def flat(data: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from flat(value, f"{name}/{key}")
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from flat(value, f"{name}/{index}")
    else:
        yield name, data if isinstance(data, Tensor) else torch.tensor(float(data or 0))  # type: ignore[arg-type]


def equal(one: Training, other: Training) -> bool:
    a, b = tensors(one), tensors(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("stops", [(13,), (20,), (1, 13, 21)], ids=str)
def test_a_resumed_run_ends_with_the_same_bits(precision: Precision, stops: tuple[int, ...]) -> None:
    """L1 for 20 steps, then L2: stopped before, at and behind the boundary."""
    how = recipe(20, 10, precision=precision)
    straight = training(how)
    run(straight, 30)
    state = training(how)
    for stop in stops:
        run(state, stop)
        saved = state.checkpoint()
        state = training(how, weights=99)  # other initial weights, which the checkpoint replaces
        assert not equal(state, straight)
        state.restore(saved)
        assert state.step == stop
    run(state, 30)
    assert equal(state, straight)
    names = " ".join(tensors(straight))
    for part in ("/network/", "/average/", "/optimizer/state/0/exp_avg_sq", "/step"):
        assert part in names


def test_a_checkpoint_is_complete_and_does_not_change_later() -> None:
    state = training(recipe(6))
    run(state, 2)
    saved, before = state.checkpoint(), tensors(state)
    run(state, 6)
    assert not torch.equal(tensors(state)["/network/head.weight"], before["/network/head.weight"])
    state.restore(saved)
    after = tensors(state)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_reporting_changes_nothing() -> None:
    often, seldom = training(recipe(9)), training(recipe(9))
    for _ in often.run(9, report_every=1):
        pass
    run(seldom, 9)
    assert equal(often, seldom)


def test_a_run_is_a_function_of_its_seeds() -> None:
    def ran(**seeds: int) -> Training:
        state = training(recipe(5), **seeds)
        run(state, 5)
        return state

    first = ran()
    torch.rand(7)  # the global generator plays no part
    assert equal(first, ran())
    assert not equal(first, ran(seed=1))
    assert not equal(first, ran(weights=1))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_on_a_photograph_helps(precision: Precision) -> None:
    how = recipe(60, precision=precision, learning_rate=4e-3, ema=0.9)
    state = training(how)
    before = score(copy.deepcopy(state.average), TASK, pairs(), ssim=False)
    losses = [progress.loss for progress in state.run(60)]
    after = score(state.average, TASK, pairs(), ssim=False)
    assert len(losses) == 3
    assert losses[-1] < 0.9 * losses[0]
    for start, end in zip(before, after, strict=True):
        assert end.value > start.value + 0.3


def test_progress_is_reported_with_the_mean_loss_since_the_last_report() -> None:
    every, some = training(recipe(10)), training(recipe(10))
    losses = [(progress.step, progress.loss) for progress in every.run(10, report_every=1)]
    assert [step for step, _ in losses] == list(range(1, 11))
    told = list(some.run(7, report_every=4)) + list(some.run(10, report_every=4))
    assert [progress.step for progress in told] == [4, 7, 8, 10]
    values = [loss for _, loss in losses]
    means = [np.mean(values[a:b]) for a, b in ((0, 4), (4, 7), (7, 8), (8, 10))]
    assert [progress.loss for progress in told] == pytest.approx(means, rel=1e-5)
    assert list(some.run(10)) == []


def test_the_first_loss_is_the_stages_loss_of_the_first_batch() -> None:
    for how, measure in ((recipe(1), functional.l1_loss), (recipe(1, 1), functional.mse_loss)):
        state = training(how)
        last = how.steps - 1
        run(state, last)
        patches = source(pairs()).batch(seed=0, step=last, batch=4, patch=16)
        inputs, target = (to_tensor(side, CPU) for side in patches)
        with torch.no_grad():
            expected = float(measure(state.network(inputs), target))
        assert [p.loss for p in state.run(last + 1)] == pytest.approx([expected], rel=1e-6)


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    state = training(recipe(30, learning_rate=1e30))
    with pytest.raises(TrainingDivergedError, match=r"the loss became nan by step 20"):
        run(state, 30)
    squares = Recipe((Stage(30, "l2", 1e6, 4, 16),), precision="float32")  # that overflow
    with pytest.raises(TrainingDivergedError, match=r"the loss became inf by step 2$"):
        run(training(squares), 2)


def test_a_diverging_run_stops_at_the_next_report() -> None:
    state = training(recipe(30, learning_rate=1e30))
    reports = state.run(30, report_every=1)
    assert next(reports).step == 1  # before the first update
    with pytest.raises(TrainingDivergedError, match=r"by step 2$"):
        next(reports)


@pytest.mark.parametrize("ema", [0.0, 0.3, 0.999])
def test_the_average_follows_its_formula(ema: float) -> None:
    """Against a plain loop in double precision; at 0.999 the warm-up decides, at 0.3 only the first steps."""
    state = training(recipe(25, ema=ema))
    plain = {name: p.detach().double() for name, p in state.network.named_parameters()}
    for step in range(1, 26):
        run(state, step)
        decay = min(ema, (1 + step) / (10 + step))
        for name, parameter in state.network.named_parameters():
            plain[name] = decay * plain[name] + (1 - decay) * parameter.detach().double()
    for name, parameter in state.average.named_parameters():
        assert not parameter.requires_grad
        torch.testing.assert_close(parameter.double(), plain[name], rtol=0, atol=2e-7)
    weights = state.network.get_parameter("head.weight"), state.average.get_parameter("head.weight")
    assert torch.equal(*weights) == (ema == 0)


def test_the_average_takes_the_running_statistics() -> None:
    layer = torch.nn.BatchNorm2d(3)
    state = Training(torch.nn.Sequential(layer, network()), source(pairs()), recipe(3), seed=0)  # type: ignore[arg-type]
    run(state, 3)
    learned, averaged = dict(state.network.named_buffers()), dict(state.average.named_buffers())
    assert learned["0.num_batches_tracked"] == 3
    assert not torch.equal(learned["0.running_mean"], torch.zeros(3))
    assert all(torch.equal(averaged[name], learned[name]) for name in learned)


class Recorded(PatchSource):
    """Real patches; remembers what was asked for."""

    asked: list[tuple[int, int, int, int]]

    def batch(self, *, seed: int, step: int, batch: int, patch: int) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append((seed, step, batch, patch))
        return super().batch(seed=seed, step=step, batch=batch, patch=patch)


def test_rates_and_batches_follow_the_recipe() -> None:
    how = recipe(3, 2)
    patches = Recorded([i.pixels for i in pairs().inputs], [i.pixels for i in pairs().targets], 2)
    patches.asked = []
    state = Training(network(), patches, how, seed=5)
    rates = []
    for step in range(1, 6):
        run(state, step)
        rates.append(state._optimizer.param_groups[0]["lr"])
    assert patches.asked == [(5, step, 4, 16) for step in range(5)]
    one, two = how.stages
    assert rates == [one.rate(0), one.rate(1), one.rate(2), two.rate(0), two.rate(1)]


def test_bfloat16_is_in_use_where_asked_for() -> None:
    outputs: list[torch.dtype] = []
    for precision in ("float32", "bfloat16"):
        state = training(recipe(1, precision=precision))
        state.network.register_forward_hook(lambda _m, _i, out: outputs.append(out.dtype))
        run(state, 1)
        assert {p.dtype for p in state.network.parameters()} == {torch.float32}
    # The image skip is in float32, and so is the sum; the head shows what convolutions run in.
    state = training(recipe(1, precision="bfloat16"))
    state.network.get_submodule("head").register_forward_hook(lambda _m, _i, out: outputs.append(out.dtype))
    run(state, 1)
    assert outputs == [torch.float32, torch.float32, torch.bfloat16]


def test_dtype_per_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    for device in (CPU, cuda):
        assert training_dtype("float32", device) == torch.float32
        assert training_dtype("bfloat16", device) == torch.bfloat16
    for able, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda able=able: able)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda able=able: able)
        assert training_dtype("auto", CPU) == expected
        assert training_dtype("auto", cuda) == expected


def test_pixels_become_channels_first_in_unit_range() -> None:
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3) + 135
    tensor = to_tensor(pixels, CPU)
    assert tensor.shape == (2, 3, 4, 5)
    assert tensor.dtype == torch.float32
    assert float(tensor[1, 2, 3, 4]) == pytest.approx(pixels[1, 3, 4, 2] / 255)
    assert float(tensor.max()) == pytest.approx(254 / 255)


WIDE = Chain(width=12, blocks=(Block("residual"),) * 2, fusion="plain", image_skip="bilinear")


def taught(how: Recipe, *, weights: int = 0, cache: str = "", architecture: Chain = TINY) -> Training:
    """A training whose every object is new, with a teacher."""
    spec = TeacherSpec(TASK, ((WIDE.to_json(), weights_of(network(7, WIDE))),))
    teacher = spec.build(task().interface, cache=cache)
    student = network(weights, architecture)
    return Training(student, source(pairs()), how, seed=0, teacher=teacher)


def stages(*changes: dict[str, object]) -> Recipe:
    """Three steps of L1 with each of these changes."""
    plain = {"steps": 3, "loss": "l1", "learning_rate": 2e-3, "batch": 4, "patch": 16}
    return Recipe(tuple(Stage(**(plain | change)) for change in changes), precision="float32")  # type: ignore[arg-type]


EVENTFUL = [
    stages({"form": "acb"}, {}, {"form": "plain", "loss": "l2"}),
    stages({"form": "basis:3"}, {"form": "basis:5"}, {"form": "acb"}),
    stages({}, {"form": "acb"}),
    stages({"distil": 0.5}, {"features": 0.1}, {"distil": 1.0, "features": 0.1, "form": "acb"}, {}),
]


@pytest.mark.parametrize(("which", "kept"), [(0, False), (1, False), (2, False), (3, False), (3, True)])
def test_an_eventful_run_resumes_with_the_same_bits(which: int, kept: bool, tmp_path: Path) -> None:
    """Stopped before, at and behind every change of form, of teaching and of the kernels' number."""
    how, cache = EVENTFUL[which], str(tmp_path) if kept else ""
    straight = taught(how, cache=cache)
    run(straight, how.steps)
    for stop in range(1, how.steps):
        state = taught(how, cache=cache)
        run(state, stop)
        saved = state.checkpoint()
        state = taught(how, weights=99, cache=cache)
        state.restore(saved)
        run(state, how.steps)
        assert equal(state, straight), stop
    assert straight.network.state_dict().keys() == network().state_dict().keys()


def test_a_checkpoint_of_another_form_can_be_gone_back_to() -> None:
    how = EVENTFUL[1]
    state = training(how)
    run(state, 4)
    saved = state.checkpoint()
    run(state, how.steps)
    last = tensors(state)
    state.restore(saved)
    run(state, how.steps)
    assert all(torch.equal(tensor, last[name]) for name, tensor in tensors(state).items())


@pytest.mark.parametrize("own", ["plain", "acb", "basis"])
def test_forms_change_at_their_stages_and_the_architectures_own_comes_back(own: str) -> None:
    architecture = Chain(
        8, (Block("residual", (("convolution", own),)),), fusion="plain", image_skip="bilinear"
    )
    how = stages({}, {"form": "acb"}, {"form": "basis:4"}, {"form": "plain"}, {"form": "basis:2"})
    student = network(0, architecture)
    before, named = forms(student), student.state_dict().keys()
    state = Training(student, source(pairs()), how, seed=0)
    seen = []
    for step in range(how.steps):
        seen.append(set(forms(state.network).values()))
        assert forms(state.average) == forms(state.network)
        assert forms(state.result()) == before
        run(state, step + 1)
    assert seen[:3] == [set(before.values())] * 3
    assert seen[3::3] == [{"acb"}, {"basis:4"}, {"plain"}, {"basis:2"}]
    assert forms(state.network) == forms(state.average) == before
    assert state.result() is state.average
    network(1, architecture).load_state_dict(state.average.state_dict())
    assert state.network.state_dict().keys() == named


@pytest.mark.parametrize("form", ["acb", "basis:3"])
def test_the_result_is_what_the_average_computes(form: str) -> None:
    how = stages({"form": form, "steps": 30})
    state = training(how)
    run(state, 20)
    image = torch.rand(1, 3, 16, 16)
    rich, own = state.average(image), state.result()(image)
    torch.testing.assert_close(own, rich, rtol=0, atol=1e-6)
    kinds = {type(m) for m in state.average.modules()}
    assert kinds & {AsymmetricConvolution, KernelBasisConvolution}
    assert state.result().state_dict().keys() == network().state_dict().keys()


def test_a_form_is_trained_and_not_only_worn() -> None:
    """All branches get gradients; asymmetric ones lead elsewhere than a plain kernel."""
    acb, plain = training(stages({"form": "acb"}, {})), training(stages({}, {}))
    for state in (acb, plain):
        run(state, 3)
    branch = next(m for m in acb.network.modules() if isinstance(m, AsymmetricConvolution))
    assert all(parameter.abs().max() > 1e-4 for parameter in branch.parameters())
    ours, theirs = (state.result().get_parameter("head.weight") for state in (acb, plain))
    assert not torch.allclose(ours, theirs, atol=1e-4)


def test_equal_bases_train_as_a_plain_kernel_under_adam() -> None:
    """As the file of recipe 'uestc' says."""
    start = list(network().parameters())
    basis, plain = training(stages({"form": "basis:3", "steps": 30})), training(stages({"steps": 30}))
    for state in (basis, plain):
        run(state, 30)
    for one, other, before in zip(basis.average.parameters(), plain.average.parameters(), start, strict=True):
        apart, moved = (one - other).abs().mean(), (other - before).abs().mean()
        assert apart < 0.05 * moved  # what Adam's epsilon makes of small gradients


def test_the_loss_is_between_teacher_and_target() -> None:
    patches = source(pairs()).batch(seed=0, step=0, batch=4, patch=16)
    image, target = (to_tensor(side, CPU) for side in patches)
    wide = network(7, WIDE).eval()
    for loss in ("l1", "l2"):
        for weight in (0.0, 0.3, 1.0):
            state = taught(stages({"distil": weight, "loss": loss}))
            with torch.no_grad():
                output, lesson = state.network(image), wide(image)
            measure = {"l1": functional.l1_loss, "l2": functional.mse_loss}[loss]
            expected = weight * measure(output, lesson) + (1 - weight) * measure(output, target)
            (told,) = state.run(1)
            assert told.loss == pytest.approx(float(expected), rel=1e-5)


def test_of_several_outputs_only_the_last_learns_from_the_teacher() -> None:
    first, last, target, lesson = torch.rand(4, 2, 3, 5, 5)
    got = total_loss("psnr", (first, last), target, taught=lesson, distil=0.3)
    each = [float(total_loss("psnr", x, y)) for x, y in ((first, target), (last, target), (last, lesson))]
    assert float(got) == pytest.approx(0.7 * (each[0] + each[1]) + 0.3 * each[2], rel=1e-6)


def test_a_teacher_that_no_stage_asks_changes_nothing() -> None:
    how = stages({})
    asked, alone = taught(how), training(how)
    for state in (asked, alone):
        run(state, 3)
    assert equal(asked, alone)


@pytest.mark.parametrize("change", [{"distil": 0.5}, {"features": 0.1}, {"distil": 0.5, "features": 0.1}])
def test_a_stage_without_its_teacher_is_refused(change: dict[str, object]) -> None:
    said = " and ".join(f"'{key}' of {value}" for key, value in change.items())
    with pytest.raises(ValueError, match=f"^stage 2 of the recipe has {said}, which needs a teacher"):
        training(stages({}, change))


def test_adapters_are_trained_and_not_part_of_the_network() -> None:
    state = taught(stages({"features": 0.5, "steps": 60}))
    start = {k: v for k, v in tensors(state).items() if k.startswith("/adapters/")}
    assert {tuple(v.shape) for v in start.values()} == {(12, 8, 1, 1), (12,)}
    losses = [p.loss for p in state.run(60)]
    after = tensors(state)
    assert not any(torch.equal(after[name], value) for name, value in start.items())
    assert losses[-1] < 0.8 * losses[0]
    network().load_state_dict(state.network.state_dict())


def test_a_student_comes_nearer_to_its_teacher() -> None:
    """Than by learning from the photograph, which the teacher has never seen."""
    teacher = network(7, WIDE).eval()
    image = to_tensor(pairs().inputs.images[0].pixels[None], CPU)
    distances = []
    for weight in (0.0, 1.0):
        state = taught(stages({"distil": weight, "steps": 60}))
        run(state, 60)
        with torch.no_grad():
            distances.append(float(functional.l1_loss(state.average(image), teacher(image))))
    assert distances[1] < 0.7 * distances[0]


def test_a_recipe_goes_on_from_given_weights() -> None:
    state = training(recipe(10))
    run(state, 10)
    fresh = network(5)
    load_bytes(fresh, weights_of(state.average))
    assert weights_of(fresh) == weights_of(state.average)
    assert isinstance(Teacher([fresh], 2)(torch.rand(1, 3, 8, 8)), Tensor)


def test_sparsity_is_a_proximal_step_after_each_of_the_optimiser() -> None:
    how = stages({"sparsity": 0.3})
    sparse, plain = training(how), training(stages({}))
    for state in (sparse, plain):
        run(state, 1)
    Channels.trace(plain.network, 3).soft_threshold(0.3 * how.stages[0].rate(0))
    for one, other in zip(sparse.network.parameters(), plain.network.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("form", ["", "acb"])
def test_strong_sparsity_empties_channels_and_resumes_with_the_same_bits(form: str) -> None:
    changes: list[dict[str, object]] = [{"sparsity": 0.5, "steps": 150, "form": form}, {"form": "plain"}]
    how = Recipe(stages(*changes).stages, ema=0.0, precision="float32")
    straight, state = training(how), training(how)
    run(straight, 150)
    channels = Channels.trace(straight.result(), 3)
    norms = np.concatenate([channels.norms()[group.channels] for group in channels.groups])
    assert (norms == 0).sum() >= len(norms) // 2 > 0
    run(state, 70)
    saved = state.checkpoint()
    state = training(how, weights=9)
    state.restore(saved)
    run(state, 150)
    assert equal(state, straight)

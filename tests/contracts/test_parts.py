"""What every block and every upsampler guarantees; a new file in their packages is tested at once."""

import inspect
import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from spaces.blocks import BLOCKS
from spaces.cost import CONVENTIONS, count
from spaces.layers.activations import NAMES, PAPER
from spaces.parts import size_requirements
from spaces.registry import Entry
from spaces.upsamplers import UPSAMPLERS

SIZES = ((17, 19), (16, 23))
WIDTHS = (7, 12)
WIDTH = 12
GROWING_WIDTHS = (
    *range(4, 33),
    *range(36, 65, 4),
)  # where inner widths are rounded, to 8 at most, each of them


@dataclass(frozen=True)
class Case:
    """A registered part, and what its constructor takes besides the width."""

    entry: Entry[nn.Module]
    arguments: tuple[int, ...] = ()

    def make(self, width: int = WIDTH, **options: Any) -> nn.Module:
        return self.entry.create(width, *self.arguments, **options)

    def __str__(self) -> str:
        return f"{self.entry.name}{f'-x{self.arguments[-1]}' if self.arguments else ''}"


ENTRIES = [Case(BLOCKS[name]) for name in BLOCKS] + [Case(UPSAMPLERS[name], (3, 4)) for name in UPSAMPLERS]
CASES = ENTRIES + [Case(UPSAMPLERS[name], (3, scale)) for name in UPSAMPLERS for scale in (2, 3)]
every_entry = pytest.mark.parametrize("case", ENTRIES, ids=str)
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def image(case: Case, *, batch: int = 1) -> Tensor:
    """An input of the first size, or of the next one that the part can take."""
    size = size_requirements(case.make()).padded(*SIZES[0])
    return torch.rand(batch, WIDTH, *size, generator=torch.Generator().manual_seed(0))


def on_meta(case: Case, width: int, size: tuple[int, int]) -> tuple[nn.Module, Tensor]:
    with torch.device("meta"):
        part = case.make(width)
        return part, torch.empty(1, width, *size_requirements(part).padded(*size))


@every_case
def test_every_parameter_gets_a_gradient(case: Case) -> None:
    """In the second step at the latest: what is multiplied by a scale that starts at zero gets none in the first."""
    torch.manual_seed(0)
    part = case.make()
    optimizer = torch.optim.SGD(part.parameters(), lr=0.01)
    without = {name for name, _ in part.named_parameters()}
    for _ in range(2):
        optimizer.zero_grad()
        output = part(image(case, batch=2))
        (output * torch.rand_like(output)).sum().backward()
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            if parameter.grad.any():
                without.discard(name)
        optimizer.step()
    assert not without


@every_case
def test_one_seed_gives_equal_weights_and_training_one_instance_leaves_the_other_alone(case: Case) -> None:
    torch.manual_seed(1)
    first = case.make()
    torch.manual_seed(1)
    second = case.make()
    before = {name: tensor.clone() for name, tensor in second.state_dict().items()}
    assert all(torch.equal(tensor, before[name]) for name, tensor in first.state_dict().items())
    optimiser = torch.optim.SGD(first.parameters(), lr=0.1)
    first(image(case)).square().sum().backward()
    optimiser.step()
    assert any(not torch.equal(tensor, before[name]) for name, tensor in first.state_dict().items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in second.state_dict().items())


@every_case
def test_output_is_deterministic_and_the_same_in_training_and_evaluation(case: Case) -> None:
    part = case.make()
    first = part(image(case))
    assert torch.equal(part(image(case)), first)
    assert torch.equal(part.eval()(image(case)), first)


@every_entry
def test_images_of_a_batch_do_not_influence_each_other(case: Case) -> None:
    part = case.make()
    images = image(case, batch=3)
    together = part(images)
    for i in range(3):
        torch.testing.assert_close(part(images[i : i + 1])[0], together[i])


@every_entry
@pytest.mark.parametrize("name", [PAPER, *NAMES])
def test_every_activation_works(case: Case, name: str) -> None:
    output = case.make(activation=name)(image(case))
    assert output.shape == case.make()(image(case)).shape
    assert output.isfinite().all()


@every_entry
def test_paper_is_the_default_activation(case: Case) -> None:
    torch.manual_seed(2)
    default = case.make()
    torch.manual_seed(2)
    assert torch.equal(case.make(activation=PAPER)(image(case)), default(image(case)))


@every_entry
def test_unknown_option_is_refused_with_the_nearest_one(case: Case) -> None:
    with pytest.raises(ValueError, match="unknown option .*'activatoin': did you mean 'activation'"):
        case.make(activatoin="relu")


@every_entry
def test_option_of_the_wrong_type_is_refused(case: Case) -> None:
    for name in case.entry.options:
        with pytest.raises(
            ValueError, match=f"option '{name}' of '{case.entry.name}' is of type .*, got 1.5"
        ):
            case.make(**{name: 1.5})


class Products(TorchFunctionMode):
    """Collects the results of matrix products, which our counter sees in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in {
            "matmul",
            "tensordot",
            "__matmul__",
            "bmm",
            "mm",
            "addmm",
            "baddbmm",
            "linear",
        }:
            self.elements += out.numel()
        return out


@every_case
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_cost_equals_independent_counts(case: Case, width: int, size: tuple[int, int]) -> None:
    part, x = on_meta(case, width, size)
    found = count(part, x)
    with FlopCounterMode(display=False) as flops:
        part(x)
    calls: list[int] = []
    for module in part.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(lambda _module, _inputs, out: calls.append(out.numel()))
    with Products() as products:
        part(x)
    assert found.macs == flops.get_total_flops() / 2
    assert found.parameters == sum(p.numel() for p in case.make(width).parameters())
    assert found.convolutions == len(calls)
    assert found.activations == sum(calls) + products.elements


@every_case
def test_cost_grows_with_the_width(case: Case) -> None:
    """The budget finds the widest architecture that fits by bisection."""
    costs = [count(*on_meta(case, width, SIZES[0])) for width in GROWING_WIDTHS]
    for convention in CONVENTIONS:
        operations = [cost.operations(convention) for cost in costs]
        assert operations == sorted(operations), convention


@every_entry
def test_documentation_names_paper_and_deviations(case: Case) -> None:
    target = case.entry.target
    text = inspect.getmodule(target).__doc__ or ""  # type: ignore[union-attr]
    assert re.search(r"https?://|arXiv:\d{4}\.\d{4,5}", text), "a URL or an arXiv id"
    assert "Deviations" in text
    assert target.__doc__, "not the one inherited from nn.Module"
    assert case.entry.summary.endswith(".")

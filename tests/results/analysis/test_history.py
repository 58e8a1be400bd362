"""The growth of a front, against the hypervolume of the whole each time."""

from __future__ import annotations

import numpy as np
import pytest

from results.analysis.front import hypervolume
from results.analysis.history import hypervolume_history


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("direction", ["max", "min"])
def test_each_step_is_the_hypervolume_of_all_so_far(seed, direction):
    random = np.random.default_rng(seed)
    values = [(float(c), float(q)) for c, q in random.integers(0, 12, (60, 2))]
    reference = (10.0, 2.0 if direction == "max" else 10.0)
    history = dict(hypervolume_history(range(60), values, reference, ("min", direction), most=0))
    volume = 0.0
    for n in range(60):
        whole = hypervolume(values[: n + 1], ("min", direction), reference)
        assert history.get(n, volume) == pytest.approx(whole)
        assert (n in history) == (whole > volume) or n == 59
        volume = whole


def test_nothing_that_is_worse_than_the_reference_counts():
    assert hypervolume_history([1.0, 2.0], [(3.0, 5.0), (1.0, 0.5)], (2.0, 1.0), ("min", "max")) == [
        (2.0, 0.0)
    ]
    assert hypervolume_history([], [], (2.0, 1.0), ("min", "max")) == []


def test_long_histories_are_thinned_and_keep_their_end():
    values = [(1.0, float(n)) for n in range(1000)]
    history = hypervolume_history(range(1000), values, (2.0, 0.0), ("min", "max"), most=50)
    assert len(history) <= 50
    assert history[-1] == (999, 999.0)


def test_work_grows_no_faster_than_the_number_of_trials(monkeypatch):
    """Counted in comparisons and arithmetic on the values, without the hypervolume of a whole front."""
    monkeypatch.setattr(
        "results.analysis.history.hypervolume", lambda *_: pytest.fail("looked at all trials")
    )
    random = np.random.default_rng(0)
    values = [(Counted(c), Counted(q)) for c, q in random.random((8000, 2))]
    spent = []
    for number in (2000, 8000):
        Counted.operations = 0
        hypervolume_history(range(number), values[:number], (1.0, 0.0), ("min", "max"))
        spent.append(Counted.operations)
    assert spent[0] > 2000
    assert spent[1] < 6 * spent[0]  # 4 but for a logarithm; 16 if each trial looked at all before


class Counted(float):
    """A number that counts what is done to any."""

    operations = 0


def _counting(name):
    operation = getattr(float, name)

    def counted(one, other):
        Counted.operations += 1
        result = operation(one, other)
        return Counted(result) if type(result) is float else result

    return counted


for _name in ("__mul__", "__rmul__", "__add__", "__radd__", "__sub__", "__rsub__"):
    setattr(Counted, _name, _counting(_name))
for _name in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__"):
    setattr(Counted, _name, _counting(_name))
Counted.__hash__ = float.__hash__

"""The supernet's benchmark: correlations on a table made by hand, and a training that goes on."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks" / "search"


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The script as a module, with its neighbour ``tabular``."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("bench_supernet", BENCHMARKS / "supernet.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_correlations_are_over_what_has_been_trained(bench: ModuleType) -> None:
    tabular = bench.tabular
    records, scores = {}, {}
    for i, psnr in enumerate((26.0, 26.1, 26.3, 26.2, 26.4)):
        trial = tabular.Trial(psnr_y=(27.0 - psnr, psnr))
        genotype = {"width": 8, "depth": 1}
        records[str(i)] = tabular.Record(str(i), genotype, "", i, 5 - i, 0, 1, {0: trial})
        scores[str(i)] = psnr
    records["not"] = tabular.Record("not", {"width": 8, "depth": 1}, "", 0, 0, 0, 1, {})
    records["failed"] = tabular.Record(
        "failed", {"width": 8, "depth": 1}, "", 0, 0, 0, 1, {0: tabular.Trial(failed="diverged")}
    )
    told = bench.report(scores, tabular.Table(records, (1, 2), {}))
    cells = {line[:38].strip(): line[38:].split() for line in told.splitlines()}
    lines = {name: [found[0], found[1], found[5]] for name, found in cells.items() if len(found) > 5}
    assert lines["supernet"] == ["5", "+1.000", "+1.000"]  # n, Spearman, Kendall
    assert lines["supernet, width 8"] == ["5", "+1.000", "+1.000"]
    assert lines["1 steps of its own training"] == ["5", "-1.000", "-1.000"]
    assert lines["macs"] == ["5", "+0.900", "+0.800"]
    assert lines["parameters"] == ["5", "-0.900", "-0.800"]

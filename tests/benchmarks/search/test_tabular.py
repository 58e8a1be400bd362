"""The tabular benchmark: its reader on tables made by hand, its records, and the packed file."""

from __future__ import annotations

import gzip
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks" / "search"


@pytest.fixture(scope="module")
def tabular() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("tabular", BENCHMARKS / "tabular.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tabular"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def entry(digest: str, macs: int, *psnr: float) -> dict[str, Any]:
    trial = {"psnr_y": psnr, "psnr_rgb": psnr, "ssim_y": 0.7, "loss": psnr, "cpu_s": psnr}
    costs = {"macs": macs, "parameters": 1, "activations": 1, "convolutions": 1}
    return {"digest": digest, "genotype": {}, "label": digest, **costs, "trials": {"0": trial}}


def packed(path: Path, *entries: dict[str, Any]) -> Path:
    data = {"header": {"rungs": [1, 2], "space": "s"}, "architectures": entries}
    path.write_bytes(gzip.compress(json.dumps(data).encode()))
    return path


def test_a_front_is_of_one_rung_and_leaves_out_what_is_beaten_failed_or_not_trained(
    tabular: ModuleType, tmp_path: Path
) -> None:
    failed = entry("failed", 1, 99, 99) | {"trials": {"0": {"failed": "diverged"}}}
    untrained = entry("untrained", 1, 99, 99) | {"trials": {}}
    path = packed(
        tmp_path / "t.gz",
        entry("dear", 30, 26.0, 27.0),
        entry("beaten", 20, 26.1, 26.4),
        entry("cheap", 10, 25.0, 26.44),
        entry("worse twin", 10, 25.0, 26.38),
        failed,
        untrained,
    )
    table = tabular.load(path)
    assert [r.digest for r in table.front()] == ["cheap", "dear"]
    assert [r.digest for r in table.front(rung=1)] == ["cheap", "beaten"]
    assert table.front(seed=1) == []
    assert table.near_front() == {"cheap", "dear", "beaten"}
    assert table["dear"].trials[0].psnr_y == (26.0, 27.0)


def test_an_unknown_architecture_names_the_space(tabular: ModuleType, tmp_path: Path) -> None:
    table = tabular.load(packed(tmp_path / "t.gz", entry("a", 1, 1.0, 1.0)))
    with pytest.raises(KeyError, match="no architecture b in the table: expected one of space s"):
        table["b"]


@pytest.mark.parametrize(
    "content",
    [b"", b"text", gzip.compress(b"{}"), gzip.compress(b"[1]")],
    ids=["empty", "text", "object", "list"],
)
def test_another_file_is_refused_by_name(tabular: ModuleType, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.gz").write_bytes(content)
    with pytest.raises(ValueError, match="other.gz: expected a table"):
        tabular.load(tmp_path / "other.gz")


def test_the_space_has_every_chain_once(tabular: ModuleType) -> None:
    genotypes = tabular.enumerate_space(tabular.the_space())
    assert len(genotypes) == 5 * (4 + 4**2 + 4**3)


def test_what_is_done_is_not_done_again_and_a_line_that_was_cut_off_is(
    tabular: ModuleType, tmp_path: Path
) -> None:
    work = tabular.Work(tmp_path, tmp_path)
    order = [digest for _, digest in work.todo(0)]
    lines = [json.dumps({"digest": digest, "seed": 0}) for digest in order[:2]]
    work.trials_file.write_text("\n".join(lines))
    assert [digest for _, digest in work.todo(0)] == order[1:]


def test_further_seeds_begin_near_the_front(tabular: ModuleType, tmp_path: Path) -> None:
    work = tabular.Work(tmp_path, tmp_path)
    costs = {entry["digest"]: entry["macs"] for entry in work.architectures()}
    cheapest, dearest = min(costs, key=costs.__getitem__), max(costs, key=costs.__getitem__)
    with work.trials_file.open("w") as file:
        for digest in work.genotypes:
            psnr = 27.0 if digest == cheapest else 26.96 if digest == dearest else 26.0
            file.write(json.dumps({"digest": digest, "seed": 0, "psnr_y": [psnr] * 5}) + "\n")
    assert {digest for _, digest in work.todo(1)[:2]} == {cheapest, dearest}
    assert len(work.todo(1)) == len(costs)


def test_images_come_from_the_named_folder(tabular: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected BSDS500 with pictures in 'train', got none"):
        tabular.Work(tmp_path, tmp_path / "nowhere").link_images()


def test_the_packed_table_holds_the_space_and_reads_without_torch(tabular: ModuleType) -> None:
    if not tabular.PACKED.exists():
        pytest.skip("not packed yet")
    table = tabular.load()
    assert table.records.keys() == tabular.enumerate_space(tabular.the_space()).keys()
    front = table.front()
    assert front[-1].trials[0].psnr_y[-1] > table.header["trivial"]["psnr_y"]
    code = "import sys, tabular; tabular.load(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, check=True)

"""Where NNI isn't installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from search.cli import main
from search.strategies import check_strategy
from tests.conftest import ROOT


@pytest.fixture
def no_nni(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [
        m for m in sys.modules if m.partition(".")[0] == "nni" or m.startswith("search.strategies.nni")
    ]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "nni", None)


@pytest.mark.usefixtures("no_nni")
def test_a_search_says_so_before_there_is_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["search", "--max-gmacs", "1", "--strategy", "nni-tpe", "--runs", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["pixelfront", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "pip install 'pixelfront[nni]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_nni")
@pytest.mark.parametrize("name", ["nni-tpe", "nni-regularized-evolution"])
def test_says_how_to_install_it(name: str) -> None:
    with pytest.raises(ValueError, match=r"nni isn't installed: pip install 'pixelfront\[nni\]'"):
        check_strategy(name, 2)


def test_listing_strategies_imports_no_nni() -> None:
    code = "import sys; from search.strategies import STRATEGIES; print(*STRATEGIES, 'nni' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    assert "nni-tpe" in done.stdout.split()
    assert done.stdout.split()[-1] == "False"

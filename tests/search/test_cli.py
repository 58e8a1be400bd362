"""The command line as its user meets it: real processes, messages, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from results.store.store import Store
from search.cli import main
from tests.results.studies import DEAR, NAME, fill

PIXELFRONT = Path(sys.executable).parent / "pixelfront"
LIMIT = ("--max-gmacs", "2")


def run(*arguments: object, cwd: Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [PIXELFRONT, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=1200,
        env={**os.environ, **environment},
    )
    assert result.returncode == code, f"exit {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result


Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must fail with one message on standard error, exit code 2 and no study made."""

    def call(*arguments: object) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["pixelfront", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        assert exit_.value.code == 2
        message = capsys.readouterr().err
        assert message.startswith("pixelfront: ")
        assert not list(tmp_path.glob("runs/*/"))
        return message

    return call


def write_image(path: Path, size: tuple[int, int] = (96, 96), seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def folder(path: Path, count: int = 3, seed: int = 0, size: tuple[int, int] = (96, 96)) -> Path:
    for i in range(count):
        write_image(path / f"{i}.png", size, seed + i)
    return path


def test_help_names_every_command_and_says_what_it_does(tmp_path: Path) -> None:
    text = run("--help", cwd=tmp_path).stdout
    for command in ("search", "front", "studies", "show", "export", "profile", "blocks"):
        assert command in text
        assert run(command, "--help", cwd=tmp_path).stdout
    assert "--debug" in text


def test_the_version_is_the_installed_one(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout == f"pixelfront {version('pixelfront')}\n"


def test_profile_of_published_networks(tmp_path: Path) -> None:
    record = json.loads(run("profile", "rfdn", "--json", cwd=tmp_path).stdout)
    assert record["total"] == {
        "gmacs": pytest.approx(27.0336, abs=5e-5),
        "parameters": 433448,
        "activations": 112034240,
        "convolutions": 64,
    }
    assert sum(part["gmacs"] for part in record["parts"].values()) == pytest.approx(record["total"]["gmacs"])
    text = run("profile", "msrresnet", "--convention", "challenge", cwd=tmp_path).stdout
    assert "166.3629" in text
    file = tmp_path / "net.json"
    file.write_text(json.dumps(record["architecture"]))
    again = json.loads(run("profile", file, "--json", "--input", "3x17x19", cwd=tmp_path).stdout)
    assert again["digest"] == record["digest"]
    assert again["input"] == "3x17x19"
    assert again["padded_to"] is None


def test_profile_says_what_an_input_is_padded_to(tmp_path: Path) -> None:
    small, padded = (
        json.loads(run("profile", "rfdn", "--json", "--input", size, cwd=tmp_path).stdout)
        for size in ("3x3x17", "3x15x17")
    )
    assert (small["input"], small["padded_to"]) == ("3x3x17", "3x15x17")
    assert small["total"] == padded["total"]
    assert padded["padded_to"] is None
    note = "costs are of the input padded to 3x15x17"
    assert note in run("profile", "rfdn", "--input", "3x3x17", cwd=tmp_path).stdout
    assert "padded" not in run("profile", "rfdn", "--input", "3x15x17", cwd=tmp_path).stdout


def test_blocks_lists_all_with_costs(tmp_path: Path) -> None:
    text = run("blocks", "--widths", "16, 50", cwd=tmp_path).stdout
    for name in (
        "rfdb",
        "efficient_rfdb",
        "hin",
        "mccb",
        "mscb",
        "idle_left",
        "ghost_1x3",
        "residual",
        "transposed",
    ):
        assert name in text
    assert "5.850" in text  # an RFDB of RFDN


def test_reading_commands_start_without_torch_and_ray(tmp_path: Path) -> None:
    probe = (
        "import sys; import search.cli; from results.analysis import overview; from results.render import tables; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'ray', 'optuna')))"
    )
    subprocess.run([sys.executable, "-c", probe], check=True, cwd=tmp_path)


BAD = {
    "no budget": (("search",), "either --max-gmacs G or --gmacs A:B, got neither"),
    "budget too small": (("search", "--max-gmacs", "0.01"), "the smallest, "),
    "band too high": (("search", "--gmacs", "9000:9999"), "the largest, "),
    "band between two architectures": (
        (
            "search",
            "--gmacs",
            "0.5:0.50000001",
            "--depths",
            "1",
            "--widths",
            "8:16:8",
            "--same-block",
            "--workers",
            "1",
        ),
        "Widen the budget",
    ),
    "unknown block": (("search", *LIMIT, "--blocks", "rfdbb"), "did you mean 'rfdb'"),
    "unknown strategy": (("search", *LIMIT, "--strategy", "tp"), "did you mean 'tpe'"),
    "unknown space": (("search", *LIMIT, "--space", "sr-al"), "did you mean 'sr-all'"),
    "unknown task": (("search", *LIMIT, "--task", "sr-x5"), "did you mean 'sr-x"),
    "unknown upsampler": (("search", *LIMIT, "--upsamplers", "pixelshufle"), "did you mean 'pixelshuffle'"),
    "no folder": (("search", *LIMIT, "--data", "nowhere"), "nowhere"),
    "patch too large": (("search", *LIMIT, "--patch", "400"), "larger than"),
    "patch too small": (("search", *LIMIT, "--patch", "12"), "Use --patch 15"),
    "a path as study": (("search", *LIMIT, "--study", "../x"), "--study names a folder"),
    "resume nothing": (("search", "--resume"), "--resume needs --study"),
    "resume without store": (("search", "--resume", "--study", "x"), "pixelfront.db"),
    "cuda without gpus": (("search", *LIMIT, "--device", "cuda"), "--gpus"),
    "front without store": (("front", "x"), "pixelfront.db"),
    "profile unknown": (("profile", "rfdm"), "did you mean 'rfdn'"),
    "profile bad input": (("profile", "rfdn", "--input", "256"), "CxHxW"),
    "profile no height": (("profile", "rfdn", "--input", "3x00x5"), "sides from 1 to 65536"),
    "profile zero height": (("profile", "rfdn", "--input", "3x0x5"), "sides from 1 to 65536"),
    "profile huge input": (("profile", "rfdn", "--input", f"3x{'9' * 5000}x5"), "sides from 1 to 65536"),
    "profile other channels": (("profile", "rfdn", "--input", "4x5x5"), "3 channels"),
    "profile bad convention": (("profile", "rfdn", "--convention", "flops"), "exact, challenge, bias"),
    "blocks bad widths": (("blocks", "--widths", "a"), "range"),
    "blocks too narrow": (("blocks", "--widths", "3"), "a width is from 4 to 4096, got 3"),
    "blocks too wide": (("blocks", "--widths", "16,4097"), "a width is from 4 to 4096, got 4097"),
    "front in two formats": (("front", "x", "--json", "--csv"), "one of --json and --csv, got both"),
    "unreachable ray": (("search", *LIMIT, "--ray-address", "127.0.0.1:1"), "no Ray cluster answers"),
    "unreachable ray before images": (
        ("search", *LIMIT, "--ray-address", "127.0.0.1:1", "--data", "nowhere"),
        "no Ray cluster answers",
    ),
    "more rungs than steps": (
        ("search", *LIMIT, "--rungs", "50", "--steps", "20"),
        "expected no more rungs than the 20 steps of a trial, got 50",
    ),
    "a rung beyond the steps": (
        ("search", *LIMIT, "--eta", "3", "--rungs", "10,50", "--steps", "20"),
        "expected rungs within the 20 steps of a trial, got one at 50",
    ),
    "a limit that nothing meets": (
        ("search", *LIMIT, "--limit", "parameters<=10"),
        "limit parameters<=10: no architecture of space 'sr-card' meets it; the smallest",
    ),
    "limits that nothing meets together": (
        ("search", "--gmacs", "1:2", "--limit", "parameters<=2k"),
        "could be brought into it",
    ),
    "begins with an unknown network": (("search", *LIMIT, "--first", "rfdm"), "did you mean 'rfdn'"),
    "begins with a network of no such blocks": (
        ("search", *LIMIT, "--first", "rfdn", "--blocks", "ghost"),
        "no block 'rfdb' is offered, only ghost",
    ),
    "begins with a network beyond the budget": (
        ("search", *LIMIT, "--first", "rfdn@3"),
        "first 'rfdn@3': expected a budget within the search's, at most 2 GMACs",
    ),
    "begins with a network of no budget": (
        ("search", *LIMIT, "--first", "rfdn@little"),
        "expected NAME or NAME@GMACS, such as rfdn@1.5",
    ),
    "begins with no chain": (
        ("search", *LIMIT, "--first", "hinet"),
        "expected a chain, and a space of chains",
    ),
    "a strategy that can't begin so": (
        ("search", *LIMIT, "--first", "rfdn", "--strategy", "nni-evolution"),
        "strategy 'nni-evolution' can't begin with networks that it didn't choose",
    ),
    "unknown objective": (("search", *LIMIT, "--objectives", "psnr,flops"), "unknown objective 'flops'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_exit_code_2(refused: Refused, case: str) -> None:
    arguments, message = BAD[case]
    assert message in refused(*arguments)


@pytest.mark.parametrize(
    ("upsampler", "width", "message"),
    [
        (
            {"kind": "nearest_attention", "inner": -3},
            8,
            "'inner' of 'nearest_attention' is from 0 to 65536, got -3",
        ),
        ("transposed", 10**30, "'width' is at most 4096"),
    ],
)
def test_an_impossible_architecture_is_refused(
    tmp_path: Path, refused: Refused, upsampler: object, width: int, message: str
) -> None:
    network = {"topology": "chain", "width": width, "blocks": ["ghost"], "upsampler": upsampler}
    (tmp_path / "net.json").write_text(json.dumps(network))
    assert message in refused("profile", "net.json")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a study of six trials."""
    folder = tmp_path_factory.mktemp("stored")
    with Store.open(folder / "runs" / "pixelfront.db") as store:
        fill(store, folder)
    return folder


def test_show_best_is_the_trial_that_export_calls_best(stored: Path) -> None:
    best = run("show", NAME, "best", cwd=stored).stdout
    assert DEAR.digest in best
    assert best == run("show", NAME, "2", cwd=stored).stdout


def test_show_draws_the_learning_curve(stored: Path) -> None:
    result = run("show", NAME, "best", "--plot", "curves/best.svg", cwd=stored)
    assert "curves/best.svg" in result.stderr
    assert DEAR.digest in result.stdout
    assert (stored / "curves" / "best.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", NAME, "bets"), "a trial is a number or 'best', got 'bets'"),
        (("show", NAME, "77"), "no trial 77"),
        (("show", NAME, "9" * 30), "a trial is a number or 'best'"),
        (("show", NAME, "5", "--plot", "x.png"), "trial 5 is waiting and has no psnr_y by step"),
        (("export", NAME, "best", "-o", "new/x.json"), "x.onnx, got the suffix .json"),
        (("export", NAME, "best", "-o", "new/x.md", "--format", "onnx"), "x.onnx, got the suffix .md"),
    ],
)
def test_bad_requests_of_a_study_are_refused(stored: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments, cwd=stored, code=2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (stored / "new").exists()


def test_an_exported_networks_architecture_can_be_profiled(stored: Path) -> None:
    printed = run("export", NAME, "best", "-o", "winner.safetensors", cwd=stored).stdout
    assert "winner.safetensors.md: model card" in printed
    record = json.loads(run("profile", "winner.json", "--task", "sr-x2", "--json", cwd=stored).stdout)
    assert record["digest"] == DEAR.digest


def test_images_that_cannot_be_used_are_named(tmp_path: Path, refused: Refused) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no image")
    assert "no image" in refused("search", *LIMIT, "--data", empty)

    data = folder(tmp_path / "data", 4)
    (data / "broken.png").write_bytes((data / "0.png").read_bytes()[:100])
    Image.new("RGBA", (96, 96), (1, 2, 3, 128)).save(data / "alpha.png")
    Image.fromarray(np.full((96, 96), 300, np.uint16)).save(data / "deep.png")
    write_image(data / "tiny.png", (2, 2))
    message = refused("search", *LIMIT, "--data", data)
    for name in ("broken.png", "alpha.png", "deep.png", "tiny.png"):
        assert name in message
    assert "--skip-bad-images" in message


def test_training_on_a_held_out_image_is_refused_whatever_its_name(tmp_path: Path, refused: Refused) -> None:
    data, val = folder(tmp_path / "data", 4), folder(tmp_path / "val", 2, seed=100)
    Image.open(val / "1.png").rotate(90, expand=True).save(data / "renamed.bmp")
    message = refused("search", *LIMIT, "--data", data, "--val", val)
    assert "renamed.bmp" in message
    assert "1.png" in message


def test_small_images_are_skipped_when_asked_to(tmp_path: Path, refused: Refused) -> None:
    data, val = folder(tmp_path / "data", 4), folder(tmp_path / "val", 2, seed=100)
    write_image(data / "small.png", (60, 60))
    write_image(val / "small.png", (60, 60), seed=300)
    given = ("search", *LIMIT, "--data", data, "--val", val, "--patch", "16", "--gpus", "1.5")
    assert "small.png" in refused(*given)
    # Going on to the workers means that all images were taken.
    assert "a trial gets a fraction of one GPU, or whole ones" in refused(*given, "--skip-bad-images")


def test_a_picture_without_any_detail_is_named(tmp_path: Path, refused: Refused) -> None:
    data, val = folder(tmp_path / "data", 4), folder(tmp_path / "val", 1, seed=100)
    Image.new("RGB", (96, 96), "white").save(val / "white.png")
    assert "restores white.png without any error" in refused("search", *LIMIT, "--data", data, "--val", val)


def test_validation_images_as_test_images_are_refused(tmp_path: Path, refused: Refused) -> None:
    data, val = folder(tmp_path / "data", 4), folder(tmp_path / "val", 2, seed=100)
    message = refused("search", *LIMIT, "--data", data, "--val", val, "--test", val)
    assert "0.png" in message


def test_a_usage_error_in_a_real_process_has_no_traceback(tmp_path: Path) -> None:
    result = run("profile", "rfdm", cwd=tmp_path, code=2)
    assert result.stderr.count("\n") == 1
    for given in (("profile", "rfdm", "--debug"), ("--debug", "profile", "rfdm")):
        assert "Traceback" in run(*given, cwd=tmp_path, code=1).stderr


def test_a_file_that_is_no_store_is_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "x.db").write_text("not a database " * 100)
    assert "x.db" in refused("studies", "--db", "x.db")

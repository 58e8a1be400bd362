"""The command line as its user meets it: real processes, messages, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.cli import main

PIXELFRONT = Path(sys.executable).parent / "pixelfront"
LIMIT = ("--max-gmacs", "2")


def run(*arguments: object, cwd: Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [PIXELFRONT, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
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


def test_blocks_lists_all_with_costs(tmp_path: Path) -> None:
    text = run("blocks", "--widths", "16,50", cwd=tmp_path).stdout
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
        "import sys; import search.cli; from results import overview, tables; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'ray', 'optuna')))"
    )
    subprocess.run([sys.executable, "-c", probe], check=True, cwd=tmp_path)


BAD = {
    "no budget": (("search",), "either --max-gmacs G or --gmacs A:B, got neither"),
    "budget too small": (("search", "--max-gmacs", "0.01"), "the smallest, "),
    "band too high": (("search", "--gmacs", "9000:9999"), "the largest, "),
    "unknown block": (("search", *LIMIT, "--blocks", "rfbd"), "did you mean 'rfdb'"),
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
    "profile bad convention": (("profile", "rfdn", "--convention", "flops"), "exact, challenge, bias"),
    "blocks bad widths": (("blocks", "--widths", "a"), "range"),
    "unreachable ray": (("search", *LIMIT, "--ray-address", "127.0.0.1:1"), "no Ray cluster answers"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_exit_code_2(refused: Refused, case: str) -> None:
    arguments, message = BAD[case]
    assert message in refused(*arguments)


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


def test_a_usage_error_in_a_real_process_has_no_traceback(tmp_path: Path) -> None:
    result = run("profile", "rfdm", cwd=tmp_path, code=2)
    assert result.stderr.count("\n") == 1
    assert "Traceback" in run("profile", "rfdm", "--debug", cwd=tmp_path, code=1).stderr


def test_a_file_that_is_no_store_is_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "x.db").write_text("not a database " * 100)
    assert "x.db" in refused("studies", "--db", "x.db")

"""Pictures of the dashboard for the README and docs/dashboard.md, taken from a study of one's own.

    pixelfront run examples/demo.toml
    python benchmarks/screenshots.py runs demo-1 docs

Needs Chromium (apt-get install chromium) and the development dependencies.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import PIL.Image
from playwright.sync_api import Browser, Page, sync_playwright

COMMAND = [sys.executable, "-c", "from search.cli import main; main()", "dashboard", "--port", "0", "--runs"]
WAIT_MS = 120_000  # the worker imports torch


def front(page: Page) -> None:
    page.wait_for_selector("html[data-drawn]")
    page.wait_for_selector("[data-testid=filter-size]")  # the architectures are known
    page.keyboard.press("End")
    page.wait_for_selector("[data-testid=selected-label]")


def trial(page: Page) -> None:
    page.wait_for_selector("[data-testid=network] tfoot")


def slider(page: Page) -> None:
    page.wait_for_selector("[data-testid=slider]")


@dataclass(frozen=True)
class Shot:
    """A picture: of which address after the study's name, once what has happened, at which size."""

    address: str
    ready: Callable[[Page], None]
    width: int = 1360
    height: int = 800
    colours: Literal["light", "dark"] = "light"
    scale: float = 1.25  # pixels of the file per pixel of the page


def shots(members: str, view: str) -> dict[str, Shot]:
    compared = f"compare?trials={members}&view={view}&mode=slider"
    return {
        "front": Shot("front", front, height=860),
        "front-dark": Shot("front", front, height=860, colours="dark"),
        "trial": Shot("trial/best", trial, height=860, scale=1),
        "slider": Shot(compared, slider, width=1120, height=840, scale=1),
    }


def take(browser: Browser, address: str, shot: Shot) -> bytes:
    """A PNG of what a reader sees."""
    context = browser.new_context(
        viewport={"width": shot.width, "height": shot.height},
        device_scale_factor=shot.scale,
        color_scheme=shot.colours,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(address)
    shot.ready(page)
    page.wait_for_timeout(1000)  # pictures are decoded, charts drawn
    taken = page.screenshot()
    context.close()
    picture = PIL.Image.open(io.BytesIO(taken)).convert("RGB")
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return content.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    parser.add_argument("study")
    parser.add_argument("output", type=Path)
    parser.add_argument("--members", help="Trials to compare, as 1,5 [default: the cheapest and the best].")
    parser.add_argument(
        "--view", default="0.5,0.5,6", help="What of the picture is compared: X,Y,MAGNIFICATION."
    )
    parser.add_argument("--only", nargs="*", help="Names of pictures [default: all].")
    given = parser.parse_args()
    with (
        subprocess.Popen([*COMMAND, given.runs], stdout=subprocess.PIPE, text=True) as server,
        sync_playwright() as playwright,
    ):
        assert server.stdout is not None
        server.stdout.readline()
        study = f"{server.stdout.readline().split()[0]}#/s/{quote(given.study, safe='')}/"
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, shot in shots(given.members or "", given.view).items():
            if given.only and name not in given.only:
                continue
            path = given.output / f"dashboard-{name}.png"
            path.write_bytes(take(browser, study + shot.address, shot))
            print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")
        browser.close()
        server.terminate()


if __name__ == "__main__":
    main()

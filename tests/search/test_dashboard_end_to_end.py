"""The dashboard as its user meets it: the commands' processes, a search that runs meanwhile, a real browser."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import numpy as np
import onnxruntime
import PIL.Image
import pytest
import torch
from playwright.sync_api import Browser, Dialog, Locator, Page, expect

from evaluators.tasks import get_task
from results.export.files import load_network
from results.store.store import Store
from spaces.architecture import Architecture
from tests.conftest import ROOT
from tests.results import studies
from tests.search.test_cli import PIXELFRONT

pytestmark = pytest.mark.slow

# Denoising, as a minute's training is worth something there: the trivial method returns the noise.
SEARCH = (  # noqa: SIM905
    "search --study watched --task denoise --space restore --max-gmacs 1 --strategy tpe --trials 4 --steps 50 "
    "--rungs 2 --batch 4 --patch 24 --depths 1:2 --widths 8:16:4 --blocks residual,ghost --workers 1 --seed 3 "
    "--precision float32"
).split()
NASTY = "<script>alert(1) & 100 %"
VIEWS = ("front", "progress", "compare", "space", "trial/best")
WORKER_MS = 90_000  # torch is imported
SEARCH_MS = 240_000

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the user works; its store has a study without trials, one of failures and one with markup as its name."""
    folder = tmp_path_factory.mktemp("dashboard")
    with Store.open(folder / "runs" / "pixelfront.db") as store:
        made = studies.setup(folder / "images")
        for name in ("empty", "failed", NASTY):
            study = studies.new_study(store, made, name)
            if name != "empty":
                trial = studies.add(store, study, studies.CHEAP)
                store.start_trial(trial.id)
                store.fail_trial(trial.id, f"diverged: {NASTY}")
            store.set_study_state(study.id, "complete")
    return folder


@contextmanager
def dashboard(folder: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``pixelfront dashboard`` and the address that it says."""
    command = [str(PIXELFRONT), "dashboard", "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process, process.stdout.readline().split()[0]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    with dashboard(folder) as (_, address):
        yield address


@pytest.fixture(scope="module")
def search(folder: Path, server: str) -> Iterator[subprocess.Popen[str]]:
    """A search that starts after the dashboard."""
    command = [str(PIXELFRONT), *SEARCH]
    with (
        (folder / "search.log").open("w") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, text=True) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)


@pytest.fixture
def finished(search: subprocess.Popen[str], server: str, folder: Path) -> Iterator[httpx.Client]:
    """A client of the API once the search is over."""
    assert search.wait(SEARCH_MS / 1000) == 0, (folder / "search.log").read_text()
    with httpx.Client(base_url=f"{server}api/v1/studies/watched", timeout=60) as client:
        yield client


@pytest.fixture
def visit(browser: Browser, server: str) -> Iterator[Open]:
    """``visit("#/s/watched/front", width=400)`` opens the page as another reader's browser would.

    The test fails if anything went to another machine, or if the console has an error by its end, of which a violated
    policy is one.
    """
    said: list[str] = []
    asked: list[str] = []

    def alert(dialog: Dialog) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    with ExitStack() as stack:

        def visit(address: str = "#/", *, width: int = 1300) -> Page:
            context = browser.new_context(viewport={"width": width, "height": 900})
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(30_000)
            page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("dialog", alert)
            page.on("request", lambda request: asked.append(request.url))
            page.goto(server + address)
            return page

        yield visit
    assert said == []
    assert asked
    assert {urlsplit(url).netloc for url in asked if not url.startswith(("blob:", "data:"))} == {
        urlsplit(server).netloc
    }


def drawn(page: Page) -> Page:
    page.wait_for_selector("html[data-drawn]")
    return page


def numbers(page: Page) -> list[int]:
    """The front's members by the table."""
    rows = page.get_by_test_id("members").locator("tbody tr")
    return [int(row.locator("td").first.inner_text()) for row in rows.all()]


def dB(shown: Locator) -> float:  # noqa: N802
    return float(shown.inner_text().split()[0])


def middle(shown: Locator) -> tuple[float, float]:
    box = shown.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_search_that_starts_later_is_watched_without_a_reload(
    visit: Open, search: subprocess.Popen[str]
) -> None:
    page = visit()
    expect(page.get_by_test_id("study-failed")).to_be_visible()
    page.evaluate("window.same = true")
    page.get_by_test_id("study-watched").get_by_role("link", name="watched").click(timeout=SEARCH_MS)
    page.get_by_test_id("tab-progress").click()
    expect(page.get_by_test_id("tile-complete")).to_have_text(re.compile("[1-9]"), timeout=SEARCH_MS)
    page.get_by_test_id("tab-front").click()
    expect(page.get_by_test_id("members").locator("tbody tr").first).to_be_visible()
    page.get_by_test_id("tab-progress").click()
    expect(page.get_by_test_id("state")).to_have_text("Complete", timeout=SEARCH_MS)
    expect(page.get_by_test_id("tile-complete")).to_have_text("4")
    expect(page.get_by_test_id("hypervolume").locator("canvas")).to_be_visible()
    assert page.evaluate("window.same")


def test_a_filtered_front_is_the_servers_and_its_address_can_be_shared(
    visit: Open, finished: httpx.Client
) -> None:
    front = finished.get("/front").json()["members"]
    assert len(front) > 1  # else the tests here say little
    page = drawn(visit("#/s/watched/front"))
    assert numbers(page) == [member["number"] for member in front]

    trials = finished.get("/points?fields=features").json()
    (kind, *_), least = trials["kinds"], min(trials["width"])
    page.get_by_test_id("filter-kind").click()
    page.get_by_test_id(f"kind-{kind}").check()
    page.keyboard.press("Escape")
    page.get_by_test_id("filter-size").click()
    page.get_by_test_id("width-high").fill(str(least))
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile(f"width=.*{least}"))
    wanted = finished.get("/front", params={"kind": kind, "width": f":{least}"}).json()["members"]
    expect(page.get_by_test_id("members").locator("tbody tr")).to_have_count(len(wanted))
    assert numbers(page) == [member["number"] for member in wanted] != [m["number"] for m in front]

    page.locator(".canvas").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_test_id("aside")).to_contain_text(f"Trial {wanted[0]['number']}")
    expect(page).to_have_url(re.compile(f"sel={wanted[0]['number']}"))
    other = drawn(visit(page.url[page.url.index("#") :]))
    expect(other.get_by_test_id("aside")).to_contain_text(f"Trial {wanted[0]['number']}")
    assert numbers(other) == numbers(page)


def test_zoom_then_a_click_selects_and_leads_to_the_trial(visit: Open, finished: httpx.Client) -> None:
    member = finished.get("/front").json()["members"][0]["number"]
    page = drawn(visit("#/s/watched/front"))
    mark = page.get_by_test_id("member").first
    before = middle(mark)
    page.mouse.move(*before)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -120)
    page.keyboard.up("Control")
    expect(page).to_have_url(re.compile("zoom="))
    assert middle(mark) == pytest.approx(before, abs=2)  # zooms about the pointer
    page.get_by_test_id("zoom-reset").click()
    expect(page).not_to_have_url(re.compile("zoom="))
    page.mouse.click(*before)
    expect(page.get_by_test_id("aside")).to_contain_text(f"Trial {member}")
    page.get_by_test_id("open-trial").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"#{member}")
    expect(page.get_by_test_id("network").locator("tfoot")).to_contain_text("GMACs", timeout=WORKER_MS)


def test_two_members_are_compared_on_a_held_out_picture_and_on_ones_own(
    visit: Open, finished: httpx.Client, tmp_path: Path
) -> None:
    page = drawn(visit("#/s/watched/front"))
    first, second = numbers(page)[0], numbers(page)[-1]
    for number in (first, second):
        page.get_by_role("button", name=f"Compare trial {number}", exact=True).click()
    page.get_by_test_id("tab-compare").click()
    page.get_by_test_id(f"pane-{second}").wait_for(timeout=WORKER_MS)
    pictures = finished.get("/pictures").json()["pictures"]
    assert [picture["split"] for picture in pictures] == sorted(picture["split"] for picture in pictures)
    chosen = pictures[1]["id"]
    with page.expect_response(lambda response: response.url.endswith("/compare")) as response:
        page.get_by_test_id("picture").select_option(chosen)
    expect(page).to_have_url(re.compile(f"picture={chosen}"))
    result = response.value.json()
    assert result == result | {"picture": result["picture"] | {"name": pictures[1]["name"]}}
    asked = finished.post("/compare", json={"picture": chosen, "trials": [first, second], "baseline": True})
    for entry, again in zip(result["entries"], asked.json()["entries"], strict=True):
        shown = page.get_by_test_id(f"psnr-{'baseline' if entry['number'] is None else entry['number']}")
        assert entry["psnr"] == again["psnr"]
        expect(shown).to_have_text(f"{entry['psnr']:.3f} dB")
    assert dB(page.get_by_test_id(f"psnr-{second}")) > dB(page.get_by_test_id("psnr-baseline"))

    page.get_by_test_id("mode-slider").click()
    slider = page.get_by_test_id("slider")
    slider.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuenow", "52")
    box = page.get_by_test_id("slider-stage").bounding_box()
    assert box is not None
    page.mouse.move(*middle(slider))
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 20, steps=4)
    page.mouse.up()
    expect(slider).to_have_attribute("aria-valuenow", "25")
    over = page.locator(".look-over")
    assert over.evaluate("one => one.style.clipPath").startswith("inset(0px 0px 0px 25")

    page.get_by_test_id("mode-side").click()
    PIL.Image.linear_gradient("L").resize((80, 56)).convert("RGB").save(tmp_path / "mine.png")
    page.get_by_test_id("own").click()
    page.get_by_test_id("upload").set_input_files(tmp_path / "mine.png")
    target = page.get_by_test_id("pane-target").get_by_role("img")
    expect(target).to_have_attribute("data-width", "80", timeout=WORKER_MS)
    got = page.request.get(page.url.partition("#")[0] + str(target.get_attribute("src"))[1:]).body()
    (tmp_path / "got.png").write_bytes(got)
    mine, shown_one = (np.asarray(PIL.Image.open(tmp_path / name)) for name in ("mine.png", "got.png"))
    assert np.array_equal(mine, shown_one)
    assert dB(page.get_by_test_id(f"psnr-{second}")) > 10


def test_an_exported_file_computes_what_the_trial_does(
    visit: Open, finished: httpx.Client, folder: Path, tmp_path: Path
) -> None:
    page = visit("#/s/watched/trial/best")
    with page.expect_response(re.compile("/export$"), timeout=WORKER_MS) as response:
        page.get_by_test_id("export-onnx").click()
    made = response.value.json()
    with page.expect_download() as download:
        page.get_by_test_id("download-onnx").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == made["files"][0]["sha256"]

    trial = finished.get("/trials/best").json()
    weights = next((folder / "runs" / "watched" / "weights").glob(f"{trial['number']:05d}-*"))
    architecture = Architecture.from_json(json.dumps(trial["architecture"]))
    network = load_network(architecture, get_task("denoise").interface, weights)
    image = np.random.default_rng(0).random((1, 3, 40, 56), dtype=np.float32)
    expected = network(torch.from_numpy(image)).numpy()
    session = onnxruntime.InferenceSession(file)
    got = session.run(None, {session.get_inputs()[0].name: image})[0]
    assert made["max_error"] < 1e-4
    assert np.abs(got - expected).max() <= 10 * made["max_error"] + 1e-6
    assert not list((folder / "runs" / "watched").glob("*best*"))  # the study's folder is as it was


@pytest.mark.parametrize(
    ("name", "says"), [("empty", "has no trial yet"), ("failed", "1 trial failed"), (NASTY, "1 trial failed")]
)
def test_studies_without_a_result_have_all_views(visit: Open, name: str, says: str) -> None:
    page = visit()
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_test_id("study-name")).to_have_text(name)
    expect(page.locator("main")).to_contain_text(says)
    page.get_by_test_id("tab-progress").click()
    expect(page.get_by_test_id("tile-complete")).to_have_text("0")
    if name != "empty":
        expect(page.get_by_test_id("failures")).to_contain_text(f"diverged: {NASTY}")
        page.get_by_test_id("failures").get_by_role("link").click()
        expect(page.get_by_test_id("trial-state")).to_have_text("failed")
        expect(page.get_by_test_id("export-onnx")).to_be_disabled()
    page.get_by_test_id("tab-compare").click()
    expect(page.get_by_test_id("empty")).to_contain_text("Nothing to compare yet")
    page.get_by_test_id("tab-space").click()
    expect(page.locator("main.view-space")).not_to_contain_text("Loading")
    page.goto(f"{page.url.partition('#')[0]}api/v1/studies/{quote(name, safe='')}/report.html")
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)


def test_an_unknown_study_or_trial_says_what_there_is(browser: Browser, server: str) -> None:
    """Not by ``visit``: browsers write an answer of 404 to the console."""
    page = browser.new_page()
    page.goto(f"{server}#/s/watchd/front")
    expect(page.get_by_test_id("fault")).to_contain_text("watched")
    page.goto(f"{server}#/s/failed/trial/77")
    expect(page.get_by_test_id("fault")).to_contain_text("77")
    page.close()


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_is_wider_than_a_phone(visit: Open, finished: httpx.Client, view: str) -> None:
    page = visit(f"#/s/watched/{view}", width=400)
    page.wait_for_selector(
        "[data-testid=members], [data-testid=hypervolume], [data-testid=psnr-baseline], [data-testid=effects], "
        "[data-testid=network] tfoot",
        timeout=WORKER_MS,
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_the_report_and_the_api_page_obey_the_policy(visit: Open, finished: httpx.Client) -> None:
    page = visit("#/s/watched/front")
    page.get_by_test_id("report-html").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("watched")
    assert page.locator("svg").count() > 0
    page.go_back()
    page.get_by_role("link", name="JSON API").click()
    expect(page.locator("body")).to_contain_text("/api/v1/studies/{study}/front")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_examples_of_the_documentation_run(server: str, finished: httpx.Client) -> None:
    page = (ROOT / "docs" / "dashboard.md").read_text()
    examples = re.findall(r"^curl .*", page, flags=re.MULTILINE)
    assert len(examples) > 8
    for example in examples:
        here = example.replace("http://127.0.0.1:8080/", server).replace("demo-1", "watched")
        here = here.replace("ssim_y", "ssim_rgb")  # denoising is scored in RGB
        answer = json.loads(subprocess.run(shlex.split(here), check=True, capture_output=True).stdout)
        assert "error" not in answer, (here, answer)
    described = finished.get(f"{server}api/openapi.json").json()["paths"]
    assert "/api/v1/studies/{study}/events" in described


def test_ctrl_c_ends_the_server_and_the_page_finds_the_next_one(
    browser: Browser, folder: Path, finished: httpx.Client
) -> None:
    context = browser.new_context()
    page = context.new_page()
    with dashboard(folder) as (process, address):
        page.goto(f"{address}#/s/watched/front")
        expect(page.get_by_test_id("live")).to_have_text("live")
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130  # as Ctrl-C ends any command
        expect(page.get_by_test_id("live")).to_have_text("no connection")
    with dashboard(folder, urlsplit(address).port or 0):
        expect(page.get_by_test_id("live")).to_have_text("live", timeout=20_000)
    context.close()

"""Progress, Trial and Compare as someone with a browser meets them."""

from __future__ import annotations

import re

import onnxruntime
import PIL.Image
import pytest
from playwright.sync_api import expect

from results.store.store import Store
from search.dashboard.worker import WorkerServices
from tests.results import studies

STUDY = f"#/s/{studies.NAME}"
SLOW = 60_000  # the worker imports torch


def number(text):
    return float(text.split()[0])


def test_progress_of_a_running_study(show, filled):
    page = show(filled[0], f"{STUDY}/progress")
    expect(page.get_by_test_id("tile-complete")).to_have_text("3")
    expect(page.get_by_test_id("tile-running")).to_contain_text("1 waiting")
    expect(page.get_by_test_id("tile-best")).to_contain_text("trial 2")
    expect(page.get_by_test_id("running-4")).to_contain_text("10 of 20 steps")
    expect(page.get_by_test_id("failures")).to_contain_text("diverged: the loss became nan by step 3")
    page.get_by_test_id("by-steps").click()
    expect(page.get_by_test_id("hypervolume")).to_have_attribute("aria-label", re.compile(r"after \d+ steps"))
    assert page.url.endswith("?by=steps")


def test_progress_moves_by_itself(show, tmp_path):
    with Store.open(tmp_path / "results.db") as store:
        studies.fill(store, tmp_path)
        page = show(tmp_path / "results.db", f"{STUDY}/progress")
        expect(page.get_by_test_id("running-4")).to_contain_text("10 of 20 steps")
        expect(page.get_by_test_id("live")).to_contain_text("live")
        trial = store.trial(store.study(studies.NAME).id, 4)
        store.fail_trial(trial.id, "out of memory\nTraceback, line 1")
        expect(page.get_by_test_id("tile-failed")).to_have_text("2")
        expect(page.get_by_test_id("running-4")).to_have_count(0)
        page.get_by_text("out of memory", exact=True).click()
        expect(page.get_by_text("Traceback, line 1")).to_be_visible()


class Worker(WorkerServices):
    """A worker that outlives the servers that use it: its start takes seconds."""

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def worker():
    """What needs torch, for all tests here."""
    services = Worker()
    yield services
    WorkerServices.close(services)


@pytest.fixture
def study(tmp_path):
    """A store in a folder laid out as the command line does: files in a folder of the study's name."""
    with Store.open(tmp_path / "results.db") as store:
        studies.fill(store, tmp_path / studies.NAME)
    return tmp_path / "results.db"


def test_a_trial_and_its_export(show, study, tmp_path, worker):
    page = show(study, f"{STUDY}/trial/2", services=worker)
    network = page.get_by_test_id("network")
    expect(network.locator("tfoot")).to_contain_text("GMACs", timeout=SLOW)
    names = network.locator("tbody tr").evaluate_all("rows => rows.map((row) => row.dataset.part)")
    blocks = [f"blocks.{i}" for i in range(3)]
    assert names == ["input", "head", *blocks, "fusion", "trunk_conv", "upsampler", "output"]
    shares = network.locator("tbody .net-cost .net-kind").all_inner_texts()
    assert sum(number(share) for share in shares) == pytest.approx(100, abs=1.5)
    expect(page.get_by_test_id("measurements")).to_contain_text("Y, 8-bit, border 2")

    page.get_by_test_id("export-onnx").click()
    page.get_by_test_id("exported-onnx").wait_for(timeout=SLOW)
    with page.expect_download() as download:
        page.get_by_test_id("download-onnx").click()
    download.value.save_as(tmp_path / "got.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "got.onnx")
    assert session.get_inputs()[0].shape[1] == 3

    page.keyboard.press("k")
    expect(page.get_by_role("heading", level=1)).to_contain_text("#1")


def test_compare_two_networks(show, study, worker):
    page = show(study, f"{STUDY}/compare?trials=0,2", services=worker)
    for pane in ("baseline", "0", "2", "target"):
        page.get_by_test_id(f"pane-{pane}").wait_for(timeout=SLOW)
    assert 5 < number(page.get_by_test_id("psnr-2").inner_text()) < 60
    expect(page.get_by_test_id("pane-input")).to_have_count(0)
    page.get_by_test_id("show-input").click()
    expect(page.get_by_test_id("pane-input")).to_be_visible()

    places = "imgs => imgs.map((i) => i.style.transform + i.style.width)"
    page.get_by_test_id("pane-2").get_by_role("group").focus()
    for key in ("+", "+", "ArrowRight"):
        page.keyboard.press(key)
    expect(page.get_by_test_id("zoom")).not_to_be_empty()
    shown = page.locator(".pane img:not([hidden])")
    assert len(set(shown.evaluate_all(places))) == 1  # one place in all, the smaller input too
    assert shown.first.evaluate("image => image.style.imageRendering") == "pixelated"
    expect(page).to_have_url(re.compile("view=0[.]5"))

    page.keyboard.press("e")
    expect(page.get_by_text("Error maps:")).to_be_visible()
    expect(page.get_by_alt_text("trial 2: where it is wrong")).to_be_visible()

    page.get_by_test_id("mode-slider").click()
    slider = page.get_by_test_id("slider")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowLeft")
    expect(slider).to_have_attribute("aria-valuenow", "38")
    page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuenow", "0")


def test_compare_on_a_picture_of_ones_own(show, study, tmp_path, worker):
    PIL.Image.effect_noise((64, 48), 60).convert("RGB").save(tmp_path / "mine.png")
    page = show(study, f"{STUDY}/compare?trials=2", width=400, services=worker)
    page.get_by_test_id("pane-2").wait_for(timeout=SLOW)
    page.get_by_test_id("own").click()
    page.get_by_test_id("as-input").check()
    page.get_by_test_id("upload").set_input_files(tmp_path / "mine.png")
    expect(page.get_by_test_id("pane-target")).to_have_count(0, timeout=SLOW)
    expect(page.get_by_test_id("pane-2").locator("img")).to_have_count(1)
    expect(page.get_by_test_id("psnr-2")).to_have_count(0)
    expect(page.get_by_test_id("errors")).to_be_disabled()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_compare_without_a_trial(show, study, worker):
    with Store.open(study) as store:
        studies.new_study(store, studies.setup(study.parent / "more"), "empty")
    page = show(study, "#/s/empty/compare", services=worker)
    expect(page.get_by_test_id("empty")).to_contain_text("Nothing to compare yet")


def test_a_trial_that_is_not_trained_to_the_end_shows_its_last_rung(show, filled, worker):
    page = show(filled[0], f"{STUDY}/trial/4", services=worker)
    expect(page.get_by_test_id("early-scores")).to_contain_text("Preliminary: step 10 of 20")
    expect(page.get_by_test_id("exports")).to_contain_text(
        f"pixelfront export {studies.NAME} 4 --preliminary"
    )

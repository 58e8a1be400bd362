"""Studies, Front and Space as someone with a browser meets them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.sync_api import expect

from results.analysis.overview import overview
from results.store.store import Store
from spaces.measurement import Measurement
from tests.results import studies

DRAWN = "html[data-drawn]"
FRONT = f"#/s/{studies.NAME}/front"
NASTY = "<script>alert(1) & 100 %"


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A store with a study without trials, one whose trials all failed, and one whose name is markup."""
    folder = tmp_path_factory.mktemp("odd")
    with Store.open(folder / "results.db") as store:
        made = studies.setup(folder / "images")
        studies.new_study(store, made, "empty")
        failed = studies.new_study(store, made, "failed")
        trial = studies.add(store, failed, studies.CHEAP)
        store.start_trial(trial.id)
        store.fail_trial(trial.id, "diverged: the loss became <b>nan</b>")
        nasty = studies.new_study(store, made, NASTY)
        studies.complete(store, nasty, studies.DEAR, studies.scores(made, 1.0), folder)
    return folder / "results.db"


def selected(page):
    return page.get_by_test_id("aside").get_by_role("heading").inner_text()


def test_from_the_list_to_the_front_of_the_command_line(show, staged):
    page = show(staged[0])
    page.get_by_test_id(f"study-{studies.NAME}").click()
    page.wait_for_selector(DRAWN)
    with Store.open(staged[0], create=False) as store:
        expected = [str(trial.number) for trial in overview(store, studies.NAME).members]
    rows = page.get_by_test_id("members").locator("tbody tr")
    assert [row.locator("td").first.inner_text() for row in rows.all()] == expected
    assert page.get_by_test_id("member").count() == len(expected)
    assert page.evaluate("window.pixelfront.drawn") > 0


def test_arrow_keys_step_through_the_front_and_the_address_says_where(show, staged):
    page = show(staged[0], FRONT)
    page.wait_for_selector(DRAWN)
    page.keyboard.press("ArrowRight")
    expect(page.get_by_test_id("aside")).to_contain_text("Trial 7")
    expect(page.locator("#announcer")).to_contain_text("Trial 7, distil, 1 of")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_test_id("aside")).not_to_contain_text("Trial 7")
    assert "sel=" in page.url
    before = selected(page)
    page.reload()
    page.wait_for_selector(DRAWN)
    assert selected(page) == before
    page.keyboard.press("c")
    expect(page.get_by_test_id("tab-compare")).to_contain_text("1")
    page.keyboard.press("Escape")
    assert "sel=" not in page.url


def test_filters_are_asked_of_the_server_and_shared_by_the_address(show, staged):
    page = show(staged[0], FRONT)
    page.wait_for_selector(DRAWN)
    page.get_by_test_id("filter-kind").click()
    page.get_by_test_id("kind-residual").check()
    page.get_by_test_id("kind-rfdb").check()
    page.get_by_text("all of").click()
    expect(page.get_by_test_id("members").locator("tbody tr")).to_have_count(3)
    page.keyboard.press("Escape")
    assert "kind=residual,rfdb" in page.url
    page.get_by_test_id("stage-distil").click()
    expect(page.get_by_test_id("member-5")).to_have_count(0)
    page.reload()
    expect(page.get_by_test_id("stage-distil")).to_have_attribute("aria-pressed", "false")
    expect(page.get_by_test_id("member-5")).to_have_count(0)
    page.get_by_test_id("clear").click()
    expect(page.get_by_test_id("member-5")).to_have_count(1)


def test_a_dragged_box_zooms(show, staged):
    page = show(staged[0], FRONT)
    page.wait_for_selector(DRAWN)
    box = page.get_by_test_id("chart").bounding_box()
    page.mouse.move(box["x"] + 150, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 200, steps=3)
    page.mouse.up()
    expect(page.get_by_test_id("zoom-reset")).to_be_enabled()
    assert "zoom=" in page.url
    page.keyboard.press("0")
    expect(page.get_by_test_id("zoom-reset")).to_be_disabled()


def test_axes_are_chosen(show, staged):
    page = show(staged[0], FRONT)
    page.wait_for_selector(DRAWN)
    page.get_by_test_id("axis-x").select_option("parameters")
    expect(page.get_by_test_id("hypervolume")).to_have_count(0)  # only the study's own axes have a reference
    expect(page.get_by_test_id("members").locator("thead")).to_contain_text("Parameters")
    page.get_by_test_id("log").check()
    assert "x=parameters" in page.url
    assert "xlog=1" in page.url


def test_a_new_trial_arrives_without_a_reload(show, own_store, tmp_path):
    page = show(tmp_path / "results.db", FRONT)
    page.wait_for_selector(DRAWN)
    page.evaluate("window.same = true")
    study = own_store.study(studies.NAME)
    measured = [m for m in own_store.trial(study.id, 0).measurements if m.unit == "dB"]
    better = [replace(m, value=m.value + 9) for m in measured]
    trial = studies.complete(
        own_store, study, studies.PUBLISHED, better, tmp_path / "more", stage="published"
    )
    expect(page.get_by_test_id(f"member-{trial.number}")).to_be_visible()
    expect(page.get_by_test_id("stage-published")).to_be_visible()
    assert page.evaluate("window.same")


def test_a_study_without_trials_says_so(show, odd):
    expect(show(odd, "#/s/empty/front").get_by_test_id("empty")).to_contain_text("no trial yet")


def test_a_study_of_failures_says_where_the_reasons_are(show, odd):
    page = show(odd, "#/s/failed/front")
    expect(page.get_by_test_id("nothing-drawn")).to_contain_text("1 trial failed")


def test_a_name_that_is_markup_is_text(show, odd):
    page = show(odd)
    page.get_by_role("link", name=NASTY).click()
    page.wait_for_selector(DRAWN)
    expect(page.get_by_test_id("study-name")).to_have_text(NASTY)
    expect(page.get_by_test_id("aside")).to_contain_text(NASTY)


def test_a_choice_leads_from_the_space_to_the_front(show, staged):
    page = show(staged[0], f"#/s/{studies.NAME}/space")
    expect(page.get_by_test_id("parallel").locator("canvas")).to_be_visible()
    page.get_by_test_id("effects").get_by_role("link", name="12", exact=True).click()
    page.wait_for_selector(DRAWN)
    assert page.url.endswith("front?width=12:12")
    assert page.get_by_test_id("members").locator("tbody tr").count() == 1


def test_keys_and_colours(show, staged):
    page = show(staged[0], FRONT, dark=True)
    page.wait_for_selector(DRAWN)
    shade = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(shade)
    page.keyboard.press("t")
    assert page.evaluate(shade) != dark
    page.keyboard.press("?")
    expect(page.get_by_test_id("keys")).to_contain_text("next member of the front")
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("keys")).to_have_count(0)


@pytest.mark.parametrize("address", ["#/", FRONT, f"#/s/{studies.NAME}/space"])
def test_nothing_is_wider_than_a_phone(show, staged, address):
    page = show(staged[0], address, width=400)
    page.wait_for_selector("[data-testid=studies], [data-testid=members], [data-testid=effects]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_study_with_objectives_and_limits_of_its_own_opens_on_them(show, tmp_path):
    """Latency is the axis, what is too slow is no member, and repeated trainings are one mark."""
    with Store.open(tmp_path / "results.db") as store:
        made = studies.setup(
            tmp_path / "images", objectives=("psnr", "latency", "gmacs"), limits=("latency<=30ms",)
        )
        study = studies.new_study(store, made)
        protocol = made.objective_of("latency").protocol
        again = {"origin": {"repeat": 1}, "variant": "again"}
        for architecture, gain, ms, more in (
            (studies.CHEAP, 0.5, 10.0, {}),
            (studies.BEATEN, 0.75, 20.0, {}),
            (studies.DEAR, 1.5, 99.0, {}),
            (studies.CHEAP, 0.7, 10.0, again),
        ):
            taken = [Measurement("latency_ms", ms, "ms", "min", protocol), *studies.scores(made, gain)]
            studies.complete(store, study, architecture, taken, tmp_path, **more)
        reason = "latency of 41.2 ms is over the limit of 30 ms"
        store.record_ask(study.id, 0, {"w": 0}, "rejected", reason=reason)
    page = show(tmp_path / "results.db", FRONT)
    page.wait_for_selector(DRAWN)
    expect(page.get_by_test_id("axis-x")).to_have_value("latency_ms")
    expect(page.get_by_test_id("members").locator("tbody tr")).to_have_count(2)
    expect(page.locator(".plot-head")).to_contain_text("1 beyond a limit")
    expect(page.locator(".notes")).to_contain_text("Limits: latency<=30ms")
    expect(page.locator(".interval")).to_have_count(1)
    page.goto(page.url.replace("/front", "/progress"))
    expect(page.get_by_test_id("asks")).to_contain_text(
        "1 proposal turned away before any training (1 by the limit on latency)"
    )


@pytest.fixture(scope="module")
def paused(tmp_path_factory):
    """A store of two studies, of which two networks each rest at step 5; the second has a complete one too."""
    folder = tmp_path_factory.mktemp("paused")
    with Store.open(folder / "results.db") as store:
        made = studies.setup(folder / "images")
        for name in ("resting", "both"):
            study = studies.new_study(store, made, name)
            for architecture, gain in ((studies.CHEAP, 0.5), (studies.DEAR, 1.0)):
                trial = studies.add(store, study, architecture)
                store.start_trial(trial.id)
                store.add_rung(trial.id, 5, 0.125, 1.0, studies.scores(made, gain)[:2])
                store.pause_trial(trial.id)
            store.set_study_state(study.id, "paused", "time")
            if name == "both":
                studies.complete(store, study, studies.BEATEN, studies.scores(made, 0.25), folder)
    return folder / "results.db"


def test_networks_that_rest_are_hollow_and_a_table_of_their_own(show, paused):
    page = show(paused, "#/s/resting/front")
    page.wait_for_selector(DRAWN)
    expect(page.get_by_test_id("preliminary")).to_contain_text("2 networks at step 5 of 20")
    assert page.get_by_test_id("early").count() == 2
    assert page.get_by_test_id("member").count() == 0
    rows = page.get_by_test_id("early-members").locator("tbody tr")
    assert [row.locator("td").first.inner_text() for row in rows.all()] == ["0", "1"]
    expect(page.get_by_text("pixelfront finish resting --time")).to_be_visible()
    page.get_by_test_id("early").last.hover(force=True)
    expect(page.get_by_test_id("tip")).to_contain_text("preliminary, step 5 of 20")


def test_beside_complete_networks_they_are_shown_on_request(show, paused):
    page = show(paused, "#/s/both/front")
    page.wait_for_selector(DRAWN)
    expect(page.get_by_test_id("member")).to_have_count(1)
    assert page.get_by_test_id("early").count() == 0
    page.get_by_test_id("show-early").check()
    expect(page.get_by_test_id("early")).to_have_count(2)
    assert "early=1" in page.url
    page.goto(page.url.split("#")[0] + "#/")
    expect(page.get_by_test_id("study-resting")).to_contain_text("paused: time limit, 2 paused")

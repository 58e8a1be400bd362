"""Reports of real small studies, in every form."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from results.analysis.overview import overview
from results.render.card import stage_text
from results.render.report import FORMS, form_of, render
from results.render.report.record import to_toml
from results.render.tables import front_table, trial_view
from results.store.schema import Study
from results.store.store import Store
from search.config import SearchConfig, load, resolve
from search.loop.inheritance import heir
from spaces.architecture import Block
from spaces.measurement import Measurement
from spaces.topologies.chain import Chain
from tests.results import studies
from tests.results.studies import NAME
from tests.results.test_imports import modules_after

ODD = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The tags of a page, its ids, and its visible text."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "xlink:href", "src")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def staged(tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("staged")
    store = Store.open(folder / "results.db")
    studies.fill_stages(store, folder)
    return store


def new_study(store: Store, folder: Path, name: str) -> tuple[Study, list[Measurement]]:
    made = studies.setup(folder / "images")
    return studies.new_study(store, made, name), studies.scores(made, 1.0)


def test_the_html_is_one_file_without_scripts(small_store):
    html = render(small_store, studies.NAME, "html")
    page = Page(html)
    assert "script" not in page.tags
    assert not {"img", "link", "iframe"} & set(page.tags)
    assert page.tags.count("svg") == 3
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert "url(http" not in html


def test_the_page_says_what_was_found(small_store):
    found = overview(small_store, studies.NAME)
    page = Page(render(small_store, studies.NAME, "html"))
    member = found.front.members[-1]
    for text in (
        f"{member.quality:.3f}",
        f"{member.cost / 1e9:.3f}",
        found.study.data["objective"][1],
        found.study.data["validation"]["digest"],
        "diverged: the loss became nan by step 3",
        f"pixelfront export {studies.NAME} {found.best.number} -o winner.onnx",
        found.study.environment["platform"],
    ):
        assert text in page.text
    assert "6 trials looked for at most 2 GMACs: 3 complete, 1 failed, 2 open." in page.text


def test_stages_are_told_with_the_winners_lineage(staged):
    record = json.loads(render(staged, studies.NAME, "json"))
    assert [each["stage"] for each in record["lineage"]] == ["published", "prune", "distil"]
    assert [(each["depth"], each["trial"]) for each in record["stages"]] == [
        (0, 0), (1, 3), (2, 4), (2, 5), (0, 2), (1, 6), (2, 7),
    ]  # fmt: skip
    assert [each["trial"] for each in record["published"]] == [0]
    page = Page(render(staged, studies.NAME, "html"))
    assert "Lineage of the winner" in page.text
    assert "least important channels by l1 removed down to 1.85 GMACs" in page.text


def test_the_table_has_a_row_a_trial_and_a_column_a_metric_and_protocol(small_store):
    found = overview(small_store, studies.NAME)
    table = list(csv.DictReader(io.StringIO(render(small_store, studies.NAME, "csv"))))
    assert [int(each["trial"]) for each in table] == [trial.number for trial in found.trials]
    keys = {each.key for trial in found.trials for each in trial.measurements}
    columns = {
        name: [k for k in keys if name.startswith(k[0]) and name.endswith(f"({k[1]})")] for name in table[0]
    }
    assert sorted(k for found_keys in columns.values() for k in found_keys) == sorted(keys)
    (column,) = (
        name for name, found_keys in columns.items() if tuple(found.study.data["objective"]) in found_keys
    )
    for point in found.front.points:
        assert float(table[point.number][column]) == point.quality
    assert {int(each["trial"]) for each in table if each["on_front"] == "1"} == {
        member.number for member in found.front.members
    }


def test_json_has_every_trial_with_its_curve(small_store):
    record = json.loads(render(small_store, studies.NAME, "json"))
    assert len(record["trials"]) == 6
    assert [rung["step"] for rung in record["trials"][0]["rungs"]] == [20]
    assert record["spent"]["steps"] == 3 * 20 + 10
    assert record["hypervolume"]["value"] == pytest.approx(record["history"]["by_steps"][-1][1])


def test_the_configuration_is_the_file_that_the_command_reads(small_store, tmp_path):
    study = small_store.study(studies.NAME)
    (tmp_path / "again.toml").write_text(to_toml(study.config))
    assert resolve(load(tmp_path / "again.toml", {})) == SearchConfig.model_validate(study.config)


@pytest.mark.parametrize("form", FORMS)
def test_a_study_without_trials(form, tmp_path):
    with Store.open(tmp_path / "results.db") as store:
        new_study(store, tmp_path, "empty")
        text = render(store, "empty", form)
    if form in ("html", "md"):
        assert "No trial has been made yet" in text
        assert "svg" not in text or form == "html"
    elif form == "csv":
        assert text.splitlines() == ["trial"]


@pytest.mark.parametrize("form", FORMS)
def test_a_study_of_failures_groups_their_reasons(form, tmp_path):
    with Store.open(tmp_path / "results.db") as store:
        study, _ = new_study(store, tmp_path, "failures")
        for width in range(8, 40):
            trial = studies.add(store, study, Chain(width=width, blocks=(Block("residual"),)))
            store.start_trial(trial.id)
            store.fail_trial(trial.id, f"the loss became nan by step {width}")
        text = render(store, "failures", form)
    if form == "json":
        (failure,) = json.loads(text)["failures"]
        assert failure["count"] == 32
        assert failure["reason"] == "the loss became nan by step 8"
    elif form != "csv":
        assert "the loss became nan by step 8" in text
        assert "the loss became nan by step 9" not in text


def test_names_and_reasons_are_no_markup(tmp_path):
    with Store.open(tmp_path / "results.db") as store:
        study, scores = new_study(store, tmp_path, ODD)
        studies.complete(store, study, studies.CHEAP, scores, tmp_path)
        failed = studies.add(store, study, studies.DEAR)
        store.start_trial(failed.id)
        store.fail_trial(failed.id, f"{ODD} | `a` & $x$ $y$")
        html, markdown = render(store, ODD, "html"), render(store, ODD, "md")
    page = Page(html)
    assert "script" not in page.tags
    assert f"{ODD} | `a` & $x$ $y$" in page.text
    outside = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    assert "<script>" not in outside.replace("\\<", "").replace("\\>", "")
    assert r"\| \`a\` & $x$ $y$ |" in markdown


def test_a_reason_is_no_formula_in_a_spreadsheet(tmp_path):
    with Store.open(tmp_path / "results.db") as store:
        study, _ = new_study(store, tmp_path, "s")
        failed = studies.add(store, study, studies.DEAR)
        store.start_trial(failed.id)
        store.fail_trial(failed.id, "=cmd|' /C calc'!A0")
        (row,) = csv.DictReader(io.StringIO(render(store, "s", "csv")))
    assert row["reason"] == "'=cmd|' /C calc'!A0"


def test_two_thousand_marks_become_one_picture(small_store, monkeypatch):
    found = overview(small_store, studies.NAME)
    points = [
        replace(found.front.points[0], number=n, cost=1e8 + n * 5e5, quality=found.baseline[1] + n % 97 / 100)
        for n in range(3000)
    ]
    crowded = replace(found, front=replace(found.front, points=tuple(points)))
    monkeypatch.setattr("results.render.report.overview", lambda store, name: crowded)
    html = render(small_store, studies.NAME, "html")
    assert "data:image/png;base64" in html
    assert len(html) < 500_000


def test_the_form_is_the_suffix():
    assert form_of(Path("a.b/Report.HTML")) == "html"
    with pytest.raises(
        ValueError, match=r"expected a report named \.html, \.md, \.csv, \.json, got 'report'"
    ):
        form_of(Path("report"))


def test_reports_need_no_torch(filled):
    code = f"""
from results.render.report import FORMS, render
from results.store.store import Store
with Store.open({str(filled[0])!r}, create=False) as store:
    [render(store, "phone", form) for form in FORMS]
"""
    assert not {"torch", "ray", "matplotlib.pyplot"} & modules_after(code)


def test_rejections_are_grouped_by_who_turned_away(tmp_path):
    with Store.open(tmp_path / "results.db") as store:
        studies.fill(store, tmp_path)
        study = store.study(NAME)
        reasons = ["no width of the space brings it within the budget"] * 2
        reasons += [
            "no width of the space brings it within parameters<=500k",
            "latency can't be measured: killed",
        ]
        reasons += [f"latency of {ms} ms is over the limit of 30 ms" for ms in (31, 41.2)]
        reasons += [f"--filter gradient_norm:0.5: gradient_norm {n} is reached by 3" for n in range(3)]
        for number, reason in enumerate(reasons):
            store.record_ask(study.id, number, {"w": number}, "rejected", reason=reason)
        record = json.loads(render(store, NAME, "json"))
        texts = [render(store, NAME, form) for form in ("html", "md")]
    assert record["asks"]["turned_away"] == {
        "budget": 2,
        "limit on parameters": 1,
        "measuring of latency": 1,
        "limit on latency": 2,
        "filter gradient_norm:0.5": 3,
    }
    assert "9 answers of the strategy, 2 by the budget, 1 by the limit on parameters" in record["summary"]
    for text in texts:
        assert "2 by the limit on latency" in text
        assert "outside the budget" not in text


def test_objectives_and_limits_of_the_studys_own_are_shown(tmp_path):
    with Store.open(tmp_path / "results.db") as store:
        made = studies.setup(tmp_path / "images", objectives=("ssim", "gmacs"), limits=("parameters<=12k",))
        study = studies.new_study(store, made)
        for architecture, gain in studies.GAINS.items():
            studies.complete(store, study, architecture, studies.scores(made, gain), tmp_path)
        html, text = (render(store, NAME, form) for form in ("html", "md"))
        ssim = overview(store, NAME).front.members[0].values[0]
    assert '<th class="n">ssim_y</th>' in html
    assert f'<td class="n">{ssim:.3f}</td>' in html
    assert f"{ssim:.3f} |" in text
    assert "of 3 complete trials are beyond a limit (parameters\\<=12000)" in text
    assert "from ssim 0." in text


def test_who_did_not_start_from_random_weights_is_told(tmp_path):
    """In the report, the table, the trial's page and the card."""
    with Store.open(tmp_path / "results.db") as store:
        made = studies.setup(tmp_path / "images")
        study = studies.new_study(store, made)
        first = {"supernet": "abc", "supernet_steps": 4000, "steps_before": 4000}
        parent = studies.complete(
            store, study, studies.CHEAP, studies.scores(made, 0.5), tmp_path, origin=first
        )
        second = heir(parent, 10)
        child = studies.complete(
            store, study, studies.DEAR, studies.scores(made, 1.5), tmp_path, origin=second
        )
        texts = [render(store, NAME, form) for form in ("html", "md")]
        console = Console(width=1000, record=True, file=io.StringIO())
        console.print(front_table(overview(store, NAME)), trial_view(study, [child], (), ()))
        texts.append(console.export_text())
    assert stage_text(study, child).endswith(
        "; starts from trial 0's weights at step 10; 4,030 steps of training behind it in all"
    )
    for text in texts:
        said = "trial 0 starts from its weights in supernet abc; 4,020 steps of training behind it in all"
        assert said in text
        assert "4,030 steps of training behind it" in text

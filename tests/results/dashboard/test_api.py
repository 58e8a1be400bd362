"""The JSON API, asked as a page or a script asks it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from results.analysis import overview
from results.store.store import Store
from spaces.architecture import Block
from spaces.measurement import Measurement
from spaces.topologies.chain import Chain
from tests.results import studies
from tests.results.dashboard.conftest import client_of
from tests.results.studies import BEATEN, CHEAP, DEAR, NAME

STUDY = f"/api/v1/studies/{NAME}"
AWKWARD = ("<img src=x onerror=alert(1)>", "50% of x", "a?b#c d", "..x", "é")


def get(client, address: str, **query):
    answer = client.get(address, params=query)
    assert answer.status_code == 200, answer.text
    return strict(answer.text)


def strict(text: str):
    """JSON as the standard has it, which knows no NaN."""

    def refuse(constant: str):
        raise AssertionError(f"the answer has {constant}")

    return json.loads(text, parse_constant=refuse)


def refused(client, status: int, code: str, address: str, **query) -> str:
    answer = client.get(address, params=query)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "details"}
    assert error["code"] == code
    return error["message"]


def test_the_list_of_studies(api):
    (found,) = get(api, "/api/v1/studies")["studies"]
    assert {key: found[key] for key in ("name", "task", "trials", "complete", "failed", "running")} == {
        "name": NAME,
        "task": "sr-x2",
        "trials": 6,
        "complete": 3,
        "failed": 1,
        "running": 1,
    }
    assert found["goal"] == "at most 2 GMACs"
    assert found["best"]["trial"] == 2
    assert found["created_at"].endswith("Z")


def test_a_study(api, small_store):
    found, study = get(api, STUDY), small_store.study(NAME)
    columns = {column["key"]: column for column in found["columns"]}
    objective, cost = columns[found["objective"]], columns[found["cost"]]
    assert [objective["name"], objective["protocol"]] == study.data["objective"]
    assert (cost["name"], cost["protocol"]) == overview.cost_key(study)
    assert (cost["unit"], cost["scale"], cost["count"], objective["count"]) == ("GMACs", 1e9, 6, 3)
    assert found["budget"] == {"low": 0.0, "high": 2.0, "unit": "GMACs"}
    assert found["baseline"]["value"] == overview.baseline_value(study, *study.data["objective"])
    assert found["counts"] == {
        "by_state": {"waiting": 1, "running": 1, "complete": 3, "failed": 1},
        "by_stage": {"search": 6},
    }
    assert found["spent"] == {"trials": 4, "seconds": 10.5, "steps": 70}
    assert found["config"]["training"] == study.config["training"]
    assert found["best"] == 2
    assert found["limits"] == {"trials": study.config["trials"], "seconds": None, "steps": 20}


def test_points_are_columns_by_trial(api, small_store):
    found, study = get(api, f"{STUDY}/points", fields="values,features"), small_store.study(NAME)
    trials = small_store.trials(study.id)
    objective = get(api, STUDY)["objective"]
    assert found["number"] == [trial.number for trial in trials]
    assert [found["states"][index] for index in found["state"]] == [trial.state for trial in trials]
    assert [found["stages"][index] for index in found["stage"]] == [trial.stage for trial in trials]
    values = [overview.value(trial.measurements, *study.data["objective"]) for trial in trials]
    assert found["values"][objective] == values
    assert found["label"][:3] == [architecture.label for architecture in (CHEAP, BEATEN, DEAR)]
    assert found["digest"] == [trial.digest for trial in trials]
    assert [[found["kinds"][kind] for kind in uses] for uses in found["uses"]][:2] == [
        ["residual"],
        ["residual", "rfdb"],
    ]
    assert (found["depth"][2], found["width"][2]) == (3, 16)
    assert {found["upsamplers"][index] for index in found["upsampler"]} == {"pixelshuffle"}


def test_points_are_what_was_asked_for(api):
    plain, known = get(api, f"{STUDY}/points"), get(api, f"{STUDY}/points", fields="features")
    assert plain.keys() & known.keys() == {"revision", "since", "count", "number"}
    assert "values" in plain
    assert "label" in known
    refused(api, 422, "unknown_field", f"{STUDY}/points", fields="values,beauty")


@pytest.mark.parametrize("name", ["small", "staged"])
def test_the_front_is_that_of_the_command_line(places, name):
    with Store.open(places[name][0], create=False) as store:
        expected = overview.overview(store, NAME)
    with client_of(*places[name]) as client:
        found = get(client, f"{STUDY}/front")
        assert get(client, f"{STUDY}/trials/best")["number"] == expected.best.number
    pairs = [(member["number"], member["x"], member["y"]) for member in found["members"]]
    assert pairs == [(p.number, p.cost, p.quality) for p in expected.front.members]
    assert found["hypervolume"] == pytest.approx(expected.front.hypervolume)
    assert found["worthless"] == expected.front.worthless
    assert found["considered"] == len(expected.front.points)
    assert found["reference"]["meaning"] == expected.front.reference.meaning


def test_a_floor_makes_the_cheapest_that_reaches_it_the_best(tmp_path):
    goal = {"label": "rfdn", "quality": 0.0}
    with Store.open(tmp_path / "results.db") as store:
        made = studies.setup(tmp_path / "images")
        goal["quality"] = made.baseline[1].value + 0.4
        studies.new_study(store, made, goal=goal)
        for architecture, gain in studies.GAINS.items():
            studies.complete(store, store.study(NAME), architecture, studies.scores(made, gain), tmp_path)
        expected = overview.overview(store, NAME)
    with client_of(tmp_path / "results.db") as client:
        assert get(client, f"{STUDY}/trials/best")["number"] == expected.best.number
        assert get(client, f"{STUDY}/front")["reference"]["meaning"] == expected.front.reference.meaning
        assert get(client, STUDY)["floor"] == {"name": "rfdn", "value": goal["quality"]}


def test_other_axes_have_no_reference(api):
    found = get(api, f"{STUDY}/front", x="parameters", y="ssim_y")
    assert (found["reference"], found["hypervolume"], found["unit"]) == (None, None, None)
    assert found["x"]["key"] == "parameters"
    assert found["members"]


@pytest.mark.parametrize(
    ("query", "members"),
    [
        ({"stage": "search"}, [1, 2]),
        ({"stage": "prune"}, [6]),
        ({"stage": "prune,distil"}, [7, 5]),
        ({"depth": "3:", "stage": "search"}, [2]),
        ({"depth": ":2", "stage": "search"}, [1]),
        ({"width": "8:12"}, [7]),
        ({"kind": "ghost"}, []),
        ({"kind": "ghost,rfdb", "stage": "search"}, [1, 2]),
        ({"kind": "residual,rfdb", "kinds": "all"}, [1, 5, 0]),
        ({"upsampler": "transposed"}, []),
    ],
)
def test_a_filtered_front(staged_api, query, members):
    assert [member["number"] for member in get(staged_api, f"{STUDY}/front", **query)["members"]] == members


def test_pages_of_trials_in_any_order(staged_api):
    cost = get(staged_api, STUDY)["cost"]
    for sort, order in (("number", "asc"), ("number", "desc"), (cost, "asc"), (cost, "desc")):
        seen, after = [], None
        while True:
            query = {"sort": sort, "order": order, "limit": 3} | ({} if after is None else {"after": after})
            page = get(staged_api, f"{STUDY}/trials", **query)
            assert page["total"] == 8
            assert len(page["trials"]) <= 3
            seen += page["trials"]
            after = page["next"]
            if after is None:
                break
        assert sorted(trial["number"] for trial in seen) == list(range(8))
        if sort == cost:
            costs = [trial["measurements"][0]["value"] for trial in seen]
            assert costs == sorted(costs, reverse=order == "desc")


def test_trials_by_stage_and_state(api, staged_api):
    assert [each["number"] for each in get(api, f"{STUDY}/trials", state="failed,running")["trials"]] == [
        3,
        4,
    ]
    assert [each["number"] for each in get(staged_api, f"{STUDY}/trials", stage="distil")["trials"]] == [5, 7]


def test_a_trial(staged_api, staged):
    found = get(staged_api, f"{STUDY}/trials/6")
    assert [each["number"] for each in found["lineage"]] == [2, 6]
    assert [each["number"] for each in found["children"]] == [7]
    assert (found["parent"], found["stage"], found["label"]) == (2, "prune", CHEAP.label)
    assert found["origin"] == {"criterion": "taylor", "target_gmacs": 0.7}
    assert found["architecture"] == json.loads(CHEAP.to_json())
    assert [rung["step"] for rung in found["rungs"]] == [20]
    (weights,) = found["files"]
    assert (weights["kind"], weights["available"], len(weights["sha256"])) == ("weights", True, 64)
    assert str(staged[0].parent) not in weights["name"]
    assert found["command"]["show"].startswith(f"pixelfront show {NAME} 6")


def test_learning_curves(api):
    (running, done) = get(api, f"{STUDY}/curves", numbers="4,0")["curves"][::-1]
    assert (running["number"], running["steps"], running["loss"]) == (4, [10], [0.125])
    assert (done["number"], done["steps"]) == (0, [20])
    assert done["values"][0] > 0


def test_progress(api):
    found = get(api, f"{STUDY}/progress")
    (running,) = found["running"]
    assert (running["number"], running["steps"], running["of"]) == (4, 10, 20)
    assert running["curve"][0][0] == 10
    (failure,) = found["failures"]
    assert (failure["number"], failure["reason"]) == (3, "diverged: the loss became nan by step 3")
    assert found["waiting"] == 1
    history = found["hypervolume"]
    assert history["by_time"][-1][1] == pytest.approx(get(api, f"{STUDY}/front")["hypervolume"])
    assert [steps for steps, _ in history["by_steps"]] == sorted(steps for steps, _ in history["by_steps"])


def test_repeated_architectures_have_intervals(tmp_path):
    with Store.open(tmp_path / "results.db") as store:
        made = studies.setup(tmp_path / "images")
        study = studies.new_study(store, made)
        for variant, gain in (("a", 1.0), ("b", 1.5), ("c", 2.0)):
            studies.complete(store, study, DEAR, studies.scores(made, gain), tmp_path, variant=variant)
        studies.complete(store, study, CHEAP, studies.scores(made, 0.5), tmp_path)
        for recipe in ("one", "other"):  # no repeats: made in two ways
            origin = {"recipe": recipe}
            studies.complete(
                store, study, CHEAP, studies.scores(made, 0.5), tmp_path, variant=recipe, origin=origin
            )
    with client_of(tmp_path / "results.db") as client:
        (group,) = get(client, f"{STUDY}/intervals")["groups"]
    assert (group["numbers"], group["n"], group["stage"]) == ([0, 1, 2], 3, "search")
    assert group["mean"] == pytest.approx(made.baseline[1].value + 1.5)
    assert group["high"] - group["mean"] == pytest.approx(
        4.302653 * 0.5 / 3**0.5
    )  # t of 2 degrees of freedom


def test_only_what_changed(tmp_path):
    with Store.open(tmp_path / "results.db") as store, client_of(tmp_path / "results.db") as client:
        made = studies.fill(store, tmp_path)
        study = store.study(NAME)
        first = get(client, f"{STUDY}/points")
        assert get(client, f"{STUDY}/points", since=first["revision"])["count"] == 0
        wide = Chain(width=32, blocks=(Block("residual"),))
        studies.complete(store, study, wide, studies.scores(made, 3.0), tmp_path)
        delta = get(client, f"{STUDY}/points", since=first["revision"], fields="values,features")
        assert (delta["number"], delta["label"], delta["width"]) == ([6], [wide.label], [32])
        assert delta["revision"] == store.revision(study.id)
        store.fail_trial(store.trial(study.id, 4).id, "lost")
        again = get(client, f"{STUDY}/points", since=delta["revision"])
        assert again["number"] == [4]
        assert again["states"][again["state"][0]] == "failed"
        assert [
            each["number"] for each in get(client, f"{STUDY}/trials", since=delta["revision"])["trials"]
        ] == [4]


def test_a_study_without_trials(tmp_path):
    with Store.open(tmp_path / "results.db") as store:
        studies.new_study(store, studies.setup(tmp_path / "images"))
    with client_of(tmp_path / "results.db") as client:
        assert get(client, "/api/v1/studies")["studies"][0]["best"] is None
        found = get(client, STUDY)
        assert (found["objective"], found["best"]) == ("psnr_y", None)
        assert [each["unit"] for each in found["columns"]] == ["GMACs", "dB"]
        assert get(client, f"{STUDY}/points", fields="features")["count"] == 0
        assert get(client, f"{STUDY}/front")["members"] == []
        assert get(client, f"{STUDY}/trials")["trials"] == []
        assert get(client, f"{STUDY}/intervals")["groups"] == []
        assert get(client, f"{STUDY}/space")["effects"] == []
        assert get(client, f"{STUDY}/progress")["running"] == []
        refused(client, 404, "no_best", f"{STUDY}/trials/best")


def test_a_study_with_only_failures(tmp_path):
    with Store.open(tmp_path / "results.db") as store:
        study = studies.new_study(store, studies.setup(tmp_path / "images"))
        for architecture in (CHEAP, DEAR):
            trial = studies.add(store, study, architecture)
            store.fail_trial(trial.id, "<b>out of memory</b>")
    with client_of(tmp_path / "results.db") as client:
        found = get(client, f"{STUDY}/progress")
        assert [each["reason"] for each in found["failures"]] == ["<b>out of memory</b>"] * 2
        assert get(client, f"{STUDY}/front")["members"] == []
        assert get(client, f"{STUDY}/points")["count"] == 2
        assert get(client, f"{STUDY}/space")["parallel"]["rows"] == []


def test_studies_of_awkward_names(tmp_path):
    with Store.open(tmp_path / "results.db") as store:
        made = studies.setup(tmp_path / "images")
        for name in AWKWARD:
            studies.new_study(store, made, name)
    with client_of(tmp_path / "results.db") as client:
        found = [study["name"] for study in get(client, "/api/v1/studies")["studies"]]
        assert found == list(AWKWARD)
        for name in AWKWARD:
            quoted = quote(name, safe="")  # as a browser's encodeURIComponent does
            assert get(client, f"/api/v1/studies/{quoted}")["name"] == name
            assert get(client, f"/api/v1/studies/{quoted}/points")["count"] == 0


def test_refusals_have_one_shape(api):
    assert "phone" in refused(api, 404, "unknown_study", "/api/v1/studies/phon")
    assert "it has 0 to 5" in refused(api, 404, "unknown_trial", f"{STUDY}/trials/99")
    refused(api, 422, "unknown_trial", f"{STUDY}/trials/worst")
    assert "psnr_y" in refused(api, 422, "unknown_metric", f"{STUDY}/front", x="beauty")
    refused(api, 422, "unknown_stage", f"{STUDY}/front", stage="polish")
    refused(api, 422, "unknown_trial", f"{STUDY}/trials", after=77)
    refused(api, 422, "invalid", f"{STUDY}/trials", limit=5000)
    refused(api, 422, "invalid", f"{STUDY}/front", depth="deep")
    refused(api, 422, "invalid", f"{STUDY}/curves", numbers="1,x")
    refused(api, 404, "not_found", "/nothing")
    refused(api, 404, "not_found", "/static/../app.py")
    assert api.delete(STUDY).status_code == 405


def test_files_of_the_page_are_sent_once_and_asked_about_after_that(api):
    first = api.get("/static/app.js")
    assert (first.headers["content-type"], first.headers["cache-control"]) == (
        "text/javascript",
        "no-cache",
    )
    again = api.get("/static/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert api.get("/").headers["etag"] != first.headers["etag"]


def test_the_reference_is_a_page_without_scripts(api):
    text = api.get("/api/docs").text
    assert "/api/v1/studies/{study}/front" in text
    assert "<script" not in text
    assert '<section id="StudyRecord">' in text
    assert get(api, "/api/openapi.json")["paths"]["/api/v1/studies/{study}/points"]


def test_every_answer_is_described(api):
    paths = get(api, "/api/openapi.json")["paths"]
    plain = {"report.{form}", "events", "{name}.png", "{name}"}  # documents, streams, files
    for path, methods in paths.items():
        for operation in methods.values():
            content = operation["responses"]["200"].get("content", {}).get("application/json", {})
            assert bool(content.get("schema")) != (path.rpartition("/")[2] in plain), path
            refusal = operation["responses"]["4XX"]["content"]["application/json"]["schema"]
            assert refusal == {"$ref": "#/components/schemas/Refusal"}


def test_an_answer_that_is_not_as_described_is_noticed(api, monkeypatch):
    monkeypatch.setattr("results.dashboard.views.goal_text", lambda _study: 3)
    with pytest.raises(ValueError, match="goal"):
        api.get(STUDY)


def test_looking_writes_nothing(tmp_path):
    with Store.open(tmp_path / "results.db") as store:
        studies.fill(store, tmp_path)
    before = (tmp_path / "results.db").read_bytes()
    with client_of(tmp_path / "results.db") as client:
        for resource in (
            "",
            "/points",
            "/front",
            "/trials",
            "/trials/0",
            "/progress",
            "/space",
            "/intervals",
        ):
            get(client, f"{STUDY}{resource}")
    assert (tmp_path / "results.db").read_bytes() == before


def test_the_server_starts_without_torch():
    code = (
        "import sys, results.dashboard.app, results.dashboard.serving, search.dashboard.worker\n"
        "sys.exit(', '.join({'torch', 'optuna', 'ray', 'matplotlib', 'search.stages.search'} & set(sys.modules)) or 0)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_study_with_objectives_and_limits_of_its_own(tmp_path):
    """The front and the best are within the limits, on the page as on the command line."""
    with Store.open(tmp_path / "results.db") as store:
        said = {"objectives": ("psnr", "latency", "gmacs"), "limits": ("latency<=30ms",)}
        made = studies.setup(tmp_path / "images", **said)
        study = studies.new_study(store, made)
        protocol = made.objective_of("latency").protocol
        # BEATEN costs more than CHEAP and is better; DEAR is the best, and too slow.
        for architecture, gain, ms in ((CHEAP, 0.5, 10.0), (BEATEN, 0.75, 20.0), (DEAR, 1.5, 99.0)):
            taken = [Measurement("latency_ms", ms, "ms", "min", protocol), *studies.scores(made, gain)]
            studies.complete(store, study, architecture, taken, tmp_path)
        reasons = [
            "latency of 41.2 ms is over the limit of 30 ms",
            "latency of 55 ms is over the limit of 30 ms",
        ]
        reasons += [
            "no width of the space brings it within the budget",
            "--filter naswot:0.5: naswot 1 is reached by 3",
        ]
        for number, reason in enumerate(reasons):
            store.record_ask(study.id, number, {"w": number}, "rejected", reason=reason)
        expected = overview.overview(store, NAME)
    with client_of(tmp_path / "results.db") as client:
        found, front = get(client, STUDY), get(client, f"{STUDY}/front")
        plain = get(client, f"{STUDY}/front", x=found["cost"], y=found["objective"])
        page = get(client, f"{STUDY}/progress")
    assert found["axes"] == {"x": "latency_ms", "y": found["objective"]}
    assert found["bounds"] == [{"key": "latency_ms", "value": 30.0, "text": "latency<=30ms"}]
    assert [column["kind"] for column in found["columns"] if column["key"] == "latency_ms"] == ["runtime"]
    assert found["best"] == expected.best.number == 1
    assert [member["number"] for member in front["members"]] == [0, 1]
    assert (front["unmet"], plain["unmet"]) == (1, 1)
    assert [member["number"] for member in plain["members"]] == [0, 1]
    assert 0 < plain["hypervolume"] == page["hypervolume"]["by_time"][-1][1]
    assert page["asks"]["turned_away"] == {"limit on latency": 2, "budget": 1, "filter naswot:0.5": 1}


def test_best_is_the_command_lines_whatever_the_objectives(tmp_path):
    for n, names in enumerate(
        (("ssim", "parameters"), ("gmacs", "psnr", "activations"), ("psnr",), ("parameters",))
    ):
        with Store.open(tmp_path / f"{n}.db") as store:
            limits = ("parameters<=12k",) if n % 2 else ()
            made = studies.setup(tmp_path / f"images{n}", objectives=names, limits=limits)
            study = studies.new_study(store, made)
            for architecture, gain in studies.GAINS.items():
                studies.complete(store, study, architecture, studies.scores(made, gain), tmp_path / str(n))
            expected = overview.overview(store, NAME).best.number
        with client_of(tmp_path / f"{n}.db") as client:
            assert get(client, STUDY)["best"] == expected, names


def test_networks_that_are_not_trained_to_the_end_are_at_one_rung(tmp_path):
    """Trial 2's later score doesn't count; the complete one isn't listed."""
    with Store.open(tmp_path / "results.db") as store:
        made = studies.setup(tmp_path / "images")
        study = studies.new_study(store, made)
        store.set_study_state(study.id, "paused", "time")
        studies.complete(store, study, CHEAP, studies.scores(made, 1.0), tmp_path)
        with client_of(tmp_path / "results.db") as client:
            found = get(client, f"{STUDY}/preliminary")
            assert (found["step"], found["steps"], found["points"], found["command"]) == (None, 20, [], None)
        for architecture, gains in ((BEATEN, {5: 0.25}), (DEAR, {5: 0.5, 10: 3.0})):
            trial = studies.add(store, study, architecture)
            store.start_trial(trial.id)
            for step, gain in gains.items():
                store.add_rung(trial.id, step, 0.125, 1.0, studies.scores(made, gain)[:2])
            store.pause_trial(trial.id)
        with client_of(tmp_path / "results.db") as client:
            found = get(client, f"{STUDY}/preliminary")
            assert (found["step"], found["steps"]) == (5, 20)
            assert [(p["number"], p["member"]) for p in found["points"]] == [(1, True), (2, True)]
            trivial = made.trivial
            assert [p["y"] - trivial for p in found["points"]] == [pytest.approx(0.25), pytest.approx(0.5)]
            assert found["command"].startswith(f"pixelfront finish {NAME} --time ")
            by_parameters = get(client, f"{STUDY}/preliminary", x="parameters", y="psnr_rgb")
            assert [p["member"] for p in by_parameters["points"]] == [True, True]
            (summary,) = get(client, "/api/v1/studies")["studies"]
            assert (summary["state"], summary["stop"], summary["paused"]) == ("paused", "time", 2)
            assert summary["status"] == "paused: time limit, 2 paused"

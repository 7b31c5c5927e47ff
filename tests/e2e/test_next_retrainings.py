"""The retrainings after the first: what they reuse, what they refuse, and what a red one leaves."""

from __future__ import annotations

import re

import httpx
import pytest

from flows.execution import workspace
from flows.execution.workspace import git
from infra.stack import store
from pipelines.registry import ledger
from tests.conftest import AS_OF, Project
from tests.support.clones import ask, run_stages, wait_for


@pytest.fixture
def decisions(project: Project):
    """The ledger as it is before the test."""
    url = project.settings.evergreen_url
    return lambda: (ledger.versions(url, "churn"), ledger.history(url, "churn"), ledger.champion(url, "churn"))


def test_the_same_pin_again_executes_nothing_and_decides_nothing(project: Project, decisions) -> None:
    before = decisions()
    again = project.clone.retrain(as_of=AS_OF)
    assert again.id != project.run.id
    assert set(again.tasks()) == set(project.run.tasks())
    assert again.executed() == set()
    assert "split: nothing changed, its results were restored." in again.log("split")
    assert project.clone.lock(again.ref) == project.clone.lock(project.run.ref)
    assert decisions() == before


def test_one_candidates_params_rerun_that_candidate_and_what_follows(project: Project) -> None:
    place = workspace.create(project.settings, "edited-params", project.run.ref)
    text = (place.folder / "params.yaml").read_text()
    (place.folder / "params.yaml").write_text(re.sub(r"(\n {4}C: )[\d.]+", r"\g<1>0.2", text))
    assert run_stages(project.clone, place.folder) == [
        "train@linear", "ensemble", "evaluate", "audit", "reference", "package", "report",
    ]  # fmt: skip
    workspace.remove(place)


@pytest.mark.long
def test_one_candidates_file_reruns_that_candidate_and_the_audit_and_no_more_when_the_result_is_the_same(
    project: Project,
) -> None:
    place = workspace.create(project.settings, "edited-file", project.run.ref)
    with (place.folder / "pipelines" / "training" / "candidates" / "linear.py").open("a") as file:
        file.write("# seen\n")
    assert run_stages(project.clone, place.folder) == ["train@linear", "audit"]  # the audit fits candidates again
    workspace.remove(place)


def test_publishing_by_hand_what_is_published_changes_nothing(project: Project, decisions) -> None:
    before = decisions()
    project.clone.evergreen("model", "checkout", "v1", "--force")
    assert "churn v1: promoted." in project.clone.evergreen("model", "publish")
    assert decisions() == before


def test_publishing_results_of_other_params_is_refused(project: Project, decisions) -> None:
    before = decisions()
    project.clone.evergreen("model", "checkout", "v1", "--force")
    project.clone.set_params({"evaluate.cost_false_negative": 6.0})
    try:
        said = project.clone.evergreen("model", "publish", check=False)
    finally:
        project.clone.evergreen("model", "checkout", "v1", "--force")
    assert "What lies here was not made from these files and params" in said
    assert "evaluate" in said
    assert "Run `dvc repro`" in said
    assert decisions() == before


def test_a_dirty_clone_is_refused_by_name(project: Project) -> None:
    stray = project.clone.folder / "pipelines" / "stray.py"
    stray.write_text("")
    try:
        run = project.clone.retrain(succeeds=False, as_of=AS_OF)
    finally:
        stray.unlink()
    message = run.state["message"]
    assert "pipelines/stray.py" in message
    assert "use_uncommitted=true" in message
    assert run.tasks() == {}


def test_a_retraining_while_another_runs_is_refused(project: Project, decisions) -> None:
    before = decisions()
    with ledger.retraining_lock(project.settings.promoter_url, "churn"):
        run = project.clone.retrain(succeeds=False, as_of=AS_OF)
    assert "A retraining of 'churn' is already running (by evergreen, since 20" in run.state["message"]
    assert run.tasks() == {}
    assert decisions() == before


def test_a_red_validation_stops_the_run_tells_why_and_leaves_the_champion(project: Project, decisions) -> None:
    """By uncommitted params, which are accepted when asked for, and kept."""
    before = decisions()
    clone = project.clone
    text = (clone.folder / "params.yaml").read_text()
    clone.set_params({"validate.min_rows": 1_000_000})
    try:
        run = clone.retrain(succeeds=False, as_of=AS_OF, use_uncommitted="true")
    finally:
        (clone.folder / "params.yaml").write_text(text)
    assert run.state["type"] == "FAILED"
    for words in ("Stage validate failed", "rows: ", "needed", "training_set.sql"):
        assert words in run.state["message"]
    assert list(run.tasks()) == ["pin", "extract", "validate"]
    assert "min_rows: 1000000" in git(clone.folder, "show", f"{run.ref}:params.yaml")
    assert decisions() == before

    (link,) = [one for one in run.artifacts() if one["key"] == "churn-stopped"]
    address = re.search(r"http://[^)\s]+", link["data"])
    assert address
    page = httpx.get(address[0], trust_env=False)
    assert page.status_code == 200
    assert "rows: " in page.text
    docs = httpx.get(address[0].replace("index.html", "validation/index.html"), trust_env=False)
    assert docs.status_code == 200
    assert "rows" in docs.text
    said = run.log() + run.state["message"] + page.text + docs.text
    assert [word for word in store.read_passwords(project.settings).values() if word in said] == []


@pytest.mark.long
def test_a_report_that_fails_changes_no_decision_and_is_not_hushed(project: Project, decisions) -> None:
    before, clone = decisions(), project.clone
    report = clone.folder / "monitoring" / "stages" / "report.py"
    text = report.read_text()
    report.write_text(
        text.replace('if __name__ == "__main__":', 'if __name__ == "__main__":\n    raise SystemExit("ERROR: no ink")')
    )
    try:
        run = clone.retrain(succeeds=False, as_of=AS_OF, use_uncommitted="true")
    finally:
        report.write_text(text)
    assert run.state["type"] == "FAILED"
    for words in ("churn v1 is decided", "its reports are missing", "Stage report failed", "no ink", "retrain by this commit"):
        assert words in run.state["message"]
    assert run.executed() == {"report"}
    assert decisions() == before
    page = httpx.get(f"{project.settings.site_url}/churn/v1/index.html", trust_env=False).text
    assert "The reports are missing" in page
    assert "no ink" in page

    clone.retrain(as_of=AS_OF)
    page = httpx.get(f"{project.settings.site_url}/churn/v1/index.html", trust_env=False).text
    assert "The reports are missing" not in page
    assert "model/bias.html" in page


@pytest.mark.long
def test_the_weekly_schedule_gains_a_run_when_it_is_resumed(project: Project) -> None:
    """Guards the pin of SQLAlchemy: with 2.1 no scheduled run ever appears, and nothing else looks wrong."""
    api = project.settings.prefect_api_url
    deployment = ask("get", f"{api}/deployments/name/retrain/churn")
    (schedule,) = deployment["schedules"]
    assert not schedule["active"]
    assert schedule["schedule"]["cron"] == "0 4 * * 1"
    wanted = {
        "deployments": {"id": {"any_": [deployment["id"]]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    assert ask("post", f"{api}/flow_runs/filter", wanted) == []
    name = "retrain/churn"
    project.clone.run("prefect", "deployment", "schedule", "resume", name, schedule["id"])
    try:
        scheduled = wait_for(lambda: ask("post", f"{api}/flow_runs/filter", wanted), 120, "a Scheduled run")
    finally:
        project.clone.run("prefect", "deployment", "schedule", "pause", name, schedule["id"])
    assert {one["state_name"] for one in scheduled} == {"Scheduled"}
    wait_for(lambda: ask("post", f"{api}/flow_runs/filter", wanted) == [], 60, "no scheduled run after pausing")

"""Other clones on the same stack: another model's, another machine's, another time's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows.execution.workspace import git
from pipelines.registry import ledger
from tests.conftest import Project
from tests.e2e.conftest import exact
from tests.support.clones import REPOSITORY, Clone, FlowRun, ask

pytestmark = pytest.mark.long
TELCO = REPOSITORY.parent / "shared" / "data" / "telco_churn" / "Telco-Customer-Churn.csv"


def beside(project: Project, folder: Path, **options) -> Clone:
    """A clone that shares the project's stack."""
    return Clone.make(folder, (project.clone.folder / ".env").read_text(), **options)


# a table of somebody else's


@pytest.fixture(scope="module")
def telco(project: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, FlowRun]:
    if not TELCO.exists():
        pytest.skip(f"{TELCO} is not there: the real Telco table lies beside the repository, not in it")
    clone = beside(project, tmp_path_factory.mktemp("telco") / "clone", base="sql/telco/params.yaml")
    assert "telco.customers holds 7,043 rows." in clone.evergreen("data", "load", str(TELCO), "--table", "telco.customers")
    clone.evergreen("deploy")
    return clone, clone.retrain()


def test_the_telco_table_ends_with_a_champion_beside_churn(project: Project, telco: tuple[Clone, FlowRun]) -> None:
    _, run = telco
    champion = ledger.champion(project.settings.evergreen_url, "telco")
    assert champion is not None
    assert (champion.version, champion.git_ref) == (1, run.ref)
    assert champion.metrics["roc_auc"] > 0.8
    assert set(ledger.models(project.settings.evergreen_url)) >= {"churn", "telco"}


def test_no_code_was_changed_for_it(telco: tuple[Clone, FlowRun]) -> None:
    clone, _ = telco
    for name in git(clone.folder, "ls-files", "*.py", "dvc.yaml").splitlines():
        assert (clone.folder / name).read_bytes() == (REPOSITORY / name).read_bytes(), name


def test_its_pin_is_timeless_and_its_second_retraining_does_nothing(telco: tuple[Clone, FlowRun]) -> None:
    clone, run = telco
    assert "as_of: timeless" in git(clone.folder, "show", f"{run.ref}:params.yaml").replace('"', "")
    again = clone.retrain()
    assert again.executed() == set()
    assert len(ledger.versions(clone.settings.evergreen_url, "telco")) == 1


# a stage on another machine


@pytest.fixture(scope="module")
def handed_over(project: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, FlowRun, Path]:
    """lightgbm on pool gpu, whose worker has a clone and a DVC cache of its own and cannot reach the source."""
    folder = tmp_path_factory.mktemp("machines")
    near = beside(project, folder / "near", changes={"model": "handed"})
    spread(near)
    near.deploy()
    far = beside(project, folder / "far", changes={"model": "handed"})
    only_gpu(far, folder / "far-home")
    far.deploy(take_over=True)
    try:
        yield near, near.retrain(as_of="2024-10-31"), folder / "far-home"
    finally:
        project.clone.deploy(take_over=True)


def spread(clone: Clone) -> None:
    clone.set_params({"candidates.enabled": {"linear": "cpu", "lightgbm": "gpu"}})
    clone.commit("lightgbm on the pool gpu")


def only_gpu(clone: Clone, home: Path) -> None:
    """What the other machine deploys: stage/gpu, with a home of its own, which here shares the local worker, and no way to
    the databases."""
    file = clone.folder / "infra" / "prefect.yaml"
    yaml = YAML()
    values = yaml.load(file)
    for deployment in values["deployments"]:
        deployment["work_pool"]["job_variables"]["env"]["EVERGREEN_HOME"] = str(home)
    yaml.dump(values, file)
    with (clone.folder / ".env").open("a") as env:
        env.write(f"EVERGREEN_DVC_REMOTE='{clone.settings.dvc_remote}'\nEVERGREEN_POOLS=gpu\n")
    clone.commit("The machine with the device")


def test_a_stage_of_another_pool_runs_on_that_pools_worker(handed_over: tuple[Clone, FlowRun, Path]) -> None:
    _, run, far_home = handed_over
    assert run.state["type"] == "COMPLETED"
    assert "train@linear" in run.executed()
    assert "train@lightgbm" not in run.executed()
    assert list((far_home / "dvc" / "cache").rglob("*.dir")), "the other machine's cache is empty"
    assert list((far_home / "runs").iterdir()) == []


def test_its_results_are_those_of_a_run_on_one_machine(handed_over: tuple[Clone, FlowRun, Path], by_hand) -> None:
    near, run, _ = handed_over
    assert by_hand(near, run.ref) == exact(near.lock(run.ref))


def test_where_it_ran_stands_on_the_run_in_mlflow_and_on_the_versions_page(handed_over: tuple[Clone, FlowRun, Path]) -> None:
    near, run, _ = handed_over
    (table,) = [one for one in run.artifacts() if one["key"] == "handed-where-stages-ran"]
    rows = {row["stage"]: row for row in json.loads(table["data"])}
    assert set(rows) == set(near.lock(run.ref))
    assert (rows["train@lightgbm"]["ran_on"], rows["train@lightgbm"]["worker"]) == ("gpu", "gpu-1")
    assert (rows["train@linear"]["ran_on"], rows["train@linear"]["worker"]) == ("cpu", "cpu-1")
    (version,) = ledger.versions(near.settings.evergreen_url, "handed")
    uri, page = near.settings.mlflow_tracking_uri, near.settings.home / "site" / "handed" / "v1" / "index.html"
    tags = ask("get", f"{uri}/api/2.0/mlflow/runs/get?run_id={version.mlflow_run_id}")["run"]["data"]["tags"]
    assert {"key": "evergreen.ran.train.lightgbm", "value": "gpu (worker gpu-1)"} in tags
    assert "<td>gpu (worker gpu-1)</td>" in page.read_text()


def test_its_own_run_tells_which_retraining_asked_for_it(handed_over: tuple[Clone, FlowRun, Path]) -> None:
    near, run, _ = handed_over
    wanted = {"flow_runs": {"tags": {"all_": [f"retrain:{run.id}", "pool:gpu"]}}}
    (own,) = ask("post", f"{near.settings.prefect_api_url}/flow_runs/filter", wanted)
    assert (own["name"], own["state_type"]) == ("stage-train@lightgbm", "COMPLETED")
    assert own["labels"]["prefect.worker.name"] == "gpu-1"


# a later time


def test_a_later_retraining_is_judged_against_the_champion_with_a_paired_interval(project: Project) -> None:
    url = project.settings.evergreen_url
    before = ledger.champion(url, "churn")
    run = project.clone.retrain(as_of="2025-01-31")
    newest = ledger.history(url, "churn")[0]
    assert (newest.from_version, newest.actor) == (before.version, f"retrain/{run.id}")
    after = ledger.champion(url, "churn")
    assert after.version == (newest.to_version if newest.decision == "promoted" else before.version)
    evidence = newest.verdict["evidence"]
    assert evidence["low"] < evidence["gain"] < evidence["high"]
    assert evidence["entities"] > 100
    failed = [check["name"] for check in newest.verdict["checks"] if check["passed"] is False]
    assert (newest.decision == "promoted") == (failed == [])
    assert (evidence["low"] > 0) == ("better beyond chance" not in failed)
    said = project.clone.evergreen("model", "history")
    moved = rf"v{newest.from_version} -> v{newest.to_version} +promoted "
    stayed = rf"v{newest.to_version} rejected, v{newest.from_version} stays "
    assert re.search(moved if newest.decision == "promoted" else stayed, said) and newest.reason in said


def test_a_person_may_promote_past_the_gate_and_back(project: Project) -> None:
    url, uri = project.settings.evergreen_url, project.settings.mlflow_tracking_uri
    before = ledger.champion(url, "churn")
    other = next(one for one in ledger.versions(url, "churn") if one.version != before.version)
    for version in (other, before):
        project.clone.evergreen("model", "promote", f"v{version.version}", "--reason", "tried by a person")
        newest = ledger.history(url, "churn")[0]
        assert (newest.to_version, newest.decision) == (version.version, "promoted")
        assert newest.reason.endswith(": tried by a person")
        aliased = ask("get", f"{uri}/api/2.0/mlflow/registered-models/alias?name=churn&alias=champion")["model_version"]
        assert aliased["version"] == str(version.mlflow_version)
    assert "is the champion of 'churn' already" in project.clone.evergreen(
        "model", "promote", f"v{before.version}", "--reason", "x", check=False
    )


# experiments


def test_an_experiment_with_another_value_runs_and_is_shown(project: Project, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", str(project.clone.folder), "clone")
    clone = Clone(tmp_path / "clone")
    (clone.folder / ".env").write_text((project.clone.folder / ".env").read_text())
    git(clone.folder, "fetch", "--quiet", "origin", f"{project.run.ref}:{project.run.ref}")
    git(clone.folder, "checkout", "--quiet", "-b", "pinned", project.run.ref)
    clone.evergreen("model", "checkout", "v1")
    said = clone.run("dvc", "exp", "run", "--name", "stronger", "-S", "candidates.linear.C=0.1").stdout
    ran = re.findall(r"Running stage '(.+)'", said)
    assert ran[:4] == ["train@linear", "ensemble", "evaluate", "audit"]
    assert set(ran[4:]) == {"reference", "package", "report"}  # what follows from another champion of the candidates
    shown = clone.run("dvc", "exp", "show", "--no-pager", "--csv").stdout
    (row,) = [line for line in shown.splitlines() if "stronger" in line]
    assert "0.1" in row

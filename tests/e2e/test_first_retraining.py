"""What one retraining through a worker leaves behind, in every place where somebody may look for it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.execution import dvc
from flows.execution.workspace import git
from infra.stack import processes, store
from pipelines.registry import ledger
from tests.conftest import AS_OF, Project
from tests.support.clones import Clone, bare_environment


@pytest.fixture(scope="module")
def stages(project: Project) -> list[str]:
    with dvc.runner(project.clone.folder, bare_environment()) as runner:
        return [stage.name for stage in runner.stages]


@pytest.fixture(scope="module")
def first(project: Project) -> ledger.Version:
    return ledger.version(project.settings.evergreen_url, "churn", 1)


def mlflow(project: Project, endpoint: str, **query: Any) -> dict[str, Any]:
    found = httpx.get(f"{project.settings.mlflow_tracking_uri}/api/2.0/mlflow/{endpoint}", params=query, trust_env=False)
    assert found.is_success, found.text
    return found.json()


def mlflow_files(project: Project, run_id: str, path: str = "") -> set[str]:
    listed = mlflow(project, "artifacts/list", run_id=run_id, **({"path": path} if path else {})).get("files", [])
    deeper = [mlflow_files(project, run_id, one["path"]) for one in listed if one["is_dir"]]
    return {one["path"] for one in listed if not one["is_dir"]}.union(*deeper)


# the ledger


def test_the_first_version_is_champion_of_the_first_epoch(project: Project) -> None:
    champion = ledger.champion(project.settings.evergreen_url, "churn")
    assert champion is not None
    assert (champion.version, champion.revision) == (1, 1)
    (promotion,) = [row for row in ledger.history(project.settings.evergreen_url, "churn") if row.to_version == 1]
    assert (promotion.decision, promotion.from_version, promotion.actor) == ("promoted", None, f"retrain/{project.run.id}")


def test_the_ledger_holds_a_digest_of_every_file_of_the_bundle(first: ledger.Version) -> None:
    assert {"model.onnx", "schema.json", "card.md", "evaluation.json", "manifest.json"} <= set(first.manifest)
    assert first.manifest["model.onnx"] == first.onnx_sha256


# MLflow


def test_mlflow_has_one_version_and_its_alias(project: Project, first: ledger.Version) -> None:
    version = mlflow(project, "registered-models/alias", name="churn", alias="champion")["model_version"]
    assert (version["version"], version["run_id"]) == (str(first.mlflow_version), first.mlflow_run_id)
    found = mlflow(project, "model-versions/search", filter="name='churn'")["model_versions"]
    assert len([one for one in found if one["run_id"] == first.mlflow_run_id]) == 1


def test_the_mlflow_run_has_params_metrics_and_the_data_set(project: Project, first: ledger.Version) -> None:
    run = mlflow(project, "runs/get", run_id=first.mlflow_run_id)["run"]
    assert run["info"]["status"] == "FINISHED"
    values = {one["key"]: one["value"] for one in run["data"]["params"]}
    assert (values["data.as_of"], values["evaluate.bootstrap"]) == (AS_OF, "200")
    metrics = {one["key"]: one["value"] for one in run["data"]["metrics"]}
    assert {"roc_auc", "roc_auc.low", "roc_auc.high", "linear/roc_auc", "lightgbm/roc_auc"} <= set(metrics)
    assert {"newest.roc_auc", "newest.roc_auc.low", "newest.roc_auc.high", "linear/newest.roc_auc"} <= set(metrics)
    assert metrics["roc_auc"] == pytest.approx(first.metrics["roc_auc"])
    (data,) = run["inputs"]["dataset_inputs"]
    assert values["data.fingerprint"] in json.dumps(data)


def test_mlflow_holds_the_bundle_and_the_reports(project: Project, first: ledger.Version) -> None:
    files = mlflow_files(project, first.mlflow_run_id)
    assert {name for name in first.manifest if not any(file.endswith(f"/{name}") for file in files)} == set()
    for wanted in ("model/bias.html", "validation/index.html", "roc.svg"):
        assert any(file.endswith(wanted) for file in files), f"{wanted} is not in {sorted(files)}"


# Prefect


def test_the_run_has_one_completed_task_a_stage_of_the_graph(project: Project, stages: list[str]) -> None:
    assert project.run.state["type"] == "COMPLETED"
    tasks = project.run.tasks()
    names = list(tasks)
    assert (names[0], names[-5:]) == ("pin", ["publish", "decide", "announce", "report", "pages"])
    assert sorted([*names[1:-5], "report"]) == sorted(stages)
    assert {one["state_type"] for one in tasks.values()} == {"COMPLETED"}
    assert len(stages) >= 8


def test_package_publication_and_gate_wait_for_no_report(project: Project) -> None:
    tasks = project.run.tasks()
    assert tasks["package"]["end_time"] <= tasks["publish"]["start_time"]
    assert tasks["decide"]["end_time"] <= tasks["report"]["start_time"]
    assert tasks["report"]["end_time"] <= tasks["pages"]["start_time"]


def test_every_stage_speaks_in_its_own_task(project: Project, stages: list[str]) -> None:
    for name in stages:
        assert f"Running stage '{name}'" in project.run.log(name)
    assert f"columns, known as of {AS_OF}" in project.run.log("extract")
    assert "folds by customer_id" in project.run.log("split")


def test_the_run_shows_its_verdict_and_where_to_look(project: Project) -> None:
    artifacts = {one["key"]: one for one in project.run.artifacts()}
    assert "promoted" in artifacts["churn-verdict"]["data"].splitlines()[0].lower()
    assert f"{project.settings.site_url}/churn/v1/index.html" in artifacts["churn-report"]["data"]
    assert "/#/models/churn/versions/1" in artifacts["churn-mlflow"]["data"]


# git


def test_the_pin_was_committed_before_the_first_stage(project: Project, first: ledger.Version) -> None:
    folder = project.clone.folder
    assert first.git_ref == project.run.ref
    reports, results, pin, base = git(folder, "rev-list", "--max-count=4", project.run.ref).splitlines()
    assert git(folder, "diff", "--name-only", base, pin) == "params.yaml"
    assert f'as_of: "{AS_OF}"' in git(folder, "show", f"{pin}:params.yaml")
    assert "fingerprint: null" not in git(folder, "show", f"{pin}:params.yaml")
    assert git(folder, "diff", "--name-only", pin, results) == "dvc.lock"
    assert git(folder, "diff", "--name-only", results, reports) == "dvc.lock"  # they come after the gate
    tasks = project.run.tasks()
    assert tasks["pin"]["end_time"] <= tasks["extract"]["start_time"]


def test_the_version_is_tagged_and_the_branch_is_left_alone(project: Project, first: ledger.Version) -> None:
    folder = project.clone.folder
    assert git(folder, "rev-parse", "evergreen/churn/v1") == git(folder, "rev-parse", project.run.ref)
    assert git(folder, "rev-parse", "evergreen/churn/v1^") == first.git_commit
    assert git(folder, "log", "--format=%s", "main") == "The project as it is"


def test_the_workspace_is_gone(project: Project) -> None:
    assert not (project.settings.home / "runs" / project.run.id).exists()
    assert project.run.id not in git(project.clone.folder, "worktree", "list")


# the report site


@pytest.mark.parametrize(
    "page", ["index.html", "model/bias.html", "model/index.html", "validation/index.html", "plots/roc.svg"]
)
def test_the_site_has_the_pages_of_the_version(project: Project, page: str) -> None:
    assert httpx.get(f"{project.settings.site_url}/churn/v1/{page}", trust_env=False).status_code == 200


def test_the_index_of_the_site_names_the_champion(project: Project) -> None:
    text = httpx.get(f"{project.settings.site_url}/", trust_env=False).text
    assert "churn/v1/index.html" in text
    assert "champion" in text and "churn v1" in text


def test_the_index_knows_that_the_retraining_has_ended_and_asks_the_api_anew(project: Project) -> None:
    text = httpx.get(f"{project.settings.site_url}/", trust_env=False).text
    assert "under way" not in text and ">running" not in text and "promoted: v1" in text
    assert '<span class="good">up</span><span class="more">answers by v1</span>' in text


# secrets


def test_no_password_is_in_anything_that_people_read(project: Project, first: ledger.Version) -> None:
    home = project.settings.home
    passwords = store.read_passwords(project.settings)
    assert {"postgres", "evergreen", "promoter", "scorer", "watcher", "reader", "company"} <= passwords.keys()
    readable = [home / "logs", home / "site", home / "mlflow", home / "models", home / "dvc" / "cache"]
    files = {str(file): file.read_bytes() for folder in readable for file in folder.rglob("*") if file.is_file()}
    prefect = {
        "Prefect's log": project.run.log(),
        "Prefect's artifacts": json.dumps(project.run.artifacts()),
        "Prefect's run": json.dumps(httpx.get(f"{project.run.api}/flow_runs/{project.run.id}", trust_env=False).json()),
    }
    command_lines = {f"pid {one.pid}": " ".join(one.cmdline()) for one in processes.belonging_to(home)}
    mlflow_run = {"MLflow's run": json.dumps(mlflow(project, "runs/get", run_id=first.mlflow_run_id))}
    texts = {name: text.encode() for name, text in (prefect | command_lines | mlflow_run).items()} | files
    assert len(files) > 50
    assert [name for name, text in texts.items() for word in passwords.values() if word.encode() in text] == []


# by hand, in the same clone


def test_a_version_is_checked_out_and_nothing_is_left_to_do(project: Project) -> None:
    clone: Clone = project.clone
    assert "now holds v1" in clone.evergreen("model", "checkout", "v1")
    said = clone.run("dvc", "repro").stdout
    assert "Data and pipelines are up to date." in said
    assert "Running stage" not in said
    shown = clone.run("dvc", "metrics", "show").stdout
    assert "roc_auc" in shown
    assert clone.lock() == clone.lock(project.run.ref)
    assert "params.yaml" in git(clone.folder, "status", "--porcelain")


def test_history_and_champion_tell_of_the_first_promotion(project: Project) -> None:
    assert re.search(r"revision 1 +none -> v1 +promoted", project.clone.evergreen("model", "history"))
    said = project.clone.evergreen("model", "champion")
    assert "churn v1 is champion" in said
    assert AS_OF in said


def test_a_version_of_another_clone_says_how_to_fetch_it(project: Project, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", str(project.clone.folder), "clone")
    other = Clone(tmp_path / "clone")
    (other.folder / ".env").write_text((project.clone.folder / ".env").read_text())
    assert f"git fetch CLONE {project.run.ref}:{project.run.ref}" in other.evergreen("model", "checkout", "v1", check=False)
    git(other.folder, "fetch", "--quiet", "origin", f"{project.run.ref}:{project.run.ref}")
    other.evergreen("model", "checkout", "v1")
    assert other.lock() == project.clone.lock(project.run.ref)

"""The Kubernetes files: what kustomize makes of them is of the schemas, and agrees with the settings, the lock and the code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from infra.docker.__main__ import deploy, migrate, project
from infra.stack import deployments, programs
from pipelines.config.setting_names import NAMES
from pipelines.config.settings import Settings

ROOT = Path(programs.__file__).parents[2]
FOLDER = ROOT / "infra" / "kubernetes"
FOREIGN = ("PREFECT_", "MLFLOW_", "AWS_")
OWN = {"BACKUP_FOLDER", "API_KEY"}  # variables and keys of these files alone
VERSION = "1.33"
UNKNOWN = {"ServiceMonitor"}  # of the Prometheus operator, of which Kubernetes has no schema
LISTENING = {"mlflow": 5000, "site": 8090, "api": 8000}


def built(overlay: str) -> list[dict[str, Any]]:
    """What `kubectl apply --kustomize` would send, by kubectl where it is, else the files of the base with their names."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not here")
    made = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER / "overlays" / overlay)], capture_output=True, text=True, check=True
    )
    return list(YAML(typ="safe").load_all(made.stdout))


def base() -> list[dict[str, Any]]:
    files = [path for path in sorted((FOLDER / "base").glob("*.yaml")) if path.name != "kustomization.yaml"]
    return [document for path in files for document in YAML(typ="safe").load_all(path)]


def settings_of(folder: Path) -> list[dict[str, Any]]:
    return YAML(typ="safe").load(folder / "kustomization.yaml")["configMapGenerator"]


def pods(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Name -> the pod's spec, of everything that makes pods."""
    specs = {}
    for document in documents:
        spec = document.get("spec") or {}
        spec = spec["jobTemplate"]["spec"] if document["kind"] == "CronJob" else spec
        if "template" in spec:
            specs[document["metadata"]["name"]] = spec["template"]["spec"]
    return specs


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def template() -> dict[str, Any]:
    """The job that a pool of type kubernetes makes of a run."""
    return json.loads((FOLDER / "base" / "job-template.json").read_text("utf-8"))


def job() -> dict[str, Any]:
    """The same with its variables filled in, as the worker does it."""
    manifest = json.loads(json.dumps(template()["job_configuration"]["job_manifest"]))
    manifest["metadata"]["labels"] = {"run": "one"}
    manifest["metadata"]["namespace"] = "evergreen-prod"
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    container |= {"image": "evergreen:cuda", "args": ["prefect", "flow-run", "execute"], "env": [{"name": "A", "value": "b"}]}
    for misplaced in ("parallelism", "completions"):  # where Prefect's own template has them, and Kubernetes ignores them
        manifest["spec"]["template"]["spec"].pop(misplaced)
    return manifest


@pytest.mark.parametrize("overlay", ["staging", "prod"])
def test_what_kustomize_makes_is_of_the_schemas(overlay: str) -> None:
    import kubernetes_validate

    documents = built(overlay)
    judged = [document for document in documents if document["kind"] not in UNKNOWN]
    assert len(judged) > 15
    for document in judged:
        kubernetes_validate.validate(document, VERSION, strict=True)
        assert document["metadata"]["namespace"] == f"evergreen-{overlay}"


def test_the_pod_of_a_stage_is_of_the_schemas_and_its_variables_are_declared() -> None:
    import kubernetes_validate

    kubernetes_validate.validate(job(), VERSION, strict=True)
    configuration = template()["job_configuration"]
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(configuration)))
    assert used == set(template()["variables"]["properties"])


def test_a_wrong_field_is_found() -> None:
    import kubernetes_validate

    document = next(document for document in base() if document["kind"] == "PersistentVolumeClaim")
    document["spec"]["accessMode"] = ["ReadWriteMany"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_every_container_runs_a_program_that_there_is_with_settings_that_there_are(tmp_path: Path) -> None:
    known = {*programs.in_containers(Settings.load_from(tmp_path, {})), *(once.__name__ for once in (migrate, project, deploy))}
    for name, spec in pods(base()).items():
        for container in containers(spec):
            named = re.findall(r"infra\.docker,? (\w+)", ", ".join(container["command"]))
            assert set(named) <= {*known, "healthy"}, name
            for variable in container.get("env", ()):
                assert variable["name"] in {*NAMES, *OWN} or variable["name"].startswith(FOREIGN), (name, variable)
    for folder in (FOLDER / "base", *sorted((FOLDER / "overlays").iterdir())):
        for made in settings_of(folder):
            for literal in made.get("literals", ()):
                key = literal.partition("=")[0]
                assert key in NAMES or key.startswith(FOREIGN), (folder, literal)


def test_containers_may_nothing_that_they_do_not_need() -> None:
    for name, spec in {**pods(base()), "stage": job()["spec"]["template"]["spec"]}.items():
        assert spec["securityContext"]["runAsNonRoot"] is True and spec["automountServiceAccountToken"] is False, name
        for container in containers(spec):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"], (name, container["name"])
            assert security["capabilities"] == {"drop": ["ALL"]} and container["resources"]["limits"]["memory"], name


def test_no_secret_is_in_a_file_and_the_api_has_the_scorers_role_alone() -> None:
    for path in [path for path in FOLDER.rglob("*") if path.is_file()]:
        assert not re.search(r"://\w+:\w+@", path.read_text("utf-8").replace("USER:PASSWORD@", "")), path
    assert [document["kind"] for document in base() if document["kind"] == "Secret"] == []
    (api,) = pods(base())["api"]["containers"]
    read = {variable["name"]: variable["valueFrom"]["secretKeyRef"] for variable in api["env"]}
    assert read["EVERGREEN_URL"] == {"name": "evergreen-databases", "key": "SCORER_URL"}
    assert "evergreen-databases" not in json.dumps(api["envFrom"])


def test_servers_are_found_where_the_settings_say_and_enter_only_by_their_ports() -> None:
    ports = {document["metadata"]["name"]: document["spec"]["ports"] for document in base() if document["kind"] == "Service"}
    assert {name: ports[name][0]["port"] for name in LISTENING} == LISTENING
    literals = {literal for made in settings_of(FOLDER / "base") for literal in made.get("literals", ())}
    for name, port in LISTENING.items():
        assert any(literal.endswith(f"=http://{name}:{port}") for literal in literals), name
    selected = {policy["metadata"]["name"] for policy in base() if policy["kind"] == "NetworkPolicy"}
    assert selected == {"nothing-comes-in", "servers", "git"}


def test_prefects_charts_have_the_version_of_the_lock_and_no_postgres_of_their_own() -> None:
    locked = re.search(r"^prefect==(\S+)", (ROOT / "requirements.lock").read_text("utf-8"), re.M)
    assert locked
    server, worker = (YAML(typ="safe").load(FOLDER / "charts" / f"prefect-{part}.yaml") for part in ("server", "worker"))
    for tag in (server["global"]["prefect"]["image"]["prefectTag"], worker["worker"]["image"]["prefectTag"]):
        assert tag.startswith(f"{locked[1]}-python3.12")
    assert server["postgresql"] == server["redis"] == {"enabled": False}
    assert worker["worker"]["config"]["workPool"] in {"cpu", "gpu"}
    generated = {made["name"] for made in settings_of(FOLDER / "base")}
    assert worker["worker"]["config"]["baseJobTemplate"]["existingConfigMapName"] in generated
    stage = job()["spec"]["template"]["spec"]["containers"][0]
    assert stage["envFrom"][0]["configMapRef"]["name"] in generated


def test_the_images_version_is_the_products() -> None:
    version = re.search(r'^version = "(\S+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    assert version
    for folder in (FOLDER / "base", *sorted((FOLDER / "overlays").iterdir())):
        (image,) = YAML(typ="safe").load(folder / "kustomization.yaml")["images"]
        assert (image["name"], image["newTag"]) == ("evergreen", version[1])


def test_a_pool_of_images_is_given_the_images_code_and_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.stack.pools.type_of", lambda _, pool: {"cpu": "process", "gpu": "kubernetes"}[pool])
    own = Settings.load_from(ROOT, {"EVERGREEN_HOME": str(tmp_path)})
    with pytest.raises(Exception, match="gpu runs images: name yours as EVERGREEN_IMAGE"):
        deployments._content(own)
    content = deployments._content(
        Settings.load_from(ROOT, {"EVERGREEN_HOME": str(tmp_path), "EVERGREEN_IMAGE": "evergreen:1"})
    )
    assert [name for name in deployments._names(content) if name.startswith("stage/")] == ["stage/cpu", "stage/gpu"]
    stage = content["deployments"][-1]
    assert list(stage["pull"][0]) == ["prefect.deployments.steps.run_shell_script"]
    assert "EVERGREEN_CLONE" not in json.dumps(stage) and "EVERGREEN_IMAGE" in json.dumps(stage["work_pool"])

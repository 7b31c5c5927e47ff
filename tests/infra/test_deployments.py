"""Which deployments a machine puts up, and that no clone takes another's."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import ownership
from infra.stack import deployments, programs
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from tests.support.clones import Clone, ask

TEMPLATE = Path(deployments.__file__).parents[1] / "prefect.yaml"
OWN = [f"{flow}/{deployments.MODEL}" for flow in ("retrain", "score", "monitor", "backfill", "promote")]


@pytest.mark.parametrize(
    ("pools", "names"),
    [
        (("cpu", "gpu"), [*OWN, "stage/cpu", "stage/gpu"]),
        (("cpu",), [*OWN, "stage/cpu"]),
        (("gpu",), ["stage/gpu"]),
    ],
)
def test_a_machine_deploys_what_its_pools_do(tmp_path: Path, pools: tuple[str, ...], names: list[str]) -> None:
    content = deployments._of_pools(TEMPLATE, pools)
    assert deployments._names(content) == names
    deployments._write(content, "churn", tmp_path / "prefect.yaml", ownership.Owner("/clone", "/home"), [])
    assert "prefect.deployments.steps.set_working_directory" in (tmp_path / "prefect.yaml").read_text()


def test_a_pool_that_there_is_not_is_named() -> None:
    with pytest.raises(EvergreenError, match=r"names tpu; .*prefect.yaml has cpu, gpu"):
        deployments._of_pools(TEMPLATE, ("cpu", "tpu"))


def test_the_local_stack_has_workers_for_the_machines_own_pools(tmp_path: Path) -> None:
    names = programs.programs(Settings.load_from(tmp_path, {"EVERGREEN_POOLS": "cpu"}))
    assert "cpu-1" in names
    assert "gpu-1" not in names


def deployed(clone: Clone, name: str) -> tuple[str, list[str]]:
    """Where a deployment's runs work, and its automations."""
    api = clone.settings.prefect_api_url
    found = ask("get", f"{api}/deployments/name/{name}")
    (step,) = found["pull_steps"]
    automations = ask("get", f"{api}/automations/related-to/prefect.deployment.{found['id']}")
    return step["prefect.deployments.steps.set_working_directory"]["directory"], sorted(one["id"] for one in automations)


def test_without_leave_only_what_works_for_every_model_is_left_to_others() -> None:
    owner, nobody = ownership.Owner("/first", "/first/.evergreen"), ownership.Owner("", "")
    assert ownership.left_to_others(["retrain/a", "stage/cpu"], {"stage/cpu": owner}) == ["stage/cpu"]
    assert ownership.left_to_others(["retrain/a"], {}) == []
    with pytest.raises(EvergreenError, match=r"take over retrain/a of /first \(home /first/\.evergreen\)\. .*--take-over"):
        ownership.left_to_others(["retrain/a", "stage/cpu"], {"retrain/a": owner})
    with pytest.raises(EvergreenError, match="retrain/a of somebody who did not use"):
        ownership.left_to_others(["retrain/a", "stage/cpu"], {"retrain/a": nobody})
    with pytest.raises(EvergreenError, match="stage/gpu of /first"):
        ownership.left_to_others(["stage/gpu"], {"stage/gpu": owner})


def test_the_owner_stands_on_a_deployment_as_tags() -> None:
    owner = ownership.Owner("/first", "/first/.evergreen")
    assert ownership.tags("churn", owner) == ["evergreen", "model:churn", "clone:/first", "home:/first/.evergreen"]
    assert ownership.read(["own", *ownership.tags("churn", owner)]) == owner
    assert ownership.read(["own"]) == ownership.Owner("", "")


@pytest.mark.long
def test_a_second_clone_takes_no_deployment_of_the_first(stack: Settings, tmp_path: Path) -> None:
    env_file = (stack.folder / ".env").read_text()
    first, second, other = (
        Clone.make(tmp_path / name, env_file, {"model": model})
        for name, model in (("first", "owned"), ("second", "owned"), ("other", "beside"))
    )
    first.deploy(take_over=True)  # stage/cpu and stage/gpu as well, whoever had them on this stack
    names = ["retrain/owned", "score/owned", "monitor/owned", "backfill/owned", "promote/owned", "stage/cpu", "stage/gpu"]
    before = {name: deployed(first, name) for name in names}
    assert {folder for folder, _ in before.values()} == {str(first.folder)}
    assert before["retrain/owned"][1], "no automation"

    refused = second.run("python", "-m", "cli.app", "deploy", check=False)
    assert refused.returncode == 1
    assert f"{', '.join(names)} of {first.folder} (home {stack.home})" in refused.stdout
    assert "--take-over" in refused.stdout
    assert {name: deployed(first, name) for name in names} == before

    said = other.evergreen("deploy")  # another model is in nobody's way
    assert f"stage/gpu stays with {first.folder}" in said
    assert deployed(other, "retrain/beside")[0] == str(other.folder)
    assert {name: deployed(first, name) for name in names} == before

    assert f"retrain/owned is taken over from {first.folder}" in second.evergreen("deploy", "--take-over")
    assert {deployed(first, name)[0] for name in names} == {str(second.folder)}
    with pytest.raises(EvergreenError, match="this would take over"):
        first.deploy()
    second.folder.rename(tmp_path / "moved")  # a clone that is gone owns nothing
    first.deploy()
    assert {deployed(first, name)[0] for name in names} == {str(first.folder)}

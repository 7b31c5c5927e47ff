"""Sign-on: with EVERGREEN_AUTH=true every server of a real stack asks for a password, and our own clients send it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from examples.telecom.load import load_demo
from infra import doctor
from infra.stack import local as local_stack
from infra.stack import pools, processes, store
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.config.settings import load as load_settings
from pipelines.registry import ledger
from tests.conftest import write_env_file
from tests.support.clones import Clone

SMALL = {"evaluate.bootstrap": 100, "tune.trials": 1, "candidates.enabled": {"linear": "cpu"}}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A whole stack with a sign-on, running."""
    folder = tmp_path_factory.mktemp("guarded")
    write_env_file(folder)
    with (folder / ".env").open("a") as file:
        file.write("EVERGREEN_AUTH=true\n")
    settings = Settings.load_from(folder, {})
    try:
        local_stack.up(settings, print)
        yield settings
    finally:
        local_stack.down(settings, print)
    assert processes.belonging_to(settings.home) == []


def addresses(settings: Settings) -> dict[str, str]:
    """One page a server that shows something of the company."""
    return {
        "prefect": f"{settings.prefect_api_url}/admin/version",
        "prefect's pools": f"{settings.prefect_api_url}/work_pools/cpu",
        "mlflow": f"{settings.mlflow_tracking_uri}/api/2.0/mlflow/experiments/search?max_results=1",
        "mlflow's files": f"{settings.mlflow_tracking_uri}/api/2.0/mlflow-artifacts/artifacts",
        "site": f"{settings.site_url}/",
    }


@pytest.mark.long
def test_every_server_asks_for_the_password_and_takes_it(guarded: Settings) -> None:
    name, _, password = guarded.prefect_auth.partition(":")
    for server, url in addresses(guarded).items():
        assert httpx.get(url, trust_env=False).status_code == 401, server
        assert httpx.get(url, auth=(name, "wrong"), trust_env=False).status_code == 401, server
        assert httpx.get(url, auth=(name, password), trust_env=False).status_code == 200, server
    predict = httpx.post(f"{guarded.api_url}/predict", json={}, trust_env=False)
    assert predict.status_code == 401


@pytest.mark.long
def test_a_retraining_and_the_doctor_sign_on(guarded: Settings, tmp_path_factory: pytest.TempPathFactory) -> None:
    load_demo(guarded.load_url, customers=2_000, say=print)
    env_file = (guarded.folder / ".env").read_text()
    clone = Clone.make(tmp_path_factory.mktemp("clone") / "clone", env_file, SMALL)
    clone.evergreen("deploy")
    clone.evergreen("run", "retrain", "--as-of", "2024-12-31")
    assert ledger.champion(guarded.evergreen_url, clone.model) is not None
    assert "password" not in clone.evergreen("doctor", check=False)


@pytest.mark.long
def test_a_wrong_password_is_an_error_and_not_an_empty_answer(guarded: Settings) -> None:
    stranger = replace(guarded, given_prefect_auth="evergreen:wrong", given_mlflow_auth="evergreen:wrong")
    for call in (
        lambda: pools.heartbeat_age(stranger, "cpu"),
        lambda: pools.crash_runs_of(stranger, "cpu-1", "none"),
        lambda: pools.exists(stranger, "cpu"),
    ):
        with pytest.raises(EvergreenError, match="PREFECT_API_AUTH_STRING"):
            call()
    findings = [finding.what for finding in doctor._sign_on(replace(stranger, has_prefect_api_key=True))]
    assert findings[:2] == ["Prefect refuses our password.", "MLflow refuses our password."]
    assert "PREFECT_API_KEY is set" in findings[2]
    without = replace(guarded, auth=False)
    assert len(list(doctor._sign_on(without))) == 3  # each asks for a password, and we have none


@pytest.mark.long
def test_the_doctor_names_an_open_server(stack: Settings) -> None:
    """One that is meant to ask for a password, and does not."""
    meant = replace(stack, given_prefect_auth="evergreen:word", given_mlflow_auth="evergreen:word", given_site_auth="a:b")
    findings = [finding.what for finding in doctor._sign_on(meant)]
    assert [what.partition(" is open")[0] for what in findings] == ["Prefect", "MLflow", "The report site"]
    assert list(doctor._sign_on(stack)) == []  # on this machine alone, and nobody asked for more


def test_the_password_is_made_once_and_kept_from_others(tmp_path) -> None:
    settings = Settings.load_from(tmp_path, {"EVERGREEN_AUTH": "true"})
    with pytest.raises(EvergreenError, match="run `evergreen up`"):
        _ = settings.prefect_auth
    settings.home.mkdir()
    store.add_auth(settings)
    first = settings.prefect_auth
    store.add_auth(settings)
    assert settings.prefect_auth == settings.mlflow_auth == settings.site_auth == first
    assert stat.S_IMODE(settings.secrets_file.stat().st_mode) == 0o600
    assert first not in repr(settings) and settings.mlflow_secret_key not in repr(settings)
    there = replace(settings, prefect_api_url="https://prefect.example.org/api")
    assert there.prefect_auth == ""  # the local stack's password goes to no other host


def test_the_clients_of_prefect_and_mlflow_find_their_passwords(tmp_path, monkeypatch) -> None:
    for name in ("PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # so that what stands there now comes back
        monkeypatch.delenv(name)
    (tmp_path / ".env").write_text(
        "PREFECT_API_AUTH_STRING=ann:p:q\nMLFLOW_TRACKING_USERNAME=bob\nMLFLOW_TRACKING_PASSWORD=r:s\n"
    )
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert os.environ["PREFECT_API_AUTH_STRING"] == "ann:p:q"
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("bob", "r:s")
    assert Settings.load_from(tmp_path / "elsewhere", settings.environment()).mlflow_auth == "bob:r:s"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"PREFECT_API_AUTH_STRING": "secret"}, "is not NAME:PASSWORD"),
        ({"EVERGREEN_SITE_AUTH_STRING": ":secret"}, "is not NAME:PASSWORD"),
        ({"MLFLOW_TRACKING_USERNAME": "ann"}, "go together"),
        ({"EVERGREEN_AUTH": "yes"}, "write true or false"),
    ],
)
def test_half_a_sign_on_is_refused_without_its_secret(tmp_path, given, message) -> None:
    with pytest.raises(EvergreenError, match=message) as error:
        Settings.load_from(tmp_path, given)
    assert "secret" not in str(error.value)

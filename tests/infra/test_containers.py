"""The compose file, the image and their settings agree with each other and with the code; no container is started."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from infra.docker.__main__ import deploy, migrate, project
from infra.stack import programs
from pipelines.config.errors import EvergreenError
from pipelines.config.setting_names import NAMES
from pipelines.config.settings import Settings

FOLDER = Path(programs.__file__).parents[1] / "docker"
COMPOSE = (FOLDER / "compose.yaml").read_text("utf-8")
SERVICES: dict[str, Any] = YAML(typ="safe").load(COMPOSE)["services"]
GIVEN = re.findall(r"^#? ?([A-Z_]+)=(.*)$", (FOLDER / ".env.example").read_text("utf-8"), re.M)
FOREIGN = ("PREFECT_", "MLFLOW_", "POSTGRES_", "AWS_")  # variables of the libraries and of the database's image
LISTENING = {"prefect": 4200, "mlflow": 5000, "site": 8090, "api": 8000}


def ours() -> dict[str, Any]:
    return {name: service for name, service in SERVICES.items() if "evergreen" in service["image"]}


def test_every_container_runs_a_program_that_there_is(tmp_path: Path) -> None:
    known = {*programs.in_containers(Settings.load_from(tmp_path, {})), *(once.__name__ for once in (migrate, project, deploy))}
    run = [name for service in ours().values() for name in re.findall(r"infra\.docker,? (\w+)", ", ".join(service["command"]))]
    assert len(run) == len(ours()) + 1 and set(run) == known  # one container runs two of them


def test_prefects_pages_ask_the_address_that_they_came_from(tmp_path: Path) -> None:
    """And not that of PREFECT_API_URL, which is a name among containers."""
    given = {"EVERGREEN_LISTEN": "0.0.0.0", "EVERGREEN_URL": "postgresql://evergreen:word@postgres/evergreen"}
    prefect = programs.in_containers(Settings.load_from(tmp_path, given | {"PREFECT_API_URL": "http://prefect:4200/api"}))[
        "prefect"
    ]
    assert prefect().variables()["PREFECT_SERVER_UI_API_URL"] == "/api"


def test_what_the_compose_file_asks_for_is_in_the_example_and_the_reverse() -> None:
    passed = {key for service in SERVICES.values() for key, value in service["environment"].items() if value is None}
    asked = passed | set(re.findall(r"\$\{([A-Z_]+)", COMPOSE + (FOLDER / "Caddyfile").read_text("utf-8")))
    names = {name for name, _ in GIVEN}
    needed = set(re.findall(r"\$\{([A-Z_]+):\?", COMPOSE))
    assert needed <= names <= asked
    assert needed == {name for name, value in GIVEN if not value and name not in passed}


def test_every_variable_of_a_container_is_one_that_is_read() -> None:
    for name, service in ours().items():
        assert [key for key in service["environment"] if key not in NAMES and not key.startswith(FOREIGN)] == [], name


def test_no_secret_is_in_the_file() -> None:
    for name, service in SERVICES.items():
        for key, value in service["environment"].items():
            if value and re.search("PASSWORD|SECRET|AUTH_STRING", key):
                assert re.fullmatch(r"(\$\{EVERGREEN_USER:-evergreen\}:)?\$\{[A-Z_]+:\?set it in \.env\}", value), (name, key)
            assert not re.search(r"://\w+:(?!\$\{)[^/]*@", str(value)), (name, key)


def test_nothing_but_the_proxy_is_published_and_it_knows_every_server() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    behind = re.findall(r"reverse_proxy (\w+):(\d+)", (FOLDER / "Caddyfile").read_text("utf-8"))
    assert {name: int(port) for name, port in behind} == LISTENING
    for name, port in LISTENING.items():
        assert f"http://{name}:{port}" in COMPOSE, name


@pytest.mark.parametrize("name", sorted(ours()))
def test_our_containers_have_limits_and_write_to_their_volume_only(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and service["mem_limit"]
    assert service["volumes"] == ["data:/srv/evergreen"]


def test_what_starts_later_waits_for_what_it_needs() -> None:
    conditions = {
        (name, needed): given["condition"]
        for name, service in ours().items()
        for needed, given in service["depends_on"].items()
    }
    assert conditions["migrate", "postgres"] == "service_healthy"
    assert conditions["deploy", "prefect"] == conditions["deploy", "mlflow"] == "service_healthy"
    for name in ("prefect", "mlflow", "api", "site"):
        assert conditions[name, "migrate"] == "service_completed_successfully"
    assert conditions["worker-cpu", "deploy"] == "service_completed_successfully"


def test_a_program_that_there_is_not_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from infra.docker.__main__ import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(EvergreenError, match=r"No program 'prefct': name one of .*prefect.*migrate"):
        main("prefct")


def test_the_image_takes_what_the_product_is_made_of_and_no_secret() -> None:
    taken = {line[1:] for line in (FOLDER.parents[1] / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    assert {"cli", "flows", "infra", "monitoring", "pipelines", "serving", "sql", "dvc.yaml", "params.yaml"} <= taken
    assert not {".env", ".git", ".evergreen", "data"} & taken

"""A container's work: `python -m infra.docker NAME`.

NAME is a server (prefect, mlflow, site, api), a pool whose worker this is (cpu, gpu), or something that is done once:
`migrate` brings the databases up to date, `project` puts the image's code into an empty project folder, `deploy` makes the
work pools and the deployments. `healthy` ends with 0 when the server or worker of this container is ready.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from flows.execution import workspace
from infra.stack import api_key, deployments, pools, postgres_server
from infra.stack.programs import become, in_containers
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.config.settings import load as load_settings
from pipelines.registry import ledger, roles

CODE = Path(__file__).resolve().parents[2]
NAME_FILE = Path("/tmp/evergreen-program")  # what this container runs, for `healthy`
PATIENCE_SECONDS = 180


def migrate(settings: Settings) -> None:
    """The databases, the tables, the rights of the roles and a key of the API; harmless when all are there."""
    _wait(lambda: postgres_server.answers(settings.evergreen_url), "the database of EVERGREEN_URL")
    postgres_server.prepare_own(settings.evergreen_url)
    applied = ledger.migrate(settings.evergreen_url)
    roles.grant(settings.evergreen_url, roles.of(settings))
    settings.home.mkdir(parents=True, exist_ok=True)
    api_key.ensure(settings)
    print(f"schema evergreen is at {applied[-1]}" if applied else "schema evergreen was up to date")


def project(settings: Settings) -> None:
    """A project to start from, made of the image's own code, where the folder is empty."""
    if not any(settings.folder.iterdir()):
        shutil.copytree(CODE, settings.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        workspace.git(settings.folder, "init", "--quiet", "--initial-branch=main")
        workspace.git(settings.folder, "add", "--all")
        workspace.git(settings.folder, "commit", "--quiet", "--message", "The project as the image has it")
        print(f"{settings.folder} holds the image's code now")
    workspace.configure_dvc(settings.folder, settings)


def deploy(settings: Settings) -> None:
    """The work pools, and the deployments of the project's flows."""
    _wait(lambda: pools.succeeds(f"{settings.prefect_api_url}/health"), "Prefect")
    deployments.deploy(settings, params.read(settings.folder / "params.yaml").model, print)


def main(name: str) -> None:
    settings = load_settings()
    once = {"migrate": migrate, "project": project, "deploy": deploy}
    if name in once:
        once[name](settings)
        return
    programs = in_containers(settings)
    if name == "healthy":
        sys.exit(0 if programs[NAME_FILE.read_text()]().ready(0.0) else 1)
    if name not in programs:
        raise EvergreenError(f"No program {name!r}: name one of {', '.join([*programs, *once])}.")
    settings.home.mkdir(parents=True, exist_ok=True)
    NAME_FILE.write_text(name)
    become(programs[name](), settings)


def _wait(answers: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not answers():
        if time.monotonic() > until:
            raise EvergreenError(f"No answer within {PATIENCE_SECONDS} s from {what}: read its log, and correct its address.")
        time.sleep(1)


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "")
    except EvergreenError as error:
        sys.exit(f"ERROR: {error}")

"""The doctor: each thing it looks for can be found, with what to do, and a healthy stack has nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import httpx
import pytest

from infra import doctor
from infra.doctor import Finding
from infra.stack import local as local_stack
from infra.stack import postgres_server, processes, store, supervisor_control
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.data import postgres
from pipelines.registry import ledger, roles
from tests.conftest import write_env_file
from tests.support.clones import wait_for


@pytest.fixture
def project(tmp_path: Path) -> Settings:
    """A project whose stack was never started."""
    (tmp_path / "requirements.lock").write_text("")
    return write_env_file(tmp_path)


@pytest.fixture
def healthy(stack: Settings) -> Iterator[Settings]:
    """The running stack, of a project with a lock file; running again after the test."""
    (stack.folder / "requirements.lock").write_text("")
    yield stack
    local_stack.up(stack, print)


def only(findings: list[Finding], text: str) -> Finding:
    """The one finding that says this. Every finding says what to do next."""
    assert all(one.what and one.where and one.next for one in findings), findings
    (found,) = [one for one in findings if text in one.what]
    return found


@contextmanager
def stopped(settings: Settings, program: str) -> Iterator[None]:
    """Without one program, which the fixture `healthy` starts again."""
    with supervisor_control.conversation(settings.home) as supervisor:
        supervisor.stopProcess(program)
    yield


def test_a_stack_that_was_never_started(project: Settings) -> None:
    (found,) = doctor.diagnose(project)
    assert "supervisor does not run" in found.what
    assert found.next == "Run `evergreen up`."


def test_a_message_of_one_sentence_still_says_what_to_do_next() -> None:
    one = doctor._from_error(EvergreenError("The store at 127.0.0.1:5432 is gone."), "home")
    assert (one.what, one.next) == ("The store at 127.0.0.1:5432 is gone.", "Correct that, and run `evergreen doctor` again.")
    two = doctor._from_error(EvergreenError("Version 1.2 is new. Update it. `git pull` does."), "home")
    assert (two.what, two.next) == ("Version 1.2 is new.", "Update it. `git pull` does.")


def test_a_port_that_somebody_holds(project: Settings) -> None:
    with socket.create_server(("127.0.0.1", project.postgres_port)):
        found = only(doctor.diagnose(project), f"Port {project.postgres_port}")
    assert f"(pid {os.getpid()})" in found.what
    assert "EVERGREEN_POSTGRES_PORT" in found.next


def test_a_store_of_a_newer_version(project: Settings) -> None:
    project.home.mkdir()
    (project.home / "version").write_text(f"{store.VERSION + 1}\n")
    assert "Update this clone" in only(doctor.diagnose(project), "a newer one wrote it").next


def test_roles_that_are_one_and_a_role_that_may_do_too_much(project: Settings, ledger_url: str) -> None:
    ledger.migrate(ledger_url)
    own = replace(project, source=ledger_url, evergreen=ledger_url)
    found = only(doctor.diagnose(own), "Roles are not separated: promoter, scorer, watcher connect as the owner")
    assert "SCORER_URL" in found.where and "create role evergreen_promoter" in found.next
    with postgres.connect(ledger_url) as admin:
        admin.execute("create role mighty login createrole password 'word'")
        admin.execute("create role plain login password 'word'")
    try:
        mighty, plain = (ledger_url.replace("postgres:only-for-tests", f"{role}:word") for role in ("mighty", "plain"))
        apart = replace(own, promoter=mighty, scorer=plain, watcher=plain.replace("word", "wrong"))
        findings = doctor.diagnose(apart)
        assert only(findings, "The promoter is an administrator").where == "role mighty (PROMOTER_URL)"
        assert only(findings, "The scorer has no rights").next == "Run `evergreen up`, which gives them."
        assert not [one for one in findings if "can enter the databases" in one.what]
        with postgres.connect(ledger_url) as admin:
            admin.autocommit = True
            admin.execute("create database prefect")
        found = only(doctor.diagnose(apart), "The scorer can enter the databases of prefect")
        assert found.next == "Let their owner run `revoke connect on database prefect from public`."
        assert "correct WATCHER_URL" in only(findings, "The watcher cannot connect").next
        with postgres.connect(ledger_url) as admin:
            admin.execute("revoke connect on database prefect from public")
        roles.grant(ledger_url, {"scorer": "plain"})
        assert not [one for one in doctor.diagnose(apart) if "scorer" in one.what]
        with postgres.connect(ledger_url) as admin:
            admin.execute(f"revoke temporary on database {ledger_url.rpartition('/')[2]} from public")
        watching = replace(own, promoter=plain, scorer=plain, watcher=plain)
        assert "to plain" in only(doctor.diagnose(watching), "The watcher cannot make the temporary table").next
        roles.grant(ledger_url, roles.of(watching))  # by who owns the database, it is given along
        assert not [one for one in doctor.diagnose(watching) if "watcher" in one.what]
    finally:
        with postgres.connect(ledger_url) as admin:
            admin.execute("drop owned by plain; drop role plain, mighty")
            admin.commit()
            admin.autocommit = True
            admin.execute("drop database if exists prefect")


def test_passwords_that_others_can_read(project: Settings) -> None:
    project.home.mkdir()
    project.secrets_file.write_text("READER_PASSWORD=word\n")
    project.secrets_file.chmod(0o644)
    assert "chmod 600" in only(doctor.diagnose(project), "mode 0644").next
    project.secrets_file.chmod(0o600)
    assert not [one for one in doctor.diagnose(project) if "mode" in one.what]


def test_the_end_of_a_log_shows_no_secret_and_keeps_its_words(project: Settings) -> None:
    (project.home / "logs").mkdir(parents=True)
    project.secrets_file.write_text("READER_PASSWORD=a\nCOMPANY_PASSWORD=a-generated-one-is-long\nEMPTY=\n")
    said = "a database at postgresql://reader:a@host, and a-generated-one-is-long"
    store.log_file(project, "api").write_text(said)
    assert store.log_tail(project, "api") == "a database at postgresql://reader:***@host, and ***"


def test_an_environment_that_differs_from_the_lock(project: Settings) -> None:
    pytest_version = metadata.version("pytest")
    lock = [
        f"pytest=={pytest_version} \\",
        "    --hash=sha256:0000",
        "    # via -r somewhere",
        "psutil==0.0.1",
        "no-such-package==1.0",
        "for-another-system==1.0 ; sys_platform == 'win32'",
    ]
    (project.folder / "requirements.lock").write_text("\n".join(lock))
    found = only(doctor.diagnose(project), "differs from the lock")
    assert f"psutil is {metadata.version('psutil')}, locked 0.0.1" in found.what
    assert "no-such-package is missing, locked 1.0" in found.what
    assert "pytest is" not in found.what
    assert "for-another-system" not in found.what


def test_a_source_database_out_of_reach(project: Settings) -> None:
    own = replace(project, source="postgresql+psycopg://reader:secret-word@127.0.0.1:1/company")
    found = only(doctor.diagnose(own), "source database is out of reach")
    assert "SOURCE_URL" in found.next
    assert "secret-word" not in found.what


def test_migrations_that_are_missing(project: Settings, ledger_url: str) -> None:
    own = replace(project, evergreen=ledger_url)
    assert "evergreen up" in only(doctor.diagnose(own), "Migrations are missing").next


def test_servers_of_the_users_own_that_do_not_answer(project: Settings) -> None:
    own = replace(project, mlflow_tracking_uri="http://mlflow.invalid", prefect_api_url="http://prefect.invalid/api")
    found = [one.next for one in doctor.diagnose(own) if "does not answer" in one.what]
    assert len(found) == 2
    assert "MLFLOW_TRACKING_URI" in found[0]
    assert "PREFECT_API_URL" in found[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account for Postgres")
def test_a_folder_that_no_account_for_postgres_reaches(project: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_server, "PRIVILEGES", (None,))  # as where root has no capabilities to give
    project.home.mkdir()
    project.folder.chmod(0o700)
    assert "EVERGREEN_HOME" in only(doctor.diagnose(project), "refuses to run as root").next


def test_what_a_killed_supervisor_left_behind(project: Settings) -> None:
    small = replace(project, mlflow_tracking_uri="http://mlflow.invalid", prefect_api_url="http://prefect.invalid/api")
    try:
        local_stack.up(small, print)
        (supervisor,) = [one for one in processes.belonging_to(small.home) if "supervisor.supervisord" in one.cmdline()]
        supervisor.kill()
        supervisor.wait(10)
        assert "replaces them" in only(doctor.diagnose(small), "processes of a killed stack").next
    finally:
        local_stack.down(small, print)


def test_a_healthy_stack_has_nothing(healthy: Settings) -> None:
    """The API's log sender may have asked before the roles were granted: it asks again within seconds."""
    wait_for(lambda: doctor.diagnose(healthy) == [], 30, "nothing to find")


def test_a_server_that_is_down(healthy: Settings) -> None:
    with stopped(healthy, "servers:site"):
        found = only(doctor.diagnose(healthy), "site is down")
    assert found.where == healthy.site_url
    assert "site.log" in found.next


def test_a_pool_without_a_live_worker(healthy: Settings) -> None:
    with stopped(healthy, "workers:gpu-1"):
        httpx.delete(f"{healthy.prefect_api_url}/work_pools/gpu/workers/gpu-1").raise_for_status()
        found = only(doctor.diagnose(healthy), "No live worker in pool gpu")
    assert "gpu-1.log" in found.next


def test_an_artifact_store_that_cannot_be_written(healthy: Settings) -> None:
    folder = healthy.home / "mlflow" / "artifacts"
    aside = folder.rename(folder.with_name("aside"))
    folder.write_text("not a folder")
    try:
        found = only(doctor.diagnose(healthy), "artifact store is out of reach")
        assert str(folder) in found.next
    finally:
        folder.unlink()
        aside.rename(folder)

"""The local stack: it starts, heals, keeps its secrets, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from infra.stack import api_key, pools, postgres_server, processes, store, supervisor_control
from infra.stack import local as local_stack
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.registry import ledger
from tests.conftest import write_env_file
from tests.support.clones import kill_all

SILENT: Callable[[str], None] = lambda _text: None  # noqa: E731 - a name for "say nothing"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Settings]:
    """A stack that is only Postgres and the site, since the others take long to start; not started yet.

    Its path has what breaks careless quoting.
    """
    folder = tmp_path / "a clone's 100% folder"
    folder.mkdir()
    elsewhere = {"prefect_api_url": "http://prefect.invalid/api", "mlflow_tracking_uri": "http://mlflow.invalid"}
    settings = replace(write_env_file(tmp_path), folder=folder, home=folder / ".evergreen", **elsewhere)
    yield settings
    local_stack.down(settings, SILENT)
    assert processes.belonging_to(settings.home) == []


def eventually(check: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def plain(url: str) -> str:
    """As psycopg reads it: connections of the tests' own, past the door that explains errors away."""
    return url.replace("+psycopg", "")


def pid_of(settings: Settings, program: str) -> int:
    return int(supervisor_control.states(settings.home)[program]["pid"])


# what a start refuses


def test_a_taken_port_is_named_with_its_holder_and_setting(small: Settings) -> None:
    with socket.create_server(("127.0.0.1", small.postgres_port)), pytest.raises(EvergreenError) as refused:
        local_stack.up(small, SILENT)
    for part in (str(small.postgres_port), "EVERGREEN_POSTGRES_PORT", f"(pid {os.getpid()})"):
        assert part in str(refused.value)


def test_another_evergreen_at_the_same_ports_is_named_with_all_conflicts_and_how_to_share_it(small: Settings) -> None:
    local_stack.up(small, SILENT)
    folder = small.folder.parent / "second"
    folder.mkdir()
    second = replace(small, folder=folder, home=folder / ".evergreen", mlflow_tracking_uri="http://127.0.0.1:1")
    with pytest.raises(EvergreenError) as refused:
        local_stack.up(second, SILENT)
    said = str(refused.value)
    for port, program in ((small.postgres_port, "postgres"), (small.site_url.rpartition(":")[2], "site")):
        assert f"Port {port}, meant for {program}, is taken by the Evergreen whose home is {small.home}." in said
    assert f"EVERGREEN_HOME={small.home}\n  MLFLOW_TRACKING_URI=http://mlflow.invalid\n" in said  # what else differs there
    beside = dict(line.strip().split("=") for line in said.partition("For a stack beside it")[2].splitlines()[1:])
    assert {"EVERGREEN_POSTGRES_PORT", "EVERGREEN_SITE_URL", "EVERGREEN_API_URL"} == set(beside)
    moved = replace(second, postgres_port=int(beside["EVERGREEN_POSTGRES_PORT"]), site_url=beside["EVERGREEN_SITE_URL"],
                    api_url=beside["EVERGREEN_API_URL"])  # fmt: skip
    assert "postgres" not in local_stack.port_conflicts(moved)


def test_a_store_of_a_newer_version_is_refused(small: Settings) -> None:
    small.home.mkdir()
    (small.home / "version").write_text(f"{store.VERSION + 1}\n")
    with pytest.raises(EvergreenError, match="a newer one wrote it"):
        local_stack.up(small, SILENT)


def test_a_database_named_in_the_shell_only_is_refused(small: Settings) -> None:
    own = replace(small, source="postgresql+psycopg://reader:word@db.invalid/company")
    with pytest.raises(EvergreenError, match="SOURCE_URL is set in this shell") as refused:
        local_stack.up(own, SILENT)
    assert "word" not in str(refused.value)


def test_databases_without_their_passwords_are_refused(small: Settings) -> None:
    (small.home / "postgres").mkdir(parents=True)
    with pytest.raises(EvergreenError, match="lacks passwords"):
        local_stack.up(small, SILENT)


def test_a_stack_of_an_earlier_version_gets_the_roles_that_are_new(small: Settings) -> None:
    """Its passwords stay, those of new roles are added, and each role has its rights when `up` returns."""
    small.home.mkdir()
    earlier = {role: f"word-{role}" for role in postgres_server.ROLES if role not in postgres_server.LATER}
    lines = [f"{role.upper()}_PASSWORD={word}" for role, word in earlier.items()]
    small.secrets_file.write_text("\n".join([*lines, "SOMETHING_ELSE='rejected'\n"]))
    postgres_server.initialise(small.home / "postgres", earlier["postgres"])
    local_stack.up(small, SILENT)
    found = store.read_passwords(small)
    assert {role: found[role] for role in earlier} == earlier
    assert "SOMETHING_ELSE='rejected'\n" in small.secrets_file.read_text()
    assert set(found) >= set(postgres_server.ROLES)
    assert stat.S_IMODE(small.secrets_file.stat().st_mode) == 0o600
    for kind in postgres_server.LATER:
        assert ledger.models(getattr(small, f"{kind}_url")) == []


def test_a_program_that_does_not_come_up_is_named_with_its_log(small: Settings) -> None:
    local_stack.up(small, SILENT)
    local_stack.down(small, SILENT)
    (small.home / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EvergreenError) as failed:
        local_stack.up(small, SILENT)
    for part in ("postgres does not come up", "postgres.log", "incompatible"):
        assert part in str(failed.value)


# starting, stopping and dying


def test_up_and_down_twice_are_harmless(small: Settings) -> None:
    local_stack.up(small, SILENT)
    first = pid_of(small, "postgres")
    local_stack.up(small, SILENT)
    assert pid_of(small, "postgres") == first
    assert {row.program: row.state for row in local_stack.status(small)} == {
        "postgres": "ready",
        "site": "ready",
        "api-churn": "ready",
        "mlflow": "elsewhere",
        "prefect": "elsewhere",
    }
    said: list[str] = []
    local_stack.down(small, said.append)
    local_stack.down(small, said.append)
    assert said == ["stopped", "nothing is running"]
    assert processes.is_free(small.postgres_port)


def test_two_ups_at_once_make_one_stack(small: Settings) -> None:
    failures: list[Exception] = []

    def start() -> None:
        try:
            local_stack.up(small, SILENT)
        except Exception as error:
            failures.append(error)

    both = [threading.Thread(target=start) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert failures == []
    supervisors = [one for one in processes.belonging_to(small.home) if "supervisor.supervisord" in one.cmdline()]
    assert len(supervisors) == 1


@pytest.mark.parametrize("victims", ["supervisor", "everything"])
def test_up_after_a_kill_starts_again_with_the_data(small: Settings, victims: str) -> None:
    local_stack.up(small, SILENT)
    with psycopg.connect(plain(small.load_url)) as company:
        company.execute("create table kept (n int)")
    killed = processes.belonging_to(small.home)
    if victims == "supervisor":
        killed = [one for one in killed if "supervisor.supervisord" in one.cmdline()]
    kill_all(killed)
    psutil.wait_procs(killed, timeout=10)
    local_stack.up(small, SILENT)
    with psycopg.connect(plain(small.source_url)) as company:
        assert company.execute("select count(*) from kept").fetchone() == (0,)


def test_a_stale_pid_file_with_a_living_number_does_not_stop_postgres(small: Settings) -> None:
    local_stack.up(small, SILENT)
    local_stack.down(small, SILENT)
    stranger = subprocess.Popen([*postgres_server.account(small.home), "sleep", "600"])
    (small.home / "postgres" / "postmaster.pid").write_text(f"{stranger.pid}\n{small.home / 'postgres'}\n1\n")
    try:
        local_stack.up(small, SILENT)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_long_path_still_gets_a_socket_the_kernel_accepts(tmp_path: Path) -> None:
    short, long = tmp_path / "h", tmp_path / ("x" * 100) / "h"
    assert supervisor_control.socket_path(short) == short / "supervisor.sock"
    path = supervisor_control.socket_path(long)
    assert len(os.fsencode(path)) <= supervisor_control.SOCKET_PATH_LIMIT
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.parent.rmdir()


def test_a_clone_in_a_closed_folder_can_run_postgres(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "home").mkdir()
    words = postgres_server.account(closed / "home")
    assert subprocess.run([*words, "test", "-x", str(closed / "home")]).returncode == 0
    if os.geteuid() == 0:
        assert subprocess.run([*words, "id", "-u"], capture_output=True).stdout.strip() != b"0"


# databases


def test_our_own_server_gets_the_databases_that_are_missing(postgres_url: str, ledger_url: str) -> None:
    postgres_server.prepare_own(ledger_url)
    postgres_server.prepare_own(ledger_url)
    with postgres_server.connect(postgres_url) as admin:
        found = {name for (name,) in admin.execute("select datname from pg_database")}
        assert {"mlflow", "prefect"} <= found
        admin.commit()
        admin.autocommit = True
        admin.execute("drop database mlflow")
        admin.execute("drop database prefect")


def test_a_role_that_may_not_create_databases_learns_what_an_administrator_must_run(postgres_url: str, ledger_url: str) -> None:
    with postgres_server.connect(postgres_url) as admin:
        admin.execute("create role modest login password 'modest-word'")
    with pytest.raises(EvergreenError, match="create database mlflow owner modest") as refused:
        postgres_server.prepare_own(ledger_url.replace("postgres:only-for-tests", "modest:modest-word"))
    assert "modest-word" not in str(refused.value)
    with postgres_server.connect(postgres_url) as admin:
        admin.execute("drop role modest")


# the whole stack


def test_up_on_a_running_stack_is_quick_and_starts_nothing(stack: Settings) -> None:
    before = {name: info["pid"] for name, info in supervisor_control.states(stack.home).items()}
    began = time.monotonic()
    local_stack.up(stack, SILENT)
    assert time.monotonic() - began < 5
    assert {name: info["pid"] for name, info in supervisor_control.states(stack.home).items()} == before
    assert set(before) == {"postgres", "mlflow", "prefect", "site", "api-churn", "cpu-1", "gpu-1"}


def test_a_second_clone_shares_the_stack_by_its_env_file(stack: Settings, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text((stack.folder / ".env").read_text())
    local_stack.up(Settings.load_from(tmp_path, {}), SILENT)
    other = Settings.load_from(tmp_path, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5999"})
    with pytest.raises(EvergreenError, match=r"MLFLOW_TRACKING_URI is .* there, http://127.0.0.1:5999 here"):
        local_stack.up(other, SILENT)


@pytest.mark.parametrize(("role", "database"), [("postgres", "postgres"), ("evergreen", "evergreen"), ("reader", "company")])
def test_a_wrong_password_is_refused(stack: Settings, role: str, database: str) -> None:
    right = plain(stack.embedded_url(role, database))
    password = store.read_passwords(stack)[role]
    with psycopg.connect(right):
        pass
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(right.replace(password, "wrong"))


def test_the_reader_sees_new_tables_and_can_change_nothing(stack: Settings) -> None:
    with psycopg.connect(plain(stack.load_url)) as company:
        company.execute("create schema wholesale")
        company.execute("create table wholesale.customers as select 1 as id")
    denied = [
        "insert into wholesale.customers values (2)",
        "update wholesale.customers set id = 2",
        "delete from wholesale.customers",
        "truncate wholesale.customers",
        "drop table wholesale.customers",
        "create table wholesale.mine (id int)",
        "create table public.mine (id int)",
        "create temporary table mine (id int)",
        "create schema mine",
        "set role company",
    ]
    with psycopg.connect(plain(stack.source_url), autocommit=True) as reader:
        assert reader.execute("select id from wholesale.customers").fetchall() == [(1,)]
        for statement in denied:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement)
    with psycopg.connect(plain(stack.load_url)) as company:
        company.execute("drop schema wholesale cascade")


@pytest.mark.parametrize("database", ["evergreen", "mlflow", "prefect", "postgres", "template1"])
def test_the_reader_enters_no_other_database(stack: Settings, database: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(plain(stack.embedded_url("reader", database)))


def test_a_live_worker_polls_each_pool(stack: Settings) -> None:
    for pool in ("cpu", "gpu"):
        found = httpx.post(f"{stack.prefect_api_url}/work_pools/{pool}/workers/filter", json={}).json()
        assert [(worker["name"], worker["status"]) for worker in found] == [(f"{pool}-1", "ONLINE")]
    assert httpx.get(f"{stack.prefect_api_url}/work_pools/gpu").json()["concurrency_limit"] == 1


def test_prefects_database_does_not_grow_without_end(stack: Settings) -> None:
    vacuum = httpx.get(f"{stack.prefect_api_url}/admin/settings").json()["server"]["services"]["db_vacuum"]
    assert set(vacuum["enabled"]) == {"events", "flow_runs"}
    assert vacuum["retention_period"] == "P90D"


def test_every_page_of_the_site_is_sandboxed(stack: Settings) -> None:
    for path, status in {"/": 200, "/missing.html": 404}.items():
        page = httpx.get(f"{stack.site_url}{path}")
        assert page.status_code == status
        assert page.headers["content-security-policy"] == "sandbox allow-scripts"
        assert page.headers["x-content-type-options"] == "nosniff"
    assert "<h1" in httpx.get(stack.site_url).text


def test_no_password_is_in_a_command_line_a_file_or_a_log(stack: Settings) -> None:
    passwords = store.read_passwords(stack)
    assert set(passwords) >= set(postgres_server.ROLES)
    lines = [" ".join(process.cmdline()) for process in processes.belonging_to(stack.home)]
    files = [file for file in stack.home.glob("*") if file.is_file() and file != stack.secrets_file]
    files += list((stack.home / "logs").iterdir())
    texts = lines + [file.read_text(errors="replace") for file in files]
    assert len(lines) > 6
    secrets = store.read_secrets(stack)
    assert api_key.NAME in secrets
    assert [text for text in texts for secret in secrets.values() if secret in text] == []


def test_the_secrets_file_is_its_owners_alone(stack: Settings) -> None:
    assert stat.S_IMODE(stack.secrets_file.stat().st_mode) == 0o600


def test_workers_are_not_given_what_belongs_to_one_clone_or_server(stack: Settings) -> None:
    given = psutil.Process(pid_of(stack, "cpu-1")).environ()
    passwords = store.read_passwords(stack).values()
    assert [name for name, value in given.items() if any(password in value for password in passwords)] == []
    assert given["EVERGREEN_HOME"] == str(stack.home)
    assert given["PREFECT_RESULTS_DEFAULT_SERIALIZER"] == "json"


def test_a_killed_worker_comes_back_and_its_runs_end_as_crashed(stack: Settings) -> None:
    """The run's process is in a session of its own, as Prefect starts it, so only its mark tells whose it is."""
    mark = {**os.environ, processes.MARK: str(stack.home), processes.PROGRAM: "cpu-1"}
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=mark, start_new_session=True)
    run = running_flow_run(stack, worker="cpu-1")
    other = running_flow_run(stack, worker="somebody-elses")
    killed = pid_of(stack, "cpu-1")
    os.kill(killed, signal.SIGKILL)
    try:
        assert orphan.wait(60) == -signal.SIGTERM
    finally:
        orphan.kill()
    api = stack.prefect_api_url
    assert eventually(lambda: httpx.get(f"{api}/flow_runs/{run}").json()["state_type"] == "CRASHED")
    assert httpx.get(f"{api}/flow_runs/{other}").json()["state_type"] == "RUNNING"
    assert pid_of(stack, "cpu-1") != killed
    assert eventually(lambda: {row.program: row.state for row in local_stack.status(stack)}["cpu-1"] == "ready")


def test_a_killed_server_comes_back(stack: Settings) -> None:
    killed = pid_of(stack, "mlflow")
    os.kill(killed, signal.SIGKILL)
    assert eventually(lambda: pid_of(stack, "mlflow") not in {0, killed})
    # the killed one's child would keep the port, and answer
    assert eventually(lambda: all(one.ppid() != 1 for one in processes.belonging_to(stack.home, {"mlflow"})))
    assert eventually(lambda: pools.succeeds(f"{stack.mlflow_tracking_uri}/health"), 120)


@pytest.mark.long
def test_the_whole_stack_starts_again_after_everything_was_killed(tmp_path: Path) -> None:
    settings = write_env_file(tmp_path)
    try:
        local_stack.up(settings, print)
        run = running_flow_run(settings, worker="gpu-1")
        victims = processes.belonging_to(settings.home)
        kill_all(victims)
        psutil.wait_procs(victims, timeout=10)
        local_stack.up(settings, print)
        assert {row.state for row in local_stack.status(settings)} == {"ready"}
        assert httpx.get(f"{settings.prefect_api_url}/flow_runs/{run}").json()["state_type"] == "CRASHED"
    finally:
        local_stack.down(settings, print)
    assert processes.belonging_to(settings.home) == []


def running_flow_run(settings: Settings, worker: str) -> str:
    """A flow run that Prefect takes for running on a worker; its id."""
    api = settings.prefect_api_url
    flow = httpx.post(f"{api}/flows/", json={"name": "pretended"}).json()
    body = {"flow_id": flow["id"], "labels": {"prefect.worker.name": worker}, "state": {"type": "RUNNING"}}
    return str(httpx.post(f"{api}/flow_runs/", json=body).json()["id"])

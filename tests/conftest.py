"""Databases and a stack for tests. Every server is private to the session, on free ports, and gone at its end."""

from __future__ import annotations

import itertools
import re
import shutil
import socket
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from examples.telecom.load import load_demo
from infra.stack import local as local_stack
from infra.stack import postgres_server, processes
from pipelines.config.settings import Settings
from tests.support.clones import Clone, FlowRun

AS_OF = "2024-12-31"  # of the first retraining
_numbers = itertools.count()


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses by marker
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Fast ones first: what needs the stack comes after them, what needs a retraining last; otherwise as found.

    Where processes share the work it is the other way round, so that none is left with the dear ones at the end.
    Tests that need a server get the marker `servers`: `make check` leaves them out, and nobody keeps a list.
    """
    for item in items:
        if {"postgres_url", "stack"} & set(getattr(item, "fixturenames", ())) or _starts_servers(item.path):
            item.add_marker("servers")

    def needs(item: pytest.Item) -> list[bool]:
        return [name in getattr(item, "fixturenames", ()) for name in ("project", "stack")]

    items.sort(key=needs, reverse=hasattr(config, "workerinput"))


@cache
def _starts_servers(file: Path) -> bool:
    """Whether a module of tests starts processes that stay, without the fixtures above."""
    text = file.read_text(encoding="utf-8")
    return re.search(r"postgres_server\.running|stack\.up\(|subprocess\.Popen", text) is not None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--most-seconds", type=float, help="CPU seconds above which a test fails, to be marked `slow`")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _within_seconds(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _within_seconds(item))


def _within_seconds(item: pytest.Item) -> Generator[None, Any, Any]:
    """CPU time and not the clock's, so that a busy machine fails no test."""
    most, started = item.config.getoption("most_seconds"), time.process_time()
    done = yield
    if most and (took := time.process_time() - started) > most:
        pytest.fail(
            f"took {took:.1f} s of CPU, more than {most:g}: make it faster, or mark it `slow` for `make check`", pytrace=False
        )
    return done


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file goes to one process, and all that need the retraining go to the same one.

    The marker `xdist_group` would say so as well, and does nothing with pytest 9.2 (pytest-xdist 3.8.0).
    """
    from xdist.scheduler import LoadFileScheduling

    class ByRetraining(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "retraining" if "project: Project" in (config.rootpath / file).read_text(encoding="utf-8") else file

    return ByRetraining(config, log)


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def write_env_file(folder: Path) -> Settings:
    """A project folder whose `.env` puts a stack of its own on free ports, with its home inside the folder.

    Copied into another folder, that file makes it share the stack.
    """
    postgres, prefect, mlflow, site, api = free_ports(5)
    lines = {
        "EVERGREEN_HOME": folder / ".evergreen",
        "EVERGREEN_POSTGRES_PORT": postgres,
        "PREFECT_API_URL": f"http://127.0.0.1:{prefect}/api",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow}",
        "EVERGREEN_SITE_URL": f"http://127.0.0.1:{site}",
        "EVERGREEN_API_URL": f"http://127.0.0.1:{api}",
        "EVERGREEN_API_MODEL": "churn",
    }
    (folder / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in lines.items()))
    return Settings.load_from(folder, {})


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Superuser's URL of a Postgres for this session."""
    folder = tmp_path_factory.mktemp("postgres")
    with postgres_server.running(folder / "data", free_ports(1)[0], "only-for-tests") as url:
        yield url
    shutil.rmtree(folder)


@pytest.fixture
def company_url(postgres_url: str) -> Iterator[str]:
    """Superuser's URL of an empty database, gone after the test."""
    yield from _fresh_database(postgres_url, "company")


@pytest.fixture
def ledger_url(postgres_url: str) -> Iterator[str]:
    """Superuser's URL of another empty database, gone after the test: for schema evergreen."""
    yield from _fresh_database(postgres_url, "ledger")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The whole local stack, running; its settings. Its `.env` is in `settings.folder`."""
    settings = write_env_file(tmp_path_factory.mktemp("stack"))
    try:
        local_stack.up(settings, print)
        yield settings
    finally:
        local_stack.down(settings, print)
    assert processes.belonging_to(settings.home) == []


@dataclass(frozen=True)
class Project:
    """A clone on the stack, deployed, and retrained once through a worker."""

    clone: Clone
    run: FlowRun

    @property
    def settings(self) -> Settings:
        return self.clone.settings


@pytest.fixture(scope="session")
def project(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """2,000 customers of the demo company and the first retraining on them, as of the end of 2024."""
    load_demo(stack.load_url, customers=2_000, say=print)
    env_file = (stack.folder / ".env").read_text()
    changes = {"evaluate.bootstrap": 200, "tune.trials": 2, "candidates.enabled": {"linear": "cpu", "lightgbm": "cpu"}}
    clone = Clone.make(tmp_path_factory.mktemp("project") / "clone", env_file, changes)
    clone.deploy()
    return Project(clone, clone.retrain(as_of=AS_OF))


def _fresh_database(admin_url: str, purpose: str) -> Iterator[str]:
    name = f"{purpose}_{next(_numbers)}"
    with postgres_server.connect(admin_url) as admin:
        admin.autocommit = True
        admin.execute(f"create database {name}")
    yield postgres_server.on_database(admin_url, name)
    with postgres_server.connect(admin_url) as admin:
        admin.autocommit = True
        admin.execute(f"drop database {name} with (force)")

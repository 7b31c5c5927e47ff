"""A source database that breaks on demand."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.telecom.load import load_demo
from infra.stack import postgres_server
from pipelines.config import params
from pipelines.data import extract, postgres
from tests.support.clones import REPOSITORY, bare_environment

AS_OF = "2024-12-31"


QUERIES = extract.Queries(REPOSITORY / "sql" / "churn")


_numbers = itertools.count()


@dataclass(frozen=True)
class Source:
    """A company's database, and a folder with the project's params.yaml."""

    url: str
    folder: Path

    def change(self, *statements: str) -> None:
        with postgres.connect(self.url) as connection:
            for statement in statements:
                connection.execute(statement)

    def pin(self) -> extract.Pin:
        found = extract.pin(self.url, QUERIES, self.data, AS_OF)
        params.write_pin(self.folder / "params.yaml", found.as_of, found.fingerprint)
        return found

    def extract(self) -> dict:
        return extract.extract(self.url, QUERIES, self.data, self.folder / "rows.parquet")[0]

    @property
    def data(self) -> params.DataParams:
        return params.read(self.folder / "params.yaml").data

    def stage(self, name: str, *paths: str, url: str = "", fault: str = "") -> subprocess.CompletedProcess[str]:
        """`python -m pipelines.<name>` as DVC runs it."""
        return subprocess.run(
            [sys.executable, "-m", f"pipelines.stages.{name}", *paths],
            cwd=self.folder,
            env=bare_environment() | {"PYTHONPATH": str(REPOSITORY), "SOURCE_URL": url or self.url, "EVERGREEN_FAULT": fault},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture(scope="module")
def template(postgres_url: str) -> Iterator[str]:
    """A database with 1,500 customers, which is only ever copied."""
    name = f"template_{next(_numbers)}"
    _as_admin(postgres_url, f"create database {name}")
    load_demo(postgres_server.on_database(postgres_url, name), customers=1_500, months=13, say=lambda _: None)
    yield name
    _as_admin(postgres_url, f"drop database {name} with (force)")


@pytest.fixture
def source(postgres_url: str, template: str, tmp_path: Path) -> Iterator[Source]:
    name = f"source_{next(_numbers)}"
    _as_admin(postgres_url, f"create database {name} template {template}")
    text = (REPOSITORY / "params.yaml").read_text()
    unpinned = re.sub(r"(as_of|fingerprint): \"[^\"]*\"", r"\1: null", text)  # this clone may have been retrained in
    (tmp_path / "params.yaml").write_text(unpinned)
    yield Source(postgres_server.on_database(postgres_url, name), tmp_path)
    _as_admin(postgres_url, f"drop database {name} with (force)")


def _as_admin(url: str, statement: str) -> None:
    with postgres_server.connect(url) as admin:
        admin.autocommit = True
        admin.execute(statement)

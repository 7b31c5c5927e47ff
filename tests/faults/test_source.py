"""What is wrong with the source or the configuration is told: what, where and what to do next; and never a password."""

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
from pipelines.config.errors import EvergreenError, TransientError
from pipelines.config.stage import TRANSIENT
from pipelines.data import extract, postgres
from tests.clones import REPOSITORY, bare_environment, read_json
from tests.conftest import free_ports

AS_OF = "2024-12-31"
PASSWORD = "only-for-tests"  # of the session's server
QUERIES = extract.Queries(REPOSITORY / "sql" / "churn")
_numbers = itertools.count()
MADE = ("--rows", "rows.parquet", "--manifest", "manifest.json", "--left-out", "left_out.json")


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


def refused(error: object, *words: str) -> None:
    """Whether the message says all this, and no secret."""
    text = str(error)
    assert [word for word in words if word not in text] == [], text
    assert PASSWORD not in text


def test_a_dropped_column_is_named_with_what_to_compare(source: Source) -> None:
    source.pin()
    source.change("alter table telecom.invoices drop column payment_failed")
    for step in (source.pin, source.extract):
        with pytest.raises(EvergreenError) as failed:
            step()
        refused(failed.value, "payment_failed", "does not exist", "Postgres at 127.0.0.1:", "compare sql/ with the source's")


def test_a_dropped_table_is_named(source: Source) -> None:
    source.change("drop table telecom.monthly_usage")
    with pytest.raises(EvergreenError) as failed:
        source.pin()
    refused(failed.value, "telecom.monthly_usage", "does not exist", "compare sql/")


def test_a_numeric_column_that_became_text_is_named(source: Source) -> None:
    source.change("alter table telecom.monthly_usage alter column gigabytes type text using gigabytes::text")
    with pytest.raises(EvergreenError) as failed:
        source.pin()
    refused(failed.value, "avg(gigabytes)", "text", "A column has another type than the query takes: compare sql/")


def test_a_text_in_a_numeric_column_is_shown_with_the_type_it_should_have(source: Source) -> None:
    """Where the query casts, as sql/telco does."""
    source.change("alter table telecom.subscriptions alter column discount_pct type text using 'unknown'")
    source.pin()
    with pytest.raises(EvergreenError) as failed:
        source.extract()
    refused(failed.value, "invalid input syntax for type integer", "another type than the query takes: compare sql/")
    assert not isinstance(failed.value, TransientError)


def test_a_label_that_became_text_is_stopped_by_the_gate_with_both_types(source: Source) -> None:
    """A text that no cast stops comes through as it is: validation knows what it should be."""
    queries = extract.Queries(source.folder / "sql")
    queries.folder.mkdir()
    for file in QUERIES.folder.iterdir():
        text = file.read_text().replace("population.churned,", "population.churned::bool::int::text as churned,")
        (queries.folder / file.name).write_text(text)
    source.pin()
    made = source.stage("extract", "--queries", "sql", *MADE)
    assert made.returncode == 0, made.stderr
    refused(validated(source), "churned", "an integer, 0 or 1, found text (string)")


def test_an_empty_source_is_told_by_its_watermark(source: Source) -> None:
    source.change("truncate telecom.loads")
    with pytest.raises(EvergreenError) as failed:
        source.pin()
    refused(failed.value, "watermark.sql gave None: one date is needed. Is the source empty?")


def test_an_empty_table_gives_no_pin(source: Source) -> None:
    source.change("truncate telecom.customers cascade")
    with pytest.raises(EvergreenError) as failed:
        source.pin()
    refused(failed.value, f"0 rows are known as of {AS_OF}", "pin a later date, or check", "training_set.sql")


def test_labels_of_one_class_stop_before_anything_is_fitted(source: Source) -> None:
    source.change("truncate telecom.terminations")
    assert source.pin().positives == 0
    made = source.stage("extract", "--queries", str(QUERIES.folder), *MADE)
    assert made.returncode == 0, made.stderr
    refused(validated(source), "labels are all 0", "Are the labels already known at data.as_of?", "docs/index.html")


def validated(source: Source) -> str:
    """What a red validation says; its verdict and its docs stay to be read."""
    words = [*MADE, "--verdict", "verdict.json", "--docs", "docs"]
    done = source.stage("validate", *words, "--expectations", str(QUERIES.folder / "expectations.yaml"))
    assert done.returncode == 1, done.stdout
    assert not read_json(source.folder / "verdict.json")["success"]
    assert "<html" in (source.folder / "docs" / "index.html").read_text().lower()
    return done.stderr


def test_a_wrong_password_is_told_without_it(source: Source) -> None:
    wrong = source.url.replace(PASSWORD, "not-the-p%40ssword")
    source.pin()
    done = source.stage("extract", "--queries", str(QUERIES.folder), *MADE, url=wrong)
    assert done.returncode == 1
    refused(done.stderr, "password authentication failed", "Check user and password in SOURCE_URL", ".env")
    for secret in ("not-the-p%40ssword", "not-the-p@ssword", "Traceback"):
        assert secret not in done.stderr + done.stdout


def test_a_password_that_is_not_encoded_for_a_url_is_told_without_it(source: Source) -> None:
    """libpq quotes what it cannot read."""
    source.pin()
    odd = source.url.replace(PASSWORD, "s3cret%zz")
    done = source.stage("extract", "--queries", str(QUERIES.folder), *MADE, url=odd)
    assert done.returncode == 1
    refused(done.stderr, "percent-encoded", "Check the address in SOURCE_URL")
    assert "s3cret" not in done.stderr + done.stdout


def test_a_server_that_is_away_is_worth_a_retry(source: Source) -> None:
    source.pin()
    away = source.url.replace(source.url.rsplit(":", 1)[1].split("/")[0], str(free_ports(1)[0]))
    done = source.stage("extract", "--queries", str(QUERIES.folder), *MADE, url=away)
    assert done.returncode == TRANSIENT
    refused(done.stderr, "Connection refused", "Check that it runs (`evergreen status`) and try again")


def test_a_misspelt_key_is_named(source: Source) -> None:
    file = source.folder / "params.yaml"
    file.write_text(file.read_text().replace("bootstrap:", "bootstarp:"))
    done = source.stage("extract", "--queries", str(QUERIES.folder), *MADE)
    assert done.returncode == 1
    refused(done.stderr, "params.yaml", "evaluate.bootstarp: no such key. Check its spelling", "evaluate.bootstrap: missing")
    assert "Traceback" not in done.stderr


def test_nothing_pinned_says_how_to_pin(source: Source) -> None:
    with pytest.raises(EvergreenError, match="run `evergreen pin`, then `dvc repro`"):
        source.extract()


def test_a_date_that_the_source_has_not_reached_is_refused(source: Source) -> None:
    with pytest.raises(EvergreenError, match="complete up to 2025-01-31 only: --as-of 2025-02-01"):
        extract.pin(source.url, QUERIES, source.data, "2025-02-01")


def test_rows_changed_under_the_pin_stop_the_extraction(source: Source) -> None:
    pinned = source.pin()
    source.extract()
    source.change("update telecom.invoices set amount = amount + 1 where ctid = (select min(ctid) from telecom.invoices)")
    with pytest.raises(EvergreenError) as failed:
        source.extract()
    assert not isinstance(failed.value, TransientError)
    refused(failed.value, pinned.fingerprint, "History was changed", f"`evergreen pin --as-of {AS_OF}` accepts it")


def test_rows_that_became_known_after_the_pin_change_nothing(source: Source) -> None:
    pinned = source.pin()
    first = source.extract()
    added = "select customer_id, '2025-01-15', null, '2025-01-16' from telecom.customers limit 1"
    source.change(f"insert into telecom.terminations {added}")
    assert source.pin() == pinned
    assert source.extract() == first

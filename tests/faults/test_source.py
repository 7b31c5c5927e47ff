"""What is wrong with the source or the configuration is told: what, where and what to do next; and never a password."""

from __future__ import annotations

import pytest

from pipelines.config.errors import EvergreenError, TransientError
from pipelines.config.stage import TRANSIENT
from pipelines.data import extract
from tests.conftest import free_ports
from tests.support.clones import read_json
from tests.support.sources import AS_OF, QUERIES, Source, source, template

__all__ = ["source", "template"]  # fixtures

PASSWORD = "only-for-tests"  # of the session's server
MADE = ("--rows", "rows.parquet", "--manifest", "manifest.json", "--left-out", "left_out.json")


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
    with pytest.raises(EvergreenError, match="run `evergreen data pin`, then `dvc repro`"):
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
    refused(failed.value, pinned.fingerprint, "History was changed", f"`evergreen data pin --as-of {AS_OF}` accepts it")


def test_rows_that_became_known_after_the_pin_change_nothing(source: Source) -> None:
    pinned = source.pin()
    first = source.extract()
    added = "select customer_id, '2025-01-15', null, '2025-01-16' from telecom.customers limit 1"
    source.change(f"insert into telecom.terminations {added}")
    assert source.pin() == pinned
    assert source.extract() == first

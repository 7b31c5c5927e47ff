"""A session is ours: neither libpq's environment nor a role's own settings move a day, a row or a digit."""

import pyarrow.parquet as pq
import pytest

from infra.stack.postgres_server import on_database
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.data import extract, postgres

TABLE = """
    create schema tz;
    create table tz.bookings as
    select
        n as booking, timestamptz '2023-11-01 22:30:00+00' + n * interval '3 hours 7 minutes' as booked_at,
        n * 0.1::float8 as price, n % 3 = 0 as big, 0 as cancelled
    from generate_series(1, 300) as n"""
TRAINING = """
    select booking, booked_at::date as day, cancelled, price::text as price, big::text as big,
        (booked_at - timestamptz '2023-01-01')::text as since, '\\x41'::bytea::text as bytes, unqualified() as path
    from tz.bookings where booked_at::date <= cast(:as_of as date)"""
FINGERPRINT = (
    "select md5(string_agg(row(b.*)::text, ' ' order by booking)) from tz.bookings as b where booked_at::date <= :as_of"
)
HOSTILE = {
    "timezone": "'Pacific/Auckland'", "datestyle": "'German, DMY'", "intervalstyle": "'iso_8601'", "extra_float_digits": "-10",
    "bytea_output": "'escape'", "search_path": "tz_other",
}  # fmt: skip


@pytest.fixture
def source(company_url, tmp_path):
    """URL of a role with settings of its own, a dataset's queries, and an environment that would move days."""
    with postgres.connect(company_url) as connection:
        connection.execute(TABLE)
        connection.execute("create schema tz_other")
        for schema, text in (("public", "ours"), ("tz_other", "theirs")):
            connection.execute(f"create function {schema}.unqualified() returns text return '{text}'")
        connection.execute("drop role if exists odd_reader")
        connection.execute("create role odd_reader login superuser password 'only-for-tests'")
    (tmp_path / "training_set.sql").write_text(TRAINING)
    (tmp_path / "fingerprint.sql").write_text(FINGERPRINT)
    (tmp_path / "watermark.sql").write_text("select max(booked_at)::date from tz.bookings")
    yield company_url.replace("//postgres:", "//odd_reader:")
    with postgres.connect(company_url) as connection:
        connection.execute("drop role odd_reader")


def data(**changed):
    values = {"dataset": "tz", "as_of": None, "fingerprint": None, "entity": "booking", "time": "day", "target": "cancelled",
              "protected": [], "personal": [], "history_days": 9, "horizon_days": 0, "embargo_days": 0}  # fmt: skip
    return params.DataParams(**values | changed)


def pinned_rows(url, folder, **changed):
    queries = extract.Queries(folder)
    pin = extract.pin(url, queries, data(**changed))
    chosen = data(as_of=pin.as_of, fingerprint=pin.fingerprint, **changed)
    extract.extract(url, queries, chosen, folder / "rows.parquet")
    return pin, pq.read_table(folder / "rows.parquet")


def test_a_pin_is_the_same_whatever_environment_and_role_say(source, tmp_path, monkeypatch, company_url):
    before, rows = pinned_rows(source, tmp_path)
    with postgres.connect(company_url) as connection:
        for name, value in HOSTILE.items():
            connection.execute(f"alter role odd_reader set {name} = {value}")
    for name, value in {"PGTZ": "Pacific/Auckland", "PGDATESTYLE": "Postgres, MDY", "PGGEQO": "off",
                        "PGOPTIONS": "-c IntervalStyle=sql_standard", "PGCLIENTENCODING": "LATIN1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    after, again = pinned_rows(source, tmp_path)
    assert after == before and again.equals(rows)
    assert rows["path"][0].as_py() == "ours" and rows["since"][0].as_py() == "305 days 01:37:00"
    with postgres.connect(source) as connection:
        shown = {name: connection.execute(f"show {name}").fetchone()[0] for name in (*HOSTILE, "client_encoding")}
    assert shown == {
        "timezone": "UTC", "datestyle": "ISO, MDY", "intervalstyle": "postgres", "extra_float_digits": "1",
        "bytea_output": "hex", "search_path": '"$user", public', "client_encoding": "UTF8",
    }  # fmt: skip


def test_a_rollback_does_not_give_the_session_back(company_url):
    with postgres.connect(company_url) as connection:
        connection.execute("select 1")
        connection.rollback()
        assert connection.execute("show timezone").fetchone() == ("UTC",)
        assert connection.autocommit is False


def test_whose_day_a_moment_falls_into_is_a_param(source, tmp_path):
    utc, rows = pinned_rows(source, tmp_path)
    auckland, moved = pinned_rows(source, tmp_path, timezone="Pacific/Auckland")
    assert (utc.as_of, auckland.as_of) == ("2023-12-10", "2023-12-11")
    first = min(rows["day"].to_pylist()), min(moved["day"].to_pylist())
    assert [str(day) for day in first] == ["2023-11-02", "2023-11-02"]
    assert rows["day"].to_pylist() != moved["day"].to_pylist()
    with pytest.raises(ValueError, match="no time zone of this name"):
        data(timezone="Atlantis")


def test_an_address_with_options_of_its_own_keeps_our_session(company_url):
    url = f"{on_database(company_url, company_url.rsplit('/', 1)[1])}?options=-c%20timezone%3DAsia/Tokyo"
    with postgres.connect(url) as connection:
        assert connection.execute("show timezone").fetchone() == ("UTC",)
    with postgres.snapshot(url) as opened:
        assert opened.value("select current_setting('timezone')") == "UTC"
        with pytest.raises(EvergreenError, match="read-only"):
            opened.value("create table public.t (a int)")

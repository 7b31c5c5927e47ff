"""sql/churn: what the queries read of the company's history, and that they never read ahead."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from examples.telecom.load import load_demo
from pipelines.data import postgres
from pipelines.data.extract import Queries
from pipelines.validation.expectations import ask_great_expectations, read_expectations

SQL = Queries(Path(__file__).parents[2] / "sql" / "churn")
TRAINING = {"as_of": "2024-12-31", "history_days": 366, "horizon_days": 30, "embargo_days": 14}
KEYS = ["customer_id", "snapshot_date"]


def silently(_line):
    pass


@pytest.fixture
def company(company_url):
    load_demo(company_url, customers=1_500, months=14, say=silently)
    return company_url


@pytest.fixture
def one_customer(company_url):
    """Customer 1, drawn by hand: came in May 2024 with a one-year contract, and nothing else happened."""
    load_demo(company_url, customers=1, months=1, say=silently)
    with postgres.connect(company_url) as connection:
        connection.execute(
            "truncate telecom.customers, telecom.subscriptions, telecom.terminations, telecom.invoices, "
            "telecom.support_tickets, telecom.monthly_usage"
        )
    add(company_url, "customers", "1, '2024-05-10', '1990-01-01', 'f', 'north', 'shop', 100, 2, '2024-05-11'")
    add(company_url, "subscriptions", subscription("2024-05-10", "'basic', 'one year', '2025-04-30', 20, 0, 5, null"))
    return company_url


def change(url, statement):
    with postgres.connect(url) as connection:
        connection.execute(statement)


def add(url, table, *rows):
    """Rows of values in the order of the table's columns (sql/demo/schema.sql), without loaded_at."""
    change(url, f"insert into telecom.{table} values {', '.join(f'({row})' for row in rows)}")


def subscription(since, values):
    """Known on its first day. values: plan, contract, its end, charge, discount, allowance, payment method."""
    return f"{since.replace('-', '')}, 1, {values}, '{since}', '{since}'"


def table(url, **pin):
    with postgres.snapshot(url) as source, source.batches(postgres.bind(SQL.training_set, TRAINING | pin)) as batches:
        return batches.read_all()


def rows(url, **pin):
    return table(url, **pin).to_pandas()


def scored(url, as_of):
    return rows(url, as_of=as_of, history_days=0, horizon_days=0, embargo_days=0)


def row(url, as_of):
    (found,) = scored(url, as_of).to_dict("records")
    return found


def fingerprint(url, as_of="2024-12-31"):
    with postgres.snapshot(url) as source:
        return source.value(postgres.bind(SQL.fingerprint, TRAINING | {"as_of": as_of}))


# which rows


def test_one_row_per_active_customer_and_month_end(company):
    found = rows(company)
    assert not found.duplicated(KEYS).any()
    assert found[KEYS].equals(found[KEYS].sort_values(KEYS, ignore_index=True))
    ends = [end.date() for end in pd.date_range("2024-01-31", "2024-10-31", freq="ME")]
    assert sorted(found.snapshot_date.unique()) == ends  # November's labels are too young, and history begins in January


def test_scoring_looks_at_one_day_only(company):
    assert set(scored(company, "2024-12-31").snapshot_date) == {dt.date(2024, 12, 31)}
    assert set(scored(company, "2024-12-15").snapshot_date) == {dt.date(2024, 12, 15)}


def test_scoring_rows_have_the_features_of_training_rows(company):
    trained = rows(company)
    trained = trained[trained.snapshot_date == dt.date(2024, 9, 30)].drop(columns="churned").reset_index(drop=True)
    seen = scored(company, "2024-09-30").drop(columns="churned")
    later_known_to_have_left = ~seen.customer_id.isin(trained.customer_id)
    assert later_known_to_have_left.mean() < 0.03
    pd.testing.assert_frame_equal(seen[~later_known_to_have_left].reset_index(drop=True), trained)


def test_the_label_is_a_termination_within_the_horizon(one_customer):
    labels = {}
    for left_on in ["2024-08-31", "2024-09-01", "2024-09-30", "2024-10-01"]:
        change(one_customer, "truncate telecom.terminations")
        change(one_customer, f"insert into telecom.terminations values (1, '{left_on}', null, date '{left_on}' + 10)")
        found = rows(one_customer).set_index("snapshot_date").churned
        labels[left_on] = found.get(dt.date(2024, 8, 31))
    assert labels == {"2024-08-31": None, "2024-09-01": 1, "2024-09-30": 1, "2024-10-01": 0}


def test_a_termination_not_known_yet_is_no_label(one_customer):
    change(one_customer, "insert into telecom.terminations values (1, '2024-11-15', null, '2025-01-02')")
    assert rows(one_customer).churned.sum() == 0
    assert rows(one_customer, as_of="2025-01-02").churned.sum() == 1


def test_who_left_is_scored_until_that_is_known(one_customer):
    change(one_customer, "insert into telecom.terminations values (1, '2024-09-28', null, '2024-10-05')")
    assert len(scored(one_customer, "2024-09-30")) == 1
    assert scored(one_customer, "2024-10-05").empty
    assert rows(one_customer).snapshot_date.max() == dt.date(2024, 8, 31)


# a feed that was wrong


def test_what_a_feed_said_in_a_declared_month_reaches_no_row(company):
    add(company, "feed_incidents", "'monthly_usage', '2024-03-01', '2024-04-01', null, '2024-12-31'")
    trained, seen = rows(company), scored(company, "2024-12-31")
    assert trained.snapshot_date.nunique() == 10
    wrong = "gigabytes = gigabytes * 1000, call_minutes = 0, dropped_calls = 99"
    change(company, f"update telecom.monthly_usage set {wrong} where month in ('2024-03-01', '2024-04-01')")
    pd.testing.assert_frame_equal(rows(company), trained)
    pd.testing.assert_frame_equal(scored(company, "2024-12-31"), seen)


def test_a_fault_counts_from_the_day_of_its_declaration(one_customer):
    add(one_customer, "monthly_usage", "1, '2024-06-01', 7, 0, 0, '2024-06-30'")
    add(one_customer, "feed_incidents", "'monthly_usage', '2024-06-01', '2024-06-01', null, '2024-08-15'")
    assert rows(one_customer, as_of="2024-08-14").usage_gb_3m.max() == 7
    assert rows(one_customer, as_of="2024-08-15").usage_gb_3m.isna().all()


# what they hold


def test_types_are_exact(company):
    types = {field.name: str(field.type) for field in table(company).schema}
    integers = ["churned", "tenure_months", "support_tickets", "discount_pct", "contract_days_left", "days_since_change"]
    integers += ["tickets_90d", "tickets_open", "payment_failures_90d"]
    texts = ["gender", "age_band", "contract_type", "plan", "payment_method", "region", "channel"]
    numbers = ["monthly_charges", "total_charges", "price_change", "usage_gb_3m", "usage_of_allowance", "usage_trend"]
    numbers += ["call_minutes_3m", "dropped_calls_3m"]
    assert types == (
        {"customer_id": "int64", "snapshot_date": "date32[day]"}
        | dict.fromkeys(integers, "int32") | dict.fromkeys(texts, "string") | dict.fromkeys(numbers, "double")
    )  # fmt: skip


def test_a_missing_integer_stays_an_integer(company):
    days_left = table(company)["contract_days_left"]
    assert days_left.type == pa.int32() and days_left.null_count > 0


def test_a_customer_drawn_by_hand(one_customer):
    changed = subscription("2024-07-02", "'standard', 'month-to-month', null, 30, 10, 20, 'credit card'")
    add(one_customer, "subscriptions", changed)
    add(
        one_customer,
        "invoices",
        "1, 1, '2024-05-01', 20, true, '2024-06-04'",
        "2, 1, '2024-06-01', 20, true, '2024-07-05'",
        "3, 1, '2024-07-01', 30, true, '2024-08-05'",
        "4, 1, '2024-08-01', 30, false, '2024-09-05'",
    )
    add(
        one_customer,
        "support_tickets",
        "1, 1, null, 'opened', '2024-05-20', '2024-05-20'",
        "1, 1, null, 'resolved', '2024-06-20', '2024-06-20'",
        "2, 1, null, 'opened', '2024-08-20', '2024-08-21'",
    )
    add(
        one_customer,
        "monthly_usage",
        "1, '2024-05-01', 8, 100, 0, '2024-05-31'",
        "1, '2024-06-01', 4, 200, 1, '2024-06-30'",
        "1, '2024-07-01', 3, null, 2, '2024-07-31'",
        "1, '2024-08-01', 5, 300, 3, '2024-08-31'",
    )
    found = row(one_customer, "2024-08-31")
    assert pd.isna(found.pop("contract_days_left"))
    assert found == {
        "customer_id": 1, "snapshot_date": dt.date(2024, 8, 31), "churned": 0, "gender": "f", "age_band": "30-44",
        "tenure_months": 3, "monthly_charges": 30.0, "total_charges": 170.0, "support_tickets": 4,
        "contract_type": "month-to-month", "plan": "standard", "payment_method": "credit card", "discount_pct": 10,
        "days_since_change": 60, "price_change": 0.5, "region": "north", "channel": "shop",
        "tickets_90d": 1, "tickets_open": 1, "payment_failures_90d": 3,
        "usage_gb_3m": 4.0, "usage_of_allowance": 0.2, "usage_trend": 1.0, "call_minutes_3m": 250.0, "dropped_calls_3m": 2.0,
    }  # fmt: skip


def test_what_nobody_recorded_is_missing_and_not_zero(one_customer):
    found = row(one_customer, "2024-08-31")
    unknown = ["payment_method", "days_since_change", "price_change", "usage_gb_3m", "usage_trend", "call_minutes_3m"]
    assert all(pd.isna(found[name]) for name in unknown)
    assert (found["tickets_open"], found["payment_failures_90d"], found["total_charges"]) == (0, 0, 100.0)


def test_a_change_is_forgotten_after_half_a_year(one_customer):
    add(one_customer, "subscriptions", subscription("2024-07-02", "'basic', 'one year', '2025-04-30', 25, 0, 5, null"))
    assert row(one_customer, "2024-12-31")["days_since_change"] == 182
    later = row(one_customer, "2025-01-31")
    assert pd.isna(later["days_since_change"]) and pd.isna(later["price_change"]) and later["monthly_charges"] == 25.0


@pytest.mark.parametrize(
    ("dirt", "column", "clean"),
    [
        ("update telecom.subscriptions set contract_type = 'One Year '", "contract_type", "one year"),
        ("update telecom.customers set birth_date = '1900-01-01'", "age_band", None),
        ("insert into telecom.invoices values (1, 1, '2024-05-01', -20, false, '2024-06-04')", "total_charges", 100.0),
        (
            "insert into telecom.invoices values (1, 1, '2024-05-01', 20, true, '2024-06-04'), "
            "(1, 1, '2024-05-01', 20, true, '2024-06-05')",
            "total_charges",
            120.0,
        ),
        (
            "insert into telecom.support_tickets values (1, 1, null, 'opened', '2023-05-20', '2024-05-20')",
            "support_tickets",
            2,
        ),
    ],
)
def test_dirt_is_cleaned(one_customer, dirt, column, clean):
    change(one_customer, dirt)
    found = row(one_customer, "2024-08-31")[column]
    assert pd.isna(found) if clean is None else found == clean


def test_the_demo_has_dirt_to_clean(company):
    dirt = {
        "misspelt contracts": "select count(*) from telecom.subscriptions where contract_type <> lower(trim(contract_type))",
        "placeholder births": "select count(*) from telecom.customers where birth_date = '1900-01-01'",
        "invoices sent twice": "select count(*) - count(distinct invoice_id) from telecom.invoices",
        "negative amounts": "select count(*) from telecom.invoices where amount < 0",
        "tickets from before joining": "select count(*) from telecom.support_tickets "
        "join telecom.customers using (customer_id) where happened_on < joined_on",
    }
    with postgres.connect(company) as connection:
        counts = {name: connection.execute(query).fetchone()[0] for name, query in dirt.items()}
    assert all(counts.values()), counts
    assert set(rows(company).contract_type) == {"month-to-month", "one year", "two year"}


# never the future

FROM_THE_FUTURE = {
    "a subscription dated back": "telecom.subscriptions select subscription_id + 99, customer_id, 'fiber', 'two year', null, "
    "99, 0, 1, null, valid_from + 1, '2024-11-01' from telecom.subscriptions",
    "an invoice": "telecom.invoices select invoice_id + 99, customer_id, period, 999, true, '2024-11-01' from telecom.invoices",
    "a corrected invoice": "telecom.invoices select invoice_id, customer_id, period, 999, true, '2024-11-01' "
    "from telecom.invoices",
    "a ticket dated back": "telecom.support_tickets select ticket_id, customer_id, topic, status, happened_on, '2024-11-01' "
    "from telecom.support_tickets",
    "a late reading": "telecom.monthly_usage select customer_id, month, 9999, 999, 99, '2024-11-01' from telecom.monthly_usage",
    "a customer dated back": "telecom.customers select customer_id + 100000, joined_on, birth_date, gender, region, channel, "
    "0, 0, '2024-11-01' from telecom.customers",
}


@pytest.mark.parametrize("insert", FROM_THE_FUTURE.values(), ids=FROM_THE_FUTURE)
def test_rows_recorded_after_the_snapshot_do_not_enter_its_features(company, insert):
    before = rows(company)
    change(company, f"insert into {insert}")
    pd.testing.assert_frame_equal(rows(company), before)  # the last snapshot is of 31 October


def test_a_later_pin_gives_the_same_rows_for_the_same_snapshots(company):
    early, late = rows(company, as_of="2024-10-31", history_days=304), rows(company, as_of="2024-12-31")
    late = late[late.snapshot_date <= early.snapshot_date.max()].reset_index(drop=True)
    pd.testing.assert_frame_equal(early, late)


# who may ask


def test_select_is_all_that_the_queries_need(company):
    with postgres.connect(company) as connection:
        connection.execute("create role only_select")
        connection.execute("revoke all on schema public from public")
        connection.execute(
            "do $$ begin execute format('revoke temporary on database %I from public', current_database()); end $$"
        )
        connection.execute("grant usage on schema telecom to only_select")
        connection.execute("grant select on all tables in schema telecom to only_select")
        connection.execute("set role only_select")
        connection.execute("set transaction read only")
        for query in (SQL.training_set, SQL.fingerprint, SQL.watermark):
            assert connection.execute(postgres.bind(query, TRAINING)).fetchone()
        connection.rollback()


# the pin


def test_the_watermark_is_the_oldest_of_the_feeds(company):
    with postgres.snapshot(company) as source:
        assert source.value(postgres.bind(SQL.watermark, {})) == dt.date(2025, 2, 28)
    change(company, "update telecom.loads set complete_through = '2025-02-03' where feed = 'invoices'")
    with postgres.snapshot(company) as source:
        assert source.value(postgres.bind(SQL.watermark, {})) == dt.date(2025, 2, 3)


def test_loading_again_and_loading_more_leave_the_fingerprint(company):
    before = fingerprint(company)
    load_demo(company, customers=1_500, months=16, say=silently)
    assert fingerprint(company) == before
    assert fingerprint(company, "2025-02-28") != before


def test_the_place_of_a_row_does_not_count(company):
    before, hashed = table(company), fingerprint(company)
    for name in ("customers", "subscriptions", "invoices", "support_tickets", "monthly_usage"):
        shuffle = (
            f"create temporary table shuffled as select * from telecom.{name} order by random(); truncate telecom.{name}; "
        )
        change(company, f"{shuffle} insert into telecom.{name} select * from shuffled")
    assert fingerprint(company) == hashed
    assert table(company).equals(before)


def test_the_session_does_not_count(company):
    statement, found = postgres.bind(SQL.fingerprint, TRAINING), set()
    for setting in ("datestyle = 'German'", "timezone = 'Asia/Tokyo'", "extra_float_digits = -5", "lc_numeric = 'C'"):
        with postgres.connect(company) as connection:
            connection.execute(f"set {setting}")
            found |= {connection.execute(statement).fetchone()[0]}
    assert found == {fingerprint(company)}


def test_a_row_taken_away_or_doubled_changes_the_fingerprint(company):
    found = [fingerprint(company)]
    change(company, "delete from telecom.monthly_usage where ctid = (select min(ctid) from telecom.monthly_usage)")
    found.append(fingerprint(company))
    change(company, "insert into telecom.terminations select * from telecom.terminations limit 1")
    found.append(fingerprint(company))
    assert len(set(found)) == 3


def test_whatever_changes_the_training_set_changes_the_fingerprint(company_url):
    """Each column of each table in turn is changed in all old rows: none that the training query reads can be forgotten
    in the fingerprint, and those that it does not read are left out."""
    load_demo(company_url, customers=200, months=12, say=silently)
    other = {"bigint": "+ 1000000", "integer": "+ 1", "numeric": "+ 1", "date": "- 1", "text": "|| '~'"}
    columns = (
        "select table_name, column_name, data_type from information_schema.columns "
        "where table_schema = 'telecom' and table_name <> 'loads' and column_name <> 'loaded_at'"
    )
    add(company_url, "feed_incidents", "'monthly_usage', '2024-05-01', '2024-06-01', null, '2024-08-15'")
    training, hashed = postgres.bind(SQL.training_set, TRAINING), postgres.bind(SQL.fingerprint, TRAINING)
    training = f"select md5(string_agg(t::text, ' ')) from ({training}) as t"
    unread = set()
    with postgres.connect(company_url) as connection:
        connection.execute("alter table telecom.customers drop constraint customers_pkey")
        connection.execute("alter table telecom.feed_incidents drop constraint feed_incidents_feed_check")

        def look():
            return [connection.execute(query).fetchone()[0] for query in (training, hashed)]

        rows_before, hash_before = look()
        for name, column, kind in connection.execute(columns).fetchall():
            connection.execute("savepoint clean")
            new = f"not {column}" if kind == "boolean" else f"{column} {other[kind]}"
            connection.execute(f"update telecom.{name} set {column} = {new} where recorded_at <= '2024-10-01'")
            rows_after, hash_after = look()
            if hash_after == hash_before:
                unread.add(f"{name}.{column}")
                assert rows_after == rows_before, f"{name}.{column} is read, and not in the fingerprint"
            connection.execute("rollback to savepoint clean")
        connection.rollback()
    assert unread == {
        "feed_incidents.note", "invoices.period", "support_tickets.ticket_id", "support_tickets.topic", "terminations.reason"
    }  # fmt: skip


# the expectations


def expectations():
    return read_expectations(SQL.folder / "expectations.yaml")


def red(frame):
    results = ask_great_expectations(frame, expectations())
    judged = zip(expectations(), results, strict=True)
    return {", ".join(item.columns) for item, result in judged if not result.success}


def test_clean_months_meet_the_expectations_and_a_wrong_unit_does_not(company):
    found = rows(company)
    assert set(found) - {name for item in expectations() for name in item.columns} == set(KEYS)
    assert red(found) == set()
    wrong = found.assign(usage_gb_3m=found.usage_gb_3m * 1000, usage_of_allowance=found.usage_of_allowance * 1000)
    assert red(wrong) == {"usage_gb_3m", "usage_of_allowance"}
    assert red(found.assign(monthly_charges=found.monthly_charges * 100)) == {"monthly_charges"}
    assert red(found.assign(contract_type=found.contract_type.str.upper())) == {"contract_type"}
    assert red(found.assign(churned=0)) == {"churned"}


def test_the_broken_feed_is_red_until_it_is_declared_and_the_other_shifts_are_never(company_url):
    load_demo(company_url, customers=1_500, say=silently)
    assert red(rows(company_url, as_of="2025-04-20")) == {"usage_gb_3m", "usage_of_allowance", "usage_trend"}
    for as_of in ("2025-04-30", "2025-12-31"):
        assert red(rows(company_url, as_of=as_of)) == set()

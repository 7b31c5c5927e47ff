"""The invented company: the same seed tells the same story, and the story keeps to the probabilities it was told by."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from examples.telecom.company import ALL_SHIFTS, SHIFT_BEGINS, Options, first_day, month_end
from examples.telecom.load import load_demo, oracle_auc, true_probabilities
from examples.telecom.records import feed_incidents
from examples.telecom.simulate import simulate, simulate_chunk
from pipelines.config.errors import EvergreenError
from pipelines.data import postgres

NO_SHIFTS = frozenset()


def tables(customers=300, months=24, seed=7, shifts=NO_SHIFTS):
    chunks = list(simulate(Options(customers, months, seed, shifts)))
    return {name: pa.concat_tables([chunk[name] for chunk in chunks]).to_pandas() for name in chunks[0]}


def available_by(found, end):
    """The rows known on a day, in a fixed order."""
    dates = {name: "recorded_at" if "recorded_at" in rows else "snapshot_date" for name, rows in found.items()}
    cut = {name: rows[rows[dates[name]] <= end] for name, rows in found.items()}
    return {name: rows.sort_values(list(rows.columns)).reset_index(drop=True) for name, rows in cut.items()}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        pd.testing.assert_frame_equal(left[name], right[name], obj=name)


@pytest.fixture(scope="module")
def quiet():
    return tables()


def test_one_seed_gives_the_same_rows(quiet):
    assert_same(tables(), quiet)


def test_another_seed_gives_others(quiet):
    assert not tables(seed=8)["customers"].equals(quiet["customers"])


def test_a_customer_is_the_same_among_few_and_among_many(quiet):
    among_many = {name: rows[rows.customer_id <= 300] for name, rows in tables(customers=5_200).items()}
    last = month_end(24).item()
    assert_same(available_by(among_many, last), available_by(quiet, last))


def test_customers_beyond_one_chunk_differ_from_the_first_ones():
    customers = tables(customers=5_200, months=1)["customers"].set_index("customer_id")
    assert customers.index.is_unique and customers.index.max() > 5_000
    assert customers.loc[1:100, "birth_date"].tolist() != customers.loc[5_001:5_100, "birth_date"].tolist()


def test_fewer_months_are_the_beginning_of_more(quiet):
    end = month_end(9).item()
    assert_same(available_by(tables(months=9), end), available_by(quiet, end))


@pytest.mark.parametrize("shift", sorted(ALL_SHIFTS))
def test_a_shift_leaves_the_months_before_it_alone(quiet, shift):
    shifted = tables(shifts=frozenset({shift}))
    before = month_end(SHIFT_BEGINS[shift] - 1).item()
    assert_same(available_by(shifted, before), available_by(quiet, before))
    after = month_end(24).item()
    changed = [name for name, rows in available_by(shifted, after).items() if not rows.equals(available_by(quiet, after)[name])]
    assert changed, f"{shift} does nothing"


def test_customers_leave_as_often_as_their_probability_says():
    chunk = simulate_chunk(0, Options(5_000, 24, 7, ALL_SHIFTS))
    rows = chunk["churn_probability"].to_pandas()
    left = chunk["terminations"].to_pandas()
    month_before = pd.to_datetime(left.terminated_on).dt.to_period("M") - 1
    left = left.assign(snapshot_date=month_before.dt.end_time.dt.date)[["customer_id", "snapshot_date"]].assign(left=1)
    rows = rows[rows.probability > 0].merge(left, how="left", on=["customer_id", "snapshot_date"]).fillna({"left": 0})
    tenth = pd.qcut(rows.probability, 10, labels=False, duplicates="drop")
    for _, group in rows.groupby(tenth):
        spread = np.sqrt((group.probability * (1 - group.probability)).sum())
        assert abs(group.left.sum() - group.probability.sum()) < 3.5 * spread


def test_a_termination_lies_within_30_days_of_one_month_end_and_becomes_known_1_to_10_days_later(quiet):
    left = quiet["terminations"]
    ends = [end.item() for end in month_end(np.arange(0, 25))]
    hits = [sum(end < day <= end + dt.timedelta(days=30) for end in ends) for day in left.terminated_on]
    assert set(hits) == {1}
    assert (pd.to_datetime(left.recorded_at) - pd.to_datetime(left.terminated_on)).dt.days.between(1, 10).all()


def test_the_broken_feed_is_a_change_of_unit_and_nothing_else(quiet):
    broken = tables(shifts=frozenset({"broken_feed"}))
    wrong = broken["monthly_usage"].gigabytes / quiet["monthly_usage"].gigabytes
    months = broken["monthly_usage"].month[wrong > 500]
    assert set(months) == {first_day(14).item()}
    assert broken["terminations"].equals(quiet["terminations"])


@pytest.mark.parametrize(("months", "shifts", "declared"), [(24, ALL_SHIFTS, 1), (15, ALL_SHIFTS, 0), (24, NO_SHIFTS, 0)])
def test_the_broken_feed_is_declared_once_somebody_has_found_out(months, shifts, declared):
    assert len(feed_incidents(Options(300, months, 7, shifts))) == declared


def test_tickets_of_the_ill_treated_are_logged_weeks_late():
    found = tables(customers=3_000, shifts=frozenset({"unfair_group"}))
    opened = found["support_tickets"].query("status == 'opened'").merge(found["customers"][["customer_id", "gender"]])
    opened = opened[(opened.happened_on >= first_day(21).item()) & (opened.happened_on < first_day(23).item())]
    delay = pd.to_datetime(opened.recorded_at) - pd.to_datetime(opened.happened_on)
    typical = delay.dt.days.groupby(opened.gender).median()
    assert typical["f"] >= 35 and typical["m"] <= 1


def silently(_line):
    pass


def load(url, **options):
    load_demo(url, **({"customers": 300, "months": 6, "shifts": NO_SHIFTS, "say": silently} | options))


def contents(url):
    """Hashes of all tables, without the time of loading."""
    names = ["customers", "subscriptions", "terminations", "invoices", "support_tickets", "monthly_usage"]
    names += ["feed_incidents", "loads"]
    query = (
        "select md5(string_agg((to_jsonb(t) - 'loaded_at')::text, ' ' order by (to_jsonb(t) - 'loaded_at')::text)) from {} as t"
    )
    with postgres.connect(url) as connection:
        found = {name: connection.execute(query.format(f"telecom.{name}")).fetchone()[0] for name in names}
        return found | {"oracle": connection.execute(query.format("demo_oracle.churn_probability")).fetchone()[0]}


def test_two_loads_with_one_seed_are_identical(company_url):
    until_the_fault_is_known = {"months": 20, "shifts": frozenset({"broken_feed"})}
    load(company_url, **until_the_fault_is_known)
    first = contents(company_url)
    load(company_url, **until_the_fault_is_known)
    assert contents(company_url) == first and all(first.values())
    load(company_url, seed=8)
    assert contents(company_url)["customers"] != first["customers"]


def test_a_load_that_is_cut_off_leaves_the_old_data(company_url):
    load(company_url)
    before = contents(company_url)

    def stop(_line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(company_url, seed=8, say=stop)
    assert contents(company_url) == before
    load(company_url, seed=8)  # and nothing is in the way of the next one


@pytest.mark.parametrize("schema", ["telecom", "demo_oracle"])
def test_a_schema_of_somebody_else_is_not_replaced(company_url, schema):
    with postgres.connect(company_url) as connection:
        connection.execute(f"create schema {schema} create table precious (n integer)")
    with pytest.raises(EvergreenError, match=f"already has a schema {schema} that is not demo data"):
        load(company_url)
    with postgres.connect(company_url) as connection:
        assert connection.execute(f"select count(*) from {schema}.precious").fetchone() == (0,)


@pytest.mark.parametrize(
    "made",
    [
        "create table telecom.precious as select 1 as n",
        "create schema own create view own.precious as select * from telecom.customers",
    ],
)
def test_what_somebody_made_of_the_demo_data_stops_the_next_load(company_url, made):
    load(company_url)
    with postgres.connect(company_url) as connection:
        connection.execute(made)
    before = contents(company_url)
    with pytest.raises(EvergreenError, match=r"because other objects depend on .* built on it: move or drop that first"):
        load(company_url, seed=8)
    assert contents(company_url) == before


def test_the_reader_sees_the_company_and_not_the_answers(company_url):
    with postgres.connect(company_url) as connection:
        if not connection.execute("select 1 from pg_roles where rolname = 'reader'").fetchone():
            connection.execute("create role reader")
    load(company_url)
    with postgres.connect(company_url) as connection:
        connection.execute("set role reader")
        assert connection.execute("select count(*) from telecom.customers").fetchone()[0] > 0
    denied = pytest.raises(EvergreenError, match="permission denied for schema demo_oracle")
    with denied, postgres.connect(company_url) as connection:
        connection.execute("set role reader")
        connection.execute("select * from demo_oracle.churn_probability")


def test_true_probabilities_come_in_the_order_of_the_rows(company_url):
    load(company_url, customers=1_500, months=12)
    answers = tables(customers=1_500, months=12)["churn_probability"].sample(frac=0.5, random_state=1)
    rows = pa.table({"customer_id": answers.customer_id, "snapshot_date": pa.array(answers.snapshot_date, pa.date32())})
    np.testing.assert_allclose(true_probabilities(company_url, rows).to_numpy(), answers.probability, rtol=1e-12)


def test_the_oracle_ranks_well_and_not_perfectly(company_url):
    load(company_url, customers=1_500, months=12)
    answers = tables(customers=1_500, months=12)["churn_probability"]
    coins = np.random.default_rng(1).random(len(answers)) < answers.probability
    rows = pa.table({"customer_id": answers.customer_id, "snapshot_date": answers.snapshot_date, "label": coins.astype(int)})
    assert 0.80 < oracle_auc(company_url, rows=rows) < 0.90


def test_a_row_without_an_answer_is_an_error(company_url):
    load(company_url)
    rows = pa.table({"customer_id": [1], "snapshot_date": [dt.date(2024, 3, 15)], "label": [0]})
    with pytest.raises(EvergreenError, match="no probability for 1 of 1 rows"):
        oracle_auc(company_url, rows=rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"customers": 0}, "0 customers: give 1 to 2,000,000"),
        ({"customers": 2_000_001}, "2,000,001 customers"),
        ({"months": 25}, "25 months: give 1 to 24"),
        ({"shifts": frozenset({"concept_drift"})}, "Unknown shift concept_drift: there are broken_feed, c"),
    ],
)
def test_an_option_out_of_range_is_named(options, message):
    with pytest.raises(EvergreenError, match=message):
        load("postgresql+psycopg://nobody@127.0.0.1:1/nowhere", **options)

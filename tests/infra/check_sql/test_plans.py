"""Missing indexes, as the source's plan shows them: with those of sql/demo/indexes.sql nothing is said, without them it is."""

from __future__ import annotations

from pathlib import Path

from cli.check_sql import plans
from examples.telecom.load import load_demo
from pipelines.data import postgres
from pipelines.data.extract import Queries

SQL = Path(__file__).parents[3] / "sql"
CHURN = {"as_of": "2024-12-31", "history_days": 366, "horizon_days": 30, "embargo_days": 14}
RETAIL = {"as_of": "2011-12-08", "history_days": 284, "horizon_days": 90, "embargo_days": 0}
LINES = """
    create schema retail;
    create table retail.invoice_lines as
    select
        (536365 + n / 20)::text as "InvoiceNo", (10000 + n % 3000)::text as "StockCode", 'thing' as "Description",
        1 + n % 12 as "Quantity", timestamp '2010-12-01' + n * interval '8 minutes' as "InvoiceDate",
        1.25::float8 as "UnitPrice",
        case when n % 4 > 0 then 12346 + n % 4000 end as "CustomerID", 'France' as "Country"
    from generate_series(0, 60000) as n;
"""


def slow(url, statement, **options):
    with postgres.connect(url) as connection:
        connection.execute("set max_parallel_workers_per_gather = 0")
        return plans.explain(connection, statement, **{"analyze": False} | options)


def test_the_demo_lacks_no_index_and_without_them_each_is_named(company_url):
    load_demo(company_url, customers=2_000, months=14, say=lambda _line: None)
    statement = postgres.bind(Queries(SQL / "churn").training_set, CHURN)
    assert slow(company_url, statement) == []
    with postgres.connect(company_url) as connection:
        rows = connection.execute(
            "select indexrelid::regclass::text from pg_index where indrelid::regclass::text ~ '^telecom.'"
        )
        for (index,) in rows.fetchall():
            if "pkey" not in index:
                connection.execute(f"drop index {index}")
    found = slow(company_url, statement)
    lines = {one.index for one in found}
    for table in ("invoices", "monthly_usage"):
        (line,) = (line for line in lines if f'"{table}"' in line)
        assert line.startswith(f'create index on "telecom"."{table}" ("customer_id"'), found
    assert all("times" in one.message for one in found)


def test_online_retail_is_read_as_a_whole_rightly_and_one_customer_is_not(company_url):
    with postgres.connect(company_url) as connection:
        connection.execute(LINES)
        connection.execute("analyze retail.invoice_lines")
    text = Queries(SQL / "online_retail").training_set.read_text()
    whole = postgres.bind_text(text, RETAIL, "online_retail")
    assert slow(company_url, whole) == []
    one = whole.replace('"CustomerID" is not null', '"CustomerID" = 12347')
    assert one != whole
    for options in ({}, {"analyze": True}):
        (found,) = slow(company_url, one, **options)
        assert found.index.startswith('create index on "retail"."invoice_lines" ("CustomerID"')
        assert "%" in found.message
    with postgres.connect(company_url) as connection:
        connection.execute(found.index)
        connection.execute("analyze retail.invoice_lines")
    assert slow(company_url, one) == []


def test_a_sort_that_goes_to_disk_is_said():
    node = {"Node Type": "Sort", "Plan Rows": 10_000_000, "Plan Width": 200, "Sort Key": ["a.id"]}
    (found,) = plans.warnings(node, {}, {})
    assert (found.index, "1,907 MB" in found.message) == ("", True)
    assert list(plans.warnings(node | {"Plan Rows": 1000}, {}, {})) == []
    spilled = node | {"Sort Space Type": "Disk", "Sort Space Used": 300 * 1024}
    assert len(list(plans.warnings(spilled, {}, {}, analyze=True))) == 1
    assert list(plans.warnings(spilled | {"Sort Space Type": "Memory"}, {}, {}, analyze=True)) == []

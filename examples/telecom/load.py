"""The invented company into Postgres by COPY, and its answer key back out."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv

from examples.telecom import records
from examples.telecom.company import ALL_SHIFTS, LAST_MONTH, SHIFT_BEGINS, Options, month_end
from examples.telecom.simulate import CHUNK, Tables, simulate
from pipelines.config.errors import EvergreenError
from pipelines.data import postgres

if TYPE_CHECKING:
    import psycopg

SQL = Path(__file__).parents[2] / "sql" / "demo"
MOST_CUSTOMERS = 2_000_000
SAY_EVERY = 10  # chunks
MARK = "python -m examples.telecom demo data"  # the comment on both schemas, by publish.sql
KEYS = ["customer_id", "snapshot_date"]


def load_demo(
    url: str,
    *,
    customers: int = 20_000,
    months: int = LAST_MONTH,
    seed: int = 7,
    shifts: frozenset[str] = ALL_SHIFTS,
    begins: Mapping[str, int] = SHIFT_BEGINS,
    say: Callable[[str], None] = print,
) -> None:
    """Replaces the schemas telecom and demo_oracle, in one transaction: a load that is cut off leaves the old ones.

    Args:
        customers: how many there ever are within 24 months; 6 of 10 are there from the start.
        months: of history, from January 2024; fewer months give the same rows up to their end.
        shifts: which of the four shifts of docs/studies/demo-data.md happen.
        begins: the first month of each.

    Raises:
        EvergreenError: an option is out of its range, the role may not create schemas, or one of them is somebody else's.
    """
    options = _checked(Options(customers, months, seed, frozenset(shifts), begins))
    started, rows = time.perf_counter(), 0
    with postgres.connect(url, statement_timeout_s=0) as connection:
        _refuse_to_replace_others(connection)
        _create(connection)
        for number, tables in enumerate(simulate(options), start=1):
            for name, table in tables.items():
                _copy(connection, name, table)
            rows += sum(map(len, tables.values()))
            if number % SAY_EVERY == 0 or number * CHUNK >= customers:
                done, seconds = min(number * CHUNK, customers), time.perf_counter() - started
                say(f"demo: {done:,} of {customers:,} customers, {rows:,} rows, {rows / seconds:,.0f} rows/s")
        _finish(connection, tables, options)
    say(f"demo: complete through {month_end(months)}, after {time.perf_counter() - started:.1f} s")


def true_probabilities(url: str, rows: pa.Table) -> pa.Array:
    """The true probabilities of leaving of `rows`, in their order.

    Args:
        rows: with columns customer_id and snapshot_date; each customer then active, or not known to have left.

    Raises:
        EvergreenError: the role may not see the answer key, or it has no entry for a row.
    """
    dates = rows["snapshot_date"].cast(pa.date32())
    known = _answers(url, dates)
    asked = pa.table({"customer_id": rows["customer_id"].cast(pa.int64()), "snapshot_date": dates, "at": np.arange(len(rows))})
    found = asked.join(known, keys=KEYS, join_type="left outer").sort_by("at")["probability"]
    if found.null_count:
        raise EvergreenError(
            f"The demo's answer key has no probability for {found.null_count:,} of {len(rows):,} rows: "
            "they are not month ends of customers of the demo data that is loaded now."
        )
    return found.combine_chunks()


def oracle_auc(url: str, *, rows: pa.Table) -> float:
    """The ROC-AUC of the true probabilities on `rows` (customer_id, snapshot_date, label): what no model can beat
    but by luck.

    Raises:
        EvergreenError: as true_probabilities.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(rows["label"].to_numpy(), true_probabilities(url, rows).to_numpy()))


def _checked(options: Options) -> Options:
    for name, value, most in [("customers", options.customers, MOST_CUSTOMERS), ("months", options.months, LAST_MONTH)]:
        if not 1 <= value <= most:
            raise EvergreenError(f"The demo data cannot have {value:,} {name}: give 1 to {most:,}.")
    if unknown := options.shifts - ALL_SHIFTS:
        raise EvergreenError(f"Unknown shift {', '.join(sorted(unknown))}: there are {', '.join(sorted(ALL_SHIFTS))}.")
    return options


def _refuse_to_replace_others(connection: psycopg.Connection) -> None:
    """`load` may be pointed at a company's own database."""
    for schema in ("telecom", "demo_oracle"):
        query = "select obj_description(oid, 'pg_namespace') from pg_namespace where nspname = %s"
        found = connection.execute(query, (schema,)).fetchone()
        if found and found[0] != MARK:
            raise EvergreenError(
                f"The database already has a schema {schema} that is not demo data, and loading would replace it. "
                "Give LOAD_URL another database, or rename that schema."
            )


def _create(connection: psycopg.Connection) -> None:
    """Empty tables beside the old ones, which stay readable until the end."""
    for schema, tables in [("demo_oracle_incoming", "oracle.sql"), ("telecom_incoming", "schema.sql")]:
        connection.execute(f"create schema {schema}")
        connection.execute(f"set local search_path to {schema}")
        connection.execute((SQL / tables).read_text("utf-8"))
    connection.execute("set local search_path to telecom_incoming, demo_oracle_incoming")


def _copy(connection: psycopg.Connection, name: str, table: pa.Table) -> None:
    """Rows appended to a table. FREEZE saves the later rewriting of pages; the table is this transaction's own."""
    buffer = io.BytesIO()
    pa.csv.write_csv(table, buffer, pa.csv.WriteOptions(include_header=False))
    columns = ", ".join(table.column_names)
    with connection.cursor().copy(f"copy {name} ({columns}) from stdin (format csv, freeze)") as copy:
        copy.write(buffer.getbuffer())


def _finish(connection: psycopg.Connection, tables: Tables, options: Options) -> None:
    connection.execute((SQL / "indexes.sql").read_text("utf-8"))
    feeds = [name for name in tables if name != "churn_probability"]
    complete = np.full(len(feeds), month_end(options.months))
    _copy(connection, "loads", pa.table({"feed": feeds, "complete_through": complete}))
    _copy(connection, "feed_incidents", records.feed_incidents(options))
    for name in [*tables, "loads", "feed_incidents"]:
        connection.execute(f"analyze {name}")
    connection.execute((SQL / "publish.sql").read_text("utf-8"))


def _answers(url: str, dates: pa.ChunkedArray) -> pa.Table:
    """The answer key of some days, by COPY."""
    statement = postgres.bind(SQL / "answers.sql", {"dates": dates.unique().to_pylist()})
    types = {"customer_id": pa.int64(), "snapshot_date": pa.date32(), "probability": pa.float64()}
    with (
        postgres.connect(url) as connection,
        connection.cursor().copy(f"copy ({statement}) to stdout (format csv, header)") as copy,
    ):
        answers = b"".join(copy)
    return pa.csv.read_csv(pa.BufferReader(answers), convert_options=pa.csv.ConvertOptions(column_types=types))

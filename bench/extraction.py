"""Extraction against psql's COPY BINARY of the same query, and its memory."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from urllib.parse import unquote, urlsplit

from bench.figure import Figure, peak_mb
from infra.stack import postgres_server
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.data import extract, postgres

PAIRS = 3
EXTRACT_GOAL, MEMORY_MB = 2.3, 300
TABLE = "bench.wide"
QUERY = f"select * from {TABLE} order by customer_id"
WIDE = """
create table bench.wide as
select
    i as customer_id, date '2024-01-31' + (i % 12) * 30 as snapshot_date, (i % 20 = 0)::int as churned,
    (random() * 70)::int as tenure_months, random() * 100 as monthly_charges, random() * 1000 as total_charges,
    case when random() > 0.1 then (random() * 5)::int end as support_tickets,
    (array['month-to-month', 'one year', 'two year'])[1 + i % 3] as contract_type, (array['a', 'b', 'c'])[1 + i % 3] as plan,
    (array['north', 'south', 'east', 'west'])[1 + i % 4] as region, (random() * 10)::int as count_1,
    (random() * 10)::int as count_2, (random() * 10)::int as count_3, random() as share_1, random() as share_2,
    random() as share_3, random() as share_4, random() as share_5, random() as share_6, random() as share_7
from generate_series(1, :rows) as i
"""


def measure(own: Settings, rows: int, say: Callable[[str], None]) -> list[Figure]:
    """The stage's reading and writing (without imports) against psql's COPY BINARY of the same query, in turn."""
    make_table(own.load_url, rows)
    try:
        pairs = [(_psql_seconds(own.source_url), *_extract_in_a_process(own.source_url)) for _ in range(PAIRS)]
    finally:
        drop_table(own.load_url)
    for psql, ours, peak in pairs:
        say(f"{rows:,} rows x 20: psql COPY BINARY {psql:.2f} s, extract {ours:.2f} s, peak {peak:.0f} MB")
    ratio = median(ours / psql for psql, ours, _ in pairs)
    peak = max(peak for _, _, peak in pairs)
    return [
        Figure(f"extract {rows:,} rows x 20 / psql COPY BINARY", ratio, EXTRACT_GOAL),
        Figure(f"extract {rows:,} rows x 20, peak memory / {MEMORY_MB} MB", peak / MEMORY_MB, 1.0),
    ]


def make_table(url: str, rows: int) -> None:
    """The table that is read, 20 columns wide."""
    with postgres.connect(url) as connection:
        connection.execute("drop schema if exists bench cascade; create schema bench")
        connection.execute(WIDE.replace(":rows", str(rows)))
        connection.execute(f"alter table {TABLE} add primary key (customer_id)")
        if connection.execute("select 1 from pg_roles where rolname = 'reader'").fetchone():
            connection.execute(f"grant usage on schema bench to reader; grant select on {TABLE} to reader")
    with postgres.connect(url) as connection:
        connection.autocommit = True
        connection.execute(f"vacuum analyze {TABLE}")


def drop_table(url: str) -> None:
    with postgres.connect(url) as connection:
        connection.execute("drop schema if exists bench cascade")


def _psql_seconds(url: str) -> float:
    parts = urlsplit(url)
    address = ["-h", parts.hostname, "-p", str(parts.port or 5432), "-U", parts.username, "-d", parts.path.lstrip("/")]
    command = [postgres_server.binaries() / "psql", *address, "-q", "-c", f"copy ({QUERY}) to stdout (format binary)"]
    began = time.perf_counter()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"PGPASSWORD": unquote(parts.password or "")}
    )
    return time.perf_counter() - began


def _extract_in_a_process(url: str) -> tuple[float, float]:
    """Seconds and peak memory (MB) of one extraction in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-m", "bench.extraction"], input=url, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EvergreenError(f"The extraction that was to be measured failed:\n{done.stderr[-2000:]}")
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def _measured_extraction(url: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        queries = Path(folder)
        (queries / "training_set.sql").write_text(QUERY)
        (queries / "fingerprint.sql").write_text("select 'bench'")
        data = params.read().data.model_copy(update={"as_of": params.TIMELESS, "fingerprint": "bench"})
        _import_what_it_needs()
        began = time.perf_counter()
        extract.extract(url, extract.Queries(queries), data, queries / "rows.parquet")
        return time.perf_counter() - began, peak_mb()


def _import_what_it_needs() -> None:
    for name in ("adbc_driver_postgresql.dbapi", "psycopg", "pyarrow.parquet", "sqlalchemy.dialects.postgresql.psycopg"):
        importlib.import_module(name)


if __name__ == "__main__":
    print(json.dumps(_measured_extraction(sys.stdin.read().strip())))

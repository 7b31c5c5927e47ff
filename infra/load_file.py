"""Bring a CSV or Parquet file into Postgres: one table, replaced as a whole, with types from the values."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import postgres
from pipelines.errors import EvergreenError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 50_000


def load(url: str, file: Path, table: str) -> int:
    """Replace `schema.table` by the file's rows, in one transaction; returns how many there are.

    Integers become bigint, other numbers double precision, dates and times their own types, anything else text.
    Readers keep what they had: the role `reader` is granted SELECT where it exists.

    Raises:
        EvergreenError: the file is missing or unreadable, or the table's name has no schema.
    """
    from psycopg import sql

    schema, _, name = table.partition(".")
    if not name:
        raise EvergreenError(f"--table {table}: give schema and table, such as telco.customers.")
    batches = _read(file)
    first = next(batches, None)
    if first is None:
        raise EvergreenError(f"{file} holds no rows: nothing was loaded.")
    where = sql.Identifier(schema, name)
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(field.name), sql.SQL(_type(field.type))) for field in first.schema
    )
    with postgres.connect(url) as connection:
        connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
        connection.execute(sql.SQL("drop table if exists {}").format(where))
        connection.execute(sql.SQL("create table {} ({})").format(where, columns))
        rows = 0
        with connection.cursor() as cursor, cursor.copy(sql.SQL("copy {} from stdin (format csv)").format(where)) as copy:
            while first is not None:
                copy.write(_csv(first))
                rows += first.num_rows
                first = next(batches, None)
        if connection.execute("select 1 from pg_roles where rolname = 'reader'").fetchone():
            connection.execute(sql.SQL("grant usage on schema {} to reader").format(sql.Identifier(schema)))
            connection.execute(sql.SQL("grant select on {} to reader").format(where))
        connection.execute(sql.SQL("analyze {}").format(where))
    return rows


def _read(file: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    try:
        if file.suffix == ".parquet":
            yield from pq.ParquetFile(file).iter_batches(BATCH_ROWS)
        else:  # the whole file decides the types: a text in row 100,000 makes its column text
            yield from pa.csv.read_csv(file).to_batches(BATCH_ROWS)
    except FileNotFoundError:
        raise EvergreenError(f"{file} is missing.") from None
    except pa.ArrowInvalid as error:
        raise EvergreenError(f"{file} is neither CSV nor Parquet that can be read: {error}") from None


def _csv(batch: pa.RecordBatch) -> bytes:
    import pyarrow.csv

    written = io.BytesIO()
    pyarrow.csv.write_csv(batch, written, pyarrow.csv.WriteOptions(include_header=False))
    return written.getvalue()


def _type(arrow: pa.DataType) -> str:
    import pyarrow.types as types

    kinds = [
        (types.is_boolean, "boolean"),
        (types.is_integer, "bigint"),
        (types.is_floating, "double precision"),
        (types.is_decimal, "numeric"),
        (types.is_date, "date"),
        (types.is_timestamp, "timestamptz" if getattr(arrow, "tz", None) else "timestamp"),
    ]
    return next((name for test, name in kinds if test(arrow)), "text")

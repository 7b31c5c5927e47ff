"""Bring a CSV or Parquet file into Postgres: one table, replaced as a whole, with types from the values."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra import delimited
from pipelines import postgres
from pipelines.errors import EvergreenError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 50_000
LONGEST_NAME = 63  # bytes: Postgres cuts a longer one


def load(url: str, file: Path, table: str, say: Callable[[str], None] = lambda _: None) -> int:
    """Replace `schema.table` by the file's rows, in one transaction; returns how many there are.

    Integers become bigint, other numbers double precision, dates and times their own types, anything else text.
    Readers keep what they had: the role `reader` is granted SELECT where it exists.

    Args:
        say: told what was not plain: an encoding, a delimiter, names that were changed.

    Raises:
        EvergreenError: the file is missing, empty or unreadable, or the table's name has no schema.
    """
    schema, _, name = table.partition(".")
    if not schema or not name:
        raise EvergreenError(f"--table {table}: give schema and table, such as telco.customers.")
    header, types, batches = _parquet(file) if file.suffix == ".parquet" else _delimited(file, say)
    first = next(batches, None)
    if first is None:
        raise EvergreenError(f"{file} holds no rows: nothing was loaded.")
    names = column_names(header)
    for before, after in zip(header, names, strict=True):
        if before != after:
            say(f"Column {before[:LONGEST_NAME]!r} is called {after!r}.")
    with postgres.connect(url) as connection:
        return _replace(connection, (schema, name), dict(zip(names, types, strict=True)), first, batches)


def column_names(header: Sequence[str]) -> list[str]:
    """Names that Postgres keeps as they are, each once: a blank one gets its place, a long one is cut, a second a number."""
    found: list[str] = []
    for place, name in enumerate(header, start=1):
        whole = name.replace("\0", "").strip() or f"column {place}"
        candidate, number = _cut(whole), 2
        while candidate in found:
            candidate, number = _cut(whole, f"_{number}"), number + 1
        found.append(candidate)
    return found


def _cut(name: str, suffix: str = "") -> str:
    return name.encode()[: LONGEST_NAME - len(suffix)].decode(errors="ignore") + suffix


def _replace(connection: Any, table: tuple[str, str], columns: dict[str, str], first: Any, rest: Iterator[Any]) -> int:
    from psycopg import sql

    where, schema = sql.Identifier(*table), sql.Identifier(table[0])
    defined = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(of)) for name, of in columns.items())
    connection.execute(sql.SQL("create schema if not exists {}").format(schema))
    connection.execute(sql.SQL("drop table if exists {}").format(where))
    connection.execute(sql.SQL("create table {} ({})").format(where, defined))
    rows = 0
    with connection.cursor() as cursor, cursor.copy(sql.SQL("copy {} from stdin (format csv)").format(where)) as copy:
        while first is not None:
            copy.write(_csv(first))
            rows += first.num_rows
            first = next(rest, None)
    if connection.execute("select 1 from pg_roles where rolname = 'reader'").fetchone():
        connection.execute(sql.SQL("grant usage on schema {} to reader").format(schema))
        connection.execute(sql.SQL("grant select on {} to reader").format(where))
    connection.execute(sql.SQL("analyze {}").format(where))
    return rows


def _delimited(file: Path, say: Callable[[str], None]) -> tuple[list[str], list[str], Iterator[pa.RecordBatch]]:
    import pyarrow as pa

    found = delimited.layout(file)
    if found.encoding != "utf-8":
        say(f"{file.name} is no UTF-8: read as {found.encoding}.")
    if found.delimiter != ",":
        say(f"{file.name} is parted by {found.delimiter!r}.")
    rows, kinds = delimited.types(file, found)
    batches = (
        pa.RecordBatch.from_arrays([delimited.typed(cells, kind) for cells, kind in zip(batch.columns, kinds, strict=True)],
                                   names=batch.schema.names)
        for batch in delimited.strings(file, found) if batch.num_rows
    )  # fmt: skip
    return list(found.header), [delimited.postgres_type(kind) for kind in kinds], batches if rows else iter(())


def _parquet(file: Path) -> tuple[list[str], list[str], Iterator[pa.RecordBatch]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = pq.ParquetFile(file)
    except FileNotFoundError:
        raise EvergreenError(f"{file} is missing.") from None
    except pa.ArrowInvalid:
        raise EvergreenError(f"{file} is no Parquet file that can be read. Nothing was loaded.") from None
    schema = pa.schema([field.with_type(_plain(field.type)) for field in opened.schema_arrow])
    types = [_type(field) for field in schema]
    batches = (
        pa.RecordBatch.from_arrays(
            [cells.cast(of) for cells, of in zip(batch.columns, schema.types, strict=True)], schema=schema
        )
        for batch in opened.iter_batches(BATCH_ROWS)
    )
    return schema.names, types, batches


def _csv(batch: pa.RecordBatch) -> bytes:
    import pyarrow.csv

    written = io.BytesIO()
    pyarrow.csv.write_csv(batch, written, pyarrow.csv.WriteOptions(include_header=False))
    return written.getvalue()


def _plain(arrow: pa.DataType) -> pa.DataType:
    """The type that a value is written as: of a dictionary, that of its values."""
    import pyarrow.types as types

    return arrow.value_type if types.is_dictionary(arrow) else arrow


def _type(field: pa.Field) -> str:
    """The Postgres type of a Parquet column.

    Raises:
        EvergreenError: a value of it is no single value, or bytes.
    """
    import pyarrow.types as types

    arrow = field.type
    kinds = [
        (types.is_boolean, "boolean"),
        (types.is_uint64, "numeric"),
        (types.is_integer, "bigint"),
        (types.is_floating, "double precision"),
        (types.is_decimal, "numeric"),
        (types.is_date, "date"),
        (types.is_time, "time"),
        (types.is_timestamp, "timestamptz" if getattr(arrow, "tz", None) else "timestamp"),
        (types.is_string, "text"),
        (types.is_large_string, "text"),
        (types.is_string_view, "text"),
        (types.is_null, "text"),
    ]
    found = next((name for test, name in kinds if test(arrow)), None)
    if found is None:
        raise EvergreenError(f"Column {field.name!r} is {arrow}: a column holds one number, text, date or boolean a row.")
    return found

"""Bring a CSV or Parquet file into Postgres: one new table, with types from the values; or one that an earlier load made."""

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
MARK = "evergreen load: "  # how the comment on a table begins that a load made; the file's name follows


def load(url: str, file: Path, table: str, say: Callable[[str], None] = lambda _: None, *, replace: bool = False) -> int:
    """Make `schema.table` of the file's rows, in one transaction; returns how many there are.

    Integers become bigint, other numbers double precision, dates and times their own types, anything else text.
    The role `reader` is granted SELECT where it exists.

    Args:
        say: told what was not plain: an encoding, a delimiter, names that were changed, rows that were replaced.
        replace: a table that a load made before may be replaced. Nothing else ever is.

    Raises:
        EvergreenError: the file is missing, empty or unreadable, the table's name has no schema, or the table is there and
            may not be replaced.
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
        columns = dict(zip(names, types, strict=True))
        _make_room(connection, (schema, name), columns, file.name, replace, say)
        return _fill(connection, (schema, name), first, batches)


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


def _make_room(
    connection: Any, table: tuple[str, str], columns: dict[str, str], source: str, replace: bool, say: Callable[[str], None]
) -> None:
    """An empty table with these columns and our mark, in place of none or of one that a load made.

    Where the columns are what they were, the table stays, with its keys, indexes and grants.
    """
    from psycopg import sql

    where, shown = sql.Identifier(*table), ".".join(table)
    before = _columns_of(connection, table)
    if before is not None:
        rows = _refuse_to_replace(connection, table, replace)
        same = before == _plain_types(connection, columns)
        connection.execute(sql.SQL("truncate {}" if same else "drop table {}").format(where))
        lost = "" if same else " Its columns are others now, so keys, indexes and grants that it was given are gone."
        say(f"{shown} held {rows:,} rows of an earlier load: they are replaced.{lost}")
    if before is None or not same:
        defined = [sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(of)) for name, of in columns.items()]
        connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(table[0])))
        connection.execute(sql.SQL("create table {} ({})").format(where, sql.SQL(", ").join(defined)))
    connection.execute(sql.SQL("comment on table {} is {}").format(where, sql.Literal(MARK + source)))


def _refuse_to_replace(connection: Any, table: tuple[str, str], replace: bool) -> int:
    """The rows of a table that may be replaced.

    Raises:
        EvergreenError: no load made it, or nobody asked for it.
    """
    from psycopg import sql

    where, shown = sql.Identifier(*table), ".".join(table)
    name = where.as_string(connection)
    comment = connection.execute("select obj_description(%s::regclass, 'pg_class')", (name,)).fetchone()[0] or ""
    rows: int = connection.execute(sql.SQL("select count(*) from {}").format(where)).fetchone()[0]
    if not comment.startswith(MARK):
        raise EvergreenError(
            f"{shown} is there already, with {rows:,} rows, and `evergreen load` did not make it: nothing was changed. "
            "Load into a table of another name."
        )
    if not replace:
        source = comment.removeprefix(MARK)
        raise EvergreenError(
            f"{shown} is there already, with {rows:,} rows that were loaded from {source}: nothing was changed. "
            "Pass --replace to put this file's rows in their place, or load into a table of another name."
        )
    return rows


def _columns_of(connection: Any, table: tuple[str, str]) -> dict[str, str] | None:
    """Name -> type of a table or view that is there; None where none is."""
    found = connection.execute(
        """select coalesce(json_object_agg(attname, atttypid::regtype order by attnum) filter (where attnum > 0), '{}')
        from pg_class join pg_namespace as schemas on schemas.oid = relnamespace
        left join pg_attribute on attrelid = pg_class.oid and not attisdropped
        where nspname = %s and relname = %s group by pg_class.oid""",
        table,
    ).fetchone()
    return found and found[0]


def _plain_types(connection: Any, columns: dict[str, str]) -> dict[str, str]:
    """The types by the names that Postgres gives them."""
    query = "select name, name::regtype::text from unnest(%s::text[]) as name"
    named = dict(connection.execute(query, (list(set(columns.values())),)).fetchall())
    return {name: named[of] for name, of in columns.items()}


def _fill(connection: Any, table: tuple[str, str], first: Any, rest: Iterator[Any]) -> int:
    """Copy the rows into the table, and let readers see it; how many there are."""
    from psycopg import sql

    where, schema, rows = sql.Identifier(*table), sql.Identifier(table[0]), 0
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

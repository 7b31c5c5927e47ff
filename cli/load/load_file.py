"""Bring a CSV or Parquet file into Postgres: one new table, with types from the values; or one that an earlier load made."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.load import delimited, file_kinds, value_types
from pipelines.config.errors import EvergreenError
from pipelines.data import postgres

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 50_000
BATCH_VALUES = 500_000  # of a text file: they are Python objects for a moment
LONGEST_NAME = 63  # bytes: Postgres cuts a longer one
OF_POSTGRES = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")  # columns that every table has already
MARK = "evergreen data load: "  # how the comment on a table begins that a load made; the file's name follows


@dataclass(frozen=True)
class Options:
    """What a person says about a text file. types: column -> Postgres type."""

    encoding: str | None = None
    delimiter: str | None = None
    types: Mapping[str, str] = field(default_factory=dict)


def load(
    url: str,
    file: Path,
    table: str,
    say: Callable[[str], None] = lambda _: None,
    options: Options = Options(),
    *,
    replace: bool = False,
) -> int:
    """Make `schema.table` of the file's rows, in one transaction; returns how many there are.

    What is stored prints back as the file has it, but for what is said: cli/load/value_types.py chooses the types.
    The role `reader` is granted SELECT where it exists.

    Args:
        say: told what was not plain: an encoding, a delimiter, names that were changed, values that are stored otherwise, rows
            that were replaced.
        replace: a table that a load made before may be replaced. Nothing else ever is.

    Raises:
        EvergreenError: the file is missing, empty, no table, or has a line that cannot be read, which is named; the
            table's name has no schema; or the table is there and may not be replaced.
    """
    schema, _, name = table.partition(".")
    if not schema or not name:
        raise EvergreenError(f"--table {table}: give schema and table, such as telco.customers.")
    with tempfile.TemporaryDirectory(prefix="evergreen-load-") as folder, _unbroken(file):
        if file_kinds.is_parquet(file):
            if options != Options():
                raise EvergreenError(f"{file} is Parquet, which says itself what its columns are: leave out the options.")
            header, types, batches = _parquet(file, say)
        else:
            header, types, batches = _delimited(file, say, options, Path(folder) / "rows.arrow")
        first = next(batches, None)
        if first is None:
            raise EvergreenError(f"{file} holds no rows: nothing was loaded.")
        names = column_names(header)
        for before, after in zip(header, names, strict=True):
            if before != after:
                say(f"Column {before[:LONGEST_NAME]!r} is called {after!r}.")
        with postgres.connect(url) as connection:
            _make_room(connection, (schema, name), dict(zip(names, types, strict=True)), file.name, replace, say)
            return _fill(connection, (schema, name), first, batches)


@contextmanager
def _unbroken(file: Path) -> Iterator[None]:
    """What Arrow says of bytes that it cannot read, in a sentence; an error of the disk has a number, and stays."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise EvergreenError(f"{file} cannot be read to its end: it was cut off, or is broken. {delimited.NOTHING}") from None


def named_types(entries: Sequence[str]) -> dict[str, str]:
    """COLUMN=TYPE as a mapping; a name may hold a =, and a type does not.

    Raises:
        EvergreenError: an entry is written otherwise.
    """
    pairs = [entry.rpartition("=") for entry in entries]
    if wrong := [entry for entry, (name, _, kind) in zip(entries, pairs, strict=True) if not name or not kind]:
        raise EvergreenError(f"--types {wrong[0]}: write COLUMN=TYPE, such as zip=text.")
    return {name: kind.strip().lower() for name, _, kind in pairs}


def column_names(header: Sequence[str]) -> list[str]:
    """Names that Postgres keeps as they are, each once: a blank one gets its place, a long one is cut, a second a number, as
    does one that is Postgres's own."""
    found: list[str] = []
    for place, name in enumerate(header, start=1):
        whole = name.replace("\0", "").strip() or f"column {place}"
        candidate, number = _cut(whole), 2
        while candidate in found or candidate in OF_POSTGRES:
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
            f"{shown} is there already, with {rows:,} rows, and `evergreen data load` did not make it: nothing was changed. "
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


def _delimited(
    file: Path, say: Callable[[str], None], options: Options, staged: Path
) -> tuple[list[str], list[str], Iterator[pa.RecordBatch]]:
    """Read once, into `staged`, while the types are found out; then from there."""
    found = delimited.layout(file, options.encoding, options.delimiter)
    names = column_names(found.header)
    forced = value_types.forced_types(options.types, found.header, names)
    account, columns = delimited.Account(), [value_types.Column(name) for name in names]
    _stage(file, found, account, columns, staged)
    delimited.check_account(file, account, found)
    kinds, sentences = value_types.decide(columns, found.delimiter, forced)
    for sentence in [*_layout_sentences(file, found, options), *sentences, *delimited.doubts(account, found)]:
        say(sentence)
    say(f"{file.name} has {delimited.explained(account, found)}")
    if not account.rows:
        return list(found.header), [], iter(())
    return list(found.header), [kind.postgres for kind in kinds], _typed(file, staged, names, kinds, forced)


def _layout_sentences(file: Path, found: delimited.Layout, options: Options) -> Iterator[str]:
    if found.encoding != "utf-8" and not options.encoding:
        yield f"{file.name} is no UTF-8: read as {found.encoding}. If letters come out wrong, name its --encoding."
    if found.delimiter != "," and not options.delimiter:
        yield f"{file.name} is parted by {found.delimiter!r}."
    if len(found.header) == 1:
        yield f"{file.name} has one column, {found.header[0][:LONGEST_NAME]!r}. Has it more? Say what parts them: --delimiter."
    if found.skipped:
        yield f"{file.name}: the header is line {found.header_line}; nothing above it was read."


def _stage(
    file: Path, found: delimited.Layout, account: delimited.Account, columns: Sequence[value_types.Column], staged: Path
) -> None:
    """The rows as text, with the line of each in a column of its own, the last."""
    import pyarrow as pa

    names = [*(f"c{number}" for number in range(len(columns))), "line"]
    schema = pa.schema([(name, pa.string()) for name in names[:-1]] + [("line", pa.int64())])
    with pa.ipc.new_file(staged, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        for lines, rows in _chunks(delimited.records(file, found, account)):
            cells = [pa.array(values, pa.string()) for values in zip(*rows, strict=True)]
            numbers = pa.array(lines, pa.int64())
            for column, values in zip(columns, cells, strict=True):
                column.add(values, numbers)
            writer.write_batch(pa.RecordBatch.from_arrays([*cells, numbers], schema=schema))


def _chunks(records: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[list[int], list[list[str]]]]:
    """As many rows at once as have about BATCH_VALUES values."""
    lines: list[int] = []
    rows: list[list[str]] = []
    for line, row in records:
        lines.append(line)
        rows.append(row)
        if len(rows) * len(row) >= BATCH_VALUES:
            yield lines, rows
            lines, rows = [], []
    if rows:
        yield lines, rows


def _typed(
    file: Path, staged: Path, names: Sequence[str], kinds: Sequence[value_types.Type], forced: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    """The staged rows as Postgres is to read them.

    Raises:
        EvergreenError: a value is none of the type that --types names.
    """
    import pyarrow as pa

    with pa.ipc.open_file(staged) as opened:
        for number in range(opened.num_record_batches):
            *cells, lines = opened.get_batch(number).columns
            stored = [value_types.stored(values, kind) for values, kind in zip(cells, kinds, strict=True)]
            for name, values in zip(names, stored, strict=True):
                if name in forced and (odd := value_types.unfit(values, lines, forced[name])):
                    raise EvergreenError(
                        f"{file}, line {odd[0]}: {odd[1]!r} in column {name!r} is no {forced[name]}, which --types asks for. "
                        f"{delimited.NOTHING}"
                    )
            yield pa.RecordBatch.from_arrays(stored, names=[f"c{place}" for place in range(len(stored))])


def _parquet(file: Path, say: Callable[[str], None]) -> tuple[list[str], list[str], Iterator[pa.RecordBatch]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = pq.ParquetFile(file)
    except pa.ArrowInvalid:
        raise EvergreenError(f"{file} is no Parquet file that can be read. Nothing was loaded.") from None
    schema = pa.schema([field.with_type(_plain(field.type)) for field in opened.schema_arrow])
    types = [_type(field) for field in schema]
    if fine := [field.name for field in schema if pa.types.is_timestamp(field.type) and field.type.unit == "ns"]:
        say(f"Times in {', '.join(fine[:10])} are kept to the microsecond, as Postgres has them.")
    batches = (
        pa.RecordBatch.from_arrays(
            [_storable(file, cells.cast(of.type), of.name) for cells, of in zip(batch.columns, schema, strict=True)],
            schema=schema,
        )
        for batch in opened.iter_batches(BATCH_ROWS)
    )
    return schema.names, types, batches


def _storable(file: Path, cells: pa.Array, name: str) -> pa.Array:
    """The values of a Parquet column.

    Raises:
        EvergreenError: Postgres keeps one of them in no column of its type.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as types

    odd = ""
    if types.is_string(cells.type) or types.is_large_string(cells.type):
        try:
            cells.validate(full=True)
        except pa.ArrowInvalid:
            odd = "bytes that are no UTF-8"
        else:
            odd = "a NUL character" if pc.any(pc.match_substring(cells, "\0")).as_py() else ""
    elif types.is_date(cells.type) or types.is_timestamp(cells.type):
        odd = "a date before the year 1" if pc.any(pc.less(pc.year(cells), 1)).as_py() else ""
    if odd:
        raise EvergreenError(f"{file}: column {name!r} holds {odd}. Correct that, or leave the column out. {delimited.NOTHING}")
    return cells


def _csv(batch: pa.RecordBatch) -> bytes:
    import pyarrow.csv

    written = io.BytesIO()
    pyarrow.csv.write_csv(batch, written, pyarrow.csv.WriteOptions(include_header=False))
    return written.getvalue()


def _plain(arrow: pa.DataType) -> pa.DataType:
    """The type that a value is written as: of a dictionary, that of its values."""
    import pyarrow as pa
    import pyarrow.types as types

    arrow = arrow.value_type if types.is_dictionary(arrow) else arrow
    return pa.string() if types.is_string_view(arrow) else arrow


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
        (types.is_null, "text"),
    ]
    found = next((name for test, name in kinds if test(arrow)), None)
    if found is None:
        raise EvergreenError(f"Column {field.name!r} is {arrow}: a column holds one number, text, date or boolean a row.")
    return found

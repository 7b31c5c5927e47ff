"""What `evergreen init` is pointed at: a table, or a query in a file; read in one read-only transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config.errors import EvergreenError
from pipelines.data import postgres

KINDS = {"N": "number", "B": "boolean", "S": "text", "E": "text", "I": "text", "T": "duration"}  # of pg_type.typcategory
TYPES = {"date": "date", "uuid": "text", "timestamp without time zone": "timestamp", "timestamp with time zone": "timestamp"}
SAMPLED = {"r", "p", "m"}  # of pg_class.relkind: what Postgres samples by itself


@dataclass(frozen=True)
class Relation:
    """Rows to learn from.

    described: for people. statement: what stands in `select * from ...` of our queries. samples: whether Postgres can
    read a part of its pages only. title: schema.table; "" of a query.
    """

    described: str
    statement: str
    samples: bool
    title: str = ""


class Reader:
    """Statements in one REPEATABLE READ READ ONLY transaction."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement).fetchall()

    def row(self, statement: str) -> tuple[Any, ...]:
        return self.rows(statement)[0]

    def columns(self, relation: str) -> list[tuple[str, str, str]]:
        """Name, type and kind of each column: number, boolean, text, date, timestamp, duration, or other.

        Raises:
            EvergreenError: two columns have one name.
        """
        found = self._connection.execute(f"select * from {relation} limit 0").description
        names = [column.name for column in found]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise EvergreenError(f"The query returns two columns named {', '.join(doubled)}: rename one by `as`.")
        oids = ", ".join(str(column.type_code) for column in found) or "0"
        types = {
            oid: (name, TYPES.get(name, "other" if name.startswith("time ") else KINDS.get(category, "other")))
            for oid, name, category in self.rows(
                f"select oid, format_type(oid, null), typcategory from pg_type where oid in ({oids})"
            )
        }
        return [(column.name, *types.get(column.type_code, ("unknown", "other"))) for column in found]

    def reserved(self) -> frozenset[str]:
        """Words that are no names unless they are quoted."""
        return frozenset(word for (word,) in self.rows("select word from pg_get_keywords() where catcode in ('R', 'T')"))


@contextmanager
def reading(url: str, timezone: str = "UTC") -> Iterator[Reader]:
    """A reader of the source; it can change nothing, whatever the role may do. timezone: whose days moments fall into."""
    with postgres.connect(url, timezone=timezone) as connection:
        connection.execute("set transaction isolation level repeatable read read only")
        connection.execute("set local synchronize_seqscans = off")  # equal scans give equal samples
        connection.execute("set local jit = off")  # of statements over many columns it would compile for longer than they run
        yield Reader(connection)


def of_table(reader: Reader, table: str) -> Relation:
    """The table or view called `schema.table`; what follows the first dot is the table, dots and all.

    Raises:
        EvergreenError: no schema is given, or there is no such table.
    """
    schema, _, name = table.partition(".")
    if not schema or not name:
        raise EvergreenError(f"--table {table}: give schema and table, such as telco.customers.")
    kinds = reader.rows(
        "select relkind from pg_class join pg_namespace on pg_namespace.oid = relnamespace where relkind in"
        f" ('r','p','m','v','f') and nspname = {postgres.literal(schema)} and relname = {postgres.literal(name)}"
    )
    if not kinds:
        raise EvergreenError(f"--table {table}: SOURCE_URL shows no such table or view. Names are case-sensitive.")
    return Relation(f"the table {table}", postgres.identifier(schema, name), kinds[0][0] in SAMPLED, table)


def of_file(file: Path) -> Relation:
    """The query in a file.

    Raises:
        EvergreenError: the file is missing or empty, or the query is to be bound values.
    """
    try:
        text = file.read_text(encoding="utf-8").strip().rstrip(";")
    except OSError as error:
        raise EvergreenError(f"--sql {file} cannot be read: {(error.strerror or 'no file').lower()}.") from None
    except UnicodeDecodeError:
        raise EvergreenError(f"--sql {file} is no UTF-8 text: save it as such.") from None
    bare = postgres.without_comments(text)
    if not bare:
        raise EvergreenError(f"--sql {file} holds no query.")
    if bound := sorted(postgres.placeholders(bare)):
        raise EvergreenError(
            f"--sql {file} asks for :{', :'.join(bound)}. Write a query that gives the rows of all days, and name the column "
            "that says which day by --time: the files that are written pick the days."
        )
    return Relation(f"the query in {file.name}", f"(\n{text}\n)", False)
